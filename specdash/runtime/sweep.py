"""The sweep: takes planned loads one after the other and leaves facts.

Nothing here knows a kind of server, a file format or a screen. A failed load or step is recorded and the sweep goes
on; the plan changes while it runs when a probe shows that this server does not take K per request. Whatever is
published is on disk before the next thing happens, so the sweep may end at any await without losing a sample.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, TypeVar

from specdash.core import events as ev
from specdash.core.engine import EngineClient, KProbe, ServerSpec
from specdash.core.judge import hopeless, verdict_of, worth_another_try
from specdash.core.measure import Sample
from specdash.core.plan import KScope, LoadKey, PlannedLoad, Step, split
from specdash.core.prompts import Prompt
from specdash.core.transport import Progress, TransportError
from specdash.core.view import DONE, StepView, View
from specdash.errors import SpecdashError
from specdash.runtime.request import Refused, Taken, TimedOut, Unusable, take
from specdash.runtime.server import Publish, Server, ServerFailed

log = logging.getLogger(__name__)

T = TypeVar("T")

TRIES = 3  # a sample that is invalid for a passing reason is taken again at most twice
SCRUB_PROMPT = "The quick brown fox jumps over the lazy dog and"
SCRUB_TOKENS = 6
MAX_SURPRISES = 3  # internal errors in a row that end the sweep


class Ended(Enum):
    """How a sweep ended: all steps done, asked to stop, out of time, by a failure, or by errors of our own."""

    DONE = "done"
    ASKED = "asked"
    OUT_OF_TIME = "out_of_time"
    FAILURE = "failure"
    BUGS = "bugs"


@dataclass(frozen=True, slots=True)
class SweepSettings:
    """What of the profile governs the sweep itself."""

    max_tokens: int
    temperature: float
    seed: int
    warmup: int
    iterations: int
    timeout_s: float
    max_time_s: float | None
    stop_on_failure: bool
    forced_scope: KScope | None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the session lends to the sweep: where facts go, what is known so far, and the checks before a load."""

    publish: Publish
    view: Callable[[], View]
    spec_for: Callable[[LoadKey], ServerSpec]
    refuse: Callable[[ServerSpec], str | None]
    settle_memory: Callable[[], Awaitable[str | None]]
    prompts: Mapping[str, Sequence[Prompt]]


class StopRequested(Exception):
    """The sweep was asked to stop; unwinds to `Sweep.run`."""


class Sweep:
    """Runs a queue of loads on one server."""

    def __init__(self, server: Server, around: Surroundings, settings: SweepSettings, queue: Sequence[PlannedLoad]):
        self._server = server
        self._around = around
        self._settings = settings
        self._queue = list(queue)
        self._publish = around.publish
        self._stop = asyncio.Event()
        self.progress = Progress()
        self._last_text = ""
        self._scrub = replace(settings, max_tokens=SCRUB_TOKENS)
        self._loads = len(around.view().loads)
        self._deadline_s = time.monotonic() + settings.max_time_s if settings.max_time_s is not None else None

    def request_stop(self) -> None:
        """Asks the sweep to end: the request in flight is dropped, nothing that was measured is."""
        self._stop.set()

    @property
    def loads_left(self) -> tuple[PlannedLoad, ...]:
        """The loads that are still queued."""
        return tuple(self._queue)

    async def run(self) -> Ended:
        """Takes loads until the queue is empty or something ends the sweep."""
        surprises = 0
        try:
            while self._queue:
                self._check_stop()
                load = self._queue.pop(0)
                try:
                    await self._run_load(load)
                    surprises = 0
                except SpecdashError as error:
                    if not isinstance(error, ServerFailed | Unusable):
                        raise
                    await self._give_up(load, str(error.what))
                except (StopRequested, asyncio.CancelledError, OSError):
                    raise
                except Exception as error:
                    log.exception("load %s", load.key.label)
                    surprises += 1
                    await self._give_up(load, f"internal error: {error!r}; the log has the details")
                    if surprises >= MAX_SURPRISES:
                        return Ended.BUGS
                finally:
                    await self._end_load()
                if self._settings.stop_on_failure and self._failed(load):
                    return Ended.FAILURE
        except StopRequested:
            return Ended.OUT_OF_TIME if not self._stop.is_set() else Ended.ASKED
        return Ended.DONE

    def _failed(self, load: PlannedLoad) -> bool:
        return any(self._step(step).status in ("failed", "timeout") for step in load.steps)

    def _check_stop(self) -> None:
        """Raises StopRequested when the user or the clock ends the sweep."""
        if self._stop.is_set() or (self._deadline_s is not None and time.monotonic() > self._deadline_s):
            raise StopRequested

    async def _while_wanted(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, dropped at once when a stop is asked for or the time is up."""
        left_s = None if self._deadline_s is None else max(0.0, self._deadline_s - time.monotonic())
        async with asyncio.TaskGroup() as tasks:
            doing = tasks.create_task(_settled(work))
            asked = tasks.create_task(self._stop.wait())
            await asyncio.wait((doing, asked), timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            asked.cancel()
            if not doing.done():
                doing.cancel()
        if doing.cancelled():
            raise StopRequested
        outcome = doing.result()
        if isinstance(outcome, _Raised):
            raise outcome.error
        return outcome

    # -- one load ----------------------------------------------------------------------------------------------

    def _step(self, step: Step) -> StepView:
        return self._around.view().steps[step.id]

    def _open(self, steps: Sequence[Step]) -> list[Step]:
        return [step for step in steps if self._step(step).status not in DONE]

    async def _run_load(self, load: PlannedLoad) -> None:
        """Starts the server for a load and measures its steps; one restart if the server dies on the way."""
        if not self._open(load.steps):
            return
        spec = self._around.spec_for(load.key)
        reason = self._around.refuse(spec)
        if reason is not None:
            raise Unusable(reason)
        for attempt in (1, 2):
            try:
                await self._serve(load, spec)
                return
            except ServerFailed as failure:
                if attempt == 2 or self._server.pid is None or not self._began(load):
                    raise
                await self._end_load()
                await self._publish(
                    ev.Noted("warning", f"{load.key.label}: {failure.what}; the server is started once more")
                )

    def _began(self, load: PlannedLoad) -> bool:
        """Whether this load ever became ready: what fails while loading would fail again."""
        current = self._around.view().current_load
        found = self._around.view().loads.get(current) if current is not None else None
        return found is not None and found.load_time_s is not None

    async def _serve(self, load: PlannedLoad, spec: ServerSpec) -> None:
        """One server start and its steps; a server that does not answer our questions is dead or not of its kind."""
        try:
            await self._measure(load, spec)
        except TransportError as error:
            if await self._server.died():
                raise self._server.failure() from error
            raise Unusable(f"the server does not answer as llama-server does: {error}") from error

    async def _measure(self, load: PlannedLoad, spec: ServerSpec) -> None:
        """Starts the server, probes it, warms it up and takes the blocks."""
        await self._start(spec)
        if load.key.draft is not None:
            load = await self._probe(load)
        opened = self._open(load.steps)
        texts = await self._while_wanted(self._render(opened))
        await self._warm_up(opened, texts)
        for step in opened:
            await self._publish(ev.StepStarted(step.id, self._load_id, spec.fingerprint))
        for block in range(self._settings.iterations):
            # Seeded, so that a run can be told again; the load's name keeps two loads from sharing an order.
            order = random.Random(f"{self._settings.seed}/{load.key.label}/{block}")
            steps = self._open(load.steps)
            order.shuffle(steps)
            for step in steps:
                self._check_stop()
                await self._take_one(step, block, texts[step.id], spec)
        for step in self._open(load.steps):
            await self._conclude(step, spec)

    @property
    def _load_id(self) -> str:
        return f"l{self._loads:03d}"

    async def _start(self, spec: ServerSpec) -> None:
        self._loads += 1
        begun_s = time.monotonic()
        await self._while_wanted(self._server.start(self._load_id, spec))
        await self._publish(
            ev.LoadReady(self._load_id, time.monotonic() - begun_s, self._server.pid or 0, self._server.alias)
        )

    async def _end_load(self) -> None:
        """Stops the server of the current load, notes its end, and waits until its memory is back."""
        current = self._around.view().current_load
        if current is None:
            return
        await self._server.stop()
        await self._publish(self._server.finished())
        complaint = await self._around.settle_memory()
        if complaint is not None:
            await self._publish(ev.Noted("warning", complaint))

    async def _give_up(self, load: PlannedLoad, why: str) -> None:
        """Records every unfinished step of a load as failed; the sweep goes on with the next one."""
        for step in self._open(load.steps):
            await self._publish(ev.StepFinished(step.id, None, "failed", (), why))

    async def _probe(self, load: PlannedLoad) -> PlannedLoad:
        """Finds out who decides K on this server and, when it is the start-up value, gives other Ks their own loads."""
        assert load.key.k is not None
        forced = self._settings.forced_scope
        if forced is not None:
            await self._publish(ev.Probed(self._load_id, forced.value, (), forced=True))
            scope: KScope | None = forced
        else:
            probe = await self._while_wanted(self._ask_k(load.key.k))
            await self._publish(
                ev.Probed(self._load_id, probe.scope.value if probe.scope is not None else None, probe.evidence)
            )
            scope = probe.scope
        if scope is not KScope.STARTUP:
            return load
        kept, others = split(load)
        # The same holds for the pairs that are still queued: it is the same program.
        later = [piece for queued in self._queue for piece in self._pieces(queued)]
        if others or later != self._queue:
            self._queue = [*others, *later]
            await self._publish(
                ev.PlanChanged(
                    "this server fixes K at start-up (a request's K is ignored): one load per K", len(self._queue)
                )
            )
        return kept

    async def _ask_k(self, k_startup: int) -> KProbe:
        self.progress = Progress()
        async with self._server.lease(self.progress) as client:
            return await client.probe_k(k_startup, limit_s=self._settings.timeout_s, progress=self.progress)

    @staticmethod
    def _pieces(queued: PlannedLoad) -> list[PlannedLoad]:
        kept, others = split(queued)
        return [kept, *others]

    # -- requests ----------------------------------------------------------------------------------------------

    def _prompt(self, step: Step, block: int) -> Prompt:
        """The prompt of a block: the same for every arm, so that arms differ in nothing else."""
        prompts = self._around.prompts[step.category]
        return prompts[block % len(prompts)]

    async def _render(self, steps: Sequence[Step]) -> dict[str, dict[str, str]]:
        """The text of every prompt that the steps need, by step id and prompt id; rendered once each."""
        async with self._server.lease(Progress()) as client:
            return await self._rendered(client, steps)

    async def _rendered(self, client: EngineClient, steps: Sequence[Step]) -> dict[str, dict[str, str]]:
        blocks = self._settings.iterations
        rendered: dict[tuple[str, int], str] = {}
        texts: dict[str, dict[str, str]] = {}
        for step in steps:
            texts[step.id] = {}
            for block in range(min(blocks, len(self._around.prompts[step.category]))):
                prompt = self._prompt(step, block)
                if (prompt.id, step.depth) not in rendered:
                    rendered[prompt.id, step.depth] = await client.render(prompt, step.depth)
                texts[step.id][prompt.id] = rendered[prompt.id, step.depth]
        return texts

    async def _warm_up(self, steps: Sequence[Step], texts: Mapping[str, Mapping[str, str]]) -> None:
        """Requests that are measured by nobody: the first ones after a load are slower than all later ones."""
        begun_s = time.monotonic()
        for number in range(self._settings.warmup):
            self._check_stop()
            step = steps[number % len(steps)]
            prompt = self._prompt(step, 0)
            await self._while_wanted(self._take(step, prompt, -1, texts[step.id]))
        await self._publish(ev.WarmedUp(self._load_id, self._settings.warmup, time.monotonic() - begun_s))

    def _has(self, step: Step, block: int) -> bool:
        return any(sample.block == block for sample in self._step(step).good)

    async def _take_one(self, step: Step, block: int, texts: Mapping[str, str], spec: ServerSpec) -> None:
        """One valid sample of a step, if it can be had in three tries; ends the step when more would not help."""
        if self._has(step, block):
            return
        prompt = self._prompt(step, block)
        for _ in range(TRIES):
            self._check_stop()
            outcome = await self._while_wanted(self._take(step, prompt, block, texts))
            if isinstance(outcome, Taken):
                await self._publish(ev.SampleTaken(step.id, self._load_id, outcome.sample, outcome.wall_s))
                if hopeless(step, self._samples(step), self._settings.max_tokens):
                    await self._conclude(step, spec)
                    return
                if not worth_another_try(outcome.sample):
                    return
            elif isinstance(outcome, TimedOut | Refused):
                status = "timeout" if isinstance(outcome, TimedOut) else "failed"
                await self._publish(ev.StepFinished(step.id, self._load_id, status, (), outcome.why, spec.fingerprint))
                return

    def _take(
        self, step: Step, prompt: Prompt, block: int, texts: Mapping[str, str]
    ) -> Coroutine[Any, Any, Taken | TimedOut | Refused]:
        return self._send(step, prompt.id, block, texts[prompt.id])

    async def _send(self, step: Step, prompt_id: str, block: int, text: str) -> Taken | TimedOut | Refused:
        """One request, behind another one where the server has just seen the same prompt with a draft loaded.

        Builds of early 2026 keep the draft's context even when the prompt cache is off: sent the same prompt twice in
        a row, they propose the previous answer and accept all of it, at no cost. Any request that drafts clears that.
        """
        self.progress = Progress()
        if step.draft is not None and text == self._last_text:
            await take(self._server, step, "scrub", -1, SCRUB_PROMPT, self._scrub, Progress())
        self._last_text = text
        return await take(self._server, step, prompt_id, block, text, self._settings, self.progress)

    def _samples(self, step: Step) -> tuple[Sample, ...]:
        return self._step(step).samples

    async def _conclude(self, step: Step, spec: ServerSpec) -> None:
        """Judges a step on its samples and records the verdict."""
        samples = self._samples(step)
        status, against, error = verdict_of(step, samples, self._settings.max_tokens)
        if not samples:
            status, error = "failed", "no sample could be taken"
        for finding in against:
            await self._publish(ev.VerdictRaised(step.id, self._load_id, finding.verdict, finding.detail))
        verdicts = tuple(str(finding.verdict) for finding in against)
        await self._publish(ev.StepFinished(step.id, self._load_id, status, verdicts, error, spec.fingerprint))


@dataclass(frozen=True, slots=True)
class _Raised:
    """An exception as a value, so that a task group does not turn it into a group of one."""

    error: Exception


async def _settled(work: Coroutine[Any, Any, T]) -> T | _Raised:
    """The result of `work`, or its exception as a value."""
    try:
        return await work
    except Exception as error:  # noqa: BLE001 - handed on as it is, not dealt with
        return _Raised(error)
