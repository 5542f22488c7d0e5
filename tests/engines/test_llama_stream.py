"""What is made of llama-server's streams: recorded ones as they were, and every way to spoil them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specdash.core import events as ev
from specdash.core.generation import Generation, PromptRead
from specdash.core.plan import Step
from specdash.core.transport import StreamedAnswer
from specdash.core.validity import RequestContext, sample_of
from specdash.engines.llama_cpp.stream import decode, decode_partial
from specdash.engines.sse import SseParser
from specdash.store.journal import line_of, parse_line

RECORDINGS = Path(__file__).parents[1] / "data" / "recordings"
OLD = [f"completion.stream.xllamacpp-0.2.14.k{k}.sse" for k in (1, 4, 8)]
CURRENT = "completion.stream.b11669.sse"


def recorded(name: str) -> list[bytes]:
    return SseParser().feed((RECORDINGS / name).read_bytes())


def decoded(events: list[bytes]) -> Generation:
    """The generation of these events, arriving one each second from 101 on."""
    timed = tuple((101.0 + number, data) for number, data in enumerate(events))
    return decode(StreamedAnswer(200, 100.0, timed, 200.0))


def event(predicted_n: int, content: str = "x", tokens: list[int] | None = None, **more: Any) -> bytes:
    timings = {"cache_n": 0, "prompt_n": 3, "prompt_ms": 5.0, "predicted_n": predicted_n, "predicted_ms": 10.0}
    body = {
        "content": content,
        "tokens": [7] if tokens is None else tokens,
        "stop": False,
        "tokens_predicted": predicted_n,
        "tokens_evaluated": 3,
        "timings": timings,
    }
    return json.dumps(body | more).encode()


def final(predicted_n: int, **more: Any) -> bytes:
    return event(predicted_n, "", [], **({"stop": True, "stop_type": "limit", "model": "m"} | more))


def test_recording_of_the_current_build() -> None:
    got = decoded(recorded(CURRENT))
    assert got.problems == ()
    assert [chunk.predicted_n for chunk in got.chunks] == list(range(1, 25))
    assert got.first_token_t_s == 103.0, "the two events of prompt progress are not tokens"
    assert got.last_token_t_s == 126.0, "the final event brings no token of its own"
    assert (got.sent_t_s, got.ended_t_s) == (100.0, 200.0)
    assert got.text.startswith(" phatorul estnoren lonocra")
    assert got.text.endswith(" noar saul")
    assert (got.generated_tokens, got.prompt_tokens, got.cached_tokens) == (24, 22, 0)
    assert (got.prompt_ms, got.predicted_ms) == (78.251, 208.507)
    assert (got.draft_n, got.draft_n_accepted) == (31, 19)
    assert (got.finish_reason, got.model) == ("limit", "t0.05.gguf")
    assert got.settings == {"speculative.types": "none,draft-simple"}
    first, second = got.chunks[:2]
    assert (first.predicted_ms, first.draft_n, first.draft_n_accepted, first.tokens) == (0.001, None, None, (788,))
    assert (second.predicted_ms, second.draft_n, second.draft_n_accepted, second.tokens) == (50.934, 8, 4, (485,))


@pytest.mark.parametrize(("name", "events"), list(zip(OLD, [48, 47, 47], strict=True)))
def test_recordings_of_an_old_build_count_steps_and_not_events(name: str, events: int) -> None:
    """The events of one step all carry the count at its end, and the step that meets the limit is not sent whole."""
    got = decoded(recorded(name))
    assert got.problems == ()
    assert got.generated_tokens == got.chunks[-1].predicted_n == 48
    assert len(got.chunks) == sum(len(chunk.tokens) for chunk in got.chunks) == events
    assert (got.first_token_t_s, got.last_token_t_s) == (101.0, 100.0 + events)
    assert len({chunk.predicted_n for chunk in got.chunks}) < 48
    assert got.settings["speculative.n_max"] == int(name[-5])
    assert got.draft_n is not None
    assert got.draft_n == got.chunks[-1].draft_n


def test_old_and_current_build_say_the_same_words() -> None:
    longest, *others = (decoded(recorded(name)) for name in [*OLD, CURRENT])
    for other in others:
        assert longest.text.startswith(other.text)
        assert longest.text_hash != other.text_hash


def test_text_that_was_held_back_comes_as_one_chunk_of_several_tokens() -> None:
    got = decoded([event(1), event(4, "é!"), event(5), final(5)])
    assert [chunk.predicted_n for chunk in got.chunks] == [1, 4, 5]
    assert got.problems == ()


def test_event_without_text_that_counts_a_token_is_a_chunk() -> None:
    got = decoded([event(0, ""), event(1, "", []), event(2), final(2)])
    assert [chunk.t_s for chunk in got.chunks] == [102.0, 103.0]
    assert got.first_token_t_s == 102.0


@pytest.mark.parametrize(("last", "counts"), [(2, [1, 2]), (3, [1, 2, 3]), (6, [1, 2, 6]), (7, [1, 2])])
def test_final_event_accounts_for_what_was_held_back_and_for_no_gap(last: int, counts: list[int]) -> None:
    got = decoded([event(1), event(2), final(last)])
    assert [chunk.predicted_n for chunk in got.chunks] == counts
    assert got.generated_tokens == last


@pytest.mark.parametrize(
    ("stop_type", "reason"), [("limit", "limit"), ("eos", "eos"), ("word", "word"), ("none", None), ("?", None)]
)
def test_finish_reason(stop_type: str, reason: str | None) -> None:
    assert decoded([event(1), final(1, stop_type=stop_type)]).finish_reason == reason


def test_what_the_server_does_not_tell_is_unknown_and_not_zero() -> None:
    got = decoded([event(1, timings=None), final(1, timings=None, tokens_evaluated=None, model=None)])
    assert got.problems == ()
    assert got.generated_tokens == 1
    unknown = (got.prompt_ms, got.predicted_ms, got.cached_tokens, got.draft_n, got.draft_n_accepted)
    assert unknown == (None,) * 5
    assert (got.prompt_tokens, got.model, got.chunks[0].predicted_ms) == (None, None, None)


def test_end_without_a_final_event_is_a_problem() -> None:
    got = decoded(recorded(CURRENT)[:-1])
    assert got.problems == ("the stream ended without a final event",)
    assert (got.generated_tokens, got.finish_reason, got.predicted_ms) == (None, None, None)
    assert len(got.chunks) == 24
    assert decoded([]).problems == got.problems


@pytest.mark.parametrize("error", [{"code": 500, "message": "slot lost", "type": "server_error"}, "slot lost"])
def test_error_inside_the_stream_is_a_problem_in_the_servers_words(error: object) -> None:
    got = decoded([event(1), json.dumps({"error": error}).encode()])
    assert got.problems == ("the server reported an error: slot lost", "the stream ended without a final event")


DEEP = b"[" * 200_000
MALFORMED = [
    b"",
    b"{",
    b"[]",
    b"[DONE]",
    b"null",
    b'"text"',
    DEEP,
    b'{"x":' + DEEP + b"]" * 200_000 + b"}",
    b'{"error":' + DEEP,
    b'{"generation_settings":{"speculative.x":' + DEEP,
    b'{"content":1}',
    b'{"content":"\xff"}',
    b'{"content":"\xc3"}',
    b'{"content":"\\ud800"}',
    b'{"content":"\x00"}',
    b'{"content":null}',
    b'{"tokens":[1.5]}',
    b'{"tokens":"1"}',
    b'{"tokens_predicted":' + b"9" * 5000 + b"}",
    b'{"tokens_predicted":-1}',
    b'{"tokens_predicted":true}',
    b'{"timings":[]}',
    b'{"timings":{"predicted_ms":NaN}}',
    b'{"timings":{"predicted_ms":Infinity}}',
    b'{"timings":{"predicted_ms":1e999}}',
    b'{"timings":{"predicted_ms":-0.5}}',
    b'{"timings":{"predicted_ms":"fast"}}',
    b'{"timings":{"draft_n":1.5}}',
    b'{"x":NaN}',
    b'{"stop":"yes"}',
    b"{}{}",
]


@pytest.mark.parametrize("data", MALFORMED)
def test_malformed_event_is_one_problem_and_the_rest_is_read(data: bytes) -> None:
    got = decoded([event(1), data, event(2), final(2)])
    assert len(got.problems) == 1
    assert got.problems[0].startswith("event 2 is malformed: ")
    assert len(got.problems[0]) < 300
    assert [chunk.predicted_n for chunk in got.chunks] == [1, 2]


@pytest.mark.parametrize(
    ("events", "problem"),
    [
        ([event(3), event(2), final(3)], "the token count fell from 3 to 2"),
        ([event(1), final(1), event(2)], "an event came after the final one"),
        ([event(1), final(1, tokens_predicted=2)], "the final event counts 2 tokens, its timings 1"),
        ([b'{"content":"x","tokens":[1]}', final(0)], "an event carries text but no token count"),
    ],
)
def test_counts_that_contradict_each_other_are_problems(events: list[bytes], problem: str) -> None:
    assert decoded(events).problems == (problem,)


def test_many_problems_are_cut_short() -> None:
    got = decoded([b"{"] * 1000)
    assert len(got.problems) == 6
    assert got.problems[-1] == "and 996 more problems"


def test_numbers_that_json_can_hold_are_kept_finite() -> None:
    got = decoded([event(1), final(1, generation_settings={"speculative.a": {"deep": 1}, "speculative.b": 2.5})])
    assert got.settings == {"speculative.b": 2.5}
    assert got.predicted_ms is not None
    assert math.isfinite(got.predicted_ms)


_BASE = b"\n".join(recorded(CURRENT)[1:5] + recorded(CURRENT)[-1:])


@given(at=st.integers(0, len(_BASE) - 1), what=st.binary(max_size=3), gone=st.integers(0, 3))
def test_damage_anywhere_never_raises(at: int, what: bytes, gone: int) -> None:
    got = decoded((_BASE[:at] + what + _BASE[at + gone :]).split(b"\n"))
    assert got.sent_t_s == 100.0
    assert all(chunk.predicted_n > 0 for chunk in got.chunks)


def choice(*logprobs: float | None) -> dict[str, Any]:
    best = [{"id": number, "token": "x", "logprob": each} for number, each in enumerate(logprobs)]
    return {"id": 0, "token": "x", "logprob": logprobs[0] if logprobs else 0.0, "top_logprobs": best}


def test_margins_are_those_of_each_token_and_unknown_where_a_token_was_drafted() -> None:
    events = [
        event(1, completion_probabilities=[choice(-0.5, -2.0)]),
        event(2, completion_probabilities=[choice()]),  # a drafted token has no candidates
        event(3, completion_probabilities=[choice(-1.0, -1.0)]),
        event(4),
        final(4),
    ]
    assert decoded(events).margins == (1.5, None, 0.0, None)
    assert decoded(events).tokens == (7, 7, 7, 7)


@pytest.mark.parametrize("told", [[], [choice()], [choice(-1.0)], [choice(-1.0, None)]])
def test_margins_that_nobody_tells_are_none_at_all(told: list[dict[str, Any]]) -> None:
    assert decoded([event(1, completion_probabilities=told), final(1)]).margins == ()


NO_NUMBERS: tuple[object, ...] = (10**400, -(10**400), -1, 2**63, 1e308, 1e-320, "12", True, 1.5, [], {})


@pytest.mark.parametrize("name", ["cache_n", "prompt_ms", "predicted_n", "predicted_ms", "draft_n", "draft_n_accepted"])
@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: repr(value)[:8])
def test_whatever_stands_for_a_number_can_be_judged_and_recorded(name: str, value: object) -> None:
    timings = {"cache_n": 0, "prompt_n": 3, "prompt_ms": 5.0, "predicted_n": 3, "predicted_ms": 10.0} | {name: value}
    events = [event(1), event(2), event(3, timings=timings), final(3, timings=timings)]
    step = Step.of("T", draft="D", method="draft", k=4, category="coding")
    sample = sample_of(step, decoded(events), RequestContext("p", 0, 16, 1.0, None))
    recorded_ = ev.Recorded(1, 1.0, ev.SampleTaken(step.id, "l001", sample, 1.0))
    assert parse_line(line_of(recorded_).rstrip(b"\n")) == recorded_


def test_settings_that_hold_no_sane_number_are_left_out() -> None:
    told = {"speculative.n_max": 10**400, "speculative.n_min": 2, "speculative.types": "none"}
    events = [event(1), final(1, generation_settings=told)]
    assert decoded(events).settings == {"speculative.n_min": 2, "speculative.types": "none"}


# -- how far the prompt is --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "told"), [(CURRENT, [0, 22]), *((old, []) for old in OLD)])
def test_a_recorded_stream_tells_how_far_its_prompt_was_and_nothing_of_that_is_a_token(
    name: str, told: list[int]
) -> None:
    events = recorded(name)
    looked = decode_partial([(float(number), data) for number, data in enumerate(events)])
    read = [each for each in looked if isinstance(each, PromptRead)]
    whole = decoded(events)
    assert read == [PromptRead(each, whole.prompt_tokens or 0) for each in told]
    assert len(looked) - len(read) == len(whole.chunks)


@pytest.mark.parametrize(
    "progress",
    [
        None,
        7,
        [],
        {},
        {"total": 9},
        {"total": 9, "processed": 10},
        {"total": "9", "processed": 1},
        {"total": 9.0, "processed": 1},
        {"total": 9, "processed": -1},
        {"total": True, "processed": True},
    ],
)
def test_progress_that_makes_no_sense_is_passed_over(progress: object) -> None:
    assert not [
        each
        for each in decode_partial([(1.0, event(0, "", [], prompt_progress=progress))])
        if isinstance(each, PromptRead)
    ]


def test_progress_is_told_with_what_the_cache_had() -> None:
    told = {"total": 992, "cache": 100, "processed": 412, "time_ms": 5}
    assert decode_partial([(1.0, event(0, "", [], prompt_progress=told))]) == (PromptRead(412, 992),)
