"""How what runs servers writes to disk: at once, or as the session has it, which waits for room."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeVar

from specdash.errors import unwritten

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
