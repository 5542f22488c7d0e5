"""Standard output and error as every command has them: a reader that has gone ends nothing.

A terminal that was closed answers a write with EIO, a pipe that nobody reads with EPIPE, and a stream that was closed
before the start has no descriptor at all. In each case nobody reads any more: what is written is thrown away, and the
command goes on to its own end and exit code. What could not be written although somebody waits for it (a full disk
behind a redirection) is thrown away too, and `failure` tells it, so that no command calls that a success.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_NO_READER = frozenset({errno.EPIPE, errno.ECONNRESET})
# What a terminal answers once its other end has gone.
_NO_TERMINAL = frozenset({errno.EIO, errno.ENXIO, errno.ENODEV, errno.EBADF})


class _Lasting(io.FileIO):
    """A descriptor that takes every write. `failed` is why one was lost that somebody waited for."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self.failed: OSError | None = None
        self._no_reader = _NO_READER | _NO_TERMINAL if self.isatty() else _NO_READER
        self._is_read = True

    def write(self, data: ReadableBuffer) -> int:
        """Writes all of it, or throws it away; the number of its bytes either way."""
        left = memoryview(data).cast("B")
        size = len(left)
        while self._is_read and left:
            try:
                written = super().write(left)
                if written is None:  # another program that shares the descriptor has set it to non-blocking
                    select.select([], [self], [])
                else:
                    left = left[written:]
            except OSError as error:
                if error.errno in self._no_reader:
                    self._is_read = False
                else:
                    self.failed = error
                break
        return size


def make_lasting() -> None:
    """Replaces the standard streams of this process, once, at its very start.

    Text that an encoding lacks is shown as escapes. Descriptors that were closed are opened on nothing: the next file
    that is opened would otherwise become standard output.
    """
    for descriptor in range(3):
        _fill(descriptor)
    sys.stdout = _lasting(sys.stdout, 1)
    sys.stderr = _lasting(sys.stderr, 2)


def failure() -> OSError | None:
    """Why something that was written to standard output was lost, although somebody waits for it; None: nothing was."""
    with suppress(ValueError):  # closed
        sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.failed if isinstance(raw, _Lasting) else None


def _fill(descriptor: int) -> None:
    """Opens a descriptor on nothing where it is closed."""
    try:
        os.fstat(descriptor)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)
        os.set_inheritable(descriptor, True)


def _lasting(stream: TextIO | None, descriptor: int) -> TextIO:
    """The stream anew, on the same descriptor; as it is where it has none (a test that captures it)."""
    encoding, line_buffering, write_through = "utf-8", True, False
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
        encoding, line_buffering, write_through = stream.encoding, stream.line_buffering, stream.write_through
    if stream is not None:
        try:
            descriptor = stream.fileno()
        except (OSError, ValueError):
            return stream
    return io.TextIOWrapper(
        io.BufferedWriter(_Lasting(descriptor)),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=line_buffering,
        write_through=write_through,
    )
