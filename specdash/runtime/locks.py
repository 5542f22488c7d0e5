"""Locks: one engine for each run folder, and one sweep at a time on a machine.

Locks of the kernel (flock), which end with the process that holds them: a pid in a file proves nothing. The file names
its owner for the message to the second comer; it is never truncated before the lock is held. A lock in a run folder may
be deleted with it, so the engine's entry in the runtime folder counts as well (`runtime.running`).
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from specdash.errors import StoreError, unwritten
from specdash.runtime.running import EngineEntry, engine_of
from specdash.runtime.sockets import runtime_folder

RUN_LOCK = "lock"
WAIT_S = 0.1
PROBE_S = 0.02
PROBES = 15  # somebody who only asks for the owner holds a lock for a moment, and a new owner writes a moment later


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a lock: process, machine, what for, and since when (seconds since 1970)."""

    pid: int
    host: str
    what: str
    since_s: float

    @property
    def here(self) -> bool:
        """Whether the owner runs on this machine."""
        return self.host == socket.gethostname()

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since_s))
        return f"{self.what} (pid {self.pid} on {self.host}, since {since})"


class FileLock:
    """A lock on a file, for `with`; StoreError names the owner when it is taken."""

    def __init__(self, path: Path, what: str, busy: str) -> None:
        self._path = path
        self._what = what
        self._busy = busy
        self._descriptor = -1

    def __enter__(self) -> FileLock:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise unwritten(f"{self._path} cannot be opened", error) from None
        try:
            if not _acquire(descriptor):
                owner = _read(self._path)
                name = owner.what if owner is not None else "RUN"
                todo = f"Watch it: specdash attach {name}; or end it: specdash stop {name}"
                raise StoreError(f"{self._busy}: {owner or 'another specdash'}", todo)
            self._descriptor = descriptor
            self.note(self._what)
        except OSError as error:
            os.close(descriptor)
            todo = "Is it on a network file system without locks? Use a folder on this machine's disk."
            raise unwritten(f"{self._path} cannot be locked", error, todo) from error
        except StoreError:
            os.close(descriptor)
            raise
        return self

    def keep(self, path: Path) -> None:
        """From now on the lock lies there; where the file was deleted it is made and taken again.

        Raises StoreError, also where somebody else has taken it meanwhile.
        """
        self._path = path
        with suppress(OSError):
            ours, found = os.fstat(self._descriptor), os.stat(path, follow_symlinks=False)
            if (ours.st_dev, ours.st_ino) == (found.st_dev, found.st_ino):
                return
        old, self._descriptor = self._descriptor, -1
        try:
            self.__enter__()
        except StoreError:
            self._descriptor = old
            raise
        os.close(old)

    def note(self, what: str) -> None:
        """Names what the lock is held for, to whoever comes second."""
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "what": what, "since_s": time.time()}
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps(owner).encode(), 0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)  # so that nobody ever takes an earlier owner for the next one
        os.close(self._descriptor)


def _acquire(descriptor: int) -> bool:
    for _ in range(PROBES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(PROBE_S)
        else:
            return True
    return False


class RunLock:
    """The lock of a run folder, for `with`, held for the life of the engine process that writes its journal."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._busy = f"{run.name} is already running"
        self._file = FileLock(run / RUN_LOCK, run.name, self._busy)
        self._entry: EngineEntry | None = None

    def __enter__(self) -> RunLock:
        with ExitStack() as stack:
            stack.enter_context(self._file)
            other = engine_of(self._run)
            if other is not None and other.pid != os.getpid():  # its lock was deleted, and it has not noticed yet
                todo = f"Watch it: specdash attach {self._run.name}; or end it: specdash stop {self._run.name}"
                raise StoreError(f"{self._busy}: pid {other.pid}", todo)
            self._entry = EngineEntry(self._run)
            self._entry.write()
            stack.pop_all()
        return self

    def keep(self, run: Path) -> None:
        """From now on the run folder is there; what is missing of the lock is made again. Raises StoreError."""
        self._file.keep(run / RUN_LOCK)
        if self._entry is not None:
            self._entry.keep(run)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._entry is not None:
            self._entry.remove()
        self._file.__exit__(kind, error, trace)


def run_lock(run: Path) -> RunLock:
    """The lock of a run folder."""
    return RunLock(run)


def run_owner(run: Path) -> Owner | None:
    """The engine process at work on a run folder; None when there is none."""
    found = engine_of(run)
    if found is not None:
        return Owner(found.pid, socket.gethostname(), found.run.name, found.since_s)
    return lock_owner(run / RUN_LOCK)


def machine_lock(what: str) -> FileLock:
    """The lock of this machine: two sweeps at a time would measure each other."""
    return FileLock(
        runtime_folder() / "machine.lock",
        what,
        "another sweep is running on this machine, and two would measure each other",
    )


def lock_owner(path: Path) -> Owner | None:
    """Who holds the lock now; None when nobody does. Any number may ask at a time."""
    for _ in range(PROBES):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            if owner := _read(path):
                return owner
            time.sleep(PROBE_S)
        else:
            return None
        finally:
            os.close(descriptor)
    return None


def wait_ended(run: Path, limit_s: float) -> bool:
    """Waits until no engine is at work on a run folder; False when one still is after `limit_s`."""
    until_s = time.monotonic() + limit_s
    while run_owner(run) is not None:
        if time.monotonic() > until_s:
            return False
        time.sleep(WAIT_S)
    return True


def _read(path: Path) -> Owner | None:
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        return Owner(int(note["pid"]), str(note["host"]), str(note["what"]), float(note["since_s"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
