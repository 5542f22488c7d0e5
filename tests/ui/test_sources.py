"""The client's end: the same run through a socket, a pipe, and from its folder."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from specdash import __version__
from specdash.core import events as ev
from specdash.core.commands import EDIT, PAUSE, STOP, Command, Skip
from specdash.core.reduce import fold_all
from specdash.core.ticks import MemoryTick
from specdash.errors import Exit, SpecdashError
from specdash.remote.protocol import Pointer, write_pointer
from specdash.remote.run_source import CaughtUp, CommandRefused, Event, Gone, Origin, Source, SourceError
from specdash.remote.sources import FolderSource, PipeSource, SocketSource, open_run
from specdash.remote.ssh import SshCommand, SshLine
from specdash.runtime.locks import run_lock
from specdash.runtime.sockets import bind, socket_path
from specdash.store.journal import read
from tests.support.recorded_run import loaded, measured, started, step
from tests.support.served_run import STEPS, WatchedRun, finish, memory, short_folder, take, until

ROOT = Path(__file__).parents[2]
SPECDASH = (sys.executable, "-m", "specdash")
# Takes the place of ssh: what comes after the host is run here.
NO_SSH = (sys.executable, "-c", "import os, sys; os.execlp('sh', 'sh', '-c', 'exec ' + sys.argv[-1])")


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with short_folder() as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
        monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        yield folder


@pytest.fixture
def run(tmp_path: Path) -> Iterator[WatchedRun]:
    found = WatchedRun(tmp_path / "results" / "a-run")
    found.add(started(STEPS), *loaded(), *measured(step(), [10.0] * 3))
    (found.path / "logs").mkdir()
    (found.path / "logs" / "x.log").write_bytes(b"0123456789")
    yield found
    found.journal.close()


def facts(events: list[Event]) -> list[ev.Recorded]:
    return [event for event in events if isinstance(event, ev.Recorded)]


async def through_pipe(path: Path, since: int = 0) -> PipeSource:
    return await PipeSource.open("tower", str(path), since, ssh=NO_SSH, remote=SPECDASH)


OPENERS = {"socket": SocketSource.open, "pipe": through_pipe}


@pytest.mark.parametrize("way", OPENERS)
async def test_a_run_is_told_from_the_start_and_goes_on(run: WatchedRun, way: str) -> None:
    async with run.monitored():
        source: Source = await OPENERS[way](run.path)
        assert source.origin == Origin(str(run.path), socket.gethostname(), os.getpid(), way == "socket", __version__)
        events = source.events()
        told = await take(events, CaughtUp)
        assert fold_all(facts(told)) == run.view
        run.add(ev.Noted("info", "later"))
        (later,) = await take(events, ev.Recorded)
        assert isinstance(later, ev.Recorded)
        assert later.fact == ev.Noted("info", "later")
        run.tick(memory(3))
        assert await take(events, MemoryTick) == [memory(3)]
        await source.close()


async def test_two_clients_see_the_same(run: WatchedRun) -> None:
    async with run.monitored():
        one, other = await SocketSource.open(run.path), await SocketSource.open(run.path)
        first, second = one.events(), other.events()
        await take(first, CaughtUp)
        await one.command(Command(PAUSE))
        run.add(ev.RunFinished("stopped", 75))
        run.tick(memory(1))
        seen = await take(second, MemoryTick)
        assert fold_all(facts(seen)) == run.view
        assert [each.fact.TYPE for each in facts(await take(first, MemoryTick))] == ["command_accepted", "run_finished"]
        await one.close()
        await other.close()


@pytest.mark.parametrize("way", OPENERS)
async def test_commands_go_there_and_their_refusals_come_back(run: WatchedRun, way: str) -> None:
    async with run.monitored():
        source: Source = await OPENERS[way](run.path)
        await source.command(Command(PAUSE))  # nobody takes the events meanwhile
        assert run.view.paused
        with pytest.raises(CommandRefused, match="not here"):
            await source.command(Command(STOP))
        with pytest.raises(CommandRefused, match="not now"):
            await source.command(Command(EDIT, (Skip((step(4).id,)),)))
        assert (await source.log("l001", 4, 3)).data == b"456"
        with pytest.raises(SourceError, match="no load 'l9'"):
            await source.log("l9", 0, 1)
        await source.close()
        with pytest.raises(SourceError, match="ended"):
            await source.command(Command(PAUSE))


async def test_a_command_passes_a_replay_that_nobody_takes(run: WatchedRun) -> None:
    run.fill([ev.Noted("info", "x" * 1000) for _ in range(4000)])
    async with run.monitored():
        source = await SocketSource.open(run.path)
        events = source.events()
        await take(events, ev.Recorded)
        await asyncio.gather(source.command(Command(PAUSE)), source.log("l001", 0, 1))
        assert fold_all(facts([*await take(events, CaughtUp)])).last_seq >= 4000
        await source.close()


async def test_who_comes_back_is_told_the_rest(run: WatchedRun) -> None:
    async with run.monitored():
        source = await SocketSource.open(run.path)
        told = facts(await take(source.events(), CaughtUp))
        await source.close()
        run.add(ev.Noted("info", "while away"), ev.Noted("info", "and again"))
        again = await SocketSource.open(run.path, since=told[-1].seq)
        told += facts(await take(again.events(), CaughtUp))
        assert fold_all(told) == run.view
        assert [each.seq for each in told] == list(range(1, run.view.last_seq + 1))
        await again.close()


@pytest.mark.parametrize("way", OPENERS)
@pytest.mark.parametrize("finished", [True, False])
async def test_the_end_is_told_from_a_death(run: WatchedRun, way: str, finished: bool) -> None:
    async with run.monitored():
        source: Source = await OPENERS[way](run.path)
        events = source.events()
        await take(events, CaughtUp)
        if finished:
            run.add(ev.RunFinished("finished", 0))
    gone = (await finish(source, events))[-1]
    assert isinstance(gone, Gone)
    assert not gone.lost
    assert ("the run is over" in gone.why) == finished
    assert ("has died" in gone.why and "specdash resume a-run" in gone.why) != finished


async def test_a_connection_that_breaks_while_the_engine_lives_is_lost(run: WatchedRun) -> None:
    with run_lock(run.path):
        async with run.monitored() as monitor:
            source = await SocketSource.open(run.path)
            events = source.events()
            await take(events, CaughtUp)
            for task in monitor._tasks:
                task.cancel()
            gone = (await finish(source, events))[-1]
    assert isinstance(gone, Gone)
    assert gone.lost


async def test_a_finished_run_is_read_from_its_folder(run: WatchedRun) -> None:
    run.add(ev.RunFinished("finished", 0))
    source = await open_run(run.path)
    assert isinstance(source, FolderSource)
    assert source.origin == Origin(str(run.path), socket.gethostname(), None, True, __version__)
    events = [event async for event in source.events()]
    assert facts(events) == list(read(run.path / "journal.jsonl").records)
    assert events[-2:] == [CaughtUp(), Gone("this run is finished")]
    assert (await source.log("l001", -2, 9)).data == b"89"
    with pytest.raises(CommandRefused, match="specdash resume a-run"):
        await source.command(Command(PAUSE))


@pytest.mark.parametrize(
    ("last", "why"),
    [
        (ev.RunFinished("finished", 0), "this run is finished"),
        (ev.RunFinished("stopped", 75), "was stopped; go on with: specdash resume a-run"),
        (ev.Noted("info", "x"), "its engine is gone; go on with: specdash resume a-run"),
    ],
)
async def test_a_folder_says_the_same_through_a_pipe(run: WatchedRun, last: ev.Fact, why: str) -> None:
    run.add(last)
    source = await through_pipe(run.path)
    assert source.origin.pid is None
    assert not source.origin.is_local
    events = source.events()
    piped = await take(events, Gone)
    here = [event async for event in FolderSource(run.path).events()]
    assert piped == here
    gone = here[-1]
    assert isinstance(gone, Gone)
    assert why in gone.why
    assert (await source.log("l001", 0, 2)).data == b"01"  # also after the end
    with pytest.raises(CommandRefused, match="no engine is at work"):
        await source.command(Command(PAUSE))
    await source.close()


async def test_the_relay_finds_the_run_by_itself(run: WatchedRun, runtime: Path) -> None:
    (runtime / "state" / "specdash").mkdir(parents=True)
    (runtime / "state" / "specdash" / "results-folders.jsonl").write_text(json.dumps(str(run.path.parent)) + "\n")
    shutil.copytree(run.path, run.path.parent / "z-later")
    source = await PipeSource.open("tower", None, ssh=NO_SSH, remote=SPECDASH)
    assert Path(source.origin.path).name == "z-later"
    await source.close()
    with run_lock(run.path):
        async with run.monitored():
            source = await PipeSource.open("tower", None, ssh=NO_SSH, remote=SPECDASH)
            assert source.origin.path == str(run.path)
            await source.close()


def test_facts_come_through_a_relay_whose_stdin_is_a_file(run: WatchedRun, tmp_path: Path) -> None:
    (tmp_path / "hello").write_bytes(b'{"hello":1}\n')
    with (tmp_path / "hello").open() as hello:
        done = subprocess.run([*SPECDASH, "relay", str(run.path)], stdin=hello, capture_output=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout == b"" or done.stdout.startswith(b'{"welcome":1')


async def test_an_engine_that_is_starting_is_waited_for(run: WatchedRun) -> None:
    async def start() -> None:
        async with run.monitored():
            await over.wait()

    over = asyncio.Event()
    with run_lock(run.path):
        async with asyncio.TaskGroup() as tasks:
            opening = tasks.create_task(open_run(run.path, wait_s=20))
            tasks.create_task(start())
            source = await opening
            assert isinstance(source, SocketSource)
            await source.close()
            over.set()


async def test_an_engine_that_cannot_be_reached_is_said_so(run: WatchedRun) -> None:
    with (
        run_lock(run.path),
        pytest.raises(SourceError, match=rf"a-run \(pid {os.getpid()}\) cannot be reached"),
    ):
        await open_run(run.path, wait_s=0)


async def test_a_socket_that_a_dead_engine_has_left(run: WatchedRun) -> None:
    path = socket_path(run.path)
    bind(path).close()
    write_pointer(run.path, Pointer(4711, socket.gethostname(), str(path), "2026-11-21T10:00:00Z"))
    with pytest.raises(SourceError, match=r"no engine is at work on a-run.*specdash resume a-run"):
        await SocketSource.open(run.path)
    assert isinstance(await open_run(run.path), FolderSource)
    async with run.monitored():
        source = await open_run(run.path)
        assert isinstance(source, SocketSource)
        await source.close()


async def test_a_run_of_another_machine(run: WatchedRun) -> None:
    write_pointer(run.path, Pointer(1, "tower", "/run/user/1000/specdash/0.sock", "2026-11-21T10:00:00Z"))
    with pytest.raises(SourceError, match="run on tower: specdash attach --ssh tower a-run"):
        await SocketSource.open(run.path)
    lock = run.path / "lock"
    lock.write_text(json.dumps({"pid": 1, "host": "tower", "what": "a-run", "since_s": 1.0}))
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(SourceError, match="--ssh tower"):
            await open_run(run.path)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"pid":1}', '{"pid":"x","host":1,"socket":2,"started":3}', "[" * 9999]
)
async def test_a_pointer_that_is_rubbish(run: WatchedRun, content: str) -> None:
    (run.path / "engine.json").write_text(content)
    assert isinstance(await open_run(run.path), FolderSource)


async def test_no_run_at_all(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no run folder"):
        await open_run(tmp_path)
    with pytest.raises(SourceError, match=r"tower: specdash: .*no such run"):
        await through_pipe(tmp_path / "none")


async def test_a_damaged_journal(run: WatchedRun) -> None:
    journal = run.path / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b"qwen", b"QWEN", 1))
    with pytest.raises(SourceError, match=r"journal.jsonl:1: this record is damaged"):
        await take(FolderSource(run.path).events(), CaughtUp)
    with pytest.raises(SourceError, match=r"journal.jsonl:1: this record is damaged"):
        await through_pipe(run.path)


async def test_a_half_written_last_line_is_no_damage(run: WatchedRun) -> None:
    whole = read(run.path / "journal.jsonl").records
    with (run.path / "journal.jsonl").open("ab") as file:
        file.write(b'{"v":1,"seq":99,"t":"20')
    events = [event async for event in FolderSource(run.path).events()]
    assert facts(events) == list(whole)
    source = await through_pipe(run.path)
    assert facts(await take(source.events(), Gone)) == list(whole)
    await source.close()


async def test_a_journal_from_a_newer_version(run: WatchedRun) -> None:
    async with run.monitored():
        line = b'{"v":2,"seq":9,"t":"2026-11-21T10:00:00Z","type":"hologram"}\n'
        with (run.path / "journal.jsonl").open("ab") as file:
            file.write(line.replace(b'"v":2', b'"v":1') + line)
        source = await SocketSource.open(run.path)
        with pytest.raises(SourceError, match="has format 2"):
            await take(source.events(), CaughtUp)
        await source.close()


async def test_ssh_that_is_not_there() -> None:
    with pytest.raises(SourceError, match="no-such-ssh cannot be started"):
        await PipeSource.open("tower", "x", ssh=("no-such-ssh",))
    with pytest.raises(SourceError, match="no host"):
        await PipeSource.open("-oProxyCommand=true", "x")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "echo 'ssh: Could not resolve hostname tower' >&2; exit 255",
            "tower cannot be reached: ssh: Could not resolve",
        ),
        ("echo 'sh: specdash: not found' >&2; exit 127", "specdash was not found on tower.*SPECDASH_REMOTE"),
        ("echo '\x1b]0;evil\x07' >&2; exit 255", "<1b>"),
        ("exit 0", "closed without a word"),
        ("cat >/dev/null & yes", "does not speak as specdash does"),
        ("head -c 70000000 /dev/zero", "makes no sense: a line has more than"),
        ("""echo '{"welcome":2,"specdash":"9.9"}'; cat""", "specdash 9.9"),
        ("""echo '{"gone":"no more\\u001b[31m room"}'; cat""", "no more<1b>.31m room"),
    ],
)
async def test_another_end_that_is_no_specdash(script: str, message: str) -> None:
    ssh = (sys.executable, "-c", f"import os; os.execlp('sh', 'sh', '-c', {script!r})")
    with pytest.raises(SourceError, match=message):
        await PipeSource.open("tower", "x", ssh=ssh, remote=("specdash",))


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'ssh: Could not resolve hostname tower' >&2; exit 255", "tower cannot be reached: ssh: Could not"),
        ("echo Welcome; echo 'sh: specdash: not found' >&2; exit 127", "specdash was not found on tower.*SPECDASH_RE"),
        ("""echo Welcome; echo '{"gone":"no more room"}'; cat""", "^no more room$"),
        ("exit 0", "closed without a word"),
    ],
)
def test_attach_that_is_turned_away_shows_no_dashboard(
    script: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shlex

    from specdash.cli.attach import _far

    ssh = (sys.executable, "-c", f"import os; os.execlp('sh', 'sh', '-c', {script!r})")
    monkeypatch.setenv("SPECDASH_SSH", shlex.join(ssh))
    with pytest.raises(SpecdashError, match=message) as raised:
        _far("tower", None)
    assert raised.value.exit_code == Exit.NOTHING_MEASURED


async def test_a_welcome_is_left_on_the_line(run: WatchedRun) -> None:
    async with run.monitored():
        line = SshLine.open("tower", str(run.path), ssh=NO_SSH, remote=SPECDASH)
        assert await asyncio.to_thread(lambda: asyncio.run(line.turned_away())) is None
        source = await PipeSource.over(line)
        assert fold_all(facts(await take(source.events(), CaughtUp))) == run.view
        await source.close()


async def test_what_a_login_shell_says_first_is_passed_over(run: WatchedRun) -> None:
    noisy = (
        sys.executable,
        "-c",
        "import os, sys; os.execlp('sh', 'sh', '-c', 'echo Welcome!; echo; ' + sys.argv[-1])",
    )
    async with run.monitored():
        source = await PipeSource.open("tower", str(run.path), ssh=noisy, remote=SPECDASH)
        assert fold_all(facts(await take(source.events(), CaughtUp))) == run.view
        await source.close()


async def test_words_of_the_environment_are_taken(run: WatchedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    import shlex

    monkeypatch.setenv("SPECDASH_SSH", shlex.join(NO_SSH))
    monkeypatch.setenv("SPECDASH_REMOTE", shlex.join(SPECDASH))
    odd = run.path.parent / "it's; $HOME `x`"
    run.path.rename(odd)
    source = await PipeSource.open("tower", str(odd))
    assert source.origin.path == str(odd)
    await source.close()


async def test_a_line_that_breaks_is_lost_and_the_run_goes_on(run: WatchedRun) -> None:
    async with run.monitored() as monitor:
        source = await through_pipe(run.path)
        events = source.events()
        await take(events, CaughtUp)
        source._line._process.send_signal(signal.SIGKILL)
        gone = (await finish(source, events))[-1]
        assert isinstance(gone, Gone)
        assert gone.lost
        assert "specdash attach --ssh tower a-run" in gone.why
        await until(lambda: not monitor.clients)
        run.add(ev.Noted("info", "still here"))


async def test_others_have_their_turn_while_a_long_run_is_replayed(run: WatchedRun) -> None:
    run.fill([ev.Noted("info", str(number)) for number in range(5000)])
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with run.monitored(), asyncio.TaskGroup() as tasks:
        beside = tasks.create_task(other())
        source = await SocketSource.open(run.path)
        await take(source.events(), CaughtUp)
        beside.cancel()
        await source.close()
    assert turns > 5000 / 200


async def test_models_are_looked_for_where_the_run_is(run: WatchedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    here = FolderSource(run.path)
    assert here.models_argv is None  # nothing is known of it yet
    async for _ in here.events():
        pass
    assert here.models_argv is None
    monkeypatch.setattr(socket, "gethostname", lambda: started(STEPS).host)
    assert here.models_argv == [sys.executable, "-m", "specdash", "models", "--json"]
    way = SshCommand(("ssh",), ("-p", "22"), "tower", ("/opt/spec dash",))
    argv = way.argv("models", "--json", unasked=True)
    assert argv[-5:] == ["-p", "22", "--", "tower", "'/opt/spec dash' models --json"]
    assert "BatchMode=yes" in argv
    assert "BatchMode=yes" not in way.argv("relay")
