"""Whose server is it? The proof that the one listener on a port belongs to a process tree of ours.

A benchmark has measured another program because a health check said 200; with SO_REUSEPORT several servers share one
port and answer each other's requests. So: exactly one listener, and one of our processes holds it.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from specdash.core.text import one_line
from specdash.errors import EngineError
from specdash.runtime.sockets import listeners

LISTENING = "0A"  # the state's number in /proc/net/tcp
LSOF_LIMIT_S = 10.0
IPV4 = f"{int.from_bytes(socket.inet_aton('127.0.0.1'), sys.byteorder):08X}"
MAPPED = "0" * 16 + f"{int.from_bytes(bytes((0, 0, 255, 255)), sys.byteorder):08X}" + IPV4
REACHED = frozenset({IPV4, "0" * 8, "0" * 32, MAPPED})  # listeners that answer on 127.0.0.1, as /proc/net writes them


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
    """Raises NotOurServer unless one socket alone listens where 127.0.0.1:`port` leads, and one of `pids` holds it."""
    sockets = _linux(port, pids) if sys.platform == "linux" else _lsof(port)
    if not sockets:
        raise NotOurServer(f"nothing listens on port {port}, though the server said that it is ready")
    if len(sockets) > 1:
        raise NotOurServer(
            f"{len(sockets)} sockets listen on port {port} ({_holders(port)}), so answers may come from any of them",
            "Stop the other server (SO_REUSEPORT lets two share a port), or set engine.port = 0.",
        )
    (holders,) = sockets.values()
    if holders.isdisjoint(pids):
        raise NotOurServer(
            f"port {port} is served by {_holders(port)}, not by the server that was started",
            "Stop that program, or set engine.port = 0 for any free port.",
        )


def require_free(port: int) -> None:
    """Raises NotOurServer when somebody listens where 127.0.0.1:`port` leads: it would answer in our server's place."""
    if _linux(port, ()) if sys.platform == "linux" else _lsof(port):
        raise NotOurServer(
            f"port {port} is served already, by {_holders(port)}",
            "Stop that server, such as with your stop script, or set another engine.port.",
        )


def _linux(port: int, pids: Sequence[int]) -> dict[str, set[int]]:
    """Listening sockets on the port by inode, and which of `pids` hold them."""
    try:
        found = listeners(port)
    except OSError:
        found = _from_proc(port)
    inodes = (inode for inode, address in found.items() if address in REACHED)
    return {inode: {pid for pid in pids if _holds(pid, f"socket:[{inode}]")} for inode in inodes}


def _from_proc(port: int) -> dict[str, str]:
    """The addresses of the sockets that listen on the port, by inode, from /proc/net."""
    found: dict[str, str] = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                address, _, number = fields[1].rpartition(":")
                if fields[3] == LISTENING and int(number, 16) == port:
                    found[fields[9]] = address
    return found


def _holds(pid: int, link: str) -> bool:
    folder = f"/proc/{pid}/fd"
    with suppress(OSError):
        for name in os.listdir(folder):
            with suppress(OSError):
                if os.readlink(f"{folder}/{name}") == link:
                    return True
    return False


def _lsof(port: int) -> dict[str, set[int]]:
    """Listening sockets on the port by device, and who holds them, for systems without /proc."""
    try:
        listing = subprocess.run(
            [shutil.which("lsof") or "/usr/sbin/lsof", "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpdn"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=LSOF_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotOurServer(f"lsof cannot tell who listens on port {port}: {error}", "Is lsof installed?") from error
    sockets: dict[str, set[int]] = {}
    pid, device = 0, ""
    for line in listing.stdout.decode(errors="replace").splitlines():
        kind, value = line[:1], line[1:]
        if kind == "p":
            pid = int(value)
        elif kind == "d":
            device = value
        elif kind == "n" and value.rpartition(":")[0] in ("*", "127.0.0.1", "[::ffff:127.0.0.1]", "[::]"):
            sockets.setdefault(device, set()).add(pid)
    return sockets


def _holders(port: int) -> str:
    """Who listens on the port, as far as this user may see it."""
    found: dict[int, str] = {}
    with suppress(psutil.Error):
        for process in psutil.process_iter(["name"]):
            with suppress(psutil.Error):
                for connection in process.net_connections("tcp"):
                    if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                        found[process.pid] = f"pid {process.pid} ({one_line(process.info['name'] or '?')})"
    return ", ".join(found[pid] for pid in sorted(found)) or "a program that this user may not see"
