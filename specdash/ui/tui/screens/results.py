"""The results screen: heat maps, a table, K curves and samples of one run, finished or not."""

from __future__ import annotations

import asyncio
import importlib
import os
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from specdash.core.state import RunState
from specdash.core.text import one_line
from specdash.ui.tui.header_footer import Bottom, Top
from specdash.ui.tui.lines import LinesWidget
from specdash.ui.tui.results import panes
from specdash.ui.tui.results.curve import CHARTS, is_ready
from specdash.ui.tui.results.detail import command_of
from specdash.ui.tui.results.export import ExportDialog
from specdash.ui.tui.results.figures import Book
from specdash.ui.tui.results.grid import markdown_of
from specdash.ui.tui.results.layout import RunState as Shown
from specdash.ui.tui.results.measures import MEASURES
from specdash.ui.tui.results.state import State
from specdash.ui.tui.results.table import markdown_table
from specdash.ui.tui.screen import RunScreen
from specdash.ui.tui.screens.advice import AdviceWindow
from specdash.ui.tui.widgets.form import Field

BUDGET_S = 0.03  # how long figures are computed before the screen gets its turn
VIEWS: tuple[Shown, ...] = ("heat", "curve", "table")
FILTER_CHARS = 200


def _key(keys: str, action: str, text: str, name: str, *, show: bool = True) -> Binding:
    return Binding(keys, action, text, id=f"results.{name}", show=show)


class ResultsScreen(RunScreen):
    """What came out so far; see `results.panes` for what it draws and `results.state` for where its cursors are."""

    AUTO_FOCUS = ""  # keys are the screen's own until the filter is asked for
    DEFAULT_CSS = """
    ResultsScreen > #results-body { height: 1fr; }
    ResultsScreen > #results-filter { display: none; }
    ResultsScreen > #results-filter.shown { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        _key("enter", "open", "Open", "open"),
        _key("m", "measure", "Measure", "measure"),
        _key("t", "transpose", "Pairs/K", "transpose"),
        _key("c", "see('curve')", "Curve", "curve"),
        _key("b", "see('table')", "Table", "table"),
        _key("a", "advice", "What to use", "advice"),
        _key("x", "export", "Export", "export"),
        _key("slash", "filter", "Filter", "filter"),
        _key("s", "sort", "Sort", "sort"),
        _key("r", "reverse", "Reverse", "reverse", show=False),
        _key("y", "copy", "Copy", "copy"),
        _key("Y", "copy_command", "Copy the server's command", "copy_command", show=False),
        _key("o", "path", "Path", "path", show=False),
        _key("v", "variant", "Next variant", "variant", show=False),
        _key("tab", "next(1)", "Next view", "next", show=False),
        _key("shift+tab", "next(-1)", "Previous view", "previous", show=False),
        _key("escape", "back", "Back", "back", show=False),
        _key("up,k", "move(0,-1)", "Up", "up", show=False),
        _key("down,j", "move(0,1)", "Down", "down", show=False),
        _key("left,h", "move(-1,0)", "Left", "left", show=False),
        _key("right,l", "move(1,0)", "Right", "right", show=False),
        _key("pageup", "page(-1)", "Page up", "page_up", show=False),
        _key("pagedown", "page(1)", "Page down", "page_down", show=False),
        _key("home,g", "end(-1)", "First", "first", show=False),
        _key("end,G", "end(1)", "Last", "last", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._book = Book()
        self._run: str | None = None
        self._state = State()
        self._drawn = panes.Drawn()
        self._is_waiting = False

    def compose(self) -> ComposeResult:
        """Header, the panes in one widget, the filter while it is written, keys."""
        yield Top()
        yield LinesWidget(id="results-body")
        yield Field("results-filter", placeholder="words to look for: target, draft, category, status, k=8",
                    limit=FILTER_CHARS)  # fmt: skip
        yield Bottom()

    def on_mount(self) -> None:
        """Loads the charts beside the screen."""
        if not is_ready():
            self.run_worker(self._load_charts(), group="charts")

    async def _load_charts(self) -> None:
        await asyncio.to_thread(importlib.import_module, CHARTS)
        self.paint()

    # -- painting ----------------------------------------------------------------------------------------------

    @property
    def _view(self) -> RunState:
        return self.feed.view

    def paint(self) -> None:
        """Brings figures up to date for a while, draws, and comes back for the rest."""
        if not self.query("#results-body"):  # it may be asked before it has its widgets, and after
            return
        run = self._view.run.run_id if self._view.run is not None else None
        if run != self._run:
            self._run, self._book, self._state = run, Book(), State(measure=self._state.measure)
        if not self._book.update(self._view, BUDGET_S) and not self._is_waiting:
            self._is_waiting = True
            self.set_timer(0.01, self._go_on)
        self._draw()

    def _go_on(self) -> None:
        self._is_waiting = False
        if self in self.app.screen_stack:
            self.paint()

    def _draw(self) -> None:
        body = self.query_one("#results-body", LinesWidget)
        self._state = self._state.settled(self._book)
        size, glyphs = body.size, self.dashboard.terminal.glyphs
        advice = self.dashboard.advice
        self._drawn = panes.draw(
            self._book, self._view, self._state, size.width, size.height, glyphs, self._drawn, advice
        )
        self._state = self._drawn.state
        body.show(self._drawn.lines)

    def _become(self, state: State) -> None:
        """Another state of the screen's own, shown at once."""
        self._state = state
        self._draw()

    # -- keys --------------------------------------------------------------------------------------------------

    def action_move(self, across: int, down: int) -> None:
        """The cursor of the pane in front."""
        self._become(self._state.moved(self._book, self._drawn.rows, across, down))

    def action_page(self, pages: int) -> None:
        """As far as the pane in front shows."""
        self._become(self._state.moved(self._book, self._drawn.rows, 0, pages * max(1, self._drawn.page)))

    def action_end(self, direction: int) -> None:
        """The first or the last row."""
        self._become(self._state.moved(self._book, self._drawn.rows, 0, direction * (10**9)))

    def action_measure(self) -> None:
        """The next measure in the cells."""
        at = MEASURES.index(self._state.measure)
        self._become(replace(self._state, measure=MEASURES[(at + 1) % len(MEASURES)]))

    def action_transpose(self) -> None:
        """Targets by drafts, categories by K, or methods without a draft model by K."""
        self._become(self._state.turned(self._book))

    def action_variant(self) -> None:
        """The next of the configs, expert counts and depths that the run compares."""
        if len(self._state.axes.variants) < 2:
            self.dashboard.tell("this run has one variant only")
            return
        self._become(self._state.next_variant())

    def action_see(self, view: Shown) -> None:
        """A view, or back to the heat map from it."""
        self._become(replace(self._state, view="heat" if self._state.view == view else view))

    def action_next(self, step: int) -> None:
        """The next or previous view."""
        at = VIEWS.index(self._state.view) if self._state.view in VIEWS else -1
        self._become(replace(self._state, view=VIEWS[(at + step) % len(VIEWS)]))

    def action_sort(self) -> None:
        """By the next column."""
        self._become(replace(self._state, view="table", step_id=None, sorting=self._state.sorting.next()))

    def action_reverse(self) -> None:
        """The other way round."""
        sorting = self._state.sorting
        self._become(replace(self._state, view="table", step_id=None, sorting=sorting.by(sorting.column)))

    def action_open(self) -> None:
        """From a pair to its Ks, from there to samples; all categories open as a filtered table."""
        self._become(self._state.opened(self._book))

    def action_back(self) -> None:
        """From samples to where they were opened, then the filter, then the heat map of pairs."""
        if self._state.view != "samples" and self._state.words:
            self.query_one("#results-filter", Field).value = ""
        self._become(self._state.back())

    # -- filter ------------------------------------------------------------------------------------------------

    def action_filter(self) -> None:
        """Words that rows of the table must have."""
        box = self.query_one("#results-filter", Field)
        box.value = self._state.words
        box.add_class("shown")
        box.focus()
        self._become(replace(self._state, view="table"))
        self.call_after_refresh(self._draw)

    @on(Field.Changed, "#results-filter")
    def _filter_changed(self, event: Field.Changed) -> None:
        if event.value != self._state.words:
            self._become(replace(self._state, words=event.value))

    @on(Field.Submitted, "#results-filter")
    def _filter_done(self, event: Field.Submitted) -> None:
        event.stop()
        self._close_filter()

    def on_field_cut(self, event: Field.Cut) -> None:
        """More was pasted than a filter takes."""
        self.dashboard.tell(event.sentence, level="warning")

    def _close_filter(self) -> None:
        box = self.query_one("#results-filter", Field)
        box.remove_class("shown")
        self.set_focus(None)
        self.call_after_refresh(self._draw)

    def on_key(self, event: events.Key) -> None:
        """Esc in the filter clears and closes it; it does nothing else then."""
        box = self.query_one("#results-filter", Field)
        if event.key == "escape" and box.has_focus:
            event.stop()
            box.value = ""
            self._close_filter()

    # -- mouse -------------------------------------------------------------------------------------------------

    def on_click(self, event: events.Click) -> None:
        """A cell or a row is chosen, a name of a column sorts."""
        body = self.query_one("#results-body").region
        if body.contains(event.screen_x, event.screen_y):
            self._become(panes.clicked(self._drawn, self._state, event.screen_x - body.x, event.screen_y - body.y))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Three rows down."""
        self.action_move(0, 3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Three rows up."""
        self.action_move(0, -3)

    # -- out of the screen -------------------------------------------------------------------------------------

    def action_copy(self) -> None:
        """The heat map or the table as Markdown, to the clipboard of the terminal."""
        if self._state.view == "table":
            text, count = markdown_table(self._drawn.rows, self._view, self.dashboard.terminal.glyphs)
            what = f"{count} of {len(self._drawn.rows)} rows" if count < len(self._drawn.rows) else f"{count} rows"
        elif self._drawn.grid is not None:
            text, what = markdown_of(self._drawn.grid), f"{len(self._drawn.grid.rows)} rows"
        else:
            self.dashboard.tell("there is nothing to copy yet")
            return
        self.app.copy_to_clipboard(text)
        self.dashboard.tell(f"copied: Markdown table, {what}, {len(text.encode())} bytes (if the terminal allows it)")

    def action_copy_command(self) -> None:
        """The command of the server that the chosen measurement ran on."""
        row = self._state.row(self._book)
        command = command_of(row, self._view) if row is not None else None
        if command is None:
            self.dashboard.tell("no server was started for this: choose one measurement")
            return
        self.app.copy_to_clipboard(command)
        self.dashboard.tell(f"copied: {command}")

    def action_advice(self) -> None:
        """What to use for the target under the cursor, with the whole command line."""
        self.app.push_screen(AdviceWindow(lambda: self.dashboard.advice, self._state.target))

    def action_path(self) -> None:
        """Where the run lies."""
        origin = self.feed.origin
        if origin is None:
            self.dashboard.tell("this run has no folder")
        else:
            self.dashboard.tell(origin.path if origin.is_local else f"{origin.path} on {origin.host}")

    def action_export(self) -> None:
        """Asks where to, and writes."""
        if self._view.run is None:
            self.dashboard.tell("nothing is measured yet")
            return
        origin = self.feed.origin
        folder = Path(origin.path) if origin is not None and origin.is_local else Path.cwd()
        picture = self.app.export_screenshot(title="specdash")
        self.app.push_screen(
            ExportDialog(self._view, folder if os.path.isdir(folder) else Path.cwd(), picture), self._exported
        )

    def _exported(self, path: Path | None) -> None:
        if path is not None:
            self.dashboard.tell(f"written: {one_line(str(path), 500)}")
