"""What the tests themselves stand on: the tiers, and commands that are forked instead of started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import fork_server, tiers
from tests.support.paths import ROOT, TESTS
from tests.support.pty_program import PtyProgram


@pytest.fixture
def forbidden() -> Iterator[None]:
    """The running test is taken for a quick one."""
    tiers.WATCH.begin(quick=True)
    yield
    tiers.WATCH.begin(quick=False)


def test_a_quick_test_that_starts_a_process_fails_and_is_told_its_tier(forbidden: None) -> None:
    with pytest.raises(pytest.fail.Exception, match="belongs to the unit tier"):
        subprocess.run(["true"], check=True)
    tiers.WATCH.begin(quick=False)


def test_a_quick_test_that_opens_a_socket_fails_and_is_told_its_tier(forbidden: None) -> None:
    with socket.socket() as one, pytest.raises(pytest.fail.Exception, match="belongs to the unit tier"):
        one.bind(("127.0.0.1", 0))
    tiers.WATCH.begin(quick=False)


def test_whatever_is_listed_as_quick_is_there() -> None:
    assert [each for each in tiers.QUICK if not (TESTS / each).exists()] == []
    assert tiers.may_hold_quick(TESTS / "core" / "test_plan.py")
    assert not tiers.may_hold_quick(TESTS / "real" / "test_axes.py")
    assert not tiers.may_hold_quick(TESTS / "ui" / "tui" / "test_main.py")


def started(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A true start of the same command."""
    command = [sys.executable, "-m", "specdash", *arguments]
    return subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("line", ["--version", "check gone.toml", "runs --help"])
def test_a_forked_command_does_what_a_started_one_does(line: str, tmp_path: Path) -> None:
    forked, true = fork_server.run(line.split(), tmp_path, os.environ), started(*line.split(), cwd=tmp_path)
    assert (forked.returncode, forked.stdout, forked.stderr) == (true.returncode, true.stdout, true.stderr)


def test_what_is_forked_is_known_until_it_has_ended_and_tells_its_signal() -> None:
    environment = {"LANG": "C.UTF-8", "PATH": os.environ["PATH"], "TERM": "xterm"}
    with PtyProgram([sys.executable, "-m", "code"], environment, forks=True) as program:
        program.read_until(b">>> ")
        assert program.wait(0) is None
        assert os.getsid(program.pid) == program.pid
        assert program.pid in fork_server.running()
        os.kill(program.pid, signal.SIGKILL)
        assert program.wait(30) == -signal.SIGKILL
        assert program.pid not in fork_server.running()


@pytest.mark.parametrize("env", [{"PYTHONIOENCODING": "latin-1"}, {"LC_ALL": "C"}, {"TEXTUAL": "debug"}], ids=str)
def test_what_python_reads_as_it_starts_takes_a_true_start(env: dict[str, str]) -> None:
    assert fork_server.needs_true_start({"LANG": "C.UTF-8"} | env)
    assert not fork_server.needs_true_start({"LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)})
    assert fork_server.needs_true_start({"LANG": "C.UTF-8", "PYTHONPATH": f"{ROOT}{os.pathsep}/x"}), "sitecustomize.py"
