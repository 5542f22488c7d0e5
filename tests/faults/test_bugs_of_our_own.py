"""Exceptions in our own code: a failed step with its reason, never a crash, never a lost record."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from specdash.core import events as ev
from specdash.core.engine import Endpoint, ServerSpec
from specdash.core.reduce import fold_all
from specdash.engines.llama_cpp import server as llama_server
from specdash.errors import SpecdashError, StoreError
from specdash.store.journal import Journal, read
from tests.support.fake_machine import Bench, Run, assert_complete, assert_each_block_once, newest

# The package has a function of this name too.
commands = importlib.import_module("specdash.cli.run")


class BuggyEngine:
    """The real engine, whose client raises RuntimeError from the method that the target is named after."""

    def __init__(self, real: llama_server.LlamaServer) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def command(self, spec: ServerSpec, endpoint: Endpoint) -> tuple[str, ...]:
        """As the real one's; raises for the target "command"."""
        assert spec.target is not None
        if spec.target.stem == "command":
            raise RuntimeError("a bug in command")
        return self._real.command(spec, endpoint)

    def client(self, spec: ServerSpec, endpoint: Endpoint) -> Any:
        """The real client with one broken method."""
        client = self._real.client(spec, endpoint)
        assert spec.target is not None
        name = spec.target.stem.partition("-")[0]
        if not hasattr(client, name):
            return client

        async def broken(*_: object, **__: object) -> object:
            raise RuntimeError(f"a bug in {name}")

        return _Patched(client, {name: broken})


class _Patched:
    """An object with some attributes replaced."""

    def __init__(self, real: object, replaced: Mapping[str, object]) -> None:
        self._real = real
        self._replaced = replaced

    def __getattr__(self, name: str) -> Any:
        return self._replaced[name] if name in self._replaced else getattr(self._real, name)


class Here:
    """Runs and resumes in this process, so that its parts can be broken."""

    def __init__(self, bench: Bench, capture: pytest.CaptureFixture[str]) -> None:
        self._bench = bench
        self._capture = capture

    def headless(self, profile: Path) -> Run:
        """As `specdash --headless PROFILE`."""
        return self._run(lambda: commands.headless(str(profile)))

    def resume(self, run: Run) -> Run:
        """As `specdash resume RUN`."""
        return self._run(lambda: commands.main("resume", [str(run.path)]))

    def _run(self, start: Callable[[], Any]) -> Run:
        """Anything but an error for the user fails the test."""
        try:
            code = start()
        except SpecdashError as error:
            print(error, file=sys.stderr)
            code = error.exit_code
        out, err = self._capture.readouterr()
        path = newest(self._bench.results)
        assert path is not None, err
        records = read(path / "journal.jsonl").records
        return Run(int(code), out, err, path, records, fold_all(records))


@pytest.fixture
def here(bench: Bench, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    """Runs in this process, with the bench's environment and an engine that may be broken."""
    for name, value in bench.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(bench.folder)
    find = llama_server.find
    monkeypatch.setattr("specdash.session.run.find", lambda *args, **options: BuggyEngine(find(*args, **options)))
    return Here(bench, capfd)


def test_a_bug_costs_the_steps_that_meet_it(here: Here, bench: Bench) -> None:
    names = ["render", "health", "generate", "model_alias", "good", "complete_one", "command"]
    run = here.headless(bench.profile(names))
    assert "Traceback" not in run.stderr + run.stdout
    assert run.code == 1
    assert_complete(run)
    assert {name: outcome[0] for name, outcome in run.outcomes().items()} == dict.fromkeys(names, "failed") | {
        "good": "ok",
    }
    for name in set(names) - {"good"}:
        assert f"a bug in {name}" in str(run.only(target=name).error), name
    again = here.resume(run)
    assert again.code == 1
    assert again.loads("good") == run.loads("good") == 1


BUG_IN_CLOSE = """
import sys

if sys.orig_argv[1:3] == ["-m", "specdash"]:
    from specdash.engines.llama_cpp.server import LlamaClient

    async def close(self):
        raise RuntimeError("a bug in close")

    LlamaClient.close = close
"""


def test_a_bug_while_a_server_is_stopped(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "patch").mkdir()
    (tmp_path / "patch" / "sitecustomize.py").write_text(BUG_IN_CLOSE)
    path = f"{tmp_path / 'patch'}:{bench.environment()['PYTHONPATH']}"
    run = bench.run(bench.profile(["T", "U"]), env={"PYTHONPATH": path})
    assert_complete(run)
    assert run.outcomes() == {"T": ("ok", ()), "U": ("ok", ())}


def test_three_bugs_in_a_row_end_the_sweep(here: Here, bench: Bench) -> None:
    run = here.headless(bench.profile([f"generate-{number}" for number in range(4)]))
    assert_complete(run)
    assert run.code != 0
    assert len(run.view.loads) == 3
    assert "on_failure" not in run.stderr, "the profile did not ask for this end"
    assert "internal error" in run.stderr


def test_an_unsafe_journal_ends_the_run_with_its_own_code(
    here: Here, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = Journal.append

    def unsafe(journal: Journal, fact: ev.Fact) -> ev.Recorded:
        if isinstance(fact, ev.SampleTaken) and fact.sample.block == 1:
            raise StoreError("the last record may not be on disk: Input/output error", "Check the disk.")
        return append(journal, fact)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", unsafe)
        run = here.headless(bench.profile(["T", "U"]))
    assert run.code == 5
    assert "Check the disk." in run.stderr
    assert "internal error" not in run.stderr
    done = here.resume(run)
    assert done.code == 0
    assert_complete(done)
    assert_each_block_once(done, 2)


def test_errors_of_the_disk_at_any_sync_lose_nothing(here: Here, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    fdatasync = os.fdatasync

    def failing(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 12:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fdatasync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", failing)
        run = here.headless(bench.profile(["T", "U"]))
    if calls < 12:
        pytest.skip("this system syncs in another way")
    assert run.code in (0, 5)
    if run.code == 5:
        run = here.resume(run)
    assert run.code == 0
    assert_each_block_once(run, 2)


def test_a_front_end_that_fails_is_dropped(here: Here, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from specdash.ui import headless

    def broken(*_: object) -> list[str]:
        raise RuntimeError("a bug in the narrator")

    profile = bench.profile()
    with monkeypatch.context() as patch:
        patch.setattr(headless._Plain, "_on_fact", broken)
        run = here.headless(profile)
    assert run.code == 0
    assert_complete(run)
    assert Path(run.stdout.strip()).is_file()
