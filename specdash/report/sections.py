"""A result as a report: its answers, its warnings and its sections, the same for every renderer.

Where there is no data a section has a sentence that says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from specdash.analysis.pass_drift import Anchor
from specdash.analysis.result import Load, Recommendation, Result
from specdash.core.measure import DESCRIPTION, Verdict
from specdash.core.numbers import finite
from specdash.core.profile import ALL
from specdash.core.secrets import shell_line
from specdash.core.text import human_bytes, human_seconds, plural
from specdash.report import text
from specdash.report.arms import (
    ResultOverview,
    is_baseline,
    rate_of,
    speedup_of,
)
from specdash.report.blocks import (
    HTML,
    MARKDOWN,
    Answer,
    Badge,
    Below,
    Block,
    Bullets,
    Code,
    Commands,
    Facts,
    Folded,
    Heading,
    Name,
    Only,
    Paragraph,
    Report,
    ReportColumn,
    ReportTable,
    Row,
    Section,
    Strong,
    Words,
    report_columns,
)
from specdash.report.chart_sections import acceptance_section, heatmap_section, k_curves_section, speed_section
from specdash.report.measured_sections import (
    categories,
    losslessness,
    reason_unmeasured,
    roofline_section,
    target_tables,
)
from specdash.report.text import DASH

HELD = {True: "held", False: "did not hold"}
FOLDED_LOADS = 12
LAYERS, CONTEXT = ("-ngl", "--gpu-layers", "--n-gpu-layers"), ("-c", "--ctx-size")


def report_of(result: Result) -> Report:
    """The report of a result."""
    found = ResultOverview.of(result)
    chosen = text.ordered(result.recommendations)
    answers = [_answer(each) for each in chosen if each.category == ALL]
    return Report(
        title=text.report_title(result.run),
        run=str(result.run.id),
        state=text.run_end_text(result.run),
        served=_served(result),
        answers=answers,
        fallback=() if answers else _fastest(found),
        warnings=_warnings(result),
        sections=(
            _recommendations(chosen),
            speed_section(found),
            heatmap_section(found),
            *(target_tables(target, found) for target in result.targets),
            k_curves_section(found),
            acceptance_section(found),
            categories(result),
            losslessness(result),
            roofline_section(result),
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
    choice: str | tuple[str | Name, ...] = text.chosen_text(each)
    if each.choice is not None and each.speculates and not each.off:
        choice = _pair(each.choice.drafter or "", each.k)
    return Answer(
        subject=text.subject(each.baseline),
        choice=choice,
        said=text.sentence(text.recommendation_sentence(each)),
        remark=text.remark(each),
        tied=text.tied(each) if each.tied else "",
        command=each.command or "",
    )


def _pair(drafter: str, k: int | None) -> tuple[str | Name, ...]:
    return (Name(drafter), "" if k is None else f", K\u00a0=\u00a0{k}")


def _fastest(found: ResultOverview) -> list[Block]:
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
    html.append(
        ReportTable("Recommendations by target and category", _CHOICES, [_choice(each, once) for each in found])
    )
    commands = {each.command: f"{text.subject(each.baseline)}: {text.chosen_text(each)}" for each in reversed(found)}
    lines = [each for each in dict.fromkeys(each.command for each in found) if each]
    if lines:
        html.append(Folded(f"Commands ({len(lines)})", [Commands(lines, [commands[line] for line in lines])]))
    markdown: list[Block] = [
        ReportTable("", _SHORT_CHOICES, [_short_choice(each) for each in found]),
        Bullets(
            [
                text.WHOLE_ANSWER_NOTE,
                "regret: by how much the mean of the fastest alternative is ahead of the choice.",
            ]
        ),
    ]
    return Section("recommendations", "Recommendations", [Only(HTML, html), Only(MARKDOWN, markdown)])


_CHOICES = report_columns(("target", "category", "draft"), ("K", "speedup", "tok/s", "answers", "regret"), ("why",))
_SHORT_CHOICES = (
    *(ReportColumn(title, is_number=False) for title in ("target", "use", "category")),
    *(ReportColumn(title) for title in ("speedup", "95 % interval", "tok/s", "answers", "regret")),
)


def _choice(each: Recommendation, once: str) -> Row:
    """One recommendation, its reason left out where it is said `once`; the row of "all" stands out."""
    settings, name = text.setting(each.baseline), text.chosen_text(each)
    if each.choice is not None and each.speculates and not each.off:
        name = text.drafter(each.choice)
    answers, answers_ci = text.whole_answer_change(each), text.whole_answer_interval(each)
    reason = "" if once else text.sentence(each.reason)
    other = f"Not told apart from: {text.tied(each)}." if each.tied else ""
    cells: list[Words] = [
        (Name(each.baseline.target), Below(Name(settings))) if settings else Name(each.baseline.target),
        Name(each.category),
        Name(name),
        text.count_text(each.k),
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
            text.chosen_text(each),
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


# -- rules, loads and time --------------------------------------------------------------------------------------------

_RULE_COLUMNS = (
    ReportColumn("rule", is_number=False, is_wide=True),
    ReportColumn("from", is_number=False, is_wide=True),
    ReportColumn("here", is_number=False),
    ReportColumn("evidence", is_number=False, is_wide=True),
)
_LOAD_COLUMNS = report_columns(("load", "target", "draft"), ("K at start", "load time", "peak memory"), ("state",))


def _rules(result: Result) -> Section:
    """Rules of thumb, and whether they held on this machine."""
    if not result.rules:
        why = "None could be tested: they need several drafts, Ks or categories that count."
        return Section("rules", "Rules of thumb", [Only(HTML, [Paragraph(why, "none")])], contents="Rules")
    judged = [(rule, rule.held) for rule in result.rules if rule.held is not None]
    untested = [
        f"{rule.rule}{f' ({rule.source})' if rule.source else ''}" for rule in result.rules if rule.held is None
    ]
    rows = [
        Row([str(rule.rule), rule.source or DASH, Badge(HELD[held], str(held).lower()), rule.evidence or ""])
        for rule, held in judged
    ]
    html: list[Block] = [ReportTable("Rules of thumb and whether they held", _RULE_COLUMNS, rows)] if rows else []
    html += [Paragraph(f"Not tested here: {'; '.join(untested)}.", "note")] if untested else []
    lines: list[Words] = [
        f"{HELD[held]}: {rule.rule}{f' ({rule.source})' if rule.source else ''}"
        f"{f': {rule.evidence}' if rule.evidence else ''}"
        for rule, held in judged
    ]
    # Part by part: a renderer may cut a long text.
    parts = [part for each in untested for part in ("; ", each)]
    lines += [("not tested: ", *parts[1:])] if untested else []
    return Section("rules", "Rules of thumb", [Only(HTML, html), Only(MARKDOWN, [Bullets(lines)])], contents="Rules")


def _drift(result: Result) -> Section:
    """In Markdown: how far the baselines moved between the passes."""
    shown = _anchors(result.anchors, "baseline of")
    blocks = (
        [ReportTable("", shown.columns[:-1], [Row(row.cells[:-1]) for row in shown.rows])] if result.anchors else []
    )
    return Section("", "Drift between the passes", blocks, kind=MARKDOWN)


def _anchors(anchors: Sequence[Anchor], title: str) -> ReportTable:
    """The baselines of both passes side by side."""
    titles = report_columns((title,), ("first pass, tok/s", "second pass, tok/s", "moved", "n"))
    rows = [
        Row(
            [
                Name(text.subject(each.baseline)),
                text.rate(each.first_tok_s),
                text.rate(each.last_tok_s),
                text.change(each.moved),
                text.count_text(each.n),
            ]
        )
        for each in anchors
    ]
    return ReportTable("Anchors", titles, rows)


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
        shown = ReportTable("Server loads", _LOAD_COLUMNS, [_load(each) for each in result.loads])
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
        text.count_text(each.key.k_startup),
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
            lines.append(f"{row.name}: {reason_unmeasured(row)}")
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
    models = [
        f"{name} ({facts})" if (facts := text.model_description(name, result)) else name for name in result.targets
    ]
    pairs = [
        ("hardware", text.machine_text(run.hardware)),
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
    lines: list[Words] = [
        f"build: {build}",
        f"hardware: {text.machine_text(run.hardware)}",
        f"settings: {text.settings_text(result.settings)}{f', prompts_digest {digest}' if digest else ''}",
        *text.disturbances(result),
    ]
    if imported is not None:
        lines.append(f"imported from {imported.tool}: {imported.file}")
    else:
        how = ", with the profile in the run folder"
        lines.append((f"specdash {run.specdash_version}: ", Code("specdash --headless profile.toml"), how))
    markdown: list[Block] = [Bullets(lines)]
    commands = list(dict.fromkeys(shell_line(each.argv) for each in result.loads if each.argv))
    if commands:
        html.append(Folded(f"Servers were started as ({len(commands)})", [Commands(commands)]))
        markdown += [Paragraph("Servers were started as:"), Commands(commands)]
    if run.id and imported is None:
        html.append(
            Paragraph(
                ("Run again: ", Code("specdash --headless profile.toml"), ", with the profile in the run's folder.")
            )
        )
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
