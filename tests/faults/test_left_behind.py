"""Servers whose engine and guard were killed: every start and `stop` ends them, `runs` and `doctor` tell of them."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import psutil

from specdash.core import events as ev
from tests.support.fake_machine import Bench, assert_complete, assert_gone, assert_well_behaved, descendants
from tests.support.machine import Command, Run, wait_for

GOES_ON = "speed=8"
LEFT = "left behind by an earlier run"


def orphaned(command: Command) -> list[psutil.Process]:
    """Kills the engine and the guard of a run whose server is ready, so that neither can end what the other leaves."""
    command.until("ready after")
    guard, *family = descendants(command.process.pid)
    command.send(signal.SIGSTOP)
    guard.kill()
    command.kill()
    assert family
    assert all(process.is_running() for process in family)
    return family


def said(bench: Bench, *arguments: object) -> Run:
    """A command that is no run, to its end."""
    command = bench.start(*arguments)
    out, err = command.process.communicate(timeout=bench.limit_s)
    run = Run(command.process.returncode, out, err)
    assert_well_behaved(run)
    return run


def test_a_real_server_that_lost_its_engine_is_told_of_and_ended_by_the_next_run_of_anything(
    bench: Bench, llama_server: Path
) -> None:
    engine = {"program": str(llama_server), "args": ["-c", "512"]}
    first = bench.profile(engine=engine, measure={"iterations": 500}, results={"dir": str(bench.folder / "elsewhere")})
    family = orphaned(bench.headless(first))
    pids = {process.pid for process in family}

    runs = said(bench, "runs")
    assert f"llama-server (pid {family[0].pid}) of bench_llama-server_it_" in runs.stderr
    assert "runs without its engine" in runs.stderr
    assert "specdash stop" in runs.stderr
    (finding,) = [
        each
        for each in json.loads(said(bench, "doctor", "--no-probe", "--json").stdout)
        if each["what"] == "server left behind"
    ]
    assert finding["state"] == "warn"
    assert str(family[0].pid) in finding["found"]
    assert all(process.is_running() for process in family)

    run = bench.run(bench.profile(name="another"))
    assert_complete(run)
    assert run.code == 0
    assert_gone(family)
    noted = [fact.text for fact in run.facts(ev.Noted) if LEFT in fact.text]
    assert len(noted) == 1
    assert any(str(pid) in noted[0] for pid in pids)
    assert run.stderr.index(LEFT) < run.stderr.index("load l001")
    assert said(bench, "runs").stderr == ""


def test_stop_ends_it_too_also_when_the_run_folder_is_gone(bench: Bench) -> None:
    family = orphaned(bench.headless(bench.profile(engine={"env": {"FAKE_SERVER": GOES_ON}})))
    shutil.rmtree(bench.results)
    stopped = said(bench, "stop")
    assert stopped.code == 0
    assert f"pid {family[0].pid}" in stopped.stdout
    assert_gone(family)
    nothing = said(bench, "stop")
    assert (nothing.code, nothing.stdout) == (2, "")


def test_a_run_that_goes_on_keeps_its_server(bench: Bench) -> None:
    command = bench.headless(bench.profile(engine={"env": {"FAKE_SERVER": GOES_ON}}))
    command.until("ready after")
    family = descendants(command.process.pid)
    rival = said(bench, "--headless", bench.profile(name="rival"))
    assert rival.code == 5
    assert said(bench, "stop", "nothing-of-that-name").code == 2
    assert said(bench, "runs").stderr == ""
    assert all(process.is_running() for process in family)
    command.send(signal.SIGINT)
    assert_complete(command.end())


def test_a_note_of_a_run_folder_that_cannot_be_read_is_kept_and_told_by_every_start(bench: Bench) -> None:
    run = bench.run(bench.profile())
    assert run.path is not None
    note = run.path / "run" / "l001-1-1.json"
    note.write_text('{"server": {"pid": 1')
    again = bench.run(bench.profile(name="again"))
    assert again.code == 0
    assert f"{note} cannot be read" in again.stderr
    assert f"{note} cannot be read" in said(bench, "runs").stderr
    assert note.exists()


def test_a_command_line_program_whose_bridge_lost_its_engine_is_ended(bench: Bench, llama_server: Path) -> None:
    """The bridge and the real program that it runs for a request: both, though the bridge alone is noted."""
    engine = {"kind": "llama-cli", "program": str(llama_server.with_name("llama-cli")), "args": ["-c", "2048"]}
    measure = {"iterations": 500, "max_tokens": 1500}
    command = bench.headless(bench.profile(engine=engine, measure=measure))
    command.until("ready after")
    (guard,) = psutil.Process(command.process.pid).children()
    wait_for(lambda: len(guard.children(recursive=True)) > 1)
    command.send(signal.SIGSTOP)
    family = guard.children(recursive=True)
    guard.kill()
    bridge = family[0]
    command.kill()
    bridge.send_signal(signal.SIGSTOP)
    stopped = said(bench, "stop")
    assert "ended a server that had lost its engine" in stopped.stdout
    assert_gone(family)
