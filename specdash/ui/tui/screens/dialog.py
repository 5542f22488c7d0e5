"""Lines in a box over the screen below, which fill the whole terminal where that is small."""

from __future__ import annotations

from typing import Generic, TypeVar

from textual import events
from textual.app import ComposeResult
from textual.screen import ModalScreen

from specdash.ui.tui.context import DashboardPart
from specdash.ui.tui.lines import Line, LinesWidget, width_of

Result = TypeVar("Result")
BOX_LEAST = (44, 10)


class LinesDialog(DashboardPart, ModalScreen[Result], Generic[Result]):
    """A dialog that is made of lines and answered by keys; it can be drawn at every size."""

    DEFAULT_CSS = """
    LinesDialog { align: center middle; }
    LinesDialog #box { width: 1fr; height: 1fr; background: $surface; }
    LinesDialog.-boxed #box { width: auto; height: auto; max-width: 95%; max-height: 95%; }
    LinesDialog.-boxed #box { border: ascii $foreground; padding: 0 1; }
    """
    FITS_ANYWHERE = True

    def compose(self) -> ComposeResult:
        """One widget."""
        yield LinesWidget(id="box")

    def content(self, width: int, height: int) -> list[Line]:
        """The lines for so much room."""
        raise NotImplementedError

    def paint(self) -> None:
        """Shows the lines that fit the terminal."""
        box = next(iter(self.query("#box").results(LinesWidget)), None)
        if not self.is_mounted or box is None:  # it may have been answered before it was drawn
            return
        width, height = self.size
        boxed = width >= BOX_LEAST[0] and height >= BOX_LEAST[1]
        self.set_class(boxed, "-boxed")
        room = (int(width * 0.95) - 4, int(height * 0.95) - 2) if boxed else (width, height)
        lines = self.content(*room)
        if boxed:
            box.styles.width = min(room[0], max((width_of(line) for line in lines), default=1)) + 4
        else:
            box.styles.width = "1fr"
        box.show(lines)

    def on_mount(self) -> None:
        """It is shown."""
        self.call_after_refresh(self.paint)

    def on_resize(self, event: events.Resize) -> None:
        """The terminal has another size."""
        self.call_after_refresh(self.paint)
