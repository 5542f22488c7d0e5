"""Runs in the middle of their work, for tests of the main screen: facts of a sweep, and ticks of what goes on now."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from specdash.core import events as ev
from specdash.core.lifecycle import ServerState, Trigger
from specdash.core.plan import LoadKey
from specdash.core.ticks import GpuUse, LogTick, MemoryTick, ServerTick, TextRun, Tick, TokenTick
from tests.support.recorded_run import DRAFT, START_S, TARGET, loaded, measured, started, step

NOW_S = START_S + 120
GIB = 2**30
BASELINE = step()
STEPS = [BASELINE, *(step(k, category) for k in (2, 4, 8, 16) for category in ("coding", "prose"))]
RUNNING = STEPS[5]
FAILED = STEPS[3]

MEMORY = MemoryTick(
    total_bytes=768 * GIB,
    available_bytes=337 * GIB,
    swap_total_bytes=64 * GIB,
    swap_used_bytes=0,
    wired_bytes=404 * GIB,
    wired_limit_bytes=720 * GIB,
    server_rss_bytes=410 * GIB,
    server_locked_bytes=404 * GIB,
    cached_bytes=400 * GIB,
    model_bytes=405 * GIB,
    pressure=0.0,
    gpus=(GpuUse("NVIDIA H200", 121 * GIB, 139 * GIB, 0.94, 61.0, 412.0),),
)
LOG = LogTick(
    "l001",
    "logs/x.log",
    2048,
    (
        "slot release: id 0 | task 4410 | n_past = 1543",
        "draft acceptance = 0.71290 (  221 accepted /   310 generated)",
        "slot launch_slot_: id 0 | task 4411 | processing task",
    ),
)


def key(k: int | None = 16) -> LoadKey:
    """What the server of the scene was started for."""
    return LoadKey.of(TARGET, k, draft=None if k is None else DRAFT)


def moves(load: str = "l001", upto: ServerState = ServerState.READY) -> list[ev.Fact]:
    """The facts of a server on its way to `upto`."""
    way = [
        (ServerState.STOPPED, Trigger.START, ServerState.STARTING),
        (ServerState.STARTING, Trigger.LISTENING, ServerState.LOADING),
        (ServerState.LOADING, Trigger.HEALTHY, ServerState.WARMING),
        (ServerState.WARMING, Trigger.WARMED, ServerState.READY),
    ]
    facts: list[ev.Fact] = []
    for before, trigger, after in way:
        facts.append(ev.StateChanged(load, before.value, trigger.value, after.value))
        if after == upto:
            break
    return facts


def facts() -> list[ev.Fact]:
    """A sweep of nine steps: a baseline, two Ks done, one step failed, one running with two samples of five."""
    told = measured(RUNNING, [14.3, 14.9])[:-1]
    return [
        started(STEPS),
        ev.EngineFound("llama-server", "/opt/llama.cpp/llama-server", "b11669", "2026", None),
        ev.ModelRead(TARGET, "target", "/models/t.gguf", 404 * GIB, "qwen2", "Q8_0", "72B"),
        ev.ModelRead(DRAFT, "draft", "/models/d.gguf", GIB, "qwen2", "Q4_0", "0.5B"),
        *loaded("l001", 16)[:1],
        *moves(),
        *loaded("l001", 16)[1:],
        *measured(BASELINE, [7.9, 8.0, 8.1, 7.95, 8.05]),
        *measured(STEPS[1], [10.4, 10.5, 10.6, 10.5, 10.5]),
        *measured(STEPS[2], [9.7, 9.8, 9.6, 9.9, 9.7]),
        *measured(FAILED, [], status="failed"),
        *measured(STEPS[4], [12.1, 9.0, 15.0, 12.0, 12.2], verdicts=("noisy",)),
        *told,
    ]


def token(**changes: object) -> TokenTick:
    """The request in flight: its third sample, with drafted text in it."""
    tick = TokenTick(
        load="l001",
        step=RUNNING.id,
        purpose="sample",
        block=2,
        started_s=NOW_S - 42,
        tokens=64,
        max_tokens=101,
        drafted=310,
        accepted=221,
        rate_tok_s=14.82,
        acceptance_rate=0.71,
        silent_s=0.1,
        text=(
            TextRun("def area(", False),
            TextRun("radius: float) -> float:\n    return math.pi", True),
            TextRun(" * radius", False),
            TextRun(" ** 2\n", True),
            TextRun("\nprint(area(2.0))", False),
        ),
    )
    return replace(tick, **changes)  # type: ignore[arg-type]


def history(points: int = 100) -> Iterator[Tick]:
    """Ticks of a minute of decoding: the rate goes up and down, with a gap between two requests."""
    for at in range(points):
        known = at % 40 > 2
        wave = math.sin(at / 6)
        yield token(
            tokens=at,
            rate_tok_s=12 + 3 * wave if known else None,
            acceptance_rate=0.65 + 0.2 * wave if known else None,
        )


def ticks() -> list[Tick]:
    """Everything that moves: a busy server, a minute of tokens, memory, the end of the log."""
    return [ServerTick("l001", "busy", NOW_S - 42), *history(), token(), MEMORY, LOG]
