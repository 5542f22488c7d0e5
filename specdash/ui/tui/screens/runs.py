"""The runs screen: earlier runs of this user, the newest first; open one, go on with one, set two side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual.binding import Binding, BindingType

from specdash.core.reduce import fold_all
from specdash.core.state import RunState
from specdash.core.text import one_line
from specdash.errors import SpecdashError
from specdash.store.runs import RUNNING, RunSummary, known_results_dirs, run_folders, run_info
from specdash.ui.tui import run_launcher
from specdash.ui.tui.keys import movement
from specdash.ui.tui.lines import Line, fitted, scrolled
from specdash.ui.tui.runs import (
    compare_lines,
    compare_runs,
    newest_first,
    run_list_title,
    run_table,
    run_table_lines,
    sorted_runs,
    with_words,
)
from specdash.ui.tui.table import Position, WindowTable
from specdash.ui.tui.widgets.list_screen import ListScreen


def is_running(path: Path) -> bool:
    """Whether an engine process is at work on a run folder."""
    from specdash.runtime.locks import run_owner

    return run_owner(path) is not None


def _folders() -> list[Path]:
    """The run folders that are known, and those of runs that go on wherever these are now."""
    from specdash.runtime.running import engines_at_work

    return list(dict.fromkeys([*run_folders(known_results_dirs()), *(each.run for each in engines_at_work())]))


class Runs:
    """The runs that are known, read one after the other in threads, since a journal may be large."""

    def __init__(self) -> None:
        self.found: list[RunSummary] = []
        self.left = 0
        self.reading = False
        self.read_once = False

    async def read(self, told: Callable[[], None], limit: int | None = None) -> None:
        """Read all of them, or the newest `limit`; call `told` after each."""
        self.reading = True
        try:
            folders = newest_first(await asyncio.to_thread(_folders))
            known = {run.path: run for run in self.found}
            self.found = [known[path] for path in folders if path in known]
            for done, path in enumerate(folders[:limit], start=1):
                known[path] = await asyncio.to_thread(run_info, path, is_running)
                self.found = sorted_runs([known[each] for each in folders if each in known])
                self.left = len(folders[:limit]) - done
                told()
        finally:
            self.reading, self.read_once = False, True
            told()


class RunsScreen(ListScreen):
    """All runs of the results folders that were used before."""

    PAGE = "runs"
    PLACEHOLDER = "words of a name, state or host; enter"
    SOMETIMES = ("open", "resume", "compare", "filter")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open", id="runs.open"),
        Binding("R", "resume", "Resume", id="runs.resume"),
        Binding("c", "compare", "Compare", id="runs.compare"),
        Binding("slash", "filter", "Filter", key_display="/", id="runs.filter"),
        Binding("escape", "back", "Back", id="runs.back"),
        Binding("r", "refresh_runs", "Read again", id="runs.refresh"),
        *movement("runs"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.known = Runs()
        self.marks: list[Path] = []
        self._position = Position()
        self._page: list[Line] | None = None  # a comparison, instead of the list
        self._page_top = 0

    def on_screen_resume(self) -> None:
        """Read the runs again every time that the screen comes to the front."""
        self.action_refresh_runs()
        super().on_screen_resume()

    def action_refresh_runs(self) -> None:
        """Read the results folders again."""
        if not self.known.reading:
            self.run_worker(self.known.read(self.paint), group="runs", exclusive=True)

    # -- painting ----------------------------------------------------------------------------------------------

    def _table(self) -> WindowTable[RunSummary]:
        return run_table(with_words(self.known.found, self.words), self.size.width)

    def paint(self) -> None:
        """Show what has been read so far."""
        if not self.is_ready:
            return
        glyphs, width = self.dashboard.terminal.glyphs, self.size.width
        height = self.rows
        table, run = self._table(), self._current()
        reading = f"reading{glyphs.ellipsis} {self.known.left or ''}".rstrip() if self.known.reading else ""
        heading = run_list_title(len(table.keys), len(self.known.found), reading, self.words, width, glyphs)
        if self._page is not None:
            self._page_top = scrolled(self._page_top, height, len(self._page))
            body = self._page[self._page_top : self._page_top + height]
        elif table.keys:
            body = run_table_lines(table, self._position, self.marks, width, height, glyphs)
        else:
            body = [((f" {self._nothing()}", "dim"),)]
        folder = one_line(str(run.path), 300) if run is not None else ""
        note = self.note_lines(self._note) or [fitted(((f" {folder}", "dim"),), width, glyphs.ellipsis)]
        self.show_page([heading], body, note)

    def why_not(self, action: str) -> str | None:
        """Say why a run cannot be opened, resumed or compared."""
        run = self._current()
        if action == "filter":
            return None if self._page is None and self.known.found else ""
        if run is None:
            return ""
        if action == "resume" and run.state == RUNNING:
            return "it is running; enter attaches to it"
        if action == "resume" and not run.resumable:
            return f"there is nothing left to measure in {run.id}" if run.problem is None else run.problem
        return f"{run.id} cannot be opened: {run.problem}" if run.problem is not None else None

    def _nothing(self) -> str:
        if self.known.reading or not self.known.read_once:
            return "reading the results folders"
        if self.known.found:
            return "no run matches the filter; esc clears it"
        return "no runs yet: start one from a profile, or the demo (specdash without arguments)"

    # -- keys --------------------------------------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        """Move to another run, or further down a comparison."""
        self._note = ""
        if self._page is not None:
            self._page_top += by
        else:
            self._position = self._table().moved(self._position, by)
        self.paint()

    def _current(self) -> RunSummary | None:
        table = self._table()
        return table.row(table.keys[table.at(self._position)]) if table.keys and self._page is None else None

    def action_open(self) -> None:
        """Open the selected run: the one that is going on, or what its journal tells."""
        run = self._current()
        if run is not None and run.problem is None:
            self.say(f"opening {run.id}")
            self.app.run_worker(self._switch(run_launcher.open_path, run.path), group="switch", exclusive=True)

    def action_resume(self) -> None:
        """Resume an interrupted run."""
        run = self._current()
        if run is not None and run.state != RUNNING and run.resumable:
            self.say(f"starting to go on with {run.id}")
            self.app.run_worker(self._switch(run_launcher.resume_path, run.path), group="switch", exclusive=True)

    async def _switch(self, how: run_launcher.Way, path: Path) -> None:
        """Turn the dashboard to another run, or say in place why not."""
        wrong = await how(self.dashboard, path)
        self.say(wrong or "")

    def action_compare(self) -> None:
        """Mark a run; with two marked they are set side by side."""
        run = self._current()
        if run is None:
            return
        if run.path in self.marks:
            self.marks.remove(run.path)
        else:
            self.marks = [*self.marks[-1:], run.path]
        if len(self.marks) == 2:
            self.say(f"reading both{self.dashboard.terminal.glyphs.ellipsis}")
            self.run_worker(self._compare(*self.marks), group="compare", exclusive=True)
        else:
            self.say("mark another one with c to set them side by side" if self.marks else "")

    async def _compare(self, a: Path, b: Path) -> None:
        try:
            views = [await asyncio.to_thread(_view, path) for path in (a, b)]
        except SpecdashError as error:
            self.say(str(error))
            return
        found = await asyncio.to_thread(compare_runs, *views)
        glyphs = self.dashboard.terminal.glyphs
        self._page = compare_lines(found, (a.name, b.name), self.size.width, glyphs)
        self._page_top = 0
        self.say("esc: back to the list")

    @property
    def words(self) -> str:
        """The filter."""
        return self._position.words

    def filter_by(self, words: str) -> None:
        """Show the runs that have these words."""
        self._position = replace(self._position, words=words)
        self.paint()

    def action_back(self) -> None:
        """Close what is open, clear the filter and the marks, or go back."""
        self._note = ""
        if self._page is not None and not self.is_typing:
            self._page, self.marks = None, []
        elif self.clear_filter():
            return
        elif self.marks:
            self.marks = []
        else:
            self.dashboard.action_show("main" if self.dashboard.source is not None else "start")
        self.paint()


def _view(path: Path) -> RunState:
    """Read the journal of a run."""
    from specdash.store.journal import read

    return fold_all(read(path / "journal.jsonl").records)
