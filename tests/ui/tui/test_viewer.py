"""When a viewer paints."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import scenes
from dashboards import ScriptedSource, screen_text

from specdash.ui.source import Event
from specdash.ui.tui.app import Dashboard
from specdash.ui.tui.terminal import UNICODE, Terminal


class Slow(ScriptedSource):
    """Tells nothing before it may."""

    def __init__(self) -> None:
        super().__init__(scenes.facts())
        self.may = asyncio.Event()

    async def events(self) -> AsyncIterator[Event]:
        await self.may.wait()
        async for event in super().events():
            yield event


async def test_what_has_happened_is_painted_once_it_is_known_and_not_with_the_next_repaint() -> None:
    source = Slow()

    async def opening() -> Slow:
        return source

    app = Dashboard(opening, Terminal(UNICODE, "full"))
    app.rate_hz = 0.001
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert "READING" in screen_text(app)
        source.may.set()
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert "READING" not in screen_text(app)
        assert "5/9" in screen_text(app)
