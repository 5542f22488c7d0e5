"""What the logs screen knows: which log, which part of it, where in it the screen is, and what is searched for.

It says what to read next and takes what was read; the reading is the screen's. No clock, no terminal, no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from specdash.core.view import LoadView
from specdash.remote.feed import RunFeed
from specdash.remote.source import LogPiece
from specdash.ui.tui.logview import rows
from specdash.ui.tui.logview.entries import FILTERS, Entry, Filter, Mark, entries_of, marks_of
from specdash.ui.tui.logview.search import Scanner
from specdash.ui.tui.logview.window import Window, appended, prepended, window_at

PIECE_BYTES = 64 * 2**10
BEGINNING = (0, -(10**6))  # before every entry
MOST_PIECES = 64  # read for one key: a filter that nothing passes does not read a whole file

How = Literal["tail", "head", "at", "after", "before"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A piece to read: how it joins the window, and where it begins (negative: counted from the end)."""

    how: How
    offset: int
    size: int


@dataclass(slots=True)
class LogModel:
    """The log of one load: the newest one, or the one that was `chosen`."""

    chosen: str | None = None
    shown: str | None = None
    window: Window = field(default_factory=Window)
    known_bytes: int = 0  # the size of the file, by whoever told it last
    problem: str | None = None
    follow: bool = True
    wrap: bool = False
    pan: int = 0
    level: Filter = ""
    ignore_case: bool = True
    scan: Scanner | None = None
    scan_stopped: bool = False
    found: int | None = None  # the line of the match that was jumped to
    awaited: int = 0  # jump once it is certain which match it is: 1 the next, -1 the one before
    key: tuple[int, int] = BEGINNING  # of the first entry on the screen
    row: int = 0
    width: int = 80
    height: int = 20
    ellipsis: str = "…"
    budget: int = MOST_PIECES
    marks: tuple[Mark, ...] = ()
    _anew: How | None = None
    _jump: int | None = None
    _problem_bytes: int = -1
    _cache: tuple[Window, Filter, tuple[Mark, ...], tuple[Entry, ...]] | None = None

    def load(self, feed: RunFeed) -> LoadView | None:
        """The load whose log is to be shown; None while there is none."""
        loads = feed.view.loads
        if self.chosen in loads:
            return loads[self.chosen or ""]
        return loads[next(reversed(list(loads)))] if loads else None

    def settle(self, feed: RunFeed) -> None:
        """Turns to another log when the load has changed; notes how large the file is by now."""
        load = self.load(feed)
        name = load.id if load is not None else None
        if name != self.shown:
            self.shown, self.window, self.known_bytes = name, Window(), 0
            self.problem, self._problem_bytes, self.found, self._jump = None, -1, None, None
            self.follow = load is not None and not load.finished and feed.gone is None
            self._anew = "tail" if self.follow else "head"
            self.key, self.row, self.budget = BEGINNING, 0, MOST_PIECES
            if self.scan is not None:
                self.begin_scan(self.scan.text)
        log = feed.live.log
        if log is not None and log.load == name:
            self.known_bytes = max(self.known_bytes, log.size_bytes)
        self.marks = marks_of(feed.view, name or "")

    @property
    def file_bytes(self) -> int:
        """The size of the file as far as it is known."""
        return max(self.known_bytes, self.window.size)

    def entries(self) -> tuple[Entry, ...]:
        """What there is to show of the window."""
        if self.problem is not None or (self._anew is not None and not self.window.size):
            return ()
        cached = self._cache
        if cached is None or cached[0] is not self.window or cached[1] != self.level or cached[2] != self.marks:
            found = entries_of(self.window, self.level, self.marks)
            cached = self._cache = (self.window, self.level, self.marks, found)
        return cached[3]

    def look(self) -> rows.Look:
        """How it is shown."""
        needle = self.scan.text if self.scan is not None else ""
        return rows.Look(
            self.width, self.height, self.wrap, self.pan, needle, self.ignore_case, self.found, self.ellipsis
        )

    def place(self) -> rows.Place:
        """The first row on the screen, never further down than leaves a full screen."""
        entries = self.entries()
        last = rows.bottom(entries, self.look())
        if self.follow:
            return last
        place = rows.place_of(entries, self.key, self.row)
        return last if (place.index, place.row) > (last.index, last.row) else place

    def stay_at(self, place: rows.Place) -> None:
        """Remembers a place by its entry, which stays when the window moves."""
        entries = self.entries()
        # What is to be read next decides the place, not what is still on the screen.
        if entries and self._anew is None and self._jump is None:
            self.key, self.row = entries[min(place.index, len(entries) - 1)].key, place.row

    # -- reading -----------------------------------------------------------------------------------------------

    def wanted(self) -> Wanted | None:
        """What to read next; None when the screen lacks nothing, or when it cannot be read."""
        if self.shown is None:
            return None
        if self.problem is not None and self.known_bytes <= self._problem_bytes:
            return None
        window = self.window
        if self._anew is not None:
            return Wanted(self._anew, -PIECE_BYTES if self._anew == "tail" else 0, PIECE_BYTES)
        if self._jump is not None:
            return Wanted("at", self._jump, PIECE_BYTES)
        if self.follow and self.file_bytes - window.end > 4 * PIECE_BYTES:
            return Wanted("tail", -PIECE_BYTES, PIECE_BYTES)
        if self.follow and window.end < self.file_bytes:
            return Wanted("after", window.end, PIECE_BYTES)
        if self.budget <= 0:
            return None
        place = self.place()
        ends_soon = len(self.entries()) - place.index < 2 * self.height
        begins_soon = place.index < self.height
        # A full window of which a filter leaves next to nothing would be read to and fro.
        if ends_soon and begins_soon and window.is_full:
            return None
        if ends_soon and window.end < self.file_bytes:
            return Wanted("after", window.end, PIECE_BYTES)
        if begins_soon and window.start > 0 and not (self.follow and window.is_full):
            offset = max(0, window.start - PIECE_BYTES)
            return Wanted("before", offset, window.start - offset)
        return None

    def take(self, wanted: Wanted, piece: LogPiece) -> None:
        """Joins what was read to the window."""
        window = self.window
        self.problem = None
        if not self.follow:
            self.budget -= 1
        self.known_bytes = piece.size
        if wanted.how in ("after", "before") and (piece.size < window.end or piece.offset != wanted.offset):
            # The file is another one, or was cut: what was read of it says nothing any more.
            self.window, self._anew = Window(), "tail" if self.follow else "head"
        elif wanted.how == "after":
            joined = appended(window, piece.data, piece.size)
            self.window = joined if piece.data else replace(joined, size=window.end)
            self.known_bytes = piece.size if piece.data else window.end
        elif wanted.how == "before":
            if len(piece.data) == window.start - piece.offset:
                self.window = prepended(window, piece.data)
            else:
                self.budget = 0
        else:
            self.window = window_at(piece.offset, piece.data, piece.size, at_line_start=wanted.how == "at")
            self._anew = self._jump = None

    def fail(self, why: str) -> None:
        """The log cannot be read; it is tried again when it has grown, or at a key."""
        self.problem, self._problem_bytes = why, self.known_bytes
        self._anew = self._anew or ("tail" if self.follow else "head")

    # -- search ------------------------------------------------------------------------------------------------

    def begin_scan(self, text: str) -> None:
        """Searches for `text` from the start of the file."""
        self.scan = Scanner(text, ignore_case=self.ignore_case)
        self.scan_stopped, self.found = False, None

    @property
    def is_scanning(self) -> bool:
        """Whether a search has not read the whole file yet."""
        return self.scan is not None and not self.scan_stopped and self.scan.end < self.file_bytes

    def settle_match(self, *, ended: bool = False) -> bool:
        """Jumps to the awaited match once it is certain which that is; `ended`: there will be no others."""
        scan = self.scan
        if scan is None or not self.awaited:
            return False
        here = self.found if self.found is not None else self.key[0] - 1
        found: int | None = None
        if self.awaited > 0:
            found = scan.after(here)
            if found is None and ended and scan.matches:
                found = scan.matches[0]
        elif scan.end >= here or ended:
            found = scan.before(here)
            if found is None and ended and scan.matches:
                found = scan.matches[-1]
        if found is None:
            self.awaited = 0 if ended else self.awaited
            return False
        self.awaited, self.found, self.follow, self.budget = 0, found, False, MOST_PIECES
        if self.window.start <= found < self.window.end:
            place = rows.place_of(self.entries(), (found, 0), 0)
            self.stay_at(rows.Place(max(0, place.index - self.height // 3), 0))
        else:
            self._jump, self.key, self.row = found, (found, 0), 0
        return True

    # -- moving ------------------------------------------------------------------------------------------------

    def choose(self, by: int, feed: RunFeed) -> None:
        """Turns to an earlier or later load; past the newest one it stays with whatever is newest."""
        loads = list(feed.view.loads)
        if self.shown in loads:
            at = max(0, loads.index(self.shown) + by)
            self.chosen = loads[at] if at < len(loads) - 1 else None

    def next_level(self) -> None:
        """All lines, then warnings and errors, then errors."""
        self.level = FILTERS[(FILTERS.index(self.level) + 1) % len(FILTERS)]
        self.budget = MOST_PIECES

    def to_start(self) -> None:
        """To the first line of the file."""
        self.follow, self.budget, self._jump = False, MOST_PIECES, None
        self.key, self.row = BEGINNING, 0
        self._problem_bytes = -1
        if not self.window.at_start:
            self._anew = "head"

    def to_end(self) -> None:
        """To the last line of the file, and on with it."""
        self.follow, self.budget, self._jump = True, MOST_PIECES, None
        self._problem_bytes = -1
        if self.window.end < self.file_bytes:
            self._anew = "tail"

    def move(self, by: int) -> None:
        """Some rows up or down; up ends following."""
        place = self.place()
        if by < 0:
            self.follow = False
        self.budget = MOST_PIECES
        self.stay_at(rows.moved(self.entries(), self.look(), place, by))
