"""Servers that do not come up, die, hang, or are not ours: the load fails with its reason, the sweep goes on."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from specdash.core import events as ev
from tests.support.fake_machine import (
    Bench,
    assert_complete,
    assert_each_block_once,
    assert_gone,
    descendants,
    narrated,
)

ANSI = "\x1b]52;c;aGk=\x07\x1b[31mred\x1b[0m\x9b2J \u202eevil"


def test_servers_that_never_become_ready(bench: Bench) -> None:
    death = json.dumps({"die_at_load": 2, "load_s": 0.3, "death_text": f"GGML_ASSERT(false) failed {ANSI}"})
    oom = "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 99 MiB: cudaMalloc failed: out of memory"
    rules = {
        "dies": death,
        "oom": json.dumps({"die_at_load": 1, "death_text": oom + "\n#0 main() + 0x1" * 80}),
        "missing-lib": "exit_at_once=127",
        "silent": "load_s=600",
        "impostor": json.dumps({"wrong_model": f"other {ANSI}"}),
        "good": "load_s=0.5",
    }
    profile = bench.profile(
        list(rules),
        engine={"program": str(bench.program(rules)), "load_timeout_s": 3, "stall_s": 0.3},
        measure={"categories": ["coding", "math"]},
    )
    run = bench.run(profile)
    assert_complete(run)
    assert run.code == 1
    assert {found.step.target: found.status for found in run.view.steps.values()} == dict.fromkeys(rules, "failed") | {
        "good": "ok"
    }
    # What fails while loading would fail again: one start each, and all steps of the load share the reason.
    assert {name: run.loads(name) for name in rules} == dict.fromkeys(rules, 1)
    error = {name: {found.error for found in run.steps(target=name)} for name in rules}
    assert all(len(found) == 1 for found in error.values())
    assert "exited with code 2" in str(error["dies"])
    assert "exited with code 127" in str(error["missing-lib"])
    assert "not ready" in str(error["silent"])
    assert "not this run's" in str(error["impostor"])
    assert "It ran out of memory" in run.stderr
    assert "GGML_ASSERT(false) failed <1b>]52" in run.stderr
    failed = [fact for fact in run.facts(ev.LoadFinished) if fact.state == "failed"]
    assert [len(fact.log_tail) > 0 for fact in failed] == [True, True, False, True, True]
    assert len(failed[1].log_tail) <= 61
    result = {each["target"]: each for each in run.result["measurements"]}
    assert result["oom"]["error"]
    assert result["oom"]["samples"] == []


def test_nothing_could_be_measured(bench: Bench) -> None:
    run = bench.run(bench.profile(["A", "B"], engine={"args": ["--no-such-flag"]}))
    assert_complete(run)
    assert run.code == 3
    assert "does not know a flag in engine.args" in run.stderr
    assert "invalid argument: --no-such-flag" in run.stderr
    assert {found.status for found in run.view.steps.values()} == {"failed"}


def test_a_server_that_dies_is_started_once_more(bench: Bench) -> None:
    rules = {
        "once": ["die_after_tokens=60,die_signal=6,death_text=GGML_ASSERT(n) failed", ""],
        "twice": "die_after_tokens=40,die_signal=11",
        "good": "",
    }
    run = bench.run(bench.profile(list(rules), engine={"program": str(bench.program(rules))}))
    assert_complete(run)
    assert run.code == 1
    assert {name: outcome[0] for name, outcome in run.outcomes().items()} == {
        "once": "ok",
        "twice": "failed",
        "good": "ok",
    }
    assert {name: run.loads(name) for name in rules} == {"once": 2, "twice": 2, "good": 1}
    assert sorted(sample.block for sample in run.only(target="once").good) == [0, 1]
    assert "SIGSEGV" in str(run.only(target="twice").error)
    assert len(list(narrated(run.stderr, "warning: once"))) == 1
    assert "started once more" in run.stderr
    assert "SIGABRT" in run.stderr


def test_hung_is_told_from_slow(bench: Bench) -> None:
    rules = {"hangs": ["hang_after=10", ""], "slow": "burn_cpu_s=1.5"}
    profile = bench.profile(
        list(rules),
        engine={"program": str(bench.program(rules)), "stall_s": 0.8},
        measure={"iterations": 1, "warmup": 0},
    )
    run = bench.run(profile)
    assert_complete(run)
    assert (run.code, run.outcomes()) == (0, {"hangs": ("ok", ()), "slow": ("ok", ())})
    assert {name: run.loads(name) for name in rules} == {"hangs": 2, "slow": 1}
    (hung,) = [fact for fact in run.facts(ev.LoadFinished) if fact.state == "failed"]
    assert "hung: no token and no work" in str(hung.error)


def test_a_server_that_hangs_while_it_is_probed(bench: Bench) -> None:
    rules = {"D": "hang_after=3"}
    run = bench.run(bench.profile(drafts=["D"], engine={"program": str(bench.program(rules)), "stall_s": 0.8}))
    assert_complete(run)
    assert run.code == 1
    assert "hung" in str(run.only(method="draft").error)
    assert run.only(method="baseline").status == "ok"


def test_ready_is_a_completion_not_a_health_check(bench: Bench) -> None:
    run = bench.run(bench.profile(engine={"program": str(bench.program({"T": "early_200=1,load_s=0.7"}))}))
    assert_complete(run)
    assert (run.code, run.outcomes()) == (0, {"T": ("ok", ())})


def test_children_wrappers_and_deafness_to_term(bench: Bench, tmp_path: Path) -> None:
    wrap = tmp_path / "wrap.sh"
    wrap.write_text(
        f'#!/bin/sh\nenv > "{tmp_path}/env"\nprintf "%s\\n" "$@" > "{tmp_path}/argv"\n'
        'setsid sleep 600 &\nsleep 600 &\n"$@" &\nwait\n'
    )
    wrap.chmod(0o755)
    signals = tmp_path / "signals"
    profile = bench.profile(
        engine={
            "wrap": [str(wrap), "nice", "-n", "1"],
            "env": {
                "FAKE_SERVER": f"speed=3000,ignore_term=1,signal_log={signals},spawn_child=1,setsid_child=1",
                "MINE": "a b $HOME; `x`",
            },
            "args": ["-c", "2048"],
            "grace_s": 0.5,
        },
    )
    run = bench.run(profile, env={"LLAMA_ARG_N_PREDICT": "3", "LLAMA_ARG_CTX_SIZE": "8", "KEPT": "yes"})
    assert_complete(run)
    assert (run.code, run.outcomes()) == (0, {"T": ("ok", ())})
    assert signals.read_text() == "SIGTERM\n"
    environment = (tmp_path / "env").read_text().splitlines()
    assert "MINE=a b $HOME; `x`" in environment
    assert "KEPT=yes" in environment
    assert not [line for line in environment if line.startswith("LLAMA_ARG_")]
    assert "LLAMA_ARG_CTX_SIZE, LLAMA_ARG_N_PREDICT" in run.stderr
    argv = (tmp_path / "argv").read_text().splitlines()
    assert argv[:4] == ["nice", "-n", "1", str(bench.fake)]
    assert argv[-2:] == ["-c", "2048"]
    assert "--metrics" in argv
    assert not [
        arg for arg in argv if "draft" in arg or ("spec" in arg and "alias" not in arg and "specdash-" not in arg)
    ]
    (load,) = run.view.loads.values()
    assert load.argv == (str(wrap), *argv)


@pytest.mark.parametrize(("said", "loads"), [("unknown model architecture", 1), ("Segmentation fault", 2)])
def test_a_load_is_not_tried_at_every_k_where_no_k_would_help(said: str, loads: int, bench: Bench) -> None:
    program = bench.program({"D": f"die_at_load=1,death_text={said}", "E": "", "T": ""})
    # The pair before tells that K is fixed at start-up, so that each K has a load of its own.
    profile = bench.profile(drafts=["E", "D"], engine={"program": str(program)}, sweep={"k": [2, 4]})
    run = bench.run(profile)
    assert_complete(run)
    assert run.code == 1
    drafted = [row for row in run.result["measurements"] if row["draft"] == "D"]
    assert [(row["k"], row["status"]) for row in drafted] == [(2, "failed"), (4, "failed")]
    assert len([load for load in run.view.loads.values() if load.key.draft == "D"]) == loads
    assert any("no other K changes that" in row["error"] for row in drafted) == (loads == 1)


def test_an_arm_that_was_ready_once_is_tried_at_every_k(bench: Bench) -> None:
    program = bench.program({"D": ["", "die_at_load=1,death_text=unknown model architecture", ""], "T": ""})
    run = bench.run(bench.profile(drafts=["D"], engine={"program": str(program)}, sweep={"k": [1, 2, 4]}))
    assert run.code == 1
    drafted = [row["status"] for row in run.result["measurements"] if row["draft"] == "D"]
    assert sorted(drafted) == ["failed", "ok", "ok"]
    assert len([load for load in run.view.loads.values() if load.key.draft == "D"]) == 3


def test_the_guard_is_killed(bench: Bench) -> None:
    rules = {"T": ["speed=1", ""]}
    command = bench.headless(bench.profile(["T"], engine={"program": str(bench.program(rules))}))
    command.until("ready after")
    processes = descendants(command.process.pid)
    processes[0].kill()
    run = command.end()
    assert_complete(run)
    assert_gone(processes)
    assert (run.code, run.loads("T")) == (0, 2)
    assert_each_block_once(run, 2)


# -- whose server is it? ---------------------------------------------------------------------------------------------


@contextmanager
def foreign_server() -> Iterator[tuple[int, list[str]]]:
    """A program that answers every question with 200, on a port of its own, and notes what it was asked."""
    asked: list[str] = []

    class Agreeable(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path}")
            body = b'{"status":"ok","data":[{"id":"mine"}]}'
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - http.server's name

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Agreeable) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1], asked
        finally:
            server.shutdown()
            thread.join()


def test_a_port_where_another_program_answers(bench: Bench) -> None:
    with foreign_server() as (port, asked):
        run = bench.run(bench.profile(engine={"port": port}))
    assert_complete(run)
    assert (run.code, run.outcomes()) == (3, {"T": ("failed", ())})
    assert not [request for request in asked if request.startswith("POST")]
    assert str(port) in run.stderr or "port is taken" in run.stderr
    assert "engine.port = 0" in run.stderr
    assert not run.facts(ev.LoadReady)


def test_a_port_that_two_servers_share(bench: Bench, launch: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    args = ("-m", bench.target, "--port", port, "--metrics")
    other = launch(bench.fake, *args, FAKE_SERVER="reuseport=1,speed=3000")
    other.url()
    run = bench.run(bench.profile(engine={"port": port, "env": {"FAKE_SERVER": "reuseport=1,speed=3000"}}))
    assert_complete(run)
    assert (run.code, run.outcomes()) == (3, {"T": ("failed", ())})
    # By the time that the other server has answered, ours may not have begun to listen.
    assert re.search(f"2 sockets listen on port {port}|port {port} is served by pid {other.process.pid}", run.stderr)
    assert not run.facts(ev.SampleTaken)
    assert other.process.poll() is None


def test_a_port_taken_while_the_run_goes_on(bench: Bench, launch: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    behaviour = {"FAKE_SERVER": "reuseport=1,speed=40"}
    command = bench.headless(bench.profile(engine={"port": port, "env": behaviour}, measure={"iterations": 50}))
    command.until("sample .* #1")
    launch(bench.fake, "-m", bench.target, "--port", port, "--metrics", FAKE_SERVER="reuseport=1").url()
    run = command.end()
    assert_complete(run)
    assert run.code == 1
    assert run.only(target="T").status == "failed"
    assert f"2 sockets listen on port {port}" in run.stderr
    assert len(run.only(target="T").good) < 50


@pytest.mark.parametrize("program", ["gone", "text", "exits"])
def test_programs_that_cannot_serve(program: str, bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "program"
    if program != "gone":
        path.write_text("hello" if program == "text" else "#!/bin/sh\nexit 3\n")
    if program == "exits":
        path.chmod(0o755)
    run = bench.run(bench.profile(engine={"program": str(path)}))
    assert (run.code, run.path, run.stdout) == (3, None, "")
    assert "engine.program" in run.stderr or str(path) in run.stderr


def test_no_zombie_is_left_of_many_loads(bench: Bench) -> None:
    names = [f"m{number}" for number in range(4)]
    command = bench.headless(bench.profile(names, measure={"iterations": 1, "warmup": 0}))
    command.until("load l004: ready")
    process = psutil.Process(command.process.pid)
    zombies = [child for child in process.children(recursive=True) if child.status() == psutil.STATUS_ZOMBIE]
    run = command.end()
    assert (run.code, zombies) == (0, [])
