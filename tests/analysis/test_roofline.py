from __future__ import annotations

from dataclasses import replace

import pytest

from specdash.analysis.roofline import LEAST_FIGURES, TOLERANCE, Roofline, pass_bytes, roofline
from specdash.core import events as ev
from specdash.core.measure import Sample
from specdash.core.plan import Step
from tests.support.recorded_run import TARGET, folded, measured, started, step

GB = 10**9
DENSE = ev.ModelRead(TARGET, "target", "/m.gguf", 11 * GB, "llama", "Q8_0", "dense-small", bytes_per_token=10 * GB)
MOE = ev.ModelRead(
    TARGET,
    "target",
    "/m.gguf",
    20 * GB,
    "llama",
    "Q8_0",
    "moe",
    bytes_per_token=6 * GB,
    expert_bytes=16 * GB,
    expert_count=8,
    expert_used_count=2,
)
MEASURED = ev.BandwidthMeasured(100.0 * GB, 32 * 2**20, 8)


def bound(
    of: Step,
    rates: list[float],
    model: ev.ModelRead | None = DENSE,
    bandwidth: ev.BandwidthMeasured | None = MEASURED,
    status: str = "ok",
    figures: int = LEAST_FIGURES,
) -> Roofline | None:
    facts: list[ev.Fact] = [started([of]), *(fact for fact in (model, *[bandwidth] * figures) if fact is not None)]
    view = folded([*facts, *measured(of, rates, status)])
    return roofline(view.steps[of.id], view)


def test_a_baseline_reads_all_weights_for_every_token() -> None:
    found = bound(step(), [8.0, 10.0])
    assert found is not None
    assert found.bound_tok_s == pytest.approx(10.0)
    assert found.share == pytest.approx(0.9)
    assert (found.bytes_per_pass, found.reason, found.impossible) == (10 * GB, "", False)


def test_a_pass_with_a_draft_makes_as_many_tokens_as_were_seen() -> None:
    found = bound(step(4), [20.0])
    assert found is not None
    assert found.bound_tok_s == pytest.approx(10.0 * 100 / 40)  # 101 tokens in 40 steps, the first from the prompt
    assert found.share == pytest.approx(0.8)


@pytest.mark.parametrize(("rate", "impossible"), [(10.0 * (1 + TOLERANCE) * 0.99, False), (11.7, True), (280.0, True)])
def test_only_a_rate_well_above_the_bound_is_impossible(rate: float, impossible: bool) -> None:
    found = bound(step(), [rate])
    assert found is not None
    assert found.impossible is impossible


@pytest.mark.parametrize("figures", range(1, LEAST_FIGURES))
def test_a_bandwidth_that_was_measured_less_often_than_thrice_accuses_nobody(figures: int) -> None:
    found = bound(step(), [28.0], figures=figures)
    assert found is not None
    assert (found.is_exceeded, found.impossible) == (True, False)
    assert found.share == pytest.approx(2.8)


def test_the_best_of_several_bandwidths_counts_whatever_came_last() -> None:
    low, lower, none = (ev.BandwidthMeasured(each, 32 * 2**20) for each in (44.2 * GB, 18.7 * GB, None))
    odd = [ev.BandwidthMeasured(each) for each in (float("nan"), float("inf"), 0.0)]
    for order in ([none, lower, low, *odd], [low, none, lower], [lower, low, lower, none]):
        view = folded([started([step()]), DENSE, *order])
        assert view.bandwidth == low
        assert view.bandwidth_count == sum(each in (low, lower) for each in order)
    assert folded([started([step()]), none]).bandwidth == none


@pytest.mark.parametrize(("experts", "wanted"), [(None, 6 * GB), (2, 6 * GB), (4, 10 * GB), (8, 18 * GB), (1, 4 * GB)])
def test_of_a_mixture_the_experts_in_use_count(experts: int | None, wanted: int) -> None:
    found = bound(step(moe_experts=experts), [5.0], MOE)
    assert found is not None
    assert found.bytes_per_pass == wanted
    assert found.bound_tok_s == pytest.approx(100.0 * GB / wanted)


@pytest.mark.parametrize(
    ("model", "bandwidth", "reason"),
    [
        (DENSE, None, "not measured"),
        (None, MEASURED, "header"),
        (DENSE, ev.BandwidthMeasured(None, 32 * 2**20, None, "models run on a GPU here"), "GPU"),
        (DENSE, ev.BandwidthMeasured(100.0 * GB, 3 * GB), "fits the cache"),
        (DENSE, ev.BandwidthMeasured(None, 3 * GB, None, "why"), "fits the cache"),
        (DENSE, ev.BandwidthMeasured(float("nan"), None), "no usable number"),
        (DENSE, ev.BandwidthMeasured(0.0, None), "no usable number"),
        (ev.ModelRead(TARGET, "target", "/m", 9 * GB, None, None, "moe"), MEASURED, "not known"),
        (
            ev.ModelRead(TARGET, "target", "/m", 9 * GB, None, None, "moe", expert_bytes=GB),
            MEASURED,
            "how many experts",
        ),
    ],
)
def test_where_there_is_no_bound_it_says_why(
    model: ev.ModelRead | None, bandwidth: ev.BandwidthMeasured | None, reason: str
) -> None:
    found = bound(step(), [1e9], model, bandwidth)
    assert found is not None
    assert (found.bound_tok_s, found.share, found.impossible) == (None, None, False)
    assert reason in found.reason


def test_without_a_good_sample_there_is_nothing_to_bound() -> None:
    assert bound(step(), []) is None


def test_a_draft_whose_steps_are_unknown_has_no_bound() -> None:
    of = step(4)
    facts = [started([of]), DENSE, MEASURED, *measured(of, [20.0])]
    view = folded(
        [
            ev.SampleTaken(each.step, each.load, _without_steps(each.sample), 1.0)
            if isinstance(each, ev.SampleTaken)
            else each
            for each in facts
        ]
    )
    found = roofline(view.steps[of.id], view)
    assert found is not None
    assert found.bound_tok_s is None
    assert "tokens a pass makes" in found.reason


def _without_steps(sample: Sample) -> Sample:
    return replace(sample, steps=None, positions_drafted=(), positions_accepted=(), k_seen=None)


def test_experts_of_a_dense_model_change_nothing() -> None:
    assert pass_bytes(DENSE, step(moe_experts=4)) == DENSE.bytes_per_token
