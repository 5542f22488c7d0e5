"""The help overlay: the keys of this screen, then of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType

from specdash.ui.tui.keys import APP, Act, shown
from specdash.ui.tui.lines import Line, fitted
from specdash.ui.tui.screens.dialog import LinesDialog

KEY_COLUMN = 16


class HelpScreen(LinesDialog[None]):
    """Lists keys; `here` is the screen that was in front."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,f1", "close", "Close", id="help.close"),
        Binding("tab", "all", "All screens, or this one", id="help.all"),
        Binding("j,down", "scroll(1)", "Down", id="help.down"),
        Binding("k,up", "scroll(-1)", "Up", id="help.up"),
        Binding("pagedown,space", "scroll(10)", "Page down", id="help.page_down"),
        Binding("pageup", "scroll(-10)", "Page up", id="help.page_up"),
        Binding("g,home", "scroll(-10000)", "To the beginning", id="help.home"),
        Binding("G,end", "scroll(10000)", "To the end", id="help.end"),
    ]

    def __init__(self, here: str, acts: Sequence[Act]) -> None:
        super().__init__()
        self._here = here
        self._acts = acts
        self._is_all = False
        self._first = 0

    def content(self, width: int, height: int) -> list[Line]:
        """A window on the list, with a line that tells how to go on."""
        glyphs = self.dashboard.terminal.glyphs
        lines = self._list()
        room = max(1, height - 2)
        self._first = max(0, min(self._first, len(lines) - room))
        shown = lines[self._first : self._first + room]
        rest = len(lines) - self._first - len(shown)
        more = f"{rest} more below (j)" if rest else "end" if self._first else ""
        whole = "this screen" if self._is_all else "all screens"
        last: Line = (("tab", "key"), (f" {whole}  ", ""), ("esc", "key"), (" close  ", ""), (more, "dim"))
        wide = max(min(60, width), 1)
        return [fitted(line, wide, glyphs.ellipsis) for line in [*shown, (), last]][: max(1, height)]

    def _list(self) -> list[Line]:
        places = list(dict.fromkeys(act.where for act in self._acts))
        order = (
            [self._here, APP] if not self._is_all else [self._here, *(each for each in places if each != self._here)]
        )
        is_ascii = self.dashboard.terminal.glyphs.is_ascii
        lines: list[Line] = []
        for place in dict.fromkeys(order):
            acts = [act for act in self._acts if act.where == place]
            if not acts:
                continue
            lines += [()] if lines else []
            lines.append(((place.capitalize(), "title"),))
            for act in acts:
                keys = " ".join(shown(key, is_ascii=is_ascii) for key in act.keys.split(","))
                name = f"  {act.id}" if self._is_all else ""  # what [keys] in the settings calls it
                lines.append((("  ", ""), (f"{keys:<{KEY_COLUMN}} ", "key"), (act.description, ""), (name, "dim")))
        return lines

    def action_close(self) -> None:
        """Back to where it came from."""
        self.dismiss(None)

    def action_all(self) -> None:
        """All keys, or only those of this screen."""
        self._is_all = not self._is_all
        self._first = 0
        self.paint()

    def action_scroll(self, lines: int) -> None:
        """Moves the window."""
        self._first += lines
        self.paint()
