"""The one door through which facts enter a run: on disk first, then folded, then shown."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from specdash.core.events import Fact, Recorded
from specdash.core.view import View, fold
from specdash.session.handle import OnFact
from specdash.session.secrets import RunSecrets
from specdash.store.journal import Journal, JournalFull

log = logging.getLogger(__name__)

RETRY_S = 30.0


class Recorder:
    """Writes facts to the journal without secrets, keeps the view, tells subscribers; one that fails is dropped."""

    def __init__(self, journal: Journal, view: View, complain: Callable[[str], None], secrets: RunSecrets) -> None:
        self.view = view
        self._secrets = secrets
        self._journal = journal
        self._complain = complain
        self._subscribers: list[OnFact] = []
        self._turn = asyncio.Lock()
        self._hurry = asyncio.Event()

    def stop_waiting(self) -> None:
        """From now on a full disk is an error instead of a pause: the run is being ended."""
        self._hurry.set()

    def subscribe(self, subscriber: OnFact) -> Callable[[], None]:
        """From now on, every fact is shown to `subscriber` once it is on disk; call the result to end that."""
        self._subscribers.append(subscriber)
        return lambda: self._forget(subscriber)

    def _forget(self, subscriber: OnFact) -> None:
        with suppress(ValueError):
            self._subscribers.remove(subscriber)

    async def publish(self, fact: Fact) -> None:
        """Records a fact. While the disk is full this waits for space: the run pauses, and nothing is dropped."""
        await self.publish_made(lambda view: fact)

    async def publish_made(self, make: Callable[[View], Fact]) -> None:
        """Records the fact that `make` gives for the view as it is then; what `make` raises leaves no trace."""
        async with self._turn:
            recorded = await self._write(self._secrets.without(make(self.view)))
            self.view = fold(self.view, recorded)
            for subscriber in tuple(self._subscribers):
                try:
                    subscriber(recorded, self.view)
                except Exception:
                    log.exception("a subscriber failed and is dropped")
                    self._forget(subscriber)

    async def _write(self, fact: Fact) -> Recorded:
        while True:
            try:
                return self._journal.append(fact)
            except JournalFull as error:
                if self._hurry.is_set():
                    raise
                self._complain(f"{error.what}; paused, trying again every {RETRY_S:.0f} s")
                with suppress(TimeoutError):
                    async with asyncio.timeout(RETRY_S):
                        await self._hurry.wait()
