"""How many pairs of target and draft are worth it, and which is the best: one line for each target. Pure.

This is the question that tables of published sweeps answer, so it is answered of imported results too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from specdash.analysis.result import Arm, Measurement, TargetPairs
from specdash.analysis.stats import Speedup
from specdash.core.methods import BASELINE
from specdash.core.plan import Step
from specdash.core.profile import LOSSLESS

REFUTED = frozenset({"output_differs", "impossible"})
"""Verdicts with which an arm cannot be the best of anything."""


def target_pairs(overall: Iterable[Arm], measurements: Iterable[Measurement]) -> tuple[TargetPairs, ...]:
    """One entry for each target that was measured with a draft, in the order of `overall`.

    A pair is a target with a draft, or a method without one (and config, experts, depth), judged by the best of its Ks
    over all categories.
    `pairs` counts those that have a rate, `compared` those of them that have a baseline too, `slower` those of them
    that are slower than it: beyond the noise where the interval is known, by the mean where it is not. `slower` is None
    where nothing could be compared. `best`, `best_tok_s` and `speedup` (a factor) are those of the pair with the
    largest speedup, of the fastest where there is no baseline.
    """
    refuted = {_arm(each.step) for each in measurements if REFUTED.intersection(each.verdicts)}
    best: dict[str, dict[Step, Arm]] = {}
    for arm in overall:
        if arm.step.method == BASELINE or arm.step.workload == LOSSLESS or arm.rate_tok_s is None:
            continue
        pairs = best.setdefault(arm.step.target, {})
        pair = replace(_arm(arm.step), k=None)
        known = pairs.get(pair)
        if known is None or _rank(arm, refuted) > _rank(known, refuted):
            pairs[pair] = arm
    return tuple(_entry(target, list(pairs.values()), refuted) for target, pairs in best.items())


def _arm(step: Step) -> Step:
    """A step whatever its text, and of repeated ones the first."""
    return replace(step, category="", copy=0)


def _rank(arm: Arm, refuted: set[Step]) -> tuple[bool, float, float]:
    """Larger is better; a factor over a baseline goes before a rate, whose mix of prompts may be another."""
    faster = arm.speedup.value if arm.speedup is not None else 0.0
    return _arm(arm.step) not in refuted, faster, arm.rate_tok_s or 0.0


def _entry(target: str, arms: Sequence[Arm], refuted: set[Step]) -> TargetPairs:
    compared = [arm.speedup for arm in arms if arm.speedup is not None]
    best = max(arms, key=lambda arm: _rank(arm, refuted))
    counts = _arm(best.step) not in refuted
    return TargetPairs(
        target=target,
        pairs=len(arms),
        compared=len(compared),
        slower=sum(map(is_slower, compared)) if compared else None,
        best=best.step if counts else None,
        best_tok_s=best.rate_tok_s if counts else None,
        speedup=best.speedup.value if counts and best.speedup is not None else None,
    )


def is_slower(speedup: Speedup) -> bool:
    """Whether a speedup is a loss: its whole interval below 1, or its value if there is none."""
    return (speedup.value if speedup.ci95 is None else speedup.ci95[1]) < 1
