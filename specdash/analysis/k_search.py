"""The search for the best K: which Ks still can be the best, where to try more, and when the best is known. Pure.

In the field this is a racing algorithm: arms that are surely worse are dropped while the others go on.

The arms are the Ks of one pair (target, draft, config, experts, depth). They are compared in pairs on the same
(category, prompt, block), so what a prompt does to all of them is no error. An arm is dropped only when it is slower
than the leader beyond an interval that is corrected for the number of arms and looks, so that all looks together drop
the best arm in under 5 % of runs (simulated on published curves: under 1 %, `benchmarks/sequential.py`). The
race is settled once the leader is known to be within the precision of every arm that is left; ties are no reason to
go on. How the caller runs it: a round gives those of the racing arms that are furthest behind `next_samples` more, one
load each; then `standing` again, with the standing before it; once it is settled, or no racing arm may take more, new
Ks (`refine`) join, until there are none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from specdash.analysis.sequential import checked_rates
from specdash.analysis.stats import CONFIDENCE, student_t_quantile

Key = tuple[str, str, int]

FIRST_ROUND = 6
GROWTH = 2
CLOSED_RATIO = 1.25
BESIDE_LEADER = 0.25  # of the precision: what is beside the leader is looked at for less
HUMP = 0.75
STRATA_DF = 6
_NO_ERROR = 1e-12


@dataclass(frozen=True, slots=True)
class KSamples:
    """One K and its finished samples: ((category, prompt id, block), tok/s).

    A K whose server or samples failed for good is left out by the caller: what was never measured keeps a race open.
    """

    k: int
    rates: Sequence[tuple[Key, float]]


@dataclass(frozen=True, slots=True)
class Standing:
    """How the race stands.

    `best` leads by its estimate. `alive` are the arms that are not beaten; `racing` those of them that need more
    samples: the leader, and what may be faster than it by more than the precision. `beaten`: K -> why, with figures;
    stays so. `kept`: arms among the alive that are beaten overall and lead in a category. `tied`: arms, the leader
    among them, that are known to lose less than the precision to any arm alive. `possible`: arms that a plain 95 %
    interval cannot tell from the leader, the places to look for peaks. `estimates`: speeds relative to one of the arms.
    """

    best: int | None
    alive: tuple[int, ...]
    beaten: Mapping[int, str]
    settled: bool
    reason: str
    racing: tuple[int, ...] = ()
    kept: Mapping[int, str] = field(default_factory=dict)
    tied: tuple[int, ...] = ()
    possible: tuple[int, ...] = ()
    estimates: Mapping[int, float] = field(default_factory=dict)

    @property
    def choice(self) -> int | None:
        """The K to recommend: the smallest of the tied, else the leader."""
        return min(self.tied, default=self.best)


@dataclass(frozen=True, slots=True)
class _Ratio:
    """The ratio of two arms' mean rates on shared keys; `error` is that of its logarithm."""

    value: float
    error: float
    df: int
    n: int

    def low(self, alpha: float) -> float:
        """The bound that the true ratio is below with a probability of at most `alpha`."""
        return self.value * math.exp(-min(self._half(alpha), 700.0))

    def high(self, alpha: float) -> float:
        """The bound that the true ratio is above with a probability of at most `alpha`."""
        return self.value * math.exp(min(self._half(alpha), 700.0))

    def _half(self, alpha: float) -> float:
        return student_t_quantile(1 - alpha, self.df) * self.error if self.error > _NO_ERROR else 0.0


class _Field:
    """The samples of all arms by K, and the ratios between them."""

    def __init__(self, arms: Sequence[KSamples]) -> None:
        self.rates: dict[int, dict[Key, float]] = {arm.k: dict(arm.rates) for arm in arms}
        for arm in arms:
            checked_rates([rate for _, rate in arm.rates])

    def ratio(self, k: int, other: int, category: str | None = None) -> _Ratio | None:
        """How many times as fast `k` is as `other`; None where fewer than two keys are shared.

        As `stats.speedup` does for pairs: residuals r_i = a_i / mean(a) - b_i / mean(b), error of the logarithm
        sd(r) / sqrt(n); here always on the shared keys, however few. That a draft is accepted more on some prompts and
        categories shifts their residuals at every block and is no error: where enough degrees of freedom are left, sd
        is the scatter around the mean of each prompt, or else of each category.
        """
        a, b = self.rates[k], self.rates[other]
        keys = [key for key in a if key in b and category in (None, key[0])]
        n = len(keys)
        if n < 2:
            return None
        a_mean, b_mean = fmean(a[key] for key in keys), fmean(b[key] for key in keys)
        residuals = [(key, a[key] / a_mean - b[key] / b_mean) for key in keys]
        variance, df = _within_strata(residuals)
        return _Ratio(a_mean / b_mean, math.sqrt(variance / n), df, n)

    def estimates(self) -> dict[int, float]:
        """Each arm's rate as a multiple of that of the arm with the most samples (the smallest K of them)."""
        measured = [k for k, rates in self.rates.items() if rates]
        if not measured:
            return {}
        reference = min(measured, key=lambda k: (-len(self.rates[k]), k))
        return {k: self._estimate(k, reference) for k in sorted(measured)}

    def categories(self) -> list[str]:
        """All categories that were measured."""
        return sorted({key[0] for rates in self.rates.values() for key in rates})

    def _estimate(self, k: int, reference: int) -> float:
        a, b = self.rates[k], self.rates[reference]
        shared = [key for key in a if key in b]
        if not shared:
            return fmean(a.values()) / fmean(b.values())
        return fmean(a[key] for key in shared) / fmean(b[key] for key in shared)


def standing(arms: Sequence[KSamples], precision: float, looks: int, before: Standing | None = None) -> Standing:
    """How the race stands after a round.

    `precision` is the share by which the choice may be slower than the best (0.02 = 2 %); `looks` how often an arm's
    samples grow at the most (`rounds`): its share of the 5 % is spent in equal parts on them. Arms that `before` has
    as beaten stay so: they are not to come back because a later look is stricter. Raises ValueError for rates that are
    not above 0, or not finite.
    """
    race = _Field(arms)
    estimates = race.estimates()
    beaten = {k: why for k, why in (before.beaten if before else {}).items() if k in race.rates}
    alive = [k for k in sorted(race.rates) if k not in beaten]
    running = [k for k in alive if k in estimates]
    if not running:
        return Standing(None, tuple(alive), beaten, False, "nothing is measured yet", racing=tuple(alive))
    best = min(running, key=lambda k: (-estimates[k], k))
    alpha = (1 - CONFIDENCE) / max(1, looks) / max(1, len(race.rates) - 1)
    losers = dict(_losers(race, alive, best, alpha))
    kept = {k: why for k in losers if (why := _category_lead(race, k, best, alive, alpha, precision)) is not None}
    beaten |= {k: why for k, why in losers.items() if k not in kept}
    alive = [k for k in alive if k not in beaten]
    rivals = [k for k in alive if k not in kept]
    tied = tuple(
        k for k in rivals if all(_within(race.ratio(k, other), precision, alpha) for other in rivals if other != k)
    )
    open_leads = [k for k in kept if not kept[k][1]]
    settled = best in tied and not open_leads
    unproven = [k for k in rivals if k == best or not _within(race.ratio(best, k), precision, alpha)]
    possible = [
        k for k in rivals if k == best or (r := race.ratio(k, best)) is None or r.high((1 - CONFIDENCE) / 2) >= 1
    ]
    return Standing(
        best=best,
        alive=tuple(alive),
        beaten=beaten,
        settled=settled,
        reason=_reason(race, best, rivals, alpha, precision, [kept[k][0] for k in open_leads]),
        racing=() if settled else tuple(sorted([*unproven, *open_leads])),
        kept={k: words for k, (words, _) in kept.items()},
        tied=tied,
        possible=tuple(possible),
        estimates=estimates,
    )


def refine(arms: Sequence[KSamples], standing: Standing, k_max: int, precision: float) -> tuple[int, ...]:
    """New Ks to try, ascending: beside each K that can be a peak, halfway (geometrically) to the measured neighbours.

    A K can be a peak where a plain 95 % interval does not tell it from the leader; and a K that is faster than both its
    neighbours and three quarters as fast as the leader can be the foot of a higher hump that lies between. Beyond the
    smallest and the largest K measured, half and twice of them, from 1 to `k_max`. Nothing where neighbours are closer
    than a factor of 1.25, so repeated calls come to an end, or where the curve is so flat on both sides that nothing
    between can be worth `precision`, a quarter of it beside the leader (`_summit`); at most two for each peak.
    """
    ks = sorted(arm.k for arm in arms)
    lead = standing.estimates.get(standing.best or 0, 0.0)
    worth, slack = lead * (1 + precision), lead * precision
    found: set[int] = set()
    for peak in {*standing.possible, *_humps(standing)}:
        at = ks.index(peak)
        found |= {max(1, peak // 2)} if at == 0 else set()
        found |= {min(k_max, 2 * peak)} if at == len(ks) - 1 else set()
        for low in range(max(0, at - 1), min(at + 1, len(ks) - 1)):
            between = _between(ks[low], ks[low + 1])
            enough = lead * (1 + precision * BESIDE_LEADER) if peak == standing.best else worth
            if between is not None and _summit(standing.estimates, ks, low, slack) > enough:
                found.add(between)
    return tuple(sorted(k for k in found - set(ks) if k <= k_max))


def next_samples(have: int, most: int) -> int:
    """How many samples of each step an arm that is alive takes in its next round; 0 at `most`.

    6 at first, then as many as it has: a server that is started for one K is started seldom. A rest of less than half
    a round is taken along.
    """
    more = FIRST_ROUND if have < FIRST_ROUND else have * (GROWTH - 1)
    rest = most - have
    return max(0, rest if rest < 1.5 * more else more)


def rounds(most: int) -> int:
    """How many rounds an arm takes from its first sample to `most`: the looks that `standing` pays for."""
    have, count = 0, 0
    while more := next_samples(have, most):
        have, count = have + more, count + 1
    return max(1, count)


def _within_strata(residuals: Sequence[tuple[Key, float]]) -> tuple[float, int]:
    """The variance of residuals around the mean of their prompt, category, or all; and its degrees of freedom.

    The finest of them that keeps `STRATA_DF`; which one depends on the keys alone, never on the rates.
    """
    for depth in (2, 1, 0):
        strata: dict[tuple[str | int, ...], list[float]] = {}
        for key, residual in residuals:
            strata.setdefault(key[:depth], []).append(residual)
        df = len(residuals) - len(strata)
        if df >= STRATA_DF or depth == 0:
            break
    squares = sum((r - fmean(stratum)) ** 2 for stratum in strata.values() for r in stratum)
    return squares / df, df


def _losers(race: _Field, alive: Sequence[int], best: int, alpha: float) -> Iterator[tuple[int, str]]:
    """The arms that are slower than the leader beyond their interval, and why."""
    for k in alive:
        ratio = race.ratio(k, best) if k != best else None
        if ratio is not None and ratio.high(alpha) < 1:
            least = _percent(1 - ratio.high(alpha))
            yield k, f"{_percent(1 - ratio.value)} slower than K = {best}, at least {least} ({ratio.n} pairs)"


def _category_lead(
    race: _Field, k: int, best: int, alive: Sequence[int], alpha: float, precision: float
) -> tuple[str, bool] | None:
    """Why a beaten arm is kept: it leads in a category, by what may be worth more than the precision.

    Returns the words, and whether the lead is proven; None where it leads nowhere.
    """
    categories = race.categories()
    alpha /= len(categories)
    words: list[str] = []
    proven = True
    for category in categories if len(categories) > 1 else ():
        ratio = race.ratio(k, best, category)
        if ratio is None or ratio.value <= 1 or ratio.high(alpha) <= 1 + precision:
            continue
        others = [race.ratio(other, best, category) for other in alive if other not in (k, best)]
        if any(other is not None and other.value > ratio.value for other in others):
            continue
        words.append(f"K = {k} leads in {category} by {_percent(ratio.value - 1)}")
        proven = proven and ratio.low(alpha) > 1
    return (", ".join(words), proven) if words else None


def _within(ratio: _Ratio | None, precision: float, alpha: float) -> bool:
    """Whether the first arm is known to be no more than `precision` slower than the second."""
    return ratio is not None and ratio.low(alpha) >= 1 / (1 + precision)


def _reason(
    race: _Field, best: int, rivals: Sequence[int], alpha: float, precision: float, open_leads: Sequence[str]
) -> str:
    """Where the race stands, in a sentence."""
    gains = {k: r.high(alpha) - 1 if (r := race.ratio(k, best)) else math.inf for k in rivals if k != best}
    if not gains:
        words = f"K = {best} leads, all others are beaten"
    else:
        rival = min(gains, key=lambda k: (-gains[k], k))
        if math.isinf(gains[rival]):
            return f"K = {best} leads, K = {rival} has too few samples to be compared"
        far = "no other K" if gains[rival] <= precision else f"K = {rival}"
        can = "can be more than" if gains[rival] <= precision else "may still be"
        words = f"K = {best} leads, {far} {can} {_percent(max(gains[rival], 0.0))} faster"
    return "; not settled yet: ".join([words, *open_leads[:1]])


def _summit(speeds: Mapping[int, float], ks: Sequence[int], low: int, slack: float) -> float:
    """The most that a concave curve over log K can reach between `ks[low]` and the next: where its flanks meet.

    Infinite where speeds are missing, and where the curve is not concave by more than `slack`: then nothing is known.
    """
    around = [ks[i] if 0 <= i < len(ks) else None for i in range(low - 1, low + 3)]
    outer_left, left, right, outer_right = around
    if any(k is not None and k not in speeds for k in around) or left is None or right is None:
        return math.inf
    a, b, width = speeds[left], speeds[right], math.log(right / left)
    from_left = a + (a - speeds[outer_left]) * width / math.log(left / outer_left) if outer_left else math.inf
    from_right = b + (b - speeds[outer_right]) * width / math.log(outer_right / right) if outer_right else math.inf
    if from_left < b - slack or from_right < a - slack:
        return math.inf
    if math.isinf(from_left) or math.isinf(from_right):
        return max(a, b, min(from_left, from_right))
    over_left, over_right = max(0.0, from_right - a), max(0.0, from_left - b)
    both = over_left + over_right
    return max(a, b, a + (from_left - a) * over_left / both if both else a)


def _between(low: int, high: int) -> int | None:
    """The K halfway between two measured ones on a logarithmic scale; None where the gap is closed."""
    if high - low < 2 or high / low < CLOSED_RATIO:
        return None
    return min(max(round(math.sqrt(low * high)), low + 1), high - 1)


def _humps(standing: Standing) -> Iterator[int]:
    """The Ks whose estimate exceeds that of both neighbours and comes near the leader's."""
    if standing.best is None:
        return
    ks = sorted(standing.estimates)
    speeds = [0.0, *(standing.estimates[k] for k in ks), 0.0]
    for k, below, speed, above in zip(ks, speeds, speeds[1:], speeds[2:], strict=False):
        if speed >= max(below, above, HUMP * standing.estimates[standing.best]):
            yield k


def _percent(share: float) -> str:
    """A share as a percentage with one digit behind the point."""
    return f"{100 * share:.1f} %"
