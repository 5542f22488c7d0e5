"""Streamed answers of /v1/chat/completions and /v1/completions, decoded after they have ended; pure.

Events are JSON objects with `choices` of one `delta` (chat) or `text` (completions) each, then one with `usage`, then
`[DONE]`. A generated token is in an event that brings text (`content`, `reasoning_content` or `reasoning`, `text`), or
token ids (vLLM's and SGLang's `return_token_ids`), or whose own count of tokens has grown; events with a role only, or
with nothing, carry none, and so do not end the time to the first token.

How many tokens an event carries is told by some: llama-server by `timings_per_token`, vLLM and SGLang by
`stream_options.continuous_usage_stats`. The latter send one event for each verification step, so that the steps can be
read off; they are inferred, since a slow reader is sent several at once (seen with vLLM). For all others
`Chunk.counted` is False, and the one count is that of `usage`: how many of the tokens came with the first event, and so
took none of the time, is then estimated (`core.measure.untimed_tokens`), and said where it matters.

Only what is named here is read. Nothing that a server sends raises: what is malformed or missing is a problem of the
Generation, and statistics of an unknown form (see `stats`) are unknown and no problem.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Annotated, Any

import msgspec

from specdash.core.engine import DRAFTED, K_SEEN
from specdash.core.generation import DECODE_RATE, UNTIMED, Generation, Piece
from specdash.core.measure import INFERRED, Chunk, Untimed, step_facts, untimed_tokens
from specdash.core.numbers import MOST, whole
from specdash.core.transport import StreamedAnswer
from specdash.engines.base import first_problems
from specdash.engines.openai import stats as stats
from specdash.engines.openai.stats import NOTHING, AnswerStats

# -- events as they are written ------------------------------------------------------------------------------------

DONE = b"[DONE]"

_Count = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
_TokenId = Annotated[int, msgspec.Meta(ge=-MOST, le=MOST)]


class Details(msgspec.Struct, gc=False):
    """Where the tokens of a prompt came from."""

    cached_tokens: _Count | None = None


class Thoughts(msgspec.Struct, gc=False):
    """What the tokens of an answer were."""

    reasoning_tokens: _Count | None = None


class Usage(msgspec.Struct, gc=False):
    """Token counts: of the whole answer, or so far."""

    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Thoughts | None = None


class Delta(msgspec.Struct, gc=False):
    """What an event of a chat adds."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    thinking: str | None = None


class TokenCandidate(msgspec.Struct, gc=False):
    """A token that might have come, with its log-probability in nats."""

    logprob: float | None = None


class Chances(msgspec.Struct, gc=False):
    """The likeliest candidates for one token, the best first."""

    top_logprobs: tuple[TokenCandidate, ...] = ()


class Logprobs(msgspec.Struct, gc=False):
    """The chances of every token of an event of a chat; asked for by `logprobs` and `top_logprobs`."""

    content: tuple[Chances, ...] | None = None


class AnswerChoice(msgspec.Struct, gc=False):
    """One answer; a chat has `delta`, a completion `text`."""

    delta: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    token_ids: tuple[_TokenId, ...] | None = None
    logprobs: Logprobs | None = None
    meta_info: Any = None

    @property
    def said(self) -> str:
        """The text that this event brings, thoughts included: they are generated like any other."""
        return f"{self.thought}{self.answered}"

    @property
    def thought(self) -> str:
        """The part of the text that is a thought."""
        delta = self.delta or _NO_DELTA
        return delta.reasoning_content or delta.reasoning or delta.thinking or ""

    @property
    def answered(self) -> str:
        """The part of the text that is none."""
        delta = self.delta or _NO_DELTA
        return f"{delta.content or ''}{self.text or ''}"


class StreamEvent(msgspec.Struct, gc=False):
    """One event; the last four are servers' own."""

    choices: tuple[AnswerChoice, ...] = ()
    usage: Usage | None = None
    model: str | None = None
    error: Any = None
    object: str = ""
    message: Any = None
    timings: Any = None
    metrics: Any = None
    stats: Any = None
    sglext: Any = None

    @property
    def choice(self) -> AnswerChoice:
        """The one answer that was asked for."""
        return self.choices[0] if self.choices else _NO_CHOICE

    @property
    def generated(self) -> int | None:
        """Tokens of the answer so far, where this event tells."""
        told = whole(self.timings.get("predicted_n")) if isinstance(self.timings, dict) else None
        return told if told is not None or self.usage is None else self.usage.completion_tokens


_NO_DELTA = Delta()
_NO_CHOICE = AnswerChoice()
_DECODER = msgspec.json.Decoder(StreamEvent)


def read_event(data: bytes) -> StreamEvent:
    """One event; ValueError or RecursionError for what is none."""
    return _DECODER.decode(data)


def read_events(answer: StreamedAnswer, problems: list[str]) -> tuple[list[tuple[float, StreamEvent]], bool]:
    """The events that can be read, with their arrival times, and whether [DONE] came; faults go into `problems`."""
    events: list[tuple[float, StreamEvent]] = []
    for number, (t_s, data) in enumerate(answer.events, start=1):
        if data.strip() == DONE:
            if number < len(answer.events):
                problems.append("events came after [DONE]")
            return events, True
        try:
            event = read_event(data)
        except (ValueError, RecursionError) as error:
            problems.append(f"event {number} is malformed: {error}")
            continue
        if event.error is not None or event.object == "error":
            problems.append(f"the server reported an error: {_said(event)}")
            continue
        events.append((t_s, event))
    return events, False


def _said(event: StreamEvent) -> str:
    """The words of an error event: {"error": {"message": …}}, {"error": …}, or {"object": "error", "message": …}."""
    error = event.error if event.error is not None else event.message
    message = error.get("message") if isinstance(error, dict) else error
    return message[:200] if isinstance(message, str) else "of unknown form"


# -- what an answer says ---------------------------------------------------------------------------------------------

FINISH_REASONS = {"length": "limit", "stop": "eos"}
SPARE_EVENTS = 4  # text of one token may come in two events, where it ends a thought
FEWEST_PIECES = 3
LONG_ANSWER = 16
RATE_TOLERANCE = 0.02  # by what share a rate may be off without a word
MOST_UNSURE = 0.1  # a rate that may be off by more is none

SILENT = "the server tells nothing about drafting in its answers"

_Events = Sequence[tuple[float, StreamEvent]]


def decode(
    answer: StreamedAnswer, *, k: int | None = None, speculates: bool = False, hidden: Callable[[str], str] = str
) -> Generation:
    """What a streamed answer says, with every fault in `problems`; never raises for what a server sent.

    `k`: the most tokens that the server may draft in a step, where that is known; `speculates`: whether the server was
    started to. Without it nothing is inferred from how tokens arrive. `hidden` takes secrets out of what is quoted,
    before it is cut: half a secret would not be known for one.
    """
    problems: list[str] = []
    events, done = read_events(answer, problems)
    told = _told(event for _, event in events)
    chunks = _chunks(events, problems)
    usage = _usage(events)
    reasons = [event.choice.finish_reason for _, event in events if event.choice.finish_reason]
    finish_reason = FINISH_REASONS.get(reasons[-1]) if reasons else None
    if reasons and finish_reason is None:
        problems.append(f"the answer ended with finish_reason {hidden(reasons[-1])[:50]!r}")
    if not done and (not reasons or usage.completion_tokens is None):
        problems.append("the stream ended early: without its last events, and without [DONE]")
    elif usage.completion_tokens is None and chunks:
        problems.append("the answer has no usage, so its tokens are not counted")
    untimed = _untimed(events, chunks, usage.completion_tokens, finish_reason, speculates=speculates)
    _check_counts(chunks, usage.completion_tokens, told, problems)
    cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details is not None else None
    found = _inferred(chunks, usage.completion_tokens, told, k) if speculates else told
    has_timings = any(isinstance(event.timings, dict) for _, event in events)  # they leave out drafts of none
    return Generation(
        sent_t_s=answer.sent_t_s,
        first_token_t_s=chunks[0].t_s if chunks else None,
        last_token_t_s=chunks[-1].t_s if chunks else None,
        ended_t_s=answer.ended_t_s,
        chunks=chunks,
        text="".join(event.choice.said for _, event in events),
        finish_reason=finish_reason,
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=told.cached_tokens if cached is None else cached,
        generated_tokens=usage.completion_tokens,
        prompt_ms=told.prompt_ms,
        predicted_ms=told.predicted_ms,
        draft_n=found.draft_n,
        draft_n_accepted=found.draft_n_accepted,
        model=next((event.model for _, event in events if event.model), None),
        settings=dict(told.shown),
        margins=_margins(events),
        problems=first_problems(problems),
        acceptance_source=_source(told, found),
        steps=found.steps,
        k_seen=found.k_seen,
        positions_accepted=found.positions_accepted,
        unknown={**_unknown(found, chunks, has_timings=has_timings), **_unsure(untimed, chunks, told)},
        untimed_tokens=untimed.tokens,
        thoughts=_are_thoughts(events),
        hidden_tokens=_hidden(usage, chunks),
    )


def _untimed(
    events: _Events, chunks: Sequence[Chunk], generated: int | None, finish_reason: str | None, *, speculates: bool
) -> Untimed:
    """How many tokens took none of the time between the events that carry some."""
    if not chunks or generated is None:
        return Untimed(1.0)
    first = chunks[0].predicted_n if chunks[0].counted else None
    texts = [len(event.choice.said) for _, event in events if event.choice.said]
    share = texts[0] / sum(texts) if speculates and texts else None
    return untimed_tokens(generated, len(chunks), first, has_end=finish_reason == "eos", first_share=share)


def _unsure(untimed: Untimed, chunks: Sequence[Chunk], told: AnswerStats) -> dict[str, str]:
    """What is to be said of a rate by this machine's clock that may be off, since events do not count their tokens."""
    if told.predicted_ms is not None or untimed.error <= RATE_TOLERANCE:
        return {}
    why = f"events bring several tokens and do not count them, so how many came with the first of {len(chunks)}"
    if untimed.error > MOST_UNSURE:
        return {DECODE_RATE: f"{why} is not known, and the rate could be off by more than {MOST_UNSURE:.0%}"}
    return {UNTIMED: f"{why} is estimated: the rate may be off by {untimed.error:.1%}"}


def _are_thoughts(events: _Events) -> bool | None:
    """Whether all text came as thoughts; None where none came."""
    said = [event.choice for _, event in events if event.choice.said]
    return not any(choice.answered for choice in said) if said else None


def _hidden(usage: Usage, chunks: Sequence[Chunk]) -> int | None:
    """The tokens of thoughts that the server counts, where it sent nothing of its answer; None where it did."""
    details = usage.completion_tokens_details
    return details.reasoning_tokens if details is not None and not chunks else None


def _unknown(found: AnswerStats, chunks: Sequence[Chunk], *, has_timings: bool) -> dict[str, str]:
    """Why figures about drafting are missing, for all that are."""
    unknown = dict(found.unknown)
    if found.draft_n is None and not has_timings:
        unknown.setdefault(DRAFTED, SILENT)
    if found.draft_n and found.k_seen is None and step_facts(chunks).k_seen is None:
        unknown.setdefault(K_SEEN, "the server tells how many tokens were drafted, and not in how many steps")
    return unknown


def decode_partial(received: Sequence[tuple[float, bytes]]) -> tuple[Piece, ...]:
    """The events of an unfinished answer that carry generated tokens, with their text; faults are passed over."""
    pieces: list[Piece] = []
    for t_s, data in received:
        try:
            event = read_event(data)
        except (ValueError, RecursionError):
            continue
        if event.choice.said or event.choice.token_ids:
            n = event.generated
            chunk = Chunk(t_s, n or len(pieces) + 1, None, None, None, event.choice.token_ids or (), counted=bool(n))
            pieces.append(Piece(chunk, event.choice.said))
    return tuple(pieces)


def _told(events: Iterable[StreamEvent]) -> AnswerStats:
    """The statistics of the last event that has any."""
    found = NOTHING
    for event in events:
        sources = (
            stats.llama(event.timings),
            stats.vllm(event.metrics),
            stats.lm_studio(event.stats),
            stats.sglang(event.sglext, event.choice.meta_info),
        )
        found = next((told for told in sources if told != NOTHING), found)
    return found


def _margins(events: _Events) -> tuple[float | None, ...]:
    """By how many nats each token led over the next candidate, one for each token id; () where that is not told."""
    margins: list[float | None] = []
    for _, event in events:
        ids = event.choice.token_ids or ()
        chances = event.choice.logprobs.content or () if event.choice.logprobs is not None else ()
        leads = [_lead(each.top_logprobs) for each in chances]
        margins += leads if len(leads) == len(ids) else [None] * len(ids)
    return tuple(margins) if any(each is not None for each in margins) else ()


def _lead(candidates: Sequence[TokenCandidate]) -> float | None:
    """By how many nats the first candidate led over the second."""
    best = [candidate.logprob for candidate in candidates[:2]]
    return best[0] - best[1] if len(best) == 2 and best[0] is not None and best[1] is not None else None


def _usage(events: _Events) -> Usage:
    """The last counts of an answer; continuous ones are overtaken by those of the end."""
    return next((event.usage for _, event in reversed(events) if event.usage is not None), Usage())


def _counts_itself(events: _Events) -> bool:
    """Whether every event with text says how many tokens there are so far."""
    with_text = [event for _, event in events if event.choice.said or event.choice.token_ids]
    return len(with_text) > 1 and all(event.generated for event in with_text)


def _chunks(events: _Events, problems: list[str]) -> tuple[Chunk, ...]:
    """The events that carry generated tokens."""
    counted = _counts_itself(events)
    chunks: list[Chunk] = []
    seen = 0
    for t_s, event in events:
        choice = event.choice
        if not event.choices:
            continue
        generated = event.generated
        if not counted:
            if choice.said or choice.token_ids:
                chunks.append(Chunk(t_s, len(chunks) + 1, None, None, None, choice.token_ids or (), counted=False))
            continue
        if generated is None or generated == seen:
            continue  # text that was held back, or an end without a token
        if generated < seen:
            problems.append(f"the token count fell from {seen} to {generated}")
            continue
        seen = generated
        told = stats.llama(event.timings)
        chunks.append(
            Chunk(t_s, generated, told.predicted_ms, told.draft_n, told.draft_n_accepted, choice.token_ids or ())
        )
    return tuple(chunks)


def _check_counts(chunks: Sequence[Chunk], generated: int | None, told: AnswerStats, problems: list[str]) -> None:
    """What the number of events says against the number of tokens, and against times that are taken from them."""
    if not chunks or generated is None:
        return
    if not chunks[0].counted and len(chunks) > generated + SPARE_EVENTS:
        problems.append(f"the usage counts {generated} tokens, and {len(chunks)} events brought some")
    if told.predicted_ms is not None or generated < LONG_ANSWER:
        return
    if len(chunks) < (2 if chunks[0].counted else FEWEST_PIECES):
        problems.append(f"{generated} tokens came in {len(chunks)} pieces: something on the way holds them back")


def _inferred(chunks: Sequence[Chunk], generated: int | None, told: AnswerStats, k: int | None) -> AnswerStats:
    """What the arrival of tokens says of drafting, where the server says nothing: the steps.

    The first event is of the prompt; each further one is a verification step, which makes what it accepted and one
    more. How much was drafted stays unknown, and so nothing is said of what was accepted of it. A step of more than
    `k` + 1 tokens is several, so nothing is known then.
    """
    if told.draft_n is not None or told.steps is not None or len(chunks) < 2 or not chunks[0].counted:
        return told
    if any(chunk.predicted_ms is not None for chunk in chunks) or generated is None:
        return told  # llama-server's own counters tell the steps, or that there was no draft
    made = [new.predicted_n - old.predicted_n for old, new in pairwise(chunks)]
    longest = max(made)
    if k is not None and longest > k + 1:
        why = f"an event brought {longest} tokens, more than one step with K = {k} makes: steps came together"
        return AnswerStats(unknown={**told.unknown, DRAFTED: why, K_SEEN: why})
    unknown = {**told.unknown, DRAFTED: f"{SILENT}; the steps are inferred from how its tokens arrive"}
    if longest - 1 != k:
        unknown[K_SEEN] = f"the longest step made {longest} tokens, so its draft had {longest - 1} or more"
    seen = k if longest - 1 == k else None
    return AnswerStats(steps=len(made), k_seen=seen or None, unknown=unknown)


def _source(told: AnswerStats, found: AnswerStats) -> str | None:
    """Where the draft counts come from."""
    if told.draft_n is not None or told.steps is not None:
        return "server"
    return INFERRED if found.steps is not None else None
