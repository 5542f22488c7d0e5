"""A real disk that is full, as the end of a run's room: every write of a run waits for room, and none is lost."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from specdash.core import events as ev
from specdash.core.ticks import DiskTick
from specdash.ui.sources import SocketSource
from tests.support.fake_machine import SPEED, Bench, assert_complete, assert_each_block_once, assert_gone, descendants

PAGE = 4096


class SmallDisk:
    """A file system of some kilobytes, and a file that takes the room that is left."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ballast = path / "ballast"

    def fill(self) -> None:
        """Takes all the room."""
        with self.ballast.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(PAGE))
            except OSError:
                return

    def give(self, pages: int = 1) -> bool:
        """Gives a little room back; False once there is no more to give."""
        left = self.ballast.stat().st_size // PAGE - pages
        os.truncate(self.ballast, max(0, left) * PAGE)
        return left > 0

    def empty(self) -> None:
        """Gives all the room back."""
        self.ballast.unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of 8 MB."""
    path = tmp_path / "disk"
    path.mkdir()
    found = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(path)], check=False)
    if found.returncode:
        pytest.skip("only root can mount a small disk")
    yield SmallDisk(path)
    subprocess.run(["umount", "-l", str(path)], check=True)


async def lacking_as_dashboards_see_it(bench: Bench, disk: SmallDisk) -> str:
    """What a client that comes while the disk is full is told of it."""
    (journal,) = disk.path.glob("*/journal.jsonl")
    with mock.patch.dict(os.environ, bench.environment()):
        source = await SocketSource.open(journal.parent)
        async with asyncio.timeout(bench.limit_s):
            async for event in source.events():
                if isinstance(event, DiskTick) and event.lacking is not None:
                    await source.close()
                    return event.lacking
    raise AssertionError("it was not told")


def test_room_that_comes_by_the_page_is_waited_for_by_every_write(bench: Bench, disk: SmallDisk) -> None:
    """The journal, the note of a server, its log: each finds the disk full at some time, and nothing fails of it."""
    bench.results = disk.path
    command = bench.headless(bench.profile(["A", "B", "C"], results={"dir": str(disk.path)}))
    command.until("ready after")
    disk.fill()
    command.until("paused until there is room")
    assert "No space left" in asyncio.run(lacking_as_dashboards_see_it(bench, disk))
    done = threading.Event()

    def trickle() -> None:
        while not done.wait(0.05) and disk.give():
            pass

    giving = threading.Thread(target=trickle)
    giving.start()
    command.until("load l003: C, no draft")  # a load takes longer than to give back what is left
    done.set()
    giving.join()
    disk.empty()
    run = command.end()
    assert_complete(run)
    assert run.code == 0
    assert_each_block_once(run, 2)
    assert [load.key.target for load in run.view.loads.values()] == ["A", "B", "C"]
    paused = [line for line in run.stderr.splitlines() if "paused until there is room" in line]
    assert any("journal.jsonl" in line for line in paused)
    assert any("/logs cannot be written to" in line for line in paused)
    assert "there is room on the disk again" in run.stderr
    waited = [load for load in run.facts(ev.LoadReady) if load.load != "l001"]
    took = [found.load_time_s for found in waited]
    began = {
        recorded.fact.load: recorded.time_s for recorded in run.records if isinstance(recorded.fact, ev.LoadStarted)
    }
    ready = {recorded.fact.load: recorded.time_s for recorded in run.records if isinstance(recorded.fact, ev.LoadReady)}
    # To wait for room is no part of how long a server takes to load.
    assert max(ready[load.load] - began[load.load] for load in waited) > max(took)


def test_a_server_that_dies_while_the_disk_is_full_is_started_again(bench: Bench, disk: SmallDisk) -> None:
    """Some servers die of a log that cannot be written: that says nothing of them."""
    bench.results = disk.path
    program = bench.folder / "fills"
    program.write_text(
        f"#!/bin/sh\nexport FAKE_SERVER='{SPEED}'\n"
        f"case $* in *U.gguf*) if mkdir {bench.folder}/.once 2> /dev/null; then\n"
        f"cat /dev/zero >> {disk.ballast} 2> /dev/null; exit 9; fi;; esac\nexec '{bench.fake}' \"$@\"\n"
    )
    program.chmod(0o755)
    profile = bench.profile(["T", "U"], engine={"program": str(program)}, results={"dir": str(disk.path)})
    command = bench.headless(profile)
    command.until("paused until there is room")
    disk.empty()
    run = command.end()
    assert_complete(run)
    assert (run.code, run.loads("U")) == (0, 2)
    assert_each_block_once(run, 2)
    assert "exited with code 9" in run.stderr
    assert "while the disk was full; the server is started once more" in run.stderr


def test_nothing_is_begun_on_a_full_disk(bench: Bench, disk: SmallDisk) -> None:
    bench.results = disk.path
    profile = bench.profile(["T", "U"], limits={"max_time": "1s"}, results={"dir": str(disk.path)})
    disk.fill()
    refused = bench.run(profile)
    assert (refused.code, refused.stdout) == (5, "")
    assert "No space left on device" in refused.stderr
    assert list(disk.path.iterdir()) == [disk.ballast]


def test_a_run_is_gone_on_with_once_there_is_room(bench: Bench, disk: SmallDisk) -> None:
    bench.results = disk.path
    program = bench.program({"T": ["die_at_load=1", ""]})
    profile = bench.profile(engine={"program": str(program)}, results={"dir": str(disk.path)})
    run = bench.run(profile)
    assert run.code == 3
    assert run.path is not None
    journal = run.path / "journal.jsonl"
    before = journal.read_bytes()
    with journal.open("ab") as file:  # no room is left in its last page either
        file.truncate(len(before))
    disk.fill()
    refused = bench.start("resume", run.path).process
    out, err = refused.communicate(timeout=bench.limit_s)
    assert (refused.returncode, out) == (5, "")
    assert "No space left on device" in err
    assert journal.read_bytes().startswith(before)
    disk.empty()
    done = bench.resume(run.path)
    assert_complete(done)
    assert done.code == 0


def test_what_cannot_be_written_for_another_reason_ends_the_run_and_fails_no_step(bench: Bench) -> None:
    program = bench.program({"T": ";;speed=10", "U": ""})
    command = bench.headless(bench.profile(["T", "U"], engine={"program": str(program)}))
    command.until("sample .* #1")
    family = descendants(command.process.pid)
    (folder,) = bench.results.iterdir()
    (folder / "logs").rename(folder / "other")
    (folder / "logs").write_text("in the way")
    run = command.end()
    assert_gone(family)
    assert run.code == 5
    assert str(folder / "logs") in run.stderr
    assert {found.status for found in run.view.steps.values()} <= {"ok", "open", "running"}
    assert run.facts(ev.RunFinished)[-1].exit_code == 5
    (folder / "logs").unlink()
    done = bench.resume(folder)
    assert_complete(done)
    assert done.code == 0
    assert_each_block_once(done, 2)
