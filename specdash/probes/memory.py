"""Memory of this machine and of a server's process tree. What a system does not tell is None.

`system_memory`, `tree_memory` and `lock_limit_bytes` are for a look now and then; the rest is what `sensors.Sensors`
reads every second, from files below a root that tests can replace.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from specdash.probes.sensor_guard import SensorUnavailable

_IPC_LOCK = 1 << 14  # CAP_IPC_LOCK (capabilities(7)): locks without a limit


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


def _status(pid: int, root: Path = Path("/")) -> dict[str, int]:
    """The sizes in /proc/PID/status, in bytes; empty where there is none."""
    return _sizes(_text(root / f"proc/{pid}/status"))


def _sizes(text: str) -> dict[str, int]:
    """Lines such as "VmRSS:  1024 kB" as bytes by name."""
    rows = (line.split() for line in text.splitlines() if line.endswith(" kB"))
    return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows}


def _text(path: Path) -> str:
    """What a file of /proc holds; empty where it is not there or does not answer."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def lock_limit_bytes() -> int | None:
    """How much memory a process of this user may lock (`ulimit -l`); None for no limit."""
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return None if soft == resource.RLIM_INFINITY else soft


@dataclass(frozen=True, slots=True)
class Ram:
    """RAM and swap in bytes. `wired_bytes`: locked (Linux) or wired (macOS), of all processes together."""

    total_bytes: int
    available_bytes: int
    swap_total_bytes: int
    swap_used_bytes: int
    wired_bytes: int | None


def linux_ram(root: Path = Path("/")) -> Ram:
    """From /proc/meminfo, in one read; raises NotTold where that is missing or lacks the main figures.

    Wired is `Mlocked`, which is what --mlock pins. `Unevictable` counts it once more together with memory that no
    limit applies to (ramfs, locked shared memory), and pages that a GPU driver pins are in neither.
    """
    sizes = _sizes(_text(root / "proc/meminfo"))
    try:
        swap = sizes.get("SwapTotal", 0)
        used = swap - sizes.get("SwapFree", swap)
        return Ram(sizes["MemTotal"], sizes["MemAvailable"], swap, used, sizes.get("Mlocked"))
    except KeyError as error:
        raise SensorUnavailable(f"RAM: /proc/meminfo does not tell {error.args[0]}.") from error


def psutil_ram() -> Ram:
    """RAM and swap as psutil tells them, for systems without /proc/meminfo."""
    ram, swap = psutil.virtual_memory(), psutil.swap_memory()
    return Ram(ram.total, ram.available, swap.total, swap.used, getattr(ram, "wired", None))


@dataclass(frozen=True, slots=True)
class TreeNow:
    """A process tree now, in bytes; `limited` says whether `lock_limit_bytes` is known (None is then "no limit")."""

    rss_bytes: int | None
    locked_bytes: int | None
    lock_limit_bytes: int | None
    limited: bool


def linux_tree(pids: Sequence[int], root: Path = Path("/")) -> TreeNow:
    """What these processes hold now (VmRSS, unlike `tree_memory`), what they have locked, and how much one may lock.

    Pages that several of them share count for each. The limit is the lowest "Max locked memory" of
    /proc/PID/limits (soft), which a process with CAP_IPC_LOCK is free of.
    """
    rss: int | None = None
    locked: int | None = None
    limits: list[int] = []
    limited = False
    for pid in pids:
        text = _text(root / f"proc/{pid}/status")
        sizes = _sizes(text)
        if "VmRSS" in sizes:
            rss = (rss or 0) + sizes["VmRSS"]
        if "VmLck" in sizes:
            locked = (locked or 0) + sizes["VmLck"]
        rows = _text(root / f"proc/{pid}/limits").partition("Max locked memory")[2].split()
        if rows:
            limited = True
            if rows[0].isdigit() and not _capabilities(text) & _IPC_LOCK:
                limits.append(int(rows[0]))
    return TreeNow(rss, locked, min(limits, default=None), limited)


def _capabilities(status: str) -> int:
    """The effective capabilities in the text of /proc/PID/status."""
    rows = status.partition("\nCapEff:")[2].split(maxsplit=1)
    return int(rows[0], 16) if rows else 0


def psutil_tree(pids: Sequence[int]) -> TreeNow:
    """What these processes hold now; what a process has locked is told on Linux only."""
    known = [size for size in map(_resident, pids) if size is not None]
    return TreeNow(sum(known) if known else None, None, None, False)


def linux_pressure(root: Path = Path("/")) -> float:
    """Share of the last ten seconds in which some task waited for memory (PSI). Raises NotTold."""
    for line in _text(root / "proc/pressure/memory").splitlines():
        if line.startswith("some "):
            values = dict(field.split("=", 1) for field in line.split()[1:] if "=" in field)
            return float(values["avg10"]) / 100
    raise SensorUnavailable(
        "pressure: this kernel does not tell how long tasks wait for memory; boot it with psi=1 (Linux 4.20+)."
    )


def sysctl_number(name: str) -> int | None:
    """A whole number among the kernel's settings on macOS (sysctlbyname(3)); None where there is no such setting."""
    libc = ctypes.CDLL(None, use_errno=True)
    value = ctypes.create_string_buffer(8)
    size = ctypes.c_size_t(len(value))
    if libc.sysctlbyname(name.encode(), value, ctypes.byref(size), None, ctypes.c_size_t(0)) != 0:
        return None
    return int.from_bytes(value.raw[: size.value], sys.byteorder)


def mac_wired_limit(setting: Callable[[str], int | None] = sysctl_number) -> int:
    """How much the GPU may wire of a Mac's RAM, in bytes, where somebody has set it. Raises NotTold for the default.

    `iogpu.wired_limit_mb` is 0 unless set, and Apple documents no rule for what applies then.
    """
    limit_mib = setting("iogpu.wired_limit_mb")
    if not limit_mib:
        raise SensorUnavailable(
            "wired limit: macOS does not tell its default; sudo sysctl iogpu.wired_limit_mb=N sets one."
        )
    return limit_mib * 2**20
