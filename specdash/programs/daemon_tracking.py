"""A server that is not what was started: a launch command leaves it behind, and its pid file may name it.

Used by the guard alone; standard library only.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sized

from specdash.runtime.proctable import PidFile, is_there

POLL_S = 0.5  # for what wakes nobody, such as the end of somebody else's child
PID_FILE_S = 0.1  # a server is known this soon
LOST_S = 3.0  # for a launch command to name another server than one that has ended

End = tuple[int | None, str]
"""A server's exit status (None: nobody here was told), and what a launch command left in its place: "" for a server."""


class Follower:
    """What is known of such a server. Without `follow_s` the command that was started is the server, as usual."""

    def __init__(self, pid_file: str | None, follow_s: float | None) -> None:
        self._pid_file = PidFile(pid_file) if pid_file else None
        self._follow_s = follow_s
        self._since_s: float | None = None  # when the launch command ended well
        self._lost_s: float | None = None  # when the process of the pid file ended
        self._left_some = False
        self._statuses: dict[int, int] = {}
        self.daemon: tuple[int, str] | None = None

    def begins(self, pid: int, status: int) -> bool:
        """Notes how the launch command ended; whether what it left is the server now."""
        self.note(pid, status)
        if status == 0 and self._follow_s is not None:
            self._since_s = time.monotonic()
        return self._since_s is not None

    def put_off(self, late_s: float) -> None:
        """Leaves a time out in which nothing ran here."""
        self._since_s = self._since_s + late_s if self._since_s is not None else None
        self._lost_s = self._lost_s + late_s if self._lost_s is not None else None

    def note(self, pid: int, status: int) -> None:
        """Notes how a process ended that was handed to the guard."""
        if self._follow_s is not None:
            self._statuses[pid] = status

    def earlier(self) -> int | None:
        """The process that the pid file names, where it ran before the launch."""
        return self._pid_file.earlier() if self._pid_file is not None else None

    @property
    def patience_s(self) -> float | None:
        """How often to look; None where every news wakes the guard up."""
        if self._pid_file is not None:
            return PID_FILE_S if self.daemon is None else POLL_S
        return POLL_S if self._since_s is not None and sys.platform != "linux" else None

    def look(self, remaining: Callable[[], Sized], *, ending: bool) -> End | None:
        """How the server ended; None while it runs, or may still come.

        `remaining` tells what is left of the launch, and collects what has ended; `ending`: it was asked to end.
        """
        if self._pid_file is not None and self.daemon is None:
            what, pid = self._named(self._pid_file)
        else:
            what, pid = "", 0
        if self.daemon is not None:
            return self._status_of(self.daemon[0], remaining) if self._has_ended(self.daemon) else None
        if self._since_s is None:
            return None
        if what == "gone":
            return self._status_of(pid, remaining)
        left = bool(remaining())
        self._left_some |= left
        patient = time.monotonic() - self._since_s <= (self._follow_s or 0.0)
        if left and what != "earlier":
            if not patient:
                self._pid_file = None  # what the command left is a server all the same
            return None
        if self._left_some and (self._pid_file is None or ending):
            return self._status_of(0, remaining)
        if ending or what == "earlier" or self._pid_file is None or not patient:
            return 0, "earlier" if self.earlier() else "nothing"
        return None

    def _named(self, pid_file: PidFile) -> tuple[str, int]:
        """What the pid file says, and the process that it names, which is the server from now on."""
        what, pid, start = pid_file.look()
        if what == "there":
            self.daemon = (pid, start)
        return what, pid

    def _has_ended(self, daemon: tuple[int, str]) -> bool:
        """Whether the server has ended, and nothing takes its place: a launch command that still runs may do that.

        Many do not: they wait for the readiness of a dead server, for minutes.
        """
        if is_there(*daemon):
            return False
        if self._since_s is not None or self._pid_file is None:
            return True
        self._lost_s = self._lost_s or time.monotonic()
        return self._named(self._pid_file)[0] != "there" and time.monotonic() - self._lost_s > LOST_S

    def _status_of(self, pid: int, remaining: Callable[[], Sized]) -> End:
        """How a process ended, 0: the last one; it may not have been collected yet."""
        remaining()
        return self._statuses.get(pid or next(reversed(self._statuses), 0)), ""
