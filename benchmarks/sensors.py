"""The sensors of the memory pane: what one read costs, by the size of the model files."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from benchmarks.common import Row, spread
from specdash.probes.sensors import Sensors

ROUNDS = 50
LIMIT_MS = 20.0


def main() -> list[Row]:
    """Files with holes only; pages that are in the cache cost about a quarter more to look at."""
    with tempfile.TemporaryDirectory(prefix="specdash-bench-") as name:
        folder = Path(name)
        one = [sparse(folder / "one.gguf", 2**30)]
        shards = [sparse(folder / f"shard-{number}.gguf", 6 * 2**30) for number in range(100)]
        return [
            row("sensors: a read without a model", []),
            row("sensors: a read with a model of 1 GB", one),
            row("sensors: a read with a model of 600 GiB in 100 files", shards),
        ]


def row(what: str, files: list[Path]) -> Row:
    """Wall time of reads after the first, which opens what stays open."""
    sensors = Sensors()
    sensors.read([os.getpid()], files)
    times_ms = []
    for _ in range(ROUNDS):
        begun_s = time.perf_counter()
        sensors.read([os.getpid()], files)
        times_ms.append((time.perf_counter() - begun_s) * 1e3)
    sensors.close()
    middle_ms = sorted(times_ms)[ROUNDS // 2]
    return Row(what, f"under {LIMIT_MS:.0f} ms", spread(times_ms, "{:.1f}", " ms"), middle_ms < LIMIT_MS)


def sparse(path: Path, size: int) -> Path:
    """A file of this size that takes no room."""
    with path.open("wb") as file:
        file.truncate(size)
    return path
