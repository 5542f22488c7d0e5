"""The heartbeat of an event loop: it notices when this process did not run, and gives limits that such time is not in.

A loop that beats ten times a second and finds that more than half a second has passed was stopped: by a signal, a
frozen container, a paused virtual machine. `time.monotonic` goes on meanwhile, so a limit seems to have passed and a
duration is too long, while the server may have done its work. On Linux it does not count the sleep of a machine; the
boot-time clock does, and shows it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

from specdash.core.pauses import PAUSE_S, Pause

BEAT_S = 0.1
MOST_PAUSES = 1000


def _boot_s() -> float:
    """Seconds since the start of the system, sleep included where the system tells."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Heartbeat:
    """When this process did not run; `clock` and `boot` are those of the system, or a test's."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, boot: Callable[[], float] = _boot_s) -> None:
        self._clock, self._boot = clock, boot
        self._last_s, self._last_boot_s = clock(), boot()
        self._stopped_s = 0.0
        self._pauses: list[Pause] = []
        self._limits: set[asyncio.Timeout] = set()

    def look(self) -> None:
        """Notes a pause where too much time has passed since the last look, and gives all limits that much more."""
        now_s, boot_s = self._clock(), self._boot()
        gap_s, boot_gap_s = now_s - self._last_s, boot_s - self._last_boot_s
        slept = boot_gap_s - gap_s > PAUSE_S
        if gap_s > PAUSE_S or slept:
            self._pauses = [*self._pauses[1 - MOST_PAUSES :], Pause(self._last_s, now_s, slept)]
            late_s = max(0.0, gap_s - BEAT_S)
            self._stopped_s += late_s
            for limit in self._limits:
                if (when_s := limit.when()) is not None and not limit.expired():
                    limit.reschedule(when_s + late_s)
        self._last_s, self._last_boot_s = now_s, boot_s

    def beat(self, loop: asyncio.AbstractEventLoop) -> None:
        """Looks now and from now on, for as long as the loop runs."""
        self.look()
        loop.call_later(BEAT_S, self.beat, loop)

    def ran_s(self) -> float:
        """A clock that stands still while this process is stopped: for limits, and for what its own work took."""
        self.look()
        return self._clock() - self._stopped_s

    def pauses(self, begun_s: float, ended_s: float | None = None) -> tuple[Pause, ...]:
        """The pauses in a time, which goes on until now where it has no end (both `time.monotonic()` seconds)."""
        self.look()
        until_s = self._last_s if ended_s is None else ended_s
        return tuple(pause for pause in self._pauses if pause.touches(begun_s, until_s))

    def stopped_since(self, begun_s: float) -> float:
        """For how long this process was stopped since then, about."""
        return sum(pause.ended_s - max(begun_s, pause.begun_s) for pause in self.pauses(begun_s))

    @asynccontextmanager
    async def limit(self, seconds: float) -> AsyncIterator[None]:
        """As `asyncio.timeout`, of time in which this process ran: what has come meanwhile is looked at first.

        The beat is due before any limit that passes later, so it is the first to see that the process was stopped.
        """
        async with asyncio.timeout(seconds) as limit:
            self._limits.add(limit)
            try:
                yield
            finally:
                self._limits.discard(limit)


_BEATING: WeakKeyDictionary[asyncio.AbstractEventLoop, Heartbeat] = WeakKeyDictionary()


def heartbeat() -> Heartbeat:
    """The heartbeat of the event loop that runs, which begins with the first call."""
    loop = asyncio.get_running_loop()
    found = _BEATING.get(loop)
    if found is None:
        found = _BEATING[loop] = Heartbeat()
        found.beat(loop)
    return found
