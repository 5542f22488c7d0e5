"""The script engine: a server that launch scripts of the user start and stop, such as an MLX cluster over JACCL.

The command is the profile's, filled in with what changes from load to load, and the same is in its environment. It may
stay in the foreground, or leave the server behind and end. What listens has an OpenAI-style API. Every K, and every
other parameter of speculation, is an argument of the start.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from specdash.core.axes import PLACED
from specdash.core.engine import (
    Endpoint,
    EngineInfo,
    FindContext,
    Health,
    Param,
    Request,
    ServerSpec,
)
from specdash.core.events import K_PLACE
from specdash.core.generation import Generation
from specdash.core.heartbeat import heartbeat
from specdash.core.measure import Verdict
from specdash.core.plan import KScope
from specdash.core.process_spec import PLACEHOLDERS, StopPolicy, mentions, variable
from specdash.core.profile import EngineConfig
from specdash.core.transport import BUSY, HttpError, Progress, ServerGaveUp, TransportError
from specdash.engines.base import HEALTH_LIMIT_S
from specdash.engines.openai.client import METRICS_LIMIT_S, REQUEST_PARAMS, OpenAiClient, OpenAiServer
from specdash.engines.openai.detect import ServerFacts
from specdash.engines.openai.engine import NOT_REPORTED as OPENAI_NOT_REPORTED
from specdash.engines.openai.engine import PASTED_PORT, OpenAiEngine
from specdash.engines.openai.metrics import read_metrics, unknown_counters
from specdash.engines.params import setting_param
from specdash.engines.placeholders import complaint, filled, places_of, values_of
from specdash.errors import EngineError

log = logging.getLogger(__name__)

KIND = "script"
NOT_REPORTED = OPENAI_NOT_REPORTED

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

PARAMS: tuple[Param, ...] = (
    setting_param(
        "launch", "the command that starts it, for all methods or one for each; with {port}, {k} and so on in it"
    ),
    setting_param("stop", "a command that ends it cleanly, before any signal"),
    setting_param("pid_file", "where a command that ends leaves the server's process id"),
    setting_param("k", "an argument of the launch command: {k}, $SPECDASH_K", key="sweep.k"),
    *(setting_param(name, f"the same: {{{name}}}, ${variable(name)}", key=f"sweep.{name}") for name in PLACED),
    *REQUEST_PARAMS,
    setting_param("health", f"the path that says it is up ({HEALTH})"),
    setting_param("ready", "a path that says it is ready, beside a first completion"),
    setting_param("metrics", "the path of its counters (/v1/spec_decode/metrics, else /metrics)"),
    setting_param("cool_down_s", "seconds between its end and the next start"),
)


IN_ENVIRONMENT = ("port", "k", *PLACED, "method")  # in a command to paste, where the words do not name them


class ScriptEngine(OpenAiEngine):
    """Launch scripts, and how to speak to what they start; implements core.engine.Engine."""

    def __init__(self, config: EngineConfig, filler: str) -> None:
        super().__init__(config, {}, filler, None)

    @property
    def info(self) -> EngineInfo:
        """The command. K is that of its start; what is not reported follows the server that answered last."""
        return replace(super().info, kind=KIND, k_scope=KScope.STARTUP)

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

    def stop_policy(self, spec: ServerSpec, endpoint: Endpoint) -> StopPolicy:
        """The stop command, the pid file, and what both commands are told in their environment."""
        values = values_of(spec, endpoint)
        env = {variable(name): values.get(name, "") for name in PLACEHOLDERS}
        return replace(super().stop_policy(spec, endpoint), daemon=True, env=env)

    def command_to_paste(self, spec: ServerSpec) -> tuple[str, ...]:
        """The launch command as a user would type it, with what it may read from its environment."""
        values = values_of(spec, Endpoint(self._config.port or int(PASTED_PORT), ""))
        if "k" in values:
            values["k"] = K_PLACE
        told = {name: values[name] for name in IN_ENVIRONMENT if name in values and not mentions(spec.launch, name)}
        env = {variable(name): value for name, value in told.items()}
        return super().command_to_paste(replace(spec, env={**env, **spec.env}))

    def client(self, spec: ServerSpec, endpoint: Endpoint) -> ScriptClient:
        """A client of that server."""
        names_model = bool(spec.model) or spec.target is None
        server = OpenAiServer(
            where=endpoint.port,
            model=endpoint.alias or (spec.model if names_model else ""),
            alias=endpoint.alias,
            health=self._config.health or HEALTH,
            ready=self._config.ready,
            metrics=self._config.metrics,
            k=spec.key.k_startup,
            speculates=spec.key.speculates,
        )
        return ScriptClient(server, self._filler, self._learn)


def find(config: EngineConfig, context: FindContext) -> ScriptEngine:
    """The engine of a profile; that its scripts are there is for `check` to say."""
    return ScriptEngine(config, context.filler)


class ScriptClient(OpenAiClient):
    """A connection to one such server; implements core.engine.EngineClient. `server.k` is the K of its start."""

    def __init__(self, server: OpenAiServer, filler: str, on_facts: Callable[[ServerFacts], None]) -> None:
        super().__init__(server, filler, on_facts)
        self._tells_k = False
        self._said = ""

    async def health(self) -> Health:
        """What its health says; EngineError where it says that it has given up."""
        word, answer = await self._word()
        if word in GIVEN_UP:
            raise EngineError(f"the server says {word!r} of itself", GIVEN_UP[word])
        if _NOT_READY.search(answer):
            return Health.LOADING
        return await super().health()

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
        return await super().model_alias()

    async def _find_metrics(self) -> None:
        """Takes the first metrics path that says anything of speculation; the profile's own is taken in any case."""
        for path in (self._server.metrics,) if self._server.metrics else METRICS:
            try:
                found = read_metrics(await self._http.get_text(path, METRICS_LIMIT_S))
            except TransportError as error:
                found = unknown_counters(str(error))
            if found.enabled is None and found.drafts is None:
                log.info("no drafting is told at %s: %s", path, found.reason)
                continue
            self._tells_k = found.k_now is not None
            if path != self._server.metrics:
                self._server = replace(self._server, metrics=path)
            return

    async def complete_one(self, limit_s: float) -> None:
        """Asks for one token."""
        try:
            await super().complete_one(limit_s)
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
                return self._judged(await super().generate(request, limit_s=left_s, progress=progress))
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
