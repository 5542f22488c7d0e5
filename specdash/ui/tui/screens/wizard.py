"""The wizard that writes a profile, a question at a time."""

from __future__ import annotations

import asyncio
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from textual.binding import Binding, BindingType

from specdash.core.text import one_line
from specdash.ui.tui import discovery
from specdash.ui.tui.discovery import DiscoveredModel, DoctorLine, FindError
from specdash.ui.tui.keys import movement
from specdash.ui.tui.lines import Line, first_line_shown, fitted, rule
from specdash.ui.tui.screens.plan import PlanScreen
from specdash.ui.tui.widgets.form import Field
from specdash.ui.tui.widgets.list_screen import PageScreen
from specdash.ui.tui.wizard.answers import (
    NAME,
    QUESTIONS,
    Answers,
    Page,
    WizardChoice,
    WizardQuestion,
    choices,
    mode_words,
    next_mode,
    write,
)


class WizardScreen(PageScreen):
    """Seven questions, and a profile of the answers."""

    PAGE = "wizard"
    FIELD_ABOVE = True
    SOMETIMES = ("mark", "all", "type")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "next", "Next", id="wizard.next"),
        Binding("space", "mark", "Mark", id="wizard.mark"),
        Binding("a", "all", "All or none", id="wizard.all"),
        Binding("t", "type", "Type a path", id="wizard.type"),
        Binding("escape", "back", "Back", id="wizard.back"),
        *movement("wizard"),
    ]

    def __init__(self, models: Sequence[DiscoveredModel], engines: Sequence[DoctorLine]) -> None:
        super().__init__()
        self.answers = Answers()
        self.models = list(models)
        self.engines = list(engines)
        self._page_at = 0
        self._cursor = 0

    @property
    def question(self) -> WizardQuestion:
        """Return the question of the moment."""
        return QUESTIONS[self._page_at]

    @property
    def page(self) -> Page:
        """Return the name of the question of the moment."""
        return self.question.page

    def on_mount(self) -> None:
        """Show the first question."""
        self._turn(0)

    def _choices(self) -> list[WizardChoice]:
        return choices(self.page, self.answers, self.models, self.engines)

    def _turn(self, at: int) -> None:
        """Go to a page."""
        self._page_at, self._note = at, ""
        found = self._choices()
        marked = (n for n, each in enumerate(found) if self.answers.is_marked(self.page, each.value))
        usable = (n for n, each in enumerate(found) if not each.refusal)
        self._cursor = next(marked, next(usable, 0)) if self.question.kind != "many" else 0
        if self.question.kind == "text":
            self.open_field(self.answers.text_of(self.page))
        else:
            self.close_field()
        self.paint()

    def paint(self) -> None:
        """Show the page."""
        if not self.is_ready:
            return
        width, glyphs = self.size.width, self.dashboard.terminal.glyphs
        where = f"{self._page_at + 1} of {len(QUESTIONS)}"
        title: list[Line] = [rule("new profile", where, width, glyphs.rule), ((f" {self.question.title}", "title"),)]
        found = [] if self.is_typing else self._choices()
        first = first_line_shown(self._cursor, self.rows, len(found))
        rows = [self._row(each, number) for number, each in enumerate(found[first : first + self.rows], start=first)]
        if self.page == "k":
            rows = [line for name, text in mode_words(self.answers) for line in _explained(name, text, width)]
        if not rows and not self.is_typing:
            rows = [((f" {self.question.nothing}", "dim"),)]
        self.show_page(*([fitted(line, width, glyphs.ellipsis) for line in lines] for lines in (title, rows)))

    def why_not(self, action: str) -> str | None:
        """Return "" where the page has nothing to mark, or no path to type."""
        applies = self.question.may_type if action == "type" else self.question.kind == "many"
        return None if applies else ""

    def _row(self, choice: WizardChoice, number: int) -> Line:
        glyphs = self.dashboard.terminal.glyphs
        at_cursor = number == self._cursor
        mark = "x" if self.answers.is_marked(self.page, choice.value) else " "
        sign: Line = ((f"{glyphs.cursor if at_cursor else ' '}", "marked"), (f"[{mark}] ", "marked"))
        if choice.refusal:
            return (*sign, (f"{choice.text[:NAME].rstrip()}  not usable: {one_line(choice.refusal, 300)}", "dim"))
        return (*sign, (choice.text, "cursor" if at_cursor else ""))

    # -- keys --------------------------------------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        """Move to another choice; on the page of K, to another way to find it."""
        if self.page == "k":
            self.field.value = next_mode(self.field.value, by)
            self.field.cursor_position = len(self.field.value)
            return
        self._cursor = max(0, min(self._cursor + by, len(self._choices()) - 1))
        self.paint()

    def _current(self) -> WizardChoice | None:
        found = self._choices()
        return found[self._cursor] if self._cursor < len(found) else None

    def action_mark(self) -> None:
        """Mark a choice, or unmark it."""
        choice = self._current()
        if choice is None or self.question.kind != "many":
            return
        if choice.refusal:
            self.say(f"this one cannot be used: {choice.refusal}")
            return
        taken = self.answers.marked(self.page)
        if choice.value in taken:
            taken.remove(choice.value)
        else:
            taken.append(choice.value)
        self._note = ""
        self.action_move(1)

    def action_all(self) -> None:
        """Take all that can be used, or none."""
        if self.question.kind == "many":
            usable = [each.value for each in self._choices() if not each.refusal]
            taken = self.answers.marked(self.page)
            taken[:] = [] if set(taken) == set(usable) else usable
            self.paint()

    def action_type(self) -> None:
        """Open a field for a path that is not in the list."""
        if self.question.may_type:
            self.open_field()
            self.paint()

    def action_next(self) -> None:
        """Take the choice at the cursor, and go on."""
        choice = self._current()
        if self.question.kind == "one":
            if choice is None or choice.refusal:
                self.say(f"this one cannot be used: {choice.refusal}" if choice is not None else self.question.nothing)
                return
            if self.page == "target":
                self.answers.take_target(next(each for each in self.models if each.path == choice.value))
            else:
                self.answers.program = choice.value
        elif self.page == "categories" and not self.answers.categories:
            self.say("mark one at least")
            return
        self._turn(self._page_at + 1)

    def on_input_submitted(self, event: Field.Submitted) -> None:
        """Take what was typed, or say what is wrong with it."""
        event.stop()
        if self.page == "target":
            self.say("reading it")
            self.run_worker(self._typed_target(event.value), group="wizard", exclusive=True)
            return
        try:
            self.answers.take_text(self.page, event.value)
            profile = write(self.answers).absolute() if self.page == "path" else None
        except (ValueError, OSError) as error:
            self.say(str(error))
            return
        if profile is not None:
            self.app.push_screen(PlanScreen(profile))
        else:
            self._turn(self._page_at + 1)

    async def _typed_target(self, text: str) -> None:
        """Read a model that was not found before, and which of the others fit it."""
        path = await asyncio.to_thread(_file, text)
        if path is None:
            self.say(f"{text.strip() or 'nothing'} is not a file; type the path of a GGUF file")
            return
        try:
            found = await discovery.discover_models([str(path), *(each.path for each in self.models)])
        except FindError as error:
            self.say(str(error))
            return
        model = next((each for each in found if Path(each.path) == path), None)
        if model is None or model.problem is not None:
            self.say(model.problem or "" if model is not None else f"{path} is one of the models in the list")
            return
        self.models = found
        self.answers.take_target(model)
        self._turn(self._page_at + 1)

    def action_back(self) -> None:
        """Go back to the question before, from the first one to the start screen."""
        if self.is_typing and self.question.may_type:
            self.close_field()
            self.paint()
        elif self._page_at == 0:
            self.app.pop_screen()
        else:
            self._turn(self._page_at - 1)


def _explained(name: str, text: str, width: int) -> list[Line]:
    """Return an answer and what it means, on as many lines as that takes."""
    pieces = textwrap.wrap(text, max(8, width - 12)) or [""]
    return [((f" {name if at == 0 else '':<10}", "key"), (piece, "")) for at, piece in enumerate(pieces)]


def _file(text: str) -> Path | None:
    """Return the file that was typed; None where there is none."""
    path = Path(text.strip()).expanduser().absolute()
    return path if os.path.isfile(path) else None
