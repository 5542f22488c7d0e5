"""What the baselines say of drift: they run in both passes, so what they moved between is the machine's. Pure.

With `passes` = 2 each step takes its blocks twice, the second time with the loads in mirrored order. The blocks of the
second pass begin at the same number for all, however early precision ended the first, so that arms are compared block
by block of one pass. A difference between two arms that is
smaller than what the same baseline moved by is no difference that could be told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from specdash.analysis.grouping import arm_of, setting_of
from specdash.analysis.speedups import keyed_rates
from specdash.analysis.stats import drift
from specdash.core.commands import SetIterations
from specdash.core.events import PlanChanged
from specdash.core.methods import BASELINE
from specdash.core.newest_values import of_newest
from specdash.core.plan import Step
from specdash.core.state import RunState
from specdash.core.status import StepStatus
from specdash.core.step_state import StepState

SECOND_PASS = "pass 2"  # noqa: S105 - the stage of the plan, no password


@dataclass(frozen=True, slots=True)
class Anchor:
    """A baseline in both passes, over its categories: `baseline` is its step without a category.

    `first_tok_s` and `last_tok_s` are the means of the passes over the `n` prompts that were answered in both, each
    prompt weighing the same; `moved` is their relative difference, 0.03 = 3 % faster in the second pass.
    """

    baseline: Step
    first_tok_s: float
    last_tok_s: float
    moved: float
    n: int


def second_pass(view: RunState) -> int | None:
    """The block at which the second pass begins, for all steps alike; None before it.

    The stage that began it sets the samples of each step to that block and as many more as the step had.
    """
    return _second_pass(view.replans)[0]


def is_between_passes(view: RunState, step_id: str, block: int) -> bool:
    """Whether a block lies behind a step's first pass, which may have ended early, and before the second one."""
    begins, counts = _second_pass(view.replans)
    count = counts.get(step_id)
    return begins is not None and count is not None and count - begins <= block < begins


@of_newest
def _second_pass(replans: tuple[PlanChanged, ...]) -> tuple[int | None, Mapping[str, int]]:
    """Where the second pass begins, and the samples that it asks for, by step id; None and empty before it."""
    counts: dict[str, int] = {
        step_id: edit.iterations
        for change in replans
        if change.stage == SECOND_PASS
        for edit in change.edits
        if isinstance(edit, SetIterations)
        for step_id in edit.steps
    }
    return (max(counts.values()) // 2 if counts else None), counts


def anchors(view: RunState) -> Mapping[Step, Anchor]:
    """The anchors of a run by their `baseline`; empty with one pass, and where no baseline is through both."""
    if view.settings.passes != 2:
        return {}
    arms: dict[Step, list[StepState]] = {}
    for found in view.steps.values():
        if found.step.method == BASELINE and found.step.copy == 0 and found.status == StepStatus.OK:
            arms.setdefault(arm_of(found.step), []).append(found)
    known = ((arm, _anchor(arm, steps, view)) for arm, steps in arms.items())
    return {arm: anchor for arm, anchor in known if anchor is not None}


def anchor_of(step: Step, known: Mapping[Step, Anchor]) -> Anchor | None:
    """The anchor that a step is held against; None where there is none."""
    return known.get(setting_of(step))


def drifted(speedup: float, anchor: Anchor | None) -> bool:
    """Whether a comparison is refused: its baseline moved by more than the effect, |speedup - 1|."""
    return anchor is not None and abs(anchor.moved) > abs(speedup - 1)


def drift_detail(speedup: float, anchor: Anchor) -> str:
    """Why a comparison is refused, for the user."""
    return (
        f"the baseline moved by {100 * anchor.moved:+.1f} % between the passes, and the speedup is {speedup:.3g}: "
        "no more than the machine moved by itself"
    )


def _anchor(arm: Step, steps: Sequence[StepState], view: RunState) -> Anchor | None:
    """The anchor of a baseline; None where no prompt was answered in both passes."""
    begins = second_pass(view)
    if begins is None:
        return None
    passes: tuple[dict[object, list[float]], dict[object, list[float]]] = ({}, {})
    for found in steps:
        for (category, prompt_id, block), rate in keyed_rates([found]):
            passes[block >= begins].setdefault((category, prompt_id), []).append(rate)
    before, after = passes
    both = [prompt for prompt in before if prompt in after]
    first, last = _means(before, both), _means(after, both)
    moved = drift(first, last)
    return None if moved is None else Anchor(arm, fmean(first), fmean(last), moved, len(both))


def _means(rates: Mapping[object, Sequence[float]], prompts: Iterable[object]) -> list[float]:
    """The mean rate of each prompt."""
    return [fmean(rates[prompt]) for prompt in prompts]
