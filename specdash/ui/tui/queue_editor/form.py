"""A small dialog of one or two fields that are checked while one types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen

from specdash.core.queue import IllegalEdit
from specdash.core.text import one_line
from specdash.ui.tui.context import DashboardPart
from specdash.ui.tui.fields import Field
from specdash.ui.tui.lines import Line, LinesWidget, fitted

Values = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Asking:
    """One field: its name in words, what stands in it, and what stands there while it is empty."""

    label: str
    value: str = ""
    placeholder: str = ""


class Form(DashboardPart, ModalScreen[Values | None]):
    """Answers with the texts of its fields; None when it was left.

    `check` says what the texts would do, or raises ValueError or IllegalEdit with what is wrong; it may be
    called often.
    """

    CSS = """
    Form { align: center middle; }
    Form #form { width: 72; max-width: 100%; height: auto; background: $surface; border: ascii $foreground; }
    Form .form-field { height: 1; }
    Form .form-label { width: 12; }
    Form #form-title, Form #form-told, Form #form-keys { height: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "accept", "Accept", id="form.accept", priority=True),
        Binding("escape", "leave", "Cancel", id="form.leave"),
        Binding("tab,down", "app.focus_next", "Next field", show=False, priority=True),
        Binding("shift+tab,up", "app.focus_previous", "Previous field", show=False, priority=True),
    ]

    def __init__(self, title: str, fields: tuple[Asking, ...], check: Callable[[Values], str]) -> None:
        super().__init__()
        self._title = title
        self._asked = fields
        self._check = check

    def compose(self) -> ComposeResult:
        """Title, fields, what they would do, keys."""
        with Vertical(id="form"):
            yield LinesWidget(id="form-title")
            for number, field in enumerate(self._asked):
                label = LinesWidget(classes="form-label")
                label.show([((f" {field.label}", "dim"),)])
                with Horizontal(classes="form-field"):
                    yield label
                    yield Field(f"form-{number}", value=field.value, placeholder=field.placeholder)
            yield LinesWidget(id="form-told")
            yield LinesWidget(id="form-keys")

    def on_mount(self) -> None:
        """It is shown."""
        self.query_one("#form-0", Field).focus()
        self.call_after_refresh(self._told)

    def _values(self) -> Values:
        return tuple(self.query_one(f"#form-{number}", Field).value for number in range(len(self._asked)))

    def _told(self) -> bool:
        """Shows what the texts would do, or what is wrong; whether they can be taken."""
        problem: str | None = None
        said = ""
        try:
            said = self._check(self._values())
        except (IllegalEdit, ValueError) as error:
            problem = one_line(str(error), 300)
        line: Line = ((f" {problem}", "bad"),) if problem is not None else ((f" {one_line(said, 300)}", "accent"),)
        keys: Line = ((" enter", "key"), (" accept  ", ""), ("esc", "key"), (" cancel", ""))
        ellipsis = self.dashboard.terminal.glyphs.ellipsis
        room = max(1, self.query_one("#form").size.width)
        for name, shown in (("title", ((f" {self._title}", "title"),)), ("told", line), ("keys", keys)):
            self.query_one(f"#form-{name}", LinesWidget).show([fitted(shown, room, ellipsis)])
        return problem is None

    def on_input_changed(self) -> None:
        """Another text."""
        self._told()

    def on_field_cut(self, event: Field.Cut) -> None:
        """More was pasted than fits."""
        self.dashboard.tell(event.sentence, level="warning")

    def on_resize(self, event: events.Resize) -> None:
        """Another size."""
        self.call_after_refresh(self._told)

    def action_accept(self) -> None:
        """Takes the texts, if they can be."""
        if self._told():
            self.dismiss(self._values())

    def action_leave(self) -> None:
        """Nothing is changed."""
        self.dismiss(None)
