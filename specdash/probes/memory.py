"""Memory of this machine and of a server's process tree. What a system does not tell is None."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class SystemMemory:
    """RAM in bytes: `available` can be had without swapping (page cache counts as available); `wired` on macOS."""

    total_bytes: int
    available_bytes: int
    swap_used_bytes: int
    wired_bytes: int | None


def system_memory() -> SystemMemory:
    """RAM and swap as they are now."""
    ram = psutil.virtual_memory()
    return SystemMemory(ram.total, ram.available, psutil.swap_memory().used, getattr(ram, "wired", None))


def tree_memory(pids: Sequence[int]) -> tuple[int | None, int | None]:
    """(resident, locked) bytes of these processes together; None where nothing could be read.

    On Linux from /proc/PID/status: VmHWM, the most that was ever resident, so that a peak between two looks is not
    missed, and VmLck, what --mlock pins. Elsewhere what is resident now; locked memory is not told for a process.
    """
    resident: int | None = None
    locked: int | None = None
    for pid in pids:
        status = _status(pid)
        now = status.get("VmHWM") if status else _resident(pid)
        if now is not None:
            resident = (resident or 0) + now
        if "VmLck" in status:
            locked = (locked or 0) + status["VmLck"]
    return resident, locked


def _resident(pid: int) -> int | None:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None


def _status(pid: int) -> dict[str, int]:
    """The sizes in /proc/PID/status, in bytes; empty where there is none."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    rows = (line.split() for line in text.splitlines() if line.endswith(" kB"))
    return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows}


def lock_limit_bytes() -> int | None:
    """How much memory a process of this user may lock (`ulimit -l`); None for no limit."""
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return None if soft == resource.RLIM_INFINITY else soft
