"""A server process under its guard, seen from the engine's event loop.

Nothing here waits without a limit, and nothing reads a server's output: that goes to a file, since a pipe that nobody
drains hangs the server, and a pipe that a grandchild inherits hangs whoever waits for its end.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import psutil

from specdash.core.launch import LaunchSpec
from specdash.errors import EngineError, StoreError

GUARD = Path(__file__).with_name("guard.py")
START_LIMIT_S = 30.0
GUARD_EXIT_LIMIT_S = 10.0
TAIL_BYTES = 64 * 1024
SAME_START_S = 1.0  # start times are told in clock ticks, and against a clock that may be adjusted


@dataclass(frozen=True, slots=True)
class ExitInfo:
    """How a process ended: exit code, or the signal that ended it; `stuck` are pids that KILL could not end."""

    code: int | None
    signal: int | None
    stuck: tuple[int, ...] = ()

    @property
    def sentence(self) -> str:
        """The end in words, as the second half of "the server ..."."""
        if self.signal is not None:
            return f"was ended by {signal.Signals(self.signal).name}"
        if self.code is not None:
            return f"exited with code {self.code}"
        return "ended in a way nobody saw"


class _Wire(asyncio.Protocol):
    """What the guard says, as futures."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.started: asyncio.Future[int] = loop.create_future()
        self.gone: asyncio.Future[ExitInfo] = loop.create_future()
        self._exit = ExitInfo(None, None)
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        """Takes in events; the guard sends each as one line."""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._on_event(json.loads(line))

    def _on_event(self, event: Mapping[str, object]) -> None:
        kind = event["event"]
        if kind == "started" and not self.started.done():
            self.started.set_result(int(str(event["pid"])))
        elif kind == "failed" and not self.started.done():
            self.started.set_exception(EngineError(str(event["message"])))
        elif kind == "exited":
            code, number = event["code"], event["signal"]
            self._exit = ExitInfo(code if isinstance(code, int) else None, number if isinstance(number, int) else None)
        elif kind == "gone" and not self.gone.done():
            stuck = event["stuck"]
            pids = tuple(pid for pid in stuck if isinstance(pid, int)) if isinstance(stuck, list) else ()
            self.gone.set_result(ExitInfo(self._exit.code, self._exit.signal, pids))

    def connection_lost(self, exc: Exception | None) -> None:
        """The guard has ended; if it did not say how the server did, nobody knows."""
        if not self.started.done():
            self.started.set_exception(EngineError("the guard process ended before it started the server"))
        if not self.gone.done():
            self.gone.set_result(self._exit)


class GuardedProcess:
    """One server process tree, from its start until nothing of it is left."""

    def __init__(
        self, guard: subprocess.Popen[bytes], wire: _Wire, transport: asyncio.Transport, pid: int, pidfile: Path
    ) -> None:
        self.pid = pid
        self._guard = guard
        self._wire = wire
        self._transport = transport
        self._pidfile = pidfile
        self._asked = False

    @classmethod
    async def start(cls, spec: LaunchSpec, pidfiles: Path) -> GuardedProcess:
        """Starts the command; EngineError when it cannot be run. `pidfiles` is the folder for its pid file."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with theirs, open_log(spec.log_path) as log:
            guard = subprocess.Popen(
                _guard_command(theirs.fileno(), spec),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(spec.env),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # Ctrl-C in the user's terminal is the engine's to handle
            )
        wire = _Wire(loop)
        transport, _ = await loop.create_connection(lambda: wire, sock=ours)
        try:
            async with asyncio.timeout(START_LIMIT_S):
                pid = await asyncio.shield(wire.started)
        except BaseException as error:
            transport.close()
            await asyncio.to_thread(guard.wait, spec.grace_s + GUARD_EXIT_LIMIT_S)
            if isinstance(error, EngineError):
                raise EngineError(f"{spec.argv[0]} cannot be run: {error.what}") from None
            raise
        pidfile = write_pidfile(pidfiles, pid, spec.argv)
        return cls(guard, wire, transport, pid, pidfile)

    async def wait_gone(self) -> ExitInfo:
        """Waits until no process of the tree is left, or what is left cannot be killed."""
        info = await asyncio.shield(self._wire.gone)
        if info.code is None and info.signal is None:
            # The guard itself was killed: the server's session is ended by hand, as far as it can be found.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self._transport.close()
        await asyncio.to_thread(self._guard.wait, GUARD_EXIT_LIMIT_S)
        self._pidfile.unlink(missing_ok=True)
        return info

    async def stop(self) -> ExitInfo:
        """Ends the tree: TERM once, grace, KILL. Asked again, it only waits."""
        if not self._asked and not self._wire.gone.done():
            self._asked = True
            self._transport.write(b"T")
        return await asyncio.shield(self._wire.gone)

    def tree(self) -> list[int]:
        """Pids of the server and all its descendants."""
        try:
            return [child.pid for child in psutil.Process(self._guard.pid).children(recursive=True)]
        except psutil.Error:
            return []

    def cpu_seconds(self) -> float:
        """Processor time that the tree's live processes have used."""
        total = 0.0
        for pid in self.tree():
            with suppress(psutil.Error):
                times = psutil.Process(pid).cpu_times()
                total += times.user + times.system
        return total

    def rss_bytes(self) -> int:
        """Resident memory of the tree; shared pages count for each process that maps them."""
        total = 0
        for pid in self.tree():
            with suppress(psutil.Error):
                total += psutil.Process(pid).memory_info().rss
        return total

    def read_bytes(self) -> int | None:
        """Bytes that the tree has read, from any source; None where the system does not tell."""
        total: int | None = None
        for pid in self.tree():
            with suppress(OSError, ValueError):
                text = Path(f"/proc/{pid}/io").read_text(encoding="ascii")
                total = (total or 0) + int(text.partition("rchar: ")[2].split()[0])
        return total


def _guard_command(descriptor: int, spec: LaunchSpec) -> list[str]:
    options = ["--fd", str(descriptor), "--grace", str(spec.grace_s)]
    return [sys.executable, "-I", "-S", str(GUARD), *options, "--", *spec.argv]


def open_log(path: Path) -> FileIO:
    """The log file, to be appended to, readable by this user only."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    return FileIO(descriptor, "ab")


def log_tail(path: Path, lines: int = 60) -> tuple[str, ...]:
    """The last lines of a log, of at most its last 64 KiB; () when there is none. Raw: whoever shows it cleans it."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ()
    return tuple(text.split("\n")[-lines - 1 :]) if text else ()


# -- pid files: servers that an earlier, killed engine may have left behind ---------------------------------------


def start_time(pid: int) -> float | None:
    """When a process started, in seconds since 1970; None when there is no such process."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def write_pidfile(folder: Path, pid: int, argv: tuple[str, ...]) -> Path:
    """Notes a server and the engine that owns it, both by pid and start time; the file's path."""
    path = folder / f"{pid}.json"
    engine = os.getpid()
    note = {
        "pid": pid,
        "started_s": start_time(pid),
        "engine_pid": engine,
        "engine_started_s": start_time(engine),
        "argv": argv,
    }
    try:
        path.write_text(json.dumps(note), encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from error
    return path


def _same(pid: object, started_s: object) -> bool:
    """Whether the process that is noted is still there; a pid alone may belong to another program by now."""
    if not isinstance(pid, int) or not isinstance(started_s, int | float):
        return False
    found_s = start_time(pid)
    return found_s is not None and abs(found_s - started_s) < SAME_START_S


def sweep_stale(folder: Path) -> list[str]:
    """Ends servers whose engine is dead, by pid and start time, never by name; what was ended, in words."""
    ended = []
    for path in sorted(folder.glob("*.json")):
        try:
            note = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            note = {}
        if _same(note.get("engine_pid"), note.get("engine_started_s")):
            continue
        if _same(note.get("pid"), note.get("started_s")):
            _end(note["pid"])
            ended.append(f"pid {note['pid']} ({' '.join(note.get('argv') or ['?'])[:80]})")
        path.unlink(missing_ok=True)
    return ended


def _end(pid: int) -> None:
    """TERM, a short grace, KILL, to one process and its descendants."""
    with suppress(psutil.Error):
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
        for process in tree:
            with suppress(psutil.Error):
                process.terminate()
        _, alive = psutil.wait_procs(tree, timeout=3)
        for process in alive:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(alive, timeout=3)

