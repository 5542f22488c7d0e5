"""Rows of K curves: what was measured is of the same prompts as what was predicted."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from specdash.analysis.curve_rows import curve_rows
from specdash.analysis.kcurve import Curve, PredictedPoint
from specdash.analysis.result import CurvePoint
from specdash.core.plan import LoadKey
from tests.support.recorded_run import DRAFT, TARGET, folded, loaded, measured, started, step

K_MAX = 8
Rates = Mapping[tuple[int, str], list[float]]


def rows_of(rates: Rates, predicted_tok_s: float = 25.0) -> dict[int, CurvePoint]:
    """The rows over all categories by K, of steps with these rates, and a curve with a point at K = 4."""
    steps = {step(k, category): found for (k, category), found in rates.items()}
    facts = [fact for each, found in steps.items() for fact in measured(each, found, "ok" if found else "failed")]
    view = folded([started(list(steps)), *loaded(k=K_MAX), *facts])
    points = tuple(
        PredictedPoint(k, predicted_tok_s, (0.99 * predicted_tok_s, 1.01 * predicted_tok_s), 2.0, 0.1) for k in (4, 8)
    )
    curve = Curve(LoadKey.of(TARGET, draft=DRAFT), "all", 0, K_MAX, points, K_MAX, True, "")
    return {row.step.k or 0: row for row in curve_rows(view.steps.values(), [curve]) if row.step.category == "all"}


def near(rate: float, n: int) -> list[float]:
    """n rates around one, each prompt's mean being that rate."""
    return [rate * (1 + 0.01 * sign) for sign in ([-1] * 3 + [0] * (n - 6) + [1] * 3)]


def test_prompts_weigh_as_in_the_samples_that_the_prediction_is_made_of() -> None:
    rows = rows_of(
        {(8, "a"): near(10.0, 6), (8, "b"): near(30.0, 18), (4, "a"): near(10.0, 18), (4, "b"): near(30.0, 6)}
    )
    assert rows[8].measured_tok_s == pytest.approx(25.0)
    assert rows[4].measured_tok_s == pytest.approx(25.0)
    assert rows[4].measured_ci95 is not None
    assert rows[8].measured_ci95 is not None
    low, high = rows[4].measured_ci95
    assert (low * high) ** 0.5 == pytest.approx(25.0)
    # Few of its samples carry most of the weight, so less is known than of the same number in the wanted mix.
    assert high - low > 1.5 * (rows[8].measured_ci95[1] - rows[8].measured_ci95[0])
    assert (rows[4].n, rows[4].off) == (24, False)


def test_a_category_that_nothing_was_predicted_from_is_left_out() -> None:
    rows = rows_of({(8, "a"): near(10.0, 6), (8, "b"): [], (4, "a"): near(12.0, 6), (4, "b"): near(30.0, 6)})
    assert rows[4].measured_tok_s == pytest.approx(12.0)
    assert rows[4].n == 6


def test_without_a_category_of_the_prediction_nothing_is_off() -> None:
    rows = rows_of({(8, "a"): near(10.0, 6), (8, "b"): near(30.0, 6), (4, "a"): near(10.0, 6), (4, "b"): []}, 20.0)
    assert rows[4].measured_tok_s == pytest.approx(10.0)
    assert rows[4].off is False


def test_nothing_in_common_leaves_what_was_measured() -> None:
    rows = rows_of({(8, "b"): near(30.0, 6), (4, "a"): near(10.0, 6)}, 30.0)
    assert rows[4].measured_tok_s == pytest.approx(10.0)
    assert (rows[4].n, rows[4].off) == (6, False)
