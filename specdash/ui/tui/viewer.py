"""A viewer of one run: it folds what a source tells, paints at a steady rate, and gets on with its terminal.

The dashboard's screens, keys and dialogs are built on it, in `app`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.style import Style
from textual import events
from textual._compositor import ChopsUpdate
from textual.app import App
from textual.screen import Screen
from textual.timer import Timer

from specdash.config.settings import DEFAULT_RATE_HZ, Settings
from specdash.core import commands as cmd
from specdash.core.events import Recorded
from specdash.core.forecast import Outlook, Range
from specdash.core.text import one_line
from specdash.errors import Exit, StoreError
from specdash.remote.feed import RunFeed, fold_event, fold_events
from specdash.remote.source import Event, Gone, Source, SourceError
from specdash.ui.tui.colours import Colourless
from specdash.ui.tui.driver import TerminalDriver
from specdash.ui.tui.frame import Bar
from specdash.ui.tui.frames import TightUpdate
from specdash.ui.tui.notify import announcement, ending
from specdash.ui.tui.panes.header import Forecast
from specdash.ui.tui.screen import RunScreen
from specdash.ui.tui.screens.tiny import TinyScreen, is_tiny
from specdash.ui.tui.styles import StyleName, styles_for
from specdash.ui.tui.terminal import Terminal

BATCH_S = 0.05  # how long events are folded before the screen and the keys get their turn
RESIZE_S = 0.1  # a window that is dragged sends dozens of sizes; only the last one is drawn
CLOSE_S = 0.5
FOLDER_S = 3.0  # how often the run's folder is looked for
SHOWN_S = 0.5  # a first frame is there by then

Opening = Callable[[], Awaitable[Source | None]]


class Viewer(App[int]):
    """What a dashboard is beneath its screens. Without `settings` nothing of the user's is read or written.

    `crash` is the exception that ended it, if one did; `saw_end`: the run ended while it was watched, or before that
    but `is_own`: started from here. `folder_gone`: its folder was removed. `on_shown` is awaited once, after the first
    frame.
    """

    def __init__(self, terminal: Terminal, settings: Settings | None) -> None:
        colourless = terminal.colours == "none"
        super().__init__(driver_class=TerminalDriver, ansi_color=True if colourless else None)
        if colourless:
            self._filters[:] = [Colourless()]
        self.terminal = terminal
        self.settings = settings
        self.feed = RunFeed()
        self.source: Source | None = None
        self.rate_hz = settings.rate_hz if settings is not None else DEFAULT_RATE_HZ
        self.clock: Callable[[], float] = time.time
        self.crash: BaseException | None = None
        self.saw_end = False
        self.is_own = False
        self.folder_gone = False
        self.frozen = False
        self.mouse_on = settings.mouse if settings is not None else True
        self.leaves_at_end = False
        self.on_shown: Callable[[], Awaitable[None]] | None = None
        self._dirty = True
        self._stamp = 0
        self._forecast = Forecast()
        self._painting: Timer | None = None
        self._folder: Path | None = None
        self._styles: Mapping[StyleName, Style] | None = None

    # -- what screens read -------------------------------------------------------------------------------------

    @property
    def line_styles(self) -> Mapping[StyleName, Style]:
        """What the style names of lines look like in this theme, on this terminal."""
        if self._styles is None:
            self._styles = styles_for(self.theme_variables, colours=self.terminal.colours != "none")
        return self._styles

    @property
    def now_s(self) -> float:
        """The time, in seconds since 1970."""
        return self.clock()

    @property
    def outlook(self) -> Outlook | None:
        """What the run has still before it; at most a second old."""
        return self._forecast.of(self.feed, self.now_s)

    @property
    def time_left(self) -> Range | None:
        """The time until the end of the run; None where it cannot be known."""
        return found.left if (found := self.outlook) is not None else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What is unusual about this viewer, for the connection line."""
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
    def gave_back(self) -> bool:
        """Whether the terminal took all that was sent to it, so that it can be written to now."""
        return self.terminal_driver is None or self.terminal_driver.gave_back

    @property
    def is_at_work(self) -> bool:
        """Whether leaving leaves something behind that goes on."""
        at_end = self.feed.gone is not None or self.feed.view.finished is not None
        return self.source is not None and self.source.origin.pid is not None and not at_end

    @property
    def terminal_driver(self) -> TerminalDriver | None:
        """The terminal, where there is one: tests have none."""
        return self._driver if isinstance(self._driver, TerminalDriver) else None

    def begin(self) -> None:
        """Starts to paint."""
        self.theme_changed_signal.subscribe(self, lambda _: self._forget_styles())
        self.app_resume_signal.subscribe(self, lambda _: self.repaint_all())
        self.paint_at(self.rate_hz)
        self.set_interval(FOLDER_S, self.look_for_folder)
        if self.on_shown is not None:
            self.set_timer(SHOWN_S, self.on_shown)

    def _forget_styles(self) -> None:
        self._styles = None

    # -- the run ----------------------------------------------------------------------------------------------

    async def on_unmount(self) -> None:
        """Lets go of the run."""
        await self._close(self.source)

    async def _close(self, source: Source | None) -> None:
        if source is not None:
            with suppress(SourceError, OSError, TimeoutError):
                await asyncio.wait_for(source.close(), CLOSE_S)

    def open_run(self, opening: Opening, *, own: bool = False) -> None:
        """Shows another run instead of this one; `own`: it was started from here."""
        self.is_own, self.saw_end = own, False
        self.run_worker(self._follow(opening), exclusive=True, group="source")

    async def _follow(self, opening: Opening) -> None:
        """Folds everything that the source tells, a batch at a time."""
        before, self.source = self.source, None
        await self._close(before)
        self.feed, self._dirty = RunFeed(), True
        self._folder, self.folder_gone = None, False
        try:
            self.source = source = await opening()
            if source is None:
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
                    self._paint()
                if time.monotonic() > turn_s:
                    await asyncio.sleep(0)
                    turn_s = time.monotonic() + BATCH_S
        except (SourceError, StoreError) as error:
            self.feed = fold_event(self.feed, Gone(one_line(str(error), 400), lost=True))
            self._dirty = True
            self.tell(str(error), level="error")

    def _watch_end(self, before: RunFeed) -> None:
        """Tells the user when the run that is watched has ended, and leaves if that was waited for."""
        if self.is_own and self.feed.caught_up and self.feed.view.finished is not None:
            self.saw_end = True
        if (said := ending(before, self.feed)) is not None:
            self.saw_end = self.saw_end or self.feed.view.finished is not None
            kind = self.settings.notifications if self.settings is not None else "off"
            if self._driver is not None and (sent := announcement(said, kind, os.environ)):
                self._driver.write(sent)
        if self.leaves_at_end and not self.is_at_work:
            self.exit(int(Exit.OK))

    def look_for_folder(self) -> None:
        """Looks whether the run's folder is still there, where it is on this machine."""
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

    def _paint(self) -> None:
        if not self._running:  # timers go on while the screens are taken away, one by one
            return
        self._fit()
        stamp = int(self.now_s) if self.feed.is_live else int(self.now_s / 60)
        if self.frozen or not (self._dirty or stamp != self._stamp):
            return
        self._dirty, self._stamp = False, stamp
        self.paint_now()

    def paint_now(self) -> None:
        """Paints what is in front, and the screen that shows behind a dialog."""
        for screen in self._visible():
            if not screen.is_mounted:
                continue
            if isinstance(screen, RunScreen):
                screen.repaint()
            elif isinstance(screen, TinyScreen):
                screen.paint()
            for bar in screen.query(Bar):
                bar.repaint()

    def _visible(self) -> Sequence[Screen[Any]]:
        stack = self.screen_stack
        behind = next((at for at in range(len(stack) - 1, -1, -1) if not stack[at].is_modal), 0)
        return stack[-1:] if stack and isinstance(stack[-1], TinyScreen) else stack[behind:]

    def paint_at(self, rate_hz: float) -> None:
        """Repaints so often from now on."""
        self.rate_hz = rate_hz
        if self._painting is not None:
            self._painting.stop()
        self._painting = self.set_interval(1 / rate_hz, self._paint)

    def repaint_all(self) -> None:
        """Draws every cell again: frames were dropped, or another program wrote on the terminal."""
        if self._running and not self._exit:
            self._dirty = True
            self.screen.refresh(layout=True)

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        """Sends a frame, unless the terminal is behind: then none is sent until it can have a whole one."""
        driver = self.terminal_driver
        if renderable is not None and driver is not None and driver.is_backed_up:
            driver.dropped += 1
            return
        super()._display(screen, TightUpdate(renderable) if isinstance(renderable, ChopsUpdate) else renderable)

    async def send(self, command: cmd.Command) -> str | None:
        """Asks the run for something; None when it is in the journal, else why not, as a sentence to show."""
        if self.source is None:
            return "no run is open"
        try:
            await self.source.command(command)
        except SourceError as error:
            return one_line(str(error), 400)
        return None

    def tell(self, text: str, *, level: str = "info") -> None:
        """Shows a sentence for a few seconds: "info", "warning" or "error"."""
        severity = {"warning": "warning", "error": "error"}.get(level, "information")
        self.notify(one_line(text, 600), severity=severity, markup=False)  # type: ignore[arg-type]

    # -- sizes -------------------------------------------------------------------------------------------------

    async def _on_resize(self, event: events.Resize) -> None:
        event.prevent_default()
        event.stop()
        # A new one: what was prevented for the app is prevented for its screens too, which do have to hear of it.
        self._resize_event = events.Resize(event.size, event.virtual_size, event.container_size, event.pixel_size)
        is_first = self._size is None
        if not is_first and self._size == event.size:
            return
        self._size = event.size
        if is_first:
            self._check_resize()
        elif self._resize_timer is None:
            self._resize_timer = self.set_timer(1 / 120 if self.is_headless else RESIZE_S, self._take_size)

    def _take_size(self) -> None:
        self._check_resize()
        self._fit()

    def _fit(self) -> None:
        """One line instead of a screen where there is no room for one."""
        if not self.screen_stack or self._exit:
            return
        front = self.screen
        if is_tiny(*self.size):
            if not isinstance(front, TinyScreen) and not getattr(front, "FITS_ANYWHERE", False):
                self.push_screen(TinyScreen())
        elif isinstance(front, TinyScreen):
            self.pop_screen()

    def leave_with(self, code: int) -> None:
        """Leaves because of a signal, or because the terminal is gone."""
        self.exit(code, return_code=code)

    # -- a bug of ours -----------------------------------------------------------------------------------------

    def _handle_exception(self, error: Exception) -> None:
        if self.crash is None:
            self.crash = error
        super()._handle_exception(error)

    def panic(self, *renderables: RenderableType) -> None:
        """Ends without a word; whoever started the application says one line, and the log has the rest."""
        self._return_code = 1
        self._close_messages_no_wait()

    def _fatal_error(self) -> None:
        self._close_messages_no_wait()

    def _print_error_renderables(self) -> None:
        self._exit_renderables.clear()
