"""Which engines are at work: found by their entries, whatever happened to run folders or to the runtime folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from specdash.errors import StoreError
from specdash.runtime.locks import run_lock, run_owner
from specdash.runtime.running import engine_of, engines_at_work
from specdash.runtime.sockets import runtime_folder


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "runtime").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    return tmp_path / "runtime"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "a-run").mkdir()
    return tmp_path / "a-run"


def test_an_engine_is_found_for_as_long_as_it_holds_the_lock(run: Path) -> None:
    with run_lock(run):
        (found,) = engines_at_work()
        assert (found.pid, found.name, found.run) == (os.getpid(), "a-run", run)
        owner = run_owner(run)
        assert owner is not None
        assert (owner.pid, owner.what, owner.here) == (os.getpid(), "a-run", True)
    assert engines_at_work() == []
    assert run_owner(run) is None


def test_a_runtime_folder_whose_path_is_too_long_for_a_socket_still_names_the_engine(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    with run_lock(run):
        (found,) = engines_at_work()
        assert (found.pid, found.socket) == (os.getpid(), None)


def test_it_is_found_though_its_folder_is_gone_or_elsewhere(run: Path, tmp_path: Path) -> None:
    with run_lock(run) as lock:
        shutil.rmtree(run)
        assert engine_of(run) is not None
        assert run_owner(run) is not None
        run.mkdir()
        lock.keep(run)
        assert (run / "lock").exists()
        place = run.rename(tmp_path / "elsewhere")
        lock.keep(place)
        (found,) = engines_at_work()
        assert (found.name, found.run) == ("a-run", place)
        assert engine_of(run) is None


def test_it_is_found_again_when_the_runtime_folder_comes_back(run: Path, runtime: Path) -> None:
    """Which the system removes when its user logs out."""
    with run_lock(run) as lock:
        shutil.rmtree(runtime)
        runtime.mkdir()
        assert engines_at_work() == []
        lock.keep(run)
        assert len(engines_at_work()) == 1


def test_a_lock_that_was_deleted_lets_nobody_else_in(run: Path) -> None:
    with run_lock(run):
        (run / "lock").unlink()
        code = (
            "import sys\nfrom pathlib import Path\nfrom specdash.errors import StoreError\n"
            "from specdash.runtime.locks import run_lock\n"
            "try:\n    run_lock(Path(sys.argv[1])).__enter__()\nexcept StoreError as error:\n    print(error.what)\n"
        )
        said = subprocess.run([sys.executable, "-c", code, str(run)], capture_output=True, text=True, check=True).stdout
        assert said == f"a-run is already running: pid {os.getpid()}\n"


def test_a_lock_that_somebody_else_took_meanwhile_is_not_taken_back(run: Path) -> None:
    with run_lock(run) as lock:
        (run / "lock").unlink()
        with subprocess.Popen(["flock", str(run / "lock"), "cat"], stdin=subprocess.PIPE) as other:
            while subprocess.run(["flock", "-n", str(run / "lock"), "true"], check=False).returncode == 0:
                pass
            with pytest.raises(StoreError, match="already running"):
                lock.keep(run)
            other.communicate()


def test_the_entry_of_a_dead_engine_names_nobody(run: Path) -> None:
    folder = runtime_folder() / "engines"
    folder.mkdir()
    entry = {"pid": os.getpid(), "identity": "another", "name": "a-run", "run": str(run), "socket": "x", "since_s": 1.0}
    (folder / "1.json").write_text(json.dumps(entry))
    (folder / "2.json").write_text("{")
    assert engines_at_work() == []
    assert [each.name for each in folder.iterdir()] == ["2.json"]
