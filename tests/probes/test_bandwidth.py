"""What the figure for memory's bandwidth rests on; how large it is belongs to the machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from specdash.probes import bandwidth
from specdash.probes.bandwidth import cache_bytes, linux_cache, measure_bandwidth
from specdash.probes.memory import SystemMemory

MIB = 2**20


def cached(root: Path, rows: list[tuple[int, int, str, str, str]]) -> Path:
    """A /sys with these caches: CPU, level, type, size, CPUs that share it."""
    for number, (cpu, level, kind, size, shared) in enumerate(rows):
        folder = root / f"sys/devices/system/cpu/cpu{cpu}/cache/index{number}"
        folder.mkdir(parents=True)
        for name, text in (("level", level), ("type", kind), ("size", size), ("shared_cpu_list", shared)):
            (folder / name).write_text(f"{text}\n")
    return root


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        (
            [(0, 1, "Data", "32K", "0"), (0, 3, "Unified", "32768K", "0-1"), (1, 3, "Unified", "32768K", "0-1")],
            32 * MIB,
        ),
        ([(0, 3, "Unified", "16M", "0-7"), (8, 3, "Unified", "16M", "8-15")], 32 * MIB),
        ([(0, 2, "Unified", "1M", "0"), (1, 2, "Unified", "1M", "1"), (0, 1, "Instruction", "64K", "0")], 2 * MIB),
        ([(0, 1, "Instruction", "64K", "0")], None),
        ([(0, 3, "Unified", "lots", "0")], None),
        ([], None),
    ],
)
def test_the_last_level_counts_once_for_those_that_share_it(
    tmp_path: Path, rows: list[tuple[int, int, str, str, str]], wanted: int | None
) -> None:
    assert linux_cache(cached(tmp_path, rows)) == wanted


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"hw.l3cachesize": 12 * MIB, "hw.l2cachesize": MIB}, 12 * MIB),
        (
            {
                "hw.nperflevels": 2,
                "hw.perflevel0.l2cachesize": 16 * MIB,
                "hw.perflevel0.physicalcpu": 8,
                "hw.perflevel0.cpusperl2": 4,
                "hw.perflevel1.l2cachesize": 4 * MIB,
                "hw.perflevel1.physicalcpu": 4,
                "hw.perflevel1.cpusperl2": 4,
            },
            36 * MIB,
        ),
        ({"hw.l2cachesize": MIB}, MIB),
        ({}, None),
    ],
)
def test_a_mac_tells_its_caches_by_sysctl(
    monkeypatch: pytest.MonkeyPatch, settings: Mapping[str, int], wanted: int | None
) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_bytes(setting=settings.get) == wanted


def test_the_figure_agrees_with_what_numpy_reads() -> None:
    found = measure_bandwidth(0.8)
    if found.bytes_s is None:
        pytest.skip(found.reason)
    numbers = np.ones(128 * MIB // 8)  # zeros would all be one page
    took = []
    for _ in range(5):
        started = time.perf_counter()
        numbers.max()
        took.append(time.perf_counter() - started)
    one_thread = numbers.nbytes / min(took)
    assert found.threads is not None
    assert found.threads >= 1
    assert 0.05 * one_thread < found.bytes_s < 20 * one_thread * found.threads  # units, and pages that are real
    assert found.reason == ""


def test_nothing_is_measured_where_a_gpu_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bandwidth, "_Buffer", None)  # would fail if it were used
    found = measure_bandwidth(has_gpu=True)
    assert (found.bytes_s, found.threads) == (None, None)
    assert "GPU" in found.reason


def test_too_little_memory_is_a_reason_and_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bandwidth, "system_memory", lambda: SystemMemory(2**30, 100 * MIB, 0, None))
    found = measure_bandwidth()
    assert found.bytes_s is None
    assert "too little memory" in found.reason


def test_no_time_is_a_reason_and_no_figure() -> None:
    found = measure_bandwidth(0.0)
    assert found.bytes_s is None
    assert "busy" in found.reason


def test_a_buffer_that_is_not_beyond_the_cache_gives_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bandwidth, "cache_bytes", lambda: 64 * MIB)
    monkeypatch.setattr(bandwidth._Buffer, "fill", lambda self, ends: 255 * MIB)
    assert measure_bandwidth(0.2).bytes_s is None


def test_a_thread_that_had_to_wait_for_a_cpu_makes_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specdash.probes.bandwidth.time.thread_time", lambda: 0.0)
    found = measure_bandwidth(0.3)
    assert found.bytes_s is None
    assert "busy" in found.reason
