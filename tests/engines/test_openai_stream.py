"""Decoding of OpenAI-style streams: what real servers sent, what others document, and what goes wrong on the way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specdash.core.engine import DRAFTED, K_SEEN
from specdash.core.generation import DECODE_RATE, UNTIMED, Generation
from specdash.core.measure import Verdict, step_facts
from specdash.core.plan import Step
from specdash.core.transport import StreamedAnswer
from specdash.core.validity import RequestContext, reasons_against, sample_of
from specdash.engines.openai import stats as stats
from specdash.engines.openai.stream import SILENT, decode, decode_partial
from specdash.engines.sse import SseParser

DATA = Path(__file__).parents[1] / "data"
STEP = Step.of("T", method="baseline", category="prose")

Event = dict[str, Any]


def answer(events: list[bytes]) -> StreamedAnswer:
    """One event every 0.1 s, the first after 1 s."""
    return StreamedAnswer(200, 0.0, tuple((1 + 0.1 * i, data) for i, data in enumerate(events)), 99.0)


def recorded(name: str) -> list[bytes]:
    folder = DATA / ("recordings" if name.startswith("chat.stream") else "openai")
    return SseParser().feed((folder / name).read_bytes())


def decoded(name: str, k: int | None = None, speculates: bool = False) -> Generation:
    return decode(answer(recorded(name)), k=k, speculates=speculates)


def event(text: str = "", **more: Any) -> Event:
    return {"choices": [{"index": 0, "delta": {"content": text} if text else {}, "finish_reason": None}], **more}


def ending(tokens: int | None = 24, finish: str | None = "length", **more: Any) -> list[Event]:
    usage = {} if tokens is None else {"usage": {"prompt_tokens": 9, "completion_tokens": tokens}}
    return [{"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}, {"choices": [], **usage, **more}]


def stream(events: list[Event | bytes], done: bool = True, **options: Any) -> Generation:
    written = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in events]
    return decode(answer([*written, b"[DONE]"] if done else written), **options)


def plain(count: int = 24, **more: Any) -> list[Event | bytes]:
    return [event(f" w{i}", **more) for i in range(count)]


def reasons(generation: Generation) -> tuple[str, ...]:
    asked = RequestContext("p", 0, 24, 0.0, None, untold=("timings", "cached_tokens"))
    return reasons_against(STEP, generation, asked)


# --- what servers really sent


def test_vllm_tells_everything_where_it_was_started_so() -> None:
    got = decoded("vllm-0.32.0.chat.detailed.sse", k=4, speculates=True)
    assert (got.prompt_tokens, got.cached_tokens, got.generated_tokens, got.finish_reason) == (8, 0, 24, "limit")
    assert (got.draft_n, got.draft_n_accepted, got.steps, got.k_seen) == (24, 18, 6, 4)
    assert got.positions_accepted == (6, 6, 3, 3)
    assert (got.prompt_ms, got.predicted_ms) == (120.82390800014764, 150.99905199986097)
    assert (got.acceptance_source, got.problems, got.unknown) == ("server", (), {})
    assert [chunk.predicted_n for chunk in got.chunks] == [1, 6, 11, 14, 17, 22, 24]
    assert len(got.tokens) == 24
    assert got.text.startswith(" navi mofe zeru")
    assert got.first_token_t_s == pytest.approx(1.1)  # the second event: the first has a role only


def test_vllm_completions_have_the_same_counts() -> None:
    got = decoded("vllm-0.32.0.completions.detailed.sse", k=4, speculates=True)
    assert (got.draft_n, got.draft_n_accepted, got.steps, got.k_seen) == (28, 19, 7, 4)
    assert got.first_token_t_s == 1.0
    assert (len(got.tokens), got.problems) == (24, ())


def test_vllm_without_its_metrics_shows_its_steps() -> None:
    got = decoded("vllm-0.32.0.chat.default.sse", k=4, speculates=True)
    assert (got.draft_n, got.acceptance_source, got.cached_tokens) == (None, "inferred", None)
    assert (got.steps, got.draft_n_accepted) == (len(got.chunks) - 1, None)
    assert got.k_seen == 4  # one step made five tokens
    assert "inferred" in got.unknown[DRAFTED]
    assert decoded("vllm-0.32.0.chat.default.sse").steps is None  # a baseline: nothing is inferred


def test_vllm_margins_are_those_of_every_token() -> None:
    got = decoded("vllm-0.32.0.chat.logprobs.sse")
    assert len(got.margins) == len(got.tokens) > 0
    assert all(margin is not None and margin >= 0 for margin in got.margins)


def test_vllm_tells_what_came_from_its_cache() -> None:
    got = decoded("vllm-0.32.0.chat.cached.sse")
    assert (got.prompt_tokens, got.cached_tokens) == (321, 256)


def test_llama_server_ends_a_chat_with_its_timings() -> None:
    got = decoded("chat.stream.b11669.sse", k=8, speculates=True)
    assert (got.prompt_tokens, got.cached_tokens, got.generated_tokens, got.finish_reason) == (25, 22, 24, "limit")
    assert (got.prompt_ms, got.predicted_ms, got.draft_n, got.draft_n_accepted) == (19.922, 235.421, 37, 17)
    assert (got.acceptance_source, got.steps, got.k_seen) == ("server", None, None)
    assert K_SEEN in got.unknown
    assert not got.chunks[0].counted
    assert got.problems == ()


def test_mlx_tells_its_usage_and_nothing_else() -> None:
    got = decoded("chat.stream.mlx-lm-0.32.2.sse", speculates=True)
    assert (got.prompt_tokens, got.cached_tokens, got.generated_tokens) == (4, 3, 16)
    assert (got.draft_n, got.steps, got.predicted_ms, got.acceptance_source) == (None, None, None, None)
    assert (got.unknown, got.problems) == ({DRAFTED: SILENT}, ())


# --- what others document


def test_sglang_counts_its_drafts_in_an_extension() -> None:
    got = decoded("sglang.by-hand.chat.sse", k=3, speculates=True)
    assert (got.draft_n, got.draft_n_accepted, got.steps, got.k_seen) == (24, 15, 8, 3)
    assert got.positions_accepted == (6, 5, 4)
    assert (got.cached_tokens, got.acceptance_source, got.problems) == (0, "server", ())
    assert [chunk.predicted_n for chunk in got.chunks] == [1, 5, 7, 11, 12, 16, 19, 23, 24]


def test_lm_studio_counts_its_drafts_and_not_their_steps() -> None:
    got = decoded("lmstudio.by-hand.chat.sse", speculates=True)
    assert (got.draft_n, got.draft_n_accepted, got.steps, got.k_seen) == (19, 15, None, None)
    assert (got.predicted_ms, got.prompt_ms) == (None, None)  # where they begin and end is documented nowhere
    assert got.settings["stats.generation_time"] == 0.954
    assert got.settings["stats.draft_model"] == "deepseek-r1-distill-qwen-0.5b"
    assert "LM Studio" in got.unknown[K_SEEN]
    assert (got.finish_reason, got.problems) == ("limit", ())


def test_ollama_counts_tokens_only() -> None:
    got = decoded("ollama.by-hand.chat.sse")
    assert (got.prompt_tokens, got.generated_tokens, got.cached_tokens, got.draft_n) == (31, 24, None, None)
    assert (len(got.chunks), got.finish_reason, got.problems) == (24, "limit", ())


def test_thoughts_are_tokens_too_and_an_end_token_has_no_text() -> None:
    got = decoded("plain.by-hand.chat.sse")
    assert got.text.startswith(" the water")
    assert (len(got.chunks), got.generated_tokens, got.finish_reason, got.problems) == (24, 25, "eos", ())
    assert got.first_token_t_s == pytest.approx(1.1)


# --- what goes wrong


def test_an_answer_without_usage_is_never_counted() -> None:
    got = stream([*plain(), *ending(None)])
    assert (got.generated_tokens, got.prompt_tokens) == (None, None)
    assert got.problems == ("the answer has no usage, so its tokens are not counted",)
    assert reasons(got) == got.problems


@pytest.mark.parametrize(
    ("events", "done", "problem"),
    [
        ([*plain(), *ending()], False, None),  # some never send [DONE], and nothing is missing
        (plain(), False, "ended early"),
        ([*plain(), ending()[0]], False, "ended early"),
        ([*plain(), *ending(), b'{"choices":[{"del'], True, "malformed"),
        ([*plain(), b"<html>", *ending()], True, "malformed"),
        ([*plain(), b'{"choices":[{"delta":{"content":7}}]}', *ending()], True, "malformed"),
        ([*plain(), b'{"usage":{"completion_tokens":NaN}}', *ending()], True, "malformed"),
        ([*plain(), {"error": {"message": "CUDA error"}}, *ending()], True, "reported an error: CUDA error"),
        ([*plain(), {"error": "gone"}], True, "reported an error: gone"),
        ([*plain(), {"object": "error", "message": "aborted"}, *ending()], True, "reported an error: aborted"),
        ([*plain(), {"error": {"code": 1}}, *ending()], True, "of unknown form"),
        ([*plain(), *ending(finish="abort")], True, "finish_reason 'abort'"),
        ([*plain(40), *ending(24)], True, "counts 24 tokens, and 40 events"),
        ([event("x" * 200), *ending()], True, "24 tokens came in 1 pieces"),
        ([event("x" * 200), event("y"), *ending()], True, "24 tokens came in 2 pieces"),
        ([*plain(), b"[DONE]", *plain(1), *ending()], False, "after [DONE]"),
    ],
)
def test_a_fault_is_a_problem_of_the_answer(events: list[Event | bytes], done: bool, problem: str | None) -> None:
    got = stream(events, done)
    assert (problem is None) == (got.problems == ())
    assert problem is None or any(problem in each for each in got.problems)


def test_many_faults_are_cut_short() -> None:
    assert stream([*[b"{"] * 20, *plain(), *ending()]).problems[-1] == "and 15 more problems"


def test_secrets_are_taken_out_before_a_quotation_is_cut() -> None:
    secret = "sk-0123456789abcdef"
    got = stream([*plain(), *ending(finish="x" * 40 + secret)], hidden=lambda text: text.replace(secret, "..."))
    assert "sk-" not in "".join(got.problems)


def test_an_answer_without_an_end_has_no_finish_reason() -> None:
    got = stream([*plain(), *ending(finish=None)])
    assert (got.finish_reason, reasons(got)) == (None, ("no_finish_reason",))


def test_tokens_of_the_first_event_took_none_of_the_time_where_events_count_them() -> None:
    counts = [8, 12, 16, 20, 24]
    got = stream([*(event("x", usage={"completion_tokens": n}) for n in counts), *ending()], speculates=True)
    assert (got.untimed_tokens, got.problems) == (8, ())
    assert client_rate(got) == pytest.approx(16 / 0.4), "4 events later, 0.1 s each"
    assert not {UNTIMED, DECODE_RATE} & got.unknown.keys()


def client_rate(generation: Generation) -> float | None:
    return sample_of(
        STEP, generation, RequestContext("p", 0, 24, 0.0, None, untold=("timings", "cached_tokens"))
    ).decode_tok_s


@pytest.mark.parametrize("per_event", [1, 2, 3])
@pytest.mark.parametrize("counts", [True, False])
def test_several_tokens_an_event_are_the_same_rate_as_one(per_event: int, counts: bool) -> None:
    """40 tok/s, whether usage comes with each event or at the end; with 30 tokens, two an event, n - 1 says 41.4."""
    tokens, per_s = 30, 40.0
    made = [
        event(" wo" * per_event, **({"usage": {"prompt_tokens": 9, "completion_tokens": n}} if counts else {}))
        for n in range(per_event, tokens + 1, per_event)
    ]
    sent = [*made, *ending(tokens)]
    timed = tuple((1 + i * per_event / per_s, json.dumps(each).encode()) for i, each in enumerate(sent))
    got = decode(StreamedAnswer(200, 0.0, (*timed, (9.0, b"[DONE]")), 9.0))
    assert got.problems == ()
    assert client_rate(got) == pytest.approx(per_s)
    assert (UNTIMED in got.unknown) == (per_event > 1 and not counts), "an estimate is said to be one"


def test_how_far_an_estimated_rate_may_be_off_is_told_and_a_rate_that_may_be_far_off_is_none() -> None:
    at = {events: stream([*(event(" w" * 4) for _ in range(events)), *ending(4 * events)]) for events in (5, 20, 200)}
    assert "how many came with the first of 20 is estimated: the rate may be off by 3.9%" in at[20].unknown[UNTIMED]
    assert "off by more than 10%" in at[5].unknown[DECODE_RATE]
    assert client_rate(at[5]) is None
    assert not {UNTIMED, DECODE_RATE} & at[200].unknown.keys()
    assert all(got.problems == () for got in at.values())


def test_a_server_that_drafts_sends_the_first_token_alone_where_its_text_is_short() -> None:
    sizes = [1, *[3] * 19]
    got = stream([*(event(" wor" * n) for n in sizes), *ending(sum(sizes))], speculates=True)
    assert got.untimed_tokens == 1
    alike = stream([*(event(" wor" * 3) for _ in range(20)), *ending(60)], speculates=True)
    assert alike.untimed_tokens == 3


def test_an_end_token_without_an_event_took_none_of_the_time_that_was_seen() -> None:
    got = stream([*plain(24), *ending(25, finish="stop")])
    assert (got.untimed_tokens, got.unknown.keys() & {UNTIMED}) == (2, set())
    assert client_rate(got) == pytest.approx(23 / 2.3)


# --- answers that are none


def thoughts(count: int = 24, field: str = "reasoning_content") -> list[Event | bytes]:
    return [{"choices": [{"index": 0, "delta": {field: f" w{i}"}}]} for i in range(count)]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "thinking"])
def test_thoughts_alone_are_counted_and_said_to_be_thoughts(field: str) -> None:
    got = stream([*thoughts(field=field), *ending()])
    assert (got.thoughts, len(got.chunks), got.problems, reasons(got)) == (True, 24, (), ())
    assert stream([*thoughts(12, field), *plain(12), *ending()]).thoughts is False
    assert stream([*plain(), *ending()]).thoughts is False


def test_thoughts_that_a_server_counts_and_does_not_send_are_no_answer() -> None:
    hidden = {"prompt_tokens": 9, "completion_tokens": 24, "completion_tokens_details": {"reasoning_tokens": 24}}
    got = stream([ending()[0], {"choices": [], "usage": hidden}])
    assert (reasons(got), got.problems) == ((Verdict.ALL_THOUGHTS,), ())


@pytest.mark.parametrize("usage", [None, 0, 24])
def test_no_text_is_named_so_whatever_is_counted(usage: int | None) -> None:
    """No advice to try another build: nothing was miscounted."""
    assert reasons(stream([event(), *ending(usage, finish="stop")])) == (Verdict.NO_TEXT,)
    assert reasons(stream([event(), *ending(usage, finish=None)])) == (Verdict.NO_FINISH_REASON, Verdict.NO_TEXT)


@pytest.mark.parametrize("tokens", [0, 3, 20])
def test_a_limit_before_the_length_that_was_asked_for_is_a_full_context(tokens: int) -> None:
    assert reasons(stream([*plain(tokens), *ending(tokens)])) == (Verdict.CONTEXT_FULL,)


def test_steps_that_came_together_tell_nothing() -> None:
    counts = [1, 4, 12, 16, 20, 24]
    events: list[Event | bytes] = [event("x", usage={"completion_tokens": n}) for n in counts]
    got = stream([*events, *ending()], k=4, speculates=True)
    assert (got.steps, got.k_seen, got.draft_n_accepted) == (None, None, None)
    assert "came together" in got.unknown[K_SEEN]
    assert stream([*events, *ending()], k=8, speculates=True).steps == 5


def test_token_counts_that_fall_are_a_problem() -> None:
    got = stream([*(event("x", usage={"completion_tokens": n}) for n in (1, 5, 3, 9)), *ending(9)])
    assert got.problems == ("the token count fell from 5 to 3",)


def test_text_that_was_held_back_is_no_token_of_its_own() -> None:
    counts = [1, 2, 2, 3, *range(4, 25)]
    got = stream([*(event("x", usage={"completion_tokens": n}) for n in counts), *ending()])
    assert [chunk.predicted_n for chunk in got.chunks] == list(range(1, 25))


def test_llama_servers_timings_in_every_event_tell_the_steps() -> None:
    def timings(n: int, ms: float, drafted: int, accepted: int) -> Event:
        return {"predicted_n": n, "predicted_ms": ms, "draft_n": drafted, "draft_n_accepted": accepted, "prompt_ms": 1}

    told = [timings(1, 0.0, 0, 0), *(timings(n, 10.0, 4, 4) for n in range(2, 7)), timings(7, 20.0, 8, 4)]
    got = stream([*(event("x", timings=each) for each in told), *ending(7)], k=4, speculates=True)
    facts = step_facts(got.chunks)
    assert (facts.k_seen, facts.steps) == (4, 2)
    assert (got.draft_n, got.draft_n_accepted, got.unknown) == (8, 4, {})


@pytest.mark.parametrize("name", ["vllm-0.32.0.chat.detailed.sse", "sglang.by-hand.chat.sse", "plain.by-hand.chat.sse"])
def test_what_is_shown_meanwhile_is_what_was_sent_so_far(name: str) -> None:
    received = answer(recorded(name)).events
    whole = decoded(name)
    assert "".join(piece.text for piece in decode_partial(received)) == whole.text
    assert [piece.chunk.predicted_n for piece in decode_partial(received)] == [
        chunk.predicted_n for chunk in whole.chunks
    ]
    assert decode_partial([(1.0, b"{"), (2.0, b"[DONE]")]) == ()


# --- statistics


VLLM = {"num_spec_steps": 6, "num_draft_tokens": 24, "num_accepted_draft_tokens": 18, "num_spec_tokens": 4}


def vllm(**changed: Any) -> stats.AnswerStats:
    return stats.vllm({"speculative_decoding": {**VLLM, **changed}})


def test_k_is_proven_by_lengths_or_by_a_mean_that_leaves_no_other() -> None:
    assert vllm().k_seen == 4
    assert vllm(per_step_drafted=[4, 4, 4, 4, 6, 2]).k_seen == 6
    assert vllm(num_spec_tokens=8).k_seen is None
    assert K_SEEN in vllm(num_spec_tokens=8).unknown
    assert vllm(num_spec_tokens=None).k_seen is None
    assert vllm(num_draft_tokens=0, num_accepted_draft_tokens=0).k_seen is None
    assert vllm(acceptance_histogram={"2": 3, "4": 3}).positions_accepted == (6, 6, 3, 3)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"num_accepted_draft_tokens": 25}, "contradict"),
        ({"acceptance_histogram": [0, 0, 3, 0, 4]}, "contradict"),
        ({"num_draft_tokens": None}, "no num_draft_tokens"),
        ({"num_draft_tokens": "24"}, "no num_draft_tokens"),
        ({"num_spec_steps": 1.5}, "no num_spec_steps"),
        ({"num_spec_steps": True}, "no num_spec_steps"),
    ],
)
def test_statistics_of_another_form_are_unknown_and_never_a_number(changed: Mapping[str, Any], reason: str) -> None:
    told = vllm(**changed)
    assert (told.draft_n, told.draft_n_accepted, told.steps) == (None, None, None)
    assert reason in told.unknown[DRAFTED]


def test_renamed_statistics_are_a_gap_and_no_fault() -> None:
    renamed = {"speculative_decoding": {"steps": 6, "drafted": 24, "accepted": 18}}
    got = stream([*plain(), *ending(metrics=renamed)], speculates=True)
    assert (got.draft_n, got.problems, reasons(got)) == (None, (), ())
    assert "num_spec_steps" in got.unknown[DRAFTED]
    assert stream([*plain(), *ending(metrics="none", stats=[], sglext=7, timings=1)]).problems == ()


def test_sglang_has_had_three_names_for_each_count() -> None:
    for drafted, accepted in (
        ("spec_num_proposed_drafts", "spec_num_correct_drafts"),
        ("spec_proposed_drafts", "spec_accepted_drafts"),
        ("spec_draft_token_num", "spec_accept_token_num"),
    ):
        told = stats.sglang(None, {"spec_verify_ct": 8, drafted: 24, accepted: 15, "cached_tokens": 2})
        assert (told.draft_n, told.draft_n_accepted, told.steps, told.cached_tokens) == (24, 15, 8, 2)
    assert stats.sglang(None, {"spec_accept_rate": 0.6}).unknown[DRAFTED]
    assert stats.sglang(None, {"cached_tokens": 2}).unknown == {}
    assert stats.sglang({"cached_tokens_details": {"device": 3, "host": 4}}, None).cached_tokens == 7
    assert stats.sglang({"cached_tokens_details": {"device": "3"}}, None).cached_tokens is None
    adaptive = stats.sglang(None, {"spec_verify_ct": 8, "spec_num_proposed_drafts": 25, "spec_num_correct_drafts": 15})
    assert (adaptive.k_seen, K_SEEN in adaptive.unknown) == (None, True)


def test_lm_studios_counts_have_to_add_up() -> None:
    counts = {"total": 20, "accepted": 15, "rejected": 4, "ignored": 1}
    named = {f"{name}_draft_tokens_count": value for name, value in counts.items()}
    assert stats.lm_studio(named).draft_n == 19
    assert stats.lm_studio({**named, "total_draft_tokens_count": 30}).unknown[DRAFTED] == stats.CONTRADICTS
    without = {name: value for name, value in named.items() if not name.startswith("rejected")}
    assert "no rejected" in stats.lm_studio(without).unknown[DRAFTED].replace("no accepted or ", "")
    assert stats.lm_studio({"tokens_per_second": 50.0}) == stats.AnswerStats(shown={"stats.tokens_per_second": 50.0})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
OWN = st.sampled_from(["timings", "metrics", "stats", "sglext", "usage", "choices", "error", "model", "object"])


@given(st.lists(st.dictionaries(OWN, JSON, max_size=4) | JSON | st.binary(max_size=20), max_size=6))
def test_nothing_that_a_server_sends_raises(events: list[Any]) -> None:
    written = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in events]
    decode(answer(written), k=4, speculates=True)
    decode_partial(answer(written).events)


@given(st.dictionaries(st.sampled_from([*VLLM, "acceptance_histogram", "per_step_drafted"]), JSON))
def test_no_statistics_make_a_count_that_cannot_be(spec: dict[str, Any]) -> None:
    told = stats.vllm({"speculative_decoding": spec})
    assert told.draft_n is None or 0 <= (told.draft_n_accepted or 0) <= told.draft_n
