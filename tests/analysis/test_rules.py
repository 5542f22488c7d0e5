"""Rules of thumb: each is held, broken, or beyond what the run can judge, and never an error."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import result_documents as doc

RISE = "Dense targets of 70B"
MOE = "Mixture-of-experts"
SMALL = "Dense targets under 32B"
RATIO = "The best K grows"
SLOW = "Slower targets"
SWEET = "The best draft has 1.5B to 3B"
FAST = "A draft is not worth it"
EXPECTED = "Expect +60"
FAMILY = "Drafts of another"
EIGHT = "K = 8 to 10"
REACHES = "A good pair"
LARGER = "Below 1.5 times"
ACCEPTANCE = "The draft with the highest acceptance"


def judged(rule: str, *measurements: dict[str, Any], **parts: Any) -> tuple[bool | None, str]:
    found = doc.judged(doc.document(*measurements, **parts))
    (row,) = (each for each in found if each["rule"].startswith(rule))
    return row["held"], row["evidence"]


def arm(factor: float, k: int | None = None, base: float = 10.0, **changes: Any) -> dict[str, Any]:
    """A measurement with little noise, at `factor` times the baseline's rate."""
    turn = -1 if k == 16 else 1
    rates = [base * factor * (1 + turn * wobble) for wobble in (0.001, -0.001, 0.0, 0.002, -0.002)]
    return doc.measured(rates, k, **changes)


def curve(factors: dict[int, float], **changes: Any) -> list[dict[str, Any]]:
    """A baseline and a draft at these Ks."""
    return [arm(1.0, **changes), *(arm(factor, k, **changes) for k, factor in factors.items())]


def of_class(model_class: str) -> list[dict[str, Any]]:
    return [doc.model("T", 70 * 10**9, model_class), doc.model("D", 10**9)]


RISING = {4: 1.2, 8: 1.5, 16: 1.9, 24: 2.2}
FALLING = {2: 1.2, 8: 1.5, 16: 1.2, 24: 0.9}


@pytest.mark.parametrize(
    ("rule", "model_class", "holds", "breaks"),
    [
        (RISE, "dense-large", RISING, FALLING),
        (MOE, "moe", FALLING, RISING),
        (SMALL, "dense-small", FALLING, RISING),
    ],
)
def test_rules_about_classes(rule: str, model_class: str, holds: dict[int, float], breaks: dict[int, float]) -> None:
    models = of_class(model_class)
    held, evidence = judged(rule, *curve(holds), models=models)
    assert held is True
    assert "T + D: K = " in evidence
    assert judged(rule, *curve(breaks), models=models)[0] is False
    assert judged(rule, *curve(holds), models=of_class("dense-mid"))[0] is None
    assert judged(rule, *curve({4: 1.0, 8: 1.1}), models=models)[0] is None


def test_ks_that_cannot_be_told_apart_break_no_rule() -> None:
    flat = {4: 1.3, 8: 1.5, 16: 1.5004}
    assert judged(SMALL, *curve(flat), models=of_class("dense-small"))[0] is True
    assert judged(RISE, *curve(flat), models=of_class("dense-large"))[0] is True


def test_a_predicted_curve_is_evidence_where_it_knows_more_ks() -> None:
    place = {"target": "T", "draft": "D", "config": None, "moe_experts": None, "depth": 0, "category": "all"}
    points = [{**place, "k": k, "predicted_tok_s": 20.0 - abs(k - 6)} for k in range(1, 17)]
    held, evidence = judged(MOE, *curve({16: 1.1}), models=of_class("moe"), curves=points)
    assert held is True
    assert "(predicted)" in evidence


def test_the_best_k_and_the_ratio_of_times() -> None:
    models = [
        doc.model("T", 40 * 10**9),
        *(doc.model(name, size * 10**9) for name, size in (("A", 1), ("B", 4), ("C", 20))),
    ]
    peaks = {"A": {2: 1.0, 4: 1.1, 16: 1.9}, "B": {2: 1.1, 4: 1.4, 16: 1.2}, "C": {2: 1.2, 4: 1.1, 16: 0.7}}
    arms = [arm(factor, k, draft=name) for name, found in peaks.items() for k, factor in found.items()]
    held, evidence = judged(RATIO, arm(1.0), *arms, models=models)
    assert held is True
    assert "T + C: 2 times the bytes, best K 2" in evidence
    turned = [each | {"size_bytes": 10**19 // each["size_bytes"]} if each["label"] != "T" else each for each in models]
    assert judged(RATIO, arm(1.0), *arms, models=turned)[0] is False
    assert judged(RATIO, arm(1.0), *arms)[0] is None


def targets(gains: dict[float, float]) -> list[dict[str, Any]]:
    """Targets by their rate without a draft, with the factor of theirs."""
    return [
        each
        for base, factor in gains.items()
        for each in (arm(1.0, base=base, target=f"T{base:g}"), arm(factor, 8, base=base, target=f"T{base:g}"))
    ]


def test_slower_targets() -> None:
    held, evidence = judged(SLOW, *targets({6.0: 1.8, 9.5: 1.12}))
    assert (held, evidence) == (True, "T6 (6 tok/s): +80 %; T9.5 (9.5 tok/s): +12 %")
    assert judged(SLOW, *targets({6.0: 1.1, 9.5: 1.5}))[0] is False
    assert judged(SLOW, *targets({6.0: 1.1}))[0] is None


def test_fast_targets_and_expected_gains() -> None:
    assert judged(FAST, *targets({50.0: 0.9}))[0] is True
    assert judged(FAST, *targets({50.0: 1.0}))[0] is True
    held, evidence = judged(FAST, *targets({50.0: 0.9, 60.0: 1.8}))
    assert held is False
    assert evidence.startswith("1 of 2: T60 + D: +80 % over 60 tok/s")
    assert judged(FAST, *targets({10.0: 1.8}))[0] is None
    assert judged(EXPECTED, *targets({6.0: 1.7, 10.0: 1.2, 20.0: 1.1}))[0] is True
    assert judged(EXPECTED, *targets({6.0: 2.9}))[0] is False
    assert judged(EXPECTED, *targets({40.0: 2.9}))[0] is None


def test_sizes_of_drafts() -> None:
    def drafts(**factors: float) -> list[dict[str, Any]]:
        return [arm(1.0), *(arm(factor, 8, draft=name.replace("_", ".")) for name, factor in factors.items())]

    sizes = {"0_5B Q8": 1.3, "1_5B Q4": 1.8, "7B Q4": 1.1}
    assert judged(SWEET, *drafts(**sizes)) == (True, "T: the best draft is 1.5B Q4")
    assert judged(SWEET, *drafts(**{**sizes, "7B Q4": 2.0}))[0] is False
    assert judged(SWEET, *drafts(**{"0_5B": 1.3, "7B": 1.1}))[0] is None
    assert judged(SWEET, *drafts(tiny=1.3, big=1.1))[0] is None
    models = [doc.model("tiny", 1, path="/m/qwen-0.5b-q8.gguf"), doc.model("big", 1, path="/m/Qwen2.5-3B-Q4.gguf")]
    assert judged(SWEET, *drafts(tiny=1.3, big=1.1), models=models)[0] is False


def test_families() -> None:
    models = [doc.model("T", 10), doc.model("A", 1), doc.model("B", 1, architecture="llama")]
    arms = [arm(1.0), arm(1.5, 8, draft="A"), arm(1.2, 8, draft="B")]
    assert judged(FAMILY, *arms, models=models) == (True, "T: A +50 %, B +20 %")
    assert judged(FAMILY, *arms, models=models[:2])[0] is None


def test_published_choices_of_k() -> None:
    assert judged(EIGHT, *curve(FALLING))[0] is True
    assert judged(EIGHT, *curve(RISING))[0] is False
    assert judged(EIGHT, *curve({2: 1.0, 4: 1.1, 16: 1.2}))[0] is None
    assert judged(REACHES, *curve(RISING))[0] is True
    assert judged(REACHES, *curve({8: 1.4}))[0] is False
    assert judged(LARGER, *curve({8: 1.3, 12: 1.4})) == (True, "T + D: 1.3 x at K = 8, 1.4 x at 12")
    assert judged(LARGER, *curve({8: 1.3, 12: 1.2}))[0] is False
    assert judged(LARGER, *curve({8: 1.6, 12: 1.8}))[0] is None


def test_acceptance_and_speed() -> None:
    arms = [arm(1.0), arm(1.5, 8, draft="A", acceptance_rate=0.5), arm(1.2, 8, draft="B", acceptance_rate=0.9)]
    held, evidence = judged(ACCEPTANCE, *arms)
    assert held is True
    assert evidence == "T: B has the highest acceptance (90 %), A is the fastest (50 %)"
    arms[1]["acceptance_rate"] = 0.95
    assert judged(ACCEPTANCE, *arms)[0] is False
    assert judged(ACCEPTANCE, *arms[:2])[0] is None


@pytest.mark.parametrize(
    "measurements",
    [
        [],
        [doc.measured([])],
        [arm(1.0)],
        [arm(2.0, 8)],
        [doc.measured([], 4, status="failed", load=None)],
        [arm(1.0), arm(2.0, 8, verdicts=["output_differs"])],
        [doc.imported(10.0), doc.imported(12.0, "A"), doc.imported(9.0, "B")],
        [doc.odd(), doc.odd(4)],
    ],
)
def test_what_cannot_be_judged_is_said_and_nothing_raises(measurements: list[dict[str, Any]]) -> None:
    for row in doc.judged({"measurements": measurements}):
        assert row.keys() == {"rule", "source", "held", "evidence"}
        assert row["evidence"]
    assert any(row["held"] is None for row in doc.judged(doc.document(*measurements)))


def test_one_sample_judges_no_rule() -> None:
    found = doc.judged(doc.document(doc.measured([10.0]), doc.measured([18.0], 8), doc.measured([17.0], 4)))
    assert {each["held"] for each in found} == {None}
