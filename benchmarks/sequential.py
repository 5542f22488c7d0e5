"""Stopping by precision and the race of Ks, by simulation.

Prints two tables. Stopping: how often the 95 % interval shown after a stop holds the truth, how many runs stop with a
mean that is off by more than the precision, and the samples taken, by prompts, most samples and rule; worst and best
over noise and precision. The race: regret, wrongly dropped best arms, samples and loads on published K curves as
truths, beside measuring every K in full and a golden-section search on single samples. The stopping rules are
vectorised copies, since those not chosen are not in the product; `tests/analysis/test_sequential.py` holds the
product's own functions to the same truth. The race is the product's own.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from benchmarks.common import Row
from specdash.analysis.k_search import rounds
from specdash.analysis.sequential import BLIND, LEAST_DF, LOOK_CONFIDENCE
from tests.analysis.test_k_search import CURVES, K_MAX, START, Truth, run_race, truth_of

Array = NDArray[np.float64]
RUNS = 20000
NOISES = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1)
PRECISIONS = (0.01, 0.02, 0.05)
MOSTS = (5, 8, 12, 20, 50)
SEEDS = 6


@dataclass(frozen=True)
class Prefixes:
    """Of the first n samples, at index n - 1 of the last axis, in runs: what both intervals of a mean are made of.

    `error` is that of the mean of prompts' means, infinite below two degrees of freedom; `unit[m - 1, n - 1]` is the
    factor from the error at m to the error that n samples will have.
    """

    mean: Array
    error: Array
    df: Array
    unit: Array
    plain_mean: Array
    plain_error: Array


def simulate(rng: np.random.Generator, prompts: int, most: int, noise: float) -> Prefixes:
    """Rates with a true mean of 1; three prompts are 20 % slower, as fast, and 20 % faster than that."""
    effects = np.array([1.0]) if prompts == 1 else np.array([0.8, 1.0, 1.2])
    turn = np.arange(most) % prompts
    rates = effects[turn] * (1 + noise * rng.standard_normal((RUNS, most)))
    n = np.arange(1, most + 1)
    plain_mean = np.cumsum(rates, axis=1) / n
    plain_squares = np.maximum(np.cumsum(rates**2, axis=1) - n * plain_mean**2, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        plain_error = np.sqrt(plain_squares / (n - 1) / n)
        counts = np.stack([np.cumsum(turn == p) for p in range(prompts)])
        means = np.stack([np.cumsum(np.where(turn == p, rates, 0.0), axis=1) / counts[p] for p in range(prompts)])
        squares = sum(
            np.cumsum(np.where(turn == p, rates**2, 0.0), axis=1) / means[p] ** 2 - counts[p] for p in range(prompts)
        )
        df = (n - prompts).astype(float)
        relative = np.sqrt(np.maximum(np.asarray(squares), 0.0) / df)
        weight = np.sqrt((means**2 / counts[:, None, :]).sum(axis=0)) / prompts
        spread = np.sqrt((effects[:, None] ** 2 / counts).sum(axis=0)) / prompts
    error = np.where(df >= LEAST_DF, relative * weight, np.inf)
    mean = np.where(df >= LEAST_DF, means.mean(axis=0), plain_mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = spread[None, :] / spread[:, None]
    return Prefixes(mean, error, df, unit, plain_mean, plain_error)


Rule = Callable[[Prefixes, float], tuple[NDArray[np.int64], NDArray[np.bool_]]]


def t(confidence: float, df: NDArray[np.floating[Any]] | float) -> Array:
    """Half the width of an interval in standard errors; infinite below one degree of freedom."""
    return np.asarray(scipy_stats.t.ppf((1 + confidence) / 2, np.where(np.asarray(df) > 0, df, np.nan)))


def every_look(found: Prefixes, precision: float) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Stops as soon as the interval is narrow enough: what must not be done."""
    narrow = t(0.95, found.df) * found.error <= precision * found.mean
    return stop_at(narrow)


def bonferroni(found: Prefixes, precision: float) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The same with the error shared among all looks."""
    looks = max(1, int((found.df >= LEAST_DF).sum()))
    narrow = t(1 - 0.05 / looks, found.df) * found.error <= precision * found.mean
    return stop_at(narrow)


def stein(found: Prefixes, precision: float) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Stein's two stages: the size from the variance of a pilot with four degrees of freedom."""
    most = found.mean.shape[1]
    pilots = np.flatnonzero(found.df >= 4)
    if not len(pilots):
        return np.full(RUNS, most), np.zeros(RUNS, bool)
    pilot = int(pilots[0])
    half = t(0.95, found.df[pilot]) * found.error[:, pilot, None] * found.unit[pilot]
    narrow = half <= precision * found.mean[:, pilot, None]
    narrow[:, :pilot] = False
    return stop_at(narrow)


def blind(found: Prefixes, precision: float) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The product's rule: the first m samples settle whether 2 m will do."""
    most = found.mean.shape[1]
    narrow = np.zeros(found.mean.shape, bool)
    for look in range(1, most + 1):
        stop = BLIND * look
        if stop <= most and found.df[look - 1] >= LEAST_DF:
            half = t(LOOK_CONFIDENCE, found.df[look - 1]) * found.error[:, look - 1] * found.unit[look - 1, stop - 1]
            narrow[:, stop - 1] |= half <= precision * found.mean[:, look - 1]
    return stop_at(narrow)


def stop_at(narrow: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The samples taken until the first time that a rule holds, else all, and whether it did."""
    known = narrow.any(axis=1)
    taken: NDArray[np.int64] = np.where(known, narrow.argmax(axis=1) + 1, narrow.shape[1])
    return taken, np.asarray(known)


RULES: dict[str, Rule] = {
    "every look": every_look,
    "Bonferroni": bonferroni,
    "Stein": stein,
    "first half decides": blind,
}


@dataclass(frozen=True)
class Outcome:
    """Shares of runs in %: the intervals that hold the truth (of the prompts' means, of all samples), wrong claims."""

    covered: float
    plain: float
    wrong: float
    taken: float


def outcome(found: Prefixes, rule: Rule, precision: float) -> Outcome:
    """What a rule does in one setting; the intervals are those shown after the stop, the product's on the log scale."""
    taken, known = rule(found, precision)
    run, at = np.arange(RUNS), taken - 1
    plain_half = t(0.95, taken - 1.0) * found.plain_error[run, at]
    mean = found.mean[run, at]
    off = np.abs(mean - 1)
    pooled = found.df[at] >= LEAST_DF
    half = np.where(pooled, t(0.95, found.df[at]) * np.where(pooled, found.error[run, at], 0.0), plain_half)
    return Outcome(
        100 * float(np.mean(np.abs(np.log(mean)) <= half / mean)),
        100 * float(np.mean(np.abs(found.plain_mean[run, at] - 1) <= plain_half)),
        100 * float(np.mean(known & (off > precision))),
        float(taken.mean()),
    )


def stopping_table() -> list[Row]:
    """All rules; rows for the product's."""
    print(
        f"stopping, {RUNS} runs a setting, noise {NOISES[0]:.1%} to {NOISES[-1]:.0%}, precision {PRECISIONS} (three "
        "prompts 20 % apart):\n% of intervals that hold the truth, worst to best setting / most wrong claims in % / "
        "mean samples; last column: the plain t interval of all samples"
    )
    print(f"{'prompts':>7}{'most':>5}" + "".join(f"{name:>27}" for name in RULES) + f"{'plain t':>16}")
    rng = np.random.default_rng(11)
    covered: list[float] = []
    wrong: list[float] = []
    for prompts in (1, 3):
        for most in MOSTS:
            found = {noise: simulate(rng, prompts, most, noise) for noise in NOISES}
            row = f"{prompts:>7}{most:>5}"
            for rule in RULES.values():
                all_of = [outcome(found[noise], rule, precision) for noise in NOISES for precision in PRECISIONS]
                low, high = min(o.covered for o in all_of), max(o.covered for o in all_of)
                most_wrong, taken = max(o.wrong for o in all_of), np.mean([o.taken for o in all_of])
                row += f"{low:>10.1f} to {high:.1f} /{most_wrong:>4.1f} /{taken:>5.1f}"
                if rule is blind:
                    covered += [o.covered for o in all_of]
                    wrong += [o.wrong for o in all_of]
                    row += f"{min(o.plain for o in all_of):>7.1f} to {max(o.plain for o in all_of):.1f}"
            print(row)
    print()
    span = f"{min(covered):.1f} to {max(covered):.1f} %"
    met = min(covered) >= 93 and max(covered) <= 97
    return [
        Row("95 % interval of a step stopped by precision: holds the truth", "93 to 97 %", span, met),
        Row("steps stopped by precision that are off by more", "<= 5 %", f"{max(wrong):.1f} %", max(wrong) <= 5),
    ]


def golden_section(truth: Truth, noise: float, rng: random.Random) -> int:
    """The K that a golden-section search finds from one sample for each K."""
    seen: dict[int, float] = {}

    def sample(k: int) -> float:
        return seen.setdefault(k, truth[k] * (1 + noise * rng.gauss(0.0, 1.0)))

    low, high = 1, K_MAX
    while high - low > 2:
        step = (high - low) * (math.sqrt(5) - 1) / 2
        left, right = round(high - step), round(low + step)
        left -= left == right
        if sample(left) < sample(right):
            low = left
        else:
            high = right
    return max(range(low, high + 1), key=sample)


def race_table() -> list[Row]:
    """Every curve several times; rows of regret, wrong drops, and effort."""
    print(f"race of Ks on {len(CURVES)} published curves, {SEEDS} seeds each, precision 2 %, from K = {START}")
    print(
        f"{'noise':>6}{'most':>5}{'regret < 2 %':>14}{'worst':>8}{'best dropped':>14}{'settled':>9}{'Ks':>6}"
        f"{'samples':>9}{'loads':>7}{'grid in full':>18}{'1 to 48 in full':>19}{'golden section':>16}"
    )
    rows: list[Row] = []
    for noise, most in ((0.03, 64), (0.1, 64), (0.1, 128)):
        runs = []
        golden = 0
        for number, curve in enumerate(CURVES):
            truth = truth_of(curve)
            best = max(truth.values())
            for seed in range(SEEDS):
                runs.append(run_race(truth, noise, 1000 * number + seed, most, 0.02))
                golden += best / truth[golden_section(truth, noise, random.Random(seed))] - 1 < 0.02
        n = len(runs)
        good = 100 * sum(run.regret < 0.02 for run in runs) / n
        dropped = 100 * sum(run.best_dropped for run in runs) / n
        samples, loads = sum(run.samples for run in runs) / n, sum(run.loads for run in runs) / n
        print(
            f"{noise:>6.0%}{most:>5}{good:>12.1f} %{100 * max(run.regret for run in runs):>6.1f} %{dropped:>12.1f} %"
            f"{100 * sum(run.settled for run in runs) / n:>7.0f} %{sum(run.ks for run in runs) / n:>6.1f}"
            f"{samples:>9.0f}{loads:>7.1f}{f'{len(START) * most} in {len(START)} loads':>18}"
            f"{f'{K_MAX * most} in {K_MAX} loads':>19}{100 * golden / n:>14.1f} %"
        )
        label = f"noise {noise:.0%}, at most {most} samples"
        rows += [
            Row(f"race of Ks, {label}: regret under 2 %", ">= 95 % of runs", f"{good:.1f} %", good >= 95),
            Row(f"race of Ks, {label}: best arm dropped", "< 2 % of runs", f"{dropped:.1f} %", dropped < 2),
            Row(f"race of Ks, {label}: samples, loads", "", f"{samples:.0f}, {loads:.1f} ({rounds(most)} rounds)"),
            Row(f"golden-section search, {label[:9].rstrip(',')}: regret under 2 %", "", f"{100 * golden / n:.1f} %"),
        ]
    print()
    return rows


def main() -> list[Row]:
    """Prints both tables."""
    return [*stopping_table(), *race_table()]
