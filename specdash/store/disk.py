"""What it takes to have something on disk."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path

from specdash.errors import StoreError, unwritten

# Network and FUSE file systems answer these to a sync that they do not offer.
_NOT_OFFERED = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS})
PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700


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


def file_mode(folder: Path) -> int:
    """The mode for a new file in `folder`: for its owner alone where the folder is, else whatever the umask leaves."""
    try:
        is_private = not folder.stat().st_mode & 0o077
    except OSError:
        is_private = False
    return PRIVATE_FILE if is_private else 0o666


def write_atomic(path: Path, text: str, mode: int | None = None) -> None:
    """Replaces `path` by `text` in UTF-8 as a whole: at any time it is the old file or the new one.

    `mode` is that of `file_mode` where it is not given. Lone surrogates are written as backslash escapes. Raises
    StoreError, DiskFull for want of room; the old file then stands as it was, and nothing is left of the new one.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        _write_new(temporary, text, mode)
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
        _write_new(path, text, None)
    except FileExistsError:
        raise
    except OSError as error:
        raise _unwritten(path, error) from error


def _write_new(path: Path, text: str, mode: int | None) -> None:
    """Writes a file that is not there yet, as a whole or not at all. Raises OSError."""
    content = text.encode("utf-8", "backslashreplace")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, file_mode(path.parent) if mode is None else mode)
    try:
        write_all(descriptor, content)
        sync_file(descriptor)
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise
    finally:
        os.close(descriptor)


def _unwritten(path: Path, error: OSError) -> StoreError:
    """What could not be written, why, and what to do."""
    older = "An older one stands as it was." if os.path.isfile(path) else ""
    return unwritten(f"{path} cannot be written", error, older)
