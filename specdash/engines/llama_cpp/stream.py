"""llama-server's streamed /completion answer, decoded after it has ended.

Each event is a JSON object with `content`, `tokens`, `tokens_predicted`, `tokens_evaluated` and, asked for by
`timings_per_token`, the cumulative `timings` of the request; the last has `stop: true`, `stop_type` and the final
counts. Events of prompt progress look the same with `predicted_n` 0 and carry no token (a token id in them is filler).
Several events of one verification step may report the same `predicted_n` (its end), and one event may stand for
several tokens, since text is held back until its UTF-8 is whole; so tokens are counted by `predicted_n` alone.

Only the fields named here are read; the decoder skips the rest. It refuses NaN, infinity, numbers out of range and
wrong types by itself. Nothing that a server sends raises: what is malformed or missing is a problem of the Generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from specdash.core.generation import Generation, Piece, PromptRead
from specdash.core.measure import Chunk
from specdash.core.numbers import MOST, finite
from specdash.core.transport import StreamedAnswer
from specdash.engines.base import first_problems

FINISH_REASONS = frozenset({"limit", "eos", "word"})

# The last event may account for tokens that had no event of their own: up to three bytes of an unfinished character
# that were held back, and the end token. More than that is a gap, and is left visible as one.
HELD_BACK_TOKENS = 4

_Count = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
_TokenId = Annotated[int, msgspec.Meta(ge=-MOST, le=MOST)]
_Milliseconds = Annotated[float, msgspec.Meta(ge=0)]


class _Timings(msgspec.Struct, gc=False):
    """The server's cumulative counters; those of drafting are absent until something was drafted."""

    cache_n: _Count | None = None
    prompt_ms: _Milliseconds | None = None
    predicted_n: _Count | None = None
    predicted_ms: _Milliseconds | None = None
    draft_n: _Count | None = None
    draft_n_accepted: _Count | None = None


_NO_TIMINGS = _Timings()


class _Alternative(msgspec.Struct, gc=False):
    """One candidate for a token, with its log-probability in nats."""

    logprob: float | None = None


class _Choice(msgspec.Struct, gc=False):
    """The likeliest candidates for a token, the best first; asked for by `n_probs`, empty for drafted tokens."""

    top_logprobs: tuple[_Alternative, ...] = ()


class _Event(msgspec.Struct, gc=False):
    """One event, partial or final."""

    content: str = ""
    tokens: tuple[_TokenId, ...] = ()
    stop: bool = False
    tokens_predicted: _Count | None = None
    tokens_evaluated: _Count | None = None
    timings: _Timings | None = None
    stop_type: str | None = None
    truncated: bool | None = None
    model: str | None = None
    generation_settings: dict[str, Any] | None = None
    error: Any = None
    prompt_progress: Any = None  # anything: it only says that the event carries no token
    completion_probabilities: tuple[_Choice, ...] = ()


_DECODER = msgspec.json.Decoder(_Event)


def decode(answer: StreamedAnswer) -> Generation:
    """What a streamed answer says, with every fault in `problems`; never raises for what a server sent."""
    problems: list[str] = []
    events = _events(answer, problems)
    final = next((event for _, event in events if event.stop), None)
    chunks = _chunks(events, problems)
    if final is None:
        problems.append("the stream ended without a final event")
        last = _Event()
    else:
        last = final
    timings = last.timings or _NO_TIMINGS
    if None not in (timings.predicted_n, last.tokens_predicted) and timings.predicted_n != last.tokens_predicted:
        problems.append(f"the final event counts {last.tokens_predicted} tokens, its timings {timings.predicted_n}")
    return Generation(
        sent_t_s=answer.sent_t_s,
        first_token_t_s=chunks[0].t_s if chunks else None,
        last_token_t_s=chunks[-1].t_s if chunks else None,
        ended_t_s=answer.ended_t_s,
        chunks=chunks,
        text="".join(event.content for _, event in events),
        finish_reason=last.stop_type if last.stop_type in FINISH_REASONS else None,
        prompt_tokens=last.tokens_evaluated,
        cached_tokens=timings.cache_n,
        generated_tokens=last.tokens_predicted if timings.predicted_n is None else timings.predicted_n,
        prompt_ms=timings.prompt_ms,
        predicted_ms=timings.predicted_ms,
        draft_n=timings.draft_n,
        draft_n_accepted=timings.draft_n_accepted,
        model=last.model,
        settings=_settings(last.generation_settings or {}),
        problems=first_problems(problems),
        margins=_margins(events),
        untimed_tokens=float(chunks[0].predicted_n) if chunks else 1.0,
        is_truncated=last.truncated,
    )


def _margins(events: Sequence[tuple[float, _Event]]) -> tuple[float | None, ...]:
    """By how many nats each token led over the next candidate, one for each token id of the stream.

    () where no event tells any. A server that gives one candidate only, or none, leaves None.
    """
    margins: list[float | None] = []
    before = 0
    for _, event in events:
        if event.stop or event.prompt_progress is not None or not event.tokens:
            continue
        counted = (event.timings or _NO_TIMINGS).predicted_n or event.tokens_predicted or before + 1
        # Where text was held back, one event stands for several tokens, and tells the margin of the last alone.
        led = _lead(event.completion_probabilities) if counted - before == 1 else None
        margins += [led, *[None] * (len(event.tokens) - 1)]
        before = counted
    return tuple(margins) if any(each is not None for each in margins) else ()


def _lead(choices: Sequence[_Choice]) -> float | None:
    """By how many nats the first candidate led over the second."""
    best = choices[0].top_logprobs[:2] if choices else ()
    if len(best) < 2 or best[0].logprob is None or best[1].logprob is None:
        return None
    return best[0].logprob - best[1].logprob


def decode_partial(received: Sequence[tuple[float, bytes]]) -> tuple[Piece | PromptRead, ...]:
    """The events of an unfinished answer that carry generated tokens, with their text, or tell how far the prompt is.

    Faults are passed over.
    """
    pieces: list[Piece | PromptRead] = []
    for t_s, data in received:
        try:
            event = _DECODER.decode(data)
        except (ValueError, RecursionError):
            continue
        if event.prompt_progress is not None:
            pieces += _prompt_read(event.prompt_progress)
            continue
        timings = event.timings or _NO_TIMINGS
        predicted_n = event.tokens_predicted if timings.predicted_n is None else timings.predicted_n
        if event.stop or event.error is not None or not predicted_n:
            continue
        chunk = Chunk(t_s, predicted_n, timings.predicted_ms, timings.draft_n, timings.draft_n_accepted, event.tokens)
        pieces.append(Piece(chunk, event.content))
    return tuple(pieces)


def _prompt_read(progress: Any) -> list[PromptRead]:
    """How far a prompt is, where that is told in whole numbers that fit together."""
    read, tokens = (progress.get("processed"), progress.get("total")) if isinstance(progress, dict) else (None, None)
    if type(read) is not int or type(tokens) is not int or not 0 <= read <= tokens:
        return []
    return [PromptRead(read, tokens)]


def _events(answer: StreamedAnswer, problems: list[str]) -> list[tuple[float, _Event]]:
    """The events that can be read, with their arrival times."""
    events: list[tuple[float, _Event]] = []
    for number, (t_s, data) in enumerate(answer.events, start=1):
        try:
            event = _DECODER.decode(data)
        except (ValueError, RecursionError) as error:
            problems.append(f"event {number} is malformed: {error}")
            continue
        if event.error is not None:
            message = event.error.get("message") if isinstance(event.error, dict) else event.error
            said = message[:200] if isinstance(message, str) else "of unknown form"
            problems.append(f"the server reported an error: {said}")
            continue
        events.append((t_s, event))
    return events


def _chunks(events: list[tuple[float, _Event]], problems: list[str]) -> tuple[Chunk, ...]:
    """The events that carry generated tokens."""
    chunks: list[Chunk] = []
    seen = 0
    ended = False
    for t_s, event in events:
        if ended:
            problems.append("an event came after the final one")
            break
        ended = event.stop
        if event.prompt_progress is not None:
            continue  # its counts may be those of the request before (builds of early 2026)
        timings = event.timings or _NO_TIMINGS
        predicted_n = timings.predicted_n
        if predicted_n is None:
            predicted_n = event.tokens_predicted
        if predicted_n is None:
            if event.content or event.tokens:
                problems.append("an event carries text but no token count")
            continue
        if predicted_n < seen:
            problems.append(f"the token count fell from {seen} to {predicted_n}")
            continue
        if predicted_n == 0 or (event.stop and not 0 < predicted_n - seen <= HELD_BACK_TOKENS):
            continue
        seen = predicted_n
        chunks.append(
            Chunk(t_s, predicted_n, timings.predicted_ms, timings.draft_n, timings.draft_n_accepted, event.tokens)
        )
    return tuple(chunks)


def _settings(echoed: dict[str, Any]) -> dict[str, Any]:
    """The speculative settings, where they are plain values."""
    return {
        name: value
        for name, value in echoed.items()
        if name.startswith("speculative.") and (isinstance(value, str | bool) or finite(value) is not None)
    }
