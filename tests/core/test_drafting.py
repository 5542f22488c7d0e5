"""What samples say of drafting together, above all where it is inferred and most answers cannot prove their K."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import accumulate, takewhile

import pytest

from specdash.core.drafting import Drafting, drafting_of, proven
from specdash.core.engine import DRAFTED, K_SEEN
from specdash.core.measure import INFERRED, Sample
from tests.support.recorded_run import sample


def counted(drafted: int | None, accepted: int | None, k_seen: int | None, source: str | None = INFERRED) -> Sample:
    why = {} if k_seen is not None else {K_SEEN: "no step was that long"}
    return replace(
        sample(10.0),
        draft_tokens=drafted,
        accepted_tokens=accepted,
        k_seen=k_seen,
        acceptance_source=source,
        unknown=why,
    )


def test_one_answer_proves_the_k_of_all() -> None:
    samples = (counted(40, 30, 4), counted(40, 10, None), counted(None, None, None))
    assert proven(samples) == samples
    found = drafting_of(samples)
    assert found == Drafting(80, 40, INFERRED)
    assert (found.rate, found.is_inferred) == (0.5, True)


def test_counts_that_rest_on_a_k_that_nothing_proves_are_unknown() -> None:
    (bare,) = proven((counted(40, 10, None),))
    assert (bare.draft_tokens, bare.accepted_tokens) == (None, None)
    assert bare.unknown[DRAFTED] == bare.unknown[K_SEEN] == "no step was that long"
    assert drafting_of((counted(40, 10, None), counted(20, 1, None))) is None


@pytest.mark.parametrize("source", ["server", "metrics"])
def test_counts_that_a_server_told_need_no_proof_of_k(source: str) -> None:
    samples = (counted(40, 10, None, source), counted(None, None, None, source))
    assert proven(samples) == samples
    assert drafting_of(samples) == Drafting(40, 10, source)


def test_what_drafted_nothing_has_no_rate_and_what_is_not_told_no_counts() -> None:
    nothing = drafting_of((counted(0, 0, None, "server"),))
    assert nothing is not None
    assert (nothing.drafted, nothing.rate) == (0, None)
    assert drafting_of((counted(None, None, None, "server"),)) is None
    assert drafting_of(()) is None


@pytest.mark.parametrize("rate", [0.4, 0.6])
def test_the_answers_that_prove_k_are_not_all_that_count(rate: float) -> None:
    """They went well by chance: alone they make 1.4 times the acceptance of a draft that is right in 40 % of places."""
    chance, k, steps = random.Random(5), 6, 20

    def kept_in_a_step() -> int:
        return sum(1 for _ in takewhile(lambda hit: hit, (chance.random() < rate for _ in range(k))))

    def answer() -> Sample:
        kept = [kept_in_a_step() for _ in range(steps)]
        return counted(k * steps, sum(kept), k if max(kept) == k else None)

    samples = [answer() for _ in range(400)]
    truth = sum(accumulate((rate for _ in range(k)), lambda a, b: a * b)) / k
    found, lucky = drafting_of(samples), drafting_of([each for each in samples if each.k_seen == k])
    assert found is not None
    assert lucky is not None
    assert found.rate == pytest.approx(truth, rel=0.05)
    assert lucky.rate is not None
    assert lucky.rate > truth * 1.05
