"""What it takes to have something on disk."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

# Network and FUSE file systems answer these to a sync that they do not offer.
_NOT_OFFERED = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS})


def sync_file(descriptor: int) -> bool:
    """Returns once the file's content is on disk; False where the file system offers no syncs. Raises OSError."""
    try:
        if sys.platform == "darwin":
            import fcntl

            # A plain fsync stops at the drive's own cache there.
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_OFFERED:
            raise
        return False
    return True


def sync_directory(folder: Path) -> None:
    """Returns once the names in `folder` are on disk, where the file system offers that. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_OFFERED:
            raise
    finally:
        os.close(descriptor)


def write_all(descriptor: int, content: bytes) -> None:
    """Writes all of `content`, however many writes that takes."""
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]
