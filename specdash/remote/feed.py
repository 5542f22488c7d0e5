"""What a screen knows of a run: its facts folded, its newest ticks, and whether more will come.

One value, replaced as a whole; every pane is a pure function of it, so a screen can be tested from a journal alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from specdash.core.events import Recorded
from specdash.core.reduce import fold, fold_all
from specdash.core.state import RunState
from specdash.core.ticks import Telemetry, Tick, fold_tick
from specdash.remote.run_source import CaughtUp, Event, Gone, Moved, Origin


@dataclass(frozen=True, slots=True)
class RunFeed:
    """A run as a client sees it.

    `caught_up`: everything that had happened before is told. `gone`: nothing more comes.
    """

    view: RunState = field(default_factory=RunState)
    live: Telemetry = field(default_factory=Telemetry)
    origin: Origin | None = None
    caught_up: bool = False
    gone: Gone | None = None

    @property
    def is_live(self) -> bool:
        """Whether an engine is at work at the other end."""
        return self.caught_up and self.gone is None and self.view.finished is None


def fold_events(feed: RunFeed, events: Iterable[Event]) -> RunFeed:
    """The feed after all of `events`; the same as one by one, and much faster for the thousands of a replay."""
    facts: list[Recorded] = []
    for event in events:
        if isinstance(event, Recorded):
            facts.append(event)
            continue
        if facts:
            feed, facts = replace(feed, view=fold_all(facts, feed.view)), []
        feed = fold_event(feed, event)
    return replace(feed, view=fold_all(facts, feed.view)) if facts else feed


def fold_event(feed: RunFeed, event: Event) -> RunFeed:
    """The feed after one more event of a source."""
    match event:
        case Recorded():
            return replace(feed, view=fold(feed.view, event))
        case CaughtUp():
            return replace(feed, caught_up=True)
        case Moved():
            return replace(feed, origin=replace(feed.origin, path=event.path)) if feed.origin is not None else feed
        case Gone():
            # What was happening is not happening any more; histories stay to be looked at.
            live = replace(feed.live, servers={}, requests={}, memory=None, disk=None)
            return replace(feed, caught_up=True, gone=event, live=live)
        case Tick():
            return replace(feed, live=fold_tick(feed.live, event))
    return feed
