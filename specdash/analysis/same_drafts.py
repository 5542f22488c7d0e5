"""Which Ks of a method that looks n-grams up are one: K is the most that it drafts there, and no draft was that long.

Two such Ks whose drafts never differed were one server under two names, and the smaller stands for both. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from specdash.core.measure import Sample
from specdash.core.plan import Step
from specdash.core.steps import StepView

LEAST_ANSWERS = 2

_Drafts = Mapping[tuple[str, int], tuple[object, ...]]
"""What was drafted, by prompt and block."""


def same_drafts(steps: Mapping[str, StepView]) -> Mapping[str, tuple[int, int]]:
    """By step id: the smaller K whose drafts were the same, and in how many answers; steps without one are left out."""
    alike: dict[Step, list[tuple[int, str]]] = {}
    for name, found in steps.items():
        if found.status == "ok" and found.step.k is not None and found.step.is_ceiling:
            alike.setdefault(found.step.with_values(k=None), []).append((found.step.k, name))
    same: dict[str, tuple[int, int]] = {}
    for members in alike.values():
        members.sort()
        drafts = {name: _drafts(steps[name]) for _, name in members}
        for at, (_, name) in enumerate(members):
            for k, smaller in members[:at]:
                shared = drafts[name].keys() & drafts[smaller].keys()
                if len(shared) >= LEAST_ANSWERS and all(drafts[name][key] == drafts[smaller][key] for key in shared):
                    same[name] = k, len(shared)
                    break
    return same


def _drafts(found: StepView) -> _Drafts:
    """The drafts of a step's answers; none at all where no answer was drafted, which has a finding of its own."""
    if not any(sample.draft_tokens for sample in found.good):
        return {}
    return {(sample.prompt_id, sample.block): _drafted(sample) for sample in found.good}


def _drafted(sample: Sample) -> tuple[object, ...]:
    """What one answer tells of its drafts."""
    return (
        sample.draft_tokens,
        sample.accepted_tokens,
        sample.k_seen,
        sample.generated_tokens,
        sample.positions_drafted,
        sample.positions_accepted,
    )
