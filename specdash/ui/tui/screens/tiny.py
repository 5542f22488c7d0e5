"""A terminal with room for one line: the state of the run over any screen, until there is room again."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

from specdash.ui.tui.lines import LinesWidget
from specdash.ui.tui.panes.header import run_name, status_line
from specdash.ui.tui.screen import PaintedScreen

LEAST_WIDTH = 40
LEAST_HEIGHT = 10


def is_tiny(width: int, height: int) -> bool:
    """Whether there is no room for a screen."""
    return width < LEAST_WIDTH or height < LEAST_HEIGHT


class TinyScreen(PaintedScreen, ModalScreen[None]):
    """One line; only leaving, detaching and help work, so that no key acts on what cannot be seen."""

    DEFAULT_CSS = "TinyScreen { background: $background; } TinyScreen #line { height: 1fr; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "app.leave", "Leave", id="tiny.leave"),
        Binding("d", "app.detach", "Detach", id="tiny.detach"),
        Binding("question_mark,f1", "app.help", "Help", id="tiny.help"),
    ]

    def compose(self) -> ComposeResult:
        """One widget."""
        yield LinesWidget(id="line")

    def paint(self) -> None:
        """Shows the line, and below it what there is room for."""
        app = self.dashboard
        width, height = self.size
        glyphs = app.terminal.glyphs
        lines = [status_line(app.feed, width, glyphs, app.time_left)]
        if height >= 3 and width >= 16:
            lines += [
                ((run_name(app.feed.view)[:width], "dim"),),
                (("q", "key"), (" leave ", ""), ("d", "key"), (" detach", "")),
            ]
        self.query_one("#line", LinesWidget).show(lines)
