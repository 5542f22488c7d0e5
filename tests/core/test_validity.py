"""When a number counts: reasons against single generations, findings against steps, and figures by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import pytest

from specdash.core.generation import Generation
from specdash.core.measure import Chunk, Sample, Verdict
from specdash.core.methods import DRAFT
from specdash.core.plan import Step
from specdash.core.validity import (
    WAKE_UP_S,
    RequestContext,
    is_retryable,
    is_unrecoverable,
    reasons_against,
    sample_of,
    step_findings,
    verdict_of,
)

N = 20  # tokens of a generation here
SPEC = Step.of("T", draft="D", method=DRAFT, k=4, category="coding")
BASE = SPEC.baseline()
ASKED = RequestContext("p1", 0, N, 1_000.0, "alias")


def chunks(k: int, n: int = N, keep: int = 1) -> tuple[Chunk, ...]:
    """One event for each of `n` tokens, 0.1 s apart, of steps that draft up to `k` and accept up to `keep`."""
    found = [Chunk(10.5, 1, 0.001, 0 if k else None, 0 if k else None, (7,))]
    done, drafted, accepted = 1, 0, 0
    while done < n:
        draft = max(0, min(k, n - done - 1))
        kept = min(draft, keep)
        drafted, accepted = drafted + draft, accepted + kept
        ms = 100.0 * (done + kept)
        for number in range(done + 1, done + kept + 2):
            draft_n, kept_n = (drafted, accepted) if k else (None, None)
            found.append(Chunk(10.5 + 0.1 * (number - 1), number, ms, draft_n, kept_n, (7,)))
        done += kept + 1
    return tuple(found)


def generation(k: int = 4, n: int = N, **changes: Any) -> Generation:
    """A healthy generation of `n` tokens, drafting up to `k`: 1.9 s of decoding by the server, 1.95 s seen here."""
    events = chunks(k, n)
    whole = Generation(
        sent_t_s=10.0,
        first_token_t_s=10.5,
        last_token_t_s=12.45,
        ended_t_s=12.6,
        chunks=events,
        text="x",
        finish_reason="limit",
        prompt_tokens=100,
        cached_tokens=0,
        generated_tokens=n,
        prompt_ms=400.0,
        predicted_ms=1900.0,
        draft_n=events[-1].draft_n,
        draft_n_accepted=events[-1].draft_n_accepted,
        model="alias",
    )
    return replace(whole, **changes)


def sample(step: Step = SPEC, k: int = 4, **changes: Any) -> Sample:
    return replace(sample_of(step, generation(k if step.draft else 0), ASKED), **changes)


# --- one generation


def test_figures_by_hand() -> None:
    found = sample_of(SPEC, generation(), ASKED)
    assert (found.status, found.reasons, found.clock) == ("ok", (), "server")
    assert found.prefill_time_s == pytest.approx(0.4)
    assert found.prefill_tok_s == pytest.approx(100 / 0.4)
    assert found.decode_time_s == pytest.approx(1.9)
    assert found.decode_tok_s == pytest.approx(19 / 1.9)
    assert found.ttft_s == pytest.approx(0.5)
    assert found.total_time_s == pytest.approx(2.6)
    assert found.throughput_tok_s == pytest.approx(120 / 2.6)
    assert found.client_decode_time_s == pytest.approx(1.95)
    assert found.client_decode_tok_s == pytest.approx(19 / 1.95)
    # After the first token nine steps of two, the ninth with room for two drafts, and a last one with room for none.
    assert (found.steps, found.k_seen, found.draft_tokens, found.accepted_tokens) == (10, 4, 4 * 8 + 2, 9)
    assert (found.prompt_id, found.block, found.started_s, found.finish_reason) == ("p1", 0, 1_000.0, "limit")
    assert found.text_hash == generation().text_hash


def test_prefill_counts_only_the_tokens_that_were_processed() -> None:
    found = sample_of(SPEC, generation(cached_tokens=60), ASKED)
    assert found.prefill_tok_s == pytest.approx(40 / 0.4)
    assert found.reasons == (Verdict.PROMPT_CACHED,)


def test_without_the_servers_clock_ours_is_used_and_said() -> None:
    found = sample_of(SPEC, generation(prompt_ms=None, predicted_ms=None), ASKED)
    assert (found.clock, found.status) == ("client", "invalid")
    assert found.decode_time_s == pytest.approx(1.95)
    assert found.prefill_time_s == pytest.approx(0.5)


@pytest.mark.parametrize("missing", ["prompt_ms", "predicted_ms"])
def test_clock_names_whose_decode_time_it_is(missing: str) -> None:
    seen = generation(prompt_ms=None) if missing == "prompt_ms" else generation(predicted_ms=None)
    found = sample_of(SPEC, seen, ASKED)
    expected = {"server": 1.9, "client": 1.95}[found.clock]
    assert found.decode_time_s == pytest.approx(expected)


def test_what_nobody_told_is_null_and_never_zero() -> None:
    empty = Generation(sent_t_s=10.0, first_token_t_s=None, last_token_t_s=None, ended_t_s=11.0)
    found = sample_of(SPEC, empty, ASKED)
    unknown = {item.name for item in fields(Sample) if getattr(found, item.name) is None}
    assert unknown >= {
        "prefill_time_s",
        "prefill_tok_s",
        "decode_time_s",
        "decode_tok_s",
        "throughput_tok_s",
        "ttft_s",
        "prompt_tokens",
        "cached_tokens",
        "generated_tokens",
        "draft_tokens",
        "accepted_tokens",
        "steps",
        "finish_reason",
        "k_seen",
        "client_decode_time_s",
        "client_decode_tok_s",
    }
    assert found.total_time_s == pytest.approx(1.0)


def test_an_unknown_cache_does_not_count_as_an_empty_one() -> None:
    assert sample_of(SPEC, generation(cached_tokens=None), ASKED).prefill_tok_s is None


def test_no_time_makes_no_rate() -> None:
    found = sample_of(SPEC, generation(prompt_ms=0.0, predicted_ms=0.0, ended_t_s=10.0), ASKED)
    assert (found.prefill_tok_s, found.decode_tok_s, found.throughput_tok_s) == (None, None, None)


def test_a_baseline_has_nulls_for_what_it_does_not_do() -> None:
    found = sample_of(BASE, generation(k=0), ASKED)
    assert (found.status, found.draft_tokens, found.accepted_tokens, found.k_seen) == ("ok", None, None, None)
    assert found.steps == N - 1


REASONS: Sequence[tuple[str, Step, Generation, RequestContext, tuple[str, ...]]] = [
    ("nothing", SPEC, generation(), ASKED, ()),
    ("baseline", BASE, generation(k=0), ASKED, ()),
    ("ended by itself", SPEC, generation(finish_reason="eos"), replace(ASKED, max_tokens=256), ()),
    ("a stop word", SPEC, generation(finish_reason="word"), replace(ASKED, max_tokens=256), ()),
    ("cut", SPEC, generation(problems=("the stream ended",)), ASKED, ("the stream ended",)),
    ("no reason to end", SPEC, generation(finish_reason=None), ASKED, (Verdict.NO_FINISH_REASON,)),
    ("no decode time", SPEC, generation(predicted_ms=None), ASKED, (Verdict.NO_TIMINGS,)),
    ("no prompt time", SPEC, generation(prompt_ms=None), ASKED, (Verdict.NO_TIMINGS,)),
    ("one token without event", SPEC, generation(generated_tokens=N + 1), replace(ASKED, max_tokens=N + 1), ()),
    (
        "two tokens without event",
        SPEC,
        generation(generated_tokens=N + 2),
        replace(ASKED, max_tokens=N + 2),
        (Verdict.TOKEN_COUNT_MISMATCH,),
    ),
    ("no count", SPEC, generation(generated_tokens=None), ASKED, (Verdict.TOKEN_COUNT_MISMATCH,)),
    ("no event", SPEC, generation(chunks=()), ASKED, (Verdict.NO_TEXT,)),
    ("no token", SPEC, generation(chunks=(), generated_tokens=0, finish_reason="eos"), ASKED, (Verdict.NO_TEXT,)),
    ("no room for a token", SPEC, generation(chunks=(), generated_tokens=0), ASKED, (Verdict.CONTEXT_FULL,)),
    ("thoughts unseen", SPEC, generation(chunks=(), hidden_tokens=N), ASKED, (Verdict.ALL_THOUGHTS,)),
    ("fewer than asked", SPEC, generation(), replace(ASKED, max_tokens=N + 1), (Verdict.CONTEXT_FULL,)),
    ("few", SPEC, generation(n=3, is_truncated=True), ASKED, (Verdict.CONTEXT_FULL,)),
    ("limited", SPEC, generation(is_truncated=False), replace(ASKED, max_tokens=N + 1), (Verdict.WRONG_LENGTH,)),
    ("more than asked", SPEC, generation(), replace(ASKED, max_tokens=N - 1), (Verdict.WRONG_LENGTH,)),
    ("16 tokens", SPEC, generation(n=16), replace(ASKED, max_tokens=16), ()),
    ("15 tokens", SPEC, generation(n=15, finish_reason="eos"), ASKED, (Verdict.TOO_SHORT,)),
    ("cached", SPEC, generation(cached_tokens=1), ASKED, (Verdict.PROMPT_CACHED,)),
    ("drafting baseline", BASE, generation(), ASKED, (Verdict.BASELINE_DRAFTED,)),
    ("other server", SPEC, generation(model="other"), ASKED, (Verdict.SERVER_CHANGED,)),
    ("unnamed server", SPEC, generation(model=None), ASKED, ()),
    ("no alias to check", SPEC, generation(model="other"), replace(ASKED, alias=None), ()),
    ("clock set forward", SPEC, generation(), replace(ASKED, clock_jump_s=0.6), (Verdict.CLOCK_JUMPED,)),
    ("swapping", SPEC, generation(), replace(ASKED, swapped_in_bytes=2**27), (Verdict.SWAPPING,)),
    ("a page from swap", SPEC, generation(), replace(ASKED, swapped_in_bytes=4096), ()),
    ("clock set back", SPEC, generation(), replace(ASKED, clock_jump_s=-0.6), (Verdict.CLOCK_JUMPED,)),
    ("clock drifts", SPEC, generation(), replace(ASKED, clock_jump_s=0.4), ()),
    (
        "several",
        SPEC,
        generation(finish_reason=None, cached_tokens=3, problems=("torn", "torn")),
        ASKED,
        ("torn", Verdict.NO_FINISH_REASON, Verdict.PROMPT_CACHED),
    ),
]


@pytest.mark.parametrize(
    ("step", "seen", "asked", "expected"), [row[1:] for row in REASONS], ids=[row[0] for row in REASONS]
)
def test_reasons_against(step: Step, seen: Generation, asked: RequestContext, expected: tuple[str, ...]) -> None:
    reasons = reasons_against(step, seen, asked)
    assert reasons == expected
    assert all(type(reason) is str for reason in reasons)
    assert sample_of(step, seen, asked).status == ("invalid" if expected else "ok")


def test_a_broken_generation_is_never_without_a_reason() -> None:
    empty = Generation(sent_t_s=10.0, first_token_t_s=None, last_token_t_s=None, ended_t_s=11.0)
    assert reasons_against(SPEC, empty, ASKED) == (
        Verdict.NO_FINISH_REASON, Verdict.NO_TIMINGS, Verdict.NO_TEXT,
    )  # fmt: skip


# --- the samples of a step


def verdicts(step: Step, samples: Sequence[Sample], max_tokens: int = N) -> list[Verdict]:
    return [finding.verdict for finding in step_findings(step, samples, max_tokens)]


@pytest.mark.parametrize(
    ("step", "samples", "max_tokens", "expected"),
    [
        (SPEC, [sample()], N, []),
        (SPEC, [], N, []),
        (BASE, [sample(BASE)], N, []),
        (SPEC, [sample(k_seen=5)], N, [Verdict.K_NOT_EFFECTIVE]),
        (SPEC, [sample(k_seen=3)], N, [Verdict.K_NOT_EFFECTIVE]),
        (SPEC, [sample(k_seen=3), sample(k_seen=4)], N, []),
        (SPEC, [sample(k_seen=4), sample(k_seen=8)], N, [Verdict.K_NOT_EFFECTIVE]),
        (SPEC, [sample(k_seen=None)], N, [Verdict.K_NOT_EFFECTIVE]),
        (SPEC, [sample(k_seen=None), sample()], N, []),
        (SPEC, [sample(draft_tokens=None, k_seen=None)], N, [Verdict.SPECULATION_INACTIVE]),
        (SPEC, [sample(draft_tokens=0, k_seen=None)], N, [Verdict.SPECULATION_INACTIVE]),
        (SPEC, [sample(k_seen=9, status="invalid"), sample()], N, []),
        (SPEC, [sample(status="invalid", draft_tokens=None)], N, []),
        (SPEC.with_values(k=48), [sample(k_seen=18)], N, [Verdict.K_NOT_EFFECTIVE]),  # no room in the answer for more
        (SPEC.with_values(k=48), [sample(k_seen=17)], N, [Verdict.K_NOT_EFFECTIVE]),
        (SPEC.with_values(k=48), [sample(k_seen=18)], 256, [Verdict.K_NOT_EFFECTIVE]),
    ],
)
def test_findings(step: Step, samples: list[Sample], max_tokens: int, expected: list[Verdict]) -> None:
    assert verdicts(step, samples, max_tokens) == expected


def test_details_carry_the_figures() -> None:
    (found,) = step_findings(SPEC, [sample(k_seen=8)], N)
    assert "K = 4" in found.detail
    assert "8 tokens" in found.detail
    (found,) = step_findings(BASE, [sample(BASE, decode_time_s=1.0, client_decode_time_s=2.0)], N)
    assert "1.000 s" in found.detail
    assert "2.000 s" in found.detail


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([(1.0, 1.04)], []),
        ([(1.0, 1.06)], [Verdict.CLOCKS_DISAGREE]),
        ([(1.06, 1.0)], [Verdict.CLOCKS_DISAGREE]),
        ([(10.0, 10.0), (0.1, 30.0)], []),  # a pause spoils one sample, and one of two is not most
        ([(1.0, 1.0), (1.0, 1.2), (1.2, 1.0)], [Verdict.CLOCKS_DISAGREE]),
        ([(0.035, 1.0), (0.035, 1.0)], [Verdict.CLOCKS_DISAGREE]),  # the server that told 28 times its speed
        ([(0.010, 0.010 + WAKE_UP_S * 0.9)] * 5, []),  # no more than a process needs to wake up
        ([(0.010, 0.010 + WAKE_UP_S * 1.1)] * 5, [Verdict.CLOCKS_DISAGREE]),
    ],
)
def test_clocks_disagree_when_most_samples_say_so(times: list[tuple[float, float]], expected: list[Verdict]) -> None:
    for step in (SPEC, BASE):
        samples = [
            sample(step, decode_time_s=server, client_decode_time_s=client, ttft_s=0.4) for server, client in times
        ]
        assert verdicts(step, samples) == expected


def test_a_first_token_that_came_late_explains_a_shorter_decode() -> None:
    late: dict[str, Any] = {
        "prefill_time_s": 0.002,
        "ttft_s": 0.049,
        "decode_time_s": 0.044,
        "client_decode_time_s": 0.0002,
    }
    assert verdicts(SPEC, [sample(**late)]) == []
    assert verdicts(SPEC, [sample(**late | {"decode_time_s": 0.2})]) == [Verdict.CLOCKS_DISAGREE]
    # The other way round it explains nothing: a server that tells too little time is caught.
    swapped: dict[str, Any] = {"decode_time_s": 0.002, "client_decode_time_s": 0.05}
    assert verdicts(SPEC, [sample(**late | swapped)]) == [Verdict.CLOCKS_DISAGREE]


def test_a_step_that_lost_samples_says_so() -> None:
    lost = sample(status="invalid", reasons=("wrong_length",), block=1)
    status, found, error = verdict_of(SPEC, [sample(block=0), lost, lost], N)
    assert (status, error) == ("ok", None)
    assert [(each.verdict, each.detail) for each in found] == [(Verdict.WRONG_LENGTH, "1 of 2 samples are missing")]
    assert verdict_of(SPEC, [sample(block=0), lost, sample(block=1)], N) == ("ok", (), None)


def test_a_clock_that_told_nothing_is_not_a_clock_that_says_zero() -> None:
    unknown = sample(decode_time_s=1.0, client_decode_time_s=None)
    assert verdicts(SPEC, [unknown]) == []
    assert verdicts(SPEC, [unknown, sample(decode_time_s=1.0, client_decode_time_s=1.0)]) == []


@pytest.mark.parametrize(
    ("step", "samples", "expected"),
    [
        (SPEC, [], False),
        (SPEC, [sample()], False),
        (SPEC, [sample(k_seen=5)], True),
        (SPEC, [sample(k_seen=3)], False),  # a later sample may show the whole K
        (SPEC, [sample(draft_tokens=None, k_seen=None)], False),
        (SPEC, [sample(draft_tokens=None, k_seen=None)] * 2, True),
        (SPEC, [sample(draft_tokens=None, k_seen=None), sample()], False),
        (SPEC, [sample(status="invalid", reasons=(Verdict.PROMPT_CACHED,))], True),
        (BASE, [sample(BASE, status="invalid", reasons=(Verdict.BASELINE_DRAFTED,))], True),
        (SPEC, [sample(status="invalid", reasons=(Verdict.TOO_SHORT,))], False),  # another prompt may call for more
        (SPEC, [sample(status="invalid", reasons=("torn",))] * 2, False),
        (SPEC, [sample(status="invalid", reasons=("torn",))] * 3, True),  # the same three times: it will not pass
        (SPEC, [sample(status="invalid", reasons=("torn", each)) for each in "abc"], True),
        (SPEC, [sample(status="invalid", reasons=(each,)) for each in "abc"], False),
        (SPEC, [sample(), *[sample(status="invalid", reasons=("torn",))] * 3], False),
        (SPEC, [sample(status="invalid", reasons=(Verdict.SWAPPING,))] * 5, False),  # the machine's, and of the moment
        (SPEC, [sample(status="invalid", reasons=(Verdict.STREAM_CUT, "reset"))] * 3, True),
        (BASE, [sample(BASE)] * 5, False),
    ],
)
def test_hopeless(step: Step, samples: list[Sample], expected: bool) -> None:
    assert is_unrecoverable(step, samples) is expected


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        ((), False),
        (("torn",), True),
        ((Verdict.NO_TEXT,), False),
        ((Verdict.ALL_THOUGHTS,), False),
        ((Verdict.CONTEXT_FULL,), False),
        ((Verdict.CLOCK_JUMPED,), True),
        ((Verdict.HTTP_ERROR, "busy"), True),
        ((Verdict.TOO_SHORT,), False),
        ((Verdict.WRONG_LENGTH,), False),
        ((Verdict.PROMPT_CACHED, "torn"), False),
    ],
)
def test_only_what_may_turn_out_valid_is_tried_again(reasons: tuple[str, ...], expected: bool) -> None:
    again = sample(status="invalid" if reasons else "ok", reasons=tuple(map(str, reasons)))
    assert is_retryable(again) is expected


def test_verdict_of_good_samples() -> None:
    assert verdict_of(SPEC, [sample(), sample(status="invalid", reasons=("torn",))], N) == ("ok", (), None)


def test_verdict_of_samples_that_prove_too_much() -> None:
    status, against, error = verdict_of(SPEC, [sample(k_seen=8, decode_time_s=1.0)], N)
    assert status == "invalid"
    # The clocks are not judged then: one sample is enough for a wrong K, and too few for them.
    assert [finding.verdict for finding in against] == [Verdict.K_NOT_EFFECTIVE]
    assert error == "; ".join(finding.detail for finding in against)


def test_verdict_of_no_valid_sample_names_each_reason_once() -> None:
    torn = sample(status="invalid", reasons=("torn <b>", Verdict.TOO_SHORT))
    status, against, error = verdict_of(SPEC, [torn, torn], N)
    assert (status, error) == ("invalid", "no valid sample: torn <b>, too_short")
    assert [finding.verdict for finding in against] == [Verdict.TOO_SHORT]
