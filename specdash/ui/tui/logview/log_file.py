"""A server's log as a file of any size: a bounded window of its lines, and a search in all of it.

A line keeps its first bytes only; the file has the rest. The file is read in pages; whether one ends within a line, or
within a character, makes no difference to what the window holds. Nothing here reads a file.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Level = Literal["", "W", "E"]

PAGE_BYTES = 64 * 2**10
KEPT_LINES = 5000
KEPT_BYTES = 4 * 2**20
HEAD_BYTES = 2048  # of a line: fills a large screen even when it is wrapped
KEPT_MATCHES = 100_000

# llama.cpp's common/log.cpp: minutes.seconds.milliseconds.microseconds since the start of the process, then the level.
_STAMP = re.compile(rb"(\d+)\.(\d\d)\.(\d{3})\.(\d{3}) ")
_MARKER = re.compile(rb"[\d.:,TZ-]*\s?([EW]) ")
_ERROR_WORD = re.compile(rb"\berrors?\b", re.IGNORECASE)
_WARNING_WORD = re.compile(rb"\bwarn(?:ings?)?\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a file: where it begins, its bytes without the line feed (`size`), and the first of them.

    `continues`: it begins before `offset`; what stands there was not read. `stamp_s`: seconds since the server started,
    where the line says so.
    """

    offset: int
    size: int
    head: bytes
    level: Level = ""
    stamp_s: float | None = None
    continues: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """The lines between two offsets of a file that had `size` bytes when it was last asked.

    `is_open`: the last line has no line feed yet.
    """

    start: int = 0
    end: int = 0
    size: int = 0
    lines: tuple[LogLine, ...] = ()
    is_open: bool = False

    @property
    def at_start(self) -> bool:
        """Return whether nothing of the file lies before it."""
        return self.start == 0

    @property
    def at_end(self) -> bool:
        """Return whether nothing of the file lies after it."""
        return self.end >= self.size

    @property
    def is_full(self) -> bool:
        """Return whether it holds about as much as it may."""
        return len(self.lines) >= KEPT_LINES or sum(len(line.head) for line in self.lines) >= 0.8 * KEPT_BYTES


def log_level_of(head: bytes) -> Level:
    """Return the level of a line: by llama.cpp's marker, else by the words "error" and "warning"."""
    marker = _MARKER.match(head)
    if marker is not None:
        return "E" if marker[1] == b"E" else "W"
    if _ERROR_WORD.search(head):
        return "E"
    return "W" if _WARNING_WORD.search(head) else ""


def stamp_of(head: bytes) -> float | None:
    """Return seconds since the server's start by the line's own stamp; None where it has none."""
    found = _STAMP.match(head)
    if found is None:
        return None
    return int(found[1]) * 60 + int(found[2]) + int(found[3]) / 1e3 + int(found[4]) / 1e6


def window_at(offset: int, data: bytes, size: int, *, at_line_start: bool = False) -> Window:
    """Return a window of one page. A line that begins before it is left out, unless the page holds nothing else."""
    page = _page(offset, data, is_cut=offset > 0 and not at_line_start)
    return _without_first(replace(page, size=max(size, page.end)))


def appended(window: Window, data: bytes, size: int) -> Window:
    """Return the window with the bytes that follow it in the file, which has `size` bytes now."""
    joined = _joined(window, _page(window.end, data))
    return _without_first(replace(joined, size=max(size, joined.end)))


def prepended(window: Window, data: bytes) -> Window:
    """Return the window with the bytes that come before it in the file."""
    if not data:
        return window
    start = window.start - len(data)
    return _without_last(_joined(_page(start, data, is_cut=start > 0), window))


def _page(offset: int, data: bytes, *, is_cut: bool = False) -> Window:
    """Return the lines of some bytes. `is_cut`: the first one began earlier; the page before will bring it whole."""
    parts = data.split(b"\n")
    is_open = bool(parts[-1])
    lines: list[LogLine] = []
    at = offset
    for part in parts if is_open else parts[:-1]:
        lines.append(_line(at, len(part), part[:HEAD_BYTES], continues=is_cut and not lines))
        at += len(part) + 1
    if is_cut and len(lines) > 1:
        del lines[0]
    return Window(lines[0].offset if lines else offset, offset + len(data), lines=tuple(lines), is_open=is_open)


def _joined(left: Window, right: Window) -> Window:
    """Join two windows that meet in the file, which may be within a line."""
    lines, rest = left.lines, right.lines
    if not rest:
        return replace(left, size=max(left.size, right.size))
    if left.is_open and lines:
        last, first = lines[-1], rest[0]
        head = last.head if last.size >= HEAD_BYTES else (last.head + first.head)[:HEAD_BYTES]
        whole = _line(last.offset, last.size + first.size, head, continues=last.continues)
        lines, rest = (*lines[:-1], whole), rest[1:]
    elif lines and rest[0].continues:
        rest = (replace(rest[0], continues=False), *rest[1:])
    return Window(left.start, right.end, max(left.size, right.size), (*lines, *rest), right.is_open)


def _line(offset: int, size: int, head: bytes, *, continues: bool) -> LogLine:
    return LogLine(offset, size, head, log_level_of(head), stamp_of(head), continues)


def _surplus(lines: Sequence[LogLine]) -> int:
    """Return how many of the first lines are to go, to keep within both limits."""
    surplus = max(0, len(lines) - KEPT_LINES)
    kept_bytes = sum(len(line.head) for line in lines[surplus:])
    while kept_bytes > KEPT_BYTES and surplus < len(lines) - 1:
        kept_bytes -= len(lines[surplus].head)
        surplus += 1
    return surplus


def _without_first(window: Window) -> Window:
    lines = window.lines[_surplus(window.lines) :]
    return replace(window, start=lines[0].offset, lines=lines) if lines else window


def _without_last(window: Window) -> Window:
    kept = len(window.lines) - _surplus(window.lines[::-1])
    if kept == len(window.lines):
        return window
    return replace(window, end=window.lines[kept].offset, lines=window.lines[:kept], is_open=False)


class Scanner:
    """Searches a file for a text; `feed` takes the file from its start on, in order.

    Bytes are compared; where case does not matter, that is so for the letters A to Z only. `matches` are the offsets of
    lines with the text, ascending, each once; beyond KEPT_MATCHES they are only counted. `end` is how far the file was
    read.
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
        """Take the next bytes of the file."""
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
        """Return the first line with the text that begins after `offset`."""
        index = bisect_right(self.matches, offset)
        return self.matches[index] if index < len(self.matches) else None

    def before(self, offset: int) -> int | None:
        """Return the last line with the text that begins before `offset`."""
        index = bisect_left(self.matches, offset)
        return self.matches[index - 1] if index > 0 else None

    def number(self, offset: int) -> int | None:
        """Return which match the line at `offset` is, counted from 1; None when it is none."""
        index = bisect_left(self.matches, offset)
        return index + 1 if index < len(self.matches) and self.matches[index] == offset else None
