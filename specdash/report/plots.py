"""Figures as plain dictionaries for Plotly.newPlot: data and layout, no Python objects of plotly's.

Colours of lines and bars are ones that can be told apart by everybody and stand on a light and on a dark ground;
text and grid are coloured by the page's style sheet. Text of a figure is escaped: plotly reads a few tags in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import Any

from specdash.analysis.result import RATE, Arm, CurvePoint
from specdash.analysis.stats import Interval
from specdash.core.numbers import finite
from specdash.core.text import one_line
from specdash.report.arms import ResultOverview, is_baseline, k_of, measured_n, rate_of, speedup_of
from specdash.report.text import arm_name, bounds, faster, interval, mean, rate, ratio

Figure = dict[str, Any]

FASTER, SLOWER, EQUAL, BASE, RULE = "#3d85d6", "#d9791e", "#aab3bd", "#68727d", "#8b949e"
PREDICTED, MEASURED, REFUTED, CHOSEN = FASTER, SLOWER, "#d1495b", "#2a9d76"
LINES = ("#3d85d6", "#d9791e", "#2a9d76", "#b562c4", "#c9a100", "#d1495b", "#5aa9c9", "#8b949e")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "star", "hexagon")
WIDE_CHARS, NARROW_CHARS = 30, 15
HIGHEST_BAR = 1.5  # times the highest value: what is longer is drawn to the edge
ROW_PX = 26


def plot_text(text: object, limit: int = 200) -> str:
    """Text for a figure, in which nothing is a tag."""
    return escape(one_line(str(text), limit), quote=False)


def _layout(height: int, **more: Any) -> Figure:
    return {"height": height, "margin": {"l": 48, "r": 12, "t": 8, "b": 40}, **more}


# -- bars -------------------------------------------------------------------------------------------------------------


def rate_bars(arms: Sequence[Arm], found: ResultOverview) -> Figure:
    """Mean decode rates with their intervals, one bar an arm, the first on top."""
    values = [rate_of(arm) or 0.0 for arm in arms]
    errors = [_errors(value, arm.summary[RATE].ci95) for value, arm in zip(values, arms, strict=True)]
    hover = [
        f"{bar_name(arm)}<br>{plot_text(mean(arm.summary[RATE]))} tok/s"
        f"<br>95 % interval {interval(arm.summary[RATE].ci95)}"
        for arm in arms
    ]
    colours = [BASE if is_baseline(arm) else _verdict_colour(arm, found) for arm in arms]
    shown = [rate(value) + (" \u2715" if found.refuted(arm) else "") for value, arm in zip(values, arms, strict=True)]
    return _bars(arms, values, errors, hover, colours, shown, "tok/s", base=0.0)


def speedup_bars(arms: Sequence[Arm], found: ResultOverview) -> Figure:
    """Speedups as bars that start at 1, to the right what is faster, to the left what is slower."""
    values = [speedup_of(arm) or 1.0 for arm in arms]
    ends = [arm.speedup.ci95 if arm.speedup is not None else None for arm in arms]
    errors = [_errors(value, each) for value, each in zip(values, ends, strict=True)]
    hover = [
        f"{bar_name(arm)}<br>{plot_text(faster(arm.speedup, measured_n(arm)))} times the baseline"
        + (f" ({found.refuted(arm)})" if found.refuted(arm) else "")
        for arm in arms
    ]
    shown = [found.refuted(arm) or f"{found.doubt(arm)}{ratio(value)}" for arm, value in zip(arms, values, strict=True)]
    return _bars(
        arms, values, errors, hover, [_verdict_colour(arm, found) for arm in arms], shown, "times baseline", base=1.0
    )


def _verdict_colour(arm: Arm, found: ResultOverview) -> str:
    """Blue is faster, orange slower, light grey equal or unknown, red refuted."""
    if found.refuted(arm):
        return REFUTED
    value = speedup_of(arm)
    if value is None or found.doubt(arm):
        return EQUAL
    return FASTER if value > 1 else SLOWER


def bar_name(arm: Arm, limit: int = 120) -> str:
    """The arm with its K, cut before the K is."""
    k = "" if arm.step.k is None else f" \u00b7 K {arm.step.k}"
    return plot_text(arm_name(arm.step), max(4, limit - len(k))) + k


def _errors(value: float, ci95: Interval | None) -> tuple[float | None, float | None]:
    """How far an interval reaches below and above a value; None where it has no such end."""
    low, high = bounds(ci95)
    return None if low is None else max(0.0, value - low), None if high is None else max(0.0, high - value)


def _edge(values: Sequence[float], highs: Sequence[float]) -> float | None:
    """Where an axis of these values ends, so that an interval many times as long does not press them flat.

    None where it needs no end: the ends of all intervals are near enough.
    """
    most = HIGHEST_BAR * max(values, default=0.0)
    return most if max(highs, default=0.0) > most > 0 else None


def _bars(
    arms: Sequence[Arm],
    values: Sequence[float],
    errors: Sequence[tuple[float | None, float | None]],
    hover: Sequence[str],
    colours: Sequence[str],
    shown: Sequence[str],
    unit: str,
    *,
    base: float,
) -> Figure:
    rows = list(range(len(arms)))
    trace = {
        "type": "bar",
        "orientation": "h",
        "y": rows,
        "x": [value - base for value in values],
        "base": base,
        "width": 0.62,
        "marker": {"color": list(colours)},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "arrayminus": [below for below, _ in errors],
            "array": [above for _, above in errors],
            "thickness": 1.4,
            "width": 3,
            "color": RULE,
        },
        "hovertext": list(hover),
        "hovertemplate": "%{hovertext}<extra></extra>",
    }
    annotations = [
        {"x": 1, "xref": "paper", "xanchor": "left", "xshift": 6, "y": row, "text": text, "showarrow": False}
        for row, text in zip(rows, shown, strict=True)
    ]
    names = [bar_name(arm, WIDE_CHARS) for arm in arms]
    most = _edge(values, [value + (above or 0.0) for value, (_, above) in zip(values, errors, strict=True)])
    return {
        "data": [trace],
        "layout": _layout(
            ROW_PX * len(rows) + 52,
            margin={"l": 8, "r": 72, "t": 4, "b": 40},
            yaxis={
                "tickvals": rows,
                "ticktext": names,
                "range": [len(rows) - 0.5, -0.5],
                "automargin": True,
                "ticklabelstandoff": 6,
                "showgrid": False,
                "zeroline": False,
            },
            xaxis={
                "title": {"text": unit, "standoff": 8},
                "rangemode": "normal" if base else "tozero",
                "zeroline": False,
                **({} if most is None else {"range": [0, most]}),
            },
            shapes=[_rule("x", base)] if base else [],
            annotations=annotations,
            bargap=0.3,
        ),
        "narrow": [bar_name(arm, NARROW_CHARS + 4) for arm in arms],
    }


def _rule(axis: str, at: float, dash: str = "solid") -> Figure:
    """A line across the whole chart."""
    other = "y" if axis == "x" else "x"
    ends = {f"{axis}0": at, f"{axis}1": at, f"{other}0": 0, f"{other}1": 1}
    return {
        "type": "line",
        "xref": "paper" if axis == "y" else "x",
        "yref": "paper" if axis == "x" else "y",
        "line": {"color": RULE, "width": 1.4, "dash": dash},
        **ends,
    }


# -- curves -----------------------------------------------------------------------------------------------------------


def k_curve(points: Sequence[CurvePoint], baseline: float | None, chosen: int | None = None) -> Figure:
    """Predicted rates as a line in its band, measured ones as filled markers, what is off the line crossed out.

    A ring is around the K that is `chosen`.
    """
    predicted = [point for point in points if finite(point.predicted_tok_s) is not None]
    measured = [point for point in points if finite(point.measured_tok_s) is not None]
    data: list[Figure] = []
    banded = [point for point in predicted if None not in bounds(point.predicted_ci95)]
    if banded:
        data += _band(banded)
    if predicted:
        data.append(_points(predicted, "predicted_tok_s", "predicted_ci95", "predicted", mode="lines+markers"))
    if measured:
        mode = "markers" if predicted else "lines+markers"
        trace = _points(measured, "measured_tok_s", "measured_ci95", "measured", mode=mode)
        ends = [_errors(point.measured_tok_s or 0.0, point.measured_ci95) for point in measured]
        trace["error_y"] = {
            "type": "data",
            "symmetric": False,
            "arrayminus": [below for below, _ in ends],
            "array": [above for _, above in ends],
            "thickness": 1.4,
            "width": 4,
            "color": MEASURED,
        }
        data.append(trace)
    off = [point for point in measured if point.off]
    if off:
        data.append(_points(off, "measured_tok_s", "measured_ci95", "off the line", mode="markers"))
    for point in points:
        if k_of(point) == chosen:
            name = "measured_tok_s" if finite(point.measured_tok_s) is not None else "predicted_tok_s"
            data.append(_points([point], name, name.replace("tok_s", "ci95"), "recommended", mode="markers"))
    shapes = [] if baseline is None else [_rule("y", baseline, "dot")]
    most = _edge_of(points, baseline)
    if baseline is not None:  # a shape does not widen an axis: an unseen point does
        data.append({**_plain_line([k_of(points[0])], [baseline]), "opacity": 0, "hoverinfo": "skip"})
    return {
        "data": data,
        "layout": _layout(
            230,
            xaxis={
                "title": {"text": "K", "standoff": 8},
                "zeroline": False,
                "tickvals": _ticks([k_of(each) for each in points]),
            },
            yaxis={
                "title": {"text": "tok/s", "standoff": 8},
                "zeroline": False,
                "automargin": True,
                **({} if most is None else {"range": [0, most]}),
            },
            shapes=shapes,
        ),
    }


def _edge_of(points: Sequence[CurvePoint], baseline: float | None) -> float | None:
    """Where the axis of a curve ends; None where it needs no end."""
    names = ("predicted", "measured")
    values = [finite(getattr(point, f"{name}_tok_s")) for point in points for name in names]
    ends = [bounds(getattr(point, f"{name}_ci95"))[1] for point in points for name in names]
    values.append(baseline)
    return _edge([each for each in values if each is not None], [each for each in ends if each is not None])


def _plain_line(x: Sequence[Any], y: Sequence[Any]) -> Figure:
    return {"type": "scatter", "mode": "lines", "x": list(x), "y": list(y), "showlegend": False}


def _band(points: Sequence[CurvePoint]) -> list[Figure]:
    """The interval of the prediction as an area."""
    ks = [k_of(point) for point in points]
    low, high = zip(*(bounds(point.predicted_ci95) for point in points), strict=True)
    area = {**_plain_line([*ks, *reversed(ks)], [*high, *reversed(low)]), "fill": "toself", "hoverinfo": "skip"}
    return [{**area, "fillcolor": "rgba(61,133,214,0.2)", "line": {"width": 0}}]


def _points(points: Sequence[CurvePoint], value: str, ci95: str, name: str, *, mode: str) -> Figure:
    """One series of a curve."""
    marker = {
        "predicted": {"symbol": "circle-open", "size": 7, "color": PREDICTED, "line": {"width": 1.6}},
        "measured": {"symbol": "circle", "size": 8, "color": MEASURED},
        "off the line": {"symbol": "x-thin", "size": 15, "color": REFUTED, "line": {"width": 2, "color": REFUTED}},
        "recommended": {"symbol": "circle-open", "size": 17, "color": CHOSEN, "line": {"width": 2}},
    }[name]
    return {
        "type": "scatter",
        "mode": mode,
        "name": name,
        "x": [k_of(point) for point in points],
        "y": [getattr(point, value) for point in points],
        "marker": marker,
        "line": {"color": MEASURED if name == "measured" else PREDICTED, "width": 1.6},
        "hovertext": [
            f"K {k_of(point)}, {name}: {rate(getattr(point, value))} tok/s"
            f"<br>95 % interval {interval(getattr(point, ci95))}"
            for point in points
        ],
        "hovertemplate": "%{hovertext}<extra></extra>",
    }


def _ticks(ks: Sequence[int], most: int = 8) -> list[int]:
    """Some of the Ks to write under an axis: all where they are few, else powers of two and the last one."""
    ks = sorted(set(ks))
    if len(ks) <= most and all(right - left >= (ks[-1] - ks[0]) / 16 for left, right in pairwise(ks)):
        return ks
    wanted = [k for k in ks if k & (k - 1) == 0]
    gap = (ks[-1] - ks[0]) / 12
    kept = [ks[-1]]
    for k in reversed(wanted):
        if kept[-1] - k >= gap:
            kept.append(k)
    if kept[-1] != ks[0]:  # the first of them is always named, and pushes out one that is too near
        kept = [*(k for k in kept if k - ks[0] >= gap), ks[0]]
    return sorted(kept)


# -- acceptance -------------------------------------------------------------------------------------------------------


def acceptance_chart(arms: Sequence[Arm]) -> Figure:
    """The share of steps that kept at least so many draft tokens: a line for each arm."""
    data = []
    for number, arm in enumerate(arms):
        shares = [finite(value) for value in (arm.accepted_per_position or ())]
        name = bar_name(arm, WIDE_CHARS)
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "x": list(range(1, len(shares) + 1)),
                "y": shares,
                "line": {"color": LINES[number % len(LINES)], "width": 1.8},
                "marker": {"symbol": SYMBOLS[number % len(SYMBOLS)], "size": 7},
                "hovertemplate": f"{name.replace('%', '&#37;')}<br>position %{{x}}: %{{y:.0%}}<extra></extra>",
            }
        )
    most = max(len(arm.accepted_per_position or ()) for arm in arms)
    return {
        "data": data,
        "layout": _layout(
            270 + 20 * len(arms),
            xaxis={
                "title": {"text": "draft position", "standoff": 8},
                "zeroline": False,
                "tickvals": _ticks(range(1, most + 1), 12),
            },
            yaxis={"tickformat": ".0%", "range": [0, 1.04], "zeroline": False},
            showlegend=True,
            legend={"orientation": "v", "x": 0, "y": -0.3, "yanchor": "top"},
        ),
    }
