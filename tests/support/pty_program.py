"""Programs in a terminal of their own: what they send to it, byte for byte, and which modes they leave it in."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence

# What a dashboard switches on, and must leave off; 7 (line wrap) and 25 (cursor) are the other way round.
MODES_OFF = frozenset({1049, 1000, 1002, 1003, 1006, 1015, 1016, 2004, 1004, 2048, 2026})
MODES_ON = frozenset({7, 25})
_PRIVATE_MODE = re.compile(rb"\x1b\[\?([\d;]+)([hl])")
_KITTY = re.compile(rb"\x1b\[(>\d+|<)u")
_COLOUR = re.compile(rb"\x1b\[([\d;:]*)m")
TIMEOUT_S = 30.0


class PtyProgram:
    """A program whose standard streams are a new terminal; `output` is all that was read from it so far."""

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        size: tuple[int, int] = (80, 24),
    ) -> None:
        self.output = bytearray()
        self.status: int | None = None
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                os.execvpe(argv[0], list(argv), dict(environment))
            finally:
                os._exit(127)
        self.before = termios.tcgetattr(self.fd)
        self.resize(*size)

    def __enter__(self) -> PtyProgram:
        return self

    def __exit__(self, *_: object) -> None:
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.wait(10)
        self.hang_up()

    def resize(self, width: int, height: int) -> None:
        """Another size, as when a window is dragged."""
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def send(self, keys: str | bytes) -> None:
        """Types."""
        os.write(self.fd, keys.encode() if isinstance(keys, str) else keys)

    def read(self, for_s: float) -> bytes:
        """What comes within so many seconds; stops early when the program has gone."""
        start = len(self.output)
        end_s = time.monotonic() + for_s
        while (left_s := end_s - time.monotonic()) > 0:
            if not self._read_once(left_s):
                break
        return bytes(self.output[start:])

    def read_until(self, wanted: Callable[[bytes], bool] | bytes, timeout_s: float = TIMEOUT_S) -> bytes:
        """Reads until what came since the call holds `wanted`; fails after the time."""
        start = len(self.output)
        end_s = time.monotonic() + timeout_s
        while True:
            seen = bytes(self.output[start:])
            if wanted in seen if isinstance(wanted, bytes) else wanted(seen):
                return seen
            left_s = end_s - time.monotonic()
            if left_s <= 0 or not self._read_once(left_s):
                raise AssertionError(f"{wanted!r} did not come; the last that did: {seen[-600:]!r}")

    def _read_once(self, timeout_s: float) -> bool:
        """Takes what is there; False when nothing more will be."""
        ready, _, _ = select.select([self.fd], [], [], timeout_s)
        if not ready:
            return True
        try:
            data = os.read(self.fd, 65_536)
        except OSError as error:
            if error.errno in (errno.EIO, errno.EBADF):
                return False
            raise
        self.output += data
        return bool(data)

    def wait(self, timeout_s: float, *, reads: bool = False) -> int | None:
        """The exit code, -N for signal N; None when it is still there after so many seconds."""
        end_s = time.monotonic() + timeout_s
        while self.status is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            if found:
                self.status = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > end_s:
                return None
            elif reads:
                self.read(0.02)
            else:
                time.sleep(0.01)
        if reads:
            while self._read_once(0) and select.select([self.fd], [], [], 0)[0]:
                pass
        return self.status

    def hang_up(self) -> None:
        """Closes the terminal, as a lost line does."""
        with contextlib.suppress(OSError):
            os.close(self.fd)
        self.fd = -1


def python_child(module: str, *arguments: str) -> list[str]:
    """Return the command line of a module of the tests; it is found from the root of this tree, or by PYTHONPATH."""
    return [sys.executable, "-m", f"tests.support.{module}", *arguments]


def modes(output: bytes) -> dict[int, bool]:
    """The private modes that were switched, and whether they are on at the end."""
    found: dict[int, bool] = {}
    for match in _PRIVATE_MODE.finditer(output):
        for mode in match[1].split(b";"):
            found[int(mode)] = match[2] == b"h"
    return found


def left_behind(output: bytes) -> list[str]:
    """Everything that the terminal was not given back from: modes, and Kitty's keyboard flags."""
    found = modes(output)
    wrong = [f"?{mode} is on" for mode in sorted(MODES_OFF) if found.get(mode)]
    wrong += [f"?{mode} is off" for mode in sorted(MODES_ON) if found.get(mode) is False]
    depth = sum(1 if match[1].startswith(b">") else -1 for match in _KITTY.finditer(output))
    return [*wrong, *(["Kitty keyboard flags"] if depth > 0 else [])]


def colour_codes(output: bytes) -> list[bytes]:
    """Every SGR sequence that sets a colour, be it the default one."""
    found = []
    for match in _COLOUR.finditer(output):
        codes = [int(code) for code in re.split(rb"[;:]", match[1]) if code]
        if any(30 <= code <= 49 or 90 <= code <= 107 for code in codes):
            found.append(match[0])
    return found
