from __future__ import annotations

import math
import random
from dataclasses import dataclass
from itertools import pairwise

import pytest

from specdash.analysis.k_search import Key, KSamples, Standing, next_samples, refine, rounds, standing

# Measured by the epyc-inference-research project on one 96-core EPYC, one sample a point; MIT, Copyright (c) 2025-2026
# Daniele Pinna. Per mille of the curve's best: no draft (None: not published), then K = 4, 8, 16, 24, 32 and 48.
CURVES: list[tuple[int | None, ...]] = [
    (228, 355, 607, 937, 1000, 589, 618),
    (203, 459, 762, 861, 1000, 582, 376),
    (321, 501, 478, 829, 946, 1000, 831),
    (320, 415, 548, 623, 1000, 344, 501),
    (232, 419, 399, 460, 568, 546, 1000),
    (311, 481, 623, 808, 1000, 427, 393),
    (113, 391, 714, 1000, 787, 451, 368),
    (398, 490, 638, 844, 1000, 543, 566),
    (493, 710, 841, 1000, 574, 474, 408),
    (674, 1000, 982, 855, 829, 496, 190),
    (125, 656, 1000, 979, 898, 832, 708),
    (210, 761, 1000, 860, 632, 428, 298),
    (295, 474, 662, 735, 713, 1000, 841),
    (229, 441, 676, 854, 1000, 961, 411),
    (228, 716, 827, 1000, 762, 413, 568),
    (204, 630, 887, 549, 1000, 487, 310),
    (298, 905, 914, 1000, 699, 238, 257),
    (217, 653, 746, 1000, 496, 416, 231),
    (248, 721, 879, 948, 1000, 354, 137),
    (275, 839, 1000, 778, 659, 300, 239),
    (135, 858, 1000, 775, 497, 418, 350),
    (198, 645, 812, 1000, 530, 684, 533),
    (196, 855, 922, 1000, 721, 417, 386),
    (242, 808, 1000, 895, 619, 570, 381),
    (None, 534, 548, 502, 1000, 678, 422),
    (None, 829, 993, 953, 1000, 550, 451),
    (None, 1000, 907, 855, 729, 377, 425),
    (None, 452, 621, 487, 1000, 482, 302),
    (None, 795, 951, 690, 1000, 637, 426),
    (157, 367, 344, 542, 1000, 460, 726),
    (293, 573, 589, 1000, 878, 624, 618),
    (336, 633, 617, 962, 1000, 832, 995),
    (424, 677, 1000, 636, 419, 537, 349),
    (501, 1000, 878, 784, 629, 660, 628),
    (587, 1000, 848, 653, 481, 554, 344),
    (None, 1000, 874, 580, 597, 325, 273),
    (None, 898, 1000, 463, 374, 241, 252),
    (None, 859, 1000, 512, 468, 367, 261),
    (225, 816, 1000, 609, 671, 194, 185),
    (289, 1000, 994, 853, 636, 256, 239),
    (1120, 1000, 841, 810, 520, 424, 267),
    (1082, 1000, 993, 720, 645, 329, 176),
    (1075, 1000, 987, 751, 503, 666, 379),
    (1153, 1000, 857, 460, 435, 427, 190),
    (747, 1000, 826, 708, 473, 347, 156),
    (486, 862, 1000, 869, 722, 562, 699),
    (664, 940, 1000, 696, 731, 431, 527),
    (712, 1000, 843, 662, 540, 369, 316),
    (748, 1000, 998, 755, 697, 570, 678),
    (732, 889, 1000, 936, 698, 658, 456),
    (167, 671, 1000, 557, 799, 482, 439),
    (302, 1000, 819, 851, 813, 447, 356),
    (252, 702, 1000, 924, 850, 233, 323),
]
CURVE_KS = (4, 8, 16, 24, 32, 48)
K_MAX = 48
START = (2, 4, 8, 16, 24, 32, 48)
Truth = dict[int, float]


def truth_of(curve: tuple[int | None, ...]) -> Truth:
    """True relative rates of K = 1 to 48: the measured points joined by straight lines, no draft at K = 0."""
    rates = [each or 0 for each in curve]
    points = [(0, rates[0] or 0.6 * rates[1]), *zip(CURVE_KS, rates[1:], strict=True)]
    truth: Truth = {}
    for (a, low), (b, high) in pairwise(points):
        truth |= {k: (low + (high - low) * (k - a) / (b - a)) / 1000 for k in range(max(a, 1), b + 1)}
    return truth


@dataclass(frozen=True)
class Raced:
    """A finished race: the true regret of the choice, whether the best arm was dropped, what it took."""

    regret: float
    best_dropped: bool
    settled: bool
    samples: int
    loads: int
    ks: int


def run_race(
    truth: Truth, noise: float, seed: int, most: int, precision: float, start: tuple[int, ...] = START
) -> Raced:
    """A race as the sweep runs it: the racing arms that are furthest behind, then new Ks.

    Three prompts, 10 % apart, and up to 10 % better or worse off with a large K than the others.
    """
    rng = random.Random(seed)
    speeds = [rng.gauss(0.0, 0.1) for _ in range(3)]
    tilts = [rng.gauss(0.0, 0.1) for _ in range(3)]
    speeds, tilts = ([each - sum(three) / 3 for each in three] for three in (speeds, tilts))
    samples: dict[int, list[tuple[Key, float]]] = {k: [] for k in start}
    turn, stand, loads = tuple(start), None, 0
    while turn:
        for k in turn:
            loads += 1
            have = len(samples[k])
            for block in range(have, have + next_samples(have, most)):
                prompt = 1 + speeds[block % 3] + tilts[block % 3] * math.log(k) / math.log(K_MAX)
                rate = 20 * truth[k] * prompt * (1 + noise * rng.gauss(0.0, 1.0))
                samples[k].append((("all", str(block % 3), block), max(rate, 0.01)))
        arms = [KSamples(k, samples[k]) for k in sorted(samples)]
        stand = standing(arms, precision, rounds(most), stand)
        behind = [k for k in stand.racing if len(samples[k]) < most]
        least = min((len(samples[k]) for k in behind), default=0)
        turn = tuple(k for k in behind if len(samples[k]) == least) or refine(arms, stand, K_MAX, precision)
        samples = {k: [] for k in turn} | samples
    assert stand is not None
    assert stand.choice is not None
    return Raced(
        max(truth.values()) / truth[stand.choice] - 1,
        max(samples, key=lambda k: truth[k]) in stand.beaten,
        stand.settled,
        sum(map(len, samples.values())),
        loads,
        len(samples),
    )


@pytest.mark.parametrize(("noise", "most"), [(0.03, 64), (0.1, 64)])
def test_the_race_finds_the_best_of_published_curves(noise: float, most: int) -> None:
    runs = [
        run_race(truth_of(c), noise, 100 * i + s, most, 0.02)
        for i, c in enumerate(CURVES)
        for s in range(2 if noise < 0.1 else 1)
    ]
    assert sum(run.regret < 0.02 for run in runs) >= 0.95 * len(runs)
    assert sum(run.best_dropped for run in runs) < 0.02 * len(runs)
    full = len(START) * most
    assert sum(run.samples for run in runs) / len(runs) < full
    if noise < 0.1:
        assert sum(run.settled for run in runs) >= 0.95 * len(runs)
        assert sum(run.samples for run in runs) / len(runs) < full / 3


def test_the_race_is_as_good_where_the_peak_lies_off_the_first_ks() -> None:
    # Smooth, as real step costs are: the rate of the textbook model with its best K at 5, 11 and 19.
    for best in (5, 11, 19):
        truth = {k: math.exp(-(math.log(k / best) ** 2) / 2) for k in range(1, K_MAX + 1)}
        runs = [run_race(truth, 0.03, seed, 96, 0.02, start=(2, 8, 48)) for seed in range(10)]
        assert max(run.regret for run in runs) < 0.02


def test_the_same_race_twice_is_the_same() -> None:
    truth = truth_of(CURVES[3])
    assert run_race(truth, 0.05, 4, 24, 0.02) == run_race(truth, 0.05, 4, 24, 0.02)


def arm(k: int, rate: float, n: int = 6, wobble: float = 0.01, category: str = "prose", salt: int = 0) -> KSamples:
    """An arm with a mean close to `rate` and a seeded scatter of its own; three prompts of unlike speed."""
    rng = random.Random(1000 * k + salt)
    keys: list[Key] = [(category, f"p{block % 3}", block) for block in range(n)]
    return KSamples(k, [(key, rate * (1, 1.5, 0.7)[key[2] % 3] * (1 + wobble * rng.uniform(-1, 1))) for key in keys])


def test_a_slow_arm_is_beaten_with_figures_and_a_tie_is_alive() -> None:
    found = standing([arm(4, 50), arm(8, 100), arm(9, 100)], 0.02, 4)
    assert found.best in (8, 9)
    assert found.alive == (8, 9)
    assert set(found.beaten) == {4}
    assert "50" in found.beaten[4] or "49" in found.beaten[4]
    assert f"K = {found.best}" in found.beaten[4]
    assert "6 pairs" in found.beaten[4]


def test_noise_keeps_a_slower_arm_alive_and_the_race_open() -> None:
    found = standing([arm(4, 97, wobble=0.3), arm(8, 100, wobble=0.3)], 0.02, 4)
    assert (found.alive, found.beaten, found.settled, found.tied) == ((4, 8), {}, False, ())
    assert "may still be" in found.reason
    assert found.choice == found.best
    assert found.racing == (4, 8)


def test_what_cannot_be_much_faster_takes_no_more_samples() -> None:
    arms = [arm(4, 97, 12, 0.05), arm(8, 100, 12, 0.05), KSamples(16, arm(16, 100, 12, 0.3).rates)]
    found = standing(arms, 0.05, 4)
    assert (found.alive, found.best, found.racing) == ((4, 8, 16), 8, (8, 16))


def test_ties_settle_and_the_smaller_k_is_chosen() -> None:
    found = standing([arm(8, 100, 40), arm(4, 99.8, 40)], 0.02, 3)
    assert found.settled
    assert found.best == 8
    assert found.tied == (4, 8)
    assert found.choice == 4
    assert "no other K can be more than" in found.reason


def test_only_one_left_settles() -> None:
    found = standing([arm(2, 40), arm(8, 100), arm(16, 30)], 0.02, 4)
    assert (found.best, found.alive, found.settled, found.choice) == (8, (8,), True, 8)
    assert "all others are beaten" in found.reason


def test_the_correction_grows_with_arms_and_looks() -> None:
    slower, best = arm(4, 97, 6, 0.02), arm(8, 100, 6, 0.02)
    assert 4 in standing([slower, best], 0.02, 1).beaten
    assert 4 not in standing([slower, best], 0.02, 10_000).beaten
    many = [KSamples(k, best.rates) for k in range(9, 400)]
    assert 4 not in standing([slower, best, *many], 0.02, 1).beaten


def test_the_beaten_stay_beaten_when_a_later_look_is_stricter() -> None:
    arms = [arm(4, 97, 6, 0.02), arm(8, 100, 6, 0.02)]
    first = standing(arms, 0.02, 1)
    again = standing(arms, 0.02, 10_000, first)
    assert again.beaten == first.beaten != {}


def test_a_leader_of_a_category_is_kept_and_settles_when_its_lead_is_proven() -> None:
    def two(k: int, prose: float, code: float, wobble: float) -> KSamples:
        return KSamples(k, [*arm(k, prose, 8, wobble).rates, *arm(k, code, 8, wobble, "code", 7).rates])

    found = standing([two(4, 60, 50, 0.02), two(16, 40, 100, 0.02), two(48, 20, 20, 0.02)], 0.02, 4)
    assert found.best == 16
    assert found.alive == (4, 16)
    assert set(found.beaten) == {48}
    assert "prose" in found.kept[4]
    assert found.settled
    assert found.choice == 16
    unsure = standing([two(4, 41, 50, 0.1), two(16, 40, 100, 0.1)], 0.02, 4)
    assert 4 in unsure.kept
    assert not unsure.settled
    assert "not settled yet: K = 4 leads in prose" in unsure.reason


def test_a_lead_in_a_category_that_is_worth_nothing_keeps_no_arm() -> None:
    def two(k: int, prose: float, code: float) -> KSamples:
        return KSamples(k, [*arm(k, prose, 30).rates, *arm(k, code, 30, category="code", salt=7).rates])

    found = standing([two(4, 40.3, 50), two(16, 40, 100)], 0.02, 4)
    assert (found.alive, found.kept, set(found.beaten)) == ((16,), {}, {4})


def test_prompts_that_like_one_k_more_are_no_noise() -> None:
    likes = {4: (1.3, 1.0, 0.7), 8: (0.75, 1.05, 1.35)}
    rng = random.Random(5)
    arms = [
        KSamples(k, [(("a", f"p{b % 3}", b), 50 * like[b % 3] * rng.uniform(0.995, 1.005)) for b in range(12)])
        for k, like in likes.items()
    ]
    assert set(standing(arms, 0.02, 4).beaten) == {4}


def test_what_cannot_be_compared_is_not_settled() -> None:
    empty = standing([], 0.02, 4)
    assert standing([KSamples(4, [])], 0.02, 4).racing == (4,)
    assert (empty.best, empty.alive, empty.settled, empty.choice) == (None, (), False, None)
    assert standing([KSamples(4, [])], 0.02, 4).best is None
    one = standing([arm(4, 10, 1), arm(8, 100, 1)], 0.02, 4)
    assert (one.best, one.alive, one.settled) == (8, (4, 8), False)
    assert "too few samples" in one.reason
    unmeasured = standing([arm(4, 10), arm(8, 100), KSamples(16, [])], 0.02, 4)
    assert unmeasured.alive == (8, 16)
    assert not unmeasured.settled


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, -1.0])
def test_what_is_no_rate_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite and above 0"):
        standing([KSamples(4, [(("a", "p", 0), bad)])], 0.02, 4)


def test_a_noiseless_arm_needs_no_interval() -> None:
    keys: list[Key] = [("a", "p", block) for block in range(2)]
    arms = [KSamples(k, [(key, rate) for key in keys]) for k, rate in ((2, 10.0), (4, 10.0), (8, 9.9))]
    found = standing(arms, 0.02, 4)
    assert (found.best, found.tied, set(found.beaten), found.choice) == (2, (2, 4), {8}, 2)


def stood(estimates: dict[int, float], *possible: int) -> Standing:
    """A standing with these estimates and possible peaks."""
    best = max(estimates, key=lambda k: estimates[k])
    return Standing(best, tuple(estimates), {}, False, "", possible=possible or (best,), estimates=estimates)


@pytest.mark.parametrize(
    ("speeds", "possible", "k_max", "new"),
    [
        ({4: 0.8, 8: 1.0, 16: 0.9, 24: 0.5}, (8,), 24, (6, 11)),
        ({4: 0.6, 8: 0.5, 16: 0.7, 24: 1.0, 32: 0.5}, (24,), 48, (20, 28)),
        ({4: 1.0, 8: 0.5, 16: 0.99, 24: 0.4}, (4, 16), 24, (2, 6, 11, 20)),
        ({4: 0.7, 8: 0.8, 16: 0.5, 24: 1.0}, (24,), 24, (6, 11, 20)),
        ({4: 0.7, 8: 0.74, 16: 0.5, 24: 1.0}, (24,), 24, (20,)),
        ({4: 0.5, 8: 1.0}, (8,), 12, (6, 12)),
        ({4: 0.99, 8: 1.0, 16: 0.995, 24: 0.99}, (4, 8, 16, 24), 24, (2,)),
        ({4: 0.89, 8: 0.99, 16: 1.0, 24: 0.94}, (8, 16), 24, (11, 20)),
        ({4: 0.5, 40: 1.0}, (40,), 48, (13, 48)),
        ({2: 1.0, 3: 0.5}, (2,), 24, (1,)),
        ({1: 1.0, 2: 0.5}, (1,), 24, ()),
        ({20: 0.8, 24: 1.0, 28: 0.9}, (24,), 28, ()),
        ({7: 0.8, 8: 1.0, 9: 0.9}, (8,), 16, ()),
        ({4: 1.0}, (4,), 4, (2,)),
    ],
)
def test_new_ks_lie_between_neighbours_of_possible_peaks(
    speeds: dict[int, float], possible: tuple[int, ...], k_max: int, new: tuple[int, ...]
) -> None:
    arms = [KSamples(k, []) for k in speeds]
    assert refine(arms, stood(speeds, *possible), k_max, 0.02) == new


def test_refining_comes_to_an_end_even_where_nothing_is_told_apart() -> None:
    speeds = dict.fromkeys(START, 1.0)
    for _ in range(10):
        new = refine([KSamples(k, []) for k in speeds], stood(speeds, *speeds), K_MAX, -1)
        assert not set(new) & set(speeds)
        assert len(new) <= 2 * len(speeds)
        speeds |= dict.fromkeys(new, 1.0)
    assert new == ()
    assert len(speeds) <= 25


@pytest.mark.parametrize(
    ("most", "sizes"),
    [(5, [5]), (8, [8]), (20, [6, 12, 20]), (64, [6, 12, 24, 48, 64]), (52, [6, 12, 24, 52]), (0, [])],
)
def test_rounds_grow_geometrically_and_leave_no_crumbs(most: int, sizes: list[int]) -> None:
    have, found = 0, []
    while more := next_samples(have, most):
        have += more
        found.append(have)
    assert found == sizes
    assert rounds(most) == max(1, len(sizes))
    assert next_samples(most + 3, most) == 0
