"""Which arms of a result belong together: baselines, the best K of each draft, pairs and their curves. Pure.

An arm is what `overall` of a result lists. What arms have in common is named by a step, too: the setting by that of its
baseline, a pair by that of an arm with K left open.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from specdash.analysis.grouping import drafter_of, first_of, pair_of, setting_of
from specdash.analysis.result import ALL, Arm, CurvePoint, Measurement, Recommendation, Result
from specdash.core.methods import BASELINE
from specdash.core.plan import Step
from specdash.core.profile import CONTENT

REFUTED = {"output_differs": "differs", "impossible": "impossible"}
"""Verdicts that no speedup can stand against, with the word that marks them in a picture."""


@dataclass(frozen=True, slots=True)
class ContentArm:
    """An arm that measured speeds, and the word of `REFUTED` for what makes its figures worthless ("" for nothing)."""

    arm: Arm
    refuted: str = ""

    @property
    def step(self) -> Step:
        """What was measured, without a category."""
        return self.arm.step

    @property
    def rate_tok_s(self) -> float | None:
        """The mean decode rate; None where nothing counts."""
        return self.arm.rate_tok_s

    @property
    def factor(self) -> float | None:
        """How many times as fast as its baseline; None where unknown."""
        return self.arm.speedup.value if self.arm.speedup is not None else None

    @property
    def doubt(self) -> str:
        """Why a speedup proves nothing, "" where it does: "≈" inside the noise, "?" too few samples, or `refuted`.

        Imported results have neither samples nor intervals; their figures are taken as they are.
        """
        if self.refuted:
            return self.refuted
        ci95 = self.arm.speedup.ci95 if self.arm.speedup is not None else None
        if ci95 is not None:
            return "≈" if ci95[0] <= 1 <= ci95[1] else ""
        rate = self.arm.summary.get("decode_tok_s")
        return "?" if rate is not None and rate.n is not None else ""


def content_arms(result: Result) -> list[ContentArm]:
    """The arms that measured content; whole texts are compared elsewhere."""
    found: dict[Step, str] = {}
    for verdict, word in REFUTED.items():
        for each in result.measurements:
            if verdict in each.verdicts:
                found.setdefault(first_of(each.step), word)
    return [
        ContentArm(arm, found.get(first_of(arm.step), "")) for arm in result.overall if arm.step.workload == CONTENT
    ]


def contenders(arms: Iterable[ContentArm]) -> list[ContentArm]:
    """The baselines, and of each draft and setting the fastest arm, fastest first; arms without a rate are left out.

    An arm that lacks categories has another mix of prompts, so it stands for its pair only where no arm is complete,
    and one that is refuted only where all are.
    """
    best: dict[Step, ContentArm] = {}
    for each in arms:
        if each.rate_tok_s is None:
            continue
        key = drafter_of(each.step)
        if key not in best or _merit(each) > _merit(best[key]):
            best[key] = each
    return sorted(best.values(), key=lambda each: each.rate_tok_s or 0.0, reverse=True)


def _merit(each: ContentArm) -> tuple[bool, bool, float]:
    return not each.refuted, not each.arm.missing, each.rate_tok_s or 0.0


def recommended_ks(result: Result) -> dict[Step, Recommendation]:
    """The recommendation over all categories of each pair (`pair_of`) that is one to use."""
    found = (each for each in result.recommendations if each.category == ALL and not each.off)
    return {pair_of(each.choice): each for each in found if each.choice is not None and each.choice.k is not None}


def other_k(best: int | None, each: Recommendation | None) -> str:
    """The K that is recommended where the best mean is that of another one: "recommended K = 2: tied"; else ""."""
    if each is None or each.choice is None or best is None or each.k == best:
        return ""
    drafter = pair_of(each.choice)
    is_tied = any(other.step.k == best and pair_of(other.step) == drafter for other in each.tied)
    return f"recommended K = {each.k}{': tied' if is_tied else ''}"


def curves_by_pair(result: Result) -> dict[Step, list[CurvePoint]]:
    """Points of each pair (`pair_of`) over all categories by ascending K; of its first category where it has no "all".

    Only points with a rate, predicted or measured, count.
    """
    found: dict[Step, dict[str, list[CurvePoint]]] = {}
    for point in result.curves:
        if point.predicted_tok_s is not None or point.measured_tok_s is not None:
            found.setdefault(pair_of(point.step), {}).setdefault(point.step.category, []).append(point)
    chosen = {pair: by.get(ALL) or next(iter(by.values())) for pair, by in found.items()}
    return {pair: sorted(points, key=lambda point: point.step.k or 0) for pair, points in chosen.items()}


def baseline_of(point: CurvePoint, result: Result) -> float | None:
    """The rate (tok/s) without speculation that a point of a curve is held against."""
    setting, category = setting_of(point.step), point.step.category
    rows: Sequence[Arm | Measurement] = result.overall if category == ALL else result.measurements
    same = (
        row.rate_tok_s
        for row in rows
        if row.step.method == BASELINE
        and setting_of(row.step) == setting
        and (category == ALL or row.step.category == category)
    )
    return next(same, None)


@dataclass(frozen=True, slots=True)
class SlowerPairs:
    """How many of the compared arms are surely `slower` than their baselines; `refuted`: how many were left out."""

    slower: int
    compared: int
    refuted: Mapping[str, int] = field(default_factory=dict)  # by the word of `REFUTED`


def slower_pairs(arms: Iterable[ContentArm]) -> SlowerPairs:
    """How many arms are slower than their baselines."""
    compared = [each for each in arms if each.step.method != BASELINE and each.factor is not None]
    counted = [each for each in compared if not each.refuted]
    slower = sum(not each.doubt and (each.factor or 1.0) < 1 for each in counted)
    refuted = {word: count for word in REFUTED.values() if (count := sum(each.refuted == word for each in compared))}
    return SlowerPairs(slower, len(counted), refuted)


def best_k(points: Sequence[CurvePoint]) -> CurvePoint | None:
    """The point of a curve with the best predicted rate; of the measured ones where nothing was predicted."""
    predicted = [(point.predicted_tok_s, point) for point in points if point.predicted_tok_s is not None]
    measured = [(point.measured_tok_s, point) for point in points if point.measured_tok_s is not None]
    rated = predicted or measured
    return max(rated, key=lambda each: each[0])[1] if rated else None


def edge_k(points: Sequence[CurvePoint]) -> int | None:
    """The largest K that was tried, where the best one lies there (`analysis.reasons.edge_reason`); else None."""
    if not any(point.at_edge for point in points):
        return None
    return max(point.k_max or point.step.k or 0 for point in points)


def by_arm(measurements: Iterable[Measurement]) -> dict[Step, list[Measurement]]:
    """The measurements of each arm, in the order of the plan."""
    found: dict[Step, list[Measurement]] = {}
    for each in measurements:
        found.setdefault(first_of(each.step), []).append(each)
    return found
