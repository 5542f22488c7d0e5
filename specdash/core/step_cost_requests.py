"""Which short requests tell what a verification step costs by the number of tokens that it drafts. Pure.

A server drafts min(K, tokens still to make - 1) in a step. So a request for n tokens of a text whose steps are known
ends in steps of known lengths: the one that begins when c tokens are there drafts min(K, n - c - 1). On text that the
draft guesses badly, one request shows many lengths on its way down; on text that it guesses well, about one.

Builds that take K per request (of early 2026) let the draft propose all K tokens and cut them afterwards: a short last
step costs nearly what a full one does. They are asked at each length as K, which they obey (`request_lengths`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from specdash.core.events import StepTimes

# Every short length, where costs climb steeply and most best Ks lie; behind them those around 16 and 32 verified
# tokens, where kernels change, and enough to draw lines between.
LENGTHS = (*range(9), 10, 12, 14, 15, 16, 20, 24, 28, 31, 32, 36, 40, 44, 47)
# What is asked as K of a server that takes it from the request: lines are drawn between them.
REQUEST_LENGTHS = (1, 2, 3, 4, 6, 8, 9, 12, 16, 20, 24, 32, 40)
REQUEST_TOKENS = 24  # beside the length itself: room for some full steps
WARM_STEPS = 2  # full steps behind the first one, for the short ones to be compared with
_LATEST_STEP = 8  # a request is kept short: its last full step is one of the first


def cost_requests(trace: StepTimes, k_max: int, times: int = 1) -> tuple[int, ...]:
    """The numbers of tokens to ask for with a sample's prompt (cached), shortest first: each length `times` times.

    Each request begins with the first step, which does not count, and at least `WARM_STEPS` full ones; together they
    show every length of `LENGTHS` below `k_max`. Chosen one by one, always the one that shows the most new lengths for
    its number of steps. Fewer, or none, where the text is too short or its trace is not one of `k_max`.
    """
    begins = _begins(trace, k_max)
    if len(begins) < WARM_STEPS + 2:
        return ()
    first = begins[WARM_STEPS] + k_max + 1
    last = min(begins[-1], begins[min(_LATEST_STEP, len(begins) - 1)] + 2 * k_max)
    shown = {tokens: draft_lengths(begins, tokens, k_max) for tokens in range(first, last + 1)}
    wanted = {length: times for length in LENGTHS if length < k_max and times > 0}
    chosen: list[int] = []
    while wanted and shown:
        best = max(shown, key=lambda tokens: (_new(wanted, shown[tokens]) / len(shown[tokens]), -tokens))
        found = shown.pop(best)
        if not _new(wanted, found):
            break
        for length in set(found[1:]) & set(wanted):
            wanted[length] -= 1
        wanted = {length: left for length, left in wanted.items() if left > 0}
        chosen.append(best)
    return tuple(sorted(chosen))


def _new(wanted: Mapping[int, int], lengths: Sequence[int]) -> int:
    """How many of the wanted lengths these steps show, the first step left out."""
    return len(wanted.keys() & set(lengths[1:]))


def request_lengths(k_max: int) -> tuple[tuple[int, int], ...]:
    """What to ask a server that takes K per request: (K, number of tokens), for lengths below `k_max`."""
    return tuple((length, length + REQUEST_TOKENS) for length in REQUEST_LENGTHS if length < k_max)


def draft_lengths(begins: Sequence[int], tokens: int, k_max: int) -> tuple[int, ...]:
    """What each step of a request for so many tokens drafts; `begins[i]`: tokens there when step i begins."""
    return tuple(min(k_max, tokens - begun - 1) for begun in begins if begun < tokens)


def _begins(trace: StepTimes, k_max: int) -> list[int]:
    """How many tokens are there when each step begins, and at the end; [] for a trace that cannot be one of `k_max`."""
    if k_max < 1 or len(trace.drafted) != len(trace.accepted) or max(trace.drafted, default=0) != k_max:
        return []
    begins = [1]
    for drafted, accepted in zip(trace.drafted, trace.accepted, strict=True):
        if not 0 <= accepted <= drafted:
            return []
        begins.append(begins[-1] + accepted + 1)
    return begins
