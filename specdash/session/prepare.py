"""From a profile to everything that a run needs to know before it starts a server.

Reads model headers and prompts, applies the vocabulary rule to each pair, and lays out the steps. It starts nothing
and writes nothing, so `specdash plan` and a run share it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from specdash.config.discover import read_any
from specdash.config.prompts import digest, load_builtin, load_jsonl, select
from specdash.core.draft_lengths import Abilities
from specdash.core.events import RunSettings
from specdash.core.model import ModelFacts, vocabulary_conflict
from specdash.core.plan import KScope, LeftOut, LoadKey, PlannedLoad, Step, group, plan_of, possible
from specdash.core.profile import BUILTIN, ModelRef, Profile, abilities_of
from specdash.core.prompts import Prompt
from specdash.core.text import plural
from specdash.errors import EngineError, Exit, Problem, ProfileError, SpecdashError

EXPERTS = "moe_experts"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A profile with all that its files tell.

    `targets` and `drafts` map labels to headers, where these could be read; `problems` says of the others why not.
    `unfit` maps (target, draft) labels to the reason why that draft can never serve that target. `was` maps ids of
    steps that were given to another engine, or another K, to the ids that the profile has for them. `left_out` are Ks
    that a method cannot have, which no step is planned for. `iterations` are the samples of the steps that a profile
    lists with a number of their own, by step id. The plan is made once, by `prepare`, and handed on from here.
    """

    profile: Profile
    targets: Mapping[str, ModelFacts]
    drafts: Mapping[str, ModelFacts]
    problems: tuple[Problem, ...]
    prompts: Mapping[str, tuple[Prompt, ...]]
    prompts_digest: str
    steps: tuple[Step, ...]
    iterations: Mapping[str, int]
    unfit: Mapping[tuple[str, str], str]
    was: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()

    def usable(self, step: Step) -> bool:
        """Whether a step can be measured as far as the headers tell."""
        return step.draft is None or (step.target, step.draft) not in self.unfit

    @property
    def unserved(self) -> tuple[str, ...]:
        """Methods of the sweep that no step has: no draft of the profile is for them, or no command."""
        if self.profile.queue:
            return ()
        measured = {step.method for step in self.steps} | {each.method for each in self.left_out}
        return tuple(method for method in self.profile.sweep.methods if method not in measured)

    @property
    def settings(self) -> RunSettings:
        """What holds for every sample of a run."""
        measure, k = self.profile.measure, self.profile.sweep.k
        return RunSettings(
            measure.max_tokens,
            measure.temperature,
            measure.seed,
            measure.warmup,
            measure.iterations,
            str(measure.prompts),
            measure.workloads,
            "list" if self.profile.queue or not isinstance(k, str) else k,
            measure.precision,
            measure.passes,
        )

    @property
    def prompt_bytes(self) -> Mapping[str, tuple[int, ...]]:
        """The length of each prompt by category: until a tokenizer was asked, all that is known of them."""
        return {category: tuple(prompt.size_bytes for prompt in prompts) for category, prompts in self.prompts.items()}

    @property
    def refs(self) -> Mapping[str, ModelRef]:
        """The entries of the profile by label."""
        return {ref.label: ref for ref in (*self.profile.drafts, *self.profile.targets)}

    def most_samples(self, step: Step) -> int | None:
        """How many samples of a step can count, since its server knows a prompt that it has answered; None: any."""
        return self.abilities(step).most_samples(len(self.prompts[step.category]))

    @property
    def fewer_samples(self) -> tuple[str, ...]:
        """Of which methods fewer samples are taken than the profile asks for, and why."""
        found: dict[str, set[int]] = {}
        for step in self.steps:
            most = self.most_samples(step)
            if most is not None and most < self.iterations.get(step.id, self.profile.measure.iterations):
                found.setdefault(step.method, set()).add(most)
        return tuple(
            f"{method}: {plural(least, 'sample')} of a step at most, since its server remembers"
            " what it answered, so that each prompt of a category counts once"
            for method, least in ((method, min(counts)) for method, counts in found.items())
        )

    def abilities(self, step: Step) -> Abilities:
        """What the method of a step can draft."""
        return abilities_of(self.profile, step.method, step.config)

    def has_vision(self, label: str) -> bool:
        """Whether a target is one that takes images."""
        return any(ref.label == label and ref.mmproj is not None for ref in self.profile.targets)

    def loads(self, scope: KScope | None) -> tuple[PlannedLoad, ...]:
        """The server loads of all usable steps under a scope of K (None: not probed yet)."""
        grouped = KScope.STARTUP if scope is KScope.STARTUP else None
        return group([step for step in self.steps if self.usable(step)], grouped)

    def size_bytes(self, key: LoadKey) -> int | None:
        """Bytes of model files that a load reads; None when one is not here."""
        target = self.targets.get(key.target)
        draft = self.drafts.get(key.draft) if key.draft is not None else None
        if target is None or (key.draft is not None and draft is None):
            return None
        return target.size_bytes + (draft.size_bytes if draft is not None else 0)


def prepare(profile: Profile, *, as_before: bool = False) -> Prepared:
    """Reads what a profile names. Models that are missing or broken are listed as problems, not raised.

    `as_before`: with the steps that versions planned which did not know what a method can do with a K.
    """
    problems: list[Problem] = []
    targets = _read(profile, profile.targets, problems)
    drafts = _read(profile, profile.drafts, problems)
    prompts = _prompts(profile)
    by_category: dict[str, tuple[Prompt, ...]] = {}
    for prompt in prompts:
        by_category[prompt.category] = (*by_category.get(prompt.category, ()), prompt)
    _require_experts(profile, targets)
    plan = plan_of(profile, {**drafts, **targets}, list(by_category), as_before=as_before)
    pairs = {(step.target, step.draft) for step in plan.steps if step.draft is not None}
    unfit = {
        pair: reason
        for pair in sorted(pairs)
        if pair[0] in targets and pair[1] in drafts
        for reason in [vocabulary_conflict(targets[pair[0]], drafts[pair[1]])]
        if reason is not None
    }
    known = tuple(problems)
    return Prepared(profile, targets, drafts, known, by_category, digest(prompts), plan.steps, plan.iterations, unfit)


def only_possible(prepared: Prepared) -> Prepared:
    """The plan without the Ks that a method cannot have on the engine that serves it."""
    found = possible(prepared.steps, prepared.abilities)
    was = {new: prepared.was.get(old, old) for new, old in found.was.items()}
    return replace(prepared, steps=found.steps, left_out=found.left_out, was={**prepared.was, **was})


def require_models(prepared: Prepared) -> None:
    """Raises one error that lists every model that cannot be used; a run needs them all."""
    if prepared.problems:
        raise EngineError("\n".join(str(problem) for problem in prepared.problems), exit_code=Exit.NOTHING_MEASURED)


def expert_problem(step: Step, target: ModelFacts | None) -> str | None:
    """Why a target cannot be run with the expert count of a step; None where it can."""
    count, known = step.value(EXPERTS), target.expert_count if target is not None else None
    if count is None or 0 < count <= (known or 0):
        return None
    return f"{count} experts, but {step.target} has {known or 'none'}"


def _require_experts(profile: Profile, targets: Mapping[str, ModelFacts]) -> None:
    """Raises ProfileError for expert counts beyond what a model has: a server aborts on them."""
    problems = [
        Problem(str(profile.source), None, f"sweep.{EXPERTS}", f"{count} experts, but {label} has {facts.expert_count}")
        for label, facts in targets.items()
        for count in profile.asked(EXPERTS)
        if facts.expert_count and count > facts.expert_count
    ]
    if problems:
        raise ProfileError(problems)


def _read(profile: Profile, refs: Sequence[ModelRef], problems: list[Problem]) -> dict[str, ModelFacts]:
    """The headers of these models by label; what cannot be read becomes a problem with its line."""
    found: dict[str, ModelFacts] = {}
    for ref in refs:
        if ref.path is None:
            continue  # known to its server alone
        try:
            found[ref.label] = read_any(ref.path)
        except SpecdashError as error:
            problems.append(Problem(str(profile.source), ref.line, ref.key, error.what, error.todo))
    return found


def _prompts(profile: Profile) -> tuple[Prompt, ...]:
    """The prompts of the wanted categories; ProfileError for a file of the user's that has any problem."""
    if profile.measure.prompts == BUILTIN:
        prompts = load_builtin()
    else:
        prompts, problems = load_jsonl(profile.measure.prompts)
        if problems:
            raise ProfileError(list(problems))
    return select(prompts, profile.measure.categories)


def server_environment(environment: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The user's environment for a server, and the names removed: LLAMA_ARG_* silently set flags."""
    removed = tuple(sorted(name for name in environment if name.startswith("LLAMA_ARG_")))
    return {name: value for name, value in environment.items() if name not in removed}, removed
