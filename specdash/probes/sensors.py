"""All sensors behind the memory pane, read together into one tick."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from specdash.core.ticks import GpuUse, MemoryTick
from specdash.probes.gpu import Nvidia, amd_gpus
from specdash.probes.memory import (
    Ram,
    TreeNow,
    linux_pressure,
    linux_ram,
    linux_tree,
    mac_wired_limit,
    psutil_ram,
    psutil_tree,
    sysctl_number,
)
from specdash.probes.pagecache import PageCache, model_sizes
from specdash.probes.sensor_guard import SensorGuard

_NO_RAM = Ram(0, 0, 0, 0, None)
_NO_TREE = TreeNow(None, None, None, False)


class Sensors:
    """What this machine can tell about memory and GPUs, asked again and again.

    Keeps what is dear to open (NVML) and leaves a sensor that fails alone for a minute. `read` and `close` may be
    called from any thread, but from one at a time. A driver that hangs makes `read` hang, so that whoever must go on
    calls it in a thread of its own. `platform`, `root`, `setting` and `clock` are replaced in tests.
    """

    def __init__(
        self,
        platform: str = sys.platform,
        root: Path = Path("/"),
        setting: Callable[[str], int | None] = sysctl_number,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._linux = platform == "linux"
        self._mac = platform == "darwin"
        self._root = root
        self._setting = setting
        self._guard = SensorGuard(clock)
        self._nvidia = Nvidia(root)
        self._cache: PageCache | None = None

    def read(self, pids: Sequence[int] = (), files: Sequence[Path] = ()) -> MemoryTick:
        """Everything now; `pids` is the server's process tree, `files` the model files of its load.

        Raises nothing: what fails or does not exist is None, and `missing` has a sentence for it. A total of 0 bytes
        of RAM means that it could not be read. Without a server or files there is nothing missing, only nothing.
        """
        notes: list[str] = []
        ram = self._guard.ask("RAM", self._ram, notes) or _NO_RAM
        tree = (self._guard.ask("server memory", lambda: self._tree(pids), notes) if pids else None) or _NO_TREE
        sizes = self._guard.ask("model files", lambda: model_sizes(files), notes) if files else None
        return MemoryTick(
            total_bytes=ram.total_bytes,
            available_bytes=ram.available_bytes,
            swap_total_bytes=ram.swap_total_bytes,
            swap_used_bytes=ram.swap_used_bytes,
            wired_bytes=ram.wired_bytes,
            wired_limit_bytes=self._wired_limit(tree, notes),
            server_rss_bytes=tree.rss_bytes,
            server_locked_bytes=tree.locked_bytes,
            cached_bytes=self._guard.ask("page cache", lambda: self._cached(list(sizes)), notes) if sizes else None,
            model_bytes=None if sizes is None else sum(sizes.values()),
            pressure=self._guard.ask("pressure", lambda: linux_pressure(self._root), notes) if self._linux else None,
            gpus=self._gpus(notes),
            missing=tuple(notes),
        )

    def close(self) -> None:
        """Lets go of the GPU driver; a later read opens it again."""
        self._nvidia.close()

    def _ram(self) -> Ram:
        return linux_ram(self._root) if self._linux else psutil_ram()

    def _tree(self, pids: Sequence[int]) -> TreeNow:
        return linux_tree(pids, self._root) if self._linux else psutil_tree(pids)

    def _wired_limit(self, tree: TreeNow, notes: list[str]) -> int | None:
        """Of the machine on macOS. On Linux it is the server's own, so that there is none without a server."""
        if self._mac:
            return self._guard.ask("wired limit", lambda: mac_wired_limit(self._setting), notes)
        if self._linux and tree.rss_bytes is not None and not tree.limited:
            notes.append("wired limit: the system does not tell how much memory the server may lock.")
        return tree.lock_limit_bytes

    def _cached(self, files: Sequence[Path]) -> int:
        if self._cache is None:
            self._cache = PageCache()
        return self._cache.cached_bytes(files)

    def _gpus(self, notes: list[str]) -> tuple[GpuUse, ...]:
        """NVIDIA's and AMD's. A Mac's GPU has no memory of its own, and AMD's being here answers for NVIDIA's not."""
        if self._mac:
            notes.append("GPU: it shares the RAM of this Mac; its load and temperature are not read.")
            return ()
        amd = (self._guard.ask("AMD GPU", lambda: amd_gpus(self._root), notes) or ()) if self._linux else ()
        before = len(notes)
        nvidia = self._guard.ask("NVIDIA GPU", self._nvidia.read, notes)
        if nvidia is not None:
            notes += nvidia.notes
        elif amd and "no NVIDIA device" in notes[-1]:
            del notes[before:]
        return (*(nvidia.gpus if nvidia else ()), *amd)
