"""Whose server is it? The proof that the one listener on a port belongs to a process tree of ours.

A benchmark has measured another program because a health check said 200; with SO_REUSEPORT several servers share one
port and answer each other's requests. So: exactly one listener, and one of our processes holds it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from specdash.errors import EngineError

LISTENING = "0A"  # the state's number in /proc/net/tcp
LSOF_LIMIT_S = 10.0


class NotOurServer(EngineError):
    """Somebody else listens on the port, or nobody does, or several do."""


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert isinstance(port, int)
    return port


def prove_listener(port: int, pids: Sequence[int]) -> None:
    """Raises NotOurServer unless exactly one socket listens on `port` and one of `pids` holds it."""
    count, ours = _linux(port, pids) if sys.platform == "linux" else _lsof(port, pids)
    if count == 0:
        raise NotOurServer(f"nothing listens on port {port}, though the server said that it is ready")
    if count > 1:
        raise NotOurServer(
            f"{count} sockets listen on port {port}, so answers may come from any of them",
            "Stop the other server (SO_REUSEPORT lets two share a port), or set engine.port = 0.",
        )
    if not ours:
        raise NotOurServer(
            f"port {port} is served by {_holder(port)}, not by the server that was started",
            "Stop that program, or set engine.port = 0 for any free port.",
        )


def _linux(port: int, pids: Sequence[int]) -> tuple[int, bool]:
    """(listening sockets on the port, whether one of our processes holds one), from /proc."""
    inodes: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(fields[9])
    wanted = {f"socket:[{inode}]" for inode in inodes}
    return len(inodes), any(_holds(pid, wanted) for pid in pids)


def _holds(pid: int, wanted: set[str]) -> bool:
    folder = f"/proc/{pid}/fd"
    with suppress(OSError):
        for name in os.listdir(folder):
            with suppress(OSError):
                if os.readlink(f"{folder}/{name}") in wanted:
                    return True
    return False


def _lsof(port: int, pids: Sequence[int]) -> tuple[int, bool]:
    """The same from lsof, for systems without /proc."""
    listing = subprocess.run(
        ["lsof", "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fp"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=LSOF_LIMIT_S,
        check=False,
    )
    holders = [int(line[1:]) for line in listing.stdout.decode().splitlines() if line.startswith("p")]
    return len(set(holders)), any(pid in pids for pid in holders)


def _holder(port: int) -> str:
    """Who listens on the port, as far as this user may see it."""
    with suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
                return f"pid {connection.pid} ({psutil.Process(connection.pid).name()})"
    return "another program"
