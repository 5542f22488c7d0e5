"""Acceptance that is inferred, wherever it is shown: one answer proves K for its step, and nothing else is a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from specdash.analysis.figures import Figures
from specdash.core import events as ev
from specdash.core.engine import K_SEEN
from specdash.core.measure import INFERRED
from specdash.core.plan import Step
from specdash.core.state import RunState
from specdash.core.status import SampleStatus, StepStatus
from specdash.core.step_state import StepState
from specdash.store.result_json import document_of
from specdash.ui.narration import sentences
from specdash.ui.tui.lines import text_of
from specdash.ui.tui.results.detail import _table
from tests.support.recorded_run import folded, loaded, measured, sample, started, step

CATEGORIES = ("coding", "math")
Counts = Sequence[tuple[int, int | None]]
LUCKY_AND_NOT: Counts = ((30, 4), (10, None), (8, None))
NONE_PROVES: Counts = ((10, None), (6, None))


def inferring(of: Step, counts: Counts) -> list[ev.Fact]:
    """A step whose answers drafted 40 tokens each, accepted so many, and showed K or not."""
    facts: list[ev.Fact] = [ev.StepStarted(of.id, "l001", "fp")]
    for block, (accepted, k_seen) in enumerate(counts):
        unknown = {} if k_seen else {K_SEEN: "no step was so long"}
        taken = replace(
            sample(20.0 + block, block, of.k),
            draft_tokens=40,
            accepted_tokens=accepted,
            k_seen=k_seen,
            positions_drafted=(),
            positions_accepted=(),
            acceptance_source=INFERRED,
            unknown=unknown,
        )
        facts.append(ev.SampleTaken(of.id, "l001", taken, 1.0))
    verdicts = () if any(k_seen for _, k_seen in counts) else ("k_unproven",)
    return [*facts, ev.StepFinished(of.id, "l001", StepStatus.OK, verdicts, None, "fp")]


def run_of(coding: Counts, math: Counts) -> RunState:
    """A finished run with a baseline and K = 4 in two categories."""
    steps = [step(k, category) for k in (None, 4) for category in CATEGORIES]
    facts: list[ev.Fact] = [started(steps), *loaded(k=4)]
    for base in steps[:2]:
        facts += measured(base, [10.0, 11.0, 12.0])
    for drafted, counts in zip(steps[2:], (coding, math), strict=True):
        facts += inferring(drafted, counts)
    return folded([*facts, ev.RunFinished("finished", 0)])


def drafted_of(view: RunState) -> list[StepState]:
    return [found for found in view.steps.values() if found.step.k]


def rows_of(document: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [row for row in document[name] if row["k"] == 4]


def test_a_document_counts_every_answer_of_a_step_that_one_proves() -> None:
    document = document_of(run_of(LUCKY_AND_NOT, NONE_PROVES))
    coding, math = rows_of(document, "measurements")
    assert (coding["acceptance_rate"], coding["acceptance_source"], coding["k_seen"]) == (48 / 120, INFERRED, 4)
    assert [each["accepted_tokens"] for each in coding["samples"]] == [30, 10, 8]
    assert coding["summary"]["accepted_tokens"]["n"] == 3
    assert (math["acceptance_rate"], math["acceptance_source"], math["k_seen"]) == (None, None, None)
    assert [(each["draft_tokens"], each["accepted_tokens"]) for each in math["samples"]] == [(None, None)] * 2
    assert {each["unknown"]["draft_tokens"] for each in math["samples"]} == {"no step was so long"}
    assert "accepted_tokens" not in math["summary"]
    (arm,) = rows_of(document, "overall")
    assert (arm["acceptance_rate"], arm["acceptance_source"]) == (None, None), "the proven category is the lucky one"
    (arm,) = rows_of(document_of(run_of(LUCKY_AND_NOT, LUCKY_AND_NOT)), "overall")
    assert (arm["acceptance_rate"], arm["acceptance_source"]) == (96 / 240, INFERRED)


def test_a_sample_that_does_not_count_proves_nothing() -> None:
    view = run_of(LUCKY_AND_NOT, NONE_PROVES)
    found = drafted_of(view)[0]
    first, *others = found.samples
    spoilt = replace(found, samples=(replace(first, status=SampleStatus.INVALID, reasons=("swapping",)), *others))
    document = document_of(replace(view, steps={**view.steps, found.step.id: spoilt}))
    row = rows_of(document, "measurements")[0]
    assert row["acceptance_rate"] is None
    assert {each["draft_tokens"] for each in row["samples"]} == {None}


def test_the_screens_say_the_same() -> None:
    coding, math = drafted_of(run_of(LUCKY_AND_NOT, NONE_PROVES))
    shown = Figures([coding])
    assert (shown.acceptance, shown.is_inferred) == (48 / 120, True)
    assert (Figures([math]).acceptance, Figures([coding, math]).acceptance) == (None, None)
    drafted = [text_of(line).split()[8:10] for line in _table(coding, 100)[1:]]
    assert drafted == [["40", "75%"], ["40", "25%"], ["40", "20%"]]
    assert [text_of(line).split()[8:10] for line in _table(math, 100)[1:]] == [["-", "-"]] * 2


def test_the_narration_says_what_is_known_by_then() -> None:
    facts = inferring(step(4), ((10, None), (30, 4), (8, None)))
    told: list[str] = []
    for number, fact in enumerate(facts, start=1):
        view = folded([started([step(4)]), *loaded(k=4), *facts[:number]])
        told += [line for line in sentences(fact, view) if line.startswith("sample ")]
    assert ["accepted" in line for line in told] == [False, True, True]
    assert told[2].endswith(", ~20 % of 40 drafted accepted")
