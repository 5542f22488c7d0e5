"""What is known of one pair and of one measurement, in short and in full, and what follows from a heat map."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from specdash.analysis.build_result import result_of
from specdash.analysis.figures import ArmFigures, Figures, FiguresCache, StepFigures
from specdash.analysis.result import Measurement
from specdash.core.acceptance import proven, share_of
from specdash.core.measure import DESCRIPTION, Sample, Verdict
from specdash.core.axes import GROUP, pick
from specdash.core.measure import DESCRIPTION, Verdict
from specdash.core.methods import BASELINE
from specdash.core.secrets import shell_line
from specdash.core.state import RunState
from specdash.core.status import DONE, SampleStatus, StepStatus
from specdash.core.step_state import StepState
from specdash.core.text import human_bytes, human_seconds, one_line
from specdash.errors import StoreError
from specdash.report.arms import other_k
from specdash.report.text import seconds
from specdash.ui.narration import OWN_TIMES
from specdash.ui.tui.lines import BLANK, Line, rule
from specdash.ui.tui.panes.advice import measurement_remarks
from specdash.ui.tui.recommendations import Recommendations
from specdash.ui.tui.results.heatmap import (
    ALL,
    STYLES,
    Pair,
    Variant,
    arms_of_variant,
    best_of,
    speedup_interval,
    memory_bytes,
    number,
    rate_interval,
    rows_of_pair,
    percent,
    sign_of,
    strength,
)
from specdash.ui.tui.terminal import Glyphs
from specdash.ui.tui.terminal.theme import StyleName

SENTENCES = {
    "+": "faster than without a draft",
    "-": "slower than without a draft",
    "=": "no difference to be seen",
    "?": "too few samples to tell",
}
_VERDICTS = frozenset(verdict.value for verdict in Verdict)


def labelled(name: str, text: str, style: StyleName = "") -> Line:
    """A name and what is said under it."""
    return ((f" {name:<9} ", "dim"), (text, style))


def wrap_labelled(name: str, text: str, width: int, style: StyleName = "") -> list[Line]:
    """A name and a text over as many lines as it takes."""
    pieces = textwrap.wrap(text, max(8, width - 12), break_on_hyphens=False) or [""]
    return [labelled(name if number == 0 else "", piece, style) for number, piece in enumerate(pieces)]


def figure_lines(figures: Figures, view: RunState, glyphs: Glyphs) -> list[Line]:
    """Rate, speedup, acceptance and times of what was measured: `answer` is the time of a whole one."""
    ends, rate, faster = rate_interval(figures), figures.rate, figures.speedup
    if rate is None:
        lines = [labelled("tok/s", "no rate: no sample that counts has a number", "warn")]
    else:
        scatter = f" {ends}" if ends else " (one sample, no interval)"
        values = f"   {number(rate.min)} .. {number(rate.max)}" if figures.n > 1 else ""
        lines = [labelled("tok/s", f"{number(rate.mean)}{scatter}{values}   n {figures.n}")]
    if faster is not None:
        sign = sign_of(faster)
        said = f"{number(faster.value)}x {speedup_interval(faster)} {sign} {SENTENCES.get(sign, '')}"
        lines.append(labelled("speedup", said, STYLES[sign]))
    elif figures.without:
        lines.append(labelled("speedup", f"none: {_why(figures.without)}"))
    if figures.acceptance is not None:
        how = "   inferred from how tokens arrived" if figures.is_inferred else ""
        said = f"{percent(figures.acceptance)} of drafted tokens   {number(figures.tokens_per_step)} tokens/step{how}"
        lines.append(labelled("accepted", said))
    memory = memory_bytes(figures, view.loads)
    ttft, total = (_seconds(value) for value in (figures.ttft_s, figures.total_time_s))
    prefill = "" if figures.prefill_tok_s is None else f"   prefill {number(figures.prefill_tok_s)}/s"
    peak = f"   peak {human_bytes(memory)}" if memory is not None else ""
    lines.append(labelled("answer", f"{total}   ttft {ttft}{prefill}{peak}"))
    return lines


def _seconds(value: float | None) -> str:
    return "unknown" if value is None else seconds(value)


def _why(without: str) -> str:
    """The word of a cell as words of a sentence."""
    reasons = {"no base": "no baseline is measured for it", "no rate": "there is no rate to compare"}
    return reasons.get(
        without, without.replace("base open", "its baseline is not measured yet").replace("base ", "its baseline: ")
    )


def pair_lines(book: FiguresCache, view: RunState, pair: Pair, variant: Variant, glyphs: Glyphs) -> list[Line]:
    """A cell of targets by drafts: the best arm, every K, and what is missing."""
    arms = arms_of_variant(book, variant).get(pair, {})
    if not arms:
        return [labelled("state", "not planned")]
    best = arms.get(None) if pair[1] is None else best_of(arms)
    lines: list[Line] = []
    if best is None or not best.figures.n:
        lines.append(labelled("state", "nothing measured that counts yet"))
    else:
        if best.step.k is not None:
            lines.append(labelled("best", f"K={best.step.k}{' (lacks categories)' if best.missing else ''}", "title"))
        lines += figure_lines(best.figures, view, glyphs)
    if pair[1] is not None:
        lines.append(labelled("by K", "  ".join(_short(arm) for arm in arms.values())))
    states = Counter(found.status for arm in arms.values() for found in arm.found)
    lines.append(labelled("steps", "  ".join(f"{count} {state}" for state, count in states.items())))
    verdicts = Counter(verdict for arm in arms.values() for found in arm.found for verdict in found.verdicts)
    if verdicts:
        said = "  ".join(f"{count} {one_line(verdict)}" for verdict, count in verdicts.items())
        lines.append(labelled("verdicts", said, "warn"))
    return lines


def _short(arm: ArmFigures) -> str:
    """One K in a few characters."""
    faster, rate = arm.figures.speedup, arm.figures.rate
    if faster is not None:
        return f"{arm.step.k}:{number(faster.value)}{sign_of(faster)}"
    return f"{arm.step.k}:{number(rate.mean)}/s" if rate is not None else f"{arm.step.k}:{arm.found[0].status}"


def row_lines(
    row: StepFigures, view: RunState, width: int, glyphs: Glyphs, entry: Mapping[str, Any] | None = None
) -> list[Line]:
    """One measurement in short: its figures, its samples' rates, and what was said against it.

    `entry` is what a result document says of it beside its figures; None while that is not known.
    """
    found = row.found
    planned = view.iterations(row.id)
    count = f"{len(found.samples)} of {planned}" if planned is not None else str(len(found.samples))
    lines = [labelled("state", f"{found.status}   {count} samples")]
    if row.figures.n:
        lines += figure_lines(row.figures, view, glyphs)
    rates = "  ".join(number(s.decode_tok_s) + ("" if s.status == SampleStatus.OK else "!") for s in found.samples)
    if rates:
        lines.append(labelled("samples", rates))
    if row.step.k is not None:
        seen = max((s.k_seen for s in found.samples if s.k_seen is not None), default=None)
        lines.append(labelled("K", f"{row.step.k} asked, {'none' if seen is None else seen} seen in force"))
    if found.error:
        lines += wrap_labelled("error", one_line(found.error, 400), width, "bad")
    # A result document has all verdicts, but for those that no longer hold.
    for verdict in found.verdicts if entry is None else [str(each) for each in entry.get("verdicts") or ()]:
        lines += wrap_labelled("verdict", f"{one_line(verdict, 40)}: {verdict_advice(verdict)}", width, "warn")
    return lines + [line for name, text, style in measurement_remarks(entry) for line in wrap_labelled(name, text, width, style)]


def verdict_advice(verdict: str) -> str:
    """What a verdict means and what to do about it."""
    return DESCRIPTION[Verdict(verdict)] if verdict in _VERDICTS else one_line(verdict)


def command_of(row: StepFigures, view: RunState) -> str | None:
    """The command that started the server of a measurement, as it is typed in a shell; None where there was none."""
    load = view.loads.get(row.found.load or "")
    return one_line(shell_line(load.argv), 4000) if load is not None and load.argv else None


def arm_lines(arm: ArmFigures, view: RunState, glyphs: Glyphs) -> list[Line]:
    """All categories of one K together."""
    lines = figure_lines(arm.figures, view, glyphs) if arm.figures.n else [labelled("state", "no category is ok yet")]
    if arm.missing:
        lines.append(labelled("lacks", ", ".join(one_line(each, 30) for each in arm.missing), "warn"))
    return lines


def finding_lines(book: FiguresCache, view: RunState, pair: Pair, variant: Variant, width: int) -> list[Line]:
    """What follows for a pair: the best K of each category and what it cannot be told from, one K for all, failures."""
    rows = rows_of_pair(book, pair, variant)
    lines: list[Line] = []
    categories = dict.fromkeys(category for category, _ in rows)
    arms = arms_of_variant(book, variant).get(pair, {})
    overall = best_of({k: arm for k, arm in arms.items() if k is not None})
    for category in categories:
        of_k = {k: row for (name, k), row in rows.items() if name == category and k is not None and _is_known(row)}
        if of_k:
            best = max(of_k, key=lambda k: strength(of_k[k].figures))
            lines.append(_finding(category, best, of_k))
    if overall is not None and overall.figures.n:
        lines.append(labelled("one K", f"K={overall.step.k} over all  {_result(overall.figures)}", "title"))
    lines += _failures([row for row in rows.values() if row.found.status in DONE or row.found.verdicts], width)
    return lines or [(("nothing can be said yet", "dim"),)]


def curve_finding(advice: Recommendations, pair: Pair, variant: Variant, width: int) -> list[Line]:
    """What one load predicts of a pair: the best K over all categories, and where measuring disagreed."""
    rows = advice.curves.get((pair[0], pick(variant, GROUP[1:]), pair[1], ALL), ())
    known = [each for each in rows if each.get("predicted_tok_s") is not None]
    if not known:
        return []
    best = max(known, key=lambda each: each["predicted_tok_s"])
    low, high = best.get("predicted_ci95") or (None, None)
    ends = f" [{number(low)},{number(high)}]" if low is not None and high is not None else ""
    edge = "; the largest K that this load can tell of" if any(each.get("at_edge") for each in known) else ""
    said = f"K={best['k']} predicted best, {number(best['predicted_tok_s'])}{ends} tok/s{edge}"
    lines = wrap_labelled("curve", said, width)
    off = [f"K={each['k']}" for each in rows if each.get("off")]
    return [*lines, *wrap_labelled("", f"measured off it: {', '.join(off)}", width, "warn")] if off else lines


def choice_finding(book: FiguresCache, advice: Recommendations, pair: Pair, variant: Variant, width: int) -> list[Line]:
    """The K that is recommended over all categories, where another one has the best mean."""
    best = best_of({k: arm for k, arm in arms_of_variant(book, variant).get(pair, {}).items() if k is not None})
    for group in advice.groups:
        choice = group.overall
        if (group.target, group.variant) != (pair[0], pick(variant, GROUP[1:])):
            continue
        if best is None or choice is None or choice.choice is None or choice.off or choice.k is None:
            return []
        other = other_k(best.step.k, choice) if choice.choice.drafter == pair[1] else ""
        return wrap_labelled("use", f"best mean K = {best.step.k}, {other}", width, "title") if other else []
    return []


def _is_known(row: StepFigures) -> bool:
    return row.found.status == StepStatus.OK and row.figures.rate is not None


def _finding(category: str, best: int, of_k: dict[int, StepFigures]) -> Line:
    """The best K of a category, and the Ks that lie within its interval."""
    faster = of_k[best].figures.speedup
    near: list[str] = []
    if faster is not None and faster.ci95 is not None:
        for k, row in of_k.items():
            other = row.figures.speedup
            if k != best and other is not None and other.value >= faster.ci95[0]:
                near.append(f"K={k}")
    said = f"K={best}  {_result(of_k[best].figures)}" + (f"  within its interval: {', '.join(near)}" if near else "")
    return labelled(one_line(category, 9), said)


def _result(figures: Figures) -> str:
    if figures.speedup is not None:
        return f"{number(figures.speedup.value)}x {speedup_interval(figures.speedup)} {sign_of(figures.speedup)}"
    return f"{number(figures.rate.mean)} tok/s" if figures.rate is not None else "no rate"


def _failures(rows: Sequence[StepFigures], width: int) -> list[Line]:
    """Every measurement of a pair that does not count, or that something was said against, and why."""
    lines: list[Line] = []
    for row in rows:
        found = row.found
        if found.status == StepStatus.OK and not found.verdicts:
            continue
        k = "baseline" if row.step.method == BASELINE else f"K={row.step.k}"
        why = ", ".join(one_line(each, 40) for each in found.verdicts) or one_line(found.error or "", 200)
        style: StyleName = "dim" if found.status == StepStatus.SKIPPED else "warn"
        text = f"{one_line(row.step.category, 20)} {k}: {why}"
        state = "noted" if found.status == StepStatus.OK else found.status
        lines += wrap_labelled(state, text, width, style)
    return lines


def sample_lines(row: StepFigures, view: RunState, width: int, glyphs: Glyphs) -> list[Line]:
    """A measurement in full, as long as it takes; the caller shows a window of it."""
    found = row.found
    lines = [rule(one_line(row.id, 160), found.status, width, glyphs.rule)]
    lines += [labelled("asked", _asked(row, view))]
    if found.error:
        lines += wrap_labelled("error", one_line(found.error, 1000), width, "bad")
    for detail in dict.fromkeys(each for each in found.details if each):
        lines += wrap_labelled("detail", one_line(detail, 600), width, "warn")
    if row.figures.n:
        lines += figure_lines(row.figures, view, glyphs)
    lines += _document_lines(found, view, width)
    for verdict in found.verdicts:
        lines += wrap_labelled("verdict", f"{one_line(verdict, 40)}: {verdict_advice(verdict)}", width, "warn")
    again = f", {found.taken_again} taken again" if found.taken_again else ""
    lines += [BLANK, rule("Samples", f"{len(found.good)} of {len(found.samples)} count{again}", width, glyphs.rule)]
    lines += _table(found, width)
    lines += [BLANK, rule("Server", found.load or "none", width, glyphs.rule), *_load_lines(row, view, width)]
    return lines


def _asked(row: StepFigures, view: RunState) -> str:
    """What was to be measured, in words."""
    planned = view.iterations(row.id)
    k = "no draft" if row.step.k is None else f"K {row.step.k}"
    return f"{k}, {'an unknown number of' if planned is None else planned} samples, {one_line(row.step.category, 60)}"


def _document_lines(found: StepState, view: RunState, width: int) -> list[Line]:
    """What only the result of this one measurement tells, from the code that writes reports."""
    entry = measurement_of(found, view)
    if entry is None:
        return [labelled("figures", "not to be had: a sample holds a number that is none", "warn")]
    lines: list[Line] = []
    summary = entry.summary.get("decode_tok_s")
    if summary is not None:
        deviation = f"   deviation {number(summary.stddev)}" if summary.stddev is not None else ""
        lines.append(labelled("spread", f"median {number(summary.median)}   p95 {number(summary.p95)}{deviation}"))
    seen = "none seen" if entry.k_seen is None else f"{entry.k_seen} seen in force"
    again = "unknown, no prompt came twice"
    drift = again if entry.drift is None else f"{entry.drift * 100:+.1f} % from first to last block"
    lines += [labelled("drafts", seen), labelled("drift", drift)]
    if entry.speedup_reason:
        lines += wrap_labelled("speedup", f"none: {one_line(entry.speedup_reason)}", width)
    if entry.accepted_per_position:
        shares = "  ".join(f"{i}:{percent(each)}" for i, each in enumerate(entry.accepted_per_position, start=1))
        lines += wrap_labelled("by place", shares, width)
    return lines


def measurement_of(found: StepState, view: RunState) -> Measurement | None:
    """The entry of one step in the result of the run; None where its samples cannot be summarised."""
    base = view.steps.get(found.step.baseline().id)
    steps = {found.step.id: found} | ({base.step.id: base} if base is not None else {})
    loads = {each.id: each for each in view.loads.values() if each.id == found.load}
    try:
        result = result_of(replace(view, steps=steps, loads=loads, notes=()))
    except (StoreError, ValueError):
        return None
    return next((entry for entry in result.rows if entry.name == found.step.id), None)


_HEAD = (
    f"{'#':>3} {'block':>5} {'state':<7} {'tok/s':>7} {'prefill':>7} {'ttft s':>6} {'total s':>7}"
    f" {'tokens':>6} {'drafted':>7} {'acc':>4}  "
)


def _table(found: StepState, width: int) -> list[Line]:
    """One line for each sample; its reasons stand below one that does not count."""
    if not found.samples:
        return [((" no sample was taken", "dim"),)]
    lines: list[Line] = [((_HEAD + "finish prompt", "dim"),)]
    for number_, sample in enumerate(proven(found.samples), start=1):
        lines.append(((_sample(number_, sample), "" if sample.status == SampleStatus.OK else "warn"),))
        for why in dict.fromkeys(sample.unknown[name] for name in OWN_TIMES if name in sample.unknown):
            lines += wrap_labelled("", f"times by specdash's own clock are unknown: {one_line(why, 600)}", width, "dim")
        for reason in sample.reasons:
            said = verdict_advice(reason)
            text = said if said == one_line(reason) else f"{reason}: {said}"
            lines += wrap_labelled("", one_line(text, 600), width, "warn")
    return lines


def _sample(number_: int, sample: Sample) -> str:
    """The figures of one request; "-" for what it did not tell."""
    times = f"{number(sample.prefill_tok_s):>7} {number(sample.ttft_s):>6} {number(sample.total_time_s):>7}"
    counts = f"{_whole(sample.generated_tokens):>6} {_whole(sample.draft_tokens):>7} {percent(share_of(sample)):>4}"
    finish = one_line(sample.finish_reason or "-", 6)
    head = f"{number_:>3} {sample.block:>5} {one_line(sample.status, 7):<7} {number(sample.decode_tok_s):>7} {times}"
    return f"{head} {counts}  {finish:<6} {one_line(sample.prompt_id, 60)}"


def _whole(value: int | None) -> str:
    return "-" if value is None else str(value)


def _load_lines(row: StepFigures, view: RunState, width: int) -> list[Line]:
    """The server of a measurement: what it cost and how it was started."""
    load = view.loads.get(row.found.load or "")
    if load is None:
        return [((" no server was started for it", "dim"),)]
    time = "unknown" if load.load_time_s is None else human_seconds(load.load_time_s)
    peak = "unknown until it ends" if load.peak_rss_bytes is None else human_bytes(load.peak_rss_bytes)
    lines = [labelled("loading", f"{time}   peak memory {peak}   K is decided by the {load.k_scope or '(unknown)'}")]
    lines += wrap_labelled("command", command_of(row, view) or "none", width)
    if load.error:
        lines += wrap_labelled("error", one_line(" ".join(filter(None, (load.error, load.hint))), 600), width, "bad")
    return [*lines, labelled("log", one_line(load.log, 300))]
