"""What is found of one load is what is found of it among all loads: looking at a part leaves nothing out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from specdash.analysis.findings import derived_findings, part_of, view_of_pair
from specdash.analysis.lossless import agreement
from specdash.analysis.roofline import LEAST_FIGURES
from specdash.core import events as ev
from specdash.core.plan import KScope
from specdash.core.state import RunState
from tests.support.simulated_runs import Asked, Run
from tests.support.worlds import Pair, World

PAIRS = {"D": Pair((0.8, 0.6), (1.0, 1.2, 1.4)), "E": Pair((0.6,), (1.0, 1.1, 1.3))}
# It drifts, so that comparisons are refused, and its memory is too slow for its rates: there is much to be found.
WORLD = World(PAIRS, ("coding", "prose"), sample_noise=0.05, drift_per_hour=3.0)


@pytest.fixture(scope="module", params=["list", "curve"])
def view(request: pytest.FixtureRequest) -> RunState:
    """A finished run of two passes."""
    run = Run(WORLD, Asked(request.param, (2, 4, 8), 4, passes=2, scope=KScope.REQUEST), 1)
    models = {label: replace(model, bytes_per_token=model.size_bytes) for label, model in run.view.models.items()}
    return replace(
        run.view, models=models, bandwidth=ev.BandwidthMeasured(1e9, 1000, 1, ""), bandwidth_count=LEAST_FIGURES
    )


def test_what_is_found_of_a_pair_needs_no_other_pairs(view: RunState) -> None:
    whole = derived_findings(view)
    assert {verdict.value for found in whole.values() for verdict, _ in found} >= {"impossible", "drifted"}
    for pair in view.table.pairs():
        mine = {found.step.id for found in view.table.of_pair(pair)}
        part = part_of(view, [pair])
        assert mine <= set(part.steps)
        found = derived_findings(part)
        assert {name: each for name, each in found.items() if name in mine} == {
            name: each for name, each in whole.items() if name in mine
        }


def test_a_baseline_brings_all_that_is_compared_with_it(view: RunState) -> None:
    baseline = next(pair for pair in view.table.pairs() if not pair.speculates)
    assert derived_findings(part_of(view, [baseline])) == derived_findings(view)


def test_whether_a_text_is_the_baselines_is_told_by_the_two_pairs_alone(view: RunState) -> None:
    for found in view.steps.values():
        assert agreement(found, view_of_pair(view, found.step.pair)) == agreement(found, view)
