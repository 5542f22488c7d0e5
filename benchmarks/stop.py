"""How soon after the exit of a server specdash has noticed, ended whatever it left behind, and recorded its end.

The moment of the exit is seen from outside, through the process itself; the end is that of the journal's last fact
about the load. By then no process of the server is left, which the run proves before it records it.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import threading
import time
from datetime import datetime
from pathlib import Path

import psutil

from benchmarks.common import Place, Row, facts, place, real_server, spread

GOAL_S = 1.0
POLL_S = 0.02
MEASURE = 'categories = ["coding"]\nmax_tokens = 48\niterations = 2\nwarmup = 0'
FAKES = {
    "asked to stop": "",
    "asked to stop, leaves a child in a session of its own": "setsid_child=1",
    "ignores TERM, killed after 1 s": "ignore_term=1",
    "crashes in a request": "die_after_requests=5,die_signal=11",
}


def main() -> list[Row]:
    """Servers that end at once when they are told to, in all ways of ending, and a real one."""
    rows = []
    with place() as here:
        fake = here.profile("stop", here.fake_server(), (2, 4, 8), MEASURE, "grace_s = 1")
        real = here.profile("real", real_server(), (2, 4, 8), MEASURE, 'args = ["-c", "4096", "-t", "1"]')
        for kind, behaviour in FAKES.items():
            after, _ = ends(here, fake, f"speed=200,{behaviour}")
            rows.append(row(f"server {kind}: its exit to recorded as gone", after))
        after, stops = ends(here, real, "")
        rows.append(row("real server asked to stop: its exit to recorded as gone", after))
        rows.append(Row("real server: TERM to gone, its own clean-up included", "", spread(stops, "{:.0f}", " ms")))
    return rows


def row(what: str, after_ms: list[float]) -> Row:
    """A row of delays, milliseconds."""
    return Row(what, f"< {GOAL_S:g} s", spread(after_ms, "{:.0f}", " ms"), max(after_ms) < 1000 * GOAL_S)


def ends(here: Place, profile: Path, behaviour: str) -> tuple[list[float], list[float]]:
    """Milliseconds from each server's exit to its last fact, and what the run itself says that the stops took."""
    exits: dict[str, float] = {}
    watchers: list[threading.Thread] = []
    before = set(here.folder.glob("results/*"))
    environment = here.environment | {"FAKE_SERVER": behaviour}
    with subprocess.Popen(
        here.command("--headless", profile),
        cwd=here.folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as engine:
        known = 0
        while engine.poll() is None:
            for journal in here.folder.glob("results/*/journal.jsonl"):
                if journal.parent in before:
                    continue
                lines = journal.read_bytes().split(b"\n")[:-1]
                for line in lines[known:]:
                    fact = json.loads(line)
                    if fact["type"] == "load_ready":
                        watchers.append(threading.Thread(target=await_exit, args=(fact["pid"], fact["load"], exits)))
                        watchers[-1].start()
                known = len(lines)
            time.sleep(POLL_S)
    for watcher in watchers:
        watcher.join()
    (run,) = set(here.folder.glob("results/*")) - before
    finished = facts(run, "load_finished")
    after = [1000 * (datetime.fromisoformat(fact["t"]).timestamp() - exits[fact["load"]]) for fact in finished]
    return after, [1000 * fact["stop_s"] for fact in finished if fact["stop_s"] is not None]


def await_exit(pid: int, load: str, exits: dict[str, float]) -> None:
    """Notes when a process that is not ours has ended, seconds since 1970."""
    if hasattr(os, "pidfd_open"):
        descriptor = os.pidfd_open(pid)
        select.select([descriptor], [], [])
        exits[load] = time.time()
        os.close(descriptor)
    else:
        psutil.Process(pid).wait()
        exits[load] = time.time()
