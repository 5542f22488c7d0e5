"""Output that never holds up whoever writes: a thread with a backlog, for terminals that stop reading.

A line that stalls (a closed lid, a lost network) must neither freeze the event loop nor keep the process from ending.
What was taken is written in order and whole; whoever draws asks `is_backed_up` first, and draws a whole picture later
instead of queueing one after another.
"""

from __future__ import annotations

import io
import os
import select
import stat
import termios
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO, cast

BACKLOG_BYTES = 32_768  # more than a whole picture of most terminals: what waits beyond that is out of date
MOST_BYTES = 1_048_576  # nothing at all is taken beyond this, mode switches neither
_PIECE_BYTES = 4096
_LOOK_S = 0.1
_CANCEL = b"\x18\x1b\\"  # ends a sequence or string that was cut in the middle


class LossyWriter(threading.Thread):
    """Writes to the terminal at `fd` in the background.

    `on_drained` is called in this thread whenever the backlog has become empty after it was too long; `on_lost` once,
    when the terminal is gone. The terminal is opened anew where that can be done, so that it can be set to non-blocking
    without the shell, which shares our streams, noticing.
    """

    def __init__(self, fd: int, *, on_drained: Callable[[], None], on_lost: Callable[[], None]) -> None:
        super().__init__(daemon=True, name="specdash-output")
        self._fd = _reopened(fd)
        self._on_drained = on_drained
        self._on_lost = on_lost
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._was_backed_up = False
        self._stopping = False
        self._is_lost = False
        self._changed = threading.Condition()

    @property
    def is_backed_up(self) -> bool:
        """Whether so much waits that what is drawn now would be old before it is seen."""
        with self._changed:
            # Under the lock: noted a moment after the backlog was written, it would never be taken back.
            self._was_backed_up = bool(self._waiting) and (self._was_backed_up or self._size > BACKLOG_BYTES)
            return self._was_backed_up

    @property
    def is_behind(self) -> bool:
        """Whether anything waits."""
        return bool(self._waiting)

    def write(self, data: bytes) -> None:
        """Takes `data` to be written; returns at once."""
        with self._changed:
            if not self._is_lost and self._size < MOST_BYTES:
                self._waiting.append(data)
                self._size += len(data)
                self._changed.notify_all()

    def run(self) -> None:
        """Writes until it is stopped."""
        while True:
            with self._changed:
                while not self._waiting and not self._stopping:
                    self._changed.wait()
                if not self._waiting:
                    return
                piece = self._waiting[0]
            written = self._write_some(piece)
            drained = False
            with self._changed:
                if written < 0 or (self._stopping and not self._waiting):
                    self._waiting.clear()
                    self._size = 0
                    self._changed.notify_all()
                elif written and self._waiting:
                    self._size -= written
                    if written == len(piece):
                        self._waiting.popleft()
                    else:
                        self._waiting[0] = piece[written:]
                    if not self._waiting:
                        drained, self._was_backed_up = self._was_backed_up, False
                        self._changed.notify_all()
            if written < 0:
                self._is_lost = True
                self._on_lost()
                return
            if drained:
                self._on_drained()

    def _write_some(self, data: bytes) -> int:
        """How many bytes the terminal took; 0: none within a moment, -1: there is no terminal any more."""
        try:
            _, ready, _ = select.select([], [self._fd], [], _LOOK_S)
            return os.write(self._fd, data[:_PIECE_BYTES]) if ready else 0
        except BlockingIOError:
            return 0
        except (OSError, ValueError):
            return -1

    def stop(self, timeout_s: float) -> bool:
        """Ends the thread once all is written, or after `timeout_s`; False when something had to be thrown away."""
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            while self._waiting and (left_s := deadline_s - time.monotonic()) > 0:
                self._changed.wait(left_s)
            complete = not self._waiting and not self._is_lost
            self._waiting.clear()
            self._size = 0
            self._stopping = True
            self._changed.notify_all()
        if self is not threading.current_thread():
            self.join(2 * _LOOK_S)
        return complete

    def wait(self) -> None:
        """Returns once all was read, or cannot be any more."""
        with self._changed:
            while self._waiting:
                self._changed.wait()

    def force(self, data: bytes) -> None:
        """Throws away what waits, in the kernel too, and writes `data` if the terminal takes it now."""
        with self._changed:
            self._waiting.clear()
            self._size = 0
        with suppress(OSError, termios.error):
            termios.tcflush(self._fd, termios.TCOFLUSH)
        with suppress(OSError, ValueError):
            _, ready, _ = select.select([], [self._fd], [], 0)
            if ready:
                os.write(self._fd, _CANCEL + data)

    def close(self) -> None:
        """Lets go of the terminal; after `stop`."""
        if not self.is_alive():
            with suppress(OSError):
                os.close(self._fd)


class BackgroundWriter(io.TextIOBase):
    """Text for a terminal or a pipe, written by somebody who has no time to wait for its reader."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._writer = LossyWriter(stream.fileno(), on_drained=lambda: None, on_lost=lambda: None)
        self._writer.start()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream."""
        return self._stream.encoding

    @property
    def is_behind(self) -> bool:
        """Whether its reader has not taken everything."""
        return self._writer.is_behind

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The descriptor of the stream."""
        return self._stream.fileno()

    def write(self, text: str) -> int:
        """Takes `text` to be written; returns at once."""
        self._writer.write(text.encode(self.encoding, "backslashreplace"))
        return len(text)

    def finish(self) -> None:
        """Returns once all was read, or cannot be any more."""
        self._writer.wait()
        self._writer.stop(0)
        self._writer.close()


@contextmanager
def written_in_background(stream: TextIO) -> Iterator[TextIO]:
    """The stream for a block that must not wait for its reader; the end of the block does wait.

    A lid that is closed or a pager that is not scrolled would otherwise hold up whoever tells what he measures. A file
    is never waited for, so it is used as it is.
    """
    try:
        is_file = stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):  # no descriptor: a test that captures it
        is_file = True
    if is_file:
        yield stream
        return
    stream.flush()
    found = BackgroundWriter(stream)
    try:
        yield cast("TextIO", found)
    finally:
        found.finish()


def _reopened(fd: int) -> int:
    """The same terminal with flags of its own; a copy of `fd` where it cannot be opened (another user's)."""
    try:
        return os.open(os.ttyname(fd), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return os.dup(fd)
