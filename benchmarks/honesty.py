"""How often the answers are right in simulated worlds, whose truth is known (tests/support: worlds.py, campaigns.py).

Prints a table by mode: regret of the chosen K, "off" where no draft gains anything, loads and samples to the answer;
and the coverage of the intervals of tok/s. `SPECDASH_BENCH_RUNS` is the number of runs of each row.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean, median

from benchmarks.common import Row
from tests.support import campaigns
from tests.support.campaigns import ALL_KS, CURVED, DRIFTING, KNOWN_TO, KS, LISTED, SEARCHED, drawn, useless
from tests.support.simulated_runs import Asked
from tests.support.worlds import World

RUNS = int(os.environ.get("SPECDASH_BENCH_RUNS", "100"))
MODES: Sequence[tuple[str, Asked, Sequence[int]]] = (
    ("list of K, 6 samples", LISTED, KS),
    ("curve", CURVED, ALL_KS),
    ("search", SEARCHED, ALL_KS),
)
NOISES = (("quiet", 0.005, 0.01), ("middle", 0.01, 0.03), ("noisy", 0.03, 0.1))


def main() -> list[Row]:
    """Prints the table of modes and noises; the rows are over worlds of all kinds."""
    rows: list[Row] = []
    for name, asked in (("6 samples", LISTED), ("stopped at ± 2 %", KNOWN_TO)):
        held = campaigns.share_true(campaigns.covered(RUNS, asked))
        rows.append(Row(f"95 % interval of tok/s, {name}", "93 to 97 %", f"{held:.1f} %", 93 <= held <= 97))
    print(f"{RUNS} runs a row; regret is the share by which the best K is faster than the chosen one")
    print(f"{'mode':<24}{'worlds':<10}{'< 2 %':>8}{'median':>9}{'p95':>8}{'largest':>9}{'loads':>7}{'samples':>9}")
    for name, asked, ks in MODES:
        good = table_row(name, "all", asked, ks, drawn)
        rows.append(Row(f"regret below 2 %, {name}", "in 95 %", f"{good:.1f} %", good >= 95))
        for noise, sample, step in NOISES:
            table_row(name, noise, asked, ks, partial(drawn, sample_noise=sample, step_noise=step))
        off = campaigns.share_true(
            [each.recommendation["off"] for each in campaigns.outcomes(RUNS, asked, ks, useless)]
        )
        rows.append(Row(f'"off" where nothing gains, {name}', "in 95 %", f"{off:.1f} %", off >= 95))
    drifting = partial(drawn, **DRIFTING)
    for name, asked in (("one pass", LISTED), ("two passes", replace(LISTED, iterations=3, passes=2))):
        bias = 100 * fmean(campaigns.biases(RUNS, asked, None, drifting))
        rows.append(Row(f"bias of a speedup, 10 % drift an hour, {name}", "", f"{bias:+.2f} %"))
    print()
    return rows


def table_row(name: str, worlds: str, asked: Asked, ks: Sequence[int], world: Callable[[int], World]) -> float:
    """Prints one row; the share of runs with a regret below 2 %, in percent."""
    found = list(campaigns.outcomes(RUNS, asked, ks, world))
    regrets = sorted(each.regret for each in found)
    good = campaigns.share_below(regrets, 0.02)
    p95 = regrets[int(0.95 * (len(regrets) - 1))]
    print(
        f"{name:<24}{worlds:<10}{good:>7.1f}%{100 * median(regrets):>8.2f}%{100 * p95:>7.2f}%{100 * regrets[-1]:>8.2f}%"
        f"{fmean(each.loads for each in found):>7.1f}{fmean(each.samples for each in found):>9.0f}",
        flush=True,
    )
    return good
