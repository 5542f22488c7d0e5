"""What is done to a run's folder while the run goes on: deleted, moved, taken apart, out of reach."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from specdash.core import events as ev
from specdash.runtime.serverlog import ServerLog
from specdash.ui.sources import SocketSource
from tests.support.fake_machine import (
    Bench,
    Run,
    assert_complete,
    assert_each_block_once,
    assert_gone,
    delete_under,
    descendants,
)
from tests.support.machine import Command, wait_for

T_IS_HELD = {"T": [";;speed=1", ""], "U": ""}  # after the warm-up's request, in the first run of it


@pytest.fixture
def run_at_work(bench: Bench) -> tuple[Command, Path]:
    """A run of two servers that takes its time with the first, and its folder."""
    program = bench.program(T_IS_HELD)
    command = bench.headless(bench.profile(["T", "U"], engine={"program": str(program)}))
    command.until("sample .* #1")
    (folder,) = bench.results.iterdir()
    return command, folder


def ended_and_gone_on_with(bench: Bench, command: Command, folder: Path) -> Run:
    """Ends a run, and goes on with it where its folder is: what was measured is kept, and nothing is missing."""
    command.send(signal.SIGINT)
    run = command.end(folder)
    assert_complete(run)
    assert run.code == 130
    done = bench.resume(folder)
    assert_complete(done)
    assert done.code == 0
    assert_each_block_once(done, 2)
    assert done.records[: len(run.records)] == run.records
    return done


def listed(bench: Bench) -> str:
    """What `specdash runs` says."""
    out, _ = bench.start("runs").process.communicate(timeout=bench.limit_s)
    return out


def test_a_deleted_folder_is_written_again_whole(bench: Bench, run_at_work: tuple[Command, Path]) -> None:
    command, folder = run_at_work
    before = {each.relative_to(folder) for each in folder.rglob("*") if each.is_file()}
    assert {Path("profile.toml"), Path("engine.json"), Path("lock"), Path("logs/l001.log")} <= before
    log = (folder / "logs/l001.log").read_text()
    delete_under(command, bench.results)
    command.until("run folder was deleted while the run went on, and is written again")
    wait_for(lambda: before <= {each.relative_to(folder) for each in folder.rglob("*") if each.is_file()})
    assert (folder / "logs/l001.log").read_text().startswith(log)
    assert "running" in listed(bench)
    run = ended_and_gone_on_with(bench, command, folder)
    assert any("was deleted while the run went on" in fact.text for fact in run.facts(ev.Noted))
    assert (folder / "logs" / "l001.log").read_text().startswith(log)


def test_a_moved_folder_is_followed(bench: Bench, run_at_work: tuple[Command, Path]) -> None:
    command, folder = run_at_work
    place = bench.folder / "kept" / "as my run"
    place.parent.mkdir()
    folder.rename(place)
    command.until("run folder was moved while the run went on")
    assert place.name in listed(bench)
    attached = asyncio.run(_place_told(bench, place))
    assert attached == place
    ended_and_gone_on_with(bench, command, place)
    assert {"l001.log", "l002.log", "specdash.log"} <= {each.name for each in (place / "logs").iterdir()}
    assert list(bench.results.iterdir()) == []
    assert "finished" in listed(bench)


async def _place_told(bench: Bench, place: Path) -> Path:
    """Where an engine says that its folder is, to a client that comes after the move."""
    with mock.patch.dict(os.environ, bench.environment()):
        source = await SocketSource.open(place)
        await source.close()
        return Path(source.origin.path)


@pytest.mark.parametrize("how", ["deleted", "moved"])
def test_stop_finds_a_run_whatever_happened_to_its_folder(
    bench: Bench, run_at_work: tuple[Command, Path], how: str
) -> None:
    command, folder = run_at_work
    family = descendants(command.process.pid)
    place = folder if how == "deleted" else folder.with_name("moved")
    if how == "deleted":
        delete_under(command, folder)
    else:
        folder.rename(place)
    stopper = bench.start("stop", folder.name)  # by the name that it had, before anything was noticed or after
    out, err = stopper.process.communicate(timeout=bench.limit_s)
    assert stopper.process.returncode == 0, out + err
    run = command.end(place)
    assert_gone(family)
    assert_complete(run)
    assert run.code == 143


def test_parts_that_are_deleted_come_back(bench: Bench, run_at_work: tuple[Command, Path]) -> None:
    command, folder = run_at_work
    profile = (folder / "profile.toml").read_text()
    for name in ("profile.toml", "lock", "engine.json", "journal.jsonl"):
        (folder / name).unlink()
    delete_under(command, folder / "run")
    delete_under(command, folder / "logs")
    for name in ("profile.toml", "lock", "engine.json", "journal.jsonl", "logs/l001.log", "logs/specdash.log"):
        wait_for((folder / name).exists)
    wait_for(lambda: len(list((folder / "run").glob("*.json"))) == 1)
    rival = bench.start("resume", folder).process
    assert "is already running" in rival.communicate(timeout=bench.limit_s)[1]
    assert rival.returncode == 5
    assert (folder / "profile.toml").read_text() == profile
    ended_and_gone_on_with(bench, command, folder)


def test_a_folder_that_is_out_of_reach_ends_the_run_at_once(bench: Bench, mounted: Path) -> None:
    program = bench.program(T_IS_HELD)
    profile = bench.profile(["T", "U"], engine={"program": str(program)}, results={"dir": str(mounted)})
    command = bench.headless(profile)
    command.until("sample .* #1")
    (folder,) = mounted.iterdir()
    family = descendants(command.process.pid)
    subprocess.run(["umount", "-l", str(mounted)], check=True)
    out, err = command.process.communicate(timeout=bench.limit_s)
    assert (command.process.returncode, out) == (5, "")
    assert f"{folder}: the run folder cannot be reached any more" in err
    assert f"specdash resume {folder.name}" in err
    assert "Traceback" not in err
    assert_gone(family)
    assert list(mounted.iterdir()) == []


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A disk that can be taken away."""
    path = tmp_path / "disk"
    path.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(path)], check=False).returncode:
        pytest.skip("only root can mount a disk")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=False, stderr=subprocess.DEVNULL)


def test_a_journal_that_was_replaced_by_something_else_ends_the_run(
    bench: Bench, run_at_work: tuple[Command, Path]
) -> None:
    command, folder = run_at_work
    family = descendants(command.process.pid)
    (folder / "new").write_text("something else\n")
    (folder / "new").rename(folder / "journal.jsonl")
    out, err = command.process.communicate(timeout=bench.limit_s)
    assert (command.process.returncode, out) == (5, "")
    assert "journal.jsonl" in err
    assert_gone(family)
    assert (folder / "journal.jsonl").read_text() == "something else\n"


def kept(log: ServerLog, path: Path) -> str:
    log.keep(path)
    return path.read_text()


def test_a_log_that_was_deleted_goes_on_under_its_name(tmp_path: Path) -> None:
    path = tmp_path / "l001.log"
    log = ServerLog(path)
    with subprocess.Popen(
        ["/bin/sh", "-c", "echo one; read x; echo two; read x"], stdin=-1, stdout=log.descriptor
    ) as it:
        assert it.stdin is not None
        wait_for(lambda: path.read_text() == "one\n")
        path.unlink()
        log.keep(path)
        assert path.read_text() == "one\n"
        it.stdin.write(b"\n")
        it.stdin.flush()
        wait_for(lambda: kept(log, path) == "one\ntwo\n")
    other = path.with_name("other.log")
    path.rename(other)
    log.keep(path)
    assert path.read_text() == "one\ntwo\n"
    path.write_text("somebody else's")
    path.rename(path.with_name("x"))
    path.write_text("somebody else's")
    log.close()
    assert path.read_text() == "somebody else's"


def test_a_list_of_runs_shows_one_whose_folder_is_gone(bench: Bench, run_at_work: tuple[Command, Path]) -> None:
    """The engine is stopped, so that it cannot bring the folder back."""
    command, folder = run_at_work
    command.send(signal.SIGSTOP)
    shutil.rmtree(bench.results)
    shown = listed(bench)
    assert folder.name in shown
    assert "running: " in shown
    command.send(signal.SIGINT)
    command.send(signal.SIGCONT)
    assert_complete(command.end())
