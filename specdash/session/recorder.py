"""How facts enter a run: on disk first, then folded, then shown; and how every write waits for room on the disk.

A write is a function that leaves nothing behind when it fails (`errors.DiskFull`), so it can be tried again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from specdash.core.events import Fact
from specdash.core.reduce import fold
from specdash.core.state import RunState
from specdash.errors import DiskFull, StoreError
from specdash.runtime.serverlog import prove_room
from specdash.session.handle import OnFact
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


T = TypeVar("T")

RETRY_S = 0.25


class Room:
    """Waits for room on disk. Before `begin` and after `stop_waiting` a full disk is an error instead of a pause.

    `lacking` is what cannot be written now, in a sentence; None while there is room.
    """

    def __init__(self, complain: Callable[[str], None], before: Callable[[], None] = lambda: None) -> None:
        """`before` is called before each write, and is waited for too: it sees to it that the folder is there."""
        self.lacking: str | None = None
        self._before = before
        self._complain = complain
        self._waiting = 0
        self._found_full_s = float("-inf")
        self._hurry = asyncio.Event()
        self._hurry.set()

    def begin(self) -> None:
        """From now on a full disk is a pause: what was measured until then is worth waiting for."""
        self._hurry.clear()

    def stop_waiting(self) -> None:
        """From now on a full disk is an error: the run is being ended."""
        self._hurry.set()

    async def __call__(self, write: Callable[[], T]) -> T:
        """What `write` gives, once there was room for it. Raises DiskFull where that is not waited for."""
        waited = False
        try:
            while True:
                try:
                    self._before()
                    return write()
                except DiskFull as error:
                    self._found_full_s = time.monotonic()
                    if self._hurry.is_set():
                        raise
                    if not waited:
                        waited = True
                        self._wait_begins(error)
                with suppress(TimeoutError):
                    async with asyncio.timeout(RETRY_S):
                        await self._hurry.wait()
        finally:
            if waited:
                self._wait_ends()

    def _wait_begins(self, error: DiskFull) -> None:
        self._waiting += 1
        if self.lacking is None:
            self.lacking = error.what
            self._complain(f"{error.what}; paused until there is room")

    def _wait_ends(self) -> None:
        self._waiting -= 1
        if not self._waiting:
            self.lacking = None
            if not self._hurry.is_set():
                self._complain("there is room on the disk again: the run goes on")

    def was_lacking(self, folder: Path, since_s: float) -> bool:
        """Whether there was no room at some time since then (monotonic), or there is none in `folder` now.

        A program whose log cannot be written may die of it, and its death is not its own fault.
        """
        try:
            prove_room(folder)
        except DiskFull:
            return True
        except StoreError:
            return False
        return self._found_full_s >= since_s
