"""The sections of what was measured: rates by category, whether texts are the same, how near to the memory's bound."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from specdash.analysis.figures import in_order
from specdash.analysis.lossless import Agreement
from specdash.analysis.result import RATE, Arm, Measurement, Result
from specdash.analysis.roofline import Roofline
from specdash.core.numbers import finite
from specdash.core.text import plural
from specdash.report import text
from specdash.report.arms import ResultOverview, arm_key, is_baseline, measured_n, rate_of
from specdash.report.blocks import (
    FOLDED_ROWS,
    HTML,
    MARKDOWN,
    Badge,
    Below,
    Block,
    Bullets,
    Folded,
    Heading,
    Name,
    Paragraph,
    ReportColumn,
    ReportTable,
    Row,
    Section,
    Words,
    report_columns,
)
from specdash.report.text import DASH

_Cell = Callable[[Arm | Measurement], Words]
_SPEEDS: dict[str, _Cell] = {
    "tok/s": lambda row: text.mean(row.summary.get(RATE)) + ("*" if isinstance(row, Arm) and row.missing else ""),
    "vs baseline": lambda row: text.faster(row.speedup, measured_n(row)),
    "prefill": lambda row: text.answer_times(row.summary)[0],
    "TTFT": lambda row: text.answer_times(row.summary)[1],
    "total": lambda row: text.answer_times(row.summary)[2],
    "n": lambda row: text.count_text(measured_n(row)),
}
"""The figures of an arm or a measurement, by the title of their column."""


def _named(row: Arm | Measurement) -> list[str]:
    """What names an arm of a target: its draft with the setting, and K."""
    return [text.arm_name(row.step), text.count_text(row.step.k)]


def _speeds(row: Arm | Measurement) -> list[Words]:
    return [cell(row) for cell in _SPEEDS.values()]


_SPEED_NOTES = (
    "tok/s: decoding only, mean ± standard deviation of n samples, by the server's clock where it tells the time.",
    "vs baseline: how many times as fast; the ratio of the means on the same prompts, with its 95 % interval. ≈ marks a"
    " difference inside the noise, which counts as none.",
    "prefill: prompt tokens read per second. TTFT and total: mean time to the first token, and of the whole answer.",
    "accepted: share of drafted tokens that the target kept. tok/step: tokens per pass of the target.",
)


def target_tables(target: str, found: ResultOverview) -> Section:
    """In Markdown the tables of one target: its arms over all categories, and by category."""
    result = found.result
    arms = in_order(arm for arm in result.overall if arm.step.target == target and arm.categories)
    good = in_order(row for row in result.measurements if row.step.target == target and row.status == "ok")
    facts = text.model_description(target, result)
    title = f"{target} ({facts})" if facts else target
    if not good:
        return Section("", title, [Paragraph("Nothing was measured that counts.")], kind=MARKDOWN)
    slower = found.slower_pairs(found.contenders(found.of_target(target)))
    blocks: list[Block] = [Paragraph(text.sentence(slower))] if slower else []
    categories = list(dict.fromkeys(row.step.category for row in good))
    notes = list(_SPEED_NOTES)
    if len(categories) > 1:
        rows = [
            Row(
                [
                    text.arm_name(arm.step),
                    text.count_text(arm.step.k),
                    *_speeds(arm),
                    text.accepted(arm),
                ]
            )
            for arm in arms
        ]
        blocks += [
            Heading(f"Over all {len(categories)} categories"),
            ReportTable("", report_columns(("draft",), ("K", *_SPEEDS, "accepted")), rows),
            Heading("By category"),
        ]
        notes.append("Over all categories, every sample weighs the same.")
        if any(arm.missing for arm in arms):
            notes.append(
                "* lacks categories that others have, so its tok/s is of another mix of prompts; its speedup is over"
                " the categories that it has."
            )
    by_category = [row for category in categories for row in good if row.step.category == category]
    named = [((row.step.category, *_named(row)), row) for row in by_category]
    rows = [Row([*names, *_speeds(row)]) for names, row in named]
    blocks.append(ReportTable("", report_columns(("category", "draft"), ("K", *_SPEEDS)), rows))
    drafting, more_notes = _drafting(by_category)
    blocks.append(drafting)
    blocks += [Bullets([*notes, *more_notes, *_unbound(by_category, result)]), *_differs(good)]
    return Section("", title, blocks, kind=MARKDOWN)


def _drafting(rows: Sequence[Measurement]) -> tuple[ReportTable, list[str]]:
    """What was drafted, how the machine drifted and how near to its bound each measurement came, with the notes."""
    told: dict[str, Callable[[Measurement], str]] = {
        "accepted": text.accepted,
        "tok/step": lambda row: text.rate(row.tokens_per_step),
    }
    notes = []
    if any(finite(row.drift) is not None for row in rows):
        told["drift"] = lambda row: text.change(row.drift)
        notes.append("drift: change of tok/s from a prompt's first block to its last.")
    if any(row.roofline is not None and finite(row.roofline.share) is not None for row in rows):
        told["of bound"] = lambda row: text.share(row.roofline.share if row.roofline is not None else None)
        notes.append("of bound: tok/s over what the memory can deliver, bandwidth / bytes per pass x tokens per step.")
    if any(text.is_inferred(row) for row in rows):
        notes.append(text.INFERRED_NOTE)
    cells = [
        Row(
            [
                row.step.category,
                text.arm_name(row.step),
                text.count_text(row.step.k),
                *(cell(row) for cell in told.values()),
            ]
        )
        for row in rows
    ]
    return ReportTable("", report_columns(("category", "draft"), ("K", *told)), cells), notes


def _unbound(rows: Sequence[Measurement], result: Result) -> list[str]:
    """Why measurements have no bound, and the bandwidth that the others are held against."""
    bounds = [row.roofline for row in rows if row.roofline is not None]
    lines = [f"no bound: {reason}" for reason in dict.fromkeys(bound.reason for bound in bounds if bound.reason)]
    said = text.bandwidth(result.bandwidth)
    return [*lines, said] if said and bounds else lines


_CATEGORY_COLUMNS = report_columns(
    ("category", "draft"),
    (
        "K",
        "tok/s",
        "vs baseline",
        "prefill, tok/s",
        "first token",
        "whole answer",
        "accepted",
        "tok/step",
        "n",
        "drift",
    ),
    ("verdicts",),
)


def categories(result: Result) -> Section:
    """Every measurement: a table for each target, folded where there are many."""
    names = list(dict.fromkeys(row.step.target for row in result.measurements))
    if not names:
        return Section(
            "categories", "By category", [Paragraph("No step was measured.", "none")], contents="Categories", kind=HTML
        )
    lead = (
        "tok/s: mean ± standard deviation of n samples, by the server's clock where it tells the time. vs baseline: "
        "the ratio of the means on the same prompts with its 95 % interval, ≈ inside the noise. first token and whole "
        "answer: mean times from the request on. drift: from a prompt's first block to its last."
    )
    blocks: list[Block] = [Paragraph(lead, "lead")]
    if any(text.is_inferred(row) for row in result.measurements):
        blocks.append(Paragraph(text.INFERRED_NOTE, "lead"))
    for name in names:
        own = in_order(row for row in result.measurements if row.step.target == name)
        order = list(dict.fromkeys(row.step.category for row in own))
        own.sort(key=lambda row: order.index(row.step.category))
        table = ReportTable(f"{name} by category", _CATEGORY_COLUMNS, [_measurement(row) for row in own])
        is_short = len(own) <= FOLDED_ROWS
        alone = len(names) == 1 and is_short
        blocks.append(table if alone else Folded((Name(name), f" ({len(own)})"), [table], is_open=is_short))
    return Section("categories", "By category", blocks, contents="Categories", kind=HTML)


def _measurement(row: Measurement) -> Row:
    """One step; where it has no figure the reason stands in its place."""
    cells: list[Words] = [Name(row.step.category or DASH), Name(text.arm_name(row.step)), text.count_text(row.step.k)]
    if row.status != "ok":
        return Row(cells, heads=2, span=reason_unmeasured(row), kind="bad")
    reason = row.speedup_reason
    cells += [
        text.mean(row.summary.get(RATE)),
        text.faster(row.speedup, measured_n(row)) if reason is None else Below(f"none: {reason}"),
        *text.answer_times(row.summary),
        text.accepted(row),
        text.rate(row.tokens_per_step),
        text.count_text(measured_n(row)),
        text.change(row.drift),
        ", ".join(row.verdicts),
    ]
    return Row(cells, heads=2, kind="base" if is_baseline(row) else "")


def reason_unmeasured(row: Measurement) -> str:
    """Why a step gave no figure."""
    state = f"{row.status} ({', '.join(row.verdicts)})" if row.verdicts else row.status
    return f"{state}: {row.error}" if row.error else state


# -- losslessness -----------------------------------------------------------------------------------------------------

_LOSSLESS_COLUMNS = (
    ReportColumn("target", is_number=False),
    ReportColumn("draft", is_number=False),
    ReportColumn("K"),
    ReportColumn("output", is_number=False),
    ReportColumn("prompts"),
    ReportColumn("tokens"),
    ReportColumn("first difference"),
    ReportColumn("margin, nats"),
    ReportColumn("in words", is_number=False, is_wide=True),
)
_STATES = list(text.LOSSLESS)


def losslessness(result: Result) -> Section:
    """Whether each arm says what its baseline says: the worst of its categories, broken ones first."""
    arms: dict[object, list[tuple[Measurement, Agreement]]] = {}
    for row in in_order(result.measurements):
        if row.lossless is not None:
            arms.setdefault(arm_key(row.step), []).append((row, row.lossless))
    if not arms:
        why = "Texts were not compared: this needs temperature 0, a baseline, and a build that tells the text."
        return Section("lossless", "Same words", [Paragraph(why, "none")], kind=HTML)
    worst = [(min(found, key=lambda each: _rank(each[1])), found) for found in arms.values()]
    worst.sort(key=lambda each: _rank(each[0][1]))
    counts = {state: sum(check.state == state for (_, check), _ in worst) for state in _STATES}
    said = ", ".join(f"{count} {text.LOSSLESS[state]}" for state, count in counts.items() if count)
    lead = (
        f"At temperature 0 speculation must not change a word. {plural(len(arms), 'arm')} against the baseline, token "
        f"by token: {said}. A near tie is a difference that the server's own rounding makes; an arm whose output "
        "differs is never recommended, and what is unknown bars nothing."
    )
    rows = [_lossless(row, check, [other for _, other in found]) for (row, check), found in worst]
    shown: Block = ReportTable("Losslessness of each arm", _LOSSLESS_COLUMNS, rows)
    if counts["identical"] == len(arms) or len(rows) > FOLDED_ROWS:
        shown = Folded(f"All arms ({len(rows)})", [shown])
    return Section("lossless", "Same words", [Paragraph(lead, "lead"), shown], kind=HTML)


def _rank(check: Agreement) -> int:
    return _STATES.index(check.state if check.state in _STATES else "unknown")


def _lossless(row: Measurement, check: Agreement, every: Sequence[Agreement]) -> Row:
    """The worst category of an arm, with what was compared in all of them."""
    state = check.state if check.state in text.LOSSLESS else "unknown"
    at, margin = finite(check.diverges_at), finite(check.margin)
    cells: list[Words] = [
        Name(row.step.target),
        Name(text.arm_name(row.step)),
        text.count_text(row.step.k),
        Badge(text.LOSSLESS[state], state),
        str(sum(other.prompts or 0 for other in every)),
        str(sum(other.tokens or 0 for other in every)),
        DASH if at is None else f"token {at:.0f}",
        DASH if margin is None else f"{margin:.3f}",
        check.reason,
    ]
    return Row(cells, heads=3)


def _differs(good: Sequence[Measurement]) -> list[Block]:
    """In Markdown: how many measurements say what their baseline says; those that do not by name."""
    found = [(row, row.lossless) for row in good if row.lossless is not None]
    if not found:
        return []
    states = [check.state for _, check in found]
    said = ", ".join(f"{states.count(state)} {words}" for state, words in text.LOSSLESS.items() if state in states)
    lines: list[Words] = []
    for row, check in found:
        if check.state in ("output_differs", "near_tie"):
            place = "" if check.diverges_at is None else f" at token {check.diverges_at}"
            why = f": {check.reason}" if check.reason else ""
            lines.append(f"{row.name}: {text.LOSSLESS[check.state]}{place}{why}")
    untold = [check.reason or "no reason is given" for _, check in found if _rank(check) == _STATES.index("unknown")]
    lines += [f"unknown for {untold.count(reason)}: {reason}" for reason in dict.fromkeys(untold)]
    return [
        Heading("Same words as the baseline"),
        Paragraph(f"At temperature 0, {len(found)} measurements: {said}."),
        *([Bullets(lines)] if lines else []),
    ]


# -- roofline ---------------------------------------------------------------------------------------------------------

_ROOFLINE_COLUMNS = (
    ReportColumn("target", is_number=False),
    ReportColumn("draft", is_number=False),
    ReportColumn("K"),
    ReportColumn("category", is_number=False),
    ReportColumn("tok/s"),
    ReportColumn("bound, tok/s"),
    ReportColumn("share"),
    ReportColumn("why there is none", is_number=False, is_wide=True),
)


def roofline_section(result: Result) -> Section:
    """How near each arm came to what the memory can deliver: its category with the largest share."""
    arms: dict[object, list[tuple[Measurement, Roofline]]] = {}
    for row in in_order(result.measurements):
        if row.roofline is not None:
            arms.setdefault(arm_key(row.step), []).append((row, row.roofline))
    title, said = "Against the memory's bound", text.bandwidth(result.bandwidth)
    if not arms:
        none = Paragraph("No bound was worked out: the memory bandwidth was not measured.", "none")
        return Section("roofline", title, [Paragraph(said) if said else none], contents="Bound", kind=HTML)
    best = [max(found, key=lambda each: finite(each[1].share) or -1.0) for found in arms.values()]
    targets = list(result.targets)
    best.sort(key=lambda each: targets.index(each[0].step.target) if each[0].step.target in targets else len(targets))
    lead = (
        "A pass of the target reads its weights once, so tok/s cannot exceed bandwidth / bytes per pass x tokens per "
        f"step. {said}"
    )
    rows = [_bound(row, bound) for row, bound in best]
    shown: Block = ReportTable("Rates and bounds", _ROOFLINE_COLUMNS, rows)
    if len(rows) > FOLDED_ROWS:
        shown = Folded(f"All arms ({len(rows)})", [shown])
    return Section("roofline", title, [Paragraph(lead, "lead"), shown], contents="Bound", kind=HTML)


def _bound(row: Measurement, bound: Roofline) -> Row:
    """One arm in the category in which it came nearest to its bound."""
    cells: list[Words] = [
        Name(row.step.target),
        Name(text.arm_name(row.step)),
        text.count_text(row.step.k),
        Name(row.step.category or DASH),
        text.rate(rate_of(row)),
        text.rate(bound.bound_tok_s),
        text.share(bound.share),
        bound.reason,
    ]
    return Row(cells, heads=3, kind="bad" if "impossible" in row.verdicts else "")
