"""Every kind of engine by the name that profiles give it, and what each says of itself.

A new engine is one module here, named as its kind, and an entry in `core.profile.KINDS`. A module is imported when it
is needed; its `find`, `PARAMS` and `INSTALL` are the same for all.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol, cast

from specdash.core.engine import Engine, Param
from specdash.core.plan import KScope
from specdash.core.profile import KINDS, EngineConfig

__all__ = [
    "FALLING_BACK",
    "KINDS",
    "SETTLED_SCOPES",
    "EngineModule",
    "FindContext",
    "find",
    "find_fallback",
    "module_of",
]

SETTLED_SCOPES: Mapping[str, KScope] = MappingProxyType(
    {"llama-cli": KScope.REQUEST, "mlx": KScope.REQUEST, "script": KScope.STARTUP, "openai": KScope.STARTUP}
)
"""Who decides K, for kinds of engine of which that is known before anything is started."""
FALLING_BACK = frozenset({"llama-server"})
"""Kinds of engine of which another one takes over what they cannot serve."""


@dataclass(frozen=True, slots=True)
class FindContext:
    """What an engine may need of a run to find its program.

    `filler` is text for filling a context to a wanted depth, `env` the environment that servers get (None: this
    process's own), `k_scope` the scope of K that the profile forces.
    """

    filler: str = ""
    env: Mapping[str, str] | None = field(default=None, repr=False)
    k_scope: KScope | None = None


class EngineModule(Protocol):
    """What every engine module has."""

    @property
    def KIND(self) -> str:  # noqa: N802 - constants of a module
        """Its name in profiles."""

    @property
    def TITLE(self) -> str:  # noqa: N802
        """What it is, in a few words."""

    @property
    def INSTALL(self) -> str:  # noqa: N802
        """How to get its programs, one line to paste or a sentence."""

    @property
    def PARAMS(self) -> tuple[Param, ...]:  # noqa: N802
        """Its parameters with their scopes."""

    @property
    def UNTOLD(self) -> Mapping[str, str]:  # noqa: N802
        """What its servers never tell, or not all of them: names of `core.engine.UNTOLD` with the reasons."""

    @property
    def PROGRAMS(self) -> tuple[str, ...]:  # noqa: N802
        """The programs to look for where a profile names none; () for an engine that brings no program of its own."""

    def find(self, config: EngineConfig, context: FindContext) -> Engine:
        """The engine that a profile asks for; EngineError says what is missing and what to do."""


def module_of(kind: str) -> EngineModule:
    """The module of a kind of engine; KeyError for none."""
    if kind not in KINDS:
        raise KeyError(kind)
    return cast(EngineModule, importlib.import_module(f"specdash.engines.{kind.replace('-', '_')}"))


def find_fallback(config: EngineConfig, context: FindContext) -> Engine | None:
    """The engine for what the profile's own cannot serve: llama.cpp's programs beside its server, if there are any."""
    if config.kind not in FALLING_BACK:
        return None
    from specdash.engines.llama_cli import beside

    return beside(config, context)


def find(config: EngineConfig, context: FindContext) -> Engine:
    """The engine of a profile."""
    return module_of(config.kind).find(config, context)
