"""The figures of a run, step by step and arm by arm: the one place where samples are summed up.

An arm is what is measured whatever the category: a pair of target and draft, a K, and the variant of both. Reports take
all figures of a run from here, screens those that they show. `FiguresCache` is brought up to date from the steps that
changed, so that a screen never waits for a run of thousands of steps; what it holds is what it would hold if it were
made anew.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import Protocol, TypeVar

from specdash.analysis.grouping import arm_of
from specdash.analysis.speedups import (
    NOT_COMPARED,
    OWN_CLOCK,
    Compared,
    arm_over_baseline,
    over_baseline,
    rate_estimate,
)
from specdash.analysis.stats import Speedup, Summary, summarise
from specdash.core.acceptance import Drafting, drafting_over, proven
from specdash.core.axes import READ_BY, sorted_values
from specdash.core.measure import Sample, StepFacts, combine
from specdash.core.methods import BASELINE
from specdash.core.plan import Step
from specdash.core.state import RunState
from specdash.core.status import StepStatus
from specdash.core.step_state import StepState
from specdash.core.steptable import table_of

METRICS = (
    "prefill_time_s",
    "prefill_tok_s",
    "decode_time_s",
    "decode_tok_s",
    "throughput_tok_s",
    "ttft_s",
    "total_time_s",
    "prompt_tokens",
    "cached_tokens",
    "generated_tokens",
    "draft_tokens",
    "accepted_tokens",
    "steps",
    "client_decode_time_s",
    "client_decode_tok_s",
)
"""The fields of a sample that are summarised."""


class Figures:
    """What the good samples of some steps say together; each figure is worked out when it is first asked for.

    Every valid sample weighs the same, whatever its category. None is what no sample tells. `speedup` is the one over
    their baselines; `without` says in a word or two why there is none, "" where none is due.
    """

    def __init__(self, steps: Sequence[StepState] = (), compared: Compared = NOT_COMPARED) -> None:
        self.steps = tuple(steps)
        self.compared = compared

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Figures):
            return NotImplemented
        return self.steps == other.steps and self.compared == other.compared

    def __hash__(self) -> int:
        return hash(tuple(map(id, self.steps)))

    @cached_property
    def samples(self) -> tuple[Sample, ...]:
        """The samples that count, without the counts that nothing proves."""
        return tuple(sample for found in self.steps for sample in proven(found.good))

    @property
    def n(self) -> int:
        """How many samples count."""
        return len(self.samples)

    @property
    def speedup(self) -> Speedup | None:
        """How many times as fast as their baselines the steps are."""
        return self.compared.speedup

    @property
    def without(self) -> str:
        """Why there is no speedup, in a word or two."""
        return self.compared.short

    @cached_property
    def summary(self) -> Mapping[str, Summary]:
        """The summaries of all `METRICS` that are known."""
        return {metric: found for metric in METRICS if (found := self._summary(metric)) is not None}

    @cached_property
    def rate(self) -> Summary | None:
        """The summary of decode rates (tok/s), with the interval of `analysis.sequential.estimate`."""
        return self._summary(OWN_CLOCK)

    @property
    def rate_tok_s(self) -> float | None:
        """The mean decode rate."""
        return self.mean(OWN_CLOCK)

    @property
    def spread_tok_s(self) -> float | None:
        """The standard deviation of decode rates; None for one sample."""
        return self.rate.stddev if self.rate is not None else None

    @property
    def ttft_s(self) -> float | None:
        """The mean time to the first token, seconds."""
        return self.mean("ttft_s")

    @property
    def prefill_tok_s(self) -> float | None:
        """The mean rate at which prompts are read, tok/s."""
        return self.mean("prefill_tok_s")

    @property
    def total_time_s(self) -> float | None:
        """The mean time of a whole answer, seconds."""
        return self.mean("total_time_s")

    @cached_property
    def drafting(self) -> Drafting | None:
        """How many tokens were drafted and accepted."""
        return drafting_over(found.good for found in self.steps)

    @property
    def acceptance(self) -> float | None:
        """The share of drafted tokens that was accepted."""
        return self.drafting.rate if self.drafting is not None else None

    @property
    def is_inferred(self) -> bool:
        """Whether the acceptance was seen in how tokens arrived, and told by nobody."""
        return self.drafting is not None and self.drafting.is_inferred

    @property
    def drafted(self) -> int | None:
        """How many tokens were drafted."""
        return self.drafting.drafted if self.drafting is not None else None

    @cached_property
    def facts(self) -> StepFacts:
        """What the verification steps prove."""
        return combine(sample.step_facts for sample in self.samples)

    @property
    def tokens_per_step(self) -> float | None:
        """Tokens that one pass of the target makes."""
        return self.facts.tokens_per_step

    @property
    def loads(self) -> tuple[str, ...]:
        """The servers that the samples ran on, by the ids of their loads."""
        return tuple(dict.fromkeys(found.load for found in self.steps if found.load is not None))

    def mean(self, metric: str) -> float | None:
        """The mean of a field of samples over those that know it; kept, since every paint of a screen asks again."""
        if metric not in self._means:
            known = self._values(metric)
            self._means[metric] = fmean(known) if known else None
        return self._means[metric]

    @cached_property
    def _means(self) -> dict[str, float | None]:
        return {}

    def _values(self, metric: str) -> list[float]:
        values = (getattr(sample, metric) for sample in self.samples)
        return [value for value in values if value is not None and math.isfinite(value)]  # counts stay whole

    def _summary(self, metric: str) -> Summary | None:
        """The summary of a metric over the samples that know it.

        Prompts differ in speed and are no noise, so the interval of the decode rate is another one.
        """
        found = summarise(self._values(metric))
        known = rate_estimate(self.samples) if metric == OWN_CLOCK and found is not None else None
        return replace(found, ci95=known.ci95) if found is not None and known is not None and known.ci95 else found


NOTHING = Figures()


@dataclass(frozen=True, slots=True)
class StepFigures:
    """One step with its figures; those of a running step are of the samples so far, of a failed one there are none."""

    id: str
    found: StepState
    figures: Figures

    @property
    def step(self) -> Step:
        """What was measured."""
        return self.found.step


@dataclass(frozen=True, slots=True)
class ArmFigures:
    """Steps that differ in their category alone, as one. `step` has no category; `missing`: those without figures.

    An arm that lacks a category has another mix of prompts, so its mean is not comparable with the others'; its speedup
    is, since it is taken over the categories that both it and its baseline have.
    """

    step: Step
    found: tuple[StepState, ...]
    figures: Figures

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories that count."""
        return tuple(found.step.category for found in self.found if found.status == "ok")

    @property
    def missing(self) -> tuple[str, ...]:
        """The categories without figures."""
        return tuple(found.step.category for found in self.found if found.status != "ok")


def _step_figures(step_id: str, found: StepState, base: StepState | None) -> StepFigures:
    if found.status not in ("ok", StepStatus.RUNNING):
        return StepFigures(step_id, found, NOTHING)
    return StepFigures(step_id, found, Figures([found], over_baseline(found, base)))


def _arm_figures(arm: Step, steps: Sequence[StepState], bases: Sequence[StepState]) -> ArmFigures:
    counted = [found for found in steps if found.status == "ok"]
    if not counted:
        return ArmFigures(arm, tuple(steps), NOTHING)
    compared = arm_over_baseline(counted, bases) if arm.method != BASELINE else NOT_COMPARED
    return ArmFigures(arm, tuple(steps), Figures(counted, compared))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a step belongs: the id of its baseline, and its arm."""

    base: str
    arm: Step


class FiguresCache:
    """All figures of one run. `update` brings them up to date; `version` grows whenever anything changed.

    `shape` grows when other steps are planned than before. What changed is found by identity: a fold replaces the
    state of the steps that a fact is about, and keeps the others.
    """

    def __init__(self) -> None:
        self.version = 0
        self.shape = 0
        self.rows: dict[str, StepFigures] = {}
        self.arms: dict[Step, ArmFigures] = {}
        self._steps: Mapping[str, StepState] = {}
        self._places: dict[str, _Place] = {}
        self._unplaced: list[str] = []
        self._members: dict[Step, list[str]] = {}
        self._dependents: dict[str, list[str]] = {}
        self._dirty_rows: dict[str, None] = {}
        self._dirty_arms: dict[Step, None] = {}

    @property
    def pending(self) -> int:
        """How many figures are still to be computed."""
        return len(self._unplaced) + len(self._dirty_rows) + len(self._dirty_arms)

    def update(self, view: RunState, budget_s: float = math.inf) -> bool:
        """Computes what changed, for `budget_s` at most; True when all is up to date, else call again."""
        until_s = time.monotonic() + budget_s
        if view.steps is not self._steps:
            self._look(view.steps)
        steps = self._steps
        while self._unplaced and time.monotonic() < until_s:
            step_id = self._unplaced.pop()
            step = steps[step_id].step
            self._places[step_id] = _Place(step.baseline().id, arm_of(step))
            if not self._unplaced:
                self._regroup()
        while not self._unplaced and self._dirty_rows and time.monotonic() < until_s:
            step_id = next(iter(self._dirty_rows))
            del self._dirty_rows[step_id]
            self.rows[step_id] = _step_figures(step_id, steps[step_id], steps.get(self._places[step_id].base))
            self.version += 1
        while not self._unplaced and not self._dirty_rows and self._dirty_arms and time.monotonic() < until_s:
            arm = next(iter(self._dirty_arms))
            del self._dirty_arms[arm]
            bases = self._members.get(arm.baseline(), []) if arm.method != BASELINE else []
            members = [steps[each] for each in self._members[arm]]
            self.arms[arm] = _arm_figures(arm, members, [steps[each] for each in bases])
            self.version += 1
        return not self.pending

    def _look(self, steps: Mapping[str, StepState]) -> None:
        """Finds what is not up to date with `steps`."""
        before, self._steps = self._steps, steps
        table = table_of(steps)
        if not table.is_same_queue(before):
            self.rows = {
                each: self.rows.get(each) or StepFigures(each, found, NOTHING) for each, found in steps.items()
            }
            self._unplaced = [each for each in steps if each not in self._places]
            if not self._unplaced:
                self._regroup()
        elif not self._unplaced:
            self._mark([each for each, _ in table.changed_since(before)])

    def _regroup(self) -> None:
        """Other steps than before: which belong together, and in which order."""
        self.version += 1
        self.shape += 1
        self._members, self._dependents = {}, {}
        for step_id in self._steps:
            place = self._places[step_id]
            self._members.setdefault(place.arm, []).append(step_id)
            self._dependents.setdefault(place.base, []).append(step_id)
        self.arms = {
            arm: self.arms.get(arm) or ArmFigures(arm, tuple(self._steps[each] for each in found), NOTHING)
            for arm, found in self._members.items()
        }
        self._dirty_rows, self._dirty_arms = {}, dict.fromkeys(self._members)
        self._mark([each for each, found in self._steps.items() if self._is_stale(each, found)])

    def _is_stale(self, step_id: str, found: StepState) -> bool:
        """Whether a row was never computed, or from another state of its step."""
        row = self.rows[step_id]
        return row.found is not found or row.figures is NOTHING

    def _mark(self, changed: Sequence[str]) -> None:
        """These steps changed: so did their rows and arms, and those that are compared with them."""
        for step_id in changed:
            for each in (step_id, *self._dependents.get(step_id, ())):
                self._dirty_rows[each] = None
                self._dirty_arms[self._places[each].arm] = None


class _HasStep(Protocol):
    """A row about one step or arm."""

    @property
    def step(self) -> Step:
        """What it is about."""


Row = TypeVar("Row", bound=_HasStep)


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Arms or measurements as they are read: baselines first, then each draft with its Ks ascending.

    A search or a second pass leaves the queue in an order of its own. Targets, configurations, drafts and what else has
    no order keep that of their first appearance; so do rows that differ in none of these. `core.axes` tells which
    ascend.
    """
    found = list(rows)
    seen = {name: [row.step.value(name) for row in found] for name in READ_BY}
    places = {name: {each: at for at, each in enumerate(sorted_values(name, of_it))} for name, of_it in seen.items()}
    first = READ_BY.index("draft")

    def place(row: Row) -> tuple[int | bool, ...]:
        at = [places[name][row.step.value(name)] for name in READ_BY]
        return *at[:first], row.step.speculates, *at[first:]

    return sorted(found, key=place)
