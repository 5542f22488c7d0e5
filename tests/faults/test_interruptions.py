"""Runs that are killed, stopped, out of time or out of room, and what `specdash resume` makes of them."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import resource
import signal
import termios
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from specdash.core import events as ev
from specdash.store.journal import read
from tests.support.fake_machine import (
    Bench,
    Run,
    assert_complete,
    assert_each_block_once,
    assert_gone,
    assert_well_behaved,
    delete_under,
    descendants,
)

SLOW = "speed=60"
# A request takes longer than whatever a test has to do before its end.
HELD = "speed=1"
FIRST_SAMPLE_THEN_HELD = f";;{HELD}"  # after the warm-up's request


def assert_nothing_redone(run: Run) -> None:
    """No step was finished twice, no good sample of a block was taken twice."""
    finished = Counter(fact.step for fact in run.facts(ev.StepFinished) if fact.status == "ok")
    assert set(finished.values()) == {1}
    taken = Counter((fact.step, fact.sample.block) for fact in run.facts(ev.SampleTaken) if fact.sample.status == "ok")
    assert set(taken.values()) == {1}


def test_kill_nine_at_every_stage(bench: Bench) -> None:
    rules = {"D": ["load_s=600", HELD, FIRST_SAMPLE_THEN_HELD, HELD, ""]}
    profile = bench.profile(["A"], ["D"], engine={"program": str(bench.program(rules))}, sweep={"k": [2, 4]})
    command = bench.headless(profile)
    command.until("load l002: A")
    command.journal_says(
        lambda fact: isinstance(fact, ev.StateChanged) and (fact.load, fact.after) == ("l002", "loading")
    )
    family = descendants(command.process.pid)
    killed = [command.kill()]
    assert_gone(family)
    path = killed[0].path
    for stage in ("load l003: ready", "sample .* #1"):
        command = bench.start("resume", path)
        command.until(stage)
        family = descendants(command.process.pid)
        killed.append(command.kill())
        assert_gone(family)
    # The guard dies with its engine: the server is left alone, until the run is resumed.
    command = bench.start("resume", path)
    command.until("ready after")
    guard, *family = descendants(command.process.pid)
    guard.suspend()
    killed.append(command.kill())
    guard.kill()
    assert [process.is_running() for process in family] == [True] * len(family)
    run = bench.resume(path)
    assert_gone(family)
    assert_complete(run)
    assert run.code == 0
    assert "left behind by an earlier run" in run.stderr
    assert_each_block_once(run, 2)
    assert_nothing_redone(run)
    for before in killed:
        assert run.records[: len(before.records)] == before.records
    assert [len(each.facts(ev.SampleTaken)) for each in killed][:2] == [2, 2]
    assert run.view.resumes == 4
    assert re.search("resumed: [12] of 3 steps measured", run.stderr)
    assert {each["status"] for each in run.result["measurements"]} == {"ok"}


@pytest.fixture
def terminal() -> Iterator[int]:
    """The program's side of a terminal that nobody looks at."""
    ours, theirs = pty.openpty()
    yield theirs
    os.close(theirs)
    os.close(ours)


@pytest.mark.parametrize(
    ("number", "code", "stage", "held"),
    [
        (signal.SIGINT, 130, "sample .* #1", FIRST_SAMPLE_THEN_HELD),
        (signal.SIGTERM, 143, "load l001: T", "load_s=600"),
        (signal.SIGHUP, 129, "load l001: ready", HELD),
    ],
)
def test_signals_end_a_run_cleanly(
    number: signal.Signals, code: int, stage: str, held: str, bench: Bench, terminal: int
) -> None:
    rules = {"T": [held, ""]}
    profile = bench.profile(["T", "U"], engine={"program": str(bench.program(rules))})

    def own_terminal() -> None:
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

    command = bench.headless(profile, start_new_session=True, preexec_fn=own_terminal)
    command.until(stage)
    if number == signal.SIGTERM:  # told before the program runs, whose first launch is the slow one
        command.journal_says(lambda fact: isinstance(fact, ev.StateChanged) and fact.after == "loading")
    family = descendants(command.process.pid)
    command.send(number)
    run = command.end()
    assert_gone(family)
    assert_complete(run)
    assert (run.code, run.facts(ev.RunFinished)[-1].state) == (code, "stopped")
    assert run.path is not None
    assert f"specdash resume {run.path.name}" in run.stderr
    assert number.name in run.stderr
    taken = len(run.facts(ev.SampleTaken))
    done = bench.start("resume", run.path.name).end(run.path)
    assert_complete(done)
    assert done.code == 0
    assert_each_block_once(done, 2)
    assert_nothing_redone(done)
    assert len(done.facts(ev.SampleTaken)) == 4
    assert taken < 4


def test_a_lost_terminal_does_not_end_a_detached_run(bench: Bench) -> None:
    command = bench.headless(bench.profile(engine={"env": {"FAKE_SERVER": SLOW}}), start_new_session=True)
    command.until("ready after")
    command.send(signal.SIGHUP)
    run = command.end()
    assert run.code == 0
    assert_complete(run)


def test_a_second_engine_is_refused_and_stop_ends_the_first(bench: Bench) -> None:
    profile = bench.profile(engine={"env": {"FAKE_SERVER": "speed=8"}})
    command = bench.headless(profile)
    command.until("ready after")
    (folder,) = bench.results.iterdir()
    rival, resumed = bench.headless(profile), bench.start("resume", folder)
    for each, words in ((rival, "another sweep is running on this machine"), (resumed, "is already running")):
        out, err = each.process.communicate(timeout=30)
        refused = Run(each.process.returncode, out, err)
        assert_well_behaved(refused)
        assert (refused.code, refused.stdout) == (5, "")
        assert words in err
        assert f"pid {command.process.pid}" in err
    # The loser leaves nothing that looks like a run.
    assert [path.name for path in bench.results.iterdir()] == [folder.name]
    stopper = bench.start("stop", folder.name)
    run = command.end()
    assert stopper.process.wait(30) == 0
    assert_complete(run)
    assert run.code == 143


def test_time_is_up(bench: Bench) -> None:
    profile = bench.profile(["T", "U"], limits={"max_time": "1s"}, engine={"env": {"FAKE_SERVER": "speed=20"}})
    run = bench.run(profile)
    assert_complete(run)
    assert (run.code, run.facts(ev.RunFinished)[-1].state) == (75, "stopped")
    assert run.path is not None
    assert f"specdash resume {run.path.name}" in run.stderr
    copy = run.path / "profile.toml"
    copy.write_text(re.sub(r"max_time = .*", "", copy.read_text()).replace("speed=20", "speed=3000"))
    done = bench.resume(run.path)
    assert_complete(done)
    assert done.code == 0
    assert_each_block_once(done, 2)


def test_resume_measures_what_failed_or_changed_and_nothing_else(bench: Bench) -> None:
    rules = {"A": "", "B": ["die_at_load=1", ""], "C": ""}
    profile = bench.profile(list(rules), engine={"program": str(bench.program(rules))}, limits={"on_failure": "stop"})
    stopped = bench.run(profile)
    assert_complete(stopped)
    assert stopped.code == 75
    assert {name: outcome[0] for name, outcome in stopped.outcomes().items()} == {"A": "ok", "B": "failed", "C": "open"}

    done = bench.resume(stopped.path)
    assert_complete(done)
    assert done.code == 0
    assert [load.key.target for load in done.view.loads.values()] == ["A", "B", "B", "C"]
    assert_each_block_once(done, 2)

    again = bench.resume(stopped.path)
    assert (again.code, len(again.view.loads)) == (0, 4)

    model = bench.model("A", bench.target)
    content = model.read_bytes()
    model.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    changed = bench.resume(stopped.path)
    assert_complete(changed)
    assert changed.code == 0
    assert [load.key.target for load in changed.view.loads.values()] == ["A", "B", "B", "C", "A"]
    assert_each_block_once(changed, 2)
    assert changed.only(target="A").fingerprint != done.only(target="A").fingerprint
    assert changed.only(target="C").fingerprint == done.only(target="C").fingerprint


def test_results_that_cannot_be_kept(bench: Bench) -> None:
    (bench.folder / "file").write_text("")
    for place, code in ((bench.folder / "file" / "results", 2), (Path("/proc/specdash"), 5)):
        run = bench.run(bench.profile(results={"dir": str(place)}))
        assert (run.code, run.stdout, run.path) == (code, "", None)
        assert str(place.parent) in run.stderr
        assert "results.dir" in run.stderr


def test_a_full_disk_pauses_the_run_and_it_can_still_be_ended(bench: Bench) -> None:
    profile = bench.profile(["T", "U"], measure={"iterations": 4})

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, resource.RLIM_INFINITY))

    command = bench.headless(profile, preexec_fn=small)
    command.until("paused")
    command.send(signal.SIGINT)
    run = command.end()
    assert run.code in (5, 130)
    assert run.path is not None
    done = bench.resume(run.path)
    assert_complete(done)
    assert done.code == 0
    assert_each_block_once(done, 4)
    assert_nothing_redone(done)


def test_a_run_folder_that_vanishes(bench: Bench) -> None:
    program = bench.program({"T": ";;speed=10", "U": ""})
    command = bench.headless(bench.profile(["T", "U"], engine={"program": str(program)}))
    command.until("sample .* #1")
    (folder,) = bench.results.iterdir()
    delete_under(command, folder)
    run = command.end()
    assert run.code in (0, 1)
    assert run.path == folder
    assert_complete(run)
    assert [len(found.good) for found in run.steps(target="T")] == [2]


def test_a_server_that_was_left_behind_is_ended_only_if_it_is_ours(bench: Bench, tmp_path: Path) -> None:
    run = bench.run(bench.profile())
    assert run.path is not None
    bystander = psutil.Popen(["sleep", "600"])
    try:
        note = {"pid": bystander.pid, "started_s": bystander.create_time() - 60, "engine_pid": 1, "engine_started_s": 0}
        (run.path / "run").mkdir(exist_ok=True)
        (run.path / "run" / f"{bystander.pid}.json").write_text(str(note).replace("'", '"'))
        again = bench.resume(run.path)
        assert again.code == 0
        assert bystander.is_running()
        assert "left behind" not in again.stderr
    finally:
        bystander.kill()
        bystander.wait()


def test_a_torn_journal_is_resumed_and_a_damaged_one_refused(bench: Bench) -> None:
    run = bench.run(bench.profile(["T", "U"]))
    assert run.path is not None
    journal = run.path / "journal.jsonl"
    whole = journal.read_bytes()
    cut = whole.index(b'"sample_taken"') + 40
    journal.write_bytes(whole[:cut])
    done = bench.resume(run.path)
    assert_complete(done)
    assert done.code == 0
    assert_each_block_once(done, 2)
    assert len(list(run.path.glob("journal.torn-*"))) == 1
    content = journal.read_bytes()
    journal.write_bytes(content[:300] + b"X" + content[301:])
    command = bench.start("resume", run.path)
    out, err = command.process.communicate(timeout=30)
    assert (command.process.returncode, out) == (5, "")
    assert "journal.jsonl:1" in err
    assert journal.read_bytes()[:300] == content[:300]
    journal.write_bytes(content)
    assert read(journal).torn_bytes == 0
