from __future__ import annotations

import random

import pytest

from specdash.analysis.kcurve.replay import (
    Text,
    acceptance_by_position,
    guess_rate,
    product_model,
    replay,
    replayed_text,
)
from specdash.core.events import StepTimes
from tests.support.curve_world import World

WORLD = World()


def traced(guessed: list[bool], k: int, tokens: int = 128) -> StepTimes:
    drafted, accepted, times_ms = WORLD.request(guessed, k, tokens, random.Random(1))
    return StepTimes("s", "l", "sample", 0, tuple(drafted), tuple(accepted), tuple(times_ms))


def drafted_at(guessed: list[bool], k: int) -> dict[int, float]:
    drafted = traced(guessed, k).drafted
    return {length: float(drafted.count(length)) for length in set(drafted)}


def test_replay_of_text_without_open_places_is_exact_at_every_k() -> None:
    rng = random.Random(2)
    for _ in range(20):
        guessed = [rng.random() < 0.5 for _ in range(127)]
        found = replayed_text(traced(guessed, 40), 128)
        assert found is not None
        for k in range(1, 41):
            assert replay(found, k, 0.5).counts == (expected := drafted_at(guessed, k)), expected


def test_what_the_trace_leaves_open_lies_between_both_extremes() -> None:
    rng = random.Random(3)
    guessed = [rng.random() < 0.93 for _ in range(127)]
    found = replayed_text(traced(guessed, 8), 128)
    assert found is not None
    assert found.unknown > 3
    for k in range(1, 8):
        steps = [replay(found, k, rate).steps for rate in (1.0, 0.0)]
        assert steps[0] <= len(traced(guessed, k).drafted) <= steps[1], k
        middle = replay(found, k, 0.9)
        assert steps[0] <= middle.steps <= steps[1]
        assert 0 < middle.doubt < 0.5
    # At its own K it did what it did: there the open places are behind a whole draft again.
    assert replay(found, 8, 0.0).counts == replay(found, 8, 1.0).counts == drafted_at(guessed, 8)


def test_the_end_of_a_request_drafts_less() -> None:
    found = Text((True,) * 9, 9)
    assert replay(found, 4, 1.0).counts == {4: 1, 3: 1}
    # A text that ended by itself was drafted for as if it went on.
    assert replay(Text((True,) * 9, 100), 4, 1.0).counts == {4: 2}


def test_a_trace_that_is_not_whole_has_no_text() -> None:
    whole = traced([True, False] * 64, 8)
    assert replayed_text(whole, 128) is not None
    assert replayed_text(whole, 127) is None
    assert replayed_text(whole, 200) is None
    assert replayed_text(whole, 1) is None
    assert replayed_text(StepTimes("s", "l", "sample", 0, (2,), (3,), (1.0,)), 5) is None
    assert replayed_text(StepTimes("s", "l", "sample", 0, (2, 2), (1,), (1.0,)), 5) is None


def test_acceptance_by_position_leaves_short_steps_out() -> None:
    one = StepTimes("s", "l", "sample", 0, (4, 4, 1), (4, 1, 1), (1.0, 1.0, 1.0))
    assert acceptance_by_position([one]) == (1.0, 0.5, 0.5, 0.5)
    assert acceptance_by_position([]) == ()
    assert acceptance_by_position([StepTimes("s", "l", "sample", 0, (0, 0), (0, 0), (1.0, 1.0))]) == ()


def test_the_product_model_needs_positions_up_to_k() -> None:
    found = product_model((0.8, 0.5, 0.4), 90, 2)
    assert found is not None
    assert found.steps == pytest.approx(90 / 2.3)
    assert product_model((0.8,), 90, 2) is None
    assert product_model((), 90, 0) is None


def test_the_rate_of_guesses_behind_long_runs() -> None:
    assert guess_rate([]) == 0.5
    rng = random.Random(4)
    runs = [traced([rng.random() < 0.9 for _ in range(127)], 16) for _ in range(20)]
    assert guess_rate(runs) == pytest.approx(0.9, abs=0.1)
