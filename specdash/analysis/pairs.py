"""How many pairs of target and draft are worth it, and which is the best: one line for each target. Pure.

This is the question that tables of published sweeps answer, so it is answered of imported results too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from specdash.core.axes import ARM, STAGE, row_of, values
from specdash.core.methods import BASELINE

Json = Mapping[str, Any]

REFUTED = frozenset({"output_differs", "impossible"})
"""Verdicts with which an arm cannot be the best of anything."""

_PAIR = tuple(name for name in ARM if name != "k")


def target_pairs(overall: Sequence[Json], measurements: Iterable[Json]) -> list[dict[str, Any]]:
    """One entry for each target that was measured with a draft, in the order of `overall`; both lists as in a result.

    A pair is a target with a draft, or a method without one (and config, experts, depth), judged by the best of its Ks
    over all categories.
    `pairs` counts those that have a rate, `compared` those of them that have a baseline too, `slower` those of them
    that are slower than it: beyond the noise where the interval is known, by the mean where it is not. `slower` is None
    where nothing could be compared. `best_draft` and so on for each axis of stages, `best_tok_s` and `speedup`
    (a factor) are those of the pair with the largest speedup, of the fastest where there is no baseline.
    """
    refuted = {values(each, ARM) for each in measurements if REFUTED.intersection(each["verdicts"])}
    best: dict[str, dict[tuple[Any, ...], Json]] = {}
    for arm in overall:
        if arm["method"] == BASELINE or arm["workload"] == "lossless" or "decode_tok_s" not in arm["summary"]:
            continue
        pairs = best.setdefault(arm["target"], {})
        known = pairs.get(values(arm, _PAIR))
        if known is None or _rank(arm, refuted) > _rank(known, refuted):
            pairs[values(arm, _PAIR)] = arm
    return [_entry(target, list(pairs.values()), refuted) for target, pairs in best.items()]


def _rank(arm: Json, refuted: set[tuple[Any, ...]]) -> tuple[bool, float, float]:
    """Larger is better; a factor over a baseline goes before a rate, whose mix of prompts may be another."""
    faster = arm["speedup"]["value"] if arm["speedup"] is not None else 0.0
    return values(arm, ARM) not in refuted, faster, arm["summary"]["decode_tok_s"]["mean"]


def _entry(target: str, arms: Sequence[Json], refuted: set[tuple[Any, ...]]) -> dict[str, Any]:
    compared = [arm for arm in arms if arm["speedup"] is not None]
    best = max(arms, key=lambda arm: _rank(arm, refuted))
    counts = values(best, ARM) not in refuted
    return {
        "target": target,
        "pairs": len(arms),
        "compared": len(compared),
        "slower": sum(is_slower(arm["speedup"]) for arm in compared) if compared else None,
        **{f"best_{name}": each if counts else None for name, each in row_of(best, STAGE).items()},
        "best_tok_s": best["summary"]["decode_tok_s"]["mean"] if counts else None,
        "speedup": best["speedup"]["value"] if counts and best["speedup"] is not None else None,
    }


def is_slower(speedup: Json) -> bool:
    """Whether a speedup (value, ci95) is a loss: its whole interval below 1, or its value if there is none."""
    if speedup["ci95"] is None:
        return bool(speedup["value"] < 1)
    high = speedup["ci95"][1]
    return high is not None and bool(high < 1)
