"""Whether the processes of a server were stopped or frozen, and when: then its clock counts time that it had no CPU.

Three witnesses, none of which accuses a server that is merely slow: its guard, which the kernel tells of every stop
and continuation of a child; the state of each process, looked at while it matters; and the freezer of its cgroup, as
`docker pause` uses it, which on new kernels counts the time too.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

LOOK_S = 0.1
STOPPED = (b"T", b"t")  # by a signal, or by a debugger
ROOT = Path("/")
_FIRST = "sys/fs/cgroup/freezer"
_SECOND = ("sys/fs/cgroup", "sys/fs/cgroup/unified")


class Stops:
    """When processes of one launch did not run, as far as that was seen; times are `time.monotonic()` seconds."""

    def __init__(self) -> None:
        self._pids: tuple[int, ...] = ()
        self._freezers: dict[tuple[str, str], Freezer] = {}
        self._spans: list[tuple[float, float]] = []
        self._told: dict[int, float] = {}  # when the guard was told that a process is stopped
        self._looked_s = 0.0

    def follow(self, pids: Sequence[int]) -> None:
        """These are the processes now."""
        if tuple(pids) == self._pids:
            return
        self._pids = tuple(pids)
        names = {cgroups_of(pid) for pid in pids}
        self._freezers = {name: self._freezers.get(name) or Freezer(*name) for name in names}

    def on_stop(self, pid: int, t_s: float) -> None:
        """The guard was told that a process is stopped."""
        self._told.setdefault(pid, t_s)

    def on_continue(self, pid: int, t_s: float) -> None:
        """The guard was told that a process goes on: it was stopped before, even if nobody was there to see that."""
        self._note(self._told.pop(pid, t_s), t_s)

    def look(self) -> bool:
        """Looks at the processes; whether one of them is stopped or frozen now."""
        now_s = time.monotonic()
        counted = [freezer.has_frozen() for freezer in self._freezers.values()]  # each is asked every time
        was_frozen = any(counted)
        is_stopped_now = any(freezer.is_frozen() for freezer in self._freezers.values())
        is_stopped_now = is_stopped_now or any(is_stopped(pid) for pid in self._pids)
        if was_frozen or is_stopped_now:
            self._note(self._looked_s if was_frozen else now_s, now_s)
        self._looked_s = now_s
        return is_stopped_now or bool(self._told)

    def since(self, begun_s: float) -> bool:
        """Whether any of them was stopped at a time from then until now."""
        is_stopped_now = self.look()
        return is_stopped_now or any(ended_s >= begun_s for _, ended_s in self._spans)

    def _note(self, begun_s: float, ended_s: float) -> None:
        if self._spans and begun_s - self._spans[-1][1] < 2 * LOOK_S:
            begun_s = min(begun_s, self._spans.pop()[0])
        self._spans.append((begun_s, ended_s))


class Freezer:
    """The freezer of a cgroup: of version 1 by the group `first`, of version 2 by `second`; "" for none."""

    def __init__(self, first: str, second: str, root: Path = ROOT) -> None:
        groups = [root / place / second.strip("/") for place in _SECOND] if second else []
        self._state = root / _FIRST / first.strip("/") / "freezer.state" if first else None
        self._events = [path / "cgroup.events" for path in groups if os.path.exists(path / "cgroup.events")]
        self._counts = [path / "cgroup.stat.local" for path in groups]
        self._frozen_us = self._count()

    def is_frozen(self) -> bool:
        """Whether it is frozen now; False where nothing tells."""
        if self._state is not None and _read(self._state) == "FROZEN":
            return True
        return any("frozen 1" in _read(path).splitlines() for path in self._events)

    def has_frozen(self) -> bool:
        """Whether it was frozen since this was asked last, where the kernel counts the time (Linux 6.18)."""
        before, self._frozen_us = self._frozen_us, self._count()
        return before is not None and self._frozen_us is not None and self._frozen_us > before

    def _count(self) -> int | None:
        for path in self._counts:
            words = _read(path).split()
            if "frozen_usec" in words[:-1]:
                return int(words[words.index("frozen_usec") + 1])
        return None


def cgroups_of(pid: int, root: Path = ROOT) -> tuple[str, str]:
    """A process's group in the freezer of version 1, and its group of version 2; "" for none."""
    first = second = ""
    for line in _read(root / f"proc/{pid}/cgroup").splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if number == "0" and not names:
            second = path
        elif "freezer" in names.split(","):
            first = path
    return first, second


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal or a debugger."""
    try:
        if sys.platform == "linux":
            return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in STOPPED
        return psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    except (OSError, psutil.Error, IndexError):
        return False


def _read(path: Path) -> str:
    """The text of a file of the kernel, without the line end; "" where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except (OSError, ValueError):
        return ""
