"""Clients that behave badly, and a run folder that does: the run and the other clients notice nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from specdash.core import events as ev
from specdash.core.reduce import fold_all
from specdash.core.ticks import TextRun, TokenTick
from specdash.remote.client_session import LINGER_S, MOST_CLIENTS
from specdash.remote.protocol import read_pointer
from specdash.remote.run_source import CaughtUp, Event, SourceError
from specdash.remote.sources import SocketSource
from specdash.runtime.sockets import socket_path
from tests.support.recorded_run import loaded, measured, started, step
from tests.support.served_run import STEPS, RawClient, WatchedRun, memory, short_folder, take, until

MB = 1024 * 1024


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with short_folder() as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
        yield folder


@pytest.fixture
def run(tmp_path: Path) -> Iterator[WatchedRun]:
    found = WatchedRun(tmp_path / "results" / "a-run")
    found.add(started(STEPS), *loaded(), *measured(step(), [10.0] * 3))
    yield found
    found.journal.close()


def facts(events: list[Event]) -> list[ev.Recorded]:
    return [event for event in events if isinstance(event, ev.Recorded)]


async def is_well(run: WatchedRun) -> None:
    """Proves that a newcomer gets all of a run."""
    source = await SocketSource.open(run.path)
    assert fold_all(facts(await take(source.events(), CaughtUp))) == run.view
    await source.close()


def token(number: int) -> TokenTick:
    return TokenTick(
        "l001", None, "sample", number, 0.0, 1, 1, None, None, None, None, 0.0, (TextRun("x" * 4000, True),)
    )


async def test_a_client_that_never_reads_costs_nothing(run: WatchedRun) -> None:
    run.fill([ev.Noted("info", "x" * 10_000) for _ in range(2000)])
    process = psutil.Process()
    async with run.monitored() as monitor:
        stalled = [await RawClient.connect(run.path, hello=False) for _ in range(10)]
        for client in stalled:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await client.say(b'{"hello":1,"since":0}\n')
        reader = await SocketSource.open(run.path)
        events = reader.events()
        assert fold_all(facts(await take(events, CaughtUp))) == run.view
        before = process.memory_info().rss
        for number in range(5000):  # 20 MB of ticks and some facts for each of those that do not read
            run.tick(token(number))
            if number % 50 == 0:
                run.add(ev.Noted("info", f"fact {number}"))
                await asyncio.sleep(0)
        found: list[Event] = []
        while not (found and isinstance(found[-1], TokenTick) and found[-1].block == 4999):
            found += await take(events, TokenTick)
        assert [each.fact for each in facts(found)] == [
            ev.Noted("info", f"fact {number}") for number in range(0, 5000, 50)
        ]
        assert process.memory_info().rss - before < 20 * MB
        assert monitor.clients == 11
        for client in stalled:
            client.writer.transport.abort()
        await reader.close()


async def test_a_replay_gives_others_a_turn_for_each_piece(run: WatchedRun) -> None:
    run.fill([ev.Noted("info", "x" * 10_000) for _ in range(2000)])
    turns = 0

    async def beside() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with run.monitored(), asyncio.TaskGroup() as tasks:
        other = tasks.create_task(beside())
        clients = [await RawClient.connect(run.path) for _ in range(3)]
        for client in clients:
            while (await client.reader.readline()) != b'{"caught_up":true}\n':
                pass
        other.cancel()
        for client in clients:
            await client.close()
    assert turns > 20 * MB / (64 * 1024)


async def test_the_end_of_a_run_does_not_wait_for_a_client_that_does_not_read(run: WatchedRun) -> None:
    run.fill([ev.Noted("info", "x" * 10_000) for _ in range(500)])
    async with asyncio.timeout(LINGER_S + 20):
        async with run.monitored():
            client = await RawClient.connect(run.path)
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            run.add(ev.RunFinished("finished", 0))
    client.writer.transport.abort()


BAD = [
    b"rubbish\n",
    b"[1,2]\n",
    b"[" * 100_000 + b"\n",
    b'{"id":"x"}\n',
    b'{"id":true,"log":"l001"}\n',
    b"\xff\xfe\x00\n",
    b"x" * 2 * MB + b"\n",
    b"x" * 2 * MB,
    b'{"id":1,"command":"' + b"y" * 2 * MB + b'"}\n',
]


@pytest.mark.parametrize("data", BAD, ids=range(len(BAD)))
@pytest.mark.parametrize("hello", [True, False])
async def test_a_bad_line_closes_that_client_only(run: WatchedRun, data: bytes, hello: bool) -> None:
    async with run.monitored():
        good = await SocketSource.open(run.path)
        events = good.events()
        await take(events, CaughtUp)
        bad = await RawClient.connect(run.path, hello=hello)
        with suppress(ConnectionError):
            await bad.say(data)
        last = (await bad.rest()).splitlines()
        assert not last or last[-1].startswith(b'{"gone":') or len(data) > MB
        await bad.close()
        run.add(ev.Noted("info", "later"))
        (later,) = await take(events, ev.Recorded)
        assert isinstance(later, ev.Recorded)
        await good.close()


@pytest.mark.parametrize(
    "hello", [b'{"hello":2}\n', b'{"hello":1,"since":"x"}\n', b'{"hello":1,"since":true}\n', b"{}\n"]
)
async def test_a_hello_of_another_protocol(run: WatchedRun, hello: bytes) -> None:
    async with run.monitored():
        client = await RawClient.connect(run.path, hello=False)
        await client.say(hello)
        assert "speaks protocol 1" in (await client.line())["gone"]
        assert await client.rest() == b""
        await client.close()


async def test_a_client_that_only_asks_and_never_reads(run: WatchedRun) -> None:
    (run.path / "logs").mkdir()
    (run.path / "logs" / "x.log").write_bytes(b"x" * MB)
    async with run.monitored() as monitor:
        client = await RawClient.connect(run.path)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        before = psutil.Process().memory_info().rss
        client.writer.write(b'{"id":1,"log":"l001","offset":0,"size":999999}\n' * 20_000)  # 7 GB of answers
        for _ in range(200):
            run.tick(memory(1))
            await asyncio.sleep(0)
        await is_well(run)
        assert monitor.clients == 2
        assert psutil.Process().memory_info().rss - before < 40 * MB
        client.writer.transport.abort()


async def test_200_connections(run: WatchedRun) -> None:
    async with run.monitored() as monitor:
        clients = [await RawClient.connect(run.path, hello=False) for _ in range(200)]
        answers = []
        for client in clients:
            try:
                await client.say(b'{"hello":1,"since":0}\n')
                answers.append(await client.line())
            except (ConnectionError, ValueError):
                answers.append({})
        welcome = [client for client, answer in zip(clients, answers, strict=True) if "welcome" in answer]
        assert len(welcome) == MOST_CLIENTS == monitor.clients
        assert all("64 dashboards" in answer["gone"] for answer in answers if "gone" in answer)
        for client in clients:
            await client.close()
        await until(lambda: not monitor.clients)
        await is_well(run)


async def test_who_says_nothing_loses_the_place(run: WatchedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specdash.remote.client_session.HELLO_S", 0.01)
    async with run.monitored():
        client = await RawClient.connect(run.path, hello=False)
        assert await client.rest() == b""
        await client.close()


async def test_a_half_written_line_is_kept_back_until_it_is_whole(run: WatchedRun) -> None:
    async with run.monitored():
        client = await RawClient.connect(run.path)
        await client.until("caught_up")
        line = b'{"v":1,"seq":9,"text":"' + b"x" * 100_000 + b'"}\n'
        with (run.path / "journal.jsonl").open("ab", buffering=0) as file:
            for at in range(0, len(line), 30_000):
                file.write(line[at : at + 30_000])
                for each in run.subscriptions:
                    each.on_fact(ev.Recorded(9, 0.0, ev.Noted("info", "")), run.view)
                run.tick(memory(at))
                found = await client.line()
                if at + 30_000 < len(line):
                    assert found["available_bytes"] == at
        assert len(found["text"]) == 100_000
        await client.close()


async def test_a_run_folder_that_is_removed_comes_back_with_the_next_fact(run: WatchedRun) -> None:
    (run.path / "logs").mkdir()
    (run.path / "logs" / "x.log").write_text("log")
    async with run.monitored():
        client = await RawClient.connect(run.path)
        await client.until("caught_up")
        shutil.rmtree(run.path)
        await client.say(b'{"id":1,"log":"l001","offset":0,"size":9}\n')
        assert "No such file" in (await client.line())["error"]
        with pytest.raises(SourceError, match="no run folder, or is gone"):
            await SocketSource.open(run.path)
        run.add(ev.Noted("info", "after the removal"))
        assert (await client.line())["text"] == "after the removal"
        await is_well(run)
        pointer = read_pointer(run.path)
        assert pointer is not None
        assert pointer.pid == os.getpid()
        await client.close()


async def test_a_newcomer_to_a_folder_that_was_never_read_and_is_gone(run: WatchedRun) -> None:
    async with run.monitored():
        shutil.rmtree(run.path)
        client = await RawClient.connect(run.path, hello=False)
        await client.say(b'{"hello":1}\n')
        assert "cannot be read: No such file" in (await client.line())["gone"]
        await client.close()


@pytest.mark.parametrize("content", [b"", b"x" * 100_000, b"other\n"])
async def test_a_journal_that_was_replaced_by_something_else(run: WatchedRun, content: bytes) -> None:
    async with run.monitored():
        client = await RawClient.connect(run.path)
        await client.until("caught_up")
        (run.path / "new").write_bytes(content)
        (run.path / "new").replace(run.path / "journal.jsonl")
        for each in run.subscriptions:
            each.on_fact(ev.Recorded(9, 0.0, ev.Noted("info", "")), run.view)
        assert "replaced by something else" in (await client.until("gone"))[-1]["gone"]
        await client.close()


async def test_a_subscriber_that_is_left_behind_is_none(run: WatchedRun) -> None:
    async with run.monitored():
        for _ in range(3):
            await is_well(run)
        await until(lambda: not run.subscriptions)
    assert not socket_path(run.path).exists()
