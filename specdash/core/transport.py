"""What can go wrong between us and a server, and what a streamed answer looks like when nothing did.

Plain values and exceptions, so that those who drive a server can catch its failures without knowing the HTTP library.
Text that a server sent is quoted as it came, decoded as UTF-8 with replacements and cut short: whoever shows a message
has to make it harmless.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from dataclasses import dataclass


class TransportError(Exception):
    """A request that brought no usable answer; the message says why, in one line."""


class Unreachable(TransportError):
    """Nothing answered: connection refused, or closed before the first line of an answer."""


class HttpError(TransportError):
    """An answer with a status other than 200; `excerpt` is its error message or the start of its body.

    `retry_after_s`: for how long the server asks to be left alone (its Retry-After header); None when it does not say.
    `kind` is the error's type or code where its body names one, for programs to read; "" where it names none.
    """

    def __init__(self, status: int, excerpt: str, retry_after_s: float | None = None, kind: str = "") -> None:
        super().__init__(f"HTTP {status}: {excerpt}" if excerpt else f"HTTP {status}")
        self.status = status
        self.excerpt = excerpt
        self.retry_after_s = retry_after_s
        self.kind = kind

    @property
    def is_for_context(self) -> bool:
        """Whether the server says that the prompt is longer than its context."""
        return self.kind in CONTEXT_EXCEEDED


CONTEXT_EXCEEDED = frozenset({"exceed_context_size_error", "context_length_exceeded"})
"""What llama.cpp calls the error of a prompt that is longer than the context, and what OpenAI's API does."""


class BadAnswer(TransportError):
    """A 200 that is not what was asked for: not HTTP, not JSON, no event stream, or too large."""


class StreamCut(TransportError):
    """The connection broke inside a streamed answer, after `after_events` whole events."""

    def __init__(self, after_events: int, why: str) -> None:
        super().__init__(f"the stream was cut after {after_events} events: {why}")
        self.after_events = after_events


BUSY = frozenset({429, 503})
"""The statuses by which servers say that they will answer, and not yet."""


class ServerGaveUp(TransportError):
    """The server says of itself that it will answer no more; the message is the second half of "the server ..."."""


class RequestTimeout(TransportError):
    """The whole request took longer than `limit_s`; `after_events` events of a stream had come (None: no stream)."""

    def __init__(self, limit_s: float, after_events: int | None = None) -> None:
        seen = "" if after_events is None else f", after {after_events} events"
        super().__init__(f"no complete answer within {limit_s:g} s{seen}")
        self.limit_s = limit_s
        self.after_events = after_events


@dataclass(slots=True)
class Progress:
    """How far a streamed answer has come; written by the client at each read, for others to look at when they like.

    Times are `time.monotonic()` seconds. `bytes` counts all that was read, comments that only keep the line open too;
    so bytes that grow without events mean a server that lives and generates nothing. `received` is the data of the
    events so far, with their arrival times, for those who want to look into an answer before it is whole.
    """

    sent_t_s: float | None = None
    events: int = 0
    bytes: int = 0
    first_event_t_s: float | None = None
    last_event_t_s: float | None = None
    received: Sequence[tuple[float, builtins.bytes]] = ()


@dataclass(frozen=True, slots=True)
class StreamedAnswer:
    """A whole event stream: the data of every event with the arrival time of the read that completed it.

    Times are `time.monotonic()` seconds: `sent_t_s` just before connecting, `ended_t_s` when the server had ended the
    answer.
    """

    status: int
    sent_t_s: float
    events: tuple[tuple[float, bytes], ...]
    ended_t_s: float
