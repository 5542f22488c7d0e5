"""The figures of a run, step by step and arm by arm, kept up to date without ever holding up a screen.

An arm is what is measured whatever the category: a pair of target and draft, a K, and the variant of both. The figures
are those of `analysis.result`, which makes a whole document for a report; that takes seconds for thousands of steps,
so here only those are computed again whose samples changed, as long as there is time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from specdash.analysis.rates import faster_than, keyed_rates, rate_estimate
from specdash.analysis.stats import Speedup, Summary, summarise
from specdash.core.axes import VARIANT, Values, pick, said
from specdash.core.drafting import drafting_over
from specdash.core.measure import Sample, combine
from specdash.core.methods import BASELINE
from specdash.core.plan import Step
from specdash.core.steptable import table_of
from specdash.core.view import DONE, OPEN, RUNNING, LoadView, StepView, View

Pair = tuple[str, str | None]
"""A target and what drafts for it, by name; None for a baseline."""

Variant = Values
"""What sets steps of one pair and K apart, but for their text."""

NO_BASELINE = "no base"
NO_RATE = "no rate"


@dataclass(frozen=True, slots=True)
class Figures:
    """What samples that count say together; None where unknown. `n` counts them, `loads` are the servers they ran on.

    `without`: in a word or two, why there is no speedup; "" where there is one, or none is due.
    """

    n: int
    rate: Summary | None
    speedup: Speedup | None
    without: str
    acceptance: float | None
    is_inferred: bool  # the acceptance: seen in how tokens arrived, and told by nobody
    tokens_per_step: float | None
    ttft_s: float | None
    loads: tuple[str, ...]
    prefill_tok_s: float | None = None
    total_time_s: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One step with its figures; those of a running step are of the samples so far."""

    id: str
    found: StepView
    figures: Figures

    @property
    def step(self) -> Step:
        """What was measured."""
        return self.found.step


@dataclass(frozen=True, slots=True)
class Arm:
    """Steps that differ in their category alone, as one. `step` has no category; `missing`: those without figures."""

    step: Step
    found: tuple[StepView, ...]
    figures: Figures
    missing: tuple[str, ...]


NOTHING = Figures(0, None, None, "", None, False, None, None, ())


def pair_of(step: Step) -> Pair:
    """The target of a step and what drafts for it; None for a baseline."""
    return step.target, step.drafter


def variant_of(step: Step) -> Variant:
    """What else sets steps of one pair and K apart."""
    return pick(step, VARIANT)


def variant_label(variant: Variant) -> str:
    """A variant in words; "" for the plain one."""
    return ", ".join(said(variant))


def sign_of(found: Speedup | None) -> str:
    """The sign of a speedup: "+" faster, "-" slower, "=" not to be told from 1, "?" no interval; " " for none."""
    if found is None:
        return " "
    low, high = found.ci95 or (math.nan, math.nan)
    if math.isnan(low) or math.isnan(high):
        return "?"
    return "+" if low > 1 else "-" if high < 1 else "="


def figures_of(steps: Sequence[StepView], base: Sequence[StepView], without: str = "") -> Figures:
    """The figures of steps, whose baselines are `base`; `without` says why there is no speedup, if that is known."""
    samples = [sample for found in steps for sample in found.good]
    faster = None if without else faster_than(steps, base)
    drafting = drafting_over(found.good for found in steps)
    return Figures(
        n=len(samples),
        rate=_rate(steps, samples),
        speedup=faster,
        without=without or ("" if faster is not None else NO_RATE),
        acceptance=drafting.rate if drafting else None,
        is_inferred=drafting is not None and drafting.is_inferred,
        tokens_per_step=combine(sample.step_facts for sample in samples).tokens_per_step,
        ttft_s=_mean(samples, "ttft_s"),
        prefill_tok_s=_mean(samples, "prefill_tok_s"),
        total_time_s=_mean(samples, "total_time_s"),
        loads=tuple(dict.fromkeys(found.load for found in steps if found.load is not None)),
    )


def _mean(samples: Sequence[Sample], metric: str) -> float | None:
    """The mean of a figure over the samples that know it."""
    known = [value for each in samples if (value := getattr(each, metric)) is not None and math.isfinite(value)]
    return sum(known) / len(known) if known else None


def _rate(steps: Sequence[StepView], samples: Sequence[Sample]) -> Summary | None:
    """The summary of decode rates, as a report has it: how prompts differ in speed is no part of the interval."""
    found = summarise([value for _, value in keyed_rates(steps)])
    known = rate_estimate(samples) if found is not None else None
    return replace(found, ci95=known.ci95) if found is not None and known is not None and known.ci95 else found


def _row(step_id: str, found: StepView, base: StepView | None) -> Row:
    """The row of one step."""
    if found.status not in ("ok", RUNNING):
        return Row(step_id, found, NOTHING)
    if found.step.method == BASELINE or found.status == RUNNING:
        return Row(step_id, found, replace(figures_of([found], [], "-"), without=""))
    if base is None or base.status != "ok":
        return Row(step_id, found, figures_of([found], [], _without([] if base is None else [base])))
    return Row(step_id, found, figures_of([found], [base]))


def _without(bases: Sequence[StepView]) -> str:
    """Why baselines of which none is ok give no speedup, in two short words."""
    if not bases:
        return NO_BASELINE
    if any(base.status not in DONE for base in bases):
        return "base open"
    return f"base {_SHORT.get(bases[0].status, bases[0].status)}"


_SHORT = {"failed": "FAIL", "timeout": "late", "invalid": "bad", "skipped": "skip"}


def _arm(step: Step, steps: Sequence[StepView], bases: Sequence[StepView]) -> Arm:
    """An arm from its steps; its speedup is over the categories that its baseline has too."""
    counted = [found for found in steps if found.status == "ok"]
    missing = tuple(found.step.category for found in steps if found.status != "ok")
    if not counted:
        return Arm(step, tuple(steps), NOTHING, missing)
    if step.method == BASELINE:
        return Arm(step, tuple(steps), replace(figures_of(counted, [], "-"), without=""), missing)
    good = {found.step.category: found for found in bases if found.status == "ok"}
    both = [found for found in counted if found.step.category in good]
    why = (
        ""
        if both
        else _without([base for base in bases if base.step.category in {each.step.category for each in counted}])
    )
    figures = figures_of(counted, [], "-")
    quotient = None if why else faster_than(both, [good[found.step.category] for found in both])
    return Arm(
        step,
        tuple(steps),
        replace(figures, speedup=quotient, without=why or ("" if quotient is not None else NO_RATE)),
        missing,
    )


class Book:
    """All figures of one run. `update` brings them up to date; `version` grows whenever anything changed.

    `shape` grows when other steps are planned than before. What changed is found by identity: a fold replaces the
    views of the steps that a fact is about, and keeps the others.
    """

    def __init__(self) -> None:
        self.version = 0
        self.shape = 0
        self.rows: dict[str, Row] = {}
        self.arms: dict[Step, Arm] = {}
        self._steps: Mapping[str, StepView] = {}
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

    def update(self, view: View, budget_s: float) -> bool:
        """Computes what changed, for `budget_s` at most; True when all is up to date, else call again."""
        until_s = time.monotonic() + budget_s
        if view.steps is not self._steps:
            self._look(view.steps)
        steps = self._steps
        while self._unplaced and time.monotonic() < until_s:
            step_id = self._unplaced.pop()
            self._places[step_id] = _place(steps[step_id].step)
            if not self._unplaced:
                self._regroup()
        while not self._unplaced and self._dirty_rows and time.monotonic() < until_s:
            step_id = next(iter(self._dirty_rows))
            del self._dirty_rows[step_id]
            self.rows[step_id] = _row(step_id, steps[step_id], steps.get(self._places[step_id].base))
            self.version += 1
        while not self._unplaced and not self._dirty_rows and self._dirty_arms and time.monotonic() < until_s:
            arm = next(iter(self._dirty_arms))
            del self._dirty_arms[arm]
            bases = self._members.get(arm.baseline(), []) if arm.method != BASELINE else []
            self.arms[arm] = _arm(arm, [steps[each] for each in self._members[arm]], [steps[each] for each in bases])
            self.version += 1
        return not self.pending

    def _look(self, steps: Mapping[str, StepView]) -> None:
        """Finds what is not up to date with `steps`."""
        before, self._steps = self._steps, steps
        table = table_of(steps)
        if not table.is_same_queue(before):
            self.rows = {each: self.rows.get(each) or Row(each, found, NOTHING) for each, found in steps.items()}
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
            arm: self.arms.get(arm) or Arm(arm, tuple(self._steps[each] for each in found), NOTHING, ())
            for arm, found in self._members.items()
        }
        self._dirty_rows, self._dirty_arms = {}, dict.fromkeys(self._members)
        self._mark([each for each, found in self._steps.items() if self._is_stale(each, found)])

    def _is_stale(self, step_id: str, found: StepView) -> bool:
        """Whether a row was never computed, or from another view of its step."""
        row = self.rows[step_id]
        return row.found is not found or row.figures is NOTHING

    def _mark(self, changed: Sequence[str]) -> None:
        """These steps changed: so did their rows and arms, and those that are compared with them."""
        for step_id in changed:
            for each in (step_id, *self._dependents.get(step_id, ())):
                self._dirty_rows[each] = None
                self._dirty_arms[self._places[each].arm] = None


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a step belongs: the id of its baseline, and its arm."""

    base: str
    arm: Step


def _place(step: Step) -> _Place:
    return _Place(step.baseline().id, step.with_values(category=""))


def memory_bytes(figures: Figures, loads: Mapping[str, LoadView]) -> int | None:
    """The most memory that a server of these figures held at its peak; None until one of them has ended."""
    peaks = [
        load.peak_rss_bytes for each in figures.loads if (load := loads.get(each)) is not None and load.peak_rss_bytes
    ]
    return max(peaks, default=None)


def word_of(steps: Sequence[StepView], planned: int | None = None) -> str:
    """What stands where a figure would: the state of these steps, the most telling one first; never blank.

    `planned`: how many samples a running step takes.
    """
    states = {found.status for found in steps}
    if not states:
        return "n/a"
    if RUNNING in states:
        if len(steps) == 1 and planned is not None:
            return f"RUN {len(steps[0].samples)}/{planned}"
        return "RUN"
    for status, word in (("failed", "FAIL"), ("timeout", "TIMEOUT"), ("invalid", "INVALID"), (OPEN, "....")):
        if status in states:
            return word
    return "skip" if "skipped" in states else "no rate"
