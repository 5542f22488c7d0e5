"""The wizard that writes a profile, and the page that shows what a profile would do before it is started."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from specdash.core.text import one_line
from specdash.ui.tui import finding, switching
from specdash.ui.tui.fields import Field
from specdash.ui.tui.finding import FindError, Finding, Model
from specdash.ui.tui.lines import Line, LinesWidget, fitted, rule
from specdash.ui.tui.logview.paint import keys
from specdash.ui.tui.logview.rows import folded
from specdash.ui.tui.screen import RunScreen
from specdash.ui.tui.starting.answers import (
    NAME,
    PAGES,
    TEXT_PAGES,
    TITLES,
    TYPED_PAGES,
    Answers,
    Choice,
    Page,
    choices,
    ks_of,
    path_of,
    samples_of,
    write,
)
from specdash.ui.tui.starting.planned import Planned, digest_of, plan_of


class PlanScreen(RunScreen):
    """What a profile would do; y starts it. The file is read again then: it may have been edited meanwhile."""

    AUTO_FOCUS = ""
    CSS = """
    PlanScreen #plan-title { height: 1; }
    PlanScreen #plan-body { height: 1fr; }
    PlanScreen #plan-note { height: 2; }
    PlanScreen #plan-keys { height: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "start", "Start", id="plan.start"),
        Binding("r", "read", "Read again", id="plan.read"),
        Binding("j,down", "move(1)", "Down", id="plan.down", show=False),
        Binding("k,up", "move(-1)", "Up", id="plan.up", show=False),
        Binding("pagedown", "move(15)", "Page down", id="plan.page_down", show=False),
        Binding("pageup", "move(-15)", "Page up", id="plan.page_up", show=False),
        Binding("escape,n", "back", "Back", id="plan.back"),
    ]

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.planned: Planned | None = None
        self._note = ""
        self._top = 0
        self._starting = False

    def compose(self) -> ComposeResult:
        """Title, plan, a note, keys."""
        yield LinesWidget(id="plan-title")
        yield LinesWidget(id="plan-body")
        yield LinesWidget(id="plan-note")
        yield LinesWidget(id="plan-keys")

    def on_mount(self) -> None:
        """Reads the profile."""
        self.action_read()

    def action_read(self) -> None:
        """Reads the profile and the headers of its models again."""
        self.planned = None
        self.run_worker(self._read(""), group="plan", exclusive=True)

    async def _read(self, note: str) -> None:
        self._note = note
        self.paint()
        self.planned = await asyncio.to_thread(plan_of, self.path)
        self.paint()

    def paint(self) -> None:
        """Shows the plan as far as it is known."""
        if not self.is_mounted:
            return
        width, glyphs = self.size.width, self.dashboard.terminal.glyphs
        body = self.query_one("#plan-body", LinesWidget)
        rows: list[Line] = [(("reading the profile and its models", "dim"),)]
        shown = [("esc", "back")]
        if self.planned is not None:
            rows = [row for line in self.planned.lines for row in _wrapped(line, width)]
            shown = [("y", "start it"), *shown] if self.planned.can_start else shown
            shown = [*shown, ("r", "read again"), ("j k", "scroll")]
        self._top = max(0, min(self._top, len(rows) - max(1, body.size.height)))
        title = rule(f"plan of {one_line(str(self.path), 100)}", "", width, glyphs.rule)
        self.query_one("#plan-title", LinesWidget).show([fitted(title, width, glyphs.ellipsis)])
        body.show(rows[self._top : self._top + max(1, body.size.height)])
        self.query_one("#plan-note", LinesWidget).show(folded(self._note, width, "warn")[:2])
        self.query_one("#plan-keys", LinesWidget).show([keys(width, shown)])

    def action_move(self, by: int) -> None:
        """Further up or down the plan."""
        self._top += by
        self.paint()

    def action_start(self) -> None:
        """Starts the profile, unless it is another one by now."""
        if self.planned is not None and self.planned.can_start and not self._starting:
            self._starting = True
            # The app's worker: this screen is gone once the run is shown.
            self.app.run_worker(self._start(self.planned), group="switch")

    async def _start(self, planned: Planned) -> None:
        try:
            if await asyncio.to_thread(digest_of, self.path) != planned.digest:
                self.planned = None
                await self._read("The profile was changed on disk: this is its plan now.")
                return
            self._note = "starting"
            self.paint()
            self._note = await switching.start_path(self.dashboard, self.path) or ""
            self.paint()
        finally:
            self._starting = False

    def action_back(self) -> None:
        """Back to where it came from; nothing was started."""
        self.app.pop_screen()


def _wrapped(line: Line, width: int) -> list[Line]:
    """A line on as many rows as it takes; the first span's style for all of a long one."""
    text = "".join(part for part, _ in line)
    if len(text) < width:
        return [((" ", ""), *line)]
    return folded(text, width, line[0][1] if len(line) == 1 else "")


class WizardScreen(RunScreen):
    """Seven questions, and a profile of the answers."""

    AUTO_FOCUS = ""
    CSS = """
    WizardScreen #wizard-title { height: 2; }
    WizardScreen #wizard-body { height: 1fr; }
    WizardScreen #wizard-field { display: none; }
    WizardScreen #wizard-note { height: 2; }
    WizardScreen #wizard-keys { height: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "next", "Next", id="wizard.next"),
        Binding("space", "mark", "Mark", id="wizard.mark"),
        Binding("a", "all", "All or none", id="wizard.all", show=False),
        Binding("t", "type", "Type a path", id="wizard.type"),
        Binding("j,down", "move(1)", "Down", id="wizard.down", show=False),
        Binding("k,up", "move(-1)", "Up", id="wizard.up", show=False),
        Binding("pagedown", "move(10)", "Page down", id="wizard.page_down", show=False),
        Binding("pageup", "move(-10)", "Page up", id="wizard.page_up", show=False),
        Binding("g,home", "move(-100000)", "First", id="wizard.first", show=False),
        Binding("G,end", "move(100000)", "Last", id="wizard.last", show=False),
        Binding("escape", "back", "Back", id="wizard.back"),
    ]

    def __init__(self, models: Sequence[Model], engines: Sequence[Finding]) -> None:
        super().__init__()
        self.answers = Answers()
        self.models = list(models)
        self.engines = list(engines)
        self._page_at = 0
        self._cursor = 0
        self._note = ""
        self._typing = False

    @property
    def page(self) -> Page:
        """The question of the moment."""
        return PAGES[self._page_at]

    def compose(self) -> ComposeResult:
        """The question, its choices or a field, a note, keys."""
        yield LinesWidget(id="wizard-title")
        yield Field("wizard-field")
        yield LinesWidget(id="wizard-body")
        yield LinesWidget(id="wizard-note")
        yield LinesWidget(id="wizard-keys")

    def on_mount(self) -> None:
        """The first question."""
        self._turn(0)

    def _choices(self) -> list[Choice]:
        return choices(self.page, self.answers, self.models, self.engines)

    def _turn(self, at: int) -> None:
        """Goes to a page."""
        self._page_at, self._note = at, ""
        found = self._choices()
        marked = (n for n, each in enumerate(found) if self.answers.is_marked(self.page, each.value))
        usable = (n for n, each in enumerate(found) if not each.refusal)
        self._cursor = next(marked, next(usable, 0)) if self.page not in ("drafts", "categories") else 0
        self._open_field(self.page in TEXT_PAGES, self.answers.text_of(self.page))
        self.paint()

    def _open_field(self, is_open: bool, value: str = "") -> None:
        field = self.query_one("#wizard-field", Field)
        self._typing = field.display = is_open
        if is_open:
            field.value = value
            field.cursor_position = len(field.value)
            field.focus()
        else:
            self.set_focus(None)

    def paint(self) -> None:
        """Shows the page."""
        if not self.is_mounted:
            return
        width, glyphs = self.size.width, self.dashboard.terminal.glyphs
        where = f"{self._page_at + 1} of {len(PAGES)}"
        title: list[Line] = [rule("new profile", where, width, glyphs.rule), ((f" {TITLES[self.page]}", "title"),)]
        self.query_one("#wizard-title", LinesWidget).show([fitted(line, width, glyphs.ellipsis) for line in title])
        body = self.query_one("#wizard-body", LinesWidget)
        height = max(1, body.size.height)
        found = [] if self._typing else self._choices()
        first = max(0, min(self._cursor - height // 2, len(found) - height))
        rows = [self._row(each, number) for number, each in enumerate(found[first : first + height], start=first)]
        if not rows and not self._typing:
            rows = [((f" {self._nothing()}", "dim"),)]
        body.show([fitted(row, width, glyphs.ellipsis) for row in rows])
        self.query_one("#wizard-note", LinesWidget).show(folded(self._note, width, "warn")[:2])
        shown = [("enter", "next")]
        shown += [("space", "mark"), ("a", "all")] if self.page in ("drafts", "categories") else []
        shown += [("t", "type a path")] if self.page in TYPED_PAGES and not self._typing else []
        self.query_one("#wizard-keys", LinesWidget).show([keys(width, [*shown, ("esc", "back")])])

    def _row(self, choice: Choice, number: int) -> Line:
        glyphs = self.dashboard.terminal.glyphs
        at_cursor = number == self._cursor
        mark = "x" if self.answers.is_marked(self.page, choice.value) else " "
        sign: Line = ((f"{glyphs.cursor if at_cursor else ' '}", "marked"), (f"[{mark}] ", "marked"))
        if choice.refusal:
            return (*sign, (f"{choice.text[:NAME].rstrip()}  not usable: {one_line(choice.refusal, 300)}", "dim"))
        return (*sign, (choice.text, "cursor" if at_cursor else ""))

    def _nothing(self) -> str:
        return {
            "target": "no models were found; t: type the path of a GGUF file",
            "drafts": "no other model was found; enter measures the target alone",
            "program": "no engine was found: pip install 'specdash[embedded]', or t: type the path of a llama-server",
        }.get(self.page, "")

    def _say(self, text: str) -> None:
        self._note = one_line(text, 600)
        self.paint()

    # -- keys --------------------------------------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        """Another choice."""
        self._cursor = max(0, min(self._cursor + by, len(self._choices()) - 1))
        self.paint()

    def _current(self) -> Choice | None:
        found = self._choices()
        return found[self._cursor] if self._cursor < len(found) else None

    def action_mark(self) -> None:
        """Takes a choice, or leaves it."""
        choice = self._current()
        if choice is None or self.page not in ("drafts", "categories"):
            return
        if choice.refusal:
            self._say(f"this one cannot be used: {choice.refusal}")
            return
        taken = self.answers.drafts if self.page == "drafts" else self.answers.categories
        if choice.value in taken:
            taken.remove(choice.value)
        else:
            taken.append(choice.value)
        self._note = ""
        self.action_move(1)

    def action_all(self) -> None:
        """Takes all that can be used, or none."""
        if self.page in ("drafts", "categories"):
            usable = [each.value for each in self._choices() if not each.refusal]
            taken = self.answers.drafts if self.page == "drafts" else self.answers.categories
            taken[:] = [] if set(taken) == set(usable) else usable
            self.paint()

    def action_type(self) -> None:
        """Opens a field for a path that is not in the list."""
        if self.page in TYPED_PAGES:
            self._open_field(True)
            self.paint()

    def action_next(self) -> None:
        """Takes the choice at the cursor, and goes on."""
        choice = self._current()
        if self.page in ("target", "program"):
            if choice is None or choice.refusal:
                self._say(f"this one cannot be used: {choice.refusal}" if choice is not None else self._nothing())
                return
            if self.page == "target":
                self._take_target(next(each for each in self.models if each.path == choice.value))
            else:
                self.answers.program = choice.value
        elif self.page == "categories" and not self.answers.categories:
            self._say("mark one at least")
            return
        self._turn(self._page_at + 1)

    def _take_target(self, model: Model) -> None:
        self.answers.target = model
        self.answers.drafts = [each for each in self.answers.drafts if each in model.drafts]

    def on_input_submitted(self, event: Field.Submitted) -> None:
        """Takes what was typed, or says what is wrong with it."""
        event.stop()
        text = event.value
        try:
            match self.page:
                case "k":
                    ks_of(text)
                    self.answers.k = text
                case "samples":
                    samples_of(text)
                    self.answers.samples = text
                case "path":
                    path_of(text)
                    self.answers.path = text
                    self.app.push_screen(PlanScreen(write(self.answers).absolute()))
                    return
                case "target":
                    self._say("reading it")
                    self.run_worker(self._typed_target(text), group="wizard", exclusive=True)
                    return
                case "program":
                    self.answers.program = text.strip()
                    if not text.strip():
                        raise ValueError("type a name on PATH or a path")
        except (ValueError, OSError) as error:
            self._say(str(error))
        else:
            self._turn(self._page_at + 1)

    async def _typed_target(self, text: str) -> None:
        """Reads a model that was not found before, and which of the others fit it."""
        path = await asyncio.to_thread(_file, text)
        if path is None:
            self._say(f"{text.strip() or 'nothing'} is not a file; type the path of a GGUF file")
            return
        try:
            found = await finding.find_models([str(path), *(each.path for each in self.models)])
        except FindError as error:
            self._say(str(error))
            return
        model = next((each for each in found if Path(each.path) == path), None)
        if model is None or model.problem is not None:
            self._say(model.problem or "" if model is not None else f"{path} is one of the models in the list")
            return
        self.models = found
        self._take_target(model)
        self._turn(self._page_at + 1)

    def on_field_cut(self, event: Field.Cut) -> None:
        """More was pasted than there is room for."""
        self._say(event.sentence)

    def action_back(self) -> None:
        """To the question before; from the first one to the start screen."""
        if self._typing and self.page in TYPED_PAGES:
            self._open_field(False)
            self.paint()
        elif self._page_at == 0:
            self.app.pop_screen()
        else:
            self._turn(self._page_at - 1)


def _file(text: str) -> Path | None:
    """The file that was typed; None where there is none."""
    path = Path(text.strip()).expanduser().absolute()
    return path if path.is_file() else None
