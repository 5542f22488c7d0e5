"""Runs of the real command line in a subprocess, in a folder that is a whole machine to them.

`Machine.start` and `run` carry out `specdash ...`, and every command that ends is checked for what none may ever do:
a traceback, an escape sequence, a broken journal.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import tomli_w

from specdash.core import events as ev
from specdash.core.reduce import fold_all
from specdash.core.state import RunState
from specdash.core.step_state import StepState
from specdash.store.journal import read
from tests.support import fork_server
from tests.support.paths import ROOT

LIMIT_S = 60.0  # when a test gives up: longer than anything takes on a machine that is busy
# No test may depend on these: a proxy would see every request of ours, and NO_COLOR would hide escape sequences.
ENVIRONMENT = {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "PYTHONPATH": str(ROOT)}
# No test speaks TLS, and reading the system's certificates is a third of what aiohttp costs at every start.
ENVIRONMENT |= {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}


Process = subprocess.Popen[str] | fork_server.ForkedProcess


@dataclass(slots=True)
class Run:
    """A command that has ended, and the run folder that it worked on."""

    code: int
    stdout: str
    stderr: str
    path: Path | None = None
    records: tuple[ev.Recorded, ...] = ()
    view: RunState = field(default_factory=RunState)

    def facts(self, kind: type[ev.Fact]) -> list[Any]:
        """All facts of a type, in order."""
        return [recorded.fact for recorded in self.records if isinstance(recorded.fact, kind)]

    @property
    def result(self) -> dict[str, Any]:
        """result.json."""
        assert self.path is not None
        found: dict[str, Any] = json.loads((self.path / "result.json").read_text())
        return found

    def steps(self, **wanted: object) -> list[StepState]:
        """The steps whose fields have these values."""
        return [
            found
            for found in self.view.steps.values()
            if all(found.step.value(name) == value for name, value in wanted.items())
        ]

    def only(self, **wanted: object) -> StepState:
        """The one step whose fields have these values."""
        (found,) = self.steps(**wanted)
        return found

    def outcomes(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Status and verdicts of each target's only step."""
        return {found.step.target: (found.status, found.verdicts) for found in self.view.steps.values()}

    def loads(self, target: str) -> int:
        """How many servers were started for a target."""
        return sum(load.key.target == target for load in self.view.loads.values())


class Command:
    """A command that is running."""

    def __init__(self, process: Process, results: Path, limit_s: float) -> None:
        self.process = process
        self._results = results
        self._limit_s = limit_s
        self._seen = ""

    def until(self, pattern: str) -> str:
        """Waits for a line of narration; fails with everything that was said where none comes."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._seen += line
            if re.search(pattern, line):
                return line
        raise AssertionError(f"ended with {self.process.wait()}, without {pattern!r}:\n{self._seen}")

    def journal_says(self, condition: Callable[[ev.Fact], bool]) -> None:
        """Waits until a fact is on disk; for what is not narrated."""
        wait_for(lambda: any(condition(recorded.fact) for recorded in self._records()))

    def _records(self) -> tuple[ev.Recorded, ...]:
        path = newest(self._results)
        return read(path / "journal.jsonl").records if path is not None else ()

    def send(self, number: signal.Signals) -> None:
        """Sends a signal."""
        self.process.send_signal(number)

    def kill(self) -> Run:
        """Ends specdash as `kill -9` does."""
        self.process.kill()
        return self.end(killed=True)

    def end(self, path: Path | None = None, *, killed: bool = False) -> Run:
        """Waits for the end, and reads what it left."""
        try:
            out, err = self.process.communicate(timeout=self._limit_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            raise AssertionError(f"still running after {self._limit_s:.0f} s:\n{self._seen}{err}") from None
        run = Run(self.process.returncode, out, self._seen + err)
        assert_well_behaved(run, killed=killed)
        run.path = path or newest(self._results)
        if run.path is not None:
            run.records = read(run.path / "journal.jsonl").records
            run.view = fold_all(run.records)
        return run


class Machine:
    """A folder with profiles and results, and nothing of this user's; `limit_s` is how long a command may take."""

    limit_s = LIMIT_S

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = folder / "results"
        self._sockets = tempfile.mkdtemp(prefix="sd-")  # a socket's path must be short
        self._running: list[Command] = []

    def write_profile(self, name: str, settings: Mapping[str, Any]) -> Path:
        """A profile with these settings."""
        path = self.folder / f"{name}.toml"
        path.write_bytes(tomli_w.dumps(settings).encode())
        return path

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of a command."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "NO_COLOR"))}
        kept |= ENVIRONMENT | {"HOME": str(self.folder)}
        for name in ("STATE_HOME", "CACHE_HOME"):
            folder = self.folder / ".xdg" / name
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            kept[f"XDG_{name}"] = str(folder)
        return kept | {"XDG_RUNTIME_DIR": self._sockets} | more

    def start(self, *arguments: object, env: Mapping[str, str] | None = None, **options: Any) -> Command:
        """Starts `specdash ARGUMENTS`; `options` are those of Popen."""
        environment = self.environment(**(env or {}))
        words = list(map(str, arguments))
        process: Process
        if not (fork_server.needs_true_start(environment) or "preexec_fn" in options):
            process = fork_server.server().start(words, self.folder, environment, **options)
        else:
            process = subprocess.Popen(
                [sys.executable, "-m", "specdash", *words],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="surrogateescape",
                **options,
            )
        self._running.append(Command(process, self.results, self.limit_s))
        return self._running[-1]

    def headless(self, profile: Path, **options: Any) -> Command:
        """Starts `specdash --headless PROFILE`."""
        return self.start("--headless", profile, **options)

    def run(self, profile: Path, **options: Any) -> Run:
        """`specdash --headless PROFILE`, to its end."""
        return self.headless(profile, **options).end()

    def resume(self, path: Path | None) -> Run:
        """`specdash resume RUN`, to its end."""
        assert path is not None
        return self.start("resume", path).end(path)

    def close(self) -> None:
        """Ends what a failed test has left."""
        for command in self._running:
            if command.process.poll() is None:
                command.process.kill()
            command.process.communicate()
        shutil.rmtree(self._sockets, ignore_errors=True)


def newest(results: Path) -> Path | None:
    """The youngest run folder that has a journal."""
    found = sorted(results.glob("*/journal.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    return found[-1].parent if found else None


def wait_for(condition: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
    """Waits for what nobody tells."""
    until_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until_s, "it never came true"
        time.sleep(0.02)


def descendants(pid: int) -> list[psutil.Process]:
    """The processes under one, guards first."""
    return psutil.Process(pid).children(recursive=True)


def delete_under(command: Command, folder: Path) -> None:
    """Deletes a folder of a run that goes on: at one blow, since the run writes again what it misses meanwhile."""
    command.send(signal.SIGSTOP)
    shutil.rmtree(folder)
    command.send(signal.SIGCONT)


def assert_gone(processes: Sequence[psutil.Process], limit_s: float = 10.0) -> None:
    """Fails when one of these is still there after a while."""
    _, alive = psutil.wait_procs(processes, timeout=limit_s)
    assert not alive


def assert_well_behaved(run: Run, *, killed: bool = False) -> None:
    """What holds of every command, however it ends."""
    said = run.stderr + run.stdout
    assert "Traceback" not in said, said
    assert "internal error" not in said, said
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", said), f"control characters: {said!r}"
    if not killed:
        assert run.code in {0, 1, 2, 3, 5, 75, 129, 130, 143}, f"{run.code}: {said}"


def assert_complete(run: Run) -> None:
    """The journal of a run that ended by itself: every load ended, every sample once, the last fact is the end."""
    assert isinstance(run.records[-1].fact, ev.RunFinished), run.records[-1]
    assert run.facts(ev.RunFinished)[-1].exit_code == run.code
    started = [fact.load for fact in run.facts(ev.LoadStarted)]
    assert len(set(started)) == len(started)
    assert [fact.load for fact in run.facts(ev.LoadFinished)][-1:] == started[-1:]
    assert run.result["run"]["id"] == run.view.run.run_id if run.view.run else False
    assert run.stdout.strip() == str((run.path or Path()) / "result.json")


def assert_each_block_once(run: Run, iterations: int) -> None:
    """Every step has exactly one good sample of each block."""
    for found in run.view.steps.values():
        blocks = Counter(sample.block for sample in found.good)
        assert blocks == Counter(range(iterations)), f"{found.step.id}: {blocks}"


def narrated(text: str, start: str) -> Iterator[str]:
    """The lines of narration that begin like this."""
    return (line for line in text.splitlines() if line.startswith(start))
