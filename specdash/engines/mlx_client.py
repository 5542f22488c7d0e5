"""Requests to one stock mlx_lm.server.

What it does (mlx_lm 0.32.2): it answers /health with 200 before its weights are loaded and holds requests until they
are; `num_draft_tokens` of a request decides K; a request with a seed is served alone, with or without a draft, so every
request has one. `draft_model` is never sent, since another one than at start-up loads both models again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from specdash.core.engine import Endpoint, Health, KProbe, Request, ServerSpec
from specdash.core.generation import Generation
from specdash.core.plan import KScope
from specdash.core.prompts import Message, Prompt
from specdash.core.transport import BadAnswer, HttpError, Progress, TransportError
from specdash.engines.http import Client
from specdash.engines.mlx_stream import decode, drafts_seen
from specdash.engines.questions import PROBE_PROMPT, filled_to

TEXT, CHAT = "/v1/completions", "/v1/chat/completions"

HEALTH_LIMIT_S = 5.0
COUNT_LIMIT_S = 120.0
COUNTED_CHARACTERS = 4000
PROBE_TOKENS = 64
LOOKS = 3


class StockClient:
    """A connection to mlx_lm.server as it was started for `spec`; implements core.engine.EngineClient."""

    def __init__(self, endpoint: Endpoint, spec: ServerSpec, filler: str) -> None:
        self._http = Client(endpoint.port)
        self._k = spec.key.k_startup if spec.draft is not None else None
        self._templated = spec.templated
        self._filler = filler
        self._messages: dict[str, Sequence[Message]] = {}

    async def health(self) -> Health:
        """Whether anything answers: 200 says nothing of the weights, and 503 that they could not be loaded.

        What is the matter is said by the first completion.
        """
        try:
            await self._http.get_text("/health", limit_s=HEALTH_LIMIT_S)
        except HttpError:
            return Health.OK
        except TransportError:
            return Health.DOWN
        return Health.OK

    async def model_alias(self) -> str | None:
        """None: such a server cannot be given a name; its port alone proves whose it is."""
        return None

    async def complete_one(self, limit_s: float) -> None:
        """Asks for one token, which waits for the weights; raises a transport error when none comes."""
        await self._post({"prompt": "Hello", "max_tokens": 1}, limit_s)

    async def _post(self, body: Mapping[str, Any], limit_s: float) -> Mapping[str, Any]:
        """The answer to a plain completion; BadAnswer for one that is none."""
        answer = await self._http.post_json(TEXT, body, limit_s=limit_s)
        if not isinstance(answer, Mapping) or not answer.get("choices"):
            raise BadAnswer("the server answers a completion with something else")
        return answer

    async def generate(self, request: Request, *, limit_s: float, progress: Progress | None = None) -> Generation:
        """A streamed completion: of the messages that `render` made the prompt of, where it did."""
        path, body = self._asked(request)
        answer = await self._http.stream(path, body, total_limit_s=limit_s, progress=progress)
        return decode(answer, body.get("num_draft_tokens"))

    def _asked(self, request: Request) -> tuple[str, dict[str, Any]]:
        """Where and how a request is sent."""
        body: dict[str, Any] = {
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self._k is not None:
            body["num_draft_tokens"] = self._k if request.k is None else request.k
        messages = self._messages.get(request.prompt)
        if messages is None:
            return TEXT, {"prompt": request.prompt, **body}
        said = [{"role": message.role, "content": message.content} for message in messages]
        return CHAT, {"messages": said, **body}

    async def render(self, prompt: Prompt, depth_tokens: int) -> str:
        """The prompt as text; for a model with a chat template its messages are kept, and sent for that text.

        The server has no endpoint that applies the template. Context of about `depth_tokens` tokens stands in the
        first message.
        """
        filler = f"{await self._filling(depth_tokens)}\n\n" if depth_tokens else ""
        text = f"{filler}{prompt.as_text()}"
        if self._templated:
            first, *others = prompt.as_messages()
            self._messages[text] = (Message(first.role, f"{filler}{first.content}"), *others)
        return text

    async def _filling(self, depth_tokens: int) -> str:
        """Varied text of about so many tokens, by how many a part of it has: only its answers count tokens."""
        part = self._filler[:COUNTED_CHARACTERS]
        answer = await self._post({"prompt": part, "max_tokens": 1}, COUNT_LIMIT_S)
        usage = answer.get("usage")
        counted = usage.get("prompt_tokens") if isinstance(usage, Mapping) else None
        if not isinstance(counted, int) or counted < 1:
            raise TransportError("the server did not count the tokens of a prompt")
        return filled_to(self._filler, round(depth_tokens * len(part) / counted))

    async def context_tokens(self) -> int | None:
        """Its context grows with the prompt."""
        return None

    async def count_tokens(self, text: str) -> int | None:
        """It counts tokens in answers alone."""
        return None

    async def probe_k(self, k_startup: int, *, limit_s: float, progress: Progress | None = None) -> KProbe:
        """Whether requests decide K, as far as it shows: a build that does refuses a K below 0.

        Then, with K = 1, steps may not accept more than one. Bursts show accepted tokens only, and on a busy machine
        none: that they are not clear is no evidence of anything, and stalls that join steps show longer ones, though
        hardly in `LOOKS` answers running.
        """
        try:
            await self._post({"prompt": "Hello", "max_tokens": 1, "num_draft_tokens": -1}, limit_s)
        except HttpError as error:
            if error.status != 400:
                raise
        else:
            return KProbe(KScope.STARTUP, ((-1, None),))
        evidence: list[tuple[int, int | None]] = []
        for k in (k_startup, *(1,) * LOOKS) if k_startup > 1 else (1,):
            # Another beginning each time, so that nothing of one answer can serve the next.
            prompt = f"Chapter {len(evidence) + 1}. {PROBE_PROMPT}"
            _path, body = self._asked(Request(prompt, PROBE_TOKENS, temperature=0.0, seed=1, k=k))
            answer = await self._http.stream(TEXT, body, total_limit_s=limit_s, progress=progress)
            evidence.append((k, drafts_seen(answer, k_startup)))
            if k == 1 and (evidence[-1][1] or 0) <= 1:
                return KProbe(KScope.REQUEST, tuple(evidence))
        return KProbe(KScope.STARTUP, tuple(evidence))

    async def evidence(self) -> Mapping[str, str]:
        """What /health says, with a short limit."""
        try:
            return {"/health": (await self._http.get_text("/health", limit_s=2.0))[:2000]}
        except TransportError as error:
            return {"/health": f"no answer: {error}"}

    async def close(self) -> None:
        """Drops all connections."""
        await self._http.close()
