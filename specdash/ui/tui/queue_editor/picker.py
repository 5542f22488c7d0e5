"""A list of which several can be chosen, drawn like everything else: own lines, own signs, nothing read as markup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from specdash.core.text import one_line
from specdash.ui.tui.lines import Line, LinesWidget
from specdash.ui.tui.panes.pane import cell
from specdash.ui.tui.terminal import Glyphs
from specdash.ui.tui.terminal.theme import StyleName

WHEEL = 3


@dataclass(frozen=True, slots=True)
class Item:
    """One line: what it stands for (None: the absence of one), how it is called, and why it cannot be chosen."""

    value: str | None
    label: str
    why_not: str | None = None
    note: str = ""


class Picker(LinesWidget, can_focus=True):
    """Chooses among items with space or the mouse; tells about every change."""

    class Changed(Message):
        """Something was chosen, or chosen no more."""

        def __init__(self, picker: Picker) -> None:
            super().__init__()
            self.picker = picker

    ALLOW_SELECT = False
    DEFAULT_CSS = "Picker { height: 1fr; width: 1fr; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("pagedown", "move(10)", "Page down", show=False),
        Binding("pageup", "move(-10)", "Page up", show=False),
        Binding("home", "move(-100000)", "First", show=False),
        Binding("end", "move(100000)", "Last", show=False),
        Binding("space", "choose", "Choose", show=False),
        Binding("asterisk", "choose_all", "Choose all or none", show=False),
    ]

    def __init__(self, title: str, glyphs: Glyphs, name_id: str) -> None:
        super().__init__(id=name_id)
        self.title = title
        self.items: tuple[Item, ...] = ()
        self.chosen: set[str | None] = set()
        self._glyphs = glyphs
        self._at = 0
        self._top = 0

    @property
    def values(self) -> tuple[str | None, ...]:
        """What is chosen and can be, in the order of the list."""
        return tuple(item.value for item in self.items if item.value in self.chosen and item.why_not is None)

    def offer(self, items: Sequence[Item]) -> None:
        """Shows these items; what was chosen stays so."""
        under = self.items[self._at].value if self._at < len(self.items) else None
        self.items = tuple(items)
        self._at = next((at for at, item in enumerate(self.items) if item.value == under), 0)
        self.repaint()

    def repaint(self) -> None:
        """Draws the window of the list."""
        self.show(self._content(self.size.width, self.size.height))

    def _content(self, width: int, height: int) -> list[Line]:
        if width < 1 or height < 1:
            return []
        count = len(self.values)
        head = cell(f"{self.title}  {count} of {len(self.items)}", width, self._glyphs)
        lines: list[Line] = [((head, "title" if self.has_focus else "dim"),)]
        rows = height - 1
        self._top = max(0, min(max(self._top, self._at - rows + 1), self._at, len(self.items) - rows))
        window = range(self._top, min(self._top + rows, len(self.items)))
        return [*lines, *(self._row(self.items[at], at == self._at and self.has_focus, width) for at in window)]

    def _row(self, item: Item, here: bool, width: int) -> Line:
        is_chosen = item.value in self.chosen and item.why_not is None
        box = "[x]" if is_chosen else " - " if item.why_not is not None else "[ ]"
        note = item.why_not or item.note
        sign = self._glyphs.cursor if here else " "
        text = f"{sign}{box} {one_line(item.label, 80)}" + (f"  {one_line(note, 120)}" if note else "")
        style: StyleName = "cursor" if here else "dim" if item.why_not is not None else "accent" if is_chosen else ""
        return ((cell(text, width, self._glyphs), style),)

    def on_resize(self, event: events.Resize) -> None:
        """It has another size."""
        self.repaint()

    def on_focus(self) -> None:
        """It takes the keys."""
        self.call_next(self.repaint)  # Textual notes the focus after this handler

    def on_blur(self) -> None:
        """It takes the keys no more."""
        self.call_next(self.repaint)

    def action_move(self, by: int) -> None:
        """The cursor goes up or down."""
        self._at = max(0, min(len(self.items) - 1, self._at + by))
        self.repaint()

    def action_choose(self) -> None:
        """Chooses the item under the cursor, or not any more."""
        if self._at < len(self.items) and self.items[self._at].why_not is None:
            self.chosen ^= {self.items[self._at].value}
            self._tell()

    def action_choose_all(self) -> None:
        """Chooses everything that can be chosen, or nothing."""
        every = {item.value for item in self.items if item.why_not is None}
        self.chosen = set() if every <= self.chosen else self.chosen | every
        self._tell()

    def _tell(self) -> None:
        self.repaint()
        self.post_message(self.Changed(self))

    def on_click(self, event: events.Click) -> None:
        """Chooses what was clicked."""
        at = self._top + event.y - 1
        if event.y >= 1 and at < len(self.items):
            self._at = at
            self.action_choose()
        self.repaint()

    def on_mouse_scroll_down(self) -> None:
        """The wheel."""
        self.action_move(WHEEL)

    def on_mouse_scroll_up(self) -> None:
        """The wheel."""
        self.action_move(-WHEEL)
