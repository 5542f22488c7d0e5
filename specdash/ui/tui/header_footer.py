"""What stands above and below every screen: the header, a banner when the engine has gone, the connection, the keys.

A screen yields `Top()` first and `Bottom()` last and paints the rest; the application paints these.
"""

from __future__ import annotations

from textual import events
from textual.binding import Binding

from specdash.ui.tui.context import DashboardPart
from specdash.ui.tui.keys import long_name
from specdash.ui.tui.lines import Line, LinesWidget, Span, fitted, width_of
from specdash.ui.tui.panes.header import banner, connection, header
from specdash.ui.tui.terminal import Glyphs

LAST_ACTIONS = ("leave", "command_palette", "help")

Keys = tuple[str, str, str]  # as it is shown, what it does, as Textual names it


class Bar(DashboardPart, LinesWidget):
    """A few lines that show the application's state; `repaint` brings them up to date."""

    ALLOW_SELECT = False

    def on_mount(self) -> None:
        """Paint once it is laid out."""
        self.call_after_refresh(self.repaint)

    def on_resize(self, event: events.Resize) -> None:
        """Paint for another width."""
        self.repaint()

    def repaint(self) -> None:
        """Paints, unless the first frame waits for the run."""
        if not self.dashboard.is_holding:
            self.paint()

    def paint(self) -> None:
        """Show the current lines."""


class Top(Bar):
    """The first line of a screen, and a second one when the engine has gone."""

    DEFAULT_CSS = "Top { dock: top; height: auto; min-height: 1; width: 1fr; }"

    def paint(self) -> None:
        """Show the feed's header."""
        app = self.dashboard
        glyphs = app.terminal.glyphs
        lines = [header(app.feed, self.size.width, app.now_s, glyphs, app.time_left, own=app.is_own)]
        gone = banner(app.feed, self.size.width, glyphs)
        self.show(lines if gone is None else [*lines, gone])


class Bottom(Bar):
    """The connection and the keys that apply here; a key can be clicked."""

    DEFAULT_CSS = "Bottom { dock: bottom; height: 2; width: 1fr; }"

    def __init__(self) -> None:
        super().__init__()
        self._places: list[tuple[int, int, str]] = []

    def on_mount(self) -> None:
        """Repaint when the keys change, as they do with the focus."""
        self.screen.bindings_updated_signal.subscribe(self, lambda _: self.repaint())
        super().on_mount()

    def paint(self) -> None:
        """Show the connection and the keys."""
        app, width = self.dashboard, self.size.width
        glyphs = app.terminal.glyphs
        line, self._places = key_line(*self._keys(), width, glyphs)
        self.show([connection(app.feed, width, glyphs, app.rate_hz, app.notes), line])

    def _keys(self) -> tuple[list[Keys], list[Keys]]:
        """Return the keys to show: the screen's own and the other screens'; then leaving, palette and help."""
        found: dict[str, Keys] = {}
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if binding.show and binding.description and active.enabled and binding.action not in found:
                display = self._display(binding)
                if display is not None:
                    found[binding.action] = (display, binding.description, binding.key)
        last = [found.pop(action) for action in LAST_ACTIONS if action in found]
        return list(found.values()), last

    def _display(self, binding: Binding) -> str | None:
        """Return the name of a binding's key, in letters where the sign may be missing; None: it is text now."""
        display = self.app.get_key_display(binding)
        focused = self.screen.focused
        is_character = len(display) == 1 and display.isascii()
        if is_character and focused is not None and focused.check_consume_key(display, display):
            # A field takes the key as text: another key of the same action stands for it.
            return binding.key if binding.key != long_name(display) else None
        return display if display.isascii() or not self.dashboard.terminal.glyphs.is_ascii else binding.key.title()

    async def on_click(self, event: events.Click) -> None:
        """Press the key that was clicked."""
        if event.y == 1:
            for first, last, key in self._places:
                if first <= event.x < last:
                    self.app.simulate_key(key)


def key_line(keys: list[Keys], last: list[Keys], width: int, glyphs: Glyphs) -> tuple[Line, list[tuple[int, int, str]]]:
    """Return the keys in one line, never cut within a word, and the cells of each.

    Those that are `last` have a place before any other, the very last one before all.
    """
    size = {key: width_of(((f" {key[0]} {key[1]} ", ""),)) for key in (*keys, *last)}
    kept = list(last)
    while len(kept) > 1 and sum(size[key] for key in kept) > width:
        kept.pop(0)
    room = width - sum(size[key] for key in kept)
    shown: list[Keys] = []
    for key in keys:
        if size[key] > room:
            break
        room -= size[key]
        shown.append(key)
    line: list[Span] = []
    places: list[tuple[int, int, str]] = []
    at = 0
    for key in [*shown, *kept]:
        line += [(" ", ""), (key[0], "key"), (f" {key[1]} ", "")]
        places.append((at, at + size[key], key[2]))
        at += size[key]
    return fitted(tuple(line), width, glyphs.ellipsis), places
