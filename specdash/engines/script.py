"""The script engine: a server that launch scripts of the user start and stop, such as an MLX cluster over JACCL.

The command is the profile's, filled in with what changes from load to load, and the same is in its environment. It may
stay in the foreground, or leave the server behind and end. What listens has an OpenAI-style API. Every K, and every
other parameter of speculation, is an argument of the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from specdash.core.axes import PLACED
from specdash.core.engine import UNKNOWN, Cause, Endpoint, EngineInfo, Param, ServerSpec
from specdash.core.events import K_PLACE
from specdash.core.generation import Piece, PromptRead
from specdash.core.launch import PLACES, Ending, names, variable
from specdash.core.plan import KScope, LoadKey
from specdash.core.profile import EngineConfig
from specdash.engines.openai import PASTED_PORT, OpenAiEngine, untold_by
from specdash.engines.openai import UNTOLD as OPENAI_UNTOLD
from specdash.engines.openai_client import Server
from specdash.engines.openai_flavour import ServerFacts
from specdash.engines.placeholders import complaint, filled, places_of, values_of
from specdash.engines.registry import FindContext
from specdash.engines.script_client import HEALTH, ScriptClient
from specdash.errors import EngineError

KIND = "script"
TITLE = "a server that scripts of yours start and stop: an MLX cluster, llama.cpp with RPC workers, containers"
INSTALL = "nothing: write a launch script and a stop script; profiles/mlx-cluster.toml and llama-rpc.toml show how"
PROGRAMS: tuple[str, ...] = ()
UNTOLD = OPENAI_UNTOLD

STARTUP, REQUEST = "startup", "request"
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
    *(Param(name, STARTUP, {}, None, f"the same: {{{name}}}, ${variable(name)}", f"sweep.{name}") for name in PLACED),
    Param(
        "model", REQUEST, {}, "model", "what it calls the target; the only model it has, if left out", "targets.model"
    ),
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


TOLD = ("port", "k", *PLACED, "method")  # in a command to paste, where the words do not name them


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
            k=spec.key.k_startup,
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
