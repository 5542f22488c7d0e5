"""The queue of a run: what edits do to it, and which server loads its open steps need.

The order of the steps in a view is the order of the queue. Steps that one server can take stand together, since a
server is started once for all of them: an edit that would part them moves them together. Everything here is pure, so
that an editor can show what staged edits would do before the run is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from specdash.core import commands as cmd
from specdash.core.methods import BASELINE, method_named, needs_draft_model
from specdash.core.plan import KScope, LoadKey, PlannedLoad, Step, fixes_k
from specdash.core.status import StepStatus
from specdash.core.step_state import StepState
from specdash.core.steptable import StepTable, table_of

Steps = Mapping[str, StepState]

BY_YOU = "skipped by you"


class IllegalEdit(ValueError):
    """An edit that cannot be carried out; the message says which step and why."""


def load_key(step: Step, scope: KScope | None) -> LoadKey:
    """What the steps of one server have in common: K too, where a server fixes it at start-up."""
    return step.key(step.k) if fixes_k(step, scope) else step.pair


def _server(step: Step, scope: KScope | None) -> tuple[object, ...]:
    """What `load_key` tells apart, made in a fraction of the time: an edit asks it of every open step."""
    k = step.k if fixes_k(step, scope) else None
    return step.target, step.setting, tuple((each.method, each.draft, each.params) for each in step.speculation), k


def serves(running: LoadKey, found: StepState, scope: KScope | None) -> bool:
    """Whether the server that was started as `running` can take a step, with the samples that it has."""
    return found.step.pair == running.pair and takes(
        running, found.step, found.k_startup if found.samples else None, scope
    )


def takes(running: LoadKey, step: Step, k_startup: int | None, scope: KScope | None) -> bool:
    """As `serves`, for a step of the pair of `running` whose samples need a server of `k_startup`, where it has any."""
    if step.k is None or running.k_startup is None or fixes_k(step, scope):
        return step.k == running.k_startup
    return step.k <= running.k_startup and k_startup in (None, running.k_startup)


def loads_of(steps: Steps, scope: KScope | None, running: LoadKey | None = None) -> tuple[PlannedLoad, ...]:
    """The server loads that the steps without an outcome need, in the order of the queue.

    What the server that was started as `running` can take needs none. A server's K belongs to the fingerprint of its
    samples. So a pair's server is started at the largest K of all its steps, the finished ones too, and a step that has
    samples is finished on a server like theirs.
    """
    table = table_of(steps)
    served = running.pair if running is not None else None
    loads: dict[tuple[int, int | None], list[Step]] = {}
    for pair, found in table.opened_by_pair():
        if running is not None and pair == served and serves(running, found, scope):
            continue
        # By the identity of the pair: to make and compare the keys of all steps would be most of the work.
        loads.setdefault((id(pair), _k_startup(table, pair, found, scope)), []).append(found.step)
    return tuple(PlannedLoad(steps[0].key(k), tuple(steps)) for (_, k), steps in loads.items())


def next_load(steps: Steps, scope: KScope | None) -> PlannedLoad | None:
    """The first of `loads_of`, without looking at the steps of other pairs; None where no step is open."""
    table = table_of(steps)
    first = table.first_open
    if first is None:
        return None
    pair = first.step.pair
    k = _k_startup(table, pair, first, scope)
    opened = (found for found in table.of_pair(pair) if not found.is_done)
    return PlannedLoad(
        first.step.key(k), tuple(each.step for each in opened if _k_startup(table, pair, each, scope) == k)
    )


def _k_startup(table: StepTable, pair: LoadKey, found: StepState, scope: KScope | None) -> int | None:
    """The K that the server of an open step of a pair is started with."""
    if fixes_k(found.step, scope):
        return found.step.k
    return found.k_startup if found.samples and found.k_startup is not None else table.largest_k(pair)


def open_on(steps: Steps, running: LoadKey, scope: KScope | None) -> list[StepState]:
    """The open steps that the server which was started as `running` can take, in the order of the queue."""
    mine = table_of(steps).of_pair(running.pair)
    return [found for found in mine if not found.is_done and serves(running, found, scope)]


def apply_edits(steps: Steps, edits: Sequence[cmd.Edit], scope: KScope | None) -> Steps:
    """The queue after all of `edits`; raises IllegalEdit for the first that cannot be carried out."""
    for edit in edits:
        steps = _applied(steps, edit, scope)
    return steps


def _applied(steps: Steps, edit: cmd.Edit, scope: KScope | None) -> Steps:
    match edit:
        case cmd.Skip(steps=[_, *_]):
            return _skip(steps, edit)
        case cmd.Reopen(steps=[_, *_]):
            return _reopen(steps, edit, scope)
        case cmd.Remove(steps=[_, *_]):
            return _remove(steps, edit)
        case cmd.Move(steps=[_, *_]):
            return _move(steps, edit, scope)
        case cmd.Add(steps=[_, *_]):
            return _add(steps, edit, scope)
        case cmd.SetIterations(steps=[_, *_]):
            return _set_iterations(steps, edit, scope)
    raise IllegalEdit("no step was chosen")


def describe_edits(edits: Sequence[cmd.Edit]) -> str:
    """Edits in words, for narration and the journal: "skipped 2 steps, added 3 steps"."""
    return ", ".join(_words(edit) for edit in edits)


def _words(edit: cmd.Edit) -> str:
    match edit:
        case cmd.Skip(steps=steps):
            return f"skipped {_named(steps)}"
        case cmd.Reopen(steps=steps):
            return f"reopened {_named(steps)}"
        case cmd.Remove(steps=steps):
            return f"removed {_named(steps)}"
        case cmd.Move(steps=steps):
            return f"moved {_named(steps)}"
        case cmd.Add(steps=added):
            return f"added {_named([step.id for step in added])}"
        case cmd.SetIterations(steps=steps):
            return f"changed the samples of {_named(steps)}"
    return edit.TYPE


def _named(ids: Sequence[str]) -> str:
    return ids[0] if len(ids) == 1 else f"{len(ids)} steps"


def _found(steps: Steps, step_id: str) -> StepState:
    found = steps.get(step_id)
    if found is None:
        raise IllegalEdit(f"{step_id}: there is no such step in the queue")
    return found


def _changed(steps: Steps, ids: Sequence[str], change: Callable[[StepState], StepState]) -> Steps:
    """The queue with these steps changed, each after its own check."""
    changed = table_of(steps)
    for step_id in ids:
        changed = changed.with_entry(step_id, change(_found(changed, step_id)))
    return changed


def _skip(steps: Steps, edit: cmd.Skip) -> Steps:
    def skipped(found: StepState) -> StepState:
        if found.is_done:
            raise IllegalEdit(f"{found.step.id} is {found.status} already: there is nothing to skip")
        return replace(found, status=StepStatus.SKIPPED, error=BY_YOU, by_user=True)

    return _changed(steps, edit.steps, skipped)


def _reopen(steps: Steps, edit: cmd.Reopen, scope: KScope | None) -> Steps:
    def reopened(found: StepState) -> StepState:
        if not found.is_done:
            raise IllegalEdit(f"{found.step.id} is {found.status}: it is still to be measured")
        if found.by_user:
            return replace(found, status=StepStatus.OPEN, error=None, by_user=False)
        if found.status == StepStatus.SKIPPED:
            raise IllegalEdit(f"{found.step.id} cannot be measured: {found.error}")
        return StepState(found.step, iterations=found.iterations)

    return _regrouped(_changed(steps, edit.steps, reopened), (), scope)


def _remove(steps: Steps, edit: cmd.Remove) -> Steps:
    for step_id in edit.steps:
        found = _found(steps, step_id)
        if found.status == StepStatus.RUNNING:
            raise IllegalEdit(f"{step_id} is running: skip it instead")
        if found.samples or (found.is_done and not found.by_user):
            raise IllegalEdit(f"{step_id} has an outcome, which is kept")
    gone = set(edit.steps)
    left = {step_id: found for step_id, found in steps.items() if step_id not in gone}
    if not left:
        raise IllegalEdit("that would leave no step at all: stop the run instead")
    return left


def _move(steps: Steps, edit: cmd.Move, scope: KScope | None) -> Steps:
    for step_id in edit.steps:
        found = _found(steps, step_id)
        if found.status != StepStatus.OPEN:
            raise IllegalEdit(f"{step_id} is {found.status}: only what is still queued can be moved")
    moved = dict.fromkeys(edit.steps)
    if edit.before in moved:
        raise IllegalEdit(f"{edit.before} cannot be moved before itself")
    rest = {step_id: found for step_id, found in steps.items() if step_id not in moved}
    order = _inserted(rest, {step_id: steps[step_id] for step_id in moved}, edit.before)
    return _regrouped(order, tuple(moved), scope)


def _add(steps: Steps, edit: cmd.Add, scope: KScope | None) -> Steps:
    added: dict[str, StepState] = {}
    for step in edit.steps:
        _require_sound(step)
        if step.id in steps or step.id in added:
            raise IllegalEdit(f"{step.id} is in the queue already; duplicate it to measure it once more")
        added[step.id] = StepState(step, iterations=edit.iterations)
    return _regrouped(_inserted(steps, added, edit.before), tuple(added) if edit.before else (), scope)


def _require_sound(step: Step) -> None:
    if method_named(step.method) is None and step.method != BASELINE:
        raise IllegalEdit(f"{step.id}: {step.method} is no method")
    if not step.speculates:
        return
    if needs_draft_model(step.method) and (step.draft is None or not step.k):
        raise IllegalEdit(f"{step.id}: a step with a draft needs a draft model and a K of 1 or more")
    if not needs_draft_model(step.method) and (step.draft is not None or not step.k):
        raise IllegalEdit(f"{step.id}: {step.method} takes no draft model, and needs a K of 1 or more")


def _set_iterations(steps: Steps, edit: cmd.SetIterations, scope: KScope | None) -> Steps:
    def changed(found: StepState) -> StepState:
        have = len(found.good)
        if found.is_done and found.status != StepStatus.OK:
            raise IllegalEdit(f"{found.step.id} is {found.status}: retry it first")
        if edit.iterations < have or (found.is_done and edit.iterations == have):
            raise IllegalEdit(f"{found.step.id} has {have} samples already, which are kept")
        return replace(found, status=StepStatus.OPEN if found.is_done else found.status, iterations=edit.iterations)

    return _regrouped(_changed(steps, edit.steps, changed), (), scope)


def _inserted(steps: Steps, added: Steps, before: str | None) -> Steps:
    """The queue with `added` before one of its open steps, or at its end."""
    if before is None:
        return {**steps, **added}
    if _found(steps, before).status != StepStatus.OPEN:
        raise IllegalEdit(f"{before} is {steps[before].status}: nothing can be queued before it")
    order: dict[str, StepState] = {}
    for step_id, found in steps.items():
        if step_id == before:
            order.update(added)
        order[step_id] = found
    return order


def _regrouped(steps: Steps, moved: Sequence[str], scope: KScope | None) -> Steps:
    """The queue with the steps of one server together: where the moved ones of them are, else where the first is.

    What has an outcome or runs keeps its place among its like, and the others of the running server's steps stand
    around it: nothing comes between the steps of a server that is at work.
    """
    place = {step_id: number for number, step_id in enumerate(steps)}
    keys = {step_id: _server(found.step, scope) for step_id, found in steps.items() if not found.is_done}
    at_work = [step_id for step_id, found in steps.items() if found.status == StepStatus.RUNNING]
    first, last = (place[at_work[0]], place[at_work[-1]]) if at_work else (0, 0)
    running = {keys[step_id] for step_id in at_work}
    rank: dict[tuple[object, ...], int] = {}
    for step_id in (*moved, *keys):
        rank.setdefault(keys[step_id], place[step_id])

    def position(step_id: str) -> tuple[int, int, int, int]:
        """Next to which place, before it (0), at it (1) or behind it (2, 3), and in which order there."""
        here = place[step_id]
        if steps[step_id].status != StepStatus.OPEN:
            return here, 1, here, here
        if keys[step_id] in running:
            return (first, 0, 0, here) if here < first else (last, 2, 0, here) if here > last else (here, 1, here, here)
        wanted = rank[keys[step_id]]
        return (last, 3, wanted, here) if at_work and first < wanted < last else (wanted, 1, wanted, here)

    return {step_id: steps[step_id] for step_id in sorted(steps, key=position)}
