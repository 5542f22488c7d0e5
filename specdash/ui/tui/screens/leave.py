"""The leave menu: detach, or stop the sweep. Nothing on it that stops anything is done by Enter or by a second q."""

from __future__ import annotations

from typing import ClassVar, Literal

from textual.binding import Binding, BindingType

from specdash.ui.tui.lines import Line, fitted
from specdash.ui.tui.screens.dialog import LinesDialog

Choice = Literal["detach", "stop_after_load", "stop", "stay"]


class LeaveMenu(LinesDialog[Choice]):
    """Asks what is to become of the run that goes on; answers with a choice."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d,enter", "choose('detach')", "Detach, the sweep goes on", id="leave.detach"),
        Binding("s", "choose('stop_after_load')", "Stop after this load", id="leave.stop_after_load"),
        Binding("k", "choose('stop')", "Stop now", id="leave.stop"),
        Binding("escape,q", "choose('stay')", "Stay", id="leave.stay"),
    ]

    def content(self, width: int, height: int) -> list[Line]:
        """The choices, in words where there is room for them."""
        glyphs = self.dashboard.terminal.glyphs
        if height < 4 or width < 12:
            line: Line = (
                ("d", "key"),
                (" detach " if width >= 34 else " ", ""),
                ("s k", "key"),
                (" stop ", ""),
                ("esc", "key"),
                (" stay", ""),
            )
            return [fitted(line, width, glyphs.ellipsis)]
        if width < 40:
            short = (("d", "detach"), ("s", "stop after load"), ("k", "stop now"), ("esc", "stay"))
            return [fitted(((key, "key"), (f" {words}", "")), width, glyphs.ellipsis) for key, words in short]
        lines: list[Line] = [
            (("Leave: the sweep is running", "title"),),
            (),
            (("  d  ", "key"), ("detach, the sweep goes on (default)", "")),
            (("  s  ", "key"), ("stop once the steps of this server load are done", "")),
            (("  k  ", "key"), ("stop now: the request in flight is lost, samples are kept", "")),
            ((" esc ", "key"), ("stay", "")),
        ]
        return [fitted(line, width, glyphs.ellipsis) for line in lines][-height:]

    def action_choose(self, choice: Choice) -> None:
        """One was chosen."""
        self.dismiss(choice)
