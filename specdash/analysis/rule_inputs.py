"""What a result holds that rules of thumb can be judged by: pairs over all categories, and their Ks. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from statistics import fmean

from specdash.analysis.candidates import (
    REFUSED,
    Candidate,
    SettingGroup,
    candidates_of,
    categories_of,
    compared,
    groups_of,
    overall_mean,
)
from specdash.analysis.grouping import first_of, group_of
from specdash.analysis.result import ModelInfo, Result
from specdash.analysis.stats import Interval, Speedup
from specdash.core.axes import value_words
from specdash.core.measure import Verdict
from specdash.core.plan import Step
from specdash.core.profile import ALL

TOLD = 8

_BILLIONS = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)\s?[bB](?![a-zA-Z0-9])")


@dataclass(frozen=True, slots=True)
class Peak:
    """Where the rate of a pair is highest over K.

    `ks` are those that are known, ascending, with their rates (tok/s); K from `low` to `high` cannot be told apart
    from the best one. `is_predicted`: the curve was predicted from one load, and not every K measured.
    """

    ks: tuple[int, ...]
    rates: tuple[float, ...]
    best: int
    low: int
    high: int
    is_predicted: bool

    @property
    def told(self) -> str:
        """The curve in words: "K = 2: 10.1, 4: 12.0 tok/s"; of a long one its ends and the best."""
        told = self.ks if len(self.ks) <= TOLD else {self.ks[0], self.best, self.ks[-1]}
        points = ", ".join(f"{k}: {rate:.3g}" for k, rate in zip(self.ks, self.rates, strict=True) if k in told)
        return f"K = {points} tok/s{' (predicted)' if self.is_predicted else ''}"


@dataclass(frozen=True, slots=True)
class JudgedPair:
    """A target with a draft, in one configuration; None where unknown. `faster` is the best arm's speedup.

    `baseline_tok_s` is the target's own rate, `time_ratio` how many times as long a pass of the target takes as one of
    the draft, by the bytes that they read. `acceptance` is of the best arm, `billions` of the draft's parameters.
    """

    target: str
    draft: str
    label: str
    target_class: str | None
    arms: tuple[Candidate, ...]
    peak: Peak | None
    best: Candidate | None
    faster: Speedup | None
    baseline_tok_s: float | None
    best_tok_s: float | None
    time_ratio: float | None
    acceptance: float | None
    billions: float | None
    same_architecture: bool | None
    speedups: Mapping[int, float]  # by K


def pairs_of(result: Result) -> tuple[JudgedPair, ...]:
    """The pairs of a result that have a rate; what was sampled once judges no rule."""
    pairs = (pair for group in groups_of(result.measurements) for pair in _pairs(group, result))
    return tuple(pair for pair in pairs if not _is_single(pair))


def _is_single(pair: JudgedPair) -> bool:
    """Whether a pair has samples and still no interval; files of means alone are another matter."""
    has_samples = pair.best is not None and pair.best.has_samples
    return has_samples and pair.faster is not None and pair.faster.ci95 is None


def _pairs(group: SettingGroup, result: Result) -> Iterator[JudgedPair]:
    base, arms = candidates_of(group, ALL, result)
    by_draft: dict[str, list[Candidate]] = {}
    for arm in arms:
        if arm.step.draft is not None and overall_mean(arm) is not None and not arm.verdicts & REFUSED:
            by_draft.setdefault(arm.step.draft, []).append(arm)
    target = result.model(group.key.target) or ModelInfo()
    for name, members in by_draft.items():
        draft = result.model(name) or ModelInfo()
        ratios = [(arm, compared(arm, base)) for arm in members] if base is not None else []
        known = [(arm, ratio) for arm, ratio in ratios if ratio is not None]
        best, faster = max(known, key=lambda each: each[1].value, default=(max(members, key=_mean), None))
        yield JudgedPair(
            target=group.key.target,
            draft=name,
            label=_label(group.key, name),
            target_class=target.model_class,
            arms=tuple(members),
            peak=_peak(group, name, members, result),
            best=best,
            faster=faster,
            baseline_tok_s=overall_mean(base) if base is not None else None,
            best_tok_s=overall_mean(best),
            time_ratio=_ratio(target, draft),
            acceptance=_acceptance(group, best),
            billions=billions_of(name, draft),
            same_architecture=_same(target.architecture, draft.architecture),
            speedups={arm.step.k: ratio.value for arm, ratio in known if arm.step.k is not None},
        )


def _mean(arm: Candidate) -> float:
    return overall_mean(arm) or 0.0


def _label(key: Step, draft: str) -> str:
    return ", ".join([f"{key.target} + {draft}", *value_words(key)])


def _peak(group: SettingGroup, draft: str, arms: Sequence[Candidate], result: Result) -> Peak | None:
    """The peak over the measured Ks; over the predicted curve where that knows more of them. None below three Ks."""
    # An arm that lacks categories has another mix of prompts, so its mean is not comparable.
    widest = max(len(categories_of(arm)) for arm in arms)
    whole = (arm for arm in arms if arm.step.k is not None and arm.step.copy == 0 and len(categories_of(arm)) == widest)
    measured = sorted(whole, key=lambda arm: arm.step.k or 0)
    predicted = {
        each.step.k: (each.predicted_tok_s, each.predicted_ci95)
        for each in result.curves
        if (each.step.draft, each.step.category) == (draft, ALL)
        and each.step.k is not None
        and each.predicted_tok_s is not None
        and group_of(each.step) == group.key
    }
    if len(predicted) > len(measured) and len(predicted) > 2:
        return _predicted_peak(predicted)
    if len(measured) < 3:
        return None
    best = max(measured, key=_mean)
    tied = [arm.step.k or 0 for arm in measured if arm is best or _ties(best, arm)]
    return Peak(
        tuple(arm.step.k or 0 for arm in measured),
        tuple(_mean(arm) for arm in measured),
        best.step.k or 0,
        min(tied),
        max(tied),
        is_predicted=False,
    )


def _predicted_peak(predicted: Mapping[int, tuple[float, Interval | None]]) -> Peak:
    """The peak of a predicted curve: its rates, with their intervals, by K."""
    ks = tuple(sorted(predicted))
    best_k = max(ks, key=lambda k: predicted[k][0])
    floor = (predicted[best_k][1] or (predicted[best_k][0],))[0]
    tied = [k for k in ks if k == best_k or (predicted[k][1] or (0.0, predicted[k][0]))[1] >= floor]
    return Peak(ks, tuple(predicted[k][0] for k in ks), best_k, min(tied), max(tied), is_predicted=True)


def _ties(best: Candidate, arm: Candidate) -> bool:
    """Whether two arms cannot be told apart; without intervals, only when their means are equal."""
    ratio = compared(best, arm)
    if ratio is None:
        return False
    return ratio.value == 1.0 if ratio.ci95 is None else ratio.ci95[0] <= 1.0 <= ratio.ci95[1]


def _ratio(target: ModelInfo, draft: ModelInfo) -> float | None:
    """Bytes that a token of the target reads over those of the draft; by file size where one is not known."""
    known = ((target.bytes_per_token, draft.bytes_per_token), (target.size_bytes, draft.size_bytes))
    return next((ours / theirs for ours, theirs in known if ours and theirs), None)


def _acceptance(group: SettingGroup, arm: Candidate) -> float | None:
    """The mean acceptance over the categories of an arm; None where that of one rests on a K that nothing proves."""
    name = first_of(arm.step)
    ok = (each for each in group.measurements if each.status == "ok" and each.step.k == name.k)
    counted = [each for each in ok if first_of(each.step) == name]
    if any(each.acceptance_rate is None and Verdict.K_UNPROVEN in each.verdicts for each in counted):
        return None
    known = [each.acceptance_rate for each in counted if each.acceptance_rate is not None]
    return fmean(known) if known else None


def billions_of(label: str, model: ModelInfo) -> float | None:
    """Billions of parameters as the label of a model says, else the name of its file: "1.5B Q4_K_M" is 1.5."""
    for text in (label, PurePath(model.path or "").name.replace("-", " ").replace("_", " ")):
        found = _BILLIONS.search(text)
        if found is not None:
            return float(found.group(1))
    return None


def _same(target: str | None, draft: str | None) -> bool | None:
    return None if target is None or draft is None else target == draft
