"""A queue as a profile: what was edited while a run went on, to be run again from the start.

A queue that is a whole matrix becomes the keys of `[sweep]`, any other the entries of `[[queue]]`. Either way the
profile that is read back has the same steps in the same order, with as many samples each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from specdash.config.prompts import CATEGORIES, load_jsonl
from specdash.config.write import dump_profile
from specdash.core.axes import DRAFTER, SETTING, SWEPT, Axis, Part, pick
from specdash.core.commands import NewModel
from specdash.core.methods import BASELINE
from specdash.core.plan import Step, iterations_of, steps_of
from specdash.core.profile import BUILTIN, ModelRef, Profile, QueueEntry, Sweep
from specdash.core.step_state import StepState
from specdash.errors import SpecdashError

_HEAD = """\
# The profile of a run with its queue as it was edited. Look at it with `specdash plan`, run it with
# `specdash --headless`. What [sweep] or [[queue]] mean is told in docs/profile.md.

"""


@dataclass(frozen=True, slots=True)
class _Listed:
    """One step as a profile says it: `iterations` is None where it takes as many samples as `[measure]` says."""

    step: Step
    iterations: int | None


def edited(profile: Profile, queue: Iterable[StepState], models: Iterable[NewModel] = ()) -> Profile:
    """`profile` with the steps of `queue` instead of its own; `models` are those that it may not know yet.

    What the user switched off is left out. Raises SpecdashError where nothing is left.
    """
    listed = [
        _Listed(found.step, found.iterations if found.iterations != profile.measure.iterations else None)
        for found in queue
        if not found.by_user
    ]
    if not listed:
        raise SpecdashError("every step of this queue is switched off", "Switch some on, or add steps.")
    grown = _with_models(profile, models)
    categories = measured_categories(profile)
    return _as_matrix(grown, listed, categories) or _as_entries(grown, listed, categories)


def profile_text(profile: Profile) -> str:
    """The profile as the text of a TOML file."""
    return _HEAD + dump_profile(profile)


def measured_categories(profile: Profile) -> tuple[str, ...]:
    """The categories that a profile measures, in the order in which it does; () where their file cannot be read."""
    if profile.measure.prompts == BUILTIN:
        known: tuple[str, ...] = CATEGORIES
    else:
        prompts, problems = load_jsonl(Path(profile.measure.prompts))
        known = tuple(dict.fromkeys(prompt.category for prompt in prompts)) if not problems else ()
    wanted = profile.measure.categories
    return known if isinstance(wanted, str) else tuple(name for name in known if name in wanted)


def _with_models(profile: Profile, models: Iterable[NewModel]) -> Profile:
    """The profile with the models that it has not yet."""
    targets, drafts = list(profile.targets), list(profile.drafts)
    for model in models:
        known = targets if model.role == "target" else drafts
        if all(each.label != model.label for each in known):
            known.append(ModelRef(model.label, Path(model.path).expanduser()))
    return replace(profile, targets=tuple(targets), drafts=tuple(drafts))


def _as_matrix(profile: Profile, listed: Sequence[_Listed], categories: Sequence[str]) -> Profile | None:
    """The profile with a `[sweep]` that gives exactly these steps; None where there is none.

    Expert counts are left to `[[queue]]`: what a matrix makes of them depends on the headers of the models.
    """
    steps = [each.step for each in listed]
    counts = {each.iterations for each in listed}
    if len(counts) > 1 or not categories or any(step.copy or set(step.setting) - {"config"} for step in steps):
        return None
    pairs = tuple(dict.fromkeys((step.target, step.draft) for step in steps if step.draft is not None))
    used = tuple(dict.fromkeys(step.category for step in steps))
    count = counts.pop()
    measure = profile.measure
    candidate = replace(
        profile,
        targets=_named(profile.targets, [step.target for step in steps]),
        drafts=_named(profile.drafts, [step.draft for step in steps]),
        configs=tuple(each for each in profile.configs if any(step.config == each.label for step in steps)),
        sweep=Sweep(
            methods=tuple(dict.fromkeys(step.method for step in steps if step.method != BASELINE)),
            lists={axis.name: listed for axis in SWEPT if (listed := _listed(steps, axis))},
            k=tuple(sorted({step.k for step in steps if step.k is not None})) or "auto",
            baseline=any(step.method == BASELINE for step in steps),
            pairs=pairs or "all",
        ),
        measure=replace(
            measure,
            categories=measure.categories if used == tuple(categories) else used,
            iterations=measure.iterations if count is None else count,
        ),
        queue=(),
    )
    if steps_of(candidate, {}, used) != tuple(steps) or not _keeps_order(used, categories):
        return None
    every = {(target.label, draft.label) for target in candidate.targets for draft in candidate.drafts}
    simple = replace(candidate, sweep=replace(candidate.sweep, pairs="all"))
    return simple if every == set(pairs) and steps_of(simple, {}, used) == tuple(steps) else candidate


def _listed(steps: Sequence[Step], axis: Axis) -> tuple[Any, ...]:
    """The values of an axis in these steps, where any has another than the default."""
    of_it = [step for step in steps if axis.part is not Part.STAGE or (step.speculates and axis.is_of(step.method))]
    found = tuple(dict.fromkeys(step.value(axis.name) for step in of_it))
    return () if found == (axis.default,) else tuple(each for each in found if each is not None)


def _named(models: Sequence[ModelRef], labels: Sequence[str | None]) -> tuple[ModelRef, ...]:
    """The models with these labels, in the order of the profile; all of them where none is named, as for no draft."""
    wanted = set(labels)
    return tuple(model for model in models if model.label in wanted) or tuple(models)


def _keeps_order(used: Sequence[str], categories: Sequence[str]) -> bool:
    """Whether a run would take these categories in this order: it takes them in that of the prompts."""
    return list(used) == [name for name in categories if name in used]


def _as_entries(profile: Profile, listed: Sequence[_Listed], categories: Sequence[str]) -> Profile:
    """The profile with `[[queue]]`, in as few entries as neighbouring steps allow."""
    entries = _folded([_entry(each) for each in listed], "categories")
    entries = _folded(entries, "depth")
    entries = _folded(entries, "k")
    if categories:
        entries = [
            replace(each, categories="all") if each.categories == tuple(categories) else each for each in entries
        ]
    grown = replace(profile, sweep=Sweep(), queue=tuple(entries))
    # Proven, not hoped for: what is written must say what was edited.
    known = categories or ("all",)
    wanted = {each.step.id: each.iterations for each in listed if each.iterations is not None}
    assert steps_of(grown, {}, known) == tuple(each.step for each in listed)
    assert iterations_of(grown, known) == wanted
    return grown


def _entry(listed: _Listed) -> QueueEntry:
    step = listed.step
    return QueueEntry(
        target=step.target,
        values=pick(step, (*SETTING, *DRAFTER)),
        k=() if step.k is None else (step.k,),
        categories=(step.category,),
        depth=(step.depth,),
        iterations=listed.iterations,
        copy=step.copy,
    )


def _folded(entries: Sequence[QueueEntry], axis: str) -> list[QueueEntry]:
    """Neighbours that differ in one list alone, put into one entry with both lists."""
    found: list[QueueEntry] = []
    for entry in entries:
        mine: tuple[object, ...] = getattr(entry, axis)
        before: tuple[object, ...] = getattr(found[-1], axis) if found else ()
        if mine and before and not set(mine) & set(before) and _with(found[-1], axis, mine) == entry:
            found[-1] = _with(found[-1], axis, (*before, *mine))
        else:
            found.append(entry)
    return found


def _with(entry: QueueEntry, axis: str, values: tuple[object, ...]) -> QueueEntry:
    changes: dict[str, Any] = {axis: values}
    return replace(entry, **changes)
