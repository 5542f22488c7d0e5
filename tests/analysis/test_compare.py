"""Two results side by side: what pairs, what is refused and said, and what is a regression."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from specdash.analysis.compare import Comparison
from specdash.analysis.compare import compare_results as compared
from specdash.analysis.pair_summary import target_pairs
from specdash.core import events as ev
from specdash.core.plan import Step
from specdash.store.result_json import document_of, from_document, to_document
from tests.support.recorded_run import DRAFT, TARGET, folded, measured, started, step

Json = dict[str, Any]

# Prompts differ in speed far more than the runs do.
PROMPTS = (10.0, 20.0, 30.0)


def compare(a: Json, b: Json, *, anyway: bool = False) -> Comparison:
    return compared(from_document(a), from_document(b), anyway=anyway)


def pairs_of(result: Json) -> list[Json]:
    """How many pairs are worth it, as a document has it."""
    found = from_document(result)
    pairs = target_pairs(found.overall, found.measurements)
    told: list[Json] = to_document(replace(found, pairs=pairs))["pairs"]
    return told


def rates(factor: float = 1.0, noise: float = 0.002, seed: int = 1, n: int = 6) -> list[float]:
    chance = random.Random(seed)
    return [PROMPTS[block % 3] * factor * (1 + chance.gauss(0, noise)) for block in range(n)]


def result_of(rates_of: Mapping[Step, Sequence[float]], **changes: Any) -> Json:
    facts: list[ev.Fact] = [started(list(rates_of), **changes)]
    for each, values in rates_of.items():
        facts += measured(each, values, "ok" if values else "failed")
    return document_of(folded([*facts, ev.RunFinished("finished", 0)]))


def run(factor: float = 1.0, seed: int = 1, **changes: Any) -> Json:
    """A baseline and K = 4 at twice its rate, in two categories; K = 4 is slower or faster by `factor`."""
    found: dict[Step, Sequence[float]] = {}
    for number, category in enumerate(("coding", "math")):
        found[step(None, category)] = rates(seed=seed + number)
        found[step(4, category)] = rates(2 * factor, seed=10 + seed + number)
    return result_of(found, **changes)


def changed(result: Json, part: str, **values: Any) -> Json:
    other = copy.deepcopy(result)
    other[part].update(values)
    return other


def arm_of(found: Comparison, k: int | None) -> Any:
    return next(pair for pair in found.overall if pair.arm.k == k)


# -- what pairs -------------------------------------------------------------------------------------------------------


def test_a_difference_far_below_the_spread_of_the_prompts_is_seen() -> None:
    found = compare(run(), run(0.97, seed=50))
    slower, base = arm_of(found, 4), arm_of(found, None)
    assert None not in (slower.low, slower.high)
    assert slower.low < 0.97 < slower.high < 0.98
    assert slower.word == "slower"
    assert base.low < 1 < base.high
    assert base.word == "equal"
    assert slower.categories == ("coding", "math")
    assert len(found.pairs) == 4
    assert {pair.step for pair in found.pairs} >= {step(4, "math").id, step(None, "coding").id}


def test_speedups_over_ones_own_baseline_stand_beside() -> None:
    faster_machine = {category: rates(3.0, seed=70) for category in ("coding", "math")}
    b = result_of(
        {step(None, name): values for name, values in faster_machine.items()}
        | {step(4, name): [2.2 * rate for rate in values] for name, values in faster_machine.items()}
    )
    pair = arm_of(compare(run(), b), 4)
    assert pair.ratio == pytest.approx(3.3, rel=0.01)
    assert pair.a_speedup.value == pytest.approx(2.0, rel=0.01)
    assert pair.b_speedup.value == pytest.approx(2.2)
    assert arm_of(compare(run(), b), None).a_speedup is None


def test_prefill_first_token_and_whole_answer_are_columns_of_their_own() -> None:
    b = run()
    for each in b["measurements"]:
        for sample in each["samples"]:
            sample["prefill_tok_s"] *= 2
            sample["ttft_s"] = None
            sample["total_time_s"] *= 1.5
    pair = arm_of(compare(run(), b), 4)
    assert pair.prefill.value == pytest.approx(2.0)
    assert pair.ttft is None
    assert pair.total.value == pytest.approx(1.5)
    assert pair.ratio == pytest.approx(1.0)


def test_arms_are_compared_over_the_categories_that_both_have() -> None:
    a = run()
    b = result_of({step(4, "coding"): rates(2.0, seed=11), step(4, "math"): ()})
    found = compare(a, b)
    assert [pair.categories for pair in found.overall] == [("coding",)]
    # The math prompts of A do not count: over the same samples the ratio is 1.
    assert found.overall[0].ratio == pytest.approx(1.0)
    assert (found.only_a, found.only_b) == (3, 0)
    assert found.left_out == ("3 steps only in A (1 of them did not come out in B): left out",)


def test_unlike_prompts_form_no_pairs_even_where_they_have_the_same_names() -> None:
    a, b = run(), changed(run(0.97, seed=50), "settings", prompts_digest="other")
    assert compare(a, b).pairs == ()
    pair = arm_of(compare(a, b, anyway=True), 4)
    assert pair.word == "equal"
    assert pair.high - pair.low > 0.3  # by Welch the spread of the prompts is in it


def test_summaries_stand_in_where_there_are_no_samples() -> None:
    a, b = run(), run(0.9, seed=50)
    for result in (a, b):
        for each in result["measurements"]:
            each["samples"] = []
    pair = next(pair for pair in compare(a, b).pairs if pair.arm.k == 4)
    assert pair.ratio == pytest.approx(0.9, rel=0.01)
    assert pair.low is not None
    assert pair.high is not None
    assert pair.low < 0.9 < pair.high
    for each in b["measurements"]:
        each["summary"]["decode_tok_s"]["n"] = None
    pair = next(pair for pair in compare(a, b).pairs if pair.arm.k == 4)
    assert (pair.low, pair.word) == (None, "unknown")


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 0.0, "12", None, True])
def test_a_rate_that_is_none_is_left_out(value: object) -> None:
    b = run()
    for each in b["measurements"]:
        each["samples"][0]["decode_tok_s"] = value
    assert arm_of(compare(run(), b), 4).ratio == pytest.approx(1.0, rel=0.01)
    for each in b["measurements"]:
        each["summary"] = {}
        for sample in each["samples"]:
            sample["decode_tok_s"] = value
    assert compare(run(), b).pairs == ()


def test_one_sample_gives_a_ratio_and_no_verdict() -> None:
    one = result_of({step(4): [20.0]})
    pair = compare(one, result_of({step(4): [10.0]})).overall[0]
    assert (pair.ratio, pair.low, pair.high, pair.word) == (0.5, None, None, "unknown")


def test_doubts_are_said_beside_the_arm() -> None:
    b = run()
    b["measurements"][1]["verdicts"] = ["output_differs"]
    assert arm_of(compare(run(), b), 4).doubts == ("B: output_differs",)
    assert arm_of(compare(run(), b), None).doubts == ()


# -- what is refused, and what is said --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "values", "words"),
    [
        ("settings", {"prompts_digest": "other"}, "different prompts"),
        ("settings", {"max_tokens": 7}, "max_tokens is 101 in A and 7 in B"),
        ("settings", {"temperature": 0.7}, "temperature is unknown in A and 0.7 in B"),
        ("settings", {"seed": 2}, "seed is unknown in A and 2 in B"),
        ("settings", {"workloads": ["content", "lossless"]}, "workloads is content in A and content, lossless in B"),
    ],
)
def test_unlike_things_are_refused_in_words(part: str, values: Json, words: str) -> None:
    a = run()
    found = compare(a, changed(a, part, **values))
    assert len(found.reasons) == 1
    assert words in found.reasons[0]
    assert found.pairs == found.overall == ()
    assert compare(a, changed(a, part, **values), anyway=True).pairs


def test_another_file_under_one_label_is_refused() -> None:
    model = {"label": TARGET, "role": "target", "size_bytes": 100, "quantisation": "Q8_0", "architecture": "qwen2"}
    a, b = run(), run()
    a["models"], b["models"] = [model], [model | {"size_bytes": 90, "quantisation": "Q4_0", "path": "/elsewhere"}]
    (reason,) = compare(a, b).reasons
    assert "the target 72B Q8_0 is another file in B" in reason
    assert "quantisation is Q8_0 in A and Q4_0 in B" in reason
    b["models"] = [model | {"path": "/elsewhere"}]
    assert compare(a, b).reasons == ()


def test_imported_figures_do_not_stand_beside_measured_ones() -> None:
    b = run() | {"imported": {"tool": "draftbench", "file": "x.json", "notes": []}}
    assert compare(run(), b).reasons == ("A was measured by specdash, B was imported from draftbench",)
    assert compare(b, b).reasons == ()


def test_what_does_not_matter_is_no_reason() -> None:
    settings = {"max_tokens": 101, "iterations": 9, "passes": 2, "k": "auto", "prompts": "/there.jsonl"}
    found = compare(run(), run(seed=50, settings=settings))
    assert found.reasons == ()
    assert "iterations: 5 in A, 9 in B" in found.notes


def test_machines_and_builds_are_said() -> None:
    a = run()
    b = changed(a, "run", hardware={**a["run"]["hardware"], "cpu": "M4"}, host="mac")
    b["engine"]["version"] = "b12000"
    found = compare(a, b)
    assert found.reasons == ()
    assert "tok/s compare the machines" in found.machines[0]
    assert "cpu is EPYC 9654 in A and M4 in B" in found.machines
    assert {"server: unknown in A, b12000 in B", "host: bench in A, mac in B"} <= set(found.notes)
    assert compare(a, run(seed=3)).machines == ()
    assert "A and B are the same run" in compare(a, a).notes


# -- regressions ------------------------------------------------------------------------------------------------------


def test_a_regression_needs_the_whole_interval_below_the_limit() -> None:
    found = compare(run(), run(0.9, seed=50))
    assert [pair.arm.k for pair in found.regressions(0.05)] == [4]
    assert found.regressions(0.0) == found.regressions(0.05)
    # 10 % slower is not surely more than 10 % slower.
    assert found.regressions(0.1) == ()
    assert compare(run(), run(1.1, seed=50)).regressions(0.0) == ()


def test_noise_is_no_regression_and_one_sample_never_is() -> None:
    noisy = {step(4): rates(2.0, noise=0.2, seed=7)}
    assert compare(result_of(noisy), result_of({step(4): rates(1.9, noise=0.2, seed=8)})).regressions(0.0) == ()
    assert compare(result_of({step(4): [20.0]}), result_of({step(4): [1.0]})).regressions(0.0) == ()


def test_the_interval_covers_a_true_ratio_of_one_run_over_another() -> None:
    chance = random.Random(4)
    covered, runs = 0, 200
    for _ in range(runs):
        a, b = (result_of({step(4): rates(f, 0.03, chance.getrandbits(32))}) for f in (2.0, 1.8))
        pair = compare(a, b).overall[0]
        covered += pair.low is not None and pair.high is not None and pair.low <= 0.9 <= pair.high
    assert 0.90 <= covered / runs <= 0.985


# -- pairs of target and draft ----------------------------------------------------------------------------------------


def test_a_pair_counts_by_its_best_k_and_is_slower_beyond_the_noise() -> None:
    values: dict[Step, Sequence[float]] = {
        step(None): rates(),
        step(2): rates(0.5, seed=2),
        step(4): rates(1.5, seed=3),
        step(4, draft="7B"): rates(0.5, seed=4),
        step(4, draft="3B"): rates(0.999, noise=0.05, seed=5),
    }
    result = result_of(values)
    (found,) = pairs_of(result)
    assert (found["pairs"], found["compared"], found["slower"]) == (3, 3, 1)
    assert (found["target"], found["best_draft"], found["best_k"]) == (TARGET, DRAFT, 4)
    assert found["speedup"] == pytest.approx(1.5, rel=0.01)
    result["measurements"][2]["verdicts"] = ["output_differs"]
    (found,) = pairs_of(result)
    assert found["best_draft"] == "3B"


def test_without_a_baseline_no_pair_is_called_slower() -> None:
    result = result_of({step(2): rates(), step(4): rates(1.5)})
    (found,) = pairs_of(result)
    assert (found["pairs"], found["compared"], found["slower"], found["speedup"]) == (1, 0, None, None)
    assert found["best_k"] == 4
    nothing = result_of({step(None): rates(), step(2): ()})
    assert pairs_of(nothing) == []


def test_speedups_have_the_intervals_of_the_report() -> None:
    # Each category has a gain of its own, which is no scatter.
    values = {step(None, name): rates(seed=3 + i) for i, name in enumerate(("coding", "math"))}
    values |= {step(4, name): rates(1.5 + i, seed=9 + i) for i, name in enumerate(("coding", "math"))}
    result = result_of(values)
    told = next(arm["speedup"] for arm in result["overall"] if arm["k"] == 4)
    found = arm_of(compare(result, result), 4).a_speedup
    assert found.value == told["value"]
    assert [found.low, found.high] == pytest.approx(told["ci95"])


def test_rates_are_those_that_the_ratio_is_of() -> None:
    a, b = result_of({step(4): [10.0, 20.0, 30.0, 10.0]}), result_of({step(4): [10.0, 20.0, 30.0]})
    (pair,) = compare(a, b).overall
    assert (pair.a_tok_s, pair.b_tok_s, pair.ratio) == (20.0, 20.0, 1.0)


def test_what_was_not_tried_in_b_is_not_lost() -> None:
    assert compare(run(), result_of({step(None): rates()})).lost == ()
    (lost,) = compare(run(), result_of({step(None): rates(), step(4): ()})).lost
    assert (lost.step, lost.category) == (step(4).id, "coding")
