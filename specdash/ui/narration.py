"""What a run's facts read like: one plain sentence for each fact that is worth one.

Pure; shared by the live terminal and the piped log. Text from outside (labels, server errors) is made harmless here.
"""

from __future__ import annotations

from specdash.core import commands as cmd
from specdash.core import events as ev
from specdash.core.acceptance import drafting_of_sample, proven
from specdash.core.measure import DESCRIPTION, Sample, Verdict
from specdash.core.state import RunState
from specdash.core.status import DONE, SampleStatus, StepStatus
from specdash.core.steptable import Tally
from specdash.core.text import human_bytes, human_seconds, one_line, plural
from specdash.core.ticks import TokenTick
from specdash.report.text import TERMINAL, k_scope, rate, share

_VERDICTS = frozenset(verdict.value for verdict in Verdict)
OWN_TIMES = ("ttft_s", "total_time_s")  # of a sample, by this program's clock
WIDTH = 400  # a sentence on one line of a log; far longer ones are an attack or a stack trace


def counted(tally: Tally) -> str:
    """How far a run is: "4 of 12 steps measured, 1 failed, 3 skipped"; what is skipped was not measured."""
    failed = f", {tally.failed} failed" if tally.failed else ""
    skipped = f", {tally.skipped} skipped" if tally.skipped else ""
    return f"{tally.measured} of {plural(tally.total, 'step')} measured{failed}{skipped}"


def reading(token: TokenTick | None) -> str:
    """That the prompt of a request is being read, and how far where the server tells; "" once there is a token."""
    if token is None or token.tokens:
        return ""
    if token.prompt_read is None or token.prompt_tokens is None:
        return "reading the prompt"
    return f"reading the prompt, {token.prompt_read} of {token.prompt_tokens}"


def sentences(fact: ev.Fact, view: RunState) -> list[str]:
    """The lines that a fact is told in; none for facts that only machines read."""
    lines = _of_step(fact, view)
    return ["  " * line.startswith("  ") + one_line(line, WIDTH - 2) for line in lines]


def _of_step(fact: ev.Fact, view: RunState) -> list[str]:
    """Tell a fact about a step; any other goes on to `_of_load`."""
    match fact:
        case ev.VerdictRaised():
            return _verdict_raised(fact, view)
        case ev.VerdictWithdrawn():
            return _verdict_withdrawn(fact)
        case ev.SampleTaken():
            return _sample_taken(fact, view)
        case ev.StepFinished():
            return _step_finished(fact, view)
    return _of_load(fact, view)


def _of_load(fact: ev.Fact, view: RunState) -> list[str]:
    """Tell a fact about a server load; any other goes on to `_of_run`."""
    match fact:
        case ev.LoadStarted():
            return _load_started(fact)
        case ev.LoadReady():
            return _load_ready(fact)
        case ev.Probed():
            return _probed(fact)
        case ev.LoadFinished():
            return _load_finished(fact)
    return _of_run(fact, view)


def _of_run(fact: ev.Fact, view: RunState) -> list[str]:
    """Tell a fact about the run as a whole."""
    match fact:
        case ev.RunStarted():
            return _run_started(fact)
        case ev.RunResumed():
            return _run_resumed(fact, view)
        case ev.EngineFound():
            return _engine_found(fact)
        case ev.BandwidthMeasured():
            return _bandwidth_measured(fact)
        case ev.PlanChanged():
            return _plan_changed(fact)
        case ev.Noted():
            return _noted(fact)
        case ev.CommandAccepted():
            return _command_accepted(fact)
        case ev.RunFinished():
            return _run_finished(fact)
    return []


def severity_of(fact: ev.Fact) -> str:
    """Return how serious a fact is: "error", "warning" or "info" where it says so, else ""."""
    match fact:
        case ev.Noted(level=level):
            return level
        case ev.LoadFinished(error=str()):
            return "error"
    return ""


def _run_started(fact: ev.RunStarted) -> list[str]:
    iterations = fact.settings.iterations
    each = f"{iterations} {'sample' if iterations == 1 else 'samples'} each"
    return [f"run {fact.run_id}: {plural(len(fact.steps), 'step')}, {each}"]


def _run_resumed(fact: ev.RunResumed, view: RunState) -> list[str]:
    again = f"; {len(fact.redo)} are measured again" if fact.redo else ""
    return [f"resumed: {counted(view.table.tally)}{again}"]


def _engine_found(fact: ev.EngineFound) -> list[str]:
    return [f"engine: {fact.program}, {fact.version}"]


def _size(size_bytes: int | None) -> str:
    return "a model of unknown size" if size_bytes is None else human_bytes(size_bytes)


def _load_started(fact: ev.LoadStarted) -> list[str]:
    return [f"load {fact.load}: {fact.key.label} ({_size(fact.size_bytes)}), log {fact.log}"]


def _load_ready(fact: ev.LoadReady) -> list[str]:
    if fact.load_time_s is None:
        return [f"load {fact.load}: ready; how long it took is unknown, since it was paused meanwhile"]
    return [f"load {fact.load}: ready after {human_seconds(fact.load_time_s)}"]


def _probed(fact: ev.Probed) -> list[str]:
    if fact.forced:
        return [f"K scope: {fact.k_scope}, settled by the profile or the kind of engine (not probed)"]
    words = k_scope(fact.k_scope) or f"K scope {fact.k_scope}"
    if fact.k_scope is None:
        words = "nothing was drafted, so who decides K cannot be told"
    if fact.k_scope is not None and all(longest is None for _, longest in fact.evidence):
        return [f"probe: {words}, as it is with such servers; the length of no draft could be seen"]
    asked = ", ".join(str(k) for k, _ in fact.evidence)
    drafted = ", ".join("none" if longest is None else str(longest) for _, longest in fact.evidence)
    return [f"probe: {words} (asked for {asked}: drafted up to {drafted})"]


def _bandwidth_measured(fact: ev.BandwidthMeasured) -> list[str]:
    if fact.bytes_s is None:
        return [f"memory bandwidth: not measured{f', {fact.reason}' if fact.reason else ''}"]
    threads = f" with {plural(fact.threads, 'thread')}" if fact.threads else ""
    cache = f" (last-level cache {human_bytes(fact.cache_bytes)})" if fact.cache_bytes else ""
    return [f"memory bandwidth: {fact.bytes_s / 1e9:.1f} GB/s read{threads}{cache}"]


def _plan_changed(fact: ev.PlanChanged) -> list[str]:
    loads = f"{plural(fact.loads_left, 'load')} to go"
    if fact.stage:
        return [f"plan: {fact.reason}; {loads}"]
    return [f"plan changed: {fact.reason}; {loads} after this one"]


def _verdict_raised(fact: ev.VerdictRaised, view: RunState) -> list[str]:
    """A verdict that comes after the step is over; the others are told with its outcome."""
    found = view.steps.get(fact.step)
    if found is None or found.status not in DONE:
        return []
    meaning = DESCRIPTION[Verdict(fact.verdict)] if fact.verdict in _VERDICTS else ""
    lines = [f"verdict {fact.step}: {fact.verdict}{f', {fact.detail}' if fact.detail else ''}"]
    return [*lines, f"  {meaning}"] if meaning else lines


def _verdict_withdrawn(fact: ev.VerdictWithdrawn) -> list[str]:
    return [f"verdict {fact.step}: {fact.verdict} is withdrawn{f', {fact.reason}' if fact.reason else ''}"]


def _sample_taken(fact: ev.SampleTaken, view: RunState) -> list[str]:
    sample = fact.sample
    head = f"sample {fact.step} #{sample.block + 1}"
    if sample.status != SampleStatus.OK:
        return [f"{head}: invalid, {', '.join(sample.reasons)}"]
    found = view.steps.get(fact.step)
    others = found.samples if found is not None else ()
    void = next((why for name, why in sample.unknown.items() if name in OWN_TIMES), "")
    told = f" ({void}: only the server's times count)" if void else ""
    return [f"{head}: {rate(sample.decode_tok_s, TERMINAL)} tok/s{_accepted(proven((*others, sample))[-1])}{told}"]


def _accepted(known: Sample) -> str:
    """What a sample of `core.acceptance.proven` tells of its draft."""
    told = drafting_of_sample(known)
    if told is None or told.rate is None:
        return ""
    return f", {'~' * told.is_inferred}{share(told.rate)} of {told.drafted} drafted accepted"


def _step_finished(fact: ev.StepFinished, view: RunState) -> list[str]:
    tally = view.table.tally
    if fact.status == StepStatus.OK:
        good = view.steps[fact.step].good
        rates = [sample.decode_tok_s for sample in good if sample.decode_tok_s is not None]
        mean = sum(rates) / len(rates) if rates else None
        again = view.steps[fact.step].taken_again
        outcome = f"{rate(mean, TERMINAL)} tok/s (n = {len(rates)}{f', {again} taken again' if again else ''})"
    else:
        verdicts = f"{', '.join(fact.verdicts)}: " if fact.verdicts else ""
        outcome = f"{fact.status}: {verdicts}{fact.error or ''}".rstrip(": ")
    return [f"step {tally.tried}/{tally.total} {fact.step}: {outcome}"]


def _load_finished(fact: ev.LoadFinished) -> list[str]:
    if fact.error is None:
        peak = f", peak memory {human_bytes(fact.peak_rss_bytes)}" if fact.peak_rss_bytes is not None else ""
        return [f"load {fact.load}: server {fact.state}{peak}"]
    lines = [f"load {fact.load} failed: {fact.error}"]
    if fact.hint:
        lines.append(f"  {fact.hint}")
    return [*lines, *(f"  | {line}" for line in fact.log_tail[-12:])]


def _noted(fact: ev.Noted) -> list[str]:
    return [f"{fact.level}: {fact.text}"]


def _command_accepted(fact: ev.CommandAccepted) -> list[str]:
    words = {
        cmd.PAUSE: "paused: the server stays up",
        cmd.RESUME: "going on",
        cmd.STOP: "stopping, as you asked",
        cmd.STOP_AFTER_LOAD: "stopping once this server is done with, as you asked",
        cmd.EDIT: f"queue: {fact.detail}",
    }
    return [words.get(fact.command, fact.command)]


def _run_finished(fact: ev.RunFinished) -> list[str]:
    return [f"run {fact.state}{f': {fact.reason}' if fact.reason else ''}"]
