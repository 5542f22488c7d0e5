"""The stock mlx_lm.server's streams: decoded as any OpenAI-style one, with drafting inferred from how tokens arrive.

That server tells nothing of drafting (seen on mlx_lm 0.32.2). But every token has an event of its own, and all tokens
that one verification made are sent at once, while the next ones take as long as a verification takes: the gaps between
events are of two kinds. Where the two are clearly apart, each burst is one step, and what it accepted can be counted.
How much was drafted is known: mlx_lm drafts exactly min(K, tokens still to make) in a step, the prompt's step included.
A burst that ends because the answer does may have accepted its last token or not, so it is left out of both counts.

It is inferred, and labelled so: a stall of either process can part a burst or join two. Where the gaps are not clearly
of two kinds, or a burst is longer than a step can be, nothing is said but why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from specdash.core.engine import DRAFTED, K_SEEN
from specdash.core.generation import Generation
from specdash.core.measure import INFERRED
from specdash.core.transport import StreamedAnswer
from specdash.engines import openai_stream

CLEARLY_APART = 3.0  # the shortest gap between bursts to the longest within one; below it, a loaded machine misleads
SAME_MOMENT_S = 0.001  # about what the server needs for a token's event; shorter gaps are never between two steps
BURST_GAP_S = 0.015  # no burst has longer gaps, however loaded the machine: those are between tokens made one by one
FEWEST_TOKENS = 16
FEWEST_MOMENTS = 3


def decode(answer: StreamedAnswer, k: int | None) -> Generation:
    """What a streamed answer says, with every fault in `problems`; `k`: what was to be drafted, None or 0: nothing."""
    generation = _timed(openai_stream.decode(answer))
    unknown = {name: why for name, why in generation.unknown.items() if name not in (DRAFTED, K_SEEN)}
    if not k:
        return replace(generation, unknown=unknown)
    sizes, why = _bursts(generation)
    if sizes and max(sizes) > k + 1:
        why = f"{max(sizes)} tokens arrived at once, more than a step with K = {k} makes: steps came together"
        sizes = ()
    if not sizes:
        return replace(generation, unknown={**unknown, DRAFTED: why, K_SEEN: why})
    # The end of an answer cuts its last burst, unless that is as long as a step with K drafted tokens can be.
    is_whole = generation.finish_reason == "limit" and sizes[-1] == k + 1
    left, drafted, accepted = sum(sizes), 0, 0
    for size in sizes if is_whole else sizes[:-1]:
        drafted += min(k, left) if generation.finish_reason == "limit" else k
        accepted += size - 1
        left -= size
    return replace(
        generation,
        draft_n=drafted,
        draft_n_accepted=accepted,
        steps=len(sizes),
        k_seen=max(sizes) - 1,
        acceptance_source=INFERRED,
        unknown=unknown,
    )


def _timed(generation: Generation) -> Generation:
    """With a problem where a long answer came at hardly any moments: then nothing tells how long it took."""
    moments = len({chunk.t_s for chunk in generation.chunks})
    if len(generation.chunks) < FEWEST_TOKENS or moments >= FEWEST_MOMENTS:
        return generation
    said = f"{len(generation.chunks)} tokens arrived at {moments} moments, so how long they took is not known"
    return replace(generation, problems=(*generation.problems, said))


def drafts_seen(answer: StreamedAnswer, most: int) -> int | None:
    """How many drafted tokens the long steps of an answer accepted; None where its steps are not clear.

    Long is what one in ten is as long as: a stall that joins two steps makes no long draft. `most` is the largest K
    that the server can be at.
    """
    sizes = sorted(_bursts(openai_stream.decode(answer))[0])
    if not sizes or sizes[-1] > most + 1:
        return None
    return sizes[-1 - len(sizes) // 10] - 1


def _bursts(generation: Generation) -> tuple[tuple[int, ...], str]:
    """How many tokens came in each burst, or () and why that is not known."""
    tokens, events = generation.generated_tokens, generation.chunks
    if generation.problems or tokens is None or tokens < FEWEST_TOKENS:
        return (), f"drafting is inferred from how tokens arrive, which needs {FEWEST_TOKENS} of them"
    # An end token has no event; any other that has none was sent together with the one behind it.
    if len(events) != tokens - (generation.finish_reason == "eos"):
        return (), "drafting is inferred from how tokens arrive, and some did not come in an event of their own"
    gaps = [later.t_s - earlier.t_s for earlier, later in pairwise(events)]
    cut_s = _cut(gaps)
    if cut_s is None:
        return (), "drafting is inferred from how tokens arrive, and they did not arrive in clear bursts"
    sizes = [1]
    for gap in gaps:
        if gap > cut_s:
            sizes.append(0)
        sizes[-1] += 1
    return tuple(sizes), ""


def _cut(gaps_s: Sequence[float]) -> float | None:
    """The gap in seconds that parts those within a burst from those between two; None where none clearly does.

    It lies where the sorted gaps make their largest leap, by ratio.
    """
    ordered = sorted(max(gap, SAME_MOMENT_S) for gap in gaps_s)
    leap, low, high = max(((high / low, low, high) for low, high in pairwise(ordered)), default=(1.0, 0.0, 0.0))
    return math.sqrt(low * high) if leap >= CLEARLY_APART and low <= BURST_GAP_S else None
