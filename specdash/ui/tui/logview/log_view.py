"""A server's log as a screen shows it: which part of it, what to read next, what is searched for, and its rows.

`LogView` says what to read and takes what was read; the reading is the screen's. Only what is seen is laid out: a paint
costs as much for 5,000 lines as for 50. No clock, no terminal, no I/O.
"""

from __future__ import annotations

import re
import sys
import time
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rich.cells import cell_len, chop_cells

from specdash.core.state import RunState
from specdash.core.text import human_bytes, one_line, plain
from specdash.remote.feed import RunFeed
from specdash.remote.run_source import LogPiece
from specdash.ui.tui.lines import Line, Span, first_line_shown, fitted, rule
from specdash.ui.tui.logview.log_file import (
    KEPT_LINES,
    PAGE_BYTES,
    Level,
    LogLine,
    Scanner,
    Window,
    appended,
    prepended,
    window_at,
)
from specdash.ui.tui.terminal import Glyphs
from specdash.ui.tui.terminal.theme import StyleName

LEVELS: dict[Level, str] = {"": "all", "W": "warnings and errors", "E": "errors"}
DETAIL_LIMIT = 300
SPAWN_S = 0.05
MOST_MARKS = 1000  # more than a view remembers of transitions
MOST_PAGES = 64  # read for one key: a filter that nothing passes does not read a whole file
TAB = "    "


@dataclass(frozen=True, slots=True)
class Mark:
    """A transition of the server: its moment (seconds since 1970, and since the load began) and words for it."""

    time_s: float
    since_s: float
    text: str

    @property
    def clock(self) -> str:
        """Return the moment as a local time of day."""
        return time.strftime("%H:%M:%S", time.localtime(self.time_s))


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A line of the log or a mark before it. `key` orders entries and stays when the window moves."""

    key: tuple[int, int]
    line: LogLine | None = None
    mark: Mark | None = None


@dataclass(frozen=True, slots=True, order=True)
class LogPosition:
    """A row of the log: the key of its entry, and which of the entry's rows it is."""

    key: tuple[int, int]
    row: int = 0


BEGINNING = LogPosition((0, -(10**6)))  # before every entry
END = LogPosition((sys.maxsize, 0))  # after every entry


@dataclass(frozen=True, slots=True)
class PageToRead:
    """A page to read: how it joins the window, and where it begins (negative: counted from the end)."""

    how: Literal["anew", "after", "before"]
    offset: int
    size: int = PAGE_BYTES
    at_line_start: bool = False


HEAD, TAIL = PageToRead("anew", 0), PageToRead("anew", -PAGE_BYTES)


def marks_of(view: RunState, load: str) -> tuple[Mark, ...]:
    """Return what is remembered of a load's transitions, and how it ended."""
    found = view.loads.get(load)
    if found is None:
        return ()
    marks = [
        Mark(
            moved.time_s,
            moved.time_s - found.started_s,
            f"{moved.before.upper()} -> {moved.after.upper()}"
            f" ({one_line(moved.trigger)})" + (f" {one_line(moved.detail, DETAIL_LIMIT)}" if moved.detail else ""),
        )
        for moved in view.transitions
        if moved.load == load
    ]
    if found.error:
        last_s = marks[-1].time_s if marks else found.state_since_s or found.started_s
        hint = f"  hint: {one_line(found.hint, DETAIL_LIMIT)}" if found.hint else ""
        text = f"load failed: {one_line(found.error, DETAIL_LIMIT)}{hint}"
        marks.append(Mark(last_s, last_s - found.started_s, text))
    return tuple(marks)


def entries_of(window: Window, level: Level, marks: Sequence[Mark]) -> tuple[LogEntry, ...]:
    """Return the entries of a window, filtered by level. Marks are never filtered.

    A mark stands before the first line with a later stamp; one that belongs outside of the window is left out. Where
    a server writes no stamps, its start stands before the log and the rest after it.
    """
    placed = _placed(window, marks)
    entries: list[LogEntry] = []
    at = 0
    for index, line in enumerate(window.lines):
        while at < len(placed) and placed[at][0] <= index:
            entries.append(LogEntry((line.offset, at - MOST_MARKS), mark=placed[at][1]))
            at += 1
        if not level or line.level == "E" or line.level == level:
            entries.append(LogEntry((line.offset, 0), line=line))
    end = window.end + 1
    entries += [LogEntry((end, number), mark=mark) for number, (_, mark) in enumerate(placed[at:])]
    return tuple(entries)


def _placed(window: Window, marks: Sequence[Mark]) -> list[tuple[int, Mark]]:
    """Return, for each mark that belongs here, the index of the line that it stands before."""
    stamped = [(index, line.stamp_s) for index, line in enumerate(window.lines) if line.stamp_s is not None]
    count = len(window.lines)
    if not stamped:
        first = [(0, mark) for mark in marks[:1] if window.at_start]
        return first + [(count, mark) for mark in marks[1:] if window.at_end]
    # The server's clock may not run backwards for a search by halves.
    stamps: list[float] = []
    for _, stamp_s in stamped:
        stamps.append(max(stamp_s, stamps[-1]) if stamps else stamp_s)
    found = []
    for mark in marks:
        # The server's clock starts a little after the load does: what began it is never below its first words.
        index = bisect_right(stamps, mark.since_s) if mark.since_s > SPAWN_S else 0
        place = stamped[index][0] if index < len(stamped) else count
        if (index > 0 or window.at_start) and (index < len(stamped) or window.at_end):
            found.append((place if index > 0 else 0, mark))
    return found


class LogView:
    """The log of one load: the newest one, or the one that was `chosen`."""

    def __init__(self) -> None:
        self.chosen: str | None = None
        self.shown: str | None = None
        self.window = Window()
        self.known_bytes = 0  # the size of the file, by whoever told it last
        self.problem: str | None = None
        self.marks: tuple[Mark, ...] = ()
        self.follow = True
        self.level: Level = ""
        # How it is shown: the room for it, wrapped or shifted by so many columns.
        self.width = 80
        self.height = 20
        self.ellipsis = "…"
        self.wrap = False
        self.pan = 0
        # What is searched for, and the line of the match that was jumped to.
        self.scan: Scanner | None = None
        self.scan_stopped = False
        self.ignore_case = True
        self.found: int | None = None
        self.awaited = 0  # jump once it is certain which match it is: 1 the next, -1 the one before
        self._place = BEGINNING
        self._pages_left = MOST_PAGES
        self._next: PageToRead | None = None  # to be read before anything else: the screen is elsewhere
        self._problem_bytes = -1
        self._entries: tuple[LogEntry, ...] = ()
        self._entries_of: tuple[Window, Level, tuple[Mark, ...]] = self.window, "", ()

    def settle(self, feed: RunFeed) -> None:
        """Turn to another log when the load has changed; note how large the file is by now."""
        loads = feed.view.loads
        name = self.chosen if self.chosen in loads else next(reversed(list(loads)), None)
        load = loads.get(name or "")
        if name != self.shown:
            self.shown, self.window, self.known_bytes = name, Window(), 0
            self.problem, self._problem_bytes, self.found = None, -1, None
            self.follow = load is not None and not load.finished and feed.gone is None
            self._next = TAIL if self.follow else HEAD
            self._place, self._pages_left = BEGINNING, MOST_PAGES
            if self.scan is not None:
                self.begin_scan(self.scan.text)
        log = feed.live.log
        if log is not None and log.load == name:
            self.known_bytes = max(self.known_bytes, log.size_bytes)
        self.marks = marks_of(feed.view, name or "")

    @property
    def file_bytes(self) -> int:
        """Return the size of the file as far as it is known."""
        return max(self.known_bytes, self.window.size)

    def entries(self) -> tuple[LogEntry, ...]:
        """Return the entries of the window."""
        if self.problem is not None or (self._next is not None and not self.window.size):
            return ()
        window, *rest = self._entries_of
        if window is not self.window or rest != [self.level, self.marks]:
            self._entries_of = self.window, self.level, self.marks
            self._entries = entries_of(*self._entries_of)
        return self._entries

    # -- reading -----------------------------------------------------------------------------------------------

    def wanted(self) -> PageToRead | None:
        """Return what to read next; None when the screen lacks nothing, or when it cannot be read."""
        if self.shown is None or (self.problem is not None and self.known_bytes <= self._problem_bytes):
            return None
        window = self.window
        if self._next is not None:
            return self._next
        if self.follow and self.file_bytes - window.end > 4 * PAGE_BYTES:
            return TAIL
        if self.follow and window.end < self.file_bytes:
            return PageToRead("after", window.end)
        if self._pages_left <= 0:
            return None
        index, _ = self._located(self.place())
        ends_soon = len(self.entries()) - index < 2 * self.height
        begins_soon = index < self.height
        # A full window of which a filter leaves next to nothing would be read to and fro.
        if ends_soon and begins_soon and window.is_full:
            return None
        if ends_soon and window.end < self.file_bytes:
            return PageToRead("after", window.end)
        if begins_soon and window.start > 0 and not (self.follow and window.is_full):
            offset = max(0, window.start - PAGE_BYTES)
            return PageToRead("before", offset, window.start - offset)
        return None

    def take(self, wanted: PageToRead, piece: LogPiece) -> None:
        """Join what was read to the window."""
        window = self.window
        self.problem = None
        self.known_bytes = piece.size
        if not self.follow:
            self._pages_left -= 1
        if wanted.how == "anew":
            self.window = window_at(piece.offset, piece.data, piece.size, at_line_start=wanted.at_line_start)
            self._next = None
        elif piece.size < window.end or piece.offset != wanted.offset:
            # The file is another one, or was cut: what was read of it says nothing any more.
            self.window, self._next = Window(), TAIL if self.follow else HEAD
        elif wanted.how == "after":
            joined = appended(window, piece.data, piece.size)
            self.known_bytes = piece.size if piece.data else window.end
            self.window = joined if piece.data else replace(joined, size=window.end)
        elif len(piece.data) == window.start - piece.offset:
            self.window = prepended(window, piece.data)
        else:
            self._pages_left = 0

    def fail(self, why: str) -> None:
        """Note that the log cannot be read; it is tried again when it has grown, or at a key."""
        self.problem, self._problem_bytes = why, self.known_bytes
        if self._next is None or self._next.at_line_start:
            self._next = TAIL if self.follow else HEAD

    # -- search ------------------------------------------------------------------------------------------------

    def begin_scan(self, text: str) -> None:
        """Search for `text` from the start of the file."""
        self.scan = Scanner(text, ignore_case=self.ignore_case)
        self.scan_stopped, self.found = False, None

    @property
    def is_scanning(self) -> bool:
        """Return whether a search has not read the whole file yet."""
        return self.scan is not None and not self.scan_stopped and self.scan.end < self.file_bytes

    def settle_match(self, *, ended: bool = False) -> None:
        """Jump to the awaited match once it is certain which that is; `ended`: there will be no others."""
        scan = self.scan
        if scan is None or not self.awaited:
            return
        here = self.found if self.found is not None else self._place.key[0] - 1
        forwards = self.awaited > 0
        found = scan.after(here) if forwards else scan.before(here) if scan.end >= here or ended else None
        if found is None and ended and scan.matches:
            found = scan.matches[0 if forwards else -1]
        if found is None:
            self.awaited = 0 if ended else self.awaited
            return
        self.awaited, self.found, self.follow, self._pages_left = 0, found, False, MOST_PAGES
        self._place = LogPosition((found, 0))
        if self.window.start <= found < self.window.end:
            index, _ = self._located(self._place)
            self.stay_at(self._place_at(max(0, index - self.height // 3), 0))
        else:
            self._next = PageToRead("anew", found, at_line_start=True)

    # -- moving ------------------------------------------------------------------------------------------------

    def place(self) -> LogPosition:
        """Return the first row on the screen, never further down than leaves a full screen."""
        bottom = self.moved(END, -self.height)
        if self.follow:
            return bottom
        index, row = self._located(self._place)
        return min(bottom, self._place_at(index, row))

    def stay_at(self, place: LogPosition) -> None:
        """Remember a place by its entry, which stays when the window moves."""
        # What is to be read next decides the place, not what is still on the screen.
        if self.entries() and self._next is None:
            self._place = place

    def moved(self, place: LogPosition, rows: int) -> LogPosition:
        """Return the place `rows` further down, or up when negative; no further than the first row."""
        entries = self.entries()
        index, row = self._located(place)
        row += rows
        while row < 0 and index > 0:
            index -= 1
            row += self._row_count(entries[index])
        if row < 0:
            return self._place_at(0, 0)
        while row > 0 and index < len(entries):
            count = self._row_count(entries[index])
            if row < count:
                break
            index, row = index + 1, row - count
        return self._place_at(index, row)

    def _located(self, place: LogPosition) -> tuple[int, int]:
        """Return where a place is now: the index of the first entry that does not come before it, and the row in it."""
        entries = self.entries()
        index = bisect_left(entries, place.key, key=lambda entry: entry.key)
        return index, place.row if index < len(entries) and entries[index].key == place.key else 0

    def _place_at(self, index: int, row: int) -> LogPosition:
        entries = self.entries()
        return LogPosition(entries[index].key, row) if index < len(entries) else END

    def choose(self, by: int, feed: RunFeed) -> None:
        """Turn to an earlier or later load; past the newest one it stays with whatever is newest."""
        loads = list(feed.view.loads)
        if self.shown in loads:
            at = max(0, loads.index(self.shown) + by)
            self.chosen = loads[at] if at < len(loads) - 1 else None

    def next_level(self) -> None:
        """Show all lines, then warnings and errors, then errors."""
        levels = list(LEVELS)
        self.level = levels[(levels.index(self.level) + 1) % len(levels)]
        self._pages_left = MOST_PAGES

    def toggle_wrap(self) -> None:
        """Wrap long lines, or cut them at the edge."""
        self.wrap, self.pan, self._place = not self.wrap, 0, LogPosition(self._place.key)

    def shift(self, columns: int) -> None:
        """Shift long lines to the side."""
        self.pan = 0 if self.wrap else max(0, self.pan + columns)

    def to_start(self) -> None:
        """Go to the first line of the file."""
        self._problem_bytes, self._pages_left = -1, MOST_PAGES
        self.follow, self._place = False, BEGINNING
        self._next = HEAD if self._next is not None or not self.window.at_start else None

    def to_end(self) -> None:
        """Go to the last line of the file and follow it."""
        self._problem_bytes, self._pages_left = -1, MOST_PAGES
        self.follow = True
        self._next = TAIL if self._next is not None or self.window.end < self.file_bytes else None

    def move(self, by: int) -> None:
        """Move some rows up or down; up ends following."""
        place = self.place()
        self.follow = self.follow and by >= 0
        self._pages_left = MOST_PAGES
        self.stay_at(self.moved(place, by))

    # -- rows --------------------------------------------------------------------------------------------------

    def rows(self) -> list[Line]:
        """Return the rows on the screen."""
        index, skip = self._located(self.place())
        found: list[Line] = []
        for entry in self.entries()[index:]:
            found += self._rows_of(entry)[skip:]
            skip = 0
            if len(found) >= self.height:
                break
        return found[: self.height]

    @property
    def shown_end(self) -> int | None:
        """Return where the last line on the screen ends in the file; None where there is none."""
        if not self.entries():
            return None
        after = self.moved(self.place(), self.height)
        return min(after.key[0] if after != END else self.window.end, self.file_bytes)

    def _row_count(self, entry: LogEntry) -> int:
        return len(self._rows_of(entry)) if self.wrap else 1

    def _rows_of(self, entry: LogEntry) -> list[Line]:
        """Return the rows of one entry, each no wider than the screen."""
        style: StyleName = "accent"
        if entry.mark is not None:
            text, sign = f"{entry.mark.clock} specdash: {entry.mark.text}", "="
        else:
            assert entry.line is not None
            text = text_of_line(entry.line)
            style = "bad" if entry.line.level == "E" else "warn" if entry.line.level == "W" else ""
            sign = ">" if self.found == entry.line.offset else " "
        room = max(1, self.width - 1)
        parts = (chop_cells(text, room) or [""]) if self.wrap else [_panned(text, self.pan)]
        lines: list[Line] = []
        for number, part in enumerate(parts):
            first: Span = (sign if number == 0 else " ", "accent" if sign == "=" else "marked")
            lines.append(fitted((first, *self._highlighted(part, style)), self.width, self.ellipsis))
        return lines

    def _highlighted(self, text: str, style: StyleName) -> list[Span]:
        """Return the text with what is searched for set off."""
        if self.scan is None or not self.scan.text:
            return [(text, style)]
        spans: list[Span] = []
        at = 0
        for match in re.finditer(re.escape(self.scan.text), text, re.IGNORECASE if self.ignore_case else 0):
            spans += [(text[at : match.start()], style), (match[0], "cursor")]
            at = match.end()
        return [span for span in (*spans, (text[at:], style)) if span[0]]


def text_of_line(line: LogLine) -> str:
    """Return a line as it can be shown: control characters by their codes, cut where it is too long."""
    before = "(begins earlier) " if line.continues else ""
    shown = plain(line.head).replace("\n", "<0a>").replace("\t", TAB)
    cut = line.size - len(line.head)
    return before + shown + (f"... ({cut:,} more bytes in the file)" if cut > 0 else "")


def _panned(text: str, pan: int) -> str:
    """Return the text from a column on."""
    if text.isascii():
        return text[pan:]
    cells = 0
    for index, character in enumerate(text):
        if cells >= pan:
            return text[index:]
        cells += cell_len(character)
    return ""


# -- the lines around a log ---------------------------------------------------------------------------------------


def log_title(log: LogView, view: RunState, width: int, glyphs: Glyphs) -> list[Line]:
    """Return which log this is, and where in it the screen is."""
    load = view.loads.get(log.shown or "")
    if load is None:
        return [rule("log", "", width, glyphs.rule)]
    size, end = log.file_bytes, log.shown_end
    share = f"{100 * end // size:3d}% of " if end is not None and size > 0 else ""
    number = list(view.loads).index(load.id) + 1
    name = f"{one_line(load.log, 60)}  load {number} of {len(view.loads)}  {load.state.upper()}"
    right = f"follow {'on' if log.follow else 'off'}   {share}{human_bytes(size)}"
    label: Line = ((f" {one_line(load.key.label, 60)}", ""), (_left_out(log), "dim"))
    return [rule(name, right, width, glyphs.rule), fitted(label, width, glyphs.ellipsis)]


def _left_out(log: LogView) -> str:
    """Return what the view leaves out of the file."""
    parts = []
    below = log.file_bytes - log.shown_end if log.shown_end is not None else 0
    if below > 0 and not log.follow:
        parts.append(f"{human_bytes(below)} below (G: to the end)")
    if log.level:
        parts.append(f"only {LEVELS[log.level]}, of the {len(log.window.lines):,} lines in view")
    if not log.window.at_start or log.window.end < log.file_bytes:
        parts.append(f"the view keeps {KEPT_LINES:,} lines, the file has all")
    return "".join(f"   {part}" for part in parts)


def search_line(log: LogView, width: int, ellipsis: str) -> list[Line]:
    """Return what is below the log: the search, while there is one."""
    scan, size = log.scan, log.file_bytes
    if scan is None:
        return []
    case = "" if scan.ignore_case else " (case matters)"
    text: Line = ((" /", "key"), (one_line(scan.text, 60), "title"), (case, "dim"), ("   ", ""))
    number = scan.number(log.found) if log.found is not None else None
    if scan.count:
        which = f"match {number:,} of {scan.count:,}" if number is not None else f"{scan.count:,} lines have it"
        text = (*text, (which, "good"))
    elif not log.is_scanning:
        text = (*text, ("not in this log", "warn"))
    share = f"{100 * scan.end // size if size else 0}%"
    if log.is_scanning:
        text = (*text, (f"   searching, {share} of {human_bytes(size)}; esc stops", "dim"))
    elif scan.end < size:
        text = (*text, (f"   stopped at {share}", "dim"))
    return [fitted(text, width, ellipsis)]


def log_side_lines(log: LogView, view: RunState, width: int, glyphs: Glyphs) -> list[Line]:
    """Return the loads of the run and the transitions of this one, for the right side of a wide screen."""
    height, marks, loads = log.height, log.marks, list(view.loads.values())
    room = max(3, height - min(len(marks) + 2, height // 2) - 1)
    lines: list[Line] = [rule("loads", "[ and ] switch", width, glyphs.rule)]
    at = next((index for index, each in enumerate(loads) if each.id == log.shown), len(loads) - 1)
    first = first_line_shown(at, room, len(loads))
    for each in loads[first : first + room]:
        is_shown = each.id == log.shown
        sign = glyphs.cursor if is_shown else " "
        style: StyleName = "bad" if each.state == "failed" else "title" if is_shown else ""
        name: Span = (f"{sign}{one_line(each.id, 8)} {each.state:<9}", style)
        lines.append(fitted((name, (one_line(each.key.label), "dim")), width))
    lines += [(), rule("transitions", "", width, glyphs.rule)]
    left = max(0, height - len(lines))
    for mark in marks[len(marks) - left :] if left else ():
        lines.append(fitted(((f" {mark.clock} ", "dim"), (mark.text, "")), width, glyphs.ellipsis))
    return lines[:height]
