"""How near the machine is to the end of its memory: levels for the memory pane, from one tick."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from specdash.core.text import human_bytes
from specdash.core.ticks import GpuUse, MemoryTick

LevelName = Literal["ok", "warning", "danger"]

# Available RAM includes page cache that can be dropped. Below a tenth, the model's own pages are next to go; below a
# twenty-fifth, the kernel kills or a Mac stops.
RAM_LOW, RAM_VERY_LOW = 0.10, 0.04
# Some swap stays in use for days after a short squeeze and slows nothing: only much of it says that RAM is short.
SWAP_WARNING_BYTES = 2**30
SWAP_DANGER = 0.25
# Locked memory does not give way: at its limit a load fails, and near all of RAM everything else has no room.
WIRED_HIGH, WIRED_VERY_HIGH = 0.80, 0.95
# What a server holds of RAM, mapped model included. Beyond this the system and the page cache work with scraps.
SERVER_HIGH, SERVER_VERY_HIGH = 0.85, 0.95
# Compute buffers and context come after the weights and need some per cent; a GPU does not swap but fails.
GPU_HIGH, GPU_VERY_HIGH = 0.92, 0.98
# Time in which some task waits for memory is time lost by the measurement: a tenth shows in tok/s, two fifths ruin it.
PRESSURE_HIGH, PRESSURE_VERY_HIGH = 0.10, 0.40


@dataclass(frozen=True, slots=True)
class Level:
    """One bar of the pane: how bad, why in a few words, and how full (0 to 1). Unknown: None, with an empty reason."""

    level: LevelName | None = None
    reason: str = ""
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Levels:
    """A level for each thing that can run out; `gpus` in the order of the tick's."""

    ram: Level
    swap: Level
    wired: Level
    server: Level
    pressure: Level
    gpus: tuple[Level, ...]

    @property
    def worst(self) -> LevelName | None:
        """The worst level of all; None when nothing is known."""
        found = {level.level for level in self}
        for name in ("danger", "warning", "ok"):
            if name in found:
                return name
        return None

    def __iter__(self) -> Iterator[Level]:
        return iter((self.ram, self.swap, self.wired, self.server, self.pressure, *self.gpus))


def levels(tick: MemoryTick) -> Levels:
    """How bad each of the tick's figures is."""
    return Levels(
        ram=_ram(tick),
        swap=_swap(tick),
        wired=_wired(tick),
        server=_server(tick),
        pressure=_pressure(tick),
        gpus=tuple(map(_gpu, tick.gpus)),
    )


def _ram(tick: MemoryTick) -> Level:
    if tick.total_bytes <= 0:
        return Level()
    left = tick.available_bytes / tick.total_bytes
    name: LevelName = "danger" if left < RAM_VERY_LOW else "warning" if left < RAM_LOW else "ok"
    return Level(name, f"{human_bytes(tick.available_bytes)} available", _share(1 - left))


def _swap(tick: MemoryTick) -> Level:
    if tick.total_bytes <= 0:
        return Level()
    if tick.swap_total_bytes <= 0:
        return Level("ok", "no swap")
    share = tick.swap_used_bytes / tick.swap_total_bytes
    if tick.swap_used_bytes <= SWAP_WARNING_BYTES:
        return Level("ok", f"{human_bytes(tick.swap_used_bytes)} in use", _share(share))
    name: LevelName = "danger" if share > SWAP_DANGER else "warning"
    return Level(name, f"{human_bytes(tick.swap_used_bytes)} in use: RAM was short", _share(share))


def _wired(tick: MemoryTick) -> Level:
    """Against the limit where there is one, else against RAM.

    A limit on Linux is that of the server, so that it is the server's locked memory that counts against it.
    """
    server_only = tick.wired_limit_bytes is not None and tick.server_locked_bytes is not None
    used = tick.server_locked_bytes if server_only else tick.wired_bytes
    limit = tick.total_bytes if tick.wired_limit_bytes is None else tick.wired_limit_bytes
    if used is None or (limit <= 0 and tick.wired_limit_bytes is None):
        return Level()
    share = used / limit if limit > 0 else float(used > 0)
    what = "RAM" if tick.wired_limit_bytes is None else "the limit"
    return _of(share, WIRED_HIGH, WIRED_VERY_HIGH, f"{human_bytes(used)}, {share:.0%} of {what}")


def _server(tick: MemoryTick) -> Level:
    if tick.server_rss_bytes is None or tick.total_bytes <= 0:
        return Level()
    share = tick.server_rss_bytes / tick.total_bytes
    return _of(share, SERVER_HIGH, SERVER_VERY_HIGH, f"{share:.0%} of RAM")


def _pressure(tick: MemoryTick) -> Level:
    if tick.pressure is None:
        return Level()
    reason = f"waits for memory {tick.pressure:.0%} of the time"
    return _of(tick.pressure, PRESSURE_HIGH, PRESSURE_VERY_HIGH, reason)


def _gpu(gpu: GpuUse) -> Level:
    if gpu.total_bytes <= 0:
        return Level()
    left = max(0, gpu.total_bytes - gpu.used_bytes)
    return _of(gpu.used_bytes / gpu.total_bytes, GPU_HIGH, GPU_VERY_HIGH, f"{human_bytes(left)} free")


def _of(share: float, high: float, very_high: float, reason: str) -> Level:
    name: LevelName = "danger" if share > very_high else "warning" if share > high else "ok"
    return Level(name, reason, _share(share))


def _share(value: float) -> float:
    return min(1.0, max(0.0, value))
