"""A list of which several can be chosen, drawn like everything else: own lines, own signs, nothing read as markup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from specdash.core.text import one_line
from specdash.ui.tui.lines import LinesWidget, Span
from specdash.ui.tui.table import FILL, Column, Position, WindowTable, pad_line
from specdash.ui.tui.terminal import Glyphs

WHEEL = 3


@dataclass(frozen=True, slots=True)
class Item:
    """One line: what it stands for (None: the absence of one), how it is called, and why it cannot be chosen."""

    value: str | None
    label: str
    why_not: str | None = None
    note: str = ""


class Picker(LinesWidget, can_focus=True):
    """Choose among items with space or the mouse; every change is told."""

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
        self.chosen: set[str | None] = set()
        self._glyphs = glyphs
        self._position = Position()
        self._table = self._table_of(())

    def _table_of(self, items: Sequence[Item]) -> WindowTable[Item]:
        by_key = {item.value or "": item for item in items}
        return WindowTable((Column("item", "", self._cell, 1, FILL),), tuple(by_key), by_key.__getitem__)

    @property
    def items(self) -> tuple[Item, ...]:
        """What can be chosen from."""
        return tuple(self._table.row(key) for key in self._table.keys)

    @property
    def values(self) -> tuple[str | None, ...]:
        """What is chosen and can be, in the order of the list."""
        return tuple(item.value for item in self.items if item.value in self.chosen and item.why_not is None)

    def offer(self, items: Sequence[Item]) -> None:
        """Show these items; what was chosen stays so."""
        self._table = self._table_of(items)
        self.repaint()

    def repaint(self) -> None:
        """Draw the window of the list."""
        width, height = self.size
        if width < 1 or height < 1:
            self.show([])
            return
        head = pad_line(f"{self.title}  {len(self.values)} of {len(self.items)}", width, self._glyphs)
        self._position = self._table.settled(self._position, height - 1)
        shown = self._position if self.has_focus else replace(self._position, cursor=None)
        rows = self._table.lines(shown, self._table.layout(width), height - 1, width, self._glyphs)
        self.show([((head, "title" if self.has_focus else "dim"),), *rows])

    def _cell(self, item: Item) -> Span:
        is_chosen = item.value in self.chosen and item.why_not is None
        box = "[x]" if is_chosen else " - " if item.why_not is not None else "[ ]"
        note = item.why_not or item.note
        text = f"{box} {one_line(item.label, 80)}" + (f"  {one_line(note, 120)}" if note else "")
        return text, "dim" if item.why_not is not None else "accent" if is_chosen else ""

    def on_resize(self, event: events.Resize) -> None:
        """Draw the list for another size."""
        self.repaint()

    def on_focus(self) -> None:
        """Show the cursor."""
        self.call_next(self.repaint)  # Textual notes the focus after this handler

    def on_blur(self) -> None:
        """Show no cursor."""
        self.call_next(self.repaint)

    def action_move(self, by: int) -> None:
        """Move the cursor up or down."""
        self._position = self._table.moved(self._position, by)
        self.repaint()

    def action_choose(self) -> None:
        """Choose the item under the cursor, or not any more."""
        item = self._table.row(self._position.cursor) if self._position.cursor is not None else None
        if item is not None and item.why_not is None:
            self.chosen ^= {item.value}
            self._tell()

    def action_choose_all(self) -> None:
        """Choose everything that can be chosen, or nothing."""
        every = {item.value for item in self.items if item.why_not is None}
        self.chosen = set() if every <= self.chosen else self.chosen | every
        self._tell()

    def _tell(self) -> None:
        self.repaint()
        self.post_message(self.Changed(self))

    def on_click(self, event: events.Click) -> None:
        """Choose what was clicked."""
        key = self._table.key_at(self._position, event.y - 1, self.size.height - 1)
        if key is not None:
            self._position = replace(self._position, cursor=key)
            self.action_choose()
        self.repaint()

    def on_mouse_scroll_down(self) -> None:
        """The wheel."""
        self.action_move(WHEEL)

    def on_mouse_scroll_up(self) -> None:
        """The wheel."""
        self.action_move(-WHEEL)
