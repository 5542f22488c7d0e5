"""What is measured next: stages of curves, searches and passes, played through in simulated runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from specdash.analysis import strategy
from specdash.analysis.pass_drift import second_pass
from specdash.core import commands as cmd
from specdash.core import events as ev
from specdash.core.methods import BASELINE
from specdash.core.model import k_max
from specdash.core.plan import KScope, LoadKey
from specdash.core.state import RunState
from specdash.core.status import StepStatus
from specdash.store.codec import decode_fact, encode_fact
from tests.support.campaigns import drawn
from tests.support.simulated_runs import Asked, Run

K_MAX = k_max("dense-small")


def keys(run: Run) -> list[LoadKey]:
    return [load.key for load in run.view.loads.values()]


def pairs(run: Run) -> int:
    return len({(key.target, key.draft) for key in keys(run) if key.draft is not None})


def stages(run: Run) -> list[str]:
    return [change.stage for change in run.view.replans]


@pytest.fixture(scope="module")
def curve() -> Run:
    return Run(drawn(1), Asked("curve", (K_MAX,), iterations=3), 1)


def test_a_curve_takes_at_most_three_loads_a_pair_and_begins_at_the_largest_k(curve: Run) -> None:
    drafted = [key for key in keys(curve) if key.draft is not None]
    assert drafted[0].k_startup == K_MAX
    assert pairs(curve) < len(drafted) <= 3 * pairs(curve)
    assert all(found.status == "ok" for found in curve.view.steps.values())


def test_each_pair_is_confirmed_once_and_says_why(curve: Run) -> None:
    confirmed = [change for change in curve.view.replans if change.stage.startswith("confirm")]
    assert len(confirmed) == pairs(curve) == len({change.stage for change in confirmed})
    assert all("the best K is predicted to be" in change.reason for change in confirmed)


def test_every_confirmed_k_is_measured_in_all_categories_with_as_many_samples(curve: Run) -> None:
    by_k: dict[tuple[str | None, int | None], set[tuple[str, int]]] = {}
    for found in curve.view.steps.values():
        if found.step.method != BASELINE:
            by_k.setdefault((found.step.draft, found.step.k), set()).add((found.step.category, len(found.good)))
    assert len(set(map(frozenset, by_k.values()))) == 1


def test_where_k_is_per_request_the_whole_curve_takes_one_load() -> None:
    run = Run(drawn(1), Asked("curve", (K_MAX,), iterations=3, scope=KScope.REQUEST), 1)
    assert len([key for key in keys(run) if key.draft is not None]) == pairs(run)
    assert len({found.step.k for found in run.view.steps.values()}) > 2


def test_nothing_changes_while_a_pair_is_measured_or_the_run_is_being_stopped(curve: Run) -> None:
    first = next(found for found in curve.view.steps.values() if found.step.k == K_MAX)
    without_stage = replace(curve.view, replans=(), finished=None)
    assert strategy.next_change(without_stage) is not None
    half = {**without_stage.steps, first.step.id: replace(first, status=StepStatus.RUNNING)}
    of_others = strategy.next_change(replace(without_stage, steps=half))
    assert of_others is None or first.step.pair.label not in of_others.stage
    assert strategy.next_change(replace(without_stage, stopping=True)) is None
    assert strategy.next_change(RunState()) is None


def test_without_traces_a_curve_measures_two_ordinary_ks(curve: Run) -> None:
    blind = replace(curve.view, replans=(), finished=None, traces={})
    only_first = {step_id: found for step_id, found in blind.steps.items() if found.step.k in (None, K_MAX)}
    change = strategy.next_change(replace(blind, steps=only_first))
    assert change is not None
    assert "no curve can be predicted" in change.reason
    added = {step.k for edit in change.edits if isinstance(edit, cmd.Add) for step in edit.steps}
    assert added == set(strategy.FALLBACK_KS)


@pytest.mark.parametrize("scope", [KScope.STARTUP, KScope.REQUEST])
def test_a_search_spends_more_on_what_may_be_best_and_ends(scope: KScope) -> None:
    run = Run(drawn(1), Asked("search", (2, 4, 8, 16), iterations=16, scope=scope), 3)
    counts: dict[tuple[str | None, int | None], int] = {}
    for found in run.view.steps.values():
        if found.step.method != BASELINE:
            counts[found.step.draft, found.step.k] = len(found.good)
    assert min(counts.values()) < max(counts.values()) <= 16
    assert sum(stage.startswith("found") for stage in stages(run)) == pairs(run)
    assert all(found.is_done for found in run.view.steps.values())
    if scope is KScope.REQUEST:
        assert len([key for key in keys(run) if key.draft is not None]) == pairs(run)


@pytest.mark.parametrize("scope", [KScope.STARTUP, KScope.REQUEST])
def test_a_second_pass_takes_the_loads_in_mirrored_order_with_as_many_samples_again(scope: KScope) -> None:
    run = Run(drawn(1), Asked("list", (2, 8), iterations=3, passes=2, scope=scope), 1)
    found = keys(run)
    assert found == found[::-1], "the last server serves both its turns at once"
    assert len(found) == 2 * len(set(found)) - 1
    assert found[0].draft is None
    assert {len(each.good) for each in run.view.steps.values()} == {6}
    assert stages(run) == ["pass 2"]


def test_stages_survive_the_journal(curve: Run) -> None:
    for change in curve.view.replans:
        assert decode_fact(ev.PlanChanged.TYPE, encode_fact(change)) == change


def test_a_search_ends_though_a_prompt_never_gives_a_sample() -> None:
    run = Run(drawn(1), Asked("search", (2, 4, 8, 16), iterations=16), 3)
    going = tuple(change for change in run.view.replans if not change.stage.startswith("found"))
    lacking = {
        step_id: replace(found, samples=found.samples[1:] if found.step.method != BASELINE else found.samples)
        for step_id, found in run.view.steps.items()
    }
    view = replace(run.view, steps=lacking, replans=going, finished=None)
    change = strategy.next_change(view)
    for edit in change.edits if change is not None else ():
        assert isinstance(edit, cmd.SetIterations)
        assert all(edit.iterations > (view.iterations(step_id) or 0) for step_id in edit.steps)
    at_most = {step_id: replace(found, iterations=16) for step_id, found in lacking.items()}
    change = strategy.next_change(replace(view, steps=at_most))
    assert change is None or not any(isinstance(edit, cmd.SetIterations) for edit in change.edits)


def test_one_sample_for_each_k_starts_no_search() -> None:
    run = Run(drawn(1), Asked("search", (2, 4, 8, 16), iterations=1), 1)
    assert {found.step.k for found in run.view.steps.values()} == {None, 2, 4, 8, 16}
    assert all("raise iterations" in change.reason for change in run.view.replans)


def test_what_the_user_skipped_at_the_largest_k_is_not_measured_at_others(curve: Run) -> None:
    first = {step_id: found for step_id, found in curve.view.steps.items() if found.step.k in (None, K_MAX)}
    skipped = {
        step_id: replace(found, status=StepStatus.SKIPPED, by_user=True, samples=())
        if found.step.k == K_MAX and found.step.category == "prose"
        else found
        for step_id, found in first.items()
    }
    change = strategy.next_change(replace(curve.view, steps=skipped, replans=(), finished=None))
    assert change is not None
    added = {step.category for edit in change.edits if isinstance(edit, cmd.Add) for step in edit.steps}
    assert added == {"coding", "chat"}


def test_a_run_that_was_stopped_between_stages_is_unfinished(curve: Run) -> None:
    first = {step_id: found for step_id, found in curve.view.steps.items() if found.step.k in (None, K_MAX)}
    stopped = replace(curve.view, steps=first, replans=(), finished=ev.RunFinished("stopped", 75), stopping=False)
    assert strategy.is_unfinished(stopped)
    assert not strategy.is_unfinished(curve.view)


def test_passes_that_precision_ended_early_begin_the_second_at_one_block() -> None:
    run = Run(drawn(1), Asked("list", (2, 8), iterations=24, passes=2, precision=0.015), 1)
    blocks = {step_id: {sample.block for sample in found.good} for step_id, found in run.view.steps.items()}
    begins = second_pass(run.view)
    assert begins is not None
    firsts = {step_id: {block for block in found if block < begins} for step_id, found in blocks.items()}
    assert len({len(found) for found in firsts.values()}) > 1, "precision ended steps at different numbers"
    for step_id, found in blocks.items():
        assert (
            {block - begins for block in found if block >= begins}
            == firsts[step_id]
            == set(range(len(firsts[step_id])))
        )
