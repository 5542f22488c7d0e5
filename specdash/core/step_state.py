"""One step of a run as its facts tell: what is to be measured, how far it is, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from specdash.core.events import TextChecked
from specdash.core.measure import Sample
from specdash.core.plan import Step
from specdash.core.status import DONE, SampleStatus, StepStatus


@dataclass(frozen=True, slots=True)
class StepState:
    """One step: its status, the load that it ran on, all its samples and what was said of them.

    `k_startup` is the K that the server of its samples was started with: the rest of them needs one like that.
    `iterations`: how many samples it takes, where the queue was edited; None for the run's own number. `by_user`: it
    was skipped by the user, so that its absence is nobody's fault. `raised` are the verdicts that came with a detail,
    each with it.
    """

    step: Step
    status: StepStatus = StepStatus.OPEN
    load: str | None = None
    samples: tuple[Sample, ...] = ()
    verdicts: tuple[str, ...] = ()
    raised: tuple[tuple[str, str], ...] = ()
    error: str | None = None
    fingerprint: str | None = None
    wall_s: float = 0.0
    k_startup: int | None = None
    iterations: int | None = None
    by_user: bool = False
    checks: tuple[TextChecked, ...] = ()

    @property
    def good(self) -> tuple[Sample, ...]:
        """The samples that may be summarised."""
        return tuple(sample for sample in self.samples if sample.status == SampleStatus.OK)

    @property
    def taken_again(self) -> int:
        """How many samples did not count and were followed by another one of the same block."""
        last = {sample.block: number for number, sample in enumerate(self.samples)}
        return sum(
            each.status != SampleStatus.OK and last[each.block] > number for number, each in enumerate(self.samples)
        )

    @property
    def details(self) -> tuple[str, ...]:
        """What was said with the verdicts, in the order in which it was."""
        return tuple(detail for _, detail in self.raised)

    @property
    def is_done(self) -> bool:
        """Whether it has an outcome."""
        return self.status in DONE
