"""The runs screen: earlier runs of this user, the newest first; open one, go on with one, set two side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from specdash.core.text import one_line
from specdash.core.view import View, fold_all
from specdash.errors import SpecdashError
from specdash.store.runs import RUNNING, RunInfo, known_results_dirs, run_folders, run_info
from specdash.ui.tui import switching
from specdash.ui.tui.fields import Field
from specdash.ui.tui.lines import Line, LinesWidget
from specdash.ui.tui.logview.paint import keys
from specdash.ui.tui.runlist import compare as comparing
from specdash.ui.tui.runlist import rows
from specdash.ui.tui.screen import RunScreen

KEYS = (
    ("enter", "open"), ("R", "resume"), ("c", "compare"), ("/", "filter"), ("r", "read again"), ("g G", "first, last"),
    ("esc", "back"),
)  # fmt: skip


def is_running(path: Path) -> bool:
    """Whether an engine process is at work on a run folder."""
    from specdash.runtime.locks import lock_owner

    return lock_owner(path / "lock") is not None


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
            folders = rows.newest_first(await asyncio.to_thread(lambda: run_folders(known_results_dirs())))
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


class RunsScreen(RunScreen):
    """All runs of the results folders that were used before."""

    AUTO_FOCUS = ""
    CSS = """
    RunsScreen #runs-title { height: 1; }
    RunsScreen #runs-body { height: 1fr; }
    RunsScreen #runs-note { height: 1; }
    RunsScreen #runs-filter { display: none; }
    RunsScreen #runs-keys { height: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open", id="runs.open"),
        Binding("R", "resume", "Resume", id="runs.resume"),
        Binding("c", "compare", "Mark to compare", id="runs.compare"),
        Binding("slash", "filter", "Filter", key_display="/", id="runs.filter"),
        Binding("r", "refresh_runs", "Read again", id="runs.refresh"),
        Binding("j,down", "move(1)", "Down", id="runs.down", show=False),
        Binding("k,up", "move(-1)", "Up", id="runs.up", show=False),
        Binding("pagedown", "page(1)", "Page down", id="runs.page_down", show=False),
        Binding("pageup", "page(-1)", "Page up", id="runs.page_up", show=False),
        Binding("g,home", "move(-1000000)", "First", id="runs.first", show=False),
        Binding("G,end", "move(1000000)", "Last", id="runs.last", show=False),
        Binding("escape", "back", "Back", id="runs.back"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.known = Runs()
        self.marks: list[Path] = []
        self._wanted = ""
        self._selected: Path | None = None
        self._note = ""
        self._page: list[Line] | None = None  # a comparison, instead of the list
        self._page_top = 0

    def compose(self) -> ComposeResult:
        """Title, table, a note, keys."""
        yield LinesWidget(id="runs-title")
        yield LinesWidget(id="runs-body")
        yield LinesWidget(id="runs-note")
        yield Field("runs-filter", placeholder="words of a name, state or host; enter", limit=200)
        yield LinesWidget(id="runs-keys")

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
        if not self.is_mounted:
            return
        glyphs, width = self.dashboard.terminal.glyphs, self.size.width
        body = self.query_one("#runs-body", LinesWidget)
        height = max(1, body.size.height)
        shown = self._shown()
        reading = f"reading{glyphs.ellipsis} {self.known.left or ''}".rstrip() if self.known.reading else ""
        title = rows.title(len(shown), len(self.known.found), reading, self._wanted, width, glyphs)
        self.query_one("#runs-title", LinesWidget).show([title])
        if self._page is not None:
            self._page_top = max(0, min(self._page_top, len(self._page) - height))
            body.show(self._page[self._page_top : self._page_top + height])
        elif shown:
            body.show(rows.table(shown, self._cursor(shown), self.marks, width, height, glyphs))
        else:
            body.show([((f" {self._nothing()}", "dim"),)])
        self.query_one("#runs-note", LinesWidget).show([((f" {self._note or self._folder(shown)}", "dim"),)])
        self.query_one("#runs-keys", LinesWidget).show([keys(width, KEYS)])

    def _nothing(self) -> str:
        if self.known.reading or not self.known.read_once:
            return "reading the results folders"
        if self.known.found:
            return "no run matches the filter; esc clears it"
        return "no runs yet: start one from a profile, or the demo (specdash without arguments)"

    def _folder(self, shown: list[RunInfo]) -> str:
        return one_line(str(shown[self._cursor(shown)].path), 300) if shown and self._page is None else ""

    def _say(self, text: str) -> None:
        self._note = one_line(text, 400)
        self.paint()

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

    def action_page(self, direction: int) -> None:
        """A page up or down."""
        self.action_move(direction * max(1, self.query_one("#runs-body").size.height - 2))

    def _current(self) -> RunInfo | None:
        shown = self._shown()
        return shown[self._cursor(shown)] if shown and self._page is None else None

    def action_open(self) -> None:
        """Opens the selected run: the one that is going on, or what its journal tells."""
        run = self._current()
        if run is None:
            return
        if run.problem is not None:
            self._say(f"{run.id} cannot be opened: {run.problem}")
            return
        self._say(f"opening {run.id}")
        self.app.run_worker(self._switch(switching.open_path, run.path), group="switch", exclusive=True)

    def action_resume(self) -> None:
        """Goes on with an interrupted run."""
        run = self._current()
        if run is None:
            return
        if run.state == RUNNING:
            self._say("it is running; enter attaches to it")
        elif not run.resumable:
            self._say(f"there is nothing left to measure in {run.id}" if run.problem is None else run.problem)
        else:
            self._say(f"starting to go on with {run.id}")
            self.app.run_worker(self._switch(switching.resume_path, run.path), group="switch", exclusive=True)

    async def _switch(self, how: switching.Way, path: Path) -> None:
        """Turns the dashboard to another run, or says in place why not."""
        wrong = await how(self.dashboard, path)
        self._say(wrong or "")

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
            self._say(f"reading both{self.dashboard.terminal.glyphs.ellipsis}")
            self.run_worker(self._compare(*self.marks), group="compare", exclusive=True)
        else:
            self._say("mark another one with c to set them side by side" if self.marks else "")

    async def _compare(self, a: Path, b: Path) -> None:
        try:
            views = [await asyncio.to_thread(_view, path) for path in (a, b)]
        except SpecdashError as error:
            self._say(str(error))
            return
        found = await asyncio.to_thread(comparing.compare, *views)
        glyphs = self.dashboard.terminal.glyphs
        self._page = comparing.lines(found, (a.name, b.name), self.size.width, glyphs)
        self._page_top = 0
        self._say("esc: back to the list")

    def action_filter(self) -> None:
        """Opens the filter field."""
        field = self.query_one("#runs-filter", Field)
        field.display = True
        field.value = self._wanted
        field.focus()

    def on_input_changed(self, event: Field.Changed) -> None:
        """Filters while it is typed."""
        self._wanted = event.value
        self.paint()

    def on_input_submitted(self, event: Field.Submitted) -> None:
        """Keeps the filter."""
        event.stop()
        self._close_field()

    def on_field_cut(self, event: Field.Cut) -> None:
        """More was pasted than a filter takes."""
        self._say(event.sentence)

    def _close_field(self) -> None:
        self.query_one("#runs-filter", Field).display = False
        self.set_focus(None)
        self.paint()

    def action_back(self) -> None:
        """Closes what is open, clears the filter and the marks, or goes back."""
        field = self.query_one("#runs-filter", Field)
        self._note = ""
        if field.display:
            field.value = ""
            self._close_field()
        elif self._page is not None:
            self._page, self.marks = None, []
        elif self._wanted:
            field.value = self._wanted = ""
        elif self.marks:
            self.marks = []
        else:
            self.dashboard.action_show("main" if self.dashboard.source is not None else "start")
        self.paint()


def _view(path: Path) -> View:
    """What the journal of a run tells."""
    from specdash.store.journal import read

    return fold_all(read(path / "journal.jsonl").records)
