"""A window of a log: at most some thousand lines of a file of any size, put together from pieces read in any order.

A line keeps its first bytes only; the file has the rest. Whether a piece ends within a line, or within a character,
makes no difference to what the window holds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Level = Literal["", "W", "E"]

KEPT_LINES = 5000
KEPT_BYTES = 4 * 2**20
HEAD_BYTES = 2048  # of a line: fills a large screen even when it is wrapped

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
        """Whether nothing of the file lies before it."""
        return self.start == 0

    @property
    def at_end(self) -> bool:
        """Whether nothing of the file lies after it."""
        return self.end >= self.size

    @property
    def is_full(self) -> bool:
        """Whether it holds about as much as it may."""
        if len(self.lines) >= KEPT_LINES:
            return True
        return sum(len(line.head) for line in self.lines) >= 0.8 * KEPT_BYTES


def level_of(head: bytes) -> Level:
    """The level of a line: by llama.cpp's marker, else by the words "error" and "warning"."""
    marker = _MARKER.match(head)
    if marker is not None:
        return "E" if marker[1] == b"E" else "W"
    if _ERROR_WORD.search(head):
        return "E"
    return "W" if _WARNING_WORD.search(head) else ""


def stamp_of(head: bytes) -> float | None:
    """Seconds since the server's start by the line's own stamp; None where it has none."""
    found = _STAMP.match(head)
    if found is None:
        return None
    return int(found[1]) * 60 + int(found[2]) + int(found[3]) / 1e3 + int(found[4]) / 1e6


def window_at(offset: int, data: bytes, size: int, *, at_line_start: bool = False) -> Window:
    """A window of one piece. A line that begins before it is left out, unless the piece holds nothing else."""
    known_start = offset == 0 or at_line_start
    if not known_start:
        feed = data.find(b"\n")
        if 0 <= feed < len(data) - 1:
            offset, data, known_start = offset + feed + 1, data[feed + 1 :], True
    window = Window(offset, offset, max(size, offset + len(data)))
    if not data:
        return window
    found = appended(window, data, size)
    if known_start or not found.lines:
        return found
    first = replace(found.lines[0], continues=True)
    return replace(found, lines=(first, *found.lines[1:]))


def appended(window: Window, data: bytes, size: int) -> Window:
    """The window with the bytes that follow it in the file, which has `size` bytes now."""
    if not data:
        return replace(window, size=max(size, window.end))
    lines = _lines(data, window.end)
    is_open = not data.endswith(b"\n")
    kept = window.lines
    if window.is_open and kept:
        kept, lines = kept[:-1], [_joined(kept[-1], lines[0]), *lines[1:]]
    end = window.end + len(data)
    longer = Window(window.start, end, max(size, end), (*kept, *lines), is_open)
    return _without_first(longer)


def prepended(window: Window, data: bytes) -> Window:
    """The window with the bytes that come before it in the file."""
    if not data:
        return window
    start = window.start - len(data)
    lines = _lines(data, start)
    rest = window.lines
    is_open = window.is_open
    if not data.endswith(b"\n"):
        if rest:
            lines, rest = [*lines[:-1], _joined(lines[-1], rest[0])], rest[1:]
        else:
            is_open = True
    if start > 0:
        if len(lines) > 1:
            # Where the first line begins is not known; the next piece brings it whole.
            start += lines[0].size + 1
            lines = lines[1:]
        else:
            lines = [replace(lines[0], continues=True)]
    elif lines:
        lines = [replace(lines[0], continues=False), *lines[1:]]
    return _without_last(replace(window, start=start, lines=(*lines, *rest), is_open=is_open))


def _lines(data: bytes, offset: int) -> list[LogLine]:
    """The lines of a piece that begins at `offset`; the last one may not be whole."""
    parts = data.split(b"\n")
    if not parts[-1]:
        parts.pop()
    found = []
    for part in parts:
        found.append(_line(offset, len(part), part[:HEAD_BYTES]))
        offset += len(part) + 1
    return found


def _line(offset: int, size: int, head: bytes, *, continues: bool = False) -> LogLine:
    return LogLine(offset, size, head, level_of(head), stamp_of(head), continues)


def _joined(left: LogLine, right: LogLine) -> LogLine:
    """Two parts of one line."""
    head = left.head if left.size >= HEAD_BYTES else (left.head + right.head)[:HEAD_BYTES]
    return _line(left.offset, left.size + right.size, head, continues=left.continues)


def _too_many(lines: Sequence[LogLine]) -> int:
    """How many lines are to go, to keep within both limits."""
    surplus = max(0, len(lines) - KEPT_LINES)
    kept_bytes = sum(len(line.head) for line in lines)
    while kept_bytes > KEPT_BYTES and surplus < len(lines) - 1:
        surplus = max(surplus + 1, len(lines) - int(len(lines) * KEPT_BYTES / kept_bytes))
        kept_bytes = sum(len(line.head) for line in lines[surplus:])
    return surplus


def _without_first(window: Window) -> Window:
    surplus = _too_many(window.lines)
    if not surplus:
        return window
    lines = window.lines[surplus:]
    return replace(window, start=lines[0].offset, lines=lines)


def _without_last(window: Window) -> Window:
    surplus = _too_many(window.lines[::-1])
    if not surplus:
        return window
    end = window.lines[-surplus].offset
    return replace(window, end=end, lines=window.lines[:-surplus], is_open=False)
