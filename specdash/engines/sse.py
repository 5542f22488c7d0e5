"""Server-sent events: bytes as they arrive in, the data of each complete event out.

Follows the WHATWG rules for event streams (https://html.spec.whatwg.org/multipage/server-sent-events.html, section
9.2.6) on bytes: lines end with LF, CRLF or CR and with nothing else, so that U+2028 or U+0085 inside JSON cut nothing;
one BOM at the start is dropped; an event without its blank line at the end of the stream is dropped. Of the fields only
`data` is kept. It does no input or output and knows no clock.
"""

from __future__ import annotations

EVENT_LIMIT_BYTES = 8 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"


class EventTooLarge(Exception):
    """An event, with its comments and field names, is longer than the limit; the stream cannot be read on."""


class SseParser:
    """Splits one event stream; feed it in order, in any cuts."""

    def __init__(self, limit_bytes: int = EVENT_LIMIT_BYTES) -> None:
        self._limit = limit_bytes
        self._at_start = True
        self._after_cr = False
        self._tail = bytearray()  # the unfinished block, line ends already LF

    def feed(self, received: bytes) -> list[bytes]:
        """The data of the events that `received` completes; raises EventTooLarge."""
        if self._at_start:
            received = self._without_bom(received)
        if self._after_cr or b"\r" in received:
            received = self._with_lf(received)
        if b"\n" not in received:
            self._tail += received
            self._check_tail()
            return []
        whole, end, rest = (bytes(self._tail) + received).rpartition(b"\n\n")
        self._tail = bytearray(rest)
        events = self._events(whole) if end else []
        self._check_tail()
        return events

    def _events(self, whole: bytes) -> list[bytes]:
        """The data of every event in `whole`, which lacks the blank line at its end."""
        if whole.startswith(b"data: "):
            # The usual case, at half the price of a loop: one data field each, so no line ends but the blank
            # lines between them.
            events = whole[6:].split(b"\n\ndata: ")
            if whole.count(b"\n") == 2 * (len(events) - 1) and len(whole) <= self._limit:
                return events
        events = []
        for block in whole.split(b"\n\n"):
            if len(block) > self._limit:
                raise self._too_large()
            data = _data_of(block)
            if data is not None:
                events.append(data)
        return events

    def _check_tail(self) -> None:
        """Raises EventTooLarge for an unfinished block over the limit; its last byte may belong to the blank line."""
        if len(self._tail) - 1 > self._limit:
            raise self._too_large()

    def _too_large(self) -> EventTooLarge:
        """The error for a block of more than the limit."""
        return EventTooLarge(f"an event is longer than {self._limit} bytes")

    def _without_bom(self, received: bytes) -> bytes:
        """`received` without a BOM at the start of the stream; b"" while what came may still become one."""
        start = bytes(self._tail) + received
        self._at_start = len(start) < len(_BOM) and _BOM.startswith(start)
        self._tail = bytearray(start if self._at_start else b"")
        return b"" if self._at_start else start.removeprefix(_BOM)

    def _with_lf(self, received: bytes) -> bytes:
        """`received` with every line end as LF; a CR at its end counts at once, an LF that follows it no more."""
        if not received:
            return received
        if self._after_cr:
            received = received.removeprefix(b"\n")
        self._after_cr = received.endswith(b"\r")
        return received.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _data_of(block: bytes) -> bytes | None:
    """The data of one block of lines; None when no line is a data field, and so no event takes place."""
    found: list[bytes] = []
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data":
            found.append(value.removeprefix(b" "))
    return b"\n".join(found) if found else None
