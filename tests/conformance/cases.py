"""Every engine and program that the conformance suite runs, and whether the program is a real one.

A new engine is a line here. `docs/engines.md` takes from this table what has been run for real.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from specdash.core.plan import KScope
from specdash.core.profile import EVERY_METHOD, EngineConfig

TESTS = Path(__file__).parents[1]
Config = Callable[[pytest.FixtureRequest], EngineConfig]


@dataclass(frozen=True, slots=True)
class Case:
    """One program of one engine.

    `config` makes the `[engine]` of its profile. `real`: the program is what users run, no fake of ours. `drafts`: it
    can speculate with a draft model, at the Ks of `ks`, whose scope is `scope` once it has been probed. `models` is the
    kind of files that it takes. `launch` is for engines whose command is the profile's; `attach` has the server started
    by the test, for engines that only speak to it. `env` goes to its servers.
    """

    name: str
    kind: str
    real: bool
    config: Config
    scope: KScope | None
    models: str = "gguf"
    drafts: bool = True
    ks: tuple[int, ...] = (2, 4)
    launch: Callable[[pytest.FixtureRequest, bool], tuple[str, ...]] | None = None
    env: Mapping[str, str] = field(default_factory=dict)


def _program(kind: str, name: str) -> Config:
    def config(request: pytest.FixtureRequest) -> EngineConfig:
        return EngineConfig(kind=kind, program=_resolved(request, name))

    return config


def _resolved(request: pytest.FixtureRequest, name: str) -> str:
    """A program's path; FIXTURE in `name:FIXTURE` is the fixture of its interpreter or folder."""
    program, _, fixture = name.partition(":")
    if not fixture:
        return program
    value = request.getfixturevalue(fixture)
    if program in ("embedded", "mlx_lm.server", "specdash-mlx"):
        return f"{program}:{value}"
    return str(Path(value).with_name(program) if program else value)


def _launched(kind: str, **more: Any) -> Config:
    def config(request: pytest.FixtureRequest) -> EngineConfig:
        return EngineConfig(kind=kind, program="", launch={EVERY_METHOD: ("{port}",)}, **more)

    return config


def llama_command(request: pytest.FixtureRequest, with_draft: bool) -> tuple[str, ...]:
    """The command of a real llama-server as a launch command of the profile has it."""
    server = str(request.getfixturevalue("llama_server"))
    one = ("-c", "1024", "-np", "1", "-t", "1")  # more threads wait for each other wherever other tests run beside it
    base = (server, "-m", "{model}", "--port", "{port}", *one, "--metrics", "--no-cache-prompt")
    if not with_draft:
        return base
    return (*base, "-md", "{draft}", "--spec-type", "draft-simple", "--spec-draft-n-max", "{k}")


def cluster_command(request: pytest.FixtureRequest, with_draft: bool) -> tuple[str, ...]:
    """The fake server of the MLX cluster, with its n-gram speculation at a fixed K or without any."""
    base = (sys.executable, str(TESTS / "fakes" / "mlx_cluster.py"), "--port", "{port}", "--no-adaptive-k")
    return (*base, "--spec-decode", "ngram", "--num-speculative-tokens", "{k}") if with_draft else base


MLX_ENV = {"MLX_DISABLE_COMPILE": "1"}  # else mlx runs a C++ compiler the first time that it samples

CASES: tuple[Case, ...] = (
    Case("llama-server b11669", "llama-server", True, _program("llama-server", ":llama_server"), KScope.STARTUP),
    Case("embedded llama.cpp", "llama-server", True, _program("llama-server", "embedded"), KScope.STARTUP),
    Case(
        "embedded xllamacpp 0.2.14",
        "llama-server",
        True,
        _program("llama-server", "embedded:old_xllamacpp_python"),
        KScope.REQUEST,
    ),
    Case(
        "llama-speculative-simple b11669",
        "llama-cli",
        True,
        _program("llama-cli", "llama-speculative-simple:llama_server"),
        KScope.REQUEST,
    ),
    Case("mlx_lm.server", "mlx", True, _program("mlx", "mlx_lm.server:mlx_python"), KScope.REQUEST, "mlx", env=MLX_ENV),
    Case("specdash-mlx", "mlx", True, _program("mlx", "specdash-mlx:mlx_python"), KScope.REQUEST, "mlx", env=MLX_ENV),
    Case(
        "a script that starts llama-server",
        "script",
        True,
        _launched("script", metrics="/metrics"),
        KScope.STARTUP,
        launch=llama_command,
    ),
    Case(
        "the MLX cluster's protocol",
        "script",
        False,
        _launched("script", metrics="/v1/spec_decode/metrics"),
        KScope.STARTUP,
        models="none",
        launch=cluster_command,
    ),
    Case(
        "llama-server's /v1/chat/completions",
        "openai",
        True,
        _launched("openai"),
        KScope.STARTUP,
        launch=llama_command,
    ),
)
