"""Charts for terminals, all of them; nobody else imports plotext."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rich.text import Text

MARKERS = ("●", "◆", "▲", "■", "✚")
ASCII_MARKERS = ("o", "x", "@", "#", "*")
# Predicted points: hollow where the measured one of the same curve is filled.
HOLLOW = ("○", "◇", "△", "□", "✢")
ASCII_HOLLOW = ("~", "=", "^", "-", "'")
COLOURS = ("cyan", "magenta", "green", "orange", "yellow")
BASELINE_CURVE = 3
# What plotext makes of the names in COLOURS, as numbers of the terminal's palette.
_CURVE_OF = {6: 0, 5: 1, 2: 2, 3: 3, 11: 4}
K_TITLE = "tok/s by K, all categories; bars are 95 % intervals"
# Plain axes on the terminal's own background; only the curves keep their colour.
_PAINT = re.compile(r"\x1b\[(48;5;\d+|38;5;0|38;5;12)m")
HIGHEST_BAR = 1.5
TICK_COLUMNS = 4  # that the number of a K takes below the chart, with the gap to the next
_ASCII = str.maketrans("┌┐└┘─│├┤┬┴┼┈…", "++++-|+++++..")


def _plotext() -> Any:
    """The library, which takes a quarter of a second to load, once something is drawn."""
    import plotext

    return plotext


@dataclass(frozen=True, slots=True)
class ChartPoint:
    """One K, measured or predicted: its rate in tok/s and its 95 % interval, None where there is none.

    An end that is None or infinite is unknown. Other measures than rates are drawn the same way.
    """

    k: int
    tok_s: float
    ends: tuple[float | None, float | None] | None = None

    def bar(self, most: float) -> tuple[float, float]:
        """From where to where the bar of this point goes: from 0 at least, to `most` at most, and through the value."""
        low, high = self.ends or (self.tok_s, self.tok_s)
        low = 0.0 if low is None or not math.isfinite(low) else low
        high = most if high is None or not math.isfinite(high) else high
        return max(0.0, min(low, self.tok_s)), max(self.tok_s, min(high, most))


def k_curves(
    curves: Mapping[str, Sequence[ChartPoint]],
    baseline_tok_s: float | None,
    width: int,
    height: int,
    *,
    ascii_only: bool,
    title: str = K_TITLE,
    predicted: Mapping[str, Sequence[ChartPoint]] | None = None,
) -> str:
    """Tokens per second by K with intervals, one curve for each name, and the baseline as a line across.

    The interval of two samples can be ten times the value: bars end at `HIGHEST_BAR` times what is highest, so that
    the curve can be seen.
    `predicted` has the points of a curve, by its name, that were worked out and not measured: they are hollow, with
    thin bars, and what was measured of that curve stands alone on top, without a line. There must be one point at
    least, and every number but the ends of intervals finite. The text has ANSI colours; whoever prints it drops them
    where they are not wanted, or asks `coloured` for them.
    """
    # Whoever asks knows the room; plotext would look for a terminal of its own, and find none in a test or a pipe.
    _plotext().terminal.limit(False, False)
    figure = _plotext().figure
    figure.clear()
    figure.plot_size(width, height)
    figure.theme("clear")
    worked_out = predicted or {}
    names = dict.fromkeys((*curves, *worked_out))
    drawn = [point for points in (*curves.values(), *worked_out.values()) for point in points]
    values = [point.tok_s for point in drawn] + ([baseline_tok_s] if baseline_tok_s is not None else [])
    most = HIGHEST_BAR * max(values)
    for number, name in enumerate(names):
        colour = COLOURS[number % len(COLOURS)]
        hollow = (ASCII_HOLLOW if ascii_only else HOLLOW)[number % len(HOLLOW)]
        _draw_predicted(figure, worked_out.get(name, ()), hollow, colour, most, ascii_only=ascii_only)
    for number, name in enumerate(names):
        marker = (ASCII_MARKERS if ascii_only else MARKERS)[number % len(MARKERS)]
        colour = COLOURS[number % len(COLOURS)]
        joined = not worked_out.get(name)
        _draw(figure, curves.get(name, ()), name, marker, colour, most, joined=joined, ascii_only=ascii_only)
    lows, highs = map(list, zip(*(point.bar(most) for point in drawn), strict=True))
    if baseline_tok_s is not None:
        figure.line(baseline_tok_s, style="dotted")
        lows.append(baseline_tok_s)
        highs.append(baseline_tok_s)
    ks = sorted({point.k for point in drawn})
    margin = (max(highs) - min(lows)) * 0.08 or 1.0
    bottom, top = max(0.0, min(lows) - margin), max(highs) + margin
    figure.ruler("y").lim(bottom, top)
    rates = round_ticks(bottom, top)
    figure.ruler("y").ticks(rates, [f"{each:.6g}" for each in rates])
    figure.ruler("x").lim(ks[0] - 0.5, ks[-1] + 0.5)
    told = k_ticks(ks, [point.k for points in curves.values() for point in points], width)
    figure.ruler("x").ticks(told, [str(k) for k in told])
    figure.label("K: tokens drafted a step", axis="x")
    figure.title(title)
    figure.legend(False)
    text = _PAINT.sub("", str(figure.build()))
    return text.translate(_ASCII) if ascii_only else text


def k_ticks(ks: Sequence[int], measured: Iterable[int], width: int) -> list[int]:
    """The Ks whose numbers stand below a chart of `width` columns: measured ones first, as many as are not crowded.

    `ks` ascend.
    """
    apart = (ks[-1] - ks[0] + 1) * TICK_COLUMNS / max(1, width - 8)
    wanted = [
        *sorted(set(measured)),
        ks[0],
        ks[-1],
        *(k for k in ks if k % 4 == 0),
        *(k for k in ks if k % 2 == 0),
        *ks,
    ]
    found: list[int] = []
    for k in dict.fromkeys(wanted):
        if all(abs(k - each) >= apart for each in found):
            found.append(k)
    return sorted(found)


def round_ticks(low: float, high: float) -> list[float]:
    """Three to nine round numbers from `low` to `high`, evenly apart; `low` < `high`."""
    power = 10.0 ** math.floor(math.log10((high - low) / 3))
    step = next(power * each for each in (5, 2, 1) if power * each <= (high - low) / 3)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def chart_legend(names: Iterable[str], *, ascii_only: bool, predicted: Collection[str] = ()) -> str:
    """The markers of `k_curves` and what they stand for, on one line; `predicted` names the curves that have both."""
    markers = ASCII_MARKERS if ascii_only else MARKERS
    hollow = ASCII_HOLLOW if ascii_only else HOLLOW
    listed = list(names)
    parts = [f"{markers[number % len(markers)]} {name}" for number, name in enumerate(listed)]
    signs = [hollow[number % len(hollow)] for number, name in enumerate(listed) if name in predicted]
    return "   ".join([*parts, *([f"{' '.join(signs)} predicted"] if signs else [])])


def _draw(
    figure: Any,
    points: Sequence[ChartPoint],
    name: str,
    marker: str,
    colour: str,
    most: float,
    *,
    joined: bool,
    ascii_only: bool,
) -> None:
    """One curve: an interval at each point, and the points on top; `joined`: with a line through them."""
    if not points:
        return
    xs, ys = [float(point.k) for point in points], [point.tok_s for point in points]
    if joined:
        line = figure.signal(xs, ys, marker=_plotext().marker("." if ascii_only else "braille", colour))
        line.lines(True)
        figure.draw(line)
    _draw_bars(figure, points, "|" if ascii_only else "│", colour, most)
    dots = figure.signal(xs, ys, marker=_plotext().marker(marker, colour))
    dots.label(name)
    figure.draw(dots)


def _draw_predicted(
    figure: Any, points: Sequence[ChartPoint], marker: str, colour: str, most: float, *, ascii_only: bool
) -> None:
    """The points of a curve that were worked out: hollow, on thin bars."""
    if not points:
        return
    _draw_bars(figure, points, ":" if ascii_only else "╎", colour, most)
    xs, ys = [float(point.k) for point in points], [point.tok_s for point in points]
    figure.draw(figure.signal(xs, ys, marker=_plotext().marker(marker, colour)))


def _draw_bars(figure: Any, points: Sequence[ChartPoint], bar: str, colour: str, most: float) -> None:
    """The interval of each point."""
    for point in points:
        figure.draw(figure.segment((point.k, point.k), point.bar(most), marker=_plotext().marker(bar, colour)))


def coloured(chart: str) -> list[list[tuple[str, int | None]]]:
    """The rows of `k_curves` as pieces of text and the number of the curve that each belongs to, without any escape.

    None for axes and labels; `BASELINE_CURVE` for the line across, whose colour a fourth curve would share.
    """
    text = Text.from_ansi(chart)
    rows = []
    for row in text.split("\n", allow_blank=False):
        numbers: list[int | None] = [None] * len(row.plain)
        for span in row.spans:
            colour = None if isinstance(span.style, str) else span.style.color
            number = _CURVE_OF.get(colour.number) if colour is not None and colour.number is not None else None
            numbers[span.start : span.end] = [number] * (min(span.end, len(numbers)) - span.start)
        pieces = groupby(zip(row.plain, numbers, strict=True), key=lambda each: each[1])
        rows.append([("".join(character for character, _ in piece), number) for number, piece in pieces])
    return rows
