"""The journal and model files: appending with syncs, reading and folding a long run, the header of a large model."""

from __future__ import annotations

import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import gguf
import psutil

from benchmarks.common import Row, spread
from specdash.config.gguf import read_model
from specdash.core import events as ev
from specdash.core.reduce import fold_all
from specdash.core.state import RunState
from specdash.store.journal import Journal, line_of, read
from tests.support.paths import ROOT
from tests.support.recorded_run import loaded, measured, started, step

ROUNDS = 5
APPENDS = 500
FACTS = 10_000
VOCABULARY, MERGES = 152_064, 151_387  # of Qwen2.5


def main() -> list[Row]:
    """Everything on the disk that holds this project, since a folder for temporary files may be memory."""
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=ROOT / "results") as name:
        folder = Path(name)
        return [*journal_rows(folder), *header_rows(folder)]


def journal_rows(folder: Path) -> list[Row]:
    """Appending with a sync each, and a long journal read and folded."""
    records = long_run()
    path = folder / "journal.jsonl"
    path.write_bytes(b"".join(map(line_of, records)))
    size_mb = path.stat().st_size / 1e6
    rates = [append_rate(folder / f"{number}.jsonl", records) for number in range(ROUNDS)]
    reads = timed(lambda: read(path))
    found = read(path).records
    folds = timed(lambda: fold_all(found))
    tracemalloc.start()
    view = fold_all(read(path).records)
    kept_mb = tracemalloc.get_traced_memory()[0] / 1e6
    tracemalloc.stop()
    assert isinstance(view, RunState)
    disk = f"on {filesystem(folder)}"
    return [
        Row(f"journal: facts appended per second, each synced, {disk}", "", spread(rates, "{:,.0f}")),
        Row(f"journal: {len(found):,} facts ({size_mb:.1f} MB) read and checked", "", spread(reads, "{:.0f}", " ms")),
        Row(f"journal: {len(found):,} facts folded", "", spread(folds, "{:.0f}", " ms")),
        Row(f"journal: memory of the view of {len(found):,} facts", "", f"{kept_mb:.1f} MB"),
    ]


def long_run() -> list[ev.Recorded]:
    """A run of 200 steps, one load for each, with as many samples as make 10,000 facts."""
    steps = [step(k, f"category {number}") for number in range(100) for k in (None, 8)]
    samples = FACTS // len(steps) - 4
    facts: list[ev.Fact] = [started(steps)]
    for number, each in enumerate(steps):
        load = f"l{number:03d}"
        facts += [*loaded(load, each.k), *measured(each, [50.0] * samples, load=load)]
    return [ev.Recorded(number, 1795255200.0 + number, fact) for number, fact in enumerate(facts[:FACTS], start=1)]


def append_rate(path: Path, records: list[ev.Recorded]) -> float:
    """Facts per second of a new journal."""
    journal = Journal.create(path)
    start_s = time.perf_counter()
    for recorded in records[:APPENDS]:
        journal.append(recorded.fact)
    rate = APPENDS / (time.perf_counter() - start_s)
    journal.close()
    return rate


def header_rows(folder: Path) -> list[Row]:
    """A file with the vocabulary and merges of a large model, and no weights to speak of."""
    path = folder / "large.gguf"
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_block_count(1)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([f"token{number:06d}" for number in range(VOCABULARY)])
    writer.add_token_types([1] * VOCABULARY)
    writer.add_token_merges([f"to ken{number:06d}" for number in range(MERGES)])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    times = timed(lambda: read_model(path))
    size_mb = path.stat().st_size / 1e6
    return [
        Row(
            f"GGUF header, {VOCABULARY:,} tokens and {MERGES:,} merges ({size_mb:.0f} MB)",
            "",
            spread(times, "{:.0f}", " ms"),
        )
    ]


def timed(work: Callable[[], object]) -> list[float]:
    """Milliseconds of several calls."""
    times = []
    for _ in range(ROUNDS):
        start_s = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - start_s))
    return times


def filesystem(folder: Path) -> str:
    """The file system that holds a folder, as far as the system tells."""
    mounts = [(part.mountpoint, part.fstype) for part in psutil.disk_partitions(all=True)]
    holding = [mount for mount in mounts if folder.resolve().is_relative_to(mount[0])]
    return max(holding, key=lambda mount: len(mount[0]), default=("", "an unknown file system"))[1]
