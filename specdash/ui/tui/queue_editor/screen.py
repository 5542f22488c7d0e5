"""The table of a queue on a screen: the cursor, marks, the filter and the mouse; edits are only followed here."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from specdash.ui.tui.header_footer import Bottom, Top
from specdash.ui.tui.keys import movement
from specdash.ui.tui.lines import LinesWidget
from specdash.ui.tui.queue_editor.body import Body, body, column_at, row_at
from specdash.ui.tui.queue_editor.staging import Staged, rebased, staged_on
from specdash.ui.tui.queue_editor.table import SIGNS, Place, Rows, chosen, moved, rows
from specdash.ui.tui.screen import RunScreen
from specdash.ui.tui.widgets.form import Field

WHEEL = 3  # rows that one notch of the wheel moves
SHARE_OF_TIME = 20  # at most one part in so many of the time goes into following the run


class TableScreen(RunScreen):
    """The steps of the run, as they are and as they would be, and where one is among them."""

    AUTO_FOCUS: ClassVar[str | None] = ""  # keys are for the table; the filter takes them only when it is asked for
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "mark", "Mark", id="queue.mark"),
        Binding("i", "invert", "Invert marks", id="queue.invert", show=False),
        Binding("slash", "filter", "Filter", key_display="/", id="queue.filter"),
        Binding("shift+down", "mark_on(1)", "Mark downwards", id="queue.mark_down", show=False),
        Binding("shift+up", "mark_on(-1)", "Mark upwards", id="queue.mark_up", show=False),
        *movement("queue"),
    ]
    DEFAULT_CSS = """
    TableScreen #queue-body { height: 1fr; }
    TableScreen #queue-filter { display: none; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._staged: Staged | None = None
        self._rows: Rows | None = None
        self._place = Place()
        self._body: Body | None = None
        self._refused: str | None = None
        self._sending = False
        self._next_look_s = 0.0
        self._run_id: str | None = None

    def compose(self) -> ComposeResult:
        """Header, table, filter, keys."""
        yield Top()
        yield LinesWidget(id="queue-body")
        yield Field(
            "queue-filter", placeholder="words of a step, such as 0.5B coding; enter keeps, esc clears", limit=200
        )
        yield Bottom()

    # -- painting ----------------------------------------------------------------------------------------------

    @property
    def staged(self) -> Staged:
        """What is staged, on top of the run as it was seen last."""
        if self._staged is None:
            self._staged = staged_on(self.feed.view)
        return self._staged

    def paint(self) -> None:
        """Draws the body anew; the widget sends only what has changed of it."""
        if not self.is_mounted:
            return
        self._follow()
        self._draw()

    def _draw(self) -> None:
        widget = next(iter(self.query("#queue-body").results(LinesWidget)), None)
        if widget is None:  # on its way in or out
            return
        size, glyphs = widget.size, self.dashboard.terminal.glyphs
        self._body = body(self._table(), self._place, size.width, size.height, glyphs, self._refused)
        self._place = self._body.place
        widget.show(self._body.lines)

    def _table(self) -> Rows:
        if self._rows is None or self._rows.staged is not self.staged or self._rows.words != self._place.words:
            self._rows = rows(self.staged, self._place.words)
        return self._rows

    def _follow(self) -> None:
        """Makes the staged edits again on what is new in the run, no more often than there is time for."""
        view = self.feed.view
        run = view.run.run_id if view.run is not None else None
        if run != self._run_id:
            self._run_id, self._staged, self._place, self._next_look_s = run, None, Place(), 0.0
        if self.staged.base is view or self._sending:
            return
        begun_s = time.monotonic()
        if begun_s < self._next_look_s and self.feed.caught_up:
            return
        self._staged = rebased(self.staged, view)
        now_s = time.monotonic()
        self._next_look_s = now_s + SHARE_OF_TIME * (now_s - begun_s)

    # -- moving about, marking, filtering ----------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        """The cursor goes up or down."""
        self._place = moved(self._table(), self._place, by)
        self._draw()

    def action_page(self, by: int) -> None:
        """A window's worth further up or down."""
        self.action_move(by * max(1, (self._body.n_rows if self._body is not None else 1) - 1))

    def action_mark(self) -> None:
        """Marks the step under the cursor, or not any more, and goes on to the next."""
        self._mark(self._place.marked ^ {self._place.cursor})
        self.action_move(1)

    def action_mark_on(self, by: int) -> None:
        """Marks the step under the cursor and the next one."""
        before = self._place.cursor
        self._place = moved(self._table(), self._place, by)
        self._mark(self._place.marked | {before, self._place.cursor})

    def action_invert(self) -> None:
        """Marks what is not marked among the rows that are shown, and the other way round."""
        self._mark(self._place.marked ^ set(self._table().shown))

    def _mark(self, ids: Iterable[str | None]) -> None:
        self._place = replace(self._place, marked=frozenset(each for each in ids if each is not None))
        self._draw()

    def action_filter(self) -> None:
        """Opens the field for the filter."""
        field = self.query_one("#queue-filter", Field)
        field.display = True
        field.value = self._place.words
        field.focus()

    def on_input_changed(self, event: Field.Changed) -> None:
        """Filters while one types."""
        self._place = replace(self._place, words=event.value)
        self._draw()

    def on_input_submitted(self, event: Field.Submitted) -> None:
        """Keeps the filter."""
        event.stop()
        self._close_filter()

    def on_field_cut(self, event: Field.Cut) -> None:
        """More was pasted than a filter takes."""
        self.dashboard.tell(event.sentence, level="warning")

    def _close_filter(self) -> None:
        self.query_one("#queue-filter", Field).display = False
        self.set_focus(None)
        self._draw()

    def on_click(self, event: events.Click) -> None:
        """A click moves the cursor, marks (on the signs) or switches (on the column); a second one edits."""
        origin = self.query_one("#queue-body", LinesWidget).region
        found = self._table()
        step_id = row_at(self._body, found, event.screen_y - origin.y) if self._body is not None else None
        if step_id is None or self._body is None:
            return
        self._place = replace(self._place, cursor=step_id)
        where = column_at(self._body.table, event.screen_x - origin.x, SIGNS)
        if where == "signs":
            self._mark(self._place.marked ^ {step_id})
        elif where == "on":
            self.switch((step_id,))
        elif event.chain == 2:
            self.action_edit()
        else:
            self._draw()

    def on_mouse_scroll_down(self) -> None:
        """The wheel moves the cursor."""
        self.action_move(WHEEL)

    def on_mouse_scroll_up(self) -> None:
        """The wheel moves the cursor."""
        self.action_move(-WHEEL)

    def chosen(self) -> tuple[str, ...]:
        """The marked steps in the order of the queue, else the one under the cursor."""
        return chosen(self._table(), self._place)

    def refuse(self, why: str) -> None:
        """Says in place why something was not done."""
        self._refused = why
        self._draw()

    def switch(self, ids: Sequence[str]) -> None:
        """The mouse asked for these steps to be on or off."""

    def action_edit(self) -> None:
        """The mouse or a key asked to edit the chosen steps."""
