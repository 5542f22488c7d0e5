"""The openai engine: a server with /v1/chat/completions that runs already, or that a command of the profile starts.

vLLM, SGLang, LM Studio, Ollama, and any other. What such a server can be told and what it tells differs from one to the
next; who it is is found by asking it (`detect`). Its K is an argument of its start, so that every K is a load
of its own; a server that runs already has the K that it has, and its answers or metrics have to prove it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from specdash.core.engine import (
    ALIAS,
    CACHED,
    TIMINGS,
    TOKEN_IDS,
    UNKNOWN,
    CauseKind,
    Endpoint,
    EngineInfo,
    FindContext,
    Param,
    ServerSpec,
)
from specdash.core.events import K_PLACE
from specdash.core.generation import Piece
from specdash.core.methods import BASELINE, DRAFT
from specdash.core.plan import KScope, LoadKey
from specdash.core.process_spec import PLACEHOLDERS, StopPolicy, mentions
from specdash.core.profile import EngineConfig, for_method
from specdash.core.transport import TransportError
from specdash.engines.base import BaseEngine
from specdash.engines.http import Client
from specdash.engines.log_diagnosis import hints
from specdash.engines.openai.client import REQUEST_PARAMS, OpenAiClient, OpenAiServer
from specdash.engines.openai.detect import Flavour, ServerFacts, ask
from specdash.engines.openai.stream import decode_partial
from specdash.engines.params import setting_param
from specdash.engines.placeholders import complaint, filled, places_of, values_of, with_environment, with_variables
from specdash.errors import EngineError

log = logging.getLogger(__name__)

KIND = "openai"

LOOK_LIMIT_S = 3.0
PASTED_PORT = "8000"
PASTED_ALIAS = "model"

_PLACES = ", ".join(f"{{{place}}}" for place in PLACEHOLDERS)
_DRAFT = "LM Studio alone takes the draft in a request; others get it where they are started"
PARAMS: tuple[Param, ...] = (
    setting_param("url", "where it runs already; one for each method, where they differ"),
    setting_param("launch", f"the command that starts it, with {_PLACES} in it"),
    setting_param("stop", "a command that ends it cleanly, before any signal"),
    *REQUEST_PARAMS,
    setting_param("draft_model", _DRAFT, scope="request", field="draft_model", key="drafts.model"),
    setting_param("k", "an argument of the launch command, as {k}; no request can set it", key="sweep.k"),
    setting_param("api_key_env", "the variable that holds its key, sent as a bearer token", scope="request"),
    setting_param("body", "further fields for every request", scope="request"),
    setting_param("health", "the path that says it is up (/health, else /v1/models)"),
    setting_param("ready", "a path that says it is ready, beside that"),
    setting_param("metrics", "the path of its counters (vLLM and SGLang: /metrics)"),
)

NOT_REPORTED: Mapping[str, str] = MappingProxyType(
    {
        TIMINGS: "Such servers send no times of their own, so that this machine's clock counts.",
        CACHED: "Not every such server counts the prompt tokens that it took from its cache.",
        TOKEN_IDS: "Not every such server sends token ids, so that texts are compared by their characters.",
        ALIAS: "Such servers are not given a name of this run, so that only the port proves whose they are.",
    }
)

HINTS = (
    *hints(
        (
            r"OutOfMemoryError|out of memory|No available memory for the cache|KV cache is needed, which is larger",
            "It ran out of memory: a shorter --max-model-len, another --gpu-memory-utilization, or a smaller model.",
        ),
        (
            r"unrecognized arguments|no such option|unexpected keyword argument",
            "This build does not know a flag of the launch command; see its --help.",
        ),
    ),
    *hints(
        (
            r"address already in use|couldn't bind|failed to bind",
            "The port is taken by another program; write {port} in launch and leave engine.port at 0.",
        ),
        kind=CauseKind.PORT_TAKEN,
    ),
    *hints(
        (
            r"Can't load tokenizer|instantiate the backend tokenizer|tokenizer.* not found|no tokenizer",
            "The model folder has no tokenizer; download it whole (tokenizer.json, tokenizer_config.json).",
        ),
        (
            r"not a valid model identifier|does not appear to have a file named|Repository Not Found"
            r"|Invalid repository ID|Repo id must be|No such file or directory",
            "The model is not there; check targets.path or targets.model, and what launch makes of {model}.",
        ),
        (
            r"validation errors? for SpeculativeConfig|speculative.*(not supported|invalid|unknown|must)",
            "The server refuses the speculation asked for; check --speculative-config in the launch command.",
        ),
    ),
)


class OpenAiEngine(BaseEngine):
    """How such servers are started and reached; implements core.engine.Engine."""

    hints = HINTS

    def __init__(
        self, config: EngineConfig, headers: Mapping[str, str], filler: str, facts: ServerFacts | None
    ) -> None:
        self._config = config
        self._headers = headers
        self._filler = filler
        self._found = facts
        self._seen = facts

    @property
    def info(self) -> EngineInfo:
        """The address or the command, and which server was found there.

        Version and flavour stay as they were found, "unknown" for what is launched later: they are part of what a load
        is known by, and must not change within a run. What is untold follows the server that answered last.
        """
        launched = next((command[0] for command in self._config.launch.values()), "")
        program = launched or next(iter(self._config.url.values()), "")
        scope = KScope.STARTUP if self._config.k_scope == "auto" else KScope(self._config.k_scope)
        version, dialect = UNKNOWN, UNKNOWN
        if self._found is not None:
            version, dialect = self._found.version, self._found.flavour.value
        untold = not_reported_by(self._seen.flavour) if self._seen is not None else dict(NOT_REPORTED)
        return EngineInfo(KIND, program, version, dialect, scope, untold)

    def unsupported_reason(self, key: LoadKey, *, vision: bool = False) -> str | None:
        """What the running server has no way to do, and what the launch command needs and the load has not."""
        if vision:
            return "images are not sent to servers of this kind"
        method = key.method
        flavour = self._seen.flavour if self._seen is not None else None
        if flavour is Flavour.OLLAMA and method != BASELINE:
            return "Ollama has no speculative decoding that can be asked for"
        if flavour is Flavour.LM_STUDIO and method not in (BASELINE, DRAFT):
            return f"LM Studio speculates with a draft model only, not with {method}"
        if key.config is not None:
            return None  # the configuration may bring a command or a server of its own
        command = for_method(self._config.launch, method)
        if command is None:
            given = {*self._config.launch, *self._config.url}
            if given and for_method(self._config.url, method) is None:
                return f"the profile names no server for {method}; there is one for {', '.join(sorted(given))}"
            return None
        return complaint(command, key, places_of(key))

    def command(self, spec: ServerSpec, endpoint: Endpoint) -> tuple[str, ...]:
        """The launch command with its places filled, and the arguments of the profile; () for a server that runs."""
        if endpoint.url is not None or not spec.launch:
            return ()
        values = values_of(spec, endpoint)
        missing = complaint(spec.launch, spec.key, frozenset(values))
        if missing is not None:
            todo = "Give a command for each method: launch = { baseline = […], draft = […] }"
            raise EngineError(f"engine.launch: {missing}", todo)
        return with_variables((*filled(spec.launch, values), *spec.args), values)

    def endpoint(self, spec: ServerSpec, port: int, alias: str) -> Endpoint:
        """The address of the profile, or this port, with a name for the model where the launch command takes one."""
        return Endpoint(port, alias if mentions(spec.launch, "alias") else "", base_of(spec.url) or None)

    def stop_policy(self, spec: ServerSpec, endpoint: Endpoint) -> StopPolicy:
        """The stop command of the profile, and the pid file that its launch command leaves."""
        stop = filled(spec.stop, values_of(spec, endpoint))
        return StopPolicy(stop=stop, pid_file=self._config.pid_file, cool_down_s=self._config.cool_down_s)

    def command_to_paste(self, spec: ServerSpec) -> tuple[str, ...]:
        """The launch command as a user would type it, on a port of its own; () for a server that runs already."""
        if not spec.launch or spec.url:
            return ()
        values = values_of(spec, Endpoint(0, PASTED_ALIAS)) | {"port": PASTED_PORT}
        if "k" in values:
            values["k"] = K_PLACE
        return with_environment(spec.env, (*spec.wrap, *filled(spec.launch, values), *spec.args))

    def client(self, spec: ServerSpec, endpoint: Endpoint) -> OpenAiClient:
        """A client of that server."""
        server = OpenAiServer(
            where=endpoint.url if endpoint.url is not None else endpoint.port,
            model=endpoint.alias or spec.model,
            draft_model=spec.draft_model or (spec.key.draft or ""),
            health=self._config.health,
            ready=self._config.ready,
            metrics=self._config.metrics,
            headers=self._headers,
            fields=self._config.body,
            alias=endpoint.alias,
            k=spec.key.k_startup,
            speculates=spec.key.speculates,
        )
        return OpenAiClient(server, self._filler, self._learn)

    def _learn(self, facts: ServerFacts) -> None:
        log.info("the server that answers is %s, version %s", facts.flavour.value, facts.version)
        self._seen = facts

    def decode_partial(self, received: Sequence[tuple[float, bytes]]) -> tuple[Piece, ...]:
        """What these events of an answer that is not whole yet say."""
        return decode_partial(received)


def base_of(url: str) -> str:
    """An address without the /v1 that other programs want at its end."""
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


def not_reported_by(flavour: Flavour) -> dict[str, str]:
    """What servers of a flavour never tell, or not unless they were started so."""
    if flavour is Flavour.LLAMA_SERVER:
        return {name: why for name, why in NOT_REPORTED.items() if name in (TOKEN_IDS, ALIAS)}
    reasons = dict(NOT_REPORTED)
    if flavour is Flavour.VLLM:
        reasons[TIMINGS] = "vLLM sends its own times only with --enable-per-request-metrics."
        reasons[CACHED] = "vLLM counts cached prompt tokens only with --enable-prompt-tokens-details."
    elif flavour is Flavour.SGLANG:
        reasons[CACHED] = "SGLang counts cached prompt tokens only where it is asked to and can."
    elif flavour is Flavour.LM_STUDIO:
        reasons[TIMINGS] = "LM Studio does not document where its times begin and end."
    return reasons


def find(config: EngineConfig, context: FindContext) -> OpenAiEngine:
    """The engine of a profile; a server that runs already is asked who it is, if it answers now.

    EngineError where the variable that should hold the key is not set, or holds what no header can.
    """
    headers = _headers(config.api_key_env)
    urls = tuple(config.url.values())
    facts = _look(base_of(urls[0]), headers) if urls and not config.launch else None
    return OpenAiEngine(config, headers, context.filler, facts)


def _headers(variable: str) -> dict[str, str]:
    """The header with the key; none where no variable is named."""
    if not variable:
        return {}
    key = os.environ.get(variable, "").strip()
    if not key:
        raise EngineError(f"engine.api_key_env: the variable {variable} is not set", f"export {variable}=…")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise EngineError(f"engine.api_key_env: what {variable} holds is no key: it has spaces or signs in it", "")
    return {"Authorization": f"Bearer {key}"}


def _look(url: str, headers: Mapping[str, str]) -> ServerFacts | None:
    """What a running server says of itself; None when it does not answer now, or not as such servers do."""
    found: list[ServerFacts] = []

    async def asked() -> None:
        client = Client(url, headers)
        try:
            async with asyncio.timeout(LOOK_LIMIT_S):
                found.append(await ask(client, LOOK_LIMIT_S))
        except (TransportError, TimeoutError):
            pass
        finally:
            await client.close()

    # A thread of its own, since whoever looks for engines may be inside an event loop.
    thread = threading.Thread(target=lambda: asyncio.run(asked()), daemon=True)
    thread.start()
    thread.join(2 * LOOK_LIMIT_S)
    return found[0] if found else None
