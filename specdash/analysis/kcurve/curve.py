"""Curves of a run: for every pair and depth one over all categories and one for each, and what to measure next.

The curve of a pair is tok/s at every K up to K_max, with an interval, from one server at K_max. A sample of N tokens
that took T seconds at K_max is predicted to take T * bill(K) / bill(K_max) at K, where a bill is the cost of its
replayed steps (`replay`, `costs`) in full steps, the first step's extra included. Its rate is N - 1 over that, and a
point is the mean of the samples' rates, as reports have it.

The 95 % interval of a point, on the log scale, joins in quadrature:
- the scatter of the samples' predicted rates around their prompts' means (`analysis.sequential.estimate`): each
  sample's own level (T over what its trace is worth) scatters with the machine. A measured mean has that part too;
- what another start of the server differs by, `OTHER_START`;
- the errors of the step costs, in which a cost counts by its share of the bill at K less its share at K_max;
- what the traces leave open, independent between texts and equal for samples of the same words.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist, fmean

from specdash.analysis.kcurve.costs import Bill, Costs, costs_of
from specdash.analysis.kcurve.replay import (
    SAMPLE,
    Evidence,
    Group,
    Measured,
    Replayed,
    evidence,
    groups,
    guess_rate,
    traces_by_step,
)
from specdash.analysis.sequential import estimate
from specdash.analysis.stats import CONFIDENCE, Interval, log_interval, speedup
from specdash.core.events import StepTimes
from specdash.core.measure import Sample
from specdash.core.numbers import positive
from specdash.core.plan import KScope, LoadKey
from specdash.core.profile import ALL
from specdash.core.state import RunState
from specdash.core.step_state import StepState
from specdash.core.steptable import StepTable


@dataclass(frozen=True, slots=True)
class Curve:
    """The predicted curve of one pair at one depth; `points` ascend in K from 1 to `k_max`, only predicted ones.

    `pair.k` is None; `category` is "all" or a category's name. `best_k`: the K of the highest predicted mean, the
    smaller of equals; `at_edge`: it is K_max, so a larger one may be better. `reason`: why there is no prediction, or
    none for some K; "" if there is nothing to say.
    """

    pair: LoadKey
    category: str
    depth: int
    k_max: int
    points: tuple[PredictedPoint, ...]
    best_k: int | None
    at_edge: bool
    reason: str

    def at(self, k: int) -> PredictedPoint | None:
        """The point of a K."""
        return next((point for point in self.points if point.k == k), None)


def curves_of_run(view: RunState) -> tuple[Curve, ...]:
    """Every curve that the traces of a run allow; pairs without any trace are left out."""
    by_step = traces_by_step(view)
    return tuple(curve for group, steps in groups(view).items() for curve in _curves(view, group, steps, by_step))


def curve_of(view: RunState, pair: LoadKey, depth: int = 0, category: str | None = None) -> Curve | None:
    """The curve of one pair (its `k` is passed over) over all categories, or of one; None without any trace."""
    group = (pair.pair, depth)
    view = replace(view, steps=StepTable({found.step.id: found for found in view.table.of_pair(pair.pair)}))
    steps = groups(view).get(group, [])
    return next(
        (each for each in _curves(view, group, steps, traces_by_step(view)) if each.category == (category or ALL)), None
    )


def confirmations(curve: Curve, known: Collection[int], most: int = 2) -> tuple[int, ...]:
    """The Ks that are worth measuring: the best predicted ones, at most `most`, without those in `known`.

    The two best, and not the smallest that ties with the best: simulated, that loses less than 2 % in more runs.
    """
    best = sorted(curve.points, key=lambda point: (-point.tok_s, point.k))[: max(0, most)]
    return tuple(point.k for point in best if point.k not in known)


def off_the_line(point: PredictedPoint, samples: Iterable[Sample]) -> bool:
    """Whether measured samples lie off their prediction by more than the 95 % interval of their ratio to it.

    Both are of the same answers, so they are compared answer by answer: what texts differ in is in neither. The ratio's
    own scatter (`stats.speedup`) and what the prediction leaves open (`PredictedPoint.error`) are joined in
    quadrature. False where fewer than two answers are in both: one proves nothing.
    """
    measured = [
        ((sample.prompt_id, sample.block), rate)
        for sample in samples
        if (rate := positive(sample.decode_tok_s)) is not None
    ]
    known = dict(point.rates)
    shared = [(key, rate) for key, rate in measured if key in known]
    ratio = speedup(shared, [(key, known[key]) for key, _ in shared])
    if ratio is None or ratio.ci95 is None:
        return False
    scatter = math.log(ratio.ci95[1] / ratio.value)
    return abs(math.log(ratio.value)) > math.hypot(scatter, Z_95 * point.error)


def _curves(
    view: RunState, group: Group, steps: Sequence[StepState], by_step: Mapping[str, Sequence[StepTimes]]
) -> Iterator[Curve]:
    """The curves of one pair at one depth."""
    found = evidence(view, group, steps, by_step)
    if found.k_max is None:
        return
    costs = costs_of(found.traces, found.k_max, k_is_fixed=view.scope in (None, KScope.STARTUP))
    reason = _no_prediction(found, costs)
    table: Table = {}
    if costs is not None and not reason:
        of_samples = [trace for trace in found.traces if trace.purpose == SAMPLE]
        table = prediction_table(found.samples, costs, guess_rate(of_samples))
    categories = dict.fromkeys(each.step.category for each in steps)
    for category in (ALL, *categories):
        names = None if category == ALL else frozenset([category])
        points = points_of(table, names, costs) if costs is not None else ()
        yield _curve(found, category, points, reason)


def _curve(found: Evidence, category: str, points: tuple[PredictedPoint, ...], reason: str) -> Curve:
    """A curve of these points."""
    k_max = found.k_max or 0
    best = min(points, key=lambda point: (-point.tok_s, point.k), default=None)
    if not reason and not points:
        reason = f"no valid sample at K = {k_max} of {category} text"
    elif not reason and (missing := [k for k in range(1, k_max + 1) if k not in {point.k for point in points}]):
        reason = f"no step cost was measured on both sides of K = {', '.join(map(str, missing))}"
    return Curve(
        pair=found.pair,
        category=category,
        depth=found.depth,
        k_max=k_max,
        points=points,
        best_k=best.k if best is not None else None,
        at_edge=best is not None and best.k == k_max,
        reason=reason,
    )


def _no_prediction(found: Evidence, costs: Costs | None) -> str:
    """Why nothing can be predicted for a pair, or ""."""
    if not any(drafted > 0 for trace in found.traces for drafted in trace.drafted):
        return f"nothing was drafted at K = {found.k_max}"
    if not found.samples:
        return f"no valid sample at K = {found.k_max}"
    if costs is None:
        if all(max(trace.drafted[1:], default=0) < (found.k_max or 0) for trace in found.traces):
            return f"answers have room for K = {found.k_max} in their first step alone: raise max_tokens"
        return f"no step that drafted K = {found.k_max} tokens has a time: the server's timings do not tell them"
    if all(each.text is None and not each.sample.positions_drafted for each in found.samples):
        return "no trace tells which tokens the draft guessed"
    return ""


OTHER_START = 0.01  # relative, standard: two starts of one server, seen on quiet machines

Z_95 = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


@dataclass(frozen=True, slots=True)
class PredictedPoint:
    """The prediction for one K: mean tok/s with its 95 % interval (None for one sample), tokens and seconds a step.

    `rates`: the answers behind it, as ((prompt id, block), tok/s); `error`: the relative standard error they share.
    """

    k: int
    tok_s: float
    ci95: Interval | None
    tokens_per_step: float
    step_time_s: float
    rates: tuple[tuple[Hashable, float], ...] = field(default=(), repr=False)
    error: float = 0.0


@dataclass(frozen=True, slots=True)
class _Row:
    """One sample at one K."""

    measured: Measured
    replayed: Replayed
    bill: Bill
    time_s: float
    open_error: float  # relative, standard: what the trace leaves open

    @property
    def rate(self) -> float:
        return self.measured.tokens / self.time_s


Table = Mapping[int, tuple[_Row, ...]]


def prediction_table(samples: Sequence[Measured], costs: Costs, guess_rate: float) -> Table:
    """Every sample at every K that can be predicted for all of them."""
    full = [_bill(each, costs.k_max, costs, guess_rate) for each in samples]
    table: dict[int, tuple[_Row, ...]] = {}
    for k in range(1, costs.k_max + 1):
        rows: list[_Row] = []
        for each, at_k_max in zip(samples, full, strict=True):
            found = _bill(each, k, costs, guess_rate)
            if at_k_max is None or found is None:
                break
            replayed, bill = found
            time_s = each.time_s * bill.total / at_k_max[1].total
            if not (0 < time_s < math.inf and 0 < each.tokens / time_s < math.inf):
                break
            wide = _worth(replayed.spread, costs)
            rows.append(_Row(each, replayed, bill, time_s, abs(wide) * replayed.doubt / bill.total))
        if samples and len(rows) == len(samples):
            table[k] = tuple(rows)
    return table


def points_of(table: Table, categories: frozenset[str] | None, costs: Costs) -> tuple[PredictedPoint, ...]:
    """The points of some categories (None: all of them), ascending in K."""
    rows = {
        k: [row for row in found if categories is None or row.measured.category in categories]
        for k, found in table.items()
    }
    rows = {k: found for k, found in rows.items() if found}
    reference = rows.get(costs.k_max)
    if reference is None:
        return ()
    return tuple(_point(k, rows[k], reference, costs) for k in sorted(rows))


def _bill(each: Measured, k: int, costs: Costs, guess_rate: float) -> tuple[Replayed, Bill] | None:
    """The steps of a sample at K and what they cost."""
    replayed = each.at(k, guess_rate)
    bill = costs.bill(replayed.counts) if replayed is not None else None
    return (replayed, bill) if replayed is not None and bill is not None else None


def _worth(counts: Mapping[int, float], costs: Costs) -> float:
    """The cost of a difference in steps; 0.0 of none. Lengths without a cost have made the bill fail before."""
    more = costs.bill({length: count for length, count in counts.items() if count > 0})
    less = costs.bill({length: -count for length, count in counts.items() if count < 0})
    extra = costs.first_extra
    return (more.total - extra if more is not None else 0.0) - (less.total - extra if less is not None else 0.0)


def _point(k: int, rows: Sequence[_Row], reference: Sequence[_Row], costs: Costs) -> PredictedPoint:
    """The point of one K; `reference` are the same samples at K_max."""
    mean = fmean(row.rate for row in rows)
    scatter = estimate([(f"{row.measured.category}/{row.measured.sample.prompt_id}", row.rate) for row in rows])
    steps = math.fsum(row.replayed.steps for row in rows)
    ci95 = None
    others = math.hypot(_error(rows, reference, costs), OTHER_START)
    if scatter is not None and scatter.ci95 is not None:
        ci95 = log_interval(mean, mean * math.hypot(math.log(scatter.ci95[1] / scatter.mean), Z_95 * others))
    return PredictedPoint(
        k=k,
        tok_s=mean,
        ci95=ci95,
        tokens_per_step=math.fsum(row.measured.tokens for row in rows) / steps,
        step_time_s=math.fsum(row.time_s for row in rows) / steps,
        rates=tuple(((row.measured.sample.prompt_id, row.measured.sample.block), row.rate) for row in rows),
        error=others,
    )


def _error(rows: Sequence[_Row], other: Sequence[_Row], costs: Costs) -> float:
    """The relative standard error of the ratio of two Ks' rates on the same samples, scatter of samples left out."""
    shares: dict[int, float] = {}
    unseen = changed = 0.0
    for sign, each in [(1, row) for row in rows] + [(-1, row) for row in other]:
        for node, share in each.bill.shares.items():
            shares[node] = shares.get(node, 0.0) + sign * share
        unseen += sign * each.bill.unseen
        changed += sign * each.bill.changed
    squares = unseen**2 + changed**2 + math.fsum((shares[node] * costs.nodes[node].error) ** 2 for node in shares)
    by_words: dict[tuple[str, str], float] = {}
    for a, b in zip(rows, other, strict=True):
        by_words[a.measured.words] = by_words.get(a.measured.words, 0.0) + a.open_error - b.open_error
    return math.sqrt(squares + math.fsum(each**2 for each in by_words.values())) / len(rows)
