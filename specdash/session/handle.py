"""What whoever watches a run gets: a handle to read from and to ask through, and a place to be told of complaints."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

from specdash.core.commands import Command
from specdash.core.events import Recorded
from specdash.core.state import RunState
from specdash.core.ticks import Live, Tick
from specdash.errors import Exit

OnFact = Callable[[Recorded, RunState], None]
OnTick = Callable[[Tick], None]


@dataclass(frozen=True, slots=True)
class Reports:
    """What was made of a run's journal: the files that are there now, and of each that is not, a sentence why."""

    written: tuple[Path, ...] = ()
    failed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: its folder, the exit code, the last view, and what reports there are of it."""

    path: Path
    exit_code: Exit
    view: RunState
    reports: Reports = Reports()


@dataclass(frozen=True, slots=True)
class Subscription:
    """A watcher of a run: told of every fact once it is on disk, and of the newest ticks.

    Both are called in the engine's loop and must return at once; one that raises is dropped. Ticks are only made
    while somebody takes them.
    """

    on_fact: OnFact
    on_tick: OnTick | None = None


@dataclass(slots=True)
class Handle:
    """A run that is going on. `path` is where its folder is now; `view` and `live` give the state as it is now.

    `command` carries a command out and returns once it is in the journal; it raises core.commands.BadCommand or
    core.queue.IllegalEdit with the reason when it cannot. `subscribe` returns a function that ends the subscription.
    `clean_log` masks the secrets in a server's log before it is read.
    `on_kept` are called about once a second, after it was seen to that the folder is whole: for what a front end keeps
    in it.
    """

    path: Path
    view: Callable[[], RunState]
    live: Callable[[], Live]
    command: Callable[[Command], Awaitable[None]]
    subscribe: Callable[[Subscription], Callable[[], None]]
    clean_log: Callable[[Path], None] = lambda path: None
    on_kept: list[Callable[[], None]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Watcher:
    """A front end.

    `watch` is entered with the run's handle before its first server starts, and left after its last fact; `complain`
    is told of what goes wrong outside the run's facts.
    """

    watch: Callable[[Handle], AbstractAsyncContextManager[None]]
    complain: Callable[[str], None]
