"""Whether the rates that specdash reports are those of the server, on a real llama.cpp.

The server's own log is the witness: it tells tokens and milliseconds of every request, by another way than the stream
that specdash reads. From these, (n - 1) / time is computed anew and held against result.json, sample by sample and in
the means. One thread serves, since two that wait for each other on a busy machine make rates that mean nothing.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.common import Row, facts, place, real_server, spread

MEASURE = 'categories = ["coding", "math"]\nmax_tokens = 144\niterations = 3\nwarmup = 1'
WARMUP, MAX_TOKENS = 1, 144
SERVED = re.compile(r"(?<!prompt )eval time = +([\d.]+) ms / +(\d+) tokens")


def main() -> list[Row]:
    """Runs a small sweep and compares it with what its servers logged."""
    program = real_server()
    with place() as here:
        run = here.run(here.profile("accuracy", program, (2, 4), MEASURE, 'args = ["-c", "4096", "-t", "1"]'))
        result = json.loads((run / "result.json").read_text(encoding="utf-8"))
        version = result["engine"]["version"]
        pairs = [pair for load in result["loads"] for pair in witnessed(run, load["id"])]
    samples = [sample for measurement in result["measurements"] for sample in measurement["samples"]]
    errors = [100 * abs(sample["decode_tok_s"] / rate - 1) for sample, rate in pairs]
    means = [100 * abs(reported / again - 1) for reported, again in map(summary, result["measurements"])]
    clocks = [100 * abs(sample["client_decode_time_s"] / sample["decode_time_s"] - 1) for sample in samples]
    complete = len(pairs) == len(samples) > 0
    return [
        Row(
            f"decode tok/s of {len(pairs)} of {len(samples)} samples vs (n - 1) / time in the log of {version}",
            "within 1 %",
            spread(errors, "{:.3f}", " %") if errors else "the log tells nothing",
            complete and max(errors) < 1,
        ),
        Row(
            "mean decode tok/s in result.json vs recomputed",
            "within 1 %",
            spread(means, "{:.3f}", " %"),
            max(means) < 1,
        ),
        Row("decode time, server's clock vs client's", "within 5 %", spread(clocks, "{:.2f}", " %"), max(clocks) < 5),
    ]


def witnessed(run: Path, load: str) -> list[tuple[dict[str, Any], float]]:
    """The samples of a load, each with the rate that follows from the server's log.

    Samples and log lines have the same order; probes and text checks are shorter than what is measured, and the warm-up
    comes before them. Nothing is paired when the counts do not fit.
    """
    log = (run / "logs" / f"{load}.log").read_text(encoding="utf-8", errors="replace")
    served = [(float(ms), int(tokens)) for ms, tokens in SERVED.findall(log)]
    served = [each for each in served if each[1] == MAX_TOKENS][WARMUP:]
    taken = [fact["sample"] for fact in facts(run, "sample_taken") if fact["load"] == load]
    if len(taken) != len(served):
        return []
    return [(sample, 1000 * (tokens - 1) / ms) for sample, (ms, tokens) in zip(taken, served, strict=True)]


def summary(measurement: dict[str, Any]) -> tuple[float, float]:
    """The reported mean of a measurement, and the mean of (n - 1) / time over its samples."""
    again = mean((sample["generated_tokens"] - 1) / sample["decode_time_s"] for sample in measurement["samples"])
    return float(measurement["summary"]["decode_tok_s"]["mean"]), again
