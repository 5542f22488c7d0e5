"""What screens are made of: a title, a body, a note and a field; and for lists a cursor, a filter and the mouse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult

from specdash.core.text import one_line
from specdash.ui.tui.header_footer import Bottom, Top
from specdash.ui.tui.lines import Line, LinesWidget
from specdash.ui.tui.panes.pane import paragraph
from specdash.ui.tui.screen import RunScreen
from specdash.ui.tui.widgets.form import LIMIT, Field

SENTENCE = 600
NOTE_ROWS = 2


class PageScreen(RunScreen):
    """A page. Its widgets are called after it: `#runs-title`, `#runs-body`, `#runs-note`, `#runs-field`.

    `PARTS` says which of the first three there are. The header is there while a run is open. What a key's action needs
    is said by `why_not`: a key that does not apply is not in the footer, and says why when it is pressed nevertheless.
    """

    AUTO_FOCUS = ""  # keys are the screen's until the field is opened
    PAGE: ClassVar[str] = ""
    PLACEHOLDER: ClassVar[str] = ""
    FIELD_LIMIT: ClassVar[int] = LIMIT
    FIELD_ABOVE: ClassVar[bool] = False
    HAS_FIELD: ClassVar[bool] = True
    WHEEL: ClassVar[int] = 0  # rows that one notch of the wheel moves
    PARTS: ClassVar[tuple[str, ...]] = ("title", "body", "note")
    SOMETIMES: ClassVar[tuple[str, ...]] = ()  # the actions that `why_not` knows
    DEFAULT_CSS = """
    PageScreen .page-body { height: 1fr; }
    PageScreen Field { display: none; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._note = ""
        self.is_typing = False
        self._applies: tuple[bool, ...] | None = None

    def compose(self) -> ComposeResult:
        """Yield header, title, body, note, field, keys."""
        field = Field(f"{self.PAGE}-field", placeholder=self.PLACEHOLDER, limit=self.FIELD_LIMIT)
        yield Top()
        if "title" in self.PARTS:
            yield LinesWidget(id=f"{self.PAGE}-title")
        if self.HAS_FIELD and self.FIELD_ABOVE:
            yield field
        yield from self.compose_body()
        if "note" in self.PARTS:
            yield LinesWidget(id=f"{self.PAGE}-note")
        if self.HAS_FIELD and not self.FIELD_ABOVE:
            yield field
        yield Bottom()

    def compose_body(self) -> ComposeResult:
        """Yield what takes the room that the rest leaves."""
        yield LinesWidget(id=f"{self.PAGE}-body", classes="page-body")

    # -- painting ----------------------------------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """Tell whether there is something to paint on: there is not before the first frame, nor while the page goes."""
        return (
            self.is_mounted and bool(self.query(Top)) and all(self.query(f"#{self.PAGE}-{each}") for each in self.PARTS)
        )

    def part(self, name: str) -> LinesWidget:
        """Find the title, the body or the note."""
        return self.query_one(f"#{self.PAGE}-{name}", LinesWidget)

    @property
    def rows(self) -> int:
        """Count the rows of the body."""
        return max(1, self.part("body").size.height)

    def note_lines(self, text: str) -> list[Line]:
        """Break a sentence below the body, on no more rows than there are for it."""
        return list(paragraph(text, self.size.width - 1, "warn"))[:NOTE_ROWS]

    def show_page(self, title: Sequence[Line], body: Sequence[Line], note: Sequence[Line] | None = None) -> None:
        """Show the lines of a page; without a `note`, what was said last. The footer follows what applies."""
        said = note if note is not None else self.note_lines(self._note)
        top = self.query_one(Top)
        before = (top.display, len(self.part("title").lines), len(self.part("note").lines))
        top.display = self.dashboard.has_run
        self.part("title").show(title)
        self.part("body").show(body)
        self.part("note").show(said)
        if before != (top.display, len(title), len(said)):
            self.call_after_refresh(self.paint)  # the body has another height
        applies = tuple(self.why_not(action) is None for action in self.SOMETIMES)
        if applies != self._applies:
            self._applies = applies
            self.refresh_bindings()

    def say(self, text: str) -> None:
        """Say a sentence in place of the note; "" takes it away."""
        self._note = one_line(text, SENTENCE)
        self.paint()

    # -- keys --------------------------------------------------------------------------------------------------

    def why_not(self, action: str) -> str | None:
        """Say why an action cannot be done now, "" for a reason that goes without saying; None where it can."""
        return None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Tell whether a key applies; None: it is known, and not for now."""
        return None if action in self.SOMETIMES and self.why_not(action) is not None else True

    def on_key(self, event: events.Key) -> None:
        """Say why a key does not apply."""
        known = self.active_bindings.get(event.key)
        if known is not None and not known.enabled and (why := self.why_not(known.binding.action)):
            self.say(why)

    @property
    def page_rows(self) -> int:
        """Count the rows that a page goes."""
        return self.rows - 2

    def action_page(self, direction: int) -> None:
        """Move a page up or down."""
        self.action_move(direction * max(1, self.page_rows))

    def action_move(self, by: int) -> None:
        """Move the cursor, or the window, up or down."""

    @property
    def field(self) -> Field:
        """Find the field for text."""
        return self.query_one(f"#{self.PAGE}-field", Field)

    def open_field(self, value: str = "") -> None:
        """Open the field: printable keys are text now."""
        self.is_typing = self.field.display = True
        self.field.value = value
        self.field.cursor_position = len(value)
        self.field.focus()
        self.call_after_refresh(self.paint)

    def close_field(self) -> None:
        """Close the field; keys are the screen's again."""
        self.is_typing = self.field.display = False
        self.set_focus(None)
        self.call_after_refresh(self.paint)

    def on_field_cut(self, event: Field.Cut) -> None:
        """Say that more was pasted than the field takes."""
        if "note" in self.PARTS:
            self.say(event.sentence)
        else:
            self.dashboard.tell(event.sentence, level="warning")

    # -- mouse -------------------------------------------------------------------------------------------------

    def clicked(self, x: int, y: int, *, twice: bool) -> None:
        """Do what a click at a cell of the body means."""

    def on_click(self, event: events.Click) -> None:
        """Find the cell of the body that was clicked."""
        body = self.part("body").region
        if body.contains(event.screen_x, event.screen_y):
            self.clicked(event.screen_x - body.x, event.screen_y - body.y, twice=event.chain == 2)

    def on_mouse_scroll_down(self) -> None:
        """Move the cursor down."""
        if self.WHEEL:
            self.action_move(self.WHEEL)

    def on_mouse_scroll_up(self) -> None:
        """Move the cursor up."""
        if self.WHEEL:
            self.action_move(-self.WHEEL)


class ListScreen(PageScreen):
    """A page with a list: the wheel moves its cursor, a click is told in cells of the body, the field is its filter."""

    FIELD_LIMIT = 200
    WHEEL = 3

    @property
    def words(self) -> str:
        """Return the filter."""
        raise NotImplementedError

    def filter_by(self, words: str) -> None:
        """Show what has these words."""
        raise NotImplementedError

    def action_filter(self) -> None:
        """Open the field for the filter."""
        self.open_field(self.words)

    def clear_filter(self) -> bool:
        """Close the field and take the filter away; False where there is neither."""
        if not self.is_typing and not self.words:
            return False
        self.field.value = ""
        if self.words:
            self.filter_by("")
        if self.is_typing:
            self.close_field()
        return True

    def on_input_changed(self, event: Field.Changed) -> None:
        """Filter while it is typed."""
        if event.value != self.words:
            self.filter_by(event.value)

    def on_input_submitted(self, event: Field.Submitted) -> None:
        """Keep the filter."""
        event.stop()
        self.close_field()
