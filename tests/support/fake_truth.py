"""What a fake server's figures have to be: its steps replayed without time, noise or drift.

`prompts` are as the server gets them, behind its chat template (`rendered`). All is exact: the same prompt at the same
K takes the same steps every time.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

from tests.fakes.fake_flags import Behaviour, behaviour_of
from tests.fakes.fake_model import Vocabulary, step_cost, steps

__all__ = ["best_k", "rate", "rates", "regret", "rendered", "step_cost"]


def rendered(*contents: str) -> str:
    """A conversation as the fake's /apply-template renders it, from the contents of its messages."""
    return "".join(f"{content} " for content in contents)


def rate(behaviour: Behaviour, prompt: str, max_tokens: int, k: int, experts_share: float = 1.0) -> float:
    """Decoded tokens a second of one answer; K = 0: without a draft."""
    bursts = list(steps(behaviour, Vocabulary(behaviour), prompt, max_tokens, k))
    plain_steps = sum(burst.cost for burst in bursts)
    tokens = sum(len(burst.tokens) for burst in bursts)
    return (tokens - 1) * behaviour.speed / (plain_steps * experts_share)


def rates(
    behaviour: Behaviour, prompts: Sequence[str], max_tokens: int, ks: Iterable[int], models: Sequence[str] = ()
) -> Mapping[int, float]:
    """The mean rate over the prompts for each K (0: the baseline), on a server with these model files."""
    found = behaviour_of(behaviour, *models)
    return {k: statistics.fmean(rate(found, prompt, max_tokens, k) for prompt in prompts) for k in ks}


def best_k(rates_by_k: Mapping[int, float]) -> int:
    """The fastest K, the smaller one of equals; 0 where nothing beats the baseline."""
    return min(rates_by_k, key=lambda k: (-rates_by_k[k], k))


def regret(rates_by_k: Mapping[int, float], chosen: int) -> float:
    """By what share of the chosen K's rate the best one is faster; 0.0 = nothing is."""
    return max(rates_by_k.values()) / rates_by_k[chosen] - 1
