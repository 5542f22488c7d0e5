"""The results screen: heat maps, a table, K curves and samples of one run, finished or not."""

from __future__ import annotations

import asyncio
import importlib
import os
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual.binding import Binding, BindingType

from specdash.analysis.figures import FiguresCache
from specdash.core.state import RunState
from specdash.core.text import one_line
from specdash.remote.run_source import Origin
from specdash.ui.tui.lines import LinesWidget
from specdash.ui.tui.results import panes
from specdash.ui.tui.results.curve import CHARTS, is_ready
from specdash.ui.tui.results.detail import command_of
from specdash.ui.tui.results.export import ExportDialog
from specdash.ui.tui.results.heatmap import MEASURES, markdown_of
from specdash.ui.tui.results.state import ResultsView, ViewName
from specdash.ui.tui.results.table import NAMES, markdown_table
from specdash.ui.tui.screen import dialog
from specdash.ui.tui.screens.advice import AdviceWindow
from specdash.ui.tui.widgets.list_screen import ListScreen

BUDGET_S = 0.03  # how long figures are computed before the screen gets its turn
VIEWS: tuple[ViewName, ...] = ("heat", "curve", "table")


def _key(keys: str, action: str, text: str, name: str, *, show: bool = True) -> Binding:
    return Binding(keys, action, text, id=f"results.{name}", show=show)


class ResultsScreen(ListScreen):
    """What came out so far; see `results.panes` for what it draws and `results.state` for where its cursors are."""

    PAGE = "results"
    PARTS = ("body",)
    PLACEHOLDER = "words to look for: target, draft, category, status, k=8"
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
        _key("up,k", "move(-1)", "Up", "up", show=False),
        _key("down,j", "move(1)", "Down", "down", show=False),
        _key("left,h", "move(0,-1)", "Left", "left", show=False),
        _key("right,l", "move(0,1)", "Right", "right", show=False),
        _key("pageup", "page(-1)", "Page up", "page_up", show=False),
        _key("pagedown", "page(1)", "Page down", "page_down", show=False),
        _key("home,g", "move(-1000000)", "First", "first", show=False),
        _key("end,G", "move(1000000)", "Last", "last", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._book = FiguresCache()
        self._run: str | None = None
        self._state = ResultsView()
        self._drawn = panes.Drawn()
        self._is_waiting = False

    def on_mount(self) -> None:
        """Load the charts beside the screen."""
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
        """Bring figures up to date for a while, draw, and come back for the rest."""
        if not self.is_ready:
            return
        run = self._view.run.run_id if self._view.run is not None else None
        if run != self._run:
            self._run, self._book, self._state = run, FiguresCache(), ResultsView(measure=self._state.measure)
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
        context = panes.ResultsContext(self._book, self._view, glyphs, self.dashboard.advice)
        self._drawn = panes.draw(context, self._state, size.width, size.height, self._drawn)
        self._state = self._drawn.state
        body.show(self._drawn.lines)

    def _become(self, state: ResultsView) -> None:
        """Show another state at once."""
        self._state = state
        self._draw()

    # -- keys --------------------------------------------------------------------------------------------------

    def action_move(self, by: int, across: int = 0) -> None:
        """Move the cursor of the pane in front."""
        self._become(self._state.moved(self._book, self._drawn.rows, across, by))

    @property
    def page_rows(self) -> int:
        """The rows that the pane in front shows."""
        return self._drawn.page

    def action_measure(self) -> None:
        """Show the next measure in the cells."""
        at = MEASURES.index(self._state.measure)
        self._become(replace(self._state, measure=MEASURES[(at + 1) % len(MEASURES)]))

    def action_transpose(self) -> None:
        """Show the next heat map: targets by drafts, categories by K, methods without a draft model by K."""
        self._become(self._state.turned(self._book))

    def action_variant(self) -> None:
        """Show the next of the configs, expert counts and depths that the run compares."""
        if len(self._state.axes.variants) < 2:
            self.dashboard.tell("this run has one variant only")
            return
        self._become(self._state.next_variant())

    def action_see(self, view: ViewName) -> None:
        """Show a view, or the heat map where it is shown already."""
        self._become(replace(self._state, view="heat" if self._state.view == view else view))

    def action_next(self, step: int) -> None:
        """Show the next or previous view."""
        at = VIEWS.index(self._state.view) if self._state.view in VIEWS else -1
        self._become(replace(self._state, view=VIEWS[(at + step) % len(VIEWS)]))

    def action_sort(self) -> None:
        """Sort by the next column."""
        self._become(replace(self._state, view="table", step_id=None, sorting=self._state.sorting.next(NAMES)))

    def action_reverse(self) -> None:
        """Sort the other way round."""
        sorting = self._state.sorting
        self._become(replace(self._state, view="table", step_id=None, sorting=sorting.by(sorting.column)))

    def action_open(self) -> None:
        """Open a pair as its Ks, a measurement as its samples, all categories as a filtered table."""
        self._become(self._state.opened(self._book))

    def action_back(self) -> None:
        """Go back from samples to where they were opened, then clear the filter, then show the pairs."""
        if (self._state.view == "samples" and not self.is_typing) or not self.clear_filter():
            self._become(self._state.back())

    # -- filter and mouse --------------------------------------------------------------------------------------

    @property
    def words(self) -> str:
        """The filter of the table."""
        return self._state.words

    def filter_by(self, words: str) -> None:
        """Show the measurements that have these words."""
        self._become(replace(self._state, words=words))

    def action_filter(self) -> None:
        """Ask for words that rows of the table must have."""
        super().action_filter()
        self._become(replace(self._state, view="table"))

    def clicked(self, x: int, y: int, *, twice: bool) -> None:
        """Choose the cell or row that was clicked, or sort by the column."""
        self._become(panes.clicked(self._drawn, self._state, x, y))

    # -- out of the screen -------------------------------------------------------------------------------------

    def action_copy(self) -> None:
        """Copy the heat map or the table as Markdown to the clipboard of the terminal."""
        if self._state.view == "table":
            text, count = markdown_table(self._drawn.rows, self._view)
            what = f"{count} of {len(self._drawn.rows)} rows" if count < len(self._drawn.rows) else f"{count} rows"
        elif self._drawn.grid is not None:
            text, what = markdown_of(self._drawn.grid), f"{len(self._drawn.grid.rows)} rows"
        else:
            self.dashboard.tell("there is nothing to copy yet")
            return
        self.app.copy_to_clipboard(text)
        self.dashboard.tell(f"copied: Markdown table, {what}, {len(text.encode())} bytes (if the terminal allows it)")

    def action_copy_command(self) -> None:
        """Copy the command of the server that the chosen measurement ran on."""
        row = self._state.row(self._book)
        command = command_of(row, self._view) if row is not None else None
        if command is None:
            self.dashboard.tell("no server was started for this: choose one measurement")
            return
        self.app.copy_to_clipboard(command)
        self.dashboard.tell(f"copied: {command}")

    def action_advice(self) -> None:
        """Show what to use for the target under the cursor, with the whole command line."""
        self.app.push_screen(AdviceWindow(lambda: self.dashboard.advice, self._state.target))

    def action_path(self) -> None:
        """Tell the folder of the run."""
        origin = self.feed.origin
        if origin is None:
            self.dashboard.tell("this run has no folder")
        else:
            self.dashboard.tell(origin.path if origin.is_local else f"{origin.path} on {origin.host}")

    @dialog
    async def action_export(self) -> None:
        """Ask where to, and write."""
        if self._view.run is None:
            self.dashboard.tell("nothing is measured yet")
            return
        picture = self.app.export_screenshot(title="specdash")
        export = ExportDialog(self._view, _folder_for(self.feed.origin), picture)
        path = await self.app.push_screen_wait(export)
        if path is not None:
            self.dashboard.tell(f"written: {one_line(str(path), 500)}")


def _folder_for(origin: Origin | None) -> Path:
    """Return the folder that an export goes to by default: that of the run, if it is here."""
    is_here = origin is not None and origin.is_local and os.path.isdir(origin.path)
    return Path(origin.path) if origin is not None and is_here else Path.cwd()
