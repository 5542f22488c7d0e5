"""Servers that an earlier, killed engine may have left behind: notes of each, and how they are ended.

A note names the server, its guard and the engine that owns them by pid and identity; where a launch command left its
server to somebody else, that process too.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from specdash.errors import StoreError
from specdash.runtime.tree import end_tree, identity, left_of, wait_gone

STOP_LIMIT_S = 10.0  # beyond the grace; a guard gives up 5 s after KILL
STALE_GRACE_S = 3.0
PARTIES = ("server", "guard", "engine")
DAEMON = "daemon"


def write_pidfile(folder: Path, pid: int, argv: tuple[str, ...], guard_pid: int, grace_s: float) -> Path:
    """Notes a server, its guard and the engine that owns them, each by pid and identity; the file's path."""
    path = folder / f"{pid}.json"
    pids = {"server": pid, "guard": guard_pid, "engine": os.getpid()}
    note: dict[str, object] = {name: {"pid": each, "identity": identity(each)} for name, each in pids.items()}
    try:
        path.write_text(json.dumps(note | {"grace_s": grace_s, "argv": argv}), encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}", "Check the folder's rights.") from error
    return path


def note_daemon(path: Path, pid: int) -> None:
    """Adds to a note the process that the pid file of a launch command names."""
    fresh = path.with_suffix(".new")
    with suppress(OSError, ValueError):  # a lost note costs the sweep this one process, and the run goes on
        note = json.loads(path.read_text(encoding="utf-8")) | {DAEMON: {"pid": pid, "identity": identity(pid)}}
        fresh.write_text(json.dumps(note), encoding="utf-8")
        fresh.replace(path)


def sweep_stale(folder: Path) -> list[str]:
    """Ends servers whose engine is dead, by pid and identity, never by name; what was ended, in words.

    A guard that is still at it is waited for: a second TERM would cut its server's clean end short.
    """
    ended = []
    for path in sorted(folder.glob("*.json")):
        try:
            note = json.loads(path.read_text(encoding="utf-8"))
            named = PARTIES + ((DAEMON,) if DAEMON in note else ())
            processes = {name: (int(note[name]["pid"]), str(note[name]["identity"])) for name in named}
            limit_s, argv = float(note["grace_s"]) + STOP_LIMIT_S, " ".join(map(str, note["argv"]))
        except (OSError, ValueError, TypeError, KeyError):
            path.unlink(missing_ok=True)
            continue
        living = {name for name, (pid, known_as) in processes.items() if identity(pid) == known_as}
        if "engine" in living:
            continue
        if "guard" in living:
            wait_gone(dict([processes["guard"]]), limit_s)
        for name in ("server", DAEMON):
            pid, known_as = processes.get(name, (0, ""))
            if pid and left_of(pid, known_as):
                end_tree(pid, known_as, STALE_GRACE_S)
                ended.append(f"pid {pid} ({argv[:80]})")
        path.unlink(missing_ok=True)
    return ended
