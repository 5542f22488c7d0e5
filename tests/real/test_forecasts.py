"""Forecasts against what real servers take: before a run, and all along it."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from specdash.core import events as ev
from specdash.core.engine import Endpoint, Request
from specdash.core.forecast import Forecaster
from specdash.core.generation import Generation, PromptRead
from specdash.core.reduce import fold
from specdash.core.state import RunState
from specdash.core.transport import Progress
from specdash.engines.llama_cpp.flags import resolve_program
from specdash.engines.llama_cpp.server import LlamaClient, request_body
from specdash.engines.llama_cpp.stream import decode, decode_partial
from tests.support.machine import LIMIT_S, Run
from tests.support.real_machine import ONE_THREAD, PROMPTS, Real
from tests.support.real_programs import Launch

# Long prompts and short answers: most of the time is reading.
LONG = tuple({**prompt, "prompt": f"{prompt['prompt']} " * 12} for prompt in PROMPTS)
FACTOR = 3.0  # a busy machine may be so many times as slow as a moment ago
SHARE = 0.8


def forecast(machine: Real, profile: Path) -> list[Mapping[str, float]]:
    """What `specdash plan` says that a profile takes, for each way that K may be decided."""
    told = machine.start("plan", "--json", profile).end()
    return [plan["time_s"] for plan in json.loads(told.stdout)["plans"].values()]


def assert_foretold(run: Run) -> None:
    """Most forecasts, from the first sample of a load with a draft to the last but one, are about what it then took."""
    now, kept, end_s = RunState(), Forecaster(), run.records[-1].time_s
    near = []
    for recorded in run.records:
        now = fold(now, recorded)
        left = kept.of(now).left
        has_draft = any(found.samples and found.step.draft for found in now.steps.values())
        if isinstance(recorded.fact, ev.SampleTaken) and has_draft and left is not None and left.high_s > 0:
            took_s = end_s - recorded.time_s
            near.append(left.low_s / FACTOR <= took_s <= left.high_s * FACTOR)
    assert len(near) >= 3
    assert sum(near) >= SHARE * len(near), near


@pytest.mark.parametrize("which", ["tiny", "small"])
def test_the_time_that_a_real_run_takes_is_foretold(
    machine: Real, llama_server: Path, pair: tuple[Path, Path], small_models: Path, which: str
) -> None:
    machine.limit_s = 5 * LIMIT_S  # a language model on a machine that is busy
    target, draft = pair if which == "tiny" else (small_models / "smol-q4_1.gguf", small_models / "smol-q2_k.gguf")
    prompts = machine.prompts(LONG[:2] if which == "small" else LONG, "long")
    measure = {"prompts": str(prompts), "max_tokens": 16, "iterations": 2, "warmup": 1}
    profile = machine.profile(llama_server, {"T": target}, {"D": draft}, measure=measure, sweep={"k": [2, 4]})
    run = machine.run(profile)
    assert run.code in (0, 1), run.stderr
    assert run.view.running_s is not None
    for time_s in forecast(machine, profile):
        assert time_s["low_s"] / FACTOR <= run.view.running_s <= time_s["high_s"] * FACTOR
    assert_foretold(run)
    # Reading is counted: without it the plan would not reach a run of such prompts.
    assert run.view.run is not None
    assert run.view.run.prompts == {"coding": tuple(len(str(each["prompt"])) for each in json_lines(prompts))}


def json_lines(path: Path) -> list[dict[str, object]]:
    """The objects of a file, one a line."""
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("build", ["current", "of early 2026"])
async def test_a_real_server_tells_how_far_the_prompt_is_and_answers_the_same(
    launch: Launch,
    llama_server: Path,
    old_xllamacpp_python: Path,
    pair: tuple[Path, Path],
    build: str,
) -> None:
    command = (str(llama_server),) if build == "current" else resolve_program(f"embedded:{old_xllamacpp_python}")[0]
    port = free_port()
    running = launch(*command, "-m", pair[0], "--port", port, "-np", "1", *ONE_THREAD, "-b", "32", "-ub", "32")
    running.wait_for("(listening on|HTTP server is listening)")
    client = LlamaClient(Endpoint(port, ""), templated=False, filler="")
    request = Request(str(LONG[0]["prompt"]), 8, 0.0, 1, None)
    try:
        told, progress = await generate(client, request)
        assert told.problems == ()
        assert told.prompt_tokens is not None
        read = [each for each in decode_partial(progress.received) if isinstance(each, PromptRead)]
        assert {each.tokens for each in read} <= {told.prompt_tokens}
        # One event for each batch of 32; none at all where a build does not tell.
        assert build != "current" or len(read) >= told.prompt_tokens // 32
        assert [each.read for each in read] == sorted(each.read for each in read)
        # They are no tokens: the first one comes behind them all, and the text is the one that comes without them.
        assert told.first_token_t_s is not None
        assert len(told.chunks) <= 8
        silent = await client._http.stream(
            "/completion", request_body(request, client._stages) | {"return_progress": False}, total_limit_s=LIMIT_S
        )
        assert decode(silent).text == told.text
    finally:
        await client.close()


async def generate(client: LlamaClient, request: Request) -> tuple[Generation, Progress]:
    """An answer, and how it came."""
    progress = Progress()
    return await client.generate(request, limit_s=LIMIT_S, progress=progress), progress


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
