"""Whole answers: what a draft that is read too takes of its gain in decoding, said where it is known and only there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from specdash.analysis.stats import speedup
from specdash.report.text import brief, choice
from tests.support import result_documents as doc
from tests.support.rendering import recommendation

BASE = [10.0, 10.1, 9.9, 10.05, 9.95, 10.0]
NOISE = [0.01, -0.01, 0.005, -0.004, 0.008, -0.006]


def timed(
    rates: Sequence[float], ttft_s: float, k: int | None = None, tokens: int = 41, wobble: float = 1.0, **changes: Any
) -> dict[str, Any]:
    """A measurement whose answers are timed from the request on: the first token after about `ttft_s`."""
    found = doc.measured(rates, k, **changes)
    for sample, rate, noise in zip(found["samples"], rates, NOISE, strict=True):
        first_s, decode_s = ttft_s * (1 + wobble * noise), (tokens - 1) / rate
        sample |= {
            "ttft_s": first_s,
            "decode_time_s": decode_s,
            "total_time_s": first_s + decode_s,
            "generated_tokens": tokens,
        }
    return found


def faster(factor: float) -> list[float]:
    """The baseline's rates times `factor`."""
    return [rate * factor * (1 + noise / 10) for rate, noise in zip(BASE, NOISE, strict=True)]


def overall(*measurements: dict[str, Any]) -> dict[str, Any]:
    """The recommendation over all categories."""
    return doc.recommended(doc.document(*measurements))[0]


def test_a_gain_that_the_prefill_eats_is_recommended_with_a_warning() -> None:
    found = overall(timed(BASE, 3.0), timed(faster(1.25), 4.6, 8))
    assert (found["k"], found["proven"]) == (8, True)
    whole = found["whole_answer"]
    assert whole["ratio"] == pytest.approx((4.6 + 3.2) / (3.0 + 4.0), rel=0.01)
    assert 1 < whole["ci95"][0] < whole["ratio"] < whole["ci95"][1]
    assert (whole["n"], whole["ttft_s"], whole["baseline_ttft_s"]) == (
        6,
        pytest.approx(4.6, 0.01),
        pytest.approx(3.0, 0.01),
    )
    assert "but whole answers, as measured, take 11 % longer (" in found["reason"]
    assert ": the first token comes after 4.6 s instead of 3 s" in found["reason"]
    assert "whole answers take 11." in choice(recommendation(found))
    assert ", answers +11." in brief(recommendation(found))


def test_a_gain_that_whole_answers_have_too_needs_no_warning() -> None:
    found = overall(timed(BASE, 0.2), timed(faster(1.5), 0.3, 8))
    assert found["whole_answer"]["ci95"][1] < 1
    assert "whole answer" not in found["reason"]
    assert "% less time (-" in choice(recommendation(found))
    assert ", answers -2" in brief(recommendation(found))


def test_what_the_noise_hides_is_said_to_be_unknown() -> None:
    found = overall(timed(BASE, 3.0, wobble=20.0), timed(faster(1.25), 3.85, 8, wobble=-20.0))
    low, high = found["whole_answer"]["ci95"]
    assert low < 1 < high
    assert "whether whole answers are faster too cannot be told: " in found["reason"]
    assert "longer (" not in found["reason"]
    assert "as long within the noise (" in choice(recommendation(found))
    assert ", answers about" in brief(recommendation(found))


def test_answers_that_were_not_timed_leave_the_question_open() -> None:
    found = overall(doc.measured(BASE), doc.measured(faster(1.5), 8))
    assert found["whole_answer"] is None
    assert "whole answers were not timed" in found["reason"]
    assert "whole answers" not in choice(recommendation(found))
    assert "answers" not in brief(recommendation(found))


def test_means_alone_give_a_ratio_without_an_interval() -> None:
    arms = [doc.imported(10.0), doc.imported(15.0, "D", 8)]
    for each, total_s in zip(arms, (5.0, 5.5), strict=True):
        each["summary"]["total_time_s"] = {"n": None, "mean": total_s}
    found = overall(*arms)
    assert (found["whole_answer"]["ratio"], found["whole_answer"]["ci95"]) == (pytest.approx(1.1), None)
    assert "cannot be told: 10 % longer by the mean, without an interval" in found["reason"]


def test_off_says_nothing_of_whole_answers() -> None:
    found = overall(timed(BASE, 0.2), timed(faster(0.8), 0.3, 8))
    assert (found["off"], found["whole_answer"]) == (True, None)
    assert "whole answer" not in found["reason"]


def test_an_answer_that_ends_elsewhere_is_compared_at_the_baselines_length() -> None:
    same = overall(timed(BASE, 0.5), timed(faster(1.5), 0.5, 8))["whole_answer"]
    longer = overall(timed(BASE, 0.5), timed(faster(1.5), 0.5, 8, tokens=81))["whole_answer"]
    assert longer["ratio"] == pytest.approx(same["ratio"])
    assert longer["ci95"] == pytest.approx(same["ci95"])


@pytest.mark.parametrize("lost", [{"decode_time_s": None}, {"decode_time_s": 1e9}, {"generated_tokens": 1}])
def test_an_answer_whose_length_cannot_be_made_the_same_is_left_out(lost: dict[str, Any]) -> None:
    arm = timed(faster(1.5), 0.5, 8, tokens=81)
    arm["samples"][0] |= lost
    assert overall(timed(BASE, 0.5), arm)["whole_answer"]["n"] == 5


def test_prompts_are_paired() -> None:
    """Prompts of unlike length differ by far more than the arms do."""
    base, arm = timed(BASE, 1.0), timed(faster(1.2), 1.0, 8)
    for number, (one, other) in enumerate(zip(base["samples"], arm["samples"], strict=True)):
        for sample in (one, other):
            sample["total_time_s"] += 20.0 * number
            sample["ttft_s"] += 20.0 * number
    low, high = overall(base, arm)["whole_answer"]["ci95"]
    assert high < 1
    alone = speedup(
        [(f"a{number}", each["total_time_s"]) for number, each in enumerate(arm["samples"])],
        [(f"b{number}", each["total_time_s"]) for number, each in enumerate(base["samples"])],
    )
    assert alone is not None
    assert alone.ci95 is not None
    assert math.log(alone.ci95[1] / alone.ci95[0]) > 10 * math.log(high / low)


def test_a_cached_prompt_tells_nothing_of_whole_answers() -> None:
    base, arm = timed(BASE, 1.0), timed(faster(1.2), 1.0, 8)
    for sample in arm["samples"][:2]:
        sample["warm"] = True
    assert overall(base, arm)["whole_answer"]["n"] == 4
