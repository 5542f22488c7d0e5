"""Where the panes of the results screen go, and how their lines become those of the screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from specdash.ui.tui.lines import BLANK, Line, fitted, width_of
from specdash.ui.tui.terminal import Glyphs

Pane = Literal["advice", "heat", "detail", "curve", "findings", "table", "samples"]
RunState = Literal["heat", "curve", "table", "samples"]

WIDE = 120  # columns from which panes stand side by side
LOWEST = 18  # lines from which a recommendation has one of them
TALL = 40  # lines from which the table is there as well


@dataclass(frozen=True, slots=True)
class Area:
    """A rectangle of the screen, in cells."""

    x: int
    y: int
    width: int
    height: int

    def holds(self, x: int, y: int) -> bool:
        """Whether a cell lies in it."""
        return self.x <= x < self.x + self.width and self.y <= y < self.y + self.height


def advice_rows(height: int) -> int:
    """How many lines there are for recommendations at most, in a body so high."""
    return 0 if height < LOWEST else 1 if height < TALL else 3


def areas(view: RunState, width: int, height: int, heat_rows: int, advice: int = 0) -> dict[Pane, Area]:
    """The panes of a view; `heat_rows` is how many lines the heat map would like, `advice` those above everything."""
    if advice and view != "samples":
        rest = areas(view, width, height - advice, heat_rows)
        shifted = {pane: replace(area, y=area.y + advice) for pane, area in rest.items()}
        return {"advice": Area(0, 0, width, advice), **shifted}
    room = height
    if view == "samples":
        return {"samples": Area(0, 0, width, room)}
    if width < WIDE:
        return _narrow(view, width, room, heat_rows)
    left = width * 55 // 100
    right = width - left - 1
    if room >= TALL:
        heat = max(10, min(heat_rows, room // 3))
        table = max(8, room // 3)
        curve = room - heat - table
        return {
            **_beside(("heat", "detail"), 0, left, right, heat),
            **_beside(("curve", "findings"), heat, left, right, curve),
            "table": Area(0, heat + curve, width, table),
        }
    heat = max(9, min(heat_rows, room // 2))
    below = {"table": Area(0, heat, width, max(0, room - heat))} if view == "table" else None
    found: dict[Pane, Area] = _beside(("heat", "detail"), 0, left, right, heat)
    if below is not None:
        return {**found, "table": below["table"]}
    return {**found, **_beside(("curve", "findings"), heat, left, right, max(0, room - heat))}


def _beside(panes: tuple[Pane, Pane], y: int, left: int, right: int, height: int) -> dict[Pane, Area]:
    """Two panes with a line between them."""
    return {panes[0]: Area(0, y, left, height), panes[1]: Area(left + 1, y, right, height)}


def _narrow(view: RunState, width: int, room: int, heat_rows: int) -> dict[Pane, Area]:
    """One pane and, where there is room, what belongs to its cursor below it."""
    if view == "curve":
        return {"curve": Area(0, 0, width, room)}
    main = max(min(heat_rows, room - 9), 5) if view == "heat" else room - 7
    if main < 5 or main >= room:
        return {view: Area(0, 0, width, room)}
    return {view: Area(0, 0, width, main), "detail": Area(0, main, width, room - main)}


def compose(placed: Mapping[Pane, tuple[Area, Sequence[Line]]], height: int, glyphs: Glyphs) -> list[Line]:
    """The lines of the screen: panes side by side where they stand side by side."""
    rows: list[Line] = [BLANK] * height
    for area, lines in sorted(placed.values(), key=lambda each: each[0].x):
        for number in range(area.height):
            y = area.y + number
            if y >= height:
                break
            line = fitted(lines[number] if number < len(lines) else BLANK, area.width, glyphs.ellipsis)
            if area.x:
                before = rows[y]
                pad = " " * max(0, area.x - 1 - width_of(before))
                line = (*before, (pad, ""), (glyphs.vertical, "rule"), *line)
            rows[y] = line
    return rows[:height]
