"""The samples of one load: prompts, warm-up, shuffled blocks, tries, and the verdict on each step."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from specdash.core import events as ev
from specdash.core.engine import KProbe, ServerSpec
from specdash.core.judge import hopeless, verdict_of, worth_another_try
from specdash.core.measure import Verdict
from specdash.core.plan import KScope, LoadKey, Step
from specdash.core.prompts import Prompt
from specdash.core.steps import OPEN
from specdash.core.transport import Progress
from specdash.core.view import View
from specdash.runtime.request import Outcome, Refused, TimedOut, take
from specdash.runtime.server import Publish, Server
from specdash.runtime.wanted import Dropped, Wanted

TRIES = 3  # a sample that is invalid for a passing reason is taken again at most twice
SCRUB_PROMPT = "The quick brown fox jumps over the lazy dog and"
SCRUB_TOKENS = 6
WARM_UP_BLOCK = -1


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


@dataclass(frozen=True, slots=True)
class InFlight:
    """A request that is being answered, for those who watch; `purpose` as in core.ticks.TokenTick."""

    step: Step | None
    purpose: str
    block: int | None
    max_tokens: int
    started_s: float
    progress: Progress


class Sampler:
    """Takes the samples of loads, one load at a time; `current` is the request in flight, or the last one."""

    def __init__(self, server: Server, around: Surroundings, settings: SweepSettings, wanted: Wanted) -> None:
        self.current: InFlight | None = None
        self._server = server
        self._around = around
        self._publish = around.publish
        self._settings = settings
        self._scrub = replace(settings, max_tokens=SCRUB_TOKENS)
        self._wanted = wanted
        self._last_text = ""
        self._rendered: dict[tuple[str, int], str] = {}
        self._drop = asyncio.Event()

    def still_open(self, steps: Sequence[Step]) -> list[Step]:
        """Those of the steps that are in the queue and not finished."""
        known = self._around.view().steps
        return [step for step in steps if step.id in known and not known[step.id].is_done]

    def drop(self, steps: Collection[str]) -> None:
        """Ends the request in flight if it is for one of these steps, which are not wanted any more."""
        if self.current is not None and self.current.step is not None and self.current.step.id in steps:
            self._drop.set()

    async def ask_k(self, k_startup: int) -> KProbe:
        """The experiment that tells who decides K, on the server that runs now."""
        progress = self._in_flight(None, "probe", None, self._settings.max_tokens)

        async def ask() -> KProbe:
            async with self._server.lease(progress) as client:
                return await client.probe_k(k_startup, limit_s=self._settings.timeout_s, progress=progress)

        return await self._wanted.during(ask())

    async def measure(self, load: str, name: str, wanted: Callable[[], Sequence[Step]], spec: ServerSpec) -> None:
        """Takes all blocks of the steps that `wanted` names, and judges them; `name` seeds the order.

        The queue may be edited meanwhile: once these steps are done, those that have joined them are taken, until
        this server has nothing left to do.
        """
        self._rendered.clear()
        warm = False
        while opened := list(wanted()):
            await self._wanted.another()
            await self._wanted.during(self._render(opened))
            if not warm:
                await self._warm_up(load, opened)
                warm = True
            for step in self.still_open(opened):
                await self._publish(ev.StepStarted(step.id, load, spec.fingerprint))
            for step in await self._take_blocks(load, name, opened, spec):
                await self._conclude(load, step, spec)

    async def _take_blocks(self, load: str, name: str, steps: Sequence[Step], spec: ServerSpec) -> list[Step]:
        """One sample of every step in turn, in shuffled order, until each has as many as it takes; those that have.

        A step that ended on the way (skipped, failed) and was opened again is left to the next round, which begins at
        its first block: here it would miss those that have gone by.
        """
        block, ended = 0, set[str]()
        while taking := self._taking(steps, block, ended):
            # Seeded, so that a run can be told again; the load's name keeps two loads from sharing an order.
            random.Random(f"{self._settings.seed}/{name}/{block}").shuffle(taking)
            for step in taking:
                if not await self._take_one(load, step, block, spec):
                    ended.add(step.id)
            block += 1
        return [step for step in self.still_open(steps) if step.id not in ended]

    def _taking(self, steps: Sequence[Step], block: int, ended: set[str]) -> list[Step]:
        """The steps of which this block is to be taken; notes those that have ended."""
        going = {step.id for step in self.still_open(steps)}
        ended |= {step.id for step in steps} - going
        return [step for step in steps if step.id not in ended and block < self._iterations(step)]

    def _iterations(self, step: Step) -> int:
        found = self._around.view().steps.get(step.id)
        return found.iterations if found is not None and found.iterations is not None else self._settings.iterations

    def _prompt(self, step: Step, block: int) -> Prompt:
        """The prompt of a block: the same for every arm, so that arms differ in nothing else."""
        prompts = self._around.prompts[step.category]
        return prompts[block % len(prompts)]

    async def _render(self, steps: Sequence[Step]) -> None:
        """Renders every prompt that the steps need, each once: no sample waits for it then."""
        for step in steps:
            for block in range(min(self._iterations(step), len(self._around.prompts[step.category]))):
                await self._text(step, self._prompt(step, block))

    async def _text(self, step: Step, prompt: Prompt) -> str:
        """The text of a prompt as the server that runs now wants it."""
        known = self._rendered.get((prompt.id, step.depth))
        if known is None:
            async with self._server.lease(Progress()) as client:
                known = self._rendered[prompt.id, step.depth] = await client.render(prompt, step.depth)
        return known

    async def _warm_up(self, load: str, steps: Sequence[Step]) -> None:
        """Requests that are measured by nobody: the first ones after a load are slower than all later ones."""
        begun_s = time.monotonic()
        for number in range(self._settings.warmup):
            await self._wanted.another()
            step = steps[number % len(steps)]
            await self._wanted.during(self._send(step, self._prompt(step, 0), WARM_UP_BLOCK))
        await self._publish(ev.WarmedUp(load, self._settings.warmup, time.monotonic() - begun_s))

    async def _take_one(self, load: str, step: Step, block: int, spec: ServerSpec) -> bool:
        """One valid sample of a step, if it can be had in three tries; False when the step has ended meanwhile."""
        tries = 0
        while tries < TRIES:
            await self._wanted.another()
            found = self._around.view().steps.get(step.id)
            if found is None or found.is_done:
                return False
            if any(sample.block == block for sample in found.good):
                return True
            if found.status == OPEN:  # skipped and opened again between two samples
                await self._publish(ev.StepStarted(step.id, load, spec.fingerprint))
            self._drop.clear()
            try:
                outcome = await self._wanted.during(self._send(step, self._prompt(step, block), block), self._drop)
            except Dropped:
                continue  # this step has ended, or it was meant for the request before
            if not self.still_open([step]):
                return False  # just before the answer was whole
            if isinstance(outcome, TimedOut | Refused):
                late = isinstance(outcome, TimedOut)
                status, verdict = ("timeout", Verdict.TIMEOUT) if late else ("failed", Verdict.HTTP_ERROR)
                fact = ev.StepFinished(step.id, load, status, (verdict.value,), outcome.why, spec.fingerprint)
                await self._publish(fact)
                return False
            await self._publish(ev.SampleTaken(step.id, load, outcome.sample, outcome.wall_s))
            if hopeless(step, self._around.view().steps[step.id].samples):
                await self._conclude(load, step, spec)
                return False
            if not worth_another_try(outcome.sample):
                return True
            tries += 1
        return True

    def _in_flight(self, step: Step | None, purpose: str, block: int | None, max_tokens: int) -> Progress:
        """A new request is about to be sent; its progress."""
        progress = Progress()
        self.current = InFlight(step, purpose, block, max_tokens, time.time(), progress)
        return progress

    async def _send(self, step: Step, prompt: Prompt, block: int) -> Outcome:
        """One request, behind another one where the server has just seen the same prompt with a draft loaded.

        Builds of early 2026 keep the draft's context even when the prompt cache is off: sent the same prompt twice in
        a row, they propose the previous answer and accept all of it, at no cost. Any request that drafts clears that.
        """
        text = await self._text(step, prompt)
        if step.draft is not None and text == self._last_text:
            progress = self._in_flight(step, "scrub", None, SCRUB_TOKENS)
            await take(self._server, step, "scrub", WARM_UP_BLOCK, SCRUB_PROMPT, self._scrub, progress)
        purpose, number = ("sample", block) if block != WARM_UP_BLOCK else ("warm-up", None)
        progress = self._in_flight(step, purpose, number, self._settings.max_tokens)
        self._last_text = text
        return await take(self._server, step, prompt.id, block, text, self._settings, progress)

    async def _conclude(self, load: str, step: Step, spec: ServerSpec) -> None:
        """Judges a step on its samples and records the verdict."""
        samples = self._around.view().steps[step.id].samples
        status, against, error = verdict_of(step, samples, self._settings.max_tokens)
        for finding in against:
            await self._publish(ev.VerdictRaised(step.id, load, finding.verdict, finding.detail))
        verdicts = tuple(str(finding.verdict) for finding in against)
        await self._publish(ev.StepFinished(step.id, load, status, verdicts, error, spec.fingerprint))
