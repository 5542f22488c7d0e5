"""Requests during which the server was stopped: what is taken again, and what no time-out is made of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from specdash.core.engine import EngineInfo, Request
from specdash.core.generation import Generation
from specdash.core.measure import Chunk, Verdict
from specdash.core.methods import BASELINE
from specdash.core.plan import KScope, Step
from specdash.core.prompts import Message, Prompt
from specdash.core.transport import Progress, RequestTimeout
from specdash.runtime.request import TRIES, Taken, TimedOut, take
from specdash.runtime.requester import Requester, Sampling
from specdash.runtime.run_control import RunControl
from specdash.runtime.server import Server

STEP = Step.of("T", method=BASELINE, category="coding")
PROMPT = Prompt("p1", "coding", (Message("user", "hi"),))
CHUNKS = tuple(Chunk(number / 10, number, 100.0 * number, None, None, (7,)) for number in range(1, 31))
ANSWER = Generation(0.0, 0.1, 3.0, 3.0, CHUNKS, prompt_ms=100.0, predicted_ms=3000.0, generated_tokens=30)


class Client:
    """Answers, or never does."""

    def __init__(self, *, late: bool) -> None:
        self.asked: list[Request] = []
        self._late = late

    async def render(self, prompt: Prompt, depth_tokens: int) -> str:
        return prompt.as_text()

    async def generate(self, request: Request, *, limit_s: float, progress: Progress) -> Generation:
        self.asked.append(request)
        if self._late:
            raise RequestTimeout(limit_s, 0)
        return ANSWER


class Stopping:
    """Stands where `Server` stands; its processes are stopped during these requests."""

    alias = None

    def __init__(self, stopped: Sequence[bool], *, late: bool = False) -> None:
        self.client = Client(late=late)
        self.engine_info = EngineInfo("k", "p", "v", "d", KScope.STARTUP)
        self._stopped = list(stopped)

    @asynccontextmanager
    async def lease(self, progress: Progress) -> AsyncIterator[Client]:
        yield self.client

    def was_stopped(self, since_s: float) -> bool:
        return self._stopped[len(self.client.asked) - 1]


def ask_aside(server: Stopping, *, timed: bool) -> Generation | None:
    """One answer outside every measurement."""
    sampling = Sampling(30, 0.0, 1, 60.0)
    asking = Requester(cast(Server, server), {"coding": [PROMPT]}, sampling, RunControl(None))
    return asyncio.run(asking.unmeasured(STEP, PROMPT, "cost", 30, 0.0, cached=True, timed=timed))


@pytest.mark.parametrize(
    ("stopped", "asked", "has_answer"),
    [([False], 1, True), ([True, False], 2, True), ([True, True, False], 3, True), ([True] * TRIES, TRIES, False)],
)
def test_the_times_of_a_step_are_asked_for_again_after_a_pause(
    stopped: list[bool], asked: int, has_answer: bool
) -> None:
    server = Stopping(stopped)
    assert (ask_aside(server, timed=True) is ANSWER) == has_answer
    assert len(server.client.asked) == asked


def test_an_answer_of_which_only_the_text_is_wanted_stands() -> None:
    server = Stopping([True])
    assert ask_aside(server, timed=False) is ANSWER
    assert len(server.client.asked) == 1


def outcome(server: Stopping) -> Any:
    request = Request("hi", 30, 0.0, 1, None)
    return asyncio.run(take(cast(Server, server), STEP, "p1", 0, request, 60.0, Progress()))


def test_a_limit_that_passes_while_the_server_is_stopped_spoils_one_sample_and_not_the_step() -> None:
    found = outcome(Stopping([True], late=True))
    assert isinstance(found, Taken)
    assert found.sample.reasons == (Verdict.PAUSED,)
    assert isinstance(outcome(Stopping([False], late=True)), TimedOut)


def test_a_sample_during_which_the_server_was_stopped_is_void() -> None:
    assert Verdict.PAUSED in outcome(Stopping([True])).sample.reasons
    assert Verdict.PAUSED not in outcome(Stopping([False])).sample.reasons
