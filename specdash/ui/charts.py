"""Charts for terminals, all of them; nobody else imports plotext."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotext

MARKERS = ("●", "◆", "▲", "■", "✚")
ASCII_MARKERS = ("o", "x", "@", "#", "*")
COLOURS = ("cyan", "magenta", "green", "orange", "yellow")
# Plain axes on the terminal's own background; only the curves keep their colour.
_PAINT = re.compile(r"\x1b\[(48;5;\d+|38;5;0|38;5;12)m")
_ASCII = str.maketrans("┌┐└┘─│├┤┬┴┼┈…", "++++-|+++++..")


@dataclass(frozen=True, slots=True)
class Point:
    """One measured K: its rate in tok/s and the half width of its 95 % interval (0 where there is none)."""

    k: int
    tok_s: float
    half_width: float


def k_curves(
    curves: Mapping[str, Sequence[Point]], baseline_tok_s: float | None, width: int, height: int, *, ascii_only: bool
) -> str:
    """Tokens per second by K with intervals, one curve for each name, and the baseline as a line across.

    The text has ANSI colours; whoever prints it drops them where they are not wanted.
    """
    figure = plotext.figure
    figure.clear()
    figure.plot_size(width, height)
    figure.theme("clear")
    for number, (name, points) in enumerate(curves.items()):
        marker = (ASCII_MARKERS if ascii_only else MARKERS)[number % len(MARKERS)]
        colour = COLOURS[number % len(COLOURS)]
        _draw(figure, points, name, marker, colour, ascii_only=ascii_only)
    lows = [point.tok_s - point.half_width for points in curves.values() for point in points]
    highs = [point.tok_s + point.half_width for points in curves.values() for point in points]
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
    figure.title("tok/s by K, all categories; bars are 95 % intervals")
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
        ends = (point.tok_s - point.half_width, point.tok_s + point.half_width)
        figure.draw(figure.segment((point.k, point.k), ends, marker=plotext.marker("|" if ascii_only else "│", colour)))
    dots = figure.signal(xs, ys, marker=plotext.marker(marker, colour))
    dots.label(name)
    figure.draw(dots)
