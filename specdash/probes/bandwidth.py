"""How fast this machine reads memory: what bounds the rate at which a model that is read for every token can run.

Measured with the standard library only: threads that search large buffers for a byte that is not in them (memchr of
the C library), which reads every byte once and writes none. ctypes lets go of the interpreter during the call, and C
libraries search with vector instructions, so a few threads saturate memory. The best of all passes counts: other load
can only make a pass slower. Since the figure bounds others from above, one that is too low is worse than none: passes
in which a thread had to wait for a CPU do not count, and without a good one on all CPUs there is no figure. What other
programs read from memory meanwhile cannot be seen: measure while nothing else runs, and keep the largest of several
before anything is accused by it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from specdash.probes.memory import sysctl_number, system_memory

LIMIT_S = 1.5
CACHE_MULTIPLE = 4  # of the buffer to the last-level cache, so that what a pass left there is no help to the next
LEAST_BYTES = 128 * 2**20
MEMORY_SHARE = 8  # of what is available, at most one part in so many
PIECE_BYTES = 2**20  # of a search: short, so that a pass can end on time and page faults come piece by piece
FILL_SHARE = 0.6  # of the time limit at most, for touching the buffer
KEPT_SHARE = 0.2  # of the time limit, for giving the memory back
RUNNING_SHARE = 0.9  # of a pass, that each thread must have had a CPU; else the figure is of the scheduler
_ABSENT = 1
_CPUS = Path("sys/devices/system/cpu")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}

GPU_REASON = "models run on a GPU here, whose memory the processor's bandwidth says nothing of"


@dataclass(frozen=True, slots=True)
class BandwidthReading:
    """Bytes that can be read from memory in a second, with how many threads; None for what is not known.

    `cache_bytes` is the last-level cache, all of it. `reason` says why there is no figure; "" where there is one.
    """

    bytes_s: float | None
    cache_bytes: int | None = None
    threads: int | None = None
    reason: str = ""


def measure_bandwidth(limit_s: float = LIMIT_S, *, has_gpu: bool = False) -> BandwidthReading:
    """The read bandwidth of this machine's memory, in at most about `limit_s` seconds; never raises.

    With `has_gpu` nothing is measured, since the figure would bound nothing.
    """
    cache = cache_bytes()
    if has_gpu:
        return BandwidthReading(None, cache, None, GPU_REASON)
    started = time.monotonic()
    try:
        size = _buffer_bytes(cache)
        if size is None:
            return BandwidthReading(
                None, cache, None, "too little memory is free to measure its bandwidth beyond the cache"
            )
        buffer = _Buffer(size)
    except (OSError, AttributeError, MemoryError, ValueError) as error:
        return BandwidthReading(None, cache, None, f"its memory cannot be measured: {error}")
    filled = buffer.fill(started + FILL_SHARE * limit_s)
    if filled < CACHE_MULTIPLE * (cache or 0) or filled < PIECE_BYTES:
        return BandwidthReading(
            None, cache, None, "memory is too slow, or this machine too busy, to measure it in time"
        )
    best = _best(buffer, started + (1 - KEPT_SHARE) * limit_s)
    if best is None:
        return BandwidthReading(None, cache, None, "this machine is too busy to measure its memory")
    return BandwidthReading(best[0], cache, best[1])


def _best(buffer: _Buffer, ends: float) -> tuple[float, int] | None:
    """The best rate (bytes a second) and its number of threads until `ends`; None if not all CPUs could be had."""
    counts = _thread_counts()
    rates: list[tuple[float, int]] = []
    for left, count in zip(range(len(counts), 0, -1), counts, strict=True):
        now = time.monotonic()
        rate = buffer.read(count, now + max(0.0, ends - now) / left)
        if rate is not None:
            rates.append((rate, count))
        elif not rates:
            return None
    return max(rates)


def cache_bytes(root: Path = Path("/"), setting: Callable[[str], int | None] = sysctl_number) -> int | None:
    """The size of the last-level cache, all its parts together; None where the system does not tell."""
    if sys.platform == "darwin":
        return _mac_cache(setting)
    return linux_cache(root)


def linux_cache(root: Path = Path("/")) -> int | None:
    """From /sys: the caches of the highest level (data or unified), each counted once for the CPUs that share it."""
    found: dict[tuple[int, str], int] = {}
    for entry in sorted((root / _CPUS).glob("cpu[0-9]*/cache/index[0-9]*")):
        try:
            kind = (entry / "type").read_text().strip()
            level = int((entry / "level").read_text())
            size = _size((entry / "size").read_text().strip())
            shared = (entry / "shared_cpu_list").read_text().strip()
        except (OSError, ValueError):
            continue
        if kind != "Instruction":
            found[level, shared] = size
    last = max((level for level, _ in found), default=None)
    return sum(size for (level, _), size in found.items() if level == last) or None


def _size(text: str) -> int:
    """A size such as "32768K" in bytes; ValueError for another form."""
    unit = _UNITS.get(text[-1:].upper())
    return int(text[:-1]) * unit if unit is not None else int(text)


def _mac_cache(setting: Callable[[str], int | None]) -> int | None:
    """From sysctl: the L3 cache of Intel Macs, else the L2 caches of all clusters of cores.

    Apple silicon has a system-level cache behind them that no setting tells.
    """
    l3 = setting("hw.l3cachesize")
    if l3:
        return l3
    clusters = 0
    for level in range(setting("hw.nperflevels") or 0):
        size, cpus = setting(f"hw.perflevel{level}.l2cachesize"), setting(f"hw.perflevel{level}.physicalcpu")
        sharing = setting(f"hw.perflevel{level}.cpusperl2") or 1
        clusters += (size or 0) * max(1, (cpus or 1) // sharing)
    return clusters or setting("hw.l2cachesize") or None


def _buffer_bytes(cache: int | None) -> int | None:
    """How large a buffer shows memory rather than the cache; None where so much is not free."""
    wanted = max(LEAST_BYTES, CACHE_MULTIPLE * (cache or 0))
    wanted += -wanted % PIECE_BYTES
    return wanted if wanted * MEMORY_SHARE <= system_memory().available_bytes else None


def _thread_counts() -> list[int]:
    """Numbers of threads to try: all CPUs that this process may use, half of them, and one."""
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:  # only on Linux
        cpus = os.cpu_count() or 1
    return sorted({cpus, max(1, cpus // 2), 1}, reverse=True)


class _Buffer:
    """Memory of its own to read, zeros once `fill` has made it real."""

    def __init__(self, size: int) -> None:
        """OSError, AttributeError or MemoryError where that cannot be had."""
        import mmap

        self._map = mmap.mmap(-1, size)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with contextlib.suppress(OSError):  # a kernel without them; they are made faster, and read at least as fast
                self._map.madvise(mmap.MADV_HUGEPAGE)
        self._start = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self._pieces = size // PIECE_BYTES
        libc = ctypes.CDLL(None)
        self._search = libc.memchr
        self._search.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
        self._search.restype = ctypes.c_void_p

    def fill(self, ends: float) -> int:
        """Writes to the pages until `ends` (monotonic); returns how many bytes are real, which is all that is read.

        Untouched pages would all be one page of zeros, and come from the cache.
        """
        for piece in range(self._pieces):
            if time.monotonic() > ends:
                self._pieces = piece
                break
            ctypes.memset(self._start + piece * PIECE_BYTES, 0, PIECE_BYTES)
        return self._pieces * PIECE_BYTES

    def read(self, threads: int, ends: float) -> float | None:
        """Bytes a second of the fastest good pass of `threads` until `ends` (monotonic); None where none was good."""
        best: float | None = None
        while time.monotonic() < ends:
            took = self._pass(threads, ends)
            if took is not None:
                best = max(best or 0.0, self._pieces * PIECE_BYTES / took)
        return best

    def _pass(self, threads: int, ends: float) -> float | None:
        """Seconds that `threads` take to read the buffer once between them; None if `ends` or the scheduler cut in."""
        barrier = threading.Barrier(threads)
        spans: list[tuple[float, float]] = []
        workers = [
            threading.Thread(target=self._read, args=(barrier, first, threads, ends, spans), daemon=True)
            for first in range(threads)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if len(spans) < threads:
            return None
        took = max(end for _, end in spans) - min(begin for begin, _ in spans)
        return took if took > 0 else None

    def _read(
        self, barrier: threading.Barrier, first: int, threads: int, ends: float, spans: list[tuple[float, float]]
    ) -> None:
        """One thread's share: consecutive pieces, so that the hardware's prefetching works as for a model's matrix.

        Adds when it began and ended, if it read its whole share and ran nearly all of that time.
        """
        begin, end = first * self._pieces // threads, (first + 1) * self._pieces // threads
        barrier.wait()
        began, cpu_s = time.perf_counter(), time.thread_time()
        for piece in range(begin, end):
            if time.monotonic() > ends:
                return
            self._search(self._start + piece * PIECE_BYTES, _ABSENT, PIECE_BYTES)
        ended = time.perf_counter()
        if time.thread_time() - cpu_s >= RUNNING_SHARE * (ended - began):
            spans.append((began, ended))
