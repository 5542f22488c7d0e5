"""The llama-server engine: llama.cpp's own server program, or the embedded one, in either flag dialect.

Finds the program, turns a ServerSpec into its command line, and speaks its HTTP protocol. What is known of its
behaviour is stated where it is used; nothing is inferred from a version number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from specdash.core.axes import AXES
from specdash.core.engine import Endpoint, EngineInfo, FindContext, KProbe, Request, ServerSpec
from specdash.core.engine_kinds import KINDS
from specdash.core.events import K_PLACE
from specdash.core.generation import Generation, Piece, PromptRead
from specdash.core.measure import step_facts
from specdash.core.plan import KScope, LoadKey
from specdash.core.profile import EngineConfig
from specdash.core.prompts import Prompt
from specdash.core.step import Stage
from specdash.core.transport import HttpError, Progress, TransportError
from specdash.engines.base import ANSWER_LIMIT_S, PROBE_PROMPT, BaseClient, BaseEngine, member
from specdash.engines.llama_cpp import methods as llama_methods
from specdash.engines.llama_cpp.flags import HINTS, Flags, read_flags, read_version, resolve_program
from specdash.engines.llama_cpp.methods import SAMPLING, SPECULATION, start_arguments
from specdash.engines.llama_cpp.stream import decode, decode_partial
from specdash.engines.params import request_fields, stage_values, values_in
from specdash.engines.placeholders import with_environment
from specdash.engines.program_help import BRIEF_LIMIT_S, run_briefly

KIND = "llama-server"
NOT_REPORTED: Mapping[str, str] = MappingProxyType({})

# Given before the user's own flags, so that these can override them.
DEFAULT_ARGS = ("-np", "1")

PARAMS = (*llama_methods.START_PARAMS, *SAMPLING)

PROBE_ROOM = 10


class LlamaServer(BaseEngine):
    """The program, its flags, and how to start and address it; implements core.engine.Engine."""

    hints = HINTS

    def __init__(self, command: Sequence[str], info: EngineInfo, flags: Flags, filler: str) -> None:
        self._command = tuple(command)
        self._flags = flags
        self._filler = filler
        self.info = info

    @property
    def flags(self) -> Flags:
        """What the program's help lists."""
        return self._flags

    def unsupported_reason(self, key: LoadKey, *, vision: bool = False) -> str | None:
        """What the program has no flag for: other methods, and expert counts, which the embedded one cannot set."""
        if vision:
            return f"{self.info.program} is asked for text alone here: prompts with images go to llama-mtmd-cli"
        if (flag := llama_methods.missing_for_experts(key, self._flags)) is not None:
            return f"{self.info.program} cannot set expert counts (no {flag}); use the llama-server program for them"
        if not key.is_plain:
            return llama_methods.unsupported_reason(key, self._flags, self.info.program)
        missing = llama_methods.missing_param(key, self._flags, SPECULATION)
        return f"{self.info.program} has no flag for {AXES[missing].what}" if missing is not None else None

    def command(self, spec: ServerSpec, endpoint: Endpoint) -> tuple[str, ...]:
        """The argument list of a server start."""
        listen = ("--host", "127.0.0.1", "--port", str(endpoint.port), "--alias", endpoint.alias, "--metrics")
        load = start_arguments(spec, str(spec.key.k_startup), self._flags)
        return (*self._command, *load, *listen, *DEFAULT_ARGS, *spec.args)

    def command_to_paste(self, spec: ServerSpec) -> tuple[str, ...]:
        """The command as a user would type it: what was measured, without what ties it to this run.

        The built-in llama.cpp is no program of its own, so its command names llama-server, which has the same flags.
        """
        program = (KIND,) if len(self._command) > 1 else self._command
        return with_environment(
            spec.env,
            (
                *spec.wrap,
                *program,
                *start_arguments(spec, K_PLACE, self._flags),
                *DEFAULT_ARGS,
                *spec.args,
            ),
        )

    def client(self, spec: ServerSpec, endpoint: Endpoint) -> LlamaClient:
        """A client of the server that was started as `spec` at `endpoint`."""
        return LlamaClient(endpoint, spec.templated, self._filler, spec.key.stages)

    def decode_partial(self, received: Sequence[tuple[float, bytes]]) -> tuple[Piece | PromptRead, ...]:
        """What these events of an answer that is not whole yet say."""
        return decode_partial(received)


class LlamaClient(BaseClient):
    """Requests to one running llama-server; implements core.engine.EngineClient."""

    evidence_path = "/slots"

    def __init__(self, endpoint: Endpoint, templated: bool, filler: str, stages: Sequence[Stage] = ()) -> None:
        """`stages` are those that the server was started with: builds that take K of requests take the rest too."""
        super().__init__(endpoint.port, filler)
        self._stages = stages
        self._templated = templated
        self._filler_tokens: list[int] | None = None

    async def complete_one(self, limit_s: float) -> None:
        """Asks for one token; raises a transport error when none comes."""
        await self._http.post_json(
            "/completion", {"prompt": "Hello", "n_predict": 1, "cache_prompt": False}, limit_s=limit_s
        )

    async def generate(self, request: Request, *, limit_s: float, progress: Progress | None = None) -> Generation:
        """POST /completion, streamed with the server's timings in every chunk."""
        body = request_body(request, self._stages)
        answer = await self._http.stream("/completion", body, total_limit_s=limit_s, progress=progress)
        return decode(answer)

    async def render(self, prompt: Prompt, depth_tokens: int) -> str:
        """The prompt as one text: behind `depth_tokens` of filler, and through the model's own chat template if any.

        The filler stands inside the first message, where a user's documents would. Whether there is a template is
        the model header's word: the server names one even for a model without.
        """
        filler = await self._filling(depth_tokens) if depth_tokens else ""
        if not self._templated:
            return f"{filler}{prompt.as_text()}"
        messages = [{"role": message.role, "content": message.content} for message in prompt.as_messages()]
        messages[0]["content"] = f"{filler}{messages[0]['content']}"
        answer = await self._http.post_json("/apply-template", {"messages": messages}, limit_s=ANSWER_LIMIT_S)
        text = member(answer, "prompt", str)
        if text is None:
            raise TransportError("the server's /apply-template gave no prompt")
        return text

    async def _filling(self, depth_tokens: int) -> str:
        """Exactly `depth_tokens` tokens of varied text, as the server's own tokenizer counts them."""
        if self._filler_tokens is None:
            answer = await self._http.post_json("/tokenize", {"content": self._filler}, limit_s=ANSWER_LIMIT_S)
            tokens = member(answer, "tokens", list)
            if not tokens:
                raise TransportError("the server's /tokenize gave no tokens")
            self._filler_tokens = [token for token in tokens if isinstance(token, int)]
        repeats = -(-depth_tokens // len(self._filler_tokens))
        tokens = (self._filler_tokens * repeats)[:depth_tokens]
        answer = await self._http.post_json("/detokenize", {"tokens": tokens}, limit_s=ANSWER_LIMIT_S)
        text = member(answer, "content", str)
        if text is None:
            raise TransportError("the server's /detokenize gave no text")
        return f"{text}\n\n"

    async def context_tokens(self) -> int | None:
        """GET /props: the context of a slot. None of a server that has no such endpoint."""
        try:
            answer = await self._http.get_json("/props", limit_s=ANSWER_LIMIT_S)
        except HttpError:
            return None
        found = member(member(answer, "default_generation_settings", dict), "n_ctx", int)
        return found if found is not None and found > 0 else None

    async def count_tokens(self, text: str) -> int | None:
        """POST /tokenize, as /completion reads a prompt: with the tokens that stand before every text."""
        body = {"content": text, "add_special": True, "parse_special": True}
        try:
            answer = await self._http.post_json("/tokenize", body, limit_s=ANSWER_LIMIT_S)
        except HttpError:
            return None
        return len(member(answer, "tokens", list) or ()) or None

    async def probe_k(self, k_startup: int, *, limit_s: float, progress: Progress | None = None) -> KProbe:
        """Who decides K: asks for 1, for the start-up value, and, where 1 was obeyed, for more than that.

        The server drafts min(K, tokens still wanted - 1), so k + 2 tokens make a first verification of exactly k;
        some more are asked for, since the last verification of a request may not be seen whole.
        """
        evidence: list[tuple[int, int | None]] = []

        async def seen(k: int, room: int) -> int | None:
            # Another beginning each time: some builds replay the last draft for a prompt that comes twice in a row.
            prompt = f"Chapter {len(evidence) + 1}. {PROBE_PROMPT}"
            request = Request(prompt, max_tokens=room + PROBE_ROOM, temperature=0.0, seed=1, k=k)
            generation = await self.generate(request, limit_s=limit_s, progress=progress)
            found = step_facts(generation.chunks).k_seen
            evidence.append((k, found))
            return found

        at_startup = await seen(k_startup, k_startup)
        if at_startup is None:
            return KProbe(None, tuple(evidence))
        if k_startup > 1 and await seen(1, k_startup) != 1:
            return KProbe(KScope.STARTUP, tuple(evidence))
        beyond = await seen(k_startup + 2, k_startup + 2)
        if beyond is not None and beyond > k_startup:
            return KProbe(KScope.REQUEST, tuple(evidence))
        return KProbe(KScope.CAPPED if k_startup > 1 else KScope.STARTUP, tuple(evidence))


def request_body(request: Request, stages: Sequence[Stage] = ()) -> dict[str, object]:
    """The body of a completion request: with K its bounds too, as old builds default to drafting less than K."""
    params = (*SAMPLING, *(SPECULATION if request.k is not None else ()))
    body: dict[str, object] = {
        "prompt": request.prompt,
        **request_fields(params, values_in(params, request) | stage_values(params, stages)),
        "cache_prompt": request.cache_prompt,
        "stream": True,
        "timings_per_token": True,
        "return_progress": True,
        "return_tokens": True,
    }
    if request.with_margins:
        body["n_probs"] = 2
    return body


def find(config: EngineConfig, context: FindContext) -> LlamaServer:
    """The engine of a profile."""
    return open_program(config.program, context.k_scope, context.filler, context.env)


def open_program(
    program: str, k_scope: KScope | None, filler: str, env: Mapping[str, str] | None = None
) -> LlamaServer:
    """The engine for `program`: a path, a name on PATH, "embedded", or "embedded:PYTHON" for another interpreter.

    Runs the program's --help and --version, in the environment that its servers get (None: this process's own);
    EngineError says what is wrong with it and what to do. `filler` is text for filling a context to a wanted depth.
    """
    command, shown_as = resolve_program(program)
    flags = read_flags(command, shown_as, env=env)
    version = read_version(run_briefly([*command, "--version"], shown_as, BRIEF_LIMIT_S, env))
    info = EngineInfo(KIND, shown_as, version, flags.dialect, k_scope, keeps_history=KINDS[KIND].keeping_history)
    return LlamaServer(command, info, flags, filler)
