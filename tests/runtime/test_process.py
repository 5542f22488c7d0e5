"""Real process trees under the guard: nothing is left, whoever dies first and however the tree is shaped."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from specdash.core.launch import LaunchSpec
from specdash.errors import EngineError, StoreError
from specdash.runtime import process as process_module
from specdash.runtime.notes import servers_folder
from specdash.runtime.process import GuardedProcess
from specdash.runtime.serverlog import log_tail
from specdash.runtime.serverprocess import ExitInfo
from specdash.runtime.tree import descendants, identity
from tests.support.process_trees import LIMIT_S, STUBBORN, gone, logged, python, shell

GRACE_S = 0.3

Start = Callable[..., Awaitable[GuardedProcess]]
NewChildren = Callable[[], set[psutil.Process]]

SLEEPER = "import signal, sys; print('up', flush=True); signal.pause()"
COUNTER = """
import signal, sys, time
def on_term(*_):
    with open(sys.argv[1], 'a') as file: file.write('TERM\\n')
signal.signal(signal.SIGTERM, on_term)
print('up', flush=True)
while True: signal.pause()
"""


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts a command under the guard and waits until its log says `up`."""

    async def go(*argv: object, grace_s: float = GRACE_S, env: dict[str, str] | None = None) -> GuardedProcess:
        spec = LaunchSpec(tuple(map(str, argv)), {**os.environ, **(env or {})}, tmp_path / "log", grace_s)
        process = await GuardedProcess.start(spec, tmp_path)
        await logged(tmp_path / "log", "up")
        return process

    return go


@pytest.fixture
def new_children() -> NewChildren:
    """The children of this process, zombies too, that it did not have before the test: others share the process."""
    before = set(psutil.Process().children(recursive=True))
    return lambda: set(psutil.Process().children(recursive=True)) - before


async def test_exit_code_and_output_are_known(tmp_path: Path, start: Start) -> None:
    process = await start(*python("import sys; print('up'); print('err', file=sys.stderr); sys.exit(7)"))
    info = await process.wait_gone()
    assert info == ExitInfo(7, None)
    assert info.sentence == "exited with code 7"
    assert set(log_tail(tmp_path / "log")) == {"up", "err"}
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
    assert no_note_is_left(tmp_path)


async def test_a_second_launch_appends_to_the_log(tmp_path: Path, start: Start) -> None:
    for _ in range(2):
        await (await start(*python("print('up')"))).wait_gone()
    assert log_tail(tmp_path / "log") == ("up", "up")


async def test_the_signal_that_ended_it_is_known(start: Start) -> None:
    process = await start(*python(SLEEPER))
    os.kill(process.pid, signal.SIGABRT)
    info = await process.wait_gone()
    assert info == ExitInfo(None, signal.SIGABRT)
    assert info.sentence == "was ended by SIGABRT"


def test_a_signal_without_a_name_is_still_told() -> None:
    assert ExitInfo(None, 40).sentence == "was ended by signal 40"


async def test_input_is_empty_and_session_its_own(start: Start) -> None:
    process = await start(
        *python("import os, sys; print('up', repr(sys.stdin.read()), flush=True); os.kill(os.getpid(), 19)")
    )
    assert os.getsid(process.pid) == process.pid != os.getsid(0)
    assert (await process.stop()).signal == signal.SIGKILL


async def test_term_is_obeyed(start: Start) -> None:
    process = await start(*python(SLEEPER), grace_s=LIMIT_S)
    assert await process.stop() == ExitInfo(None, signal.SIGTERM)


async def test_term_ignored_ends_in_kill(start: Start) -> None:
    process = await start(*python(STUBBORN))
    assert await process.stop() == ExitInfo(None, signal.SIGKILL)


async def test_without_grace_there_is_only_kill(tmp_path: Path, start: Start) -> None:
    process = await start(*python(COUNTER, tmp_path / "terms"), grace_s=0.0)
    assert await process.stop() == ExitInfo(None, signal.SIGKILL)
    assert not (tmp_path / "terms").exists()


async def test_two_stops_are_one_term(tmp_path: Path, start: Start) -> None:
    process = await start(*python(COUNTER, tmp_path / "terms"))
    first, second = await asyncio.gather(process.stop(), process.stop())
    assert first == second == ExitInfo(None, signal.SIGKILL)
    assert (tmp_path / "terms").read_text() == "TERM\n"
    assert await process.stop() == first


async def test_stop_after_the_end_returns_how_it_ended(start: Start) -> None:
    process = await start(*python("print('up')"))
    await process.wait_gone()
    assert await process.stop() == ExitInfo(0, None)


@pytest.mark.parametrize("how", ["", "setsid "], ids=["same group", "own session"])
async def test_a_wrapper_takes_its_grandchildren_along(tmp_path: Path, start: Start, how: str) -> None:
    process = await start(shell(tmp_path, f"{how}sleep 600 & echo $! up; wait"), grace_s=LIMIT_S)
    (grandchild, _) = await logged(tmp_path / "log", "up")
    assert int(grandchild) in process.tree()
    assert await process.stop() == ExitInfo(None, signal.SIGTERM)
    assert await gone(int(grandchild))
    assert process.tree() == []


@pytest.mark.parametrize("how", ["", "setsid "], ids=["same group", "own session"])
async def test_a_stubborn_grandchild_is_killed(tmp_path: Path, start: Start, how: str) -> None:
    script = shell(tmp_path, f"trap '' TERM; {how}sleep 600 & echo $! up; trap - TERM; wait")
    process = await start(script)
    (grandchild, _) = await logged(tmp_path / "log", "up")
    assert (await process.stop()).stuck == ()
    assert await gone(int(grandchild))


@pytest.mark.parametrize("how", ["", "setsid "], ids=["same group", "own session"])
async def test_what_a_server_leaves_behind_is_ended(tmp_path: Path, start: Start, how: str) -> None:
    process = await start(shell(tmp_path, f"{how}sleep 600 & echo $! up; exit 3"), grace_s=LIMIT_S)
    (orphan, _) = await logged(tmp_path / "log", "up")
    assert await process.wait_gone() == ExitInfo(3, None)
    assert await gone(int(orphan))


async def test_an_escaped_grandchild_is_asked_once_before_it_is_killed(tmp_path: Path, start: Start) -> None:
    code = "import subprocess, sys, signal; subprocess.Popen(sys.argv[1:], start_new_session=True); signal.pause()"
    process = await start(*python(code, *python(COUNTER, tmp_path / "terms")))
    await process.stop()
    assert (tmp_path / "terms").read_text() == "TERM\n"


async def test_a_child_that_holds_the_log_does_not_hold_up_the_end(tmp_path: Path, start: Start) -> None:
    code = "import os, signal, sys\nif os.fork() == 0: os.setsid(); signal.pause()\nprint('up', flush=True)"
    process = await start(*python(code))
    async with asyncio.timeout(LIMIT_S):
        assert await process.wait_gone() == ExitInfo(0, None)


@pytest.mark.parametrize("how", ["", "setsid "], ids=["same group", "own session"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=str)
async def test_the_tree_ends_with_its_engine(tmp_path: Path, how: str, number: int) -> None:
    engine, pids = await start_engine(tmp_path, shell(tmp_path, f"{how}sleep 600 & echo $! up; wait"))
    engine.send_signal(number)
    engine.wait(LIMIT_S)
    assert await gone(*pids)


async def test_a_stubborn_server_ends_with_its_engine(tmp_path: Path) -> None:
    engine, pids = await start_engine(tmp_path, *python("import os; print(os.getpid(), flush=True)\n" + STUBBORN))
    engine.kill()
    engine.wait(LIMIT_S)
    assert await gone(*pids)


async def start_engine(tmp_path: Path, *argv: object) -> tuple[subprocess.Popen[bytes], list[int]]:
    """An engine process of its own, and the pids of its guard, server and the server's children."""
    code = """
import asyncio, json, os, sys
from pathlib import Path
from specdash.core.launch import LaunchSpec
from specdash.runtime.process import GuardedProcess
async def main():
    folder = Path(sys.argv[1])
    await GuardedProcess.start(LaunchSpec(tuple(sys.argv[2:]), os.environ, folder / 'log', 0.3), folder)
    print('started', flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
    engine = subprocess.Popen(  # noqa: ASYNC220 - its children are looked at by pid, and it is killed
        [sys.executable, "-c", code, str(tmp_path), *map(str, argv)], stdout=subprocess.PIPE
    )
    assert engine.stdout is not None
    with engine.stdout:
        assert await asyncio.to_thread(engine.stdout.readline) == b"started\n"
    await logged(tmp_path / "log", "up")
    pids = [child.pid for child in psutil.Process(engine.pid).children(recursive=True)]
    assert len(pids) >= 2
    return engine, pids


@pytest.mark.parametrize("how", ["", "setsid "], ids=["same group", "own session"])
async def test_a_killed_guard_leaves_nothing_behind(tmp_path: Path, start: Start, how: str) -> None:
    process = await start(shell(tmp_path, f"{how}sleep 600 & echo $! up; wait"))
    (grandchild, _) = await logged(tmp_path / "log", "up")
    os.kill(process.guard_pid, signal.SIGKILL)
    info = await process.wait_gone()
    assert info == ExitInfo(None, None)
    assert info.sentence == "ended in a way nobody saw"
    assert await gone(process.pid, int(grandchild), process.guard_pid)


async def test_a_frozen_guard_does_not_hang_the_stop(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "STOP_LIMIT_S", 0.2)
    process = await start(*python(SLEEPER))
    os.kill(process.guard_pid, signal.SIGSTOP)
    async with asyncio.timeout(LIMIT_S):
        await process.stop()
    assert await gone(process.pid, process.guard_pid)


@pytest.fixture
def without_subreaper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard as it works on macOS: no orphan comes back to it, and `ps` tells what runs."""
    script = tmp_path / "guard.py"
    script.write_text(
        "import json, os, runpy, select, signal, socket, subprocess, sys\n"
        f"sys.platform = 'darwin'\nrunpy.run_path({str(process_module.GUARD)!r}, run_name='__main__')\n"
    )
    monkeypatch.setattr(process_module, "GUARD", script)


@pytest.mark.usefixtures("without_subreaper")
async def test_without_subreaper_a_wrapper_takes_its_grandchild_along(tmp_path: Path, start: Start) -> None:
    process = await start(shell(tmp_path, "sleep 600 & echo $! up; wait"), grace_s=LIMIT_S)
    (grandchild, _) = await logged(tmp_path / "log", "up")
    assert await process.stop() == ExitInfo(None, signal.SIGTERM)
    assert await gone(int(grandchild))


@pytest.mark.usefixtures("without_subreaper")
async def test_without_subreaper_an_orphan_is_found_by_its_group(tmp_path: Path, start: Start) -> None:
    process = await start(shell(tmp_path, "sleep 600 & echo $! up; exit 3"), grace_s=LIMIT_S)
    (orphan, _) = await logged(tmp_path / "log", "up")
    assert await process.wait_gone() == ExitInfo(3, None)
    assert await gone(int(orphan))


@pytest.mark.usefixtures("without_subreaper")
@pytest.mark.parametrize("after", ["", "trap - TERM; "], ids=["wrapper killed", "wrapper obeys"])
async def test_without_subreaper_a_child_is_found_in_its_own_session(tmp_path: Path, start: Start, after: str) -> None:
    process = await start(shell(tmp_path, f"trap '' TERM; setsid sleep 600 & echo $! up; {after}wait"))
    (child, _) = await logged(tmp_path / "log", "up")
    assert (await process.stop()).stuck == ()
    assert await gone(int(child))


async def test_signals_of_the_terminal_do_not_end_the_guard(start: Start) -> None:
    process = await start(*python(SLEEPER))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(process.guard_pid, number)
    os.kill(process.pid, signal.SIGUSR1)
    assert await process.wait_gone() == ExitInfo(None, signal.SIGUSR1)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_the_server_starts_with_default_signals(tmp_path: Path, start: Start) -> None:
    process = await start("/bin/sh", "-c", "grep -E 'Sig(Blk|Ign)' /proc/self/status; echo up")
    await process.wait_gone()
    masks = [line.split()[1] for line in log_tail(tmp_path / "log") if line.startswith("Sig")]
    # Signals 32 and 33 are the C library's own: a program can neither see nor reset them.
    assert [int(mask, 16) & ~(0b11 << 31) for mask in masks] == [0, 0]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.write_text("#!/bin/sh\n"), "Permission denied"),
        (lambda path: (path.write_bytes(b"\x7fELF\0\0garbage"), path.chmod(0o755)), "Exec format error"),
        (lambda path: path.mkdir(), "Permission denied"),
        (lambda path: (path.write_text("#!/nowhere/sh\n"), path.chmod(0o755)), "No such file"),
    ],
    ids=["missing", "not executable", "wrong format", "folder", "no interpreter"],
)
async def test_what_cannot_be_run_is_said(
    tmp_path: Path, start: Start, make: Callable[[Path], object], said: str, new_children: NewChildren
) -> None:
    make(tmp_path / "server")
    with pytest.raises(EngineError, match=said) as caught:
        await start(tmp_path / "server")
    assert str(tmp_path / "server") in caught.value.what
    assert "Errno" not in caught.value.what
    assert caught.value.todo
    assert new_children() == set()


async def test_arguments_that_no_system_takes_are_an_error(start: Start, new_children: NewChildren) -> None:
    for argument in ("a\0b", "x" * 10_000_000):
        with pytest.raises(EngineError):
            await start("/bin/true", argument)
    assert new_children() == set()


async def test_arguments_are_passed_as_they_are(tmp_path: Path, start: Start) -> None:
    canary = tmp_path / "canary"
    process = await start("/bin/echo", f"$(touch {canary});`touch {canary}`\n--", "--", "-n", "up")
    await process.wait_gone()
    assert not canary.exists()
    assert log_tail(tmp_path / "log") == (f"$(touch {canary});`touch {canary}`", "-- -- -n up")


async def test_a_log_that_cannot_be_written_is_an_error(tmp_path: Path, new_children: NewChildren) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for path in (tmp_path / "missing" / "logs" / "log", tmp_path / "link", tmp_path):
        with pytest.raises(StoreError, match=str(path)):
            await GuardedProcess.start(LaunchSpec(("/bin/true",), os.environ, path, GRACE_S), tmp_path)
    assert new_children() == set()
    assert no_note_is_left(tmp_path)


async def test_no_server_is_started_that_no_note_tells_of(tmp_path: Path, new_children: NewChildren) -> None:
    spec = LaunchSpec(tuple(map(str, python(SLEEPER))), os.environ, tmp_path / "log", GRACE_S)
    with pytest.raises(StoreError):
        await GuardedProcess.start(spec, tmp_path / "missing" / "run")
    assert new_children() == set()
    assert not (tmp_path / "log").exists()
    assert no_note_is_left(tmp_path)


async def test_a_cancelled_start_ends_the_server(tmp_path: Path, new_children: NewChildren) -> None:
    spec = LaunchSpec(tuple(map(str, python(SLEEPER))), os.environ, tmp_path / "log", GRACE_S)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await GuardedProcess.start(spec, tmp_path)
    assert new_children() == set()


async def test_neither_zombies_nor_descriptors_pile_up(tmp_path: Path, start: Start, new_children: NewChildren) -> None:
    await (await start(*python("print('up')"))).wait_gone()
    before = len(os.listdir("/dev/fd"))
    for number in range(50):
        spec = LaunchSpec(("/bin/sleep", "600" if number % 2 else "0"), os.environ, tmp_path / "log", GRACE_S)
        process = await GuardedProcess.start(spec, tmp_path)
        await (process.stop() if number % 2 else process.wait_gone())
    assert new_children() == set()
    assert len(os.listdir("/dev/fd")) == before
    assert no_note_is_left(tmp_path)


def no_note_is_left(folder: Path) -> bool:
    return not [*folder.glob("*.json"), *servers_folder().glob(f"*-{os.getpid()}-*.json")]


async def test_use_of_the_whole_tree_is_counted(tmp_path: Path, start: Start) -> None:
    child = "hoard = b'x' * 64_000_000; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"
    script = f"import time, signal; {child}print('up', flush=True); signal.pause()"
    code = "import subprocess, sys, signal; subprocess.Popen(sys.argv[1:]); signal.pause()"
    process = await start(*python(code, *python(script)))
    assert len(process.tree()) == 2
    assert process.rss_bytes() > 64_000_000
    assert process.cpu_seconds() >= 0.3
    assert (process.read_bytes() is None) == (sys.platform != "linux")
    await process.stop()
    assert (process.rss_bytes(), process.cpu_seconds()) == (0, 0.0)
    assert process.read_bytes() is None


async def test_work_of_a_child_that_has_ended_still_counts(start: Start) -> None:
    # The kernel tells user and system time in whole ticks of 10 ms, rounded down: two of them may be missing.
    child = "import time\nwhile time.process_time() < 0.33: pass"
    code = "import subprocess, sys, signal; subprocess.run(sys.argv[1:]); print('up', flush=True); signal.pause()"
    process = await start(*python(code, *python(child)))
    assert len(process.tree()) == 1
    assert process.cpu_seconds() >= 0.3
    await process.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="oom_score_adj is Linux's")
async def test_short_of_memory_the_server_goes_first(start: Start) -> None:
    process = await start(*python(SLEEPER))
    assert oom_score(process.pid) == 300 > oom_score(process.guard_pid)
    await process.stop()


def oom_score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def test_log_tail_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert log_tail(path) == ()
    assert log_tail(tmp_path) == ()
    path.write_bytes(b"")
    assert log_tail(path) == ()
    path.write_bytes(b"a\nb")
    assert log_tail(path) == ("a", "b")
    path.write_bytes(b"".join(b"%d\n" % number for number in range(1000)))
    assert log_tail(path, 3) == ("997", "998", "999")
    path.write_text("one\u2028line\n", encoding="utf-8")
    assert log_tail(path) == ("one\u2028line",)
    with path.open("wb") as file:
        file.truncate(2**40)
    assert sum(map(len, log_tail(path))) <= 64 * 1024


async def test_both_ways_to_the_descendants_agree(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = await start(shell(tmp_path, "sleep 600 & (sleep 600 & echo up; wait)"))
    fast = descendants(process.guard_pid)
    monkeypatch.setattr("os.path.exists", lambda _: False)
    assert sorted(fast) == sorted(descendants(process.guard_pid))
    assert len(fast) == 4
    await process.stop()
    assert descendants(process.guard_pid) == []


def test_a_zombie_is_no_process() -> None:
    with subprocess.Popen(["/bin/sleep", "600"]) as process:
        assert identity(process.pid) is not None
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert identity(process.pid) is None
        process.wait()
        assert identity(process.pid) is None
