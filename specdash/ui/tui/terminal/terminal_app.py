"""Textual's App as the dashboard uses it: frames that are dropped, sizes that settle, an end without a traceback."""

from __future__ import annotations

from typing import Any

from rich.console import RenderableType
from textual import events
from textual._compositor import ChopsUpdate
from textual.app import App
from textual.keys import _character_to_key
from textual.screen import Screen

from specdash.ui.tui.terminal.diff_update import TightUpdate
from specdash.ui.tui.terminal.driver import TerminalDriver
from specdash.ui.tui.terminal.facts import Terminal
from specdash.ui.tui.terminal.theme import Colourless

RESIZE_S = 0.1  # a window that is dragged sends dozens of sizes; only the last one is drawn
HEADLESS_RESIZE_S = 1 / 120


class TerminalApp(App[int]):
    """An application on a terminal of `TerminalDriver`. `crash` is the exception that ended it, if one did."""

    def __init__(self, terminal: Terminal) -> None:
        colourless = terminal.colours == "none"
        super().__init__(driver_class=TerminalDriver, ansi_color=True if colourless else None)
        if colourless:
            self._filters[:] = [Colourless()]
        self.terminal = terminal
        self.crash: BaseException | None = None

    @property
    def terminal_driver(self) -> TerminalDriver | None:
        """Return the terminal, where there is one: tests have none."""
        return self._driver if isinstance(self._driver, TerminalDriver) else None

    @property
    def gave_back(self) -> bool:
        """Return whether the terminal took all that was sent to it, so that it can be written to now."""
        return self.terminal_driver is None or self.terminal_driver.gave_back

    @property
    def has_screens(self) -> bool:
        """Return whether there are screens to paint: while an application ends they go one by one, and timers go on."""
        return self._running

    @property
    def is_leaving(self) -> bool:
        """Return whether it was told to end."""
        return self._exit

    @property
    def keys_by_id(self) -> dict[str, str]:
        """Return the user's keys, by the ids of their bindings."""
        return dict(self._keymap)

    def write_to_terminal(self, sequence: str) -> None:
        """Send a control sequence, such as the bell."""
        if self._driver is not None:
            self._driver.write(sequence)

    def repaint_all(self) -> None:
        """Draw every cell again: frames were dropped, or another program wrote on the terminal."""
        if self.has_screens and not self.is_leaving:
            self.screen.refresh(layout=True)

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        """Send a frame, unless the terminal is behind: then none is sent until it can have a whole one."""
        driver = self.terminal_driver
        if renderable is not None and driver is not None and driver.is_backed_up:
            driver.dropped += 1
            return
        super()._display(screen, TightUpdate(renderable) if isinstance(renderable, ChopsUpdate) else renderable)

    # -- sizes -------------------------------------------------------------------------------------------------

    def resized(self) -> None:
        """Act on a new size, once it has settled."""

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
            delay_s = HEADLESS_RESIZE_S if self.is_headless else RESIZE_S
            self._resize_timer = self.set_timer(delay_s, self._take_size)

    def _take_size(self) -> None:
        self._check_resize()
        self.resized()

    # -- the end -----------------------------------------------------------------------------------------------

    def leave_with(self, code: int) -> None:
        """Leave because of a signal, or because the terminal is gone."""
        self.exit(code, return_code=code)

    def _handle_exception(self, error: Exception) -> None:
        if self.crash is None:
            self.crash = error
        super()._handle_exception(error)

    def panic(self, *renderables: RenderableType) -> None:
        """End silently; whoever started the application prints one line, and the log has the rest."""
        self._return_code = 1
        self._close_messages_no_wait()

    def _fatal_error(self) -> None:
        self._close_messages_no_wait()

    def _print_error_renderables(self) -> None:
        self._exit_renderables.clear()


def key_of_character(character: str) -> str:
    """Return a character as Textual names its key: "?" is "question_mark"."""
    return _character_to_key(character)
