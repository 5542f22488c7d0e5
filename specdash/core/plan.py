"""From a profile to steps, and from steps to server loads.

A step is one cell of the result: target x draft or method x config x experts x K x workload x category x depth. Steps
that one running server can take share a load; what only a restart can change is the load's key. Grouping is a pure
function of the steps and of the scope that K has on this server, so the same function serves `specdash plan`, the
sweep, and the sweep's change of mind once a probe has shown what the server really does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from specdash.core.draft_lengths import ks_to_try
from specdash.core.kinds import KScope as KScope
from specdash.core.measure import expected_k_seen
from specdash.core.methods import (
    BASELINE,
    DRAFT,
    SIZED,
    drafter_label,
    is_draftless,
    method_label,
    method_of,
)
from specdash.core.model import ModelFacts, k_max, k_range
from specdash.core.profile import Profile, QueueEntry, ServerConfig, abilities_of

ALL = "all"  # the category of what holds over all categories
CONTENT = "content"  # the workload of ordinary prompts


@dataclass(frozen=True, slots=True)
class LoadKey:
    """Everything that only a restart of the server can change; `k` is the start-up K (None without speculation).

    `method` is "" for a baseline and for ordinary drafts, which `draft` tells apart; `ngram_n` is the size of the
    n-gram that a method looks up, None where it has none or the program's own is used.
    """

    target: str
    draft: str | None
    config: str | None
    moe_experts: int | None
    k: int | None
    method: str = ""
    ngram_n: int | None = None

    @property
    def pair(self) -> LoadKey:
        """The load with K left open: loads with the same differ in K."""
        return replace(self, k=None)

    @property
    def drafts_by(self) -> str:
        """What drafts on this load: a name of `core.methods`."""
        return self.method or (BASELINE if self.draft is None else DRAFT)

    @property
    def speculates(self) -> bool:
        """Whether anything drafts on this load."""
        return self.draft is not None or bool(self.method)

    @property
    def drafter(self) -> str | None:
        """What drafts, as it is shown; None for a baseline."""
        return drafter_label(self.draft, self.method, self.ngram_n)

    @property
    def label(self) -> str:
        """The load in a few words, for narration."""
        parts = [self.target if self.draft is None else f"{self.target} + {self.draft}"]
        if self.method:
            parts.append(method_label(self.method, self.ngram_n))
        if self.config is not None:
            parts.append(self.config)
        if self.moe_experts is not None:
            parts.append(f"{self.moe_experts} experts")
        if self.k is not None:
            parts.append(f"K {self.k}")
        elif not self.speculates:
            parts.append("no draft")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to measure; `k` and `draft` are None for a baseline, `moe_experts` None for the model's own count.

    `copy` tells apart steps that measure the same thing again (1, 2, …) from the first of them (0). `ngram_n` is the
    size of the looked-up n-gram, for methods that have one (None: the program's own).
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
    ngram_n: int | None = None

    @property
    def id(self) -> str:
        """The step's name in journals and narration; unique within a run, since labels are."""
        parts = [" + ".join(_quoted(label) for label in (self.target, self.draft) if label is not None)]
        parts.append(BASELINE if self.method == BASELINE else f"{method_label(self.method, self.ngram_n)} K={self.k}")
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
        method = "" if self.method in (BASELINE, DRAFT) else self.method
        return LoadKey(self.target, self.draft, self.config, self.moe_experts, k_startup, method, self.ngram_n)

    @property
    def drafter(self) -> str | None:
        """What drafts, as it is shown; None for a baseline."""
        return drafter_label(self.draft, self.method, self.ngram_n)

    @property
    def pair(self) -> LoadKey:
        """The step's load with K left open: what a server that takes K per request is started for."""
        return self.key(None)

    def baseline(self) -> Step:
        """The baseline that this step is compared with: same target, config, experts, category and depth."""
        return replace(self, draft=None, method=BASELINE, k=None, copy=0, ngram_n=None)

    @property
    def arm(self) -> Step:
        """The step whatever it is asked: without category, workload and copy. Steps with the same do the same work."""
        return replace(self, category="", workload="", copy=0)


def _quoted(label: str) -> str:
    """A label as a part of a step's name: in quotes where it could be read as several parts."""
    return f'"{label}"' if any(mark in label for mark in ('"', " + ", " | ")) else label


def fixes_k(step: Step, scope: KScope | None) -> bool:
    """Whether a step needs a server of its own K.

    Where K is fixed at start-up, and with every method that has no draft model: how long their drafts may be is a
    start-up argument of every program.
    """
    return scope is KScope.STARTUP or is_draftless(step.method)


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
    one_by_one = _ks_one_by_one(profile, facts, declared_class)
    if profile.sweep.k not in ("curve", "search"):
        return one_by_one
    largest = max(1, expected_k_seen(k_max(_class_of(facts, declared_class)), profile.measure.max_tokens))
    if profile.sweep.k == "curve":
        return (largest,)
    return tuple(sorted({k for k in one_by_one if k < largest} | {largest}))


def _class_of(facts: ModelFacts | None, declared_class: str) -> str:
    """The class of a target: as declared, else as its file tells, else a small dense one."""
    if declared_class != "auto":
        return declared_class
    return facts.model_class if facts is not None else "dense-small"


def _ks_one_by_one(profile: Profile, facts: ModelFacts | None, declared_class: str) -> tuple[int, ...]:
    """The listed Ks, else all of the class, ascending: those of methods that have no Ks of their own.

    Curves and searches are about drafts, so those of the class are measured one by one there.
    """
    if not isinstance(profile.sweep.k, str):
        return tuple(sorted(set(profile.sweep.k)))
    return k_range(_class_of(facts, declared_class))


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


@dataclass(frozen=True, slots=True)
class _Arm:
    """What drafts, how many experts there are, and the Ks to try."""

    draft: str | None
    method: str
    ngram_n: int | None
    moe_experts: int | None
    ks: tuple[int | None, ...]


def _arms(
    profile: Profile,
    target: str,
    declared_class: str,
    facts: Mapping[str, ModelFacts],
    config: ServerConfig | None,
    *,
    as_before: bool,
) -> list[_Arm]:
    """The arms of a target under a configuration, in the order in which their servers are started: plain ones first."""
    known, sweep = facts.get(target), profile.sweep
    experts = _experts(profile, known)
    served = config.methods if config is not None else None
    methods = [method for method in sweep.methods if served is None or method in served]
    arms: list[_Arm] = []
    if sweep.baseline and (served is None or BASELINE in served):
        arms += [_Arm(None, BASELINE, None, count, (None,)) for count in _baseline_experts(experts, known)]
    by_label = {draft.label: draft for draft in profile.drafts}
    ks = k_values(profile, known, declared_class)
    for draft in _pairs(profile, target):
        method = draft_method(by_label[draft].method, facts.get(draft)) if draft in by_label else DRAFT
        if method in methods:
            arms += [_Arm(draft, method, None, count, ks) for count in experts]
    listed_or_class = _ks_one_by_one(profile, known, declared_class)
    for method in methods:
        if is_draftless(method):
            can = abilities_of(profile, method, config.label if config is not None else None)
            for size in (sweep.ngram_n or (None,)) if method in SIZED else (None,):
                is_open = isinstance(sweep.k, str) and not as_before
                own = ks_to_try(can, method, size, profile.measure.max_tokens) if is_open else ()
                arms += [_Arm(None, method, size, count, own or listed_or_class) for count in experts]
    return arms


def draft_method(declared: str, facts: ModelFacts | None) -> str:
    """How a draft model is used: as its entry declares, else by the architecture that its file names ("eagle3")."""
    return declared if declared != "auto" else method_of(facts.architecture if facts is not None else None)


def steps_of(
    profile: Profile, facts: Mapping[str, ModelFacts], categories: Sequence[str], *, as_before: bool = False
) -> tuple[Step, ...]:
    """Every step of a profile, in the order of its lists. `facts` maps labels to model headers, where known.

    `as_before`: with the Ks of methods without a draft model that versions took which had none of their own for them.
    """
    if profile.queue:
        return tuple(dict.fromkeys(step for step, _ in _listed(profile, categories)))
    configs: tuple[ServerConfig | None, ...] = profile.configs or (None,)
    steps = [
        Step(
            target=target.label,
            draft=arm.draft,
            method=arm.method,
            config=config.label if config is not None else None,
            moe_experts=arm.moe_experts,
            k=k,
            workload=workload,
            category=category,
            depth=depth,
            ngram_n=arm.ngram_n,
        )
        for target in profile.targets
        for config in configs
        for arm in _arms(profile, target.label, target.model_class, facts, config, as_before=as_before)
        for k in arm.ks
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
                        method=entry.method,
                        config=entry.config,
                        moe_experts=entry.moe_experts,
                        k=k,
                        workload=workload,
                        category=category,
                        depth=depth,
                        copy=entry.copy,
                        ngram_n=entry.ngram_n,
                    )


def group(steps: Sequence[Step], scope: KScope | None) -> tuple[PlannedLoad, ...]:
    """Steps grouped into loads. With an unknown scope (None) a pair's Ks share one load, started at the largest.

    The order of first appearance is kept, and `steps_of` lists what is dear to change in its outer loops, so the
    target changes least often.
    """
    buckets: dict[LoadKey, list[Step]] = {}
    for step in steps:
        key = step.key(step.k) if fixes_k(step, scope) else step.pair
        buckets.setdefault(key, []).append(step)
    return tuple(_started_at_largest(key, found) for key, found in buckets.items())


def _started_at_largest(key: LoadKey, steps: Sequence[Step]) -> PlannedLoad:
    """A load for `steps`, started at the largest K among them: a server that honours less never needs more."""
    largest = max((step.k for step in steps if step.k is not None), default=None)
    return PlannedLoad(replace(key, k=largest), tuple(steps))
