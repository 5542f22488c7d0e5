"""Forecasts: by hand from priors, and from what a run has shown so far."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from specdash.core import events as ev
from specdash.core.forecast import Forecaster, ForecastRequest, Outlook, Range, in_flight, loads_left, outlook
from specdash.core.measure import Sample
from specdash.core.methods import DRAFT
from specdash.core.plan import Step
from specdash.core.priors import (
    NO_PROMPT,
    PRIOR_DECODE_BYTES_S,
    PRIOR_PREFILL_BYTES_S,
    PRIOR_READ_BYTES_S,
    PRIOR_START_S,
    PRIOR_TOKEN_BYTES,
    REQUEST_S,
    TEMPLATE_TOKENS,
    RequestTime,
    Tokens,
    prior_load,
    prior_request,
    prior_tokens,
)
from specdash.core.reduce import fold
from specdash.core.state import LoadState, RunState
from specdash.core.status import SampleStatus, StepStatus
from specdash.core.step_state import StepState
from specdash.core.ticks import ServerTick, Telemetry, TokenTick
from specdash.core.timings import FIRST_SPREAD, SPREADS
from specdash.core.unmeasured_requests import MOST_TRACES, PROBE_TOKENS, PROBES, UnmeasuredRequests, cost_answers
from tests.support.simulated_runs import Asked as Ask
from tests.support.simulated_runs import Run
from tests.support.worlds import Pair, World

GB = 1_000_000_000
SPEC = Step.of("T", draft="D", method=DRAFT, k=4, category="coding")
WORLD = World({"D": Pair((0.8, 0.6), (1.0, 1.2, 1.4)), "E": Pair((0.6,), (1.0, 1.1, 1.3))}, ("coding", "prose"))
STEPS = (SPEC.baseline(), SPEC.with_values(k=2), SPEC)
SETTLED = ev.EngineFound("llama-server", "", "", "", k_scope="request")  # nobody has to be asked who decides K
GOOD = replace(Sample.broken(prompt_id="p", block=0, started_s=0.0, reasons=()), status=SampleStatus.OK)


def run(warmup: int) -> ev.RunStarted:
    settings = ev.RunSettings(iterations=4, warmup=warmup, max_tokens=100)
    return ev.RunStarted("r", "n", "0", {}, "h", settings, "", STEPS)


def view(*steps: StepState, load_times: tuple[float | None, ...] = (), warmup: int = 0) -> RunState:
    loads = {
        str(number): LoadState(str(number), SPEC.key(4), (), "", 0, "", 0.0, load_time_s=seconds, finished=True)
        for number, seconds in enumerate(load_times)
    }
    return RunState(run=run(warmup), engine=SETTLED, steps={each.step.id: each for each in steps}, loads=loads)


def taken(step: Step, n: int, each_s: float, status: str = "open") -> StepState:
    return StepState(step, StepStatus(status), samples=(GOOD,) * n, wall_s=n * each_s)


def left(*steps: StepState, load_times: tuple[float | None, ...] = (0.0,), warmup: int = 0) -> Range:
    """The time left; loads and warm-ups cost nothing, and no server is up, unless told otherwise."""
    found = outlook(view(*steps, load_times=load_times, warmup=warmup)).left
    assert found is not None
    return found


def middle(found: Range) -> float:
    """A forecast is off by as many times to either side."""
    return math.sqrt(found.low_s * found.high_s)


def test_ranges_add_and_multiply() -> None:
    assert Range(1.0, 2.0) + Range(10.0, 20.0) == Range(11.0, 22.0)
    assert Range(1.0, 2.0).times(3) == Range(3.0, 6.0)


def test_priors_by_hand() -> None:
    slow, fast = PRIOR_READ_BYTES_S
    assert prior_load(10 * GB) == Range(PRIOR_START_S[0] + 10 * GB / fast, PRIOR_START_S[1] + 10 * GB / slow)
    slow, fast = PRIOR_DECODE_BYTES_S
    plain = prior_request(10 * GB, 100)
    assert plain == RequestTime(Range(0.0, 0.0), Range(100 * 10 * GB / fast, 100 * 10 * GB / slow + REQUEST_S))
    # All four drafted tokens accepted at best; at worst none, and verifying them costs one pass more.
    drafted = prior_request(10 * GB, 100, NO_PROMPT, GB, 4).answer
    assert drafted.low_s == pytest.approx(100 / 5 * (10 + 4 * 1) * GB / fast)
    assert drafted.high_s == pytest.approx(100 * (2 * 10 + 4 * 1) * GB / slow + REQUEST_S)
    slow, fast = PRIOR_PREFILL_BYTES_S
    read = prior_request(10 * GB, 100, Tokens(100, 400)).read
    assert (read.low_s, read.high_s) == pytest.approx((100 * 10 * GB / fast, 400 * 10 * GB / slow))


def test_the_tokens_of_a_prompt_are_bounded_by_its_bytes() -> None:
    least, most = PRIOR_TOKEN_BYTES
    assert prior_tokens(600, 1000) == Tokens(1000 + 600 / most, 1000 + 600 / least + TEMPLATE_TOKENS)


def test_nothing_is_forecast_before_the_first_sample_of_models_of_unknown_size() -> None:
    assert outlook(view(*(StepState(step) for step in STEPS), load_times=(5.0,))).left is None


def test_before_the_first_sample_the_size_of_the_models_gives_a_wide_forecast() -> None:
    read = {
        label: ev.ModelRead(label, role, "", size, None, None, "moe")
        for label, role, size in (("T", "target", 10 * GB), ("D", "draft", GB))
    }
    found = outlook(replace(view(*(StepState(step) for step in STEPS)), models=read))
    assert len(found.loads) == 2
    plain, spec = (prior_request(10 * GB, 100, prior_tokens(0, 0), draft, k).whole for draft, k in ((0, None), (GB, 4)))
    half = prior_request(10 * GB, 100, prior_tokens(0, 0), GB, 2).whole
    expected = prior_load(10 * GB) + prior_load(11 * GB) + plain.times(4 + 4) + half.times(4) + spec.times(4)
    assert found.left is not None
    assert (found.left.low_s, found.left.high_s) == pytest.approx((expected.low_s, expected.high_s))


def test_steps_left_are_timed_by_the_most_alike() -> None:
    base, k2, k4 = STEPS
    other = replace(k4, category="math")
    far = replace(base, target="T2")
    seen = (taken(base, 4, 1.0, "ok"), taken(k2, 4, 2.0, "ok"), taken(k4, 2, 3.0))

    def time(step: Step) -> Range:
        return outlook(view(*seen, StepState(step))).steps[step.id]

    assert outlook(view(*seen)).steps[k4.id] == Range(2 * 3.0 / SPREADS[0], 2 * 3.0 * SPREADS[0])
    # The same target, draft and K; then the same pair; then the same target; then everything: the less sure.
    alike = (other, k4.with_values(k=8), k4.with_values(draft="D2"), k4.with_values(draft="D2", target="T2"))
    for step, each_s, spread in zip(alike, (3.0, 2.5, 2.0, 2.0), SPREADS, strict=True):
        found = time(step)
        assert (found.low_s, found.high_s) == pytest.approx((4 * each_s / spread, 4 * each_s * spread))
    # A baseline answers each prompt once more, for its text to be compared with.
    assert middle(time(far)) == pytest.approx((4 + 4) * 2.0)


def test_loads_and_warm_ups_are_timed_apart_from_samples() -> None:
    base, _, k4 = STEPS
    seen = (taken(base, 4, 1.0, "ok"), StepState(k4))
    times = (10.0, 30.0, None)
    found = left(*seen, load_times=times, warmup=1)
    # One step is done, of another draft: its samples are known less well than the loads.
    assert found.high_s == pytest.approx(20.0 * FIRST_SPREAD + (4 + 1) * 1.0 * SPREADS[2])
    assert found.low_s == pytest.approx(20.0 / FIRST_SPREAD + (4 + 1) * 1.0 / SPREADS[2])
    assert middle(left(*seen, warmup=1)) == pytest.approx(4 * 1.0 + 1 * 1.0)


def test_before_a_pair_has_a_sample_its_warm_up_tells_how_long_one_takes() -> None:
    base, _, k4 = STEPS
    loads = {"l001": LoadState("l001", k4.key(4), (), "", 0, "", 0.0, warm_up_s=7.0, load_time_s=0.0, finished=True)}
    found = outlook(replace(view(taken(base, 4, 1.0, "ok"), StepState(k4)), loads=loads)).left
    assert found is not None
    assert middle(found) == pytest.approx(4 * 7.0)


def test_the_server_that_runs_needs_no_load_for_what_it_can_take() -> None:
    base, k2, k4 = STEPS
    steps = (taken(base, 4, 1.0, "ok"), StepState(k2), StepState(k4), StepState(k4.with_values(k=8)))
    running = LoadState("l002", SPEC.key(4), (), "", 0, "", 0.0, k_scope="request")
    found = replace(view(*steps), loads={"l002": running}, live_loads=("l002",), engine=None)
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
    torn = replace(GOOD, status=SampleStatus.INVALID)
    found = left(taken(base, 4, 1.0, "ok"), StepState(k2, samples=(GOOD, torn), wall_s=4.0))
    assert middle(found) == pytest.approx(3 * 4.0)  # as many of those to come are torn


# -- reading the prompt -----------------------------------------------------------------------------------------------


def read_sample(tokens: int, token_s: float, answer_s: float) -> Sample:
    """A sample whose prompt took `token_s` for each of its tokens."""
    return replace(GOOD, prompt_tokens=tokens, cached_tokens=0, prefill_time_s=tokens * token_s, decode_time_s=answer_s)


def prompts(of: RunState, **sizes: list[int]) -> RunState:
    """The view of a run whose prompts have so many bytes, by category."""
    assert of.run is not None
    return replace(of, run=replace(of.run, prompts={name: tuple(each) for name, each in sizes.items()}))


def test_a_longer_prompt_takes_longer_before_and_after_the_first_sample() -> None:
    _, k2, k4 = STEPS
    read = {
        label: ev.ModelRead(label, role, "", GB, None, None, "moe") for label, role in (("T", "target"), ("D", "draft"))
    }
    deep = k4.with_values(depth=1000)
    before = prompts(replace(view(StepState(k4), StepState(deep)), models=read), coding=[400])
    found = outlook(before).steps
    least = 4 * 1000 * GB / PRIOR_PREFILL_BYTES_S[1]
    assert found[deep.id].low_s - found[k4.id].low_s == pytest.approx(least)
    # Once a server has read 100 tokens of 400 bytes at 10 ms each, a context of 1000 tokens costs 10 s a sample more.
    measured = StepState(k2, StepStatus.OK, samples=(read_sample(100, 0.01, 2.0),) * 4, wall_s=4 * 3.0)
    after = prompts(view(measured, replace_k(k2), StepState(k2_deep := k2.with_values(depth=1000, k=4))), coding=[400])
    assert middle(outlook(after).steps[k2_deep.id]) == pytest.approx(4 * (3.0 + 10.0), rel=0.01)


def replace_k(each: Step) -> StepState:
    """A finished step of another K, so that two are done."""
    return StepState(each.with_values(k=16), StepStatus.OK, samples=(read_sample(100, 0.01, 2.0),) * 4, wall_s=4 * 3.0)


def test_the_tokens_of_other_prompts_follow_from_those_that_were_counted() -> None:
    _, k2, _ = STEPS
    done = [
        StepState(each, StepStatus.OK, samples=(read_sample(100, 0.01, 2.0),) * 4, wall_s=4 * 3.0)
        for each in (k2, k2.with_values(k=16))
    ]
    long = replace(k2, category="documents")
    found = prompts(view(*done, StepState(long)), coding=[400], documents=[4000])
    assert middle(outlook(found).steps[long.id]) == pytest.approx(4 * (2.0 + 1000 * 0.01), rel=0.01)


def test_a_server_that_tells_no_prompt_is_timed_by_whole_requests() -> None:
    _, k2, k4 = STEPS
    deep = k4.with_values(depth=1000)
    found = prompts(
        view(taken(k2, 4, 3.0, "ok"), taken(k2.with_values(k=16), 4, 3.0, "ok"), StepState(deep)), coding=[400]
    )
    assert middle(outlook(found).steps[deep.id]) == pytest.approx(4 * 3.0)


# -- what is asked beside the samples -------------------------------------------------------------------------------


def asked(**settings: Any) -> UnmeasuredRequests:
    return UnmeasuredRequests(
        replace(ev.RunSettings(max_tokens=100, warmup=2, k="list"), **settings), {"coding": [1, 2, 3]}
    )


ONE = RequestTime(Range(1.0, 2.0), Range(10.0, 20.0))


def test_a_load_is_asked_warm_ups_a_probe_and_step_costs() -> None:
    base, _, k4 = STEPS
    plain = asked().load_time(base.key(None), ONE, None, is_probed=True, k_is_fixed=True)
    assert plain == ONE.whole.times(2)
    settled = asked().load_time(k4.key(4), ONE, None, is_probed=False, k_is_fixed=True)
    assert settled == plain
    probed = asked().load_time(k4.key(4), ONE, None, is_probed=True, k_is_fixed=True)
    assert probed == plain + Range(0.0, (2.0 + 20.0) * PROBES)
    briefly = asked(max_tokens=8).load_time(k4.key(4), ONE, None, is_probed=True, k_is_fixed=True)
    assert briefly == plain + Range(0.0, (2.0 + 20.0) * PROBES * (4 + PROBE_TOKENS) / 8)
    seen = asked().load_time(k4.key(4), ONE, Range(5.0, 6.0), is_probed=True, k_is_fixed=True)
    assert seen == plain + Range(5.0, 6.0)
    curve = asked(k="curve").load_time(k4.key(16), ONE, None, is_probed=False, k_is_fixed=False)
    (few, short), (many, long) = cost_answers(16, 100, k_is_fixed=False)
    assert (few * MOST_TRACES, short * MOST_TRACES) == (many, long)
    assert curve.high_s == pytest.approx(plain.high_s + 2.0 * many + 20.0 * long / 100)


@pytest.mark.parametrize(
    ("step", "temperature", "samples", "answers"),
    [
        (STEPS[0], 0.0, 5, (3, 100)),  # each of its three prompts once more
        (STEPS[0], 0.0, 2, (2, 100)),
        (STEPS[2], 0.0, 5, (0, 0)),  # its samples are compared
        (STEPS[2], 0.7, 5, (1, 100)),
        (STEPS[0], 0.7, 5, (1, 100)),
        (STEPS[0].with_values(workload="lossless"), 0.7, 3, (3, 100)),
        (STEPS[2].with_values(workload="lossless"), 0.7, 3, (0, 0)),
    ],
)
def test_what_texts_are_compared_by_is_counted(
    step: Step, temperature: float, samples: int, answers: tuple[int, int]
) -> None:
    assert asked(temperature=temperature).checks(step, samples) == answers


# -- the request that is being answered -----------------------------------------------------------------------------


def test_a_request_that_is_late_raises_the_time_left_and_never_lowers_it() -> None:
    base, k2, k4 = STEPS
    now = view(taken(base, 4, 10.0, "ok"), taken(k2, 4, 10.0, "ok"), taken(k4, 2, 10.0), load_times=(0.0,))
    usual = outlook(now).left
    assert usual is not None
    times = [found for age in (0, 3, 6, 10, 11, 12, 20, 40, 400)
             if (found := outlook(now, ForecastRequest(k4.id, "sample", age, age)).left) is not None]  # fmt: skip
    assert (times[0].low_s, times[0].high_s) == pytest.approx((usual.low_s, usual.high_s))
    assert times[2].high_s < times[0].high_s  # it is getting on
    late = times[3:]  # older than was expected: 10 s
    assert all(before.low_s <= after.low_s for before, after in pairwise(late))
    assert all(before.high_s < after.high_s for before, after in pairwise(late))
    assert times[-1].high_s > usual.high_s + 300  # the sample behind it may be as slow


def test_a_prompt_that_is_known_to_take_long_raises_the_time_left_before_it_has() -> None:
    base, k2, k4 = STEPS
    now = view(taken(base, 4, 10.0, "ok"), taken(k2, 4, 10.0, "ok"), taken(k4, 2, 10.0), load_times=(0.0,))
    token = TokenTick("l001", k4.id, "sample", 2, 1000.0, 0, 100, None, None, None, None, 0.0)
    live = Telemetry({"l001": ServerTick("l001", "busy", 0.0)}, {"": token})
    silent = in_flight(live, 1005.0)
    told = in_flight(replace(live, requests={"": replace(token, prompt_read=100, prompt_tokens=1000)}), 1005.0)
    assert (silent, told) == (ForecastRequest(k4.id, "sample", 5.0, 5.0), ForecastRequest(k4.id, "sample", 5.0, 50.0))
    assert outlook(now, told).left.low_s > outlook(now, silent).left.low_s + 40  # type: ignore[union-attr]
    assert in_flight(replace(live, servers={"l001": ServerTick("l001", "ready", 0.0)}), 1005.0) is None
    assert in_flight(Telemetry(), 1005.0) is None


# -- kept up fact by fact -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["list", "curve", "search"])
def test_a_forecast_that_is_kept_up_is_the_one_made_anew(mode: str) -> None:
    run = Run(WORLD, Ask(mode, (2, 4, 8), 4), 1)
    kept, now = Forecaster(), RunState()
    for number, recorded in enumerate(run.records):
        now = fold(now, recorded)
        if number % 7 == 0:
            assert_alike(kept.of(now), outlook(now))
    assert_alike(kept.of(now), outlook(now))


def assert_alike(found: Outlook, wanted: Outlook) -> None:
    assert (found.left is None) == (wanted.left is None)
    if found.left is not None and wanted.left is not None:
        assert (found.left.low_s, found.left.high_s) == pytest.approx((wanted.left.low_s, wanted.left.high_s))
    assert list(found.starts) == [load.key for load in found.loads]
    assert set(found.starts) == set(wanted.starts)


def test_the_time_that_a_run_takes_lies_in_its_forecasts() -> None:
    run = Run(replace(WORLD, load_s=20.0), Ask("list", (2, 4, 8), 4), 1)
    end_s, held, looks = run.records[-1].time_s, 0, 0
    now, kept = RunState(), Forecaster()
    for recorded in run.records:
        now = fold(now, recorded)
        # Before the second load, answers to compare texts by are expected, which this world is not asked for.
        if (
            len(now.loads) > 1
            and isinstance(recorded.fact, ev.SampleTaken | ev.LoadReady)
            and (left := kept.of(now).left) is not None
        ):
            looks += 1
            held += left.low_s <= end_s - recorded.time_s <= left.high_s
    assert held >= 0.9 * looks
    assert looks > 50
