"""A server process under its guard, seen from the engine's event loop.

Nothing here waits without a limit, and nothing reads a server's output: that goes to a file, since a pipe that nobody
drains hangs the server, and a pipe that a grandchild inherits hangs whoever waits for its end.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil

from specdash.core.heartbeat import heartbeat
from specdash.core.process_spec import LaunchSpec
from specdash.errors import EngineError, StoreError
from specdash.runtime.listener import prove_listener
from specdash.runtime.notes import ServerNote
from specdash.runtime.orphans import STOP_LIMIT_S
from specdash.runtime.process_tree import KILL_LIMIT_S, descendants, end_tree, identity
from specdash.runtime.server_process import ExitInfo
from specdash.runtime.serverlog import ServerLog, WhenRoom, at_once
from specdash.runtime.stopped import Stops

log = logging.getLogger(__name__)

GUARD = Path(__file__).parents[1] / "programs" / "guard.py"
START_LIMIT_S = 30.0
PAGE_IN_S = 0.01  # a page from a slow disk or a network

HINTS = {
    errno.ENOENT: "Is it installed, and on PATH? Is the interpreter of a script?",
    errno.EACCES: "It must be a file that this user may execute (chmod +x).",
    errno.ENOEXEC: "It is no program of this system; a script needs a first line like #!/bin/sh.",
}


class _Wire(asyncio.Protocol):
    """What the guard says, as futures."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.started: asyncio.Future[int] = loop.create_future()
        self.gone: asyncio.Future[ExitInfo] = loop.create_future()
        self.daemon: tuple[int, str | None] | None = None
        self.on_daemon: Callable[[int], None] = lambda _: None
        self.stops = Stops()
        self.lost = False
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
            number = event["errno"]
            self.started.set_exception(
                EngineError(
                    f"cannot be run: {event['message']}", HINTS.get(number, "") if isinstance(number, int) else ""
                )
            )
        elif kind == "following":
            pid = int(str(event["pid"]))
            self.daemon = (pid, identity(pid))
            self.on_daemon(pid)
        elif kind in ("stopped", "continued"):
            note = self.stops.on_stop if kind == "stopped" else self.stops.on_continue
            note(int(str(event["pid"])), float(str(event["t_s"])))
        elif kind == "exited":
            code, number = event["code"], event["signal"]
            self._exit = ExitInfo(
                code if isinstance(code, int) else None,
                number if isinstance(number, int) else None,
                left=str(event.get("left", "")),
            )
        elif kind == "gone" and not self.gone.done():
            stuck = event["stuck"]
            pids = tuple(pid for pid in stuck if isinstance(pid, int)) if isinstance(stuck, list) else ()
            self.gone.set_result(replace(self._exit, stuck=pids))

    def connection_lost(self, exc: Exception | None) -> None:
        """The guard has ended; if it did not say how the server did, nobody knows."""
        if not self.started.done():
            self.started.set_exception(EngineError("the guard process ended before it started the server"))
        if not self.gone.done():
            self.lost = True
            self.gone.set_result(self._exit)


class GuardedProcess:
    """One server process tree, from its start until nothing of it is left; implements `ServerProcess`."""

    is_ours = True

    def __init__(
        self,
        spec: LaunchSpec,
        guard: subprocess.Popen[bytes],
        wire: _Wire,
        transport: asyncio.Transport,
        pid: int,
        note: ServerNote,
        output: ServerLog,
    ) -> None:
        self.pid = pid
        self.guard_pid = guard.pid
        self.stops = wire.stops
        self._identity = identity(pid)
        self._stop_limit_s = _graces_s(spec) + STOP_LIMIT_S
        self._guard = guard
        self._wire = wire
        self._transport = transport
        self._note = note
        self._output = output
        self._asked = False
        wire.on_daemon = self._follow
        if wire.daemon is not None:
            self._follow(wire.daemon[0])

    @classmethod
    async def start(cls, spec: LaunchSpec, notes: Path, when_room: WhenRoom = at_once) -> GuardedProcess:
        """Starts the command, once there is room for what it will write; `notes` is the folder for its note.

        EngineError when the command cannot be run, StoreError when its log or note cannot be written.
        """
        note = await when_room(lambda: ServerNote.begin(notes, spec, _graces_s(spec)))
        try:
            output = await when_room(lambda: ServerLog(spec.log_path))
            try:
                return await cls._start(spec, note, output, when_room)
            except BaseException:
                output.close()
                raise
        except BaseException:
            note.remove()
            raise

    @classmethod
    async def _start(cls, spec: LaunchSpec, note: ServerNote, output: ServerLog, when_room: WhenRoom) -> GuardedProcess:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                guard = _start_guard(theirs.fileno(), output.descriptor, spec)
        except BaseException:
            ours.close()
            raise
        wire = _Wire(loop)
        transport: asyncio.Transport | None = None
        try:
            async with heartbeat().limit(START_LIMIT_S):
                transport, _ = await loop.create_connection(lambda: wire, sock=ours)
                pid = await asyncio.shield(wire.started)
            await when_room(lambda: note.started(pid, guard.pid))
        except BaseException as error:
            wire.started.cancel()
            (transport or ours).close()  # which the guard takes for the engine's end
            await asyncio.to_thread(_reap, guard, _graces_s(spec) + STOP_LIMIT_S)
            if isinstance(error, EngineError):
                raise EngineError(f"{spec.argv[0]} {error.what}", error.todo) from None
            if isinstance(error, TimeoutError):
                raise EngineError(f"{spec.argv[0]} was not started within {START_LIMIT_S:.0f} s") from None
            raise
        return cls(spec, guard, wire, transport, pid, note, output)

    def _follow(self, pid: int) -> None:
        try:
            self._note.follow(pid)
        except StoreError as error:  # what was started is noted, and its nonce tells the rest
            log.warning("%s", error.what)

    def keep_files(self, notes: Path, log_path: Path) -> None:
        """Sees to it that its note and its log are there, where they were deleted or the run folder moved.

        Raises StoreError, DiskFull for want of room.
        """
        self._note.move(notes)
        self._output.keep(log_path)

    async def wait_gone(self) -> ExitInfo:
        """Waits until no process of the tree is left, or what is left cannot be killed."""
        info = await asyncio.shield(self._wire.gone)
        if self._wire.lost:
            # Without its guard, what left the server's session and lost its parents cannot be found any more.
            left = [(self.pid, self._identity), *filter(None, [self._wire.daemon])]
            stuck = [await asyncio.to_thread(end_tree, pid, known_as, 0.0) for pid, known_as in left]
            info = replace(info, stuck=tuple(sorted({pid for each in stuck for pid in each})))
        self._transport.close()
        await asyncio.to_thread(_reap, self._guard, KILL_LIMIT_S)
        if not info.stuck:
            self._note.remove()
        self._output.close()
        return info

    async def stop(self) -> ExitInfo:
        """Ends the tree: stop command, TERM once, grace, KILL. Asked again, it only waits."""
        if not self._asked and not self._wire.gone.done():
            self._asked = True
            self._transport.write(b"T")
        try:
            async with heartbeat().limit(self._stop_limit_s):
                return await self.wait_gone()
        except TimeoutError:
            self._guard.kill()
            return await self.wait_gone()

    @property
    def daemon_pid(self) -> int | None:
        """The process that the pid file of a launch command names, once it is found."""
        return self._wire.daemon[0] if self._wire.daemon is not None else None

    @property
    def server_pid(self) -> int:
        """The process that the pid file names, else the one that was started."""
        return self.daemon_pid or self.pid

    def tree(self) -> list[int]:
        """Pids of the server and all its descendants, those of a process that its pid file names among them."""
        if self._guard.returncode is not None:
            return []
        found = descendants(self.guard_pid)
        pid, known_as = self._wire.daemon or (0, None)
        if pid and pid not in found and known_as is not None and identity(pid) == known_as:
            found += [pid, *descendants(pid)]
        return found

    def prove(self, port: int) -> None:
        """Raises NotOurServer unless the one listener on the port is of this tree."""
        tree = self.tree()
        self.stops.follow(tree)
        prove_listener(port, tree)

    def cpu_seconds(self) -> float:
        """Processor time that the tree has used, with that of children that have ended."""
        total = 0.0
        for pid in self.tree():
            with suppress(psutil.Error):
                times = psutil.Process(pid).cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total

    def work_seconds(self) -> float:
        """What tells a slow server from a hung one: processor time, and pages read from disk at what each may cost.

        A model that is mapped from a slow disk is paged in with hardly any processor time.
        """
        return self.cpu_seconds() + PAGE_IN_S * sum(_major_faults(pid) for pid in self.tree())

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


def _major_faults(pid: int) -> int:
    """Pages that a process had to wait for the disk for, from field 12 of /proc/PID/stat; 0 where nothing tells."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[9])


def _start_guard(descriptor: int, output: int, spec: LaunchSpec) -> subprocess.Popen[bytes]:
    options = ["--fd", str(descriptor), "--grace", str(spec.grace_s)]
    stop_policy = spec.stop_policy
    if stop_policy.stop:
        options += ["--stop", json.dumps(stop_policy.stop)]
    if stop_policy.daemon or stop_policy.pid_file is not None:
        options += ["--follow", str(spec.follow_s)]
    if stop_policy.pid_file is not None:
        options += ["--pid-file", str(stop_policy.pid_file)]
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(GUARD), *options, "--", *spec.argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(spec.env),
            pass_fds=(descriptor,),
            start_new_session=True,  # Ctrl-C in the user's terminal is the engine's to handle
        )
    except (OSError, ValueError) as error:
        raise EngineError(
            f"{spec.argv[0]} cannot be started: {error}", "Check its arguments and environment."
        ) from None


def _graces_s(spec: LaunchSpec) -> float:
    """How long an end may take until KILL: a stop command has the grace, and then what it leaves has it."""
    return spec.grace_s * (2 if spec.stop_policy.stop else 1)


def _reap(guard: subprocess.Popen[bytes], limit_s: float) -> None:
    """Collects a guard that is about to end."""
    try:
        guard.wait(limit_s)
    except subprocess.TimeoutExpired:
        guard.kill()
        guard.wait(KILL_LIMIT_S)
