"""What a verification step costs by the number of tokens that it drafts, in units of a full step (one of K_max).

Each request is its own yardstick: a short step is divided by the full steps nearest to it in the same request, so that
a machine which is slower for a minute moves both. The first step behind a prompt may be slower and never enters; by
how much more it takes is estimated apart. All centres are medians, since pauses of the scheduler only ever lengthen.

The level is set where the prediction is made: each sample's own decode time is divided by the full steps that its
trace is worth, so pauses enter the prediction as they entered the sample. A second anchor, steps with nothing drafted
against the baseline's time per token, is not used: llama-server (b11669) passes every token of a step through the
draft as well, so a step that drafts nothing costs the target's pass and one of the draft (measured: 10 ms against 4.5
with a draft as large as its target), and pulling it down to the baseline made small Ks too fast.

Costs are then made to agree with each other (`smoothed`): a longer draft never costs less, and neighbours lend each
other strength.

With 10 % of noise in single steps a cost from six of them is off by 5 %, and the curve zigzags: simulated, the better
of the two best predicted Ks is then within 2 % of the truth in 88 % of curves, and in 99 % after this.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from specdash.analysis.kcurve.replay import Counts
from specdash.core.events import StepTimes

# A short step in the midst of full ones runs with other shapes and colder caches than on a server that takes no other:
# seen as up to 0.5 ms of a full step of 60 (b11669, 2 cores, K = 1), and either way for longer drafts.
CHANGE_OF_LENGTH = 0.005
_NEAREST = 5
_MEDIAN_ERROR = 1.2533  # standard error of a median over that of a mean, of normal values: sqrt(pi / 2)
_MAD = 1.4826  # standard deviation over median absolute deviation, of normal values
_USUAL_SCATTER = 0.05
_WEIGHT_OF_USUAL = 4
_LONGEST_MS = 1e8


@dataclass(frozen=True, slots=True)
class Bill:
    """What a request's steps cost, in full steps, and how that depends on what was measured.

    `shares[d]`: by what share the total changes with the cost measured at d; `unseen` and `changed`: relative standard
    errors for lengths between measured ones and for `CHANGE_OF_LENGTH`.
    """

    total: float
    shares: Mapping[int, float]
    unseen: float
    changed: float


@dataclass(frozen=True, slots=True)
class Costs:
    """Step costs by drafted tokens; `first_extra`: what the first step of a request takes more, in full steps."""

    k_max: int
    nodes: Mapping[int, Node]
    first_extra: float

    def bill(self, counts: Counts) -> Bill | None:
        """The cost of these steps; None where a length has no measured one on either side, as nothing is extrapolated.

        The cost between two measured lengths is taken as linear.
        """
        total, unseen, changed = self.first_extra, 0.0, 0.0
        amounts: dict[int, float] = {}
        known = sorted(self.nodes)
        for drafted, count in counts.items():
            above = bisect_left(known, drafted)
            if above == len(known) or (known[above] != drafted and above == 0):
                return None
            high = known[above]
            low = high if high == drafted else known[above - 1]
            weight = (drafted - low) / (high - low) if high > low else 1.0
            for node, part in ((low, 1 - weight), (high, weight)):
                amount = count * part * self.nodes[node].value
                amounts[node] = amounts.get(node, 0.0) + amount
                total += amount
            climb = abs(self.nodes[high].value - self.nodes[low].value)
            unseen += count * 4 * weight * (1 - weight) * UNSEEN_JUMP * climb
            changed += count * CHANGE_OF_LENGTH * (drafted < self.k_max)
        if not total > 0:
            return None
        return Bill(total, {node: amount / total for node, amount in amounts.items()}, unseen / total, changed / total)


def costs_of(traces: Iterable[StepTimes], k_max: int, *, k_is_fixed: bool = True) -> Costs | None:
    """Step costs from the traces of one server, of samples and cost requests alike; None without any full step.

    Where requests set K (`k_is_fixed` False), only steps at a request's own K tell a cost: its shorter last steps may
    still pay for a whole draft. They are held against full steps of the sample with the same prompt.
    """
    known = [(trace, _timed(trace)) for trace in traces]
    levels = {(trace.step, trace.block): _full(steps, k_max) for trace, steps in known if trace.purpose == "sample"}
    everywhere = [each for _, steps in known for each in _full(steps, k_max)]
    ratios: dict[int, list[float]] = {}
    extras: list[float] = []
    for trace, steps in known:
        own = _full(steps, k_max)
        asked = max(trace.drafted, default=0)
        level = own or ([] if k_is_fixed else levels.get((trace.step, trace.block)) or everywhere)
        if not level:
            continue
        for index, drafted, time_ms in steps:
            ratio = time_ms / _near(level, index)
            if index == 0 and drafted == k_max:
                extras.append(ratio - 1)
            elif index > 0 and drafted < k_max and (k_is_fixed or drafted in (0, asked)):
                ratios.setdefault(drafted, []).append(ratio)
    if not everywhere:
        return None
    full = Node(1.0, 0.0, len(everywhere))
    return Costs(k_max, {**smoothed(_nodes(ratios)), k_max: full}, median(extras) if extras else 0.0)


def _full(steps: Sequence[tuple[int, int, float]], k_max: int) -> list[tuple[int, float]]:
    """The full steps behind the first one: index and milliseconds."""
    return [(index, time_ms) for index, drafted, time_ms in steps if drafted == k_max and index > 0]


def _near(level: Sequence[tuple[int, float]], index: int) -> float:
    """The median time of the full steps nearest to a step."""
    return median(time_ms for _, time_ms in sorted(level, key=lambda each: abs(each[0] - index))[:_NEAREST])


def _timed(trace: StepTimes) -> list[tuple[int, int, float]]:
    """The steps whose time is known and can be one: index, drafted tokens, milliseconds."""
    pairs = zip(trace.drafted, trace.times_ms, strict=False)
    return [
        (index, drafted, time_ms)
        for index, (drafted, time_ms) in enumerate(pairs)
        if time_ms is not None and 0 < time_ms < _LONGEST_MS
    ]


def _nodes(ratios: Mapping[int, list[float]]) -> dict[int, Node]:
    """The median cost of each length, with an error that leans on the scatter of all lengths where it has few.

    Lengths that came up by chance, seldom beside those that were asked for, are left out: a pause in one of two steps
    would weigh more there than a straight line between the neighbours does. The shortest stays, as nothing else can
    stand for it.
    """
    usually = median(len(found) for found in ratios.values()) if ratios else 0.0
    logs = {
        drafted: [math.log(ratio) for ratio in found]
        for drafted, found in ratios.items()
        if 2 * len(found) >= usually or drafted == min(ratios)
    }
    centres = {drafted: median(found) for drafted, found in logs.items()}
    residuals = [abs(each - centres[drafted]) for drafted, found in logs.items() if len(found) > 2 for each in found]
    usual = max(_MAD * median(residuals), 1e-3) if residuals else _USUAL_SCATTER
    nodes: dict[int, Node] = {}
    for drafted, found in logs.items():
        n = len(found)
        own = _MAD * median(abs(each - centres[drafted]) for each in found)
        scatter = math.sqrt((n * own**2 + _WEIGHT_OF_USUAL * usual**2) / (n + _WEIGHT_OF_USUAL)) if n > 2 else usual
        nodes[drafted] = Node(math.exp(centres[drafted]), _MEDIAN_ERROR * scatter / math.sqrt(n), n)
    return nodes


UNSEEN_JUMP = 0.15
"""How far the cost may jump between two measured lengths (another kernel from 9 tokens on): a share of the climb."""


@dataclass(frozen=True, slots=True)
class Node:
    """The cost of steps that draft so many tokens: `value` in full steps, `error` (relative, standard), from `n`."""

    value: float
    error: float
    n: int


def smoothed(nodes: Mapping[int, Node]) -> dict[int, Node]:
    """The nodes by length, made monotone and drawn towards the line through their neighbours."""
    return _drawn_together(_monotone(nodes))


def _monotone(nodes: Mapping[int, Node]) -> dict[int, Node]:
    """Never falling with the length: the weighted least squares fit of the logarithms (pooled adjacent violators)."""
    blocks: list[tuple[float, float, list[int]]] = []
    for drafted in sorted(nodes):
        node = nodes[drafted]
        block = (math.log(node.value), 1 / max(node.error, 1e-6) ** 2, [drafted])
        while blocks and blocks[-1][0] > block[0]:
            mean, weight, members = blocks.pop()
            total = weight + block[1]
            block = ((mean * weight + block[0] * block[1]) / total, total, members + block[2])
        blocks.append(block)
    return {
        drafted: Node(math.exp(mean), nodes[drafted].error, nodes[drafted].n)
        for mean, _, members in blocks
        for drafted in members
    }


def _drawn_together(nodes: Mapping[int, Node]) -> dict[int, Node]:
    """Each inner node as the mean of itself and the line through its neighbours, by what is known of both."""
    lengths = sorted(nodes)
    found = dict(nodes)
    for below, drafted, above in zip(lengths, lengths[1:], lengths[2:], strict=False):
        low, node, high = nodes[below], nodes[drafted], nodes[above]
        weight = (drafted - below) / (above - below)
        line = (1 - weight) * low.value + weight * high.value
        jump = UNSEEN_JUMP * abs(high.value - low.value)
        of_line = ((1 - weight) * low.value * low.error) ** 2 + (weight * high.value * high.error) ** 2 + jump**2
        own = (node.value * node.error) ** 2
        share = own / (own + of_line) if own + of_line > 0 else 0.0
        value = node.value + (line - node.value) * share
        found[drafted] = Node(value, math.sqrt(own * (1 - share)) / value if share < 1 else node.error, node.n)
    return found
