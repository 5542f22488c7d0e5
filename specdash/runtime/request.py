"""One request to the server, and what became of it.

Everything that can happen to a request ends here in one of three values: a sample (valid or not), a time-out, or a
refusal that another try would only repeat. A dead server is no outcome of a request: ServerFailed passes through.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import psutil

from specdash.core.engine import Request
from specdash.core.generation import Generation
from specdash.core.heartbeat import heartbeat
from specdash.core.measure import Sample, Verdict
from specdash.core.pauses import voids_all
from specdash.core.plan import Step
from specdash.core.transport import HttpError, Progress, RequestTimeout, TransportError
from specdash.core.validity import RequestContext, sample_of
from specdash.runtime.server import Server

TRIES = 3  # what is spoilt for a passing reason is asked for again at most twice


@dataclass(frozen=True, slots=True)
class Taken:
    """A sample, valid or not, the time that it took, pauses left out, and the answer behind it where there is one."""

    sample: Sample
    wall_s: float
    generation: Generation | None = None


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The request passed measure.timeout_s."""

    why: str


@dataclass(frozen=True, slots=True)
class RequestRefused:
    """The server refuses the request as such (HTTP 4xx): the same request would be refused again.

    `is_for_context`: it says that the prompt is longer than its context, which neither K nor a draft changes.
    """

    why: str
    is_for_context: bool = False


Outcome = Taken | TimedOut | RequestRefused


async def take(
    server: Server,
    step: Step,
    prompt_id: str,
    block: int,
    request: Request,
    timeout_s: float,
    progress: Progress,
    *,
    is_recalled: bool = False,
) -> Outcome:
    """Sends one generation of a step and judges it; raises ServerFailed when the server died."""
    started_s, began_s = time.time(), heartbeat().ran_s()
    asked_s = time.monotonic()
    clocks_before, swapped_before = _clocks(), psutil.swap_memory().sin
    try:
        async with server.lease(progress) as client:
            asked_s = time.monotonic()
            generation = await client.generate(request, limit_s=timeout_s, progress=progress)
    except RequestTimeout:
        if server.was_stopped(asked_s):
            return Taken(_broken(prompt_id, block, started_s, (Verdict.PAUSED,)), _since(began_s))
        return TimedOut(f"no end after {timeout_s:.0f} s (measure.timeout_s), {progress.events} events seen")
    except HttpError as error:
        if 400 <= error.status < 500 and error.status != 429:
            return RequestRefused(f"the server refuses the request: {error}", error.is_for_context)
        return Taken(_broken(prompt_id, block, started_s, (Verdict.HTTP_ERROR, str(error))), _since(began_s))
    except TransportError as error:
        if await server.died():
            raise server.failure() from error
        return Taken(_broken(prompt_id, block, started_s, (Verdict.STREAM_CUT, str(error))), _since(began_s))
    jumped_s = max(abs(after - before) for after, before in zip(_clocks(), clocks_before, strict=True))
    asked = RequestContext(
        prompt_id,
        block,
        request.max_tokens,
        started_s,
        server.alias,
        clock_jump_s=jumped_s,
        swapped_in_bytes=psutil.swap_memory().sin - swapped_before,
        untold=server.engine_info.not_reported,
        is_recalled=is_recalled,
        pauses=heartbeat().pauses(asked_s),
        server_stopped=server.was_stopped(asked_s),
    )
    return Taken(sample_of(step, generation, asked), _since(began_s), generation)


def was_paused(server: Server, answer: Generation, asked_s: float) -> bool:
    """Whether the times of an answer that was asked for at `asked_s` hold a pause of the server."""
    return server.was_stopped(asked_s) or voids_all(answer, heartbeat().pauses(asked_s))


def _clocks() -> tuple[float, float]:
    """Wall clock and boot time, both against the monotonic clock: they move when the clock is set or after a sleep.

    Only Linux has a boot-time clock; elsewhere the wall clock shows a sleep too.
    """
    now_s = time.monotonic()
    boot_s = time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else now_s
    return time.time() - now_s, boot_s - now_s


def _since(began_s: float) -> float:
    """Seconds since a time of the heartbeat's clock."""
    return heartbeat().ran_s() - began_s


def _broken(prompt_id: str, block: int, started_s: float, reasons: tuple[str, ...]) -> Sample:
    """A sample of which nothing but the failure is known."""
    return Sample.broken(prompt_id=prompt_id, block=block, started_s=started_s, reasons=reasons)
