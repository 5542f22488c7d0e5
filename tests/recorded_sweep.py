"""The journal of a long sweep as a view: for benches and tests of what is made from many measurements."""

from __future__ import annotations

import random

from recorded_run import folded, loaded, measured, started, step

from specdash.core import events as ev
from specdash.core.state import RunState

CATEGORIES = tuple(f"category {number}" for number in range(9))
KS = (2, 4, 8, 16, 24, 32, 48)


def long_sweep(measurements: int = 500, samples: int = 5, seed: int = 3) -> RunState:
    """Targets with two drafts at seven Ks in nine categories, until there are as many measurements.

    Rates are drawn with 2 % of noise; K = 8 is best.
    """
    rng = random.Random(seed)
    arms = [(None, None), *((draft, k) for draft in ("0.5B", "1.5B") for k in KS)]
    steps = [
        step(k, category, target=f"T{number}", draft=draft)
        for number in range(1 + measurements // (len(arms) * len(CATEGORIES)))
        for draft, k in arms
        for category in CATEGORIES
    ][:measurements]
    facts: list[ev.Fact] = [started(steps), *loaded("l001"), *loaded("l002", 48)]
    for each in steps:
        gain = 1.0 if each.k is None else 2.0 - abs(each.k - 8) / 40
        rates = [10.0 * gain * rng.gauss(1.0, 0.02) for _ in range(samples)]
        facts += measured(each, rates, load="l001" if each.k is None else "l002")
    return folded([*facts, ev.RunFinished("finished", 0)])
