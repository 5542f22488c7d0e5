"""Answers that must not count: each sample is invalid with its reason, each step says why, the others are measured."""

from __future__ import annotations

import json

import pytest

from specdash.core import events as ev
from tests.support.fake_machine import Bench, assert_complete, assert_each_block_once

ANSI = "\x1b]52;c;aGk=\x07\x1b[31mred"


def test_answers_that_must_not_count(bench: Bench) -> None:
    rules = {
        # One behaviour for each request of a sample: the fault, then health.
        "cut": "cut=10;",
        "ended": "fin=10;",
        "once-500": "http_status=500;",
        "always-500": "http_status=500;http_status=500",
        "always-429": "http_status=429;http_status=429",
        "always-400": "http_status=400;http_status=400",
        "untimed": "no_timings=1",
        "short": "eos_after=5",
        "cached": "cached=10",
        "own-clock": "clock_factor=28",
        "drafts-anyway": "draft_in_baseline=1",
        "odd-text": json.dumps({"speed": 3000, "tokens_text": ANSI, "u2028": True, "split_utf8": True}),
        "chatty": "stderr_mb=2,long_line=1000000",
        "drips": "drip=0.02",
        "good": "",
    }
    profile = bench.profile(
        list(rules),
        engine={"program": str(bench.program(rules))},
        measure={"iterations": 1, "warmup": 0, "timeout_s": 3},
    )
    run = bench.run(profile)
    assert_complete(run)
    assert run.code == 1
    assert run.outcomes() == {
        "cut": ("ok", ()),
        "ended": ("ok", ()),
        "once-500": ("ok", ()),
        "always-500": ("invalid", ("http_error",)),
        "always-429": ("invalid", ("http_error",)),
        "always-400": ("failed", ("http_error",)),
        "untimed": ("invalid", ("no_timings",)),
        "short": ("invalid", ("too_short",)),
        "cached": ("invalid", ("prompt_cached",)),
        "own-clock": ("invalid", ("clocks_disagree",)),
        "drafts-anyway": ("invalid", ("baseline_drafted",)),
        "odd-text": ("ok", ()),
        "chatty": ("ok", ()),
        "drips": ("timeout", ("timeout",)),
        "good": ("ok", ()),
    }
    taken = {name: [sample.status for sample in run.only(target=name).samples] for name in rules}
    assert taken["good"] == ["ok"]
    for name in ("cut", "ended", "once-500"):
        assert taken[name] == ["invalid", "ok"], name
    # A passing fault is tried three times, a refusal and a fault of the server's own once.
    assert taken["always-500"] == taken["always-429"] == ["invalid"] * 3
    assert taken["always-400"] == taken["drips"] == []
    assert len(taken["cached"]) == len(taken["drafts-anyway"]) == len(taken["short"]) == 1
    assert "stream_cut" in run.only(target="cut").samples[0].reasons
    assert "the stream ended without a final event" in run.only(target="ended").samples[0].reasons
    assert "as ordered" in str(run.only(target="always-400").error)
    assert "timeout_s" in str(run.only(target="drips").error)
    # What does not count is in no summary and no table, and the summary says why.
    for each in run.result["measurements"]:
        assert (each["status"] == "ok") == ("decode_tok_s" in each["summary"]), each["target"]
    last = run.stderr.split("run finished")[1]
    for name, (status, _) in run.outcomes().items():
        assert (f"result {name} |" in last) == (status == "ok")
        assert (f"{status}: {name} |" in last) == (status != "ok")
    # The server was never restarted for any of these.
    assert {name: run.loads(name) for name in rules} == dict.fromkeys(rules, 1)
    assert sum(path.stat().st_size for path in (bench.results).glob("*/logs/*")) < 20_000_000


def test_hostile_labels(bench: Bench) -> None:
    label = "evil \x1b[31m\x1b]0;title\x07 | <b> `x` \u202ename"
    profile = bench.profile()
    text = profile.read_text().replace('label = "T"', f"label = {json.dumps(label)}")
    profile.write_text(text)
    run = bench.run(profile)
    if run.code == 2:
        assert "label" in run.stderr
        return
    assert_complete(run)
    assert run.code == 0
    assert run.only(target=label).status == "ok"
    report = ((run.path or profile) / "report.md").read_text()
    assert "\x1b" not in report
    assert "<b>" not in report


def test_one_request_in_many_fails(bench: Bench) -> None:
    # Two requests of the probe, one of warm-up; a prompt that comes twice in a row has a scrubbing request before it.
    rules = {"D": ";;;;cut=3;;;http_status=500;;;fin=4;"}
    run = bench.run(
        bench.profile(drafts=["D"], engine={"program": str(bench.program(rules))}, measure={"iterations": 4})
    )
    assert_complete(run)
    assert run.code == 0
    assert_each_block_once(run, 4)
    invalid = [fact for fact in run.facts(ev.SampleTaken) if fact.sample.status == "invalid"]
    assert len(invalid) == 3
    assert {
        fact.sample.k_seen
        for fact in run.facts(ev.SampleTaken)
        if fact.sample.draft_tokens and fact.sample.status == "ok"
    } == {4}


@pytest.mark.parametrize(
    ("behaviour", "verdict", "loads"),
    [("no_props=1", "prompt_too_long", 1), ("http_status=400;http_status=400", "http_error", 3)],
    ids=["named", "nameless"],
)
def test_a_refusal_is_known_to_hold_for_every_arm_by_its_name_alone(
    behaviour: str, verdict: str, loads: int, bench: Bench
) -> None:
    """One server is started for a prompt that is longer than the context; what else is refused may be about a draft."""
    profile = bench.profile(
        ["T"],
        ["D"],
        engine={
            "program": str(bench.program({"T": behaviour})),
            "k_scope": "startup",
            "args": ["-c", "64"] if loads == 1 else [],
        },
        sweep={"k": [2, 4]},
        measure={"iterations": 1, "warmup": 0},
    )
    run = bench.run(profile)
    assert_complete(run)
    assert (run.code, run.loads("T")) == (3, loads)
    for found in run.view.steps.values():
        assert (found.status, found.verdicts) == ("failed", (verdict,))
        assert ("context size (64 tokens)" in (found.error or "")) == (loads == 1)
