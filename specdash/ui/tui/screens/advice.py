"""The window on a recommendation: everything about one target, and its command line for the clipboard."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.binding import Binding, BindingType

from specdash.report import text
from specdash.ui.tui.lines import Line, fitted
from specdash.ui.tui.panes.advice import recommendation_details
from specdash.ui.tui.recommendations import Recommendations, TargetRecommendations
from specdash.ui.tui.widgets.dialog import READABLE, StepWindow

WIDEST = READABLE * 2  # a command line is read, and pasted, more easily on few lines


class AdviceWindow(StepWindow):
    """One target at a time; `advice_of` gives what is known at the moment, `target` is shown first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "copy", "Copy the command line", id="advice.copy"),
        Binding("right,l,tab", "turn(1)", "Next target", id="advice.next"),
        Binding("left,h,shift+tab", "turn(-1)", "Previous target", id="advice.previous"),
        Binding("a", "close", "Back", id="advice.close"),
    ]

    def __init__(self, advice_of: Callable[[], Recommendations], target: str = "") -> None:
        super().__init__(self._everything)
        self._advice_of = advice_of
        self._target = target
        self._at: int | None = None

    def content(self, width: int, height: int) -> list[Line]:
        """The target's lines, and the keys at the bottom."""
        lines = super().content(min(width, WIDEST), height)
        if height <= 2:
            return lines
        glyphs = self.dashboard.terminal.glyphs
        count = len(self._advice_of().groups)
        keys: Line = (*lines[-1], ("   y", "key"), (" copy", ""))
        if count > 1:
            keys = (*keys, (f"   {'<>' if glyphs.is_ascii else '←→'}", "key"), (f" {self._place() + 1} of {count}", ""))
        return [*lines[:-1], fitted(keys, width, glyphs.ellipsis)]

    def _everything(self, width: int) -> list[Line]:
        group = self._group()
        if group is None:
            return [((" nothing is known yet", "dim"),)]
        return recommendation_details(group, width, is_over=self._advice_of().is_over)

    def _place(self) -> int:
        groups = self._advice_of().groups
        if self._at is None:
            self._at = next((at for at, group in enumerate(groups) if group.target == self._target), 0)
        return min(self._at, max(0, len(groups) - 1))

    def _group(self) -> TargetRecommendations | None:
        groups = self._advice_of().groups
        return groups[self._place()] if groups else None

    def action_turn(self, by: int) -> None:
        """Another target."""
        count = len(self._advice_of().groups)
        if count:
            self._at, self._top = (self._place() + by) % count, 0
            self.paint()

    def action_copy(self) -> None:
        """The command line, whole, to the clipboard of the terminal."""
        group = self._group()
        overall = group.overall if group is not None else None
        command = text.command(overall) if overall is not None else ""
        if not command:
            self.dashboard.tell("there is no command line to copy")
            return
        self.app.copy_to_clipboard(command)
        self.dashboard.tell(f"copied: the command line, {len(command.encode())} bytes (if the terminal allows it)")
