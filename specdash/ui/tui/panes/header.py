"""The lines that every screen has: who and how far on top, the connection at the bottom, and what went wrong between.

All are pure functions; what costs time to know, as the forecast, is given to them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from specdash.core.forecast import Forecaster, Outlook, Range, in_flight
from specdash.core.state import RunState
from specdash.core.text import one_line
from specdash.remote.feed import RunFeed
from specdash.ui.tui.lines import Line, Span, fitted, width_of
from specdash.ui.tui.terminal import Glyphs
from specdash.ui.tui.terminal.theme import StyleName

_GAP = "  "
_LEAST_NAME = 8
_LEAST_AGE_S = 1.0
_SHARE_OF_TIME = 50  # a forecast is kept this many times as long as it took to make


def state_word(feed: RunFeed) -> tuple[str, StyleName]:
    """The state of the run in a word or two, and its style.

    "DISK FULL": it waits for room; "ENGINE GONE": it ended without saying so; "LINE LOST": it may still be at work;
    "REPLAY": nothing is at work; "UNREADABLE": nothing is, and the journal cannot be read.
    """
    view, gone = feed.view, feed.gone
    if view.finished is not None:
        return ("DONE", "good") if view.finished.state == "finished" else ("STOPPED", "warn")
    if gone is not None and gone.lost:
        return ("UNREADABLE" if is_replay(feed) else "LINE LOST"), "bad"
    if gone is not None:
        return ("REPLAY", "accent") if is_replay(feed) else ("ENGINE GONE", "bad")
    if view.run is None or not feed.caught_up:
        return "READING", "dim"
    if view.stopping:
        return "STOPPING", "warn"
    if disk_shortage(feed) is not None:
        return "DISK FULL", "bad"
    return ("PAUSED", "warn") if view.paused else ("RUN", "good")


def disk_shortage(feed: RunFeed) -> str | None:
    """What the run cannot write now for want of room on disk; None while there is room."""
    return feed.live.disk.lacking if feed.live.disk is not None and feed.is_live else None


def is_replay(feed: RunFeed) -> bool:
    """Whether no engine was at work when the run was opened."""
    return feed.origin is not None and feed.origin.pid is None


def run_name(view: RunState) -> str:
    """The name of the run, as it is shown."""
    return one_line(view.run.name, 60) if view.run is not None else "no run"


def short_s(duration_s: float) -> str:
    """A duration in at most six characters: "42s", "3m05s", "5h40m", "2d03h"."""
    seconds = max(0, round(duration_s))
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60:02d}s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60}h{minutes % 60:02d}m"
    hours = round(seconds / 3600)
    return f"{hours // 24}d{hours % 24:02d}h"


def eta(feed: RunFeed, left: Range | None) -> str:
    """The time that is left, as a range; "" where nothing is at work, or it stands still."""
    if not feed.is_live or feed.view.paused or feed.view.stopping or feed.view.run is None or disk_shortage(feed):
        return ""
    if left is None:
        return "ETA ?"
    low, high = short_s(left.low_s), short_s(left.high_s)
    return f"ETA {low}" if low == high else f"ETA {low}-{high}"


def clock(now_s: float, *, seconds: bool) -> str:
    """The local time of day."""
    return time.strftime("%H:%M:%S" if seconds else "%H:%M", time.localtime(now_s))


def _counts(view: RunState) -> list[Span]:
    """How many steps did not end well, each kind with its word."""
    count = view.table.statuses
    kinds: tuple[tuple[str, StyleName], ...] = (
        ("failed", "bad"),
        ("timeout", "bad"),
        ("invalid", "warn"),
        ("skipped", "dim"),
    )
    return [(f"{count[kind]} {kind}", style) for kind, style in kinds if count.get(kind)]


def header(
    feed: RunFeed, width: int, now_s: float, glyphs: Glyphs, left: Range | None = None, *, own: bool = False
) -> Line:
    """The first line of every screen: name, state, steps done, what went wrong, time left; host and clock at its end.

    Where there is no room, the host goes first, then the clock, then what went wrong, then the time left. A run that
    was started from here (`own`) is no replay, even if it was over before the dashboard came to it.
    """
    word, style = state_word(feed)
    if own and word == "REPLAY":
        word, style = "ENGINE GONE", "bad"
    tally = feed.view.table.tally
    replayed = word not in ("REPLAY", "UNREADABLE") and is_replay(feed) and not own
    fixed: list[Span] = [(f"{word} (replay)" if replayed else word, style), (f"{tally.tried}/{tally.total}", "")]
    counts = _counts(feed.view)
    until = eta(feed, left)
    host = feed.origin.host if feed.origin is not None else feed.view.run.host if feed.view.run is not None else ""
    right = [part for part in (one_line(host, 30), clock(now_s, seconds=feed.is_live)) if part]
    name = run_name(feed.view)

    def size(parts: list[Span], end: list[str]) -> int:
        texts = [text for text, _ in parts] + end
        return 1 + _LEAST_NAME + sum(width_of(((text, ""),)) + len(_GAP) for text in texts)

    ending: list[Span] = [(until, "")] if until else []
    while size([*fixed, *counts, *ending], right) > width and (right or counts or ending):
        if right:
            right.pop(0)
        elif counts:
            counts.pop()
        else:
            ending.pop()
    parts: list[Span] = [*fixed, *counts, *ending]
    room = width - size(parts, right) + _LEAST_NAME
    shown = fitted(((name, "title"),), max(1, room), glyphs.ellipsis)
    line: list[Span] = [(" ", ""), *shown]
    for part in parts:
        line += [(_GAP, ""), part]
    tail = _GAP.join(right)
    if tail:
        line += [(" " * max(1, width - width_of(tuple(line)) - width_of(((tail, ""),)) - 1), ""), (tail, "dim")]
    return fitted(tuple(line), width, glyphs.ellipsis)


def connection(feed: RunFeed, width: int, glyphs: Glyphs, rate_hz: float, notes: tuple[str, ...] = ()) -> Line:
    """The line above the keys: what is at the other end, how often is painted, when the last fact came, and notes."""
    origin = feed.origin
    parts: list[Span] = []
    if origin is None:
        parts.append(("no run is open", "dim"))
    elif feed.gone is not None or origin.pid is None:
        parts.append((f"journal of {one_line(origin.path, 200)}", "dim"))
    else:
        where = "" if origin.is_local else f" on {one_line(origin.host, 30)}"
        parts.append((f"engine pid {origin.pid}{where}", "dim"))
    if feed.view.updated_s is not None:
        parts.append((f"last fact {clock(feed.view.updated_s, seconds=True)}", "dim"))
    parts.append((f"paint {rate_hz:g} Hz", "dim"))
    said: list[Span] = [(note, "warn") for note in notes]
    line: list[Span] = [(" ", "")]
    for number, part in enumerate([*said, *parts]):
        line += [(f" {glyphs.dot} ", "dim")] if number else []
        line.append(part)
    return fitted(tuple(line), width, glyphs.ellipsis)


def banner(feed: RunFeed, width: int, glyphs: Glyphs) -> Line | None:
    """What keeps the run from going on, and what to do about it; None while all is well, or the end was its own."""
    if (what := disk_shortage(feed)) is not None:
        said = f"{one_line(what, 400)}; it goes on once there is room"
        return fitted(((" DISK FULL: ", "bad"), (said, "")), width, glyphs.ellipsis)
    if feed.gone is None or feed.view.finished is not None or (is_replay(feed) and not feed.gone.lost):
        return None
    if is_replay(feed) and feed.origin is not None:
        # The folder's path would take the room that the reason needs; the connection line has it.
        reason = one_line(feed.gone.why.replace(f"{feed.origin.path}/", ""), 400)
        return fitted(((" UNREADABLE: ", "bad"), (reason, "")), width, glyphs.ellipsis)
    word = "LINE LOST" if feed.gone.lost else "ENGINE GONE"
    run = one_line(feed.view.run.run_id, 80) if feed.view.run is not None else "RUN"
    again = one_line(feed.gone.again or "specdash attach", 200)
    todo = f"attach again: {again}" if feed.gone.lost else f"go on: specdash resume {run}"
    why = one_line(feed.gone.why, 400).rstrip(".")
    room = max(0, width - len(word) - len(todo) - 7)
    shown = fitted(((why, ""),), room, glyphs.ellipsis) if room >= 16 else ()
    return fitted(
        ((f" {word}: ", "bad"), *shown, (". " if shown else "", ""), (todo, "accent")), width, glyphs.ellipsis
    )


def reason_no_engine(feed: RunFeed) -> str | None:
    """Why edits reach no engine any more and what to do, in a sentence; None while one may be at work."""
    gone, run = feed.gone, feed.view.run
    if gone is None:
        return None
    if gone.lost:
        return f"the line to the engine is lost; attach again: {one_line(gone.again or 'specdash attach', 200)}"
    finished = feed.view.finished
    if finished is not None and finished.state == "finished":
        return "this run is finished and takes no edits"
    why = "the engine has gone" if finished is None else "this run has ended"
    name = one_line(run.run_id, 80) if run is not None else "RUN"
    return f"{why}, and edits need one: specdash resume {name}"


def one_line_status(feed: RunFeed, width: int, glyphs: Glyphs, left: Range | None = None) -> Line:
    """All of a run in one line, for a terminal that has room for no more: state, steps, tok/s, time left."""
    word, style = state_word(feed)
    tally = feed.view.table.tally
    token = feed.live.token
    rate = f"{token.rate_tok_s:.1f} tok/s" if token is not None and token.rate_tok_s is not None else ""
    rest = [part for part in (f"{tally.tried}/{tally.total}", rate, eta(feed, left)) if part]
    return fitted(((word, style), *((f" {part}", "") for part in rest)), width, glyphs.ellipsis)


@dataclass(slots=True)
class Forecast:
    """The outlook of the newest view, worked out at most once a second."""

    _forecaster: Forecaster = field(default_factory=Forecaster)
    _view: RunState | None = None
    _until_s: float = 0.0
    _found: Outlook | None = None

    def of(self, feed: RunFeed, now_s: float) -> Outlook | None:
        """What a run still has before it, as of about now (seconds since 1970); None before it is known what it is."""
        view = feed.view
        if view.run is None:
            return None
        before_s = time.monotonic()
        flying = in_flight(feed.live, now_s) if feed.is_live else None
        is_other = self._view is None or self._view.run is not view.run
        is_old = flying is not None or view is not self._view
        if is_other or (is_old and before_s >= self._until_s):
            self._view, self._found = view, self._forecaster.of(view, flying)
            cost_s = time.monotonic() - before_s
            self._until_s = before_s + max(_LEAST_AGE_S, _SHARE_OF_TIME * cost_s)
        return self._found
