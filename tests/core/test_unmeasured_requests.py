from __future__ import annotations

from specdash.core.events import StepTimes
from specdash.core.unmeasured_requests import LENGTHS, WARM_STEPS, cost_requests, draft_lengths


def traced(guessed: list[bool], k: int, tokens: int) -> StepTimes:
    """The trace of a request on a server that drafts min(k, tokens still to make - 1)."""
    drafted, accepted, made = [], [], 1
    while made < tokens:
        tried = min(k, tokens - made - 1)
        kept = next((i for i in range(tried) if not guessed[made - 1 + i]), tried)
        drafted.append(tried)
        accepted.append(kept)
        made += kept + 1
    return StepTimes("s", "l", "sample", 0, tuple(drafted), tuple(accepted), (1.0,) * len(drafted))


def shown(guessed: list[bool], k: int, requests: tuple[int, ...]) -> list[tuple[int, ...]]:
    """What the server would draft in each step of these requests."""
    return [traced(guessed, k, tokens).drafted for tokens in requests]


TEXTS = {
    "never": [False] * 127,
    "always": [True] * 127,
    "every third missed": [i % 3 != 0 for i in range(127)],
    "long runs": [i % 11 != 0 for i in range(127)],
}


def test_requests_show_every_length_behind_warm_full_steps() -> None:
    for name, guessed in TEXTS.items():
        requests = cost_requests(traced(guessed, 16, 128), 16)
        steps = shown(guessed, 16, requests)
        assert {length for drafted in steps for length in drafted[1:]} >= {n for n in LENGTHS if n < 16}, name
        assert all(drafted[: WARM_STEPS + 1] == (16,) * (WARM_STEPS + 1) for drafted in steps), name
        assert requests == tuple(sorted(set(requests)))
        assert max(requests) <= 128


def test_text_that_is_guessed_badly_needs_few_requests() -> None:
    # Each step on the way down is one token shorter: one request shows all lengths.
    assert len(cost_requests(traced(TEXTS["never"], 16, 128), 16)) == 1
    assert len(cost_requests(traced(TEXTS["always"], 16, 128), 16)) == len([n for n in LENGTHS if n < 16])


def test_each_length_comes_as_often_as_asked() -> None:
    whole = traced(TEXTS["long runs"], 16, 128)
    once, thrice = cost_requests(whole, 16), cost_requests(whole, 16, times=3)
    lengths = [length for drafted in shown(TEXTS["long runs"], 16, thrice) for length in set(drafted[1:])]
    assert all(lengths.count(length) >= 3 for length in LENGTHS if length < 16)
    assert len(once) < len(thrice) <= 3 * len(once) + 3
    assert cost_requests(whole, 16, times=0) == ()


def test_a_request_ends_on_the_length_that_it_was_made_for() -> None:
    begins = [1, 4, 9, 12, 20]
    assert draft_lengths(begins, 12 + 3 + 1, 8) == (8, 8, 6, 3)
    assert draft_lengths(begins, 1, 8) == ()


def test_no_requests_without_a_trace_of_k_max() -> None:
    whole = traced(TEXTS["long runs"], 16, 128)
    assert cost_requests(StepTimes("s", "l", "sample", 0, (), (), ()), 16) == ()
    assert cost_requests(whole, 24) == ()  # its server drafted less
    assert cost_requests(whole, 8) == ()  # passes that hide behind one another, or another K
    assert cost_requests(whole, 0) == ()
    assert cost_requests(traced(TEXTS["always"], 16, 40), 16) == ()  # too short for full steps to compare with
    broken = StepTimes("s", "l", "sample", 0, (16,) * 9, (17,) * 9, (1.0,) * 9)
    assert cost_requests(broken, 16) == ()
    assert cost_requests(StepTimes("s", "l", "sample", 0, (16,) * 9, (1,) * 8, ()), 16) == ()
