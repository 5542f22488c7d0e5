"""What is observed of a server from outside: progress of its load, peak memory, and hangs told from slowness."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from specdash.core.transport import Progress

IDLE_CPU_SHARE = 0.01  # below 1 % of one core, a server that owes tokens is not working on them


@dataclass(frozen=True, slots=True)
class TreeUse:
    """Memory of a process tree: resident, and locked in RAM where the system tells."""

    rss_bytes: int | None
    locked_bytes: int | None


TreeMemory = Callable[[Sequence[int]], TreeUse]


class Stall(Enum):
    """A request in flight is moving, slow (no token, but work is done), or hung."""

    MOVING = "moving"
    SLOW = "slow"
    HUNG = "hung"


class Watch:
    """Running observations of one launch."""

    def __init__(self) -> None:
        self.peak_rss_bytes: int | None = None
        self.peak_locked_bytes: int | None = None
        self.progress_s = 0.0
        self._progress: tuple[int, ...] = ()
        self._request: Progress | None = None
        self._quiet_since_s = 0.0
        self._quiet_work_s = 0.0

    def note_progress(self, now_s: float, marks: tuple[int, ...]) -> None:
        """Remembers when any of the growing numbers of a load grew last."""
        if marks != self._progress:
            self._progress = marks
            self.progress_s = now_s

    def note_memory(self, use: TreeUse) -> None:
        """Keeps the peaks."""
        if use.rss_bytes is not None:
            self.peak_rss_bytes = max(self.peak_rss_bytes or 0, use.rss_bytes)
        if use.locked_bytes is not None:
            self.peak_locked_bytes = max(self.peak_locked_bytes or 0, use.locked_bytes)

    def begin(self, progress: Progress, now_s: float, work_s: float) -> None:
        """A request starts: silence counts from here."""
        self._request = progress
        self._quiet_since_s = now_s
        self._quiet_work_s = work_s

    def stalled(
        self, now_s: float, work_s: float, stall_s: float, lost_s: Callable[[float], float] = lambda since_s: 0.0
    ) -> Stall:
        """Judges the request in flight: hung is no event and no work worth 1 % of a core for `stall_s`.

        `work_s` is processor time and page-ins of the tree (`GuardedProcess.work_seconds`). A server that works without
        answering is slow, not hung: prefills of an hour have been seen. `lost_s` tells for how long this process itself
        was stopped since a time: that is nobody's silence.
        """
        last_event_s = self._request.last_event_t_s if self._request is not None else None
        if last_event_s is not None and last_event_s > self._quiet_since_s:
            self._quiet_since_s, self._quiet_work_s = last_event_s, work_s
            return Stall.MOVING
        quiet_s = now_s - self._quiet_since_s - lost_s(self._quiet_since_s)
        if quiet_s < stall_s:
            return Stall.MOVING
        if (work_s - self._quiet_work_s) / quiet_s >= IDLE_CPU_SHARE:
            # Work was done: the window starts again, so that a hang after long work is still seen.
            self._quiet_since_s, self._quiet_work_s = now_s, work_s
            return Stall.SLOW
        return Stall.HUNG
