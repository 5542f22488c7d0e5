"""Launch scripts, good and bad: whole runs with the scripts of the fake MLX cluster server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from specdash.core import events as ev
from tests.support.machine import LIMIT_S, Machine, Run, assert_complete, wait_for
from tests.support.paths import ROOT

CLUSTER = Path(__file__).parents[1] / "fakes" / "cluster"
STEADY = ("--no-adaptive-k", "--no-spec-decode-dynamic")


class Scripts(Machine):
    """A machine with launch scripts."""

    limit_s = 90.0

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.pid_file = folder / "server.pid"

    def script(self, name: str, text: str) -> str:
        """A launch script of the test's own; $LAUNCH is the folder of the good ones."""
        path = self.folder / f"{name}.sh"
        path.write_text(f"#!/bin/bash\nLAUNCH={CLUSTER}\n{text}\n")
        path.chmod(0o755)
        return str(path)

    def profile(self, configs: Mapping[str, Mapping[str, Any]], name: str = "it", **tables: Mapping[str, Any]) -> Path:
        """Two short samples of one category for each configuration, without speculation unless `tables` says so."""
        engine = {
            "kind": "script",
            "launch": [str(CLUSTER / "launch_baseline.sh")],
            "stop": [str(CLUSTER / "stop_server.sh")],
            "pid_file": str(self.pid_file),
            "env": {"CLUSTER_DIR": str(self.folder), "PYTHON": sys.executable, "FAKE_SERVER": "speed=4000"},
            "grace_s": 5,
        }
        settings: dict[str, Any] = {
            "name": name,
            "hardware": "bench",
            "engine": engine,
            "targets": [{"label": "Kimi", "model": "kimi-k2.5"}],
            "configs": [{"label": label, **keys} for label, keys in configs.items()],
            "sweep": {"methods": []},
            "measure": {"categories": ["coding"], "max_tokens": 48, "iterations": 2, "warmup": 0},
            "limits": {"inhibit_sleep": False},
            "results": {"dir": str(self.results)},
        }
        for key, table in tables.items():
            settings[key] |= table
        return self.write_profile(name, settings)


@pytest.fixture
def scripts(tmp_path: Path) -> Iterator[Scripts]:
    found = Scripts(tmp_path)
    yield found
    found.close()


def errors(run: Run) -> dict[str, str]:
    """What is said of each configuration; "" where it is good."""
    return {
        str(found.step.config): "" if found.status == "ok" else f"{found.status}: {found.error}"
        for found in run.view.steps.values()
    }


def test_the_example_of_an_mlx_cluster(scripts: Scripts) -> None:
    """profiles/mlx-cluster.toml as it stands, shortened, with an mlx.launch and an mlx_lm_server that are fakes."""
    programs, package = scripts.folder / "bin", scripts.folder / "python" / "mlx_lm_server"
    programs.mkdir()
    package.mkdir(parents=True)
    (programs / "mlx.launch").write_text('#!/bin/bash\nwhile [ "$1" != -- ]; do shift; done\nshift\n"$@" &\nwait\n')
    (programs / "mlx.launch").chmod(0o755)
    fakes = CLUSTER.parent
    (package / "__main__.py").write_text(
        f"import runpy, sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        f"runpy.run_path({str(fakes / 'mlx_cluster.py')!r}, run_name='__main__')\n"
    )
    text = (ROOT / "profiles" / "mlx-cluster.toml").read_text()
    for old, new in (
        ("/tmp/", f"{scripts.folder}/"),
        ('"./scripts', f'"{ROOT}/profiles/scripts'),
        ('MLX_NODES = "mac2.local"', 'FAKE_SERVER = "speed=4000"'),
        ("cool_down_s = 15", "cool_down_s = 0.1"),
        ("k = [3, 5]", "k = [5]"),
        ('categories = ["coding", "repetitive"]\niterations = 5', 'categories = ["coding"]\niterations = 1'),
    ):
        assert old in text
        text = text.replace(old, new)
    (scripts.folder / "mlx-cluster.toml").write_text(text + "\n[limits]\ninhibit_sleep = false\n")
    env = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{package.parent}",
        "MLX_PYTHON": sys.executable,
    }
    run = scripts.headless(scripts.folder / "mlx-cluster.toml", env=env).end()
    assert_complete(run)
    assert run.code == 0, run.stderr
    measured = run.result["measurements"]
    rows = [(row["config"], row["method"], row["k_seen"], row["status"]) for row in measured]
    assert sorted(map(str, rows)) == sorted(
        str((config, method, k, "ok"))
        for config in ("kv 16", "kv 8")
        for method, k in (("baseline", None), ("ngram", 5))
    )
    for row in measured:
        assert row["samples"][0]["clock"] == "client"
        assert (row["acceptance_rate"] is None) == (row["method"] == "baseline")
        assert row["acceptance_rate"] is None or 0 < row["acceptance_rate"] < 1
    assert all(load["peak_rss_bytes"] > 0 for load in run.result["loads"]), "the daemon's memory is counted"
    assert all("stopped" in ((run.path or Path()) / log).read_text() for log in logs(run))
    assert run.stderr.count("until the next server") == 3
    assert not (scripts.folder / "mlx-cluster.pid").exists()


def logs(run: Run) -> list[str]:
    return [fact.log for fact in run.facts(ev.LoadStarted)]


def test_adaptive_k_is_caught(scripts: Scripts) -> None:
    run = scripts.run(
        scripts.profile(
            {"adaptive": {}},
            engine={"launch": [str(CLUSTER / "launch_ngram.sh")]},
            sweep={"methods": ["ngram"], "k": [5], "baseline": False},
        )
    )
    (row,) = run.result["measurements"]
    assert row["status"] == "invalid"
    assert row["verdicts"] == ["k_not_effective"]
    assert "drafted up to 3 (adaptive_k_current)" in row["error"]
    assert "--no-adaptive-k" in row["error"]
    assert len(row["samples"]) == 1, "no further sample would be better"


@pytest.fixture
def foreign() -> Iterator[int]:
    """A server of somebody else's, which no run may end."""
    with subprocess.Popen(["/bin/sleep", "600"]) as process:
        yield process.pid
        assert process.poll() is None
        process.kill()


def test_scripts_that_bring_up_no_server(scripts: Scripts, foreign: int) -> None:
    texts = {
        "never ready": f"nohup sleep 600 >/dev/null & echo $! >{scripts.pid_file}",
        "exits 0 at once": "echo nothing to do",
        "fails": "echo 'error: no hostfile' >&2; exit 3",
        "leaves children": "sleep 600 & setsid sleep 600 & exit 4",
        "dies loading": "FAKE_SERVER=die_at_load=2,death_text='out of memory' exec $LAUNCH/launch_baseline.sh",
        "writes 100 MB": "head -c 100M /dev/zero | tr '\\0' x; echo; exec $LAUNCH/launch_baseline.sh",
        "good": "exec $LAUNCH/launch_kv_fp8.sh",
        "names another": f"echo {foreign} >{scripts.pid_file}",
    }
    configs = {name: {"launch": [scripts.script(name.replace(" ", "-"), text)]} for name, text in texts.items()}
    run = scripts.run(scripts.profile(configs, engine={"load_timeout_s": 3, "stall_s": 0.5, "grace_s": 1}))
    assert_complete(run)
    assert run.code == 1
    said = errors(run)
    assert {name for name, error in said.items() if not error} == {"writes 100 MB", "good"}, said
    assert "not ready" in said["never ready"]
    assert "the launch script ended with code 0 and left no server" in said["exits 0 at once"]
    assert "exited with code 3" in said["fails"]
    assert "exited with code 4" in said["leaves children"]
    assert "exited with code 1" in said["dies loading"]
    assert "names a process that ran before" in said["names another"]
    configs_of = {fact.load: fact.key.config for fact in run.facts(ev.LoadStarted)}
    tails = {configs_of[fact.load]: fact.log_tail for fact in run.facts(ev.LoadFinished)}
    assert "error: no hostfile" in tails["fails"]
    assert sum(map(len, tails["writes 100 MB"])) <= 64 * 1024


def test_servers_that_answer_badly(scripts: Scripts) -> None:
    """Half an event, a page of a proxy, refusals, metrics in another wording, counters that leak, a lost node."""
    behaviours = {
        "half": "half=1",
        "html": "html=1",
        "busy": "busy=2,busy_after=1",
        "loads slowly": "busy=1,busy_status=429,retry_after=",
        "renamed": "rename=total_accepted",
        "leaking": "leak=50",
        "lost node": "status=distributed_fatal,status_after=2",
    }
    launch = "exec $LAUNCH/launch_ngram.sh " + " ".join(STEADY)
    configs = {
        name: {"launch": [scripts.script(name.replace(" ", "-"), f"export FAKE_CLUSTER='{text}'\n{launch}")]}
        for name, text in behaviours.items()
    }
    sweep, measure = {"methods": ["ngram"], "k": [3], "baseline": False}, {"iterations": 1}
    run = scripts.run(scripts.profile(configs, sweep=sweep, measure=measure))
    assert_complete(run)
    rows = {row["config"]: row for row in run.result["measurements"]}
    statuses = {name: row["status"] for name, row in rows.items()}
    assert statuses == {
        "half": "invalid",
        "html": "failed",
        "busy": "ok",
        "loads slowly": "ok",
        "renamed": "ok",
        "leaking": "ok",
        "lost node": "failed",
    }
    for name in ("busy", "loads slowly"):
        assert rows[name]["k_seen"] == 3
        assert 0 < rows[name]["acceptance_rate"] < 1
    for name in ("renamed", "leaking"):
        assert rows[name]["acceptance_rate"] is None, "a wrong number would be worse than none"
        assert rows[name]["verdicts"] == ["k_unproven"]
    assert "total_accepted" in str(rows["renamed"]["details"])
    assert "somebody else uses this server" in str(rows["leaking"]["details"])
    assert "'distributed_fatal'" in rows["lost node"]["error"]
    assert "asked again" in (run.path or Path()).joinpath("logs/specdash.log").read_text()


def test_a_port_that_is_served_already_is_not_measured(scripts: Scripts) -> None:
    """The script would find its own server there, and the run would measure somebody else's."""
    code = "import signal, socket\nit = socket.create_server(('127.0.0.1', 0))\n"
    code += "print(it.getsockname()[1], flush=True)\nsignal.pause()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        run = scripts.run(scripts.profile({"taken": {}}, engine={"port": port}))
        other.kill()
    (error,) = errors(run).values()
    assert f"port {port} is served already" in error
    assert f"pid {other.pid}" in error


def test_a_stop_does_not_wait_for_the_cool_down(scripts: Scripts) -> None:
    command = scripts.headless(scripts.profile({"a": {}, "b": {}}, engine={"cool_down_s": 600}))
    command.until("until the next server")
    command.send(signal.SIGINT)
    run = command.end()
    assert run.code == 130
    assert errors(run) == {"a": "", "b": "open: None"}


def test_a_killed_run_stops_its_cluster(scripts: Scripts) -> None:
    command = scripts.headless(scripts.profile({"f16": {}}, measure={"iterations": 1000}))
    command.until("ready after")
    pid = int(scripts.pid_file.read_text())
    nodes = psutil.Process(pid).children()
    assert len(nodes) == 1, "the other node"
    command.kill()
    _, alive = psutil.wait_procs([psutil.Process(pid), *nodes] if psutil.pid_exists(pid) else nodes, LIMIT_S)
    assert not alive
    wait_for(lambda: not scripts.pid_file.exists())  # by the stop script


def test_a_cluster_that_lost_its_engine_and_its_guard_is_stopped_by_its_script(scripts: Scripts) -> None:
    """With the environment that it was launched with, which no file has: the script finds its pid file by it."""
    command = scripts.headless(scripts.profile({"f16": {}}, measure={"iterations": 1000}))
    command.until("ready after")
    pid = int(scripts.pid_file.read_text())
    family = [psutil.Process(pid), *psutil.Process(pid).children()]
    guards = psutil.Process(command.process.pid).children()
    command.send(signal.SIGSTOP)
    for guard in guards:
        guard.kill()
    command.kill()
    assert all(process.is_running() for process in family)
    stopper = scripts.start("stop").process
    out, _ = stopper.communicate(timeout=LIMIT_S)
    assert stopper.returncode == 0
    assert str(pid) in out.partition("(pid ")[2].partition(")")[0].split(", ")
    _, alive = psutil.wait_procs(family, LIMIT_S)
    assert not alive
    assert not scripts.pid_file.exists()
