"""Runs of the real command line against fake servers, in a folder that is a whole machine to them.

A `Bench` writes profiles, programs and models; `start` and `run` carry out `specdash ...` in a subprocess, and every
run that ends is checked for what no run may ever do: a traceback, an escape sequence, a broken journal.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import tomli_w

from specdash.core import events as ev
from specdash.core.view import StepView, View, fold_all
from specdash.store.journal import read

ROOT = Path(__file__).parents[2]
LIMIT_S = 20.0
SPEED = "speed=3000"
# No test may depend on these: a proxy would see every request of ours, and NO_COLOR would hide escape sequences.
ENVIRONMENT = {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "PYTHONPATH": str(ROOT)}

Behaviours = str | Sequence[str]


@dataclass(slots=True)
class Run:
    """A command that has ended, and the run folder that it worked on."""

    code: int
    stdout: str
    stderr: str
    path: Path | None = None
    records: tuple[ev.Recorded, ...] = ()
    view: View = field(default_factory=View)

    def facts(self, kind: type[ev.Fact]) -> list[Any]:
        """All facts of a type, in order."""
        return [recorded.fact for recorded in self.records if isinstance(recorded.fact, kind)]

    @property
    def result(self) -> dict[str, Any]:
        """result.json."""
        assert self.path is not None
        found: dict[str, Any] = json.loads((self.path / "result.json").read_text())
        return found

    def steps(self, **wanted: object) -> list[StepView]:
        """The steps whose fields have these values."""
        return [
            found
            for found in self.view.steps.values()
            if all(getattr(found.step, name) == value for name, value in wanted.items())
        ]

    def only(self, **wanted: object) -> StepView:
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

    def __init__(self, process: subprocess.Popen[str], results: Path) -> None:
        self.process = process
        self._results = results
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
            out, err = self.process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            raise AssertionError(f"still running after {LIMIT_S:.0f} s:\n{self._seen}{err}") from None
        run = Run(self.process.returncode, out, self._seen + err)
        assert_well_behaved(run, killed=killed)
        run.path = path or newest(self._results)
        if run.path is not None:
            run.records = read(run.path / "journal.jsonl").records
            run.view = fold_all(run.records)
        return run


class Bench:
    """A folder with models, programs, profiles and results, and nothing of this user's."""

    def __init__(self, folder: Path, fake: Path, models: tuple[Path, Path]) -> None:
        self.folder = folder
        self.fake = fake
        self.target, self.draft = models
        self.results = folder / "results"
        self._running: list[Command] = []

    # -- what runs are made of -----------------------------------------------------------------------------------

    def model(self, name: str, source: Path) -> Path:
        """A copy of a model under another name."""
        path = self.folder / f"{name}.gguf"
        if not path.exists():
            shutil.copyfile(source, path)
        return path

    def program(self, rules: Mapping[str, Behaviours]) -> Path:
        """A server that behaves by the name of a model that it loads: in one way, or in several, launch by launch.

        Behaviours with a ";" in them are one for each streamed request.
        """
        cases = "".join(f'*"/{name}.gguf "*)\n{self._choice(name, rule)};;\n' for name, rule in rules.items())
        path = self.folder / "server"
        path.write_text(f'#!/bin/sh\nexport FAKE_SERVER="{SPEED}"\nB=\ncase "$* " in\n{cases}esac\n{self._launch()}')
        path.chmod(0o755)
        return path

    def _choice(self, name: str, rule: Behaviours) -> str:
        if isinstance(rule, str):
            return f"B='{rule}'\n"
        *early, last = rule
        branches = "".join(
            f"if mkdir '{self.folder}/.{name}.{number}' 2>/dev/null; then B='{each}'\nel"
            for number, each in enumerate(early)
        )
        return f"{branches}se B='{last}'\nfi\n"

    def _launch(self) -> str:
        later = Path(__file__).with_name("later.py")
        return f"""case "$B" in
"{{"*) FAKE_SERVER="$B" exec "{self.fake}" "$@";;
*";"*) FAKE_SEQUENCE="$B" exec "{sys.executable}" "{later}" "$@";;
*) FAKE_SERVER="{SPEED},$B" exec "{self.fake}" "$@";;
esac
"""

    def profile(
        self, targets: Sequence[str] = ("T",), drafts: Sequence[str] = (), name: str = "it", **tables: dict[str, Any]
    ) -> Path:
        """A profile of one category, two samples a step and 24 tokens a sample, unless `tables` says otherwise."""
        settings: dict[str, Any] = {
            "name": name,
            "hardware": "bench",
            "engine": {"program": str(self.fake), "env": {"FAKE_SERVER": SPEED}, "grace_s": 2},
            "sweep": {"k": [4]} if drafts else {"methods": []},
            "measure": {"categories": ["coding"], "max_tokens": 24, "iterations": 2, "warmup": 1},
            "limits": {"inhibit_sleep": False},
            "results": {"dir": str(self.results)},
        }
        for key, table in tables.items():
            settings[key] |= table
        for key, source, labels in (("targets", self.target, targets), ("drafts", self.draft, drafts)):
            if labels:
                settings[key] = [{"label": label, "path": str(self.model(label, source))} for label in labels]
        path = self.folder / f"{name}.toml"
        path.write_bytes(tomli_w.dumps(settings).encode())
        return path

    # -- running -------------------------------------------------------------------------------------------------

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of a command."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "NO_COLOR"))}
        kept |= ENVIRONMENT | {"HOME": str(self.folder)}
        for name in ("STATE_HOME", "CACHE_HOME", "RUNTIME_DIR"):
            folder = self.folder / ".xdg" / name
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            kept[f"XDG_{name}"] = str(folder)
        return kept | more

    def start(self, *arguments: object, env: Mapping[str, str] | None = None, **options: Any) -> Command:
        """Starts `specdash ARGUMENTS`."""
        process = subprocess.Popen(
            [sys.executable, "-m", "specdash", *map(str, arguments)],
            cwd=self.folder,
            env=self.environment(**(env or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
            **options,
        )
        self._running.append(Command(process, self.results))
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
