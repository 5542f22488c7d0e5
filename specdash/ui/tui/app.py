"""The application: one feed, its screens, the way of commands to the run, and the manners that all screens share."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from rich.style import Style
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.timer import Timer

from specdash.config.settings import DEFAULT_RATE_HZ, RATES_HZ, Settings, save_setting
from specdash.core import commands as cmd
from specdash.core.events import Recorded
from specdash.core.forecast import Outlook, Range
from specdash.core.state import RunState
from specdash.core.text import one_line
from specdash.errors import Exit, SpecdashError, StoreError
from specdash.remote.feed import RunFeed, fold_event, fold_events
from specdash.remote.run_source import Event, Gone, Source, SourceError
from specdash.store.disk import write_atomic
from specdash.ui.tui import screen_registry
from specdash.ui.tui.context import Repaintable, SourceFactory
from specdash.ui.tui.discovery import DiscoveredModel, models_of_machine
from specdash.ui.tui.exit_message import announcement, run_ended_message
from specdash.ui.tui.keys import APP, ActionInfo, acts_of, usable, with_keymap
from specdash.ui.tui.palette import Actions
from specdash.ui.tui.panes.header import Forecast
from specdash.ui.tui.recommendations import Recommendations, RecommendationUpdater, work_out
from specdash.ui.tui.terminal import Terminal
from specdash.ui.tui.terminal.terminal_app import TerminalApp
from specdash.ui.tui.terminal.theme import ASCII_CSS, PLAIN_THEME, StyleName, styles_for
from specdash.ui.tui.widgets.dialog import HelpScreen, LeaveChoice, LeaveMenu, TinyScreen, is_tiny

BATCH_S = 0.05  # how long events are folded before the screen and the keys get their turn
CLOSE_S = 0.5
FOLDER_S = 3.0  # how often the run's folder is looked for
SHOWN_S = 0.5  # a first frame is there by then
HOLD_S = 0.5  # how long the first frame waits for the run; nearly always it is there at once


class Dashboard(TerminalApp):
    """specdash on a terminal. `opening` opens the run to show; None shows the start screen.

    Without `settings` nothing of the user's is read or written. `asked` is what the leave menu asked of the run;
    `saw_end`: the run ended while it was watched, or before that but `is_own`: started from here. `folder_gone`: its
    folder was removed. `on_shown` is awaited once, after the first frame.
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
    SCREENS: ClassVar = screen_registry.makers()

    def __init__(self, opening: SourceFactory | None, terminal: Terminal, settings: Settings | None = None) -> None:
        super().__init__(terminal)
        self.settings = settings
        self.feed = RunFeed()
        self.source: Source | None = None
        self.rate_hz = settings.rate_hz if settings is not None else DEFAULT_RATE_HZ
        self.clock: Callable[[], float] = time.time
        self.asked: LeaveChoice | None = None
        self.saw_end = False
        self.is_own = False
        self.folder_gone = False
        self.frozen = False
        self.mouse_on = settings.mouse if settings is not None else True
        self.leaves_at_end = False
        self.on_shown: Callable[[], Awaitable[None]] | None = None
        self.is_holding = False
        self._opening = opening
        self._adviser = RecommendationUpdater()
        self._is_advising = False
        self._dirty = True
        self._stamp = 0
        self._forecast = Forecast()
        self._painting: Timer | None = None
        self._folder: Path | None = None
        self._styles: Mapping[StyleName, Style] | None = None
        self.set_class(terminal.glyphs.is_ascii, "-ascii")

    # -- beginning ---------------------------------------------------------------------------------------------

    def on_mount(self) -> None:
        """Open the run and start to paint."""
        self._choose_first_theme()
        self._rename_keys()
        if self._opening is not None:
            self.is_holding = True
            self.set_timer(HOLD_S, self._show_first_frame)
            self.open_run(self._opening, own=self.is_own)
            self.push_screen("main")
        else:
            self.push_screen("start")
            self._prepare_rest()
        self.theme_changed_signal.subscribe(self, lambda _: self._forget_styles())
        self.app_resume_signal.subscribe(self, lambda _: self.repaint_all())
        self.paint_at(self.rate_hz)
        self.set_interval(FOLDER_S, self.look_for_folder)
        for warning in self.settings.warnings if self.settings is not None else ():
            self.tell(str(warning), level="warning")

    def _show_first_frame(self) -> None:
        """Paint from now on: the run is known, or too slow to be waited for."""
        if self.is_holding:
            self.is_holding = False
            self._dirty = True
            self._paint()
            if self.frozen:
                self.paint_now()
            self._prepare_rest()

    def _prepare_rest(self) -> None:
        if self.on_shown is not None:
            self.set_timer(SHOWN_S, self.on_shown)

    def _forget_styles(self) -> None:
        self._styles = None

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

    # -- what screens read -------------------------------------------------------------------------------------

    @property
    def line_styles(self) -> Mapping[StyleName, Style]:
        """Return the style for each style name, in this theme and on this terminal."""
        if self._styles is None:
            self._styles = styles_for(self.theme_variables, colours=self.terminal.colours != "none")
        return self._styles

    @property
    def now_s(self) -> float:
        """Return the time, in seconds since 1970."""
        return self.clock()

    @property
    def outlook(self) -> Outlook | None:
        """Return what the run has still before it; at most a second old."""
        return self._forecast.of(self.feed, self.now_s)

    @property
    def time_left(self) -> Range | None:
        """Return the time until the end of the run; None where it cannot be known."""
        return found.left if (found := self.outlook) is not None else None

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what is unusual about this viewer, for the connection line."""
        driver = self.terminal_driver
        dropped = driver.dropped if driver is not None else 0
        found = (
            "RUN FOLDER REMOVED" if self.folder_gone else "",
            "FROZEN (f)" if self.frozen else "",
            "" if self.mouse_on else "mouse off",
            f"{dropped} frames dropped" if dropped else "",
        )
        return tuple(note for note in found if note)

    @property
    def is_at_work(self) -> bool:
        """Return whether the run goes on after this viewer has left."""
        at_end = self.feed.gone is not None or self.feed.view.finished is not None
        return self.source is not None and self.source.origin.pid is not None and not at_end

    @property
    def has_run(self) -> bool:
        """Return whether a run is shown, or on its way."""
        return self.source is not None or self._opening is not None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Return whether a key applies: keys to a run's screens need a run, and no answers may be lost."""
        if action == "show":
            return self.place_of(self.screen) not in screen_registry.STEPS and (self.has_run or parameters == ("runs",))
        return self.has_run if action == "detach" else True

    def reaches(self, where: str) -> bool:
        """Return whether the actions of a place can be done now."""
        return where in (APP, self.place_of(self.screen), "runs", "start") or (
            self.has_run and where not in screen_registry.STEPS
        )

    def action_show(self, name: str) -> None:
        """Bring a screen to the front."""
        while self.place_of(self.screen) in screen_registry.STEPS:
            self.pop_screen()
        self.switch_screen(name)

    @property
    def advice(self) -> Recommendations:
        """Return what follows from what is measured, as of about now; it is worked out beside the screen that asks."""
        view = self.feed.view
        if not self._is_advising and self.feed.caught_up and self._adviser.is_behind(view):
            if self._adviser.is_due(view):
                self._is_advising = True
                self._adviser.begin(view)
                self.run_worker(self._advise(view), group="advice")
            else:
                self._dirty = True  # so that it is asked for again, even if nothing else happens
        return self._adviser.of(view)

    async def _advise(self, view: RunState) -> None:
        begun_s = time.monotonic()
        try:
            found = await asyncio.to_thread(work_out, view, self._adviser.figures)
        finally:
            self._is_advising = False
        self._adviser.take(view, found, time.monotonic() - begun_s)
        self._dirty = True

    async def find_models(self) -> list[DiscoveredModel]:
        """Return the models on the machine of the run, else of this machine. Raises discovery.FindError."""
        return await models_of_machine(self.source, self.model_dirs)

    @property
    def model_dirs(self) -> tuple[Path, ...]:
        """Return the user's own model folders."""
        return self.settings.model_dirs if self.settings is not None else ()

    def all_acts(self) -> list[ActionInfo]:
        """Return every action with its default keys."""
        found = acts_of(APP, self.BINDINGS)
        for name, screen in screen_registry.screen_kinds():
            for kind in reversed(screen.__mro__):
                if kind.__module__.startswith("specdash."):
                    found += acts_of(name, vars(kind).get("BINDINGS", ()))
        return found

    def acts(self) -> list[ActionInfo]:
        """Return every action with the keys that it has now."""
        return with_keymap(self.all_acts(), self.keys_by_id)

    def place_of(self, screen: Screen[Any]) -> str:
        """Return the name of a screen; "everywhere" for one that has none."""
        return screen_registry.name_of(screen) or APP

    def perform(self, act: ActionInfo) -> None:
        """Do what a key would do, on the screen that the action belongs to."""
        if act.where not in (APP, self.place_of(self.screen)):
            self.action_show(act.where)
        self.call_after_refresh(self._perform, act)

    async def _perform(self, act: ActionInfo) -> None:
        await self.run_action(act.action, default_namespace=self if act.where == APP else self.screen)

    # -- the run ----------------------------------------------------------------------------------------------

    async def on_unmount(self) -> None:
        """Close the source."""
        await self._close(self.source)

    async def _close(self, source: Source | None) -> None:
        if source is not None:
            with suppress(SourceError, OSError, TimeoutError):
                await asyncio.wait_for(source.close(), CLOSE_S)

    def open_run(self, opening: SourceFactory, *, own: bool = False) -> None:
        """Show another run instead of this one; `own`: it was started from here."""
        self.is_own, self.saw_end = own, False
        self.run_worker(self._follow(opening), exclusive=True, group="source")

    async def _follow(self, opening: SourceFactory) -> None:
        """Fold everything that the source tells, a batch at a time."""
        before, self.source = self.source, None
        await self._close(before)
        self.feed, self._dirty = RunFeed(), True
        self._folder, self.folder_gone = None, False
        try:
            self.source = source = await opening()
            if source is None:
                self._show_first_frame()
                return
            self.feed = replace(self.feed, origin=source.origin)
            self.look_for_folder()
            turn_s = time.monotonic() + BATCH_S
            batch: list[Event] = []
            async for event in source.events():
                batch.append(event)
                if not self.feed.caught_up and isinstance(event, Recorded) and time.monotonic() < turn_s:
                    continue  # thousands of facts of the past: folded together, they cost a fraction
                known, self.feed = self.feed, fold_events(self.feed, batch)
                batch.clear()
                self._dirty = True
                self._watch_end(known)
                if self.feed.caught_up and not known.caught_up:
                    self._show_first_frame()
                    self._paint()
                if time.monotonic() > turn_s:
                    await asyncio.sleep(0)
                    turn_s = time.monotonic() + BATCH_S
        except (SourceError, StoreError) as error:
            self.feed = fold_event(self.feed, Gone(one_line(str(error), 400), lost=True))
            self._dirty = True
            self.tell(str(error), level="error")
            self._show_first_frame()

    def _watch_end(self, before: RunFeed) -> None:
        """Tell the user when the run that is watched has ended, and leave if that was waited for."""
        if self.is_own and self.feed.caught_up and self.feed.view.finished is not None:
            self.saw_end = True
        if (said := run_ended_message(before, self.feed)) is not None:
            self.saw_end = self.saw_end or self.feed.view.finished is not None
            kind = self.settings.notifications if self.settings is not None else "off"
            if sent := announcement(said, kind, os.environ):
                self.write_to_terminal(sent)
        if self.leaves_at_end and not self.is_at_work:
            self.exit(int(Exit.OK))

    def look_for_folder(self) -> None:
        """Look whether the run's folder is still there, where it is on this machine."""
        origin = self.feed.origin
        if origin is not None and origin.is_local and not any(each.group == "folder" for each in self.workers):
            self.run_worker(self._look_for(Path(origin.path)), group="folder")

    async def _look_for(self, folder: Path) -> None:
        # A folder of another machine's disk can keep whoever asks waiting.
        is_there = await asyncio.to_thread(folder.exists)
        origin = self.feed.origin
        if origin is None or Path(origin.path) != folder:
            return
        if is_there:
            self._folder = folder
        is_gone = self._folder == folder and not is_there
        if is_gone and not self.folder_gone:
            self.tell(f"the folder of this run is not there any more: {folder}", level="error")
        if is_gone != self.folder_gone:
            self.folder_gone, self._dirty = is_gone, True

    # -- painting ----------------------------------------------------------------------------------------------

    def _paint(self) -> None:
        if not self.has_screens:  # timers go on while the screens are taken away, one by one
            return
        self.resized()
        stamp = int(self.now_s) if self.feed.is_live else int(self.now_s / 60)
        if self.frozen or not (self._dirty or stamp != self._stamp):
            return
        self._dirty, self._stamp = False, stamp
        self.paint_now()

    def paint_now(self) -> None:
        """Paint what is in front, and the screen that shows behind a dialog."""
        for screen in self._visible():
            if isinstance(screen, Repaintable):
                screen.repaint()

    def _visible(self) -> Sequence[Screen[Any]]:
        stack = self.screen_stack
        behind = next((at for at in range(len(stack) - 1, -1, -1) if not stack[at].is_modal), 0)
        return stack[-1:] if stack and isinstance(stack[-1], TinyScreen) else stack[behind:]

    def paint_at(self, rate_hz: float) -> None:
        """Repaint at this rate from now on."""
        self.rate_hz = rate_hz
        if self._painting is not None:
            self._painting.stop()
        self._painting = self.set_interval(1 / rate_hz, self._paint)

    def repaint_all(self) -> None:
        """Draw every cell again: frames were dropped, or another program wrote on the terminal."""
        self._dirty = True
        super().repaint_all()

    def resized(self) -> None:
        """Show one line instead of a screen where there is no room for a screen."""
        if not self.screen_stack or self.is_leaving:
            return
        front = self.screen
        if is_tiny(*self.size):
            if not isinstance(front, TinyScreen) and not getattr(front, "FITS_ANYWHERE", False):
                self.push_screen(TinyScreen())
        elif isinstance(front, TinyScreen):
            self.pop_screen()

    async def send(self, command: cmd.Command) -> str | None:
        """Send a command to the run; None when it is in the journal, else why not, as a sentence to show."""
        if self.source is None:
            return "no run is open"
        try:
            await self.source.command(command)
        except SourceError as error:
            return one_line(str(error), 400)
        return None

    def tell(self, text: str, *, level: str = "info") -> None:
        """Show a sentence for a few seconds: "info", "warning" or "error"."""
        severity = {"warning": "warning", "error": "error"}.get(level, "information")
        self.notify(one_line(text, 600), severity=severity, markup=False)  # type: ignore[arg-type]

    # -- actions of every screen -------------------------------------------------------------------------------

    def action_help(self) -> None:
        """List the keys."""
        behind = [screen for screen in self.screen_stack if self.place_of(screen) != APP]
        here = self.place_of(behind[-1]) if behind else APP
        self.push_screen(HelpScreen(here, self.acts()))

    def action_freeze(self) -> None:
        """Freeze what is shown, or go on; the run is not affected."""
        self.frozen = not self.frozen
        self.paint_now()

    def action_rate(self, steps: int) -> None:
        """Repaint more or less often."""
        at = RATES_HZ.index(self.rate_hz) if self.rate_hz in RATES_HZ else 1
        self.paint_at(RATES_HZ[max(0, min(len(RATES_HZ) - 1, at + steps))])
        self.paint_now()

    def action_mouse(self) -> None:
        """Capture the mouse, or leave it to the terminal for selecting text."""
        self.mouse_on = not self.mouse_on
        if self.terminal_driver is not None:
            self.terminal_driver.set_mouse(on=self.mouse_on)
        self.paint_now()

    def action_redraw(self) -> None:
        """Set the terminal's modes again and draw everything."""
        if self.terminal_driver is not None:
            self.terminal_driver.reenter(mouse=self.mouse_on)
        self.repaint_all()

    def choose_theme(self, name: str) -> None:
        """Change the theme and keep it in the settings."""
        self.theme = name
        if self.settings is not None:
            try:
                save_setting(self.settings.path, "theme", name)
            except SpecdashError as error:
                self.tell(str(error), level="warning")

    def save_picture(self) -> None:
        """Write what is on the screen to an SVG file."""
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
        """Ask whether to detach or to stop, or leave at once where nothing runs."""
        if self.is_at_work and not self.leaves_at_end:
            self.push_screen(LeaveMenu(), self._leave)
        else:
            self.exit(int(Exit.OK))

    def action_interrupt(self) -> None:
        """Open the leave menu; the second time, detach."""
        if isinstance(self.screen, LeaveMenu):
            self.action_detach()
        else:
            self.action_leave()

    def action_detach(self) -> None:
        """Leave at once; the run goes on."""
        self.exit(int(Exit.OK))

    def _leave(self, choice: LeaveChoice | None) -> None:
        if choice == "detach":
            self.action_detach()
        elif choice in ("stop", "stop_after_load"):
            self.run_worker(self._stop(choice), group="leave")

    async def _stop(self, choice: LeaveChoice) -> None:
        """Ask the run to stop; leave once it has, or at once where that may take hours."""
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
