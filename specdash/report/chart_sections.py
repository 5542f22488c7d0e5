"""The sections with charts: bars, the coloured grid of every pair, K curves, acceptance by position."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from specdash.analysis.pair_summary import REFUTED
from specdash.analysis.result import Arm, CurvePoint, Recommendation
from specdash.core.methods import is_draftless
from specdash.core.numbers import finite
from specdash.core.plan import Step
from specdash.core.profile import ALL
from specdash.report import text
from specdash.report.arms import (
    ResultOverview,
    baseline_of,
    best_k,
    curves_by_pair,
    edge,
    is_baseline,
    k_of,
    measured_n,
    other_k,
    pair_key,
    rate_of,
    speedup_of,
)
from specdash.report.blocks import (
    HTML,
    MARKDOWN,
    Below,
    Block,
    Bullets,
    Cards,
    Chart,
    ColourScale,
    Folded,
    GridCell,
    Heading,
    Legend,
    Name,
    Only,
    Paragraph,
    ReportColumn,
    ReportGrid,
    ReportTable,
    Row,
    Section,
    Words,
)
from specdash.report.plots import acceptance_chart, k_curve, rate_bars, speedup_bars
from specdash.report.text import DASH

PARAMETERS = "Speedup of each draft by its parameters and K"
LENGTHS = "Speedup of each method without a draft model, by the longest draft"
MOST_BARS = 20
MOST_LINES = 8
MOST_CURVES = 6
MOST_CELLS_WITH_K = 80
MOST_COLUMNS = 8
FASTER_STEPS = (1.0, 1.1, 1.25, 1.5, 2.0, 2.75)
SLOWER_STEPS = (1.0, 0.9, 0.75, 0.5)
_REFUTED = {"output_differs": "Output differs from the baseline's", "impossible": "Faster than the memory allows"}


# -- speed ------------------------------------------------------------------------------------------------------------


def speed_section(found: ResultOverview) -> Section:
    """Throughput and speedup of the baseline and the best K of each draft, a pair of charts for each target."""
    lead = (
        "Decoding only, over all categories: the baseline in dark grey and each draft at its fastest K, with 95 % "
        "intervals. Blue is faster than the baseline, orange slower, light grey inside the noise (≈) or too few "
        "samples to say (?), red with a mark refuted: the output differs, or the rate is impossible."
    )
    blocks: list[Block] = [Paragraph(lead, "lead")]
    for target in found.result.targets:
        blocks += [Heading(Name(target)), *_bars(target, found.contenders(found.of_target(target)), found)]
    if len(blocks) == 1:
        blocks.append(Paragraph("No step was measured, so there is no rate to draw.", "none"))
    return Section("speed", "Speed", blocks, kind=HTML)


def _bars(target: str, arms: list[Arm], found: ResultOverview) -> list[Block]:
    """Both charts of one target."""
    if not arms:
        return [Paragraph("Nothing was measured that counts: the reasons are under categories.", "none")]
    shown, left = arms[:MOST_BARS], len(arms) - MOST_BARS
    shown += [arm for arm in arms[MOST_BARS:] if is_baseline(arm)]
    first = next((arm for arm in shown if not found.refuted(arm)), shown[0])
    said = f"Bar chart of tokens per second on {target}: {_said(first)} is the fastest."
    base = next((arm for arm in shown if is_baseline(arm)), None)
    said += f" The baseline makes {text.rate(rate_of(base))}." if base is not None else " There is no baseline."
    pair: list[Block] = [Chart(rate_bars(shown, found), said, "Throughput, tok/s")]
    compared = [arm for arm in shown if speedup_of(arm) is not None]
    if compared:
        best = max(compared, key=lambda arm: (not found.refuted(arm), speedup_of(arm) or 0.0))
        times = text.ratio(speedup_of(best))
        said = f"Bar chart of speedups on {target}: {_said(best)} is {times} times the baseline."
        pair.append(Chart(speedup_bars(compared, found), said, "Speedup over the baseline"))
    else:
        why = "No baseline counts here, so there is no speedup." if base is None else "No arm can be compared here."
        pair.append(Paragraph(why, "none"))
    notes = []
    if left > 0:
        notes.append(f"The {MOST_BARS} fastest of {len(arms)} are drawn; the others are in the heatmap and the table.")
    for verdict, why in _REFUTED.items():
        names = [text.arm_name(arm.step) for arm in shown if found.refuted(arm) == REFUTED[verdict]]
        if names:
            notes.append(f"{why}, so never recommended: {', '.join(names)}.")
    return [Cards([[block] for block in pair], "pairs"), *(Paragraph(note, "note") for note in notes)]


def _said(arm: Arm) -> str:
    k = "" if arm.step.k is None else f" at K {arm.step.k}"
    return f"{text.arm_name(arm.step)}{k} with {text.rate(rate_of(arm))} tok/s"


# -- every pair -------------------------------------------------------------------------------------------------------


def heatmap_section(found: ResultOverview) -> Section:
    """Targets against drafts, whichever is the longer list downwards; fastest K of each pair."""
    arms = [arm for arm in found.contenders(found.arms) if not is_baseline(arm)]
    cells: dict[tuple[str, str], Arm] = {}
    for arm in arms:
        place = (text.subject(arm.step), text.drafter(arm.step))
        if place not in cells or _merit(arm, found) > _merit(cells[place], found):
            cells[place] = arm
    if not any(speedup_of(arm) is not None for arm in cells.values()):
        why = "There is no speedup to show: no pair and its baseline both gave figures that count."
        return Section("heatmap", "Every pair", [Paragraph(why, "none")], kind=HTML)
    # In the order of the plan, which puts like models side by side.
    planned = [arm for arm in found.arms if not is_baseline(arm)]
    placed = [{place[axis] for place in cells} for axis in (0, 1)]
    columns = [name for name in dict.fromkeys(text.subject(arm.step) for arm in planned) if name in placed[0]]
    rows = [name for name in dict.fromkeys(text.drafter(arm.step) for arm in planned) if name in placed[1]]
    turned = len(columns) > max(len(rows), MOST_COLUMNS)
    if turned:
        columns, rows = rows, columns
        cells = {(draft, target): arm for (target, draft), arm in cells.items()}
    with_k = len(columns) * len(rows) <= MOST_CELLS_WITH_K
    grid = ReportGrid(
        "Best speedup of each target and draft",
        "target" if turned else "draft",
        columns,
        rows,
        {place: _cell(arm, found, with_k=with_k) for place, arm in cells.items()},
    )
    return Section("heatmap", "Every pair", [*_heatmap_lead(arms, found), grid, *_lengths(planned, found)], kind=HTML)


def _merit(arm: Arm, found: ResultOverview) -> tuple[bool, float]:
    return not found.refuted(arm), speedup_of(arm) or 0.0


def _heatmap_lead(arms: Iterable[Arm], found: ResultOverview) -> list[Block]:
    """What the colours mean, and how many pairs are slower."""
    known = [arm for arm in arms if speedup_of(arm) is not None]
    equal, unsure = (sum(found.doubt(arm) == mark for arm in known) for mark in "≈?")
    said = (
        f"Speedup over the same target without a draft, each pair at its fastest K: {found.slower_pairs(known)}; "
        f"{equal} equal within the noise (≈)."
        + (f" Of {unsure} there are too few samples to say (?)." if unsure else "")
    )
    return [Paragraph(said, "lead"), ColourScale(len(SLOWER_STEPS), len(FASTER_STEPS))]


def _lengths(arms: Iterable[Arm], found: ResultOverview) -> list[Block]:
    """Of each target what drafts with parameters to choose from against K, where there are several Ks.

    Methods without a draft model, and drafts that were tried with several values of their parameters.
    """
    known = [arm for arm in arms if arm.step.k is not None]
    tried: dict[tuple[str, str, str | None], set[str]] = {}
    for arm in known:
        tried.setdefault(_tried(arm), set()).add(text.drafter(arm.step))
    targets: dict[str, list[Arm]] = {}
    for arm in known:
        if len(tried[_tried(arm)]) > 1 or is_draftless(arm.step.method):
            targets.setdefault(text.subject(arm.step), []).append(arm)
    blocks: list[Block] = []
    for target, own in targets.items():
        ks = sorted({arm.step.k for arm in own if arm.step.k is not None})
        if len(ks) < 2 or not any(speedup_of(arm) is not None for arm in own):
            continue
        cells = {(f"K = {arm.step.k}", text.drafter(arm.step)): _cell(arm, found, with_k=False) for arm in own}
        rows = list(dict.fromkeys(text.drafter(arm.step) for arm in own))
        with_models = any(arm.step.draft is not None for arm in own)
        what = "what drafts, and K" if with_models else "n-grams and the longest draft"
        corner = "draft" if with_models else "method"
        blocks += [
            Heading(Name(f"{target}: {what}")),
            ReportGrid(PARAMETERS if with_models else LENGTHS, corner, [f"K = {k}" for k in ks], rows, cells),
        ]
    return blocks


def _tried(arm: Arm) -> tuple[str, str, str | None]:
    """What drafts for which target in which setting, whatever its parameters."""
    return text.subject(arm.step), arm.step.method, arm.step.draft


def shade(arm: Arm, found: ResultOverview) -> str:
    """The colour of a cell: f1 to f6 faster, s1 to s4 slower, "eq" not proven, "dif" refuted, "na" unknown."""
    value = speedup_of(arm)
    if value is None:
        return "na"
    if found.refuted(arm):
        return "dif"
    if found.doubt(arm) or math.isclose(value, 1.0, abs_tol=0.0005):
        return "eq"
    if value > 1:
        return f"f{sum(value >= step for step in FASTER_STEPS)}"
    return f"s{sum(value <= step for step in SLOWER_STEPS)}"


def _cell(arm: Arm, found: ResultOverview, *, with_k: bool) -> GridCell:
    """A number in its colour, or why it is worth nothing; the interval and the recommended K in its tooltip."""
    kind, value, choice = shade(arm, found), speedup_of(arm), found.choices.get(pair_key(arm.step))
    if value is None:
        return GridCell(DASH, kind, "no speedup is known")
    k = "" if arm.step.k is None else f"K {arm.step.k}"
    other = other_k(arm.step.k, choice)
    title = f"{text.faster(arm.speedup, measured_n(arm))} {k}".strip() + (f"; {other}" if other else "")
    if found.refuted(arm):
        return GridCell(found.refuted(arm), kind, title, k if with_k else "")
    k += f", use {choice.k}" if other and choice is not None else ""
    # A speedup does not read as 1.00 where it is less.
    number = f"{value:.3f}" if 0.995 <= value < 0.9995 else text.ratio(value)
    return GridCell(f"{found.doubt(arm)}{number}", kind, title, k if with_k else "")


# -- K curves ---------------------------------------------------------------------------------------------------------

_CURVES_LEAD = (
    "Tokens per second by the number of drafted tokens K, over all categories. Predictions come from one load at the "
    "largest K: acceptance of every position, and the time of a step with so many drafted tokens."
)


def k_curves_section(found: ResultOverview) -> Section:
    """A chart for each pair of which more than one K is known, the fastest pairs first, and the table behind them."""
    pairs = curves_by_pair(found.result)
    html = Only(HTML, _charts(pairs, found))
    markdown = Only(MARKDOWN, _predicted_and_measured(pairs, found))
    return Section("curves", "K curves", [html, markdown], markdown_title="K curves: predicted and measured")


def _charts(pairs: dict[Step, list[CurvePoint]], found: ResultOverview) -> list[Block]:
    """The charts, the key of their marks, and the figures behind them."""
    drawn = [points for points in pairs.values() if len(set(map(k_of, points))) > 1]
    if not drawn:
        why = "No pair was measured at more than one K, so there is no curve." if pairs else "No K was measured."
        return [Paragraph(why, "none")]
    ranked = _ranked(drawn, found)
    several = len({points[0].step.target for points in ranked}) > 1
    cards = [_card(points, found, with_target=several) for points in ranked]
    blocks: list[Block] = [Paragraph(_CURVES_LEAD, "lead"), _legend(ranked, found), Cards(cards[:MOST_CURVES])]
    if cards[MOST_CURVES:]:
        blocks.append(Folded(f"Curves of {len(cards) - MOST_CURVES} more pairs", [Cards(cards[MOST_CURVES:])]))
    single = [points[0] for points in pairs.values() if len(set(map(k_of, points))) == 1]
    if single:
        names = "; ".join(f"{text.pair_name(each.step, with_target=several)} (K {k_of(each)})" for each in single)
        blocks.append(Paragraph(f"Only one K is known of: {names}.", "note"))
    columns = (
        ReportColumn("pair", is_number=False),
        ReportColumn("category", is_number=False),
        *map(ReportColumn, ("K", "predicted tok/s", "95 % interval", "measured tok/s", "95 % interval", "off by", "n")),
    )
    rows = [
        Row(
            [
                Name(text.pair_name(point.step, with_target=several)),
                Name(point.step.category or ALL),
                *_figures(point, str(k_of(point)), " \u2717", "{:.2f}"),
            ],
            kind="off" if point.off else "",
        )
        for points in ranked
        for point in points
        if _is_worth_a_row(point, points)
    ]
    table: list[Block] = [Paragraph(text.FROM_ITSELF, "note"), ReportTable("K curves", columns, rows)]
    return [*blocks, Folded(f"Figures of the curves ({len(rows)})", table)]


def _figures(point: CurvePoint, k: str, off: str, form: str) -> list[str]:
    """The cells of one K: predicted, measured, and how far they are apart."""
    measured = finite(point.measured_tok_s)
    return [
        k,
        text.rate(point.predicted_tok_s),
        text.interval(point.predicted_ci95, form),
        text.rate(measured),
        text.interval(point.measured_ci95, form),
        text.off_by(point, off),
        DASH if measured is None else text.count_text(point.n),
    ]


def _is_worth_a_row(point: CurvePoint, points: Sequence[CurvePoint]) -> bool:
    """Measured, the best, at an end, or a power of two: a table of every K of every pair helps nobody."""
    is_power = k_of(point) & (k_of(point) - 1) == 0
    return finite(point.measured_tok_s) is not None or is_power or point in (best_k(points), points[-1])


def _legend(drawn: list[list[CurvePoint]], found: ResultOverview) -> Legend:
    """What the marks of the curves mean; those that occur."""
    points = [point for own in drawn for point in own]
    differs = any(_other_choice(own, found) for own in drawn)
    signs = (
        (
            "k-line",
            "",
            "predicted, with its 95 % interval",
            any(finite(each.predicted_tok_s) is not None for each in points),
        ),
        ("k-dot", "", "measured", any(finite(each.measured_tok_s) is not None for each in points)),
        ("k-base", "", "no draft", any(baseline_of(own[0], found.result) is not None for own in drawn)),
        ("k-off", "\u2715", "measured off the predicted line", any(each.off for each in points)),
        ("k-use", "", "recommended, where that is not the best mean", differs),
    )
    return Legend([(kind, sign, meaning) for kind, sign, meaning, occurs in signs if occurs])


def _other_choice(points: list[CurvePoint], found: ResultOverview) -> str:
    """The K that is recommended for a curve, where its best mean is at another one; else ""."""
    best = best_k(points)
    return other_k(best.step.k if best is not None else None, found.choices.get(pair_key(points[0].step)))


def _ranked(drawn: list[list[CurvePoint]], found: ResultOverview) -> list[list[CurvePoint]]:
    """The best pair of every target, then the second best of each, and so on; "best" by gain over the baseline."""

    def gain(points: list[CurvePoint]) -> float:
        best, base = best_k(points), baseline_of(points[0], found.result)
        top = (finite(best.predicted_tok_s) or finite(best.measured_tok_s) or 0.0) if best is not None else 0.0
        return top / base if base else top

    by_target: dict[str, list[list[CurvePoint]]] = {}
    for points in sorted(drawn, key=gain, reverse=True):
        by_target.setdefault(points[0].step.target, []).append(points)
    placed = [(place, points) for own in by_target.values() for place, points in enumerate(own)]
    return [points for _, points in sorted(placed, key=lambda each: each[0])]


def _card(points: list[CurvePoint], found: ResultOverview, *, with_target: bool) -> list[Block]:
    """The chart of one pair, and what it says in words."""
    name, best = text.pair_name(points[0].step, with_target=with_target), best_k(points)
    baseline = baseline_of(points[0], found.result)
    other = _other_choice(points, found)
    summary = ""
    if best is not None:
        predicted = finite(best.predicted_tok_s)
        kind, tok_s = ("measured", best.measured_tok_s) if predicted is None else ("predicted", predicted)
        summary = f"best {kind}: K {k_of(best)}, {text.rate(tok_s)} tok/s"
    summary += f"; {other}" if other else ""
    off = [str(k_of(point)) for point in points if point.off]
    notes = [f"Measured off the predicted line: K {', '.join(off)}."] if off else []
    notes += [edge(points)] if edge(points) else []
    if baseline is None:
        notes.append("No baseline counts here.")
    notes += dict.fromkeys(point.reason for point in points if point.reason)
    description = f"K curve of {name}: {summary}; no draft: {text.rate(baseline)} tok/s. {' '.join(notes)}"
    choice: Recommendation | None = found.choices.get(pair_key(points[0].step))
    figure = k_curve(points, baseline, choice.k if choice is not None and other else None)
    return [Chart(figure, description, (Name(name), Below(summary))), *(Paragraph(note, "note") for note in notes)]


def _predicted_and_measured(pairs: dict[Step, list[CurvePoint]], found: ResultOverview) -> list[Block]:
    """In Markdown: predicted against measured for every K that has both, and the best prediction of each pair."""
    rows: list[Row] = []
    notes: list[Words] = []
    for points in pairs.values():
        predicted = [point for point in points if finite(point.predicted_tok_s) is not None]
        if not predicted:
            continue
        name = text.pair_name(points[0].step, with_target=True)
        best = max(predicted, key=lambda point: finite(point.predicted_tok_s) or 0.0)
        rows += [
            Row([name, *_figures(point, f"{'> ' if point is best else ''}{k_of(point)}", " !", "{:.1f}")])
            for point in predicted
            if finite(point.measured_tok_s) is not None or point is best
        ]
        other = other_k(best.step.k, found.choices.get(pair_key(points[0].step)))
        notes += [f"{name}: best predicted K = {k_of(best)}, {other}."] if other else []
        notes += [f"{name}: {edge(points)}"] if edge(points) else []
    if not rows:
        return []
    columns = (
        ReportColumn("pair", is_number=False),
        *map(ReportColumn, ("K", "predicted tok/s", "95 % interval", "measured tok/s", "95 % interval", "off by", "n")),
    )
    marks = "The best predicted K of each pair is marked >, a point off the predicted line by more than its interval !."
    return [ReportTable("", columns, rows), Bullets([marks, text.FROM_ITSELF, *notes])]


# -- acceptance -------------------------------------------------------------------------------------------------------


def acceptance_section(found: ResultOverview) -> Section:
    """How many draft tokens survive at each position: a chart for each target, a line for each draft."""
    cards: list[list[Block]] = []
    for target in found.result.targets:
        lines = _longest(found.of_target(target))
        if not lines:
            continue
        shown = lines[:MOST_LINES]
        first = ", ".join(
            f"{text.arm_name(arm.step)} {text.share((arm.accepted_per_position or [None])[0])} at the first"
            for arm in shown
        )
        card: list[Block] = [
            Chart(acceptance_chart(shown), f"Acceptance by draft position on {target}: {first}", Name(target))
        ]
        if len(lines) > MOST_LINES:
            card.append(Paragraph(f"The {MOST_LINES} fastest pairs of {len(lines)} are drawn.", "note"))
        cards.append(card)
    title = "Acceptance by position"
    if not cards:
        why = "No server told what it accepted at which position: nothing was drafted, or the build does not say."
        return Section("acceptance", title, [Paragraph(why, "none")], contents="Acceptance", kind=HTML)
    lead = (
        "The share of steps that kept at least so many drafted tokens, each pair at the largest K it was measured at. "
        "High acceptance alone makes nothing fast: a slow draft can lose with it."
    )
    blocks: list[Block] = [Paragraph(lead, "lead"), Cards(cards, "cards wide")]
    return Section("acceptance", title, blocks, contents="Acceptance", kind=HTML)


def _longest(arms: Iterable[Arm]) -> list[Arm]:
    """Of each pair the arm with the largest K that knows its positions, in the order of the pairs' best rates."""
    found: dict[Step, Arm] = {}
    best: dict[Step, float] = {}
    for arm in arms:
        key = pair_key(arm.step)
        best[key] = max(best.get(key, 0.0), rate_of(arm) or 0.0)
        if arm.accepted_per_position and (key not in found or (arm.step.k or 0) > (found[key].step.k or 0)):
            found[key] = arm
    return sorted(found.values(), key=lambda arm: best[pair_key(arm.step)], reverse=True)
