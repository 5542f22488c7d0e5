"""Requests to one stock mlx_lm.server.

What it does (mlx_lm 0.32.2): it answers /health with 200 before its weights are loaded and holds requests until they
are; `num_draft_tokens` of a request decides K; a request with a seed is served alone, with or without a draft, so every
request has one. `draft_model` is never sent, since another one than at start-up loads both models again.

Its streams are decoded as any OpenAI-style one, with drafting inferred from how tokens arrive, since it tells nothing
of drafting. Every token has an event of its own, and all tokens that one verification made are sent at once, while the
next ones take as long as a verification takes: the gaps between events are of two kinds. Where the two are clearly
apart, each burst is one step that accepted one token less than it made. What it drafted does not show: mlx_lm drafts
min(K, tokens still to make) in a step, but which K took effect is proven by a burst of K + 1 tokens alone. The counts
take K as it was asked for, and `k_seen` says whether the answer proves it; who adds up counts decides what to make of
those that do not (`core.acceptance`). A burst that ends because the answer does may have accepted its last token or
not: both counts leave it out.

The pass over the prompt's last token drafts too, so that up to K + 1 tokens arrive first, and none of them took any of
the time that follows. Where bursts are not clear nobody knows how many they are: the rate may be up to K / (n - 1) of
itself too high, and where that is more than `RATE_TOLERANCE` there is none.

The gaps are parted where the sorted ones make their largest leap, of square roots (by differences a few long gaps would
decide, by ratios a few short ones), among the places that make no burst longer than a step can be. On two busy cores,
with a model of 50 MB, that found every step of 15 of 18 answers and called 3 unclear; with one of 2 MB, whose steps
take hardly longer than the events of their tokens, 5 of 24 and 19. It is inferred, and labelled so: a stall of either
process can part a burst or join two. Where the gaps are not clearly of two kinds nothing is said but why.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from specdash.core.engine import DRAFTED, K_SEEN, Endpoint, Health, KProbe, Param, Request, ServerSpec
from specdash.core.engine_kinds import MLX_SERVER, SPECDASH_MLX, KScope
from specdash.core.generation import DECODE_RATE, Generation
from specdash.core.measure import INFERRED
from specdash.core.prompts import Message, Prompt
from specdash.core.transport import BadAnswer, HttpError, Progress, StreamedAnswer, TransportError
from specdash.engines.base import HEALTH_LIMIT_S, PROBE_PROMPT, BaseClient, filled_to
from specdash.engines.openai import stream as openai_stream
from specdash.engines.params import request_fields, sampling_params, values_in

TEXT, CHAT = "/v1/completions", "/v1/chat/completions"

STOCK_K = Param(
    "k",
    "request",
    dict.fromkeys((MLX_SERVER, SPECDASH_MLX), "--num-draft-tokens"),
    "num_draft_tokens",
    "tokens drafted for each verification, 0 for none; specdash-mlx calls the field speculative.n_max",
    "sweep.k",
)

COUNT_LIMIT_S = 120.0
COUNTED_CHARACTERS = 4000
PROBE_TOKENS = 64
LOOKS = 3


class StockClient(BaseClient):
    """A connection to mlx_lm.server as it was started for `spec`; implements core.engine.EngineClient."""

    def __init__(self, endpoint: Endpoint, spec: ServerSpec, filler: str) -> None:
        super().__init__(endpoint.port, filler)
        self._k = spec.key.k_startup if spec.draft is not None else None
        self._templated = spec.templated
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
        return decode(answer, body.get(str(STOCK_K.field)))

    def _asked(self, request: Request) -> tuple[str, dict[str, Any]]:
        """Where and how a request is sent."""
        params = (*sampling_params(), *((STOCK_K,) if self._k is not None else ()))
        values = values_in(params, replace(request, k=self._k if request.k is None else request.k))
        body: dict[str, Any] = request_fields(params, values)
        body |= {"stream": True, "stream_options": {"include_usage": True}}
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

    async def probe_k(self, k_startup: int, *, limit_s: float, progress: Progress | None = None) -> KProbe:
        """Whether requests decide K, as far as it shows: a build that does refuses a K below 0.

        Then, with K = 1, steps may not accept more than one. Bursts show accepted tokens only, and on a busy machine
        none: that they are not clear is no evidence of anything, and stalls that join steps show longer ones, though
        hardly in `LOOKS` answers running.
        """
        try:
            await self._post({"prompt": "Hello", "max_tokens": 1, str(STOCK_K.field): -1}, limit_s)
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


# -- streams -------------------------------------------------------------------------------------------------------

CLEARLY_APART = 3.0  # the shortest gap between bursts to the longest within one; below it, a loaded machine misleads
SAME_MOMENT_S = 0.001  # about what the server needs for a token's event; shorter gaps are never between two steps
BURST_GAP_S = 0.015  # no burst has longer gaps, however loaded the machine: those are between tokens made one by one
FEWEST_TOKENS = 16
INFERS = "drafting is inferred from how tokens arrive"
FEWEST_MOMENTS = 3
RATE_TOLERANCE = 0.02


def decode(answer: StreamedAnswer, k: int | None) -> Generation:
    """What a streamed answer says, with every fault in `problems`; `k`: what was to be drafted, None or 0: nothing."""
    generation = _timed(openai_stream.decode(answer))
    unknown = {name: why for name, why in generation.unknown.items() if name not in (DRAFTED, K_SEEN)}
    if not k:
        return replace(generation, unknown=unknown)
    sizes, why = _bursts(generation, k + 1)
    if not sizes:
        rateless = _rateless(generation.generated_tokens, k)
        return replace(generation, unknown={**unknown, DRAFTED: why, K_SEEN: why, **rateless})
    k_seen = k if max(sizes) == k + 1 else None
    if k_seen is None:
        why = f"{INFERS}, and none of its steps made the {k + 1} that prove K = {k}: the longest made {max(sizes)}"
        unknown = {**unknown, K_SEEN: why}
    # The end of an answer cuts its last burst, unless that is as long as a step with K drafted tokens can be.
    is_whole = generation.finish_reason == "limit" and sizes[-1] == k + 1
    left, drafted, accepted = sum(sizes), 0, 0
    for size in sizes if is_whole else sizes[:-1]:
        drafted += min(k, left) if generation.finish_reason == "limit" else k
        accepted += size - 1
        left -= size
    return replace(
        generation,
        untimed_tokens=sizes[0] + (generation.generated_tokens or 0) - len(generation.chunks),
        steps=len(sizes),
        acceptance_source=INFERRED,
        draft_n=drafted,
        draft_n_accepted=accepted,
        k_seen=k_seen,
        unknown=unknown,
    )


def _rateless(tokens: int | None, k: int) -> dict[str, str]:
    """Why `tokens` make no decode rate where it is not clear how many of them arrived first; {} where they do."""
    if tokens is None or tokens < 2 or k / (tokens - 1) <= RATE_TOLERANCE:
        return {}
    return {
        DECODE_RATE: f"up to {k + 1} of {tokens} tokens came with the first one, and how many is not clear: the rate"
        f" could be {k / (tokens - 1):.0%} too high; longer answers have one"
    }


def _timed(generation: Generation) -> Generation:
    """With a problem where a long answer came at hardly any moments: then nothing tells how long it took."""
    moments = len({chunk.t_s for chunk in generation.chunks})
    if len(generation.chunks) < FEWEST_TOKENS or moments >= FEWEST_MOMENTS:
        return generation
    said = f"{len(generation.chunks)} tokens arrived at {moments} moments, so how long they took is not known"
    return replace(generation, problems=(*generation.problems, said))


def drafts_seen(answer: StreamedAnswer, most: int) -> int | None:
    """How many drafted tokens the long steps of an answer accepted; None where its steps are not clear.

    Long is what one in ten is as long as: a stall that joins two steps makes no long draft. `most` is the largest K
    that the server can be at.
    """
    sizes = sorted(_bursts(openai_stream.decode(answer), most + 1)[0])
    return sizes[-1 - len(sizes) // 10] - 1 if sizes else None


def _bursts(generation: Generation, longest: int) -> tuple[tuple[int, ...], str]:
    """How many tokens came in each burst, none of them longer than `longest`; or () and why that is not known."""
    tokens, events = generation.generated_tokens, generation.chunks
    if generation.problems or tokens is None or tokens < FEWEST_TOKENS:
        return (), f"{INFERS}, which needs {FEWEST_TOKENS} of them"
    # An end token has no event; any other that has none was sent together with the one behind it.
    if len(events) != tokens - (generation.finish_reason == "eos"):
        return (), f"{INFERS}, and some did not come in an event of their own"
    gaps_s = [max(later.t_s - earlier.t_s, SAME_MOMENT_S) for earlier, later in pairwise(events)]
    if max(_parted(gaps_s, SAME_MOMENT_S)) > longest:
        return (), f"{INFERS}, and more came at once than a step with K = {longest - 1} makes"
    found: list[tuple[float, float, float, tuple[int, ...]]] = []
    for low, high in pairwise(sorted(set(gaps_s))):
        sizes = _parted(gaps_s, low)
        if max(sizes) <= longest:
            found.append((math.sqrt(high) - math.sqrt(low), low, high, sizes))
    _leap, low, high, sizes = max(found, default=(0.0, 1.0, 1.0, ()))
    if high / low < CLEARLY_APART or low > BURST_GAP_S:
        return (), f"{INFERS}, and they did not come in clear bursts"
    return sizes, ""


def _parted(gaps_s: Sequence[float], most_s: float) -> tuple[int, ...]:
    """How many tokens follow each other by no more than `most_s`, one number for each run of them."""
    sizes = [1]
    for gap in gaps_s:
        if gap > most_s:
            sizes.append(0)
        sizes[-1] += 1
    return tuple(sizes)
