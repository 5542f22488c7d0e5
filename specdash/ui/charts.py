"""Charts for terminals, all of them; nobody else imports plotext."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import plotext
from rich.text import Text

MARKERS = ("●", "◆", "▲", "■", "✚")
ASCII_MARKERS = ("o", "x", "@", "#", "*")
COLOURS = ("cyan", "magenta", "green", "orange", "yellow")
BASELINE_CURVE = 3
# What plotext makes of the names in COLOURS, as numbers of the terminal's palette.
_CURVE_OF = {6: 0, 5: 1, 2: 2, 3: 3, 11: 4}
K_TITLE = "tok/s by K, all categories; bars are 95 % intervals"
# Plain axes on the terminal's own background; only the curves keep their colour.
_PAINT = re.compile(r"\x1b\[(48;5;\d+|38;5;0|38;5;12)m")
_ASCII = str.maketrans("┌┐└┘─│├┤┬┴┼┈…", "++++-|+++++..")


@dataclass(frozen=True, slots=True)
class Point:
    """One measured K: its rate in tok/s and the half width of its 95 % interval (0 where there is none).

    `ends`: the interval itself, where it does not lie evenly around the value. Other measures than rates are drawn the
    same way.
    """

    k: int
    tok_s: float
    half_width: float
    ends: tuple[float, float] | None = None

    @property
    def interval(self) -> tuple[float, float]:
        """From where to where the bar of this point goes."""
        return self.ends or (self.tok_s - self.half_width, self.tok_s + self.half_width)


def k_curves(
    curves: Mapping[str, Sequence[Point]],
    baseline_tok_s: float | None,
    width: int,
    height: int,
    *,
    ascii_only: bool,
    title: str = K_TITLE,
) -> str:
    """Tokens per second by K with intervals, one curve for each name, and the baseline as a line across.

    There must be one point at least, and every number finite. The text has ANSI colours; whoever prints it drops them
    where they are not wanted, or asks `coloured` for them.
    """
    # Whoever asks knows the room; plotext would look for a terminal of its own, and find none in a test or a pipe.
    plotext.terminal.limit(False, False)
    figure = plotext.figure
    figure.clear()
    figure.plot_size(width, height)
    figure.theme("clear")
    for number, (name, points) in enumerate(curves.items()):
        marker = (ASCII_MARKERS if ascii_only else MARKERS)[number % len(MARKERS)]
        colour = COLOURS[number % len(COLOURS)]
        _draw(figure, points, name, marker, colour, ascii_only=ascii_only)
    lows = [point.interval[0] for points in curves.values() for point in points]
    highs = [point.interval[1] for points in curves.values() for point in points]
    if baseline_tok_s is not None:
        figure.line(baseline_tok_s, style="dotted")
        lows.append(baseline_tok_s)
        highs.append(baseline_tok_s)
    ks = sorted({point.k for points in curves.values() for point in points})
    margin = (max(highs) - min(lows)) * 0.08 or 1.0
    bottom, top = max(0.0, min(lows) - margin), max(highs) + margin
    figure.ruler("y").lim(bottom, top)
    rates = round_ticks(bottom, top)
    figure.ruler("y").ticks(rates, [f"{each:.6g}" for each in rates])
    figure.ruler("x").lim(ks[0] - 0.5, ks[-1] + 0.5)
    figure.ruler("x").ticks(ks, [str(k) for k in ks])
    figure.label("K: tokens drafted a step", axis="x")
    figure.title(title)
    figure.legend(False)
    text = _PAINT.sub("", str(figure.build()))
    return text.translate(_ASCII) if ascii_only else text


def round_ticks(low: float, high: float) -> list[float]:
    """Three to nine round numbers from `low` to `high`, evenly apart; `low` < `high`."""
    power = 10.0 ** math.floor(math.log10((high - low) / 3))
    step = next(power * each for each in (5, 2, 1) if power * each <= (high - low) / 3)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def legend(names: Iterable[str], *, ascii_only: bool) -> str:
    """The markers of `k_curves` and what they stand for, on one line."""
    markers = ASCII_MARKERS if ascii_only else MARKERS
    return "   ".join(f"{markers[number % len(markers)]} {name}" for number, name in enumerate(names))


def _draw(figure: Any, points: Sequence[Point], name: str, marker: str, colour: str, *, ascii_only: bool) -> None:
    """One curve: a line through the points, an interval at each, and the points on top."""
    xs, ys = [float(point.k) for point in points], [point.tok_s for point in points]
    line = figure.signal(xs, ys, marker=plotext.marker("." if ascii_only else "braille", colour))
    line.lines(True)
    figure.draw(line)
    for point in points:
        figure.draw(
            figure.segment(
                (point.k, point.k), point.interval, marker=plotext.marker("|" if ascii_only else "│", colour)
            )
        )
    dots = figure.signal(xs, ys, marker=plotext.marker(marker, colour))
    dots.label(name)
    figure.draw(dots)


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
