"""What a view holds of one pair for its curve: the samples at K_max, their texts, and all traces of its servers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from specdash.analysis.kcurve.replay import Replayed, Text, product_model, replay, text_of
from specdash.core.events import StepTimes
from specdash.core.measure import Sample
from specdash.core.methods import DRAFT
from specdash.core.plan import LoadKey
from specdash.core.state import RunState
from specdash.core.status import DONE, StepStatus
from specdash.core.steps import StepState

CONTENT = "content"
SAMPLE, COST = "sample", "cost"
Group = tuple[LoadKey, int]  # a pair (k None) and a depth


@dataclass(frozen=True, slots=True)
class Measured:
    """One valid sample at K_max; `text` is None where no whole trace of it is known."""

    category: str
    sample: Sample
    tokens: int  # made by verification steps: all but the first
    time_s: float
    text: Text | None

    @property
    def words(self) -> tuple[str, str]:
        """What tells one text from another: samples of the same words share what their traces leave open."""
        return self.category, self.sample.text_hash or self.sample.prompt_id

    def at(self, k: int, guess_rate: float) -> Replayed | None:
        """The steps of this sample at another K: by replay, else by its acceptance per position."""
        if self.text is not None:
            return replay(self.text, k, guess_rate)
        return product_model(self.sample.step_facts.accepted_per_position or (), self.tokens, k)


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of one pair at one depth; `k_max` None where nothing was traced at any K."""

    pair: LoadKey
    depth: int
    k_max: int | None
    samples: tuple[Measured, ...]
    traces: tuple[StepTimes, ...]  # of requests to servers that drafted up to k_max, of both purposes


def groups(view: RunState) -> dict[Group, list[StepState]]:
    """The steps with a draft by pair and depth, in the order of the queue."""
    found: dict[Group, list[StepState]] = {}
    for each in view.steps.values():
        step = each.step
        if step.method == DRAFT and step.draft is not None and step.k is not None and step.workload == CONTENT:
            found.setdefault((step.pair, step.depth), []).append(each)
    return found


def traces_by_step(view: RunState) -> dict[str, list[StepTimes]]:
    """The traces of a run by the step that they were taken for, in the order in which they came.

    Those of servers with other files, flags or builds than the step's samples are left out.
    """
    found: dict[str, list[StepTimes]] = {}
    for load, traces in view.traces.items():
        fingerprint = view.loads[load].fingerprint if load in view.loads else None
        for trace in traces:
            step = view.steps.get(trace.step)
            if step is not None and step.fingerprint == fingerprint:
                found.setdefault(trace.step, []).append(trace)
    return found


def evidence(
    view: RunState, group: Group, steps: Iterable[StepState], by_step: Mapping[str, Sequence[StepTimes]]
) -> Evidence:
    """What the run knows of one pair. Its K_max is the largest K that a trace was taken at."""
    pair, depth = group
    counted = [each for each in steps if each.status not in DONE or each.status == StepStatus.OK]
    traced = [each.step.k for each in counted if each.step.k is not None and by_step.get(each.step.id)]
    k_max = max(traced, default=None)
    at_k_max = [each for each in counted if each.step.k == k_max]
    traces = tuple(trace for each in at_k_max for trace in by_step.get(each.step.id, ()))
    samples = tuple(
        measured
        for each in at_k_max
        for sample in each.good
        if (measured := _measured(each, sample, by_step.get(each.step.id, ()), k_max or 0, view)) is not None
    )
    return Evidence(pair.pair, depth, k_max, samples, traces)


def _measured(
    step: StepState, sample: Sample, traces: Sequence[StepTimes], k_max: int, view: RunState
) -> Measured | None:
    """A sample with its text; None where it has no rate."""
    generated, time_s = sample.generated_tokens, sample.decode_time_s
    if generated is None or generated < 2 or time_s is None or not 0 < time_s < math.inf:
        return None
    budget = None
    if sample.finish_reason != "limit":
        limit = view.settings.max_tokens
        budget = limit - 1 if limit is not None and limit > generated else generated + k_max
    text = None
    # A sample that was taken again left more than one trace: the last one that fits is its own.
    for trace in reversed(traces):
        if trace.purpose != SAMPLE or trace.block != sample.block or max(trace.drafted, default=0) > k_max:
            continue
        if sample.steps is None or sample.steps == len(trace.drafted):
            text = text_of(trace, generated, budget)
        if text is not None:
            break
    return Measured(step.step.category, sample, generated - 1, time_s, text)
