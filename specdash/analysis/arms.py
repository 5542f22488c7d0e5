"""Arms of a result document, as recommendations and rules compare them: a draft, a method and a K, or no draft.

Everything is read from the document (schema `specdash.result/1`), so that results which never had a journal of ours,
such as imported ones, are judged by the same code. An arm has rates by what was asked, or, where the file holds no
samples, a mean for each category. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from specdash.analysis.rates import OWN_CLOCK, PARTS, clock_for
from specdash.analysis.stats import CONFIDENCE, Speedup, speedup
from specdash.core.axes import GROUP, NONE, PARAMS, Values, drafter_label, pick, value
from specdash.core.measure import Verdict
from specdash.core.methods import BASELINE
from specdash.core.profile import LOSSLESS

Json = Mapping[str, Any]
Key = tuple[Any, Any, Any]
"""Category, prompt id and block: what was asked."""

CONTENT = "content"
ALL = "all"
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
class GroupKey:
    """What arms have in common that are compared with each other."""

    target: str
    variant: Values = NONE

    def value(self, name: str) -> Any:
        """The value of an axis of `core.axes.GROUP`."""
        return self.target if name == "target" else value(self.variant, name)


@dataclass(frozen=True, slots=True)
class Answer:
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
class Arm:
    """A way to serve a target.

    `params` are those of the method. `rates` are decoded tokens per second by what was asked; `means`, by category, are
    there where a file has no samples. `answers` and `totals` are the times of whole answers in the same way. `verdicts`
    are of its measurements, and what its compared texts say against it. `faults` say why steps of it do not count;
    `copy` tells repeated arms apart.
    """

    draft: str | None
    method: str
    k: int | None
    copy: int
    rates: Mapping[Key, float]
    means: Mapping[Any, float]
    verdicts: frozenset[str]
    faults: tuple[str, ...]
    load: str | None
    size_bytes: int | None
    peak_rss_bytes: int | None
    params: Values = NONE
    answers: Mapping[Key, Answer] = field(default_factory=dict)
    totals: Mapping[Any, float] = field(default_factory=dict)

    @property
    def drafter(self) -> tuple[str | None, str, Values]:
        """What drafts: arms with the same differ in K."""
        return self.draft, self.method, self.params

    @property
    def names(self) -> tuple[Any, ...]:
        """What tells it apart from others of its group, as `names_of` has it for what was measured."""
        return self.draft, self.method, self.k, self.params

    def value(self, name: str) -> Any:
        """The value of an axis of stages."""
        return getattr(self, name) if name in ("draft", "method", "k") else value(self.params, name)

    @property
    def label(self) -> str:
        """The arm in a few words."""
        name = drafter_label(self) or self.method
        return name if self.k is None else f"{name} at K = {self.k}"

    @property
    def has_samples(self) -> bool:
        """Whether single rates are known, and not only means."""
        return bool(self.rates)


@dataclass(frozen=True, slots=True)
class Group:
    """The measurements of one group, and what they cover.

    `measurements` are those of speed, `texts` those that were taken to compare texts: they give no rate, but what
    they say against an arm counts.
    """

    key: GroupKey
    measurements: tuple[Json, ...]
    texts: tuple[Json, ...] = ()

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories in the order in which they were measured; names that stand for several are left out."""
        names = (found.get("category") for found in self.measurements)
        return tuple(dict.fromkeys(name for name in names if name is not None and name not in _SEVERAL))


def groups_of(measurements: Iterable[Json]) -> tuple[Group, ...]:
    """The groups of a document that have an arm besides the baseline, in the order of their first measurement."""
    found: dict[GroupKey, list[Json]] = {}
    texts: dict[GroupKey, list[Json]] = {}
    for each in measurements:
        workload = each.get("workload", CONTENT)
        if workload in (CONTENT, LOSSLESS):
            (found if workload == CONTENT else texts).setdefault(key_of(each), []).append(each)
    return tuple(
        Group(key, tuple(members), tuple(texts.get(key, ())))
        for key, members in found.items()
        if any(each.get("method") != BASELINE for each in members)
    )


def text_groups(document: Json) -> tuple[GroupKey, ...]:
    """The groups of a document in which drafts were measured, or are still to be, for their texts alone."""
    every = (*(document.get("measurements") or ()), *(document.get("unfinished") or ()))
    with_rates = {key_of(each) for each in every if each.get("workload", CONTENT) == CONTENT}
    texts = dict.fromkeys(
        key_of(each)
        for each in document.get("measurements") or ()
        if each.get("workload") == LOSSLESS and each.get("method") != BASELINE
    )
    return tuple(key for key in texts if key not in with_rates)


def key_of(found: Json) -> GroupKey:
    """The group that a measurement, curve or anchor of a document belongs to."""
    return GroupKey(found["target"], pick(found, GROUP[1:]))


def arms_of(group: Group, category: str, document: Json) -> tuple[Arm | None, tuple[Arm, ...]]:
    """The baseline, None where there is none, and the other arms of a group; over all its categories for "all"."""
    models = {each.get("label"): each for each in document.get("models") or ()}
    loads = {each.get("id"): each for each in document.get("loads") or ()}
    members: dict[tuple[Any, ...], list[Json]] = {}
    seen: dict[tuple[Any, ...], int] = {}
    for found in group.measurements:
        arm = names_of(found)
        step = (*arm, found.get("category"))
        copy = seen.get(step, 0)
        seen[step] = copy + 1
        if category in (ALL, found.get("category")):
            members.setdefault((*arm, copy), []).append(found)
    against = _against_texts(group, category)
    samples = (sample for found in group.measurements for sample in found.get("samples") or ())
    field = clock_for(sample.get("clock") for sample in samples if sample.get("status", "ok") == "ok")
    arms = [
        _arm(name, found, models, loads, field, against.get(name[:-1], frozenset())) for name, found in members.items()
    ]
    baselines = [arm for arm in arms if arm.method == BASELINE]
    usable = (arm for arm in baselines if arm.rates or arm.means)
    return next(usable, baselines[0] if baselines else None), tuple(arm for arm in arms if arm.method != BASELINE)


def _against_texts(group: Group, category: str) -> dict[tuple[Any, ...], frozenset[str]]:
    """By the names of arms: the verdicts of compared texts that no arm can be recommended with."""
    found: dict[tuple[Any, ...], frozenset[str]] = {}
    for each in group.texts:
        if category in (ALL, each.get("category")):
            name = names_of(each)
            found[name] = found.get(name, frozenset()) | (_OF_TEXTS & set(each.get("verdicts") or ()))
    return found


def names_of(found: Json) -> tuple[Any, ...]:
    """What tells the arms of a group apart."""
    return found.get("draft"), found.get("method"), found.get("k"), pick(found, PARAMS)


def _arm(
    name: tuple[Any, ...],
    members: Sequence[Json],
    models: Mapping[Any, Json],
    loads: Mapping[Any, Json],
    field: str,
    against: frozenset[str],
) -> Arm:
    """One arm from its measurements, whatever their status; `against` is what its texts say."""
    draft, method, k, params, copy = name
    counted = [found for found in members if found.get("status") == "ok"]
    rates = {key: rate for found in counted for key, rate in rates_of(found, field)}
    peaks = [(loads.get(found.get("load")) or {}).get("peak_rss_bytes") for found in counted]
    return Arm(
        draft=draft,
        method=method,
        k=k,
        copy=copy,
        rates=rates,
        means={} if rates else {found.get("category"): mean for found in counted if (mean := mean_of(found))},
        verdicts=against | _verdicts(members, counted),
        faults=tuple(_fault(found) for found in members if found.get("status") != "ok"),
        load=next((found.get("load") for found in counted), None),
        size_bytes=0 if draft is None else (models.get(draft) or {}).get("size_bytes"),
        peak_rss_bytes=max((peak for peak in peaks if peak is not None), default=None),
        params=params,
        answers=dict(each for found in counted for each in _answers(found)),
        totals={found.get("category"): mean for found in counted if (mean := mean_of(found, "total_time_s"))},
    )


def _answers(found: Json) -> list[tuple[Key, Answer]]:
    """The times of a measurement's whole answers, by what was asked; without those of a prompt that was cached."""
    category = found.get("category")
    return [
        (
            (category, sample.get("prompt_id"), sample.get("block")),
            Answer(total_s, sample.get("decode_time_s"), sample.get("generated_tokens"), sample.get("ttft_s")),
        )
        for sample in found.get("samples") or ()
        if sample.get("status", "ok") == "ok"
        and not sample.get("warm")
        and _is_rate(total_s := sample.get("total_time_s"))
    ]


def _verdicts(members: Sequence[Json], counted: Sequence[Json]) -> frozenset[str]:
    """All verdicts of an arm's measurements; those of `_OF_ALL` where one of them holds of each that counts."""
    found = frozenset(verdict for each in members for verdict in each.get("verdicts") or ())
    each_has = all(_OF_ALL.intersection(each.get("verdicts") or ()) for each in counted)
    return found if each_has else found - _OF_ALL


def rates_of(found: Json, field: str = OWN_CLOCK) -> list[tuple[Key, float]]:
    """The decode rates of a measurement's valid samples, by what was asked; `field` is the clock's."""
    category = found.get("category")
    return [
        ((category, sample.get("prompt_id"), sample.get("block")), rate)
        for sample in found.get("samples") or ()
        if sample.get("status", "ok") == "ok" and _is_rate(rate := sample.get(field))
    ]


def mean_of(found: Json, metric: str = OWN_CLOCK) -> float | None:
    """The mean that a measurement's summary tells of a metric, by default of the decode rate."""
    mean = ((found.get("summary") or {}).get(metric) or {}).get("mean")
    return mean if _is_rate(mean) else None


def _is_rate(value: Any) -> bool:
    return isinstance(value, int | float) and 0 < value < math.inf


def _fault(found: Json) -> str:
    """Why a measurement does not count, in a few words."""
    verdicts = [each for each in found.get("verdicts") or () if each not in REFUSED]
    status = str(found.get("status"))
    return f"{status}: {verdicts[0]}" if verdicts else status


def compared(first: Arm, second: Arm, level: float = CONFIDENCE) -> Speedup | None:
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


def shared_means(first: Arm, second: Arm) -> tuple[float, float] | None:
    """The mean rates of two arms over what was asked of both; None where there is nothing."""
    keys = [key for key in first.rates if key in second.rates]
    if keys:
        return fmean(first.rates[key] for key in keys), fmean(second.rates[key] for key in keys)
    return common_means(_means(first), _means(second))


def common_means(ours: Mapping[Any, float], theirs: Mapping[Any, float]) -> tuple[float, float] | None:
    """The means of two arms over the categories that both have; None where there is none."""
    common = [category for category in ours if category in theirs]
    if not common:
        return None
    return fmean(ours[each] for each in common), fmean(theirs[each] for each in common)


def overall_mean(arm: Arm) -> float | None:
    """The mean rate of all that is known of an arm; None of nothing."""
    known = list(arm.rates.values()) or list(arm.means.values())
    return fmean(known) if known else None


def categories_of(arm: Arm) -> set[Any]:
    """The categories that an arm has a rate in."""
    return {key[0] for key in arm.rates} or set(arm.means)


def _means(arm: Arm) -> Mapping[Any, float]:
    """The mean rate in each category."""
    if not arm.rates:
        return arm.means
    parts: dict[Any, list[float]] = {}
    for key, rate in arm.rates.items():
        parts.setdefault(key[0], []).append(rate)
    return {category: fmean(rates) for category, rates in parts.items()}


def _within(arm: Arm, categories: set[Any]) -> list[tuple[Hashable, float]]:
    return [(key, rate) for key, rate in arm.rates.items() if key[0] in categories]
