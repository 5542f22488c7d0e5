"""Rates of steps and what they say together: speedups over baselines, and drift between blocks. Pure.

Steps are those of a run's state or the measurements of a result: both have a `step` and `good` samples.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from specdash.analysis.sequential import Estimate, estimate
from specdash.analysis.stats import Speedup, drift, speedup
from specdash.core.measure import Sample
from specdash.core.methods import BASELINE
from specdash.core.numbers import finite, positive
from specdash.core.plan import Step
from specdash.core.status import DONE
from specdash.core.step_state import StepState

Question = tuple[str, str, int]
"""Category, prompt id and block: what was asked."""
Keyed = list[tuple[Question, float]]

LEAST_SHARED = 2
OWN_CLOCK, CLIENT_CLOCK = "decode_tok_s", "client_decode_tok_s"


class Sampled(Protocol):
    """What was measured, with its samples that count."""

    @property
    def step(self) -> Step:
        """What was measured."""

    @property
    def good(self) -> tuple[Sample, ...]:
        """The samples that count."""


@dataclass(frozen=True, slots=True)
class Compared:
    """The speedup over a baseline; None with the `reason`, and that in a word or two; a baseline has neither."""

    speedup: Speedup | None
    reason: str | None = None
    short: str = ""


NOT_COMPARED = Compared(None)


def keyed_rates(steps: Iterable[Sampled], field: str = OWN_CLOCK) -> Keyed:
    """Decode rates of valid samples, keyed by what was asked: arms answer the same prompts in the same blocks."""
    return [
        ((found.step.category, sample.prompt_id, sample.block), rate)
        for found in steps
        for sample in found.good
        if (rate := positive(getattr(sample, field))) is not None
    ]


def clock_for(clocks: Iterable[str]) -> str:
    """The field of samples to compare rates by: where servers tell the time of some and not of others, our clock."""
    return OWN_CLOCK if len({clock for clock in clocks if clock}) < 2 else CLIENT_CLOCK


def faster_than(steps: Sequence[Sampled], base: Sequence[Sampled]) -> Speedup | None:
    """How many times as fast steps are as others, by a clock that timed both."""
    field = clock_for(sample.clock for found in (*steps, *base) for sample in found.good)
    return times_as_fast(keyed_rates(steps, field), keyed_rates(base, field))


def prompt_of(key: Hashable) -> Hashable:
    """The category and prompt in a key of `keyed_rates`."""
    return key[:2] if isinstance(key, tuple) else None


def category_of(key: Hashable) -> Hashable:
    """The category in a key of `keyed_rates`."""
    return key[0] if isinstance(key, tuple) else None


PARTS = (prompt_of, category_of)
"""What of a question is fixed and not drawn by chance, the finest part first; for `stats.speedup`."""


def rate_estimate(samples: Sequence[Sample]) -> Estimate | None:
    """The mean decode rate of samples with its interval, over the prompts that they answer; None without a rate."""
    rates = ((each.prompt_id, positive(each.decode_tok_s)) for each in samples)
    return estimate([(prompt, rate) for prompt, rate in rates if rate is not None])


def times_as_fast(spec: Keyed, base: Keyed) -> Speedup | None:
    """How many times as fast one arm is as another, by what was asked of both where that is two questions or more."""
    asked = {key for key, _ in base}
    shared = {key for key, _ in spec if key in asked}
    if len(shared) >= LEAST_SHARED:
        spec, base = ([each for each in rates if each[0] in shared] for rates in (spec, base))
    return speedup(spec, base, strata=PARTS)


def over_baseline(found: StepState, base: StepState | None) -> Compared:
    """The speedup of a step over its baseline, or None and why there is none; nothing is due unless it is "ok"."""
    if found.step.method == BASELINE or found.status != "ok":
        return NOT_COMPARED
    if base is None or base.status != "ok":
        return _no_baseline([] if base is None else [base])
    return _compared(faster_than([found], [base]))


def arm_over_baseline(steps: Sequence[StepState], bases: Sequence[StepState]) -> Compared:
    """The speedup of the steps of an arm, over the categories that its baseline, whose steps are `bases`, has too."""
    categories = {found.step.category for found in steps}
    same = [base for base in bases if base.step.category in categories]
    good = {base.step.category: base for base in same if base.status == "ok"}
    both = [found for found in steps if found.step.category in good]
    return _compared(faster_than(both, [good[found.step.category] for found in both])) if both else _no_baseline(same)


def _compared(found: Speedup | None) -> Compared:
    return Compared(found) if found is not None else Compared(None, "there is no rate to compare", "no rate")


def _no_baseline(bases: Sequence[StepState]) -> Compared:
    """Why baselines of which none is ok give no speedup."""
    if not bases:
        return Compared(None, "no baseline is planned for it", "no base")
    if any(base.status not in DONE for base in bases):
        return Compared(None, "its baseline is not finished", "base open")
    status = bases[0].status
    return Compared(None, f"its baseline is {status}", f"base {_SHORT.get(status, status)}")


_SHORT = {"failed": "FAIL", "timeout": "late", "invalid": "bad", "skipped": "skip"}


def block_drift(samples: Sequence[Sample]) -> float | None:
    """The relative change of decode_tok_s from the first block to the last: 0.03 = 3 % faster at the end.

    Blocks take turns with their prompts, and prompts differ in speed, so each prompt's first block is compared with
    its own last one; None where no prompt came twice.
    """
    rates: dict[str, list[float]] = {}
    for sample in sorted(samples, key=lambda each: each.block):
        if (rate := finite(sample.decode_tok_s)) is not None:
            rates.setdefault(sample.prompt_id, []).append(rate)
    again = [found for found in rates.values() if len(found) > 1]
    return drift([found[0] for found in again], [found[-1] for found in again])
