"""What is shown of an answer that is still coming: whose tokens are whose, and how fast they come."""

from __future__ import annotations

import pytest

from specdash.core.generation import Piece
from specdash.core.live_rate import TEXT_CHARS, WINDOW_S, Meter
from specdash.core.measure import Chunk
from specdash.core.ticks import TextRun


def piece(
    n: int, text: str, ms: float, drafted: int | None = None, accepted: int | None = None, t_s: float = 0.0
) -> Piece:
    return Piece(Chunk(t_s, n, ms, drafted, accepted, (n,)), text)


# The prompt's token, a step of K = 4 that keeps two, one that keeps none, one that keeps all four.
ANSWER = [
    piece(1, "A", 0.0),
    *[piece(2 + i, text, 10.0, 4, 2) for i, text in enumerate("bcD")],
    piece(5, "E", 20.0, 8, 2),
    *[piece(6 + i, text, 30.0, 12, 6) for i, text in enumerate("fghiJ")],
]
RUNS = [("A", False), ("bc", True), ("DE", False), ("fghi", True), ("J", False)]


@pytest.mark.parametrize("at_once", [1, 2, 3, len(ANSWER)])
def test_drafted_tokens_are_told_from_the_targets_own(at_once: int) -> None:
    meter = Meter()
    for start in range(0, len(ANSWER), at_once):
        meter.feed(ANSWER[start : start + at_once])
    reading = meter.read()
    assert [(run.text, run.drafted) for run in reading.text] == RUNS
    assert (reading.tokens, reading.drafted, reading.accepted) == (10, 12, 6)
    assert reading.acceptance_rate == pytest.approx(6 / 12)
    assert reading.rate_tok_s == pytest.approx(9 / 0.030)


def test_without_a_draft_everything_is_the_targets_own() -> None:
    meter = Meter()
    meter.feed([piece(n, "x", 5.0 * n) for n in range(1, 5)])
    reading = meter.read()
    assert reading.text == (TextRun("xxxx", False),)
    assert (reading.drafted, reading.accepted, reading.acceptance_rate) == (None, None, None)
    assert reading.rate_tok_s == pytest.approx(200.0)


def test_nothing_is_known_before_the_second_token() -> None:
    meter = Meter()
    assert meter.read().rate_tok_s is None
    meter.feed([piece(1, "x", 0.0)])
    assert meter.read().rate_tok_s is None


def test_rates_are_of_the_last_seconds() -> None:
    meter = Meter()
    slow = [piece(n, "x", 1000.0 * n, t_s=float(n)) for n in range(1, 11)]
    fast = [piece(10 + n, "x", 10_000.0 + 10 * n, t_s=10.0 + n / 100) for n in range(1, 1000)]
    meter.feed(slow)
    assert meter.read().rate_tok_s == pytest.approx(1.0)
    meter.feed(fast)
    assert fast[-1].chunk.t_s - 10 > WINDOW_S
    assert meter.read().rate_tok_s == pytest.approx(100.0, rel=0.01)


def test_only_the_end_of_a_long_text_is_kept() -> None:
    meter = Meter()
    meter.feed([piece(n, "word ", 1.0 * n) for n in range(1, 5000)])
    (run,) = meter.read().text
    assert run.text == ("word " * 5000)[-TEXT_CHARS:]
