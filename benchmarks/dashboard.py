"""The dashboard as its user has it, in a terminal: first frame, CPU and memory while it watches, keys in long queues.

The engine is made up here and serves a real journal on a real socket; run as a program, this file is that engine. It
ticks four times a second, with the text of a server that decodes 200 tok/s, and takes orders on its standard input:
"sample N" and "state N" record so many facts, and are answered once a client must have been told of them.
"""

from __future__ import annotations

import asyncio
import os
import re
import select
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

import psutil

from benchmarks.common import Place, Row, place, spread
from tests.support.pty_program import PtyProgram

FIRST_MS, FIRST_TIMES = 500.0, 10
CPU_PERCENT, RSS_MB = 5.0, 120.0
WATCHED_S = 20.0
SETTLED_S = 4.0
FACTS = 10_000
STEPS = 5_000
KEY_MS, KEYS = 100.0, 20
QUIET_S = 0.15
TICK_S, TOK_S = 0.25, 200
LETTERS = 200  # a frame has more, what is sent to set the terminal up has none
_ESCAPE = re.compile(rb"\x1b(\][^\x07]*\x07|\[[^@-~]*[@-~]|.)")


def main() -> list[Row]:
    """All of it."""
    with place() as here:
        return [*first_frames(here), *watching(here), *keys(here)]


def surroundings(here: Place) -> dict[str, str]:
    """A user's terminal, and a specdash that has run before: its modules are compiled."""
    kept = {name: value for name, value in here.environment.items() if name != "PYTHONDONTWRITEBYTECODE"}
    compiled = {"PYTHONPYCACHEPREFIX": str(here.folder / "compiled")}
    return kept | compiled | {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}


def a_run(here: Place, name: str, facts: list[object]) -> Path:
    """A run folder with these facts, that nothing is at work on."""
    from specdash.store.journal import line_of
    from tests.support.recorded_run import recorded

    path = here.folder / name
    path.mkdir()
    (path / "journal.jsonl").write_bytes(b"".join(map(line_of, recorded(facts))))  # type: ignore[arg-type]
    return path


# -- the first frame ----------------------------------------------------------------------------------------------


def first_frames(here: Place) -> list[Row]:
    """From the start of the process to the first frame, and to the first that shows the run."""
    from tests.support import live_runs

    run = a_run(here, "short", list(live_runs.facts()))
    rows = []
    for what, words, wanted in (
        ("specdash attach RUN: first frame", ("attach", run), has_letters),
        ("specdash attach RUN: the run is shown", ("attach", run), lambda seen: b"REPLAY" in seen),
        ("specdash: first frame of the start screen", (), has_letters),
    ):
        times = [first_frame(here, words, wanted) for _ in range(FIRST_TIMES + 1)][1:]
        rows.append(Row(what, f"< {FIRST_MS:.0f} ms", spread(times, unit=" ms"), median(times) < FIRST_MS))
    return rows


def has_letters(seen: bytes) -> bool:
    """Whether a frame has come."""
    return sum(chr(byte).isalpha() for byte in _ESCAPE.sub(b"", seen)) > LETTERS


def first_frame(here: Place, words: tuple[str | Path, ...], wanted: Callable[[bytes], bool]) -> float:
    """Milliseconds until what is wanted is on the terminal."""
    begun_s = time.perf_counter()
    with PtyProgram(here.command(*words), surroundings(here)) as program:
        program.read_until(wanted)
        return 1000 * (time.perf_counter() - begun_s)


# -- watching -----------------------------------------------------------------------------------------------------


class Reader:
    """Reads a dashboard's terminal to its end, as a terminal program does, and answers nothing."""

    def __init__(self, program: PtyProgram) -> None:
        self._program = program
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while not self._done.is_set():
            self._program.read(0.2)
            self._program.output.clear()

    def stop(self) -> None:
        """Before the terminal is closed."""
        self._done.set()
        self._thread.join()


@contextmanager
def engine(here: Place) -> Iterator[tuple[Path, Callable[[str], None]]]:
    """The made-up engine; its run folder, and how it is given orders."""
    path = here.folder / "watched"
    command = [sys.executable, "-m", "benchmarks.dashboard", str(path)]
    with subprocess.Popen(
        command, env=surroundings(here), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as made_up:
        assert made_up.stdin is not None
        assert made_up.stdout is not None
        into, out = made_up.stdin, made_up.stdout
        out.readline()

        def order(words: str) -> None:
            into.write(words + "\n")
            into.flush()
            out.readline()

        yield path, order
        made_up.kill()
    shutil.rmtree(path)


def watching(here: Place) -> list[Row]:
    """CPU and memory of the dashboard, after few facts and after many, and what it grows by."""
    rows = []
    with engine(here) as (path, order):
        with PtyProgram(here.command("attach", path), surroundings(here), (120, 36)) as program:
            reader = Reader(program)
            process = psutil.Process(program.pid)
            rows += used(process, "a run of few facts")
            order(f"sample {FACTS}")
            rows += used(process, f"{FACTS:,} samples later")
            before = process.memory_info().rss
            for _ in range(2):
                order(f"state {FACTS}")
            time.sleep(SETTLED_S)
            grown_mb = (process.memory_info().rss - before) / 1e6
            what = f"dashboard grows in {2 * FACTS:,} facts that leave nothing"
            rows.append(Row(what, "flat", f"{grown_mb:+.1f} MB"))
            process.kill()
            reader.stop()
        with PtyProgram(here.command("attach", path), surroundings(here), (120, 36)) as program:
            reader = Reader(program)
            rows += used(psutil.Process(program.pid), f"attached after {3 * FACTS:,} facts")
            program.send("d")
            reader.stop()
    return rows


def used(process: psutil.Process, when: str) -> list[Row]:
    """Two rows: CPU of one core, and resident memory."""
    time.sleep(SETTLED_S)
    begin_s, before = time.monotonic(), process.cpu_times()
    time.sleep(WATCHED_S)
    after = process.cpu_times()
    spent_s = after.user + after.system - before.user - before.system
    cpu = 100 * spent_s / (time.monotonic() - begin_s)
    rss_mb = process.memory_info().rss / 1e6
    return [
        Row(f"dashboard at 120x36, {when}: CPU of one core", f"< {CPU_PERCENT:g} %", f"{cpu:.1f} %", cpu < CPU_PERCENT),
        Row(f"dashboard at 120x36, {when}: resident", f"< {RSS_MB:g} MB", f"{rss_mb:.0f} MB", rss_mb < RSS_MB),
    ]


# -- keys ---------------------------------------------------------------------------------------------------------


def keys(here: Place) -> list[Row]:
    """Page down in a queue of thousands of steps, on the main screen and in the editor."""
    from tests.support.recorded_run import loaded, measured, started, step

    steps = [step(), *(step(k, f"category {number}") for number in range(STEPS // 8) for k in range(1, 9))][:STEPS]
    done = [fact for each in steps[: STEPS // 2] for fact in measured(each, [10.0, 11.0, 12.0])]
    path = a_run(here, "long", [started(steps), *loaded("l001", 8), *done])
    rows = []
    for name, key in (("main", ""), ("queue", "2")):
        with PtyProgram(here.command("attach", path), surroundings(here), (160, 48)) as program:
            program.read_until(b"REPLAY", 60)
            if key:
                program.send(key)
            settle(program, 3.0)
            times = [answered(program, b"\x1b[6~") for _ in range(KEYS)]
            program.send("d")
        first = [first_ms for first_ms, _ in times]
        last = [last_ms for _, last_ms in times]
        what = f"page down in {STEPS:,} steps, {name} screen at 160x48"
        rows += [
            Row(f"{what}: begins to repaint", "", spread(first, unit=" ms")),
            Row(f"{what}: repainted", f"< {KEY_MS:.0f} ms", spread(last, unit=" ms"), median(last) < KEY_MS),
        ]
    return rows


def settle(program: PtyProgram, quiet_s: float) -> None:
    """Waits until nothing has come for so long."""
    while program.read(quiet_s):
        pass


def answered(program: PtyProgram, key: bytes) -> tuple[float, float]:
    """Milliseconds from a key to the first and to the last byte of what it changes."""
    settle(program, QUIET_S)
    begun_s = time.perf_counter()
    program.send(key)
    first_s: float | None = None
    last_s = begun_s
    while select.select([program.fd], [], [], QUIET_S if first_s is not None else 2.0)[0]:
        program.output += os.read(program.fd, 65_536)
        last_s = time.perf_counter()
        first_s = first_s if first_s is not None else last_s
    if first_s is None:
        raise RuntimeError(f"{key!r} changed nothing")
    return 1000 * (first_s - begun_s), 1000 * (last_s - begun_s)


# -- the made-up engine -------------------------------------------------------------------------------------------


async def serve(path: Path) -> None:
    """A run with nine steps, that ticks and takes orders until it is killed."""
    from specdash.core import events as ev
    from tests.support import live_runs
    from tests.support.recorded_run import sample
    from tests.support.served_run import WatchedRun

    steps = [each.id for each in live_runs.STEPS]
    moves = ("ready", "send", "busy"), ("busy", "idle", "ready")
    made: Mapping[str, Callable[[int], ev.Fact]] = {
        "sample": lambda n: ev.SampleTaken(steps[n % len(steps)], "l001", sample(10.0 + n % 7), 10.0),
        "state": lambda n: ev.StateChanged("l001", *moves[n % 2]),
    }
    run = WatchedRun(path)
    run.fill(list(live_runs.facts()))
    orders: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def listen() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(orders.put_nowait, line)

    threading.Thread(target=listen, daemon=True).start()
    async with run.monitored(), asyncio.TaskGroup() as tasks:
        tasks.create_task(tick(run.tick))
        print("ready", flush=True)
        while True:
            kind, number = (await orders.get()).split()
            for n in range(int(number)):
                run.add(made[kind](n))
                if n % 20 == 0:
                    await asyncio.sleep(0.005)
            print("done", flush=True)


async def tick(tell: Callable[..., int]) -> None:
    """The ticks of a server that decodes, for ever."""
    from specdash.core.meter import TEXT_CHARS
    from specdash.core.ticks import ServerTick, TextRun
    from tests.support import live_runs
    from tests.support.painted_bytes import WORDS

    tell(ServerTick("l001", "busy", time.time()))
    at = 0
    text: list[TextRun] = []
    per_tick = int(TOK_S * TICK_S)
    while True:
        at += 1
        for number in range(per_tick // 5):
            start = (at * 31 + number * 17) % len(WORDS)
            piece = (WORDS + WORDS)[start : start + 22]
            text += [TextRun(piece[:18], drafted=True), TextRun(piece[18:], drafted=False)]
        while sum(len(run.text) for run in text) > TEXT_CHARS:
            del text[:2]
        tell(live_runs.token(tokens=at * per_tick % 512, max_tokens=512, rate_tok_s=200 + at % 7, text=tuple(text)))
        if at % 4 == 0:
            available = live_runs.MEMORY.available_bytes - (at % 40) * 2**22
            tell(replace(live_runs.MEMORY, available_bytes=available))
        if at % 20 == 0:
            tell(replace(live_runs.LOG, lines=(*live_runs.LOG.lines[1:], f"slot release: id 0 | task {at}")))
        await asyncio.sleep(TICK_S)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
