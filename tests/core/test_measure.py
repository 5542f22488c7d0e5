from __future__ import annotations

import json
import random
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from specdash.core.measure import (
    DESCRIPTION,
    Chunk,
    Sample,
    StepFacts,
    Verdict,
    VerifyStep,
    clocks_disagree,
    combine,
    decode_rate,
    expected_k_seen,
    step_facts,
    verify_steps,
)

RECORDINGS = Path(__file__).parent.parent / "data" / "recordings"


def recorded(name: str) -> tuple[tuple[Chunk, ...], dict[str, float]]:
    """The chunks of a recording, arriving a second apart, and the timings of its last event."""
    events = [
        json.loads(line.removeprefix("data: "))
        for line in (RECORDINGS / name).read_text("utf-8").splitlines()
        if line.startswith("data: ")
    ]
    chunks = tuple(
        Chunk(
            t_s=float(second),
            predicted_n=event["timings"]["predicted_n"],
            predicted_ms=event["timings"]["predicted_ms"],
            draft_n=event["timings"].get("draft_n"),
            draft_n_accepted=event["timings"].get("draft_n_accepted"),
            tokens=tuple(event["tokens"]),
        )
        for second, event in enumerate(events)
        if event["timings"]["predicted_n"] and not event["stop"]
    )
    return chunks, events[-1]["timings"]


def test_steps_of_a_current_build() -> None:
    chunks, _ = recorded("completion.stream.b11669.sse")
    assert verify_steps(chunks) == (
        VerifyStep(3.0, generated=5, drafted=8, accepted=4),
        VerifyStep(8.0, generated=3, drafted=8, accepted=2),
        VerifyStep(11.0, generated=7, drafted=8, accepted=6),
        VerifyStep(18.0, generated=8, drafted=7, accepted=7),
    )


def test_steps_of_a_build_that_counts_per_step() -> None:
    chunks, _ = recorded("completion.stream.xllamacpp-0.2.14.k4.sse")
    steps = verify_steps(chunks)
    assert [step.t_s for step in steps] == [1.0, 6.0, 11.0, 16.0, 21.0, 26.0, 31.0, 36.0, 41.0, 46.0]
    assert [(step.drafted, step.accepted, step.generated) for step in steps] == [(4, 4, 5)] * 9 + [(1, 1, 2)]


@pytest.mark.parametrize(
    ("name", "k"),
    [
        ("completion.stream.b11669.sse", 8),
        ("completion.stream.xllamacpp-0.2.14.k1.sse", 1),
        ("completion.stream.xllamacpp-0.2.14.k4.sse", 4),
        ("completion.stream.xllamacpp-0.2.14.k8.sse", 8),
    ],
)
def test_steps_account_for_everything_that_the_server_counted(name: str, k: int) -> None:
    chunks, timings = recorded(name)
    steps = verify_steps(chunks)
    assert sum(step.generated for step in steps) == timings["predicted_n"] - 1
    assert sum(step.drafted for step in steps) == timings["draft_n"]
    assert sum(step.accepted for step in steps) == timings["draft_n_accepted"]
    assert all(step.generated == step.accepted + 1 and step.exact for step in steps)
    facts = step_facts(chunks)
    assert facts.k_seen == k == expected_k_seen(k, int(timings["predicted_n"]))
    assert facts.steps == len(steps)
    assert sum(facts.positions_drafted) == timings["draft_n"]
    assert sum(facts.positions_accepted) == timings["draft_n_accepted"]


def test_a_step_without_a_draft_among_drafting_ones() -> None:
    chunks, _ = recorded("completion.stream.xllamacpp-0.2.14.k1.sse")
    assert verify_steps(chunks)[-1] == VerifyStep(47.0, generated=1, drafted=0, accepted=0)


def test_acceptance_per_position_counts_only_steps_that_drafted_so_far() -> None:
    chunks, _ = recorded("completion.stream.b11669.sse")
    facts = step_facts(chunks)
    assert facts.positions_drafted == (4, 4, 4, 4, 4, 4, 4, 3)
    assert facts.positions_accepted == (4, 4, 3, 3, 2, 2, 1, 0)
    assert facts.accepted_per_position == (1.0, 1.0, 0.75, 0.75, 0.5, 0.5, 0.25, 0.0)
    assert facts.tokens_per_step == 23 / 4


def chunk(predicted_n: int, ms: float | None, draft_n: int | None = None, accepted: int | None = None) -> Chunk:
    return Chunk(float(predicted_n), predicted_n, ms, draft_n, accepted, (7,))


def test_plain_steps_with_equal_times_are_still_one_token_each() -> None:
    chunks = [chunk(1, 0.0), chunk(2, 10.0), chunk(3, 10.0), chunk(4, 20.0)]
    assert [step.generated for step in verify_steps(chunks)] == [1, 1, 1]
    facts = step_facts(chunks)
    assert (facts.k_seen, facts.steps, facts.tokens_per_step) == (None, 3, 1.0)
    assert facts.accepted_per_position is None


def test_drafting_steps_with_equal_times_are_told_apart_by_their_counters() -> None:
    chunks = [chunk(1, 0.0), *(chunk(n, 10.0, 4, 1) for n in (2, 3)), *(chunk(n, 10.0, 8, 3) for n in (4, 5, 6))]
    assert [(step.generated, step.drafted, step.accepted) for step in verify_steps(chunks)] == [(2, 4, 1), (3, 4, 2)]


def test_draft_counters_suffice_without_times() -> None:
    chunks = [chunk(1, None), chunk(2, None, 4, 1), chunk(3, None, 4, 1), chunk(4, None, 8, 1)]
    assert [step.generated for step in verify_steps(chunks)] == [2, 1]


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [chunk(1, 0.0)],
        [chunk(1, None), chunk(2, None), chunk(3, None)],
        [chunk(1, 0.0), chunk(2, 1.0, 8, 0), chunk(3, 2.0, 4, 0)],
        [chunk(1, 0.0), chunk(2, 1.0, 8, 9)],
    ],
    ids=["nothing", "one token", "no timings", "counter runs backwards", "more accepted than drafted"],
)
def test_what_the_stream_does_not_tell_is_unknown(chunks: list[Chunk]) -> None:
    assert verify_steps(chunks) == ()
    assert step_facts(chunks) == StepFacts(None, None, None, (), ())
    assert step_facts(chunks).tokens_per_step is None


def test_an_end_token_cuts_the_last_step() -> None:
    chunks = [chunk(1, 0.0), chunk(2, 10.0, 8, 6), chunk(3, 10.0, 8, 6)]
    assert verify_steps(chunks) == (VerifyStep(2.0, generated=2, drafted=8, accepted=6),)


def test_passes_hidden_behind_an_incomplete_character_prove_no_k() -> None:
    # The pass that made token 2 sent nothing, so the next event's counters have grown by two drafts.
    chunks = [chunk(1, 0.0), chunk(3, 20.0, 16, 2), chunk(4, 20.0, 16, 2), chunk(5, 20.0, 16, 2), chunk(6, 30.0, 24, 2)]
    assert verify_steps(chunks)[0] == VerifyStep(3.0, generated=4, drafted=16, accepted=2, steps=2, exact=False)
    assert step_facts(chunks) == StepFacts(8, 3, 5, (1,) * 8, (0,) * 8)


def test_passes_hidden_at_both_ends_of_an_event_prove_no_k() -> None:
    # Token 2 is a pass of its own, token 4 ends the next one, and neither was sent: 3 tokens for 2 passes look like 1.
    chunks = [chunk(1, 0.0), chunk(3, 20.0, 16, 1), chunk(5, 30.0, 24, 1), chunk(6, 40.0, 32, 1)]
    steps = verify_steps(chunks)
    assert [step.exact for step in steps] == [False, False, True]
    assert sum(step.generated for step in steps) == 5
    assert step_facts(chunks).k_seen == 8


def stream(passes: list[tuple[int, int]], hidden: set[int], *, per_token: bool) -> list[Chunk]:
    """What a server sends for (drafted, accepted) passes; events of the token numbers in `hidden` are not sent."""
    chunks = [chunk(1, 0.001)]
    emitted, draft_n, accepted_n = 1, 0, 0
    for number, (drafted, accepted) in enumerate(passes, 1):
        draft_n, accepted_n = draft_n + drafted, accepted_n + accepted
        end = emitted + accepted + 1
        chunks += [
            chunk(token if per_token else end, 10.0 * number, draft_n or None, accepted_n if draft_n else None)
            for token in range(emitted + 1, end + 1)
            if token not in hidden
        ]
        emitted = end
    return chunks


@pytest.mark.parametrize("per_token", [True, False])
def test_any_stream_accounts_for_all_passes(per_token: bool) -> None:
    rng = random.Random(11)
    for _ in range(300):
        drafts = [rng.choice((0, 1, 4)) for _ in range(rng.randint(1, 12))]
        passes = [(drafted, rng.randint(0, drafted)) for drafted in drafts]
        total = 1 + sum(accepted + 1 for _, accepted in passes)
        last = total if per_token else total - passes[-1][1]  # what comes behind the last event is not in the stream
        hidden = {token for token in range(2, last) if rng.random() < 0.2}
        exact = verify_steps(stream(passes, set(), per_token=per_token))
        assert [(step.drafted, step.accepted, step.generated) for step in exact] == [(d, a, a + 1) for d, a in passes]
        steps = verify_steps(stream(passes, hidden, per_token=per_token))
        assert sum(step.steps for step in steps) == len(passes)
        assert sum(step.generated for step in steps) == total - 1
        assert sum(step.drafted for step in steps) == sum(drafts)
        assert sum(step.accepted for step in steps) == sum(accepted for _, accepted in passes)
        assert all(step.drafted in drafts for step in steps if step.exact)


def test_facts_of_several_requests_are_summed_per_position() -> None:
    first = StepFacts(2, 3, 6, (3, 2), (2, 1))
    second = StepFacts(3, 2, 2, (2, 2, 2), (0, 0, 0))
    unknown = StepFacts(None, None, None, (), ())
    together = combine([first, unknown, second])
    assert together == StepFacts(3, 5, 8, (5, 4, 2), (2, 1, 0))
    assert together.tokens_per_step == 1.6
    assert together.accepted_per_position == (0.4, 0.25, 0.0)
    assert combine([]) == unknown == combine([unknown])


@pytest.mark.parametrize(
    ("k", "max_tokens", "seen"), [(8, 256, 8), (8, 10, 8), (8, 9, 7), (1, 3, 1), (4, 2, 0), (4, 1, 0)]
)
def test_expected_k_seen(k: int, max_tokens: int, seen: int) -> None:
    assert expected_k_seen(k, max_tokens) == seen


def test_rate_counts_intervals() -> None:
    assert decode_rate(11, 2.0) == 5.0
    assert decode_rate(2, 0.5) == 2.0
    assert decode_rate(11, 2.0, 5) == 3.0
    assert decode_rate(5, 2.0, 5) is None
    for tokens, seconds in ((1, 1.0), (0, 1.0), (11, 0.0), (11, -1.0), (11, float("nan")), (None, 1.0), (11, None)):
        assert decode_rate(tokens, seconds) is None


@pytest.mark.parametrize(
    ("server_s", "client_s", "disagree"),
    [
        (10.0, 10.4, False),
        (10.4, 10.0, False),
        (10.0, 10.6, True),
        (10.6, 10.0, True),
        (0.0, 1.0, True),
        (0.0, 0.0, False),
    ],
)
def test_clocks(server_s: float, client_s: float, disagree: bool) -> None:
    assert clocks_disagree(server_s, client_s) is disagree


def test_a_broken_sample_claims_nothing_and_fits_into_json() -> None:
    sample = Sample.broken(prompt_id="p", block=2, started_s=5.0, reasons=(Verdict.HTTP_ERROR, "busy"))
    assert sample.status == "invalid"
    assert json.loads(json.dumps(asdict(sample)))["reasons"] == ["http_error", "busy"]
    assert {value for value in asdict(sample).values() if isinstance(value, int | float)} == {2, 5.0}
    assert sample.step_facts == StepFacts(None, None, None, (), ())


def test_a_sample_gives_its_step_facts_back() -> None:
    facts = step_facts(recorded("completion.stream.b11669.sse")[0])
    sample = replace(
        Sample.broken(prompt_id="p", block=0, started_s=0.0, reasons=()),
        generated_tokens=24,
        steps=facts.steps,
        k_seen=facts.k_seen,
        positions_drafted=facts.positions_drafted,
        positions_accepted=facts.positions_accepted,
    )
    assert sample.step_facts == facts


def test_every_verdict_tells_the_user_what_to_do() -> None:
    assert set(DESCRIPTION) == set(Verdict)
    for text in DESCRIPTION.values():
        assert text.endswith((".", ")."))
        assert ":" in text or "," in text
        assert text.count(". ") == 0


def test_positions_that_do_not_fit_each_other_tell_nothing() -> None:
    facts = StepFacts(k_seen=4, steps=3, generated=9, positions_drafted=(3, 2), positions_accepted=(3, 2, 1))
    assert facts.accepted_per_position is None
    assert combine([facts]).accepted_per_position is None
