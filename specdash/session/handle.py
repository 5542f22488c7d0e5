"""What whoever watches a run gets: a handle to read from, and a place to be told of complaints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from specdash.core.forecast import Effort, Range, time_left
from specdash.core.view import View
from specdash.errors import Exit
from specdash.runtime.sweep import Sweep
from specdash.session.recorder import Recorder, Subscriber


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: its folder, the exit code, the last view."""

    path: Path
    exit_code: Exit
    view: View


class Handle:
    """What a screen may know of and do to a run that is going on."""

    def __init__(self, path: Path, recorder: Recorder, sweep: Sweep, effort: Effort) -> None:
        self.path = path
        self._recorder = recorder
        self._sweep = sweep
        self._effort = effort

    @property
    def view(self) -> View:
        """The run as far as it is on disk."""
        return self._recorder.view

    @property
    def loads_left(self) -> int:
        """Server starts still queued."""
        return len(self._sweep.loads_left)

    def time_left(self) -> Range | None:
        """The forecast of the rest; None before anything was measured."""
        return time_left(self.view, self._sweep.loads_left, self._effort)

    def events_in_flight(self) -> int:
        """Stream events of the request in flight so far."""
        return self._sweep.progress.events

    def subscribe(self, subscriber: Subscriber) -> None:
        """Shows every further fact to `subscriber`."""
        self._recorder.subscribe(subscriber)


@dataclass(frozen=True, slots=True)
class Watcher:
    """A front end: told of complaints before and of the run once it can be watched."""

    begin: Callable[[Handle], None]
    complain: Callable[[str], None]
