"""Edits of a queue that nobody has been asked for yet: what they would do, and how to take them back.

Pure: a `Staged` is the run as it is, the edits on top of it in the order in which they were made, and the queue that
comes of both. While the run goes on they are made again on what is new; one that cannot be made any more stays with its
reason, and nothing can be applied until it is taken back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from specdash.core import commands as cmd
from specdash.core.events import ModelRead
from specdash.core.forecast import Outlook, outlook
from specdash.core.queue import IllegalEdit, apply_edits, describe_edits
from specdash.core.state import RunState
from specdash.core.step_state import StepState

COSTLY = 20_000  # steps times edits from which the effect of each edit is not worked out anew


@dataclass(frozen=True, slots=True)
class Effect:
    """What edits do to the rest of a run: how many loads more, and how much longer it takes (None: unknown)."""

    loads: int = 0
    time_s: float | None = None


@dataclass(frozen=True, slots=True)
class StagedChange:
    """What one key did: edits that belong together, in words, with what they do alone.

    `models` are the headers of models that are new to the run. `illegal` is why they cannot be made any more.
    """

    edits: tuple[cmd.Edit, ...]
    words: str
    models: tuple[ModelRead, ...] = ()
    effect: Effect = field(default_factory=Effect)
    illegal: str | None = None


@dataclass(frozen=True, slots=True)
class Staged:
    """Staged edits on top of `base`; `entries` were made and `undone` taken back, each with the last one at its end.

    `steps` is the queue as it would be; `before` and `after` are the outlooks without and with the edits.
    """

    base: RunState
    entries: tuple[StagedChange, ...]
    undone: tuple[StagedChange, ...]
    steps: Mapping[str, StepState]
    before: Outlook
    after: Outlook

    @property
    def preview(self) -> RunState:
        """The run as it would be."""
        return _preview(self.base, self.entries, self.steps)

    @property
    def problem(self) -> str | None:
        """Why this cannot be applied; None where it can."""
        return next((entry.illegal for entry in self.entries if entry.illegal is not None), None)

    @property
    def edits(self) -> tuple[cmd.Edit, ...]:
        """All edits, for one command."""
        return tuple(edit for entry in self.entries for edit in entry.edits)

    @property
    def effect(self) -> Effect:
        """What all of them do together."""
        return _effect(self.before, self.after)

    @property
    def new_models(self) -> tuple[cmd.NewModel, ...]:
        """The models that the edits add."""
        return tuple(model for edit in self.edits if isinstance(edit, cmd.Add) for model in edit.models)


def staged_on(base: RunState, before: Outlook | None = None) -> Staged:
    """Nothing staged."""
    now = before if before is not None else outlook(base)
    return Staged(base, (), (), base.steps, now, now)


def stage(staged: Staged, edits: Sequence[cmd.Edit], words: str = "", models: Sequence[ModelRead] = ()) -> Staged:
    """`staged` with an entry more; raises IllegalEdit with the reason, or for edits that change nothing."""
    steps = apply_edits(staged.steps, edits, staged.base.scope)
    if list(steps) == list(staged.steps) and steps == staged.steps:
        raise IllegalEdit("that changes nothing: the steps of one server are measured together")
    entry = StagedChange(tuple(edits), words or describe_edits(edits), tuple(models))
    after = outlook(_preview(staged.base, (*staged.entries, entry), steps))
    entry = replace(entry, effect=_effect(staged.after, after))
    return replace(staged, entries=(*staged.entries, entry), undone=(), steps=steps, after=after)


def undo(staged: Staged) -> Staged:
    """Without the last entry, or without one that cannot be made any more where there is such."""
    if not staged.entries:
        return staged
    at = next((at for at, entry in enumerate(staged.entries) if entry.illegal is not None), len(staged.entries) - 1)
    entries = staged.entries[:at] + staged.entries[at + 1 :]
    undone = (*staged.undone, replace(staged.entries[at], illegal=None))
    return rebased(replace(staged, entries=entries, undone=undone), staged.base)


def redo(staged: Staged) -> Staged:
    """With the entry that was taken back last; raises IllegalEdit where it cannot be made any more."""
    if not staged.undone:
        return staged
    entry = staged.undone[-1]
    again = stage(staged, entry.edits, entry.words, entry.models)
    return replace(again, undone=staged.undone[:-1])


def rebased(staged: Staged, base: RunState) -> Staged:
    """The same edits on top of a run that has gone on; what cannot be made any more is left out, with its reason."""
    before = staged.before if base is staged.base else outlook(base)
    if not staged.entries:
        return replace(staged_on(base, before), undone=staged.undone)
    scope = base.scope
    is_costly = len(base.steps) * len(staged.entries) > COSTLY
    entries: list[StagedChange] = []
    steps, last = base.steps, before
    for entry in staged.entries:
        try:
            steps = apply_edits(steps, entry.edits, scope)
        except IllegalEdit as error:
            entries.append(replace(entry, illegal=str(error)))
            continue
        entry = replace(entry, illegal=None)
        if not is_costly:
            now = outlook(_preview(base, (*entries, entry), steps))
            entry, last = replace(entry, effect=_effect(last, now)), now
        entries.append(entry)
    after = last if not is_costly else outlook(_preview(base, tuple(entries), steps))
    return Staged(base, tuple(entries), staged.undone, steps, before, after)


def _preview(base: RunState, entries: Sequence[StagedChange], steps: Mapping[str, StepState]) -> RunState:
    models = {model.label: model for entry in entries for model in entry.models}
    return replace(base, steps=steps, models={**models, **base.models})


def _effect(before: Outlook, after: Outlook) -> Effect:
    time_s = None
    if before.left is not None and after.left is not None:
        time_s = after.left.middle_s - before.left.middle_s
    return Effect(len(after.starts) - len(before.starts), time_s)


def change_of(staged: Staged, step_id: str) -> str | None:
    """What the staged edits do to one step, in a few words; None for nothing."""
    was, now = staged.base.steps.get(step_id), staged.steps.get(step_id)
    if was is None:
        return "new"
    if now is None:
        return "removed"
    if was.status != now.status:
        if now.by_user:
            return "switched off"
        return "switched on" if was.by_user else "measured again" if not now.samples else "more samples"
    wanted, had = staged.preview.iterations(step_id), staged.base.iterations(step_id)
    if wanted != had:
        return f"samples {had if had is not None else '?'} > {wanted}"
    is_moved = any(isinstance(edit, cmd.Move) and step_id in edit.steps for edit in staged.edits)
    return "moved" if is_moved else None


def staged_rows(staged: Staged) -> tuple[str, ...]:
    """The rows of the table: the queue as it would be, and what would be removed where it stands now."""
    base, steps = staged.base.steps, staged.steps
    if steps is base or not any(step_id not in steps for step_id in base):
        return tuple(steps)
    first: list[str] = []
    behind: dict[str, list[str]] = {}
    last: str | None = None
    for step_id in base:
        if step_id in steps:
            last = step_id
        else:
            (first if last is None else behind.setdefault(last, [])).append(step_id)
    return (*first, *(row for each in steps for row in (each, *behind.get(each, ()))))
