"""The engine's socket: what clients are given, what they may ask, and who may come in."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from specdash import __version__
from specdash.core import events as ev
from specdash.core.ticks import LogTick, ServerTick, Tick
from specdash.errors import StoreError
from specdash.remote.protocol import BadLine, Lines, decode_message, read_pointer
from specdash.runtime.sockets import MOST_PATH_BYTES, bind, peer_uid, runtime_folder, socket_path
from specdash.store.codec import encode_tick
from specdash.store.journal import read
from tests.support.machine import LIMIT_S
from tests.support.recorded_run import loaded, measured, started, step
from tests.support.served_run import STEPS, RawClient, WatchedRun, memory, short_folder, until


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with short_folder() as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
        yield folder


@pytest.fixture
def run(tmp_path: Path) -> WatchedRun:
    found = WatchedRun(tmp_path / "a-run")
    found.add(started(STEPS), *loaded(), *measured(step(), [10.0] * 3))
    return found


def journal_lines(run: WatchedRun) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.path / "journal.jsonl").read_bytes().splitlines()]


async def test_a_newcomer_gets_the_journal_as_it_is_and_then_what_happens(run: WatchedRun) -> None:
    async with run.monitored():
        client = await RawClient.connect(run.path, hello=False)
        await client.say(b'{"hello":1,"since":0}\n')
        welcome = await client.line()
        assert welcome == {
            "welcome": 1,
            "path": str(run.path),
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "specdash": __version__,
        }
        assert (await client.until("caught_up"))[:-1] == journal_lines(run)
        run.add(ev.Noted("info", "later"))
        assert (await client.line()) == journal_lines(run)[-1]
        await client.close()


@pytest.mark.parametrize("since", [1, 3, 7, 8, 9, 10**9, -5])
async def test_who_has_some_facts_gets_the_rest(run: WatchedRun, since: int) -> None:
    async with run.monitored():
        client = await RawClient.connect(run.path, hello=False)
        await client.say(b'{"hello":1,"since":%d}\n' % since)
        await client.line()
        found = [line["seq"] for line in (await client.until("caught_up"))[:-1]]
        assert found == [number for number in range(1, run.view.last_seq + 1) if number > since]
        run.add(ev.Noted("info", "later"))
        assert (await client.line())["seq"] == run.view.last_seq
        await client.close()


async def test_lines_of_every_length_come_whole(run: WatchedRun) -> None:
    piece = 64 * 1024
    sizes = [piece - 200, *range(piece - 120, piece - 60, 7), piece, 3 * piece, 1, 20 * piece]
    run.fill([ev.Noted("info", "x" * size) for size in sizes])
    async with run.monitored():
        for since in (0, 8, 10, 15, run.view.last_seq - 1):
            client = await RawClient.connect(run.path, hello=False)
            await client.say(b'{"hello":1,"since":%d}\n' % since)
            await client.line()
            assert (await client.until("caught_up"))[:-1] == journal_lines(run)[since:]
            await client.close()


async def test_ticks_are_made_only_while_somebody_takes_them(run: WatchedRun) -> None:
    async with run.monitored() as monitor:
        assert run.tick(memory(1)) == 0
        client = await RawClient.connect(run.path)
        await client.until("caught_up")
        assert (await client.line())["available_bytes"] == 1  # a newcomer is told how things are
        assert run.tick(memory(2)) == 1
        assert (await client.line())["available_bytes"] == 2
        assert monitor.clients == 1
        await client.close()
        await until(lambda: not monitor.clients)
        assert run.tick(memory(3)) == 0
        assert not run.subscriptions


async def test_only_the_newest_tick_of_a_kind_is_told(run: WatchedRun) -> None:
    async with run.monitored():
        client = await RawClient.connect(run.path)
        await client.until("caught_up")
        for number in range(1000):
            run.tick(memory(number))
            run.tick(ServerTick("l001", "ready", float(number)))
        run.tick(LogTick("l001", "logs/x.log", 5))
        found = [await client.line() for _ in range(3)]
        assert [line["tick"] for line in found] == ["memory", "server", "log"]
        assert (found[0]["available_bytes"], found[1]["since_s"]) == (999, 999.0)
        await client.close()


async def test_a_tick_is_encoded_once_for_all(run: WatchedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[Tick] = []

    def encode(tick: Tick) -> dict[str, Any]:
        encoded.append(tick)
        return encode_tick(tick)

    monkeypatch.setattr("specdash.remote.client_session.encode_tick", encode)
    async with run.monitored():
        run.tick(memory(0))
        assert not encoded
        clients = [await RawClient.connect(run.path) for _ in range(5)]
        for client in clients:
            await client.until("tick")
        encoded.clear()
        run.tick(memory(1))
        for client in clients:
            assert (await client.line())["available_bytes"] == 1
        assert len(encoded) == 1
        for client in clients:
            await client.close()


async def test_commands_are_answered(run: WatchedRun) -> None:
    async with run.monitored():
        client = await RawClient.connect(run.path)
        await client.until("caught_up")
        await client.say(b'{"id":7,"command":{"command":"pause","edits":[]}}\n')
        found = [await client.line(), await client.line()]
        assert {"reply": 7} in found
        assert run.view.paused
        for command, error in [
            ({"command": "stop", "edits": []}, "not here"),
            ({"command": "edit", "edits": [{"edit": "skip", "steps": ["x"]}]}, "not now"),
            ({"command": "explode"}, "there is no command 'explode'"),
            (["pause"], "a command is an object"),
        ]:
            await client.say(json.dumps({"id": 8, "command": command}).encode() + b"\n")
            assert await client.line() == {"reply": 8, "error": error}
        await client.close()


async def test_a_command_is_carried_out_though_its_sender_leaves(run: WatchedRun) -> None:
    run.on_command = asyncio.Event()
    async with run.monitored() as monitor:
        client = await RawClient.connect(run.path)
        other = await RawClient.connect(run.path)
        await other.until("caught_up")
        await client.say(b'{"id":1,"command":{"command":"pause","edits":[]}}\n{"id":2}\n')
        await client.until("caught_up")
        await client.close()
        async with asyncio.timeout(LIMIT_S):
            while monitor.clients > 1:
                run.add(ev.Noted("info", "something to send, so that the loss is seen"))
                await asyncio.sleep(0.01)
        run.on_command.set()
        assert (await other.until("command"))[-1]["command"] == "pause"
        assert [command.name for command in run.commands] == ["pause"]
        await other.close()


async def test_parts_of_a_log(run: WatchedRun) -> None:
    (run.path / "logs").mkdir()
    (run.path / "logs" / "x.log").write_bytes(b"0123456789\xff\x1b[31m")
    async with run.monitored():
        client = await RawClient.connect(run.path)
        await client.until("caught_up")
        for offset, size, begin, data in [
            (0, 4, 0, b"0123"),
            (8, 100, 8, b"89\xff\x1b[31m"),
            (-2, 9, 14, b"1m"),
            (-99, 2, 0, b"01"),
            (99, 2, 16, b""),
            (0, -1, 0, b""),
        ]:
            await client.say(json.dumps({"id": 1, "log": "l001", "offset": offset, "size": size}).encode() + b"\n")
            reply = await client.line()
            assert (reply["offset"], reply["size"], base64.b64decode(reply["data"])) == (begin, 16, data)
        await client.close()


@pytest.mark.parametrize(
    ("log", "planted"),
    [
        ("../secret", None),
        ("logs/link", "link"),
        ("logs/pipe", "pipe"),
        ("logs", None),
        ("/etc/passwd", None),
        ("logs/none", None),
        ("a\0b", None),
    ],
)
async def test_no_file_outside_the_run_folder_is_read(run: WatchedRun, log: str, planted: str | None) -> None:
    (run.path / "logs").mkdir()
    (run.path.parent / "secret").write_text("secret")
    if planted == "link":
        (run.path / log).symlink_to(run.path.parent / "secret")
    elif planted == "pipe":
        os.mkfifo(run.path / log)
    run.add(ev.LoadStarted("l002", loaded()[0].key, (), log, 1, 1.0, "fp"))  # type: ignore[attr-defined]
    async with run.monitored():
        client = await RawClient.connect(run.path)
        await client.until("caught_up")
        for request in (
            {"log": "l002", "offset": 0, "size": 99},
            {"log": "l9"},
            {"log": 1, "offset": 0, "size": 1},
            {},
        ):
            await client.say(json.dumps({"id": 3} | request).encode() + b"\n")
            reply = await client.line()
            assert reply["reply"] == 3
            assert reply["error"]
            assert "data" not in reply
        await client.close()


async def test_the_run_folder_points_to_the_engine_while_it_listens(run: WatchedRun) -> None:
    async with run.monitored():
        pointer = read_pointer(run.path)
        assert pointer is not None
        assert (pointer.pid, pointer.host) == (os.getpid(), socket.gethostname())
        assert pointer.socket == str(socket_path(run.path))
        assert stat.S_ISSOCK(os.stat(pointer.socket).st_mode)
    assert read_pointer(run.path) is None
    assert not socket_path(run.path).exists()


async def test_the_last_facts_reach_everybody_before_the_end(run: WatchedRun) -> None:
    async with asyncio.TaskGroup() as tasks, run.monitored():
        clients = [await RawClient.connect(run.path) for _ in range(3)]
        run.fill([ev.Noted("info", "x" * 1000) for _ in range(500)])
        run.add(ev.RunFinished("finished", 0))
        reading = [tasks.create_task(client.rest()) for client in clients]
    for each, client in zip(reading, clients, strict=True):
        assert json.loads(each.result().splitlines()[-1])["type"] == "run_finished"
        await client.close()


async def test_the_error_of_a_run_is_not_wrapped(run: WatchedRun) -> None:
    clients = []

    async def fail() -> None:
        async with run.monitored():
            clients.append(await RawClient.connect(run.path))
            raise StoreError("the disk is gone")

    with pytest.raises(StoreError, match="the disk is gone"):
        await fail()
    await clients[0].close()
    assert read_pointer(run.path) is None
    run.journal.close()


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
async def test_only_this_user_may_come_in(run: WatchedRun, runtime: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        async with run.monitored():
            assert stat.S_IMODE((runtime / "specdash").stat().st_mode) == 0o700
            assert stat.S_IMODE(socket_path(run.path).stat().st_mode) == 0o600
            assert os.umask(mask) == mask
    finally:
        os.umask(before)


def test_a_socket_is_closed_to_others_from_its_first_moment(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    class Watched(socket.socket):
        def listen(self, backlog: int = 0, /) -> None:
            seen.append(stat.S_IMODE(os.stat(self.getsockname()).st_mode))
            super().listen(backlog)

    monkeypatch.setattr(socket, "socket", Watched)
    before = os.umask(0)
    try:
        bind(runtime_folder() / "x.sock").close()
    finally:
        os.umask(before)
    assert seen == [0o600]


def test_a_folder_that_others_may_read_is_closed(runtime: Path) -> None:
    (runtime / "specdash").mkdir(mode=0o755)
    assert stat.S_IMODE(runtime_folder().stat().st_mode) == 0o700


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(runtime: Path) -> None:
    path = runtime_folder() / "x.sock"
    bind(path).close()
    assert path.exists()
    second = bind(path)
    with pytest.raises(StoreError, match="answers there already"):
        bind(path)
    second.close()


@pytest.mark.parametrize("planted", ["file", "link", "folder"])
def test_what_is_no_socket_of_ours_stays(runtime: Path, planted: str) -> None:
    path = runtime_folder() / "x.sock"
    if planted == "file":
        path.write_text("mine")
    elif planted == "link":
        path.symlink_to(runtime / "elsewhere")
    else:
        path.mkdir()
    with pytest.raises(StoreError, match="in the way"):
        bind(path)
    assert path.is_symlink() or path.exists()


def test_a_path_that_is_too_long_is_said_so(runtime: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    room = MOST_PATH_BYTES - len("/specdash/0123456789abcdef.sock")
    folder = runtime / ("x" * (room - len(str(runtime)) - 1))
    folder.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    path = socket_path(tmp_path)
    assert len(os.fsencode(path)) == MOST_PATH_BYTES
    bind(path).close()
    longer = runtime / (folder.name + "y")
    longer.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(longer))
    with pytest.raises(StoreError, match=r"104 bytes.*\n.*XDG_RUNTIME_DIR"):
        socket_path(tmp_path)


def test_the_peer_is_known() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert peer_uid(one) == os.getuid()


def test_a_peer_of_another_user_is_turned_away(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from specdash.runtime import sockets

    path = runtime_folder() / "x.sock"
    with bind(path):
        sockets.connect(path).close()
        monkeypatch.setattr(sockets, "peer_uid", lambda connection: os.getuid() + 4711)
        with pytest.raises(PermissionError, match="another user"):
            sockets.connect(path)


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 100])
def test_lines_are_the_same_however_they_are_cut(cut: int) -> None:
    data = b'{"a":1}\n\n{"b":"' + b"x" * 50 + b'"}\n{"c"'
    lines = Lines(100)
    found = [line for at in range(0, len(data), cut) for line in lines.feed(data[at : at + cut])]
    assert found == data.split(b"\n")[:-1]
    assert lines.feed(b":2}\n") == [b'{"c":2}']


@pytest.mark.parametrize("data", [b"x" * 11, b"y\n" + b"x" * 11 + b"\nz\n", b"y\nxxxxxxxxxxx"])
def test_a_line_has_its_limit(data: bytes) -> None:
    assert Lines(11).feed(data) is not None
    with pytest.raises(BadLine):
        Lines(10).feed(data)


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"1", b"\xff", b"[" * 100_000, b'"x"'])
def test_a_line_that_is_no_object(line: bytes) -> None:
    with pytest.raises(BadLine):
        decode_message(line)


async def test_what_was_given_is_what_a_reader_of_the_file_gets(run: WatchedRun) -> None:
    async with run.monitored():
        client = await RawClient.connect(run.path)
        found = (await client.until("caught_up"))[:-1]
        assert [line["seq"] for line in found] == [each.seq for each in read(run.path / "journal.jsonl").records]
        await client.close()
