"""The llama-server engine: llama.cpp's own server program, or the embedded one, in either flag dialect.

Finds the program, turns a ServerSpec into its command line, and speaks its HTTP protocol. What is known of its
behaviour is stated where it is used; nothing is inferred from a version number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from specdash.core import axes
from specdash.core.axes import AXES
from specdash.core.draft_lengths import remembering
from specdash.core.engine import Cause, Endpoint, EngineInfo, Health, KProbe, Request, ServerSpec
from specdash.core.events import K_PLACE
from specdash.core.generation import Generation, Piece, PromptRead
from specdash.core.launch import Ending
from specdash.core.measure import step_facts
from specdash.core.methods import DRAFT
from specdash.core.plan import KScope, LoadKey
from specdash.core.profile import EngineConfig
from specdash.core.prompts import Prompt
from specdash.core.step import Stage
from specdash.core.transport import HttpError, Progress, TransportError
from specdash.engines import llama_methods
from specdash.engines.causes import first_cause
from specdash.engines.http import Client
from specdash.engines.llama_flags import (
    BRIEF_LIMIT_S,
    EMBEDDED,
    HINTS,
    Flags,
    given_flags,
    missing_for_experts,
    missing_for_params,
    model_values,
    read_flags,
    read_version,
    resolve,
    run_briefly,
)
from specdash.engines.llama_flags import PARAMS as OWN_PARAMS
from specdash.engines.llama_stream import decode, peek
from specdash.engines.placeholders import with_environment
from specdash.engines.questions import PROBE_PROMPT, first_model
from specdash.engines.registry import FindContext

KIND = "llama-server"
TITLE = "llama.cpp's server"
INSTALL = "a llama-server on PATH (https://github.com/ggml-org/llama.cpp), or pip install 'specdash[embedded]'"
UNTOLD: Mapping[str, str] = MappingProxyType({})
PROGRAMS = (KIND, EMBEDDED)

# Given before the user's own flags, so that these can override them.
DEFAULT_ARGS = ("-np", "1")

PARAMS = (*OWN_PARAMS, *llama_methods.METHOD_PARAMS)

PROBE_ROOM = 10
ANSWER_LIMIT_S = 30.0
HEALTH_LIMIT_S = 5.0


class LlamaServer:
    """The program, its flags, and how to start and address it; implements core.engine.Engine."""

    def __init__(self, command: Sequence[str], info: EngineInfo, flags: Flags, filler: str) -> None:
        self._command = tuple(command)
        self._flags = flags
        self._filler = filler
        self.info = info

    @property
    def flags(self) -> Flags:
        """What the program's help lists."""
        return self._flags

    def cannot(self, key: LoadKey, *, vision: bool = False) -> str | None:
        """What the program has no flag for: other methods, and expert counts, which the embedded one cannot set."""
        if vision:
            return f"{self.info.program} is asked for text alone here: prompts with images go to llama-mtmd-cli"
        if (flag := missing_for_experts(key, self._flags)) is not None:
            return f"{self.info.program} cannot set expert counts (no {flag}); use the llama-server program for them"
        if not key.is_plain:
            return llama_methods.cannot(key, self._flags, self.info.program)
        missing = missing_for_params(key, self._flags, OWN_PARAMS)
        return f"{self.info.program} has no flag for {AXES[missing].what}" if missing is not None else None

    def endpoint(self, spec: ServerSpec, port: int, alias: str) -> Endpoint:
        """On this port of loopback, under this name."""
        return Endpoint(port, alias)

    def ending(self, spec: ServerSpec, endpoint: Endpoint) -> Ending:
        """Signals are enough."""
        return Ending()

    def command(self, spec: ServerSpec, endpoint: Endpoint) -> tuple[str, ...]:
        """The argument list of a server start."""
        listen = ("--host", "127.0.0.1", "--port", str(endpoint.port), "--alias", endpoint.alias, "--metrics")
        return (*self._command, *self._parameters(spec, str(spec.key.k_startup)), *listen, *DEFAULT_ARGS, *spec.args)

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
                *self._parameters(spec, K_PLACE),
                *DEFAULT_ARGS,
                *spec.args,
            ),
        )

    def _parameters(self, spec: ServerSpec, k: str) -> list[str]:
        """The flags of a load in this program's dialect; a baseline carries no draft flag at all."""
        values = model_values(spec, k)
        given = given_flags(OWN_PARAMS, values, self.info.dialect)
        return [*given, *llama_methods.arguments(spec.key, k, self._flags)] if not spec.key.is_plain else given

    def client(self, spec: ServerSpec, endpoint: Endpoint) -> LlamaClient:
        """A client of the server that was started as `spec` at `endpoint`."""
        return LlamaClient(endpoint, spec.templated, self._filler, spec.key.stages)

    def peek(self, received: Sequence[tuple[float, bytes]]) -> tuple[Piece | PromptRead, ...]:
        """What these events of an answer that is not whole yet say."""
        return peek(received)

    def cause(self, log_tail: str) -> Cause | None:
        """What its log tells of a failure."""
        return first_cause(log_tail, HINTS)


class LlamaClient:
    """Requests to one running llama-server; implements core.engine.EngineClient."""

    def __init__(self, endpoint: Endpoint, templated: bool, filler: str, stages: Sequence[Stage] = ()) -> None:
        """`stages` are those that the server was started with: builds that take K of requests take the rest too."""
        self._stage = stages[0] if stages else Stage(DRAFT)
        self._http = Client(endpoint.port)
        self._templated = templated
        self._filler = filler
        self._filler_tokens: list[int] | None = None

    async def health(self) -> Health:
        """GET /health: connection refused, then 503 while the model is loaded, then 200."""
        try:
            await self._http.get_json("/health", limit_s=HEALTH_LIMIT_S)
        except HttpError as error:
            return Health.LOADING if error.status == 503 else Health.DOWN
        except TransportError:
            return Health.DOWN
        return Health.OK

    async def model_alias(self) -> str | None:
        """The first model id of GET /v1/models, which is what `--alias` set."""
        return await first_model(self._http, ANSWER_LIMIT_S)

    async def complete_one(self, limit_s: float) -> None:
        """Asks for one token; raises a transport error when none comes."""
        await self._http.post_json(
            "/completion", {"prompt": "Hello", "n_predict": 1, "cache_prompt": False}, limit_s=limit_s
        )

    async def generate(self, request: Request, *, limit_s: float, progress: Progress | None = None) -> Generation:
        """POST /completion, streamed with the server's timings in every chunk."""
        answer = await self._http.stream(
            "/completion", _body(request, self._stage), total_limit_s=limit_s, progress=progress
        )
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
        text = answer.get("prompt") if isinstance(answer, Mapping) else None
        if not isinstance(text, str):
            raise TransportError("the server's /apply-template gave no prompt")
        return text

    async def _filling(self, depth_tokens: int) -> str:
        """Exactly `depth_tokens` tokens of varied text, as the server's own tokenizer counts them."""
        if self._filler_tokens is None:
            answer = await self._http.post_json("/tokenize", {"content": self._filler}, limit_s=ANSWER_LIMIT_S)
            tokens = answer.get("tokens") if isinstance(answer, Mapping) else None
            if not isinstance(tokens, list) or not tokens:
                raise TransportError("the server's /tokenize gave no tokens")
            self._filler_tokens = [token for token in tokens if isinstance(token, int)]
        repeats = -(-depth_tokens // len(self._filler_tokens))
        tokens = (self._filler_tokens * repeats)[:depth_tokens]
        answer = await self._http.post_json("/detokenize", {"tokens": tokens}, limit_s=ANSWER_LIMIT_S)
        text = answer.get("content") if isinstance(answer, Mapping) else None
        if not isinstance(text, str):
            raise TransportError("the server's /detokenize gave no text")
        return f"{text}\n\n"

    async def context_tokens(self) -> int | None:
        """GET /props: the context of a slot. None of a server that has no such endpoint."""
        try:
            answer = await self._http.get_json("/props", limit_s=ANSWER_LIMIT_S)
        except HttpError:
            return None
        settings = answer.get("default_generation_settings") if isinstance(answer, Mapping) else None
        found = settings.get("n_ctx") if isinstance(settings, Mapping) else None
        return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else None

    async def count_tokens(self, text: str) -> int | None:
        """POST /tokenize, as /completion reads a prompt: with the tokens that stand before every text."""
        body = {"content": text, "add_special": True, "parse_special": True}
        try:
            answer = await self._http.post_json("/tokenize", body, limit_s=ANSWER_LIMIT_S)
        except HttpError:
            return None
        tokens = answer.get("tokens") if isinstance(answer, Mapping) else None
        return len(tokens) if isinstance(tokens, list) and tokens else None

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

    async def evidence(self) -> Mapping[str, str]:
        """GET /slots with a short limit: what a hanging server says that it is doing."""
        try:
            return {"slots": (await self._http.get_text("/slots", limit_s=2.0))[:2000]}
        except TransportError as error:
            return {"slots": f"no answer: {error}"}

    async def close(self) -> None:
        """Drops all connections."""
        await self._http.close()


def _body(request: Request, stage: Stage) -> dict[str, object]:
    """The body of a completion request; p_min and n_min are always sent, as old builds default to drafting less."""
    body: dict[str, object] = {
        "prompt": request.prompt,
        "n_predict": request.max_tokens,
        "temperature": request.temperature,
        "seed": request.seed,
        "cache_prompt": request.cache_prompt,
        "stream": True,
        "timings_per_token": True,
        "return_progress": True,
        "return_tokens": True,
    }
    if request.with_margins:
        body["n_probs"] = 2
    if request.k is not None:
        body |= {"speculative.n_max": request.k, **_fields(stage)}
    return body


def _fields(stage: Stage) -> dict[str, object]:
    """The fields of a request that set the parameters of a draft model."""
    found = ((param.field, param.name) for param in OWN_PARAMS if param.field is not None)
    return {field: stage.value(name) for field, name in found if name in axes.PARAMS}


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
    command, shown_as = resolve(program)
    flags = read_flags(command, shown_as, env=env)
    version = read_version(run_briefly([*command, "--version"], shown_as, BRIEF_LIMIT_S, env))
    info = EngineInfo(KIND, shown_as, version, flags.dialect, k_scope, remembers=remembering(KIND))
    return LlamaServer(command, info, flags, filler)
