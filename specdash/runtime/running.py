"""Which engine processes are at work on this machine: each has an entry in the runtime folder for as long as it is.

A run folder can be deleted, moved or out of reach while its run goes on. So the entry is what `runs`, `stop` and
`attach` find an engine by; the lock in the folder is for other machines, which share the folder alone.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from specdash.errors import StoreError, unwritten
from specdash.runtime.process_tree import identity
from specdash.runtime.sockets import runtime_folder, socket_path


@dataclass(frozen=True, slots=True)
class AtWork:
    """An engine process: the run folder that it is at work on, its socket, and since when (seconds since 1970).

    `socket` is None where the runtime folder has too long a path for one: such a run cannot be attached to.
    `name` is what the run was called when the engine began, whatever its folder is called now.
    """

    pid: int
    name: str
    run: Path
    socket: Path | None
    since_s: float


def engines_at_work() -> list[AtWork]:
    """The engine processes of this user on this machine, those that have begun first first. Raises StoreError."""
    found: list[AtWork] = []
    for path in _folder().glob("*.json"):
        try:
            body = json.loads(path.read_bytes())
            pid, known_as = int(body["pid"]), str(body["identity"])
            places = Path(body["run"]), Path(body["socket"]) if body["socket"] is not None else None
            at_work = AtWork(pid, str(body["name"]), *places, float(body["since_s"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # it is just being removed
        if identity(pid) == known_as:
            found.append(at_work)
        else:
            with suppress(OSError):
                path.unlink()
    return sorted(found, key=lambda each: (each.since_s, each.pid))


def engine_of(run: Path) -> AtWork | None:
    """The engine process at work on a run folder, wherever that is; None when there is none on this machine."""
    where = run.absolute()
    return next((each for each in engines_at_work() if each.run in (where, run.resolve())), None)


def _folder() -> Path:
    return runtime_folder() / "engines"


class EngineEntry:
    """The entry of this engine process."""

    def __init__(self, run: Path) -> None:
        self._path = _folder() / f"{os.getpid()}.json"
        self._name = run.name
        self._run = run.resolve()
        try:
            self._socket: Path | None = socket_path(run)
        except StoreError:
            self._socket = None
        self._since_s = time.time()

    def write(self) -> None:
        """Makes the entry; raises StoreError."""
        fresh = self._path.with_suffix(".new")
        body = {
            "pid": os.getpid(),
            "identity": identity(os.getpid()),
            "name": self._name,
            "run": str(self._run),
            "socket": str(self._socket) if self._socket is not None else None,
            "since_s": self._since_s,
        }
        try:
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            fresh.write_text(json.dumps(body), encoding="utf-8", errors="surrogateescape")
            fresh.replace(self._path)
        except OSError as error:
            with suppress(OSError):
                fresh.unlink()
            raise unwritten(f"{self._path} cannot be written", error, "Set XDG_RUNTIME_DIR.") from error

    def keep(self, run: Path) -> None:
        """From now on the run folder is there; the entry is written again where it is missing.

        The runtime folder goes when its user logs out, and may come back: no run ends of that.
        """
        with suppress(StoreError):
            moved, self._run = run.resolve() != self._run, run.resolve()
            self._path = _folder() / self._path.name
            if moved or not os.path.exists(self._path):
                self.write()

    def remove(self) -> None:
        """The engine ends."""
        with suppress(OSError, StoreError):
            self._path.unlink()
