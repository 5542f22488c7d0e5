"""What counts for methods without a draft model, and on servers that do not tell everything."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from specdash.core.axes import drafter_label
from specdash.core.engine import ACCEPTED, CACHED, DRAFTED, EXACT_LENGTH, K_SEEN, TIMINGS
from specdash.core.generation import DECODE_RATE, Generation
from specdash.core.measure import INFERRED, Chunk, Sample, Verdict, verify_steps
from specdash.core.methods import (
    BASELINE,
    METHODS,
    NGRAM_METHODS,
    is_ceiling,
    is_draftless,
    may_draft_nothing,
    method_named,
    needs_draft_model,
)
from specdash.core.plan import Step
from specdash.core.status import SampleStatus
from specdash.core.validity import RequestContext, is_retryable, is_unrecoverable, sample_of, step_findings, verdict_of

N = 20
NGRAM = Step.of("T", method="ngram-simple", k=8, category="repetitive", ngram_n=4)
MTP = NGRAM.with_values(method="mtp", ngram_n=None)
HEAD = MTP.with_values(method="eagle3", draft="H")
DRAFT = MTP.with_values(method="draft", draft="D")
BASE = NGRAM.baseline()
ASKED = RequestContext("p1", 0, N, 1_000.0, "alias")
SILENT = "its answers carry no counters"


def sample(k_seen: int | None = None, drafted: int | None = None, **changes: Any) -> Sample:
    """A valid sample whose longest draft was `k_seen`, of `drafted` tokens in all."""
    good = Sample.broken(prompt_id="p", block=0, started_s=0.0, reasons=())
    drafted = k_seen if drafted is None else drafted
    return replace(
        good, status=SampleStatus.OK, k_seen=k_seen, draft_tokens=drafted, accepted_tokens=drafted and 1, **changes
    )


def verdicts(step: Step, *samples: Sample, untold: tuple[str, ...] = ()) -> list[Verdict]:
    return [finding.verdict for finding in step_findings(step, samples, 256, untold)]


# --- methods


@pytest.mark.parametrize("method", [*NGRAM_METHODS, "ngram", "lookup"])
def test_k_is_a_ceiling_where_text_is_looked_up_and_nothing_drafted_is_a_result(method: str) -> None:
    step = NGRAM.with_values(method=method)
    for seen in (1, 3, 8):
        assert verdicts(step, sample(seen)) == []
    assert verdicts(step, sample(), sample()) == []
    assert not is_unrecoverable(step, [sample()] * 3)
    status, found, error = verdict_of(step, [sample()] * 3, 256)
    assert (status, error) == ("ok", None)
    assert [each.verdict for each in found] == [Verdict.DRAFTED_NOTHING], "told, since no such arm can be recommended"
    assert verdict_of(step, [sample(), sample(8)], 256) == ("ok", (), None)
    assert verdict_of(step, [sample()], 256, (DRAFTED,))[1][0].verdict is Verdict.K_UNPROVEN, "not told is not nothing"


@pytest.mark.parametrize(("seen", "status", "verdict"), [
    ((8, 3), "ok", None), ((3, 5), "ok", Verdict.K_UNPROVEN), ((9, 8), "invalid", Verdict.K_NOT_EFFECTIVE),
])  # fmt: skip
def test_a_ceiling_is_proven_by_a_draft_of_exactly_k_and_refuted_by_a_longer_one(
    seen: tuple[int, int], status: str, verdict: Verdict | None
) -> None:
    """Shorter drafts alone say nothing: every larger K would draft the same."""
    found_status, found, _ = verdict_of(NGRAM, [sample(each) for each in seen], 256)
    assert (found_status, [each.verdict for each in found]) == (status, [verdict] if verdict else [])
    if verdict is Verdict.K_UNPROVEN:
        assert "no draft was longer than 5" in found[0].detail


@pytest.mark.parametrize("step", [DRAFT, HEAD, MTP])
def test_drafts_in_some_answers_alone_are_told_with_their_number(step: Step) -> None:
    """A draft model proposes something for every token, so an answer without drafts is a fault, and no mean of both."""
    status, found, error = verdict_of(step, [sample(8), sample(), sample(8), sample(drafted=0), sample()], 256)
    assert (status, error) == ("ok", None)
    assert [(each.verdict, each.detail) for each in found] == [(Verdict.DRAFTED_IN_SOME, "drafted in 2 of 5 answers")]
    assert verdict_of(step, [sample(8)] * 5, 256) == ("ok", (), None)


def test_drafts_in_some_answers_are_the_nature_of_methods_that_look_up_and_untold_ones_are_not_counted() -> None:
    assert verdict_of(NGRAM, [sample(8), sample()], 256) == ("ok", (), None)
    untold = sample(unknown={DRAFTED: SILENT})
    assert verdict_of(DRAFT, [sample(8), untold], 256) == ("ok", (), None)
    assert verdict_of(DRAFT, [sample(8), sample(), untold], 256)[1][0].detail == "drafted in 1 of 2 answers"
    assert verdict_of(BASE, [sample(), sample()], 256) == ("ok", (), None)


def test_more_than_k_is_another_k_for_every_method() -> None:
    for step in (NGRAM, MTP, HEAD, DRAFT, NGRAM.with_values(method="lookup")):
        assert verdicts(step, sample(9)) == [Verdict.K_NOT_EFFECTIVE]
        assert is_unrecoverable(step, [sample(9)])


@pytest.mark.parametrize(
    ("step", "words"),
    [(MTP, "the server has mtp switched on"), (HEAD, "the draft model loaded"), (DRAFT, "the draft model loaded")],
)
def test_layers_and_heads_that_draft_nothing_are_no_speculation(step: Step, words: str) -> None:
    (found,) = step_findings(step, [sample(drafted=0), sample()], 256)
    assert (found.verdict, words in found.detail) == (Verdict.SPECULATION_INACTIVE, True)
    assert is_unrecoverable(step, [sample(), sample()])
    assert verdicts(step, sample(7)) == [Verdict.K_NOT_EFFECTIVE]
    assert verdicts(step, sample(8)) == []


def test_acceptance_of_nothing_is_null() -> None:
    assert sample().draft_tokens is None
    made = sample_of(NGRAM, generation(draft_n=None, draft_n_accepted=None), ASKED)
    assert (made.status, made.draft_tokens, made.accepted_tokens, made.acceptance_source) == ("ok", None, None, None)


def test_names() -> None:
    words = ("draft-simple", "draft-mtp", "draft-eagle3", "ngram-x", "draft-next", "?")
    assert [method_named(word) for word in words] == ["draft", "mtp", "eagle3", "ngram-x", "draft-next", None]
    assert {method for method in METHODS if needs_draft_model(method)} == {"draft", "eagle3", "dflash", "dspark"}
    assert not is_draftless(BASELINE)
    assert is_draftless("mtp")
    assert not is_ceiling("mtp")
    assert not may_draft_nothing("eagle3")


def test_what_drafts_has_one_name() -> None:
    names = [step.drafter for step in (BASE, DRAFT, HEAD, MTP, NGRAM, NGRAM.with_values(ngram_n=None))]
    assert names == [None, "D", "H (eagle3)", "mtp", "ngram-simple n=4", "ngram-simple"]
    assert names == [step.pair.drafter for step in (BASE, DRAFT, HEAD, MTP, NGRAM, NGRAM.with_values(ngram_n=None))]
    rows: list[dict[str, Any]] = [{"draft": "D", "method": None}, {}, {"method": ""}]
    assert [drafter_label(row) for row in rows] == ["D", None, None]
    assert NGRAM.id == "T | ngram-simple n=4 K=8 | repetitive"


# --- servers that do not tell everything


def generation(**changes: Any) -> Generation:
    """A healthy answer of `N` tokens whose events count nothing; of a server with no clock of its own."""
    whole = Generation(
        sent_t_s=10.0,
        first_token_t_s=10.5,
        last_token_t_s=12.4,
        ended_t_s=12.5,
        chunks=tuple(Chunk(10.5 + 0.1 * i, i + 1, None, None, None, (), counted=False) for i in range(N // 2)),
        finish_reason="limit",
        prompt_tokens=100,
        cached_tokens=0,
        generated_tokens=N,
        prompt_ms=400.0,
        predicted_ms=1900.0,
        model="alias",
    )
    return replace(whole, **changes)


def test_what_an_engine_never_tells_is_null_and_no_reason() -> None:
    dumb = generation(prompt_ms=None, predicted_ms=None, cached_tokens=None)
    assert sample_of(BASE, dumb, ASKED).reasons == (Verdict.NO_TIMINGS,)
    assert sample_of(BASE, dumb, replace(ASKED, untold=(TIMINGS,))).reasons == (Verdict.NO_TIMINGS,)
    made = sample_of(BASE, dumb, replace(ASKED, untold=(TIMINGS, CACHED)))
    assert (made.status, made.clock, made.cached_tokens, made.prefill_tok_s) == ("ok", "client", None, None)
    assert made.decode_tok_s == pytest.approx((N - 1) / 1.9)


def test_events_that_count_no_tokens_are_nothing_to_measure_by() -> None:
    seen = generation()
    assert verify_steps(seen.chunks) == ()
    assert sample_of(BASE, seen, ASKED).reasons == ()
    counting = generation(chunks=tuple(replace(chunk, counted=True) for chunk in seen.chunks))
    assert sample_of(BASE, counting, ASKED).reasons == (Verdict.TOKEN_COUNT_MISMATCH,)


@pytest.mark.parametrize(
    ("generated", "untold", "reasons"),
    [
        (N, (), ()),
        (N + 3, (), (Verdict.WRONG_LENGTH,)),
        (N + 3, (EXACT_LENGTH,), ()),
        (N - 1, (EXACT_LENGTH,), (Verdict.CONTEXT_FULL,)),
    ],
)
def test_answers_may_be_longer_only_where_that_is_known(
    generated: int, untold: tuple[str, ...], reasons: tuple[str, ...]
) -> None:
    seen = generation(generated_tokens=generated)
    assert sample_of(DRAFT, seen, replace(ASKED, untold=untold)).reasons == reasons


@pytest.mark.parametrize(
    ("untold", "unknown", "status", "expected"),
    [
        ((DRAFTED, ACCEPTED, K_SEEN), {}, "ok", [Verdict.K_UNPROVEN]),
        ((), {DRAFTED: SILENT}, "ok", [Verdict.K_UNPROVEN]),
        ((), {}, "invalid", [Verdict.SPECULATION_INACTIVE]),
    ],
)
@pytest.mark.parametrize("step", [DRAFT, MTP, HEAD])
def test_a_server_that_tells_nothing_of_drafts_proves_no_k_and_is_not_blamed(
    step: Step, untold: tuple[str, ...], unknown: dict[str, str], status: str, expected: list[Verdict]
) -> None:
    samples = [sample(unknown=unknown)] * 2
    found = verdict_of(step, samples, 256, untold)
    assert (found[0], [finding.verdict for finding in found[1]]) == (status, expected)
    assert is_unrecoverable(step, samples, untold) is (status == "invalid")
    if unknown:
        assert SILENT in found[1][0].detail


def test_counts_without_lengths_prove_speculation_and_no_k() -> None:
    found = verdict_of(DRAFT, [sample(drafted=12)], 256, (K_SEEN,))
    assert (found[0], [finding.verdict for finding in found[1]]) == ("ok", [Verdict.K_UNPROVEN])
    silent = verdict_of(DRAFT, [sample(drafted=0)], 256, (K_SEEN,))
    assert [finding.verdict for finding in silent[1]] == [Verdict.SPECULATION_INACTIVE]
    assert verdict_of(NGRAM, [sample(drafted=0)], 256, (K_SEEN,))[0] == "ok"


def test_one_length_that_was_seen_is_a_proof_whatever_the_engine_usually_tells() -> None:
    assert verdict_of(DRAFT, [sample(8)], 256, (K_SEEN,)) == ("ok", (), None)
    assert verdicts(DRAFT, sample(9), untold=(K_SEEN,)) == [Verdict.K_NOT_EFFECTIVE]
    assert verdicts(DRAFT, sample(7), untold=(K_SEEN,)) == [Verdict.K_NOT_EFFECTIVE]


@pytest.mark.parametrize("untold", [(), (DRAFTED, ACCEPTED, K_SEEN)])
@pytest.mark.parametrize("counted", [8, None])
def test_one_inferred_sample_that_shows_k_proves_it_for_all(untold: tuple[str, ...], counted: int | None) -> None:
    short = sample(steps=9, acceptance_source=INFERRED, unknown={DRAFTED: SILENT, K_SEEN: SILENT})
    proof = replace(sample(8, acceptance_source=INFERRED), draft_tokens=counted)
    unproven = verdict_of(DRAFT, [short, short], 256, untold)
    assert (unproven[0], [finding.verdict for finding in unproven[1]]) == ("ok", [Verdict.K_UNPROVEN])
    assert verdict_of(DRAFT, [short, proof], 256, untold) == ("ok", (), None)
    assert not is_unrecoverable(DRAFT, [proof, proof], untold)
    longer = replace(proof, k_seen=9)
    assert verdicts(DRAFT, short, longer, untold=untold) == [Verdict.K_NOT_EFFECTIVE]


def test_lengths_are_unknown_where_each_sample_lacks_one_for_a_reason_of_its_own() -> None:
    silent, counted = sample(unknown={DRAFTED: SILENT}), sample(drafted=12, unknown={K_SEEN: SILENT})
    found = verdict_of(DRAFT, [silent, counted], 256)
    assert (found[0], [finding.verdict for finding in found[1]]) == ("ok", [Verdict.K_UNPROVEN])


def test_tokens_that_arrived_first_took_none_of_the_time_by_our_clock() -> None:
    untold = replace(ASKED, untold=(TIMINGS,))
    dumb = generation(prompt_ms=None, predicted_ms=None, untimed_tokens=5)
    made = sample_of(DRAFT, dumb, untold)
    assert made.status == "ok"
    assert made.decode_tok_s == pytest.approx((N - 5) / 1.9)
    assert made.client_decode_tok_s == made.decode_tok_s
    timed = sample_of(DRAFT, generation(untimed_tokens=5), ASKED)
    assert timed.decode_tok_s == pytest.approx((N - 1) / 1.9)
    unclear = sample_of(DRAFT, replace(dumb, untimed_tokens=1, unknown={DECODE_RATE: "not clear"}), untold)
    assert (unclear.status, unclear.decode_tok_s, unclear.client_decode_tok_s) == ("ok", None, None)
    assert unclear.decode_time_s == pytest.approx(1.9)
    assert unclear.unknown[DECODE_RATE] == "not clear"


def test_totals_of_an_answer_stand_in_for_events_that_count_nothing() -> None:
    told = generation(draft_n=24, draft_n_accepted=12, steps=8, k_seen=3, positions_accepted=(6, 4, 2))
    made = sample_of(DRAFT.with_values(k=3), told, ASKED)
    assert (made.steps, made.k_seen, made.positions_drafted, made.positions_accepted) == (8, 3, (8, 8, 8), (6, 4, 2))
    assert made.acceptance_source == "server"
    assert sample_of(DRAFT, replace(told, acceptance_source="metrics"), ASKED).acceptance_source == "metrics"


def test_a_baseline_that_drafted_is_none_whatever_drafts() -> None:
    made = sample_of(BASE, generation(draft_n=4, draft_n_accepted=1), ASKED)
    assert made.reasons == (Verdict.BASELINE_DRAFTED,)
    assert is_unrecoverable(BASE, [made])


# --- servers that remember


def test_an_answer_from_memory_is_no_sample_and_is_not_asked_for_again() -> None:
    made = sample_of(NGRAM.with_values(method="ngram-mod"), generation(), replace(ASKED, is_recalled=True))
    assert (made.status, made.reasons) == ("invalid", (Verdict.RECALLED,))
    assert not is_retryable(made)
    first = replace(made, status=SampleStatus.OK, reasons=(), draft_tokens=8, k_seen=8)
    status, gaps, _ = verdict_of(NGRAM.with_values(method="ngram-mod"), [first, replace(made, block=1)], N)
    assert (status, [(gap.verdict, gap.detail) for gap in gaps]) == (
        "ok",
        [(Verdict.RECALLED, "1 of 2 samples are missing")],
    )
