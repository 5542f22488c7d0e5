"""The samples of one load: prompts, warm-up, shuffled blocks, tries, and the verdict on each step."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from specdash.core import events as ev
from specdash.core.engine import KProbe, ServerSpec
from specdash.core.judge import hopeless, verdict_of, worth_another_try
from specdash.core.measure import Verdict
from specdash.core.plan import KScope, LoadKey, Step
from specdash.core.prompts import Prompt
from specdash.core.transport import Progress
from specdash.core.view import DONE, StepView, View
from specdash.runtime.request import Outcome, Refused, TimedOut, take
from specdash.runtime.server import Publish, Server
from specdash.runtime.wanted import Wanted

TRIES = 3  # a sample that is invalid for a passing reason is taken again at most twice
SCRUB_PROMPT = "The quick brown fox jumps over the lazy dog and"
SCRUB_TOKENS = 6
WARM_UP_BLOCK = -1

Texts = Mapping[str, Mapping[str, str]]  # of prompts, by step id and prompt id


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


class Sampler:
    """Takes the samples of loads, one load at a time; `progress` is that of the request in flight."""

    def __init__(self, server: Server, around: Surroundings, settings: SweepSettings, wanted: Wanted) -> None:
        self.progress = Progress()
        self._server = server
        self._around = around
        self._publish = around.publish
        self._settings = settings
        self._scrub = replace(settings, max_tokens=SCRUB_TOKENS)
        self._wanted = wanted
        self._last_text = ""

    def step(self, step: Step) -> StepView:
        """What is known of a step."""
        return self._around.view().steps[step.id]

    def still_open(self, steps: Sequence[Step]) -> list[Step]:
        """Those of the steps that are not finished."""
        return [step for step in steps if self.step(step).status not in DONE]

    async def ask_k(self, k_startup: int) -> KProbe:
        """The experiment that tells who decides K, on the server that runs now."""
        self.progress = Progress()

        async def ask() -> KProbe:
            async with self._server.lease(self.progress) as client:
                return await client.probe_k(k_startup, limit_s=self._settings.timeout_s, progress=self.progress)

        return await self._wanted.during(ask())

    async def measure(self, load: str, name: str, steps: Sequence[Step], spec: ServerSpec) -> None:
        """Takes all blocks of a load's open steps and judges them; `name` seeds the order."""
        opened = self.still_open(steps)
        texts = await self._wanted.during(self._render(opened))
        await self._warm_up(load, opened, texts)
        for step in opened:
            await self._publish(ev.StepStarted(step.id, load, spec.fingerprint))
        for block in range(self._settings.iterations):
            # Seeded, so that a run can be told again; the load's name keeps two loads from sharing an order.
            order = random.Random(f"{self._settings.seed}/{name}/{block}")
            shuffled = self.still_open(steps)
            order.shuffle(shuffled)
            for step in shuffled:
                await self._take_one(load, step, block, texts[step.id], spec)
        for step in self.still_open(steps):
            await self._conclude(load, step, spec)

    def _prompt(self, step: Step, block: int) -> Prompt:
        """The prompt of a block: the same for every arm, so that arms differ in nothing else."""
        prompts = self._around.prompts[step.category]
        return prompts[block % len(prompts)]

    async def _render(self, steps: Sequence[Step]) -> Texts:
        """The text of every prompt that the steps need; each is rendered once."""
        async with self._server.lease(Progress()) as client:
            rendered: dict[tuple[str, int], str] = {}
            for step in steps:
                for prompt in self._prompts_of(step):
                    if (prompt.id, step.depth) not in rendered:
                        rendered[prompt.id, step.depth] = await client.render(prompt, step.depth)
        return {
            step.id: {prompt.id: rendered[prompt.id, step.depth] for prompt in self._prompts_of(step)} for step in steps
        }

    def _prompts_of(self, step: Step) -> Sequence[Prompt]:
        return self._around.prompts[step.category][: self._settings.iterations]

    async def _warm_up(self, load: str, steps: Sequence[Step], texts: Texts) -> None:
        """Requests that are measured by nobody: the first ones after a load are slower than all later ones."""
        begun_s = time.monotonic()
        for number in range(self._settings.warmup):
            step = steps[number % len(steps)]
            prompt = self._prompt(step, 0)
            await self._wanted.during(self._send(step, prompt.id, WARM_UP_BLOCK, texts[step.id][prompt.id]))
        await self._publish(ev.WarmedUp(load, self._settings.warmup, time.monotonic() - begun_s))

    async def _take_one(self, load: str, step: Step, block: int, texts: Mapping[str, str], spec: ServerSpec) -> None:
        """One valid sample of a step, if it can be had in three tries; ends the step when more would not help."""
        if any(sample.block == block for sample in self.step(step).good):
            return
        prompt = self._prompt(step, block)
        for _ in range(TRIES):
            self._wanted.check()
            outcome = await self._wanted.during(self._send(step, prompt.id, block, texts[prompt.id]))
            if isinstance(outcome, TimedOut | Refused):
                late = isinstance(outcome, TimedOut)
                status, verdict = ("timeout", Verdict.TIMEOUT) if late else ("failed", Verdict.HTTP_ERROR)
                fact = ev.StepFinished(step.id, load, status, (verdict.value,), outcome.why, spec.fingerprint)
                await self._publish(fact)
                return
            await self._publish(ev.SampleTaken(step.id, load, outcome.sample, outcome.wall_s))
            if hopeless(step, self.step(step).samples):
                await self._conclude(load, step, spec)
                return
            if not worth_another_try(outcome.sample):
                return

    async def _send(self, step: Step, prompt_id: str, block: int, text: str) -> Outcome:
        """One request, behind another one where the server has just seen the same prompt with a draft loaded.

        Builds of early 2026 keep the draft's context even when the prompt cache is off: sent the same prompt twice in
        a row, they propose the previous answer and accept all of it, at no cost. Any request that drafts clears that.
        """
        self.progress = Progress()
        if step.draft is not None and text == self._last_text:
            await take(self._server, step, "scrub", WARM_UP_BLOCK, SCRUB_PROMPT, self._scrub, self.progress)
            self.progress = Progress()
        self._last_text = text
        return await take(self._server, step, prompt_id, block, text, self._settings, self.progress)

    async def _conclude(self, load: str, step: Step, spec: ServerSpec) -> None:
        """Judges a step on its samples and records the verdict."""
        status, against, error = verdict_of(step, self.step(step).samples, self._settings.max_tokens)
        for finding in against:
            await self._publish(ev.VerdictRaised(step.id, load, finding.verdict, finding.detail))
        verdicts = tuple(str(finding.verdict) for finding in against)
        await self._publish(ev.StepFinished(step.id, load, status, verdicts, error, spec.fingerprint))
