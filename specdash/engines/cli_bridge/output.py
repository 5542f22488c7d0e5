"""What is kept of the output of runs: a bounded part, in the last event and in the log of the load."""

from __future__ import annotations

import contextlib
import os
import select
from collections import deque

LOG_BYTES = 16 * 1024 * 1024  # of all runs together; then each has only its end in the log
LOG_RUN_BYTES = 256 * 1024
LOG_TAIL_BYTES = 16 * 1024


class Tail:
    """The first bytes and the last bytes of a stream of any length."""

    def __init__(self, head_bytes: int, tail_bytes: int) -> None:
        self.total = 0
        self._room = head_bytes
        self._most = tail_bytes
        self._head: list[bytes] = []
        self._tail: deque[bytes] = deque()
        self._held = 0

    def add(self, data: bytes) -> bytes:
        """Keeps `data`; returns the part of it that belongs to the head."""
        self.total += len(data)
        first, rest = data[: self._room], data[self._room :]
        self._room -= len(first)
        if first:
            self._head.append(first)
        if rest:
            self._tail.append(rest)
            self._held += len(rest)
            while self._held - len(self._tail[0]) >= self._most:
                self._held -= len(self._tail.popleft())
        return first

    def rest(self) -> bytes:
        """What came after the head, with a line that says how much of it is missing."""
        tail = b"".join(self._tail)[-self._most :]
        lost = self.total - sum(map(len, self._head)) - len(tail)
        return b"\n[%d bytes left out]\n%b" % (lost, tail) if lost else tail

    def text(self) -> str:
        """Everything that is kept, malformed UTF-8 replaced."""
        return (b"".join(self._head) + self.rest()).decode("utf-8", "replace")


class Log:
    """Our stderr, which is the log of the load: lines of our own, and a bounded part of each run's stderr."""

    def __init__(self) -> None:
        self._left = LOG_BYTES

    def say(self, text: str) -> None:
        """Writes a line of our own."""
        self.write(f"cli_bridge: {text}\n".encode())

    def part(self) -> Tail:
        """What the log keeps of a run that begins."""
        return Tail(min(LOG_RUN_BYTES, self._left), LOG_TAIL_BYTES)

    def write(self, data: bytes) -> None:
        """Writes what it can without waiting: neither a full disk nor a full pipe may end or delay a measurement."""
        self._left = max(0, self._left - len(data))
        with contextlib.suppress(OSError):
            while data and select.select((), (2,), (), 0)[1]:
                data = data[os.write(2, data[: select.PIPE_BUF]) :]
