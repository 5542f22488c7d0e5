"""What a log shows, in order: the server's lines, and what specdash saw the server do, between them by time.

A line of specdash's own begins with "=" in the first column, where a server's line never stands.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from specdash.core.state import LoadState, RunState
from specdash.core.text import one_line
from specdash.ui.tui.logview.window import Level, LogLine, Window

Filter = Level
FILTERS: tuple[Filter, ...] = ("", "W", "E")
FILTER_WORDS = {"": "all", "W": "warnings and errors", "E": "errors"}
DETAIL_LIMIT = 300
SPAWN_S = 0.05
MOST_MARKS = 1000  # more than a view remembers of transitions


@dataclass(frozen=True, slots=True)
class Mark:
    """A transition of the server: its moment (seconds since 1970, and since the load began) and words for it."""

    time_s: float
    since_s: float
    text: str

    @property
    def clock(self) -> str:
        """The moment as a local time of day."""
        return time.strftime("%H:%M:%S", time.localtime(self.time_s))


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the log or a mark before it. `key` orders entries and stays when the window moves."""

    key: tuple[int, int]
    line: LogLine | None = None
    mark: Mark | None = None


def marks_of(view: RunState, load: str) -> tuple[Mark, ...]:
    """What is remembered of a load's transitions, and how it ended."""
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
        marks.append(Mark(last_s, last_s - found.started_s, _ended(found)))
    return tuple(marks)


def _ended(load: LoadState) -> str:
    hint = f"  hint: {one_line(load.hint, DETAIL_LIMIT)}" if load.hint else ""
    return f"load failed: {one_line(load.error or '', DETAIL_LIMIT)}{hint}"


def entries_of(window: Window, level: Filter, marks: Sequence[Mark]) -> tuple[Entry, ...]:
    """The entries of a window, filtered by level. Marks are never filtered.

    A mark stands before the first line with a later stamp; one that belongs outside of the window is left out. Where
    a server writes no stamps, its start stands before the log and the rest after it.
    """
    places = _places(window, marks)
    entries: list[Entry] = []
    at = 0
    for index, line in enumerate(window.lines):
        while at < len(places) and places[at][0] <= index:
            entries.append(Entry((line.offset, at - MOST_MARKS), mark=places[at][1]))
            at += 1
        if not level or line.level == "E" or line.level == level:
            entries.append(Entry((line.offset, 0), line=line))
    end = window.end + 1
    entries += [Entry((end, number), mark=mark) for number, (_, mark) in enumerate(places[at:])]
    return tuple(entries)


def _places(window: Window, marks: Sequence[Mark]) -> list[tuple[int, Mark]]:
    """For each mark that belongs here the index of the line that it stands before."""
    stamped = [(index, line.stamp_s) for index, line in enumerate(window.lines) if line.stamp_s is not None]
    count = len(window.lines)
    if not stamped:
        return [(0, mark) for mark in marks[:1] if window.at_start] + [
            (count, mark) for mark in marks[1:] if window.at_end
        ]
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
