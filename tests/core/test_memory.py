"""Levels of the memory pane: thresholds, unknowns, and what a limit is compared with."""

from __future__ import annotations

from dataclasses import replace

import pytest

from specdash.core.memory import Level, levels
from specdash.core.ticks import GpuUse, MemoryTick

GIB = 2**30
TICK = MemoryTick(
    total_bytes=100 * GIB, available_bytes=60 * GIB, swap_total_bytes=16 * GIB, swap_used_bytes=0, wired_bytes=GIB
)


def test_a_machine_with_room_is_all_ok() -> None:
    found = levels(replace(TICK, server_rss_bytes=30 * GIB, pressure=0.0, gpus=(GpuUse("A", GIB, 24 * GIB),)))
    assert {level.level for level in found} == {"ok"}
    assert found.worst == "ok"
    assert all(level.reason for level in found)
    assert found.ram.share == pytest.approx(0.4)


@pytest.mark.parametrize(("available_gib", "level"), [(10, "ok"), (9.9, "warning"), (4, "warning"), (3.9, "danger")])
def test_ram_is_judged_by_what_is_left(available_gib: float, level: str) -> None:
    found = levels(replace(TICK, available_bytes=int(available_gib * GIB)))
    assert found.ram.level == level
    assert found.worst == level


@pytest.mark.parametrize(
    ("total_gib", "used_gib", "level"),
    [(16, 0, "ok"), (16, 1, "ok"), (16, 1.5, "warning"), (16, 4.5, "danger"), (2, 1.5, "danger"), (0.5, 0.5, "ok")],
)
def test_little_swap_is_no_alarm_and_much_is(total_gib: float, used_gib: float, level: str) -> None:
    tick = replace(TICK, swap_total_bytes=int(total_gib * GIB), swap_used_bytes=int(used_gib * GIB))
    assert levels(tick).swap.level == level


def test_no_swap_is_not_full_swap() -> None:
    assert levels(replace(TICK, swap_total_bytes=0)).swap == Level("ok", "no swap")


@pytest.mark.parametrize(("wired_gib", "level"), [(40, "ok"), (41, "warning"), (48, "danger")])
def test_wired_memory_is_held_against_its_limit(wired_gib: int, level: str) -> None:
    found = levels(replace(TICK, wired_bytes=wired_gib * GIB, wired_limit_bytes=50 * GIB)).wired
    assert found.level == level
    assert "of the limit" in found.reason


@pytest.mark.parametrize(("wired_gib", "level"), [(48, "ok"), (81, "warning"), (96, "danger")])
def test_without_a_limit_wired_memory_is_held_against_ram(wired_gib: int, level: str) -> None:
    found = levels(replace(TICK, wired_bytes=wired_gib * GIB)).wired
    assert found.level == level
    assert "of RAM" in found.reason


def test_the_limit_of_a_server_is_not_used_up_by_what_others_have_locked() -> None:
    tick = replace(TICK, wired_bytes=2 * GIB, wired_limit_bytes=GIB // 128, server_locked_bytes=0)
    assert levels(tick).wired.level == "ok"
    assert levels(replace(tick, server_locked_bytes=GIB // 128)).wired.level == "danger"


def test_a_limit_of_nothing_is_a_limit() -> None:
    tick = replace(TICK, wired_limit_bytes=0, server_locked_bytes=0)
    assert levels(tick).wired.level == "ok"
    assert levels(replace(tick, server_locked_bytes=4096)).wired.level == "danger"


@pytest.mark.parametrize(("rss_gib", "level"), [(85, "ok"), (86, "warning"), (96, "danger"), (120, "danger")])
def test_a_server_that_fills_the_ram(rss_gib: int, level: str) -> None:
    found = levels(replace(TICK, server_rss_bytes=rss_gib * GIB)).server
    assert found.level == level
    assert found.share is not None
    assert found.share <= 1


@pytest.mark.parametrize(("pressure", "level"), [(0.1, "ok"), (0.11, "warning"), (0.4, "warning"), (0.41, "danger")])
def test_waiting_for_memory(pressure: float, level: str) -> None:
    assert levels(replace(TICK, pressure=pressure)).pressure.level == level


def test_each_gpu_has_its_level() -> None:
    gpus = tuple(GpuUse(str(used), used * GIB, 100 * GIB) for used in (92, 93, 99))
    found = levels(replace(TICK, gpus=(*gpus, GpuUse("no memory", 0, 0))))
    assert [level.level for level in found.gpus] == ["ok", "warning", "danger", None]
    assert found.gpus[1].reason == "7.00 GiB free"
    assert found.worst == "danger"


def test_what_is_unknown_has_no_level() -> None:
    found = levels(MemoryTick(0, 0, 0, 0))
    assert set(found) == {Level()}
    assert found.worst is None
    assert levels(replace(TICK, wired_bytes=None)).wired == Level()
