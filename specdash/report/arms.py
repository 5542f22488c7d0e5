"""Which arms of a result belong together: the baselines, the best K of each draft, the pairs and their curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Protocol, TypeVar

from specdash.analysis.pair_summary import REFUTED
from specdash.analysis.reasons import edge_reason
from specdash.analysis.result import Arm, CurvePoint, Measurement, Recommendation, Result
from specdash.core.methods import BASELINE
from specdash.core.numbers import finite
from specdash.core.plan import Step
from specdash.core.profile import ALL, CONTENT
from specdash.report.text import is_noise, sentence, slower_of


class _Row(Protocol):
    @property
    def step(self) -> Step: ...


Rows = TypeVar("Rows", bound=_Row)


def is_baseline(row: _Row) -> bool:
    """Whether a row is of an arm without any speculation."""
    return row.step.method == BASELINE


def rate_of(row: Arm | Measurement) -> float | None:
    """The mean decode rate, tokens per second; None where nothing counts."""
    return finite(row.rate_tok_s)


def speedup_of(row: Arm | Measurement) -> float | None:
    """How many times as fast as its baseline; None where unknown."""
    return finite(row.speedup.value) if row.speedup is not None else None


def measured_n(row: Arm | Measurement) -> int | None:
    """How many samples a rate is the mean of; None where its file does not tell."""
    found = row.summary.get("decode_tok_s")
    return found.n if found is not None else None


@lru_cache(maxsize=20_000)
def setting_key(step: Step) -> Step:
    """What an arm shares with its baseline, as a step."""
    return step.baseline().with_values(category="", workload=CONTENT)


@lru_cache(maxsize=20_000)
def pair_key(step: Step) -> Step:
    """The arm with K left open, as a step."""
    return step.with_values(k=None, category="", workload=CONTENT, copy=0)


@lru_cache(maxsize=20_000)
def arm_key(step: Step) -> Step:
    """What tells arms apart, as a step."""
    return replace(step, category="", copy=0)


@dataclass(frozen=True)
class ResultOverview:
    """The arms of a result that measured content, what refutes them, and what is recommended.

    Whole texts are compared elsewhere. `choices`: the recommendation over all categories of each pair (`pair_key`).
    """

    result: Result
    arms: tuple[Arm, ...]
    choices: dict[Step, Recommendation]
    _refuted: dict[Step, str] = field(repr=False)

    @classmethod
    def of(cls, result: Result) -> ResultOverview:
        """The overview of a result."""
        refuted: dict[Step, str] = {}
        for row in result.measurements:
            for verdict, word in REFUTED.items():
                if verdict in row.verdicts:
                    refuted.setdefault(arm_key(row.step), word)
        choices = {
            pair_key(each.choice): each
            for each in result.recommendations
            if each.category == ALL and each.choice is not None and not each.off and each.k is not None
        }
        return cls(result, tuple(arm for arm in result.overall if arm.step.workload == CONTENT), choices, refuted)

    def of_target(self, target: str) -> list[Arm]:
        """The arms of a target."""
        return [arm for arm in self.arms if arm.step.target == target]

    def refuted(self, arm: Arm) -> str:
        """The word of `REFUTED` for what makes the figures of an arm worthless, "" for nothing."""
        return self._refuted.get(arm_key(arm.step), "")

    def doubt(self, arm: Arm) -> str:
        """Why a speedup proves nothing, "" where it does: "≈" inside the noise, "?" too few samples, a refutation.

        Imported results have neither samples nor intervals; their figures are taken as they are.
        """
        if word := self.refuted(arm):
            return word
        if arm.speedup is not None and arm.speedup.ci95 is not None:
            return "≈" if is_noise(arm.speedup.ci95) else ""
        return "?" if measured_n(arm) is not None else ""

    def contenders(self, arms: Iterable[Arm]) -> list[Arm]:
        """The baselines, and of each draft and setting the fastest arm, fastest first; only arms with a rate.

        An arm that lacks categories has another mix of prompts, so it stands for its pair only where no arm is
        complete, and one that is refuted only where all are.
        """
        best: dict[Step, Arm] = {}
        for arm in arms:
            if rate_of(arm) is None:
                continue
            key = arm.step.with_values(k=None, category="", copy=0)
            if key not in best or self._merit(arm) > self._merit(best[key]):
                best[key] = arm
        return sorted(best.values(), key=lambda arm: rate_of(arm) or 0.0, reverse=True)

    def _merit(self, arm: Arm) -> tuple[bool, bool, float]:
        return not self.refuted(arm), not arm.missing, rate_of(arm) or 0.0

    def slower_pairs(self, arms: Iterable[Arm]) -> str:
        """How many pairs are slower than their baselines, and how many were left out; "" where none can be compared."""
        compared = [arm for arm in arms if not is_baseline(arm) and speedup_of(arm) is not None]
        counted = [arm for arm in compared if not self.refuted(arm)]
        slower = sum(not self.doubt(arm) and (speedup_of(arm) or 1.0) < 1 for arm in counted)
        parts = [f"{slower_of(slower, len(counted))} slower than the baseline"] if counted else []
        for verdict, word in REFUTED.items():
            if number := sum(self.refuted(arm) == word for arm in compared):
                said = "output differs" if verdict == "output_differs" else "rate is impossible"
                one = number == 1
                parts.append(f"{number} {'is' if one else 'are'} left out, since {'its' if one else 'their'} {said}")
        return "; ".join(parts)


def other_k(best: int | None, each: Recommendation | None) -> str:
    """The K that is recommended where the best mean is that of another one: "recommended K = 2: tied"; else ""."""
    if each is None or each.choice is None or best is None or each.k == best:
        return ""
    is_tied = any(other.step.k == best and other.step.drafter == each.choice.drafter for other in each.tied)
    return f"recommended K = {each.k}{': tied' if is_tied else ''}"


# -- curves -----------------------------------------------------------------------------------------------------------


def k_of(point: CurvePoint) -> int:
    """The K of a point; every point has one."""
    return point.step.k or 0


def curves_by_pair(result: Result) -> dict[Step, list[CurvePoint]]:
    """Points of each pair (`pair_key`) over all categories by ascending K; of its first category where it has no "all".

    Only points with a rate, predicted or measured, count.
    """
    found: dict[Step, dict[str, list[CurvePoint]]] = {}
    for point in result.curves:
        if finite(point.predicted_tok_s) is not None or finite(point.measured_tok_s) is not None:
            found.setdefault(pair_key(point.step), {}).setdefault(point.step.category or ALL, []).append(point)
    chosen = {pair: by.get(ALL) or next(iter(by.values())) for pair, by in found.items()}
    return {pair: sorted(points, key=k_of) for pair, points in chosen.items()}


def baseline_of(point: CurvePoint, result: Result) -> float | None:
    """The rate without speculation that a point of a curve is held against."""
    category = point.step.category or ALL
    rows: Sequence[Arm | Measurement] = result.overall if category == ALL else result.measurements
    for row in rows:
        is_same = is_baseline(row) and row.step.workload == CONTENT and setting_key(row.step) == setting_key(point.step)
        if is_same and category in (ALL, row.step.category):
            return rate_of(row)
    return None


def best_k(points: Sequence[CurvePoint]) -> CurvePoint | None:
    """The point of a curve with the best predicted rate; of the measured ones where nothing was predicted."""
    for name in ("predicted_tok_s", "measured_tok_s"):
        rated = [point for point in points if finite(getattr(point, name)) is not None]
        if rated:
            return max(rated, key=lambda point: finite(getattr(point, name)) or 0.0)
    return None


def edge(points: Sequence[CurvePoint]) -> str:
    """What to do about an optimum at the edge of what was tried, "" where there is none."""
    if not any(point.at_edge for point in points):
        return ""
    return sentence(edge_reason(max(point.k_max or k_of(point) for point in points)))
