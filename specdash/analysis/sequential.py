"""When a step is known well enough to stop, by a rule that stays valid however often it is asked. Pure.

Samples are decode rates, one a block; prompts take turns and differ in speed. What is to be known is the mean of the
prompts' own rates, so the error is the scatter around each prompt's mean (`estimate`). Student's t interval of all
samples alike takes the differences between prompts for noise: with three prompts 10 % apart and 2 % of noise it
covers 100 % and is several times too wide.

Asking after each sample whether the interval is narrow enough stops where the scatter happens to look small: the
interval that is then shown covers down to 90 %, and no better than 91 to 92 % with Bonferroni's correction over looks
(which changes when to stop, not that a small scatter was waited for) or with Stein's two stages from a pilot of 5 (7
with three prompts). So here samples decide about a later stop: the first half settles whether twice as many will do,
and the second half is blind, since the decision cannot be taken back. Each look asks for 97.5 % where 95 % is claimed,
which pays for asking often. `benchmarks/sequential.py` prints the simulated table: noise 0.5 to 10 %, precision
0.01 to 0.05, at most 5 to 50 samples, one prompt or three, 20 % apart. The 95 % interval that `estimate` gives after
such a stop covers 93.5 % in the worst setting and 95.3 % in the best, and at most 4.4 % of runs stop with a mean that
is off by more than the precision. The price is that one prompt takes at least 6 samples and three take at least 10.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from specdash.analysis.stats import CONFIDENCE, Interval, log_interval, student_t_quantile

LOOK_CONFIDENCE = 0.975
BLIND = 2
LEAST_SAMPLES = 3
LEAST_DF = 2


@dataclass(frozen=True, slots=True)
class Estimate:
    """The mean rate of `n` samples; `ci95`, on the log scale as all of `stats`, is None for a single sample."""

    n: int
    mean: float
    ci95: Interval | None


@dataclass(frozen=True, slots=True)
class _Scatter:
    """Relative scatter around the prompts' means, and the standard error per unit of it that a mean has."""

    mean: float
    relative: float
    df: int
    means: dict[str, float]

    def error(self, counts: dict[str, int]) -> float:
        """The standard error of the mean of prompts' means, with so many samples of each prompt.

        Noise is taken to be a share of the rate: error^2 = s^2 * sum(mean_p^2 / n_p) / P^2.
        """
        return self.relative * math.sqrt(sum(self.means[p] ** 2 / n for p, n in counts.items())) / len(counts)


def known_to(samples: Sequence[tuple[str, float]], precision: float, most: int) -> bool:
    """Whether the mean rate is known to within +- `precision` (a share: 0.02 = 2 %), so that the step can stop.

    `samples` are (prompt id, rate) in block order, `most` is how many the step takes at the most. Once true it stays
    true for more samples, unless they are of a prompt that the first half lacked. Never true below `least_samples`.
    False at `most` means that the step ends without being known so well.
    Raises ValueError for rates that are not above 0, or not finite.
    """
    checked_rates([rate for _, rate in samples])
    taken = min(len(samples), most)
    prompts = {prompt for prompt, _ in samples}
    for look in range(LEAST_SAMPLES, taken + 1):
        # As often for every prompt: else the mean would be of another mix of prompts than that of other steps.
        stop = math.ceil(BLIND * look / len(prompts)) * len(prompts)
        if stop > taken:
            return False
        scatter = _scatter(samples[:look])
        if scatter.df < LEAST_DF or len(scatter.means) < len(prompts):
            continue
        half = student_t_quantile((1 + LOOK_CONFIDENCE) / 2, scatter.df) * scatter.error(_counts(samples[:stop]))
        if half <= precision * scatter.mean:
            return True
    return False


def least_samples(prompts: int) -> int:
    """The fewest samples after which a step with so many prompts can stop by precision; below it, precision is idle."""
    return math.ceil(BLIND * max(LEAST_SAMPLES, prompts + LEAST_DF) / prompts) * prompts


def estimate(samples: Sequence[tuple[str, float]]) -> Estimate | None:
    """The mean rate of a step and its 95 % interval; None without samples. `samples` are (prompt id, rate).

    The mean of all samples, with the error from the scatter around each prompt's own mean: it is for the mean of the
    prompts in the mix in which they were asked. Where prompts were hardly repeated (fewer than two degrees of freedom),
    Student's t interval of all samples: it is wider where prompts differ, never too narrow.
    Raises ValueError for rates that are not above 0, or not finite.
    """
    rates = [rate for _, rate in samples]
    checked_rates(rates)
    if not rates:
        return None
    if len(rates) == 1:
        return Estimate(1, rates[0], None)
    scatter = _scatter(samples)
    mean = fmean(rates)
    if scatter.df >= LEAST_DF:
        counts = _counts(samples)
        error = scatter.relative * math.sqrt(sum(n * scatter.means[p] ** 2 for p, n in counts.items())) / len(rates)
        df = scatter.df
    else:
        error, df = stdev(rates) / math.sqrt(len(rates)), len(rates) - 1
    half = student_t_quantile((1 + CONFIDENCE) / 2, df) * error
    return Estimate(len(rates), mean, log_interval(mean, half))


def checked_rates(rates: Sequence[float]) -> None:
    """Raises ValueError for what cannot be a rate: NaN, infinity, 0 and below."""
    for rate in rates:
        if not math.isfinite(rate) or rate <= 0:
            raise ValueError(f"a rate must be finite and above 0, not {rate}")


def _scatter(samples: Sequence[tuple[str, float]]) -> _Scatter:
    """What the samples say of the noise: residuals relative to each prompt's mean, pooled over prompts."""
    by_prompt: dict[str, list[float]] = {}
    for prompt, rate in samples:
        by_prompt.setdefault(prompt, []).append(rate)
    means = {prompt: fmean(rates) for prompt, rates in by_prompt.items()}
    squares = sum((rate / means[prompt] - 1) ** 2 for prompt, rate in samples)
    df = len(samples) - len(means)
    return _Scatter(fmean(means.values()), math.sqrt(squares / df) if df else 0.0, df, means)


def _counts(samples: Sequence[tuple[str, float]]) -> dict[str, int]:
    """How often each prompt was asked."""
    counts: dict[str, int] = {}
    for prompt, _ in samples:
        counts[prompt] = counts.get(prompt, 0) + 1
    return counts
