"""What steps are grouped by. Each key is a step itself: one whose other axes are set to what all have in common. Pure.

No other place of analysis lists the axes of a step to group by them, so a new axis needs no change there.
"""

from __future__ import annotations

from dataclasses import replace

from specdash.core.plan import Step
from specdash.core.profile import CONTENT


def arm_of(step: Step) -> Step:
    """What a step measures, whatever the category: steps with the same are one arm."""
    return replace(step, category="")


def first_of(step: Step) -> Step:
    """The arm of a step, of repeated ones the first."""
    return replace(step, category="", copy=0)


def drafter_of(step: Step) -> Step:
    """The arm with K left open: what drafts in which setting and workload."""
    return first_of(step).with_values(k=None)


def setting_of(step: Step) -> Step:
    """What a step shares with its baseline, whatever the category: the baseline's arm."""
    return arm_of(step.baseline())


def group_of(step: Step) -> Step:
    """What arms have in common that one of them is recommended from: the setting, whatever the workload."""
    return setting_of(step).with_values(workload=CONTENT)
