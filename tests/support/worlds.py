"""Worlds whose truth is known: a machine, its drafts, and texts in which every drafted token is right or wrong.

Whether the token at a place of a text is drafted rightly belongs to the text, as with a greedy pair: every K meets the
same luck. Only times are noisy, so the truth is exact: `Texts.rate`. What is measured in such a world:
simulated_runs.py.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean


@dataclass(frozen=True, slots=True)
class Pair:
    """A draft of the target's.

    `hits[i]`: the chance that draft token i is right where those before it are, the last one stays; `by_category` in
    place of them. `costs[n]`: what a step with n drafted tokens costs, in plain steps; beyond the end the last line
    goes on.
    """

    hits: tuple[float, ...]
    costs: tuple[float, ...]
    by_category: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    size_bytes: int = 500_000_000

    def cost(self, drafted: int) -> float:
        """The cost of a step, in plain steps."""
        last = len(self.costs) - 1
        if drafted <= last:
            return self.costs[drafted]
        return self.costs[last] + (drafted - last) * (self.costs[last] - self.costs[last - 1])


@dataclass(frozen=True, slots=True)
class World:
    """A machine and its models.

    Noise is the sigma of a logarithm: of each step's time, of each sample's, and of each server start's speed.
    `prompt_speed` and `prompt_hits` are how unlike prompts are: sigma of the logarithm of their step time, alike in
    all arms, and of the log odds of a hit. `drift_per_hour`: relative change of speed. `first_step_extra`: of the first
    step behind a prompt, in plain steps.
    """

    pairs: Mapping[str, Pair]
    categories: tuple[str, ...] = ("coding",)
    prompts: int = 3
    max_tokens: int = 64
    plain_step_s: float = 0.05
    first_step_extra: float = 0.0
    step_noise: float = 0.02
    sample_noise: float = 0.01
    load_noise: float = 0.0
    prompt_speed: float = 0.0
    prompt_hits: float = 0.0
    drift_per_hour: float = 0.0
    load_s: float = 20.0


@dataclass(frozen=True, slots=True)
class Answer:
    """The steps of an answer: tokens drafted and accepted, and what each step costs, in plain steps."""

    drafted: tuple[int, ...]
    accepted: tuple[int, ...]
    costs: tuple[float, ...]
    cost: float  # the sum of costs
    squares: float  # the sum of their squares
    positions_drafted: tuple[int, ...]  # as in core.measure.StepFacts
    positions_accepted: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """The tokens behind the first one, which is the prompt's."""
        return sum(self.accepted) + len(self.drafted)


class Texts:
    """The answers to all prompts of one world, drawn by a seed."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self._seed = seed
        self._answers: dict[tuple[str | None, int, str, int, int], Answer] = {}
        self._luck: dict[tuple[str, str, int], tuple[float, list[float]]] = {}
        self._slowness: dict[tuple[str, int], float] = {}

    def rate(self, draft: str | None, k: int, category: str | None = None, prompts: int | None = None) -> float:
        """The true mean rate over the first `prompts` (None: all) of a category (None: of all), without drift.

        The mean of a rate is a little above the rate of the mean time: by the variance of the noise.
        """
        world = self.world
        asked = world.prompts if prompts is None else min(prompts, world.prompts)
        categories = world.categories if category is None else (category,)
        return fmean(self._rate(draft, k, name, prompt) for name in categories for prompt in range(asked))

    def rates(
        self, ks: Iterable[int], category: str | None = None, prompts: int | None = None
    ) -> dict[tuple[str | None, int], float]:
        """The true rates of all arms: (draft, K), and (None, 0) for the baseline."""
        arms: list[tuple[str | None, int]] = [(None, 0), *((draft, k) for draft in self.world.pairs for k in ks)]
        return {arm: self.rate(*arm, category, prompts) for arm in arms}

    def answer(self, draft: str | None, k: int, category: str, prompt: int, tokens: int | None = None) -> Answer:
        """The steps of an answer of `tokens` tokens (None: as many as the world's answers have)."""
        tokens = self.world.max_tokens if tokens is None else tokens
        known = self._answers.get((draft, k, category, prompt, tokens))
        if known is not None:
            return known
        drafted: list[int] = []
        accepted: list[int] = []
        done = 1
        while done < tokens:
            # As in llama.cpp: never longer than what may still be generated after the next token.
            length = max(0, min(k, tokens - done - 1))
            right = self._right(draft, category, prompt, done, length) if draft is not None and length else 0
            drafted.append(length)
            accepted.append(right)
            done += right + 1
        pair = self.world.pairs[draft] if draft is not None else None
        costs = [pair.cost(length) if pair is not None else 1.0 for length in drafted]
        costs[0] += self.world.first_step_extra
        found = Answer(
            tuple(drafted),
            tuple(accepted),
            tuple(costs),
            sum(costs),
            sum(cost * cost for cost in costs),
            _at_least(drafted, max(drafted)),
            _at_least(accepted, max(drafted)),
        )
        self._answers[draft, k, category, prompt, tokens] = found
        return found

    def slowness(self, category: str, prompt: int) -> float:
        """By what factor a prompt's steps take longer than others'."""
        if not self.world.prompt_speed:
            return 1.0
        known = self._slowness.get((category, prompt))
        if known is None:
            known = math.exp(random.Random(f"{self._seed}/{category}/{prompt}").gauss(0, self.world.prompt_speed))
            self._slowness[category, prompt] = known
        return known

    def _rate(self, draft: str | None, k: int, category: str, prompt: int) -> float:
        world = self.world
        answer = self.answer(draft, k, category, prompt)
        spread = math.expm1(world.step_noise**2) * answer.squares / answer.cost**2
        seconds = answer.cost * world.plain_step_s * self.slowness(category, prompt)
        return answer.tokens / seconds * (1 + spread) * math.exp(world.sample_noise**2)

    def _right(self, draft: str, category: str, prompt: int, place: int, length: int) -> int:
        """How many of so many drafted tokens are right, from a place of the text on."""
        known = self._luck.get((draft, category, prompt))
        if known is None:
            luck = random.Random(f"{self._seed}/{draft}/{category}/{prompt}")
            shift = luck.gauss(0, self.world.prompt_hits)
            known = self._luck[draft, category, prompt] = (shift, [luck.random() for _ in range(self.world.max_tokens)])
        shift, places = known
        pair = self.world.pairs[draft]
        hits = pair.by_category.get(category, pair.hits)
        right = 0
        while right < length:
            chance = hits[min(right, len(hits) - 1)]
            if shift and 0 < chance < 1:
                chance = 1 / (1 + (1 / chance - 1) * math.exp(-shift))
            if places[place + right] >= chance:
                break
            right += 1
        return right


def _at_least(counts: Sequence[int], most: int) -> tuple[int, ...]:
    """How many of the counts are at least 1, 2, … `most`."""
    tally = Counter(counts)
    found = [0] * (most + 1)
    for count in range(most, 0, -1):
        found[count - 1] = found[count] + tally[count]
    return tuple(found[:most])


def best_of(rates: Mapping[tuple[str | None, int], float]) -> tuple[str | None, int]:
    """The fastest arm, the smaller K of equals."""
    return min(rates, key=lambda arm: (-rates[arm], arm[1]))


def regret(rates: Mapping[tuple[str | None, int], float], chosen: tuple[str | None, int]) -> float:
    """By what share of the chosen arm's rate the best one is faster; 0.0 = none is."""
    return max(rates.values()) / rates[chosen] - 1
