"""What the engine process takes while a server decodes: memory, and its share of one core at 200 tokens a second.

The fake server sends one event for each token, evenly paced: the dearest way to get 200 tokens a second. The whole
program is measured (`specdash --headless`), piped and on a terminal, where the narrator repaints twice a second.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

from benchmarks.common import Place, Row, facts, place, spread

TOK_S, TOKENS, SAMPLES, ROUNDS = 200, 1000, 3, 3
MEASURE = f'categories = ["coding"]\nmax_tokens = {TOKENS}\niterations = {SAMPLES}\nwarmup = 0'
POLL_S = 0.1
RSS_GOAL_MB, CPU_GOAL_PERCENT = 70, 5


@dataclass(frozen=True, slots=True)
class Use:
    """One run: CPU as a share of one core while decoding, resident memory then and at most, and the guard's."""

    cpu_percent: float
    rss_mb: float
    peak_rss_mb: float
    guard_rss_mb: float
    tok_s: float


def main() -> list[Row]:
    """Several runs of each kind, in turn."""
    uses: dict[str, list[Use]] = {"piped": [], "on a terminal": []}
    with place() as here:
        profile = here.profile("engine", here.fake_server(), (), MEASURE)
        for _ in range(ROUNDS):
            for kind, found in uses.items():
                found.append(watched(here, profile, terminal=kind != "piped"))
    rows = []
    for kind, found in uses.items():
        at = f"{kind}, at {median(use.tok_s for use in found):.0f} tok/s"
        cpu, rss, peak = ([getattr(use, name) for use in found] for name in ("cpu_percent", "rss_mb", "peak_rss_mb"))
        rows += [
            Row(f"engine {at}: CPU of one core", "< 5 %", spread(cpu, "{:.1f}", " %"), median(cpu) < CPU_GOAL_PERCENT),
            Row(f"engine {at}: resident", "< 70 MB", spread(rss, "{:.1f}", " MB"), median(rss) < RSS_GOAL_MB),
            Row(
                f"engine {kind}: resident, peak of the run",
                "< 70 MB",
                spread(peak, "{:.1f}", " MB"),
                median(peak) < RSS_GOAL_MB,
            ),
        ]
    guards = [use.guard_rss_mb for found in uses.values() for use in found]
    return [*rows, Row("guard process beside it: resident", "", spread(guards, "{:.1f}", " MB"))]


def watched(here: Place, profile: Path, *, terminal: bool) -> Use:
    """One run, looked at ten times a second; raises RuntimeError when it fails."""
    said = here.folder / "stderr"
    master, slave = os.openpty() if terminal else (-1, os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
    environment = here.environment | {"FAKE_SERVER": f"speed={TOK_S},prompt_speed=1e6", "TERM": "xterm-256color"}
    command = here.command("--headless", profile)
    seen: list[tuple[float, float, float]] = []
    guard_rss = 0.0
    with subprocess.Popen(command, cwd=here.folder, env=environment, stdout=subprocess.PIPE, stderr=slave) as engine:
        os.close(slave)
        if terminal:
            threading.Thread(target=drain, args=(master,), daemon=True).start()
        process = psutil.Process(engine.pid)
        while engine.poll() is None:
            with suppress(psutil.Error), process.oneshot():  # it may end between two looks
                times, rss = process.cpu_times(), process.memory_info().rss
                seen.append((time.time(), times.user + times.system, rss / 1e6))
                if len(seen) % 10 == 0:
                    guard_rss = sum(each.memory_info().rss for each in process.children()) / 1e6 or guard_rss
            time.sleep(POLL_S)
        assert engine.stdout is not None
        answer = engine.stdout.read().decode()
    if engine.returncode != 0:
        raise RuntimeError(f"the run ended with {engine.returncode}: {'' if terminal else said.read_text()}")
    samples = [fact["sample"] for fact in facts(Path(answer.strip()).parent, "sample_taken")]
    begin_s = samples[0]["started_s"] + samples[0]["ttft_s"]
    end_s = samples[-1]["started_s"] + samples[-1]["total_time_s"]
    decoding = [each for each in seen if begin_s <= each[0] <= end_s]
    (first_s, first_cpu_s, _), (last_s, last_cpu_s, _) = decoding[0], decoding[-1]
    return Use(
        cpu_percent=100 * (last_cpu_s - first_cpu_s) / (last_s - first_s),
        rss_mb=max(rss for _, _, rss in decoding),
        peak_rss_mb=max(rss for _, _, rss in seen),
        guard_rss_mb=guard_rss,
        tok_s=median(sample["client_decode_tok_s"] for sample in samples),
    )


def drain(master: int) -> None:
    """Reads a terminal to its end, as a terminal program does."""
    try:
        while os.read(master, 65536):
            pass
    except OSError:
        pass
    os.close(master)
