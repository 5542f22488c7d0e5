"""Attach through a real sshd on loopback: no port of ours, and a broken line that the run does not notice."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from specdash.core import events as ev
from specdash.core.commands import PAUSE, Command
from specdash.core.reduce import fold_all
from specdash.remote.run_source import CaughtUp, Event, Gone, SourceError
from specdash.remote.sources import PipeSource
from tests.support.recorded_run import loaded, measured, started, step
from tests.support.served_run import STEPS, WatchedRun, finish, short_folder, take, until
from tests.support.sshd import Sshd, make_keys, running_sshd

ROOT = Path(__file__).parents[2]
REMOTE = ("env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "specdash")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def sshd(keys: Path) -> Iterator[Sshd]:
    with running_sshd(keys) as found:
        yield found


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with short_folder() as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
        yield folder


@pytest.fixture
def run(tmp_path: Path) -> Iterator[WatchedRun]:
    found = WatchedRun(tmp_path / "results" / "a run; with 'odd' $name")
    found.add(started(STEPS), *loaded(), *measured(step(), [10.0] * 3))
    yield found
    found.journal.close()


def facts(events: list[Event]) -> list[ev.Recorded]:
    return [event for event in events if isinstance(event, ev.Recorded)]


async def attach(sshd: Sshd, path: Path | str, remote: tuple[str, ...] = REMOTE) -> PipeSource:
    return await PipeSource.open("127.0.0.1", str(path), options=sshd.options, remote=remote)


def ssh_of_this_test() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.name() == "ssh"]


async def test_a_run_through_ssh_and_a_line_that_is_cut(run: WatchedRun, sshd: Sshd) -> None:
    async with run.monitored() as monitor:
        source = await attach(sshd, run.path)
        assert (source.origin.path, source.origin.pid, source.origin.is_local) == (str(run.path), os.getpid(), False)
        events = source.events()
        assert fold_all(facts(await take(events, CaughtUp))) == run.view
        await source.command(Command(PAUSE))
        assert run.view.paused
        assert len(ssh_of_this_test()) == 1
        ssh_of_this_test()[0].kill()
        gone = (await finish(source, events))[-1]
        assert isinstance(gone, Gone)
        assert gone.lost
        assert "the run there goes on" in gone.why
        run.add(ev.Noted("info", "while nobody looked"))
        await until(lambda: not monitor.clients)
        again = await attach(sshd, run.path)
        assert fold_all(facts(await take(again.events(), CaughtUp))) == run.view
        await again.close()
        assert not ssh_of_this_test()


async def test_sshd_that_dies_is_a_lost_line(run: WatchedRun, sshd: Sshd) -> None:
    async with run.monitored():
        source = await attach(sshd, run.path)
        events = source.events()
        await take(events, CaughtUp)
        for child in psutil.Process(sshd.process.pid).children(recursive=True):
            if "sshd" in child.name():
                child.kill()
        gone = (await finish(source, events))[-1]
        assert isinstance(gone, Gone)
        assert gone.lost


async def test_the_end_of_a_run_is_told_through_ssh(run: WatchedRun, sshd: Sshd) -> None:
    async with run.monitored():
        source = await attach(sshd, run.path)
        events = source.events()
        await take(events, CaughtUp)
        run.add(ev.RunFinished("finished", 0))
    assert (await finish(source, events))[-1] == Gone("the run is over")
    finished = await attach(sshd, run.path)
    told = await take(finished.events(), Gone)
    assert fold_all(facts(told)) == run.view
    assert told[-1] == Gone("this run is finished")
    await finished.close()


async def test_ten_thousand_facts_through_ssh(run: WatchedRun, sshd: Sshd) -> None:
    run.fill([ev.Noted("info", f"{number} " + "x" * 300) for number in range(10_000)])
    async with run.monitored():
        source = await attach(sshd, run.path)
        assert fold_all(facts(await take(source.events(), CaughtUp))) == run.view
        await source.close()


async def test_what_keeps_one_out_is_said(run: WatchedRun, sshd: Sshd, keys: Path) -> None:
    with pytest.raises(SourceError, match=r"no-such-specdash was not found on 127.0.0.1.*SPECDASH_REMOTE"):
        await attach(sshd, run.path, remote=("no-such-specdash",))
    with pytest.raises(SourceError, match="no such run"):
        await attach(sshd, "no-such-run")
    stranger = tuple(str(keys / "stranger") if word == str(keys / "user") else word for word in sshd.options)
    with pytest.raises(SourceError, match=r"cannot be reached: .*Permission denied"):
        await PipeSource.open("127.0.0.1", "x", options=stranger, remote=REMOTE)
    sshd.process.kill()
    sshd.process.wait()
    with pytest.raises(SourceError, match=r"cannot be reached: .*Connection refused"):
        await attach(sshd, run.path)
