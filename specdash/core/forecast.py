"""How long and how much: forecasts of loads, steps and memory, with ranges no tighter than what is known.

Loads and steps are timed apart and never averaged into one rate. Before anything was measured, priors stand in for
measurements; they are wide on purpose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from specdash.core.plan import LoadKey, PlannedLoad, Step
from specdash.core.queue import loads_of, serves
from specdash.core.view import View

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


@dataclass(frozen=True, slots=True)
class Outlook:
    """The rest of a run: the loads still to start, the time for everything, and the time of each open step.

    `left` is None where nothing is known yet, not even the size of the models; a step's time leaves its load out.
    `starts`: how long each of the loads takes to start, as far as that is known.
    """

    loads: tuple[PlannedLoad, ...]
    left: Range | None
    steps: Mapping[str, Range]
    starts: Mapping[LoadKey, Range] = field(default_factory=dict)


def outlook(view: View) -> Outlook:
    """What a run still has before it, as its queue stands.

    A sample is predicted from the same target, draft and K where there is one, else from the same target and draft,
    else the same target, else all, else from the size of the models. Fewer than two finished steps widen the range.
    """
    loads = loads_left(view)
    warmup = view.run.settings.get("warmup") if view.run is not None else None
    warmups = warmup if isinstance(warmup, int) else 0
    sample = _Samples(view)
    steps: dict[str, Range] = {}
    for step_id, found in view.steps.items():
        if not found.is_done:
            one = sample.of(found.step)
            if one is None:
                return Outlook(loads, None, {})
            steps[step_id] = one.times(max(0, (view.iterations(step_id) or 0) - len(found.good)))
    left = ZERO
    for each in steps.values():
        left = left + each
    starts: dict[LoadKey, Range] = {}
    for load in loads:
        once = _load_time(view, load.key, sample.spread)
        if once is None:
            return Outlook(loads, None, steps, starts)
        starts[load.key] = once
        left = left + once
        one = sample.of(load.steps[0])
        left = left + one.times(warmups) if one is not None else left
    return Outlook(loads, left, steps, starts)


def loads_left(view: View) -> tuple[PlannedLoad, ...]:
    """The loads that are still to be started: what the server that runs now will take is not among them."""
    scope = view.scope
    running = view.loads.get(view.current_load or "")
    steps = view.steps
    if running is not None and not running.finished:
        steps = {step_id: found for step_id, found in steps.items() if not serves(running.key, found, scope)}
    return loads_of(steps, scope)


def _load_time(view: View, key: LoadKey, spread: float) -> Range | None:
    """A load's time: from the loads of the same models, else of all in this run, else from its size."""
    known = [load for load in view.loads.values() if load.load_time_s is not None]
    alike = [load for load in known if (load.key.target, load.key.draft) == (key.target, key.draft)]
    times = [load.load_time_s for load in alike or known if load.load_time_s is not None]
    if times:
        return _around(sum(times) / len(times), spread)
    size = _size_bytes(view, key.target, key.draft)
    return prior_load(size) if size is not None else None


def _size_bytes(view: View, *labels: str | None) -> int | None:
    models = [view.models.get(label) for label in labels if label is not None]
    sizes = [model.size_bytes for model in models if model is not None]
    return sum(sizes) if len(sizes) == len(models) else None


def _around(middle_s: float, spread: float) -> Range:
    return Range(middle_s * (1 - spread), middle_s * (1 + spread))


class _Samples:
    """Mean times of a sample by how alike steps are, gathered once for all the steps of a view.

    `spread`: the share by which a forecast may be off, wide before two steps are done.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._max_tokens = view.run.settings.get("max_tokens") if view.run is not None else None
        done = sum(1 for found in view.steps.values() if found.is_done and found.samples)
        self.spread = 0.5 if done < 2 else 0.15
        seen: dict[tuple[object, ...], list[float]] = {}
        for found in view.steps.values():
            if found.samples:
                for kind in _kinds(found.step):
                    seen.setdefault(kind, []).append(found.wall_s / len(found.samples))
        # Until a pair has a sample, its warm-up tells more than another pair's samples.
        for load in view.loads.values():
            kind = load.key.target, load.key.draft
            if load.warm_up_s is not None and kind not in seen:
                for likeness in (kind, (load.key.target,), ()):
                    seen.setdefault(likeness, [load.warm_up_s])
        self._means = {kind: sum(times) / len(times) for kind, times in seen.items()}

    def of(self, step: Step) -> Range | None:
        """One sample of a step; None where not even the size of its models is known."""
        for kind in _kinds(step):
            if kind in self._means:
                return _around(self._means[kind], self.spread)
        size = _size_bytes(self._view, step.target)
        tokens = self._max_tokens
        return prior_sample(size, tokens) if size is not None and isinstance(tokens, int) else None


def _kinds(step: Step) -> tuple[tuple[object, ...], ...]:
    """What a step is like, the closest likeness first."""
    return (step.target, step.draft, step.k), (step.target, step.draft), (step.target,), ()
