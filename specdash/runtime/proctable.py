"""The process table as the guard reads it, and the pid file of a launch command that daemonises.

Standard library only: it runs in the guard's bare interpreter. `runtime.process_tree` is the engine's counterpart.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Set

PID_END = 2**31
ZOMBIE = 0  # no process group has this number


class Process:
    """A row of the process table; `start` tells it from others that had its pid. The group of a zombie is ZOMBIE."""

    __slots__ = ("group", "parent", "start")  # a plain class: `typing` and `dataclasses` cost a guard 10 ms each

    def __init__(self, parent: int, group: int, start: str) -> None:
        self.parent = parent
        self.group = group
        self.start = start


class PidFile:
    """The file in which a launch command leaves the server's process id, and how things were before the launch."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._before = self._read()
        self._earlier = processes()
        self._last: tuple[str, int] = ("", 0)

    def look(self) -> tuple[str, int, str]:
        """(what, pid, start): "there", "gone" or "earlier" (of before the launch), and "" when it does not say yet.

        The last two must be seen twice, since a file may be read while it is being written.
        """
        now = self._read()
        if now is None or now == self._before:
            return "", 0, ""
        pid = now[2]
        known, row = self._earlier.get(pid), process(pid)
        if row is not None and row.group != ZOMBIE and (known is None or known.start != row.start):
            return "there", pid, row.start
        seen = ("gone" if row is None or row.group == ZOMBIE else "earlier", pid)
        again, self._last = seen == self._last, seen
        return (*seen, "") if again else ("", 0, "")

    def earlier(self) -> int | None:
        """The process that it names, where that is one of before the launch and still there: nothing of ours."""
        now = self._read()
        if now is None:
            return None
        known, row = self._earlier.get(now[2]), process(now[2])
        return now[2] if known is not None and row is not None and known.start == row.start else None

    def _read(self) -> tuple[int, int, int] | None:
        """When it was written, its inode and the number that it starts with."""
        try:
            with open(self._path, encoding="ascii", errors="replace") as file:
                about = os.fstat(file.fileno())
                pid = int(file.read(64).split()[0])
        except (OSError, ValueError, IndexError):
            return None
        return (about.st_mtime_ns, about.st_ino, pid) if 1 < pid < PID_END else None


def below(table: Mapping[int, Process], roots: Set[int]) -> dict[int, Process]:
    """All descendants of these processes."""
    found: dict[int, Process] = {}
    fringe = set(roots)
    while fringe:
        fringe = {pid for pid, each in table.items() if each.parent in fringe and pid not in found}
        found |= {pid: table[pid] for pid in fringe}
    return found


def is_there(pid: int, start: str) -> bool:
    """Whether this very process runs. Elsewhere than on Linux only whether one with its pid does: `ps` costs more."""
    if sys.platform == "linux":
        row = process(pid)
        return row is not None and row.start == start and row.group != ZOMBIE
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def process(pid: int) -> Process | None:
    """One row of the process table."""
    return _from_proc(str(pid)) if sys.platform == "linux" else processes().get(pid)


def processes() -> dict[int, Process]:
    """Every process, by pid.

    A zombie may still have children: it is what a process looks like whose first thread has ended before the others.
    """
    if sys.platform == "linux":
        rows = {int(name): _from_proc(name) for name in os.listdir("/proc") if name.isdigit()}
        return {pid: row for pid, row in rows.items() if row is not None}
    lister = subprocess.Popen(["/bin/ps", "-axo", "pid=,ppid=,pgid=,stat=,lstart="], stdout=subprocess.PIPE)
    lines = [line.split(None, 4) for line in lister.communicate(timeout=10)[0].decode(errors="replace").splitlines()]
    return {
        int(row[0]): Process(int(row[1]), ZOMBIE if row[3].startswith("Z") else int(row[2]), row[4].strip())
        for row in lines
        if len(row) == 5 and int(row[0]) != lister.pid
    }


def _from_proc(name: str) -> Process | None:
    try:
        with open(f"/proc/{name}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    group = ZOMBIE if fields[0] in (b"Z", b"X") else int(fields[2])
    return Process(int(fields[1]), group, fields[19].decode())
