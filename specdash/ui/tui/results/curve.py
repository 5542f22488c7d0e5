"""The K curve of a pair: a measure over K with its 95 % intervals, and the baseline as a line across.

Points that were predicted from one load are hollow; those that were measured are filled.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal

from specdash.analysis.figures import Figures, FiguresCache
from specdash.core.status import StepStatus
from specdash.core.axes import GROUP, pick
from specdash.core.text import one_line
from specdash.ui.tui.lines import Line
from specdash.ui.tui.recommendations import Recommendations
from specdash.ui.tui.results.heatmap import ALL, arms_of_variant, rows_of_pair
from specdash.ui.tui.results.heatmap import Pair, Variant
from specdash.ui.tui.terminal import Glyphs
from specdash.ui.tui.terminal.theme import StyleName

CHARTS = "specdash.ui.charts"
LEAST = (24, 8)  # cells wide and high; below that axes leave no room for a curve
TALLEST = 24
CURVE_STYLES: tuple[StyleName, ...] = ("faster", "good", "accent", "slower", "warn")

Quantity = Literal["tok/s", "speedup"]
# A point: K, value, ends of its interval.
Value = tuple[int, float, tuple[float, float]]


def curves_of(
    book: FiguresCache, pair: Pair, variant: Variant, category: str | None, quantity: Quantity
) -> tuple[dict[str, tuple[Value, ...]], float | None]:
    """The curve over all categories, that of `category` where one is chosen, and the baseline of the last of them."""
    if pair[1] is None:
        return {}, None
    arms = arms_of_variant(book, variant)
    found: dict[str, dict[int | None, Figures]] = {
        ALL: {
            # Rates over other categories are of other prompts; a speedup is over those that both arms have.
            k: arm.figures
            for k, arm in arms.get(pair, {}).items()
            if quantity == "speedup" or not arm.missing
        }
    }
    base = arms.get((pair[0], None), {}).get(None)
    rate = base.figures.rate if base is not None else None
    if category is not None and category != ALL:
        rows = rows_of_pair(book, pair, variant)
        found[category] = {
            k: row.figures for (name, k), row in rows.items() if name == category and row.found.status == StepStatus.OK
        }
        rate = found[category][None].rate if None in found[category] else None
    curves = {name: _values(figures, quantity) for name, figures in found.items()}
    baseline = 1.0 if quantity == "speedup" else rate.mean if rate is not None else None
    return {name: values for name, values in curves.items() if values}, baseline


def _values(figures: Mapping[int | None, Figures], quantity: Quantity) -> tuple[Value, ...]:
    """The points of one curve, by K; what is no number is left out."""
    points: list[Value] = []
    for k, each in figures.items():
        summary = each.speedup if quantity == "speedup" else each.rate
        if k is None or summary is None:
            continue
        value = each.speedup.value if quantity == "speedup" and each.speedup is not None else None
        value = each.rate.mean if value is None and each.rate is not None else value
        if value is None or not math.isfinite(value) or value > 1e12:
            continue
        low, high = summary.ci95 or (value, value)
        points.append((k, value, (low, high)))
    return tuple(sorted(points))


def predicted_of(
    advice: Recommendations, pair: Pair, variant: Variant, category: str | None
) -> dict[str, tuple[Value, ...]]:
    """The predicted rates (tok/s) over all categories, and of `category` where one is chosen."""
    names = dict.fromkeys((ALL, category if category is not None else ALL))
    found = {}
    for name in names:
        points = []
        for each in advice.curves.get((pair[0], pick(variant, GROUP[1:]), pair[1], name), ()):
            value, ends = each.get("predicted_tok_s"), each.get("predicted_ci95") or (None, None)
            if value is not None and math.isfinite(value):
                low, high = (value if end is None else end for end in ends)
                points.append((each["k"], value, (low, high)))
        found[name] = tuple(points)
    return {name: points for name, points in found.items() if points}


def is_ready() -> bool:
    """Whether charts can be drawn at once; loading them takes half a second, which no key press should wait for."""
    return CHARTS in sys.modules


def curve_lines(
    curves: Mapping[str, Sequence[Value]],
    baseline: float | None,
    quantity: Quantity,
    width: int,
    height: int,
    glyphs: Glyphs,
    predicted: Mapping[str, Sequence[Value]] | None = None,
) -> list[Line]:
    """The chart with its legend in `height` lines, or a sentence why there is none."""
    if not curves and not predicted:
        return [(("no K of this pair is measured yet" if quantity == "tok/s" else "no speedup over K yet", "dim"),)]
    if width < LEAST[0] or height < LEAST[1]:
        return [((f"a chart takes {LEAST[0]} x {LEAST[1]} cells", "dim"),)]
    if not is_ready():
        return [(("drawing" + glyphs.ellipsis, "dim"),)]
    packed = tuple((name, tuple(values)) for name, values in curves.items())
    hollow = tuple((name, tuple(values)) for name, values in (predicted or {}).items())
    return list(_drawn(packed, hollow, baseline, quantity, width, min(height, TALLEST), glyphs.is_ascii))


@lru_cache(maxsize=8)
def _drawn(
    curves: tuple[tuple[str, tuple[Value, ...]], ...],
    predicted: tuple[tuple[str, tuple[Value, ...]], ...],
    baseline: float | None,
    quantity: Quantity,
    width: int,
    height: int,
    is_ascii: bool,
) -> tuple[Line, ...]:
    """The chart; drawing takes milliseconds, and the same one is asked for at every paint."""
    from specdash.ui.charts import BASELINE_CURVE, ChartPoint, coloured, k_curves, chart_legend

    points, hollow = (
        {name: [ChartPoint(k, value, ends) for k, value, ends in values] for name, values in each}
        for each in (curves, predicted)
    )
    title = f"{quantity} by K; bars are 95 % intervals"
    text = k_curves(points, baseline, width, height - 1, ascii_only=is_ascii, title=title, predicted=hollow)
    lines: list[Line] = [
        tuple((piece, _style(number, BASELINE_CURVE)) for piece, number in pieces) for pieces in coloured(text)
    ]
    every = dict.fromkeys((*points, *hollow))
    names = chart_legend(
        [one_line(name, 30) for name in every], ascii_only=is_ascii, predicted=[one_line(name, 30) for name in hollow]
    )
    dotted = "" if baseline is None else f"   {'.' if is_ascii else '┈'} no draft"
    return (*lines, ((names + dotted, "dim"),))


def _style(number: int | None, baseline: int) -> StyleName:
    if number is None or number == baseline:
        return "dim"
    return CURVE_STYLES[number % len(CURVE_STYLES)]
