"""The queue editor: edits are staged, their cost is shown at once, and they are applied together or not at all."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import ClassVar

from textual.binding import Binding, BindingType

from specdash.core import commands as cmd
from specdash.core.events import ModelRead
from specdash.core.queue import IllegalEdit
from specdash.core.text import one_line, plural
from specdash.errors import SpecdashError
from specdash.ui.tui.keys import movement
from specdash.ui.tui.lines import LinesWidget
from specdash.ui.tui.panes.header import reason_no_engine
from specdash.ui.tui.queue_editor import edit_actions
from specdash.ui.tui.queue_editor.add_dialog import AddContext, AddDialog, Adding
from specdash.ui.tui.queue_editor.staging import Staged, rebased, redo, stage, staged_on, undo
from specdash.ui.tui.queue_editor.table import SIGNS, EditorBody, Rows, body, chosen_steps, in_words, rows
from specdash.ui.tui.screen import dialog
from specdash.ui.tui.table import Position
from specdash.ui.tui.widgets.dialog import Question
from specdash.ui.tui.widgets.form import Form, TextField, Values
from specdash.ui.tui.widgets.list_screen import ListScreen

SHARE_OF_TIME = 20  # at most one part in so many of the time goes into following the run


class QueueScreen(ListScreen):
    """The steps of the run, as they are and as they would be."""

    PAGE = "queue"
    PARTS = ("body",)
    PLACEHOLDER = "words of a step, such as 0.5B coding; enter keeps, esc clears"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "mark", "Mark", id="queue.mark"),
        Binding("i", "invert", "Invert marks", id="queue.invert", show=False),
        Binding("slash", "filter", "Filter", key_display="/", id="queue.filter"),
        Binding("shift+down", "mark_on(1)", "Mark downwards", id="queue.mark_down", show=False),
        Binding("shift+up", "mark_on(-1)", "Mark upwards", id="queue.mark_up", show=False),
        *movement("queue"),
        Binding("x", "toggle_step", "On/off", id="queue.toggle"),
        Binding("a", "add", "Add", id="queue.add"),
        Binding("enter", "edit", "Edit", id="queue.edit"),
        Binding("W", "apply", "Apply", id="queue.apply"),
        Binding("u", "undo", "Undo", id="queue.undo"),
        Binding("U", "redo", "Redo", id="queue.redo"),
        Binding("J", "shift(True)", "Move down", id="queue.shift_down"),
        Binding("K", "shift(False)", "Move up", id="queue.shift_up"),
        Binding("p", "next", "Run next", id="queue.next"),
        Binding("r", "retry", "Retry failed", id="queue.retry"),
        Binding("c", "clone", "Clone", id="queue.clone"),
        Binding("D", "remove", "Remove", id="queue.remove"),
        Binding("w", "save", "Save profile", id="queue.save"),
        Binding("escape", "back", "Discard", id="queue.back"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._staged: Staged | None = None
        self._rows: Rows | None = None
        self._position = Position()
        self._body: EditorBody | None = None
        self._refused: str | None = None
        self._sending = False
        self._next_look_s = 0.0
        self._run_id: str | None = None

    # -- painting ----------------------------------------------------------------------------------------------

    @property
    def staged(self) -> Staged:
        """What is staged, on top of the run as it was seen last."""
        if self._staged is None:
            self._staged = staged_on(self.feed.view)
        return self._staged

    def paint(self) -> None:
        """Draw the body anew; the widget sends only what has changed of it."""
        if not self.is_mounted:
            return
        self._follow()
        self._draw()

    def _draw(self) -> None:
        widget = next(iter(self.query("#queue-body").results(LinesWidget)), None)
        if widget is None:  # on its way in or out
            return
        size, glyphs = widget.size, self.dashboard.terminal.glyphs
        self._body = body(self._shown(), self._position, size.width, size.height, glyphs, self._refused)
        self._position = self._body.position
        widget.show(self._body.lines)

    def _shown(self) -> Rows:
        if self._rows is None or self._rows.staged is not self.staged or self._rows.words != self.words:
            self._rows = rows(self.staged, self.words)
        return self._rows

    def _follow(self) -> None:
        """Make the staged edits again on what is new in the run, no more often than there is time for."""
        view = self.feed.view
        run = view.run.run_id if view.run is not None else None
        if run != self._run_id:
            self._run_id, self._staged, self._position, self._next_look_s = run, None, Position(), 0.0
        if self.staged.base is view or self._sending:
            return
        begun_s = time.monotonic()
        if begun_s < self._next_look_s and self.feed.caught_up:
            return
        self._staged = rebased(self.staged, view)
        now_s = time.monotonic()
        self._next_look_s = now_s + SHARE_OF_TIME * (now_s - begun_s)

    # -- moving about, marking, filtering ----------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        """Move the cursor up or down."""
        if self._body is not None:
            self._position = self._body.table.moved(self._position, by)
            self._draw()

    @property
    def page_rows(self) -> int:
        """Count the rows that a page goes: a row of the one before stays."""
        return (self._body.n_rows if self._body is not None else 1) - 1

    def action_mark(self) -> None:
        """Mark the step under the cursor, or not any more, and go on to the next."""
        self._mark(self._position.marked ^ {self._position.cursor})
        self.action_move(1)

    def action_mark_on(self, by: int) -> None:
        """Mark the step under the cursor and the next one."""
        before = self._position.cursor
        self.action_move(by)
        self._mark(self._position.marked | {before, self._position.cursor})

    def action_invert(self) -> None:
        """Mark what is not marked among the rows that are shown, and the other way round."""
        self._mark(self._position.marked ^ set(self._shown().shown))

    def _mark(self, ids: Iterable[str | None]) -> None:
        self._position = replace(self._position, marked=frozenset(each for each in ids if each is not None))
        self._draw()

    def chosen(self) -> tuple[str, ...]:
        """The marked steps in the order of the queue, else the one under the cursor."""
        return chosen_steps(self._shown(), self._position)

    @property
    def words(self) -> str:
        """The filter."""
        return self._position.words

    def filter_by(self, words: str) -> None:
        """Show the steps that have these words."""
        self._position = replace(self._position, words=words)
        self._draw()

    def clicked(self, x: int, y: int, *, twice: bool) -> None:
        """Move the cursor to a click, mark (on the signs) or switch (on the column); a second click edits."""
        shown = self._body
        step_id = shown.table.key_at(shown.position, y - shown.first_row, shown.n_rows) if shown is not None else None
        if shown is None or step_id is None:
            return
        self._position = replace(self._position, cursor=step_id)
        if x < SIGNS:
            self._mark(self._position.marked ^ {step_id})
        elif shown.shape.column_at(x) == "on":
            self._stage(lambda: edit_actions.toggled(self.staged.steps, (step_id,)))
        elif twice:
            self.run_worker(self.action_edit(), group="dialog")
        else:
            self._draw()

    def refuse(self, why: str) -> None:
        """Say in place why something was not done."""
        self._refused = why
        self._draw()

    # -- staging -----------------------------------------------------------------------------------------------

    def _stage(self, make: Callable[[], Sequence[cmd.Edit]], words: str = "", models: Sequence[ModelRead] = ()) -> bool:
        """Stage what `make` gives, or say why it cannot be done; nothing has changed then."""
        return self._change(lambda staged: stage(staged, make(), words, models))

    def _change(self, change: Callable[[Staged], Staged]) -> bool:
        if self._sending:
            self.refuse("the edits before this one are being applied")
            return False
        try:
            self._staged = change(self.staged)
        except IllegalEdit as error:
            self.refuse(str(error))
            return False
        self._refused = None
        self._draw()
        return True

    def action_toggle_step(self) -> None:
        """Switch the chosen steps off, or on again."""
        self._stage(lambda: edit_actions.toggled(self.staged.steps, self.chosen()))

    def action_shift(self, down: bool) -> None:
        """Move the chosen steps down or up."""
        scope = self.staged.base.scope
        self._stage(lambda: edit_actions.shifted(self.staged.steps, self.chosen(), down, scope))

    def action_next(self) -> None:
        """Run the chosen steps next."""
        self._stage(lambda: edit_actions.run_next(self.staged.steps, self.chosen()))

    def action_retry(self) -> None:
        """Measure again what failed."""
        marked = self.chosen() if self._position.marked else ()
        self._stage(lambda: edit_actions.retried(self.staged.steps, marked))

    def action_undo(self) -> None:
        """Take the last edit back, or the one that cannot be done any more."""
        if not self.staged.entries:
            self.refuse("there is nothing to undo")
            return
        self._change(undo)

    def action_redo(self) -> None:
        """Make the edit again that was taken back last."""
        if not self.staged.undone:
            self.refuse("there is nothing to redo")
            return
        self._change(redo)

    @dialog
    async def action_remove(self) -> None:
        """Remove the chosen steps, after a question."""
        ids = self.chosen()
        if not ids:
            return
        what = one_line(ids[0], 120) if len(ids) == 1 else f"{len(ids)} steps"
        question = Question(f"Remove {what}?", ["Staged only: u takes it back, W applies it."])
        if await self.app.push_screen_wait(question) and self._stage(lambda: (cmd.Remove(ids),)):
            self._mark(())

    # -- dialogs -----------------------------------------------------------------------------------------------

    @dialog
    async def action_edit(self) -> None:
        """Ask for other Ks or samples of the chosen steps."""
        ids, steps = self.chosen(), self.staged.steps
        found = [steps[each] for each in ids if each in steps]
        if not found:
            self.refuse("this step is removed: u brings it back" if ids else "there is no step to edit")
            return
        ks = {each.step.k for each in found if each.step.k is not None}
        counts = {self.staged.preview.iterations(each) for each in ids}
        is_one = len(found) == 1
        title = f"Edit {one_line(ids[0], 60)}" if is_one else f"Edit {len(found)} steps"

        def edits_of(values: Values) -> tuple[cmd.Edit, ...]:
            given = edit_actions.parsed_ks(values[0]) if ks else ()
            wanted = edit_actions.parsed_samples(values[-1])
            same = wanted is None or counts == {wanted}
            return edit_actions.changed(
                steps, ids, () if given and set(given) == ks else given, None if same else wanted
            )

        def check(values: Values) -> str:
            edits_of(values)
            staged = stage(self.staged, edits_of(values))
            return in_words(staged.entries[-1].effect)

        fields = [TextField("samples", str(*counts) if len(counts) == 1 and None not in counts else "", "as they are")]
        if ks:
            shown = ",".join(str(k) for k in sorted(ks)) if len(ks) == 1 else ""
            fields.insert(0, TextField("K", shown, "as they are; several such as 2,4,8"))
        values = await self.app.push_screen_wait(Form(title, tuple(fields), check))
        if values is not None and self._stage(lambda: edits_of(values)):
            self._mark(())

    async def action_add(self) -> None:
        """Add steps at the end of the queue."""
        await self._open_add(clone=False)

    async def action_clone(self) -> None:
        """Measure the step under the cursor once more, as it is or with changes."""
        await self._open_add(clone=True)

    @dialog
    async def _open_add(self, *, clone: bool) -> None:
        staged = self.staged
        like = staged.preview.steps.get(self._position.cursor or "")
        if clone and like is None:
            self.refuse("there is no step to clone")
            return
        categories = tuple(dict.fromkeys(found.step.category for found in staged.base.steps.values()))

        def told(adding: Adding) -> str:
            would = stage(self.staged, (adding.edit,), models=adding.models)
            count = len(adding.edit.steps)
            left = len(would.after.loads)
            total = f"{plural(left, 'load')} left"
            return f"{plural(count, 'step')}: {in_words(would.entries[-1].effect)}; {total}"

        asked = AddContext(
            staged.preview,
            categories,
            self.dashboard.find_models,
            told,
            edit_actions.next_queued_step(staged.steps, like.step.id) if clone and like is not None else None,
            like=like.step if clone and like is not None else None,
            iterations=like.iterations if clone and like is not None else None,
        )
        adding = await self.app.push_screen_wait(AddDialog(asked))
        if adding is not None:
            self._stage(lambda: (adding.edit,), models=adding.models)

    # -- applying, discarding, saving --------------------------------------------------------------------------

    def action_apply(self) -> None:
        """Send all staged edits as one command."""
        if not self.staged.entries:
            self.refuse("nothing is staged")
        elif self.staged.problem is not None:
            self.refuse(f"this cannot be applied: {self.staged.problem}; u takes it back")
        elif (nobody := reason_no_engine(self.feed)) is not None:
            self.refuse(f"refused, and still staged: {nobody}")
        elif not self._sending:
            self._sending = True
            self.run_worker(self._apply(self.staged), group="commands")

    async def _apply(self, staged: Staged) -> None:
        """Send the staged edits and tell the answer, which may take a while on a slow line."""
        try:
            refused = await self.dashboard.send(cmd.Command(cmd.EDIT, staged.edits))
        finally:
            self._sending = False
        if refused is not None:
            self.refuse(f"refused, and still staged: {refused}")
            return
        count = len(staged.entries)
        self.dashboard.tell(f"{plural(count, 'edit')} applied: {in_words(staged.effect)}")
        self._staged, self._refused = staged_on(self.feed.view), None
        self._mark(())

    async def action_back(self) -> None:
        """Close the filter, clear it or the marks, discard what is staged after a question, or go back."""
        if self.clear_filter():
            return
        if self._position.marked:
            self._mark(())
        elif self._refused is not None:
            self._refused = None
            self._draw()
        elif self.staged.entries:
            await self._discard()
        else:
            self.dashboard.action_show("main")

    @dialog
    async def _discard(self) -> None:
        """Discard what is staged, after a question."""
        question = Question("Discard all staged edits?", ["The queue stays as it is."])
        if await self.app.push_screen_wait(question):
            self._staged = staged_on(self.feed.view)
            self._draw()

    @dialog
    async def action_save(self) -> None:
        """Write the queue as it would be to a profile of its own."""
        origin = self.feed.origin
        reason = edit_actions.reason_not_saved(origin)
        if reason is not None or origin is None:
            self.refuse(reason or "")
            return

        def check(values: Values) -> str:
            path = edit_actions.wanted_path(values[0])
            return (
                f"{path} exists already" if os.path.exists(path) else f"a profile with {len(self.staged.steps)} steps"
            )

        fields = (TextField("file", edit_actions.default_name(self.feed.view)),)
        values = await self.app.push_screen_wait(Form("Save the queue as a profile", fields, check))
        if values is None:
            return
        path = edit_actions.wanted_path(values[0])
        overwrite = Question(f"Overwrite {one_line(str(path), 300)}?", ["What is in it is lost."])
        exists = await asyncio.to_thread(os.path.exists, path)
        if exists and not await self.app.push_screen_wait(overwrite):
            return
        staged = self.staged
        models = [*edit_actions.models_of_run(staged.base), *staged.new_models]
        try:
            await asyncio.to_thread(edit_actions.save_queue_profile, path, origin, list(staged.steps.values()), models)
        except SpecdashError as error:
            self.refuse(f"not saved: {error}")
        else:
            self.dashboard.tell(f"saved: {path}")
