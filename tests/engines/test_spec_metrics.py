"""What was drafted, read from metrics endpoints: names as their servers write them, and None for all that is untold."""

from __future__ import annotations

import json
from typing import Any

import pytest

from specdash.engines.openai.metrics import SpecCounters, difference, read_metrics, unknown_counters

CLUSTER = {
    "spec_decode_enabled": True,
    "spec_decode_mode": "ngram",
    "acceptance_rate_ema": 0.61,
    "acceptance_rate_overall": 0.58,
    "avg_tokens_per_step": 4.1,
    "total_steps": 100,
    "total_fallback_steps": 7,
    "total_proposed": 300,
    "total_accepted": 150,
    "total_bonus_tokens": 100,
    "current_k": 5,
    "adaptive_k_current": 3,
}

VLLM = """# HELP vllm:spec_decode_num_drafts_total Number of spec decoding drafts.
# TYPE vllm:spec_decode_num_drafts_total counter
vllm:spec_decode_num_drafts_total{engine="0",model_name="meta/Llama {8B}, \\"it\\""} 40.0
vllm:spec_decode_num_drafts_total{engine="1",model_name="meta/Llama {8B}, \\"it\\""} 2.0
# TYPE vllm:spec_decode_num_drafts_created gauge
vllm:spec_decode_num_drafts_created{engine="0",model_name="m"} 1.7529e+09
vllm:spec_decode_num_draft_tokens_total{engine="0",model_name="m"} 160.0
vllm:spec_decode_num_draft_tokens_total{engine="1",model_name="m"} 8.0
vllm:spec_decode_num_draft_tokens_created{engine="0",model_name="m"} 1.7529e+09
vllm:spec_decode_num_accepted_tokens_total{engine="0",model_name="m"} 9.5e+01
vllm:spec_decode_num_accepted_tokens_total{engine="1",model_name="m"} 5.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",model_name="m",position="0"} 38.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="1",model_name="m",position="0"} 2.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",model_name="m",position="1"} 30.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",model_name="m",position="2"} 20.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",model_name="m",position="3"} 10.0
vllm:spec_decode_num_accepted_tokens_per_pos_created{engine="0",model_name="m",position="0"} 1.7529e+09
"""

LLAMA = """# HELP llamacpp:spec_decode_num_draft_tokens_total Speculative: Total draft tokens generated
# TYPE llamacpp:spec_decode_num_draft_tokens_total counter
llamacpp:spec_decode_num_draft_tokens_total 78
llamacpp:spec_decode_num_accepted_tokens_total 1
llamacpp:spec_decode_num_drafts_total 27
llamacpp:spec_decode_num_accepted_tokens_per_pos_total{position="0"} 1
llamacpp:spec_decode_num_accepted_tokens_per_pos_total{position="1"} 0
llamacpp:spec_decode_num_accepted_tokens_per_pos_total{position="2"} 0
"""

LLAMA_BEFORE = """llamacpp:spec_decode_num_draft_tokens_total 0
llamacpp:spec_decode_num_accepted_tokens_total 0
llamacpp:spec_decode_num_drafts_total 0
"""

SGLANG = """sglang:spec_accept_length{engine_type="unified",model_name="m",tp_rank="0"} 2.37
sglang:spec_accept_rate{engine_type="unified",model_name="m",tp_rank="0"} 0.46
sglang:spec_num_steps{model_name="m",tp_rank="0"} 3.0
sglang:spec_num_draft_tokens{model_name="m",tp_rank="0"} 4.0
sglang:spec_verify_calls_total{model_name="m"} 80.0
"""

VLLM_V0 = """vllm:spec_decode_draft_acceptance_rate{model_name="m"} 0.7
vllm:spec_decode_num_accepted_tokens_total{model_name="m"} 70
vllm:spec_decode_num_draft_tokens_total{model_name="m"} 100
vllm:spec_decode_num_emitted_tokens_total{model_name="m"} 90
"""


def cluster(**changes: Any) -> SpecCounters:
    """The cluster server's answer, with some fields changed; None leaves one out."""
    fields = {name: value for name, value in (CLUSTER | changes).items() if value is not None}
    return read_metrics(json.dumps(fields))


def test_cluster_differences_and_its_real_k() -> None:
    after = cluster(total_steps=120, total_proposed=360, total_accepted=190, total_fallback_steps=9)
    found = difference(cluster(), after)
    assert (found.drafts, found.draft_tokens, found.accepted_tokens, found.plain_steps) == (20, 60, 40, 2)
    assert found.enabled is True
    assert found.reason == ""
    assert found.tokens_per_step == 1 + 40 / 20  # the server's own avg_tokens_per_step counts the bonus token twice
    assert found.k_seen == found.k_now == 3  # current_k says 5


def test_a_k_that_moved_is_not_the_configured_one() -> None:
    grown = {"total_steps": 110, "total_proposed": 345, "total_accepted": 170}
    down = difference(cluster(adaptive_k_current=5), cluster(**grown, adaptive_k_current=4))
    up = difference(cluster(adaptive_k_current=4), cluster(**grown, adaptive_k_current=5))
    assert down.k_seen == up.k_seen == 4


def test_longer_drafts_than_the_server_admits_count_more_than_its_word() -> None:
    found = difference(cluster(), cluster(total_steps=110, total_proposed=350, total_accepted=170))
    assert found.k_now is None
    assert found.k_seen == 5


def test_a_server_that_does_not_speculate_says_so() -> None:
    off = read_metrics('{"spec_decode_enabled": false}')
    found = difference(off, off)
    assert found.enabled is False
    assert "off" in found.reason
    assert found.drafts is found.k_seen is found.tokens_per_step is None


@pytest.mark.parametrize("lost", ["total_steps", "total_proposed", "total_accepted"])
def test_a_missing_field_is_unknown_and_named(lost: str) -> None:
    found = difference(cluster(), cluster(**{lost: None}))
    assert lost in found.reason
    place = {"total_steps": found.drafts, "total_proposed": found.draft_tokens, "total_accepted": found.accepted_tokens}
    assert place[lost] is None
    assert sum(value is None for value in place.values()) == 1


@pytest.mark.parametrize("value", [True, "12", -1, 1e400, [], float("nan")])
def test_what_is_no_count_is_unknown(value: object) -> None:
    assert cluster(total_accepted=value).accepted_tokens is None


def test_counters_that_fall_are_those_of_another_server() -> None:
    found = difference(cluster(), cluster(total_steps=3, total_proposed=9, total_accepted=4))
    assert found.drafts is found.draft_tokens is found.accepted_tokens is None
    assert "started again" in found.reason


def test_more_accepted_than_drafted_cannot_be() -> None:
    found = difference(cluster(), cluster(total_proposed=310, total_accepted=170))
    assert found.draft_tokens is None
    assert "cannot be" in found.reason


def test_vllm_sums_engines_and_ignores_when_series_were_made() -> None:
    found = read_metrics(VLLM)
    assert (found.drafts, found.draft_tokens, found.accepted_tokens) == (42, 168, 100)
    assert found.accepted_per_position == (40, 30, 20, 10)
    assert difference(SpecCounters(0, 0, 0), found).k_seen == 4
    assert difference(found, found).k_seen is None


def test_vllm_names_without_total_and_the_engine_before() -> None:
    assert read_metrics(VLLM.replace("_total", "")) == read_metrics(VLLM)
    older = difference(SpecCounters(None, 0, 0), read_metrics(VLLM_V0))
    assert (older.drafts, older.draft_tokens, older.accepted_tokens) == (None, 100, 70)
    assert "spec_decode_num_drafts" in older.reason


def test_llama_cpp_positions_appear_with_the_first_accepted_token() -> None:
    found = difference(read_metrics(LLAMA_BEFORE), read_metrics(LLAMA))
    assert (found.drafts, found.draft_tokens, found.accepted_tokens) == (27, 78, 1)
    assert found.accepted_per_position == (1, 0, 0)
    assert found.k_seen == 3
    assert found.enabled is None
    assert found.against(30) is None


def test_sglang_gauges_are_no_counters() -> None:
    found = difference(read_metrics(SGLANG.replace("80.0", "60.0")), read_metrics(SGLANG))
    assert found.drafts == 20
    assert found.draft_tokens is found.accepted_tokens is found.tokens_per_step is None
    assert found.k_seen == 3
    assert "gauges" in found.reason


def test_counters_that_grow_by_themselves_are_found_out() -> None:
    mine = SpecCounters(20, 60, 40, k_now=3)
    assert mine.against(61) is None
    assert mine.against(57) is None  # the last step made more than the answer had room for
    said = mine.against(40)
    assert said is not None
    assert "somebody else" in said
    assert unknown_counters("why").against(10) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no metrics"),
        ("<!doctype html><title>404</title>", "page for browsers"),
        ('{"spec_decode_enabled": tr', "broken JSON"),
        ("[" * 100_000, "broken JSON"),
        ("[1]", "no JSON object"),
        ('{"error": "nope"}', "not known"),
        ("process_cpu_seconds_total 3.1\n", "no names"),
        ("vllm:num_requests_running 1.0\n", "nothing about speculative decoding"),
        ("llamacpp:spec_decode_num_drafts_total NaN\n", "no metrics"),
        ("llamacpp:spec_decode_num_drafts_total 3\n", "no llamacpp:spec_decode_num_draft_tokens_total"),
        (VLLM.replace("num_accepted_tokens_total", "accepted"), "no vllm:spec_decode_num_accepted_tokens_total"),
    ],
)
def test_other_wordings_are_unknown_with_a_reason(text: str, said: str) -> None:
    found = read_metrics(text)
    assert said in found.reason
    assert None in (found.drafts, found.draft_tokens, found.accepted_tokens)


def test_positions_with_a_gap_are_untold() -> None:
    found = read_metrics(VLLM.replace('position="1"', 'position="7"'))
    assert found.accepted_per_position == ()
    assert found.accepted_tokens == 100
