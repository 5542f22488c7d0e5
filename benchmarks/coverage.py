"""How often the 95 % intervals of `specdash.analysis.stats` hold the truth, and how wide they are.

Prints two tables: intervals of a mean by distribution, n and method; intervals of a speedup by what varies, n and
method. The rows for the common table are those of the methods that the product uses. Vectorised copies of the formulas
are simulated, since bootstrap-t is not in the product; `tests/analysis/test_stats.py` holds the product's own functions
to the same truth.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from benchmarks.common import Row, spread

Array = NDArray[np.float64]
RESAMPLES = 399
RUNS = 4000


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Array, float]:
    """Rates that scatter by 2 %; returns samples and their true mean."""
    return rng.normal(100.0, 2.0, shape), 100.0


def rough(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Array, float]:
    """Rates that scatter by 20 %, as on a machine that others use."""
    return rng.normal(100.0, 20.0, shape), 100.0


def lognormal(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Array, float]:
    """Skewed to the right, sigma 0.5."""
    return rng.lognormal(0.0, 0.5, shape), float(np.exp(0.125))


def rare_slow(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Array, float]:
    """Rates that scatter by 2 %, one in ten disturbed by something else on the machine and 25 % slower."""
    disturbed = rng.random(shape) < 0.1
    return rng.normal(100.0, 2.0, shape) * np.where(disturbed, 0.75, 1.0), 97.5


def t_interval(x: Array, _rng: np.random.Generator) -> tuple[Array, Array]:
    """Student's t interval of each row's mean."""
    n = x.shape[1]
    half = scipy_stats.t.ppf(0.975, n - 1) * x.std(axis=1, ddof=1) / np.sqrt(n)
    return x.mean(axis=1) - half, x.mean(axis=1) + half


def t_on_log_scale(x: Array, _rng: np.random.Generator) -> tuple[Array, Array]:
    """The same with the relative error as that of the logarithm: what the product uses."""
    n = x.shape[1]
    centre = x.mean(axis=1)
    half = scipy_stats.t.ppf(0.975, n - 1) * x.std(axis=1, ddof=1) / np.sqrt(n) / centre
    return centre * np.exp(-half), centre * np.exp(half)


def percentile_bootstrap(x: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Percentiles of the means of resamples of each row."""
    picks = rng.integers(0, x.shape[1], (RESAMPLES, x.shape[1]))
    low, high = np.quantile(x[:, picks].mean(axis=2), [0.025, 0.975], axis=1)
    return low, high


def bootstrap_t(x: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Bootstrap-t: the t statistic's own distribution from resamples; resamples of one value alone are left out."""
    n = x.shape[1]
    resampled = x[:, rng.integers(0, n, (RESAMPLES, n))]
    centre, spread = x.mean(axis=1), x.std(axis=1, ddof=1)
    resampled_spread = resampled.std(axis=2, ddof=1)
    alone = resampled_spread <= 1e-9 * spread[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(alone, np.nan, (resampled.mean(axis=2) - centre[:, None]) / resampled_spread)
    low, high = np.nanquantile(t, [0.025, 0.975], axis=1)
    return centre - high * spread, centre - low * spread


def welch_log(spec: Array, base: Array) -> tuple[Array, Array]:
    """Ratio of means on the log scale, the two arms independent, Welch-Satterthwaite degrees of freedom."""
    n = spec.shape[1]
    u = spec.var(axis=1, ddof=1) / spec.mean(axis=1) ** 2 / n
    v = base.var(axis=1, ddof=1) / base.mean(axis=1) ** 2 / n
    half = scipy_stats.t.ppf(0.975, (u + v) ** 2 / ((u**2 + v**2) / (n - 1))) * np.sqrt(u + v)
    centre = np.log(spec.mean(axis=1) / base.mean(axis=1))
    return centre - half, centre + half


def paired_log(spec: Array, base: Array) -> tuple[Array, Array]:
    """Geometric mean of the ratios of pairs."""
    return t_interval(np.log(spec / base), np.random.default_rng(0))


def paired_ratio(spec: Array, base: Array) -> tuple[Array, Array]:
    """Ratio of means on the log scale; its error from the pairs' linearised residuals."""
    n = spec.shape[1]
    residuals = spec / spec.mean(axis=1, keepdims=True) - base / base.mean(axis=1, keepdims=True)
    half = scipy_stats.t.ppf(0.975, n - 1) * residuals.std(axis=1, ddof=1) / np.sqrt(n)
    centre = np.log(spec.mean(axis=1) / base.mean(axis=1))
    return centre - half, centre + half


# name, scatter (relative): of a prompt in both arms, of a prompt in the speculative arm alone, of either arm's noise
ARMS = (
    ("same speed on all prompts", 0.00, 0.00, 0.02, 0.02),
    ("acceptance varies by prompt", 0.00, 0.10, 0.02, 0.02),
    ("prompts differ in speed", 0.10, 0.00, 0.02, 0.02),
    ("both", 0.10, 0.10, 0.02, 0.02),
    ("a quiet baseline", 0.02, 0.05, 0.02, 0.002),
    ("unlike arms (-0.7 correlated)", -0.03, 0.00, 0.02, 0.02),
)


def two_arms(
    rng: np.random.Generator, shape: tuple[int, int], common: float, own: float, noise_s: float, noise_b: float
) -> tuple[Array, Array]:
    """Rates of both arms on the same prompts; true ratio of means 1.6. A negative `common` moves them oppositely."""
    prompt = rng.normal(0.0, abs(common), shape)
    spec = 80.0 * (1 + prompt + rng.normal(0.0, own, shape) + rng.normal(0.0, noise_s, shape))
    base = 50.0 * (1 + np.sign(common or 1.0) * prompt + rng.normal(0.0, noise_b, shape))
    return spec, base


def main() -> list[Row]:
    """Prints both tables; the rows are of the methods in use, t on the log scale (normal samples) and paired ratio."""
    rng = np.random.default_rng(7)
    return [mean_table(rng), speedup_table(rng)]


def mean_table(rng: np.random.Generator) -> Row:
    """Intervals of a mean."""
    print(f"interval of a mean, {RUNS} runs: coverage % / median width relative to Student's t")
    means: dict[str, Callable[[Array, np.random.Generator], tuple[Array, Array]]] = {
        "Student's t": t_interval,
        "t on the log scale": t_on_log_scale,
        "bootstrap-t": bootstrap_t,
        "percentile": percentile_bootstrap,
    }
    print(f"{'distribution':<32}{'n':>3}" + "".join(f"{name:>20}" for name in means))
    in_use: list[float] = []
    for draw in (normal, rough, lognormal, rare_slow):
        for n in (2, 3, 5, 10, 30):
            x, truth = draw(rng, (RUNS, n))
            row = f"{draw.__name__:<32}{n:>3}"
            reference = 0.0
            for method in means.values():
                low, high = method(x, rng)
                width = float(np.median(high - low))
                reference = reference or width
                covered = 100 * float(np.mean((low <= truth) & (truth <= high)))
                row += f"{covered:>12.1f} /{width / reference:>6.2f}"
                if method is t_on_log_scale and draw in (normal, rough):
                    in_use.append(covered)
            print(row)
    print()
    return covering("interval of a mean, normal samples", in_use)


def speedup_table(rng: np.random.Generator) -> Row:
    """Intervals of a speedup."""
    print(f"interval of a speedup (truth 1.6), {RUNS} runs: coverage % / median width in % of the speedup")
    arms = {"Welch, log": welch_log, "geometric, paired": paired_log, "ratio, paired": paired_ratio}
    print(f"{'what varies':<32}{'n':>3}" + "".join(f"{name:>20}" for name in arms))
    in_use: list[float] = []
    for name, *scatter in ARMS:
        for n in (3, 5, 10):
            spec, base = two_arms(rng, (RUNS, n), *scatter)
            row = f"{name:<32}{n:>3}"
            for speedup in arms.values():
                low, high = speedup(spec, base)
                covered = 100 * float(np.mean((low <= np.log(1.6)) & (np.log(1.6) <= high)))
                row += f"{covered:>12.1f} /{100 * float(np.median(high - low)):>6.2f}"
                if speedup is paired_ratio:
                    in_use.append(covered)
            print(row)
    print()
    return covering("interval of a speedup, paired", in_use)


def covering(what: str, covered: list[float]) -> Row:
    """A row of coverages, one for each n and kind of samples."""
    met = max(abs(each - 95) for each in covered) <= 2
    return Row(f"95 % {what}: holds the truth", "95 ± 2 %", spread(covered, "{:.1f}", " %"), met)
