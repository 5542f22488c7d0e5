"""The runs screen: earlier runs of this user, the newest first; open one, go on with one, set two side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from textual.binding import Binding, BindingType

from specdash.core.reduce import fold_all
from specdash.core.state import RunState
from specdash.core.text import one_line
from specdash.errors import SpecdashError
from specdash.store.runs import RUNNING, RunInfo, known_results_dirs, run_folders, run_info
from specdash.ui.tui import run_launcher
from specdash.ui.tui.keys import movement
from specdash.ui.tui.lines import Line, fitted, scrolled
from specdash.ui.tui.page import PageScreen
from specdash.ui.tui.runlist import compare as comparing
from specdash.ui.tui.runlist import rows
from specdash.ui.tui.widgets.form import Field


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
        self.found: list[RunInfo] = []
        self.left = 0
        self.reading = False
        self.read_once = False

    async def read(self, told: Callable[[], None], limit: int | None = None) -> None:
        """Reads all of them, or the newest `limit`; calls `told` after each."""
        self.reading = True
        try:
            folders = rows.newest_first(await asyncio.to_thread(_folders))
            known = {run.path: run for run in self.found}
            self.found = [known[path] for path in folders if path in known]
            for done, path in enumerate(folders[:limit], start=1):
                known[path] = await asyncio.to_thread(run_info, path, is_running)
                self.found = rows.sorted_runs([known[each] for each in folders if each in known])
                self.left = len(folders[:limit]) - done
                told()
        finally:
            self.reading, self.read_once = False, True
            told()


class RunsScreen(PageScreen):
    """All runs of the results folders that were used before."""

    PAGE = "runs"
    PLACEHOLDER = "words of a name, state or host; enter"
    FIELD_LIMIT = 200
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
        self._wanted = ""
        self._selected: Path | None = None
        self._page: list[Line] | None = None  # a comparison, instead of the list
        self._page_top = 0

    def on_screen_resume(self) -> None:
        """Every time that it comes to the front the runs are read again."""
        self.action_refresh_runs()
        super().on_screen_resume()

    def action_refresh_runs(self) -> None:
        """Reads the results folders again."""
        if not self.known.reading:
            self.run_worker(self.known.read(self.paint), group="runs", exclusive=True)

    # -- painting ----------------------------------------------------------------------------------------------

    def _shown(self) -> list[RunInfo]:
        return rows.matching(self.known.found, self._wanted)

    def _cursor(self, shown: list[RunInfo]) -> int:
        return next((at for at, run in enumerate(shown) if run.path == self._selected), 0)

    def paint(self) -> None:
        """Shows what has been read so far."""
        if not self.is_ready:
            return
        glyphs, width = self.dashboard.terminal.glyphs, self.size.width
        height = self.rows
        shown = self._shown()
        reading = f"reading{glyphs.ellipsis} {self.known.left or ''}".rstrip() if self.known.reading else ""
        title = rows.title(len(shown), len(self.known.found), reading, self._wanted, width, glyphs)
        if self._page is not None:
            self._page_top = scrolled(self._page_top, height, len(self._page))
            body = self._page[self._page_top : self._page_top + height]
        elif shown:
            body = rows.table(shown, self._cursor(shown), self.marks, width, height, glyphs)
        else:
            body = [((f" {self._nothing()}", "dim"),)]
        note = self.note_lines(self._note) or [fitted(((f" {self._folder(shown)}", "dim"),), width, glyphs.ellipsis)]
        self.show_page([title], body, note)

    def why_not(self, action: str) -> str | None:
        """What a run must be to be opened, gone on with or compared."""
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

    def _folder(self, shown: list[RunInfo]) -> str:
        return one_line(str(shown[self._cursor(shown)].path), 300) if shown and self._page is None else ""

    # -- keys --------------------------------------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        """Another run, or further down a comparison."""
        self._note = ""
        shown = self._shown()
        if self._page is not None:
            self._page_top += by
        elif shown:
            self._selected = shown[max(0, min(self._cursor(shown) + by, len(shown) - 1))].path
        self.paint()

    def _current(self) -> RunInfo | None:
        shown = self._shown()
        return shown[self._cursor(shown)] if shown and self._page is None else None

    def action_open(self) -> None:
        """Opens the selected run: the one that is going on, or what its journal tells."""
        run = self._current()
        if run is not None and run.problem is None:
            self.say(f"opening {run.id}")
            self.app.run_worker(self._switch(run_launcher.open_path, run.path), group="switch", exclusive=True)

    def action_resume(self) -> None:
        """Goes on with an interrupted run."""
        run = self._current()
        if run is not None and run.state != RUNNING and run.resumable:
            self.say(f"starting to go on with {run.id}")
            self.app.run_worker(self._switch(run_launcher.resume_path, run.path), group="switch", exclusive=True)

    async def _switch(self, how: run_launcher.Way, path: Path) -> None:
        """Turns the dashboard to another run, or says in place why not."""
        wrong = await how(self.dashboard, path)
        self.say(wrong or "")

    def action_compare(self) -> None:
        """Marks a run; with two marked they are set side by side."""
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
        found = await asyncio.to_thread(comparing.compare, *views)
        glyphs = self.dashboard.terminal.glyphs
        self._page = comparing.lines(found, (a.name, b.name), self.size.width, glyphs)
        self._page_top = 0
        self.say("esc: back to the list")

    def action_filter(self) -> None:
        """Opens the filter field."""
        self.open_field(self._wanted)

    def on_input_changed(self, event: Field.Changed) -> None:
        """Filters while it is typed."""
        self._wanted = event.value
        self.paint()

    def on_input_submitted(self, event: Field.Submitted) -> None:
        """Keeps the filter."""
        event.stop()
        self.close_field()

    def action_back(self) -> None:
        """Closes what is open, clears the filter and the marks, or goes back."""
        field = self.field
        self._note = ""
        if self.is_typing:
            field.value = ""
            self.close_field()
        elif self._page is not None:
            self._page, self.marks = None, []
        elif self._wanted:
            field.value = self._wanted = ""
        elif self.marks:
            self.marks = []
        else:
            self.dashboard.action_show("main" if self.dashboard.source is not None else "start")
        self.paint()


def _view(path: Path) -> RunState:
    """What the journal of a run tells."""
    from specdash.store.journal import read

    return fold_all(read(path / "journal.jsonl").records)
