"""Locks between real processes: one winner, the loser knows who won, and the dead hold nothing."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from specdash.core.process_spec import LaunchSpec
from specdash.errors import Exit, StoreError
from specdash.runtime import locks
from specdash.runtime.locks import FileLock, lock_owner, machine_lock, run_lock, wait_ended
from specdash.runtime.process import GuardedProcess

HOLDER = """
import sys
from pathlib import Path
from specdash.errors import StoreError
from specdash.runtime.locks import run_lock
lock = run_lock(Path(sys.argv[1]).parent)
held = False
print('ready', flush=True)
for command in sys.stdin:
    if command == 'take\\n':
        try:
            lock.__enter__()
        except StoreError as error:
            print('lost', error.what, flush=True)
        else:
            held = True
            print('won', flush=True)
    else:
        if held: lock.__exit__(None, None, None)
        held = False
        print('free', flush=True)
"""


class Other:
    """Another process that takes and frees a lock when told to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid

    def tell(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self, command: str) -> str:
        self.tell(command)
        return self.answer()


@contextmanager
def other(path: Path) -> Iterator[Other]:
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        found = Other(process)
        assert found.answer() == "ready"
        yield found
        process.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "some-run").mkdir()
    return tmp_path / "some-run" / "lock"


def test_of_eight_processes_exactly_one_wins(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "PROBES", 1)
    with ExitStack() as stack:
        others = [stack.enter_context(other(path)) for _ in range(8)]
        for _ in range(5):
            for each in others:
                each.tell("take")
            answers = [each.answer() for each in others]
            (winner,) = (each for each, answer in zip(others, answers, strict=True) if answer == "won")
            assert all(f"pid {winner.pid} on " in answer for answer in answers if answer != "won")
            assert [each.ask("free") for each in others] == ["free"] * 8


def test_the_second_is_told_who_is_first(path: Path) -> None:
    with other(path) as first:
        assert first.ask("take") == "won"
        with pytest.raises(StoreError) as caught, run_lock(path.parent):
            pass
        assert caught.value.exit_code is Exit.UNSAFE
        assert f"some-run (pid {first.pid} on {os.uname().nodename}, since 20" in caught.value.what
        owner = lock_owner(path)
        assert owner is not None
        assert (owner.pid, owner.what, owner.here) == (first.pid, "some-run", True)
        assert not wait_ended(path.parent, 0.0)


def test_the_dead_hold_nothing(path: Path) -> None:
    with other(path) as first:
        assert first.ask("take") == "won"
        first.process.kill()
        first.process.wait()
        assert lock_owner(path) is None
        with run_lock(path.parent):
            owner = lock_owner(path)
            assert owner is not None
            assert owner.pid == os.getpid()


def test_a_freed_lock_names_nobody(path: Path) -> None:
    assert lock_owner(path) is None
    with run_lock(path.parent):
        pass
    assert lock_owner(path) is None
    assert path.read_bytes() == b""
    assert wait_ended(path.parent, 0.0)


def test_an_owners_note_is_not_harmed_by_the_loser(path: Path) -> None:
    with run_lock(path.parent):
        before = path.read_bytes()
        with pytest.raises(StoreError), run_lock(path.parent):
            pass
        assert path.read_bytes() == before


def test_asking_does_not_get_in_the_way(path: Path) -> None:
    """One who asks for the owner holds a shared lock for a moment: the next who asks must not take it for an owner."""
    with run_lock(path.parent):
        pass
    with path.open("rb") as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        assert lock_owner(path) is None


def test_a_lock_waits_for_one_who_only_asks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.touch()
    with path.open("rb") as asking, ExitStack() as stack:
        fcntl.flock(asking, fcntl.LOCK_SH)
        monkeypatch.setattr("time.sleep", lambda _: fcntl.flock(asking, fcntl.LOCK_UN))
        stack.enter_context(run_lock(path.parent))
        assert lock_owner(path) is not None


async def test_a_server_does_not_inherit_the_lock(path: Path) -> None:
    with run_lock(path.parent):
        spec = LaunchSpec(("/bin/sleep", "600"), os.environ, path.parent / "log", 1.0)
        process = await GuardedProcess.start(spec, path.parent)
    assert lock_owner(path) is None
    await process.stop()


def test_a_lock_that_cannot_be_made(path: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"), run_lock(tmp_path / "missing"):
        pass
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="cannot be opened"), run_lock(path.parent):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_note_that_cannot_be_written() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full")
    with pytest.raises(StoreError, match="cannot be locked"), FileLock(full, "it", "it is taken"):
        pass


@pytest.mark.parametrize("base", ["XDG_RUNTIME_DIR", "TMPDIR"])
def test_one_sweep_at_a_time_on_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: str) -> None:
    use_base(monkeypatch, tmp_path, base)
    with machine_lock("first-run"):
        with (
            pytest.raises(StoreError, match=rf"first-run \(pid {os.getpid()} on ") as caught,
            machine_lock("second-run"),
        ):
            pass
        assert caught.value.exit_code is Exit.UNSAFE
    with machine_lock("second-run"):
        pass
    (folder,) = tmp_path.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("base", ["XDG_RUNTIME_DIR", "TMPDIR"])
@pytest.mark.parametrize("planted", ["link", "file", "open folder", "folder of another user"])
def test_a_folder_that_somebody_planted_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: str, planted: str
) -> None:
    use_base(monkeypatch, tmp_path / "base", base)
    folder = tmp_path / "base" / ("specdash" if base == "XDG_RUNTIME_DIR" else f"specdash-{os.getuid()}")
    (tmp_path / "real").mkdir()
    folder.parent.mkdir()
    if planted == "link":
        folder.symlink_to(tmp_path / "real")
    elif planted == "file":
        folder.touch()
    elif planted == "open folder":
        folder.mkdir()
        folder.chmod(0o777)
    elif os.getuid() == 0:
        folder.mkdir(mode=0o700)
        os.chown(folder, 65534, 65534)
    else:
        pytest.skip("only root can give a folder away")
    with pytest.raises(StoreError, match=str(folder)), machine_lock("a-run"):
        pass
    assert not list((tmp_path / "real").iterdir())


def test_a_runtime_folder_that_is_not_there_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_base(monkeypatch, tmp_path, "TMPDIR")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "missing"))
    with machine_lock("a-run"):
        assert not (tmp_path / "missing").exists()


def use_base(monkeypatch: pytest.MonkeyPatch, folder: Path, base: str) -> None:
    """Makes `folder` the runtime folder, or the one for temporary files where there is none."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    if base == "XDG_RUNTIME_DIR":
        monkeypatch.setenv(base, str(folder))
    else:
        monkeypatch.setattr("tempfile.tempdir", str(folder))
        if Path(f"/run/user/{os.getuid()}").is_dir():
            pytest.skip("this user has a runtime folder")
