"""What the runtime needs of an engine: the seam between driving servers and knowing one kind of server.

An engine turns a ServerSpec into a command line, and speaks to the server that came of it. It knows flags, endpoints
and wordings; it holds no process and decides nothing about the sweep. Everything it measures it returns as it saw it,
and what its servers never tell it says once, with the reason, so that unknown is null everywhere and no fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from specdash.core.generation import Generation, Piece, PromptRead
from specdash.core.plan import KScope, LoadKey
from specdash.core.process_spec import StopPolicy
from specdash.core.prompts import Prompt
from specdash.core.transport import Progress

UNKNOWN = "unknown"  # a version or dialect that nobody told
TIMINGS, CACHED, DRAFTED, ACCEPTED = "timings", "cached_tokens", "draft_tokens", "accepted_tokens"
K_SEEN, TOKEN_IDS, EXACT_LENGTH, ALIAS = "k_seen", "token_ids", "exact_length", "alias"
REPORTABLE = (TIMINGS, CACHED, DRAFTED, ACCEPTED, K_SEEN, TOKEN_IDS, EXACT_LENGTH, ALIAS)
"""What an engine may be unable to tell: a clock of its own, cached prompt tokens, drafted and accepted tokens, the
length of drafts, token ids, answers of exactly the length asked for, and a name that proves whose server it is."""


class CauseKind(StrEnum):
    """What a server failed of, as far as anything is decided by it.

    PORT_TAKEN: another program has its port, so that another one may do. NOT_K: it would fail at every other K too.
    """

    PORT_TAKEN = "port_taken"
    NOT_K = "not_k"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Cause:
    """The line of a log that tells why a server failed, and what to do."""

    line: str
    todo: str
    kind: CauseKind = CauseKind.OTHER


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of an engine: its scope on a server that honours all it can, its flags, its request field.

    `scope` is "startup", "request", "capped" (a request may go up to the start-up value) or "reload" (a request may set
    it, at the price of a load). `flags` maps a dialect of the program to the flag that sets it at start-up; a dialect
    without an entry has no such flag. `field` is the name in the body of a request, None where only a restart changes
    it. `key` is where a profile sets it; `default` is what specdash sets where nobody does, None for nothing.
    """

    name: str
    scope: str
    flags: Mapping[str, str]
    field: str | None
    help: str
    key: str = ""
    default: int | float | str | None = None


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """A program as found on this machine: what it is called, where, which build, and which flags it speaks.

    `k_scope` is forced by the profile, or the only one that this kind of engine has; None: to be probed on each load.
    `not_reported` maps names of `REPORTABLE` to the reason, as a sentence, why servers of this engine never tell them.
    `keeps_history` are the methods whose servers keep what they have seen from request to request, so that a prompt
    that is sent again is no new text to them.
    """

    kind: str
    program: str
    version: str
    dialect: str
    k_scope: KScope | None
    not_reported: Mapping[str, str] = field(default_factory=dict)
    keeps_history: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """Everything that a server is started with; equal specs mean the same server.

    `target` is None where the server knows its model by `model`, the name that requests carry ("": none is needed);
    `draft_model` is that of the draft.
    `launch` and `stop` are the commands of a profile that brings its own, `url` is a server that runs already.
    """

    key: LoadKey
    target: Path | None
    draft: Path | None
    architecture: str | None  # for keys that carry it, such as llama.expert_used_count
    templated: bool  # the target has a chat template of its own
    args: tuple[str, ...]
    env: Mapping[str, str]
    wrap: tuple[str, ...]
    size_bytes: int | None
    load_timeout_s: float
    fingerprint: str
    model: str = ""
    draft_model: str = ""
    mmproj: Path | None = None
    context: int | None = None  # the most tokens that its arguments allow; None where they do not say
    launch: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    url: str = ""

    @property
    def method(self) -> str:
        """What drafts on this load: a name of `core.methods`."""
        return self.key.method


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server answers: at `url`, or at 127.0.0.1:`port`.

    `alias` is the nonce that proves it is this launch, "" where the kind of server has no way to be given a name.
    """

    port: int
    alias: str
    url: str | None = None


class Health(StrEnum):
    """What a server's health endpoint says; DOWN = nothing answers yet."""

    DOWN = "down"
    LOADING = "loading"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Request:
    """One generation to ask for; `k` is sent where the server may obey it, None sends none.

    `with_margins` asks for the probabilities that `Generation.margins` is made from, which costs time. `images` are
    files that belong to the prompt, for vision models.
    """

    prompt: str
    max_tokens: int
    temperature: float
    seed: int
    k: int | None
    cache_prompt: bool = False
    with_margins: bool = False
    images: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class KProbe:
    """The answer of the K experiment: scope (None: nothing drafted) and (K asked for, longest draft seen) pairs."""

    scope: KScope | None
    evidence: tuple[tuple[int, int | None], ...]


@dataclass(frozen=True, slots=True)
class FindContext:
    """What an engine may need of a run to find its program.

    `filler` is text for filling a context to a wanted depth, `env` the environment that servers get (None: this
    process's own), `k_scope` the scope of K that the profile forces.
    """

    filler: str = ""
    env: Mapping[str, str] | None = field(default=None, repr=False)
    k_scope: KScope | None = None


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

    async def context_tokens(self) -> int | None:
        """The tokens of prompt and answer that one request has room for; None where the server does not tell."""

    async def count_tokens(self, text: str) -> int | None:
        """The tokens that `text` has as the prompt of a request; None where the server does not tell."""

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

    def unsupported_reason(self, key: LoadKey, *, vision: bool = False) -> str | None:
        """Why this program cannot serve a load at all, as far as is known before it starts; None when it can.

        `vision`: the target has a projector, and prompts may have images.
        """

    def command(self, spec: ServerSpec, endpoint: Endpoint) -> tuple[str, ...]:
        """The argument list that starts the server, without `wrap`; () where it is running already."""

    def endpoint(self, spec: ServerSpec, port: int, alias: str) -> Endpoint:
        """Where that server will answer, if it is given this port and this name."""

    def stop_policy(self, spec: ServerSpec, endpoint: Endpoint) -> StopPolicy:
        """How that server is found and ended, beyond the process that was started."""

    def command_to_paste(self, spec: ServerSpec) -> tuple[str, ...]:
        """The same server as a user would start it, `wrap` included, with `events.K_PLACE` in the place of K."""

    def client(self, spec: ServerSpec, endpoint: Endpoint) -> EngineClient:
        """A client of the server that was started as `spec` at `endpoint`."""

    def decode_partial(self, received: Sequence[tuple[float, bytes]]) -> tuple[Piece | PromptRead, ...]:
        """What these events of an answer that is not whole yet say: for showing, never for measuring."""

    def diagnose(self, log_tail: str) -> Cause | None:
        """Why a server failed, where its log tells a known cause."""
