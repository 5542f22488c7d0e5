"""A result as a report: its answers, its warnings and its sections, the same for every renderer.

Where there is no data a section has a sentence that says why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from specdash.analysis.lossless import Agreement
from specdash.analysis.pass_drift import Anchor
from specdash.analysis.result import ALL, RATE, Arm, Load, Measurement, Recommendation, Result
from specdash.analysis.roofline import Roofline
from specdash.core.measure import DESCRIPTION, Verdict
from specdash.core.numbers import finite
from specdash.core.secrets import shell_line
from specdash.core.text import human_bytes, human_seconds, plural
from specdash.report import text
from specdash.report.arms import (
    Overview,
    arm_of,
    in_order,
    is_baseline,
    measured_n,
    rate_of,
    speedup_of,
)
from specdash.report.chart_sections import acceptances, curves, heatmap, speed
from specdash.report.model import (
    FOLDED_ROWS,
    HTML,
    MARKDOWN,
    Answer,
    Badge,
    Below,
    Block,
    Bullets,
    Column,
    Commands,
    Facts,
    Folded,
    Heading,
    Name,
    Only,
    Paragraph,
    Report,
    Row,
    Section,
    Strong,
    Table,
    Words,
)
from specdash.report.text import DASH

HELD = {True: "held", False: "did not hold"}
FOLDED_LOADS = 12
LAYERS, CONTEXT = ("-ngl", "--gpu-layers", "--n-gpu-layers"), ("-c", "--ctx-size")


def report_of(result: Result) -> Report:
    """The report of a result."""
    found = Overview.of(result)
    chosen = text.ordered(result.recommendations)
    answers = [_answer(each) for each in chosen if each.category == ALL]
    return Report(
        title=text.title(result.run),
        run=str(result.run.id),
        state=text.when(result.run),
        served=_served(result),
        answers=answers,
        fallback=() if answers else _fastest(found),
        warnings=_warnings(result),
        sections=(
            _recommendations(chosen),
            speed(found),
            heatmap(found),
            *(_target(target, found) for target in result.targets),
            curves(found),
            acceptances(found),
            _categories(result),
            _losslessness(result),
            _roofline(result),
            _drift(result),
            _rules(result),
            _loads(result),
            _not_counted(result),
            _environment(result),
            _verdicts(result),
        ),
    )


# -- the top: what to use, and what to be careful about ---------------------------------------------------------------


def _answer(each: Recommendation) -> Answer:
    """The recommendation for one target over all categories."""
    choice: str | tuple[str | Name, ...] = text.chosen(each)
    if each.choice is not None and each.speculates and not each.off:
        choice = _pair(each.choice.drafter or "", each.k)
    return Answer(
        subject=text.subject(each.baseline),
        choice=choice,
        said=text.sentence(text.advice(each)),
        remark=text.remark(each),
        tied=text.tied(each) if each.tied else "",
        command=each.command or "",
    )


def _pair(drafter: str, k: int | None) -> tuple[str | Name, ...]:
    return (Name(drafter), "" if k is None else f", K\u00a0=\u00a0{k}")


def _fastest(found: Overview) -> list[Block]:
    """What was fastest on each target, where the result has no recommendation."""
    rows: list[Words] = []
    for target in found.result.targets:
        arms = found.contenders(arm for arm in found.of_target(target) if not found.refuted(arm))
        if not arms:
            rows.append((Name(target), ": nothing was measured that counts."))
            continue
        first = arms[0]
        tok_s = f"{text.rate(rate_of(first))} tok/s"
        if is_baseline(first):
            rows.append((Name(target), f": no draft was faster than none ({tok_s})."))
            continue
        times = "" if speedup_of(first) is None else f", {text.ratio(speedup_of(first))} times the baseline"
        pair = _pair(text.drafter(first.step), first.step.k)
        rows.append((Name(target), ": ", *pair, f" was the fastest measured, at {tok_s}{times}."))
    if not rows:
        return [Paragraph("Nothing was measured, so there is nothing to recommend.")]
    return [Paragraph("There is no recommendation in this result; what was seen is this:"), Bullets(rows)]


def _served(result: Result) -> str:
    """In one line what a figure depends on most: the build, the layers on a GPU, and the size of the context."""
    parts = [text.build(result.engine)]
    for names in (LAYERS, CONTEXT):
        pairs = (pair for load in result.loads for pair in pairwise(load.argv or ()))
        values = dict.fromkeys(after for word, after in pairs if word in names)
        parts += [f"{names[0]} {', '.join(values)}"] if values else []
    return "; ".join(parts) if parts != ["unknown"] else ""


def _warnings(result: Result) -> list[str]:
    """What a reader has to know before believing a number."""
    found: list[str] = []
    if any(model.synthetic for model in result.models):
        found.append("The weights are synthetic: their text means nothing, and no real model is this fast.")
    if result.unfinished:
        found.append(f"{plural(len(result.unfinished), 'step is', 'steps are')} not measured yet.")
    if result.measurements and not any(row.status == "ok" for row in result.measurements):
        found.append("No step gave a figure that counts: the reasons are under categories and loads.")
    imported = result.imported
    if imported is not None:
        lack = text.without_samples(imported)
        doubt = f": {lack}, and a small difference may be none." if lack else "."
        found += [f"These are results of {imported.tool}, read from {imported.file}{doubt}", *imported.notes]
    notes = dict.fromkeys(note.text or "" for note in result.notes if note.level in ("warning", "error"))
    return [*found, *(text.sentence(note) for note in notes if "weights are synthetic" not in note)]  # said above


# -- recommendations --------------------------------------------------------------------------------------------------


def _recommendations(found: Sequence[Recommendation]) -> Section:
    """The table for every target and category, and the commands."""
    if not found:
        why = "There are none: nothing was measured that could be compared, or the file comes from an older version."
        return Section("recommendations", "Recommendations", [Only(HTML, [Paragraph(why, "none")])])
    reasons = {each.reason for each in found}
    once = reasons.pop() if len(found) > 1 and len(reasons) == 1 else ""
    lead = (
        "Regret: by how much the fastest alternative's mean is ahead of the choice. Arms that cannot be told "
        "from the fastest and are at most 1 % slower tie; the smaller K, then the smaller draft wins. An interval "
        f"that holds 1 proves nothing. {text.sentence(text.WHOLE_ANSWER_NOTE)}"
    )
    html: list[Block] = [Paragraph(lead, "lead")]
    html += [Paragraph(f"For all of them: {text.sentence(once)}", "lead")] if once else []
    html.append(Table("Recommendations by target and category", _CHOICES, [_choice(each, once) for each in found]))
    commands = {each.command: f"{text.subject(each.baseline)}: {text.chosen(each)}" for each in reversed(found)}
    lines = [each for each in dict.fromkeys(each.command for each in found) if each]
    if lines:
        html.append(Folded(f"Commands ({len(lines)})", [Commands(lines, [commands[line] for line in lines])]))
    markdown: list[Block] = [
        Table("", _SHORT_CHOICES, [_short_choice(each) for each in found]),
        Bullets(
            [
                text.WHOLE_ANSWER_NOTE,
                "regret: by how much the mean of the fastest alternative is ahead of the choice.",
            ]
        ),
    ]
    return Section("recommendations", "Recommendations", [Only(HTML, html), Only(MARKDOWN, markdown)])


_CHOICES = (
    Column("target", is_number=False),
    Column("category", is_number=False),
    Column("draft", is_number=False),
    Column("K"),
    Column("speedup"),
    Column("tok/s"),
    Column("answers"),
    Column("regret"),
    Column("why", is_number=False, is_wide=True),
)
_SHORT_CHOICES = (
    *(Column(title, is_number=False) for title in ("target", "use", "category")),
    *(Column(title) for title in ("speedup", "95 % interval", "tok/s", "answers", "regret")),
)


def _choice(each: Recommendation, once: str) -> Row:
    """One recommendation, its reason left out where it is said `once`; the row of "all" stands out."""
    settings, name = text.setting(each.baseline), text.chosen(each)
    if each.choice is not None and each.speculates and not each.off:
        name = text.drafter(each.choice)
    answers, answers_ci = text.whole_answer_change(each), text.whole_answer_interval(each)
    reason = "" if once else text.sentence(each.reason)
    other = f"Not told apart from: {text.tied(each)}." if each.tied else ""
    cells: list[Words] = [
        (Name(each.baseline.target), Below(Name(settings))) if settings else Name(each.baseline.target),
        Name(each.category),
        Name(name),
        _k(each.k),
        _over(text.ratio(each.speedup), text.interval(each.ci95)),
        text.rate(each.tok_s),
        _over(answers, answers_ci if answers_ci == DASH else f"{answers_ci} %"),
        _over(text.share(each.regret, 1), text.regret_interval(each)),
        " ".join(filter(None, (reason, other))) or DASH,
    ]
    return Row(cells, heads=2, kind="all" if each.category == ALL else "")


def _short_choice(each: Recommendation) -> Row:
    return Row(
        [
            text.subject(each.baseline),
            text.chosen(each),
            each.category,
            text.ratio(each.speedup),
            text.interval(each.ci95),
            text.rate(each.tok_s),
            text.whole_answer_change(each),
            text.share(each.regret, 1),
        ]
    )


def _over(value: str, below: str) -> Words:
    """A value with its interval under it."""
    return (value, Below(below)) if below != DASH else value


def _k(k: int | None) -> str:
    return DASH if k is None else str(k)


# -- what was measured ------------------------------------------------------------------------------------------------

_Cell = Callable[[Arm | Measurement], Words]
_SPEEDS: dict[str, _Cell] = {
    "tok/s": lambda row: text.mean(row.summary.get(RATE)) + ("*" if isinstance(row, Arm) and row.missing else ""),
    "vs baseline": lambda row: text.faster(row.speedup, measured_n(row)),
    "prefill": lambda row: text.answer_times(row.summary)[0],
    "TTFT": lambda row: text.answer_times(row.summary)[1],
    "total": lambda row: text.answer_times(row.summary)[2],
    "n": lambda row: text.whole(measured_n(row)),
}
"""The figures of an arm or a measurement, by the title of their column."""


def _speeds(row: Arm | Measurement) -> list[Words]:
    return [cell(row) for cell in _SPEEDS.values()]


_SPEED_NOTES = (
    "tok/s: decoding only, mean ± standard deviation of n samples, by the server's clock where it tells the time.",
    "vs baseline: how many times as fast; the ratio of the means on the same prompts, with its 95 % interval. ≈ marks a"
    " difference inside the noise, which counts as none.",
    "prefill: prompt tokens read per second. TTFT and total: mean time to the first token, and of the whole answer.",
    "accepted: share of drafted tokens that the target kept. tok/step: tokens per pass of the target.",
)


def _target(target: str, found: Overview) -> Section:
    """In Markdown the tables of one target: its arms over all categories, and by category."""
    result = found.result
    arms = in_order(arm for arm in result.overall if arm.step.target == target and arm.categories)
    good = in_order(row for row in result.measurements if row.step.target == target and row.status == "ok")
    facts = text.about(target, result)
    title = f"{target} ({facts})" if facts else target
    if not good:
        return Section("", title, [Paragraph("Nothing was measured that counts.")], kind=MARKDOWN)
    slower = found.slower_pairs(found.contenders(found.of_target(target)))
    blocks: list[Block] = [Paragraph(text.sentence(slower))] if slower else []
    categories = list(dict.fromkeys(row.step.category for row in good))
    notes = list(_SPEED_NOTES)
    if len(categories) > 1:
        columns = _columns(("draft",), ("K", *_SPEEDS, "accepted"))
        rows = [
            Row(
                [text.arm_name(arm.step), _k(arm.step.k), *(cell(arm) for cell in _SPEEDS.values()), text.accepted(arm)]
            )
            for arm in arms
        ]
        blocks += [Heading(f"Over all {len(categories)} categories"), Table("", columns, rows), Heading("By category")]
        notes.append("Over all categories, every sample weighs the same.")
        if any(arm.missing for arm in arms):
            notes.append(
                "* lacks categories that others have, so its tok/s is of another mix of prompts; its speedup is over"
                " the categories that it has."
            )
    by_category = [row for category in categories for row in good if row.step.category == category]
    named = [((row.step.category, text.arm_name(row.step), _k(row.step.k)), row) for row in by_category]
    rows = [Row([*names, *_speeds(row)]) for names, row in named]
    blocks.append(Table("", _columns(("category", "draft"), ("K", *_SPEEDS)), rows))
    drafting, more_notes = _drafting(by_category)
    blocks.append(drafting)
    blocks += [Bullets([*notes, *more_notes, *_unbound(by_category, result)]), *_differs(good)]
    return Section("", title, blocks, kind=MARKDOWN)


def _columns(texts: Sequence[str], numbers: Sequence[str]) -> list[Column]:
    return [*(Column(title, is_number=False) for title in texts), *(Column(title) for title in numbers)]


def _drafting(rows: Sequence[Measurement]) -> tuple[Table, list[str]]:
    """What was drafted, how the machine drifted and how near to its bound each measurement came, with the notes."""
    columns: dict[str, Callable[[Measurement], str]] = {
        "accepted": text.accepted,
        "tok/step": lambda row: text.rate(row.tokens_per_step),
    }
    notes = []
    if any(finite(row.drift) is not None for row in rows):
        columns["drift"] = lambda row: text.change(row.drift)
        notes.append("drift: change of tok/s from a prompt's first block to its last.")
    if any(row.roofline is not None and finite(row.roofline.share) is not None for row in rows):
        columns["of bound"] = lambda row: text.share(row.roofline.share if row.roofline is not None else None)
        notes.append("of bound: tok/s over what the memory can deliver, bandwidth / bytes per pass x tokens per step.")
    if any(text.is_inferred(row) for row in rows):
        notes.append(text.INFERRED_NOTE)
    cells = [
        Row([row.step.category, text.arm_name(row.step), _k(row.step.k), *(cell(row) for cell in columns.values())])
        for row in rows
    ]
    return Table("", _columns(("category", "draft"), ("K", *columns)), cells), notes


def _unbound(rows: Sequence[Measurement], result: Result) -> list[str]:
    """Why measurements have no bound, and the bandwidth that the others are held against."""
    bounds = [row.roofline for row in rows if row.roofline is not None]
    lines = [f"no bound: {reason}" for reason in dict.fromkeys(bound.reason for bound in bounds if bound.reason)]
    said = text.bandwidth(result.bandwidth)
    return [*lines, said] if said and bounds else lines


_CATEGORY_COLUMNS = (
    Column("category", is_number=False),
    Column("draft", is_number=False),
    Column("K"),
    Column("tok/s"),
    Column("vs baseline"),
    Column("prefill, tok/s"),
    Column("first token"),
    Column("whole answer"),
    Column("accepted"),
    Column("tok/step"),
    Column("n"),
    Column("drift"),
    Column("verdicts", is_number=False, is_wide=True),
)


def _categories(result: Result) -> Section:
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
        table = Table(f"{name} by category", _CATEGORY_COLUMNS, [_measurement(row) for row in own])
        is_short = len(own) <= FOLDED_ROWS
        alone = len(names) == 1 and is_short
        blocks.append(table if alone else Folded((Name(name), f" ({len(own)})"), [table], is_open=is_short))
    return Section("categories", "By category", blocks, contents="Categories", kind=HTML)


def _measurement(row: Measurement) -> Row:
    """One step; where it has no figure the reason stands in its place."""
    cells: list[Words] = [Name(row.step.category or DASH), Name(text.arm_name(row.step)), _k(row.step.k)]
    if row.status != "ok":
        return Row(cells, heads=2, span=_why(row), kind="bad")
    reason = row.speedup_reason
    cells += [
        text.mean(row.summary.get(RATE)),
        text.faster(row.speedup, measured_n(row)) if reason is None else Below(f"none: {reason}"),
        *text.answer_times(row.summary),
        text.accepted(row),
        text.rate(row.tokens_per_step),
        text.whole(measured_n(row)),
        text.change(row.drift),
        ", ".join(row.verdicts),
    ]
    return Row(cells, heads=2, kind="base" if is_baseline(row) else "")


def _why(row: Measurement) -> str:
    """Why a step gave no figure."""
    state = f"{row.status} ({', '.join(row.verdicts)})" if row.verdicts else row.status
    return f"{state}: {row.error}" if row.error else state


# -- losslessness -----------------------------------------------------------------------------------------------------

_LOSSLESS_COLUMNS = (
    Column("target", is_number=False),
    Column("draft", is_number=False),
    Column("K"),
    Column("output", is_number=False),
    Column("prompts"),
    Column("tokens"),
    Column("first difference"),
    Column("margin, nats"),
    Column("in words", is_number=False, is_wide=True),
)
_STATES = list(text.LOSSLESS)


def _losslessness(result: Result) -> Section:
    """Whether each arm says what its baseline says: the worst of its categories, broken ones first."""
    arms: dict[object, list[tuple[Measurement, Agreement]]] = {}
    for row in in_order(result.measurements):
        if row.lossless is not None:
            arms.setdefault(arm_of(row.step), []).append((row, row.lossless))
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
    shown: Block = Table("Losslessness of each arm", _LOSSLESS_COLUMNS, rows)
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
        _k(row.step.k),
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
    Column("target", is_number=False),
    Column("draft", is_number=False),
    Column("K"),
    Column("category", is_number=False),
    Column("tok/s"),
    Column("bound, tok/s"),
    Column("share"),
    Column("why there is none", is_number=False, is_wide=True),
)


def _roofline(result: Result) -> Section:
    """How near each arm came to what the memory can deliver: its category with the largest share."""
    arms: dict[object, list[tuple[Measurement, Roofline]]] = {}
    for row in in_order(result.measurements):
        if row.roofline is not None:
            arms.setdefault(arm_of(row.step), []).append((row, row.roofline))
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
    shown: Block = Table("Rates and bounds", _ROOFLINE_COLUMNS, rows)
    if len(rows) > FOLDED_ROWS:
        shown = Folded(f"All arms ({len(rows)})", [shown])
    return Section("roofline", title, [Paragraph(lead, "lead"), shown], contents="Bound", kind=HTML)


def _bound(row: Measurement, bound: Roofline) -> Row:
    """One arm in the category in which it came nearest to its bound."""
    cells: list[Words] = [
        Name(row.step.target),
        Name(text.arm_name(row.step)),
        _k(row.step.k),
        Name(row.step.category or DASH),
        text.rate(rate_of(row)),
        text.rate(bound.bound_tok_s),
        text.share(bound.share),
        bound.reason,
    ]
    return Row(cells, heads=3, kind="bad" if "impossible" in row.verdicts else "")


# -- rules, loads and time --------------------------------------------------------------------------------------------

_RULE_COLUMNS = (
    Column("rule", is_number=False, is_wide=True),
    Column("from", is_number=False, is_wide=True),
    Column("here", is_number=False),
    Column("evidence", is_number=False, is_wide=True),
)
_LOAD_COLUMNS = (
    Column("load", is_number=False),
    Column("target", is_number=False),
    Column("draft", is_number=False),
    Column("K at start"),
    Column("load time"),
    Column("peak memory"),
    Column("state", is_number=False, is_wide=True),
)


def _rules(result: Result) -> Section:
    """Rules of thumb, and whether they held on this machine."""
    if not result.rules:
        why = "None could be tested: they need several drafts, Ks or categories that count."
        return Section("rules", "Rules of thumb", [Only(HTML, [Paragraph(why, "none")])], contents="Rules")
    judged = [(rule, rule.held) for rule in result.rules if rule.held is not None]
    untested = "; ".join(f"{rule.rule}{f' ({rule.source})' if rule.source else ''}"
                         for rule in result.rules if rule.held is None)  # fmt: skip
    rows = [
        Row([str(rule.rule), rule.source or DASH, Badge(HELD[held], str(held).lower()), rule.evidence or ""])
        for rule, held in judged
    ]
    html: list[Block] = [Table("Rules of thumb and whether they held", _RULE_COLUMNS, rows)] if rows else []
    html += [Paragraph(f"Not tested here: {untested}.", "note")] if untested else []
    lines: list[Words] = [
        f"{HELD[held]}: {rule.rule}{f' ({rule.source})' if rule.source else ''}"
        f"{f': {rule.evidence}' if rule.evidence else ''}"
        for rule, held in judged
    ]
    lines += [f"not tested: {untested}"] if untested else []
    return Section("rules", "Rules of thumb", [Only(HTML, html), Only(MARKDOWN, [Bullets(lines)])], contents="Rules")


def _drift(result: Result) -> Section:
    """In Markdown: how far the baselines moved between the passes."""
    shown = _anchors(result.anchors, "baseline of")
    blocks = [Table("", shown.columns[:-1], [Row(row.cells[:-1]) for row in shown.rows])] if result.anchors else []
    return Section("", "Drift between the passes", blocks, kind=MARKDOWN)


def _anchors(anchors: Sequence[Anchor], title: str) -> Table:
    """The baselines of both passes side by side."""
    columns = _columns((title,), ("first pass, tok/s", "second pass, tok/s", "moved", "n"))
    rows = [
        Row(
            [
                Name(text.subject(each.baseline)),
                text.rate(each.first_tok_s),
                text.rate(each.last_tok_s),
                text.change(each.moved),
                text.whole(each.n),
            ]
        )
        for each in anchors
    ]
    return Table("Anchors", columns, rows)


def _loads(result: Result) -> Section:
    """What it took: loads, time, the stages of the plan, and how far the machine moved meanwhile."""
    said = _effort(result)
    blocks: list[Block] = [Paragraph(said)] if said else []
    blocks += [Paragraph(text.sentence(each)) for each in text.disturbances(result)]
    if result.plan:
        stages = [f"{each.stage}: {each.reason or DASH}" for each in result.plan]
        blocks += [Heading("How the plan went"), Bullets(stages)]
    if result.anchors:
        blocks += [Heading("Drift of the baselines between the passes"), _anchors(result.anchors, "target")]
    if result.loads:
        shown = Table("Server loads", _LOAD_COLUMNS, [_load(each) for each in result.loads])
        is_short = len(result.loads) <= FOLDED_LOADS
        blocks.append(shown if is_short else Folded(f"All loads ({len(result.loads)})", [shown]))
    elif result.imported is None:
        blocks.append(Paragraph("No server was started.", "none"))
    else:
        blocks.append(Paragraph("The imported file tells nothing of loads.", "none"))
    return Section("loads", "Loads and time spent", blocks, contents="Loads", kind=HTML)


def _effort(result: Result) -> str:
    """What the answer cost, against asking step by step."""
    effort = result.effort
    load_s, measuring_s = finite(effort.load_time_s), finite(effort.measuring_s)
    parts = [] if effort.loads is None else [plural(effort.loads, "load")]
    parts += [f"{human_seconds(load_s)} of loading"] if load_s is not None else []
    parts += [f"{human_seconds(measuring_s)} of measuring"] if measuring_s is not None else []
    if not parts:
        return ""
    running_s, other = finite(result.run.running_s), effort.step_by_step_loads
    if running_s is not None:
        parts.append(f"{human_seconds(running_s)} in all, without the time in which the run was stopped")
    tail = f" One server start for every pair and K would have taken {other}." if other else ""
    return f"{', '.join(parts)}.{tail}"


def _load(each: Load) -> Row:
    """One server start."""
    load_s, peak = finite(each.load_time_s), each.peak_rss_bytes
    why = " ".join(filter(None, (each.error, each.hint)))
    cells: list[Words] = [
        Name(each.id),
        Name(text.subject(each.key)),
        Name(each.key.drafter or DASH),
        _k(each.key.k),
        DASH if load_s is None else human_seconds(load_s),
        DASH if peak is None else human_bytes(peak),
        f"{each.state}: {why}" if why else each.state or DASH,
    ]
    return Row(cells, kind="bad" if why else "")


def _not_counted(result: Result) -> Section:
    """In Markdown: loads and steps without a figure, and why."""
    lines = [
        f"load {each.id}, {each.key.target}: {' '.join(filter(None, (each.error, each.hint)))}"
        for each in result.loads
        if each.error
    ]
    for row in result.measurements:
        if row.status != "ok":
            lines.append(f"{row.name}: {_why(row)}")
        elif row.speedup_reason is not None:
            lines.append(f"{row.name}: no speedup, {row.speedup_reason}")
    return Section("", "Not counted", [Bullets(lines)] if lines else [], kind=MARKDOWN)


# -- environment and verdicts -----------------------------------------------------------------------------------------


def _environment(result: Result) -> Section:
    """What the figures belong to: machine, build, models, settings, and the commands of the servers."""
    run, imported = result.run, result.imported
    scope = text.k_scope(result.engine.capabilities.k_scope)
    build = text.build(result.engine) + (f"; {scope}" if scope else "")
    digest = result.settings.prompts_digest
    models = [f"{name} ({facts})" if (facts := text.about(name, result)) else name for name in result.targets]
    pairs = [
        ("hardware", text.machine(run.hardware)),
        ("host", run.host),
        ("build", build),
        ("program", result.engine.program),
        ("targets", "; ".join(models)),
        ("settings", text.settings_text(result.settings)),
        ("prompts", f"digest {digest}" if digest else None),
        ("memory", text.bandwidth(result.bandwidth)),
        ("imported", f"{imported.tool}: {imported.file}" if imported is not None else None),
        ("specdash", run.specdash_version),
        ("run", run.id),
    ]
    html: list[Block] = [Facts([(name, said) for name, said in pairs if said])]
    lines = [
        f"build: {build}",
        f"hardware: {text.machine(run.hardware)}",
        f"settings: {text.settings_text(result.settings)}{f', prompts_digest {digest}' if digest else ''}",
        *text.disturbances(result),
    ]
    if imported is not None:
        lines.append(f"imported from {imported.tool}: {imported.file}")
    else:
        lines.append(f"specdash {run.specdash_version}: specdash --headless profile.toml, with the profile in the run"
                     " folder")  # fmt: skip
    markdown: list[Block] = [Bullets(lines)]
    commands = list(dict.fromkeys(shell_line(each.argv) for each in result.loads if each.argv))
    if commands:
        html.append(Folded(f"Servers were started as ({len(commands)})", [Commands(commands)]))
        markdown += [Paragraph("Servers were started as:"), Commands(commands)]
    if run.id and imported is None:
        html.append(Paragraph("Run again: specdash --headless profile.toml, with the profile in the run's folder."))
    blocks = [Only(HTML, html), Only(MARKDOWN, markdown)]
    return Section("environment", "Environment", blocks, markdown_title="How it was measured")


def _verdicts(result: Result) -> Section:
    """What the verdicts mean that occur in this result."""
    names = dict.fromkeys(name for row in result.rows for name in row.verdicts)
    found = [Verdict(name) for name in names if name in set(Verdict)]
    if not found:
        none = Paragraph("Nothing was found against any measurement.", "none")
        return Section("verdicts", "Verdicts", [Only(HTML, [none])])
    return Section(
        "verdicts", "Verdicts", [Bullets([(Strong(each.value), f": {DESCRIPTION[each]}") for each in found])]
    )
