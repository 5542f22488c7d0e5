"""What is seen of a server from outside, on a clock of the test's own."""

from __future__ import annotations

import pytest

from specdash.core.transport import Progress
from specdash.runtime.launch_monitor import IDLE_CPU_SHARE, Stall, TreeUse, Watch

STALL_S = 300.0


def waiting(since_s: float = 1000.0, cpu_s: float = 50.0) -> tuple[Watch, Progress]:
    """A watch whose request was sent at `since_s`."""
    watch, progress = Watch(), Progress(sent_t_s=since_s)
    watch.begin(progress, since_s, cpu_s)
    return watch, progress


def test_progress_of_a_load_is_the_last_time_that_anything_grew() -> None:
    watch = Watch()
    times = []
    for now_s, marks in ((1.0, (0, 0)), (2.0, (0, 0)), (3.0, (10, 0)), (4.0, (10, 1)), (9.0, (10, 1))):
        watch.note_progress(now_s, marks)
        times.append(watch.progress_s)
    assert times == [1.0, 1.0, 3.0, 4.0, 4.0]


def test_peaks_are_kept_and_unknown_stays_unknown() -> None:
    watch = Watch()
    watch.note_memory(TreeUse(None, None))
    assert (watch.peak_rss_bytes, watch.peak_locked_bytes) == (None, None)
    for use in (TreeUse(10, None), TreeUse(30, 5), TreeUse(None, None), TreeUse(20, 4)):
        watch.note_memory(use)
    assert (watch.peak_rss_bytes, watch.peak_locked_bytes) == (30, 5)


def test_before_the_limit_nothing_is_said() -> None:
    watch, _ = waiting()
    assert watch.stalled(1000.0, 50.0, STALL_S) is Stall.MOVING
    assert watch.stalled(1299.9, 50.0, STALL_S) is Stall.MOVING


def test_silence_without_work_is_a_hang() -> None:
    watch, _ = waiting()
    assert watch.stalled(1300.0, 50.0, STALL_S) is Stall.HUNG


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.0, Stall.HUNG), (0.5, Stall.HUNG), (0.99, Stall.HUNG), (1.01, Stall.SLOW), (100, Stall.SLOW)],
)
def test_work_is_measured_against_one_percent_of_a_core(share: float, expected: Stall) -> None:
    watch, _ = waiting(cpu_s=50.0)
    assert watch.stalled(1300.0, 50.0 + share * IDLE_CPU_SHARE * STALL_S, STALL_S) is expected


def test_the_time_in_which_we_were_stopped_is_nobodys_silence() -> None:
    watch, _ = waiting()
    stopped = {1000.0: 500.0}
    assert watch.stalled(1799.0, 50.0, STALL_S, stopped.__getitem__) is Stall.MOVING
    assert watch.stalled(1800.0, 50.0, STALL_S, stopped.__getitem__) is Stall.HUNG


def test_events_start_the_silence_anew() -> None:
    watch, progress = waiting()
    progress.last_event_t_s = 1250.0
    assert watch.stalled(1301.0, 50.0, STALL_S) is Stall.MOVING
    assert watch.stalled(1549.0, 50.0, STALL_S) is Stall.MOVING
    assert watch.stalled(1550.0, 50.0, STALL_S) is Stall.HUNG


def test_work_before_the_last_event_does_not_excuse_the_silence_after_it() -> None:
    watch, progress = waiting(cpu_s=0.0)
    progress.last_event_t_s = 1250.0
    assert watch.stalled(1251.0, 250.0, STALL_S) is Stall.MOVING
    assert watch.stalled(1551.0, 250.0, STALL_S) is Stall.HUNG


def test_a_hang_after_long_work_is_still_seen() -> None:
    watch, _ = waiting(cpu_s=0.0)
    assert watch.stalled(1300.0, 300.0, STALL_S) is Stall.SLOW
    assert watch.stalled(1301.0, 300.0, STALL_S) is Stall.MOVING
    assert watch.stalled(1600.0, 300.0, STALL_S) is Stall.HUNG


def test_a_prefill_of_an_hour_is_slow_and_never_hung() -> None:
    watch, _ = waiting(since_s=0.0, cpu_s=0.0)
    seen = {watch.stalled(now, now * 0.9, STALL_S) for now in map(float, range(0, 3600, 5))}
    assert seen == {Stall.MOVING, Stall.SLOW}


def test_a_new_request_starts_with_a_clean_slate() -> None:
    watch, progress = waiting()
    progress.last_event_t_s = 1100.0
    watch.begin(Progress(sent_t_s=2000.0), 2000.0, 60.0)
    assert watch.stalled(2299.0, 60.0, STALL_S) is Stall.MOVING
    assert watch.stalled(2300.0, 60.0, STALL_S) is Stall.HUNG
