"""A field of one line that stays usable whatever is pasted into it."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input

from specdash.core.text import plain

LIMIT = 1000


class Field(Input):
    """An input that keeps the first line of what is pasted, without control characters, and no more than its limit."""

    class Cut(Message):
        """More was pasted than there is room for; `kept` characters of `pasted` were kept."""

        def __init__(self, kept: int, pasted: int) -> None:
            super().__init__()
            self.kept = kept
            self.pasted = pasted

        @property
        def sentence(self) -> str:
            """What happened, for the person who pasted."""
            return f"{self.pasted:,} characters were pasted; the first {self.kept:,} that fit were kept"

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "submit", "Accept")]
    DEFAULT_CSS = "Field, Field:focus { border: none; height: 1; padding: 0 1; }"

    def __init__(self, name_id: str, *, placeholder: str = "", value: str = "", limit: int = LIMIT) -> None:
        super().__init__(id=name_id, placeholder=placeholder, value=value, max_length=limit, compact=True)
        self.limit = limit

    def on_paste(self, event: events.Paste) -> None:
        """Takes the first line that is pasted, without control characters, as far as there is room."""
        # The base class would refuse the whole of a text that is too long, and take control characters as they are.
        event.stop()
        event.prevent_default()
        line = event.text[: 4 * self.limit].strip("\r\n").partition("\n")[0].rstrip("\r")
        selected = abs(self.selection.end - self.selection.start)
        room = max(0, self.limit - len(self.value) + selected)
        text = plain(line.replace("\t", " "))[:room]
        self.replace(text, *self.selection)
        if len(text) < len(event.text.strip("\r\n")):
            self.post_message(self.Cut(len(text), len(event.text)))
