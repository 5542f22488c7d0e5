"""Whose port is it: real sockets, of this process and of others."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from specdash.runtime import listener, sockets
from specdash.runtime.listener import NotOurServer, free_port, prove_listener

LISTEN = """
import socket, sys
server = socket.socket(int(sys.argv[3]))
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if sys.argv[4]: server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
server.bind((sys.argv[1], int(sys.argv[2])))
server.listen()
print('up', flush=True)
sys.stdin.read()
"""


def refused(port: int) -> dict[str, str]:
    raise OSError(errno.EPROTONOSUPPORT, "no netlink")


@pytest.fixture(params=["netlink", "proc", "lsof"], autouse=True)
def source(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test three times: as Linux does it, as it does in a sandbox without netlink, as systems without /proc do."""
    if request.param == "lsof":
        if shutil.which("lsof") is None:
            pytest.skip("no lsof")
        monkeypatch.setattr(listener, "_linux", lambda port, _: listener._lsof(port))
    elif sys.platform != "linux":
        pytest.skip("no /proc")
    elif request.param == "proc":
        monkeypatch.setattr(listener, "listeners", refused)


@contextmanager
def listening(port: int, address: str = "127.0.0.1", share: bool = False) -> Iterator[int]:
    """Another process that listens; its pid."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    command = [sys.executable, "-I", "-S", "-c", LISTEN, address, str(port), str(int(family)), "yes" if share else ""]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        yield process.pid
        process.kill()


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1"])
def test_our_listener_is_proven(address: str) -> None:
    port = free_port()
    with listening(port, address) as pid:
        prove_listener(port, [os.getpid(), pid])


def test_a_foreign_listener_is_named() -> None:
    port = free_port()
    with listening(port) as pid, pytest.raises(NotOurServer, match=rf"port {port} .*pid {pid} \(.*python") as caught:
        prove_listener(port, [os.getpid()])
    assert "engine.port = 0" in caught.value.todo


def test_nobody_listens() -> None:
    port = free_port()
    with pytest.raises(NotOurServer, match="nothing listens"):
        prove_listener(port, [os.getpid()])


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_two_listeners_on_one_port(address: str) -> None:
    port = free_port()
    with ExitStack() as stack:
        pids = [stack.enter_context(listening(port, each, share=True)) for each in ("127.0.0.1", address)]
        with pytest.raises(NotOurServer, match="2 sockets") as caught:
            prove_listener(port, pids[:1])
        assert all(str(pid) in caught.value.what for pid in pids)
        with pytest.raises(NotOurServer):
            prove_listener(port, pids)


@pytest.mark.parametrize("address", ["::1", "127.0.0.2"])
def test_a_listener_that_127_0_0_1_does_not_reach_is_no_matter(address: str) -> None:
    port = free_port()
    with listening(port) as ours, listening(port, address):
        prove_listener(port, [ours])


def test_a_replaced_server_is_found_out() -> None:
    port = free_port()
    with listening(port) as ours:
        prove_listener(port, [ours])
    with listening(port), pytest.raises(NotOurServer, match="served by"):
        prove_listener(port, [ours])


def test_a_closed_connection_does_not_make_a_port_look_busy() -> None:
    port = free_port()
    with (
        socket.create_server(("127.0.0.1", port)) as server,
        socket.create_connection(("127.0.0.1", port)) as client,
        server.accept()[0] as accepted,
    ):
        accepted.shutdown(socket.SHUT_RDWR)  # the server's side closes first, and is left in TIME_WAIT
        client.recv(1)
    with listening(port) as ours:
        prove_listener(port, [ours])


def test_processes_that_are_gone_or_not_ours_to_see_are_no_error() -> None:
    port = free_port()
    with listening(port) as ours:
        prove_listener(port, [2**22 - 1, 1, ours])


def test_a_missing_lsof_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: "/nowhere/lsof")
    with pytest.raises(NotOurServer, match="lsof"):
        listener._lsof(free_port())


@pytest.mark.parametrize("source", ["netlink"], indirect=True)
def test_netlink_and_proc_say_the_same() -> None:
    for address in ("127.0.0.1", "127.0.0.2", "0.0.0.0", "::", "::1", "::ffff:127.0.0.1"):
        port = free_port()
        with listening(port, address):
            assert sockets.listeners(port) == listener._from_proc(port) != {}
    assert sockets.listeners(free_port()) == {}


@pytest.mark.parametrize("source", ["netlink"], indirect=True)
def test_a_kernel_that_does_not_know_the_question_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "SOCK_DIAG_BY_FAMILY", 99)
    with pytest.raises(OSError, match="Invalid argument"):
        sockets.listeners(free_port())
