"""What analysis finds against the numbers of a run, step by step: the verdicts that no sample shows by itself. Pure.

The session raises them in the journal as they come up, and the result carries them whether or not it did.

`part_of` cuts out what findings about some pairs are made from, so that a load is judged without judging all loads
again: a step is compared with its baseline, with the steps of its own pair (curves), and with the baselines of its
target in one setting (drift). Whatever changes in a baseline may change what is found of all that are compared with it.

`same_drafts` finds Ks of n-gram methods that are one: K is the most that is drafted there, and no draft was that long.
Two such Ks whose drafts never differed were one server under two names, and the smaller stands for both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from specdash.analysis.kcurve import Curve, PredictedPoint, curves_of_run, off_the_line
from specdash.analysis.lossless import Agreement, agreements
from specdash.analysis.pass_drift import Anchor, anchor_of, anchors, drift_detail, drifted
from specdash.analysis.roofline import Roofline, roofline
from specdash.analysis.speedups import Compared, over_baseline, rate_estimate
from specdash.core.measure import Sample, Verdict
from specdash.core.methods import BASELINE
from specdash.core.plan import LoadKey, Step
from specdash.core.state import RunState
from specdash.core.status import StepStatus
from specdash.core.step_state import StepState
from specdash.core.steptable import StepTable

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


def examine_run(view: RunState, compared: Mapping[str, Compared] | None = None) -> Examined:
    """Everything that is derived from a whole run; `compared`: the speedups of all steps, where they are known."""
    if compared is None:
        compared = {
            name: over_baseline(found, view.steps.get(found.step.baseline().id)) for name, found in view.steps.items()
        }
    return Examined(
        agreements=agreements(view),
        rooflines={name: roofline(found, view) for name, found in view.steps.items()},
        compared=compared,
        curves=curves_of_run(view),
        anchors=anchors(view),
    )


def derived_findings(view: RunState, examined: Examined | None = None) -> Mapping[str, tuple[Found, ...]]:
    """The derived verdicts with their details, by step id; steps without any are left out."""
    examined = examined if examined is not None else examine_run(view)
    points = _points(examined.curves)
    found = {name: tuple(_against(name, step, examined, points)) for name, step in view.steps.items()}
    for name, (k, answers) in same_drafts(view.steps).items():
        found[name] += ((Verdict.SAME_DRAFTS, f"drafted what K = {k} did in all {answers} answers"),)
    return {name: each for name, each in found.items() if each}


def _against(
    name: str, found: StepState, examined: Examined, points: Mapping[tuple[object, ...], PredictedPoint]
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


def _points(known: Sequence[Curve]) -> Mapping[tuple[object, ...], PredictedPoint]:
    """The predicted points by pair, category, depth and K."""
    return {(curve.pair, curve.category, curve.depth, point.k): point for curve in known for point in curve.points}


def part_of(view: RunState, pairs: Collection[LoadKey]) -> RunState:
    """The view with no more steps than `analysis.findings` needs for those of these pairs.

    With a baseline come all that are compared with it, since they may be judged otherwise.
    """
    return replace(view, steps=StepTable({found.step.id: found for found in _steps(view.table, pairs)}))


def view_of_pair(view: RunState, pair: LoadKey) -> RunState:
    """The view with no more steps than tell of those of one pair: its own, and its baseline's."""
    mine = (found for each in dict.fromkeys((pair.baseline, pair)) for found in view.table.of_pair(each))
    return replace(view, steps=StepTable({found.step.id: found for found in mine}))


def _steps(table: StepTable, pairs: Collection[LoadKey]) -> Iterator[StepState]:
    """The steps of these pairs, those that they are compared with, and those that are compared with them."""
    settings = dict.fromkeys(pair.baseline for pair in pairs)
    for each in settings:
        yield from table.of_pair(each)
    for pair in dict.fromkeys(pairs):
        if pair not in settings:
            yield from table.of_pair(pair)
    moved = {pair for pair in pairs if not pair.speculates}
    if moved:
        known = {status for status in table.statuses if status not in (StepStatus.OPEN, StepStatus.SKIPPED)}
        yield from (found for found in table.with_status(known) if found.step.pair.baseline in moved)


LEAST_ANSWERS = 2

_Drafts = Mapping[tuple[str, int], tuple[object, ...]]
"""What was drafted, by prompt and block."""


def same_drafts(steps: Mapping[str, StepState]) -> Mapping[str, tuple[int, int]]:
    """By step id: the smaller K whose drafts were the same, and in how many answers; steps without one are left out."""
    alike: dict[Step, list[tuple[int, str]]] = {}
    for name, found in steps.items():
        if found.status == "ok" and found.step.k is not None and found.step.is_ceiling:
            alike.setdefault(found.step.with_values(k=None), []).append((found.step.k, name))
    same: dict[str, tuple[int, int]] = {}
    for members in alike.values():
        members.sort()
        drafts = {name: _drafts(steps[name]) for _, name in members}
        for at, (_, name) in enumerate(members):
            for k, smaller in members[:at]:
                shared = drafts[name].keys() & drafts[smaller].keys()
                if len(shared) >= LEAST_ANSWERS and all(drafts[name][key] == drafts[smaller][key] for key in shared):
                    same[name] = k, len(shared)
                    break
    return same


def _drafts(found: StepState) -> _Drafts:
    """The drafts of a step's answers; none at all where no answer was drafted, which has a finding of its own."""
    if not any(sample.draft_tokens for sample in found.good):
        return {}
    return {(sample.prompt_id, sample.block): _drafted(sample) for sample in found.good}


def _drafted(sample: Sample) -> tuple[object, ...]:
    """What one answer tells of its drafts."""
    return (
        sample.draft_tokens,
        sample.accepted_tokens,
        sample.k_seen,
        sample.generated_tokens,
        sample.positions_drafted,
        sample.positions_accepted,
    )
