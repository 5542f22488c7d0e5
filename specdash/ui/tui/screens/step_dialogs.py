"""The windows of the main screen: a question with what it costs, and everything about one step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType

from specdash.ui.tui.lines import Line, fitted
from specdash.ui.tui.panes.pane import paragraph
from specdash.ui.tui.screens.dialog import LinesDialog

READABLE = 72  # cells; longer lines are tiring to read


class Question(LinesDialog[bool]):
    """Asks something that is answered by y or n; Enter is no answer, so that nothing is stopped by mistake."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes", id="question.yes"),
        Binding("n,escape,q", "answer(False)", "No", id="question.no"),
    ]

    def __init__(self, question: str, costs: Sequence[str]) -> None:
        super().__init__()
        self._question = question
        self._costs = tuple(costs)

    def content(self, width: int, height: int) -> list[Line]:
        """The question, what it costs, and the keys, which stand first where there is hardly any room."""
        glyphs = self.dashboard.terminal.glyphs
        keys: Line = (("y", "key"), (" yes   ", ""), ("n", "key"), (" no", ""))
        room = max(1, min(width, READABLE))
        lines = list(paragraph(self._question, room, "title", 0))
        if height <= len(lines) + 1:
            return [fitted(line, width, glyphs.ellipsis) for line in (keys, *lines)][: max(1, height)]
        for cost in self._costs:
            lines += paragraph(cost, room, "", 0)
        return [*lines[: height - 2], (), keys]

    def action_answer(self, yes: bool) -> None:
        """It was answered."""
        self.dismiss(yes)


class StepWindow(LinesDialog[None]):
    """Lines that can be longer than the window; `lines_of` makes them for a width."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "scroll(1)", "Down", id="step.down"),
        Binding("up,k", "scroll(-1)", "Up", id="step.up"),
        Binding("pagedown,space", "scroll(15)", "Page down", id="step.page_down"),
        Binding("pageup", "scroll(-15)", "Page up", id="step.page_up"),
        Binding("home,g", "scroll(-1000000)", "First line", id="step.first"),
        Binding("end,G", "scroll(1000000)", "Last line", id="step.last"),
        Binding("escape,enter,q", "close", "Back", id="step.close"),
    ]

    def __init__(self, lines_of: Callable[[int], Sequence[Line]]) -> None:
        super().__init__()
        self._lines_of = lines_of
        self._top = 0

    def content(self, width: int, height: int) -> list[Line]:
        """The lines from where one has scrolled to, and how to go on."""
        glyphs = self.dashboard.terminal.glyphs
        lines = self._lines_of(width)
        rows = height - 1 if height > 2 else height
        self._top = max(0, min(self._top, len(lines) - rows))
        shown = [fitted(line, width, glyphs.ellipsis) for line in lines[self._top : self._top + rows]]
        if height <= 2:
            return shown
        more = len(lines) - self._top - rows
        keys: Line = (("esc", "key"), (" back   ", ""), (f"{glyphs.up}{glyphs.down}", "key"))
        return [*shown, (*keys, (f" {more} more lines" if more > 0 else " end", "dim"))]

    def action_scroll(self, by: int) -> None:
        """Shows what is further down, or up."""
        self._top += by
        self.paint()

    def action_close(self) -> None:
        """Back to the screen."""
        self.dismiss(None)

    def on_mouse_scroll_down(self) -> None:
        """The wheel."""
        self.action_scroll(3)

    def on_mouse_scroll_up(self) -> None:
        """The wheel."""
        self.action_scroll(-3)
