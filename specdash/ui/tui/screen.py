"""The base of every screen: it paints the feed of the moment when it is told to, and on nothing else."""

from __future__ import annotations

from textual import events
from textual.screen import Screen

from specdash.remote.feed import RunFeed
from specdash.ui.tui.context import DashboardPart
from specdash.ui.tui.header_footer import Bar


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
