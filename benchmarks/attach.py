"""What it takes to attach to a run with 10,000 facts: reading, decoding and folding them, and all of it by socket."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common import Row, spread
from specdash.core import events as ev
from specdash.core.reduce import fold, fold_all
from specdash.core.state import RunState
from specdash.remote.feed import RunFeed, fold_events
from specdash.remote.run_source import CaughtUp, Event
from specdash.remote.sources import SocketSource
from specdash.store.journal import line_of, parse_line, read
from tests.support.recorded_run import START_S, loaded, measured, started, step

FACTS = 10_000
REPEATS = 5
BATCH_S = 0.05  # as ui.tui.viewer
CATEGORIES = ("coding", "conversation", "counting", "creative", "math")
SERVER = """
import asyncio, sys
from pathlib import Path
from specdash.core.ticks import Telemetry
from specdash.core.reduce import fold_all
from specdash.runtime.sockets import socket_path
from specdash.session.handle import Handle
from specdash.remote.server import SocketServer
BRIEF = {"FACTS": 200, "REPEATS": 1}


async def main():
    path = Path(sys.argv[1])
    async with SocketServer(Handle(path, None, Telemetry, None, lambda each: lambda: None), socket_path(path)):
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def facts() -> list[ev.Fact]:
    """The facts of a sweep with 30 steps, as often as it takes."""
    steps = [step(k, category) for category in CATEGORIES for k in (None, 2, 4, 8, 16, 32)]
    found: list[ev.Fact] = [started(steps), *loaded("l001", 32)]
    while len(found) < FACTS:
        found += measured(steps[len(found) % len(steps)], [10.0 + number for number in range(20)])
        found.append(ev.StateChanged("l001", "busy", "idle", "ready"))
    return found[:FACTS]


async def attached(path: Path) -> tuple[float, RunState]:
    """Seconds from nothing to a view of the whole run, folded in batches as the dashboard does."""
    begin = time.perf_counter()
    source = await SocketSource.open(path)
    feed, batch = RunFeed(), list[Event]()
    turn_s = begin + BATCH_S
    async for event in source.events():
        batch.append(event)
        if isinstance(event, CaughtUp) or time.perf_counter() > turn_s:
            feed = fold_events(feed, batch)
            batch.clear()
            if feed.caught_up:
                break
            await asyncio.sleep(0)
            turn_s = time.perf_counter() + BATCH_S
    taken = time.perf_counter() - begin
    await source.close()
    return taken, feed.view


def main() -> list[Row]:
    """Measures; the rows of the table."""
    with tempfile.TemporaryDirectory(prefix="sd-") as folder:
        os.environ["XDG_RUNTIME_DIR"] = folder
        path = Path(folder) / "run"
        path.mkdir()
        recorded = [ev.Recorded(number, START_S + number, fact) for number, fact in enumerate(facts(), start=1)]
        (path / "journal.jsonl").write_bytes(b"".join(map(line_of, recorded)))
        lines = (path / "journal.jsonl").read_bytes().splitlines()
        times: dict[str, list[float]] = {"read": [], "decode": [], "fold": [], "one": [], "attach": []}
        for _ in range(REPEATS):
            begin = time.perf_counter()
            read(path / "journal.jsonl")
            read_at = time.perf_counter()
            found = [parse_line(line, verify=False) for line in lines]
            decoded_at = time.perf_counter()
            known = [each for each in found if each is not None]
            view = fold_all(known)
            folded_at = time.perf_counter()
            again = RunState()
            for each in known:
                again = fold(again, each)
            assert again == view
            times["one"].append(time.perf_counter() - folded_at)
            times["read"].append(read_at - begin)
            times["decode"].append(decoded_at - read_at)
            times["fold"].append(folded_at - decoded_at)
        command = [sys.executable, "-c", SERVER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ) as server:
            assert server.stdout is not None
            server.stdout.readline()
            for _ in range(REPEATS):
                taken, seen = asyncio.run(attached(path))
                assert seen == view
                times["attach"].append(taken)
            server.kill()
    many = f"{FACTS:,} facts"
    return [
        Row(f"{many}: read from a folder, verified", "", spread(times["read"], "{:.2f}", " s")),
        Row(f"{many}: decode lines of a socket", "", spread(times["decode"], "{:.2f}", " s")),
        Row(f"{many}: folded together", "", spread(times["fold"], "{:.2f}", " s")),
        Row(f"{many}: folded one by one", "", spread(times["one"], "{:.2f}", " s")),
        Row(f"{many}: attach, from connect to view", "< 1 s", spread(times["attach"], "{:.2f}", " s"),
            sorted(times["attach"])[REPEATS // 2] < 1),
    ]  # fmt: skip
