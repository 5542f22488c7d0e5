"""From a profile to steps, and from steps to server loads.

A step is one cell of the result: one value of each axis of `core.axes`. Steps that one running server can take share
a load; what only a restart can change is the load's key. Grouping is a pure function of the steps and of the scope that
K has on this server, so the same function serves `specdash plan`, the sweep, and the sweep's change of mind once a
probe has shown what the server really does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from specdash.core import axes
from specdash.core.axes import AXES, NONE, Values
from specdash.core.draft_lengths import Abilities, ks_to_try
from specdash.core.engine_kinds import KScope as KScope
from specdash.core.measure import expected_k_seen
from specdash.core.methods import BASELINE, DRAFT, is_draftless, method_of
from specdash.core.model import ModelFacts, k_max, k_range
from specdash.core.profile import Profile, QueueEntry, ServerConfig, Sweep, abilities_of
from specdash.core.step import LoadKey as LoadKey
from specdash.core.step import Step as Step
from specdash.core.step import fixes_k_by_method


def fixes_k(step: Step, scope: KScope | None) -> bool:
    """Whether a step needs a server of its own K.

    Where K is fixed at start-up, and with every method that has no draft model: how long their drafts may be is a
    start-up argument of every program. Also where nobody knows yet who decides K and drafts may end before it: such a
    server cannot tell.
    """
    return scope is KScope.STARTUP or fixes_k_by_method(step) or (scope is None and step.is_ceiling)


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
    listed = profile.sweep.listed("moe_experts")
    if not listed or (facts is not None and not facts.expert_count):
        return (None,)
    return tuple(dict.fromkeys(listed))


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
    """What drafts with which parameters, how many experts there are, and the Ks to try."""

    draft: str | None
    method: str
    params: Values
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
        arms += [_Arm(None, BASELINE, NONE, count, (None,)) for count in _baseline_experts(experts, known)]
    by_label = {draft.label: draft for draft in profile.drafts}
    ks = k_values(profile, known, declared_class)
    for draft in _pairs(profile, target):
        method = draft_method(by_label[draft].method, facts.get(draft)) if draft in by_label else DRAFT
        if method in methods:
            arms += [_Arm(draft, method, each, count, ks) for each in _params(sweep, method) for count in experts]
    listed_or_class = _ks_one_by_one(profile, known, declared_class)
    for method in methods:
        if is_draftless(method):
            can = abilities_of(profile, method, config.label if config is not None else None)
            for each in _params(sweep, method):
                is_open = isinstance(sweep.k, str) and not as_before
                own = ks_to_try(can, method, each, profile.measure.max_tokens) if is_open else ()
                arms += [_Arm(None, method, each, count, own or listed_or_class) for count in experts]
    return arms


def _params(sweep: Sweep, method: str) -> list[Values]:
    """The parameters to try a method with: every combination of the listed values of those that it has."""
    names = [name for name in axes.PARAMS if AXES[name].is_of(method)]
    # What shortens drafts from its least value on: the whole drafts at that prove the Ks of the others.
    lists = [sweep.listed(name, method) or (AXES[name].default,) for name in names]
    lists = [tuple(sorted(each)) if AXES[name].shortens else each for name, each in zip(names, lists, strict=True)]
    return [Values(dict(zip(names, each, strict=True))) for each in product(*lists)]


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
        Step.of(
            target.label,
            config=config.label if config is not None else None,
            draft=arm.draft,
            method=arm.method,
            moe_experts=arm.moe_experts,
            k=k,
            workload=workload,
            depth=depth,
            category=category,
            **arm.params,
        )
        for target in profile.targets
        for config in configs
        for arm in _arms(profile, target.label, target.model_class, facts, config, as_before=as_before)
        for k in arm.ks
        for workload in profile.measure.workloads
        for depth in profile.depths
        for category in categories
    ]
    return tuple(dict.fromkeys(steps))


@dataclass(frozen=True, slots=True)
class Plan:
    """What a profile means: its steps in order, and by step id the samples of those that it lists with a number."""

    steps: tuple[Step, ...]
    iterations: Mapping[str, int]


def plan_of(
    profile: Profile, facts: Mapping[str, ModelFacts], categories: Sequence[str], *, as_before: bool = False
) -> Plan:
    """Return the plan of a profile; the arguments are those of `steps_of`."""
    return Plan(steps_of(profile, facts, categories, as_before=as_before), iterations_of(profile, categories))


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
                    yield Step.of(
                        entry.target,
                        k=k,
                        workload=workload,
                        depth=depth,
                        category=category,
                        copy=entry.copy,
                        **entry.values,
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
    return PlannedLoad(replace(key, k_startup=largest), tuple(steps))


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Ks of a method that are not measured as they were asked for; `taken` is the K that stands for them, if any does.

    `label` is the method with its parameters.
    """

    method: str
    label: str
    ks: tuple[int, ...]
    taken: int | None
    reason: str

    def __str__(self) -> str:
        ks = f"K = {', '.join(map(str, self.ks))}"
        what = "left out" if self.taken is None else f"measured as K = {self.taken}"
        return f"{self.label}: {ks} {'is' if len(self.ks) == 1 else 'are'} {what}, since it {self.reason}"


@dataclass(frozen=True, slots=True)
class Possible:
    """The steps that can be measured, and what was left out of those that were asked for.

    `was` maps ids of steps that stand for another K to the id of the first that asked for it.
    """

    steps: tuple[Step, ...]
    left_out: tuple[LeftOut, ...]
    was: Mapping[str, str]


def possible(steps: Iterable[Step], can: Callable[[Step], Abilities]) -> Possible:
    """The steps whose method can do something with their K, each once; `can` tells what that of a step can do.

    Where several Ks make one server, one step stands for all, under the K that is the truth.
    """
    kept: dict[Step, None] = {}
    was: dict[str, str] = {}
    out: dict[tuple[str, str, int | None, str], list[int]] = {}
    for step in steps:
        able = can(step)
        reason = able.why_not(step.k, step) if step.k is not None else None
        if step.k is None or reason is None:
            kept[step] = None
            continue
        taken = able.k_taken(step.k, step)
        out.setdefault((step.method, axes.method_label(step), taken, reason), []).append(step.k)
        if taken is not None:
            same = step.with_values(k=taken)
            if same not in kept:
                was[same.id] = step.id
            kept[same] = None
    found = (
        LeftOut(method, label, tuple(dict.fromkeys(ks)), taken, why) for (method, label, taken, why), ks in out.items()
    )
    return Possible(tuple(kept), tuple(found), was)
