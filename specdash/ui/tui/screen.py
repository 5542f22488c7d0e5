"""The base of every screen: it paints the feed of the moment when it is told to, and on nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from textual import events
from textual.screen import Screen

from specdash.remote.feed import RunFeed
from specdash.ui.tui.context import DashboardPart
from specdash.ui.tui.header_footer import Bar

PUSHED_WITHIN = 50  # turns of the event loop in which a dialog is there, unless none is asked for

P = ParamSpec("P")
AnyScreen = TypeVar("AnyScreen", bound="RunScreen")
Steps = Callable[Concatenate[AnyScreen, P], Coroutine[Any, Any, None]]


def dialog(steps: Steps[AnyScreen, P]) -> Steps[AnyScreen, P]:
    """Let a handler wait for the answers of dialogs: it goes on in a worker, and returns once the first one is there.

    So a key that comes in one packet with the one that opened it belongs to the dialog.
    """

    @wraps(steps)
    async def opened(screen: AnyScreen, /, *args: P.args, **kwargs: P.kwargs) -> None:
        before = len(screen.app.screen_stack)
        worker = screen.run_worker(steps(screen, *args, **kwargs), group="dialog")
        for _ in range(PUSHED_WITHIN):
            if worker.is_finished or len(screen.app.screen_stack) > before:
                break
            await asyncio.sleep(0)

    return opened


class RunScreen(DashboardPart, Screen[None]):
    """A screen of the dashboard.

    `paint` is called at the repaint rate while the feed changes, after a resize and when the screen comes to the front;
    it must be cheap and idempotent. Key handlers change the screen's own state and call `paint` themselves.
    """

    @property
    def feed(self) -> RunFeed:
        """Return the run as it is known now."""
        return self.dashboard.feed

    def paint(self) -> None:
        """Bring what is on the screen up to date with the feed."""

    def repaint(self) -> None:
        """Paints, unless the screen is not there yet or not any more: timers and answers may come that late."""
        if self.is_mounted and self.is_running and self.children and not self.dashboard.is_holding:
            self.paint()
            for bar in self.query(Bar):
                bar.repaint()

    def on_screen_resume(self) -> None:
        """Paint when it comes to the front."""
        self.call_after_refresh(self.repaint)

    def on_resize(self, event: events.Resize) -> None:
        """Paint for another size."""
        self.call_after_refresh(self.repaint)
