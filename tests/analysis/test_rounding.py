"""How often a server is accused by its own rounding: simulated ones, whose truth is known, at many kinds of noise."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from specdash.analysis.lossless import judge
from specdash.analysis.texts import Rounding, rounding_of

PROMPTS, TOKENS, ARMS = 12, 96, 200
Noise = Callable[[random.Random], float]
"""By how much one margin moves, in nats."""

KINDS: dict[str, Noise] = {
    "normal": lambda chance: chance.gauss(0, 0.04),
    "wide": lambda chance: chance.gauss(0, 0.15),
    "long tails": lambda chance: chance.expovariate(40) * chance.choice((-1, 1)),
    "rare and large": lambda chance: chance.gauss(0, 0.3 if chance.random() < 0.01 else 0.02),
    "steps of bfloat16": lambda chance: chance.choice((0.0, 0.0, 0.0, 0.0625, -0.0625, 0.125, -0.125)),
    "tiny": lambda chance: chance.gauss(0, 2e-5),
}


def margin(chance: random.Random) -> float:
    """By how much a model of random weights prefers its token: every fourth time by less than 0.13 nats."""
    return chance.expovariate(2.0)


def seen(noise: Noise, chance: random.Random) -> Rounding:
    """What a baseline shows of its rounding in as many tokens as it is asked for from the cache."""
    return rounding_of(noise(chance) for _ in range(1000))


def parted_by_noise(noise: Noise, chance: random.Random) -> list[float]:
    """The margins at which a sound arm's prompts part: where noise turns the first choice."""
    found = []
    for _ in range(PROMPTS):
        tokens = ((margin(chance), noise(chance)) for _ in range(TOKENS))
        at = next((led for led, moved in tokens if led + moved < 0), None)
        if at is not None:
            found.append(at)
    return found


def parted_anywhere(chance: random.Random) -> list[float]:
    """Those of an arm that takes drafted tokens unseen: where its draft is wrong, whatever the margin is."""
    return [margin(chance) for _ in range(PROMPTS) if chance.random() < 0.8]


@pytest.mark.parametrize("kind", KINDS)
def test_of_a_hundred_sound_arms_at_most_two_are_accused_and_of_broken_ones_nearly_all(kind: str) -> None:
    noise, chance = KINDS[kind], random.Random(kind)
    sound = sum(judge(parted_by_noise(noise, chance), seen(noise, chance)).convicted for _ in range(ARMS))
    broken = sum(judge(parted_anywhere(chance), seen(noise, chance)).convicted for _ in range(ARMS))
    print(kind, sound, broken)
    assert sound <= 0.02 * ARMS
    assert broken >= 0.95 * ARMS
