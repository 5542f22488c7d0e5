"""What becomes of steps and samples, in the words of journals and results."""

from __future__ import annotations

from enum import StrEnum


class SampleStatus(StrEnum):
    """Whether a sample counts; what a later version may say of one does not count here."""

    OK = "ok"
    INVALID = "invalid"

    @classmethod
    def _missing_(cls, value: object) -> SampleStatus:
        return cls.INVALID


class StepStatus(StrEnum):
    """How far a step is, and what came of it; an outcome that only a later version knows leaves it open here."""

    OPEN = "open"
    RUNNING = "running"
    OK = "ok"
    INVALID = "invalid"
    FAILED = "failed"
    TIMEOUT = "timeout"
    SKIPPED = "skipped"

    @classmethod
    def _missing_(cls, value: object) -> StepStatus:
        return cls.OPEN


ENDED_EARLY = frozenset({StepStatus.FAILED, StepStatus.TIMEOUT})
WITHOUT_FIGURE = ENDED_EARLY | {StepStatus.INVALID}
DONE = WITHOUT_FIGURE | {StepStatus.OK, StepStatus.SKIPPED}
