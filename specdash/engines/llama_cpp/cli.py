"""The llama-cli engine: llama.cpp's command-line programs, for what a server cannot do or where there is none.

Each request runs a program anew, which loads its models, answers and ends: `llama-speculative-simple` or
`llama-speculative` with a draft model or a method of `--spec-type`, `llama-lookup` for prompt lookup, `llama-mtmd-cli`
for images, and `llama-completion` (or the `llama-cli` of older builds) as their baseline. The server that the runtime
starts, guards and watches is `cli_bridge`, whose child the program is: so a run has the limits, the proofs and the
clean end of any server. What the figures mean is stated in `cli_result`.

K is a word of each run's command line, so it belongs to the request. The chat template of a model is not applied: the
programs have no way to render one, so all of them get the prompt's plain text; llama-mtmd-cli applies its own.
Context of a wanted depth is approximate: as much text as holds so many tokens, by the rate of a run that counted some.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any

from specdash.core.engine import (
    EXACT_LENGTH,
    TOKEN_IDS,
    Cause,
    CauseKind,
    Endpoint,
    EngineInfo,
    FindContext,
    KProbe,
    Param,
    Request,
    ServerSpec,
)
from specdash.core.events import K_PLACE
from specdash.core.generation import Generation, Piece
from specdash.core.heartbeat import heartbeat
from specdash.core.plan import KScope, LoadKey
from specdash.core.profile import EngineConfig
from specdash.core.prompts import Prompt
from specdash.core.transport import (
    HttpError,
    Progress,
    RequestTimeout,
    StreamCut,
    StreamedAnswer,
    TransportError,
)
from specdash.engines.base import PROBE_PROMPT, BaseClient, BaseEngine, filled_to
from specdash.engines.llama_cpp import methods as llama_methods
from specdash.engines.llama_cpp.cli_programs import SAMPLING, SIMPLE, CliProgram, Programs, grey_png, locate
from specdash.engines.llama_cpp.cli_result import (
    BridgeEvent,
    CliRequest,
    decode,
    decode_partial,
    events_of,
    lost_its_end,
    reason,
    without_prefix,
)
from specdash.engines.llama_cpp.flags import CURRENT, HINTS, OLD
from specdash.engines.llama_cpp.methods import K
from specdash.engines.log_diagnosis import first_cause
from specdash.engines.params import request_fields, values_in
from specdash.engines.placeholders import with_environment
from specdash.errors import EngineError

KIND = "llama-cli"
BRIDGE = "specdash.programs.cli_bridge"  # the module that runs the programs, in a process of its own

RUN_K = replace(K, field="k", help="tokens drafted for each verification; each run has its own")
MMPROJ = dict.fromkeys((CURRENT, OLD), "--mmproj")
PARAMS: tuple[Param, ...] = (
    *(RUN_K if param is K else replace(param, scope="startup", field=None) for param in llama_methods.START_PARAMS),
    Param("mmproj", "startup", MMPROJ, None, "the projector of images", "targets.mmproj"),
    *SAMPLING,
)

NOT_REPORTED: Mapping[str, str] = MappingProxyType(
    {
        TOKEN_IDS: "The programs print text alone, so answers are compared character by character.",
        EXACT_LENGTH: "The programs that speculate make up to K tokens more than they are asked for.",
    }
)

HANG_UP_S = 10.0  # after the run's own limit, by which the bridge ends it
FILLER_CHARS = 4000  # of which the tokens are counted, to tell how much text is a wanted depth
PROBE_TOKENS = 32
# The programs print from a thread of their own, and exit without waiting for it. Seen of b11669 with models of 6 MB,
# which are gone at once: 2 of 100 runs of llama-completion lost their last lines, all of their statistics among them,
# and half of them where other work kept the cores busy. Such runs are short, so they are made anew more often.
TRIES = 3
CHEAP_TRIES, CHEAP_S = 20, 30.0
LINE_CHARS = 300
PASTED: Mapping[str, str] = MappingProxyType(
    {"{k}": K_PLACE, "{n}": "256", "{temp}": "0", "{seed}": "1", "{images}": "IMAGE"}
)


class ProgramFailed(HttpError):
    """A program that ended with an exit code other than 0, as it would again: it refuses the request."""

    def __init__(self, what: str, todo: str = "", *, has_reason: bool = True) -> None:
        super().__init__(422, what)
        self.todo = todo
        self.has_reason = has_reason

    def __str__(self) -> str:
        """What happened, without a status: no HTTP server is to blame."""
        return self.excerpt


class LlamaCli(BaseEngine):
    """The programs of one build; implements core.engine.Engine."""

    hints = HINTS

    def __init__(self, programs: Programs, info: EngineInfo, filler: str) -> None:
        self._programs = programs
        self._filler = filler
        self.info = info

    def unsupported_reason(self, key: LoadKey, *, vision: bool = False) -> str | None:
        """What no program that is here has a way to do."""
        try:
            self._programs.choose(key, vision=vision)
        except EngineError as error:
            return error.what
        return None

    def command(self, spec: ServerSpec, endpoint: Endpoint) -> tuple[str, ...]:
        """The bridge, with the command line of the load's runs behind it."""
        _, template = self._load(spec)
        files = [str(path) for path in (spec.target, spec.draft, spec.mmproj) if path is not None]
        bridge = (sys.executable, "-P", "-m", BRIDGE)
        own = ("--port", str(endpoint.port), "--alias", endpoint.alias)
        return (*bridge, *own, *(word for path in files for word in ("--need", path)), "--", *template)

    def command_to_paste(self, spec: ServerSpec) -> tuple[str, ...]:
        """One run of the program as a user would start it, with a prompt to be replaced."""
        _, template = self._load(spec)
        at = template.index("{prompt}")
        template[at - 1 : at + 1] = ["-p", "Once upon a time"]
        return with_environment(spec.env, (*spec.wrap, *(PASTED.get(word, word) for word in template)))

    def _load(self, spec: ServerSpec) -> tuple[CliProgram, list[str]]:
        """The program of a load and the command line of its runs."""
        program = self._programs.choose(spec.key, vision=spec.mmproj is not None)
        return program, self._programs.template(program, spec)

    def client(self, spec: ServerSpec, endpoint: Endpoint) -> CliClient:
        """A client of the bridge that was started as `spec` at `endpoint`."""
        return CliClient(endpoint, self._load(spec)[0], spec, self._filler)

    def decode_partial(self, received: Sequence[tuple[float, bytes]]) -> tuple[Piece, ...]:
        """The pieces of text that have come so far."""
        return decode_partial(received)

    def diagnose(self, log_tail: str) -> Cause | None:
        """What its log tells of a failure: of this program, and an arm may have another one than the baseline."""
        found = super().diagnose(log_tail)
        if found is None or found.kind is not CauseKind.NOT_K:
            return found
        return replace(found, kind=CauseKind.OTHER)


class CliClient(BaseClient):
    """Runs of one load's program, asked of its bridge; implements core.engine.EngineClient."""

    evidence_path = "/state"

    def __init__(self, endpoint: Endpoint, program: CliProgram, spec: ServerSpec, filler: str) -> None:
        super().__init__(endpoint.port, filler)
        self._program = program
        self._spec = spec
        self._chars_per_token: float | None = None
        self._is_lossy = False  # it never prints all that is wanted, so making runs anew helps nothing

    async def complete_one(self, limit_s: float) -> None:
        """One whole run, of a token or two: it proves that the models can be loaded. EngineError says why not."""
        with tempfile.TemporaryDirectory(prefix="specdash-") as folder:
            image = Path(folder) / "grey.png"
            image.write_bytes(grey_png(64))
            images = (image,) if self._program.sees else ()
            request = Request("Hello", 1, 0.0, 1, self._spec.key.k_startup, images=images)
            try:
                answer = await self._told(request, limit_s, None, _says_nothing)
            except ProgramFailed as error:
                raise EngineError(error.excerpt, error.todo) from error
        if _says_nothing(answer):
            raise EngineError(
                f"{self._program.name} ended well and printed no text, again and again",
                "Run it by hand with the same models, and see what it does.",
            )

    async def generate(self, request: Request, *, limit_s: float, progress: Progress | None = None) -> Generation:
        """One run, for which `limit_s` counts from when its models should be loaded (`engine.load_timeout_s`)."""
        asked = self._asked(request)
        limit_s += self._spec.load_timeout_s
        return decode(await self._told(request, limit_s, progress, lambda answer: lost_its_end(answer, asked)), asked)

    async def _told(
        self, request: Request, limit_s: float, progress: Progress | None, is_lost: Callable[[StreamedAnswer], bool]
    ) -> StreamedAnswer:
        """A run whose output came whole: one that lost its end is made anew, while there is time and it ever helped."""
        began_s, ends_s = heartbeat().ran_s(), heartbeat().ran_s() + limit_s
        for number in count(1):
            lost: StreamedAnswer | ProgramFailed
            try:
                lost = await self._run(request, limit_s, progress)
                if not is_lost(lost):
                    return lost
            except ProgramFailed as error:
                if error.has_reason:
                    raise
                lost = error
            now_s = heartbeat().ran_s()
            limit_s = ends_s - now_s
            is_dear = number >= TRIES and (number >= CHEAP_TRIES or now_s - began_s > CHEAP_S)
            if self._is_lossy or is_dear or limit_s <= 0:
                self._is_lossy = True
                break
        if isinstance(lost, ProgramFailed):
            raise lost
        return lost

    def _asked(self, request: Request) -> CliRequest:
        """What a request means to this load's program."""
        k = self._k(request) if self._spec.key.speculates else None
        return CliRequest(self._program, request.prompt, request.max_tokens, k, self._spec.key.served.is_ceiling)

    def _k(self, request: Request) -> int | None:
        return request.k if request.k is not None else self._spec.key.k_startup

    async def _run(self, request: Request, limit_s: float, progress: Progress | None) -> StreamedAnswer:
        """The events of a run that ended with exit code 0; every other end is an error that says which, and why."""
        if self._program.sees and not request.images:
            raise ProgramFailed(f"{self._program.name} needs an image with each prompt, and this one has none")
        # What speculates goes on until it has more than -n; llama-lookup takes 0 for endless.
        tokens = max(1, request.max_tokens - 1) if self._program.speculates else request.max_tokens
        params = (*SAMPLING, *((RUN_K,) if self._spec.key.speculates else ()))
        values = values_in(params, replace(request, max_tokens=tokens, k=self._k(request)))
        body: dict[str, Any] = {"prompt": request.prompt, "limit_s": limit_s, **request_fields(params, values)}
        body["images"] = [str(path) for path in request.images]
        answer = await self._http.stream("/run", body, total_limit_s=limit_s + HANG_UP_S, progress=progress)
        pieces, last = events_of(answer)
        if last is None:
            raise StreamCut(len(pieces), "the bridge to the program ended before the program did")
        if last.limit:
            raise RequestTimeout(limit_s, len(pieces))
        if last.exit != 0:
            raise self._failure(last)
        return answer

    def _failure(self, last: BridgeEvent) -> TransportError:
        """Why a run ended as it did, with the line of its stderr that tells most."""
        stderr = last.stderr or ""
        known = first_cause(stderr, HINTS)
        line = reason(stderr)
        said = without_prefix(known.line) if known is not None else line or "it printed no reason"
        if last.signal is not None:
            name = signal.Signals(last.signal).name if last.signal in set(signal.Signals) else str(last.signal)
            return TransportError(f"{self._program.name} was ended by {name}: {said[:LINE_CHARS]}")
        what = f"{self._program.name} ended with exit code {last.exit}: {said[:LINE_CHARS]}"
        return ProgramFailed(what, known.todo if known is not None else "", has_reason=bool(known or line))

    async def render(self, prompt: Prompt, depth_tokens: int) -> str:
        """The prompt's plain text, behind about `depth_tokens` of other text."""
        filler = await self._filling(depth_tokens) if depth_tokens else ""
        return f"{filler}{prompt.as_text()}"

    async def _filling(self, depth_tokens: int) -> str:
        """Text of about so many tokens. A run that counts the tokens of some of it tells how much that is."""
        if self._chars_per_token is None:
            text = self._filler[:FILLER_CHARS]
            counting = Request(text, 1, 0.0, 1, self._spec.key.k_startup)
            tokens = (await self.generate(counting, limit_s=self._spec.load_timeout_s)).prompt_tokens
            if not tokens:
                raise TransportError(f"{self._program.name} did not tell how many tokens its prompt had")
            self._chars_per_token = len(text) / tokens
        return f"{filled_to(self._filler, round(depth_tokens * self._chars_per_token))}\n\n"

    async def probe_k(self, k_startup: int, *, limit_s: float, progress: Progress | None = None) -> KProbe:
        """Two runs at two Ks: what the program says that it was set to, where it drafted at all."""
        evidence: list[tuple[int, int | None]] = []
        for k in (k_startup, k_startup + 2):
            request = Request(PROBE_PROMPT, PROBE_TOKENS, 0.0, 1, k)
            generation = await self.generate(request, limit_s=limit_s, progress=progress)
            evidence.append((k, generation.settings.get("speculative.n_max") if generation.draft_n else None))
        if any(seen is None for _, seen in evidence):
            return KProbe(None, tuple(evidence))
        obeyed = all(seen == k for k, seen in evidence)
        return KProbe(KScope.REQUEST if obeyed else KScope.STARTUP, tuple(evidence))


def _says_nothing(answer: StreamedAnswer) -> bool:
    """Whether a run printed no text at all."""
    return not any(event.out.strip() for _, event in events_of(answer)[0])


def find(config: EngineConfig, context: FindContext) -> LlamaCli:
    """The programs that `config.program` stands for: one of them, llama-server, or a folder.

    EngineError where there are none, or where the one that is named, or else the first, is no program of llama.cpp.
    """
    programs = locate(config.program, context.env)
    name = programs.first
    flags = programs.flags(name)
    scope = context.k_scope or KScope.REQUEST
    info = EngineInfo(KIND, programs.paths[name], programs.version(name), flags.dialect, scope, NOT_REPORTED)
    return LlamaCli(programs, info, context.filler)


def find_beside(config: EngineConfig, context: FindContext) -> LlamaCli | None:
    """The programs beside llama-server, else those on PATH, for what it cannot serve; None where there are none."""
    for program in (SIMPLE,) if config.is_embedded else (config.program, SIMPLE):
        try:
            return find(replace(config, program=program), context)
        except EngineError:
            continue
    return None
