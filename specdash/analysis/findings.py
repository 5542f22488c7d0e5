"""What analysis finds against the numbers of a run, step by step: the verdicts that no sample shows by itself. Pure.

The session raises them in the journal as they come up, and the result document carries them whether or not it did.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from specdash.analysis.kcurve import Curve, Point, curves, off_the_line
from specdash.analysis.lossless import Agreement, agreements
from specdash.analysis.pass_drift import Anchor, anchor_of, anchors, drift_detail, drifted
from specdash.analysis.roofline import Roofline, roofline
from specdash.analysis.same_drafts import same_drafts
from specdash.analysis.speedups import Compared, over_baseline, rate_estimate
from specdash.core.measure import Verdict
from specdash.core.methods import BASELINE
from specdash.core.plan import Step
from specdash.core.state import RunState
from specdash.core.status import StepStatus
from specdash.core.steps import StepState

Found = tuple[Verdict, str]

DERIVED = frozenset(
    each.value for each in (Verdict.OUTPUT_DIFFERS, Verdict.IMPOSSIBLE, Verdict.OFF_THE_CURVE, Verdict.DRIFTED)
)
"""Verdicts that are found here alone. They follow from all that is known of a run, so one that was raised while less
was known, or by the rules of an older version, holds only as long as it is found."""


@dataclass(frozen=True, slots=True)
class Examined:
    """All that the findings are made from, by step id where nothing else is said; made once for a document."""

    agreements: Mapping[str, Agreement]
    rooflines: Mapping[str, Roofline | None]
    compared: Mapping[str, Compared]
    curves: Sequence[Curve]
    anchors: Mapping[Step, Anchor]


def examine(view: RunState, compared: Mapping[str, Compared] | None = None) -> Examined:
    """Everything that is derived from a whole run; `compared`: the speedups of all steps, where they are known."""
    if compared is None:
        compared = {
            name: over_baseline(found, view.steps.get(found.step.baseline().id)) for name, found in view.steps.items()
        }
    return Examined(
        agreements=agreements(view),
        rooflines={name: roofline(found, view) for name, found in view.steps.items()},
        compared=compared,
        curves=curves(view),
        anchors=anchors(view),
    )


def findings(view: RunState, examined: Examined | None = None) -> Mapping[str, tuple[Found, ...]]:
    """The derived verdicts with their details, by step id; steps without any are left out."""
    examined = examined if examined is not None else examine(view)
    points = _points(examined.curves)
    found = {name: tuple(_against(name, step, examined, points)) for name, step in view.steps.items()}
    for name, (k, answers) in same_drafts(view.steps).items():
        found[name] += ((Verdict.SAME_DRAFTS, f"drafted what K = {k} did in all {answers} answers"),)
    return {name: each for name, each in found.items() if each}


def _against(
    name: str, found: StepState, examined: Examined, points: Mapping[tuple[object, ...], Point]
) -> Iterator[Found]:
    """What is found against one step."""
    step = found.step
    agreement = examined.agreements.get(name)
    if agreement is not None and step.method != BASELINE and agreement.state == Verdict.OUTPUT_DIFFERS.value:
        yield Verdict.OUTPUT_DIFFERS, agreement.reason
    bound = examined.rooflines.get(name)
    if bound is not None and bound.impossible and bound.share is not None and bound.bound_tok_s is not None:
        yield Verdict.IMPOSSIBLE, f"{bound.share:.3g} times the {bound.bound_tok_s:.3g} tok/s that memory allows"
    if found.status != StepStatus.OK:
        return
    point = points.get((step.pair, step.category, step.depth, step.k))
    rate = rate_estimate(found.good) if point is not None else None
    if point is not None and rate is not None and off_the_line(point, found.good):
        yield Verdict.OFF_THE_CURVE, f"{rate.mean:.3g} tok/s were measured where the curve predicts {point.tok_s:.3g}"
    anchor = anchor_of(step, examined.anchors)
    compared = examined.compared.get(name)
    speedup = compared.speedup if compared is not None else None
    if anchor is not None and speedup is not None and drifted(speedup.value, anchor):
        yield Verdict.DRIFTED, drift_detail(speedup.value, anchor)


def _points(known: Sequence[Curve]) -> Mapping[tuple[object, ...], Point]:
    """The predicted points by pair, category, depth and K."""
    return {(curve.pair, curve.category, curve.depth, point.k): point for curve in known for point in curve.points}
