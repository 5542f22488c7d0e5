"""Baselines in both passes: what they moved by, and which comparisons that refuses."""

from __future__ import annotations

import pytest

from specdash.analysis.pass_drift import SECOND_PASS, Anchor, anchor_of, anchors, drift_detail, drifted
from specdash.core import commands as cmd
from specdash.core import events as ev
from specdash.core.plan import Step
from specdash.core.state import RunState
from tests.support.recorded_run import folded, measured, started, step

BASE, K4 = step(), step(4)


def two_passes(
    *facts: list[ev.Fact], steps: tuple[Step, ...] = (BASE, K4), passes: int = 2, iterations: int = 3
) -> RunState:
    """A run whose blocks from `iterations` on are of the second pass, for which its steps take twice as many."""
    settings = {"max_tokens": 101, "iterations": iterations, "passes": passes}
    counts = {each.id: passes * iterations for each in steps}
    edits = (cmd.SetIterations(tuple(counts), passes * iterations),)
    begun = [ev.PlanChanged("again", 1, edits, SECOND_PASS)] if passes == 2 else []
    told = [started(steps, settings=settings), *begun, *(fact for part in facts for fact in part)]
    return folded(told)


def only(view: RunState) -> Anchor:
    (found,) = anchors(view).values()
    return found


def test_a_baseline_that_slows_down_between_the_passes() -> None:
    # Three prompts of unlike speed, 10 % slower in the second pass; the arm with a draft is no anchor.
    view = two_passes(measured(BASE, [10.0, 20.0, 30.0, 9.0, 18.0, 27.0]), measured(K4, [20.0] * 6))
    found = only(view)
    assert (found.first_tok_s, found.last_tok_s, found.n) == (20.0, 18.0, 3)
    assert found.moved == pytest.approx(-0.1)
    assert anchor_of(K4, anchors(view)) == found
    assert anchor_of(K4.with_values(config="kv-q8"), anchors(view)) is None


def test_only_prompts_of_both_passes_count_and_each_the_same() -> None:
    # The third prompt was answered in the first pass alone, the first one twice in the second.
    view = two_passes(measured(BASE, [10.0, 20.0, 90.0, 11.0, 22.0]))
    assert only(view).n == 2
    assert only(view).moved == pytest.approx(0.1)
    rates = [10.0, 20.0, 30.0, 11.0, 22.0, 33.0, 13.0]
    assert only(two_passes(measured(BASE, rates))).last_tok_s == pytest.approx((12.0 + 22.0 + 33.0) / 3)


def test_an_anchor_is_over_the_categories_of_its_group() -> None:
    math = step(category="math")
    deep = step(depth=4096)
    view = two_passes(
        measured(BASE, [10.0] * 3 + [11.0] * 3),
        measured(math, [30.0] * 3 + [29.0] * 3),
        measured(deep, [5.0] * 6),
        steps=(BASE, math, deep),
    )
    found = {arm.depth: anchor for arm, anchor in anchors(view).items()}
    assert (found[0].first_tok_s, found[0].last_tok_s, found[0].moved, found[0].n) == (20.0, 20.0, 0.0, 6)
    assert found[4096].moved == 0.0


def test_where_there_is_nothing_to_compare_there_is_no_anchor() -> None:
    rates = [10.0, 20.0, 30.0, 9.0, 18.0, 27.0]
    assert anchors(two_passes(measured(BASE, rates), passes=1)) == {}
    assert anchors(two_passes(measured(BASE, rates[:3]))) == {}
    assert anchors(two_passes(measured(BASE, rates, "invalid"))) == {}
    assert anchors(two_passes(measured(BASE, [float("nan")] * 6))) == {}
    assert anchors(RunState()) == {}


def test_a_comparison_is_refused_when_the_baseline_moved_by_more_than_the_effect() -> None:
    moved = Anchor(BASE, 10.0, 9.5, -0.05, 3)
    assert drifted(1.04, moved)
    assert drifted(0.97, moved)
    assert not drifted(1.06, moved)
    assert not drifted(0.90, moved)
    assert not drifted(1.0, None)
    assert "moved by -5.0 % between the passes" in drift_detail(1.04, moved)
