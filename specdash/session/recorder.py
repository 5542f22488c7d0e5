"""The one door through which facts enter a run: on disk first, then folded, then shown."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from specdash.core.events import Fact
from specdash.core.reduce import fold
from specdash.core.state import RunState
from specdash.session.handle import OnFact
from specdash.session.room import Room
from specdash.session.secrets import RunSecrets
from specdash.store.journal import Journal

log = logging.getLogger(__name__)


class Recorder:
    """Writes facts to the journal without secrets, keeps the view, tells subscribers; one that fails is dropped."""

    def __init__(self, journal: Journal, view: RunState, room: Room, secrets: RunSecrets) -> None:
        self.view = view
        self.room = room
        self._secrets = secrets
        self._journal = journal
        self._subscribers: list[OnFact] = []
        self._turn = asyncio.Lock()

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

    async def publish_made(self, make: Callable[[RunState], Fact]) -> None:
        """Records the fact that `make` gives for the view as it is then; what `make` raises leaves no trace."""
        async with self._turn:
            fact = self._secrets.without(make(self.view))
            recorded = await self.room(lambda: self._journal.append(fact))
            self.view = fold(self.view, recorded)
            for subscriber in tuple(self._subscribers):
                try:
                    subscriber(recorded, self.view)
                except Exception:
                    log.exception("a subscriber failed and is dropped")
                    self._forget(subscriber)
