from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from specdash.analysis.kcurve import Curve, PredictedPoint, confirmations, curve_of, curves_of_run, off_the_line
from specdash.core import events as ev
from specdash.core.measure import Sample
from specdash.core.plan import LoadKey
from specdash.core.state import RunState
from specdash.core.status import StepStatus
from tests.support import recorded_run as rec
from tests.support.curve_world import World, sample_of

PAIR = LoadKey.of(rec.TARGET, draft=rec.DRAFT)
STILL = World(level=0.0, noise=0.0, pause=0.0)


def texts_of(world: World, count: int, seed: int = 3) -> list[list[bool]]:
    rng = random.Random(seed)
    return [world.text(rng) for _ in range(count)]


def only(view: RunState, category: str = "all") -> Curve:
    return next(curve for curve in curves_of_run(view) if curve.category == category)


def view_of(
    traces: Sequence[ev.StepTimes], k: int = 16, status: str = "ok", scope: str = "startup", **changes: object
) -> RunState:
    """A finished step at `k` with these traces; a sample for each that is not of a cost request."""
    step = rec.step(k)
    facts: list[ev.Fact] = [rec.started([step]), *rec.loaded("l001", k, scope), ev.StepStarted(step.id, "l001", "fp")]
    for trace in traces:
        of_step = replace(trace, step=step.id)
        if trace.purpose == "sample":
            tokens = 1 + sum(trace.accepted) + len(trace.accepted)
            found = replace(sample_of(of_step, tokens), **changes)  # type: ignore[arg-type]
            facts.append(ev.SampleTaken(step.id, "l001", found, 1.0))
        facts.append(of_step)
    facts.append(
        ev.StepFinished(step.id, "l001", StepStatus(status), (), None if status == StepStatus.OK else "no", "fp")
    )
    return rec.folded(facts)


def trace(purpose: str = "sample", block: int = 0, scale: float = 1.0) -> ev.StepTimes:
    """A request of 40 tokens at K = 16, and then short steps down to one that drafts nothing."""
    drafted = (16, 16, 16, 16, 14, 8, 3, 0)
    accepted = (10, 2, 5, 1, 5, 4, 2, 0)
    times_ms = tuple(scale * (40 + 4 * each) for each in drafted)
    return ev.StepTimes("s", "l001", purpose, block, drafted, accepted, times_ms)


def test_without_noise_every_k_is_predicted_as_it_is() -> None:
    world = replace(STILL, easy=0.9, hard=0.4)
    texts = texts_of(world, 6)
    curve = only(world.run(texts, random.Random(1)))
    truth = {k: world.quiet(texts, k) for k in range(1, 17)}
    assert [point.k for point in curve.points] == list(range(1, 17))
    for point in curve.points:
        # Lengths that no request shows lie on a straight line here, or beside a jump; unknown places remain.
        assert point.tok_s == pytest.approx(truth[point.k], rel=0.02), point.k
        assert point.ci95 is not None
        assert point.ci95[0] < truth[point.k] < point.ci95[1]
    assert curve.points[-1].tok_s == pytest.approx(truth[16], rel=1e-9)
    assert truth[curve.best_k or 0] == pytest.approx(max(truth.values()), rel=0.01)
    assert (curve.pair, curve.depth, curve.k_max, curve.reason) == (PAIR, 0, 16, "")


def test_tokens_and_time_of_a_step_make_the_rate() -> None:
    texts = texts_of(STILL, 1)
    curve = only(STILL.run(texts, random.Random(1)))
    for point in curve.points:
        assert point.tokens_per_step / point.step_time_s == pytest.approx(point.tok_s)
        drafted, _, _ = STILL.request(texts[0], point.k, STILL.tokens, random.Random(1))
        assert point.tokens_per_step == pytest.approx(127 / len(drafted), rel=0.04)


def test_intervals_hold_the_truth_and_the_best_k_is_good() -> None:
    world = World()
    rng = random.Random(11)
    ks = (1, 4, 8, 16)
    truth = world.truth(ks, rng, texts=300)
    held, regrets, runs = 0, [], 30
    for _ in range(runs):
        texts = [world.text(rng) for _ in range(6)]
        curve = only(world.run(texts, rng))
        for k in ks:
            point = curve.at(k)
            assert point is not None
            assert point.ci95 is not None
            held += point.ci95[0] <= truth[k] <= point.ci95[1]
        quiet = {point.k: world.quiet(texts, point.k) for point in curve.points}
        regrets.append(1 - quiet[curve.best_k or 0] / max(quiet.values()))
    # The Ks of one run stand and fall together, so 30 runs tell the share to 4 % (the bench: 90 to 98 %).
    assert 0.85 <= held / (runs * len(ks)) < 1
    assert sum(regrets) / runs < 0.01


def test_a_slow_first_step_does_not_lower_the_curve() -> None:
    slow = replace(STILL, first_extra_ms=200.0)
    texts = texts_of(slow, 5)
    point = only(slow.run(texts, random.Random(1))).at(4)
    assert point is not None
    assert point.tok_s == pytest.approx(slow.quiet(texts, 4), rel=0.02)


def test_a_machine_that_is_slower_for_the_cost_requests_does_not_lower_the_curve() -> None:
    texts = texts_of(STILL, 4)
    view = STILL.run(texts, random.Random(1))
    slowed = {
        load: tuple(
            replace(each, times_ms=tuple(3 * (time or 0) for time in each.times_ms)) if each.purpose == "cost" else each
            for each in traces
        )
        for load, traces in view.traces.items()
    }
    before, after = only(view), only(replace(view, traces=slowed))
    assert [p.tok_s for p in after.points] == pytest.approx([p.tok_s for p in before.points])


def test_pauses_are_not_taken_for_costs() -> None:
    texts = texts_of(STILL, 4)
    paused = replace(STILL, pause=0.08)
    still, disturbed = (only(world.run(texts, random.Random(5))) for world in (STILL, paused))
    for a, b in zip(still.points, disturbed.points, strict=True):
        # Both level and shape: a pause lengthens the samples by 4 % on average.
        assert b.tok_s / a.tok_s == pytest.approx(disturbed.points[-1].tok_s / still.points[-1].tok_s, rel=0.03)


def test_each_category_has_a_curve_and_all_has_every_sample() -> None:
    steps = [rec.step(16, "coding"), rec.step(16, "prose"), rec.step(16, "empty")]
    facts: list[ev.Fact] = [rec.started(steps), *rec.loaded("l001", 16, "startup")]
    for step, scale in zip(steps[:2], (1.0, 2.0), strict=True):
        facts.append(ev.StepStarted(step.id, "l001", "fp"))
        for block in range(3):
            found = replace(trace(block=block, scale=scale), step=step.id)
            facts += [ev.SampleTaken(step.id, "l001", sample_of(found, 38), 1.0), found]
    view = rec.folded(facts)
    by_category = {curve.category: curve for curve in curves_of_run(view)}
    assert list(by_category) == ["all", "coding", "prose", "empty"]
    rates = {name: by_category[name].points[-1].tok_s for name in ("all", "coding", "prose")}
    assert rates["coding"] == pytest.approx(2 * rates["prose"])
    assert rates["all"] == pytest.approx((rates["coding"] + rates["prose"]) / 2)
    assert by_category["empty"].points == ()
    assert "no valid sample" in by_category["empty"].reason
    assert curve_of(view, PAIR.with_values(k=16), 0, "prose") == by_category["prose"]
    assert curve_of(view, PAIR) == by_category["all"]
    assert curve_of(view, PAIR, depth=4096) is None
    assert curve_of(view, PAIR.with_values(draft="other")) is None


def test_a_k_without_costs_on_both_sides_has_no_prediction() -> None:
    texts = texts_of(STILL, 3)
    curve = only(STILL.run(texts, random.Random(1), with_costs=False))
    shown = {point.k for point in curve.points}
    assert 16 in shown  # what was measured needs no costs
    assert shown != set(range(1, 17))
    assert "no step cost was measured on both sides of K = " in curve.reason


def test_one_sample_gives_points_without_an_interval() -> None:
    curve = only(view_of([trace()]))
    assert curve.points
    assert all(point.ci95 is None for point in curve.points)


def test_a_sample_without_a_trace_is_predicted_from_its_positions() -> None:
    view = STILL.run(texts_of(STILL, 5), random.Random(1))
    as_costs = {"l001": tuple(replace(each, purpose="cost", block=None) for each in view.traces["l001"])}
    replayed, product = only(view), only(replace(view, traces=as_costs))
    assert len(product.points) == len(replayed.points)
    for with_trace, without in zip(replayed.points, product.points, strict=True):
        assert without.tok_s != with_trace.tok_s or without.k == 16
        # It supposes that steps at K begin where steps at K_max do, which passages that are easy or hard belie.
        assert without.tok_s == pytest.approx(with_trace.tok_s, rel=0.15)


def test_text_that_ended_by_itself_drafted_whole_to_its_end() -> None:
    ended = ev.StepTimes("s", "l001", "sample", 0, (16,) * 6, (2,) * 6, (100.0,) * 6)
    short = trace("cost")
    curve = only(view_of([ended, replace(ended, block=1), short], finish_reason="eos"))
    assert curve.at(3) is not None
    assert curve.at(3).tokens_per_step == pytest.approx(3.0)  # type: ignore[union-attr]


def test_what_is_not_valid_does_not_count() -> None:
    assert curves_of_run(view_of([trace(block=b) for b in range(2)], status="invalid")) == ()
    curve = only(view_of([trace()], decode_time_s=None))
    assert (curve.points, curve.best_k, curve.at_edge) == ((), None, False)
    assert curve.reason == "no valid sample at K = 16"
    assert "no valid sample" in only(view_of([trace("cost")])).reason


@pytest.mark.parametrize("time_ms", [None, 0.0, -1.0, math.nan, math.inf, 1e300])
def test_times_that_cannot_be_are_not_used(time_ms: float | None) -> None:
    broken = replace(trace("cost", 1), times_ms=(time_ms,) * 8)
    clean, with_broken = only(view_of([trace()])), only(view_of([trace(), broken]))
    assert [p.tok_s for p in with_broken.points] == [p.tok_s for p in clean.points]
    # Nothing but such times: said, and no crash.
    for decode_time_s in (time_ms, 1.0):
        curve = only(view_of([replace(trace(), times_ms=(None,) * 8)], decode_time_s=decode_time_s, decode_tok_s=1.0))
        assert curve.points == ()
        assert curve.reason


def test_bad_traces_are_explained() -> None:
    nothing = ev.StepTimes("s", "l001", "sample", 0, (0,) * 20, (0,) * 20, (5.0,) * 20)
    assert only(view_of([nothing])).reason == "nothing was drafted at K = 16"
    empty = ev.StepTimes("s", "l001", "cost", None, (), (), ())
    assert only(view_of([empty])).reason
    unequal = ev.StepTimes("s", "l001", "cost", None, (16, 16), (3,), (5.0,))
    assert only(view_of([trace(), unequal])).points
    assert curves_of_run(RunState()) == ()
    assert curves_of_run(rec.folded([rec.started([rec.step(), rec.step(8)])])) == ()


def test_no_trace_raises() -> None:
    rng = random.Random(6)
    times: list[float | None] = [None, 0.0, -5.0, 1e-9, 1e7, 1e300, math.nan, math.inf, 60.0, 61.0, 62.0]
    for _ in range(150):
        traces = []
        for block in range(rng.randrange(1, 4)):
            drafted = tuple(rng.choice((0, 3, 16, 16, 16, 17)) for _ in range(rng.randrange(8)))
            accepted = tuple(rng.randrange(each + 1) for each in drafted)
            purpose = rng.choice(("sample", "cost", "sample"))
            length = len(drafted) + rng.choice((0, 0, 0, -1, 1))
            traces.append(
                ev.StepTimes(
                    "s", "l001", purpose, block, drafted, accepted, tuple(rng.choices(times, k=max(0, length)))
                )
            )
        time_s, finish = rng.choice((None, 1e-300, 1.0, 1e300, math.nan)), rng.choice(("limit", "eos", None))
        scope = rng.choice(("startup", "request"))
        found = curves_of_run(
            view_of(traces, scope=scope, finish_reason=finish, decode_time_s=time_s, decode_tok_s=None)
        )
        for curve in found:
            assert curve.points or curve.reason
            assert all(math.isfinite(point.tok_s) and point.tok_s >= 0 for point in curve.points)
            assert len(confirmations(curve, {16})) <= 2


def point(k: int, tok_s: float) -> PredictedPoint:
    return PredictedPoint(k, tok_s, (tok_s - 3, tok_s + 3), 2.0, 2.0 / tok_s)


def curve_with(*points: PredictedPoint) -> Curve:
    best = max(points, key=lambda each: each.tok_s, default=None)
    return Curve(PAIR, "all", 0, 16, points, best.k if best else None, False, "")


def test_the_two_best_are_to_be_confirmed() -> None:
    curve = curve_with(point(1, 50), point(2, 98), point(3, 99), point(4, 100))
    assert confirmations(curve, {16}) == (4, 3)
    assert confirmations(curve, {16, 4}) == (3,)
    assert confirmations(curve, {3, 4}) == ()
    assert confirmations(curve, set(), most=1) == (4,)
    assert confirmations(curve, set(), most=0) == ()
    assert confirmations(curve_with(point(2, 100), point(3, 90), point(4, 95)), ()) == (2, 4)
    assert confirmations(curve_with(point(2, 90), point(3, 90)), ()) == (2, 3), "the smaller of equals comes first"
    assert confirmations(curve_with(point(4, 10)), ()) == (4,)
    assert confirmations(curve_with(), ()) == ()


def test_answers_are_off_the_line_beyond_what_they_scatter_and_the_prediction_leaves_open() -> None:
    predicted = [100.0, 50.0, 200.0]  # texts that differ, which is no error of a comparison answer by answer
    rates = tuple(((f"p{block}", block), rate) for block, rate in enumerate(predicted))
    at = replace(point(4, 116.7), rates=rates, error=0.01)

    def measured(factors: Sequence[float]) -> list[Sample]:
        pairs = enumerate(zip(predicted, factors, strict=False))
        return [rec.sample(rate * factor, block, 4) for block, (rate, factor) in pairs]

    assert not off_the_line(at, measured([1.01, 0.99, 1.01]))
    assert off_the_line(at, measured([1.11, 1.09, 1.10]))
    assert off_the_line(at, measured([0.91, 0.89, 0.90]))
    assert not off_the_line(replace(at, error=0.1), measured([1.11, 1.09, 1.10]))
    assert not off_the_line(at, measured([5.0])), "one proves nothing"
    assert not off_the_line(point(4, 116.7), measured([5.0, 5.0, 5.0])), "nothing to compare it with"


def test_where_requests_set_k_only_steps_at_their_own_k_tell_a_cost() -> None:
    """Builds of early 2026 draft all K tokens and cut them: a short last step costs nearly what a full one does."""
    full = trace()
    sample = replace(full, times_ms=tuple(20.0 + 5.0 * 16 * (each > 0) for each in full.drafted))
    asked = [
        ev.StepTimes("s", "l001", "cost", 0, (k,) * 6 + (1,), (0,) * 7, (20.0 + 5.0 * k,) * 7)
        for k in (1, 2, 3, 4, 6, 8, 12)
    ]
    curve = only(view_of([sample, *asked], scope="request"))
    at_one, at_four = curve.at(1), curve.at(4)
    assert at_one is not None
    assert at_four is not None
    assert at_four.step_time_s / at_one.step_time_s == pytest.approx(40 / 25, rel=0.1)
