"""Finds the engine of a profile: each kind's module, which is imported when it is needed.

A new engine is a row of `core.engine_kinds` and a module here, which the row names.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Protocol, cast

from specdash.core.engine import Engine, FindContext, Param
from specdash.core.engine_kinds import KINDS
from specdash.core.profile import EngineConfig


class EngineModule(Protocol):
    """What every engine module has."""

    @property
    def PARAMS(self) -> tuple[Param, ...]:  # noqa: N802 - constants of a module
        """Its parameters with their scopes."""

    @property
    def NOT_REPORTED(self) -> Mapping[str, str]:  # noqa: N802
        """What its servers never tell, or not all of them: names of `core.engine.REPORTABLE` with the reasons."""

    def find(self, config: EngineConfig, context: FindContext) -> Engine:
        """The engine that a profile asks for; EngineError says what is missing and what to do."""


class FallbackModule(EngineModule, Protocol):
    """What the module of a kind has that takes over what another one cannot serve."""

    def find_beside(self, config: EngineConfig, context: FindContext) -> Engine | None:
        """The engine that belongs to another one's program; None where there is none."""


def module_of(kind: str) -> EngineModule:
    """The module of a kind of engine; KeyError for none."""
    return cast(EngineModule, importlib.import_module(f"specdash.engines.{KINDS[kind].module}"))


def find(config: EngineConfig, context: FindContext) -> Engine:
    """The engine of a profile."""
    return module_of(config.kind).find(config, context)


def find_fallback(config: EngineConfig, context: FindContext) -> Engine | None:
    """The engine for what the profile's own cannot serve, where its kind has a fallback and that is installed."""
    kind = KINDS[config.kind].fallback
    return cast(FallbackModule, module_of(kind)).find_beside(config, context) if kind else None
