"""Servers that a killed engine has left behind: found by their notes, and ended where they are provably ours.

Ours is a process that runs under the pid and with the start time of a note, and that carries the nonce of its engine
in its environment; and every other process with that nonce, since nothing but that engine's servers has it. The notes
of the runtime folder need no nonce, since nobody else can write there. What cannot be proven is told, and left alone.
"""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from specdash.core.text import one_line
from specdash.errors import unwritten
from specdash.runtime.notes import NONCE, NoteContent, Party, notes_in, read_note, servers_folder
from specdash.runtime.process_tree import end_tree, identity, left_of, wait_gone
from specdash.runtime.sockets import runtime_folder

STOP_LIMIT_S = 10.0  # beyond the grace; a guard gives up 5 s after KILL


@dataclass(frozen=True, slots=True)
class Orphan:
    """A server without its engine, or a note that may name one.

    `pids` are the processes that run; `unproven` says why they are left alone, None where they are provably ours.
    """

    note: Path
    run: str
    program: str
    pids: tuple[int, ...]
    unproven: str | None = None

    @property
    def name(self) -> str:
        """The server in words."""
        pids = ", ".join(map(str, self.pids))
        return f"{one_line(Path(self.program).name, 60)} (pid {pids}) of {one_line(self.run, 200)}"

    def __str__(self) -> str:
        """What is told of one that is left alone."""
        if not self.pids:
            return f"{one_line(str(self.note), 1000)} {self.unproven}"
        return f"{self.name} runs without its engine{f', and {self.unproven}' if self.unproven else ''}"

    @property
    def todo(self) -> str:
        """What to do about one that is left alone."""
        if self.unproven is None:
            return "end it: specdash stop"
        seen = f"look at it: ps -fp {','.join(map(str, self.pids))}; then" if self.pids else "then"
        return f"{seen} remove {one_line(str(self.note), 1000)}"


def find_orphans(folders: Iterable[Path]) -> list[Orphan]:
    """The servers without an engine that these folders and the runtime folder have notes of; nothing is changed."""
    found: dict[tuple[str, str], Orphan] = {}
    for path in _notes(folders):
        told = _told(path)
        if isinstance(told, Orphan):
            found[str(path), ""] = told
        elif told is not None and not (told.guard is not None and told.guard.is_there):
            orphan = _seen(told)
            if orphan is not None:
                found.setdefault((told.nonce or str(path), path.name), orphan)
    return list(found.values())


def end_orphans(folders: Iterable[Path]) -> tuple[list[str], list[Orphan]]:
    """Ends the servers without an engine that are provably ours; what was ended, in words, and what was left alone.

    A guard that is still at it is waited for: a second TERM would cut its server's clean end short. Two that look at
    the same time take turns.
    """
    ended: list[str] = []
    left: list[Orphan] = []
    notes = _notes(folders)
    if not notes:
        return ended, left
    with _turn():
        for path in notes:
            told = _told(path)
            if isinstance(told, Orphan):
                left.append(told)
                continue
            if told is None:
                continue
            if told.guard is not None and told.guard.is_there:
                wait_gone({told.guard.pid: told.guard.known_as}, told.grace_s + STOP_LIMIT_S)
            orphan = _seen(told)
            if orphan is not None and orphan.unproven is not None:
                left.append(orphan)
                continue
            if orphan is not None:
                _end(told)
                ended.append(orphan.name)
            with suppress(OSError):
                path.unlink()
    return ended, left


def _notes(folders: Iterable[Path]) -> list[Path]:
    """The runtime folder's first: they say more, and prove more."""
    return notes_in([servers_folder(), *dict.fromkeys(folders)])


def _told(path: Path) -> NoteContent | Orphan | None:
    """What a note tells; None where an engine looks after its server, or another machine would have to be asked."""
    try:
        told = read_note(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is damaged"
        return Orphan(path, path.parent.parent.name, "?", (), f"cannot be read ({why}): it may name a server that runs")
    return None if told.host != socket.gethostname() or told.engine.is_there else told


def _seen(told: NoteContent) -> Orphan | None:
    """What is left of a noted server; None where nothing is."""
    if ours := _ours(told):
        return Orphan(told.path, told.run, told.program, tuple(sorted(ours)))
    others = [each.pid for each in told.servers if each.is_there]
    if not others:
        return None
    why = "nothing in its environment proves that specdash started it"
    return Orphan(told.path, told.run, told.program, tuple(others), why)


def _ours(told: NoteContent) -> dict[int, str]:
    """The processes that are provably of this server: identity by pid."""
    trusted = told.path.parent == servers_folder()
    noted = [each for each in told.servers if left_of(each.pid, each.known_as)]
    found = {each.pid: each.known_as for each in noted if trusted or _carries(each.pid, told.nonce)}
    return found | (carriers(told.nonce) if told.nonce else {})


def carriers(nonce: str) -> dict[int, str]:
    """The processes that were started with this nonce, but for this one and those that it is under: identity by pid."""
    own = {os.getpid(), *(each.pid for each in psutil.Process().parents())}
    pids = [pid for pid in psutil.pids() if pid not in own and _carries(pid, nonce)]
    return {pid: known_as for pid in pids if (known_as := identity(pid)) is not None}


def _carries(pid: int, nonce: str) -> bool:
    """Whether a process was started with this nonce; with any, where a note of an earlier version names none."""
    wanted = f"{NONCE}={nonce}"
    if sys.platform != "linux":
        with suppress(psutil.Error, OSError):
            value = psutil.Process(pid).environ().get(NONCE)
            return value is not None and value == (nonce or value)
        return False
    with suppress(OSError):
        words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return any(word == wanted.encode() or (not nonce and word.startswith(wanted.encode())) for word in words)
    return False


def _end(told: NoteContent) -> None:
    """The stop command, then TERM, grace, KILL to all that is left of a server."""
    if told.stop:
        _run_stop_command(told, _environment(told))
    while ours := _ours(told):
        before = ours.keys()
        for party in (Party(pid, known_as) for pid, known_as in ours.items()):
            if left_of(party.pid, party.known_as):
                end_tree(party.pid, party.known_as, told.grace_s)
        if before == _ours(told).keys():
            break  # stuck in the kernel


def _environment(told: NoteContent) -> Mapping[str, str]:
    """What the launch was given, from what is left of it: no file may keep it, since there are secrets in it."""
    for pid in _ours(told):
        with suppress(psutil.Error, OSError):
            found = psutil.Process(pid).environ()
            if NONCE in found:
                return found
    return os.environ


def _run_stop_command(told: NoteContent, environment: Mapping[str, str]) -> None:
    """Runs it for at most the grace, as the guard would have; it may end what no signal of this machine reaches."""
    with suppress(OSError, ValueError):
        process = subprocess.Popen(
            told.stop,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.wait(told.grace_s)
        except subprocess.TimeoutExpired:
            with suppress(OSError):
                os.killpg(process.pid, 9)
            process.wait()


@contextmanager
def _turn() -> Iterator[None]:
    """One at a time ends servers on this machine."""
    path = runtime_folder() / "orphans.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise unwritten(f"{path} cannot be opened", error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
