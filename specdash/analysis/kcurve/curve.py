"""Curves of a run: for every pair and depth one over all categories and one for each, and what to measure next."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from specdash.analysis.kcurve.costs import Costs, costs_of
from specdash.analysis.kcurve.predict import Z_95, Point, Table, points_of, table_of
from specdash.analysis.kcurve.replay import guess_rate
from specdash.analysis.kcurve.samples import SAMPLE, Evidence, Group, evidence, groups, traces_by_step
from specdash.analysis.stats import speedup
from specdash.core.events import StepTimes
from specdash.core.measure import Sample
from specdash.core.plan import KScope, LoadKey
from specdash.core.state import RunState
from specdash.core.steps import StepState
from specdash.core.steptable import StepTable

ALL = "all"


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
    points: tuple[Point, ...]
    best_k: int | None
    at_edge: bool
    reason: str

    def at(self, k: int) -> Point | None:
        """The point of a K."""
        return next((point for point in self.points if point.k == k), None)


def curves(view: RunState) -> tuple[Curve, ...]:
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


def off_the_line(point: Point, samples: Iterable[Sample]) -> bool:
    """Whether measured samples lie off their prediction by more than the 95 % interval of their ratio to it.

    Both are of the same answers, so they are compared answer by answer: what texts differ in is in neither. The ratio's
    own scatter (`stats.speedup`) and what the prediction leaves open (`Point.error`) are joined in quadrature. False
    where fewer than two answers are in both: one proves nothing.
    """
    measured = [
        ((sample.prompt_id, sample.block), sample.decode_tok_s)
        for sample in samples
        if sample.decode_tok_s is not None and 0 < sample.decode_tok_s < math.inf
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
        table = table_of(found.samples, costs, guess_rate(of_samples))
    categories = dict.fromkeys(each.step.category for each in steps)
    for category in (ALL, *categories):
        names = None if category == ALL else frozenset([category])
        points = points_of(table, names, costs) if costs is not None else ()
        yield _curve(found, category, points, reason)


def _curve(found: Evidence, category: str, points: tuple[Point, ...], reason: str) -> Curve:
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
