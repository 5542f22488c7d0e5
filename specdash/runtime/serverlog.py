"""The log file of a server: what it says, from its start to its end."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeVar

from specdash.errors import StoreError, unwritten

TAIL_BYTES = 64 * 1024
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class ServerLog:
    """A log that a server appends to, readable by whoever may enter its folder, and kept where its name is deleted."""

    def __init__(self, path: Path) -> None:
        """Opens it; raises StoreError, DiskFull where there is no room for what a server says until it is ready."""
        self._path = path
        self._copy: tuple[int, int] | None = None  # the file that stands in for a deleted one
        self._copied_bytes = 0
        try:
            _make_folder(path.parent)
            prove_room(path.parent)
            self.descriptor = os.open(path, _FLAGS, _mode(path))
        except OSError as error:
            raise unwritten(f"{path} cannot be written", error) from error

    def keep(self, path: Path) -> None:
        """From now on its name is `path`. Where nothing has that name any more, what the server says goes on there.

        The server itself still writes to the file that was deleted. Raises StoreError, DiskFull for want of room.
        """
        self._path = path
        if self.descriptor < 0:
            return
        try:
            found = _identity(path)
            if found == _identity(self.descriptor) or found not in (None, self._copy):
                return  # where something else has the name, that stays
            _make_folder(path.parent)
            descriptor = os.open(path, _FLAGS, _mode(path))
            try:
                if found is None:
                    self._copy, self._copied_bytes = _identity(descriptor), 0
                while data := os.pread(self.descriptor, TAIL_BYTES, self._copied_bytes):
                    self._copied_bytes += os.write(descriptor, data)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise unwritten(f"{path} cannot be written", error) from error

    def close(self) -> None:
        """Lets go of the file; its last lines are kept too."""
        with suppress(StoreError):
            self.keep(self._path)
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _make_folder(folder: Path) -> None:
    """Makes the folder of logs, open to whom the run folder is."""
    folder.mkdir(mode=folder.parent.stat().st_mode & 0o777, exist_ok=True)


def _mode(path: Path) -> int:
    return path.parent.stat().st_mode & 0o666


def _identity(file: Path | int) -> tuple[int, int] | None:
    try:
        found = os.stat(file)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def log_tail(path: Path, lines: int = 60) -> tuple[str, ...]:
    """The last lines of a log, of at most its last 64 KiB; () when there is none. Raw: whoever shows it cleans it."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ()
    return tuple(text.removesuffix("\n").split("\n")[-lines:]) if text else ()


T = TypeVar("T")

ROOM_BYTES = 64 * 1024  # what a server's log takes until it is ready, and more


class WhenRoom(Protocol):
    """Carries out a write that may be tried again: one that leaves nothing behind when it raises `DiskFull`."""

    async def __call__(self, write: Callable[[], T], /) -> T:
        """What `write` gives, once there was room for it; raises StoreError where there will be none."""


async def at_once(write: Callable[[], T], /) -> T:
    """Does not wait: a full disk is an error."""
    return write()


def prove_room(folder: Path) -> None:
    """Raises StoreError where nothing of some length can be written in `folder`: DiskFull for want of room."""
    path = folder / f".room-{os.getpid()}"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            left = memoryview(bytes(ROOM_BYTES))
            while left:
                left = left[os.write(descriptor, left) :]
        finally:
            os.close(descriptor)
    except OSError as error:
        raise unwritten(f"{folder} cannot be written to", error) from error
    finally:
        with suppress(OSError):
            path.unlink()
