"""Where a client finds a run: the engine at work on it, on this machine or behind ssh, or else its folder.

All are `remote.run_source.Source`s; `open_run` and `PipeSource.open` are the ways in.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from specdash import __version__
from specdash.core.commands import Command
from specdash.core.events import Recorded
from specdash.core.reduce import fold_all
from specdash.core.state import RunState
from specdash.errors import StoreError
from specdash.remote.connection import EVENTS_AT_ONCE, Connection, EngineSource, greet, origin_of, welcomed
from specdash.remote.protocol import NOBODY, log_name, read_log, read_pointer, reason_run_ended
from specdash.remote.run_source import (
    MODELS,
    CaughtUp,
    CommandRefused,
    Event,
    Gone,
    LogPiece,
    Origin,
    SourceError,
    own_argv,
)
from specdash.remote.ssh import SshLine
from specdash.runtime.locks import run_owner, wait_ended
from specdash.runtime.running import engine_of
from specdash.runtime.sockets import connect
from specdash.store.journal import read
from specdash.store.runs import JOURNAL

ANSWER_S = 10.0
STARTING_S = 3.0  # an engine holds its lock for a moment before it listens
WAIT_S = 0.05
UNLOCKED_S = 2.0  # a process that dies closes its socket a moment before its lock


class SocketSource(EngineSource):
    """The socket of the engine at work on a run folder of this machine."""

    @classmethod
    async def open(cls, path: Path, since: int = 0) -> SocketSource:
        """Connects; facts up to number `since` are not told again. Raises SourceError with what to do."""
        try:
            connection = dial(path)
        except OSError as error:
            raise SourceError(unreachable(path, error)) from error
        _, wire = await asyncio.get_running_loop().create_unix_connection(Connection, sock=connection)
        try:
            async with asyncio.timeout(ANSWER_S):
                welcome = await greet(wire, since)
        except TimeoutError as error:
            wire.close()
            raise SourceError(
                f"the engine of {path.name} does not answer; is it stopped, or its disk stuck?"
            ) from error
        except BaseException:
            wire.close()
            raise
        if welcome is None:
            raise SourceError(f"the engine of {path.name} has just ended; look at the run again: specdash attach")
        return cls(wire, origin_of(welcome, is_local=True))

    async def _why_gone(self) -> Gone:
        if self.is_over:
            return Gone("the run is over")
        run = Path(self._origin.path)
        if self._wire.problem is None and await asyncio.to_thread(wait_ended, run, UNLOCKED_S):
            return Gone(f"the engine has died; what it measured is safe: specdash resume {self.name}")
        broken = self._wire.problem or "the connection to the engine broke"
        return Gone(f"{broken}; try again: specdash attach {self.name}", lost=True)


def dial(path: Path) -> socket.socket:
    """A connection to the engine at work on a run folder, whatever happened to that; raises OSError."""
    at_work, pointer = engine_of(path), read_pointer(path)
    if at_work is not None and at_work.socket is not None:
        return connect(at_work.socket)
    if pointer is None:
        raise FileNotFoundError(2, "it points to no engine")
    return connect(Path(pointer.socket))


def unreachable(path: Path, error: OSError) -> str:
    """Why no engine answers for a run folder, and what to do."""
    pointer, owner = read_pointer(path), run_owner(path)
    if owner is None and not os.path.isfile(path / JOURNAL):
        return f"{path} is no run folder, or is gone"
    host = owner.host if owner is not None else pointer.host if pointer is not None else socket.gethostname()
    if host != socket.gethostname():
        return f"{path.name} is run on {host}: specdash attach --ssh {host} {path.name}"
    if owner is None:
        return f"no engine is at work on {path.name}; go on with it: specdash resume {path.name}"
    return f"the engine of {path.name} (pid {owner.pid}) cannot be reached: {error.strerror or error}"


class PipeSource(EngineSource):
    """A run of another machine, through `ssh HOST specdash relay RUN`: no port is opened there."""

    def __init__(self, wire: Connection, origin: Origin, line: SshLine) -> None:
        super().__init__(wire, origin)
        self._line = line

    @classmethod
    async def open(
        cls,
        host: str,
        run: str | None = None,
        since: int = 0,
        *,
        options: Sequence[str] = (),
        ssh: Sequence[str] | None = None,
        remote: Sequence[str] | None = None,
    ) -> PipeSource:
        """Connects, as `SshLine.open` does, and waits for the welcome."""
        return await cls.over(SshLine.open(host, run, since, options=options, ssh=ssh, remote=remote))

    @classmethod
    async def over(cls, line: SshLine) -> PipeSource:
        """The run at the other end of a line. Raises SourceError with what ssh or the other specdash had to say."""
        _, wire = await asyncio.get_running_loop().create_unix_connection(Connection, sock=line.end)
        source = cls(wire, Origin("", line.host, None, False, "?"), line)
        try:
            welcome = await welcomed(wire)
            if welcome is None:
                raise SourceError(wire.problem or await line.refusal())
        except BaseException:
            await source.close()
            raise
        source._origin = origin_of(welcome, is_local=False)
        return source

    @property
    def models_argv(self) -> Sequence[str] | None:
        """The command that prints the models on the engine's machine: there."""
        return self._line.models_argv

    async def close(self) -> None:
        """Lets go of the run; ssh has ended when this returns."""
        await super().close()
        await self._line.close()

    async def _why_gone(self) -> Gone:
        line = self._line
        code = await line.ended()
        if self.is_over:
            return Gone("the run is over")
        if code == 0:  # the relay ends like this once the engine's socket has closed
            return Gone(f"the engine on {line.host} has died; go on there with: specdash resume {self.name}")
        again = f"specdash attach --ssh {line.host} {self.name}"
        said = (
            self._wire.problem or line.said() or (f"ssh ended by signal {-code}" if code < 0 else f"exit code {code}")
        )
        way = f"specdash attach --ssh {line.host}"
        return Gone(f"the line to {line.host} broke ({said}); the run there goes on: {again}", lost=True, again=way)


class FolderSource:
    """A run folder that nothing is at work on; it takes no commands."""

    def __init__(self, path: Path, since: int = 0) -> None:
        self._path = path
        self._since = since
        self._view: RunState | None = None

    @property
    def origin(self) -> Origin:
        """Where it is: here."""
        return Origin(str(self._path.absolute()), socket.gethostname(), None, True, __version__)

    @property
    def models_argv(self) -> Sequence[str] | None:
        """The command that prints the models here; None for a run of another machine, whose models are there."""
        run = self._view.run if self._view is not None else None
        return own_argv(*MODELS) if run is not None and run.host == socket.gethostname() else None

    async def events(self) -> AsyncIterator[Event]:
        """The facts of the journal, CaughtUp, Gone. Raises SourceError for a journal that cannot be read."""
        try:
            records, view = await asyncio.to_thread(self._read)
        except StoreError as error:
            raise SourceError(str(error)) from error
        self._view = view
        for number, recorded in enumerate(records):
            if recorded.seq > self._since:
                yield recorded
            if number % EVENTS_AT_ONCE == 0:
                await asyncio.sleep(0)
        yield CaughtUp()
        yield Gone(reason_run_ended(view, self._path.name))

    def _read(self) -> tuple[tuple[Recorded, ...], RunState]:
        records = read(self._path / JOURNAL).records
        return records, fold_all(records)

    async def command(self, command: Command) -> None:
        """Nobody is there to carry it out: raises Refused."""
        raise CommandRefused(NOBODY.format(self._path.name))

    async def log(self, load: str, offset: int, size: int) -> LogPiece:
        """A part of a load's log. Raises SourceError."""
        if self._view is None:
            raise SourceError("the journal of this run has not been read yet")
        return read_log(self._path, log_name(self._view, load), offset, size)

    async def close(self) -> None:
        """Lets go of the run."""


async def open_run(path: Path, since: int = 0, wait_s: float = STARTING_S) -> SocketSource | FolderSource:
    """The run of a folder: through its engine where one is at work, else from its journal.

    An engine that has just been started is waited for `wait_s`. Raises SourceError where an engine is at work that
    cannot be reached, or where there is no run.
    """
    until_s = time.monotonic() + wait_s
    while True:
        try:
            return await SocketSource.open(path, since)
        except SourceError:
            owner = run_owner(path)
            if owner is None and (path / JOURNAL).is_file():
                return FolderSource(path, since)
            if owner is None or not owner.here or time.monotonic() > until_s:
                raise
        await asyncio.sleep(WAIT_S)
