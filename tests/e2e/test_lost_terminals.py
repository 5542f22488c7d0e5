"""Terminals that close, in every phase of a run: headless, resumed, and under a dashboard."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from specdash.core import commands as cmd
from specdash.core import events as ev
from specdash.core.state import RunState
from specdash.remote.sources import SocketSource
from specdash.runtime.locks import run_owner
from tests.support.machine import assert_each_block_once, assert_gone, descendants, wait_for
from tests.support.pty_program import PtyProgram
from tests.support.real_machine import ONE_THREAD
from tests.support.terminal_machine import Place, ends, engine_of, until, view_of

HELD = "speed=1"
FIRST_SAMPLE_THEN_HELD = f";;{HELD}"  # after the warm-up's request
ALTERNATE_SCREEN = b"\x1b[?1049h"
LIMIT_S = 60.0


def hung_up(program: PtyProgram) -> int | None:
    """Closes the terminal as a lost line does, and waits for the program's end: its exit code."""
    family = descendants(program.pid)
    program.hang_up()
    code = program.wait(LIMIT_S)
    assert_gone(family)
    return code


def asked(path: Path, name: str) -> None:
    """Has the engine of a run carry out a command, as a dashboard does."""
    import asyncio

    async def ask() -> None:
        source = await SocketSource.open(path)
        await source.command(cmd.Command(name))
        await source.close()

    asyncio.run(ask())


def starting(view: RunState) -> bool:
    return any(load.state == "starting" for load in view.loads.values() if not load.finished)


def loading(view: RunState) -> bool:
    return any(load.state == "loading" for load in view.loads.values() if not load.finished)


def warming(view: RunState) -> bool:
    """A server is ready, and no step of its has begun."""
    load = view.loads.get(view.current_load or "")
    return load is not None and load.load_time_s is not None and view.current_step is None


def probing(view: RunState) -> bool:
    """As before, with a draft: what is asked first is who decides K."""
    return warming(view) and view.loads[view.current_load or ""].key.draft is not None and view.scope is None


def sampling(view: RunState) -> bool:
    return view.current_step is not None and len(view.steps[view.current_step].good) == 1


def stopping(view: RunState) -> bool:
    return any(load.state == "stopping" for load in view.loads.values() if not load.finished)


class Held:
    """A run whose servers stand still, one launch after the other, in the phase that is wanted."""

    def __init__(self, place: Place, target: list[str], draft: list[str]) -> None:
        self._place = place
        program = place.program({"D": draft, "T": target})
        self.profile = place.profile(["T"], ["D"], engine={"program": str(program), "grace_s": 2})

    def command(self) -> tuple[str, ...]:
        """The command that begins the run, or goes on with it, in the terminal's own process."""
        if any(self._place.results.glob("*/journal.jsonl")):
            return ("resume", "--headless", self._place.run_path().name)
        return ("--headless", self.profile.name)

    @contextmanager
    def in_phase(self, phase: Callable[[RunState], bool]) -> Iterator[tuple[PtyProgram, Path]]:
        """The command in a terminal of its own, once its run is in a phase."""
        loads = len(view_of(self._place.run_path()).loads) if self.command()[0] == "resume" else 0
        with self._place.pty(*self.command()) as program:
            wait_for(lambda: any(self._place.results.glob("*/journal.jsonl")))
            path = self._place.run_path()
            until(path, lambda view: len(view.loads) > loads and view.finished is None and phase(view))
            yield program, path

    def ended(self, code: int) -> RunState:
        """What the run looks like once a lost terminal has ended it."""
        path = self._place.run_path()
        assert run_owner(path) is None
        view = view_of(path)
        assert view.finished is not None, "no end in the journal"
        assert (view.finished.state, view.finished.exit_code) == ("stopped", code)
        assert f"specdash resume {path.name}" in view.finished.reason
        assert (path / "result.json").is_file()
        return view


def test_a_headless_run_and_a_resumed_one_end_cleanly_with_their_terminal_in_every_phase(place: Place) -> None:
    held = Held(
        place,
        ["load_s=600", HELD, FIRST_SAMPLE_THEN_HELD, HELD, f"{HELD},ignore_term=1", ""],
        [HELD, ""],
    )
    taken = 0
    for phase in (loading, warming, sampling):
        with held.in_phase(phase) as (program, _):
            assert hung_up(program) == 129, phase.__name__
        view = held.ended(129)
        assert sum(len(step.good) for step in view.steps.values()) >= taken
        taken = sum(len(step.good) for step in view.steps.values())
    assert taken == 1
    with held.in_phase(warming) as (program, path):
        asked(path, cmd.PAUSE)
        assert view_of(path).paused
        assert hung_up(program) == 129
    held.ended(129)
    with held.in_phase(warming) as (program, path):
        program.send("\x03")
        until(path, stopping)
        assert hung_up(program) == 130, "the first signal is the one that ended it"
    held.ended(130)
    with held.in_phase(probing) as (program, _):
        assert hung_up(program) == 129
    assert held.ended(129).scope is None
    run = place.resume(place.run_path())
    assert run.code == 0
    assert_each_block_once(run, 2)


def test_a_terminal_that_is_lost_while_the_reports_are_written_takes_none_of_them(place: Place) -> None:
    with (
        holding_reports(place) as held,
        place.pty("--headless", place.profile().name, PYTHONPATH=held.python_path) as program,
    ):
        wait_for(held.begun.exists)
        path = place.run_path()
        assert view_of(path).finished is not None
        family = descendants(program.pid)
        program.hang_up()
        held.go_on()
        # The run was over before: whatever comes of the terminal, its results are those of a run that has finished.
        assert program.wait(LIMIT_S) in (0, 129)
        assert_gone(family)
    assert view_of(path).finished == ev.RunFinished("finished", 0)
    assert {each.name for each in path.iterdir()} >= {"result.json", "result.csv", "report.md", "report.html"}


class _Reports:
    """Reports that are not written until `go_on`; `begun` is there once they are about to be."""

    def __init__(self, place: Place) -> None:
        self.folder = place.folder / "site"
        self.folder.mkdir()
        self.begun, self.goes = self.folder / "begun", self.folder / "goes"
        self.python_path = os.pathsep.join([str(self.folder), place.environment()["PYTHONPATH"]])

    def go_on(self) -> None:
        self.goes.touch()


@contextmanager
def holding_reports(place: Place) -> Iterator[_Reports]:
    """Programs that write no report until they are told to."""
    held = _Reports(place)
    (held.folder / "sitecustomize.py").write_text(
        f"""import pathlib, sys, time
if "--headless" in sys.argv:
    import specdash.session.reports as reports
    write = reports.write_each

    def late(files):
        pathlib.Path({str(held.begun)!r}).touch()
        while not pathlib.Path({str(held.goes)!r}).exists():
            time.sleep(0.02)
        return write(files)

    reports.write_each = late
"""
    )
    try:
        yield held
    finally:
        held.go_on()


def test_a_terminal_that_is_lost_before_there_is_a_run_leaves_none(place: Place) -> None:
    asking = place.folder / "asking"
    server = place.folder / "slow-help"
    asked_for_help = f'case "$*" in *--help*) touch "{asking}"; exec sleep 600;; esac'
    server.write_text(f'#!/bin/sh\n{asked_for_help}\nexec "{place.fake}" "$@"\n')
    server.chmod(0o755)
    profile = place.profile(engine={"program": str(server)})
    with place.pty("--headless", profile.name) as program:
        wait_for(asking.exists)
        assert hung_up(program) == 129
    assert not list(place.results.glob("*"))


@pytest.mark.parametrize("how", ["nohup", "of_another_session"])
def test_a_run_that_was_told_to_outlive_its_terminal_does(how: str, place: Place) -> None:
    profile = place.slow_profile(60)
    command = [sys.executable, "-m", "specdash", "--headless", profile.name]
    if how == "nohup":
        script = f"trap '' HUP; exec {shlex.join(command)} > out"
    else:
        script = f"{shlex.join(['setsid', *command])} > out & echo $! > pid; wait"
    here = os.getcwd()
    os.chdir(place.folder)
    try:
        program = PtyProgram(["sh", "-c", script], place.environment(TERM="xterm-256color"))
    finally:
        os.chdir(here)
    with program:
        wait_for(lambda: any(place.results.glob("*/journal.jsonl")))
        path = place.run_path()
        until(path, lambda view: view.current_step is not None)
        engine = engine_of(path)
        assert engine is not None
        program.hang_up()
        view = until(path, lambda view: view.finished is not None)
        program.wait(LIMIT_S)
        assert ends(path)
        assert_gone([engine])
    assert view.finished == ev.RunFinished("finished", 0)
    assert (place.folder / "out").read_text().strip() == str(path / "result.json")


def test_a_terminal_that_takes_nothing_holds_no_run_up(place: Place) -> None:
    with place.pty("--headless", place.slow_profile(60).name) as program:
        wait_for(lambda: any(place.results.glob("*/journal.jsonl")))
        path = place.run_path()
        program.send("\x13")  # ctrl+s: from now on it is as one behind a line that stands still
        view = until(path, lambda view: view.finished is not None)
        wait_for((path / "report.html").exists)
        assert view.finished == ev.RunFinished("finished", 0)
        assert program.wait(0.2) is None, "what it had to say was thrown away"
        program.send("\x11")
        program.read_until(b"report.html")
        assert program.wait(LIMIT_S, reads=True) == 0
    assert str(path / "result.json").encode() in program.output.replace(b"\r\n", b"")


@pytest.mark.parametrize(
    ("redirected", "code"),
    [
        (">&-", 0),
        ("2>&-", 0),
        ("<&- >&- 2>&-", 0),
        ("2>&1 >/dev/null | head -1", 0),
        ("| true", 0),
        ("2>/dev/full", 0),
        (">/dev/full", 5),
    ],
)
def test_streams_that_nobody_reads_change_no_run(redirected: str, code: int, place: Place) -> None:
    command = f"{shlex.quote(str(place.specdash))} --headless {place.profile().name}"
    script = f"({command} {redirected.partition('|')[0]}; echo $? > code)"
    if "|" in redirected:
        script += f" |{redirected.partition('|')[2]}"
    done = psutil.Popen(["sh", "-c", script], cwd=place.folder, env=place.environment(), stderr=-1, stdout=-1)
    _, said = done.communicate(timeout=LIMIT_S)
    assert (place.folder / "code").read_text().strip() == str(code)
    view = view_of(place.run_path())
    assert view.finished == ev.RunFinished("finished", 0)
    assert {found.status for found in view.steps.values()} == {"ok"}
    assert b"Traceback" not in said
    assert b"internal error" not in said
    assert (b"standard output could not be written: No space left on device" in said) == (code == 5)


# --- dashboards


def test_a_dashboard_that_is_lost_in_any_phase_leaves_its_engine_alone(place: Place) -> None:
    asking, help_goes, server_goes = (place.folder / name for name in ("asking", "help-goes", "server-goes"))
    server = place.folder / "server-that-waits"
    until_there = 'while [ ! -e "{}" ]; do sleep 0.1; done'
    server.write_text(
        f"""#!/bin/sh
case "$*" in
*--help*) touch "{asking}"; {until_there.format(help_goes)};;
*--port*) {until_there.format(server_goes)};;
esac
exec "{place.fake}" "$@"
"""
    )
    server.chmod(0o755)
    profile = place.slow_profile(60, engine={"program": str(server)}, measure={"iterations": 40})
    with place.pty(profile.name) as dashboard:  # there is no run yet
        wait_for(asking.exists)
        dashboard.hang_up()
        assert dashboard.wait(LIMIT_S) == 129
    help_goes.touch()
    wait_for(lambda: any(place.results.glob("*/engine.json")))
    path = place.run_path()
    engine = engine_of(path)
    assert engine is not None

    def is_left_alone(phase: Callable[[RunState], bool]) -> None:
        until(path, phase)
        with place.pty("attach", path.name) as dashboard:
            dashboard.read_until(ALTERNATE_SCREEN)
            assert phase(view_of(path)), "the phase was over before the dashboard was there"
            dashboard.hang_up()
            assert dashboard.wait(LIMIT_S) == 129
        assert engine_of(path) == engine

    is_left_alone(starting)
    server_goes.touch()
    is_left_alone(lambda view: view.current_step is not None)
    until(path, lambda view: any(step.good for step in view.steps.values()))
    asked(path, cmd.PAUSE)
    is_left_alone(lambda view: view.paused)
    good = sum(len(step.good) for step in view_of(path).steps.values())
    asked(path, cmd.STOP)
    assert ends(path)
    view = view_of(path)
    assert (view.finished, view.resumes) == (ev.RunFinished("stopped", 75, view.finished.reason), 0)  # type: ignore[union-attr]
    assert sum(len(step.good) for step in view.steps.values()) >= good > 0


def test_resume_on_a_terminal_is_a_dashboard_whose_engine_outlives_it(place: Place) -> None:
    program = place.program({"T": [HELD, "speed=60"], "D": ""})
    profile = place.profile(["T"], ["D"], engine={"program": str(program), "grace_s": 2})
    command = place.headless(profile)
    command.until("ready after")
    command.send(signal.SIGINT)
    assert command.end().code == 130
    path = place.run_path()
    with place.pty("resume") as dashboard:  # the only one that has steps left
        dashboard.read_until(ALTERNATE_SCREEN)
        engine = engine_of(path)
        assert engine is not None
        assert engine.pid != dashboard.pid
        until(path, lambda view: view.current_step is not None)
        dashboard.hang_up()
        assert dashboard.wait(LIMIT_S) == 129
    assert engine_of(path) == engine
    view = until(path, lambda view: view.finished is not None)
    assert view.finished == ev.RunFinished("finished", 0)
    assert view.resumes == 1
    assert ends(path)


def in_a_terminal(place: Place, *arguments: str) -> tuple[int | None, bytes]:
    """What a command that says no more than a few lines ends with, and its output."""
    with place.pty(*arguments, size=(200, 24)) as program:
        code = program.wait(LIMIT_S, reads=True)
        return code, bytes(program.output)


def test_what_keeps_a_run_from_being_resumed_is_said_before_a_dashboard_opens(place: Place) -> None:
    code, said = in_a_terminal(place, "resume")
    assert (code, b"no run here has steps left to measure" in said) == (2, True)
    assert in_a_terminal(place, "resume", "nobody")[0] == 2
    over = place.run(place.profile())
    assert over.path is not None
    code, said = in_a_terminal(place, "resume", over.path.name)
    assert (code, b"nothing is left to measure" in said) == (0, True)
    assert ALTERNATE_SCREEN not in said

    command = place.headless(place.slow_profile(8))
    command.until("ready after")
    path = place.run_path()
    code, said = in_a_terminal(place, "resume", path.name)
    assert (code, b"already running" in said, b"specdash attach" in said) == (5, True, True)
    assert ALTERNATE_SCREEN not in said
    command.send(signal.SIGINT)
    assert command.end().code == 130

    profile = path / "profile.toml"
    text = profile.read_text()
    profile.write_text(text.replace("iterations = 2", "iterations = 3"))
    code, said = in_a_terminal(place, "resume", path.name)
    assert (code, b"was edited since the run began" in said) == (2, True)
    profile.write_text(text.replace(str(place.target.name), "gone.gguf").replace("/T.gguf", "/gone.gguf"))
    code, said = in_a_terminal(place, "resume", path.name)
    assert (code, b"gone.gguf" in said) == (3, True)
    assert ALTERNATE_SCREEN not in said
    assert engine_of(path) is None


# --- real models


@pytest.mark.real
def test_a_real_model_s_run_ends_with_its_terminal_and_goes_on_without_one(
    place: Place, llama_server: Path, small_models: Path
) -> None:
    place.target = small_models / "smol-q4_1.gguf"
    prompts = place.folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"category": "coding", "prompt": text}) + "\n" for text in ("Add.", "Sort.")))
    engine: dict[str, Any] = {"program": str(llama_server), "args": ONE_THREAD, "env": {}}
    profile = place.profile(["T"], engine=engine, measure={"prompts": str(prompts), "iterations": 4})
    with place.pty("--headless", profile.name) as program:
        wait_for(lambda: any(place.results.glob("*/journal.jsonl")))
        path = place.run_path()
        until(path, sampling, 120)
        assert hung_up(program) == 129
    before = view_of(path)
    assert before.finished is not None
    assert before.finished.exit_code == 129
    with place.pty("resume", path.name) as dashboard:
        dashboard.read_until(ALTERNATE_SCREEN)
        dashboard.hang_up()
        assert dashboard.wait(LIMIT_S) == 129
    view = until(path, lambda view: view.finished is not None and view.resumes == 1, 180)
    assert view.finished == ev.RunFinished("finished", 0)
    assert ends(path)
    for step_id, step in before.steps.items():
        assert view.steps[step_id].good[: len(step.good)] == step.good
