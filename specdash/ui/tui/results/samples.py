"""Everything about one measurement: its figures, every sample, what was said against it, and how to do it again."""

from __future__ import annotations

from dataclasses import replace

from specdash.analysis.build_result import result_of
from specdash.analysis.result import Measurement
from specdash.core.drafting import proven, share_of
from specdash.core.measure import Sample
from specdash.core.state import RunState
from specdash.core.status import SampleStatus
from specdash.core.steps import StepState
from specdash.core.text import human_bytes, human_seconds, one_line
from specdash.errors import StoreError
from specdash.ui.narration import OWN_TIMES
from specdash.ui.tui.lines import BLANK, Line, rule
from specdash.ui.tui.results.detail import command_of, describe, figure_lines, labelled, wrapped
from specdash.ui.tui.results.figures import Row
from specdash.ui.tui.results.measures import number, share
from specdash.ui.tui.terminal import Glyphs


def sample_lines(row: Row, view: RunState, width: int, glyphs: Glyphs) -> list[Line]:
    """A measurement in full, as long as it takes; the caller shows a window of it."""
    found = row.found
    lines = [rule(one_line(row.id, 160), found.status, width, glyphs.rule)]
    lines += [labelled("asked", _asked(row, view))]
    if found.error:
        lines += wrapped("error", one_line(found.error, 1000), width, "bad")
    for detail in dict.fromkeys(each for each in found.details if each):
        lines += wrapped("detail", one_line(detail, 600), width, "warn")
    if row.figures.n:
        lines += figure_lines(row.figures, view, glyphs)
    lines += _document_lines(found, view, width)
    for verdict in found.verdicts:
        lines += wrapped("verdict", f"{one_line(verdict, 40)}: {describe(verdict)}", width, "warn")
    again = f", {found.taken_again} taken again" if found.taken_again else ""
    lines += [BLANK, rule("Samples", f"{len(found.good)} of {len(found.samples)} count{again}", width, glyphs.rule)]
    lines += _table(found, width)
    lines += [BLANK, rule("Server", found.load or "none", width, glyphs.rule), *_load_lines(row, view, width)]
    return lines


def _asked(row: Row, view: RunState) -> str:
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
        lines += wrapped("speedup", f"none: {one_line(entry.speedup_reason)}", width)
    if entry.accepted_per_position:
        shares = "  ".join(f"{i}:{share(each)}" for i, each in enumerate(entry.accepted_per_position, start=1))
        lines += wrapped("by place", shares, width)
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
            lines += wrapped("", f"times by specdash's own clock are unknown: {one_line(why, 600)}", width, "dim")
        for reason in sample.reasons:
            said = describe(reason)
            text = said if said == one_line(reason) else f"{reason}: {said}"
            lines += wrapped("", one_line(text, 600), width, "warn")
    return lines


def _sample(number_: int, sample: Sample) -> str:
    """The figures of one request; "-" for what it did not tell."""
    times = f"{number(sample.prefill_tok_s):>7} {number(sample.ttft_s):>6} {number(sample.total_time_s):>7}"
    counts = f"{_whole(sample.generated_tokens):>6} {_whole(sample.draft_tokens):>7} {share(share_of(sample)):>4}"
    finish = one_line(sample.finish_reason or "-", 6)
    head = f"{number_:>3} {sample.block:>5} {one_line(sample.status, 7):<7} {number(sample.decode_tok_s):>7} {times}"
    return f"{head} {counts}  {finish:<6} {one_line(sample.prompt_id, 60)}"


def _whole(value: int | None) -> str:
    return "-" if value is None else str(value)


def _load_lines(row: Row, view: RunState, width: int) -> list[Line]:
    """The server of a measurement: what it cost and how it was started."""
    load = view.loads.get(row.found.load or "")
    if load is None:
        return [((" no server was started for it", "dim"),)]
    time = "unknown" if load.load_time_s is None else human_seconds(load.load_time_s)
    peak = "unknown until it ends" if load.peak_rss_bytes is None else human_bytes(load.peak_rss_bytes)
    lines = [labelled("loading", f"{time}   peak memory {peak}   K is decided by the {load.k_scope or '(unknown)'}")]
    lines += wrapped("command", command_of(row, view) or "none", width)
    if load.error:
        lines += wrapped("error", one_line(" ".join(filter(None, (load.error, load.hint))), 600), width, "bad")
    return [*lines, labelled("log", one_line(load.log, 300))]
