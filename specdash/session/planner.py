"""What follows from what is known: verdicts on finished steps, and the next stage of the plan; both become facts.

The sweep asks between loads, and whenever the steps of a load are done, while its server still runs.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from specdash.analysis.findings import DERIVED, Found, derived_findings, part_of, view_of_pair
from specdash.analysis.lossless import agreement
from specdash.analysis.pass_drift import is_between_passes, second_pass
from specdash.analysis.roofline import LEAST_FIGURES, exceeded
from specdash.analysis.sequential import known_to
from specdash.analysis.strategy import SEARCH, Change, next_change
from specdash.core import events as ev
from specdash.core.forecast import loads_left
from specdash.core.model import ModelFacts
from specdash.core.plan import LoadKey
from specdash.core.queue import IllegalEdit, apply_edits
from specdash.core.state import RunState
from specdash.core.step_state import StepState
from specdash.probes.bandwidth import cache_bytes, measure_bandwidth
from specdash.session.recorder import Recorder

NO_LONGER = "with what is known by now it does not hold"


class Planner:
    """Records what follows from the state of a run."""

    def __init__(self, recorder: Recorder, measure_bandwidth: Callable[[], Awaitable[ev.BandwidthMeasured]]) -> None:
        """`measure_bandwidth` takes a second or two, in which nothing may be asked of a server."""
        self._recorder = recorder
        self._measure_bandwidth = measure_bandwidth
        self._seen: RunState | None = None  # when everything that follows from it was recorded

    async def update_plan(self) -> None:
        """Records every verdict that is new or no longer holds, then stage after stage until none follows.

        No request may be in flight: what accuses a step is measured again first.
        """
        await self._look_again(_part(self._recorder.view, self._seen)[0])
        view = self._recorder.view
        part, touched = _part(view, self._seen)
        against = derived_findings(part)
        for step_id, found in against.items():
            step = view.steps[step_id]
            for verdict, detail in found:
                if step.load is not None and verdict.value not in step.verdicts:
                    await self._recorder.publish(ev.VerdictRaised(step_id, step.load, verdict.value, detail))
        await self._withdraw(part, against)
        while (change := next_change(self._recorder.view, touched)) is not None:
            # Made for the view as it is then: an edit by the user may come between.
            await self._recorder.publish_made(partial(_fact, change))
        self._seen = view

    async def _look_again(self, part: RunState) -> None:
        """Measures the bandwidth again where a rate lies above what it allows: until it does not, or is known well.

        One that was accused before gets one more try each time: the machine may have been busy for long.
        """
        for _ in range(LEAST_FIGURES):
            if not exceeded(part):
                return
            await self._recorder.publish(await self._measure_bandwidth())
            part = replace(part, bandwidth=self._recorder.view.bandwidth)
            if self._recorder.view.bandwidth_count >= LEAST_FIGURES:
                return

    async def _withdraw(self, part: RunState, against: Mapping[str, Sequence[Found]]) -> None:
        """Takes back the verdicts of finished steps that analysis raised and does not find any more."""
        for step_id in part.steps:
            step = self._recorder.view.steps[step_id]
            found = {verdict.value for verdict, _ in against.get(step_id, ())}
            for verdict in step.verdicts:
                if step.is_done and verdict in DERIVED and verdict not in found:
                    await self._recorder.publish(ev.VerdictWithdrawn(step_id, verdict, NO_LONGER))

    def has_enough_samples(self, found: StepState, block: int) -> bool:
        """Whether a step needs no sample of a block: its rate is known to `measure.precision`.

        A search and a second pass set their own numbers of samples; between the passes there are none to take.
        """
        settings = self._recorder.view.settings
        if is_between_passes(self._recorder.view, found.step.id, block):
            return True
        if settings.precision is None or second_pass(self._recorder.view) is not None:
            return False
        if settings.k == SEARCH and found.step.draft is not None:
            return False
        samples = sorted(found.good, key=lambda sample: sample.block)
        rates = [(each.prompt_id, each.decode_tok_s) for each in samples if each.decode_tok_s is not None]
        most = self._recorder.view.iterations(found.step.id) or len(rates)
        return known_to(rates, settings.precision, most)

    def in_doubt(self, step_id: str) -> bool:
        """Whether the answers to more prompts could tell if a step's text is the baseline's."""
        view = self._recorder.view
        found = view.steps[step_id]
        agreed = agreement(found, view_of_pair(view, found.step.pair))
        return agreed is not None and agreed.more_prompts


def _part(view: RunState, before: RunState | None) -> tuple[RunState, set[LoadKey] | None]:
    """The part of the view about which something new may follow, and the pairs that have changed (None: all)."""
    touched = _touched(view, before)
    return (view if touched is None else part_of(view, touched)), touched


def _touched(view: RunState, before: RunState | None) -> set[LoadKey] | None:
    """The pairs about which something new may follow; None for all of them.

    To look at every step of a plan after every load would cost more with each load.
    """
    if before is None or view.bandwidth is not before.bandwidth or view.models is not before.models:
        return None
    return view.table.changed_pairs(before.steps)


def _fact(change: Change, view: RunState) -> ev.PlanChanged:
    """The change as a fact: without its edits where one has become impossible meanwhile."""
    edits, reason = change.edits, change.reason
    try:
        steps = apply_edits(view.steps, edits, view.scope) if edits else view.steps
    except IllegalEdit as error:
        edits, steps, reason = (), view.steps, f"{reason} (left out: {error})"
    left = len(loads_left(replace(view, steps=steps)))
    return ev.PlanChanged(reason, left, tuple(edits), change.stage)


CACHES = 4  # a model smaller than so many last-level caches is partly served from them, and bounded by nothing known


async def bandwidth_fact(targets: Iterable[ModelFacts], view: RunState) -> ev.BandwidthMeasured:
    """Measures in a second or two, or says why it was not worth it: models that the caches hold, or a GPU."""
    cache = cache_bytes()
    largest = max((target.size_bytes for target in targets), default=0)
    if cache is not None and largest < CACHES * cache:
        return ev.BandwidthMeasured(None, cache, None, f"every target is smaller than {CACHES} last-level caches")
    has_gpu = bool(view.run is not None and view.run.hardware.get("gpus")) or (
        platform.system() == "Darwin" and platform.machine() == "arm64"
    )
    found = await asyncio.to_thread(measure_bandwidth, has_gpu=has_gpu)
    return ev.BandwidthMeasured(found.bytes_s, found.cache_bytes, found.threads, found.reason)
