"""Requests to a server that a launch script started: an OpenAI-style API, and what the MLX cluster server says besides.

Its `GET /health` answers 200 or 503 with a `status`: ok, degraded, overloaded, shutting_down, distributed_fatal,
inference_stalled, and `ready`. What of that is final ends the server's life here too; while it is overloaded (429, 503)
it is asked again. What was drafted comes from a metrics path, whose kind is told by what it answers.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from specdash.core.engine import Health, KProbe, Request
from specdash.core.generation import Generation
from specdash.core.heartbeat import heartbeat
from specdash.core.measure import Verdict
from specdash.core.prompts import Prompt
from specdash.core.transport import BUSY, HttpError, Progress, ServerGaveUp, TransportError
from specdash.engines.http import Client
from specdash.engines.openai_client import HEALTH_LIMIT_S, METRICS_LIMIT_S, OpenAiClient, Server
from specdash.engines.openai_flavour import ServerFacts
from specdash.engines.spec_metrics import read_metrics, unknown
from specdash.errors import EngineError

log = logging.getLogger(__name__)

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
