"""What steps can be added of: the run's own models and those found on its machine, and which pairs cannot work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from specdash.core.axes import PARAMS, pick
from specdash.core.commands import NewModel
from specdash.core.draft_lengths import Abilities
from specdash.core.engine_kinds import kind_named
from specdash.core.events import ModelRead
from specdash.core.methods import BASELINE, is_draftless, method_of
from specdash.core.plan import Step
from specdash.core.state import RunState
from specdash.ui.tui.discovery import DiscoveredModel
from specdash.ui.tui.queue_editor.edit_actions import Drafter

OTHER_VOCABULARY = "another vocabulary"
METHOD = "\0"
"""What stands before the name of a method in a list, so that no draft can be taken for it."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A model that can be chosen for a role. `found` is what a search says of its file, where it found it.

    `is_new`: the run does not know it in this role. `problem` is why it cannot be used at all.
    """

    label: str
    path: str | None
    is_new: bool
    found: DiscoveredModel | None = None
    problem: str | None = None


def offers(view: RunState, found: Sequence[DiscoveredModel], role: str) -> tuple[Offer, ...]:
    """The models for a role, "target" or "draft": those that the run has in it first, then all others by label."""
    by_path = {model.path: model for model in found}
    steps = [each.step for each in view.steps.values()]
    used = [step.target if role == "target" else step.draft for step in steps]
    known = dict.fromkeys([*(label for label in used if label is not None),
                           *(label for label, model in view.models.items() if model.role == role)])  # fmt: skip
    rows = [_offer(label, view.models.get(label), by_path, is_new=False) for label in known]
    others = [_offer(label, model, by_path, is_new=True) for label, model in view.models.items() if label not in known]
    paths = {row.path for row in (*rows, *others)}
    labels = {row.label for row in (*rows, *others)} | set(view.models)
    for model in sorted(found, key=lambda each: each.label.casefold()):
        if model.path in paths:
            continue
        label = _free(model, labels)
        labels.add(label)
        others.append(Offer(label, model.path, True, model, model.problem))
    return (*rows, *sorted(others, key=lambda each: (each.problem is not None, each.label.casefold())))


def ways_of(view: RunState, drafts: Sequence[Offer]) -> dict[str | None, Drafter]:
    """The ways to draft that can be chosen, by what a list has for them.

    None for the baseline, then the methods without a draft model that the run has, with the sizes of their n-grams
    there, then the drafts by their labels.
    """
    found: dict[str | None, Drafter] = {None: Drafter()}
    steps = [each.step for each in view.steps.values()]
    for step in steps:
        if is_draftless(step.method):
            way = Drafter(None, step.method, pick(step, PARAMS))
            found[METHOD + way.label] = way
    used = {step.draft: step.method for step in steps if step.draft is not None}
    for row in drafts:
        architecture = row.found.architecture if row.found is not None else None
        found[row.label] = Drafter(row.label, used.get(row.label, method_of(architecture)))
    return found


def abilities_in(view: RunState) -> Callable[[str], Abilities]:
    """What tells what a method can draft on the engine of a run; a baseline's command has the user's own arguments."""
    kind = kind_named(view.engine.kind if view.engine is not None else "")
    args = next((load.argv for load in view.loads.values() if not load.key.speculates), ())
    return lambda method: kind.abilities_of(method, args)


def chosen_as(step: Step) -> str | None:
    """What a list of `ways_of` has for the way that a step drafts."""
    if step.draft is not None or step.method == BASELINE:
        return step.draft
    return METHOD + Drafter(None, step.method, pick(step, PARAMS)).label


def _offer(label: str, read: ModelRead | None, by_path: Mapping[str, DiscoveredModel], *, is_new: bool) -> Offer:
    path = read.path if read is not None else None
    return Offer(label, path, is_new, by_path.get(path or ""))


def _free(model: DiscoveredModel, labels: set[str]) -> str:
    """A label that no other model of the run has: results name models by it alone."""
    parent = PurePath(model.path).parent.name
    names = (model.label, f"{parent} {model.label}", *(f"{model.label} {number}" for number in range(2, 100)))
    return next((name for name in names if name not in labels), model.path)


def unfit_pairs(view: RunState, targets: Sequence[Offer], drafts: Sequence[Offer]) -> dict[tuple[str, str], str]:
    """The pairs of labels that cannot work, with the reason; a pair of which nothing is known is not among them."""
    reasons = {
        (each.step.target, each.step.draft): each.error or OTHER_VOCABULARY
        for each in view.steps.values()
        if each.step.draft is not None and "draft_unfit" in each.verdicts
    }
    for target in targets:
        for draft in drafts:
            mine, theirs = target.found, draft.found
            if mine is None or theirs is None or (target.label, draft.label) in reasons:
                continue
            # A draft that is not smaller makes nothing faster, and is still one.
            is_known = None not in (mine.vocabulary, theirs.vocabulary)
            if theirs.path not in mine.drafts and is_known and mine.vocabulary != theirs.vocabulary:
                reasons[target.label, draft.label] = OTHER_VOCABULARY
    return reasons


def reason_unfit(draft: Offer, chosen: Sequence[str], reasons: Mapping[tuple[str, str], str]) -> str | None:
    """Why a draft fits none of the chosen targets; None where it fits one, or where it is not known."""
    if draft.problem is not None:
        return draft.problem
    found = [reasons.get((target, draft.label)) for target in chosen]
    return found[0] if found and all(each is not None for each in found) else None


def new_models(rows: Sequence[Offer], role: str) -> list[NewModel]:
    """Those of the offers that would be new to the run in a role."""
    return [NewModel(row.label, role, row.path) for row in rows if row.is_new and row.path is not None]


def reads(targets: Sequence[Offer], drafts: Sequence[Offer], models: Sequence[NewModel]) -> list[ModelRead]:
    """What the run would know of models that are added, for the forecast."""
    rows = {("target", row.label): row for row in targets} | {("draft", row.label): row for row in drafts}
    found: list[ModelRead] = []
    for model in models:
        row = rows.get((model.role, model.label))
        if row is not None and row.found is not None and (read := row.found.read_as(model.role)) is not None:
            found.append(replace(read, label=model.label))
    return found
