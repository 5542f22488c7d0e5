"""The queue editor: edits are staged, their cost is shown at once, and they are applied together or not at all."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual.binding import Binding, BindingType

from specdash.core import commands as cmd
from specdash.core.events import ModelRead
from specdash.core.queue import IllegalEdit
from specdash.core.text import one_line, plural
from specdash.errors import SpecdashError
from specdash.ui.tui.panes.header import why_nobody
from specdash.ui.tui.queue_editor import making, saving
from specdash.ui.tui.queue_editor.add_dialog import AddDialog, Adding, Asked
from specdash.ui.tui.queue_editor.body import in_words
from specdash.ui.tui.queue_editor.screen import TableScreen
from specdash.ui.tui.queue_editor.staging import Staged, redo, stage, staged_on, undo
from specdash.ui.tui.widgets.dialog import Question
from specdash.ui.tui.widgets.form import Field, Form, TextField, Values


class QueueScreen(TableScreen):
    """The steps of the run, as they are and as they would be."""

    BINDINGS: ClassVar[list[BindingType]] = [
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

    # -- staging -----------------------------------------------------------------------------------------------

    def _stage(self, make: Callable[[], Sequence[cmd.Edit]], words: str = "", models: Sequence[ModelRead] = ()) -> bool:
        """Stages what `make` gives, or says why it cannot be done; nothing has changed then."""
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
        """Switches the chosen steps off, or on again."""
        self.switch(self.chosen())

    def switch(self, ids: Sequence[str]) -> None:
        """Switches these steps off, or on again."""
        self._stage(lambda: making.toggled(self.staged.steps, ids))

    def action_shift(self, down: bool) -> None:
        """Moves the chosen steps down or up."""
        scope = self.staged.base.scope
        self._stage(lambda: making.shifted(self.staged.steps, self.chosen(), down, scope))

    def action_next(self) -> None:
        """The chosen steps run next."""
        self._stage(lambda: making.run_next(self.staged.steps, self.chosen()))

    def action_retry(self) -> None:
        """What failed is measured again."""
        marked = self.chosen() if self._place.marked else ()
        self._stage(lambda: making.retried(self.staged.steps, marked))

    def action_undo(self) -> None:
        """Takes the last edit back, or the one that cannot be done any more."""
        if not self.staged.entries:
            self.refuse("there is nothing to undo")
            return
        self._change(undo)

    def action_redo(self) -> None:
        """Makes the edit again that was taken back last."""
        if not self.staged.undone:
            self.refuse("there is nothing to redo")
            return
        self._change(redo)

    def action_remove(self) -> None:
        """Removes the chosen steps, after a question."""
        ids = self.chosen()
        if not ids:
            return
        what = one_line(ids[0], 120) if len(ids) == 1 else f"{len(ids)} steps"

        def answered(yes: bool | None) -> None:
            if yes and self._stage(lambda: (cmd.Remove(ids),)):
                self._mark(())

        self.app.push_screen(Question(f"Remove {what}?", ["Staged only: u takes it back, W applies it."]), answered)

    # -- dialogs -----------------------------------------------------------------------------------------------

    def action_edit(self) -> None:
        """Other Ks or samples for the chosen steps."""
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
            given = making.parsed_ks(values[0]) if ks else ()
            wanted = making.parsed_samples(values[-1])
            same = wanted is None or counts == {wanted}
            return making.changed(steps, ids, () if given and set(given) == ks else given, None if same else wanted)

        def check(values: Values) -> str:
            edits_of(values)
            staged = stage(self.staged, edits_of(values))
            return in_words(staged.entries[-1].effect)

        def answered(values: Values | None) -> None:
            if values is not None and self._stage(lambda: edits_of(values)):
                self._mark(())

        fields = [TextField("samples", str(*counts) if len(counts) == 1 and None not in counts else "", "as they are")]
        if ks:
            shown = ",".join(str(k) for k in sorted(ks)) if len(ks) == 1 else ""
            fields.insert(0, TextField("K", shown, "as they are; several such as 2,4,8"))
        self.app.push_screen(Form(title, tuple(fields), check), answered)

    def action_add(self) -> None:
        """Adds steps at the end of the queue."""
        self._open_add(clone=False)

    def action_clone(self) -> None:
        """Measures the step under the cursor once more, as it is or with changes."""
        self._open_add(clone=True)

    def _open_add(self, *, clone: bool) -> None:
        staged = self.staged
        like = staged.preview.steps.get(self._place.cursor or "")
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

        def answered(adding: Adding | None) -> None:
            if adding is not None:
                self._stage(lambda: (adding.edit,), models=adding.models)

        asked = Asked(
            staged.preview,
            categories,
            self.dashboard.find_models,
            told,
            making.behind(staged.steps, like.step.id) if clone and like is not None else None,
            like=like.step if clone and like is not None else None,
            iterations=like.iterations if clone and like is not None else None,
        )
        self.app.push_screen(AddDialog(asked), answered)

    # -- applying, discarding, saving --------------------------------------------------------------------------

    def action_apply(self) -> None:
        """Sends all staged edits as one command."""
        if not self.staged.entries:
            self.refuse("nothing is staged")
        elif self.staged.problem is not None:
            self.refuse(f"this cannot be applied: {self.staged.problem}; u takes it back")
        elif (nobody := why_nobody(self.feed)) is not None:
            self.refuse(f"refused, and still staged: {nobody}")
        elif not self._sending:
            self._sending = True
            self.run_worker(self._apply(self.staged), group="commands")

    async def _apply(self, staged: Staged) -> None:
        """The answer may take a while on a slow line; the screen goes on meanwhile."""
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

    def action_back(self) -> None:
        """Closes the filter, clears it or the marks, discards what is staged after a question, or goes back."""
        if self.query_one("#queue-filter", Field).display or self._place.words:
            self._place = replace(self._place, words="")
            self._close_filter()
        elif self._place.marked:
            self._mark(())
        elif self._refused is not None:
            self._refused = None
            self._draw()
        elif self.staged.entries:
            self.app.push_screen(Question("Discard all staged edits?", ["The queue stays as it is."]), self._discarded)
        else:
            self.dashboard.action_show("main")

    def _discarded(self, yes: bool | None) -> None:
        if yes:
            self._staged = staged_on(self.feed.view)
            self._draw()

    def action_save(self) -> None:
        """Writes the queue as it would be to a profile of its own."""
        reason = saving.why_not(self.feed.origin)
        if reason is not None:
            self.refuse(reason)
            return

        def check(values: Values) -> str:
            path = saving.wanted_path(values[0])
            return (
                f"{path} exists already" if os.path.exists(path) else f"a profile with {len(self.staged.steps)} steps"
            )

        def answered(values: Values | None) -> None:
            if values is not None:
                self._ask_save(saving.wanted_path(values[0]))

        fields = (TextField("file", saving.default_name(self.feed.view)),)
        self.app.push_screen(Form("Save the queue as a profile", fields, check), answered)

    def _ask_save(self, path: Path) -> None:
        def answered(yes: bool | None) -> None:
            if yes:
                self.run_worker(self._save(path), group="save")

        if os.path.exists(path):
            self.app.push_screen(
                Question(f"Overwrite {one_line(str(path), 300)}?", ["What is in it is lost."]), answered
            )
        else:
            answered(True)

    async def _save(self, path: Path) -> None:
        staged, origin = self.staged, self.feed.origin
        if origin is None:
            return
        models = [*saving.models_of(staged.base), *staged.new_models]
        try:
            await asyncio.to_thread(saving.save, path, origin, list(staged.steps.values()), models)
        except SpecdashError as error:
            self.refuse(f"not saved: {error}")
        else:
            self.dashboard.tell(f"saved: {path}")
