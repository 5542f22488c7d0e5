"""The folder of a run while the run goes on: the folder itself, not its name.

It is held open, so it is known again when it was moved, and known to be gone when it was deleted.
"""

from __future__ import annotations

import fcntl
import os
import stat
import sys
from contextlib import suppress
from enum import Enum
from pathlib import Path

from specdash.errors import StoreError, unwritten

_DELETED = " (deleted)"  # what Linux puts behind the name of a file that has none any more (proc_pid_fd(5))


class Fate(Enum):
    """What has become of a run folder since it was looked at last."""

    IN_PLACE = "in place"
    MOVED = "moved"
    DELETED = "deleted"


class RunFolder:
    """A run folder held open; `path` is where it is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = _opened(path)

    def look(self) -> Fate:
        """What has become of the folder; `path` follows it where it was moved.

        Raises StoreError where it is still there, but cannot be reached by any name: its disk was unmounted, or a
        folder above it was closed off.
        """
        ours = os.fstat(self._descriptor)
        if self._is_ours(self.path, ours):
            return Fate.IN_PLACE
        place = _place_of(self._descriptor)
        if ours.st_nlink == 0 or (place is not None and place.endswith(_DELETED)):
            return Fate.DELETED
        if place is not None and self._is_ours(Path(place), ours):
            self.path = Path(place)
            return Fate.MOVED
        raise StoreError(
            f"{self.path}: the run folder cannot be reached any more: is its disk unmounted?",
            f"Once it is there again, go on with: specdash resume {self.path.name}",
        )

    def make_again(self) -> None:
        """Makes the folder again where it was, after it was deleted; raises StoreError, DiskFull for want of room."""
        try:
            self.path.mkdir(mode=stat.S_IMODE(os.fstat(self._descriptor).st_mode), parents=True, exist_ok=True)
        except OSError as error:
            raise unwritten(f"{self.path} cannot be made again", error) from error
        old, self._descriptor = self._descriptor, _opened(self.path)
        os.close(old)

    def close(self) -> None:
        """Lets go of it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @staticmethod
    def _is_ours(path: Path, ours: os.stat_result) -> bool:
        with suppress(OSError):
            found = path.stat()
            return (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)
        return False


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise unwritten(f"{path} cannot be opened", error) from error


def _place_of(descriptor: int) -> str | None:
    """Where the system says that an open folder is; None where it does not tell."""
    with suppress(OSError):
        if sys.platform == "darwin":
            return os.fsdecode(fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
        return os.readlink(f"/proc/self/fd/{descriptor}")
    return None
