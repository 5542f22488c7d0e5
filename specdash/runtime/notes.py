"""Notes of servers: which process each is, and which engine and guard look after it.

A note is begun before its server, so there is no moment at which a server runs that nothing tells of, and it lies in
two places: the run folder, and this user's runtime folder, where it is found whatever happened to the run. It takes
all the room that it will ever need when it is begun: what is filled in later is written over spaces.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from specdash.core.process_spec import LaunchSpec
from specdash.errors import StoreError, unwritten
from specdash.runtime.process_tree import identity
from specdash.runtime.sockets import runtime_folder

NONCE = "SPECDASH_RUN"  # in the environment of every server, and so of all that it starts
MOST_BYTES = 256 * 1024
_BLOCK_BYTES = 4096
_SPARE_BYTES = 1024  # for the processes that are filled in
_SERVER, _GUARD, _ENGINE, _DAEMON = "server", "guard", "engine", "daemon"
_numbers = count(1)


def servers_folder() -> Path:
    """Where the notes of all servers of this user lie, on this machine; made with the first. Raises StoreError."""
    return runtime_folder() / "servers"


@dataclass(frozen=True, slots=True)
class Party:
    """A process by what tells it from all others that had or will have its pid."""

    pid: int
    known_as: str

    @property
    def is_there(self) -> bool:
        """Whether this very process runs."""
        return identity(self.pid) == self.known_as


@dataclass(frozen=True, slots=True)
class NoteContent:
    """What a note tells. `nonce` is "" in notes of earlier versions; `stop` is taken from the runtime folder alone.

    `servers` are the process that was started and the one that the pid file of a launch command names, where known.
    """

    path: Path
    run: str
    program: str
    nonce: str
    host: str
    grace_s: float
    engine: Party
    guard: Party | None
    servers: tuple[Party, ...]
    stop: tuple[str, ...]


def read_note(path: Path) -> NoteContent:
    """What a note tells; raises OSError or ValueError where it cannot be read."""
    with path.open("rb") as file:
        body = json.loads(file.read(MOST_BYTES))
    try:
        argv = tuple(map(str, body.get("argv", ())))
        return NoteContent(
            path,
            str(body.get("run") or path.parent.parent.name),
            str(body.get("program") or (argv[0] if argv else "?")),
            str(body.get("nonce", "")),
            str(body.get("host") or socket.gethostname()),
            float(body["grace_s"]),
            _party(body[_ENGINE]),
            _party(body[_GUARD]) if body[_GUARD] else None,
            tuple(_party(body[name]) for name in (_SERVER, _DAEMON) if body.get(name)),
            tuple(map(str, body.get("stop", ()))) if path.parent == servers_folder() else (),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it lacks {error}") from error


def _party(body: Mapping[str, object]) -> Party:
    return Party(int(str(body["pid"])), str(body["identity"]))


class ServerNote:
    """The note of one server, from before its start until nothing of it is left."""

    def __init__(self, name: str, body: dict[str, object], stop: tuple[str, ...], folder: Path) -> None:
        self._name = name
        self._body = body
        self._stop = stop
        self._folder = folder
        self._room = _padded_bytes(len(self._text(with_stop=True)) + _SPARE_BYTES)

    @classmethod
    def begin(cls, folder: Path, spec: LaunchSpec, grace_s: float) -> ServerNote:
        """Notes a server that is about to be started, in `folder` and in the runtime folder.

        Raises StoreError, DiskFull for want of room; nothing is left then.
        """
        nonce = spec.env.get(NONCE, "")
        body: dict[str, object] = {
            "host": socket.gethostname(),
            "run": folder.parent.name,
            "program": spec.argv[0],
            "nonce": nonce,
            "grace_s": grace_s,
            _ENGINE: _about(os.getpid()),
            _GUARD: None,
            _SERVER: None,
        }
        note = cls(f"{spec.log_path.stem}-{os.getpid()}-{next(_numbers)}.json", body, spec.stop_policy.stop, folder)
        try:
            for path in note.paths:
                note._create(path)
        except StoreError:
            note.remove()
            raise
        return note

    @property
    def paths(self) -> tuple[Path, ...]:
        """Where the note lies."""
        return self._folder / self._name, servers_folder() / self._name

    def started(self, pid: int, guard_pid: int) -> None:
        """Fills in the server and its guard."""
        self._body |= {_SERVER: _about(pid), _GUARD: _about(guard_pid)}
        self._fill()

    def follow(self, pid: int) -> None:
        """Fills in the process that the pid file of a launch command names."""
        self._body |= {_DAEMON: _about(pid)}
        self._fill()

    def move(self, folder: Path) -> None:
        """From now on the note of the run lies in this folder; it is written where it is missing. Raises StoreError."""
        self._folder = folder
        here = folder / self._name
        if not os.path.exists(here):
            self._create(here)
        with suppress(StoreError):  # the runtime folder goes when its user logs out, and may come back
            there = servers_folder() / self._name
            if not os.path.exists(there):
                self._create(there)

    def remove(self) -> None:
        """Nothing is left of the server."""
        for path in self.paths:
            with suppress(OSError):
                path.unlink()

    def _text(self, *, with_stop: bool) -> bytes:
        # A command to be run is taken from nowhere that others may write to.
        return json.dumps(self._body | ({"stop": self._stop} if with_stop else {})).encode()

    def _content(self, path: Path) -> bytes:
        return self._text(with_stop=path.parent != self._folder).ljust(self._room)

    def _create(self, path: Path) -> None:
        fresh = path.with_suffix(".new")
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                _write(descriptor, self._content(path))
            finally:
                os.close(descriptor)
            fresh.replace(path)
        except OSError as error:
            with suppress(OSError):
                fresh.unlink()
            raise unwritten(f"{path} cannot be written", error) from error

    def _fill(self) -> None:
        """Writes it again in place. One that was deleted meanwhile is left to `move`: the other one stands."""
        for path in self.paths:
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    _write(descriptor, self._content(path))
                finally:
                    os.close(descriptor)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise unwritten(f"{path} cannot be written", error) from error


def _about(pid: int) -> dict[str, object]:
    return {"pid": pid, "identity": identity(pid)}


def _padded_bytes(size: int) -> int:
    return -(-size // _BLOCK_BYTES) * _BLOCK_BYTES


def _write(descriptor: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]


def notes_in(folders: Iterable[Path]) -> list[Path]:
    """All notes in these folders, each once; folders that cannot be read have none."""
    found: dict[Path, None] = {}
    for folder in folders:
        with suppress(OSError):
            found |= dict.fromkeys(sorted(each for each in folder.iterdir() if each.suffix == ".json"))
    return list(found)
