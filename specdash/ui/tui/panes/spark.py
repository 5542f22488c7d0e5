"""Bars and graphs of block glyphs. One row of a graph is one text, so that it costs one change of style."""

from __future__ import annotations

import math
from collections.abc import Sequence

from specdash.ui.tui.lines import Line
from specdash.ui.tui.terminal import Glyphs
from specdash.ui.tui.terminal.theme import StyleName

LEAST_SCALE = 0.01  # below that, any rate is as good as none
AXIS = 7  # cells of the scale on the left of a graph


def bar(share: float | None, width: int, glyphs: Glyphs) -> str:
    """A bar of `width` cells, filled to `share` (0 to 1); question marks where the share is unknown."""
    if share is None or not math.isfinite(share):
        return "?" * width
    filled = round(min(1.0, max(0.0, share)) * width)
    return glyphs.bar_full * filled + glyphs.bar_empty * (width - filled)


def ceiling(values: Sequence[float | None]) -> float:
    """A round number that no value is above, for the top of a scale that does not change with every value."""
    most = max((value for value in values if value is not None and math.isfinite(value)), default=0.0)
    if most < LEAST_SCALE:
        return LEAST_SCALE if most > 0 else 1.0
    unit = 10.0 ** math.floor(math.log10(most))
    return next(unit * step for step in (1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10, 12) if most <= unit * step)


def columns(values: Sequence[float | None], width: int, rows: int, high: float, ramp: str) -> list[str]:
    """The last `width` values as columns from 0 to `high`, the newest on the right: one text a row, the top row first.

    A value that is known always leaves a mark, however small; one that is not leaves a gap.
    """
    if width <= 0 or rows <= 0:
        return []
    shown = values[-width:]
    steps = len(ramp) - 1
    levels = [_level(value, rows * steps, high) for value in shown]
    pad = " " * (width - len(shown))
    return [
        pad + "".join(ramp[min(steps, max(0, level - row * steps))] for level in levels)
        for row in reversed(range(rows))
    ]


def _level(value: float | None, most: int, high: float) -> int:
    if value is None or not math.isfinite(value):
        return 0
    return max(1, min(most, round(value / high * most)))


def graph(values: Sequence[float | None], width: int, rows: int, high: float, glyphs: Glyphs) -> list[Line]:
    """Columns with a scale on their left, in `rows` lines of `width` cells."""
    style: StyleName = "accent"
    texts = columns(values, width - AXIS, rows, high, glyphs.ramp)
    lines: list[Line] = []
    for number, text in enumerate(texts):
        # The label of a row is what its upper edge stands for; two rows have room for two, more for every other one.
        top = high * (rows - number) / rows
        label = _label(top, high) if rows < 3 or number % 2 == 0 else ""
        lines.append(((f"{label:>{AXIS - 2}} {glyphs.vertical}", "dim"), (text.rstrip(), style)))
    return lines


def _label(value: float, high: float) -> str:
    """A number of a scale up to `high`, in no more cells than the axis has."""
    if high <= 1:
        return f"{value:.2g}"
    if value < 1000:
        return f"{value:.3g}"
    for size, letter in ((1e3, "k"), (1e6, "M"), (1e9, "G")):
        if value < 999.5 * size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.0e}"
