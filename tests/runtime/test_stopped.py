"""Stopped and frozen processes, real ones where this machine lets a test freeze any."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from specdash.core.launch import LaunchSpec
from specdash.runtime.process import GuardedProcess
from specdash.runtime.stopped import Freezer, Stops, cgroups_of, is_stopped
from tests.support.machine import wait_for


@pytest.fixture
def sleeper() -> Iterator[psutil.Process]:
    """A process that does nothing."""
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", "import signal; signal.pause()"]) as process:
        yield psutil.Process(process.pid)
        process.kill()


def test_a_stopped_process_is_told_from_one_that_waits(sleeper: psutil.Process) -> None:
    stops = Stops()
    stops.follow([sleeper.pid])
    begun_s = time.monotonic()
    assert not stops.since(begun_s)
    sleeper.suspend()
    wait_for(lambda: is_stopped(sleeper.pid))
    assert stops.look()
    sleeper.resume()
    wait_for(lambda: not is_stopped(sleeper.pid))
    assert not stops.look()
    assert stops.since(begun_s)
    assert not stops.since(time.monotonic())


def test_a_process_that_is_gone_is_not_stopped(sleeper: psutil.Process) -> None:
    sleeper.kill()
    sleeper.wait()
    assert not is_stopped(sleeper.pid)


@pytest.mark.parametrize("guard_too", [False, True])
def test_a_stop_shorter_than_any_look_is_told_by_the_guard(tmp_path: Path, guard_too: bool) -> None:
    """Even one that came and went while the guard was stopped itself."""

    async def run() -> None:
        spec = LaunchSpec(("/bin/sleep", "600"), dict(os.environ), tmp_path / "log", 0.3)
        process = await GuardedProcess.start(spec, tmp_path)
        begun_s = time.monotonic()
        assert not process.stops.since(begun_s)
        if guard_too:
            os.kill(process.guard_pid, signal.SIGSTOP)
            wait_for(lambda: is_stopped(process.guard_pid))
        os.kill(process.pid, signal.SIGSTOP)
        wait_for(lambda: is_stopped(process.pid))
        os.kill(process.pid, signal.SIGCONT)
        wait_for(lambda: not is_stopped(process.pid))
        if guard_too:
            assert not process.stops.since(begun_s)  # nobody knows yet
            os.kill(process.guard_pid, signal.SIGCONT)
        await asyncio.to_thread(wait_for, lambda: process.stops.since(begun_s))
        assert not process.stops.look()
        await process.stop()

    asyncio.run(run())


FREEZERS = {
    1: (Path("/sys/fs/cgroup/freezer"), "freezer.state", "FROZEN", "THAWED"),
    2: (Path("/sys/fs/cgroup/unified"), "cgroup.freeze", "1", "0"),
    3: (Path("/sys/fs/cgroup"), "cgroup.freeze", "1", "0"),
}


@pytest.mark.parametrize("mount", FREEZERS)
def test_a_frozen_container_is_seen_while_it_is_frozen(sleeper: psutil.Process, mount: int) -> None:
    root, control, frozen, thawed = FREEZERS[mount]
    group = root / f"specdash-test-{uuid.uuid4().hex[:8]}"
    if not os.access(root, os.W_OK) or not (root / "cgroup.procs").exists():
        pytest.skip(f"no freezer of this kind at {root} that this user may write to")
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text(str(sleeper.pid))
        stops = Stops()
        stops.follow([sleeper.pid])
        begun_s = time.monotonic()
        assert not stops.since(begun_s)
        (group / control).write_text(frozen)
        wait_for(stops.look)
        (group / control).write_text(thawed)
        wait_for(lambda: not stops.look())
        assert stops.since(begun_s)
    finally:
        (group / control).write_text(thawed)
        sleeper.kill()
        sleeper.wait()
        wait_for(lambda: not (group / "cgroup.procs").read_text().strip())
        group.rmdir()


def test_time_in_the_freezer_is_counted_where_the_kernel_counts_it(tmp_path: Path) -> None:
    """As Linux 6.18 does, for whoever was frozen too and saw nothing."""
    process = tmp_path / "proc/7/cgroup"
    process.parent.mkdir(parents=True)
    process.write_text("3:cpuset:/x\n2:cpu,freezer:/docker/a\n0::/system.slice/b\n")
    assert cgroups_of(7, tmp_path) == ("/docker/a", "/system.slice/b")
    group = tmp_path / "sys/fs/cgroup/system.slice/b"
    group.mkdir(parents=True)
    (group / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    (group / "cgroup.stat.local").write_text("frozen_usec 100\n")
    freezer = Freezer(*cgroups_of(7, tmp_path), tmp_path)
    assert (freezer.is_frozen(), freezer.has_frozen()) == (False, False)
    (group / "cgroup.stat.local").write_text("frozen_usec 250\n")
    assert (freezer.has_frozen(), freezer.has_frozen()) == (True, False)
    (group / "cgroup.events").write_text("populated 1\nfrozen 1\n")
    assert freezer.is_frozen()
    assert cgroups_of(8, tmp_path) == ("", "")
