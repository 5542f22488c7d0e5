"""Statistics of few samples: summaries, intervals, speedups. Pure; standard library only.

What is measured here is never negative: rates, times, bytes, counts, and ratios of them. So every interval is one of
the logarithm, value * e^-h to value * e^h, where h is the relative error that the interval allows for. It never
reaches 0, however few samples there are and however unlike they are; where h is small it is the plain one.

Which interval, and why, was decided by simulated coverage (`benchmarks/coverage.py` prints the tables). For a
mean, Student's t with the standard error over the mean as that of the logarithm covers 95 % of normal samples at every
n >= 2, whether they scatter by 2 % or 30 %, and 93 to 95 % of lognormal ones (sigma 0.5). On the plain scale it covers
the same of normal samples and 92 to 94 % of lognormal ones, and reaches below 0 in 27 % of pairs of samples that
scatter by 10 %. Bootstrap-t covers 82 % at n = 3, where one resample in nine is a single value; at n = 5 it is 1.4
times as wide for 1 to 2 points more on lognormal samples. The percentile bootstrap covers 75 % at n = 3 and 83 % at
n = 5. No method sees a rare slow outlier that is not among the samples: with one in ten 25 % slower, 3 to 10 samples
cover 65 to 83 % by Student's t and 60 to 73 % by bootstrap-t, so look at `min` too.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

Interval = tuple[float, float]

CONFIDENCE = 0.95
_EPSILON = 1e-16
_TINY = 1e-300
_LARGE_DF = 1e5
POOLED_DF = 6


@dataclass(frozen=True, slots=True)
class Summary:
    """What a list of samples says; `stddev` (of a sample, n - 1) and `ci95` (of the mean) are None for one value.

    Files of other tools tell the mean and perhaps more: what they do not tell is None.

    `ci95` is on the log scale, so it never reaches below 0; it is None too where a value does, which nothing measured
    here can.

    `median` and `p95` interpolate linearly between the closest ranks (Hyndman and Fan's type 7, NumPy's default): p95
    is the value at rank 1 + 0.95 (n - 1), so below n = 21 it lies between the two largest.
    """

    n: int | None = field(default=None, kw_only=True)
    mean: float
    stddev: float | None = None
    min: int | float | None = None  # counts stay whole
    max: int | float | None = None
    median: float | None = None
    p95: float | None = None
    ci95: Interval | None = None


@dataclass(frozen=True, slots=True)
class Speedup:
    """How many times as fast the speculative arm is as the baseline.

    `stddev` is the scatter of single measurements propagated to their quotient, not the error of `value`; `ci95` is
    the interval that holds the true ratio of means. Both are None with fewer than two samples in either arm.
    """

    value: float
    stddev: float | None = None
    ci95: Interval | None = None


def summarise(values: Sequence[float]) -> Summary | None:
    """The summary of `values`; None of nothing. Raises ValueError for NaN and infinity."""
    _refuse_not_finite(values)
    if not values:
        return None
    n = len(values)
    ordered = sorted(values)
    mean = statistics.fmean(ordered)
    stddev = _stdev(ordered, mean) if n > 1 else None
    ci95 = None
    if stddev is not None and ordered[0] >= 0:
        ci95 = log_interval(mean, _t(n - 1) * stddev / math.sqrt(n))
    return Summary(
        n=n,
        mean=mean,
        stddev=stddev,
        min=ordered[0],
        max=ordered[-1],
        median=_quantile(ordered, 0.5),
        p95=_quantile(ordered, 0.95),
        ci95=ci95,
    )


def speedup(
    spec: Sequence[tuple[Hashable, float]],
    base: Sequence[tuple[Hashable, float]],
    level: float = CONFIDENCE,
    strata: Sequence[Callable[[Hashable], Hashable]] = (),
) -> Speedup | None:
    """The ratio of mean rates of two arms; None where either has no samples. `ci95` has the confidence `level`.

    Each sample is (key, rate); a key says what was measured, such as (prompt id, block). Where the arms share at least
    two keys, and half as many as the longer arm has samples, only samples of shared keys count, as pairs: what a
    prompt does to both arms is then no error. The residuals r_i = spec_i / mean(spec) - base_i / mean(base) give the
    standard error of the logarithm of the ratio, sd(r) / sqrt(n), with n - 1 degrees of freedom (the delta method for
    a ratio estimator; Cochran, Sampling Techniques, chapter 6). Simulated, that covers 94 to 96 % at n = 3, 5 and 10
    whatever the correlation; taking the arms as independent covers 87 to 100 %, and is up to five times as wide where
    prompts differ in speed. Otherwise, and where an arm has a key twice, the arms are taken as independent, on the log
    scale with the degrees of freedom of Welch and Satterthwaite.

    `strata` map a key to the part of the question it belongs to, such as its prompt or category, the finest first.
    Parts are fixed and not drawn by chance, so what a part does to the ratio is no error of pairs either, and only the
    scatter within parts counts (the combined ratio estimator; Cochran, chapter 6.11). The finest is taken that leaves 6
    degrees of freedom, pooled over its parts; the last one takes each part by itself and needs two pairs in it, else
    all are one. Which it is depends on the keys alone, never on the rates.

    `stddev` = value * sqrt((sd(spec) / mean(spec))^2 + (sd(base) / mean(base))^2).
    Raises ValueError for NaN, infinity, and rates that are not above 0.
    """
    _refuse_not_rates([rate for _, rate in (*spec, *base)])
    if not spec or not base:
        return None
    paired = _shared(spec, base)
    spec_rates, base_rates = paired or ([rate for _, rate in spec], [rate for _, rate in base])
    spec_mean, base_mean = statistics.fmean(spec_rates), statistics.fmean(base_rates)
    value = spec_mean / base_mean
    if min(len(spec_rates), len(base_rates)) < 2:
        return Speedup(value, None, None)
    spec_relative = _stdev(spec_rates, spec_mean) / spec_mean
    base_relative = _stdev(base_rates, base_mean) / base_mean
    if paired:
        residuals = [s / spec_mean - b / base_mean for s, b in zip(spec_rates, base_rates, strict=True)]
        levels = [(s / spec_mean + b / base_mean) / 2 for s, b in zip(spec_rates, base_rates, strict=True)]
        error, df = _error_of_pairs(_shared_keys(spec, base), residuals, levels, strata)
    else:
        error, df = _welch(
            spec_relative**2 / len(spec_rates), len(spec_rates), base_relative**2 / len(base_rates), len(base_rates)
        )
    half = student_t_quantile((1 + level) / 2, df) * error
    return Speedup(value, value * math.hypot(spec_relative, base_relative), log_interval(value, value * half))


def log_interval(value: float, error: float) -> Interval:
    """The interval on the log scale around a `value` of at least 0 with an `error` in its own unit.

    value * exp(-error / value) to value * exp(error / value): the delta method for the logarithm. It never reaches 0,
    and its upper end is infinite where it exceeds the range of floats. Around 0, which only zeros have as their mean,
    it has no width.
    """
    if value <= 0:
        return value, value
    return _grown(value, -error / value), _grown(value, error / value)


def drift(first: Sequence[float], last: Sequence[float]) -> float | None:
    """The relative change of the mean from the first block to the last: 0.03 = 3 % more; None where it is undefined.

    Raises ValueError for NaN and infinity.
    """
    _refuse_not_finite((*first, *last))
    if not first or not last:
        return None
    start = statistics.fmean(first)
    return (statistics.fmean(last) - start) / start if start else None


@lru_cache(maxsize=512)
def student_t_quantile(p: float, df: float) -> float:
    """The t with P(T <= t) = p of Student's distribution with `df` > 0 degrees of freedom; 0 < p < 1.

    Inverts the regularised incomplete beta function, with x = df / (df + t^2) (Abramowitz and Stegun, 26.7.1), by
    bisection in log(t^2 / df), where neither tail loses digits. Infinite where it exceeds the range of floats. Above
    1e5 degrees of freedom: the normal quantile with the first terms of its expansion in 1 / df (26.7.5).
    """
    if not 0.0 < p < 1.0:
        raise ValueError(f"a probability is needed, above 0 and below 1, not {p}")
    if not df > 0.0:
        raise ValueError(f"degrees of freedom must be above 0, not {df}")
    if p == 0.5:
        return 0.0
    if p < 0.5:
        return -_upper_quantile(p, df)
    return _upper_quantile(1.0 - p, df)


def _upper_quantile(tail: float, df: float) -> float:
    """The t > 0 that is exceeded with probability `tail` < 0.5."""
    if df > _LARGE_DF:
        z = -statistics.NormalDist().inv_cdf(tail)
        return z + (z**3 + z) / (4 * df) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * df**2)
    low, high = -1500.0, 1500.0
    while high - low > 1e-13 * max(1.0, abs(low)):
        middle = (low + high) / 2
        if _too_low(middle, tail, df):
            low = middle
        else:
            high = middle
    exponent = (low + high) / 4 + math.log(df) / 2
    return math.exp(exponent) if exponent < 709.0 else math.inf


def _too_low(v: float, tail: float, df: float) -> bool:
    """Whether t^2 / df = exp(v) is exceeded with a probability above `tail`; compares the smaller of both sides."""
    log_x, log_y = -_softplus(v), -_softplus(-v)
    if tail < 0.25:
        return _incomplete_beta(df / 2, 0.5, log_x, log_y) > 2 * tail
    return _incomplete_beta(0.5, df / 2, log_y, log_x) < 1 - 2 * tail


def _softplus(v: float) -> float:
    """log(1 + exp(v)) without overflow."""
    return max(v, 0.0) + math.log1p(math.exp(-abs(v)))


def _incomplete_beta(a: float, b: float, log_x: float, log_y: float) -> float:
    """The regularised incomplete beta function I_x(a, b), from the logarithms of x and of y = 1 - x.

    Continued fraction (Abramowitz and Stegun, 26.5.8) on the side where it converges fast.
    """
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * log_x + b * log_y
    front = math.exp(log_front) if log_front > -745.0 else 0.0
    x, y = math.exp(log_x), math.exp(log_y)
    if x < (a + 1) / (a + b + 2):
        return front * _beta_fraction(a, b, x) / a
    return 1.0 - front * _beta_fraction(b, a, y) / b


def _beta_fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of the incomplete beta function, by Lentz's method as Thompson and Barnett changed it."""
    c = 1.0
    d = 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 2000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1.0 / _away_from_zero(1.0 + term * d)
            c = _away_from_zero(1.0 + term / c)
            value *= d * c
        if abs(d * c - 1.0) < _EPSILON * 4:
            break
    return value


def _away_from_zero(value: float) -> float:
    """`value`, or the smallest stand-in that can still be divided by."""
    return value if abs(value) > _TINY else _TINY


def _t(df: float) -> float:
    """Half the width of the 95 % interval, in standard errors."""
    return student_t_quantile((1 + CONFIDENCE) / 2, df)


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Linear interpolation between the closest ranks."""
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def _shared(
    spec: Sequence[tuple[Hashable, float]], base: Sequence[tuple[Hashable, float]]
) -> tuple[list[float], list[float]] | None:
    """The rates of both arms at the keys that they share, in the same order; None where they form no pairs."""
    by_key: Mapping[Hashable, float] = dict(spec)
    base_by_key: Mapping[Hashable, float] = dict(base)
    keys = _shared_keys(spec, base)
    if len(by_key) < len(spec) or len(base_by_key) < len(base) or 2 * len(keys) < max(4, len(spec), len(base)):
        return None
    return [by_key[key] for key in keys], [base_by_key[key] for key in keys]


def _shared_keys(spec: Sequence[tuple[Hashable, float]], base: Sequence[tuple[Hashable, float]]) -> list[Hashable]:
    """The keys of both arms, each once, in the order of the first."""
    known = {key for key, _ in base}
    return [key for key in dict(spec) if key in known]


def _error_of_pairs(
    keys: Sequence[Hashable],
    residuals: Sequence[float],
    levels: Sequence[float],
    strata: Sequence[Callable[[Hashable], Hashable]],
) -> tuple[float, float]:
    """Standard error and degrees of freedom of the mean of residuals, by the finest strata that can bear it.

    Pooled, noise is taken to be a share of the rate: residuals are divided by the mean level of their part (the rates
    relative to the arms' means) for the common scatter s, and error^2 = s^2 * sum of n_h level_h^2 / n^2.
    """
    for stratum in strata:
        parts: dict[Hashable, list[tuple[float, float]]] = {}
        for key, *pair in zip(keys, residuals, levels, strict=True):
            parts.setdefault(stratum(key), []).append((pair[0], pair[1]))
        is_last = stratum is strata[-1]
        df = len(residuals) - len(parts)
        if is_last and min(map(len, parts.values())) > 1:
            return _stratified([[residual for residual, _ in part] for part in parts.values()])
        if not is_last and df >= POOLED_DF:
            return _pooled(list(parts.values()), df), float(df)
    return _stratified([residuals])


def _pooled(parts: Sequence[Sequence[tuple[float, float]]], df: int) -> float:
    """The standard error of the mean of residuals, from (residual, level) pairs and their common relative scatter."""
    squares = weights = 0.0
    for part in parts:
        level = statistics.fmean(each for _, each in part)
        middle = statistics.fmean(residual for residual, _ in part)
        squares += math.fsum((residual - middle) ** 2 for residual, _ in part) / level**2
        weights += len(part) * level**2
    return math.sqrt(squares / df * weights) / sum(map(len, parts))


def _stratified(parts: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Standard error and degrees of freedom of the mean of residuals, by their scatter within the parts.

    v_h = n_h s_h^2 / n^2; error^2 = sum of v_h, with (sum of v_h)^2 / (sum of v_h^2 / (n_h + 1)) - 2 degrees of freedom
    (Satterthwaite's, unbiased in the fourth moments; Cochran, 5.4). One part: sd / sqrt(n), n - 1.
    """
    n = sum(map(len, parts))
    if len(parts) == 1:
        return _stdev(parts[0], statistics.fmean(parts[0])) / math.sqrt(n), float(n - 1)
    squared = [len(part) * _stdev(part, statistics.fmean(part)) ** 2 / n**2 for part in parts]
    total = sum(squared)
    if total == 0.0:
        return 0.0, float(n - len(parts))
    # Satterthwaite's own estimate, without the + 2 and - 2, is too small where parts have few samples.
    freedom = total**2 / sum(each**2 / (len(part) + 1) for each, part in zip(squared, parts, strict=True)) - 2
    return math.sqrt(total), max(freedom, float(min(map(len, parts)) - 1))


def _stdev(values: Sequence[float], mean: float) -> float:
    """The standard deviation of a sample (n - 1) of at least two; hypot neither overflows nor loses small digits."""
    return math.hypot(*[value - mean for value in values]) / math.sqrt(len(values) - 1)


def _welch(u: float, n: int, v: float, m: int) -> tuple[float, float]:
    """Standard error and degrees of freedom of a difference; `u` and `v` are the squared errors of its terms."""
    if u + v == 0.0:
        return 0.0, float(n + m - 2)
    return math.sqrt(u + v), (u + v) ** 2 / (u**2 / (n - 1) + v**2 / (m - 1))


def _grown(value: float, log_factor: float) -> float:
    """`value` * exp(`log_factor`), infinite where that exceeds the range of floats."""
    return value * math.exp(log_factor) if log_factor < 700.0 else math.inf


def _refuse_not_finite(values: Sequence[float]) -> None:
    """Raises ValueError for NaN and infinity: they would spread into every figure made from them."""
    for value in values:
        if not math.isfinite(value):
            raise ValueError(f"{value} is no measurement")


def _refuse_not_rates(values: Sequence[float]) -> None:
    """Raises ValueError for what cannot be a rate."""
    _refuse_not_finite(values)
    for value in values:
        if value <= 0:
            raise ValueError(f"a rate must be above 0, not {value}")
