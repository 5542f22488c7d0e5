"""What a result document holds that rules of thumb can be judged by: pairs over all categories, and their Ks. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from statistics import fmean
from typing import Any

from specdash.analysis.arms import (
    ALL,
    REFUSED,
    Arm,
    Group,
    arms_of,
    categories_of,
    compared,
    groups_of,
    key_of,
    names_of,
    overall_mean,
)
from specdash.analysis.stats import Speedup
from specdash.core.axes import said
from specdash.core.measure import Verdict

Json = Mapping[str, Any]

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
class Pair:
    """A target with a draft, in one configuration; None where unknown. `faster` is the best arm's speedup.

    `baseline_tok_s` is the target's own rate, `time_ratio` how many times as long a pass of the target takes as one of
    the draft, by the bytes that they read. `acceptance` is of the best arm, `billions` of the draft's parameters.
    """

    target: str
    draft: str
    label: str
    target_class: str | None
    arms: tuple[Arm, ...]
    peak: Peak | None
    best: Arm | None
    faster: Speedup | None
    baseline_tok_s: float | None
    best_tok_s: float | None
    time_ratio: float | None
    acceptance: float | None
    billions: float | None
    same_architecture: bool | None
    speedups: Mapping[int, float]  # by K


def pairs_of(document: Json) -> tuple[Pair, ...]:
    """The pairs of a document that have a rate; what was sampled once judges no rule."""
    pairs = (pair for group in groups_of(document.get("measurements") or ()) for pair in _pairs(group, document))
    return tuple(pair for pair in pairs if not _is_single(pair))


def _is_single(pair: Pair) -> bool:
    """Whether a pair has samples and still no interval; files of means alone are another matter."""
    has_samples = pair.best is not None and pair.best.has_samples
    return has_samples and pair.faster is not None and pair.faster.ci95 is None


def _pairs(group: Group, document: Json) -> Iterator[Pair]:
    base, arms = arms_of(group, ALL, document)
    models = {each.get("label"): each for each in document.get("models") or ()}
    by_draft: dict[str, list[Arm]] = {}
    for arm in arms:
        if arm.draft is not None and overall_mean(arm) is not None and not arm.verdicts & REFUSED:
            by_draft.setdefault(arm.draft, []).append(arm)
    target = models.get(group.key.target) or {}
    for name, members in by_draft.items():
        draft = models.get(name) or {}
        ratios = [(arm, compared(arm, base)) for arm in members] if base is not None else []
        known = [(arm, ratio) for arm, ratio in ratios if ratio is not None]
        best, faster = max(known, key=lambda each: each[1].value, default=(max(members, key=_mean), None))
        yield Pair(
            target=group.key.target,
            draft=name,
            label=_label(group, name),
            target_class=target.get("model_class"),
            arms=tuple(members),
            peak=_peak(group, name, members, document),
            best=best,
            faster=faster,
            baseline_tok_s=overall_mean(base) if base is not None else None,
            best_tok_s=overall_mean(best),
            time_ratio=_ratio(target, draft),
            acceptance=_acceptance(group, best),
            billions=billions_of(name, draft),
            same_architecture=_same(target.get("architecture"), draft.get("architecture")),
            speedups={arm.k: ratio.value for arm, ratio in known if arm.k is not None},
        )


def _mean(arm: Arm) -> float:
    return overall_mean(arm) or 0.0


def _label(group: Group, draft: str) -> str:
    key = group.key
    parts = [f"{key.target} + {draft}"]
    return ", ".join([*parts, *said(key)])


def _peak(group: Group, draft: str, arms: Sequence[Arm], document: Json) -> Peak | None:
    """The peak over the measured Ks; over the predicted curve where that knows more of them. None below three Ks."""
    # An arm that lacks categories has another mix of prompts, so its mean is not comparable.
    widest = max(len(categories_of(arm)) for arm in arms)
    whole = (arm for arm in arms if arm.k is not None and arm.copy == 0 and len(categories_of(arm)) == widest)
    measured = sorted(whole, key=lambda arm: arm.k or 0)
    predicted = {
        each["k"]: (each["predicted_tok_s"], each.get("predicted_ci95"))
        for each in document.get("curves") or ()
        if key_of(each) == group.key
        and (each.get("draft"), each.get("category")) == (draft, ALL)
        and each.get("predicted_tok_s") is not None
    }
    if len(predicted) > len(measured) and len(predicted) > 2:
        ks = tuple(sorted(predicted))
        best_k = max(ks, key=lambda k: predicted[k][0])
        floor = (predicted[best_k][1] or (predicted[best_k][0],))[0]
        tied = [k for k in ks if k == best_k or (predicted[k][1] or (0.0, predicted[k][0]))[1] >= floor]
        return Peak(ks, tuple(predicted[k][0] for k in ks), best_k, min(tied), max(tied), is_predicted=True)
    if len(measured) < 3:
        return None
    best = max(measured, key=_mean)
    tied = [arm.k or 0 for arm in measured if arm is best or _ties(best, arm)]
    return Peak(
        tuple(arm.k or 0 for arm in measured),
        tuple(_mean(arm) for arm in measured),
        best.k or 0,
        min(tied),
        max(tied),
        is_predicted=False,
    )


def _ties(best: Arm, arm: Arm) -> bool:
    """Whether two arms cannot be told apart; without intervals, only when their means are equal."""
    ratio = compared(best, arm)
    if ratio is None:
        return False
    return ratio.value == 1.0 if ratio.ci95 is None else ratio.ci95[0] <= 1.0 <= ratio.ci95[1]


def _ratio(target: Json, draft: Json) -> float | None:
    """Bytes that a token of the target reads over those of the draft; by file size where one is not known."""
    for name in ("bytes_per_token", "size_bytes"):
        ours, theirs = target.get(name), draft.get(name)
        if ours and theirs:
            return float(ours / theirs)
    return None


def _acceptance(group: Group, arm: Arm) -> float | None:
    """The mean acceptance over the categories of an arm; None where that of one rests on a K that nothing proves."""
    counted = [each for each in group.measurements if names_of(each) == arm.names and each.get("status") == "ok"]
    without = [each for each in counted if each.get("acceptance_rate") is None]
    if any(Verdict.K_UNPROVEN in (each.get("verdicts") or ()) for each in without):
        return None
    known = [rate for each in counted if (rate := each.get("acceptance_rate")) is not None]
    return fmean(known) if known else None


def billions_of(label: str, model: Json) -> float | None:
    """Billions of parameters as the label of a model says, else the name of its file: "1.5B Q4_K_M" is 1.5."""
    for text in (label, PurePath(str(model.get("path") or "")).name.replace("-", " ").replace("_", " ")):
        found = _BILLIONS.search(text)
        if found is not None:
            return float(found.group(1))
    return None


def _same(target: str | None, draft: str | None) -> bool | None:
    return None if target is None or draft is None else target == draft
