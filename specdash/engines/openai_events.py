"""The events of OpenAI-style streams as they are written: which fields are read, and of what type; pure.

The decoder skips every other field. It refuses NaN, infinity, numbers out of range and wrong types by itself; a
server's own statistics are read leniently (`openai_stats`), so that a change of theirs spoils no answer.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from specdash.core.numbers import MOST, whole
from specdash.core.transport import StreamedAnswer

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


class Candidate(msgspec.Struct, gc=False):
    """A token that might have come, with its log-probability in nats."""

    logprob: float | None = None


class Chances(msgspec.Struct, gc=False):
    """The likeliest candidates for one token, the best first."""

    top_logprobs: tuple[Candidate, ...] = ()


class Logprobs(msgspec.Struct, gc=False):
    """The chances of every token of an event of a chat; asked for by `logprobs` and `top_logprobs`."""

    content: tuple[Chances, ...] | None = None


class Choice(msgspec.Struct, gc=False):
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


class Event(msgspec.Struct, gc=False):
    """One event; the last four are servers' own."""

    choices: tuple[Choice, ...] = ()
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
    def choice(self) -> Choice:
        """The one answer that was asked for."""
        return self.choices[0] if self.choices else _NO_CHOICE

    @property
    def generated(self) -> int | None:
        """Tokens of the answer so far, where this event tells."""
        told = whole(self.timings.get("predicted_n")) if isinstance(self.timings, dict) else None
        return told if told is not None or self.usage is None else self.usage.completion_tokens


_NO_DELTA = Delta()
_NO_CHOICE = Choice()
_DECODER = msgspec.json.Decoder(Event)


def read_event(data: bytes) -> Event:
    """One event; ValueError or RecursionError for what is none."""
    return _DECODER.decode(data)


def read_events(answer: StreamedAnswer, problems: list[str]) -> tuple[list[tuple[float, Event]], bool]:
    """The events that can be read, with their arrival times, and whether [DONE] came; faults go into `problems`."""
    events: list[tuple[float, Event]] = []
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


def _said(event: Event) -> str:
    """The words of an error event: {"error": {"message": …}}, {"error": …}, or {"object": "error", "message": …}."""
    error = event.error if event.error is not None else event.message
    message = error.get("message") if isinstance(error, dict) else error
    return message[:200] if isinstance(message, str) else "of unknown form"
