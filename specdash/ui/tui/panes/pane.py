"""What every pane is: a title, a note on its rule, and lines; and how text, numbers, times and graphs stand in them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len, chop_cells

from specdash.analysis.figures import Figures
from specdash.core.axes import Axis
from specdash.core.forecast import Outlook, Range
from specdash.core.step import Step
from specdash.core.text import one_line
from specdash.remote.feed import RunFeed
from specdash.report import text as words
from specdash.report.text import TERMINAL
from specdash.ui.tui.lines import Line, Span, width_of
from specdash.ui.tui.panes.figures import PaneFigures
from specdash.ui.tui.recommendations import Recommendations
from specdash.ui.tui.table import pad_line
from specdash.ui.tui.terminal import Glyphs
from specdash.ui.tui.terminal.theme import StyleName


@dataclass(frozen=True, slots=True)
class PaintContext:
    """What panes are drawn from: the feed, the time (seconds since 1970), the signs, and what is derived from facts.

    `outlook` and `advice` may be some seconds older than the feed: they are costly for long queues.
    """

    feed: RunFeed
    now_s: float
    glyphs: Glyphs
    figures: PaneFigures
    outlook: Outlook | None = None
    advice: Recommendations = field(default_factory=Recommendations)


@dataclass(frozen=True, slots=True)
class Pane:
    """A part of the screen: `title` and `note` stand on the rule above its lines."""

    title: str
    note: Line = ()
    lines: tuple[Line, ...] = ()


def note(parts: Sequence[Span], room: int) -> Line:
    """The parts with two blanks between them; the last ones are left out where there is no room for them."""
    line: list[Span] = []
    used = 0
    for text, style in parts:
        size = cell_len(text) + (2 if line else 0)
        if used + size > room:
            break
        line += [("  ", "")] if line else []
        line.append((text, style))
        used += size
    return tuple(line)


def ruled(pane: Pane, width: int, glyphs: Glyphs) -> Line:
    """The rule above a pane: its title on the left, its note on the right."""
    title = pad_line(pane.title, min(cell_len(pane.title), max(0, width - 4)), glyphs)
    right = pane.note if width_of(pane.note) + cell_len(title) + 9 <= width else ()
    fill = width - cell_len(title) - 4 - (width_of(right) + 4 if right else 0)
    start: list[Span] = [(glyphs.rule * 2 + " ", "rule"), (title, "title"), (" " + glyphs.rule * max(0, fill), "rule")]
    return (*start, (" ", ""), *right, (" " + glyphs.rule * 2, "rule")) if right else tuple(start)


def age(seconds: float | None) -> str:
    """A time that goes on: "0:42", "12:05", "3h07m", "2d03h"; "-" for unknown. Never below 0: clocks differ."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    whole = max(0, int(seconds))
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    if whole < 24 * 3600:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def short_range(expected: Range | None) -> str:
    """The middle of a range as a short time: "26s", "1m40", "5h40"; "-" for unknown."""
    if expected is None:
        return "-"
    whole = round(expected.middle_s)
    if whole < 100:
        return f"{whole}s"
    if whole < 6000:
        return f"{whole // 60}m{whole % 60:02d}"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}"


def short_rate(value: float | None) -> str:
    """Tokens per second."""
    return words.rate(value, TERMINAL)


def short_time(seconds: float | None) -> str:
    """A short time in at most six characters: "0.21s", "12.3s", "105s"; "-" for unknown."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    return f"{seconds:.2f}s" if seconds < 9.995 else f"{seconds:.1f}s" if seconds < 999.95 else f"{seconds:.0f}s"


def short_ratio(value: float | None) -> str:
    """A share or a factor with two digits."""
    return words.ratio(value, TERMINAL)


def short_acceptance(found: Figures) -> str:
    """The acceptance of a step; "~" where it is inferred from how tokens arrived."""
    return ("~" if found.is_inferred else "") + short_ratio(found.acceptance)


def speed_style(factor: float | None) -> StyleName:
    """The style of a speedup: what is within 1 % is neither faster nor slower."""
    if factor is None or 0.99 <= factor <= 1.01:
        return ""
    return "faster" if factor > 1 else "slower"


def paragraph(text: str, width: int, style: StyleName, indent: int = 1) -> Iterator[Line]:
    """Words in lines of at most `width` cells; a word that is longer is broken."""
    room = max(1, width - indent)
    row = ""
    for word in text.split(" "):
        for piece in chop_cells(word, room) or [""]:
            if row and cell_len(row) + 1 + cell_len(piece) > room:
                yield ((" " * indent + row, style),)
                row = piece
            else:
                row = f"{row} {piece}" if row else piece
    if row:
        yield ((" " * indent + row, style),)


def axis_text(step: Step, axis: Axis, blank: str = "") -> str:
    """A step's value of an axis as a cell has it; `blank` (the axis's own by default) where there is none."""
    value = step.value(axis.name)
    return blank or axis.blank if value is None else one_line(axis.plain(value), 60)


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


def bar_columns(values: Sequence[float | None], width: int, rows: int, high: float, ramp: str) -> list[str]:
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
    texts = bar_columns(values, width - AXIS, rows, high, glyphs.ramp)
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
