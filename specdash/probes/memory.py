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

    Locked memory is VmLck of /proc/PID/status (what --mlock pins); macOS has no such figure for a process.
    """
    resident: int | None = None
    locked: int | None = None
    for pid in pids:
        try:
            resident = (resident or 0) + psutil.Process(pid).memory_info().rss
        except psutil.Error:
            continue
        pinned = _locked_bytes(pid)
        if pinned is not None:
            locked = (locked or 0) + pinned
    return resident, locked


def _locked_bytes(pid: int) -> int | None:
    """VmLck of a Linux process, in bytes."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("VmLck:"):
            return int(line.split()[1]) * 1024
    return None


def lock_limit_bytes() -> int | None:
    """How much memory a process of this user may lock (`ulimit -l`); None for no limit."""
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return None if soft == resource.RLIM_INFINITY else soft
