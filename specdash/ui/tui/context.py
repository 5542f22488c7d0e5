"""What screens and widgets may ask of the dashboard, so that they need not know the application itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from textual.message_pump import MessagePump
from textual.screen import Screen

from specdash.core.commands import Command
from specdash.core.forecast import Outlook, Range
from specdash.remote.feed import RunFeed
from specdash.remote.run_source import Source
from specdash.ui.tui.discovery import DiscoveredModel
from specdash.ui.tui.keys import ActionInfo
from specdash.ui.tui.recommendations import Recommendations
from specdash.ui.tui.terminal import Terminal

SourceFactory = Callable[[], Awaitable[Source | None]]


@runtime_checkable
class Repaintable(Protocol):
    """A screen that is painted at the repaint rate."""

    def repaint(self) -> None:
        """Bring what is shown up to date with the feed."""


class DashboardContext(Protocol):
    """The application as its screens see it.

    `is_own`: the run was started from here. `rate_hz`: how often it repaints. `terminal`: what can be shown.
    """

    terminal: Terminal
    source: Source | None
    is_own: bool
    rate_hz: float

    @property
    def feed(self) -> RunFeed:
        """Return the run as it is known now."""

    @property
    def is_holding(self) -> bool:
        """Return whether nothing is painted yet, since the run is about to be known."""

    @property
    def now_s(self) -> float:
        """Return the time, in seconds since 1970."""

    @property
    def outlook(self) -> Outlook | None:
        """Return what the run has still before it."""

    @property
    def time_left(self) -> Range | None:
        """Return the time until the end of the run; None where it cannot be known."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what is unusual about this viewer, for the connection line."""

    @property
    def advice(self) -> Recommendations:
        """Return what follows from what is measured."""

    @property
    def has_run(self) -> bool:
        """Return whether a run is shown, or on its way."""

    @property
    def model_dirs(self) -> tuple[Path, ...]:
        """Return the user's own model folders."""

    @property
    def available_themes(self) -> Iterable[str]:
        """Return the names of all themes."""

    @property
    def screen_stack(self) -> Sequence[Screen[Any]]:
        """Return the screens, the one in front last."""

    def open_run(self, opening: SourceFactory, *, own: bool = False) -> None:
        """Show another run instead of this one; `own`: it was started from here."""

    async def send(self, command: Command) -> str | None:
        """Send a command to the run; None when it is in the journal, else why not, as a sentence."""

    def tell(self, text: str, *, level: str = "info") -> None:
        """Show a sentence for a few seconds: "info", "warning" or "error"."""

    async def find_models(self) -> list[DiscoveredModel]:
        """Return the models on the machine of the run. Raises discovery.FindError."""

    def acts(self) -> list[ActionInfo]:
        """Return every action with the keys that it has now."""

    def perform(self, act: ActionInfo) -> None:
        """Do what a key would do, on the screen that the action belongs to."""

    def reaches(self, where: str) -> bool:
        """Return whether the actions of a place can be done now."""

    def place_of(self, screen: Screen[Any]) -> str:
        """Return the name of a screen; "everywhere" for one that has none."""

    def action_show(self, name: str) -> None:
        """Bring a screen to the front."""

    def pop_screen(self) -> Any:
        """Remove the screen in front."""

    def choose_theme(self, name: str) -> None:
        """Change the theme and keep it in the settings."""

    def save_picture(self) -> None:
        """Write what is on the screen to an SVG file."""


class DashboardPart:
    """Mixed into screens and widgets that ask something of the dashboard."""

    @property
    def dashboard(self) -> DashboardContext:
        """Return the application, which holds the feed and sends commands."""
        return cast("DashboardContext", cast("MessagePump", self).app)
