"""How the panes of the main screen share its lines: one at a time, stacked, or in two columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from specdash.ui.tui.lines import Line, fitted, width_of
from specdash.ui.tui.panes.advice import advice_pane
from specdash.ui.tui.panes.memory import memory
from specdash.ui.tui.panes.pane import PaintContext, Pane, ruled
from specdash.ui.tui.panes.queue import queue, queue_table, running
from specdash.ui.tui.panes.server import server
from specdash.ui.tui.panes.speed import acceptance_pane, speed_pane
from specdash.ui.tui.panes.text import Written, log, text_pane
from specdash.ui.tui.table import Position
from specdash.ui.tui.terminal import Glyphs

Name = Literal["server", "speed", "acceptance", "memory", "queue", "text", "log", "advice"]
Layout = Literal["single", "stacked", "columns"]

PANES: tuple[Name, ...] = ("server", "speed", "acceptance", "memory", "queue", "text", "log")
STACKED_COLUMNS, STACKED_ROWS = 80, 12  # below that, one pane at a time
TWO_COLUMNS, TWO_ROWS = 120, 20
GAP = 3  # between two columns
ADVICE_FROM = 18  # rows of the middle from which on the recommendation has a place beside the text

# Rows of each pane below its rule in 21 rows, the body of 80x24. What goes first when there are fewer, and what comes
# first when there are more; None: the pane with its rule. The queue takes what is left.
_ROWS: dict[Name, int | None] = {"server": 2, "speed": 2, "acceptance": 1, "memory": 2, "queue": 4, "text": 2}
_LESS: tuple[tuple[Name, int | None], ...] = (
    ("text", None), ("log", None), ("speed", 1), ("acceptance", 0), ("server", 1), ("queue", 3), ("acceptance", None),
    ("memory", 1), ("speed", 0), ("queue", 2),
)  # fmt: skip
_MORE: tuple[tuple[Name, int], ...] = (
    ("queue", 6), ("server", 3), ("queue", 7), ("text", 3), ("log", 2), ("speed", 3), ("memory", 3), ("acceptance", 2),
    ("text", 5), ("queue", 10), ("memory", 6), ("acceptance", 4), ("log", 4), ("speed", 4), ("server", 5),
    ("queue", 16), ("text", 8), ("log", 8), ("speed", 6), ("acceptance", 5), ("text", 12),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ViewChoice:
    """What the person at the keyboard has chosen to see.

    `position`: in the queue; `pane`: the one that is shown where there is room for one; `lower`: what stands at the
    bottom where there is room for one of the two; `written`: the answer that is being given.
    """

    position: Position = field(default_factory=lambda: Position(follows=True))
    pane: Name = "server"
    lower: Literal["text", "log"] = "text"
    written: Written | None = None


@dataclass(frozen=True, slots=True)
class MainBody:
    """The lines of the screen, the queue's position after it was brought into view, and where its first row stands.

    `rows_at` is (x, y, width, rows), None where the queue is not shown. `has_both`: text and log are both shown.
    """

    lines: tuple[Line, ...]
    position: Position
    layout: Layout
    rows_at: tuple[int, int, int, int] | None = None
    has_both: bool = True


def main_layout(width: int, height: int) -> Layout:
    """The layout of a body of this size."""
    if width >= TWO_COLUMNS and height >= TWO_ROWS:
        return "columns"
    return "stacked" if width >= STACKED_COLUMNS and height >= STACKED_ROWS else "single"


def main_body(context: PaintContext, choice: ViewChoice, width: int, height: int) -> MainBody:
    """The whole body in exactly `height` lines of at most `width` cells."""
    layout = main_layout(width, height)
    if layout == "single":
        return _single(context, choice, width, height)
    if layout == "stacked":
        return _stacked(context, choice, width, height)
    return _columns(context, choice, width, height)


class _Painter:
    """Draws panes for one paint, and remembers where the queue came to stand."""

    def __init__(self, context: PaintContext, choice: ViewChoice) -> None:
        self._context = context
        self._choice = choice
        self.position = choice.position
        self.rows_at: tuple[int, int, int, int] | None = None

    def block(self, name: Name, width: int, rows: int, at: tuple[int, int] = (0, 0)) -> list[Line]:
        """A pane with its rule in exactly `rows + 1` lines; `at` is where its rule stands."""
        pane = self._pane(name, width, rows)
        if name == "queue":
            top = 1 if rows > 1 else 0
            self.rows_at = at[0], at[1] + 1 + top, width, rows - top
        found = (ruled(pane, width, self._context.glyphs), *pane.lines[:rows])
        lines = [fitted(line, width, self._context.glyphs.ellipsis) for line in found]
        return lines + [()] * (rows + 1 - len(lines))

    def _pane(self, name: Name, width: int, rows: int) -> Pane:
        if name == "queue":
            visible = rows - 1 if rows > 1 else rows
            self.position = queue_table(self._context).settled(self._choice.position, visible, running(self._context))
            return queue(self._context, self.position, width, rows)
        if name == "advice" or (name == "text" and is_over(self._context)):
            return advice_pane(self._context.advice, width, rows, self._context.glyphs)
        if name == "text":
            return text_pane(self._context, self._choice.written, width, rows)
        return _DRAW[name](self._context, width, rows)


_DRAW: dict[Name, Callable[[PaintContext, int, int], Pane]] = {
    "server": server,
    "speed": speed_pane,
    "acceptance": acceptance_pane,
    "memory": memory,
    "log": log,
}


def is_over(context: PaintContext) -> bool:
    """Whether no text can come any more, so that what follows from the run stands in its place."""
    return context.feed.gone is not None and context.feed.view.run is not None


def wants_advice(width: int, height: int, *, over: bool) -> bool:
    """Whether a body of this size has a place for the recommendation."""
    return over or main_layout(width, height) == "columns"


def _single(context: PaintContext, choice: ViewChoice, width: int, height: int) -> MainBody:
    painter = _Painter(context, choice)
    lines = painter.block(choice.pane, width, max(0, height - 1))
    # The rule says where one is, since nothing else of the screen does.
    number = PANES.index(choice.pane) + 1
    title = f"{choice.pane}  {number} of {len(PANES)}, tab: next"
    heading = ruled(Pane(title, lines[0][4:-1] if width >= 60 else ()), width, context.glyphs)
    lines[0] = fitted(heading, width, context.glyphs.ellipsis)
    return MainBody(tuple(lines[: max(0, height)]), painter.position, "single", painter.rows_at, has_both=False)


def stacked_rows(height: int, lower: Literal["text", "log"]) -> dict[Name, int]:
    """The rows of each pane that is shown in one column; its rule takes one more."""
    rows: dict[Name, int | None] = dict(_ROWS)
    if lower == "log":
        rows["log"] = rows.pop("text")

    def need() -> int:
        return sum(each + 1 for each in rows.values() if each is not None)

    for name, fewer in _LESS:
        if need() <= height:
            break
        if name in rows:
            rows[name] = fewer
    tight = need() > height - 1
    for name, more in _MORE if not tight else ():
        now = rows.get(name)
        added = more - now if now is not None else more + 1
        if added > 0 and need() + added <= height:
            rows[name] = more
    queue_rows = rows["queue"] or 0
    rows["queue"] = queue_rows + max(0, height - need())
    return {name: each for name in PANES if (each := rows.get(name)) is not None}


def _stacked(context: PaintContext, choice: ViewChoice, width: int, height: int) -> MainBody:
    painter = _Painter(context, choice)
    lines: list[Line] = []
    rows = stacked_rows(height, choice.lower)
    for name, count in rows.items():
        lines += painter.block(name, width, count, (0, len(lines)))
    both = "text" in rows and "log" in rows
    return MainBody(tuple(lines[:height]), painter.position, "stacked", painter.rows_at, both)


def _columns(context: PaintContext, choice: ViewChoice, width: int, height: int) -> MainBody:
    """The server on top and the log at the bottom, both over the whole width; numbers, queue and text between."""
    painter = _Painter(context, choice)
    server_rows = 3 if height < 30 else 4 if height < 44 else 5
    log_rows = max(2, min(10, height // 7))
    middle = height - server_rows - log_rows - 2
    left_width = (width - GAP) * 62 // 100
    right_width = width - GAP - left_width
    speed_rows, accept_rows = max(2, min(8, middle // 5)), max(1, min(7, middle // 6))
    steps = len(context.figures.overview(context.feed.view).order)
    spare = max(0, middle - speed_rows - accept_rows - 3 - steps - 1)
    speed_rows, accept_rows = min(12, speed_rows + spare // 2), min(9, accept_rows + spare // 3)
    tick = context.feed.live.memory
    wanted = 5 + len(tick.gpus) + len(tick.missing) if tick is not None else 5
    memory_rows = max(3, min(12, middle // 3, wanted))
    top = server_rows + 1
    left = painter.block("speed", left_width, speed_rows)
    left += painter.block("acceptance", left_width, accept_rows)
    left += painter.block("queue", left_width, middle - len(left) - 1, (0, top + len(left)))
    right = painter.block("memory", right_width, memory_rows)
    if middle >= ADVICE_FROM and not is_over(context):
        said = advice_pane(context.advice, right_width, middle // 4, context.glyphs)
        right += painter.block("advice", right_width, max(1, len(said.lines)))
    right += painter.block("text", right_width, middle - len(right) - 1)
    lines = painter.block("server", width, server_rows)
    lines += side_by_side(left, right, left_width, context.glyphs)
    lines += painter.block("log", width, log_rows)
    return MainBody(tuple(lines[:height]), painter.position, "columns", painter.rows_at)


def side_by_side(left: Sequence[Line], right: Sequence[Line], left_width: int, glyphs: Glyphs) -> list[Line]:
    """Two columns as one, with a line between them."""
    lines: list[Line] = []
    for mine, theirs in zip(left, right, strict=True):
        pad = " " * max(0, left_width - width_of(mine))
        lines.append((*mine, (f"{pad} {glyphs.vertical} ", "rule"), *theirs))
    return lines
