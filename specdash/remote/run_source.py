"""Where a dashboard gets a run from, and what it may ask of it.

Three kinds: a socket of the engine process on this machine, the same through ssh, and a run folder that nothing is at
work on. All give the whole run from its first fact, then whatever happens; only the first two take commands. Errors are
`SourceError`s with a sentence for the person at the keyboard.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from specdash.core.commands import Command
from specdash.core.events import Recorded
from specdash.core.ticks import Tick


class SourceError(Exception):
    """Something that a source could not do; the message is one sentence, safe to show after `one_line`."""


class CommandRefused(SourceError):
    """The run did not accept a command; the message says why."""


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """Everything that had happened when the source was opened has been told; what follows is new."""


@dataclass(frozen=True, slots=True)
class Gone:
    """Nothing more will come: the run is over, its engine died, or the line broke. `why` is a sentence.

    `lost`: the engine may still be at work; only the way to it broke. `again` is the command that comes back to it,
    where it is not the one of a run of this machine.
    """

    why: str
    lost: bool = False
    again: str | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """The run folder is somewhere else now, or there again; `path` is where."""

    path: str


@dataclass(frozen=True, slots=True)
class Origin:
    """What is at the other end. `path` is the run folder there; `pid` is None where no engine is at work."""

    path: str
    host: str
    pid: int | None
    is_local: bool
    specdash_version: str


@dataclass(frozen=True, slots=True)
class LogPiece:
    """A part of a server's log: `data` begins at `offset` of a file that has `size` bytes now."""

    offset: int
    size: int
    data: bytes


Event = Recorded | Tick | CaughtUp | Moved | Gone

MODELS = ("models", "--json")  # what `models_argv` asks specdash for


def own_argv(*arguments: str) -> list[str]:
    """A command of this specdash, on this machine, as a process of its own."""
    return [sys.executable, "-m", "specdash", *arguments]


class Source(Protocol):
    """One run to look at."""

    @property
    def origin(self) -> Origin:
        """Where it is; known once it is open."""

    @property
    def models_argv(self) -> Sequence[str] | None:
        """The command that prints the models on the run's machine, as `specdash models --json` does.

        None where they cannot be looked for. On a local source folders to search may be added to it.
        """

    def events(self) -> AsyncIterator[Event]:
        """Facts from the first one, `CaughtUp`, then facts and ticks as they come, `Gone` at last. Iterate once.

        Raises SourceError when the journal cannot be read at all.
        """

    async def command(self, command: Command) -> None:
        """Asks the run for something; returns once it is in the journal. Raises Refused, or SourceError."""

    async def log(self, load: str, offset: int, size: int) -> LogPiece:
        """At most `size` bytes of a load's log from `offset`; a negative offset counts from its end.

        Raises SourceError where there is no such log, or no way to it.
        """

    async def close(self) -> None:
        """Lets go of the run; the run does not notice."""
