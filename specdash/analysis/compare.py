"""Two results side by side: two runs, machines or builds, what both measured, and why two cannot be compared. Pure.

Works on results (`analysis.result`), so that a journal, a result.json and another tool's file are compared alike. What
makes numbers incomparable (other prompts, lengths, sampling, workloads or model files) is a reason to refuse. Machines
and builds are what one compares: that they differ is said.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from specdash.analysis.comparability import builds, machines, reasons
from specdash.analysis.grouping import arm_of
from specdash.analysis.result import RATE, Measurement, Result
from specdash.analysis.speedups import PARTS, Keyed, keyed_rates
from specdash.analysis.stats import CONFIDENCE, Summary, log_interval, speedup, student_t_quantile
from specdash.core.methods import BASELINE
from specdash.core.numbers import finite, positive
from specdash.core.plan import Step
from specdash.core.text import plural

OVERALL = "overall"
PREFILL, TTFT, TOTAL = "prefill_tok_s", "ttft_s", "total_time_s"

_DIFFERS = "output_differs"
_GRAVE = (_DIFFERS, "impossible", "drifted")
_BAD = ("failed", "invalid")


@dataclass(frozen=True, slots=True)
class Quotient:
    """B over A, with the ends of its 95 % interval where there are samples enough; `high` may be infinite."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """One step, or one arm over the categories that both have, in both results.

    `a_tok_s` and `b_tok_s` are mean decode rates, where samples pair of what was asked of both; `ratio` with `low` and
    `high` is B over A. `prefill` is the quotient of prefill rates, `ttft` of times to the first token and `total` of
    those of whole answers, where less is better. `a_speedup` and `b_speedup` are over each one's own baseline, so they
    may be compared across machines. `doubts`: verdicts against either, "B: drifted".
    """

    step: str
    arm: Step
    categories: tuple[str, ...]
    a_tok_s: float
    b_tok_s: float
    ratio: float | None
    low: float | None = None
    high: float | None = None
    prefill: Quotient | None = None
    ttft: Quotient | None = None
    total: Quotient | None = None
    a_speedup: Quotient | None = None
    b_speedup: Quotient | None = None
    doubts: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        """Whether B is faster beyond the noise."""
        if self.ratio is None or self.low is None or self.high is None:
            return "unknown"
        return "faster" if self.low > 1 else "slower" if self.high < 1 else "equal"


@dataclass(frozen=True, slots=True)
class Lost:
    """A step that counted in A and does not in B, or whose output differs in B alone; `reason` says which."""

    step: str
    arm: Step
    category: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """What `compare` found.

    `reasons` not to compare: then there are no pairs, unless told to. `machines` says how the hardware differs, and
    `notes` what else does. `overall` are arms over all categories that both have, `pairs` single steps; `only_a` and
    `only_b` count steps that count in one result alone, `left_out` says so. `lost` are steps that B broke: no ratio can
    tell of them, and each is a regression whatever the limit.
    """

    reasons: tuple[str, ...] = ()
    machines: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    overall: tuple[Pair, ...] = ()
    pairs: tuple[Pair, ...] = ()
    only_a: int = 0
    only_b: int = 0
    lost: tuple[Lost, ...] = ()

    def regressions(self, most: float) -> tuple[Pair, ...]:
        """The arms over all categories that are slower in B by more than the share `most`, with 95 % confidence.

        0.05: the whole interval of B over A lies below 0.95.
        """
        return tuple(pair for pair in self.overall if pair.high is not None and pair.high < 1 - most)


@dataclass(frozen=True, slots=True)
class _Side:
    """The measurements of one result that count, by what they measure."""

    result: Result
    steps: Mapping[Step, Measurement]
    letter: str
    arms: dict[Step, list[Step]] = field(default_factory=dict)


def compare_results(a: Result, b: Result, *, anyway: bool = False) -> Comparison:
    """Two results, step by step; `anyway`: also where there are reasons not to.

    Ratios are paired on (category, prompt, block) where samples are there (`stats.speedup`), and not where the prompts
    are other ones. Without samples they come from the summaries, by Welch, or have no interval.
    """
    refused = reasons(a, b)
    if refused and not anyway:
        return Comparison(refused)
    ours, theirs = _side(a, "A"), _side(b, "B")
    shared = [key for key in ours.steps if key in theirs.steps]
    same_prompts = a.settings.prompts_digest == b.settings.prompts_digest
    pairs = [_pair([key], ours, theirs, same_prompts, key.category) for key in shared]
    overall = [
        _pair(both, ours, theirs, same_prompts, OVERALL)
        for arm, keys in ours.arms.items()
        if (both := [key for key in keys if key in theirs.steps])
    ]
    return Comparison(
        refused,
        machines(a, b),
        builds(a, b),
        (*_left_out(ours, theirs), *_left_out(theirs, ours)),
        tuple(pair for pair in overall if pair is not None),
        tuple(pair for pair in pairs if pair is not None),
        len(ours.steps) - len(shared),
        len(theirs.steps) - len(shared),
        _lost(ours, theirs),
    )


def _lost(ours: _Side, theirs: _Side) -> tuple[Lost, ...]:
    """What counted in A, was tried in B, and failed or changed its output there."""
    tried = {each.step: each for each in theirs.result.measurements}
    found = []
    for step, mine in ours.steps.items():
        reason = _loss(mine, tried[step]) if step in tried else ""
        if reason:
            found.append(Lost(_name(step, step.category), arm_of(step), step.category, reason))
    return tuple(found)


def _loss(mine: Measurement, other: Measurement) -> str:
    """Why a step that counts in A is lost in B; "" where it is not."""
    if other.status in _BAD:
        why = other.error or ", ".join(other.verdicts)
        return f"ok in A, {other.status} in B" + (f": {why}" if why else "")
    if _DIFFERS in other.verdicts and _DIFFERS not in mine.verdicts:
        return "its output differs from the target's in B, and did not in A"
    return ""


def _left_out(side: _Side, other: _Side) -> tuple[str, ...]:
    """A sentence on the steps that count in one result alone."""
    alone = [key for key in side.steps if key not in other.steps]
    if not alone:
        return ()
    tried = {each.step for each in other.result.measurements}
    failed = sum(key in tried for key in alone)
    more = f" ({failed} of them did not come out in {other.letter})" if failed else ""
    return (f"{plural(len(alone), 'step')} only in {side.letter}{more}: left out",)


def _side(result: Result, letter: str) -> _Side:
    side = _Side(result, {each.step: each for each in result.measurements if each.status == "ok"}, letter)
    for step in side.steps:
        side.arms.setdefault(arm_of(step), []).append(step)
    return side


def _pair(keys: Sequence[Step], ours: _Side, theirs: _Side, same_prompts: bool, name: str) -> Pair | None:
    """The steps of one arm in both results, taken together; None where one has no rate."""
    a, b = ([side.steps[key] for key in keys] for side in (ours, theirs))
    mean_b, mean_a = _means(b, a, paired=same_prompts)
    if mean_a is None or mean_b is None:
        return None
    ratio = _over(b, a, RATE, paired=same_prompts)
    arm = arm_of(keys[0])
    return Pair(
        step=_name(arm, name),
        arm=arm,
        categories=tuple(key.category for key in keys),
        a_tok_s=mean_a,
        b_tok_s=mean_b,
        ratio=ratio.value if ratio is not None else None,
        low=ratio.low if ratio is not None else None,
        high=ratio.high if ratio is not None else None,
        prefill=_over(b, a, PREFILL, paired=same_prompts),
        ttft=_over(b, a, TTFT, paired=same_prompts),
        total=_over(b, a, TOTAL, paired=same_prompts),
        a_speedup=_own_speedup(keys, ours),
        b_speedup=_own_speedup(keys, theirs),
        doubts=tuple(
            f"{side.letter}: {verdict}"
            for side, steps in ((ours, a), (theirs, b))
            for verdict in _GRAVE
            if any(verdict in each.verdicts for each in steps)
        ),
    )


def _name(arm: Step, category: str) -> str:
    """The name of a step as journals have it; without a K where a file does not tell it."""
    return replace(arm, category=category).id


def _own_speedup(keys: Sequence[Step], side: _Side) -> Quotient | None:
    """The speedup of an arm over the baseline of the same result, over the categories that both have."""
    if keys[0].method == BASELINE:
        return None
    both = [(key, base) for key in keys if (base := key.baseline()) in side.steps]
    if not both:
        return None
    return _over([side.steps[key] for key, _ in both], [side.steps[base] for _, base in both], RATE, paired=True)


def _over(over: Sequence[Measurement], under: Sequence[Measurement], metric: str, *, paired: bool) -> Quotient | None:
    """The quotient of the means of a metric; None where either is unknown."""
    above, below = keyed_rates(over, metric), keyed_rates(under, metric)
    if above and below:
        asked: list[tuple[Hashable, float]] = [(key if paired else (None, *key), value) for key, value in above]
        found = speedup(asked, below, strata=PARTS)
        if found is None or finite(found.value) is None:
            return None
        return Quotient(found.value, *(found.ci95 or (None, None)))
    if len(over) == len(under) == 1:
        return _of_summaries(over[0].summary.get(metric), under[0].summary.get(metric))
    return None


def _of_summaries(over: Summary | None, under: Summary | None) -> Quotient | None:
    """The quotient of two means, with the interval of Welch on the log scale where both tell n and scatter.

    As `stats.speedup` has it for independent arms.
    """
    if over is None or under is None or positive(over.mean) is None or positive(under.mean) is None:
        return None
    value = over.mean / under.mean
    terms = []
    for each in (over, under):
        if each.n is None or each.stddev is None or each.n < 2:
            return Quotient(value)
        terms.append(((each.stddev / each.mean) ** 2 / each.n, each.n - 1))
    (u, u_df), (v, v_df) = terms
    df = (u + v) ** 2 / (u**2 / u_df + v**2 / v_df) if u + v else u_df + v_df
    half = student_t_quantile((1 + CONFIDENCE) / 2, df) * math.sqrt(u + v)
    return Quotient(value, *log_interval(value, value * half))


def _means(
    over: Sequence[Measurement], under: Sequence[Measurement], *, paired: bool
) -> tuple[float | None, float | None]:
    """The mean decode rates of two arms; over what was asked of both where `stats.speedup` takes just that."""
    above, below = keyed_rates(over), keyed_rates(under)
    if paired:
        above, below = _asked_of_both(above, below)
    return _mean(above, over), _mean(below, under)


def _asked_of_both(above: Keyed, below: Keyed) -> tuple[Keyed, Keyed]:
    """The values at the keys of both, where they form pairs as `stats.speedup` has it; else all."""
    ours, theirs = dict(above), dict(below)
    keys = ours.keys() & theirs.keys()
    is_twice = len(ours) < len(above) or len(theirs) < len(below)
    if is_twice or 2 * len(keys) < max(4, len(above), len(below)):
        return above, below
    return [each for each in above if each[0] in keys], [each for each in below if each[0] in keys]


def _mean(rates: Keyed, steps: Sequence[Measurement]) -> float | None:
    """The mean of the rates, or what the summary of a single step says."""
    if rates:
        return statistics.fmean(value for _, value in rates)
    told = steps[0].rate_tok_s if len(steps) == 1 else None
    return positive(told)
