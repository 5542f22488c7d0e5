"""Stop, pause and time limit: what is wanted, and for how long."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from specdash.runtime import run_control as module
from specdash.runtime.run_control import Cancelled, RunControl, StopRequested


class Clock:
    """A clock that only moves when it is told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=found.monotonic))
    return found


async def test_the_time_limit_does_not_run_during_a_pause(clock: Clock) -> None:
    wanted = RunControl(10.0)
    wanted.pause()
    clock.now_s += 60
    wanted.go_on()
    await wanted.checkpoint()
    clock.now_s += 11
    with pytest.raises(StopRequested):
        await wanted.checkpoint()
    assert not wanted.asked


async def test_what_is_in_flight_is_finished_during_a_pause(clock: Clock) -> None:
    wanted, begun, end = RunControl(10.0), asyncio.Event(), asyncio.Event()

    async def work() -> str:
        begun.set()
        await end.wait()
        return "done"

    async with asyncio.TaskGroup() as tasks:
        doing = tasks.create_task(wanted.run_cancellable(work()))
        await begun.wait()
        wanted.pause()
        clock.now_s += 60
        end.set()
    assert doing.result() == "done"


async def test_a_stop_after_the_load_ends_a_pause_and_leaves_the_load_its_time(clock: Clock) -> None:
    wanted = RunControl(10.0)
    wanted.pause()
    clock.now_s += 60
    wanted.stop_after_load()
    await wanted.checkpoint()
    with pytest.raises(StopRequested):
        await wanted.another_load()
    assert wanted.asked


async def test_one_piece_of_work_is_dropped_and_the_rest_goes_on() -> None:
    wanted, drop = RunControl(None), asyncio.Event()
    drop.set()
    with pytest.raises(Cancelled):
        await wanted.run_cancellable(asyncio.Event().wait(), drop)
    await wanted.checkpoint()


async def test_a_stop_ends_what_is_in_flight_and_a_pause() -> None:
    wanted = RunControl(None)
    wanted.pause()
    wanted.stop()
    with pytest.raises(StopRequested):
        await wanted.run_cancellable(asyncio.Event().wait())
    with pytest.raises(StopRequested):
        await wanted.checkpoint()
