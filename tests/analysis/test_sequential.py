from __future__ import annotations

import math
import random

import pytest

from specdash.analysis.sequential import estimate, known_to, least_samples
from specdash.analysis.stats import summarise

RUNS = 1500


def draw(rng: random.Random, effects: tuple[float, ...], noise: float, n: int) -> list[tuple[str, float]]:
    """Samples of prompts in turn, with a true mean of 50 where the effects' mean is 1."""
    turns = [block % len(effects) for block in range(n)]
    return [(f"p{turn}", 50 * effects[turn] * (1 + noise * rng.gauss(0.0, 1.0))) for turn in turns]


def taken(samples: list[tuple[str, float]], precision: float) -> tuple[int, bool]:
    """How many samples a step takes that is asked after each of them, and whether it was known; by bisection."""
    most = len(samples)
    if not known_to(samples, precision, most):
        return most, False
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if known_to(samples[:middle], precision, most) else (middle, high)
    return high, True


# The settings are near the worst of `bench_sequential.py`: about half of the runs stop before `most`.
@pytest.mark.parametrize(
    ("effects", "noise", "precision", "most"),
    [
        ((1.0,), 0.01, 0.01, 20),
        ((1.0,), 0.005, 0.05, 8),
        ((0.8, 1.0, 1.2), 0.03, 0.03, 20),
        ((0.9, 1.1), 0.1, 0.05, 20),
    ],
)
def test_the_interval_after_a_stop_holds_the_truth(
    effects: tuple[float, ...], noise: float, precision: float, most: int
) -> None:
    rng = random.Random(3)
    covered = wrong = 0
    for _ in range(RUNS):
        samples = draw(rng, effects, noise, most)
        n, known = taken(samples, precision)
        found = estimate(samples[:n])
        assert found is not None
        assert found.ci95 is not None
        covered += found.ci95[0] <= 50 <= found.ci95[1]
        wrong += known and abs(found.mean / 50 - 1) > precision
    assert 0.93 <= covered / RUNS <= 0.97
    assert wrong / RUNS <= 0.05


def test_once_known_stays_known() -> None:
    rng = random.Random(8)
    for _ in range(50):
        samples = draw(rng, (0.9, 1.1), 0.02, 24)
        said = [known_to(samples[:n], 0.02, 24) for n in range(25)]
        assert said == sorted(said)


def test_prompts_that_differ_in_speed_are_no_noise() -> None:
    samples = draw(random.Random(1), (0.5, 1.0, 1.5), 0.001, 12)
    assert known_to(samples, 0.01, 12)
    assert not known_to([("p", rate) for _, rate in samples], 0.01, 12)
    found, plain = estimate(samples), summarise([rate for _, rate in samples])
    assert found is not None
    assert plain is not None
    assert found.ci95 is not None
    assert plain.ci95 is not None
    assert found.ci95[1] - found.ci95[0] < (plain.ci95[1] - plain.ci95[0]) / 100


@pytest.mark.parametrize(("prompts", "least"), [(1, 6), (2, 8), (3, 12)])
def test_the_least_samples(prompts: int, least: int) -> None:
    samples = [(f"p{block % prompts}", 10.0 + block % prompts) for block in range(20)]
    assert not known_to(samples[: least - 1], 0.02, 20)
    assert least_samples(prompts) == least
    assert known_to(samples[:least], 0.02, 20)
    assert not known_to(samples[:least], 0.02, least - 1)


def test_never_before_every_prompt_was_asked() -> None:
    late = [*[("a", 10.0)] * 8, ("b", 10.0)]
    assert known_to(late[:8], 0.02, 20)
    assert not known_to(late, 0.02, 20)
    assert not known_to([], 0.02, 20)


def test_noise_beyond_the_precision_is_not_known() -> None:
    assert not known_to(draw(random.Random(2), (1.0,), 0.1, 50), 0.01, 50)


def test_the_interval_is_around_the_mean_of_what_was_asked() -> None:
    found = estimate([("slow", 10.0), ("fast", 20.0), ("slow", 10.2), ("fast", 20.4), ("slow", 10.1)])
    assert found is not None
    assert found.mean == pytest.approx((10.0 + 20.0 + 10.2 + 20.4 + 10.1) / 5)
    assert found.ci95 is not None
    assert math.sqrt(math.prod(found.ci95)) == pytest.approx(found.mean)
    assert found.n == 5


@pytest.mark.parametrize("prompts", ["aa", "aab", "aabb", "abab"])
def test_a_rate_never_has_an_interval_below_0(prompts: str) -> None:
    found = estimate(list(zip(prompts, [30.0, 6.48, 0.5, 44.0], strict=False)))
    assert found is not None
    assert found.ci95 is not None
    assert 0 < found.ci95[0] < found.mean < found.ci95[1]


def test_one_prompt_gives_the_plain_interval() -> None:
    rates = [10.0, 10.4, 9.9, 10.2]
    found, plain = estimate([("p", rate) for rate in rates]), summarise(rates)
    assert found is not None
    assert plain is not None
    assert found.ci95 == pytest.approx(plain.ci95)


def test_prompts_hardly_repeated_give_the_plain_interval() -> None:
    rates = [10.0, 20.0, 30.0, 10.5]
    found, plain = estimate(list(zip("abca", rates, strict=True))), summarise(rates)
    assert found is not None
    assert plain is not None
    assert (found.mean, found.ci95) == (plain.mean, plain.ci95)


def test_of_one_and_of_none() -> None:
    assert estimate([]) is None
    found = estimate([("p", 3.0)])
    assert found is not None
    assert (found.n, found.mean, found.ci95) == (1, 3.0, None)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, -2.0])
def test_what_is_no_rate_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite and above 0"):
        known_to([("p", bad)], 0.02, 5)
    with pytest.raises(ValueError, match="finite and above 0"):
        estimate([("p", bad)])
