"""The application: one feed, its screens, the way of commands to the run, and the manners that all screens share."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual.binding import Binding, BindingType
from textual.screen import Screen

from specdash.config.settings import RATES_HZ, Settings, save_setting
from specdash.core import commands as cmd
from specdash.core.view import View
from specdash.errors import Exit, SpecdashError, StoreError
from specdash.store.disk import write_atomic
from specdash.ui.tui import places
from specdash.ui.tui.advice import Advice, Adviser, work_out
from specdash.ui.tui.keys import APP, Act, acts_of, usable, with_keymap
from specdash.ui.tui.palette import Actions
from specdash.ui.tui.screens.help import HelpScreen
from specdash.ui.tui.screens.leave import Choice, LeaveMenu
from specdash.ui.tui.terminal import Terminal
from specdash.ui.tui.viewer import Opening, Viewer

if TYPE_CHECKING:
    from specdash.ui.tui.finding import Model

PLAIN_THEME = "ansi-dark"
# Signs that a terminal without line-drawing characters has.
ASCII_CSS = """
Dashboard.-ascii Input, Dashboard.-ascii Input:focus, Dashboard.-ascii Button, Dashboard.-ascii Button:hover,
Dashboard.-ascii TextArea, Dashboard.-ascii TextArea:focus, Dashboard.-ascii OptionList,
Dashboard.-ascii OptionList:focus, Dashboard.-ascii SelectCurrent { border: ascii $foreground; }
Dashboard.-ascii CommandPalette #--input, Dashboard.-ascii CommandPalette CommandList { border: ascii $foreground; }
Dashboard.-ascii CommandPalette #--input Input { border: none; }
Dashboard.-ascii CommandPalette SearchIcon { display: none; }
Dashboard.-ascii Toast { border-left: ascii $foreground; }
Dashboard.-ascii * { scrollbar-size: 0 0; }
"""


class Dashboard(Viewer):
    """specdash on a terminal. `opening` opens the run to show; None shows the start screen.

    `asked` is what the leave menu asked of the run.
    """

    CSS = ASCII_CSS

    TITLE = "specdash"
    ENABLE_COMMAND_PALETTE = True
    COMMAND_PALETTE_BINDING = "ctrl+p"
    COMMANDS: ClassVar[set[Any]] = {Actions}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "show('main')", "Dash", id="show.main"),
        Binding("2", "show('queue')", "Queue", id="show.queue"),
        Binding("3", "show('results')", "Results", id="show.results"),
        Binding("4", "show('logs')", "Log", id="show.logs"),
        Binding("5", "show('runs')", "Runs", id="show.runs"),
        Binding("q", "leave", "Leave", id="leave"),
        Binding("ctrl+c,ctrl+q", "interrupt", "Leave; twice: detach", id="interrupt", show=False, priority=True),
        Binding("d", "detach", "Detach", id="detach"),
        Binding("question_mark,f1", "help", "Help", id="help", key_display="?"),
        Binding("ctrl+p,colon", "command_palette", "Palette", id="palette", key_display="^p"),
        Binding("f", "freeze", "Freeze or go on showing", id="freeze", show=False),
        Binding("plus", "rate(-1)", "Repaint more often", id="rate.up", show=False),
        Binding("minus", "rate(1)", "Repaint less often", id="rate.down", show=False),
        Binding("M", "mouse", "Mouse on or off", id="mouse", show=False),
        Binding("ctrl+l", "redraw", "Redraw everything", id="redraw", show=False),
        Binding("ctrl+z", "suspend_process", "Suspend this viewer", id="suspend", show=False),
    ]
    SCREENS: ClassVar = places.makers()

    def __init__(self, opening: Opening | None, terminal: Terminal, settings: Settings | None = None) -> None:
        super().__init__(terminal, settings)
        self.asked: Choice | None = None
        self._opening = opening
        self._adviser = Adviser()
        self._is_advising = False
        self.set_class(terminal.glyphs.is_ascii, "-ascii")

    # -- beginning ---------------------------------------------------------------------------------------------

    def on_mount(self) -> None:
        """Opens the run and starts to paint."""
        self._choose_first_theme()
        self._rename_keys()
        self.push_screen("main" if self._opening is not None else "start")
        self.begin()
        if self._opening is not None:
            self.open_run(self._opening, own=self.is_own)
        for warning in self.settings.warnings if self.settings is not None else ():
            self.tell(str(warning), level="warning")

    def _choose_first_theme(self) -> None:
        wanted = self.settings.theme if self.settings is not None else None
        if self.terminal.colours == "none" or (self.terminal.colours == "16" and wanted is None):
            self.theme = PLAIN_THEME
        elif wanted is not None and wanted in self.available_themes:
            self.theme = wanted
        elif wanted is not None:
            self.tell(f"settings: there is no theme {wanted}; the palette lists them", level="warning")

    def _rename_keys(self) -> None:
        if self.settings is not None and self.settings.keys:
            keymap, problems = usable(self.all_acts(), self.settings.keys)
            self.set_keymap(keymap)
            for problem in problems:
                self.tell(problem, level="warning")

    # -- what screens ask for ----------------------------------------------------------------------------------

    @property
    def has_run(self) -> bool:
        """Whether a run is shown, or on its way."""
        return self.source is not None or self._opening is not None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The keys to a run's screens apply where there is a run, and where no answers would be lost."""
        if action == "show":
            return self.place_of(self.screen) not in places.STEPS and (self.has_run or parameters == ("runs",))
        return self.has_run if action == "detach" else True

    def reaches(self, where: str) -> bool:
        """Whether the actions of a place can be done now."""
        return where in (APP, self.place_of(self.screen), "runs", "start") or (
            self.has_run and where not in places.STEPS
        )

    def action_show(self, name: str) -> None:
        """Brings a screen to the front."""
        while self.place_of(self.screen) in places.STEPS:
            self.pop_screen()
        self.switch_screen(name)

    @property
    def advice(self) -> Advice:
        """What follows from what is measured, as of about now; it is worked out beside the screen that asks."""
        view = self.feed.view
        if not self._is_advising and self.feed.caught_up and self._adviser.is_behind(view):
            if self._adviser.is_due(view):
                self._is_advising = True
                self._adviser.begin(view)
                self.run_worker(self._advise(view), group="advice")
            else:
                self._dirty = True  # so that it is asked for again, even if nothing else happens
        return self._adviser.of(view)

    async def _advise(self, view: View) -> None:
        begun_s = time.monotonic()
        try:
            found = await asyncio.to_thread(work_out, view, self._adviser.figures)
        finally:
            self._is_advising = False
        self._adviser.take(view, found, time.monotonic() - begun_s)
        self._dirty = True

    async def find_models(self) -> list[Model]:
        """The models on the machine of the run, or of this one where none is open. Raises finding.FindError."""
        from specdash.ui.tui.finding import models_of

        return await models_of(self.source, self.model_dirs)

    @property
    def model_dirs(self) -> tuple[Path, ...]:
        """The user's own model folders."""
        return self.settings.model_dirs if self.settings is not None else ()

    def all_acts(self) -> list[Act]:
        """Every action with the keys that it has by itself."""
        found = acts_of(APP, self.BINDINGS)
        for name, screen in places.kinds():
            for kind in reversed(screen.__mro__):
                if kind.__module__.startswith("specdash."):
                    found += acts_of(name, vars(kind).get("BINDINGS", ()))
        return found

    def acts(self) -> list[Act]:
        """Every action with the keys that it has now."""
        return with_keymap(self.all_acts(), self._keymap)

    def place_of(self, screen: Screen[Any]) -> str:
        """The name of a screen; "everywhere" for one that has none."""
        return places.name_of(screen) or APP

    def perform(self, act: Act) -> None:
        """Does what a key would do, on the screen that the action belongs to."""
        if act.where not in (APP, self.place_of(self.screen)):
            self.action_show(act.where)
        self.call_after_refresh(self._perform, act)

    async def _perform(self, act: Act) -> None:
        await self.run_action(act.action, default_namespace=self if act.where == APP else self.screen)

    # -- actions of every screen -------------------------------------------------------------------------------

    def action_help(self) -> None:
        """Lists the keys."""
        behind = [screen for screen in self.screen_stack if self.place_of(screen) != APP]
        here = self.place_of(behind[-1]) if behind else APP
        self.push_screen(HelpScreen(here, self.acts()))

    def action_freeze(self) -> None:
        """Keeps the picture as it is, or goes on; the run does not notice."""
        self.frozen = not self.frozen
        self.paint_now()

    def action_rate(self, steps: int) -> None:
        """Repaints more or less often."""
        at = RATES_HZ.index(self.rate_hz) if self.rate_hz in RATES_HZ else 1
        self.paint_at(RATES_HZ[max(0, min(len(RATES_HZ) - 1, at + steps))])
        self.paint_now()

    def action_mouse(self) -> None:
        """Captures the mouse, or leaves it to the terminal for selecting text."""
        self.mouse_on = not self.mouse_on
        if self.terminal_driver is not None:
            self.terminal_driver.set_mouse(on=self.mouse_on)
        self.paint_now()

    def action_redraw(self) -> None:
        """Sets the terminal's modes again and draws everything."""
        if self.terminal_driver is not None:
            self.terminal_driver.reenter(mouse=self.mouse_on)
        self.repaint_all()

    def choose_theme(self, name: str) -> None:
        """Another theme, now and from now on."""
        self.theme = name
        if self.settings is not None:
            try:
                save_setting(self.settings.path, "theme", name)
            except SpecdashError as error:
                self.tell(str(error), level="warning")

    def save_picture(self) -> None:
        """Writes what is on the screen to an SVG file."""
        try:
            moment = f"{time.strftime('%Y-%m-%d_%H-%M-%S')}-{time.time_ns() // 1_000_000 % 1000:03d}"
            path = Path.cwd() / f"specdash-{moment}.svg"
            write_atomic(path, self.export_screenshot())
        except (OSError, StoreError) as error:
            self.tell(f"no screenshot: {error}", level="error")
        else:
            self.tell(f"saved {path}")

    # -- leaving -----------------------------------------------------------------------------------------------

    def action_leave(self) -> None:
        """Asks whether to detach or to stop, or leaves at once where nothing runs."""
        if self.is_at_work and not self.leaves_at_end:
            self.push_screen(LeaveMenu(), self._leave)
        else:
            self.exit(int(Exit.OK))

    def action_interrupt(self) -> None:
        """The leave menu; a second time, detaches."""
        if isinstance(self.screen, LeaveMenu):
            self.action_detach()
        else:
            self.action_leave()

    def action_detach(self) -> None:
        """Leaves at once; the run goes on."""
        self.exit(int(Exit.OK))

    def _leave(self, choice: Choice | None) -> None:
        if choice == "detach":
            self.action_detach()
        elif choice in ("stop", "stop_after_load"):
            self.run_worker(self._stop(choice), group="leave")

    async def _stop(self, choice: Choice) -> None:
        """Asks the run to stop; leaves once it has, or at once where that may take hours."""
        refused = await self.send(cmd.Command(cmd.STOP if choice == "stop" else cmd.STOP_AFTER_LOAD))
        if refused is not None:
            self.tell(f"not stopped: {refused}", level="error")
            return
        self.asked = choice
        if choice == "stop_after_load" or not self.is_at_work:
            self.exit(int(Exit.OK))
        else:
            self.leaves_at_end = True
            self.tell("stopping; this viewer leaves when the run has ended (q: at once)")
