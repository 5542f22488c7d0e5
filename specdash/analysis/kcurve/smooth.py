"""Step costs made to agree with each other: a longer draft never costs less, and neighbours lend each other strength.

With 10 % of noise in single steps a cost from six of them is off by 5 %, and the curve zigzags: simulated, the better
of the two best predicted Ks is then within 2 % of the truth in 88 % of curves, and in 99 % after this. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

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
