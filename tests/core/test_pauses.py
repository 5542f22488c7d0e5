"""Which figures of a request a pause makes wrong, told by the two clocks alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from specdash.core.generation import Generation
from specdash.core.measure import INFERRED, Chunk, Verdict
from specdash.core.methods import BASELINE
from specdash.core.pauses import Pause, void_figures, voids_all
from specdash.core.plan import Step
from specdash.core.validity import RequestContext, is_retryable, sample_of

STEP = Step.of("T", method=BASELINE, category="coding")
ASKED = RequestContext("p1", 0, 40, 1_000.0, "alias")
N = 40
PASS_S = 0.025
PROMPT_S = 0.2
CLIENT = {"ttft_s", "client_decode_time_s", "client_decode_tok_s", "total_time_s", "throughput_tok_s"}
SENT_S = 10.0


def answer(
    pause_s: float = 0.0, at_s: float = 0.5, *, server: bool = True, engine: bool = True, **changes: Any
) -> Generation:
    """40 tokens of 25 ms after a prompt of 0.2 s, during which server, engine or both are stopped from `at_s` on."""

    def later(t_s: float) -> float:
        """When that is done which takes the server until `t_s`."""
        return t_s + pause_s if server and t_s > at_s else t_s

    def seen(t_s: float) -> float:
        """When what is there at `t_s` is read."""
        return at_s + pause_s if engine and at_s < t_s < at_s + pause_s else t_s

    made = [later(PROMPT_S + PASS_S * number) for number in range(N)]
    chunks = tuple(
        Chunk(SENT_S + seen(t_s), number, 1000 * (t_s - made[0]), None, None, (7,))
        for number, t_s in enumerate(made, start=1)
    )
    whole = Generation(
        sent_t_s=SENT_S,
        first_token_t_s=chunks[0].t_s,
        last_token_t_s=chunks[-1].t_s,
        ended_t_s=chunks[-1].t_s + 0.001,
        chunks=chunks,
        text="x",
        finish_reason="limit",
        prompt_tokens=100,
        cached_tokens=0,
        generated_tokens=N,
        prompt_ms=1000 * made[0],
        predicted_ms=1000 * (made[-1] - made[0]),
        model="alias",
    )
    return replace(whole, **changes)


def pause_of(pause_s: float, at_s: float = 0.5) -> Pause:
    """As the heartbeat sees it: from the beat before."""
    return Pause(SENT_S + at_s - 0.07, SENT_S + at_s + pause_s)


@pytest.mark.parametrize("pause_s", [0.6, 3.0])
@pytest.mark.parametrize("at_s", [0.1, 0.21, 0.7, 1.1])
def test_the_servers_figures_stand_where_this_process_alone_was_stopped(pause_s: float, at_s: float) -> None:
    sample = sample_of(STEP, answer(pause_s, at_s, server=False), replace(ASKED, pauses=[pause_of(pause_s, at_s)]))
    assert (sample.status, sample.reasons) == ("ok", ())
    assert sample.decode_tok_s == pytest.approx(1 / PASS_S)
    assert sample.prefill_time_s == pytest.approx(PROMPT_S)
    void = {name for name in CLIENT if getattr(sample, name) is None}
    # The first token had come before the later pauses: when it came is known.
    assert void == (CLIENT if at_s < PROMPT_S + 0.07 else CLIENT - {"ttft_s"})
    assert void == sample.unknown.keys()
    assert f"stopped for about {pause_s + 0.07:.1f} s" in sample.unknown["total_time_s"]


@pytest.mark.parametrize("pause_s", [0.6, 3.0])
@pytest.mark.parametrize("at_s", [0.1, 0.21, 0.7, 1.1])
def test_a_pause_of_everything_voids_the_sample(pause_s: float, at_s: float) -> None:
    sample = sample_of(STEP, answer(pause_s, at_s), replace(ASKED, pauses=[pause_of(pause_s, at_s)]))
    assert sample.reasons == (Verdict.PAUSED,)
    assert is_retryable(sample)


def test_a_stop_that_was_seen_voids_the_sample_however_its_clocks_look() -> None:
    for found in (answer(), answer(0.2, engine=False)):
        assert sample_of(STEP, found, replace(ASKED, server_stopped=True)).reasons == (Verdict.PAUSED,)


def test_a_slow_pass_alone_accuses_nobody() -> None:
    assert sample_of(STEP, answer(3.0, engine=False), ASKED).status == "ok"


def test_a_machine_that_slept_voids_the_sample() -> None:
    assert voids_all(answer(), [Pause(SENT_S + 0.5, SENT_S + 0.6, slept=True)])


def test_a_server_that_had_to_wait_for_a_part_of_the_pause_is_not_believed() -> None:
    # Its output was not read: it stood still for one of the three seconds.
    found = answer(1.0, 0.5, engine=False)
    chunks = tuple(replace(chunk, t_s=max(chunk.t_s, SENT_S + 3.5)) for chunk in found.chunks[12:])
    late = replace(found, chunks=(*found.chunks[:12], *chunks), last_token_t_s=SENT_S + 3.5, ended_t_s=SENT_S + 3.6)
    assert voids_all(late, [Pause(SENT_S + 0.45, SENT_S + 3.5)])


def test_passes_as_long_as_the_pause_tell_nothing() -> None:
    slow = answer(0.6, 0.5, server=False)
    chunks = tuple(
        replace(chunk, predicted_ms=None if chunk.predicted_ms is None else 40 * chunk.predicted_ms)
        for chunk in slow.chunks
    )
    slow = replace(slow, chunks=chunks, predicted_ms=40 * (slow.predicted_ms or 0.0))
    assert voids_all(slow, [pause_of(0.6)])


@pytest.mark.parametrize(
    "changes",
    [
        {"predicted_ms": None, "prompt_ms": None},
        {"acceptance_source": INFERRED},
    ],
)
def test_without_a_servers_clock_or_with_tokens_told_by_their_arrival_nothing_is_left(changes: dict[str, Any]) -> None:
    assert voids_all(answer(3.0, server=False, **changes), [pause_of(3.0)])


@pytest.mark.parametrize(("pause_s", "void"), [(0.6, True), (3.0, False)])
def test_a_server_that_tells_the_sum_of_its_passes_is_believed_where_that_is_short(pause_s: float, void: bool) -> None:
    found = answer(pause_s, server=False)
    chunks = tuple(replace(chunk, predicted_ms=None) for chunk in found.chunks)
    assert voids_all(replace(found, chunks=chunks), [pause_of(pause_s)]) == void


@pytest.mark.parametrize(("prompt_s", "void"), [(0.5, False), (0.7, True), (5.0, True)])
def test_a_prompt_that_took_as_long_as_the_pause_may_hold_it(prompt_s: float, void: bool) -> None:
    found = answer(0.6, 0.1, server=False, prompt_ms=1000 * prompt_s)
    assert voids_all(found, [pause_of(0.6, 0.1)]) == void


def test_a_pause_after_the_last_token_makes_the_total_wrong_and_nothing_else() -> None:
    found = replace(answer(), ended_t_s=SENT_S + 5.0, predicted_ms=None, prompt_ms=None)
    pause = Pause(SENT_S + 3.0, SENT_S + 4.9)
    assert not voids_all(found, [pause])
    assert void_figures(found, [pause]).keys() == {"total_time_s", "throughput_tok_s"}


def test_a_pause_before_or_after_the_request_is_none_of_it() -> None:
    for pause in (Pause(SENT_S - 3.0, SENT_S - 1.0), Pause(SENT_S + 5.0, SENT_S + 9.0)):
        assert not voids_all(answer(), [pause])
        assert not void_figures(answer(), [pause])
