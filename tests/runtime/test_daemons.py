"""Launch commands that daemonise, under the guard: followed by pid file or as what they leave, and ended wholly."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import psutil
import pytest

from specdash.core.launch import Ending, LaunchSpec
from specdash.runtime import process as process_module
from specdash.runtime.listener import NotOurServer
from specdash.runtime.notes import ServerNote, servers_folder
from specdash.runtime.orphans import end_orphans
from specdash.runtime.process import GuardedProcess
from specdash.runtime.serverprocess import ExitInfo
from specdash.runtime.tree import identity
from tests.support.process_trees import LIMIT_S, STUBBORN, gone, logged, python, shell, until

FOLLOW_S = 20.0
ROOT = Path(__file__).parents[2]

Start = Callable[..., Awaitable[GuardedProcess]]

DAEMON = "import signal, sys; print('up', flush=True); signal.pause()"
# Starts a server that nobody here is the parent of, as a service manager does: asked over a socket.
MANAGER = """
import socket, subprocess, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
children = []
while True:
    connection, _ = listener.accept()
    command = connection.makefile().readline().strip()
    children.append(subprocess.Popen(command, shell=True, start_new_session=True, stdin=subprocess.DEVNULL))
    connection.close()
"""
ASK = """
import socket, sys
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
connection.sendall(sys.argv[2].encode() + b"\\n")
connection.recv(1)
"""


@pytest.fixture
def pid_file(tmp_path: Path) -> Path:
    return tmp_path / "server.pid"


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts a launch script that is made of this text."""

    async def go(
        text: str, *, grace_s: float = LIMIT_S, follow_s: float = FOLLOW_S, **ending: object
    ) -> GuardedProcess:
        known = Ending(daemon=True, **ending)  # type: ignore[arg-type]
        script = shell(tmp_path, text)
        spec = LaunchSpec((str(script),), os.environ, tmp_path / "log", grace_s, known, follow_s)
        return await GuardedProcess.start(spec, tmp_path)

    return go


@pytest.fixture
def manager() -> Iterator[int]:
    """The port of a service manager."""
    command = list(map(str, python(MANAGER)))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()


def quoted(argv: tuple[object, ...]) -> str:
    return " ".join("'" + str(word).replace("'", "'\\''") + "'" for word in argv)


def daemon(code: str = DAEMON, *args: object) -> str:
    """A line of shell that leaves a server behind in a session of its own."""
    return f"nohup setsid {quoted(python(code, *args))} &"


async def followed(process: GuardedProcess, pid_file: Path) -> int:
    """The pid in the pid file, once the process is known to the engine."""
    pid = await asyncio.to_thread(until, lambda: process.daemon_pid)
    assert pid == pid_in(pid_file)
    return pid


async def is_alone(process: GuardedProcess, pid: int) -> bool:
    """Whether this process comes to be all there is of a launch."""
    return await asyncio.to_thread(until, lambda: process.tree() == [pid])


def pid_in(pid_file: Path) -> int:
    return int(pid_file.read_text())


async def test_a_daemon_is_followed_by_its_pid_file(tmp_path: Path, start: Start, pid_file: Path) -> None:
    process = await start(f"{daemon()} echo $! > {pid_file}", pid_file=pid_file)
    await logged(tmp_path / "log", "up")
    pid = await followed(process, pid_file)
    assert await is_alone(process, pid)
    assert process.rss_bytes() > 0
    os.kill(pid, signal.SIGABRT)
    assert await process.wait_gone() == ExitInfo(None, signal.SIGABRT)


async def test_without_pid_file_what_is_left_is_the_server(tmp_path: Path, start: Start) -> None:
    process = await start(f"{daemon()} echo $! left")
    words = await logged(tmp_path / "log", "up")
    pid = int(words[words.index("left") - 1]) if "left" in words else int((await logged(tmp_path / "log", "left"))[0])
    assert await is_alone(process, pid)
    assert await process.stop() == ExitInfo(None, signal.SIGTERM)
    assert await gone(pid)


async def test_a_server_of_a_service_manager_is_followed_and_ended(
    tmp_path: Path, start: Start, pid_file: Path, manager: int
) -> None:
    server = f"echo $$ > {pid_file}; exec {quoted(python(DAEMON))} >> {tmp_path / 'log'}"
    process = await start(quoted(python(ASK, manager, server)), pid_file=pid_file)
    await logged(tmp_path / "log", "up")
    pid = await followed(process, pid_file)
    assert pid not in [child.pid for child in psutil.Process(process.guard_pid).children(recursive=True)]
    assert await is_alone(process, pid)
    info = await process.stop()
    assert info.left == ""
    assert info.stuck == ()
    assert await gone(pid)


async def test_a_foreign_server_that_ends_by_itself_is_noticed_with_what_it_leaves(
    tmp_path: Path, start: Start, pid_file: Path, manager: int
) -> None:
    server = f"sleep 600 & echo $! child >> {tmp_path / 'log'}; echo $$ > {pid_file}; sleep 600; exit 3"
    process = await start(quoted(python(ASK, manager, server)), pid_file=pid_file)
    pid = await followed(process, pid_file)
    child = int((await logged(tmp_path / "log", "child"))[0])
    os.kill(pid, signal.SIGKILL)
    assert (await process.wait_gone()).sentence == "ended in a way nobody saw"
    assert await gone(pid, child)


async def test_the_listener_of_a_daemon_is_ours(tmp_path: Path, start: Start, pid_file: Path) -> None:
    listen = "import socket\nit = socket.create_server(('127.0.0.1', 0))\n"
    listen += "print(it.getsockname()[1], 'up', flush=True)\nit.accept()"
    process = await start(f"{daemon(listen)} echo $! > {pid_file}", pid_file=pid_file)
    port = int((await logged(tmp_path / "log", "up"))[0])
    await followed(process, pid_file)
    process.prove(port)
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(NotOurServer):
        process.prove(other.getsockname()[1])
    await process.stop()


@pytest.mark.parametrize("with_pid_file", [True, False])
async def test_a_script_that_leaves_nothing_is_a_failed_start(
    start: Start, pid_file: Path, with_pid_file: bool
) -> None:
    process = await start("echo 'no server today'", pid_file=pid_file if with_pid_file else None, follow_s=0.1)
    info = await process.wait_gone()
    assert info == ExitInfo(0, None, left="nothing")
    what, todo = info.failure("starting", pid_file if with_pid_file else None)
    assert what == "the launch script ended with code 0 and left no server"
    assert ("set engine.pid_file" in todo) == (not with_pid_file)


async def test_a_server_that_dies_before_anybody_looks_has_ended(start: Start, pid_file: Path) -> None:
    process = await start(f"bash -c 'exit 3' & echo $! > {pid_file}; wait $!; exit 0", pid_file=pid_file)
    assert (await process.wait_gone()).left == ""


async def test_the_code_of_a_daemon_is_known(start: Start, pid_file: Path) -> None:
    process = await start(f"(sleep 0.1; exit 7) & echo $! > {pid_file}", pid_file=pid_file)
    assert await process.wait_gone() == ExitInfo(7, None)


async def test_a_script_that_fails_is_ended_with_what_it_started(tmp_path: Path, start: Start, pid_file: Path) -> None:
    process = await start(f"{daemon()} echo $! > {pid_file}; exit 4", pid_file=pid_file)
    assert await process.wait_gone() == ExitInfo(4, None)
    assert await gone(pid_in(pid_file))


async def test_a_script_that_waits_for_a_dead_server_is_not_waited_for(
    tmp_path: Path, start: Start, pid_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = write(
        tmp_path / "guard.py",
        f"import runpy, sys\nsys.path.append({str(ROOT)!r})\nfrom specdash.programs import daemon_tracking\n"
        f"daemon_tracking.LOST_S = 0.2\nrunpy.run_path({str(process_module.GUARD)!r}, run_name='__main__')\n",
    )
    monkeypatch.setattr(process_module, "GUARD", script)
    process = await start(f"{daemon()} echo $! > {pid_file}; sleep 600", pid_file=pid_file)
    await logged(tmp_path / "log", "up")
    os.kill(await followed(process, pid_file), signal.SIGKILL)
    assert (await process.wait_gone()).left == ""
    assert await gone(process.pid)


async def test_a_server_in_the_foreground_may_have_a_pid_file_too(tmp_path: Path, start: Start, pid_file: Path) -> None:
    server = quoted(python("print('up')"))
    process = await start(f"echo $$ > {pid_file}; exec {server}", pid_file=pid_file)
    assert await process.wait_gone() == ExitInfo(0, None)


# -- pid files that are not this launch's --------------------------------------------------------------------------


def write(path: Path, text: object) -> Path:
    path.write_text(str(text))
    return path


@pytest.fixture
def earlier() -> Iterator[int]:
    """A server that ran before the launch."""
    with subprocess.Popen(["/bin/sleep", "600"], start_new_session=True) as process:
        yield process.pid
        assert process.poll() is None, "a process of somebody else was ended"
        process.kill()


async def test_a_stale_pid_file_is_not_taken(tmp_path: Path, start: Start, pid_file: Path) -> None:
    """It names what has ended; the launch writes no other, and its own server is followed all the same."""
    write(pid_file, await asyncio.to_thread(subprocess.check_output, ["/bin/sh", "-c", "echo $$"], text=True))
    process = await start(f"{daemon()} echo $! left", pid_file=pid_file)
    await logged(tmp_path / "log", "up")
    await asyncio.to_thread(until, lambda: len(process.tree()) == 1)
    assert await process.stop() == ExitInfo(None, signal.SIGTERM)


async def test_a_pid_file_may_be_written_anew(start: Start, pid_file: Path, earlier: int) -> None:
    write(pid_file, earlier)
    process = await start(f"{daemon()} echo $! > {pid_file}", pid_file=pid_file)
    assert await is_alone(process, await followed(process, pid_file))
    await process.stop()


@pytest.mark.parametrize("how", ["left as it was", "written anew"])
async def test_a_process_of_before_the_launch_is_never_ended(
    tmp_path: Path, start: Start, pid_file: Path, earlier: int, how: str
) -> None:
    write(pid_file, earlier)
    script = "true" if how == "left as it was" else f"echo {earlier} > {pid_file}"
    stop = ("/bin/sh", "-c", f"kill $(cat {pid_file})")
    process = await start(script, pid_file=pid_file, follow_s=0.1, stop=stop)
    info = await process.wait_gone()
    assert info.left == "earlier"
    assert str(pid_file) in info.failure("starting", pid_file)[0]
    assert "stop command is not run" in (tmp_path / "log").read_text()


async def test_a_script_that_refuses_since_a_server_runs_does_not_have_that_one_stopped(
    start: Start, pid_file: Path, earlier: int
) -> None:
    write(pid_file, earlier)
    process = await start("echo already running; exit 1", pid_file=pid_file, stop=("/bin/sh", "-c", f"kill {earlier}"))
    assert await process.wait_gone() == ExitInfo(1, None)


@pytest.mark.parametrize("text", ["", "no number", "-7", "1", "99999999999999999999"])
async def test_a_pid_file_without_a_pid_names_nothing(start: Start, pid_file: Path, text: str) -> None:
    write(pid_file, 1)
    text_file = write(pid_file.with_suffix(".text"), text)
    process = await start(f"cp {text_file} {pid_file}", pid_file=pid_file, follow_s=0.0)
    assert (await process.wait_gone()).left == "nothing"


# -- stop commands -------------------------------------------------------------------------------------------------


async def test_the_stop_command_comes_before_any_signal_and_once(tmp_path: Path, start: Start, pid_file: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGUSR1, lambda *_: (os.write(1, b'USR1\\n'), os._exit(0)))\n"
        "signal.signal(signal.SIGTERM, lambda *_: os.write(1, b'TERM\\n'))\n"
        "print('up', flush=True)\nwhile True: signal.pause()"
    )
    stop = (
        "/bin/sh",
        "-c",
        f"echo stopping; kill -USR1 $(cat {pid_file}); while kill -0 $(cat {pid_file}); do :; done",
    )
    process = await start(f"{daemon(code)} echo $! > {pid_file}", pid_file=pid_file, stop=stop)
    await logged(tmp_path / "log", "up")
    await followed(process, pid_file)
    first, second = await asyncio.gather(process.stop(), process.stop())
    assert first == second
    words = (tmp_path / "log").read_text().split()
    assert words.count("stopping") == 1
    assert "USR1" in words
    assert "TERM" not in words


@pytest.mark.parametrize(
    ("stop", "grace_s", "said"),
    [
        (("/bin/sh", "-c", "exit 9"), LIMIT_S, "the stop command failed (9)"),
        (("/nowhere/stop",), LIMIT_S, "the stop command cannot be run"),
        (("/bin/sleep", "600"), 0.2, "the stop command still ran after"),
    ],
)
async def test_signals_follow_a_stop_command_that_does_nothing(
    tmp_path: Path, start: Start, pid_file: Path, stop: tuple[str, ...], grace_s: float, said: str
) -> None:
    process = await start(f"{daemon()} echo $! > {pid_file}", pid_file=pid_file, stop=stop, grace_s=grace_s)
    await logged(tmp_path / "log", "up")
    pid = await followed(process, pid_file)
    assert await process.stop() == ExitInfo(None, signal.SIGTERM)
    assert await gone(pid)
    assert said in (tmp_path / "log").read_text()


async def test_a_daemon_that_ignores_term_is_killed(tmp_path: Path, start: Start, pid_file: Path) -> None:
    process = await start(f"{daemon(STUBBORN)} echo $! > {pid_file}", pid_file=pid_file, grace_s=0.2)
    await logged(tmp_path / "log", "up")
    await followed(process, pid_file)
    assert await process.stop() == ExitInfo(None, signal.SIGKILL)


async def test_what_is_left_of_a_dead_server_is_stopped_too(tmp_path: Path, start: Start, pid_file: Path) -> None:
    """Such as the other nodes of a cluster, which no signal of this machine reaches."""
    stop = ("/bin/sh", "-c", "echo stopping")
    process = await start(f"{daemon()} echo $! > {pid_file}", pid_file=pid_file, stop=stop)
    await logged(tmp_path / "log", "up")
    os.kill(await followed(process, pid_file), signal.SIGKILL)
    assert await process.wait_gone() == ExitInfo(None, signal.SIGKILL)
    assert "stopping" in (tmp_path / "log").read_text()


async def test_a_launch_that_has_not_ended_is_stopped_as_well(tmp_path: Path, start: Start, pid_file: Path) -> None:
    """The seed's scripts poll /health themselves for up to 600 s."""
    process = await start(f"{daemon()} echo $! > {pid_file}; sleep 600", pid_file=pid_file, stop=("/bin/true",))
    await logged(tmp_path / "log", "up")
    pid = await followed(process, pid_file)
    assert process.pid in process.tree()
    assert pid in process.tree()
    assert (await process.stop()).stuck == ()
    assert await gone(process.pid, pid)


# -- engines and guards that die -----------------------------------------------------------------------------------


async def start_engine(tmp_path: Path, script: Path, pid_file: Path, stop: str) -> subprocess.Popen[bytes]:
    """An engine process of its own, whose daemon is known to it."""
    code = """
import asyncio, os, sys
from pathlib import Path
from specdash.core.launch import Ending, LaunchSpec
from specdash.runtime.process import GuardedProcess
async def main():
    folder, pid_file = Path(sys.argv[1]), Path(sys.argv[3])
    ending = Ending(('/bin/sh', '-c', sys.argv[4]) if sys.argv[4] else (), pid_file)
    spec = LaunchSpec((sys.argv[2],), os.environ, folder / 'log', 0.5, ending)
    process = await GuardedProcess.start(spec, folder)
    while process.daemon_pid is None: await asyncio.sleep(0.01)
    print(process.guard_pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
    engine = subprocess.Popen(  # noqa: ASYNC220 - its children are looked at by pid, and it is killed
        [sys.executable, "-c", code, str(tmp_path), str(script), str(pid_file), stop], stdout=subprocess.PIPE
    )
    await logged(tmp_path / "log", "up")
    return engine


def notes(folder: Path) -> list[Path]:
    return [*folder.glob("*.json"), *servers_folder().glob("*.json")]


async def guard_of(engine: subprocess.Popen[bytes]) -> int:
    assert engine.stdout is not None
    with engine.stdout:
        return int(await asyncio.to_thread(engine.stdout.readline))


async def test_a_daemon_ends_with_its_engine_by_its_stop_command(tmp_path: Path, pid_file: Path) -> None:
    script = shell(tmp_path, f"{daemon()} echo $! > {pid_file}")
    engine = await start_engine(tmp_path, script, pid_file, f"echo stopping; kill $(cat {pid_file})")
    guard = await guard_of(engine)
    engine.kill()
    engine.wait(LIMIT_S)
    assert await gone(guard, pid_in(pid_file))
    assert (tmp_path / "log").read_text().split().count("stopping") == 1


async def test_a_daemon_whose_engine_and_guard_were_killed_is_stopped_as_an_orphan(
    tmp_path: Path, pid_file: Path
) -> None:
    script = shell(tmp_path, f"{daemon()} echo $! > {pid_file}")
    engine = await start_engine(tmp_path, script, pid_file, f"echo stopped > {tmp_path / 'said'}")
    guard, pid = await guard_of(engine), pid_in(pid_file)
    os.kill(engine.pid, signal.SIGSTOP)  # so that it cannot end what its guard leaves
    os.kill(guard, signal.SIGKILL)
    engine.kill()
    engine.wait(LIMIT_S)
    assert identity(pid) is not None
    (said,), left = await asyncio.to_thread(end_orphans, [tmp_path])
    assert left == []
    assert str(pid) in said
    assert identity(pid) is None
    assert (tmp_path / "said").read_text() == "stopped\n"
    assert notes(tmp_path) == []


async def test_a_killed_guard_leaves_no_daemon(tmp_path: Path, start: Start, pid_file: Path) -> None:
    process = await start(f"{daemon()} echo $! > {pid_file}", pid_file=pid_file)
    await logged(tmp_path / "log", "up")
    pid = await followed(process, pid_file)
    os.kill(process.guard_pid, signal.SIGKILL)
    assert (await process.wait_gone()).stuck == ()
    assert await gone(pid)


async def test_without_subreaper_a_daemon_is_followed_and_ended(
    tmp_path: Path, start: Start, pid_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS: no orphan comes back to the guard, and `ps` tells what runs."""
    script = tmp_path / "guard.py"
    script.write_text(
        "import json, os, runpy, select, signal, socket, subprocess, sys\n"
        f"sys.platform = 'darwin'\nrunpy.run_path({str(process_module.GUARD)!r}, run_name='__main__')\n"
    )
    monkeypatch.setattr(process_module, "GUARD", script)
    process = await start(f"{daemon()} echo $! > {pid_file}", pid_file=pid_file)
    await logged(tmp_path / "log", "up")
    pid = await followed(process, pid_file)
    assert await is_alone(process, pid)
    assert (await process.stop()).stuck == ()
    assert await gone(pid)


async def test_following_costs_hardly_any_processor_time(tmp_path: Path, start: Start, pid_file: Path) -> None:
    process = await start(f"{daemon()} echo $! > {pid_file}", pid_file=pid_file)
    await logged(tmp_path / "log", "up")
    await followed(process, pid_file)
    before, begun_s = psutil.Process(process.guard_pid).cpu_times(), time.monotonic()
    woken = psutil.Process(process.guard_pid).num_ctx_switches()
    await asyncio.to_thread(
        until, lambda: psutil.Process(process.guard_pid).num_ctx_switches().voluntary >= woken.voluntary + 2
    )
    after = psutil.Process(process.guard_pid).cpu_times()
    assert after.user + after.system - before.user - before.system <= 0.02 + 0.02 * (time.monotonic() - begun_s)
    await process.stop()


def test_the_note_of_a_daemon_names_it(tmp_path: Path) -> None:
    note = ServerNote.begin(tmp_path, LaunchSpec(("launch",), {}, tmp_path / "log", 1.0), 1.0)
    note.started(os.getpid(), os.getpid())
    note.follow(os.getppid())
    assert [json.loads(path.read_text())["daemon"]["pid"] for path in note.paths] == [os.getppid()] * 2
    note.remove()
    note.follow(os.getppid())
    assert notes(tmp_path) == []
