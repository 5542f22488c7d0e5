"""Rules of thumb that go round about speculative decoding, each held against what one run measured. Pure.

They come from published analyses of single machines (`source`), and most were read off single samples. A rule that
this run cannot judge is neither true nor false, and says why. Rates that cannot be told apart do not break a rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations

from specdash.analysis.result import JudgedRule, Result
from specdash.analysis.rule_inputs import Pair, pairs_of

Judgement = tuple[bool | None, str]

SHOWN = 4
FAST_TOK_S = 30.0
MODEST = 1.5
SWEET_SPOT_B = (1.5, 3.0)
_CLOSE = 0.2  # 1.54 B and 3.2 B are sold as 1.5 B and 3 B
_GAINS = ((8.0, 0.60, 0.80), (15.0, 0.10, 0.30), (FAST_TOK_S, 0.05, 0.15))


def judged_rules(result: Result) -> tuple[JudgedRule, ...]:
    """Every rule with its source, whether it held in this result, and the evidence in words and figures."""
    pairs = pairs_of(result)
    judged = ((rule, source, judge(pairs)) for rule, source, judge in _RULES)
    return tuple(
        JudgedRule(rule=rule, source=source, held=held, evidence=evidence) for rule, source, (held, evidence) in judged
    )


def _large_rise(pairs: Sequence[Pair]) -> Judgement:
    found = [pair for pair in pairs if pair.target_class == "dense-large" and pair.peak is not None]
    if not found:
        return None, "no dense target of 70B or more was measured at three Ks"
    return _all_of(found, lambda pair: pair.peak is not None and pair.peak.high == pair.peak.ks[-1], _peak_told)


def _peaks_low(model_class: str, name: str) -> Callable[[Sequence[Pair]], Judgement]:
    """The rule that targets of a class have their best K at 8 or below."""

    def judge(pairs: Sequence[Pair]) -> Judgement:
        of_class = [pair for pair in pairs if pair.target_class == model_class]
        if not of_class:
            return None, f"no {name} was measured with a draft"
        found = [pair for pair in of_class if pair.peak is not None and pair.peak.ks[-1] > 8 >= pair.peak.ks[0]]
        if not found:
            return None, "no three Ks were measured on both sides of K = 8"
        return _all_of(found, lambda pair: pair.peak is not None and pair.peak.low <= 8, _peak_told)

    return judge


def _k_grows(pairs: Sequence[Pair]) -> Judgement:
    found = [(pair.time_ratio, pair.peak.best, pair) for pair in pairs if pair.time_ratio and pair.peak is not None]
    if len(found) < 3:
        return None, "fewer than three pairs of known size were measured at three Ks"
    trend = _trend([(ratio, float(k)) for ratio, k, _ in found])
    rows = sorted(found, key=lambda each: each[0])
    evidence = _shown(f"{pair.label}: {ratio:.3g} times the bytes, best K {k}" for ratio, k, pair in rows)
    return (None, f"no trend either way; {evidence}") if trend == 0 else (trend > 0, evidence)


def _slow_gain(pairs: Sequence[Pair]) -> Judgement:
    found = _best_of_targets(pairs)
    if len(found) < 2:
        return None, "only one target has a baseline and a draft" if found else "nothing has a baseline and a draft"
    points = [(pair.baseline_tok_s or 0.0, _gain(pair)) for pair in found]
    trend = _trend(points)
    rows = sorted(found, key=lambda pair: pair.baseline_tok_s or 0.0)
    evidence = _shown(f"{pair.target} ({pair.baseline_tok_s:.3g} tok/s): {_percent(_gain(pair))}" for pair in rows)
    return (None, f"no trend either way; {evidence}") if trend == 0 else (trend < 0, evidence)


def _sweet_spot(pairs: Sequence[Pair]) -> Judgement:
    judged: list[tuple[bool, Pair]] = []
    for members in _by_target(pairs).values():
        sized = [pair for pair in members if pair.billions is not None and pair.best_tok_s is not None]
        inside = {_is_inside(pair) for pair in sized}
        if inside == {True, False}:
            best = max(sized, key=lambda pair: pair.faster.value if pair.faster is not None else pair.best_tok_s or 0.0)
            judged.append((_is_inside(best), best))
    if not judged:
        return None, "no target was measured with drafts inside and outside of 1.5B to 3B"
    evidence = _shown(f"{best.target}: the best draft is {best.draft}" for _, best in judged)
    return _share([held for held, _ in judged], evidence)


def _fast_targets(pairs: Sequence[Pair]) -> Judgement:
    fast = [pair for pair in _best_of_targets(pairs) if (pair.baseline_tok_s or 0.0) > FAST_TOK_S]
    if not fast:
        return None, "no target with a baseline and a draft makes more than 30 tok/s"
    return _all_of(fast, lambda pair: not _gains(pair), _gain_told)


def _expected_gains(pairs: Sequence[Pair]) -> Judgement:
    found = [pair for pair in _best_of_targets(pairs) if (pair.baseline_tok_s or FAST_TOK_S) < FAST_TOK_S]
    if not found:
        return None, "no target with a baseline and a draft makes less than 30 tok/s"
    return _all_of(found, _is_as_expected, _gain_told)


def _mixed_families(pairs: Sequence[Pair]) -> Judgement:
    judged: list[tuple[bool, str]] = []
    for target, members in _by_target(pairs).items():
        own = [pair for pair in members if pair.same_architecture and pair.faster is not None]
        other = [pair for pair in members if pair.same_architecture is False and pair.faster is not None]
        if own and other:
            ours, theirs = max(own, key=_gain), max(other, key=_gain)
            told = f"{target}: {ours.draft} {_percent(_gain(ours))}, {theirs.draft} {_percent(_gain(theirs))}"
            judged.append((_gain(theirs) < _gain(ours), told))
    if not judged:
        return None, "no target was measured with drafts of its own family and of another"
    return _share([held for held, _ in judged], _shown(told for _, told in judged))


def _eight_to_ten(pairs: Sequence[Pair]) -> Judgement:
    found = [
        pair
        for pair in pairs
        if pair.peak is not None
        and any(8 <= k <= 10 for k in pair.peak.ks)
        and not all(8 <= k <= 10 for k in pair.peak.ks)
    ]
    if not found:
        return None, "no pair was measured at three Ks with one from 8 to 10 among them"
    return _all_of(
        found, lambda pair: pair.peak is not None and pair.peak.low <= 10 and pair.peak.high >= 8, _peak_told
    )


def _reaches(pairs: Sequence[Pair]) -> Judgement:
    found = _best_of_targets(pairs)
    if not found:
        return None, "nothing has a baseline and a draft"
    return _all_of(found, lambda pair: _gain(pair) + 1 >= MODEST, _gain_told)


def _larger_helps(pairs: Sequence[Pair]) -> Judgement:
    judged: list[tuple[bool, str]] = []
    for pair in pairs:
        at_8 = pair.speedups.get(8)
        above = {k: speedup for k, speedup in pair.speedups.items() if 8 < k <= 16}
        if at_8 is not None and at_8 < MODEST and above:
            best = max(above, key=lambda k: above[k])
            judged.append((above[best] > at_8, f"{pair.label}: {at_8:.3g} x at K = 8, {above[best]:.3g} x at {best}"))
    if not judged:
        return None, "no pair below 1.5 x at K = 8 was measured at a K from 9 to 16"
    return _share([held for held, _ in judged], _shown(told for _, told in judged))


def _acceptance(pairs: Sequence[Pair]) -> Judgement:
    judged: list[tuple[bool, str]] = []
    for target, members in _by_target(pairs).items():
        known = [pair for pair in members if pair.acceptance is not None and pair.best_tok_s is not None]
        if len({pair.draft for pair in known}) < 2:
            continue
        agreeing = max(known, key=lambda pair: pair.acceptance or 0.0)
        fastest = max(known, key=lambda pair: pair.best_tok_s or 0.0)
        told = (
            f"{target}: {agreeing.draft} has the highest acceptance ({100 * (agreeing.acceptance or 0.0):.0f} %), "
            f"{fastest.draft} is the fastest ({100 * (fastest.acceptance or 0.0):.0f} %)"
        )
        judged.append((agreeing.draft != fastest.draft, told))
    if not judged:
        return None, "no target was measured with two drafts of known acceptance"
    return _share([held for held, _ in judged], _shown(told for _, told in judged))


def _all_of(found: Sequence[Pair], holds: Callable[[Pair], bool], told: Callable[[Pair], str]) -> Judgement:
    """Whether a rule holds for each of these pairs; those that break it come first in the evidence."""
    held = [holds(pair) for pair in found]
    ordered = [pair for _, pair in sorted(zip(held, found, strict=True), key=lambda each: each[0])]
    return _share(held, _shown(map(told, ordered)))


def _share(held: Sequence[bool], evidence: str) -> Judgement:
    count = f"{sum(held)} of {len(held)}: " if len(held) > 1 else ""
    return all(held), f"{count}{evidence}"


def _shown(parts: Iterable[str]) -> str:
    """The first few pieces of evidence in one line."""
    every = list(parts)
    more = f"; and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return "; ".join(every[:SHOWN]) + more


def _trend(points: Sequence[tuple[float, float]]) -> int:
    """Concordant less discordant pairs of points (Kendall): above 0 where y grows with x."""
    found = 0
    for (x, y), (u, v) in combinations(points, 2):
        product = (x - u) * (y - v)
        found += (product > 0) - (product < 0)
    return found


def _by_target(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    found: dict[str, list[Pair]] = {}
    for pair in pairs:
        found.setdefault(pair.target, []).append(pair)
    return found


def _best_of_targets(pairs: Sequence[Pair]) -> list[Pair]:
    """For each target that has a baseline and a draft: the pair with the largest speedup."""
    known = [pair for pair in pairs if pair.faster is not None and pair.baseline_tok_s is not None]
    return [max(members, key=_gain) for members in _by_target(known).values()]


def _gain(pair: Pair) -> float:
    """What the draft adds, as a share: 0.8 = 80 % faster."""
    return pair.faster.value - 1 if pair.faster is not None else 0.0


def _gains(pair: Pair) -> bool:
    """Whether the draft helps beyond the noise; by the mean where there is no interval."""
    if pair.faster is None:
        return False
    return (pair.faster.value if pair.faster.ci95 is None else pair.faster.ci95[0]) > 1.0


def _is_as_expected(pair: Pair) -> bool:
    """Whether the gain is in the range said to be expected at the target's speed, or cannot be told from it."""
    _, low, high = next(each for each in _GAINS if (pair.baseline_tok_s or 0.0) < each[0])
    ends = pair.faster.ci95 if pair.faster is not None and pair.faster.ci95 is not None else (_gain(pair) + 1,) * 2
    return ends[0] - 1 <= high and ends[1] - 1 >= low


def _is_inside(pair: Pair) -> bool:
    low, high = SWEET_SPOT_B
    return pair.billions is not None and low * (1 - _CLOSE) <= pair.billions <= high * (1 + _CLOSE)


def _peak_told(pair: Pair) -> str:
    return f"{pair.label}: {pair.peak.told}" if pair.peak is not None else pair.label


def _gain_told(pair: Pair) -> str:
    return f"{pair.label}: {_percent(_gain(pair))} over {pair.baseline_tok_s:.3g} tok/s"


def _percent(gain: float) -> str:
    return f"{100 * gain:+.0f} %"


_K_VALUES = "epyc-inference-research, K-value optimisation analysis"
_DRAFTBENCH = "draftbench"
_VELOLLM = "velollm-bench-speculative"
_OWN = "published sweeps, looked through again"

_RULES: tuple[tuple[str, str, Callable[[Sequence[Pair]], Judgement]], ...] = (
    ("Dense targets of 70B and more get faster with K all the way", _K_VALUES, _large_rise),
    ("Mixture-of-experts targets peak at K = 8 or below", _K_VALUES, _peaks_low("moe", "mixture of experts")),
    (
        "Dense targets under 32B peak at K = 8 or below",
        _K_VALUES,
        _peaks_low("dense-small", "dense target under 32B"),
    ),
    ("The best K grows with the time of the target over that of the draft", _K_VALUES, _k_grows),
    ("Slower targets gain more", _DRAFTBENCH, _slow_gain),
    ("The best draft has 1.5B to 3B parameters; smaller and larger ones lose", _DRAFTBENCH, _sweet_spot),
    ("A draft is not worth it for targets above 30 tok/s", _DRAFTBENCH, _fast_targets),
    (
        "Expect +60 to 80 % for targets below 8 tok/s, +10 to 30 % up to 15, +5 to 15 % up to 30",
        _DRAFTBENCH,
        _expected_gains,
    ),
    ("Drafts of another model family gain less", _DRAFTBENCH, _mixed_families),
    ("K = 8 to 10 is the best choice", _VELOLLM, _eight_to_ten),
    ("A good pair reaches 1.5 times the speed", _VELOLLM, _reaches),
    ("Below 1.5 times the speed at K = 8, a larger K helps", _VELOLLM, _larger_helps),
    ("The draft with the highest acceptance is not the fastest", _OWN, _acceptance),
)
