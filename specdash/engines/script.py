"""The script engine: a server that launch scripts of the user start and stop, such as an MLX cluster over JACCL.

The command is the profile's, filled in with what changes from load to load, and the same is in its environment. It may
stay in the foreground, or leave the server behind and end. What listens has an OpenAI-style API. Every K, and every
other parameter of speculation, is an argument of the start.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from specdash.core.engine import (
    UNKNOWN,
    Cause,
    Endpoint,
    EngineInfo,
    FindContext,
    Health,
    KProbe,
    Param,
    Request,
    ServerSpec,
)
from specdash.core.events import K_PLACE
from specdash.core.generation import Generation, Piece, PromptRead
from specdash.core.heartbeat import heartbeat
from specdash.core.launch import PLACES, Ending, names, variable
from specdash.core.measure import Verdict
from specdash.core.plan import KScope, LoadKey
from specdash.core.profile import EngineConfig
from specdash.core.prompts import Prompt
from specdash.core.transport import BUSY, HttpError, Progress, ServerGaveUp, TransportError
from specdash.engines.http import Client
from specdash.engines.openai.client import (
    HEALTH_LIMIT_S,
    METRICS_LIMIT_S,
    REQUEST_PARAMS,
    OpenAiClient,
    Server,
)
from specdash.engines.openai.detect import ServerFacts
from specdash.engines.openai.engine import PASTED_PORT, OpenAiEngine, untold_by
from specdash.engines.openai.engine import UNTOLD as OPENAI_UNTOLD
from specdash.engines.openai.metrics import read_metrics, unknown
from specdash.engines.placeholders import complaint, filled, places_of, values_of
from specdash.errors import EngineError

KIND = "script"
UNTOLD = OPENAI_UNTOLD

HEALTH = "/health"
METRICS = ("/v1/spec_decode/metrics", "/metrics")  # tried in this order where the profile names none
GIVEN_UP: Mapping[str, str] = {
    "distributed_fatal": "A node of the cluster is lost; look into the log of each node.",
    "inference_stalled": "It stopped generating by itself; look into its log.",
    "shutting_down": "Somebody else stops it.",
}
OVERLOADED_PAUSE_S = 1.0  # for refusals that do not say for how long

_STATUS = re.compile(r'"status"\s*:\s*"(\w+)"')
_NOT_READY = re.compile(r'"ready"\s*:\s*false')

STARTUP = "startup"
PARAMS: tuple[Param, ...] = (
    Param(
        "launch",
        STARTUP,
        {},
        None,
        "the command that starts it, for all methods or one for each; with {port}, {k} and so on in it",
        "engine.launch",
    ),
    Param("stop", STARTUP, {}, None, "a command that ends it cleanly, before any signal", "engine.stop"),
    Param("pid_file", STARTUP, {}, None, "where a command that ends leaves the server's process id", "engine.pid_file"),
    Param("k", STARTUP, {}, None, "an argument of the launch command: {k}, $SPECDASH_K", "sweep.k"),
    Param("ngram_n", STARTUP, {}, None, "the same: {ngram_n}, $SPECDASH_NGRAM_N", "sweep.ngram_n"),
    *REQUEST_PARAMS,
    Param("health", STARTUP, {}, None, f"the path that says it is up ({HEALTH})", "engine.health"),
    Param("ready", STARTUP, {}, None, "a path that says it is ready, beside a first completion", "engine.ready"),
    Param(
        "metrics",
        STARTUP,
        {},
        None,
        "the path of its counters (/v1/spec_decode/metrics, else /metrics)",
        "engine.metrics",
    ),
    Param("cool_down_s", STARTUP, {}, None, "seconds between its end and the next start", "engine.cool_down_s"),
)


TOLD = ("port", "k", "ngram_n", "method")  # in a command to paste, where the words do not name them


class ScriptEngine:
    """Launch scripts, and how to speak to what they start; implements core.engine.Engine."""

    def __init__(self, config: EngineConfig, filler: str) -> None:
        self._config = config
        self._filler = filler
        self._base = OpenAiEngine(config, {}, filler, None)  # which knows the same commands and the same API
        self._seen: ServerFacts | None = None

    @property
    def info(self) -> EngineInfo:
        """The command. Its K is always that of its start; what is untold follows the server that answered last.

        Version and flavour stay unknown: they are part of what a load is known by, and must not change within a run.
        """
        program = next((command[0] for command in self._config.launch.values()), "")
        untold = untold_by(self._seen.flavour) if self._seen is not None else dict(UNTOLD)
        return EngineInfo(KIND, program, UNKNOWN, UNKNOWN, KScope.STARTUP, untold)

    def cannot(self, key: LoadKey, *, vision: bool = False) -> str | None:
        """What a launch command needs and the load has not."""
        return self._base.cannot(key, vision=vision)

    def command(self, spec: ServerSpec, endpoint: Endpoint) -> tuple[str, ...]:
        """The launch command with its places filled, and the arguments of the profile."""
        if not spec.launch:
            raise EngineError(
                f"the profile has no launch command for {spec.method}",
                "Give one for each method: launch = { baseline = […], ngram = […] }",
            )
        missing = complaint(spec.launch, spec.key, places_of(spec.key))
        if missing is not None:
            raise EngineError(missing)
        return (*filled(spec.launch, values_of(spec, endpoint)), *spec.args)

    def endpoint(self, spec: ServerSpec, port: int, alias: str) -> Endpoint:
        """The port given; a name of this launch only where the command passes it on."""
        return Endpoint(port, alias if names(spec.launch, "alias") else "")

    def ending(self, spec: ServerSpec, endpoint: Endpoint) -> Ending:
        """The stop command, the pid file, and what both commands are told in their environment."""
        values = values_of(spec, endpoint)
        return Ending(
            stop=filled(spec.stop, values),
            pid_file=self._config.pid_file,
            cool_down_s=self._config.cool_down_s,
            daemon=True,
            env={variable(name): values.get(name, "") for name in PLACES},
        )

    def command_to_paste(self, spec: ServerSpec) -> tuple[str, ...]:
        """The launch command as a user would type it, with what it may read from its environment."""
        values = values_of(spec, Endpoint(self._config.port or int(PASTED_PORT), ""))
        if "k" in values:
            values["k"] = K_PLACE
        told = {name: values[name] for name in TOLD if name in values and not names(spec.launch, name)}
        env = {variable(name): value for name, value in told.items()}
        return self._base.command_to_paste(replace(spec, env={**env, **spec.env}))

    def client(self, spec: ServerSpec, endpoint: Endpoint) -> ScriptClient:
        """A client of that server."""
        names_model = bool(spec.model) or spec.target is None
        server = Server(
            where=endpoint.port,
            model=endpoint.alias or (spec.model if names_model else ""),
            alias=endpoint.alias,
            health=self._config.health or HEALTH,
            ready=self._config.ready,
            metrics=self._config.metrics,
            k=spec.key.k,
            speculates=spec.key.speculates,
        )
        return ScriptClient(server, self._filler, self._learn)

    def _learn(self, facts: ServerFacts) -> None:
        self._seen = facts

    def peek(self, received: Sequence[tuple[float, bytes]]) -> tuple[Piece | PromptRead, ...]:
        """What these events of an answer that is not whole yet say."""
        return self._base.peek(received)

    def cause(self, log_tail: str) -> Cause | None:
        """What its log tells of a failure."""
        return self._base.cause(log_tail)


def find(config: EngineConfig, context: FindContext) -> ScriptEngine:
    """The engine of a profile; that its scripts are there is for `check` to say."""
    return ScriptEngine(config, context.filler)


log = logging.getLogger(__name__)


class ScriptClient:
    """A connection to one such server; implements core.engine.EngineClient. `server.k` is the K of its start."""

    def __init__(self, server: Server, filler: str, on_facts: Callable[[ServerFacts], None]) -> None:
        self._server = server
        self._make: Callable[[Server], OpenAiClient] = lambda found: OpenAiClient(found, filler, on_facts)
        self._http = Client(server.where)
        self._inner = self._make(server)
        self._tells_k = False
        self._said = ""

    async def health(self) -> Health:
        """What its health says; EngineError where it says that it has given up."""
        word, answer = await self._word()
        if word in GIVEN_UP:
            raise EngineError(f"the server says {word!r} of itself", GIVEN_UP[word])
        if _NOT_READY.search(answer):
            return Health.LOADING
        return await self._inner.health()

    async def _word(self) -> tuple[str, str]:
        """The status that its health tells, and the answer; "" where it tells none."""
        try:
            answer = await self._http.get_text(self._server.health or HEALTH, HEALTH_LIMIT_S)
        except HttpError as error:
            answer = error.excerpt
        except TransportError:
            return "", ""
        found = _STATUS.search(answer)
        word = found[1] if found is not None else ""
        if word != self._said and word not in ("", "ok"):
            log.warning("the server's health says %s", word)
        self._said = word
        return word, answer

    async def model_alias(self) -> str | None:
        """The name of this launch where the script passes it on. Looks for metrics that tell what was drafted."""
        await self._find_metrics()
        return await self._inner.model_alias()

    async def _find_metrics(self) -> None:
        """Takes the first metrics path that says anything of speculation; the profile's own is taken in any case."""
        for path in (self._server.metrics,) if self._server.metrics else METRICS:
            try:
                found = read_metrics(await self._http.get_text(path, METRICS_LIMIT_S))
            except TransportError as error:
                found = unknown(str(error))
            if found.enabled is None and found.drafts is None:
                log.info("no drafting is told at %s: %s", path, found.reason)
                continue
            self._tells_k = found.k_now is not None
            if path != self._server.metrics:
                await self._inner.close()
                self._server = replace(self._server, metrics=path)
                self._inner = self._make(self._server)
            return

    async def complete_one(self, limit_s: float) -> None:
        """Asks for one token."""
        try:
            await self._inner.complete_one(limit_s)
        except TransportError:
            word, _ = await self._word()
            if word in GIVEN_UP:
                raise EngineError(f"the server says {word!r} of itself", GIVEN_UP[word]) from None
            raise

    async def generate(self, request: Request, *, limit_s: float, progress: Progress | None = None) -> Generation:
        """One streamed generation; a server that is overloaded is asked again, for as long as the request may take.

        Raises ServerGaveUp where its health says that it answers no more.
        """
        due_s = heartbeat().ran_s() + limit_s
        while True:
            try:
                left_s = due_s - heartbeat().ran_s()
                return self._judged(await self._inner.generate(request, limit_s=left_s, progress=progress))
            except TransportError as error:
                word, _ = await self._word()
                if word in GIVEN_UP:
                    raise ServerGaveUp(f"says {word!r} of itself") from error
                is_busy = isinstance(error, HttpError) and error.status in BUSY and error.retry_after_s is None
                if not is_busy or heartbeat().ran_s() + OVERLOADED_PAUSE_S >= due_s:
                    raise
                log.warning("asked again in %.1f s: %s", OVERLOADED_PAUSE_S, error)
                await asyncio.sleep(OVERLOADED_PAUSE_S)

    def _judged(self, generation: Generation) -> Generation:
        """With what speaks against it where the server itself says that another K was in force."""
        k, seen = self._server.k, generation.k_seen
        if not self._tells_k or k is None or seen in (None, k):
            return generation
        said = f"K = {k} was asked for, and the server says that it drafted up to {seen} (adaptive_k_current)"
        todo = "start it with --no-adaptive-k --no-spec-decode-dynamic"
        problems = (*generation.problems, Verdict.K_NOT_EFFECTIVE.value, f"{said}: {todo}")
        return replace(generation, problems=problems)

    async def render(self, prompt: Prompt, depth_tokens: int) -> str:
        """The prompt as text; its messages are sent for that text."""
        return await self._inner.render(prompt, depth_tokens)

    async def context_tokens(self) -> int | None:
        """Nothing that such a server tells."""
        return await self._inner.context_tokens()

    async def count_tokens(self, text: str) -> int | None:
        """Nothing that such a server tells."""
        return await self._inner.count_tokens(text)

    async def probe_k(self, k_startup: int, *, limit_s: float, progress: Progress | None = None) -> KProbe:
        """K is an argument of the launch script, so there is nothing to try."""
        return await self._inner.probe_k(k_startup, limit_s=limit_s, progress=progress)

    async def evidence(self) -> Mapping[str, str]:
        """What its health says, with a short limit."""
        return await self._inner.evidence()

    async def close(self) -> None:
        """Drops all connections."""
        await self._inner.close()
        await self._http.close()
