"""The samples of one load: warm-up, blocks in balanced order, tries, and the verdict on each step."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from specdash.core import events as ev
from specdash.core.engine import ServerSpec
from specdash.core.measure import Verdict
from specdash.core.methods import DRAFT
from specdash.core.plan import LoadKey, Step
from specdash.core.profile import LOSSLESS
from specdash.core.prompts import Prompt
from specdash.core.state import RunState
from specdash.core.status import StepStatus
from specdash.core.step_state import StepState
from specdash.core.validity import is_retryable, is_spent, is_unrecoverable, verdict_of
from specdash.runtime.prompt_limits import Lengths
from specdash.runtime.request import TRIES, RequestRefused, TimedOut
from specdash.runtime.requester import WARM_UP, Requester, Sampling
from specdash.runtime.run_control import Cancelled, RunControl
from specdash.runtime.server import Publish, Server, ServerTiming
from specdash.runtime.side_records import SideRecorder


@dataclass(frozen=True, slots=True)
class SweepSettings:
    """What of the profile governs the sweep itself; `with_costs`: loads are asked for the step costs of a K curve."""

    sampling: Sampling
    warmup: int
    iterations: int
    max_time_s: float | None
    stop_on_failure: bool
    with_costs: bool = False


@dataclass(frozen=True, slots=True)
class SweepContext:
    """What the session lends to the sweep: where facts go, what is known so far, and decisions that are not its own.

    `has_enough_samples`: whether a step needs no sample of a block, though it may have more. `update_plan`: records
    what follows from what is known, verdicts and changes of the queue. `in_doubt`: whether the answers to more prompts
    could tell if a step's text is the baseline's, by step id. `was_full`: whether the disk was full at some time since
    then (monotonic): a server whose log cannot be written may die of it.
    """

    publish: Publish
    view: Callable[[], RunState]
    spec_for: Callable[[LoadKey], ServerSpec]
    reason_to_refuse: Callable[[ServerSpec], Coroutine[Any, Any, str | None]]
    settle_memory: Callable[[], Awaitable[str | None]]
    prompts: Mapping[str, Sequence[Prompt]]
    has_enough_samples: Callable[[StepState, int], bool]
    update_plan: Callable[[], Awaitable[None]]
    in_doubt: Callable[[str], bool]
    was_full: Callable[[float], bool] = lambda since_s: False


class Sampler:
    """Takes the samples of loads, one load at a time."""

    def __init__(self, server: Server, around: SweepContext, settings: SweepSettings, control: RunControl) -> None:
        self._server = server
        self.requester = Requester(server, around.prompts, settings.sampling, control)
        self.lengths = Lengths(self.requester, around.publish, settings.sampling.max_tokens)
        self._around = around
        self._publish = around.publish
        self._settings = settings
        self._control = control
        self._side_records = SideRecorder(
            self.requester, around.publish, around.view, settings.sampling, around.in_doubt
        )
        self._drop = asyncio.Event()

    def still_open(self, steps: Sequence[Step]) -> list[Step]:
        """Those of the steps that are in the queue and not finished."""
        known = self._around.view().steps
        return [step for step in steps if step.id in known and not known[step.id].is_done]

    def drop(self, steps: Collection[str]) -> None:
        """Ends the request in flight if it is for one of these steps, which are not wanted any more."""
        latest = self.requester.latest
        if latest is not None and latest.step is not None and latest.step.id in steps:
            self._drop.set()

    async def measure(self, load: str, name: str, wanted: Callable[[], Sequence[Step]], spec: ServerSpec) -> None:
        """Takes all blocks of the steps that `wanted` names, and judges them; `name` seeds the order.

        The queue may change meanwhile, by edits or by what the samples say: once these steps are done, those that have
        joined them are taken, until this server has nothing left to do.
        """
        warm = False
        while opened := list(wanted()):
            await self._control.checkpoint()
            await self._control.run_cancellable(self._render(opened))
            if not warm:
                await self._warm_up(load, opened)
                warm = True
            for step in self.still_open(opened):
                await self._publish(ev.StepStarted(step.id, load, spec.fingerprint))
            finished = await self._take_blocks(load, name, opened, spec)
            await self._side_records.check_texts(load, finished)
            await self._side_records.probe_step_costs(load, [step for step in finished if self._is_traced(step)])
            for step in self.still_open(finished):
                await self._conclude(load, step, spec)
            await self._around.update_plan()

    async def _take_blocks(self, load: str, name: str, steps: Sequence[Step], spec: ServerSpec) -> list[Step]:
        """One sample of every step in turn, in balanced order, until each has as many as it takes; those that have.

        A block in random order is followed by one in the reverse order: whatever drifts evenly weighs alike on all.
        Seeded, so that a run can be told again; the load's name keeps two loads from sharing an order. A step that
        ended on the way (skipped, failed) and was opened again is left to the next round, which begins at its first
        block: here it would miss those that have gone by.
        """
        block, ended = 0, set[str]()
        while (taking := self._taking(steps, block, ended)) or self._has_later(steps, block, ended):
            random.Random(f"{self._settings.sampling.seed}/{name}/{block // 2}").shuffle(taking)
            for step in reversed(taking) if block % 2 else taking:
                if not await self._take_one(load, step, block, spec):
                    ended.add(step.id)
            block += 1
        return [step for step in self.still_open(steps) if step.id not in ended]

    def _taking(self, steps: Sequence[Step], block: int, ended: set[str]) -> list[Step]:
        """The steps of which this block is to be taken; notes those that have ended."""
        going = {step.id for step in self.still_open(steps)}
        ended |= {step.id for step in steps} - going
        known = self._around.view().steps
        return [
            step
            for step in steps
            if step.id not in ended
            and block < self._iterations(step)
            and not self._around.has_enough_samples(known[step.id], block)
            and not self._is_in_vain(known[step.id], block)
        ]

    def _is_in_vain(self, found: StepState, block: int) -> bool:
        """Whether a sample would not count: its prompt had an answer with a lasting fault, or one that is remembered.

        A step without any sample tells so once.
        """
        spent = is_spent(self.requester.prompt(found.step, block).id, found.samples)
        return spent or (bool(found.good) and self.requester.is_recalled(found.step, block))

    def _has_later(self, steps: Sequence[Step], block: int, ended: set[str]) -> bool:
        """Whether there is a later block to take: those between two passes are left out."""
        known = self._around.view().steps
        return any(
            not self._around.has_enough_samples(known[step.id], later)
            for step in steps
            if step.id not in ended and step.id in known
            for later in range(block + 1, self._iterations(step))
        )

    def _iterations(self, step: Step) -> int:
        found = self._around.view().steps.get(step.id)
        return found.iterations if found is not None and found.iterations is not None else self._settings.iterations

    def _is_traced(self, step: Step) -> bool:
        """Whether a K curve is made from a step: one at the largest K of its pair, which measures content."""
        if (
            not self._settings.with_costs
            or step.method != DRAFT
            or step.is_ceiling
            or step.k is None
            or step.workload == LOSSLESS
        ):
            return False
        return step.k == self._around.view().table.largest_k(step.pair)

    async def _render(self, steps: Sequence[Step]) -> None:
        """Renders every prompt that the steps need, each once: no sample waits for it then."""
        for step in steps:
            for prompt in self.requester.prompts_of(step, self._iterations(step)):
                await self.requester.text(step, prompt)

    async def _warm_up(self, load: str, steps: Sequence[Step]) -> None:
        """Requests that are measured by nobody: the first ones after a load are slower than all later ones."""
        timing = ServerTiming(self._server)
        for number in range(self._settings.warmup):
            await self._control.checkpoint()
            await self.requester.sample(steps[number % len(steps)], 0, purpose=WARM_UP)
        await self._publish(ev.WarmedUp(load, self._settings.warmup, timing.took_s()))

    async def _take_one(self, load: str, step: Step, block: int, spec: ServerSpec) -> bool:
        """One valid sample of a step, if it can be had in three tries; False when the step has ended meanwhile."""
        tries = 0
        while tries < TRIES:
            await self._control.checkpoint()
            found = self._around.view().steps.get(step.id)
            if found is None or found.is_done:
                return False
            if any(sample.block == block for sample in found.good) or (tries and self._is_in_vain(found, block)):
                return True
            if found.status == StepStatus.OPEN:  # skipped and opened again between two samples
                await self._publish(ev.StepStarted(step.id, load, spec.fingerprint))
            self._drop.clear()
            try:
                outcome = await self.requester.sample(step, block, drop=self._drop)
            except Cancelled:
                continue  # this step has ended, or it was meant for the request before
            if not self.still_open([step]):
                return False  # just before the answer was whole
            if isinstance(outcome, TimedOut | RequestRefused):
                await self._give_up(load, step, block, outcome, spec)
                return False
            await self._side_records.record(load, step, block, outcome, with_trace=self._is_traced(step))
            await self._publish(ev.SampleTaken(step.id, load, outcome.sample, outcome.wall_s))
            unreported = self._server.engine_info.not_reported
            if is_unrecoverable(step, self._around.view().steps[step.id].samples, unreported):
                await self._conclude(load, step, spec)
                return False
            if not is_retryable(outcome.sample):
                return True
            tries += 1
        return True

    async def _give_up(
        self, load: str, step: Step, block: int, outcome: TimedOut | RequestRefused, spec: ServerSpec
    ) -> None:
        """Records that a step has failed, and with it those that would be refused for the same reason."""
        is_for_context = isinstance(outcome, RequestRefused) and outcome.is_for_context
        verdict = Verdict.PROMPT_TOO_LONG if is_for_context else Verdict.HTTP_ERROR
        status = StepStatus.FAILED
        if isinstance(outcome, TimedOut):
            status, verdict = StepStatus.TIMEOUT, Verdict.TIMEOUT
        await self._publish(ev.StepFinished(step.id, load, status, (verdict.value,), outcome.why, spec.fingerprint))
        if is_for_context:
            prompt = self.requester.prompt(step, block)
            await self.lengths.refused(step, prompt, spec, outcome.why, self._around.view())

    def _reaches_k(self, step: Step) -> bool:
        """Whether the same speculation was seen to draft as many tokens as K, where no parameter ends drafts before."""
        whole = step.at_full_length
        alike = self._around.view().table.of_pair(whole.pair) if whole != step else ()
        return any(found.step.k == step.k and any(each.k_seen == step.k for each in found.good) for found in alike)

    async def _conclude(self, load: str, step: Step, spec: ServerSpec) -> None:
        """Judges a step on its samples and records the verdict."""
        samples = self._around.view().steps[step.id].samples
        status, against, error = verdict_of(
            step,
            samples,
            self._settings.sampling.max_tokens,
            self._server.engine_info.not_reported,
            reaches_k=self._reaches_k(step),
        )
        for finding in against:
            await self._publish(ev.VerdictRaised(step.id, load, finding.verdict, finding.detail))
        verdicts = tuple(str(finding.verdict) for finding in against)
        await self._publish(ev.StepFinished(step.id, load, status, verdicts, error, spec.fingerprint))
