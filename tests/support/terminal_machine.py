"""A machine with a `specdash` on its PATH and nothing of this user's, whose terminals are real ones."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from specdash.core import events as ev
from specdash.core.reduce import fold_all
from specdash.core.state import RunState
from specdash.runtime.locks import lock_owner
from specdash.store.journal import read
from tests.support.fake_machine import Bench
from tests.support.machine import newest, wait_for
from tests.support.pty_program import PtyProgram
from tests.support.real_machine import ONE_THREAD
from tests.support.tmux import Tmux

RUN_LIMIT_S = 60.0
LOCK = "lock"


class Place(Bench):
    """Models, servers, profiles, and terminals in which `specdash` is typed."""

    def __init__(self, folder: Path, fake: Path, models: tuple[Path, Path]) -> None:
        super().__init__(folder, fake, models)
        self._terminals: list[Tmux] = []
        self.over = folder  # a run folder that tests only look at
        bin_folder = folder / "bin"
        bin_folder.mkdir()
        self.specdash = bin_folder / "specdash"
        self.specdash.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m specdash "$@"\n')
        self.specdash.chmod(0o755)

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of a terminal's programs."""
        dropped = ("LC_", "LANG", "COLORTERM", "TEXTUAL", "SPECDASH")
        kept = {name: value for name, value in super().environment().items() if not name.startswith(dropped)}
        kept |= {"LANG": "C.UTF-8", "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        return kept | {"SPECDASH_CONFIG": str(self.folder / "config.toml")} | more

    def terminal(self, size: tuple[int, int] = (80, 24), **environment: str) -> Tmux:
        """A shell in a terminal of this size."""
        self._terminals.append(Tmux(self.environment(**environment), self.folder, size))
        return self._terminals[-1]

    def pty(self, *arguments: str, size: tuple[int, int] = (80, 24), **environment: str) -> PtyProgram:
        """`specdash ARGUMENTS` in a terminal of which every byte can be seen."""
        chosen = {"TERM": "xterm-256color"} | environment
        argv = [sys.executable, "-m", "specdash", *arguments]
        here = os.getcwd()
        os.chdir(self.folder)
        try:
            return PtyProgram(argv, self.environment(**chosen), size)
        finally:
            os.chdir(here)

    def real_profile(self, program: Path, **tables: dict[str, Any]) -> Path:
        """A profile for a real server, with one thread."""
        sweep: dict[str, Any] = {"k": [2, 4]}
        engine: dict[str, Any] = {"program": str(program), "args": ONE_THREAD, "env": {}}
        measure = {"max_tokens": 48, "iterations": 3}
        given = {"engine": engine, "sweep": sweep, "measure": measure}
        merged: Any = {name: given.get(name, {}) | tables.get(name, {}) for name in {*given, *tables}}
        return self.profile(("T",), ("D",), "it", **merged)

    def slow_profile(self, speed: int = 40, **tables: dict[str, Any]) -> Path:
        """A profile for the fake server, at so many tokens a second: time to act."""
        engine = {"env": {"FAKE_SERVER": f"speed={speed}"}}
        return self.profile(("T",), ("D",), "it", engine=engine | tables.pop("engine", {}), **tables)

    def run_path(self) -> Path:
        """The folder of the newest run."""
        wait_for(lambda: newest(self.results) is not None)
        found = newest(self.results)
        assert found is not None
        return found

    def close(self) -> None:
        """Ends what a failed test has left: terminals, then engines; their servers end with them."""
        for terminal in self._terminals:
            terminal.close()
        for lock in self.results.glob(f"*/{LOCK}"):
            owner = lock_owner(lock)
            if owner is not None and owner.here:
                os.kill(owner.pid, signal.SIGTERM)
        for lock in self.results.glob(f"*/{LOCK}"):
            if not ends(lock.parent, 10):
                owner = lock_owner(lock)
                assert owner is not None
                os.kill(owner.pid, signal.SIGKILL)
        super().close()


def facts(path: Path) -> list[ev.Fact]:
    """What the journal of a run tells."""
    return [recorded.fact for recorded in read(path / "journal.jsonl").records]


def view_of(path: Path) -> RunState:
    """The state of a run, as its journal tells it."""
    return fold_all(read(path / "journal.jsonl").records)


def until(path: Path, wanted: Callable[[RunState], bool], limit_s: float = RUN_LIMIT_S) -> RunState:
    """Waits for a state of a run."""
    wait_for(lambda: wanted(view_of(path)), limit_s)
    return view_of(path)


def engine_of(path: Path) -> psutil.Process | None:
    """The engine process that holds the lock of a run."""
    owner = lock_owner(path / LOCK)
    return psutil.Process(owner.pid) if owner is not None else None


def ends(path: Path, limit_s: float = RUN_LIMIT_S) -> bool:
    """Waits until no engine holds the lock of a run; whether it came to that."""
    try:
        wait_for(lambda: lock_owner(path / LOCK) is None, limit_s)
    except AssertionError:
        return False
    return True


def servers_of(engine: psutil.Process) -> list[psutil.Process]:
    """The processes under an engine: the guard and its server."""
    return engine.children(recursive=True)


def statuses(view: RunState) -> dict[str, str]:
    """The outcome of each step."""
    return {step_id: found.status for step_id, found in view.steps.items()}


def copy_of(path: Path, name: str) -> Path:
    """A copy of a run folder beside it."""
    to = path.parent / name
    shutil.copytree(path, to)
    return to
