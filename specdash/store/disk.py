"""What it takes to have something on disk."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path

from specdash.errors import StoreError

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


def write_atomic(path: Path, text: str) -> None:
    """Replaces `path` by `text` in UTF-8 as a whole: at any time it is the old file or the new one.

    Lone surrogates are written as backslash escapes. Raises StoreError; the old file then stands as it was, and nothing
    is left of the new one.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        _write_new(temporary, text)
        temporary.replace(path)
        sync_directory(path.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise _unwritten(path, error) from error
        raise


def write_new(path: Path, text: str) -> None:
    """Writes `text` in UTF-8 to a file that is not there yet; raises FileExistsError, or StoreError and leaves none."""
    try:
        _write_new(path, text)
    except FileExistsError:
        raise
    except OSError as error:
        raise _unwritten(path, error) from error


def _write_new(path: Path, text: str) -> None:
    """Writes a file that is not there yet, as a whole or not at all. Raises OSError."""
    content = text.encode("utf-8", "backslashreplace")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        write_all(descriptor, content)
        sync_file(descriptor)
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise
    finally:
        os.close(descriptor)


_TODO = {
    errno.ENOSPC: "Free space on its disk.",
    errno.EDQUOT: "Your quota on its disk is used up.",
    errno.EROFS: "Its disk cannot be written to.",
    errno.EACCES: "Check the rights of its folder.",
    errno.EPERM: "Check the rights of its folder.",
    errno.EISDIR: "A folder has that name: move it away.",
    errno.ENOENT: "Its folder is not there.",
}


def _unwritten(path: Path, error: OSError) -> StoreError:
    """What could not be written, why, and what to do."""
    todo = [_TODO.get(error.errno or 0, "")]
    with suppress(OSError):
        todo += ["An older one stands as it was."] if path.is_file() else []
    return StoreError(f"{path} cannot be written: {error.strerror}", " ".join(filter(None, todo)))
