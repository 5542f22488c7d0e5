"""The K curves of a result: for each pair and kind of text what was predicted and what was measured."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from specdash.analysis.kcurve import Curve, PredictedPoint, off_the_line
from specdash.analysis.result import CurvePoint
from specdash.analysis.sequential import Estimate, estimate
from specdash.analysis.speedups import rate_estimate
from specdash.analysis.stats import log_interval
from specdash.core.measure import Sample, combine
from specdash.core.methods import DRAFT
from specdash.core.numbers import positive
from specdash.core.plan import LoadKey
from specdash.core.profile import ALL, CONTENT
from specdash.core.status import DONE, StepStatus
from specdash.core.step_state import StepState

_Place = tuple[LoadKey, str, int]
"""Pair, category and depth: what a curve is of."""
_PromptKey = tuple[str, str]
"""Category and prompt id: what a sample answers."""
_Answers = list[tuple[_PromptKey, Sample]]


def curve_rows(steps: Iterable[StepState], known: Sequence[Curve]) -> tuple[CurvePoint, ...]:
    """One row for each pair, category and K that was predicted or measured; "all" before the single categories.

    The K curve of "all" is over all categories. Where it was predicted, each measured point is weighted to the prompts
    of the samples that the prediction is made of: else the two would be of different texts.
    """
    steps = tuple(steps)
    predicted: dict[_Place, Curve] = {(curve.pair, curve.category, curve.depth): curve for curve in known}
    measured = _measured(steps)
    return tuple(
        row
        for place in dict.fromkeys((*measured, *predicted))
        for row in _rows(
            place, predicted.get(place), measured.get(place, {}), _basis(steps, place, predicted.get(place))
        )
    )


def _basis(steps: Iterable[StepState], place: _Place, curve: Curve | None) -> Counter[_PromptKey]:
    """What the samples that the curve over all categories is predicted from were asked, and how often.

    Empty for the curve of one category, and where nothing was predicted.
    """
    pair, category, depth = place
    if category != ALL or curve is None or not curve.points:
        return Counter()
    return Counter(
        (each.step.category, sample.prompt_id)
        for each in steps
        if (each.step.pair, each.step.depth, each.step.k) == (pair, depth, curve.k_max)
        and each.step.method == DRAFT
        and each.step.workload == CONTENT
        and (each.status not in DONE or each.status == StepStatus.OK)
        for sample in each.good
        if _has_rate(sample)
    )


def _has_rate(sample: Sample) -> bool:
    return positive(sample.decode_tok_s) is not None


def _measured(steps: Iterable[StepState]) -> dict[_Place, dict[int, _Answers]]:
    """The valid samples of the steps with a draft, by place and K."""
    found: dict[_Place, dict[int, _Answers]] = {}
    for each in steps:
        step = each.step
        if step.method != DRAFT or step.k is None or step.workload != CONTENT or each.status != StepStatus.OK:
            continue
        for category in (ALL, step.category):
            place = (step.pair, category, step.depth)
            answers = found.setdefault(place, {}).setdefault(step.k, [])
            answers += [((step.category, sample.prompt_id), sample) for sample in each.good]
    return found


def _rows(
    place: _Place, curve: Curve | None, measured: Mapping[int, _Answers], basis: Mapping[_PromptKey, int]
) -> Iterator[CurvePoint]:
    """The rows of one curve, by K."""
    points = {point.k: point for point in curve.points} if curve is not None else {}
    ks = sorted(points.keys() | measured.keys())
    for k in ks:
        row = _row(place, k, points.get(k), measured.get(k, []), basis)
        yield replace(
            row,
            k_max=curve.k_max if curve is not None else ks[-1],
            at_edge=curve is not None and curve.at_edge,
            reason=curve.reason if curve is not None else "",
        )


def _row(
    place: _Place, k: int, point: PredictedPoint | None, answers: _Answers, basis: Mapping[_PromptKey, int]
) -> CurvePoint:
    pair, category, depth = place
    common = [(asked, sample) for asked, sample in answers if asked in basis and _has_rate(sample)]
    samples = [sample for _, sample in common or answers]
    rate = _weighted(common, basis) if common else rate_estimate(samples)
    is_alike = {asked for asked, _ in common} == basis.keys()
    tokens_per_step, step_time_s = _cost(point, rate, samples)
    return CurvePoint(
        step=pair.served.with_values(k=k, workload=CONTENT, category=category, depth=depth),
        predicted_tok_s=point.tok_s if point is not None else None,
        predicted_ci95=point.ci95 if point is not None else None,
        measured_tok_s=rate.mean if rate is not None else None,
        measured_ci95=rate.ci95 if rate is not None else None,
        n=rate.n if rate is not None else 0,
        tokens_per_step=tokens_per_step,
        step_time_s=step_time_s,
        off=point is not None and is_alike and off_the_line(point, samples),
    )


def _weighted(answers: _Answers, basis: Mapping[_PromptKey, int]) -> Estimate | None:
    """The mean rate, each prompt weighing as it does in the basis, with its interval.

    Noise is a share of the rate, as in `analysis.sequential`: with the weight w_p on the mean m_p of a prompt's n_p
    samples, error^2 = s^2 * sum((w_p * m_p)^2 / n_p). The interval of the mean as asked, whose weights are n_p / n, is
    widened by the ratio of the two.
    """
    rates: dict[_PromptKey, list[float]] = {}
    for asked, sample in answers:
        if sample.decode_tok_s is not None:
            rates.setdefault(asked, []).append(sample.decode_tok_s)
    as_asked = estimate([("/".join(asked), rate) for asked, found in rates.items() for rate in found])
    if as_asked is None:
        return None
    total = sum(basis[asked] for asked in rates)
    weights = {asked: basis[asked] / total for asked in rates}
    means = {asked: fmean(found) for asked, found in rates.items()}
    mean = math.fsum(weights[asked] * means[asked] for asked in rates)
    if as_asked.ci95 is None:
        return Estimate(as_asked.n, mean, None)
    error = math.hypot(*(weights[asked] * means[asked] / math.sqrt(len(found)) for asked, found in rates.items()))
    error_as_asked = math.hypot(*(means[asked] * math.sqrt(len(found)) for asked, found in rates.items())) / as_asked.n
    half = error / error_as_asked * as_asked.mean * math.log(as_asked.ci95[1] / as_asked.mean)
    return Estimate(as_asked.n, mean, log_interval(mean, half))


def _cost(
    point: PredictedPoint | None, rate: Estimate | None, samples: Sequence[Sample]
) -> tuple[float | None, float | None]:
    """Tokens per step and seconds per step: those of the prediction, else those that the samples amount to."""
    if point is not None:
        return point.tokens_per_step, point.step_time_s
    tokens = combine(sample.step_facts for sample in samples).tokens_per_step
    return tokens, tokens / rate.mean if tokens is not None and rate is not None else None
