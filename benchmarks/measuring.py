"""What a dashboard costs the measurement that it watches: decode tok/s of a real server, and the lag of chunks.

One engine process at work, dashboards in terminals of their own that come and go beside it; only samples that were
taken wholly with, or wholly without them count, so both see the same machine at about the same time. The lag of a
chunk is how much later it came than the server's own clock says, against the quickest chunk of its request.

Run as a program it is that engine process: PROFILE and the file for what it has seen of its chunks and its loop.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import psutil

from benchmarks.common import Place, Row, facts, place, real_server
from tests.support.pty_program import PtyProgram

PAIRS = 20
SETTLED_S = 2.0  # a dashboard has started by then
TOKENS = 40
APART_S = 4.0  # how long it then stays, or stays away
RATE_GOAL_PERCENT = 1.0
LAG_ROUNDS = 4
LAG_S = 6.0
CROWDS = {"no dashboard": 0, "1 dashboard": 1, "3 dashboards": 3, "a client that never reads": -1}
PROBE_S = 0.02  # how often the loop is asked for the time
BUSY = 'categories = ["counting"]\nwarmup = 0\niterations = 2000\nmax_tokens = {}'

Interval = tuple[float, float]


def main() -> list[Row]:
    """Both: a real server for the rates, a fake one at 200 tok/s for the lag."""
    with place() as here:
        return [*rates(here), *lags(here)]


class Working:
    """An engine process at work on a run; `stop` ends it and gives what it noted."""

    def __init__(self, here: Place, profile: Path, **environment: str) -> None:
        self.here = here
        self._notes = here.folder / f"{profile.stem}.json"
        command = [sys.executable, "-m", "benchmarks.measuring", str(profile), str(self._notes)]
        self.process = subprocess.Popen(
            command, cwd=here.folder, env=here.environment | environment, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        said = self.process.stdout.readline().strip()
        if not said:
            raise RuntimeError(f"the engine ended with {self.process.wait()} before it began")
        self.run = Path(said)
        while not facts(self.run, "sample_taken"):
            if self.process.poll() is not None:
                raise RuntimeError(f"the engine ended with {self.process.returncode}")
            time.sleep(0.1)

    def stop(self) -> dict[str, Any]:
        """Ends the run."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        notes: dict[str, Any] = json.loads(self._notes.read_text())
        return notes

    @contextmanager
    def watched(self, dashboards: int) -> Iterator[None]:
        """With so many dashboards, each in a terminal that is read; -1: with a client that never reads."""
        with ExitStack() as stack:
            if dashboards < 0:
                stack.enter_context(deaf(self.run))
            for _ in range(dashboards):
                stack.enter_context(dashboard(self.here, self.run))
            yield


@contextmanager
def dashboard(here: Place, run: Path) -> Iterator[PtyProgram]:
    """`specdash attach` in a terminal of its own, detached from at the end."""
    environment = here.environment | {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}
    done = threading.Event()
    with PtyProgram([*here.command("attach", run)], environment, (120, 36)) as program:

        def read() -> None:
            while not done.is_set():
                program.read(0.2)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield program
        finally:
            program.send("d")
            program.wait(5)
            done.set()
            reader.join()


@contextmanager
def deaf(run: Path) -> Iterator[None]:
    """A client that says hello and reads nothing."""
    from specdash.remote.sources import dial

    with dial(run) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b'{"hello":1,"since":0}\n')
        yield


# -- decode rate --------------------------------------------------------------------------------------------------


def rates(here: Place) -> list[Row]:
    """Decode tok/s with a dashboard and without, in turn; the mean of each pair's differences."""
    from specdash.analysis.stats import CONFIDENCE, student_t_quantile
    from specdash.engines.demo import write_pair

    target, _ = write_pair(here.folder / "demo")
    profile = here.profile("rates", real_server(), (), BUSY.format(TOKENS), 'args = ["-c", "2048", "-t", "1"]')
    prompts = here.folder / "prompts.jsonl"
    prompts.write_text('{"category": "counting", "prompt": "Count from one to a thousand:"}\n')
    text = profile.read_text().replace(str(here.models()[0]), str(target))
    profile.write_text(text.replace("[measure]", f'[measure]\nprompts = "{prompts}"'))
    working = Working(here, profile)
    intervals: list[tuple[bool, Interval]] = []
    with_it, without = [], []
    for number in range(2 * PAIRS):
        attached = number % 2 == (number // 2) % 2  # A B, B A: a trend helps neither
        with working.watched(1 if attached else 0):
            time.sleep(SETTLED_S)
            begin_s = time.time()
            time.sleep(APART_S)
            intervals.append((attached, (begin_s, time.time())))
    working.stop()
    samples = [each["sample"] for each in facts(working.run, "sample_taken")]
    for first, second in zip(intervals[::2], intervals[1::2], strict=True):
        found = {
            attached: [each["decode_tok_s"] for each in inside(samples, when)] for attached, when in (first, second)
        }
        if found[True] and found[False]:
            with_it.append(mean(found[True]))
            without.append(mean(found[False]))
    changes = [100 * (a / b - 1) for a, b in zip(with_it, without, strict=True)]
    # Changes have a sign, so their interval is the plain one of Student's t.
    change = mean(changes)
    error = stdev(changes) / len(changes) ** 0.5 if len(changes) > 1 else float("nan")
    half = student_t_quantile((1 + CONFIDENCE) / 2, max(1, len(changes) - 1)) * error
    duration_s = median(each["decode_time_s"] or 0.0 for each in samples)
    return [
        Row(
            f"decode tok/s with a dashboard vs without, {len(changes)} pairs at {mean(without):.1f} tok/s"
            f" ({duration_s:.1f} s a sample)",
            f"within {RATE_GOAL_PERCENT:g} %",
            f"{change:+.2f} % (95 % interval {change - half:+.2f} to {change + half:+.2f})",
            abs(change) < RATE_GOAL_PERCENT,
        )
    ]


def inside(samples: Sequence[dict[str, Any]], when: Interval) -> list[dict[str, Any]]:
    """The samples that were decoded wholly within an interval."""
    found = []
    for each in samples:
        if each["decode_tok_s"] is not None and each["ttft_s"] is not None:
            begun_s, ended_s = each["started_s"] + each["ttft_s"], each["started_s"] + each["total_time_s"]
            if when[0] <= begun_s and ended_s <= when[1]:
                found.append(each)
    return found


# -- lag ----------------------------------------------------------------------------------------------------------


def lags(here: Place) -> list[Row]:
    """The lag of chunks, of the loop, and what memory grows by, with each crowd in turn."""
    profile = here.profile("lags", here.fake_server(), (), BUSY.format(150))
    working = Working(here, profile, FAKE_SERVER="speed=200,prompt_speed=1e6")
    process = psutil.Process(working.process.pid)
    intervals: dict[str, list[Interval]] = {crowd: [] for crowd in CROWDS}
    growth: dict[str, list[float]] = {crowd: [] for crowd in CROWDS}
    for number in range(LAG_ROUNDS):
        order = list(CROWDS.items())
        for crowd, count in order if number % 2 == 0 else reversed(order):
            with working.watched(count):
                time.sleep(SETTLED_S)
                begin_s, before = time.time(), process.memory_info().rss
                time.sleep(LAG_S)
                intervals[crowd].append((begin_s, time.time()))
                growth[crowd].append((process.memory_info().rss - before) / 1e6)
    notes = working.stop()
    rows = []
    for crowd, found in intervals.items():
        chunks = [1000 * lag for at, each in notes["chunks"] if within(at, found) for lag in each]
        loop = [1000 * lag for at, lag in notes["loop"] if within(at, found)]
        rows += [
            Row(f"lag of {len(chunks)} chunks with {crowd}", "as without", middle_and_p99(chunks)),
            Row(f"lag of the loop with {crowd}", "as without", middle_and_p99(loop)),
            Row(f"engine's memory in {LAG_S:.0f} s with {crowd}", "as without", f"{mean(growth[crowd]):+.2f} MB"),
        ]
    return rows


def within(at_s: float, intervals: Sequence[Interval]) -> bool:
    """Whether a moment lies in one of these."""
    return any(begin_s <= at_s <= end_s for begin_s, end_s in intervals)


def middle_and_p99(lags_ms: Sequence[float]) -> str:
    """Two quantiles, in words."""
    return f"p50 {quantile(lags_ms, 0.5):.2f} ms, p99 {quantile(lags_ms, 0.99):.2f} ms"


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of all is not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


# -- the engine process -------------------------------------------------------------------------------------------


def work(profile: Path, notes: Path) -> None:
    """Runs a profile as the engine process does, and notes the lag of every chunk and of the event loop."""
    import asyncio

    from specdash.config.load import check_profile
    from specdash.core.generation import Generation
    from specdash.remote.server import serving
    from specdash.runtime import request
    from specdash.session.handle import Handle, Watcher
    from specdash.session.run import start_new

    chunks: list[tuple[float, list[float]]] = []
    loop_lags: list[tuple[float, float]] = []
    judged = request.sample_of  # type: ignore[attr-defined]

    def noting(step: Any, generation: Generation, asked: Any) -> Any:
        known = [(each.t_s, each.predicted_ms) for each in generation.chunks if each.predicted_ms is not None]
        late = [t_s - ms / 1000 for t_s, ms in known]
        # The end of a request, by the wall.
        chunks.append((time.time(), [each - min(late) for each in late]))
        return judged(step, generation, asked)

    request.sample_of = noting  # type: ignore[attr-defined]

    async def probe() -> None:
        while True:
            begun_s = time.monotonic()
            await asyncio.sleep(PROBE_S)
            loop_lags.append((time.time(), time.monotonic() - begun_s - PROBE_S))

    @asynccontextmanager
    async def watch(handle: Handle) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks, serving(handle, print):
            print(handle.path, flush=True)
            probing = tasks.create_task(probe())
            yield
            probing.cancel()

    found = check_profile(profile)
    assert found.profile is not None, found.problems
    start_new(found.profile, Watcher(watch, lambda _: None))
    notes.write_text(json.dumps({"chunks": chunks, "loop": loop_lags}))


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    work(Path(sys.argv[1]), Path(sys.argv[2]))
