"""Forecasts: by hand from priors, and from what a run has shown so far."""

from __future__ import annotations

from dataclasses import replace

import pytest

from specdash.core.forecast import (
    PRIOR_DECODE_BYTES_S,
    PRIOR_READ_BYTES_S,
    PRIOR_START_S,
    Effort,
    Range,
    plan_time,
    prior_load,
    prior_sample,
    time_left,
)
from specdash.core.measure import Sample
from specdash.core.plan import DRAFT, KScope, PlannedLoad, Step, group
from specdash.core.view import LoadView, StepView, View

EFFORT = Effort(iterations=4, warmup=1, max_tokens=100)
GB = 1_000_000_000
SPEC = Step("T", "D", DRAFT, None, None, 4, "content", "coding", 0)
STEPS = (SPEC.baseline(), replace(SPEC, k=2), SPEC)
GOOD = replace(Sample.broken(prompt_id="p", block=0, started_s=0.0, reasons=()), status="ok")


def view(*steps: StepView, load_times: tuple[float | None, ...] = ()) -> View:
    loads = {
        str(number): LoadView(str(number), SPEC.key(4), (), "", 0, "", 0.0, load_time_s=seconds)
        for number, seconds in enumerate(load_times)
    }
    return View(steps={each.step.id: each for each in steps}, loads=loads)


def taken(step: Step, n: int, each_s: float, status: str = "open") -> StepView:
    return StepView(step, status, samples=(GOOD,) * n, wall_s=n * each_s)


def left(*steps: StepView, loads: tuple[PlannedLoad, ...] = (), load_times: tuple[float | None, ...] = ()) -> Range:
    found = time_left(view(*steps, load_times=load_times), loads, EFFORT)
    assert found is not None
    return found


def middle(found: Range) -> float:
    return (found.low_s + found.high_s) / 2


def test_ranges_add_and_multiply() -> None:
    assert Range(1.0, 2.0) + Range(10.0, 20.0) == Range(11.0, 22.0)
    assert Range(1.0, 2.0).times(3) == Range(3.0, 6.0)


def test_priors_by_hand() -> None:
    slow, fast = PRIOR_READ_BYTES_S
    assert prior_load(10 * GB) == Range(PRIOR_START_S[0] + 10 * GB / fast, PRIOR_START_S[1] + 10 * GB / slow)
    slow, fast = PRIOR_DECODE_BYTES_S
    assert prior_sample(10 * GB, 100) == Range(100 * 10 * GB / fast, 100 * 10 * GB / slow + 1.0)


def test_a_plan_costs_its_loads_and_all_their_requests() -> None:
    loads = group(STEPS, KScope.REQUEST)
    sizes = {load.key: 10 * GB for load in loads}
    one = prior_sample(10 * GB, 100)
    found = plan_time(loads, sizes, EFFORT)
    expected = prior_load(10 * GB).times(2) + one.times((1 * 4 + 1) + (2 * 4 + 1))
    assert found is not None
    assert (found.low_s, found.high_s) == pytest.approx((expected.low_s, expected.high_s))


def test_a_plan_of_unknown_models_has_no_forecast() -> None:
    loads = group(STEPS, KScope.STARTUP)
    assert plan_time(loads, {}, EFFORT) is None
    assert plan_time(loads, {loads[0].key: GB}, EFFORT) is None
    assert plan_time((), {}, EFFORT) == Range(0.0, 0.0)


def test_nothing_is_forecast_before_the_first_sample() -> None:
    assert time_left(view(*(StepView(step) for step in STEPS), load_times=(5.0,)), group(STEPS, None), EFFORT) is None


def test_steps_left_are_timed_by_the_most_alike() -> None:
    base, k2, k4 = STEPS
    other = replace(k4, category="math")
    far = replace(base, target="T2")
    seen = (taken(base, 4, 1.0, "ok"), taken(k2, 4, 2.0, "ok"), taken(k4, 2, 3.0))
    assert middle(left(*seen)) == pytest.approx(2 * 3.0)
    # The same target, draft and K; then the same pair; then the same target; then everything.
    assert middle(left(*seen, StepView(other))) == pytest.approx(2 * 3.0 + 4 * 3.0)
    assert middle(left(*seen, StepView(replace(k4, k=8)))) == pytest.approx(2 * 3.0 + 4 * 2.5)
    assert middle(left(*seen, StepView(replace(k4, draft="D2")))) == pytest.approx(2 * 3.0 + 4 * 2.0)
    assert middle(left(*seen, StepView(far))) == pytest.approx(2 * 3.0 + 4 * 2.0)


def test_loads_and_warm_ups_are_timed_apart_from_samples() -> None:
    base, _, k4 = STEPS
    seen = (taken(base, 4, 1.0, "ok"), StepView(k4))
    queued = group([k4], KScope.STARTUP)
    assert middle(left(*seen, loads=queued, load_times=(10.0, 30.0, None))) == pytest.approx(20.0 + 4 * 1.0 + 1 * 1.0)
    assert middle(left(*seen, loads=queued)) == pytest.approx(4 * 1.0 + 1 * 1.0)


@pytest.mark.parametrize("status", ["ok", "invalid", "failed", "timeout", "skipped"])
def test_finished_steps_cost_nothing_more(status: str) -> None:
    base, k2, k4 = STEPS
    found = left(taken(base, 4, 1.0, "ok"), taken(k2, 1, 2.0, status), taken(k4, 4, 3.0))
    assert found == Range(0.0, 0.0)


def test_the_range_narrows_with_two_finished_steps() -> None:
    base, k2, k4 = STEPS
    wide = left(taken(base, 4, 1.0, "ok"), taken(k4, 2, 1.0))
    narrow = left(taken(base, 4, 1.0, "ok"), taken(k2, 4, 1.0, "ok"), taken(k4, 2, 1.0))
    assert middle(wide) == pytest.approx(middle(narrow)) == pytest.approx(2.0)
    assert 0 < narrow.high_s - narrow.low_s < wide.high_s - wide.low_s


def test_an_invalid_sample_is_taken_again() -> None:
    base, k2, _ = STEPS
    torn = replace(GOOD, status="invalid")
    found = left(taken(base, 4, 1.0, "ok"), StepView(k2, samples=(GOOD, torn), wall_s=4.0))
    assert middle(found) == pytest.approx(3 * 2.0)
