"""Finds a text in a file that is read piece by piece, and remembers the lines that have it.

Bytes are compared; where case does not matter, that is so for the letters A to Z only.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right

KEPT_MATCHES = 100_000


class Scanner:
    """One search; `feed` takes the file from its start on, in order.

    `matches` are the offsets of lines with the text, ascending, each once; beyond KEPT_MATCHES they are only counted.
    `end` is how far the file was read.
    """

    def __init__(self, text: str, *, ignore_case: bool) -> None:
        self.text = text
        self.ignore_case = ignore_case
        self.matches = array("q")
        self.count = 0
        self.end = 0
        needle = text.encode("utf-8", "surrogateescape")
        self._needle = needle.lower() if ignore_case else needle
        self._tail = b""
        self._line = 0  # where the line that `end` lies in begins
        self._last = -1

    def feed(self, data: bytes) -> None:
        """The next bytes of the file."""
        text = self._tail + (data.lower() if self.ignore_case else data)
        base = self.end - len(self._tail)
        self.end += len(data)
        at = text.find(self._needle) if self._needle else -1
        while at >= 0:
            feed = text.rfind(b"\n", 0, at)
            self._found(self._line if feed < 0 else base + feed + 1)
            after = text.find(b"\n", at)
            at = text.find(self._needle, after + 1) if after >= 0 else -1
        feed = text.rfind(b"\n")
        if feed >= 0:
            self._line = base + feed + 1
        overlap = max(0, len(self._needle) - 1)
        self._tail = text[max(feed + 1, len(text) - overlap) :]

    def _found(self, line: int) -> None:
        if line == self._last:
            return
        self._last = line
        self.count += 1
        if len(self.matches) < KEPT_MATCHES:
            self.matches.append(line)

    def after(self, offset: int) -> int | None:
        """The first line with the text that begins after `offset`."""
        index = bisect_right(self.matches, offset)
        return self.matches[index] if index < len(self.matches) else None

    def before(self, offset: int) -> int | None:
        """The last line with the text that begins before `offset`."""
        index = bisect_left(self.matches, offset)
        return self.matches[index - 1] if index > 0 else None

    def number(self, offset: int) -> int | None:
        """Which match the line at `offset` is, counted from 1; None when it is none."""
        index = bisect_left(self.matches, offset)
        return index + 1 if index < len(self.matches) and self.matches[index] == offset else None
