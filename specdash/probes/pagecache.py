"""How much of a file is in the page cache, without reading it.

mincore(2) tells it page by page. Asked for every page of 600 GB it would take seconds, so a fixed number of windows,
spread over all files, stands for the whole; small files are looked at in full. The mapping has no access rights, so
that nothing (read-ahead and mlockall included) can pull a page in.

Since Linux 5.2 mincore says "resident" of every page to someone who neither owns the file nor may write to it
(`can_do_mincore` in mm/mincore.c), so that such files are unknown here. File systems with a cache of their own, such
as ZFS, show only what they share with the page cache.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Sequence
from pathlib import Path
from stat import S_ISREG

from specdash.probes.sensor_guard import SensorUnavailable

WINDOW_PAGES = 64
WINDOWS = 256  # of all files together: some milliseconds, whatever their size
WINDOWS_EACH = 4  # of a file at least, however many there are

_FAILED = ctypes.c_void_p(-1).value
_ONES = int.from_bytes(b"\x01" * WINDOW_PAGES, "little")  # bit 0 of each byte is "resident", the others are not
_GOLDEN = 0.6180339887498949


class PageCache:
    """mincore(2) of this system. Calls let other threads run, so that a long look holds nobody up."""

    def __init__(self) -> None:
        """Raises OSError or AttributeError where the system has no mincore."""
        libc = ctypes.CDLL(None, use_errno=True)
        self._mmap, self._munmap, self._mincore = libc.mmap, libc.munmap, libc.mincore
        self._mmap.restype = ctypes.c_void_p
        self._mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        self._munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        self._mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]

    def cached_bytes(self, files: Sequence[Path]) -> int:
        """Estimated bytes of these files that are in the page cache; a file named twice counts once.

        Raises NotTold for a file that cannot be opened or whose cache the system hides from this user.
        """
        sizes = model_sizes(files)
        whole = sum(sizes.values())
        found = 0
        for path, size in sizes.items():
            windows = max(WINDOWS_EACH, WINDOWS * size // whole) if size else 0
            try:
                found += self._cached_of(path, windows)
            except OSError as error:
                raise SensorUnavailable(
                    f"page cache: {path.name} could not be looked at ({error.strerror}).", 0
                ) from error
        return found

    def _cached_of(self, path: Path, windows: int) -> int:
        """The same for one file, of which `windows` windows are looked at. Raises OSError, NotTold."""
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            size = os.fstat(handle).st_size
            if not size:
                return 0
            if not _may_ask(path, handle):
                raise SensorUnavailable(
                    f"page cache: the system hides what is cached of {path.name}, which another user owns;"
                    " run as its owner, or with write permission on it.",
                    0,
                )
            address = self._mmap(None, size, 0, mmap.MAP_SHARED, handle, 0)
        finally:
            os.close(handle)
        if address in (None, _FAILED):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        try:
            seen, resident = self._count(address, -(-size // mmap.PAGESIZE), windows)
        finally:
            self._munmap(address, size)
        return min(size, size * resident // seen)

    def _count(self, address: int, pages: int, windows: int) -> tuple[int, int]:
        """(pages looked at, those of them that are resident) of a mapping."""
        seen = resident = 0
        vector = ctypes.create_string_buffer(WINDOW_PAGES)
        for first in window_starts(pages, windows):
            length = min(WINDOW_PAGES, pages - first)
            if self._mincore(address + first * mmap.PAGESIZE, length * mmap.PAGESIZE, vector) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            seen += length
            resident += (int.from_bytes(vector.raw[:length], "little") & _ONES).bit_count()
        return seen, resident


def window_starts(pages: int, windows: int) -> Sequence[int]:
    """First pages of the windows: all of a small file, else one somewhere in each of `windows` equal parts.

    Where in its part moves from window to window, lest the step meet that of the layers; it is the same at every look,
    so that the share does not flicker.
    """
    if pages <= windows * WINDOW_PAGES:
        return range(0, pages, WINDOW_PAGES)
    part = pages / windows
    slack = part - WINDOW_PAGES
    return [int(number * part + (number * _GOLDEN % 1) * slack) for number in range(windows)]


def model_sizes(files: Sequence[Path]) -> dict[Path, int]:
    """Each of these files, once, with its size in bytes. Raises NotTold when one is not there any more."""
    sizes: dict[Path, int] = {}
    known: set[tuple[int, int]] = set()
    for path in files:
        try:
            status = path.stat()
        except OSError as error:
            raise SensorUnavailable(f"model files: {path.name} is not there any more ({error.strerror}).", 0) from error
        if not S_ISREG(status.st_mode):
            raise SensorUnavailable(f"model files: {path.name} is not a regular file.", 0)
        if (status.st_dev, status.st_ino) not in known:
            known.add((status.st_dev, status.st_ino))
            sizes[path] = status.st_size
    return sizes


def _may_ask(path: Path, handle: int) -> bool:
    """Whether mincore tells the truth about this file: to its owner, and to who may write to it.

    The kernel also lets CAP_FOWNER pass, which is not asked for here: an unknown share is better than a wrong one.
    """
    if os.fstat(handle).st_uid == os.geteuid():
        return True
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)
