"""Whether work is wanted: not after a stop, not while paused, and no single request longer than its step is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


class StopRequested(Exception):
    """The sweep is to end; unwinds to whoever runs it."""


class Cancelled(Exception):
    """One piece of work is not wanted any more; the sweep goes on with the next."""


class RunControl:
    """Whether a sweep is still wanted, and a way to run work only for as long as it is.

    The time limit counts the time in which the sweep was not paused.
    """

    def __init__(self, max_time_s: float | None) -> None:
        self._stop = asyncio.Event()
        self._going = asyncio.Event()
        self._going.set()
        self._after_load = False
        self._paused_since_s: float | None = None
        self._deadline_s = time.monotonic() + max_time_s if max_time_s is not None else None

    def stop(self) -> None:
        """From now on nothing is wanted."""
        self._stop.set()
        self._going.set()

    def stop_after_load(self) -> None:
        """Nothing is wanted once the server that runs now is done with."""
        self._after_load = True
        self.go_on()

    def pause(self) -> None:
        """Nothing new is to begin until `go_on`; what is in flight is finished."""
        self._paused_since_s = time.monotonic()
        self._going.clear()

    def go_on(self) -> None:
        """Ends a pause."""
        if self._paused_since_s is not None and self._deadline_s is not None:
            self._deadline_s += time.monotonic() - self._paused_since_s
        self._paused_since_s = None
        self._going.set()

    @property
    def asked(self) -> bool:
        """Whether somebody asked for the stop, as opposed to the time being up."""
        return self._stop.is_set() or self._after_load

    async def checkpoint(self) -> None:
        """Waits for the end of a pause; raises StopRequested when a stop was asked for or the time is up."""
        await self._going.wait()
        if self._stop.is_set() or self._left_s() == 0.0:
            raise StopRequested

    async def another_load(self) -> None:
        """As `another`, where the server that ran is done with."""
        await self.checkpoint()
        if self._after_load:
            raise StopRequested

    def _left_s(self) -> float | None:
        """Seconds until the time is up; they do not pass during a pause."""
        if self._deadline_s is None:
            return None
        now_s = self._paused_since_s if self._paused_since_s is not None else time.monotonic()
        return max(0.0, self._deadline_s - now_s)

    async def run_cancellable(self, work: Coroutine[Any, Any, T], drop: asyncio.Event | None = None) -> T:
        """The result of `work`; when it is not wanted any more StopRequested, or Cancelled once `drop` is set."""
        async with asyncio.TaskGroup() as tasks:
            doing = tasks.create_task(_settled(work))
            ends = [tasks.create_task(event.wait()) for event in (self._stop, drop) if event is not None]
            while not doing.done() and not any(end.done() for end in ends) and self._left_s() != 0.0:
                await asyncio.wait((doing, *ends), timeout=self._left_s(), return_when=asyncio.FIRST_COMPLETED)
            for end in ends:
                end.cancel()
            if not doing.done():
                doing.cancel()
        if doing.cancelled():
            raise Cancelled if drop is not None and drop.is_set() and not self._stop.is_set() else StopRequested
        outcome = doing.result()
        if isinstance(outcome, _Raised):
            raise outcome.error
        return outcome


@dataclass(frozen=True, slots=True)
class _Raised:
    """An exception as a value, so that a task group does not turn it into a group of one."""

    error: Exception


async def _settled(work: Coroutine[Any, Any, T]) -> T | _Raised:
    """The result of `work`, or its exception as a value."""
    try:
        return await work
    except Exception as error:  # noqa: BLE001 - handed on as it is, not dealt with
        return _Raised(error)
