"""The figures of a run that grow fact by fact are those of its journal read at once, to the last digit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from recorded_run import DRAFT, folded, loaded, measured, recorded, sample, started, step
from simulated import Asked, Run
from worlds import Pair, World

from specdash.analysis.build_result import result_of
from specdash.analysis.figures import ArmFigures, FiguresCache, StepFigures, in_order
from specdash.core import commands as cmd
from specdash.core import events as ev
from specdash.core.plan import KScope, Step
from specdash.core.view import View, fold_all
from specdash.store.result_json import to_document

STEPS = tuple(
    step(k, category, draft=None if k is None else draft)
    for draft in (DRAFT, "7B")
    for k in (None, 2, 8)
    for category in ("coding", "prose")
    if k is not None or draft == DRAFT
)
LATER = (step(4), step(4, "prose"), step(None, copy=1), step(8, draft=None, method="ngram-simple", ngram_n=4))
RATES = some.one_of(some.floats(1.0, 100.0), some.sampled_from([math.nan, math.inf]), some.integers(1, 50).map(float))
STATUSES = some.sampled_from(["ok", "ok", "ok", "failed", "invalid", "timeout"])
WORLD = World({"D": Pair((0.8, 0.6), (1.0, 1.2, 1.4)), "E": Pair((0.6,), (1.0, 1.1))}, ("coding", "prose"))


@some.composite
def journals(draw: some.DrawFn) -> list[ev.Fact]:
    """A run whose steps are measured in any order and more than once, with edits of the queue in between."""
    states = dict.fromkeys(STEPS, "open")
    told: list[ev.Fact] = [started(STEPS), *loaded(k=8)]
    for _ in range(draw(some.integers(1, 12))):
        of = draw(some.sampled_from(list(states)))
        kind = draw(some.sampled_from(["measured", "measured", "measured", "part", "raised", "edit"]))
        if kind in ("measured", "part"):
            facts = _samples(of, draw(some.lists(RATES, max_size=5)), draw(STATUSES), draw(some.booleans()))
            told += facts if kind == "measured" else facts[:-1]
            states[of] = "done" if kind == "measured" else "running"
        elif kind == "raised":
            told.append(ev.VerdictRaised(of.id, "l001", "noisy", draw(some.sampled_from(["", "it scatters"]))))
        else:
            told += _edits(draw, states, of)
    return told


def _samples(of: Step, rates: Sequence[float], status: str, is_by_client: bool) -> list[ev.Fact]:
    """A step with these rates; every third sample of it does not count, some are timed by the client's clock."""
    facts = measured(of, rates, status)
    for at, rate in enumerate(rates):
        taken = sample(rate, at, of.k, status="ok" if at % 3 < 2 else "invalid")
        taken = replace(taken, clock="client" if is_by_client and at % 2 else "server", ttft_s=rate or None)
        facts[at + 1] = ev.SampleTaken(of.id, "l001", taken, 1.0)
    return facts


def _edits(draw: some.DrawFn, states: dict[Step, str], of: Step) -> list[ev.Fact]:
    """An edit of the queue that may change what there is to be compared, and in which order."""
    edits: list[tuple[cmd.Edit, Step, str]] = []
    if states[of] == "open":
        edits += [(cmd.Skip((of.id,)), of, "done"), (cmd.Move((of.id,)), of, "open")]
    if states[of] == "done":
        edits.append((cmd.Reopen((of.id,)), of, "open"))
    if new := next((each for each in LATER if each not in states), None):
        before = of.id if states[of] == "open" and draw(some.booleans()) else None
        edits.append((cmd.Add((new,), before), new, "open"))
    if not edits:
        return []
    edit, about, state = draw(some.sampled_from(edits))
    states[about] = state
    return [ev.CommandAccepted(cmd.EDIT, "", (cmd.encode_edit(edit),))]


def grown(records: Sequence[ev.Recorded], cuts: Sequence[int], figures: FiguresCache) -> View:
    """The state after all facts, with the figures brought up to date at these places, some of them but in part."""
    view, before = View(), 0
    for at in sorted({cut % (len(records) + 1) for cut in cuts}):
        view = fold_all(records[before:at], view)
        figures.update(view, 0.0 if at % 3 == 0 else math.inf)
        before = at
    return fold_all(records[before:], view)


@settings(max_examples=40, deadline=None)
@given(journals(), some.lists(some.integers(0, 200), max_size=6))
def test_figures_that_grow_equal_those_that_are_made_at_once(facts: list[ev.Fact], cuts: list[int]) -> None:
    figures, anew = FiguresCache(), FiguresCache()
    view = grown(recorded(facts), cuts, figures)
    assert figures.update(view)
    assert anew.update(view)
    assert list(figures.rows) == list(anew.rows) == list(view.steps)
    assert list(figures.arms) == list(anew.arms)
    for grows, fresh in ((figures.rows, anew.rows), (figures.arms, anew.arms)):
        assert list(map(told, grows.values())) == list(map(told, fresh.values()))
    assert [arm.missing for arm in figures.arms.values()] == [arm.missing for arm in anew.arms.values()]
    assert to_document(result_of(view, figures)) == to_document(result_of(fold_all(recorded(facts))))


def told(row: StepFigures | ArmFigures) -> str:
    """All that the figures of a row say, with every digit."""
    found = row.figures
    return repr((found.n, dict(found.summary), found.compared, found.drafting, found.facts, found.loads))


@pytest.mark.parametrize("asked", [Asked("curve", (2, 4, 8), 4, scope=KScope.REQUEST), Asked("search", (2, 8), 4, 2)])
def test_a_simulated_run_says_the_same_however_often_it_is_looked_at(asked: Asked) -> None:
    run = Run(WORLD, asked, 3)
    figures = FiguresCache()
    view = grown(run.records, range(0, len(run.records), 7), figures)
    assert to_document(result_of(view, figures)) == to_document(result_of(run.view))


def test_baselines_come_first_and_each_drafts_ks_ascend() -> None:
    mixed = [step(8), step(2, draft="7B"), step(None), step(2), step(8, draft="7B")]
    view = folded([started(mixed), *(fact for each in mixed for fact in measured(each, [10.0, 11.0]))])
    figures = FiguresCache()
    figures.update(view)
    assert [(arm.step.draft, arm.step.k) for arm in in_order(figures.arms.values())] == [
        (None, None),
        (DRAFT, 2),
        (DRAFT, 8),
        ("7B", 2),
        ("7B", 8),
    ]
