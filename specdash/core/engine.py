"""What the runtime needs of an engine: the seam between driving servers and knowing one kind of server.

An engine turns a ServerSpec into a command line, and speaks to the server that came of it. It knows flags, endpoints
and wordings; it holds no process and decides nothing about the sweep. Everything it measures it returns as it saw it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from specdash.core.generation import Generation, Piece
from specdash.core.plan import KScope, LoadKey
from specdash.core.prompts import Prompt
from specdash.core.transport import Progress


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """A program as found on this machine: what it is called, where, which build, and which flags it speaks."""

    kind: str
    program: str
    version: str
    dialect: str
    k_scope: KScope | None  # forced by the profile; None: to be probed on each load


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """Everything that a server is started with; equal specs mean the same server."""

    key: LoadKey
    target: Path
    draft: Path | None
    architecture: str | None  # for keys that carry it, such as llama.expert_used_count
    templated: bool  # the target has a chat template of its own
    args: tuple[str, ...]
    env: Mapping[str, str]
    wrap: tuple[str, ...]
    size_bytes: int
    load_timeout_s: float
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a launched server answers: 127.0.0.1:`port`; `alias` is the nonce that proves it is this launch."""

    port: int
    alias: str


class Health(StrEnum):
    """What a server's health endpoint says; DOWN = nothing answers yet."""

    DOWN = "down"
    LOADING = "loading"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Request:
    """One generation to ask for; `k` is sent where the server may obey it, None sends none.

    `with_margins` asks for the probabilities that `Generation.margins` is made from, which costs time.
    """

    prompt: str
    max_tokens: int
    temperature: float
    seed: int
    k: int | None
    cache_prompt: bool = False
    with_margins: bool = False


@dataclass(frozen=True, slots=True)
class KProbe:
    """The answer of the K experiment: scope (None: nothing drafted) and (K asked for, longest draft seen) pairs."""

    scope: KScope | None
    evidence: tuple[tuple[int, int | None], ...]


class EngineClient(Protocol):
    """A connection to one running server; raises core.transport errors."""

    async def health(self) -> Health:
        """What the health endpoint says; never raises for a server that is not there yet."""

    async def model_alias(self) -> str | None:
        """The model name that the server reports; must be the endpoint's alias."""

    async def complete_one(self, limit_s: float) -> None:
        """Proves that the server generates: one token, outside every measurement."""

    async def generate(self, request: Request, *, limit_s: float, progress: Progress | None = None) -> Generation:
        """One streamed generation, as it was seen."""

    async def render(self, prompt: Prompt, depth_tokens: int) -> str:
        """The prompt as text for `Request`: through the chat template, behind `depth_tokens` of other context."""

    async def probe_k(self, k_startup: int, *, limit_s: float, progress: Progress | None = None) -> KProbe:
        """Finds out by experiment who decides K; uses prompts of its own and leaves no sample."""

    async def evidence(self) -> Mapping[str, str]:
        """What a hanging server still tells about itself, for the log; empty when nothing answers."""

    async def close(self) -> None:
        """Drops all connections."""


class Engine(Protocol):
    """One kind of server program."""

    @property
    def info(self) -> EngineInfo:
        """What was found on this machine."""

    def cannot(self, key: LoadKey) -> str | None:
        """Why this program cannot serve a load at all, as far as is known before it starts; None when it can."""

    def command(self, spec: ServerSpec, endpoint: Endpoint) -> tuple[str, ...]:
        """The argument list that starts the server, without `wrap`."""

    def command_to_paste(self, spec: ServerSpec) -> tuple[str, ...]:
        """The same server as a user would start it, `wrap` included, with `events.K_PLACE` in the place of K."""

    def client(self, spec: ServerSpec, endpoint: Endpoint) -> EngineClient:
        """A client of the server that was started as `spec` at `endpoint`."""

    def peek(self, received: Sequence[tuple[float, bytes]]) -> tuple[Piece, ...]:
        """What these events of an answer that is not whole yet say: for showing, never for measuring."""

    def blame(self, log_tail: str) -> str | None:
        """The line of a log that tells why the server failed; None when no line does."""

    def explain(self, log_tail: str) -> str | None:
        """What to do about a failure whose cause is known from the log; None when it is not."""
