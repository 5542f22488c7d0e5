"""The logs screen: a server's log, read in pieces through the source, with follow, search, and specdash's own lines.

Memory is bounded by the window; the file has everything. Reading and searching go on in workers, a piece at a time, so
keys are answered whatever the size of the file.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal

from specdash.core.text import one_line
from specdash.remote.run_source import SourceError
from specdash.ui.tui.keys import movement
from specdash.ui.tui.lines import Line, LinesWidget
from specdash.ui.tui.logview.log_file import Scanner
from specdash.ui.tui.logview.log_view import LogView, log_side_lines, log_title, search_line
from specdash.ui.tui.panes.pane import paragraph
from specdash.ui.tui.widgets.form import Field
from specdash.ui.tui.widgets.list_screen import PageScreen

SCAN_BYTES = 512 * 2**10
BESIDE_FROM = 120  # columns of the terminal from which there is room beside the log
BESIDE_WIDTH = 40
PAN = 16


class LogsScreen(PageScreen):
    """The log of one load: the newest one, or the one that was chosen."""

    PAGE = "logs"
    PLACEHOLDER = "search in the whole file; enter"
    FIELD_LIMIT = 256
    PARTS = ("title", "body", "beside", "note")
    SOMETIMES = ("match", "earlier", "later")
    DEFAULT_CSS = """
    LogsScreen #logs-middle { height: 1fr; }
    LogsScreen #logs-beside { height: 1fr; width: 40; padding: 0 0 0 1; display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "follow", "Follow", id="logs.follow"),
        Binding("slash", "search", "Search", key_display="/", id="logs.search"),
        Binding("n", "match(1)", "Next match", id="logs.next"),
        Binding("N", "match(-1)", "Previous match", id="logs.previous", show=False),
        Binding("left_square_bracket", "earlier", "Earlier", key_display="[", id="logs.earlier"),
        Binding("right_square_bracket", "later", "Later", key_display="]", id="logs.later"),
        Binding("v", "level", "Level", id="logs.level"),
        Binding("w", "wrap", "Wrap", id="logs.wrap"),
        Binding("i", "case", "Case of letters in searches", id="logs.case", show=False),
        Binding("g,home", "start", "Start of the file", id="logs.start", show=False),
        Binding("G,end", "end", "End", id="logs.end"),
        *movement("logs")[:4],
        Binding("l,right", "pan(1)", "Right", id="logs.right", show=False),
        Binding("h,left", "pan(-1)", "Left", id="logs.left", show=False),
        Binding("escape", "back", "Back", id="logs.back"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.log_model = LogView()
        self._log_reading = False
        self._log_searching = False

    def compose_body(self) -> ComposeResult:
        """Yield the log and the column beside it."""
        with Horizontal(id="logs-middle"):
            yield LinesWidget(id="logs-body", classes="page-body")
            yield LinesWidget(id="logs-beside")

    # -- painting ----------------------------------------------------------------------------------------------

    def paint(self) -> None:
        """Show the window as it is, then read what is missing."""
        if not self.is_ready:
            return
        model, view, glyphs = self.log_model, self.feed.view, self.dashboard.terminal.glyphs
        is_wide = self.size.width >= BESIDE_FROM
        model.width = max(1, self.size.width - (BESIDE_WIDTH if is_wide else 0))
        model.height, model.ellipsis = self.rows, glyphs.ellipsis
        model.settle(self.feed)
        model.stay_at(model.place())
        self.part("beside").display = is_wide
        self.show_page(
            log_title(model, view, self.size.width, glyphs),
            self._instead() or model.rows(),
            search_line(model, self.size.width, glyphs.ellipsis),
        )
        if is_wide:
            self.part("beside").show(log_side_lines(model, view, BESIDE_WIDTH - 1, glyphs))
        if not self._log_reading and self.dashboard.source is not None and model.wanted() is not None:
            self._log_reading = True
            self.run_worker(self._read(), group="log", name="log")
        if model.is_scanning and not self._log_searching:
            self._search()

    def _instead(self) -> list[Line]:
        """Return what stands in the place of a log that cannot be shown."""
        model = self.log_model
        if model.shown is None:
            return [((" no server was started yet; its log will be here", "dim"),)]
        if model.problem is not None:
            return list(paragraph(f"the log cannot be shown: {model.problem}", model.width - 1, "warn"))
        if model.entries() or self._log_reading or model.wanted() is not None:
            return []
        said = "nothing of this level in the lines in view" if model.level else "the log is empty so far"
        return [((f" {said}", "dim"),)]

    # -- reading -----------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Read pieces until the screen lacks nothing."""
        model, source = self.log_model, self.dashboard.source
        try:
            while source is not None and (wanted := model.wanted()) is not None:
                load, window = model.shown, model.window
                try:
                    piece = await source.log(load or "", wanted.offset, wanted.size)
                except SourceError as error:
                    if load == model.shown:
                        model.fail(one_line(str(error), 400))
                    continue
                if load == model.shown and window is model.window:
                    model.take(wanted, piece)
                await asyncio.sleep(0)
        finally:
            self._log_reading = False
        self.paint()

    def _search(self) -> None:
        """Go on with the search, unless it is at work already."""
        scan = self.log_model.scan
        if scan is not None:
            self._log_searching = True
            self.run_worker(self._scan_file(scan), group="search", name="search", exclusive=True)

    async def _scan_file(self, scan: Scanner) -> None:
        """Read the whole file for `scan`, a piece at a time, and what a live log has grown by."""
        model, source, load = self.log_model, self.dashboard.source, self.log_model.shown
        try:
            while source is not None and load is not None and scan is model.scan and not model.scan_stopped:
                piece = await source.log(load, scan.end, SCAN_BYTES)
                model.known_bytes = max(model.known_bytes, piece.size)
                if not piece.data or piece.offset != scan.end or scan is not model.scan:
                    break
                scan.feed(piece.data)
                model.settle_match()
                self.paint()
                # A local file is read without ever waiting: keys and repaints get their turn here.
                await asyncio.sleep(0)
        except SourceError as error:
            model.scan_stopped = True
            self.dashboard.tell(str(error), level="warning")
        if scan is model.scan:
            self._log_searching = False
            if not model.is_scanning or model.scan_stopped:
                model.settle_match(ended=True)
            self.paint()

    def say(self, text: str) -> None:
        """Say a sentence in a corner: the rows are the log's."""
        self.dashboard.tell(text, level="warning")

    # -- keys --------------------------------------------------------------------------------------------------

    def action_search(self) -> None:
        """Open the search field."""
        self.open_field()

    def on_input_submitted(self, event: Field.Submitted) -> None:
        """Search the whole file, from what is on the screen on."""
        event.stop()
        self.close_field()
        if event.value:
            self.log_model.begin_scan(event.value)
            self.log_model.awaited = 1
            self._search()
        self.paint()

    def action_match(self, direction: int) -> None:
        """Jump to the next or the last line with the text, around the ends of the file."""
        model = self.log_model
        model.awaited = direction
        model.settle_match(ended=not model.is_scanning)
        self.paint()

    def action_case(self) -> None:
        """Let the case of letters matter in searches, or not."""
        model = self.log_model
        model.ignore_case = not model.ignore_case
        if model.scan is None:
            self.dashboard.tell("searches ignore case" if model.ignore_case else "case matters in searches")
        else:
            model.begin_scan(model.scan.text)
            model.awaited = 1
            self._search()
        self.paint()

    def action_follow(self) -> None:
        """Follow the end of the log, or stay where it is."""
        if self.log_model.follow:
            self.log_model.follow = False
        else:
            self.log_model.to_end()
        self.paint()

    def why_not(self, action: str) -> str | None:
        """Return what there must be to go to: matches, or other loads."""
        loads = list(self.feed.view.loads)
        if action == "match":
            return None if self.log_model.scan is not None else ""
        end = loads[:1] if action == "earlier" else loads[-1:]
        return None if len(loads) > 1 and end != [self.log_model.shown] else ""

    def action_earlier(self) -> None:
        """Show the log of the load before this one."""
        self._choose(-1)

    def action_later(self) -> None:
        """Show the log of the load after this one."""
        self._choose(1)

    def _choose(self, by: int) -> None:
        self.log_model.choose(by, self.feed)
        self._log_searching = False
        self.paint()

    def action_level(self) -> None:
        """Show all lines, warnings and errors, or errors."""
        self.log_model.next_level()
        self.paint()

    def action_wrap(self) -> None:
        """Wrap long lines, or cut them at the edge."""
        self.log_model.toggle_wrap()
        self.paint()

    def action_pan(self, direction: int) -> None:
        """Shift long lines to the side."""
        self.log_model.shift(direction * PAN)
        self.paint()

    def action_start(self) -> None:
        """Go to the first line of the file."""
        self.log_model.to_start()
        self.paint()

    def action_end(self) -> None:
        """Go to the last line of the file and follow it."""
        self.log_model.to_end()
        self.paint()

    def action_move(self, by: int) -> None:
        """Move some rows up or down; up ends following."""
        self.log_model.move(by)
        self.paint()

    def action_back(self) -> None:
        """Close the search field, stop the search, clear it, or go back to the main screen."""
        model = self.log_model
        if self.is_typing:
            self.close_field()
        elif model.is_scanning:
            model.scan_stopped, model.awaited = True, 0
        elif model.scan is not None:
            model.scan, model.found = None, None
        else:
            self.dashboard.action_show("main")
        self.paint()
