"""Which process is which, who descends from whom, and how to end processes that are nobody's children here.

A pid alone names no process: it may belong to another program by now. And a zombie is gone for every purpose here,
since in a container its parent may never collect it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

KILL_LIMIT_S = 5.0  # a process that outlives KILL for so long is stuck in the kernel
POLL_S = 0.02


def identity(pid: int) -> str | None:
    """What tells a process from all others that had or will have its pid; None when there is none, or a zombie.

    The start time, on Linux in ticks since a start of the system that has an id: no clock can move it.
    """
    try:
        if sys.platform == "linux":
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
            return None if fields[0] in (b"Z", b"X") else f"{boot}/{int(fields[19])}"
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.6f}"
    except (OSError, psutil.Error):
        return None


def descendants(root: int) -> list[int]:
    """Pids of all descendants of a process; on Linux without looking at every process of the machine."""
    if not os.path.exists(f"/proc/{os.getpid()}/task/{os.getpid()}/children"):
        try:
            return [child.pid for child in psutil.Process(root).children(recursive=True)]
        except psutil.Error:
            return []
    found: list[int] = []
    fringe = [root]
    while fringe:
        fringe = [child for pid in fringe for child in _children(pid) if child not in found]
        found += fringe
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                found += map(int, file.read().split())
    return found


def end_tree(pid: int, known_as: str | None, grace_s: float) -> tuple[int, ...]:
    """TERM, grace, KILL to a process, its session and its descendants; pids that are still there after that.

    Nothing happens when another process has the pid by now. With no grace there is only KILL.
    """
    tree: dict[int, str] = {}
    steps = [(signal.SIGTERM, grace_s)] if grace_s else []
    for number, limit_s in [*steps, (signal.SIGKILL, KILL_LIMIT_S)]:
        if identity(pid) in (known_as, None):
            # Looked for again before KILL: what ignores TERM may have gone on starting processes.
            tree = _family(pid, tree)
        for member in tree:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(member, number)
        tree = wait_gone(tree, limit_s)
    return tuple(sorted(tree))


def left_of(pid: int, known_as: str | None) -> bool:
    """Whether this process is there, or others of its session: no new process gets a pid that still names a session."""
    now = identity(pid)
    return now == known_as or (now is None and any(_session(other) == pid for other in psutil.pids()))


def _family(pid: int, known: dict[int, str]) -> dict[int, str]:
    """A process, its session, and the descendants of it and of those `known` already: identity by pid."""
    roots = {pid, *known, *(other for other in psutil.pids() if _session(other) == pid)}
    members = roots.union(*map(descendants, roots))
    return {member: known_as for member in members if (known_as := identity(member)) is not None}


def wait_gone(tree: dict[int, str], limit_s: float) -> dict[int, str]:
    """Waits for processes that are nobody's children here; those left. A zombie is gone: its parent may never reap."""
    until_s = time.monotonic() + limit_s
    while tree := {pid: known_as for pid, known_as in tree.items() if identity(pid) == known_as}:
        if time.monotonic() > until_s:
            break
        time.sleep(POLL_S)
    return tree


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None
