"""Requests to the server of the load: rendered prompts, what is in flight, and the one rule about what comes before.

The rule: with a draft loaded, no prompt is sent twice in a row. Builds of early 2026 keep the draft's context even when
the prompt cache is off; sent the same prompt twice, they propose the previous answer and accept all of it, at no cost.
Any request that drafts clears that.

A method that remembers (`EngineInfo.keeps_history`) drafts an answer that it has given before from memory, however long
ago that was: nothing clears that but another server. So it is warmed up by another prompt, and samples of a prompt that
came before do not count.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

from specdash.core.engine import KProbe, Request
from specdash.core.generation import Generation
from specdash.core.plan import Step
from specdash.core.profile import LOSSLESS
from specdash.core.prompts import Prompt
from specdash.core.transport import Progress, TransportError
from specdash.runtime.request import TRIES, Outcome, take, was_paused
from specdash.runtime.run_control import RunControl
from specdash.runtime.server import Server

SCRUB_PROMPT = "The quick brown fox jumps over the lazy dog and"
SCRUB_TOKENS = 6
WARM_UP = "warm-up"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How every answer of a run is made."""

    max_tokens: int
    temperature: float
    seed: int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class InFlight:
    """A request that is being answered, for those who watch; `purpose` as in core.ticks.TokenTick."""

    id: str
    step: Step | None
    purpose: str
    block: int | None
    max_tokens: int
    started_s: float
    progress: Progress


class Requester:
    """Sends what is asked of one load after the other.

    `in_flight` are the requests that are being answered, by id; `latest` is the one that was begun last, over or not.
    """

    def __init__(
        self, server: Server, prompts: Mapping[str, Sequence[Prompt]], sampling: Sampling, control: RunControl
    ) -> None:
        self.in_flight: dict[str, InFlight] = {}
        self.latest: InFlight | None = None
        self._ids = count(1)
        self._server = server
        self._prompts = prompts
        self._sampling = sampling
        self._control = control
        self._last_text = ""
        self._asked: set[str] = set()  # of the load
        self._rendered: dict[tuple[str, int], str] = {}

    def new_load(self) -> None:
        """Another server runs now: prompts are rendered anew, since its template may be another."""
        self._rendered.clear()
        self._asked.clear()

    @property
    def keeps_history(self) -> frozenset[str]:
        """The methods whose servers draft an answer that they have given before from memory."""
        return self._server.engine_info.keeps_history

    def temperature(self, step: Step) -> float:
        """The temperature of a step's samples; texts can only be compared at 0."""
        return 0.0 if step.workload == LOSSLESS else self._sampling.temperature

    def prompt(self, step: Step, block: int) -> Prompt:
        """The prompt of a block: the same for every arm, so that arms differ in nothing else."""
        prompts = self._prompts[step.category]
        return prompts[block % len(prompts)]

    def is_recalled(self, step: Step, block: int) -> bool:
        """Whether the server would answer a block's prompt from memory, as far as its text is known."""
        text = self._rendered.get((self.prompt(step, block).id, step.depth))
        return step.method in self._server.engine_info.keeps_history and text in self._asked

    def prompts_of(self, step: Step, blocks: int) -> list[Prompt]:
        """The different prompts of the first so many blocks."""
        return [self.prompt(step, block) for block in range(min(blocks, len(self._prompts[step.category])))]

    async def text(self, step: Step, prompt: Prompt) -> str:
        """The text of a prompt as the server that runs now wants it."""
        known = self._rendered.get((prompt.id, step.depth))
        if known is None:
            async with self._server.lease(Progress()) as client:
                known = self._rendered[prompt.id, step.depth] = await client.render(prompt, step.depth)
        return known

    async def context_tokens(self) -> int | None:
        """The context that a request to the server that runs now has; None where it does not tell."""
        async with self._server.lease(Progress()) as client:
            return await client.context_tokens()

    async def count_tokens(self, text: str) -> int | None:
        """The tokens of a text as a prompt of the server that runs now; None where it does not tell."""
        async with self._server.lease(Progress()) as client:
            return await client.count_tokens(text)

    async def ask_k(self, k_startup: int) -> KProbe:
        """The experiment that tells who decides K."""

        async def ask() -> KProbe:
            limit_s = self._sampling.timeout_s
            with self._flight(None, "probe", None, self._sampling.max_tokens) as progress:
                async with self._server.lease(progress) as client:
                    return await client.probe_k(k_startup, limit_s=limit_s, progress=progress)

        return await self._control.run_cancellable(ask())

    async def sample(
        self, step: Step, block: int, *, purpose: str = "sample", drop: asyncio.Event | None = None
    ) -> Outcome:
        """Take and judge one sample of a step; Cancelled when nobody wants it any more, ServerFailed when it died."""

        async def ask() -> Outcome:
            prompt = self.prompt(step, block)
            sampling = self._sampling
            keeps_history = step.method in self._server.engine_info.keeps_history
            text = SCRUB_PROMPT if keeps_history and purpose == WARM_UP else await self._ready(step, prompt)
            is_recalled = keeps_history and text in self._asked
            self._asked.add(text)
            request = Request(
                text, sampling.max_tokens, self.temperature(step), sampling.seed, step.k, images=prompt.images
            )
            shown = block if purpose == "sample" else None
            timeout_s = sampling.timeout_s
            with self._flight(step, purpose, shown, sampling.max_tokens) as progress:
                return await take(
                    self._server, step, prompt.id, block, request, timeout_s, progress, is_recalled=is_recalled
                )

        return await self._control.run_cancellable(ask(), drop)

    async def unmeasured(
        self,
        step: Step,
        prompt: Prompt,
        purpose: str,
        max_tokens: int,
        temperature: float,
        *,
        cached: bool,
        margins: bool = False,
        repeats: bool = False,
        k: int | None = None,
        timed: bool = False,
    ) -> Generation | None:
        """One answer outside every measurement; None where it failed.

        `cached`: its prompt may come from the cache, if it is there; else it is read anew, as a sample's is. `k` is
        asked for in place of the step's own. `timed`: the server's times are wanted, so an answer during which it was
        paused is asked for again, at most twice, and is None then. ServerFailed when the server died.
        """
        asked_k = step.k if k is None else k

        async def ask() -> Generation | None:
            text = await self._ready(step, prompt, may_repeat=repeats)
            self._asked.add(text)
            request = Request(
                text,
                max_tokens,
                temperature,
                self._sampling.seed,
                asked_k,
                cache_prompt=cached,
                with_margins=margins,
                images=prompt.images,
            )
            with self._flight(step, purpose, None, max_tokens) as progress:
                async with self._server.lease(progress) as client:
                    asked_s = time.monotonic()
                    answer = await client.generate(request, limit_s=self._sampling.timeout_s, progress=progress)
                    return None if timed and was_paused(self._server, answer, asked_s) else answer

        answer: Generation | None = None
        try:
            for _ in range(TRIES if timed else 1):
                answer = await self._control.run_cancellable(ask())
                if answer is not None:
                    break
        except TransportError as error:
            if await self._server.died():
                raise self._server.failure() from error
            return None
        return None if answer is None or answer.problems else answer

    async def _ready(self, step: Step, prompt: Prompt, *, may_repeat: bool = False) -> str:
        """The text of a prompt, once the server may be asked it; `may_repeat`: it may come twice in a row."""
        text = await self.text(step, prompt)
        if step.draft is not None and text == self._last_text and not may_repeat:
            sampling = self._sampling
            request = Request(SCRUB_PROMPT, SCRUB_TOKENS, sampling.temperature, sampling.seed, step.k)
            with self._flight(step, "scrub", None, SCRUB_TOKENS) as progress:
                await take(self._server, step, "scrub", -1, request, sampling.timeout_s, progress)
        self._last_text = text
        return text

    @contextmanager
    def _flight(self, step: Step | None, purpose: str, block: int | None, max_tokens: int) -> Iterator[Progress]:
        """Count a request as in flight while the context lasts; gives its progress."""
        request = InFlight(f"r{next(self._ids)}", step, purpose, block, max_tokens, time.time(), Progress())
        self.in_flight[request.id] = self.latest = request
        try:
            yield request.progress
        finally:
            del self.in_flight[request.id]
