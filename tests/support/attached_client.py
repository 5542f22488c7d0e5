"""A client of a run that an engine process is at work on, for tests of what may be asked of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from specdash.core.commands import EDIT, Command, Edit
from specdash.core.ticks import Tick
from specdash.remote.feed import RunFeed, fold_event
from specdash.remote.run_source import Source
from specdash.remote.sources import open_run

LIMIT_S = 30.0


class Client:
    """Follows a run; `ticks` are all that came."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.feed = RunFeed()
        self.ticks: list[Tick] = []
        self._news = asyncio.Condition()

    async def follow(self) -> None:
        """Folds everything that the run tells."""
        async for event in self.source.events():
            self.feed = fold_event(self.feed, event)
            if isinstance(event, Tick):
                self.ticks.append(event)
            async with self._news:
                self._news.notify_all()

    async def until(self, wanted: Callable[[RunFeed], bool]) -> RunFeed:
        """Waits for a state of the run."""
        async with asyncio.timeout(LIMIT_S), self._news:
            await self._news.wait_for(lambda: wanted(self.feed))
        return self.feed

    async def ask(self, name: str, *edits: Edit) -> None:
        """Sends a command; Refused where it is refused."""
        await self.source.command(Command(name, edits))

    async def edit(self, *edits: Edit) -> None:
        """Sends edits of the queue."""
        await self.ask(EDIT, *edits)


@asynccontextmanager
async def attached(path: Path) -> AsyncIterator[Client]:
    """A client of the run in this folder."""
    client = Client(await open_run(path))
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(client.follow())
        try:
            yield client
        finally:
            following.cancel()
            await client.source.close()
