"""What facts read like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import pytest

from specdash.core import events as ev
from specdash.core.measure import DESCRIPTION, Sample, Verdict
from specdash.core.methods import DRAFT
from specdash.core.plan import LoadKey, Step
from specdash.core.state import RunState
from specdash.core.status import SampleStatus, StepStatus
from specdash.core.step_state import StepState
from specdash.report.text import TERMINAL, rate, share
from specdash.ui.narration import counted, sentences, severity_of

SPEC = Step.of("T", draft="D", method=DRAFT, k=4, category="coding")
KEY = LoadKey.of("T", 4, draft="D")
BROKEN = Sample.broken(prompt_id="p", block=1, started_s=0.0, reasons=("too_short", "torn"))
GOOD = replace(BROKEN, status=SampleStatus.OK, reasons=(), decode_tok_s=12.34, draft_tokens=40, accepted_tokens=30)
PLAIN = replace(GOOD, draft_tokens=None, accepted_tokens=None)
VIEW = RunState(
    steps={
        SPEC.id: StepState(SPEC, StepStatus.OK, samples=(GOOD, replace(GOOD, decode_tok_s=14.34), BROKEN)),
        SPEC.baseline().id: StepState(SPEC.baseline()),
    }
)
RUN = ev.RunStarted("run-1", "n", "1.0", {}, "host", ev.RunSettings(iterations=5), "digest", (SPEC, SPEC.baseline()))
LOAD_DONE = ev.LoadFinished("load-2", "stopped")

SENTENCES: list[tuple[ev.Fact, list[str]]] = [
    (RUN, ["run run-1: 2 steps, 5 samples each"]),
    (ev.RunResumed("1.0"), ["resumed: 1 of 2 steps measured"]),
    (ev.RunResumed("1.0", ("a", "b")), ["resumed: 1 of 2 steps measured; 2 are measured again"]),
    (ev.EngineFound("llama-server", "/bin/ls", "b1", "spec-draft"), ["engine: /bin/ls, b1"]),
    (
        ev.LoadStarted("load-2", KEY, ("x",), "logs/2.log", 1536, 10.0, "f"),
        ["load load-2: T + D, K 4 (1.50 KiB), log logs/2.log"],
    ),
    (ev.LoadReady("load-2", 4.2, 1), ["load load-2: ready after 4.2 s"]),
    (
        ev.LoadReady("load-2", None, 1),
        ["load load-2: ready; how long it took is unknown, since it was paused meanwhile"],
    ),
    (
        ev.Probed("load-2", "startup", forced=True),
        ["K scope: startup, settled by the profile or the kind of engine (not probed)"],
    ),
    (
        ev.Probed("load-2", "request", ((4, None), (1, None))),
        ["probe: K is taken per request, as it is with such servers; the length of no draft could be seen"],
    ),
    (
        ev.Probed("load-2", "request", ((4, 4), (1, 1))),
        ["probe: K is taken per request (asked for 4, 1: drafted up to 4, 1)"],
    ),
    (
        ev.Probed("load-2", "capped", ((4, 4),)),
        ["probe: K is taken per request, up to its start-up value (asked for 4: drafted up to 4)"],
    ),
    (
        ev.Probed("load-2", "startup", ((1, 4),)),
        ["probe: K is fixed at start-up (asked for 1: drafted up to 4)"],
    ),
    (
        ev.Probed("load-2", None, ((4, None),)),
        ["probe: nothing was drafted, so who decides K cannot be told (asked for 4: drafted up to none)"],
    ),
    (ev.PlanChanged("K is fixed", 3), ["plan changed: K is fixed; 3 loads to go after this one"]),
    (
        ev.PlanChanged("T + D: confirming K = 6", 2, stage="confirm T + D"),
        ["plan: T + D: confirming K = 6; 2 loads to go"],
    ),
    (
        ev.BandwidthMeasured(21.4e9, 32 * 2**20, 2),
        ["memory bandwidth: 21.4 GB/s read with 2 threads (last-level cache 32.0 MiB)"],
    ),
    (ev.BandwidthMeasured(1e9, None, 1), ["memory bandwidth: 1.0 GB/s read with 1 thread"]),
    (ev.BandwidthMeasured(None, reason="no compiler"), ["memory bandwidth: not measured, no compiler"]),
    (
        ev.VerdictRaised(SPEC.id, "load-2", "drifted", "3.1 % between the passes"),
        [f"verdict {SPEC.id}: drifted, 3.1 % between the passes", f"  {DESCRIPTION[Verdict.DRIFTED]}"],
    ),
    (ev.VerdictRaised(SPEC.id, "load-2", "of_another_version"), [f"verdict {SPEC.id}: of_another_version"]),
    (ev.VerdictRaised(SPEC.baseline().id, "load-2", "noisy"), []),
    (ev.StepTimes(SPEC.id, "load-2", "cost", None, (4,), (2,), (10.0,)), []),
    (ev.TextSeen("ab", (1, 2)), []),
    (ev.TextChecked(SPEC.id, "load-2", "p", "ab"), []),
    (ev.PlanChanged("K is fixed", 1), ["plan changed: K is fixed; 1 load to go after this one"]),
    (
        ev.SampleTaken(SPEC.id, "load-2", GOOD, 1.0),
        [f"sample {SPEC.id} #2: 12.3 tok/s, 75 % of 40 drafted accepted"],
    ),
    (ev.SampleTaken(SPEC.id, "load-2", PLAIN, 1.0), [f"sample {SPEC.id} #2: 12.3 tok/s"]),
    (ev.SampleTaken(SPEC.id, "load-2", replace(PLAIN, decode_tok_s=None), 1.0), [f"sample {SPEC.id} #2: - tok/s"]),
    (
        ev.SampleTaken(SPEC.id, "load-2", replace(PLAIN, unknown={"total_time_s": "stopped for 3 s"}), 1.0),
        [f"sample {SPEC.id} #2: 12.3 tok/s (stopped for 3 s: only the server's times count)"],
    ),
    (ev.SampleTaken(SPEC.id, "load-2", BROKEN, 1.0), [f"sample {SPEC.id} #2: invalid, too_short, torn"]),
    (ev.StepFinished(SPEC.id, "load-2", StepStatus.OK), [f"step 1/2 {SPEC.id}: 13.3 tok/s (n = 2)"]),
    (
        ev.StepFinished(SPEC.id, "load-2", StepStatus.INVALID, ("k_not_effective",), "K = 4 was asked for"),
        [f"step 1/2 {SPEC.id}: invalid: k_not_effective: K = 4 was asked for"],
    ),
    (ev.StepFinished(SPEC.id, None, StepStatus.SKIPPED), [f"step 1/2 {SPEC.id}: skipped"]),
    (ev.StepFinished(SPEC.id, None, StepStatus.FAILED, (), "gone"), [f"step 1/2 {SPEC.id}: failed: gone"]),
    (LOAD_DONE, ["load load-2: server stopped"]),
    (replace(LOAD_DONE, peak_rss_bytes=2**30), ["load load-2: server stopped, peak memory 1.00 GiB"]),
    (replace(LOAD_DONE, state="failed", error="it died"), ["load load-2 failed: it died"]),
    (
        replace(LOAD_DONE, state="failed", error="it died", hint="free memory", log_tail=("one", "two")),
        ["load load-2 failed: it died", "  free memory", "  | one", "  | two"],
    ),
    (ev.Noted("warning", "few cores"), ["warning: few cores"]),
    (ev.RunFinished("finished", 0), ["run finished"]),
    (ev.RunFinished("stopped", 75, "max_time"), ["run stopped: max_time"]),
    (ev.StateChanged("load-2", "ready", "request", "busy"), []),
    (ev.WarmedUp("load-2", 1, 0.1), []),
    (ev.StepStarted(SPEC.id, "load-2", "f"), []),
]


@pytest.mark.parametrize(("fact", "lines"), SENTENCES, ids=[fact.TYPE for fact, _ in SENTENCES])
def test_sentences(fact: ev.Fact, lines: list[str]) -> None:
    assert sentences(fact, VIEW) == lines


def test_how_serious_a_fact_is_does_not_hang_on_its_words() -> None:
    assert severity_of(replace(LOAD_DONE, error="it died")) == severity_of(ev.Noted("error", "x")) == "error"
    assert severity_of(ev.Noted("warning", "few cores")) == "warning"
    assert severity_of(ev.Noted("info", "a load failed: error: warning:")) == "info"
    assert (
        severity_of(LOAD_DONE)
        == severity_of(ev.StepFinished(SPEC.id, None, StepStatus.FAILED, (), "load failed"))
        == ""
    )


def test_how_many_samples_were_taken_again_is_told_with_their_step() -> None:
    view = RunState(steps={SPEC.id: StepState(SPEC, StepStatus.OK, samples=(BROKEN, BROKEN, GOOD))})
    (line,) = sentences(ev.StepFinished(SPEC.id, "load-2", StepStatus.OK), view)
    assert line.endswith("(n = 1, 2 taken again)")


def test_only_the_end_of_a_long_log_is_told() -> None:
    tail = tuple(f"line {number}" for number in range(40))
    lines = sentences(replace(LOAD_DONE, error="it died", log_tail=tail), VIEW)
    assert len(lines) == 1 + 12
    assert lines[-1].endswith("line 39")


HOSTILE = "\x1b]0;gone\x07\x1b[2J\r\nroot# \u202edrowssap\x9b31m\ud800" + "x" * 2000


def infect(value: Any) -> Any:
    """Every string in a fact replaced by one that would take over a terminal."""
    if isinstance(value, str):
        return HOSTILE
    if isinstance(value, tuple):
        return tuple(infect(each) for each in value)
    if isinstance(value, Mapping):
        return {key: infect(each) for key, each in value.items()}
    if isinstance(value, Step | LoadKey | Sample):
        return replace(value, **{item.name: infect(getattr(value, item.name)) for item in fields(value)})
    return value


KEPT = {"k_scope", "status"}  # words that only specdash writes


@pytest.mark.parametrize("fact", [fact for fact, lines in SENTENCES if lines])
def test_text_from_outside_is_made_harmless(fact: ev.Fact) -> None:
    changes = {item.name: infect(getattr(fact, item.name)) for item in fields(fact) if item.name not in KEPT}
    hostile = replace(fact, **changes)
    view = RunState(steps={HOSTILE: StepState(infect(SPEC), StepStatus.OK, samples=(GOOD,))})
    for line in sentences(hostile, view):
        assert len(line) <= 400
        assert line.isprintable()
        assert "\n" not in line


def test_numbers() -> None:
    assert [rate(value, TERMINAL) for value in (None, 0.5, 1.234, 12.34, 999.4, 1234.5)] == [
        "-", "0.50", "1.23", "12.3", "999.4", "1234",
    ]  # fmt: skip
    assert [share(value, style=TERMINAL) for value in (None, 0.0, 0.755, 1.0)] == ["-", "0 %", "76 %", "100 %"]


def test_what_was_skipped_is_not_said_to_be_measured() -> None:
    states = (StepStatus.OK,) * 4 + ("skipped",) * 3 + ("open",) * 4 + ("running",)
    view = RunState(steps={str(number): StepState(SPEC, StepStatus(state)) for number, state in enumerate(states)})
    assert counted(view.table.tally) == "4 of 12 steps measured, 3 skipped"
    each = ("open", "running", StepStatus.OK, "invalid", "failed", "timeout", "skipped")
    view = RunState(steps={state: StepState(SPEC, StepStatus(state)) for state in each})
    assert counted(view.table.tally) == "1 of 7 steps measured, 3 failed, 1 skipped"
    assert counted(RunState().table.tally) == "0 of 0 steps measured"
