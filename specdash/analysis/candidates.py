"""The arms of a result as recommendations and rules compare them: a draft, a method and a K, or no draft.

Everything is read from the result, so that results which never had a journal of ours, such as imported ones, are judged
by the same code. A candidate has rates by what was asked, or, where the file holds no samples, a mean for each
category. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from specdash.analysis.grouping import arm_of, drafter_of, first_of, group_of
from specdash.analysis.result import RATE, Load, Measurement, ModelInfo, Result
from specdash.analysis.speedups import PARTS, Question, clock_for, keyed_rates
from specdash.analysis.stats import CONFIDENCE, Speedup, speedup
from specdash.core.measure import Verdict
from specdash.core.methods import BASELINE
from specdash.core.numbers import positive
from specdash.core.plan import Step
from specdash.core.profile import ALL, CONTENT, LOSSLESS

_SEVERAL = frozenset({ALL, "mixed"})  # "mixed": results of other tools that tell no categories
REFUSED = frozenset(
    {
        Verdict.OUTPUT_DIFFERS.value,
        Verdict.IMPOSSIBLE.value,
        Verdict.DRIFTED.value,
        Verdict.DRAFTED_NOTHING.value,
        Verdict.DRAFTED_IN_SOME.value,
        Verdict.SAME_DRAFTS.value,
    }
)
"""Verdicts that no arm can be recommended with."""
_OF_ALL = frozenset({Verdict.DRAFTED_NOTHING.value, Verdict.SAME_DRAFTS.value})
"""Those of them that count where they hold of every measurement of an arm."""
_OF_TEXTS = REFUSED - _OF_ALL


@dataclass(frozen=True, slots=True)
class AnswerTime:
    """What one whole answer took, seconds: from the request to its end, decoding in it, and to the first token."""

    total_s: float
    decode_s: float | None
    tokens: int | None
    ttft_s: float | None

    def time_for(self, tokens: int | None) -> float | None:
        """The time that an answer of so many tokens would have taken; None where that cannot be told."""
        if tokens == self.tokens or tokens is None or self.tokens is None:
            return self.total_s
        if self.decode_s is None or not 0 < self.decode_s <= self.total_s or self.tokens < 2 or tokens < 2:
            return None
        time_s = self.total_s - self.decode_s + self.decode_s * ((tokens - 1) / (self.tokens - 1))
        return time_s if time_s < math.inf else None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to serve a target: `step` is what was measured, without a category.

    `rates` are decoded tokens per second by what was asked; `means`, by category, are there where a file has no
    samples. `answers` and `totals` are the times of whole answers in the same way. `verdicts` are of its measurements,
    and what its compared texts say against it. `faults` say why steps of it do not count.
    """

    step: Step
    rates: Mapping[Question, float]
    means: Mapping[str, float]
    verdicts: frozenset[str]
    faults: tuple[str, ...]
    load: str | None
    size_bytes: int | None
    peak_rss_bytes: int | None
    answers: Mapping[Question, AnswerTime] = field(default_factory=dict)
    totals: Mapping[str, float] = field(default_factory=dict)

    @property
    def drafter(self) -> Step:
        """What drafts: candidates of one group with the same differ in K."""
        return drafter_of(self.step)

    @property
    def label(self) -> str:
        """The candidate in a few words."""
        step = self.step
        name = step.drafter or step.method
        return name if step.k is None else f"{name} at K = {step.k}"

    @property
    def has_samples(self) -> bool:
        """Whether single rates are known, and not only means."""
        return bool(self.rates)


@dataclass(frozen=True, slots=True)
class SettingGroup:
    """The measurements of one setting (`key`, its baseline without a category), and what they cover.

    `measurements` are those of speed, `texts` those that were taken to compare texts: they give no rate, but what
    they say against an arm counts.
    """

    key: Step
    measurements: tuple[Measurement, ...]
    texts: tuple[Measurement, ...] = ()

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories in the order in which they were measured; names that stand for several are left out."""
        names = (found.step.category for found in self.measurements)
        return tuple(dict.fromkeys(name for name in names if name and name not in _SEVERAL))


def groups_of(measurements: Iterable[Measurement]) -> tuple[SettingGroup, ...]:
    """The groups of a result that have an arm besides the baseline, in the order of their first measurement."""
    found: dict[Step, list[Measurement]] = {}
    texts: dict[Step, list[Measurement]] = {}
    for each in measurements:
        if each.step.workload in (CONTENT, LOSSLESS):
            (found if each.step.workload == CONTENT else texts).setdefault(group_of(each.step), []).append(each)
    return tuple(
        SettingGroup(key, tuple(members), tuple(texts.get(key, ())))
        for key, members in found.items()
        if any(each.step.method != BASELINE for each in members)
    )


def text_groups(result: Result) -> tuple[Step, ...]:
    """The settings in which drafts were measured, or are still to be, for their texts alone."""
    with_rates = {group_of(each.step) for each in result.rows if each.step.workload == CONTENT}
    texts = dict.fromkeys(
        group_of(each.step)
        for each in result.measurements
        if each.step.workload == LOSSLESS and each.step.method != BASELINE
    )
    return tuple(key for key in texts if key not in with_rates)


def candidates_of(group: SettingGroup, category: str, result: Result) -> tuple[Candidate | None, tuple[Candidate, ...]]:
    """The baseline, None where there is none, and the other arms of a group; over all its categories for "all"."""
    members: dict[Step, list[Measurement]] = {}
    for found in group.measurements:
        if category in (ALL, found.step.category):
            members.setdefault(arm_of(found.step), []).append(found)
    against = _against_texts(group, category)
    field = clock_for(sample.clock for found in group.measurements for sample in found.good)
    loads = {each.id: each for each in result.loads}
    every = [
        _candidate(step, found, result.model(step.draft), loads, field, against.get(first_of(step), frozenset()))
        for step, found in members.items()
    ]
    baselines = [each for each in every if each.step.method == BASELINE]
    usable = (each for each in baselines if each.rates or each.means)
    others = tuple(each for each in every if each.step.method != BASELINE)
    return next(usable, baselines[0] if baselines else None), others


def _against_texts(group: SettingGroup, category: str) -> dict[Step, frozenset[str]]:
    """By the step of arms: the verdicts of compared texts that no arm can be recommended with."""
    found: dict[Step, frozenset[str]] = {}
    for each in group.texts:
        if category in (ALL, each.step.category):
            arm = first_of(each.step).with_values(workload=CONTENT)
            found[arm] = found.get(arm, frozenset()) | (_OF_TEXTS & set(each.verdicts))
    return found


def _candidate(
    step: Step,
    members: Sequence[Measurement],
    draft: ModelInfo | None,
    loads: Mapping[str, Load],
    field: str,
    against: frozenset[str],
) -> Candidate:
    """One arm from its measurements, whatever their status; `against` is what its texts say."""
    counted = [found for found in members if found.status == "ok"]
    rates = dict(keyed_rates(counted, field))
    ran_on = [load for found in counted if found.load is not None and (load := loads.get(found.load)) is not None]
    return Candidate(
        step=step,
        rates=rates,
        means={} if rates else means_of(counted),
        verdicts=against | _verdicts(members, counted),
        faults=tuple(_fault(found) for found in members if found.status != "ok"),
        load=next((found.load for found in counted), None),
        size_bytes=0 if step.draft is None else draft.size_bytes if draft is not None else None,
        peak_rss_bytes=max((each.peak_rss_bytes for each in ran_on if each.peak_rss_bytes is not None), default=None),
        answers=dict(each for found in counted for each in _answers(found)),
        totals=means_of(counted, "total_time_s"),
    )


def _answers(found: Measurement) -> list[tuple[Question, AnswerTime]]:
    """The times of a measurement's whole answers, by what was asked."""
    return [
        (
            (found.step.category, sample.prompt_id, sample.block),
            AnswerTime(sample.total_time_s, sample.decode_time_s, sample.generated_tokens, sample.ttft_s),
        )
        for sample in found.good
        if sample.total_time_s is not None and positive(sample.total_time_s) is not None
    ]


def _verdicts(members: Sequence[Measurement], counted: Sequence[Measurement]) -> frozenset[str]:
    """All verdicts of an arm's measurements; those of `_OF_ALL` where one of them holds of each that counts."""
    found = frozenset(verdict for each in members for verdict in each.verdicts)
    each_has = all(_OF_ALL.intersection(each.verdicts) for each in counted)
    return found if each_has else found - _OF_ALL


def means_of(found: Iterable[Measurement], metric: str = RATE) -> dict[str, float]:
    """The means that summaries tell of a metric, by category; of the decode rate by default."""
    summaries = ((each.step.category, each.summary.get(metric)) for each in found)
    return {name: each.mean for name, each in summaries if each is not None and positive(each.mean) is not None}


def _fault(found: Measurement) -> str:
    """Why a measurement does not count, in a few words."""
    verdicts = [each for each in found.verdicts if each not in REFUSED]
    return f"{found.status}: {verdicts[0]}" if verdicts else found.status


def compared(first: Candidate, second: Candidate, level: float = CONFIDENCE) -> Speedup | None:
    """How many times as fast `first` is, with an interval of confidence `level`; None where they share nothing.

    Only what was asked of both counts, in pairs. Where they share no two questions, the samples of the categories that
    both have are compared as they are, and where one has only means, those. Categories are fixed parts of the question.
    """
    if first.rates and second.rates:
        keys = first.rates.keys() & second.rates.keys()
        if len(keys) < min(2, len(first.rates), len(second.rates)):
            both = categories_of(first) & categories_of(second)
            return speedup(_within(first, both), _within(second, both), level)
        # In the order of the first arm's samples: a set has none, and sums in another order round otherwise.
        shared = [key for key in first.rates if key in keys]
        return speedup(
            [(key, first.rates[key]) for key in shared],
            [(key, second.rates[key]) for key in shared],
            level,
            PARTS,
        )
    ours, theirs = _means(first), _means(second)
    common = [category for category in ours if category in theirs]
    if not common:
        return None
    return Speedup(fmean(ours[each] for each in common) / fmean(theirs[each] for each in common), None, None)


def shared_means(first: Candidate, second: Candidate) -> tuple[float, float] | None:
    """The mean rates of two arms over what was asked of both; None where there is nothing."""
    keys = [key for key in first.rates if key in second.rates]
    if keys:
        return fmean(first.rates[key] for key in keys), fmean(second.rates[key] for key in keys)
    return common_means(_means(first), _means(second))


def common_means(ours: Mapping[str, float], theirs: Mapping[str, float]) -> tuple[float, float] | None:
    """The means of two arms over the categories that both have; None where there is none."""
    common = [category for category in ours if category in theirs]
    if not common:
        return None
    return fmean(ours[each] for each in common), fmean(theirs[each] for each in common)


def overall_mean(arm: Candidate) -> float | None:
    """The mean rate of all that is known of an arm; None of nothing."""
    known = list(arm.rates.values()) or list(arm.means.values())
    return fmean(known) if known else None


def categories_of(arm: Candidate) -> set[str]:
    """The categories that an arm has a rate in."""
    return {key[0] for key in arm.rates} or set(arm.means)


def _means(arm: Candidate) -> Mapping[str, float]:
    """The mean rate in each category."""
    if not arm.rates:
        return arm.means
    parts: dict[str, list[float]] = {}
    for key, rate in arm.rates.items():
        parts.setdefault(key[0], []).append(rate)
    return {category: fmean(rates) for category, rates in parts.items()}


def _within(arm: Candidate, categories: set[str]) -> list[tuple[Hashable, float]]:
    return [(key, rate) for key, rate in arm.rates.items() if key[0] in categories]
