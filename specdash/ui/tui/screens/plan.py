"""The plan of a profile: what it would do, everything that is wrong with it, and the way to start it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar

from textual.binding import Binding, BindingType

from specdash.core.text import one_line
from specdash.ui.tui import run_launcher
from specdash.ui.tui.keys import movement
from specdash.ui.tui.lines import Line, fitted, rule, scrolled
from specdash.ui.tui.page import PageScreen
from specdash.ui.tui.panes.pane import paragraph
from specdash.ui.tui.wizard.planned import Planned, digest_of, plan_of


class PlanScreen(PageScreen):
    """What a profile would do; y starts it. The file is read again then: it may have been edited meanwhile."""

    PAGE = "plan"
    SOMETIMES = ("start",)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "start", "Start", id="plan.start"),
        Binding("r", "read", "Read again", id="plan.read"),
        Binding("escape,n", "back", "Back", id="plan.back"),
        *movement("plan"),
    ]

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.planned: Planned | None = None
        self._top = 0
        self._starting = False

    def on_mount(self) -> None:
        """Reads the profile."""
        self.action_read()

    def action_read(self) -> None:
        """Reads the profile and the headers of its models again."""
        self.planned = None
        self.run_worker(self._read(""), group="plan", exclusive=True)

    async def _read(self, note: str) -> None:
        self.say(note)
        self.planned = await asyncio.to_thread(plan_of, self.path)
        self.paint()

    def paint(self) -> None:
        """Shows the plan as far as it is known."""
        if not self.is_ready:
            return
        width, glyphs = self.size.width, self.dashboard.terminal.glyphs
        rows: list[Line] = [(("reading the profile and its models", "dim"),)]
        if self.planned is not None:
            rows = [row for line in self.planned.lines for row in _wrapped(line, width)]
        self._top = scrolled(self._top, self.rows, len(rows))
        title = rule(f"plan of {one_line(str(self.path), 100)}", "", width, glyphs.rule)
        self.show_page([fitted(title, width, glyphs.ellipsis)], rows[self._top : self._top + self.rows])

    def why_not(self, action: str) -> str | None:
        """Only a profile without problems can be started."""
        if self.planned is None or self._starting:
            return "a moment"
        return None if self.planned.can_start else "it cannot be started as it is"

    def action_move(self, by: int) -> None:
        """Further up or down the plan."""
        self._top += by
        self.paint()

    def action_start(self) -> None:
        """Starts the profile, unless it is another one by now."""
        if self.planned is not None and self.planned.can_start and not self._starting:
            self._starting = True
            # The app's worker: this screen is gone once the run is shown.
            self.app.run_worker(self._start(self.planned), group="switch")

    async def _start(self, planned: Planned) -> None:
        said = "The profile was changed on disk: this is its plan now."
        try:
            if await asyncio.to_thread(digest_of, self.path) != planned.digest:
                self.planned = None
                await self._read(said)
            else:
                self.say("starting")
                said = await run_launcher.start_path(self.dashboard, self.path) or ""
        finally:
            self._starting = False
        self.say(said)

    def action_back(self) -> None:
        """Back to where it came from; nothing was started."""
        self.app.pop_screen()


def _wrapped(line: Line, width: int) -> list[Line]:
    """A line on as many rows as it takes; the first span's style for all of a long one."""
    text = "".join(part for part, _ in line)
    if len(text) < width:
        return [((" ", ""), *line)]
    return list(paragraph(text, width - 1, line[0][1] if len(line) == 1 else ""))
