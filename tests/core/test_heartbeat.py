"""The heartbeat: on clocks of the test's own, and on a real loop that is held up as a stopped process is."""

from __future__ import annotations

import asyncio
import time

import pytest

from specdash.core.heartbeat import BEAT_S, Heartbeat, heartbeat
from specdash.core.pauses import PAUSE_S


class Clocks:
    """A monotonic clock, and one that goes on while the machine sleeps."""

    def __init__(self) -> None:
        self.now_s, self.boot_s = 100.0, 5_000.0
        self.heart = Heartbeat(lambda: self.now_s, lambda: self.boot_s)

    def go(self, seconds: float, slept_s: float = 0.0) -> None:
        """So much time passes, and then there is a beat."""
        self.now_s += seconds
        self.boot_s += seconds + slept_s
        self.heart.look()


def test_beats_on_time_are_no_pause() -> None:
    clocks = Clocks()
    for seconds in (BEAT_S, BEAT_S, PAUSE_S, 0.0, 0.4):
        clocks.go(seconds)
    assert clocks.heart.pauses(0.0) == ()
    assert clocks.heart.ran_s() == pytest.approx(clocks.now_s)


def test_a_gap_between_beats_is_a_pause_and_the_time_that_ran_leaves_it_out() -> None:
    clocks = Clocks()
    clocks.go(0.1)
    clocks.go(3.1)
    clocks.go(0.1)
    (pause,) = clocks.heart.pauses(0.0)
    assert (pause.begun_s, pause.ended_s) == pytest.approx((100.1, 103.2))
    assert not pause.slept
    assert clocks.heart.ran_s() == pytest.approx(100.0 + 3.3 - 3.0)
    assert clocks.heart.stopped_since(0.0) == pytest.approx(3.1)
    assert clocks.heart.stopped_since(102.2) == pytest.approx(1.0)


def test_pauses_are_asked_for_by_time() -> None:
    clocks = Clocks()
    clocks.go(1.0)
    clocks.go(0.1)
    clocks.go(2.0)
    assert len(clocks.heart.pauses(0.0)) == 2
    assert [pause.begun_s for pause in clocks.heart.pauses(101.05)] == [pytest.approx(101.1)]
    assert [pause.begun_s for pause in clocks.heart.pauses(0.0, 101.05)] == [pytest.approx(100.0)]
    assert clocks.heart.pauses(103.2) == ()


def test_whoever_looks_before_the_next_beat_sees_the_pause_too() -> None:
    clocks = Clocks()
    clocks.now_s += 5.0
    clocks.boot_s += 5.0
    assert clocks.heart.ran_s() == pytest.approx(100.0 + BEAT_S)
    assert len(clocks.heart.pauses(0.0)) == 1


def test_the_sleep_of_a_machine_is_seen_though_the_monotonic_clock_leaves_it_out() -> None:
    clocks = Clocks()
    clocks.go(0.1)
    clocks.go(0.1, slept_s=30.0)
    clocks.go(0.1)
    (pause,) = clocks.heart.pauses(0.0)
    assert pause.slept
    assert clocks.heart.ran_s() == pytest.approx(clocks.now_s)


def test_a_limit_passes() -> None:
    async def wait() -> None:
        async with heartbeat().limit(0.05):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        asyncio.run(wait())


def test_a_limit_that_passed_while_the_process_was_stopped_is_put_off() -> None:
    async def wait() -> str:
        told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        async with heartbeat().limit(0.4):
            # After the stop both are due, and what has happened meanwhile is to be looked at first.
            asyncio.get_running_loop().call_later(0.45, told.set_result, "the answer")
            asyncio.get_running_loop().call_later(0.01, time.sleep, 1.0)
            return await told

    assert asyncio.run(wait()) == "the answer"


def test_each_loop_has_one_heartbeat() -> None:
    async def both() -> tuple[Heartbeat, Heartbeat]:
        return heartbeat(), heartbeat()

    one, same = asyncio.run(both())
    assert one is same
    assert asyncio.run(both())[0] is not one
