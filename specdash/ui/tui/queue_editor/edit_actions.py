"""What keys and dialogs mean as edits of a queue, and the edited queue kept as a profile.

What cannot be done raises IllegalEdit with the reason.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, product
from pathlib import Path
from typing import Any

from specdash.config.load import load_profile
from specdash.config.queue_profile import edited, profile_text
from specdash.core import axes
from specdash.core import commands as cmd
from specdash.core.axes import AXES, NONE, Part, Values, drafter_label
from specdash.core.commands import NewModel
from specdash.core.draft_lengths import ANYTHING, Abilities
from specdash.core.methods import BASELINE
from specdash.core.plan import KScope, LeftOut, Step, possible
from specdash.core.queue import IllegalEdit, load_key
from specdash.core.state import RunState
from specdash.core.status import StepStatus
from specdash.core.step_state import StepState
from specdash.core.text import slug
from specdash.remote.run_source import Origin
from specdash.store.disk import PRIVATE_FILE, write_atomic

Steps = Mapping[str, StepState]

RETRIED = ("failed", "timeout", "invalid")
LOCKED = "the running step is locked here: skip it on the main screen (1)"
MOST_K = 1024
MOST_NEW = 5000  # steps that are added at once; more is a slip


def toggled(steps: Steps, ids: Sequence[str]) -> tuple[cmd.Edit, ...]:
    """Off where any of these is still to be measured, else on."""
    _require_free(steps, ids)
    opened = tuple(each for each in ids if each in steps and steps[each].status == StepStatus.OPEN)
    if opened:
        return (cmd.Skip(opened),)
    off = tuple(each for each in ids if each in steps and steps[each].by_user)
    return (cmd.Reopen(off),) if off else (cmd.Skip(tuple(ids)),)


def retried(steps: Steps, ids: Sequence[str]) -> tuple[cmd.Edit, ...]:
    """What failed is measured again: all of it, or what of it is among `ids` where some are given."""
    failed = tuple(each for each in ids or steps if each in steps and steps[each].status in RETRIED)
    if not failed:
        raise IllegalEdit("no marked step has failed" if ids else "no step has failed")
    return (cmd.Reopen(failed),)


def run_next(steps: Steps, ids: Sequence[str]) -> tuple[cmd.Edit, ...]:
    """These before everything that is queued."""
    _require_free(steps, ids)
    wanted = tuple(each for each in ids if each in steps and steps[each].status == StepStatus.OPEN)
    first = next(
        (each for each, found in steps.items() if found.status == StepStatus.OPEN and each not in wanted), None
    )
    return (cmd.Move(wanted or tuple(ids), first),)


def shifted(steps: Steps, ids: Sequence[str], down: bool, scope: KScope | None) -> tuple[cmd.Edit, ...]:
    """These one further down or up: within the steps of their server by one, else past all steps of the next server."""
    _require_free(steps, ids)
    queued = [each for each, found in steps.items() if found.status == StepStatus.OPEN]
    wanted = [each for each in queued if each in set(ids)]
    if len(wanted) < len(ids):
        return (cmd.Move(tuple(ids)),)  # which says what is wrong with them
    keys = {each: load_key(steps[each].step, scope) for each in queued}
    rest = [each for each in queued if each not in set(wanted)]
    edge = queued.index(wanted[-1] if down else wanted[0])
    beyond = [each for each in (queued[edge + 1 :] if down else reversed(queued[:edge])) if each not in set(wanted)]
    if not beyond:
        raise IllegalEdit("it is the last one already" if down else "it is the first one of those that are queued")
    passed = [beyond[0]]
    if keys[beyond[0]] != keys[wanted[-1 if down else 0]]:
        passed = next([*group] for _, group in groupby(beyond, key=lambda each: keys[each]))
    if not down:
        return (cmd.Move(tuple(wanted), passed[-1]),)
    behind = rest.index(passed[-1]) + 1
    return (cmd.Move(tuple(wanted), rest[behind] if behind < len(rest) else None),)


def changed(steps: Steps, ids: Sequence[str], ks: Sequence[int], iterations: int | None) -> tuple[cmd.Edit, ...]:
    """These with other Ks (none: as they are) and so many samples (None: as many as now), in their places.

    A step with another K is another step: the old one leaves the queue, and a step for each K takes its place.
    """
    _require_free(steps, ids)
    if not ks and iterations is None:
        raise IllegalEdit("nothing is changed: give a K or a number of samples")
    if not ks:
        return (cmd.SetIterations(tuple(ids), iterations or 1),)
    old = [steps[each] for each in ids if each in steps]
    if all(found.step.method == BASELINE for found in old):
        raise IllegalEdit("a baseline has no K")
    stay = [found for found in old if found.step.method == BASELINE or [found.step.k] == list(ks)]
    gone = [found for found in old if found not in stay]
    edits: list[cmd.Edit] = []
    if gone:
        edits = _replaced(steps, gone, ks, iterations)
    if stay and iterations is not None:
        edits.append(cmd.SetIterations(tuple(found.step.id for found in stay), iterations))
    if not edits:
        raise IllegalEdit("nothing is changed: that is their K already")
    return tuple(edits)


def _replaced(steps: Steps, gone: Sequence[StepState], ks: Sequence[int], iterations: int | None) -> list[cmd.Edit]:
    out = {found.step.id for found in gone}
    left = {each: found for each, found in steps.items() if each not in out or steps[each].step.k in ks}
    places: list[tuple[str | None, int | None, StepState]] = []
    before: str | None = None
    for each in reversed(list(steps)):
        if each in out:
            places.append((before, iterations or steps[each].iterations, steps[each]))
        elif steps[each].status == StepStatus.OPEN:
            before = each
    places.reverse()
    kept = {each for each in out if each in left}
    removed = tuple(found.step.id for found in gone if found.step.id not in kept)
    edits: list[cmd.Edit] = [cmd.Remove(removed)] if removed else []
    if kept and iterations is not None:
        edits.append(cmd.SetIterations(tuple(each for each in steps if each in kept), iterations))
    taken = set(left)
    for (place, count), group in groupby(places, key=lambda each: each[:2]):
        new = [found.step.with_values(k=k) for _, _, found in group for k in ks if k != found.step.k]
        fresh = tuple(step for step in dict.fromkeys(new) if step.id not in taken)
        taken |= {step.id for step in fresh}
        if fresh:
            edits.append(cmd.Add(fresh, place, iterations=count))
    return edits


def next_queued_step(steps: Steps, step_id: str) -> str | None:
    """The first queued step behind a step, which what is to follow it goes before; None at the end."""
    order = list(steps)
    later = order[order.index(step_id) + 1 :] if step_id in steps else []
    return next((each for each in later if steps[each].status == StepStatus.OPEN), None)


def _require_free(steps: Steps, ids: Sequence[str]) -> None:
    if not ids:
        raise IllegalEdit("there is no step to edit")
    if any(each in steps and steps[each].status == StepStatus.RUNNING for each in ids):
        raise IllegalEdit(LOCKED)


def parsed_ks(text: str) -> tuple[int, ...]:
    """The Ks of "2, 4, 8" or "2 4 8", in that order; () for no text. Raises ValueError with what is wrong."""
    found: list[int] = []
    for word in text.replace(",", " ").split():
        if not (word.isascii() and word.isdigit()) or not 1 <= int(word[:9]) <= MOST_K:
            raise ValueError(f"{word[:20]!r} is no K: whole numbers from 1 to {MOST_K}, such as 2,4,8")
        found.append(int(word))
    return tuple(dict.fromkeys(found))


def parsed_samples(text: str) -> int | None:
    """A number of samples; None for no text. Raises ValueError with what is wrong."""
    word = text.strip()
    if not word:
        return None
    if not (word.isascii() and word.isdigit()) or not 1 <= int(word[:9]) <= cmd.MOST_SAMPLES:
        raise ValueError(f"{word[:20]!r} is no number of samples: 1 to {cmd.MOST_SAMPLES}")
    return int(word)


@dataclass(frozen=True, slots=True)
class Drafter:
    """What drafts in a step: a draft model by its label, a method and its parameters. A baseline by default."""

    draft: str | None = None
    method: str = BASELINE
    params: Values = NONE

    @property
    def label(self) -> str:
        """Its name in lists."""
        return drafter_label({"draft": self.draft, "method": self.method, **self.params}) or BASELINE


@dataclass(frozen=True, slots=True)
class Matrix:
    """Steps to add: every target with every way to draft, K, configuration, listed value of other axes and category.

    `unfit` has the pairs of target and draft that cannot work; `as_copies`: what is in the queue already is measured
    once more instead of left out; `can` tells what a method can draft on the engine of the run.
    """

    targets: tuple[str, ...] = ()
    ways: tuple[Drafter, ...] = ()
    ks: tuple[int, ...] = ()
    configs: tuple[str | None, ...] = (None,)
    categories: tuple[str, ...] = ()
    lists: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    workload: str = "content"
    iterations: int | None = None
    unfit: frozenset[tuple[str, str]] = frozenset()
    as_copies: bool = False
    can: Callable[[str], Abilities] = lambda method: ANYTHING

    def ks_of(self, way: Drafter) -> tuple[int | None, ...]:
        """The Ks that a way to draft is measured at: what it cannot have is left out, and each server is one."""
        if way.method == BASELINE:
            return (None,)
        taken = (self.can(way.method).k_taken(k, way.params) for k in self.ks)
        return tuple(dict.fromkeys(k for k in taken if k is not None))

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """The Ks that some way to draft cannot have."""
        asked = (
            Step.of("", draft=way.draft, method=way.method, k=k, workload=self.workload, **way.params)
            for way in self.ways
            if way.method != BASELINE
            for k in self.ks
        )
        return possible(asked, lambda step: self.can(step.method)).left_out


def _every(matrix: Matrix, names: Sequence[str]) -> list[dict[str, Any]]:
    """Every combination of the listed values of these axes, the default of one that lists none."""
    lists = (matrix.lists.get(name) or (AXES[name].default,) for name in names)
    return [dict(zip(names, each, strict=True)) for each in product(*lists)]


def matrix_steps(matrix: Matrix, known: Steps) -> tuple[tuple[Step, ...], int]:
    """The new steps of a matrix, grouped as servers would take them, and how many of it are in the queue already."""
    new: list[Step] = []
    taken = 0
    used = set(known)
    setting, point = (axes.names_of(part) for part in (Part.SETTING, Part.POINT))
    settings = _every(matrix, [name for name in setting if name != "config"])
    for target, config, way, more in product(matrix.targets, matrix.configs, matrix.ways, settings):
        if way.draft is not None and (target, way.draft) in matrix.unfit:
            continue
        listed = [name for name in axes.PARAMS if name in matrix.lists and AXES[name].is_of(way.method)]
        ways = [{"draft": way.draft, "method": way.method, **way.params, **each} for each in _every(matrix, listed)]
        points = _every(matrix, [name for name in point if name != "workload"])
        for of_way, k, at, category in product(ways, matrix.ks_of(way), points, matrix.categories):
            step = Step.of(
                target, config=config, k=k, workload=matrix.workload, category=category, **of_way, **more, **at
            )
            if step.id in used and not matrix.as_copies:
                taken += 1
                continue
            while step.id in used:
                step = step.with_values(copy=step.copy + 1)
            used.add(step.id)
            new.append(step)
    return tuple(new), taken


def added(matrix: Matrix, known: Steps, models: Sequence[cmd.NewModel], before: str | None) -> cmd.Add:
    """The edit that adds a matrix, with those of `models` that its steps use."""
    if not matrix.targets:
        raise IllegalEdit("choose a target")
    if not matrix.ways:
        raise IllegalEdit("choose a draft, or the baseline without one")
    if not matrix.categories:
        raise IllegalEdit("choose a category")
    if any(way.method != BASELINE for way in matrix.ways) and not matrix.ks:
        raise IllegalEdit("a draft needs a K, such as 2,4,8")
    new, taken = matrix_steps(matrix, known)
    if matrix.left_out and not new and not taken:
        raise IllegalEdit("; ".join(map(str, matrix.left_out)))
    if len(new) > MOST_NEW:
        raise IllegalEdit(f"{len(new):,} steps at once are more than {MOST_NEW:,}: choose less")
    if not new and taken:
        raise IllegalEdit("all of these are in the queue already; c on a step measures it once more")
    if not new:
        raise IllegalEdit("none of these drafts fits these targets")
    used = {(step.target, "target") for step in new} | {(step.draft, "draft") for step in new}
    wanted = tuple(model for model in models if (model.label, model.role) in used)
    return cmd.Add(new, before, wanted, matrix.iterations)


PROFILE = "profile.toml"


def default_name(view: RunState) -> str:
    """The name of the file that a queue is saved to where no other is given."""
    return f"{slug(view.run.name if view.run is not None else '', 'queue')}-edited.toml"


def reason_not_saved(origin: Origin | None) -> str | None:
    """Why the queue of a run cannot be saved; None where it can."""
    if origin is None:
        return "no run is open"
    if not origin.is_local:
        return f"the profile of this run is on {origin.host}: save the queue from a dashboard there"
    if not os.path.isfile(Path(origin.path) / PROFILE):
        return f"the profile of this run is gone: {Path(origin.path) / PROFILE}"
    return None


def wanted_path(text: str) -> Path:
    """The file that a text names; raises ValueError with what is wrong with it."""
    if not text.strip() or "\0" in text:
        raise ValueError("give the file a name")
    path = Path(text.strip()).expanduser()
    if os.path.isdir(path):
        raise ValueError(f"{path} is a folder")
    if not os.path.isdir(path.absolute().parent):
        raise ValueError(f"the folder {path.absolute().parent} does not exist")
    return path


def save_queue_profile(path: Path, origin: Origin, queue: Sequence[StepState], models: Sequence[NewModel]) -> None:
    """Writes the profile; raises SpecdashError with what went wrong. Costs time: the run's profile is read."""
    profile = load_profile(Path(origin.path) / PROFILE)
    text = profile_text(edited(profile, queue, models))
    # It may hold tokens, as the profile of the run does.
    write_atomic(path.resolve() if path.is_symlink() else path, text, PRIVATE_FILE)


def models_of_run(view: RunState) -> list[NewModel]:
    """The models that a run knows, its own and those that were added to it."""
    steps = view.steps.values()
    roles = {("target", found.step.target) for found in steps} | {("draft", found.step.draft) for found in steps}
    return [
        NewModel(label, role, view.models[label].path)
        for role, label in sorted(roles, key=str)
        if label is not None and label in view.models
    ]
