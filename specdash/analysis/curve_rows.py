"""The K curves of a result document: for each pair and kind of text what was predicted and what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from specdash.analysis.kcurve import Curve, Point, off_the_line
from specdash.analysis.plain import plain
from specdash.analysis.rates import rate_estimate
from specdash.analysis.sequential import Estimate
from specdash.core.measure import Sample, combine
from specdash.core.plan import DRAFT, LoadKey
from specdash.core.steps import StepView

Json = dict[str, Any]
Place = tuple[LoadKey, str, int]
"""Pair, category and depth: what a curve is of."""

ALL = "all"


def curve_rows(steps: Iterable[StepView], known: Sequence[Curve]) -> list[Json]:
    """One row for each pair, category and K that was predicted or measured; "all" before the single categories.

    The K curve of "all" has every valid sample of the pair at that K, of all its categories.
    """
    predicted: dict[Place, Curve] = {(curve.pair, curve.category, curve.depth): curve for curve in known}
    measured = _measured(steps)
    return [
        row
        for place in dict.fromkeys((*measured, *predicted))
        for row in _rows(place, predicted.get(place), measured.get(place, {}))
    ]


def _measured(steps: Iterable[StepView]) -> dict[Place, dict[int, list[Sample]]]:
    """The valid samples of the steps with a draft, by place and K."""
    found: dict[Place, dict[int, list[Sample]]] = {}
    for each in steps:
        step = each.step
        if step.method != DRAFT or step.k is None or step.workload != "content" or each.status != "ok":
            continue
        for category in (ALL, step.category):
            place = (step.pair, category, step.depth)
            found.setdefault(place, {}).setdefault(step.k, []).extend(each.good)
    return found


def _rows(place: Place, curve: Curve | None, measured: Mapping[int, Sequence[Sample]]) -> list[Json]:
    """The rows of one curve, by K."""
    points = {point.k: point for point in curve.points} if curve is not None else {}
    ks = sorted(points.keys() | measured.keys())
    whole = {
        "k_max": curve.k_max if curve is not None else max(ks, default=0),
        "at_edge": curve is not None and curve.at_edge,
        "reason": curve.reason if curve is not None else "",
    }
    return [{**_row(place, k, points.get(k), measured.get(k, ())), **whole} for k in ks]


def _row(place: Place, k: int, point: Point | None, samples: Sequence[Sample]) -> Json:
    pair, category, depth = place
    rate = rate_estimate(samples)
    tokens_per_step, step_time_s = _cost(point, rate, samples)
    return {
        "target": pair.target,
        "draft": pair.draft,
        "config": pair.config,
        "moe_experts": pair.moe_experts,
        "depth": depth,
        "category": category,
        "k": k,
        "predicted_tok_s": plain(point.tok_s) if point is not None else None,
        "predicted_ci95": plain(point.ci95) if point is not None else None,
        "measured_tok_s": rate.mean if rate is not None else None,
        "measured_ci95": plain(rate.ci95) if rate is not None else None,
        "n": rate.n if rate is not None else 0,
        "tokens_per_step": tokens_per_step,
        "step_time_s": step_time_s,
        "off": point is not None and rate is not None and off_the_line(point, rate),
    }


def _cost(point: Point | None, rate: Estimate | None, samples: Sequence[Sample]) -> tuple[float | None, float | None]:
    """Tokens per step and seconds per step: those of the prediction, else those that the samples amount to."""
    if point is not None:
        return plain(point.tokens_per_step), plain(point.step_time_s)
    tokens = combine(sample.step_facts for sample in samples).tokens_per_step
    return tokens, tokens / rate.mean if tokens is not None and rate is not None else None
