"""How long and how much: forecasts of loads, steps and memory, with ranges no tighter than what is known.

Loads and steps are timed apart and never averaged into one rate. Before anything was measured, priors stand in for
measurements; they are wide on purpose.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from specdash.core.plan import LoadKey, PlannedLoad, Step
from specdash.core.view import DONE, View

PRIOR_READ_BYTES_S = (0.3e9, 2.5e9)  # a model read from disk: slow and fast storage
PRIOR_START_S = (1.0, 10.0)  # a server start beside the reading
PRIOR_DECODE_BYTES_S = (20e9, 400e9)  # memory bandwidth from a small CPU to a good GPU: bounds tok/s


@dataclass(frozen=True, slots=True)
class Range:
    """A low and a high estimate, in seconds."""

    low_s: float
    high_s: float

    def __add__(self, other: Range) -> Range:
        """Both, one after the other."""
        return Range(self.low_s + other.low_s, self.high_s + other.high_s)

    def times(self, count: float) -> Range:
        """`count` of them."""
        return Range(self.low_s * count, self.high_s * count)


ZERO = Range(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Effort:
    """What a step costs: requests (samples) of so many tokens."""

    iterations: int
    warmup: int
    max_tokens: int


def prior_load(size_bytes: int) -> Range:
    """A load of `size_bytes`, before any was seen."""
    slow, fast = PRIOR_READ_BYTES_S
    return Range(PRIOR_START_S[0] + size_bytes / fast, PRIOR_START_S[1] + size_bytes / slow)


def prior_sample(active_bytes: int, max_tokens: int) -> Range:
    """One request, before any was seen: bound by reading the weights once for each token."""
    slow, fast = PRIOR_DECODE_BYTES_S
    return Range(max_tokens * active_bytes / fast, max_tokens * active_bytes / slow + 1.0)


def plan_time(loads: Sequence[PlannedLoad], sizes: Mapping[LoadKey, int], effort: Effort) -> Range | None:
    """The whole plan before anything was measured; None when no size is known."""
    total = ZERO
    for load in loads:
        size = sizes.get(load.key)
        if size is None:
            return None
        samples = len(load.steps) * effort.iterations + effort.warmup
        total = total + prior_load(size) + prior_sample(size, effort.max_tokens).times(samples)
    return total


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None


def time_left(view: View, loads: Sequence[PlannedLoad], effort: Effort) -> Range | None:
    """The rest of a run: loads still queued plus samples still to take on all of them; None before anything is known.

    A sample is predicted from the same target, draft and K where there is one, else from the same target and draft,
    else the same target, else all. Fewer than two finished steps widen the range.
    """
    sample_times = {name: step for name, step in view.steps.items() if step.samples}
    if not sample_times:
        return None
    every = _mean(step.wall_s / len(step.samples) for step in sample_times.values())
    load_s = _mean(load.load_time_s for load in view.loads.values() if load.load_time_s is not None) or 0.0

    def one(step: Step) -> float:
        for alike in (
            lambda other: (other.target, other.draft, other.k) == (step.target, step.draft, step.k),
            lambda other: (other.target, other.draft) == (step.target, step.draft),
            lambda other: other.target == step.target,
        ):
            found = _mean(seen.wall_s / len(seen.samples) for seen in sample_times.values() if alike(seen.step))
            if found is not None:
                return found
        return every or 0.0

    total_s = load_s * len(loads)
    for found in view.steps.values():
        if found.status not in DONE:
            total_s += one(found.step) * max(0, effort.iterations - len(found.good))
    total_s += sum(one(load.steps[0]) * effort.warmup for load in loads if load.steps)
    done = sum(1 for step in view.steps.values() if step.status in DONE)
    spread = 0.5 if done < 2 else 0.15
    return Range(total_s * (1 - spread), total_s * (1 + spread))
