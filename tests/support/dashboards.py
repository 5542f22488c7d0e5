"""Dashboards over recorded runs, without an engine: for tests of screens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from textual.pilot import Pilot

from specdash.core import events as ev
from specdash.core.commands import Command
from specdash.core.ticks import Tick
from specdash.remote.run_source import CaughtUp, CommandRefused, Event, Gone, LogPiece, Origin, SourceError
from specdash.ui.tui.app import Dashboard
from specdash.ui.tui.terminal import UNICODE, Terminal
from tests.support.recorded_run import recorded

SIZES = ((80, 24), (120, 36), (200, 60))


class ScriptedSource:
    """Tells these facts and ticks; keeps the commands that it was sent, and refuses them with `refusal` if given."""

    def __init__(
        self,
        facts: Sequence[ev.Fact],
        ticks: Sequence[Tick] = (),
        *,
        gone: Gone | None = None,
        refusal: str | None = None,
        logs: dict[str, bytes] | None = None,
        models_argv: Sequence[str] | None = None,
    ) -> None:
        self.origin = Origin("/results/run-1", "tower", None if gone else 4711, True, "0.0")
        self.models_argv = models_argv
        self.commands: list[Command] = []
        self.closed = False
        self._events: list[Event] = [*recorded(facts), CaughtUp(), *ticks, *([gone] if gone else [])]
        self._refusal = refusal
        self._logs = logs or {}

    async def events(self) -> AsyncIterator[Event]:
        for event in self._events:
            yield event

    async def command(self, command: Command) -> None:
        self.commands.append(command)
        if self._refusal is not None:
            raise CommandRefused(self._refusal)

    async def log(self, load: str, offset: int, size: int) -> LogPiece:
        if load not in self._logs:
            raise SourceError(f"{load} has no log")
        data = self._logs[load]
        start = max(0, offset if offset >= 0 else len(data) + offset)
        return LogPiece(start, len(data), data[start : start + size])

    async def close(self) -> None:
        self.closed = True


@asynccontextmanager
async def dashboard(
    source: ScriptedSource,
    *,
    size: tuple[int, int] = (80, 24),
    terminal: Terminal | None = None,
    show: str = "main",
    now_s: float | None = None,
) -> AsyncIterator[tuple[Dashboard, Pilot[int]]]:
    """A dashboard that has read everything its source tells, with the screen `show` painted, at `now_s` if given."""

    async def opening() -> ScriptedSource:
        return source

    app = Dashboard(opening, terminal or Terminal(UNICODE, "full"))
    if now_s is not None:
        app.clock = lambda: now_s
    async with app.run_test(size=size) as pilot:
        await app.workers.wait_for_complete()
        await pilot.pause()
        if show != "main":
            app.action_show(show)
            await pilot.pause()
        app.screen.paint()  # type: ignore[attr-defined]
        await app.workers.wait_for_complete()  # what is worked out beside the screen, such as a recommendation
        app.screen.paint()  # type: ignore[attr-defined]
        await pilot.pause()
        yield app, pilot


async def finished(pilot: Pilot[int]) -> None:
    """Waits for everything that is worked out beside the screen, unless it waits for an answer itself."""

    def is_busy() -> bool:
        asks = pilot.app.screen.is_modal
        return any(not (each.is_finished or (each.group == "dialog" and asks)) for each in pilot.app.workers)

    async with asyncio.timeout(60):
        while is_busy():
            await pilot.pause(0.005)


def screen_text(app: Dashboard) -> str:
    """What the terminal shows, as lines of text without trailing blanks."""
    width, height = app.size
    lines = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip)[:width].rstrip() for strip in lines[:height])
