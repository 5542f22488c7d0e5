"""The start screen: what there is on this machine, the last runs, and the ways to begin."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import ClassVar

from textual.binding import Binding, BindingType

from specdash import __version__
from specdash.core.text import one_line
from specdash.store.runs import RUNNING, RunSummary
from specdash.ui.tui import discovery, run_launcher
from specdash.ui.tui.discovery import DiscoveredModel, DoctorLine, FindError
from specdash.ui.tui.keys import movement
from specdash.ui.tui.lines import Line, fitted, rule
from specdash.ui.tui.runs import run_lines
from specdash.ui.tui.screens.plan import PlanScreen
from specdash.ui.tui.screens.runs import Runs
from specdash.ui.tui.screens.wizard import WizardScreen
from specdash.ui.tui.terminal import Glyphs
from specdash.ui.tui.widgets.form import Field
from specdash.ui.tui.widgets.list_screen import SENTENCE, PageScreen
from specdash.ui.tui.wizard.answers import model_words

READ = 20  # journals of the newest runs: the last few, and one that is still going on
RECENT = 5


class StartScreen(PageScreen):
    """specdash without a profile."""

    PAGE = "start"
    PLACEHOLDER = "path of a profile; enter shows its plan"
    SOMETIMES = ("open", "attach", "new", "back")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "New profile", id="start.new"),
        Binding("p", "profile", "Profile", id="start.profile"),
        Binding("d", "demo", "Demo", id="start.demo"),
        Binding("enter", "open", "Open run", id="start.open"),
        Binding("a", "attach", "Attach", id="start.attach"),
        Binding("r", "look", "Look again", id="start.look", show=False),
        Binding("escape", "back", "Back", id="start.back"),
        *movement("start"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.models: list[DiscoveredModel] | None = None
        self.findings: list[DoctorLine] | None = None
        self.known = Runs()
        self._models_problem = ""
        self._engines_problem = ""
        self._selected: Path | None = None
        self._switching = False

    def on_mount(self) -> None:
        """Look for models, engines and runs."""
        self.action_look()

    def on_screen_resume(self) -> None:
        """Read the runs again: some may have been added."""
        self._read_runs()
        super().on_screen_resume()

    def _read_runs(self) -> None:
        if not self.known.reading:
            self.run_worker(self.known.read(self.paint, READ), group="runs", exclusive=True)

    def action_look(self) -> None:
        """Look for models, engines and runs again."""
        self.models = self.findings = None
        self._models_problem = self._engines_problem = ""
        self.run_worker(self._find_models(), group="models", exclusive=True)
        self.run_worker(self._examine(), group="engines", exclusive=True)
        self._read_runs()

    async def _find_models(self) -> None:
        try:
            self.models = await discovery.discover_models(discovery.places_with(self.dashboard.model_dirs))
        except FindError as error:
            self.models, self._models_problem = [], str(error)
        self.paint()

    async def _examine(self) -> None:
        try:
            self.findings = await discovery.run_doctor()
        except FindError as error:
            self.findings, self._engines_problem = [], str(error)
        self.paint()

    # -- painting ----------------------------------------------------------------------------------------------

    def paint(self) -> None:
        """Show what is known by now."""
        if not self.is_ready:
            return
        width, glyphs = self.size.width, self.dashboard.terminal.glyphs
        runs = self.known.found
        recent = recent_lines(runs, self.known.reading, self._cursor(), width, glyphs)
        engines = engine_lines(self.findings, self._engines_problem, width, glyphs)
        room = max(2, self.rows - len(recent) - len(engines))
        models = models_lines(self.models, self._models_problem, width, room, glyphs)
        title: Line = ((" specdash ", "title"), (f"{__version__}   which draft, which K, or none at all", "dim"))
        self.show_page([title], [*models, *engines, *recent])

    def why_not(self, action: str) -> str | None:
        """Return what has to be found before something can be begun with it."""
        if action == "new":
            is_found = self.models is not None and self.findings is not None
            return None if is_found else "models and engines are still being looked for; a moment"
        if action == "open":
            return None if self._recent() else "there is no run yet"
        if action == "attach":
            return None if self._going_on() else "no run is going on here"
        return None if self.is_typing else ""

    def _recent(self) -> list[RunSummary]:
        return self.known.found[:RECENT]

    def _cursor(self) -> int:
        return next((at for at, run in enumerate(self._recent()) if run.path == self._selected), 0)

    def _going_on(self) -> list[RunSummary]:
        return [run for run in self.known.found if run.state == RUNNING]

    # -- keys --------------------------------------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        """Move to another run."""
        recent = self._recent()
        if recent:
            self._selected = recent[max(0, min(self._cursor() + by, len(recent) - 1))].path
        self.say("")

    def action_new(self) -> None:
        """Open the wizard."""
        if self.models is not None and self.findings is not None:
            self.say("")
            self.app.push_screen(WizardScreen(self.models, discovery.engines(self.findings)))

    def action_profile(self) -> None:
        """Open the field for the path of a profile."""
        self.open_field()

    def on_input_submitted(self, event: Field.Submitted) -> None:
        """Show the plan of a profile."""
        event.stop()
        if event.value.strip():
            self.action_back()
            self.app.push_screen(PlanScreen(Path(event.value.strip()).expanduser()))

    def action_demo(self) -> None:
        """Make a small pair of models and sweep it."""
        self._switch(lambda: run_launcher.start_demo(self.dashboard), "writing the demo's models, and starting it")

    def action_open(self) -> None:
        """Open the selected run."""
        recent = self._recent()
        if not recent:
            return
        run = recent[self._cursor()]
        if run.problem is not None:
            self.say(f"{run.id} cannot be opened: {run.problem}")
            return
        self._switch(lambda: run_launcher.open_path(self.dashboard, run.path), f"opening {run.id}")

    def action_attach(self) -> None:
        """Attach to the run that is going on; where there are several, they are chosen from on the runs screen."""
        running = self._going_on()
        if len(running) > 1:
            self.dashboard.action_show("runs")
        elif running:
            self._switch(
                lambda: run_launcher.open_path(self.dashboard, running[0].path), f"attaching to {running[0].id}"
            )

    def _switch(self, how: Callable[[], Awaitable[str | None]], words: str) -> None:
        if not self._switching:
            self._switching = True
            self.say(words)
            # The app's worker: this screen may be gone before it ends.
            self.app.run_worker(self._switched(how), group="switch")

    async def _switched(self, how: Callable[[], Awaitable[str | None]]) -> None:
        try:
            self._note = one_line(await how() or "", SENTENCE)
        finally:
            self._switching = False
        self.paint()

    def action_back(self) -> None:
        """Close the field."""
        self.close_field()
        self.say("")


def models_lines(
    found: Sequence[DiscoveredModel] | None, problem: str, width: int, height: int, glyphs: Glyphs
) -> list[Line]:
    """Return the models, the largest first, as many as there is room for; None while they are searched for."""
    usable = sorted((each for each in found or () if each.problem is None), key=lambda each: -(each.size_bytes or 0))
    broken = len(found or ()) - len(usable)
    count = "" if found is None else f"{len(usable)} found" + (f", {broken} cannot be read" if broken else "")
    lines: list[Line] = [rule("models", count, width, glyphs.rule)]
    if problem:
        lines.append(((f" {one_line(problem, 400)}", "warn"),))
    elif found is None:
        lines.append(((" searching the caches of Hugging Face, LM Studio, llama.cpp and Ollama", "dim"),))
    elif not usable:
        lines.append(((" none in the usual caches; n: type a path, d: the demo makes its own", ""),))
    room = max(1, height - len(lines))
    kept = usable if len(usable) <= room else usable[: room - 1]
    for each in kept:
        drafts = f"{len(each.drafts)} {'draft fits' if len(each.drafts) == 1 else 'drafts fit'}" if each.drafts else ""
        lines.append(((f" {model_words(each)}  ", ""), (drafts, "good")))
    if len(usable) > len(kept):
        lines.append(((f" and {len(usable) - len(kept)} more: specdash models", "dim"),))
    return [fitted(line, width, glyphs.ellipsis) for line in lines]


def engine_lines(found: Sequence[DoctorLine] | None, problem: str, width: int, glyphs: Glyphs) -> list[Line]:
    """Return the engines, and how to install one; None while they are examined."""
    lines: list[Line] = [rule("engines", "", width, glyphs.rule)]
    if problem:
        lines.append(((f" {one_line(problem, 400)}", "warn"),))
    elif found is None:
        lines.append(((" looking for llama-server and the built-in llama.cpp", "dim"),))
    for each in discovery.engines(found or ()):
        is_ok = each.state == "ok"
        state = f" {each.state:<4} "
        lines.append(((state, "good" if is_ok else "bad"), (one_line(f"{each.what}: {each.found}", 300), "")))
        if each.todo and not is_ok:
            lines.append(((f"      -> {one_line(each.todo, 300)}", "warn"),))
    return [fitted(line, width, glyphs.ellipsis) for line in lines]


def recent_lines(runs: Sequence[RunSummary], reading: bool, selected: int, width: int, glyphs: Glyphs) -> list[Line]:
    """Return the last few runs."""
    lines: list[Line] = [rule("recent runs", f"reading{glyphs.ellipsis}" if reading else "", width, glyphs.rule)]
    if not runs:
        lines.append(((" reading the results folders" if reading else " none yet", "dim"),))
    return lines + run_lines(runs[:RECENT], selected, width, glyphs)
