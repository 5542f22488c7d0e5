"""Forms: fields with labels, what they would do or what is wrong with them, and a line of keys.

A form is a `FormDialog` with `compose_fields` and `evaluate`. A field of text is a `TextField`; lists to choose from
may stand between. `Form` is one of text fields alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Input

from specdash.core.queue import IllegalEdit
from specdash.core.text import one_line, plain
from specdash.ui.tui.context import DashboardPart
from specdash.ui.tui.lines import Line, LinesWidget, fitted
from specdash.ui.tui.panes.pane import paragraph
from specdash.ui.tui.terminal.theme import StyleName
from specdash.ui.tui.widgets.dialog import key_hints

LIMIT = 1000
MESSAGE_LIMIT = 400
GOOD: StyleName = "accent"
WRONG: StyleName = "bad"

Values = tuple[str, ...]
Result = TypeVar("Result")


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
            """Return what happened, for the person who pasted."""
            return f"{self.pasted:,} characters were pasted; the first {self.kept:,} that fit were kept"

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "submit", "Accept")]
    DEFAULT_CSS = "Field, Field:focus { border: none; height: 1; padding: 0 1; }"

    def __init__(self, name_id: str, *, placeholder: str = "", value: str = "", limit: int = LIMIT) -> None:
        super().__init__(id=name_id, placeholder=placeholder, value=value, max_length=limit, compact=True)
        self.limit = limit

    def on_paste(self, event: events.Paste) -> None:
        """Take the first line that is pasted, without control characters, as far as there is room."""
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


@dataclass(frozen=True, slots=True)
class TextField:
    """One field: its name in words, what stands in it, and what stands there while it is empty."""

    label: str
    value: str = ""
    placeholder: str = ""
    limit: int = LIMIT

    def compose(self, name_id: str) -> ComposeResult:
        """Yield the label and the field beside it."""
        label = LinesWidget(classes="form-label")
        label.show([((f" {self.label}", "dim"),)])
        with Horizontal(classes="form-field"):
            yield label
            yield Field(name_id, value=self.value, placeholder=self.placeholder, limit=self.limit)


class FormDialog(DashboardPart, ModalScreen[Result | None], Generic[Result]):
    """Answers with what its fields mean; None when it was left. Enter accepts only what can be."""

    WIDTH: ClassVar[int | None] = 72  # of the box; None: it fills the terminal
    MESSAGE_ROWS: ClassVar[int] = 1
    KEYS: ClassVar[tuple[tuple[str, str], ...]] = (("enter", "accept"), ("esc", "cancel"))
    DEFAULT_CSS = """
    FormDialog { align: center middle; }
    FormDialog #form { width: 100%; height: 100%; background: $background; }
    FormDialog.-boxed #form { max-width: 100%; height: auto; max-height: 100%; background: $surface; }
    FormDialog.-boxed #form { border: ascii $foreground; }
    FormDialog .form-field { height: 1; }
    FormDialog .form-label { width: 12; }
    FormDialog #form-title, FormDialog #form-keys { height: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "accept", "Accept", id="form.accept", priority=True),
        Binding("escape,q", "leave", "Cancel", id="form.leave"),
        Binding("tab", "app.focus_next", "Next field", show=False, priority=True),
        Binding("shift+tab", "app.focus_previous", "Previous field", show=False, priority=True),
    ]

    def __init__(self, title: str) -> None:
        super().__init__()
        self.heading = title
        self._pending = False
        self.set_class(self.WIDTH is not None, "-boxed")

    def compose(self) -> ComposeResult:
        """Yield title, fields, message and keys."""
        box = Vertical(id="form")
        if self.WIDTH is not None:
            box.styles.width = self.WIDTH
        with box:
            yield LinesWidget(id="form-title")
            yield from self.compose_fields()
            yield LinesWidget(id="form-message")
            if self.KEYS:
                yield LinesWidget(id="form-keys")

    def compose_fields(self) -> ComposeResult:
        """Yield the fields, from top to bottom."""
        raise NotImplementedError

    def evaluate(self) -> tuple[Result, str]:
        """Return what the fields mean, and what accepting it would do; often called.

        Raises ValueError or IllegalEdit with what is wrong.
        """
        raise NotImplementedError

    def notes(self) -> list[Line]:
        """Return lines below the message."""
        return []

    def text(self, name_id: str) -> str:
        """Return what stands in a field; "" where this form has none of that name."""
        return next((field.value for field in self.query(f"#{name_id}").results(Field)), "")

    def update(self) -> Result | None:
        """Show what the fields would do, or what is wrong; what they mean, None where that cannot be."""
        self._pending = False
        found: Result | None = None
        try:
            found, said = self.evaluate()
            message, style = one_line(said, MESSAGE_LIMIT), GOOD
        except (IllegalEdit, ValueError) as error:
            message, style = self.refusal(one_line(str(error), MESSAGE_LIMIT)), WRONG
        lines: list[Line] = [((f" {message}", style),)]
        if self.MESSAGE_ROWS > 1:
            lines = list(paragraph(message, self._room - 1, style))[: self.MESSAGE_ROWS]
        self.show("title", [((f" {self.heading}", "title"),)])
        self.show("message", [*lines, *self.notes()])
        if self.KEYS:
            self.show("keys", [((" ", ""), *key_hints(*self.KEYS))])
        return found

    def refusal(self, why: str) -> str:
        """Return the sentence for what is wrong."""
        return why

    @property
    def _room(self) -> int:
        return max(1, self.query_one("#form").size.width)

    def show(self, part: str, lines: Sequence[Line]) -> None:
        """Show lines in the title, the message or the keys."""
        ellipsis = self.dashboard.terminal.glyphs.ellipsis
        self.query_one(f"#form-{part}", LinesWidget).show([fitted(line, self._room, ellipsis) for line in lines])

    def later(self) -> None:
        """Update once, after all that happens now."""
        if not self._pending:
            self._pending = True
            self.call_later(self.update)

    def on_mount(self) -> None:
        """Paint once the dialog is laid out."""
        self.call_after_refresh(self.update)

    def on_input_changed(self) -> None:
        """Update after an edit."""
        self.later()

    def on_field_cut(self, event: Field.Cut) -> None:
        """Say that more was pasted than fits."""
        self.dashboard.tell(event.sentence, level="warning")

    def on_resize(self, event: events.Resize) -> None:
        """Update for another size."""
        self.call_after_refresh(self.update)

    def action_accept(self) -> None:
        """Take what the fields mean, if that can be."""
        found = self.update()
        if found is not None:
            self.dismiss(found)

    def action_leave(self) -> None:
        """Close without an answer."""
        self.dismiss(None)


class Form(FormDialog[Values]):
    """Answers with the texts of its fields. `check` says what they would do, or raises as `evaluate` does."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "app.focus_next", "Next field", show=False, priority=True),
        Binding("up", "app.focus_previous", "Previous field", show=False, priority=True),
    ]

    def __init__(self, title: str, fields: Sequence[TextField], check: Callable[[Values], str]) -> None:
        super().__init__(title)
        self._fields = tuple(fields)
        self._check = check

    def compose_fields(self) -> ComposeResult:
        """Yield the fields, one below the other."""
        for number, field in enumerate(self._fields):
            yield from field.compose(f"form-{number}")

    def on_mount(self) -> None:
        """Focus the first field."""
        self.query_one("#form-0", Field).focus()

    def evaluate(self) -> tuple[Values, str]:
        """Return the texts of the fields."""
        values = tuple(self.text(f"form-{number}") for number in range(len(self._fields)))
        return values, self._check(values)
