"""Campaigns in simulated worlds: how often the intervals hold the truth, and what the choices cost.

`tests/analysis/test_honesty.py` runs them short and long, `benchmarks/honesty.py` prints the table.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from specdash.analysis.strategy import CURVE, SEARCH
from specdash.store.result_json import document_of
from tests.support.simulated_runs import LIST, Asked, Run
from tests.support.worlds import Pair, World, regret

LARGEST_K = 24
KS = (1, 2, 4, 8, 16)
ALL_KS = tuple(range(1, LARGEST_K + 1))
CATEGORIES = ("coding", "prose", "chat")

LISTED = Asked(LIST, KS, 6)
CURVED = Asked(CURVE, (LARGEST_K,), 6)
SEARCHED = Asked(SEARCH, (2, 4, 8, 16), 24)
KNOWN_TO = Asked(LIST, KS, 24, precision=0.02)

# A machine that drifts: 10 % an hour, and loads of ten minutes.
DRIFTING: dict[str, Any] = {
    "drift_per_hour": -0.1,
    "load_s": 600.0,
    "prompt_hits": 0.0,
    "sample_noise": 0.002,
    "step_noise": 0.01,
}


def drawn(seed: int, **changes: Any) -> World:
    """A world by chance: one or two drafts, good or bad, dear or cheap, verified with or without a jump of costs."""
    luck = random.Random(f"world {seed}")
    verify = luck.uniform(0.005, 0.12)
    jump = luck.choice((0.0, 0.0, 0.25, 0.5))  # behind 8 verified tokens, as kernels change there
    pairs = {
        name: _pair(luck, luck.uniform(0.01, 0.12) * share, verify, jump, size)
        for name, share, size in (("0.5B", 1.0, 500_000_000), ("1.5B", 2.0, 1_500_000_000))[: luck.choice((1, 2))]
    }
    values: dict[str, Any] = {
        "pairs": pairs,
        "categories": CATEGORIES,
        "prompt_speed": luck.uniform(0.0, 0.05),
        "prompt_hits": luck.uniform(0.0, 0.5),
        "first_step_extra": luck.uniform(0.0, 1.0),
        "sample_noise": luck.uniform(0.002, 0.03),
        "step_noise": luck.uniform(0.01, 0.1),
        "max_tokens": luck.choice((64, 96, 128)),
    }
    return World(**{**values, **changes})


def useless(seed: int, **changes: Any) -> World:
    """A world in which no draft gains anything: every arm is as fast as the baseline, or a little slower."""
    world = drawn(seed, prompt_hits=0.0, first_step_extra=0.0, **changes)
    luck = random.Random(f"useless {seed}")
    loss = luck.choice((0.0, 0.0, 0.005, 0.03))
    # Costs that eat up exactly what is gained take hits that are certain: one more token a step, one more step's cost.
    costs = tuple((1 + count) * (1 + (loss if count else 0.0)) for count in range(LARGEST_K + 2))
    return replace(
        world, pairs={name: Pair((1.0,), costs, size_bytes=pair.size_bytes) for name, pair in world.pairs.items()}
    )


def _pair(luck: random.Random, draft: float, verify: float, jump: float, size: int) -> Pair:
    costs = tuple(1 + (draft + verify) * count + (jump if count > 8 else 0.0) for count in range(LARGEST_K + 2))

    def hits() -> tuple[float, ...]:
        # The same at every position: what a greedy draft says at a place depends on the text before it alone.
        return (luck.uniform(0.4, 0.95),)

    return Pair(hits(), costs, {category: hits() for category in CATEGORIES}, size)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run recommends for one question, and its cost: the true regret against all arms of the question."""

    regret: float
    chosen: tuple[str | None, int]
    loads: int
    samples: int
    recommendation: dict[str, Any]


def outcome(run: Run, ks: Sequence[int], category: str = "all") -> Outcome:
    """What the finished run recommends for a category; the regret is against all `ks` and no draft."""
    found = document_of(run.view)["recommendations"]
    chosen = next(each for each in found if each["category"] == category)
    arm = (None, 0) if chosen["k"] is None else (chosen["draft"], chosen["k"])
    rates = run.texts.rates(sorted({*ks, arm[1] or 1}), None if category == "all" else category, run.asked.iterations)
    return Outcome(regret(rates, arm), arm, run.loads, run.samples, chosen)


def outcomes(
    runs: int, asked: Asked, ks: Sequence[int] = KS, world: Callable[[int], World] = drawn
) -> Iterator[Outcome]:
    """The outcomes of so many runs, each in a world and with a seed of its own."""
    for seed in range(runs):
        yield outcome(Run(world(seed), asked, seed), ks)


def covered(runs: int, asked: Asked, world: Callable[[int], World] = drawn) -> list[bool]:
    """Whether the interval of tok/s holds the true mean rate of the asked prompts, for every step of so many runs."""
    held: list[bool] = []
    for seed in range(runs):
        run = Run(world(seed), asked, seed)
        for found in document_of(run.view)["measurements"]:
            low, high = found["summary"]["decode_tok_s"]["ci95"]
            prompts = len({sample["prompt_id"] for sample in found["samples"]})
            truth = run.texts.rate(found["draft"], found["k"] or 0, found["category"], prompts)
            held.append(low <= truth <= high)
    return held


def biases(runs: int, asked: Asked, against: int | None, world: Callable[[int], World] = drawn) -> list[float]:
    """By what share measured ratios of two arms lie above the true ones: K = 16 and `against` (None: no draft)."""
    found: list[float] = []
    for seed in range(runs):
        run = Run(world(seed), asked, seed)
        samples: dict[tuple[str | None, int | None], list[float]] = {}
        for step in run.view.steps.values():
            rates = [sample.decode_tok_s or 0.0 for sample in step.good]
            samples.setdefault((step.step.draft, step.step.k), []).extend(rates)
        draft = next(iter(run.world.pairs))
        other = (draft, against) if against is not None else (None, None)
        true = run.texts.rate(draft, 16) / run.texts.rate(other[0], other[1] or 0)
        found.append(math.log(fmean(samples[draft, 16]) / fmean(samples[other]) / true))
    return found


def share_below(values: Sequence[float], limit: float) -> float:
    """The share of values below a limit, in percent."""
    return 100 * sum(value < limit for value in values) / len(values)


def share_true(values: Sequence[bool]) -> float:
    """The share of those that are true, in percent."""
    return 100 * sum(values) / len(values)
