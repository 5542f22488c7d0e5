"""The guard by itself, spoken to as the engine does: it is quiet, passes nothing on, and fails safely."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from specdash.runtime import process as process_module
from specdash.runtime.process_tree import identity

LIMIT_S = 30.0
LONG_S = 600.0

# Works for a while, by its own clock, so that a guard that spins meanwhile is found out on any machine.
WORKER = """
import os, signal, time
def work(*_):
    end_s = time.process_time() + 0.5
    while time.process_time() < end_s: pass
    os.write(1, b'worked\\n')
signal.signal(signal.SIGTERM, work)
signal.signal(signal.SIGUSR1, work)
os.write(1, b'up\\n')
while True: signal.pause()
"""


class Guarded:
    """A guard process with the engine's end of its socket, and what the server prints."""

    def __init__(self, process: subprocess.Popen[str], engine: socket.socket) -> None:
        self.process = process
        self.engine = engine
        self._events = engine.makefile("r", encoding="utf-8")

    def event(self) -> dict[str, Any]:
        """The next thing that the guard says."""
        said = json.loads(self._events.readline())
        assert isinstance(said, dict)
        return said

    def line(self) -> str:
        """The next line of the server's output."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def hang_up(self) -> None:
        """What the guard sees of a killed engine."""
        self._events.close()
        self.engine.close()


@contextmanager
def guarded(*argv: object, grace_s: float = LONG_S, script: Path = process_module.GUARD) -> Iterator[Guarded]:
    ours, theirs = socket.socketpair()
    ours.settimeout(LIMIT_S)
    options = ["--fd", str(theirs.fileno()), "--grace", str(grace_s)]
    command = [sys.executable, "-I", "-S", str(script), *options, "--", *map(str, argv)]
    with (
        ours,
        theirs,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, pass_fds=[theirs.fileno()]) as process,
    ):
        theirs.close()
        guard = Guarded(process, ours)
        try:
            yield guard
        finally:
            if process.poll() is None:
                with suppress(psutil.Error):
                    for child in psutil.Process(process.pid).children(recursive=True):
                        child.kill()
                process.kill()
            guard.hang_up()


def python(code: str, *args: object) -> tuple[object, ...]:
    return (sys.executable, "-I", "-S", "-c", code, *args)


def test_what_is_said_from_start_to_end() -> None:
    with guarded("/bin/sh", "-c", "exit 3") as guard:
        assert guard.event()["event"] == "started"
        assert guard.event() == {"event": "exited", "code": 3, "signal": None}
        assert guard.event() == {"event": "gone", "stuck": []}
        assert guard.process.wait(LIMIT_S) == 0


def test_kill_now_cuts_the_grace_short() -> None:
    with guarded(*python(WORKER)) as guard:
        assert guard.line() == "up"
        guard.event()
        guard.engine.send(b"T")
        assert guard.line() == "worked"
        guard.engine.send(b"K")
        assert guard.event() == {"event": "exited", "code": None, "signal": signal.SIGKILL}
        assert guard.event() == {"event": "gone", "stuck": []}


def test_asked_again_or_left_alone_it_sends_no_second_term() -> None:
    code = "import os, signal; signal.signal(15, lambda *_: os.write(1, b'TERM\\n')); os.write(1, b'up\\n')"
    with guarded(*python(code + "\nwhile True: signal.pause()"), grace_s=0.3) as guard:
        assert guard.line() == "up"
        guard.engine.send(b"T")
        assert guard.line() == "TERM"
        guard.engine.send(b"T")
        guard.hang_up()
        assert guard.process.wait(LIMIT_S) == 0
        assert guard.line() == ""


def test_stops_of_the_server_are_told_with_their_time() -> None:
    with guarded(*python(WORKER)) as guard:
        assert guard.line() == "up"
        server = guard.event()["pid"]
        begun_s = time.monotonic()
        os.kill(server, signal.SIGSTOP)
        stopped = guard.event()
        os.kill(server, signal.SIGCONT)
        continued = guard.event()
        assert [(each["event"], each["pid"]) for each in (stopped, continued)] == [
            ("stopped", server),
            ("continued", server),
        ]
        assert begun_s <= stopped["t_s"] <= continued["t_s"] <= time.monotonic()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_guard_that_was_stopped_gives_the_server_its_whole_grace() -> None:
    """Both were stopped for longer than the grace, as a paused machine is: only then does the server see TERM."""
    code = (
        "import os, signal; signal.signal(15, lambda *_: (os.write(1, b'TERM\\n'), os._exit(7))); os.write(1, b'up\\n')"
    )
    with guarded(*python(code + "\nwhile True: signal.pause()"), grace_s=1.0) as guard:
        assert guard.line() == "up"
        server = guard.event()["pid"]
        os.kill(server, signal.SIGSTOP)
        assert guard.event()["event"] == "stopped"
        guard.engine.send(b"T")
        until(lambda: signal.SIGTERM in pending(server))
        guard.process.send_signal(signal.SIGSTOP)
        until(lambda: psutil.Process(guard.process.pid).status() == psutil.STATUS_STOPPED)
        time.sleep(1.6)  # the stop itself
        guard.process.send_signal(signal.SIGCONT)
        time.sleep(0.1)  # the guard is awake before the server is
        os.kill(server, signal.SIGCONT)
        assert guard.line() == "TERM"
        said = guard.event()
        if said["event"] == "continued":  # unless it has ended before anybody asked
            said = guard.event()
        assert said == {"event": "exited", "code": 7, "signal": None}


def nothing_to_do(guard: Guarded, server: int) -> None:
    os.kill(server, signal.SIGUSR1)


def asked_to_stop(guard: Guarded, server: int) -> None:
    guard.engine.send(b"T")


def engine_died(guard: Guarded, server: int) -> None:
    guard.hang_up()


@pytest.mark.parametrize("why", [nothing_to_do, asked_to_stop, engine_died])
def test_waiting_costs_no_processor_time(why: Callable[[Guarded, int], None]) -> None:
    with guarded(*python(WORKER)) as guard:
        assert guard.line() == "up"
        server = guard.event()["pid"]
        before = used_s(guard.process.pid), used_s(server)
        why(guard, server)
        assert guard.line() == "worked"
        by_guard, by_server = used_s(guard.process.pid) - before[0], used_s(server) - before[1]
        assert by_server > 0.4
        assert by_guard < by_server / 4


def until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end_s, "it never came true"
        time.sleep(0.01)


def pending(pid: int) -> set[int]:
    """The signals that wait for a process to go on."""
    line = next(each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("ShdPnd"))
    mask = int(line.split()[1], 16)
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


def used_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


@contextmanager
def deaf_engine() -> Iterator[None]:
    """This process ignores and blocks all that it can, which its children would inherit."""
    numbers = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}
    ignored = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1]
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ignored}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*numbers, signal.SIGCHLD})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_server_obeys_term_though_its_engine_does_not() -> None:
    with deaf_engine(), guarded(*python("import signal; print('up', flush=True); signal.pause()")) as guard:
        assert guard.line() == "up"
        guard.event()
        guard.engine.send(b"T")
        assert guard.event() == {"event": "exited", "code": None, "signal": signal.SIGTERM}
        assert guard.event() == {"event": "gone", "stuck": []}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_server_inherits_no_deaf_signals_and_no_descriptors() -> None:
    script = "grep -E 'Sig(Blk|Ign)' /proc/self/status; ls /proc/$$/fd"
    with deaf_engine(), guarded("/bin/sh", "-c", script) as guard:
        found = [guard.line() for _ in range(5)]
    # Signals 32 and 33 are the C library's own: a program can neither see nor reset them.
    assert [int(line.split()[1], 16) & ~(0b11 << 31) for line in found[:2]] == [0, 0]
    assert found[2:] == ["0", "1", "2"]


def test_a_guard_that_fails_takes_its_server_along(tmp_path: Path) -> None:
    """Without /proc it needs `ps`, which a full process table does not let it start."""
    script = tmp_path / "guard.py"
    script.write_text(
        "import errno, json, os, runpy, select, signal, socket, subprocess, sys\n"
        "sys.platform = 'darwin'\n"
        "popen = subprocess.Popen\n"
        "def refuse(argv, **options):\n"
        "    if argv[0] == '/bin/ps': raise OSError(errno.EAGAIN, 'no more processes')\n"
        "    return popen(argv, **options)\n"
        "subprocess.Popen = refuse\n"
        "sys.stderr = open(os.devnull, 'w')\n"
        f"runpy.run_path({str(process_module.GUARD)!r}, run_name='__main__')\n"
    )
    with guarded(*python(WORKER), script=script) as guard:
        assert guard.line() == "up"
        server = guard.event()["pid"]
        guard.hang_up()
        assert guard.process.wait(LIMIT_S) == 1
        end_s = time.monotonic() + LIMIT_S
        while identity(server) is not None:
            assert time.monotonic() < end_s, "the server lives on"
            time.sleep(0.01)
