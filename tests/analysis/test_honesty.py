"""In simulated worlds, whose truth is known: intervals hold it, choices are good, and drift deceives nobody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean, stdev

import pytest

from specdash.analysis.strategy import CURVE, SEARCH
from specdash.core.plan import KScope
from specdash.store.result_json import document_of
from tests.support import campaigns
from tests.support.campaigns import (
    ALL_KS,
    CURVED,
    DRIFTING,
    KNOWN_TO,
    KS,
    LISTED,
    SEARCHED,
    drawn,
    share_below,
    share_true,
    useless,
)
from tests.support.simulated_runs import LIST, Asked, Run
from tests.support.worlds import Pair, World, best_of, regret

FEW = {LIST: 40, CURVE: 12, SEARCH: 12}
MANY = 1000
LEAST = 95.0  # percent of runs
LEAST_OF_FEW = 90.0  # that is all but one of 12, or but four of 40
small = partial(drawn, categories=("coding",))

MODES = [
    pytest.param(LISTED, KS, id="list"),
    pytest.param(CURVED, ALL_KS, id="curve"),
    pytest.param(SEARCHED, ALL_KS, id="search"),
]


@pytest.mark.parametrize("asked", [LISTED, KNOWN_TO], ids=["fixed", "precision"])
def test_intervals_hold_the_truth(asked: Asked) -> None:
    assert 93 <= share_true(campaigns.covered(FEW[LIST], asked, small)) <= 97


@pytest.mark.parametrize(("asked", "ks"), MODES)
def test_the_chosen_k_is_nearly_the_best(asked: Asked, ks: Sequence[int]) -> None:
    regrets = [each.regret for each in campaigns.outcomes(FEW[asked.mode], asked, ks, small)]
    assert share_below(regrets, 0.02) >= LEAST_OF_FEW


@pytest.mark.parametrize(("asked", "ks"), MODES)
def test_off_where_nothing_is_gained(asked: Asked, ks: Sequence[int]) -> None:
    world = partial(useless, categories=("coding",))
    found = [each.recommendation["off"] for each in campaigns.outcomes(FEW[asked.mode], asked, ks, world)]
    assert share_true(found) >= LEAST_OF_FEW


def test_every_category_has_a_best_of_its_own() -> None:
    costs = tuple(1 + 0.06 * count for count in range(26))
    pair = Pair((0.5,), costs, {"coding": (0.95,), "prose": (0.2,)})
    run = Run(World({"0.5B": pair}, categories=("coding", "prose"), max_tokens=128), replace(LISTED, ks=(1, 8)), 1)
    chosen = {name: campaigns.outcome(run, (1, 8), name).chosen for name in ("coding", "prose")}
    assert chosen == {name: best_of(run.texts.rates((1, 8), name)) for name in chosen}
    assert chosen["coding"] != chosen["prose"]


def test_drift_does_not_bias_what_one_server_compares() -> None:
    """Six blocks, each second one in reverse order: a steady drift weighs alike on all Ks of a load."""
    world = partial(small, **(DRIFTING | {"drift_per_hour": -0.5}))
    _unbiased(campaigns.biases(FEW[LIST], replace(LISTED, scope=KScope.REQUEST), 1, world), 0.002)


def test_drift_between_loads_cancels_in_two_passes() -> None:
    world = partial(small, **DRIFTING)
    once = campaigns.biases(FEW[LIST], LISTED, None, world)
    twice = campaigns.biases(FEW[LIST], replace(LISTED, iterations=3, passes=2), None, world)
    assert fmean(once) < -0.05
    _unbiased(twice, 0.005)


@pytest.mark.parametrize(("drift_per_hour", "refused"), [(-0.2, True), (0.2, True), (0.0, False)])
def test_a_gain_smaller_than_the_drift_is_no_gain(drift_per_hour: float, refused: bool) -> None:
    """A draft that is 5 % faster, on a baseline that moves by more than that or not at all."""
    pair = Pair((1.0,), tuple((1 + count) / (1.05 if count else 1.0) for count in range(10)))
    quiet = replace(World({"0.5B": pair}), sample_noise=0.002, step_noise=0.01, load_s=600.0)
    run = Run(replace(quiet, drift_per_hour=drift_per_hour), Asked(ks=(4,), iterations=4, passes=2), 1)
    document = document_of(run.view)
    found = document["recommendations"][0]
    assert [abs(anchor["moved"]) > 0.05 for anchor in document["anchors"]] == [refused]
    assert (found["k"], found["proven"]) == ((None, False) if refused else (4, True))
    assert ("drifted" in found["reason"]) is refused


def test_one_pass_has_no_anchors() -> None:
    run = Run(small(1, **DRIFTING), LISTED, 1)
    assert document_of(run.view)["anchors"] == []


def test_the_truth_of_a_world() -> None:
    """By hand: all drafts are right, so four steps of one drafted token make the eight tokens behind the first."""
    world = World({"d": Pair((1.0,), (1.0, 1.5))}, max_tokens=9, plain_step_s=0.1, step_noise=0.0, sample_noise=0.0)
    run = Run(world, Asked(ks=(1,), iterations=3), 1)
    answer = run.texts.answer("d", 1, "coding", 0)
    assert (answer.drafted, answer.accepted, answer.cost) == ((1, 1, 1, 1), (1, 1, 1, 1), 6.0)
    assert run.texts.rates((1,)) == pytest.approx({(None, 0): 10.0, ("d", 1): 8 / 0.6})
    assert regret(run.texts.rates((1,)), (None, 0)) == pytest.approx(1 / 3)
    measured = [sample.decode_tok_s for found in run.view.steps.values() for sample in found.good]
    assert measured == pytest.approx([10.0] * 3 + [8 / 0.6] * 3)
    assert run.loads == 2


def _unbiased(errors: Sequence[float], largest: float) -> None:
    """The mean error is 0 within what chance does to it, and within `largest`."""
    assert abs(fmean(errors)) < 3 * stdev(errors) / len(errors) ** 0.5 + 1e-4
    assert abs(fmean(errors)) < largest


@pytest.mark.slow
@pytest.mark.parametrize("asked", [LISTED, KNOWN_TO], ids=["fixed", "precision"])
def test_intervals_hold_the_truth_in_a_thousand_runs(asked: Asked) -> None:
    assert 93 <= share_true(campaigns.covered(MANY, asked)) <= 97


@pytest.mark.slow
@pytest.mark.parametrize(("asked", "ks"), MODES)
def test_the_chosen_k_is_nearly_the_best_in_a_thousand_runs(asked: Asked, ks: Sequence[int]) -> None:
    assert share_below([each.regret for each in campaigns.outcomes(MANY, asked, ks)], 0.02) >= LEAST


@pytest.mark.slow
@pytest.mark.parametrize(("asked", "ks"), MODES)
def test_off_where_nothing_is_gained_in_a_thousand_runs(asked: Asked, ks: Sequence[int]) -> None:
    found = [each.recommendation["off"] for each in campaigns.outcomes(MANY, asked, ks, useless)]
    assert share_true(found) >= LEAST
