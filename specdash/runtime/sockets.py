"""Where the sockets of engine processes live: a folder that only this user can enter, on this machine.

Modes of sockets are not looked at everywhere (BSD), and a socket that is made first and closed off afterwards is open
for a moment. So the folder is what protects a socket; its own mode, and who is asked for at the other end, come on top.
"""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import struct
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from specdash.errors import StoreError

MOST_PATH_BYTES = 103  # sun_path of macOS has 104 with its closing NUL; Linux has 108
BACKLOG = 128
CONNECT_S = 5.0  # a connect waits only while the backlog is full


def runtime_folder() -> Path:
    """A folder of this user's own, on this machine, gone after a restart; nobody else can enter it.

    The same one for a login and for a job that cron started without XDG_RUNTIME_DIR, or they would not see each other.
    Raises StoreError where it cannot be made, and for one that somebody else made or can write to.
    """
    user = os.getuid()
    bases = [Path(base) for base in (os.environ.get("XDG_RUNTIME_DIR"), f"/run/user/{user}") if base]
    base = next((base for base in bases if base.is_dir() and os.access(base, os.W_OK | os.X_OK)), None)
    folder = base / "specdash" if base is not None else Path(tempfile.gettempdir()) / f"specdash-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != user or found.st_mode & 0o022:
            raise StoreError(f"{folder} is not a folder that only this user may write", "Remove it.")
        if found.st_mode & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise StoreError(f"{folder} cannot be made: {error.strerror}", "Set XDG_RUNTIME_DIR or TMPDIR.") from error
    return folder


def socket_path(run: Path) -> Path:
    """Where the engine at work on a run folder listens: the same place for the same folder.

    Raises StoreError as `runtime_folder` does, and where the path is longer than a socket's may be.
    """
    digest = hashlib.blake2s(os.fsencode(run.resolve()), digest_size=8).hexdigest()
    path = runtime_folder() / f"{digest}.sock"
    length = len(os.fsencode(path))
    if length > MOST_PATH_BYTES:
        raise StoreError(
            f"{path} is too long for a socket: {length} bytes, where {MOST_PATH_BYTES} are possible",
            "Set XDG_RUNTIME_DIR to a folder with a shorter path.",
        )
    return path


def bind(path: Path) -> socket.socket:
    """A socket that listens at `path`, for this user only from its first moment; a stale one is replaced.

    Raises StoreError when something else is there, or a process still answers.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _clear(path)
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise StoreError(f"{path}: no socket can be made: {error.strerror or error}", "Set XDG_RUNTIME_DIR.") from error
    except StoreError:
        listener.close()
        raise
    return listener


def _clear(path: Path) -> None:
    """Removes a socket that an engine of ours has left; raises StoreError for anything else."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.getuid():
        raise StoreError(f"{path} is in the way: it is no socket of this user's", "Remove it.")
    with suppress(OSError):
        connect(path).close()
        raise StoreError(f"{path}: a process answers there already", "End it first: specdash stop.")
    path.unlink(missing_ok=True)


def connect(path: Path) -> socket.socket:
    """A connection to the engine that listens at `path`; raises OSError.

    PermissionError when the other end is neither this user nor root: a run folder from elsewhere may name any socket.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(CONNECT_S)
        connection.connect(str(path))
        if not trusted(connection):
            raise PermissionError(f"{path} belongs to another user")
        connection.settimeout(None)
    except OSError:
        connection.close()
        raise
    return connection


def trusted(connection: socket.socket) -> bool:
    """Whether the process at the other end is this user's, or root's; True where the system does not tell."""
    user = peer_uid(connection)
    return user is None or user in (os.getuid(), 0)


def peer_uid(connection: socket.socket) -> int | None:
    """The user of the process at the other end, None where the system does not tell.

    Linux: SO_PEERCRED, struct ucred (unix(7)). macOS: LOCAL_PEERCRED, struct xucred (sys/ucred.h), level 0, option 1.
    """
    with suppress(OSError, struct.error):
        if sys.platform == "darwin":
            return int(struct.unpack_from("=II", connection.getsockopt(0, 1, 76))[1])
        if hasattr(socket, "SO_PEERCRED"):
            return int(struct.unpack("=iii", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1])
    return None


NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
REQUEST_ALL = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
ERROR, DONE = 2, 3  # NLMSG_ERROR, NLMSG_DONE
STATE_LISTEN = 1 << 10
LIMIT_S = 1.0  # the kernel answers at once or not at all
_ANSWER_BYTES = 1 << 16
# struct nlmsghdr, then struct inet_diag_req_v2 of linux/inet_diag.h, whose ports and addresses are in network order.
_HEADER = struct.Struct("=IHHII")
# Asked: family, protocol, states, port; told, in struct inet_diag_msg: port, address, inode. The rest is left out.
_REQUEST = struct.Struct("=BBxxI2s46x")
_FOUND = struct.Struct("=4x2s2x16s44xI")


def listeners(port: int) -> dict[str, str]:
    """The addresses of the sockets that listen on a TCP port, by inode, written as /proc/net/tcp and tcp6 write them.

    OSError where the kernel has no such answer (built without it, or in a sandbox that allows no netlink).
    """
    found: dict[str, str] = {}
    if sys.platform != "linux":  # for type checkers: only Linux has the family
        raise OSError("no netlink here")
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(LIMIT_S)
        for family in (socket.AF_INET, socket.AF_INET6):
            asked = _REQUEST.pack(family, socket.IPPROTO_TCP, STATE_LISTEN, port.to_bytes(2, "big"))
            size = _HEADER.size + len(asked)
            kernel.send(_HEADER.pack(size, SOCK_DIAG_BY_FAMILY, REQUEST_ALL, 0, 0) + asked)
            for message in _messages(kernel):
                of, address, inode = _FOUND.unpack_from(message)
                if int.from_bytes(of, "big") == port:
                    found[str(inode)] = _as_proc_writes(address if family == socket.AF_INET6 else address[:4])
    return found


def _messages(kernel: socket.socket) -> Iterator[bytes]:
    """What the kernel answers to one request, without headers; OSError where it refuses."""
    while True:
        answer = kernel.recv(_ANSWER_BYTES)
        while answer:
            size, kind, *_ = _HEADER.unpack_from(answer)
            if kind == DONE:
                return
            if kind == ERROR:
                number = -struct.unpack_from("=i", answer, _HEADER.size)[0]
                raise OSError(number, os.strerror(number))
            yield answer[_HEADER.size : size]
            answer = answer[(size + 3) & ~3 :]


def _as_proc_writes(address: bytes) -> str:
    """An address in words of four bytes, each as a number of this machine."""
    return "".join(f"{int.from_bytes(address[at : at + 4], sys.byteorder):08X}" for at in range(0, len(address), 4))
