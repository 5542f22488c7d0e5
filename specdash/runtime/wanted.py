"""Work that is dropped the moment nobody wants it any more: a stop was asked for, or the time is up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


class StopRequested(Exception):
    """The sweep is to end; unwinds to whoever runs it."""


class Wanted:
    """Whether a sweep is still wanted, and a way to run work only for as long as it is."""

    def __init__(self, max_time_s: float | None) -> None:
        self._stop = asyncio.Event()
        self._deadline_s = time.monotonic() + max_time_s if max_time_s is not None else None

    def stop(self) -> None:
        """From now on nothing is wanted."""
        self._stop.set()

    @property
    def asked(self) -> bool:
        """Whether somebody asked for the stop, as opposed to the time being up."""
        return self._stop.is_set()

    def check(self) -> None:
        """Raises StopRequested when a stop was asked for or the time is up."""
        if self._stop.is_set() or (self._deadline_s is not None and time.monotonic() > self._deadline_s):
            raise StopRequested

    async def during(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`; it is cancelled, and StopRequested raised, when it is not wanted any more."""
        left_s = None if self._deadline_s is None else max(0.0, self._deadline_s - time.monotonic())
        async with asyncio.TaskGroup() as tasks:
            doing = tasks.create_task(_settled(work))
            asked = tasks.create_task(self._stop.wait())
            await asyncio.wait((doing, asked), timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            asked.cancel()
            if not doing.done():
                doing.cancel()
        if doing.cancelled():
            raise StopRequested
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
