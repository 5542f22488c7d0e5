"""Recommendations: the best beyond the noise, the thriftier of equals, and "off" where no draft helps."""

from __future__ import annotations

import shlex
from typing import Any

import numpy as np
import pytest

from tests.support import result_documents as doc

RUNS = 300
BASE = [10.0, 10.1, 9.9, 10.05, 9.95]


def scaled(factor: float, wobble: float = 0.004) -> list[float]:
    """The baseline's rates times `factor`, with a scatter of their own."""
    return [rate * factor * (1 + wobble * sign) for rate, sign in zip(BASE, (1, -1, 0, -1, 1), strict=True)]


def overall(*measurements: dict[str, Any], **parts: Any) -> dict[str, Any]:
    """The recommendation over all categories of a document with one group."""
    return next(each for each in doc.recommended(doc.document(*measurements, **parts)) if each["category"] == "all")


def test_the_fastest_arm_is_recommended_with_its_speedup() -> None:
    found = overall(doc.measured(BASE), doc.measured(scaled(1.5), 4), doc.measured(scaled(2.0), 8))
    assert (found["draft"], found["k"], found["method"], found["off"], found["proven"]) == (
        "D",
        8,
        "draft",
        False,
        True,
    )
    assert found["speedup"] == pytest.approx(2.0, rel=0.01)
    assert found["ci95"][0] < 2.0 < found["ci95"][1]
    assert (found["tok_s"], found["baseline_tok_s"]) == pytest.approx((20.0, 10.0), rel=0.01)
    assert (found["regret"], found["tied"]) == (0.0, [])
    assert "the fastest of 2 arms beyond the noise" in found["reason"]


def test_there_is_one_for_all_and_one_for_each_category() -> None:
    measurements = [
        doc.measured(scaled(factor), k, category=category)
        for category, factors in (("coding", (1.0, 2.0, 1.5)), ("prose", (1.0, 0.7, 0.9)))
        for k, factor in zip((None, 8, 4), factors, strict=True)
    ]
    found = doc.recommended(doc.document(*measurements))
    assert [(each["category"], each["k"], each["off"]) for each in found] == [
        ("all", 8, False),
        ("coding", 8, False),
        ("prose", None, True),
    ]
    assert found[2]["proven"]
    assert "every draft is slower than none" in found[2]["reason"]


def test_equals_go_to_the_smaller_k_then_the_smaller_draft_then_less_memory_then_the_name() -> None:
    base = doc.measured(BASE)
    found = overall(base, doc.measured(scaled(2.001), 8), doc.measured(scaled(2.0, -0.004), 6))
    assert (found["k"], [(each["k"], each["draft"]) for each in found["tied"]]) == (6, [(8, "D")])
    assert "K = 6 and 8 cannot be told apart at this noise; the smaller one is taken" in found["reason"]
    assert found["reason_names_tied"]
    assert not overall(base, doc.measured(scaled(2.0), 8))["reason_names_tied"]
    assert 0.0 <= found["regret"] < 0.01
    assert found["regret_ci95"][0] <= found["regret"] <= found["regret_ci95"][1]

    drafts = [doc.measured(scaled(2.0), 4, "B"), doc.measured(scaled(2.001, -0.004), 4, "A")]
    sizes = [doc.model("A", 3 * 10**9), doc.model("B", 10**9)]
    found = overall(base, *drafts, models=sizes)
    assert found["draft"] == "B"
    assert "the smaller draft is taken" in found["reason"]
    loads = [{"id": "l-A-4", "peak_rss_bytes": 2**30}, {"id": "l-B-4", "peak_rss_bytes": 2**31}]
    found = overall(base, *drafts, loads=loads)
    assert found["draft"] == "A"
    assert "less memory" in found["reason"]
    assert overall(base, *drafts)["draft"] == "A"


def test_off_wins_where_no_arm_is_faster_beyond_the_noise() -> None:
    noisy = [10.9, 9.6, 10.4, 9.8, 10.2]
    found = overall(doc.measured(BASE), doc.measured(noisy, 4))
    assert (found["off"], found["draft"], found["method"], found["speedup"]) == (True, None, "baseline", 1.0)
    assert not found["proven"]
    assert [each["k"] for each in found["tied"]] == [4]
    assert found["regret"] == pytest.approx(np.mean(noisy) / np.mean(BASE) - 1)
    assert "no draft is faster beyond the noise: the best, D at K = 4, is 1.02 times as fast" in found["reason"]


def test_the_smallest_proven_arm_is_taken_where_the_thriftiest_is_not_proven() -> None:
    rough = [14.5, 9.2, 15.0, 9.0, 12.2]
    found = overall(doc.measured(BASE), doc.measured(rough, 4), doc.measured(scaled(1.2), 8))
    assert (found["k"], found["proven"]) == (8, True)
    assert "only D at K = 8 is proven faster than no draft" in found["reason"]


def test_a_leader_that_is_not_proven_is_said_to_lead_and_not_to_be_thrifty() -> None:
    rough = [18.5, 9.2, 19.0, 9.0, 14.2]
    found = overall(doc.measured(BASE), doc.measured(scaled(1.2), 4), doc.measured(rough, 8))
    assert (found["k"], found["proven"]) == (4, True)
    assert "; K = 8 is 17 % faster by its mean, but not proven against no draft" in f"; {found['reason']}"
    assert "thriftier" not in found["reason"]
    found = overall(doc.measured(BASE), doc.measured(scaled(1.2), 4), doc.measured(rough, 8, "E"))
    assert "E at K = 8 is 17 % faster by its mean" in found["reason"]


@pytest.mark.parametrize("verdict", ["output_differs", "impossible", "drifted"])
def test_an_arm_with_a_verdict_against_it_is_out_in_its_category(verdict: str) -> None:
    measurements = [doc.measured(BASE), doc.measured(scaled(2.0), 8, verdicts=[verdict]), doc.measured(scaled(1.5), 4)]
    found = doc.recommended(doc.document(*measurements))[1]
    assert found["category"] == "coding"
    assert found["k"] == 4
    assert f"out: D at K = 8 ({verdict})" in found["reason"]


def test_an_arm_that_changes_the_text_of_one_category_is_out_everywhere_else_too() -> None:
    measurements = [
        doc.measured(
            scaled(factor), k, category=category, verdicts=["output_differs"] if (k, category) == (8, "b") else []
        )
        for category in ("a", "b")
        for k, factor in ((None, 1.0), (4, 1.5), (8, 2.0))
    ]
    assert overall(*measurements)["k"] == 4


@pytest.mark.parametrize("verdict", ["output_differs", "impossible"])
def test_what_compared_texts_say_against_an_arm_counts(verdict: str) -> None:
    speeds = [
        doc.measured(scaled(factor), k, category=category)
        for category in ("a", "b")
        for k, factor in ((None, 1.0), (4, 1.5), (8, 2.0))
    ]
    texts = [
        doc.measured(BASE, k, category="b", workload="lossless", verdicts=[verdict] if k == 8 else [])
        for k in (None, 4, 8)
    ]
    every, a, b = doc.recommended(doc.document(*speeds, *texts))
    assert (every["k"], a["k"], b["k"]) == (4, 8, 4)
    assert f"out: D at K = 8 ({verdict})" in every["reason"]
    for other in ({"depth": 4096}, {"draft": "E"}, {"config": "kv-q8"}, {"moe_experts": 4}):
        elsewhere = [{**each, **other} if each["draft"] is not None else each for each in texts]
        assert overall(*speeds, *elsewhere)["k"] == 8


def test_where_only_texts_were_compared_that_is_said() -> None:
    texts = [doc.measured(scaled(factor), k, workload="lossless") for k, factor in ((None, 1.0), (4, 2.0))]
    (found,) = doc.recommended(doc.document(*texts))
    assert (found["target"], found["category"], found["draft"], found["off"], found["speedup"]) == (
        "T",
        "all",
        None,
        False,
        None,
    )
    assert found["reason"] == "only texts were compared (workload lossless): add content to measure speeds"
    known = doc.recommended(doc.document(doc.measured(BASE), doc.measured(scaled(2.0), 4)))[0]
    assert found.keys() == known.keys()
    assert doc.recommended(doc.document(texts[0])) == []
    assert doc.recommended(doc.document(*texts, unfinished=[doc.measured([], 4)])) == []


def test_where_every_arm_changes_the_text_off_is_the_answer() -> None:
    arms = [doc.measured(scaled(2.0), k, verdicts=["output_differs"]) for k in (4, 8)]
    found = overall(doc.measured(BASE), *arms)
    assert (found["off"], found["draft"], found["proven"]) == (True, None, False)
    assert "2 arms are out (output_differs)" in found["reason"]


def test_a_drift_larger_than_the_effect_is_no_effect() -> None:
    anchor = {"target": "T", "config": None, "moe_experts": None, "depth": 0, "moved": -0.08}
    measurements = [doc.measured(BASE), doc.measured(scaled(1.05), 4), doc.measured(scaled(1.5), 8)]
    assert overall(*measurements[:2], anchors=[anchor])["draft"] is None
    assert "drifted" in overall(*measurements, anchors=[anchor])["reason"]
    assert overall(*measurements, anchors=[anchor])["k"] == 8
    assert overall(*measurements[:2])["k"] == 4


def test_one_sample_is_never_a_verdict() -> None:
    found = overall(doc.measured(BASE[:1]), doc.measured([20.0], 4))
    assert (found["draft"], found["off"], found["speedup"], found["ci95"], found["regret"]) == (
        None,
        False,
        None,
        None,
        None,
    )
    assert "one sample only, which is never a verdict" in found["reason"]


def test_what_is_missing_is_said() -> None:
    failed = doc.measured([], 4, status="failed", load=None)
    found = overall(doc.measured(BASE), failed)
    assert (found["off"], found["draft"], found["tok_s"], found["baseline_tok_s"]) == (False, None, None, 10.0)
    assert "no arm is left that could be recommended; out: D at K = 4 (failed)" in found["reason"]
    found = overall(doc.measured(scaled(2.0), 4))
    assert (found["off"], found["draft"], found["speedup"], found["baseline_tok_s"]) == (False, None, None, None)
    assert found["reason"] == "no baseline: nothing says whether a draft helps"
    found = overall(doc.measured(BASE, status="invalid", verdicts=["baseline_drafted"]), doc.measured(scaled(2.0), 4))
    assert found["reason"] == "the baseline is invalid: baseline_drafted: nothing says whether a draft helps"
    assert doc.recommended(doc.document(doc.measured(BASE))) == []
    assert doc.recommended(doc.document()) == []


def test_an_empty_category_has_a_reason_and_the_others_go_on() -> None:
    measurements = [
        doc.measured(scaled(1.0), category="a"),
        doc.measured(scaled(2.0), 4, category="a"),
        doc.measured([], category="b", status="failed"),
        doc.measured([], 4, category="b", status="failed"),
    ]
    every, a, b = doc.recommended(doc.document(*measurements))
    assert (every["k"], a["k"], b["k"]) == (4, 4, None)
    assert (b["off"], b["reason"]) == (False, "the baseline is failed: nothing says whether a draft helps")


def test_numbers_that_are_none_are_left_out() -> None:
    odd = [float("nan"), float("inf"), 0.0, -1.0, 20.0, 20.2, 19.9]
    found = overall(
        doc.measured([10.0, 10.1, 10.0, 9.9, 10.0, 10.1, 9.9]),
        doc.measured([20.0], 4, samples=doc.measured([1.0] * 7)["samples"]),
    )
    assert found["off"]
    samples = [
        {"prompt_id": f"p{block % 3}", "block": block, "decode_tok_s": rate, "status": "ok"}
        for block, rate in enumerate(odd)
    ]
    found = overall(doc.measured([10.0, 10.1, 10.0, 9.9, 10.0, 10.1, 9.9]), doc.measured([20.0], 4, samples=samples))
    assert found["speedup"] == pytest.approx(2.0, rel=0.02)


def test_arms_that_lack_categories_are_compared_on_what_both_have() -> None:
    # K = 8 was measured in the fast category alone, where everything gains more; there K = 4 is faster still.
    measurements = [
        doc.measured(scaled(1.0), category="slow"),
        doc.measured(scaled(5.0), category="fast"),
        doc.measured(scaled(1.2), 4, category="slow"),
        doc.measured(scaled(15.0), 4, category="fast"),
        doc.measured(scaled(14.0), 8, category="fast"),
    ]
    found = overall(*measurements)
    assert found["k"] == 4
    assert found["regret"] == 0.0


def test_groups_are_apart() -> None:
    both = [
        doc.measured(scaled(factor), k, **change)
        for change, factors in (({}, (1.0, 2.0)), ({"config": "kv-q8"}, (1.0, 0.5)), ({"depth": 4096}, (1.0, 1.5)))
        for k, factor in zip((None, 4), factors, strict=True)
    ]
    found = [each for each in doc.recommended(doc.document(*both)) if each["category"] == "all"]
    assert [(each["config"], each["depth"], each["off"]) for each in found] == [
        (None, 0, False),
        ("kv-q8", 0, True),
        (None, 4096, False),
    ]
    lossless = [doc.measured(scaled(3.0), 16, workload="lossless")]
    assert overall(*both[:2], *lossless)["k"] == 4


def test_an_optimum_at_the_edge_is_said_with_the_line_that_goes_on() -> None:
    arms = [doc.measured(scaled(1 + k / 16), k) for k in (8, 16, 24)]
    line = "the best K is the largest that was tried: sweep.k = [24, 32, 48] goes on from here"
    assert line in overall(doc.measured(BASE), *arms)["reason"]
    assert "largest" not in overall(doc.measured(BASE), *arms[:1])["reason"]
    curve = {"target": "T", "draft": "D", "config": None, "moe_experts": None, "depth": 0, "category": "all"}
    points = [{**curve, "k": k, "predicted_tok_s": 10.0 + k, "k_max": 32, "at_edge": False} for k in (24, 32)]
    assert "largest" not in overall(doc.measured(BASE), *arms, curves=points)["reason"]
    points = [{**each, "k_max": 24, "at_edge": True} for each in points]
    assert line in overall(doc.measured(BASE), *arms, curves=points)["reason"]


def test_the_command_is_that_of_the_load_with_its_k() -> None:
    loads = [
        {"id": "l-base", "command": ["llama-server", "-m", "/m/big model.gguf"]},
        {"id": "l-D-4", "command": ["llama-server", "-md", "/m/d.gguf", "--spec-draft-n-max", "{k}"]},
    ]
    base = doc.measured(BASE)
    command = overall(base, doc.measured(scaled(2.0), 4), loads=loads)["command"]
    assert command == "llama-server -md /m/d.gguf --spec-draft-n-max 4"
    off = overall(base, doc.measured(scaled(0.5), 4), loads=loads)["command"]
    assert shlex.split(off) == loads[0]["command"]
    assert overall(base, doc.measured(scaled(2.0), 4), loads=[{"id": "l-D-4", "command": []}])["command"] is None


def test_means_without_samples_give_a_choice_that_is_not_proven() -> None:
    found = overall(doc.imported(10.0), doc.imported(15.0, "A"), doc.imported(19.0, "B", 8))
    assert (found["draft"], found["proven"], found["ci95"], found["regret"]) == ("B", False, None, 0.0)
    assert (found["speedup"], found["tok_s"], found["baseline_tok_s"]) == (1.9, 19.0, 10.0)
    assert "there is no interval" in found["reason"]
    found = overall(doc.imported(10.0), doc.imported(9.0, "A"))
    assert len(doc.recommended(doc.document(doc.imported(10.0), doc.imported(9.0, "A")))) == 1
    assert (found["off"], found["proven"], found["regret"]) == (True, False, 0.0)


def drawn(rng: np.random.Generator, n: int, categories: int, gains: list[float], noise: float) -> dict[str, Any]:
    """A document of simulated samples: prompts and categories of unlike speed, and noise of each sample's own.

    `gains` are the true speedups of the arms; each category adds to or takes from them what cancels out over all.
    """
    measurements = []
    for category in range(categories):
        level = 10.0 * (1 + category)
        prompts = level * rng.normal(1.0, 0.1, doc.PROMPTS).clip(0.5)
        for k, gain in enumerate([1.0, *gains]):
            means = [prompts[block % doc.PROMPTS] * gain for block in range(n)]
            rates = [float(mean * max(0.1, 1 + noise * rng.normal())) for mean in means]
            measurements.append(doc.measured(rates, k or None, category=f"c{category}"))
    return doc.document(*measurements)


@pytest.mark.parametrize(
    ("arms", "n", "categories", "noise"),
    [
        (1, 3, 1, 0.01),
        (1, 5, 1, 0.1),
        pytest.param(4, 5, 1, 0.03, marks=pytest.mark.slow),
        pytest.param(12, 3, 1, 0.1, marks=pytest.mark.slow),
        (12, 5, 1, 0.01),
        pytest.param(12, 45, 1, 0.05, marks=pytest.mark.slow),
        pytest.param(12, 5, 3, 0.03, marks=pytest.mark.slow),
        pytest.param(6, 2, 3, 0.05, marks=pytest.mark.slow),
    ],
)
def test_with_no_real_gain_off_comes_out_in_95_percent(arms: int, n: int, categories: int, noise: float) -> None:
    rng = np.random.default_rng(7)
    runs = RUNS if arms * n * categories < 100 else RUNS // 3
    off = sum(doc.recommended(drawn(rng, n, categories, [1.0] * arms, noise))[0]["off"] for _ in range(runs))
    print(f"{arms} arms, {n} samples in {categories} categories, noise {noise:.0%}: off in {off / runs:.1%}")
    assert off / runs >= 0.95


def test_a_real_gain_is_found_and_the_regret_is_small() -> None:
    rng = np.random.default_rng(11)
    gains = [1.15, 1.30, 1.42, 1.40, 1.20]
    regrets = []
    for _ in range(100):
        found = doc.recommended(drawn(rng, 5, 3, gains, 0.02))[0]
        assert not found["off"]
        regrets.append(max(gains) / gains[found["k"] - 1] - 1)
    assert np.mean([regret < 0.02 for regret in regrets]) >= 0.95
