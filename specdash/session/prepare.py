"""From a profile to everything that a run needs to know before it starts a server.

Reads model headers and prompts, applies the vocabulary rule to each pair, and lays out the steps. It starts nothing
and writes nothing, so `specdash plan` and a run share it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from specdash.config.discover import read_any
from specdash.config.prompts import digest, load_builtin, load_jsonl, select
from specdash.core.model import ModelFacts, vocabulary_conflict
from specdash.core.plan import KScope, LoadKey, PlannedLoad, Step, group, steps_of
from specdash.core.profile import BUILTIN, ModelRef, Profile
from specdash.core.prompts import Prompt
from specdash.errors import EngineError, Exit, Problem, ProfileError, SpecdashError


@dataclass(frozen=True, slots=True)
class Prepared:
    """A profile with all that its files tell.

    `targets` and `drafts` map labels to headers, where these could be read; `problems` says of the others why not.
    `unfit` maps (target, draft) labels to the reason why that draft can never serve that target. `was` maps ids of
    steps that were given to another engine to the ids that the profile has for them.
    """

    profile: Profile
    targets: Mapping[str, ModelFacts]
    drafts: Mapping[str, ModelFacts]
    problems: tuple[Problem, ...]
    prompts: Mapping[str, tuple[Prompt, ...]]
    prompts_digest: str
    steps: tuple[Step, ...]
    unfit: Mapping[tuple[str, str], str]
    was: Mapping[str, str] = field(default_factory=dict)

    def usable(self, step: Step) -> bool:
        """Whether a step can be measured as far as the headers tell."""
        return step.draft is None or (step.target, step.draft) not in self.unfit

    @property
    def unserved(self) -> tuple[str, ...]:
        """Methods of the sweep that no step has: no draft of the profile is for them, or no command."""
        if self.profile.queue:
            return ()
        measured = {step.method for step in self.steps}
        return tuple(method for method in self.profile.sweep.methods if method not in measured)

    @property
    def prompt_bytes(self) -> Mapping[str, list[int]]:
        """The length of each prompt by category: until a tokenizer was asked, all that is known of them."""
        return {category: [prompt.size_bytes for prompt in prompts] for category, prompts in self.prompts.items()}

    @property
    def refs(self) -> Mapping[str, ModelRef]:
        """The entries of the profile by label."""
        return {ref.label: ref for ref in (*self.profile.drafts, *self.profile.targets)}

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


def prepare(profile: Profile) -> Prepared:
    """Reads what a profile names. Models that are missing or broken are listed as problems, not raised."""
    problems: list[Problem] = []
    targets = _read(profile, profile.targets, problems)
    drafts = _read(profile, profile.drafts, problems)
    prompts = _prompts(profile)
    by_category: dict[str, tuple[Prompt, ...]] = {}
    for prompt in prompts:
        by_category[prompt.category] = (*by_category.get(prompt.category, ()), prompt)
    _require_experts(profile, targets)
    steps = steps_of(profile, {**drafts, **targets}, list(by_category))
    pairs = {(step.target, step.draft) for step in steps if step.draft is not None}
    unfit = {
        pair: reason
        for pair in sorted(pairs)
        if pair[0] in targets and pair[1] in drafts
        for reason in [vocabulary_conflict(targets[pair[0]], drafts[pair[1]])]
        if reason is not None
    }
    return Prepared(profile, targets, drafts, tuple(problems), by_category, digest(prompts), steps, unfit)


def require_models(prepared: Prepared) -> None:
    """Raises one error that lists every model that cannot be used; a run needs them all."""
    if prepared.problems:
        raise EngineError("\n".join(str(problem) for problem in prepared.problems), exit_code=Exit.NOTHING_MEASURED)


def _require_experts(profile: Profile, targets: Mapping[str, ModelFacts]) -> None:
    """Raises ProfileError for expert counts beyond what a model has: a server aborts on them."""
    problems = [
        Problem(
            str(profile.source), None, "sweep.moe_experts", f"{count} experts, but {label} has {facts.expert_count}"
        )
        for label, facts in targets.items()
        for count in profile.expert_counts
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
