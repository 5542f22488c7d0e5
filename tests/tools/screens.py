"""Renders the dashboard's screens to SVG, from a run: `python -m tests.tools.screens RUN OUT [WIDTHxHEIGHT]`.

On a run that goes on, the main screen is taken while drafted tokens are accepted. Used for the pictures in docs/.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from textual.pilot import Pilot

from specdash.remote.run_source import Source
from specdash.remote.sources import open_run
from specdash.ui.tui.app import Dashboard
from specdash.ui.tui.terminal import UNICODE, Terminal

SCREENS = ("main", "queue", "results", "logs")
LIMIT_S = 120.0


async def caught(app: Dashboard, pilot: Pilot[int]) -> None:
    """Waits until the run is told, and, while it goes on, until an accepted token is on the screen."""
    async with asyncio.timeout(LIMIT_S):
        while not app.feed.caught_up:
            await pilot.pause(0.1)
        while app.feed.is_live:
            token = app.feed.live.token
            history = sum(rate is not None for rate in app.feed.live.rates_tok_s)
            if token is not None and token.tokens > 40 and any(run.drafted for run in token.text) and history > 30:
                break
            await pilot.pause(0.05)


async def render(run: Path, out: Path, size: tuple[int, int]) -> None:
    """Writes one SVG for each screen."""

    async def opening() -> Source:
        return await open_run(run)

    app = Dashboard(opening, Terminal(UNICODE, "full"))
    async with app.run_test(size=size) as pilot:
        await caught(app, pilot)
        for name in SCREENS:
            app.action_show(name)
            await pilot.pause(2.0 if name != "main" else 0.2)
            app.paint_now()
            await pilot.pause()
            (out / f"{name}.svg").write_text(app.export_screenshot(title="specdash"), encoding="utf-8")


if __name__ == "__main__":
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    width, _, height = (sys.argv[3] if len(sys.argv) > 3 else "120x36").partition("x")
    asyncio.run(render(Path(sys.argv[1]), Path(sys.argv[2]), (int(width), int(height))))
