"""From a profile to steps, and from steps to server loads.

A step is one cell of the result: target x draft or method x config x experts x K x workload x category x depth. Steps
that one running server can take share a load; what only a restart can change is the load's key. Grouping is a pure
function of the steps and of the scope that K has on this server, so the same function serves `specdash plan`, the
sweep, and the sweep's change of mind once a probe has shown what the server really does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from specdash.core.measure import expected_k_seen
from specdash.core.model import ModelFacts, k_max, k_range
from specdash.core.profile import Profile, QueueEntry

BASELINE = "baseline"
DRAFT = "draft"


class KScope(StrEnum):
    """Who decides K: the request, the request up to the start-up value, or the start-up value alone."""

    REQUEST = "request"
    CAPPED = "capped"
    STARTUP = "startup"


@dataclass(frozen=True, slots=True)
class LoadKey:
    """Everything that only a restart of the server can change; `k` is the start-up K (None without a draft)."""

    target: str
    draft: str | None
    config: str | None
    moe_experts: int | None
    k: int | None

    @property
    def label(self) -> str:
        """The load in a few words, for narration."""
        parts = [self.target if self.draft is None else f"{self.target} + {self.draft}"]
        if self.config is not None:
            parts.append(self.config)
        if self.moe_experts is not None:
            parts.append(f"{self.moe_experts} experts")
        if self.k is not None:
            parts.append(f"K {self.k}")
        elif self.draft is None:
            parts.append("no draft")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to measure; `k` and `draft` are None for a baseline, `moe_experts` None for the model's own count.

    `copy` tells apart steps that measure the same thing again (1, 2, …) from the first of them (0).
    """

    target: str
    draft: str | None
    method: str
    config: str | None
    moe_experts: int | None
    k: int | None
    workload: str
    category: str
    depth: int
    copy: int = 0

    @property
    def id(self) -> str:
        """The step's name in journals and narration; unique within a run, since labels are."""
        parts = [" + ".join(_quoted(label) for label in (self.target, self.draft) if label is not None)]
        parts.append(BASELINE if self.method == BASELINE else f"{self.method} K={self.k}")
        if self.config is not None:
            parts.append(f"config {_quoted(self.config)}")
        if self.moe_experts is not None:
            parts.append(f"{self.moe_experts} experts")
        if self.depth:
            parts.append(f"depth {self.depth}")
        if self.workload != "content":
            parts.append(self.workload)
        parts.append(_quoted(self.category))
        if self.copy:
            parts.append(f"copy {self.copy}")
        return " | ".join(parts)

    def key(self, k_startup: int | None) -> LoadKey:
        """The load that this step runs on, if its server is started with `k_startup`."""
        return LoadKey(self.target, self.draft, self.config, self.moe_experts, k_startup)

    @property
    def pair(self) -> LoadKey:
        """The step's load with K left open: what a server that takes K per request is started for."""
        return self.key(None)

    def baseline(self) -> Step:
        """The baseline that this step is compared with: same target, config, experts, category and depth."""
        return replace(self, draft=None, method=BASELINE, k=None, copy=0)


def _quoted(label: str) -> str:
    """A label as a part of a step's name: in quotes where it could be read as several parts."""
    return f'"{label}"' if any(mark in label for mark in ('"', " + ", " | ")) else label


@dataclass(frozen=True, slots=True)
class PlannedLoad:
    """A server start and the steps that it serves, in order."""

    key: LoadKey
    steps: tuple[Step, ...]


def k_values(profile: Profile, facts: ModelFacts | None, declared_class: str) -> tuple[int, ...]:
    """The Ks to begin with on a target, ascending: the listed ones, else by the class of the target.

    A curve begins at the largest K alone, as far as the answers have room for it; the others follow from what that
    load shows. A search begins with the largest beside those of the class, so that a server which takes K from requests
    is started once for all that may follow. The class that the profile declares wins over the header's; with neither
    known (a profile written for another machine) a small dense model is assumed.
    """
    if not isinstance(profile.sweep.k, str):
        return tuple(sorted(set(profile.sweep.k)))
    assumed = facts.model_class if facts is not None else "dense-small"
    known_class = declared_class if declared_class != "auto" else assumed
    largest = max(1, expected_k_seen(k_max(known_class), profile.measure.max_tokens))
    if profile.sweep.k == "curve":
        return (largest,)
    if profile.sweep.k == "search":
        return tuple(sorted({k for k in k_range(known_class) if k < largest} | {largest}))
    return k_range(known_class)


def _experts(profile: Profile, facts: ModelFacts | None) -> tuple[int | None, ...]:
    """The expert counts that drafts are tried with; (None,) where the axis does not apply."""
    if not profile.sweep.moe_experts or (facts is not None and not facts.expert_count):
        return (None,)
    return tuple(dict.fromkeys(profile.sweep.moe_experts))


def _baseline_experts(experts: Sequence[int | None], facts: ModelFacts | None) -> tuple[int | None, ...]:
    """The expert counts of baselines: the model's own as the reference, then those of the drafts.

    Where the header tells that the own count is among the listed ones, it is not measured twice.
    """
    if experts == (None,) or (facts is not None and facts.expert_used_count in experts):
        return tuple(experts)
    return (None, *experts)


def _pairs(profile: Profile, target: str) -> tuple[str, ...]:
    """Labels of the drafts to try on `target`."""
    if isinstance(profile.sweep.pairs, str):
        return tuple(draft.label for draft in profile.drafts)
    return tuple(draft for wanted, draft in profile.sweep.pairs if wanted == target)


def steps_of(profile: Profile, facts: Mapping[str, ModelFacts], categories: Sequence[str]) -> tuple[Step, ...]:
    """Every step of a profile, in the order of its lists. `facts` maps labels to model headers, where known."""
    if profile.queue:
        return tuple(dict.fromkeys(step for step, _ in _listed(profile, categories)))
    steps: list[Step] = []
    configs: tuple[str | None, ...] = tuple(config.label for config in profile.configs) or (None,)
    for target in profile.targets:
        known = facts.get(target.label)
        ks = k_values(profile, known, target.model_class)
        experts = _experts(profile, known)
        # (draft, experts, Ks) in the order in which the servers are started: the plain ones first.
        arms: list[tuple[str | None, int | None, tuple[int | None, ...]]] = []
        if profile.sweep.baseline:
            arms += [(None, count, (None,)) for count in _baseline_experts(experts, known)]
        if DRAFT in profile.sweep.methods:
            arms += [(draft, count, ks) for draft in _pairs(profile, target.label) for count in experts]
        steps += [
            Step(
                target=target.label,
                draft=draft,
                method=BASELINE if draft is None else DRAFT,
                config=config,
                moe_experts=count,
                k=k,
                workload=workload,
                category=category,
                depth=depth,
            )
            for config in configs
            for draft, count, arm_ks in arms
            for k in arm_ks
            for workload in profile.measure.workloads
            for depth in profile.sweep.depth
            for category in categories
        ]
    return tuple(dict.fromkeys(steps))


def iterations_of(profile: Profile, categories: Sequence[str]) -> dict[str, int]:
    """How many samples the steps take, by step id, where a profile lists them with numbers of their own."""
    return {step.id: count for step, count in _listed(profile, categories) if count is not None}


def _listed(profile: Profile, categories: Sequence[str]) -> Iterator[tuple[Step, int | None]]:
    """The steps of `[[queue]]` with their samples."""
    for entry in profile.queue:
        yield from ((step, entry.iterations) for step in entry_steps(entry, profile.measure.workloads, categories))


def entry_steps(entry: QueueEntry, workloads: Sequence[str], categories: Sequence[str]) -> Iterator[Step]:
    """The steps of one entry of a queue; `categories` are what "all" means."""
    for k in entry.k or (None,):
        for workload in workloads:
            for depth in entry.depth:
                for category in categories if isinstance(entry.categories, str) else entry.categories:
                    yield Step(
                        target=entry.target,
                        draft=entry.draft,
                        method=BASELINE if entry.draft is None else DRAFT,
                        config=entry.config,
                        moe_experts=entry.moe_experts,
                        k=k,
                        workload=workload,
                        category=category,
                        depth=depth,
                        copy=entry.copy,
                    )


def group(steps: Sequence[Step], scope: KScope | None) -> tuple[PlannedLoad, ...]:
    """Steps grouped into loads. With an unknown scope (None) a pair's Ks share one load, started at the largest.

    The order of first appearance is kept, and `steps_of` lists what is dear to change in its outer loops, so the
    target changes least often.
    """
    buckets: dict[LoadKey, list[Step]] = {}
    for step in steps:
        key = step.key(step.k) if scope is KScope.STARTUP else step.pair
        buckets.setdefault(key, []).append(step)
    return tuple(_started_at_largest(key, found) for key, found in buckets.items())


def _started_at_largest(key: LoadKey, steps: Sequence[Step]) -> PlannedLoad:
    """A load for `steps`, started at the largest K among them: a server that honours less never needs more."""
    largest = max((step.k for step in steps if step.k is not None), default=None)
    return PlannedLoad(replace(key, k=largest), tuple(steps))
