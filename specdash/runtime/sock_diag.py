"""The sockets that listen on a port, as the Linux kernel tells them over netlink: sock_diag(7).

/proc/net/tcp says the same, and to say it walks the whole table of connections: 5 ms on a quiet machine, several times
before and after each answer that is measured. The kernel finds the listeners of one port in a tenth of one.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator

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
