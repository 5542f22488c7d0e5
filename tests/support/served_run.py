"""A run without a sweep, that a monitor can serve: a real journal, a handle made by hand, and raw clients."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from specdash.core import events as ev
from specdash.core.commands import PAUSE, BadCommand, Command
from specdash.core.queue import IllegalEdit
from specdash.core.reduce import fold
from specdash.core.state import RunState
from specdash.core.ticks import MemoryTick, Telemetry, Tick, fold_tick
from specdash.remote.run_source import Event, Source
from specdash.remote.server import SocketServer
from specdash.runtime.sockets import socket_path
from specdash.session.handle import Handle, Subscription
from specdash.store.journal import Journal
from tests.support.recorded_run import step

STEPS = [step(), step(4), step(8)]


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder with a path that leaves room for a socket's name."""
    folder = Path(tempfile.mkdtemp(prefix="sd-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


class WatchedRun:
    """A run folder with a journal, and what an engine would offer of it."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True)
        self.path = path
        self.journal = Journal.create(path / "journal.jsonl")
        self.view = RunState()
        self.live = Telemetry()
        self.subscriptions: list[Subscription] = []
        self.commands: list[Command] = []
        self.on_command: asyncio.Event | None = None  # commands wait for it

    def add(self, *facts: ev.Fact) -> None:
        """Records facts as an engine does: on disk, folded, told."""
        for fact in facts:
            recorded = self.journal.append(fact)
            self.view = fold(self.view, recorded)
            for each in tuple(self.subscriptions):
                each.on_fact(recorded, self.view)

    def fill(self, facts: list[ev.Fact]) -> None:
        """Facts of an earlier time, without a sync for each."""
        from specdash.store.journal import line_of

        at = self.view.last_seq
        recorded = [ev.Recorded(at + number, 1795255200.0 + number, fact) for number, fact in enumerate(facts, start=1)]
        self.journal.close()
        with (self.path / "journal.jsonl").open("ab") as file:
            file.writelines(map(line_of, recorded))
        self.journal = Journal.open(self.path / "journal.jsonl")
        for each in recorded:
            self.view = fold(self.view, each)

    def tick(self, tick: Tick) -> int:
        """Tells a tick to whoever takes ticks; how many do."""
        self.live = fold_tick(self.live, tick)
        takers = [each for each in self.subscriptions if each.on_tick is not None]
        for each in takers:
            assert each.on_tick is not None
            each.on_tick(tick)
        return len(takers)

    async def command(self, command: Command) -> None:
        """Takes "pause", and refuses the rest in the two ways there are."""
        if self.on_command is not None:
            await self.on_command.wait()
        if command.name != PAUSE:
            raise IllegalEdit("not now") if command.edits else BadCommand("not here")
        self.commands.append(command)
        self.add(ev.CommandAccepted(command.name, "paused"))

    def subscribe(self, subscription: Subscription) -> Any:
        """A subscription, and the way to end it."""
        self.subscriptions.append(subscription)
        return lambda: self.subscriptions.remove(subscription)

    @property
    def handle(self) -> Handle:
        """What a monitor gets."""
        return Handle(self.path, lambda: self.view, lambda: self.live, self.command, self.subscribe)

    @asynccontextmanager
    async def monitored(self) -> AsyncIterator[SocketServer]:
        """The run with its socket."""
        async with SocketServer(self.handle, socket_path(self.path)) as monitor:
            yield monitor
        self.journal.close()


def memory(used: int) -> MemoryTick:
    """A tick that is told from others by its number."""
    return MemoryTick(total_bytes=2**40, available_bytes=used, swap_total_bytes=0, swap_used_bytes=0)


async def until(condition: Callable[[], object]) -> None:
    """Waits until it holds, a turn of the loop at a time; fails after half a minute."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - there is no event for what the other end has noticed
            await asyncio.sleep(0.001)


async def take(events: AsyncIterator[Event], *kinds: type) -> list[Event]:
    """Events up to the first of one of these kinds, which is the last of the list."""
    found: list[Event] = []
    async with asyncio.timeout(30):
        async for event in events:
            found.append(event)
            if isinstance(event, kinds):
                return found
    raise AssertionError(f"no {kinds} among {len(found)} events")


async def finish(source: Source, events: AsyncIterator[Event]) -> list[Event]:
    """Events up to the last one; the source is closed then."""
    async with asyncio.timeout(30):
        found = [event async for event in events]
    await source.close()
    return found


class RawClient:
    """A client that says what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, path: Path, *, hello: bool = True) -> RawClient:
        """A connection to the run of this folder."""
        reader, writer = await asyncio.open_unix_connection(str(socket_path(path)), limit=2**26)
        client = cls(reader, writer)
        if hello:
            await client.say(b'{"hello":1,"since":0}\n')
            assert "welcome" in await client.line()
        return client

    async def say(self, data: bytes) -> None:
        """Sends bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def line(self) -> dict[str, Any]:
        """The next message."""
        async with asyncio.timeout(30):
            body = json.loads(await self.reader.readline())
        assert isinstance(body, dict)
        return body

    async def until(self, member: str) -> list[dict[str, Any]]:
        """Messages up to the first that has this member."""
        found = [await self.line()]
        while member not in found[-1]:
            found.append(await self.line())
        return found

    async def rest(self) -> bytes:
        """Everything until the other end closes."""
        async with asyncio.timeout(30):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    async def close(self) -> None:
        """Leaves."""
        self.writer.transport.abort()
        await asyncio.sleep(0)
