"""Requests to one server with an OpenAI-style API, whoever made it.

Nothing is assumed of the server: who it is is asked once it answers (`detect`), an endpoint that it lacks is
done without, and what it does not tell is None in the Generation, with the reason in `unknown`. Everything that is
asked about a request beside the request itself happens before it is sent or after it has ended.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, TypeVar

from specdash.core.engine import CACHED, DRAFTED, Health, KProbe, Request
from specdash.core.generation import Generation
from specdash.core.heartbeat import heartbeat
from specdash.core.plan import KScope
from specdash.core.prompts import Message, Prompt
from specdash.core.transport import BUSY, BadAnswer, HttpError, Progress, RequestTimeout, TransportError
from specdash.engines.base import ANSWER_LIMIT_S, HEALTH_LIMIT_S, BaseClient, filled_to
from specdash.engines.openai.detect import (
    MODELS,
    NO_PATH,
    ServerFacts,
    ask,
    is_other_kind,
    metrics_path,
    more_fields,
    other_kind_error,
    prefix,
    tokens_of,
    uncounted_cache,
    unnamed,
)
from specdash.engines.openai.metrics import SpecCounters, difference, read_metrics, with_counters
from specdash.engines.openai.stream import decode
from specdash.engines.params import request_fields, sampling_params, setting_param, values_in

log = logging.getLogger(__name__)

_MODEL = "what it calls the target; the only model it has, if left out"
REQUEST_PARAMS = (
    setting_param("model", _MODEL, scope="request", field="model", key="targets.model"),
    *sampling_params(),
)

CHAT = "/chat/completions"
COMPLETIONS = "/completions"

METRICS_LIMIT_S = 5.0
CHARACTERS_PER_TOKEN = 4  # of English, for servers that do not count
SETTLE_TRIES = 5  # counters of a request may be published a little after its last byte
SETTLE_S = 0.05
PAUSE_FIRST_S = 0.05
PAUSE_MOST_S = 5.0
NO_CHAT = frozenset({400, 404, 405, 422, 501})  # how servers say that a model has no chat template

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OpenAiServer:
    """How a server is reached and what it was started as.

    `where` is a port of 127.0.0.1 or a base URL without /v1. `model` is the name that requests carry ("": the only one
    that it offers), `draft_model` that of the draft, for servers that take it per request. `health`, `ready` and
    `metrics` are paths ("": the usual ones, none, and those of its flavour). `fields` go into every request. `alias` is
    the name that the model was given for this launch, "" where there is none. `k` and `speculates` are what it was
    started with, as far as is known.
    """

    where: int | str
    model: str = ""
    draft_model: str = ""
    health: str = ""
    ready: str = ""
    metrics: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    fields: Mapping[str, Any] = field(default_factory=dict)
    api: str = CHAT
    alias: str = ""
    k: int | None = None
    speculates: bool = False


class OpenAiClient(BaseClient):
    """A connection to one running server; implements core.engine.EngineClient.

    `filler` is text to fill contexts with; `on_facts` is told what the server says of itself, once it says it.
    """

    def __init__(
        self, server: OpenAiServer, filler: str, on_facts: Callable[[ServerFacts], None] | None = None
    ) -> None:
        super().__init__(server.where, filler, server.headers)
        self._server = server
        self._on_facts = on_facts
        self.evidence_path = server.health or "/health"
        self._api = server.api
        self._known: ServerFacts | None = None
        self._answered_as: str | None = None
        self._missing_health = ""  # the health path that is not there
        self._no_metrics = ""  # why the metrics endpoint is not asked any more
        self._tells_itself = False  # its answers have the counts, so that the metrics are not needed
        self._messages: dict[str, Sequence[Message]] = {}

    async def health(self) -> Health:
        """The health path, then the readiness path if there is one; where there is no health path, the model list.

        Busy or loading (429, 503) is LOADING. Any other refusal is an answer, and what it means is for the first
        completion to say: a wrong key, for example, or that neither path is there. Only a server that was launched
        with a health path of its own is not up before it has that.
        """
        path = self._server.health or "/health"
        found = await self._state(path)
        self._missing_health = "" if found is not None else path
        if found is None:
            waits = self._server.health and isinstance(self._server.where, int)
            found = await self._state(MODELS) or (Health.DOWN if waits else Health.OK)
        if found is Health.OK and self._server.ready:
            found = await self._state(self._server.ready) or Health.LOADING
        return found

    async def _state(self, path: str) -> Health | None:
        """What a path says of the server; None when it is not there."""
        try:
            await self._http.get_text(path, HEALTH_LIMIT_S)
        except HttpError as error:
            if error.status in NO_PATH:
                return None
            return Health.LOADING if error.status in BUSY else Health.OK
        except TransportError:
            return Health.DOWN
        return Health.OK

    async def model_alias(self) -> str | None:
        """The name that was given to this launch, if it is there; None where none was given.

        Asks who answers in either case, so that a stranger is found out here.
        """
        models = (await self._facts()).models
        if not self._server.alias:
            return None
        return self._server.alias if self._server.alias in models else next(iter(models), "no model")

    async def _facts(self) -> ServerFacts:
        if self._known is None:
            self._known = await ask(self._http)
            if self._on_facts is not None:
                self._on_facts(self._known)
        return self._known

    async def _model(self) -> str:
        """The name of the model in requests.

        Where the profile leaves it open: BadAnswer when the server has several, EngineError when it lists none.
        """
        if self._server.model:
            return self._server.model
        facts = await self._facts()
        if facts.unlisted:
            raise await unnamed(self._http, facts.unlisted, self._missing_health, ANSWER_LIMIT_S)
        models = facts.models
        if len(models) != 1:
            named = ", ".join(models[:8]) or "none"
            raise BadAnswer(f"the server offers {len(models)} models ({named}): set model in [[targets]]")
        return models[0]

    async def complete_one(self, limit_s: float) -> None:
        """Asks for one token, through the chat endpoint or, for a model without a chat template, the other one.

        EngineError where what answers is no such server at all.
        """
        request = Request("Hello", max_tokens=1, temperature=0.0, seed=1, k=None)

        async def one(left_s: float) -> Any:
            body = {**await self._body(request), "stream": False}
            body.pop("stream_options")
            return await self._http.post_json(await self._path(), body, left_s)

        try:
            async with heartbeat().limit(limit_s):
                answer = await self._by_either_api(one, limit_s)
        except TimeoutError as error:
            raise RequestTimeout(limit_s) from error
        except (HttpError, BadAnswer) as error:
            unlisted = (await self._facts()).unlisted
            if not unlisted or not is_other_kind(error, unlisted, self._missing_health):
                raise
            raise other_kind_error(self._http, unlisted, self._missing_health) from error
        if not isinstance(answer, Mapping) or not answer.get("choices"):
            said = answer.get("error") if isinstance(answer, Mapping) else None
            told = f": {self._http.redacted(str(said))[:200]}" if said else ""
            raise BadAnswer(f"the server answers a completion with something else{told}")

    async def _by_either_api(self, asked: Callable[[float], Awaitable[T]], limit_s: float) -> T:
        """By the chat endpoint; by the other one, from now on, where this model has no chat template."""
        try:
            return await self._patiently(asked, limit_s)
        except HttpError as error:
            if self._api == COMPLETIONS or error.status not in NO_CHAT:
                raise
            self._api = COMPLETIONS
            try:
                return await self._patiently(asked, limit_s)
            except HttpError:
                self._api = CHAT
                raise error from None

    async def generate(self, request: Request, *, limit_s: float, progress: Progress | None = None) -> Generation:
        """One streamed completion; the metrics are read before it is sent and after it has ended.

        A server that is too busy and says until when (Retry-After) is asked again, within `limit_s`; waiting is no
        part of any time of the answer.
        """
        facts = await self._facts()
        body, path = await self._body(request), await self._path()
        before = await self._counters()

        async def sent(left_s: float) -> Generation:
            answer = await self._http.stream(path, body, total_limit_s=left_s, progress=progress)
            server = self._server
            return decode(answer, k=server.k, speculates=server.speculates, hidden=self._http.redacted)

        generation = self._checked(await self._patiently(sent, limit_s), facts)
        if generation.acceptance_source == "server" and generation.draft_n is not None:
            self._tells_itself = True
            return generation
        if before is None:
            return self._unmeasured(generation)
        return with_counters(generation, await self._grown(before, generation))

    async def render(self, prompt: Prompt, depth_tokens: int) -> str:
        """The prompt as text; its messages are kept, and sent for that text. The server applies its own template.

        Context of `depth_tokens` stands before the first message, in about as many tokens: as the server counts them
        where it does (POST /tokenize), else at four characters each.
        """
        messages = prompt.as_messages()
        if depth_tokens:
            first = Message(messages[0].role, f"{await self._filling(depth_tokens)}\n\n{messages[0].content}")
            messages = (first, *messages[1:])
        text = Prompt(prompt.id, prompt.category, messages=messages).as_text()
        self._messages[text] = messages
        return text

    async def probe_k(self, k_startup: int, *, limit_s: float, progress: Progress | None = None) -> KProbe:
        """No such server takes K in a request, so there is nothing to try."""
        return KProbe(KScope.STARTUP, ())

    # -- requests ----------------------------------------------------------------------------------------------

    async def _path(self) -> str:
        return prefix((await self._facts()).flavour) + self._api

    async def _body(self, request: Request) -> dict[str, Any]:
        """A request's body: the API's own fields, those of the flavour, and those of the profile over both."""
        body: dict[str, Any] = {
            **request_fields(REQUEST_PARAMS, {"model": await self._model(), **values_in(REQUEST_PARAMS, request)}),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self._api == CHAT:
            messages = self._messages.get(request.prompt) or (Message("user", request.prompt),)
            body["messages"] = [{"role": message.role, "content": message.content} for message in messages]
        else:
            body["prompt"] = request.prompt
        flavour, draft = (await self._facts()).flavour, self._server.draft_model
        own = more_fields(flavour, request, draft, is_chat=self._api == CHAT)
        return {**body, **own, **self._server.fields}

    async def _patiently(self, asked: Callable[[float], Awaitable[T]], limit_s: float) -> T:
        """Asks again after a Retry-After, as long as that is within the limit; raises the refusal otherwise."""
        due_s = heartbeat().ran_s() + limit_s
        for tries in count():
            try:
                return await asked(due_s - heartbeat().ran_s())
            except HttpError as error:
                if error.status not in BUSY or error.retry_after_s is None:
                    raise
                # Who always says "at once" is not to be asked a thousand times.
                pause_s = max(error.retry_after_s, min(PAUSE_MOST_S, PAUSE_FIRST_S * 2**tries))
                if heartbeat().ran_s() + pause_s >= due_s:
                    raise
                log.warning("asked again in %.1f s: %s", pause_s, error)
                await asyncio.sleep(pause_s)
        raise AssertionError("the loop above returns or raises")

    async def _filling(self, depth_tokens: int) -> str:
        """About `depth_tokens` tokens of varied text."""
        counted = await tokens_of(self._http, await self._model(), self._filler, ANSWER_LIMIT_S)
        per_token = len(self._filler) / counted if counted else CHARACTERS_PER_TOKEN
        return filled_to(self._filler, round(depth_tokens * per_token))

    # -- what an answer means ----------------------------------------------------------------------------------

    def _checked(self, generation: Generation, facts: ServerFacts) -> Generation:
        """With what this server's silence means, and whether it is the one that answered first."""
        problems = [self._http.redacted(problem) for problem in generation.problems]
        if self._answered_as is None:
            self._answered_as = generation.model
        elif generation.model not in (None, self._answered_as):
            problems.append(f"it was answered by model {generation.model!r}, and before by {self._answered_as!r}")
        unknown = dict(generation.unknown)
        cached = generation.cached_tokens
        if cached is None and facts.uncached:
            cached = 0
        if cached is None:
            unknown[CACHED] = uncounted_cache(facts)
        return replace(generation, cached_tokens=cached, problems=tuple(problems), unknown=unknown)

    def _unmeasured(self, generation: Generation) -> Generation:
        """With the reason why there were no counters to read, where that is why something is unknown."""
        if not self._no_metrics or generation.draft_n is not None:
            return generation
        return replace(generation, unknown={**generation.unknown, DRAFTED: self._no_metrics})

    async def _counters(self) -> SpecCounters | None:
        """The metrics as they are; None where there are none to read."""
        path = self._server.metrics or metrics_path((await self._facts()).flavour)
        if not path or self._no_metrics or self._tells_itself:
            return None
        try:
            return read_metrics(await self._http.get_text(path, METRICS_LIMIT_S))
        except HttpError as error:
            self._no_metrics = f"the server has no metrics at {path} (HTTP {error.status})"
        except TransportError as error:
            return SpecCounters(None, None, None, reason=f"the metrics could not be read: {error}")
        return None

    async def _grown(self, before: SpecCounters, generation: Generation) -> SpecCounters:
        """By how much the counters grew, read until they account for the whole answer, or stand still."""
        found = SpecCounters(None, None, None, reason=self._no_metrics)
        for attempt in range(SETTLE_TRIES):
            if attempt:
                await asyncio.sleep(SETTLE_S)
            after = await self._counters()
            if after is None:
                return found
            last, found = found, difference(before, after)
            made = 1 + (found.drafts or 0) + (found.accepted_tokens or 0) + (found.plain_steps or 0)
            is_whole = found.drafts is None or made >= (generation.generated_tokens or 0)
            stands_still = bool(found.drafts) and found == last
            if is_whole or stands_still or not self._server.speculates:
                break
        return found
