"""Forecasts: by hand from priors, and from what a run has shown so far."""

from __future__ import annotations

from dataclasses import replace

import pytest

from specdash.core import events as ev
from specdash.core.forecast import (
    PRIOR_DECODE_BYTES_S,
    PRIOR_READ_BYTES_S,
    PRIOR_START_S,
    Effort,
    Range,
    loads_left,
    outlook,
    plan_time,
    prior_load,
    prior_sample,
)
from specdash.core.measure import Sample
from specdash.core.methods import DRAFT
from specdash.core.plan import KScope, Step, group
from specdash.core.view import LoadView, StepView, View

EFFORT = Effort(iterations=4, warmup=1, max_tokens=100)
GB = 1_000_000_000
SPEC = Step("T", "D", DRAFT, None, None, 4, "content", "coding", 0)
STEPS = (SPEC.baseline(), replace(SPEC, k=2), SPEC)
GOOD = replace(Sample.broken(prompt_id="p", block=0, started_s=0.0, reasons=()), status="ok")


def run(warmup: int) -> ev.RunStarted:
    settings = {"iterations": 4, "warmup": warmup, "max_tokens": 100}
    return ev.RunStarted("r", "n", "0", {}, "h", settings, "", STEPS)


def view(*steps: StepView, load_times: tuple[float | None, ...] = (), warmup: int = 0) -> View:
    loads = {
        str(number): LoadView(str(number), SPEC.key(4), (), "", 0, "", 0.0, load_time_s=seconds, finished=True)
        for number, seconds in enumerate(load_times)
    }
    return View(run=run(warmup), steps={each.step.id: each for each in steps}, loads=loads)


def taken(step: Step, n: int, each_s: float, status: str = "open") -> StepView:
    return StepView(step, status, samples=(GOOD,) * n, wall_s=n * each_s)


def left(*steps: StepView, load_times: tuple[float | None, ...] = (0.0,), warmup: int = 0) -> Range:
    """The time left; loads and warm-ups cost nothing, and no server is up, unless told otherwise."""
    found = outlook(view(*steps, load_times=load_times, warmup=warmup)).left
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


def test_nothing_is_forecast_before_the_first_sample_of_models_of_unknown_size() -> None:
    assert outlook(view(*(StepView(step) for step in STEPS), load_times=(5.0,))).left is None


def test_before_the_first_sample_the_size_of_the_models_gives_a_wide_forecast() -> None:
    read = {
        label: ev.ModelRead(label, role, "", size, None, None, "moe")
        for label, role, size in (("T", "target", 10 * GB), ("D", "draft", GB))
    }
    found = outlook(replace(view(*(StepView(step) for step in STEPS)), models=read))
    assert len(found.loads) == 2
    expected = prior_load(10 * GB) + prior_load(11 * GB) + prior_sample(10 * GB, 100).times(12)
    assert found.left is not None
    assert (found.left.low_s, found.left.high_s) == pytest.approx((expected.low_s, expected.high_s))


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
    times = (10.0, 30.0, None)
    assert middle(left(*seen, load_times=times, warmup=1)) == pytest.approx(20.0 + 4 * 1.0 + 1 * 1.0)
    assert middle(left(*seen, warmup=1)) == pytest.approx(4 * 1.0 + 1 * 1.0)


def test_before_a_pair_has_a_sample_its_warm_up_tells_how_long_one_takes() -> None:
    base, _, k4 = STEPS
    loads = {"l001": LoadView("l001", k4.key(4), (), "", 0, "", 0.0, warm_up_s=7.0, load_time_s=0.0, finished=True)}
    found = outlook(replace(view(taken(base, 4, 1.0, "ok"), StepView(k4)), loads=loads)).left
    assert found is not None
    assert middle(found) == pytest.approx(4 * 7.0)


def test_the_server_that_runs_needs_no_load_for_what_it_can_take() -> None:
    base, k2, k4 = STEPS
    steps = (taken(base, 4, 1.0, "ok"), StepView(k2), StepView(k4), StepView(replace(k4, k=8)))
    running = LoadView("l002", SPEC.key(4), (), "", 0, "", 0.0, k_scope="request")
    found = replace(view(*steps), loads={"l002": running}, current_load="l002")
    assert [[step.k for step in load.steps] for load in loads_left(found)] == [[8]]
    fixed = replace(found, loads={"l002": replace(running, k_scope="startup")})
    assert [[step.k for step in load.steps] for load in loads_left(fixed)] == [[2], [8]]


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
