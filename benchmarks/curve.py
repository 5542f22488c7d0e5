"""How often the intervals of a predicted K curve hold the truth, how exact it is, and what following it costs.

A world with a known truth (`tests/support/curve_world.py`): texts of unlike difficulty, step costs that jump behind 8
and 16 verified tokens, noise, pauses, and a slow first step. Each run samples at K_max once, sends its cost requests,
and predicts every K. Coverage is of the mean rate of all texts; where texts are guessed nearly always, rates are
skewed and Student's t covers less, at K_max as elsewhere (there the prediction is the measured samples themselves).
`shape` is the error of a rate relative to that at K_max, on the same texts: what the prediction adds. `regret`: how
much slower than the best K for these texts the predicted best one truly is, and the best of K_max and the Ks to
confirm.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import fmean

from benchmarks.common import Row, spread
from specdash.analysis.kcurve import confirmations, curves_of_run
from tests.support.curve_world import World

RUNS = 200
TEXTS = 2000
SHOWN = (1, 2, 4, 7, 8, 12, 16, 24)
WORLDS: Mapping[str, World] = {
    "middling texts": World(),
    "texts alike": replace(World(), by_text=0.02),
    "guessed well": replace(World(), easy=0.99, share=0.9),
    "guessed badly": replace(World(), easy=0.6, hard=0.3),
    "noisy machine": replace(World(), level=0.1, noise=0.1, pause=0.05),
    "dear draft": replace(World(), draft_ms=15.0),
    "K_max 24": replace(World(), k_max=24),
}
BRIEF = {"RUNS": 1, "TEXTS": 5}


@dataclass
class Found:
    """What the runs of one world gave; shares and errors in percent."""

    held: dict[int, float] = field(default_factory=dict)
    widths: list[float] = field(default_factory=list)
    shape: list[float] = field(default_factory=list)
    regret: list[float] = field(default_factory=list)
    confirmed: list[float] = field(default_factory=list)


def main() -> list[Row]:
    """Prints a table of worlds; returns rows of coverage, error and regret."""
    print(f"predicted curve, {RUNS} runs of 3 and 6 samples: coverage of the mean rate by its 95 % interval, by K")
    everything: list[Found] = []
    for name, world in WORLDS.items():
        rng = random.Random(7)
        truth = world.truth(range(1, world.k_max + 1), rng, TEXTS)
        for samples in (3, 6):
            found = _runs(world, truth, samples, rng)
            everything.append(found)
            cells = "  ".join(f"{k}:{share:.0f}" for k, share in found.held.items() if k in SHOWN)
            about = f"± {fmean(found.widths):.0f} %, shape ± {fmean(found.shape):.1f} %"
            print(f"{name:<16}{samples:>2}  {cells}   {about}, regret {fmean(found.regret):.2f} %")
    print()
    shares = [share for found in everything for share in found.held.values()]
    shape = [error for found in everything for error in found.shape]
    first, then = ([each for found in everything for each in getattr(found, name)] for name in ("regret", "confirmed"))
    met = all(share >= 90 for share in shares)
    return [
        Row("95 % interval of a predicted rate: holds the truth", "90 to 98 %", spread(shares, "{:.1f}", " %"), met),
        Row("predicted rate relative to that at K_max: error", "", spread(shape, "{:.1f}", " %")),
        _below("K predicted best: regret under 2 %", first),
        _below("best of the Ks to measure: regret under 2 %", then),
    ]


def _below(what: str, regrets: list[float]) -> Row:
    """A row of how many regrets are under 2 %."""
    share = 100 * sum(each < 2 for each in regrets) / len(regrets)
    return Row(what, "95 %", f"{share:.1f} % (n = {len(regrets)})", share >= 95)


def _runs(world: World, truth: Mapping[int, float], samples: int, rng: random.Random) -> Found:
    """So many runs of one world, each on texts of its own."""
    found = Found(held=dict.fromkeys(truth, 0.0))
    for _ in range(RUNS):
        texts = [world.text(rng) for _ in range(samples)]
        quiet = {k: world.quiet(texts, k) for k in truth}
        curve = curves_of_run(world.run(texts, rng))[0]
        points = {point.k: point for point in curve.points}
        for k, point in points.items():
            if point.ci95 is None:
                continue
            found.held[k] += 100 / RUNS * (point.ci95[0] <= truth[k] <= point.ci95[1])
            found.widths.append(50 * (point.ci95[1] - point.ci95[0]) / point.tok_s)
            relative = point.tok_s / points[world.k_max].tok_s / (quiet[k] / quiet[world.k_max])
            if k < world.k_max:
                found.shape.append(100 * abs(relative - 1))
        best = max(quiet.values())
        measured = (world.k_max, *confirmations(curve, {world.k_max}))
        found.regret.append(100 * (1 - quiet[curve.best_k or world.k_max] / best))
        found.confirmed.append(100 * (1 - max(quiet[k] for k in measured) / best))
    return found
