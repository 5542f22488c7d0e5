"""Room on disk: what cannot be written now is waited for, told once, and written once."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from pathlib import Path

import pytest

from specdash.errors import DiskFull, Exit, StoreError, unwritten
from specdash.session import recorder as room_module
from specdash.session.recorder import Room


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_module, "RETRY_S", 0.001)


class Disk:
    """Has room once `full` is over; counts what was written."""

    def __init__(self, full: int) -> None:
        self.full = full
        self.written = 0

    def write(self) -> int:
        if self.full:
            self.full -= 1
            raise DiskFull("x: no room")
        self.written += 1
        return self.written


def opened(complaints: list[str]) -> Room:
    room = Room(complaints.append)
    room.begin()
    return room


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_no_room_is_one_kind_whatever_is_used_up(number: int) -> None:
    found = unwritten("x cannot be written", OSError(number, os.strerror(number)))
    assert isinstance(found, DiskFull)
    assert found.exit_code is Exit.UNSAFE


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.EROFS, errno.ENOENT, errno.ESTALE])
def test_what_will_not_pass_by_waiting_is_another(number: int) -> None:
    found = unwritten("x cannot be written", OSError(number, os.strerror(number)))
    assert isinstance(found, StoreError)
    assert not isinstance(found, DiskFull)


async def test_a_write_is_tried_until_there_is_room_and_that_is_told_once() -> None:
    complaints: list[str] = []
    disk, room = Disk(full=5), opened(complaints)
    assert await room(disk.write) == 1
    assert disk.written == 1
    assert complaints == [
        "x: no room; paused until there is room",
        "there is room on the disk again: the run goes on",
    ]
    assert room.lacking is None


async def test_several_writes_wait_alike() -> None:
    complaints: list[str] = []
    disk, room = Disk(full=30), opened(complaints)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(room(disk.write))
        await asyncio.sleep(0)  # each tries once
        assert room.lacking == "x: no room"
    assert disk.written == 3
    assert len(complaints) == 2


async def test_a_run_that_is_being_ended_does_not_wait() -> None:
    disk, room = Disk(full=10**9), opened([])
    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(_fails(room, disk))
        await asyncio.sleep(0)  # it tries once
        assert room.lacking is not None
        room.stop_waiting()
    assert writing.result()
    assert await _fails(room, disk)


async def test_a_run_that_has_not_begun_does_not_wait() -> None:
    assert await _fails(Room(lambda _: None), Disk(full=1))


async def _fails(room: Room, disk: Disk) -> bool:
    with pytest.raises(DiskFull):
        await room(disk.write)
    return True


async def test_what_else_goes_wrong_is_no_reason_to_wait() -> None:
    def write() -> None:
        raise StoreError("no rights")

    with pytest.raises(StoreError, match="no rights"):
        await opened([])(write)


async def test_the_folder_is_seen_to_before_each_write() -> None:
    calls: list[str] = []
    room = Room(calls.append, lambda: calls.append("kept"))
    await room(lambda: calls.append("written"))
    assert calls == ["kept", "written"]


async def test_it_is_known_whether_there_was_room_since(tmp_path: Path) -> None:
    room = opened([])
    before_s = time.monotonic()
    assert not room.was_lacking(tmp_path, before_s)
    await room(Disk(full=1).write)
    assert room.was_lacking(tmp_path, before_s)
    assert not room.was_lacking(tmp_path, time.monotonic())
    assert os.listdir(tmp_path) == []
