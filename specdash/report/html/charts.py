"""The sections with charts: bars, K curves, acceptance. Where there is no data there is a sentence that says why."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

from specdash.core.text import one_line
from specdash.report.arms import (
    REFUTED,
    Key,
    baseline_of,
    best_k,
    contenders,
    content_arms,
    curves_by_pair,
    edge,
    is_baseline,
    other_k,
    pair_key,
    pair_name,
    rate_of,
    recommended_ks,
    refuted,
    speedup_of,
    targets,
)
from specdash.report.html.figures import acceptance, k_curve, rate_bars, speedup_bars
from specdash.report.html.markup import Column, Markup, Row, details, join, label, paragraph, section, table
from specdash.report.text import DASH, FROM_ITSELF, Json, arm_name, interval, known, off_by, rate, ratio, share, whole

MOST_BARS = 20
MOST_LINES = 8
MOST_CURVES = 6
CURVE_COLUMNS = (
    Column("pair", is_number=False),
    Column("category", is_number=False),
    Column("K"),
    Column("predicted tok/s"),
    Column("95 % interval"),
    Column("measured tok/s"),
    Column("95 % interval"),
    Column("off by"),
    Column("n"),
)


class Charts:
    """The figures of a page in the order of their places."""

    def __init__(self) -> None:
        self.figures: list[dict[str, Any]] = []

    def place(self, figure: dict[str, Any], description: str, caption: Markup | str = "") -> Markup:
        """The element that a figure is drawn into; `description` is read in place of the picture."""
        self.figures.append(figure)
        height = figure["layout"]["height"]
        text = escape(one_line(description, 600))
        shown = join([Markup("<figcaption>"), caption, Markup("</figcaption>")]) if caption else ""
        return Markup(
            f"<figure>{shown}"
            f'<div class="chart" role="img" aria-label="{text}" style="height:{height}px"></div></figure>'
        )


def speed(result: Json, charts: Charts) -> Markup:
    """Throughput and speedup of the baseline and the best K of each draft, a pair of charts for each target."""
    parts = []
    for target in targets(result):
        found = contenders(arm for arm in content_arms(result) if arm["target"] == target)
        parts.append(join([Markup("<h3>"), label(target), Markup("</h3>")]))
        parts.append(_bars(target, found, charts))
    if not parts:
        parts.append(paragraph("No step was measured, so there is no rate to draw.", "none"))
    lead = (
        "Decoding only, over all categories: the baseline in dark grey and each draft at its fastest K, with 95 % "
        "intervals. Blue is faster than the baseline, orange slower, light grey inside the noise (≈) or too few "
        "samples to say (?), red with a mark refuted: the output differs, or the rate is impossible."
    )
    return section("speed", "Speed", paragraph(lead, "lead"), *parts)


def _bars(target: str, found: list[Json], charts: Charts) -> Markup:
    """Both charts of one target."""
    if not found:
        return paragraph("Nothing was measured that counts: the reasons are under categories.", "none")
    shown, left = found[:MOST_BARS], len(found) - MOST_BARS
    shown += [arm for arm in found[MOST_BARS:] if is_baseline(arm)]
    first = next((arm for arm in shown if not refuted(arm)), shown[0])
    text = f"Bar chart of tokens per second on {target}: {_said(first)} is the fastest."
    base = next((arm for arm in shown if is_baseline(arm)), None)
    text += f" The baseline makes {rate(rate_of(base))}." if base is not None else " There is no baseline."
    parts = [charts.place(rate_bars(shown), text, "Throughput, tok/s")]
    compared = [arm for arm in shown if speedup_of(arm) is not None]
    if compared:
        best = max(compared, key=lambda arm: (not refuted(arm), speedup_of(arm) or 0.0))
        text = f"Bar chart of speedups on {target}: {_said(best)} is {ratio(speedup_of(best))} times the baseline."
        parts.append(charts.place(speedup_bars(compared), text, "Speedup over the baseline"))
    else:
        why = "No baseline counts here, so there is no speedup." if base is None else "No arm can be compared here."
        parts.append(paragraph(why, "none"))
    notes = []
    if left > 0:
        notes.append(f"The {MOST_BARS} fastest of {len(found)} are drawn; the others are in the heatmap and the table.")
    for verdict, said in _REFUTED.items():
        names = [arm_name(arm) for arm in shown if refuted(arm) == REFUTED[verdict]]
        if names:
            notes.append(f"{said}, so never recommended: {', '.join(names)}.")
    return join([Markup(f'<div class="pairs">{join(parts)}</div>'), *(paragraph(note, "note") for note in notes)])


_REFUTED = {"output_differs": "Output differs from the baseline's", "impossible": "Faster than the memory allows"}


def _said(arm: Json) -> str:
    k = "" if arm.get("k") is None else f" at K {arm['k']}"
    return f"{arm_name(arm)}{k} with {rate(rate_of(arm))} tok/s"


# -- K curves ---------------------------------------------------------------------------------------------------------


def curves(result: Json, charts: Charts) -> Markup:
    """A chart for each pair of which more than one K is known, the fastest pairs first, and the table behind them."""
    pairs = curves_by_pair(result)
    drawn = {key: points for key, points in pairs.items() if len({point["k"] for point in points}) > 1}
    if not drawn:
        why = "No pair was measured at more than one K, so there is no curve." if pairs else "No K was measured."
        return section("curves", "K curves", paragraph(why, "none"))
    ranked = _ranked(list(drawn.values()), result)
    several = len({points[0]["target"] for points in ranked}) > 1
    cards = [_card(points, result, charts, with_target=several) for points in ranked]
    parts = [
        paragraph(_LEAD, "lead"),
        _key(ranked, result),
        Markup(f'<div class="cards">{join(cards[:MOST_CURVES])}</div>'),
    ]
    if cards[MOST_CURVES:]:
        rest = Markup(f'<div class="cards">{join(cards[MOST_CURVES:])}</div>')
        parts.append(details(f"Curves of {len(cards) - MOST_CURVES} more pairs", rest))
    single = [points for points in pairs.values() if len({point["k"] for point in points}) == 1]
    if single:
        names = "; ".join(f"{pair_name(points[0], with_target=several)} (K {points[0]['k']})" for points in single)
        parts.append(paragraph(f"Only one K is known of: {names}.", "note"))
    rows = [_point(point, several) for points in ranked for point in points if _is_worth_a_row(point, points)]
    parts.append(
        details(
            f"Figures of the curves ({len(rows)})",
            join([paragraph(FROM_ITSELF, "note"), table("K curves", CURVE_COLUMNS, rows)]),
        )
    )
    return section("curves", "K curves", *parts)


_LEAD = (
    "Tokens per second by the number of drafted tokens K, over all categories. Predictions come from one load at the "
    "largest K: acceptance of every position, and the time of a step with so many drafted tokens."
)


def _key(curves: list[list[Json]], result: Json) -> Markup:
    """What the marks of the curves mean; those that occur."""
    points = [point for own in curves for point in own]
    chosen = recommended_ks(result)
    differs = any(other_k((best_k(own) or {}).get("k"), chosen.get(pair_key(own[0]))) for own in curves)
    signs = (
        ('<i class="k-line"></i>predicted, with its 95 % interval', _has(points, "predicted_tok_s")),
        ('<i class="k-dot"></i>measured', _has(points, "measured_tok_s")),
        ('<i class="k-base"></i>no draft', any(baseline_of(own[0], result) is not None for own in curves)),
        ('<i class="k-off">\u2715</i>measured off the predicted line', any(point.get("off") for point in points)),
        ('<i class="k-use"></i>recommended, where that is not the best mean', differs),
    )
    return Markup(f'<ul class="key">{"".join(f"<li>{sign}" for sign, occurs in signs if occurs)}</ul>')


def _has(points: list[Json], name: str) -> bool:
    return any(known(point.get(name)) is not None for point in points)


def _ranked(curves: list[list[Json]], result: Json) -> list[list[Json]]:
    """The best pair of every target, then the second best of each, and so on; "best" by gain over the baseline."""
    by_target: dict[str, list[list[Json]]] = {}
    for points in sorted(curves, key=lambda points: _gain(points, result), reverse=True):
        by_target.setdefault(str(points[0]["target"]), []).append(points)
    found = [(place, points) for own in by_target.values() for place, points in enumerate(own)]
    return [points for _, points in sorted(found, key=lambda each: each[0])]


def _gain(points: list[Json], result: Json) -> float:
    best, base = best_k(points) or {}, baseline_of(points[0], result)
    top = known(best.get("predicted_tok_s")) or known(best.get("measured_tok_s")) or 0.0
    return top / base if base else top


def _is_worth_a_row(point: Json, points: list[Json]) -> bool:
    """Measured, the best, at an end, or a power of two: a table of every K of every pair helps nobody."""
    k = int(point["k"])
    return known(point.get("measured_tok_s")) is not None or k & (k - 1) == 0 or point in (best_k(points), points[-1])


def _card(points: list[Json], result: Json, charts: Charts, *, with_target: bool) -> Markup:
    """The chart of one pair, and what it says in words."""
    name, best = pair_name(points[0], with_target=with_target), best_k(points)
    baseline = baseline_of(points[0], result)
    kind = "predicted" if best is not None and known(best.get("predicted_tok_s")) is not None else "measured"
    summary = "" if best is None else f"best {kind}: K {best['k']}, {rate(best.get(f'{kind}_tok_s'))} tok/s"
    choice = recommended_ks(result).get(pair_key(points[0]))
    other = "" if best is None else other_k(best["k"], choice)
    summary += f"; {other}" if other else ""
    off = [str(point["k"]) for point in points if point.get("off")]
    notes = [f"Measured off the predicted line: K {', '.join(off)}."] if off else []
    notes += [edge(points)] if edge(points) else []
    if baseline is None:
        notes.append("No baseline counts here.")
    notes += dict.fromkeys(str(point["reason"]) for point in points if point.get("reason"))
    description = f"K curve of {name}: {summary}; no draft: {rate(baseline)} tok/s. {' '.join(notes)}"
    caption = join([label(name), Markup("<small>"), summary, Markup("</small>")])
    chart = charts.place(k_curve(points, baseline, choice["k"] if choice and other else None), description, caption)
    said = join(paragraph(note, "note") for note in notes)
    return Markup(f'<div class="card">{chart}{said}</div>')


def _point(point: Json, with_target: bool) -> Row:
    """One line of the table behind the curves."""
    predicted, measured = known(point.get("predicted_tok_s")), known(point.get("measured_tok_s"))
    cells = [
        label(pair_name(point, with_target=with_target)),
        label(point.get("category") or "all"),
        str(point["k"]),
        rate(predicted),
        interval(point.get("predicted_ci95")),
        rate(measured),
        interval(point.get("measured_ci95")),
        off_by(point, " \u2717"),
        DASH if measured is None else whole(point.get("n")),
    ]
    return Row(cells, kind="off" if point.get("off") else "")


# -- acceptance -------------------------------------------------------------------------------------------------------


def acceptances(result: Json, charts: Charts) -> Markup:
    """How many draft tokens survive at each position: a chart for each target, a line for each draft."""
    parts: list[Markup] = []
    for target in targets(result):
        lines = _longest(arm for arm in content_arms(result) if arm["target"] == target)
        if not lines:
            continue
        shown = lines[:MOST_LINES]
        first = [share(value) for value in (known(arm["accepted_per_position"][0]) for arm in shown)]
        text = f"Acceptance by draft position on {target}: " + ", ".join(
            f"{arm_name(arm)} {value} at the first" for arm, value in zip(shown, first, strict=True)
        )
        chart = charts.place(acceptance(shown), text, label(target))
        more = len(lines) - MOST_LINES
        note = paragraph(f"The {MOST_LINES} fastest pairs of {len(lines)} are drawn.", "note") if more > 0 else ""
        parts.append(Markup(f'<div class="card">{chart}{note}</div>'))
    if not parts:
        why = "No server told what it accepted at which position: nothing was drafted, or the build does not say."
        return section("acceptance", "Acceptance by position", paragraph(why, "none"))
    lead = (
        "The share of steps that kept at least so many drafted tokens, each pair at the largest K it was measured at. "
        "High acceptance alone makes nothing fast: a slow draft can lose with it."
    )
    cards = Markup(f'<div class="cards wide">{join(parts)}</div>')
    return section("acceptance", "Acceptance by position", paragraph(lead, "lead"), cards)


def _longest(arms: Iterable[Json]) -> list[Json]:
    """Of each pair the arm with the largest K that knows its positions, in the order of the pairs' best rates."""
    found: dict[Key, Json] = {}
    best: dict[Key, float] = {}
    for arm in arms:
        key = pair_key(arm)
        best[key] = max(best.get(key, 0.0), rate_of(arm) or 0.0)
        if arm.get("accepted_per_position") and (key not in found or (arm.get("k") or 0) > (found[key].get("k") or 0)):
            found[key] = arm
    return sorted(found.values(), key=lambda arm: best[pair_key(arm)], reverse=True)
