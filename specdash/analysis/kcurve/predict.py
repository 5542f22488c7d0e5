"""The curve of a pair: tok/s at every K up to K_max, with an interval, from one server at K_max.

A sample of N tokens that took T seconds at K_max is predicted to take T * bill(K) / bill(K_max) at K, where a bill is
the cost of its replayed steps (`replay`, `costs`) in full steps, the first step's extra included. Its rate is N - 1
over that, and a point is the mean of the samples' rates, as reports have it.

The 95 % interval of a point, on the log scale, joins in quadrature:
- the scatter of the samples' predicted rates around their prompts' means (`analysis.sequential.estimate`): each
  sample's own level (T over what its trace is worth) scatters with the machine. A measured mean has that part too;
- what another start of the server differs by, `OTHER_START`;
- the errors of the step costs, in which a cost counts by its share of the bill at K less its share at K_max;
- what the traces leave open, independent between texts and equal for samples of the same words.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist, fmean

from specdash.analysis.kcurve.costs import Bill, Costs
from specdash.analysis.kcurve.replay import Replayed
from specdash.analysis.kcurve.samples import Measured
from specdash.analysis.sequential import estimate
from specdash.analysis.stats import CONFIDENCE, Interval, about

OTHER_START = 0.01  # relative, standard: two starts of one server, seen on quiet machines

Z_95 = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


@dataclass(frozen=True, slots=True)
class Point:
    """The prediction for one K: mean tok/s with its 95 % interval (None for one sample), tokens and seconds a step.

    `rates`: the answers behind it, as ((prompt id, block), tok/s); `error`: the relative standard error they share.
    """

    k: int
    tok_s: float
    ci95: Interval | None
    tokens_per_step: float
    step_time_s: float
    rates: tuple[tuple[Hashable, float], ...] = field(default=(), repr=False)
    error: float = 0.0


@dataclass(frozen=True, slots=True)
class _Row:
    """One sample at one K."""

    measured: Measured
    replayed: Replayed
    bill: Bill
    time_s: float
    open_error: float  # relative, standard: what the trace leaves open

    @property
    def rate(self) -> float:
        return self.measured.tokens / self.time_s


Table = Mapping[int, tuple[_Row, ...]]


def table_of(samples: Sequence[Measured], costs: Costs, guess_rate: float) -> Table:
    """Every sample at every K that can be predicted for all of them."""
    full = [_bill(each, costs.k_max, costs, guess_rate) for each in samples]
    table: dict[int, tuple[_Row, ...]] = {}
    for k in range(1, costs.k_max + 1):
        rows: list[_Row] = []
        for each, at_k_max in zip(samples, full, strict=True):
            found = _bill(each, k, costs, guess_rate)
            if at_k_max is None or found is None:
                break
            replayed, bill = found
            time_s = each.time_s * bill.total / at_k_max[1].total
            if not (0 < time_s < math.inf and 0 < each.tokens / time_s < math.inf):
                break
            wide = _worth(replayed.spread, costs)
            rows.append(_Row(each, replayed, bill, time_s, abs(wide) * replayed.doubt / bill.total))
        if samples and len(rows) == len(samples):
            table[k] = tuple(rows)
    return table


def points_of(table: Table, categories: frozenset[str] | None, costs: Costs) -> tuple[Point, ...]:
    """The points of some categories (None: all of them), ascending in K."""
    rows = {
        k: [row for row in found if categories is None or row.measured.category in categories]
        for k, found in table.items()
    }
    rows = {k: found for k, found in rows.items() if found}
    reference = rows.get(costs.k_max)
    if reference is None:
        return ()
    return tuple(_point(k, rows[k], reference, costs) for k in sorted(rows))


def _bill(each: Measured, k: int, costs: Costs, guess_rate: float) -> tuple[Replayed, Bill] | None:
    """The steps of a sample at K and what they cost."""
    replayed = each.at(k, guess_rate)
    bill = costs.bill(replayed.counts) if replayed is not None else None
    return (replayed, bill) if replayed is not None and bill is not None else None


def _worth(counts: Mapping[int, float], costs: Costs) -> float:
    """The cost of a difference in steps; 0.0 of none. Lengths without a cost have made the bill fail before."""
    more = costs.bill({length: count for length, count in counts.items() if count > 0})
    less = costs.bill({length: -count for length, count in counts.items() if count < 0})
    extra = costs.first_extra
    return (more.total - extra if more is not None else 0.0) - (less.total - extra if less is not None else 0.0)


def _point(k: int, rows: Sequence[_Row], reference: Sequence[_Row], costs: Costs) -> Point:
    """The point of one K; `reference` are the same samples at K_max."""
    mean = fmean(row.rate for row in rows)
    scatter = estimate([(f"{row.measured.category}/{row.measured.sample.prompt_id}", row.rate) for row in rows])
    steps = math.fsum(row.replayed.steps for row in rows)
    ci95 = None
    others = math.hypot(_error(rows, reference, costs), OTHER_START)
    if scatter is not None and scatter.ci95 is not None:
        ci95 = about(mean, mean * math.hypot(math.log(scatter.ci95[1] / scatter.mean), Z_95 * others))
    return Point(
        k=k,
        tok_s=mean,
        ci95=ci95,
        tokens_per_step=math.fsum(row.measured.tokens for row in rows) / steps,
        step_time_s=math.fsum(row.time_s for row in rows) / steps,
        rates=tuple(((row.measured.sample.prompt_id, row.measured.sample.block), row.rate) for row in rows),
        error=others,
    )


def _error(rows: Sequence[_Row], other: Sequence[_Row], costs: Costs) -> float:
    """The relative standard error of the ratio of two Ks' rates on the same samples, scatter of samples left out."""
    shares: dict[int, float] = {}
    unseen = changed = 0.0
    for sign, each in [(1, row) for row in rows] + [(-1, row) for row in other]:
        for node, share in each.bill.shares.items():
            shares[node] = shares.get(node, 0.0) + sign * share
        unseen += sign * each.bill.unseen
        changed += sign * each.bill.changed
    squares = unseen**2 + changed**2 + math.fsum((shares[node] * costs.nodes[node].error) ** 2 for node in shares)
    by_words: dict[tuple[str, str], float] = {}
    for a, b in zip(rows, other, strict=True):
        by_words[a.measured.words] = by_words.get(a.measured.words, 0.0) + a.open_error - b.open_error
    return math.sqrt(squares + math.fsum(each**2 for each in by_words.values())) / len(rows)
