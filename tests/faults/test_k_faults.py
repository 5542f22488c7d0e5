"""Who decides K: what the probe makes of each kind of server, and what becomes of numbers that belong to no K."""

from __future__ import annotations

import json
from pathlib import Path

from specdash.core import events as ev
from tests.support.fake_machine import Bench, assert_complete, assert_each_block_once, narrated


def test_every_kind_of_server_is_told_apart(bench: Bench, tiny_models: Path) -> None:
    rules = {
        "free": "k_scope=request",
        "capped": "k_scope=capped",
        "none": "no_draft=1",
        "fixed": "k_scope=startup",
    }
    bench.model("unfit", tiny_models / "draft.gguf")
    profile = bench.profile(
        drafts=[*rules, "unfit"], engine={"program": str(bench.program(rules))}, sweep={"k": [2, 4, 8]}
    )
    run = bench.run(profile)
    assert_complete(run)
    assert run.code == 1
    started = [load.key.draft for load in run.view.loads.values()]
    assert started == [None, "free", "capped", "none", "fixed", "fixed", "fixed"]
    assert [fact.k_scope for fact in run.facts(ev.Probed)] == ["request", "capped", None, *["startup"] * 3]
    for draft in ("free", "capped", "fixed"):
        seen = {found.step.k: {sample.k_seen for sample in found.good} for found in run.steps(draft=draft)}
        assert seen == {2: {2}, 4: {4}, 8: {8}}, draft
        assert {found.status for found in run.steps(draft=draft)} == {"ok"}
    for found in run.steps(draft="none"):
        assert (found.status, found.verdicts) == ("invalid", ("speculation_inactive",))
    for found in run.steps(draft="unfit"):
        assert (found.status, found.verdicts, found.samples) == ("skipped", ("draft_unfit",), ())
        assert found.error
    # Piped, every event is one plain line.
    samples = len(run.facts(ev.SampleTaken))
    assert len(list(narrated(run.stderr, "sample "))) == samples == 2 * (1 + 3 * 3) + 2 * 3
    assert len(list(narrated(run.stderr, "step "))) == 1 + 4 * 3
    assert len(list(narrated(run.stderr, "skipped "))) == 3
    for each in run.result["measurements"]:
        assert (each["speedup"] is not None) == (each["status"] == "ok" and each["draft"] is not None), each["step"]


def test_a_forced_scope_does_not_make_it_true(bench: Bench) -> None:
    profile = bench.profile(drafts=["D"], engine={"k_scope": "request"}, sweep={"k": [2, 4, 8]})
    run = bench.run(profile)
    assert_complete(run)
    assert run.code == 1
    assert len(run.view.loads) == 2
    outcome = {found.step.k: (found.status, found.verdicts) for found in run.view.steps.values()}
    not_effective = ("invalid", ("k_not_effective",))
    assert outcome == {None: ("ok", ()), 2: not_effective, 4: not_effective, 8: ("ok", ())}
    assert "not probed" in run.stderr
    assert not [each for each in run.result["measurements"] if each["k"] in (2, 4) and each["speedup"]]


def test_repeated_prompts_do_not_inflate_acceptance(bench: Bench, tmp_path: Path) -> None:
    prompts = tmp_path / "one.jsonl"
    prompts.write_text(json.dumps({"category": "mine", "prompt": "Tell me about the sea. " * 20}) + "\n")
    profile = bench.profile(
        drafts=["D"],
        engine={"env": {"FAKE_SERVER": "speed=3000,replay=1,acceptance=0.5", "FAKE_DIALECT": "old"}},
        sweep={"k": [2, 4]},
        measure={"prompts": str(prompts), "categories": "all", "iterations": 3},
    )
    run = bench.run(profile)
    assert_complete(run)
    assert run.code == 0
    assert_each_block_once(run, 3)
    assert len(run.view.loads) == 2
    for found in run.steps(method="draft"):
        shares = {(sample.accepted_tokens, sample.draft_tokens) for sample in found.good}
        assert len(shares) == 1, shares
        ((accepted, drafted),) = shares
        assert accepted is not None
        assert drafted is not None
        assert accepted < 0.8 * drafted


def test_drafts_in_two_of_five_answers_are_told_and_such_an_arm_is_not_recommended(
    bench: Bench, tmp_path: Path
) -> None:
    """However fast it is: its mean is neither the rate with drafts nor that without."""
    prompts = tmp_path / "five.jsonl"
    words = ("the sea", "mute hills", "a river", "mute towns", "mute birds")
    prompts.write_text(
        "".join(json.dumps({"category": "mine", "prompt": f"Of {each}. " * 20}) + "\n" for each in words)
    )
    fast = "speed=2000,acceptance=1,exact_clock=1"
    profile = bench.profile(
        drafts=["D", "half"],
        engine={"program": str(bench.program({"half": f"{fast},no_draft_where=mute", "D": fast, "T": fast}))},
        sweep={"k": [4]},
        measure={"prompts": str(prompts), "categories": "all", "iterations": 5},
    )
    run = bench.run(profile)
    assert_complete(run)
    assert run.code == 0, run.stderr
    half = run.only(draft="half")
    assert (half.status, half.verdicts) == ("ok", ("drafted_in_some",))
    assert [sample.k_seen for sample in half.good] == [4, None, 4, None, None]
    (raised,) = (fact for fact in run.facts(ev.VerdictRaised) if fact.verdict == "drafted_in_some")
    assert raised.detail == "drafted in 2 of 5 answers"
    assert "drafted in 2 of 5 answers" in run.stderr
    assert run.only(draft="D").verdicts == ()
    (advice,) = (each for each in run.result["recommendations"] if each["category"] == "all")
    assert advice["draft"] == "D"
    assert "half" in advice["reason"]
    assert "drafted_in_some" in advice["reason"]
