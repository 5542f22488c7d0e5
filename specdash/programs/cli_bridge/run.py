"""One run of the program, as a child whose outputs are always read."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import select
import signal
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import IO, Any

from specdash.core.heartbeat import BEAT_S, heartbeat

TERM_S = 1.0  # from TERM to KILL, for a run that nobody waits for
DRAIN_S = 2.0  # for output that is still in the pipes when the program has ended
READ_BYTES = 256 * 1024
OUT_BYTES = 4 * 1024 * 1024
ERR_HEAD_BYTES = 64 * 1024
ERR_TAIL_BYTES = 192 * 1024


class Run:
    """One run of the program, from its start to its last event. `send` takes events, `done` is called at the end."""

    def __init__(self, argv: Sequence[str], alias: str, log: Log, send: Callable[[Any], None]) -> None:
        self.argv = tuple(argv)
        self._alias = alias
        self._log = log
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._out_bytes = 0
        self._err = Tail(ERR_HEAD_BYTES, ERR_TAIL_BYTES)
        self._logged = log.part()
        self._open: set[IO[bytes]] = set()
        self._timers: list[asyncio.TimerHandle] = []
        self._limit_passed = False
        self._ended = False
        self.finished = False

    def start(self, prompt: str, limit_s: float) -> None:
        """Starts the program; OSError where it cannot be started."""
        with tempfile.TemporaryFile() as file:
            # Programs drop one line end at the end of a prompt file.
            file.write(prompt.encode("utf-8", "replace") + b"\n")
            file.seek(0)
            argv = [f"/dev/fd/{file.fileno()}" if word == "{prompt}" else word for word in self.argv]
            self._log.say(f"runs {' '.join(self.argv)}")
            self._started_s = time.monotonic()
            self._due_s = heartbeat().ran_s() + limit_s
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                pass_fds=(file.fileno(),),
            )
        for pipe, reader in ((self._process.stdout, self._read_out), (self._process.stderr, self._read_err)):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            self._open.add(pipe)
            self._loop.add_reader(pipe.fileno(), self._read, pipe, reader)
        self._timers.append(self._loop.call_later(limit_s, self._out_of_time))

    def look(self) -> None:
        """Called when a child has ended; leaves nothing of this run's process group when it was this one."""
        if self._ended or self._process.poll() is None:
            return
        self._ended = True
        self._signal(signal.SIGKILL)
        self._timers.append(self._loop.call_later(DRAIN_S, self._close_pipes))
        self._finish()

    def end(self) -> None:
        """Ends the program: TERM, and KILL where it does not obey."""
        if not self._ended:
            self._signal(signal.SIGTERM)
            self._timers.append(self._loop.call_later(TERM_S, self._signal, signal.SIGKILL))

    def state(self) -> dict[str, Any]:
        """What it is doing, for somebody who waits for it."""
        seconds = round(time.monotonic() - self._started_s, 1)
        last = self._err.text()[-1000:]
        return {"argv": self.argv, "seconds": seconds, "out_bytes": self._out_bytes, "stderr": last}

    def _out_of_time(self) -> None:
        left_s = self._due_s - heartbeat().ran_s()
        if left_s > BEAT_S:  # this process was stopped, and the program with it
            self._timers.append(self._loop.call_later(left_s, self._out_of_time))
            return
        self._limit_passed = True
        self.end()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _read(self, pipe: IO[bytes], reader: Callable[[bytes, float], None]) -> None:
        try:
            data = os.read(pipe.fileno(), READ_BYTES)
        except BlockingIOError:
            return
        reader(data, self._ms())
        if not data:
            self._close(pipe)
            self._finish()

    def _read_out(self, data: bytes, t_ms: float) -> None:
        room = max(0, OUT_BYTES - self._out_bytes)
        self._out_bytes += len(data)
        if room and data:
            self._send({"out": self._decoder.decode(data[:room]), "t_ms": t_ms})

    def _read_err(self, data: bytes, t_ms: float) -> None:
        self._err.add(data)
        if passed_on := self._logged.add(data):
            self._log.write(passed_on)

    def _close(self, pipe: IO[bytes]) -> None:
        self._open.discard(pipe)
        self._loop.remove_reader(pipe.fileno())
        pipe.close()

    def _close_pipes(self) -> None:
        """Stops waiting for the ends of pipes that somebody else keeps open."""
        for pipe in tuple(self._open):
            self._close(pipe)
        self._finish()

    def _finish(self) -> None:
        if not self._ended or self._open or self.finished:
            return
        self.finished = True
        for timer in self._timers:
            timer.cancel()
        self._log.write(self._logged.rest())
        code = self._process.returncode
        self._send(
            {
                "exit": code if code >= 0 else None,
                "signal": -code if code < 0 else None,
                "limit": self._limit_passed,
                "stderr": self._err.text(),
                "t_ms": self._ms(),
                "dropped": max(0, self._out_bytes - OUT_BYTES),
                "model": self._alias,
            }
        )

    def _ms(self) -> float:
        return round((time.monotonic() - self._started_s) * 1000, 3)


# -- what is kept of its output ------------------------------------------------------------------------------------

LOG_BYTES = 16 * 1024 * 1024  # of all runs together; then each has only its end in the log
LOG_RUN_BYTES = 256 * 1024
LOG_TAIL_BYTES = 16 * 1024


class Tail:
    """The first bytes and the last bytes of a stream of any length."""

    def __init__(self, head_bytes: int, tail_bytes: int) -> None:
        self.total = 0
        self._room = head_bytes
        self._most = tail_bytes
        self._head: list[bytes] = []
        self._tail: deque[bytes] = deque()
        self._held = 0

    def add(self, data: bytes) -> bytes:
        """Keeps `data`; returns the part of it that belongs to the head."""
        self.total += len(data)
        first, rest = data[: self._room], data[self._room :]
        self._room -= len(first)
        if first:
            self._head.append(first)
        if rest:
            self._tail.append(rest)
            self._held += len(rest)
            while self._held - len(self._tail[0]) >= self._most:
                self._held -= len(self._tail.popleft())
        return first

    def rest(self) -> bytes:
        """What came after the head, with a line that says how much of it is missing."""
        tail = b"".join(self._tail)[-self._most :]
        lost = self.total - sum(map(len, self._head)) - len(tail)
        return b"\n[%d bytes left out]\n%b" % (lost, tail) if lost else tail

    def text(self) -> str:
        """Everything that is kept, malformed UTF-8 replaced."""
        return (b"".join(self._head) + self.rest()).decode("utf-8", "replace")


class Log:
    """Our stderr, which is the log of the load: lines of our own, and a bounded part of each run's stderr."""

    def __init__(self) -> None:
        self._left = LOG_BYTES

    def say(self, text: str) -> None:
        """Writes a line of our own."""
        self.write(f"cli_bridge: {text}\n".encode())

    def part(self) -> Tail:
        """What the log keeps of a run that begins."""
        return Tail(min(LOG_RUN_BYTES, self._left), LOG_TAIL_BYTES)

    def write(self, data: bytes) -> None:
        """Writes what it can without waiting: neither a full disk nor a full pipe may end or delay a measurement."""
        self._left = max(0, self._left - len(data))
        with contextlib.suppress(OSError):
            while data and select.select((), (2,), (), 0)[1]:
                data = data[os.write(2, data[: select.PIPE_BUF]) :]
