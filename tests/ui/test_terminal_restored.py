"""The dashboard in real terminals: what it leaves behind however it ends, and terminals that do not read."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.pty_program import PtyProgram, colour_codes, left_behind, modes, python_child

KILLED_WITHIN_S = 2.0  # the contract's own figure: a viewer can be killed in two seconds, whatever its terminal does
PAINTED = b"1/5"
# Row after row from the first, which names the machine, to the one but last, which tells of what was dropped.
WHOLE_PICTURE = re.compile(rb"tower(?:[^\n]*\n){58}[^\n]*frames dropped")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A terminal of 256 colours and UTF-8, and nothing of the user's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "SPECDASH", "TEXTUAL"))}
    for name in ("NO_COLOR", "COLORTERM", "TMUX"):
        kept.pop(name, None)
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {
        **kept,
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
        "PYTHONPATH": path,
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "SPECDASH_CONFIG": str(tmp_path / "config.toml"),
        "LOOP_FILE": str(tmp_path / "loop"),
        "COMMANDS_FILE": str(tmp_path / "commands"),
    }


def child(case: str, environment: dict[str, str], size: tuple[int, int] = (80, 24)) -> PtyProgram:
    return PtyProgram(python_child("pty_dashboard", case), environment, size)


def folded(environment: dict[str, str]) -> int:
    """How many events the child's loop has taken."""
    file = Path(environment["LOOP_FILE"])
    lines = file.read_text().splitlines() if file.exists() else []
    return int(lines[-1].split()[0]) if lines else 0


def until(true: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end_s, what
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)], ids=lambda each: str(each)
)
def test_a_signal_gives_the_terminal_back(number: signal.Signals, code: int, environment: dict[str, str]) -> None:
    with child("live", environment) as program:
        program.read_until(PAINTED)
        assert left_behind(bytes(program.output)), "nothing was switched on, so nothing is proven"
        os.kill(program.pid, number)
        assert program.wait(KILLED_WITHIN_S, reads=True) == code
        assert left_behind(bytes(program.output)) == []
        assert termios.tcgetattr(program.fd)[:4] == program.before[:4]
        assert b"Traceback" not in program.output
        assert b"attach again: specdash attach run-1" in program.output
    assert "closed" in Path(environment["COMMANDS_FILE"]).read_text()


def test_a_crash_leaves_one_line_and_a_log(environment: dict[str, str], tmp_path: Path) -> None:
    with child("crash", environment) as program:
        assert program.wait(30, reads=True) == 1
        output = bytes(program.output)
    assert left_behind(output) == []
    log = tmp_path / "state" / "specdash" / "log" / "errors.log"
    assert f"internal error, a bug of specdash; details: {log}".encode() in output.replace(b"\r\n", b"")
    assert b"Traceback" not in output
    assert b"ZeroDivisionError" not in output
    assert "ZeroDivisionError: line" in log.read_text()
    assert "not to be shown" not in log.read_text().replace('secret = "not to be shown"', "")


def test_a_lost_line_ends_the_viewer(environment: dict[str, str]) -> None:
    with child("live", environment) as program:
        program.read_until(PAINTED)
        program.hang_up()
        assert program.wait(KILLED_WITHIN_S) == 129


def test_a_terminal_that_is_not_read_stops_neither_the_loop_nor_a_signal(environment: dict[str, str]) -> None:
    with child("flood", environment, (200, 60)) as program:
        program.read_until(PAINTED)
        for number in range(40):
            before = folded(environment)
            program.send("1234"[number % 4])
            until(lambda before=before: folded(environment) > before + 2, "the loop stands still")  # type: ignore[misc]
        os.kill(program.pid, signal.SIGTERM)
        assert program.wait(KILLED_WITHIN_S) == 143
        program.read(0.3)
        assert left_behind(bytes(program.output)) == [], "it was not restored when the terminal read again"


def test_a_terminal_that_reads_again_gets_a_whole_picture(environment: dict[str, str]) -> None:
    with child("flood", environment, (200, 60)) as program:
        program.read_until(PAINTED)
        for number in range(40):
            before = folded(environment)
            program.send("1234"[number % 4])
            until(lambda before=before: folded(environment) > before + 2, "the loop stands still")  # type: ignore[misc]
        program.send("1")
        program.read_until(lambda seen: WHOLE_PICTURE.search(seen) is not None)
        os.kill(program.pid, signal.SIGTERM)
        assert program.wait(KILLED_WITHIN_S, reads=True) == 143
        assert left_behind(bytes(program.output)) == []


def test_suspending_gives_the_terminal_back_and_comes_back(environment: dict[str, str]) -> None:
    with child("live", environment) as program:
        program.read_until(PAINTED)
        program.send("\x1a")
        program.read_until(b"\x1b[?1049l")
        until(lambda: os.waitid(os.P_PID, program.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None, "it runs on")
        program.read(0.1)
        assert left_behind(bytes(program.output)) == []
        os.kill(program.pid, signal.SIGCONT)
        again = program.read_until(PAINTED)
        assert modes(again).get(1049) is True
        program.send("d")
        assert program.wait(5, reads=True) == 0
        assert left_behind(bytes(program.output)) == []


def test_no_color_sends_no_colour_code(environment: dict[str, str]) -> None:
    with child("live", {**environment, "NO_COLOR": "1"}) as program:
        program.read_until(PAINTED)
        for keys, seen in (("2", b""), ("3", b""), ("4", b""), ("5", b""), ("1", PAINTED), ("?", b"all screens")):
            program.send(keys)
            program.read_until(seen) if seen else program.read(0.3)
        program.send("\x1b")
        program.read(0.3)
        program.send("q")
        program.read_until(b"detach")
        program.send("d")
        assert program.wait(5, reads=True) == 0
        assert colour_codes(bytes(program.output)) == []
        assert b"\x1b[1m" in program.output, "bold is no colour"


def test_colours_come_otherwise(environment: dict[str, str]) -> None:
    with child("live", environment) as program:
        program.read_until(PAINTED)
        assert colour_codes(bytes(program.output))
        assert b";2;" not in b"".join(colour_codes(bytes(program.output))), "truecolor was never promised"


def test_steady_paints_and_idling_are_cheap(environment: dict[str, str]) -> None:
    with child("idle", environment) as program:
        program.read_until(PAINTED)
        program.read(1)
        idle_bytes_s = len(program.read(3)) / 3
        assert 0 < idle_bytes_s < 1024
    with child("live", environment) as program:
        program.read_until(PAINTED)
        program.read(1.5)
        per_paint_bytes = len(program.read(4)) / 8
        print(f"idle {idle_bytes_s:.0f} B/s, {per_paint_bytes:.0f} B a paint")
        assert 0 < per_paint_bytes < 2048


def test_a_terminal_that_is_resized_all_the_time_obeys(environment: dict[str, str]) -> None:
    sizes = [(80, 24), (1, 1), (200, 60), (39, 9), (3, 40), (120, 2), (41, 11)]
    with child("live", environment) as program:
        program.read_until(PAINTED)
        for number in range(30):
            program.resize(*sizes[number % len(sizes)])
            os.kill(program.pid, signal.SIGWINCH)
            program.read(0.1)
        program.resize(80, 24)
        program.read_until(b"tower")
        program.send("q")
        program.read_until(b"detach")
        program.send("d")
        assert program.wait(5, reads=True) == 0
        assert left_behind(bytes(program.output)) == []


def test_a_dumb_terminal_is_told_what_to_do(environment: dict[str, str]) -> None:
    with child("live", {**environment, "TERM": "dumb"}) as program:
        assert program.wait(30, reads=True) == 2
        assert b"--headless" in program.output
        assert b"\x1b" not in program.output


def test_no_terminal_is_told_what_to_do(environment: dict[str, str]) -> None:
    done = subprocess.run(
        python_child("pty_dashboard", "live"),
        env=environment,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )
    assert done.returncode == 2
    assert b"needs a terminal" in done.stderr
    assert done.stdout == b""
