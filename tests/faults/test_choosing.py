"""Curves, searches and texts on servers whose truth is known: what is chosen is the best, and what is broken is not."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from typing import Any

import pytest

from specdash.config.prompts import load_builtin
from specdash.core import events as ev
from specdash.runtime.side_records import SPARE_PROMPTS
from tests.fakes.fake_flags import read_behaviour
from tests.support.fake_machine import Bench
from tests.support.fake_truth import rates, regret
from tests.support.machine import Run

# Drafting is cheap, verifying jumps behind 8 tokens: the best K is neither the smallest nor the largest.
WORLD = "speed=400,acceptance=0.8,step_costs=0:1/1:1.05/8:1.4/9:2/24:3,first_step_extra=0.6,exact_clock=1"
TOKENS = 48


def choice(run: Run, category: str = "all") -> dict[str, Any]:
    """The recommendation for a category."""
    (found,) = [each for each in run.result["recommendations"] if each["category"] == category]
    return dict(found)


def truth(ks: Sequence[int], blocks: int) -> dict[int, float]:
    """The true mean rate of each K (0: no draft) over the prompts that so many blocks ask."""
    prompts = [prompt.as_text() for prompt in load_builtin() if prompt.category == "coding"]
    return dict(rates(read_behaviour(WORLD), prompts[:blocks], TOKENS, ks))


def settings(k: object, iterations: int = 3, **measure: object) -> dict[str, Any]:
    return {
        "engine": {"env": {"FAKE_SERVER": WORLD}},
        "sweep": {"k": k},
        "measure": {"max_tokens": TOKENS, "iterations": iterations, **measure},
    }


@pytest.mark.parametrize("scope", ["startup", "request"])
def test_a_curve_finds_the_best_k_and_its_points_are_true(bench: Bench, scope: str) -> None:
    tables = settings("curve")
    tables["engine"]["env"]["FAKE_SERVER"] += f",k_scope={scope}"
    run = bench.run(bench.profile(drafts=["D"], **tables))
    assert run.code == 0
    assert len(run.view.loads) == (4 if scope == "startup" else 2)
    true = truth(range(25), 3)
    points = {each["k"]: each for each in run.result["curves"] if each["category"] == "all"}
    assert sorted(points) == list(range(1, 25))
    for k, point in points.items():
        assert point["predicted_tok_s"] == pytest.approx(true[k], rel=0.02), k
        assert not point["off"]
    found = choice(run)
    assert regret(true, found["k"]) < 0.02
    assert found["speedup"] == pytest.approx(true[found["k"]] / true[0], rel=0.02)
    assert not run.facts(ev.VerdictRaised)


def test_a_search_finds_the_best_k(bench: Bench) -> None:
    tables = settings("search", iterations=12)
    tables["engine"]["env"]["FAKE_SERVER"] += ",k_scope=request"
    run = bench.run(bench.profile(drafts=["D"], **tables))
    assert run.code == 0
    assert any(change.stage.startswith("found") for change in run.view.replans)
    found = choice(run)
    assert regret(truth(range(25), 12), found["k"]) < 0.02


def test_a_curve_that_was_killed_goes_on_where_it_was(bench: Bench) -> None:
    profile = bench.profile(drafts=["D"], **settings("curve"))
    command = bench.headless(profile)
    command.until("plan: ")
    command.send(signal.SIGKILL)
    killed = command.end(killed=True)
    assert killed.path is not None
    run = bench.resume(killed.path)
    assert run.code == 0
    stages = [change.stage for change in run.view.replans]
    assert len(stages) == len(set(stages)) == 1
    assert all(found.status == "ok" and len(found.good) == 3 for found in run.view.steps.values())
    # What had its outcome before is not measured again.
    assert [load.key.k_startup for load in run.view.loads.values()].count(24) == 1


@pytest.mark.parametrize(
    ("behaviour", "state", "verdict"),
    [
        ("differs_at=5", "output_differs", True),
        ("differs_at=5,rounding=0.01", "output_differs", True),
        ("near_tie_at=5,rounding=0.01", "near_tie", False),
        ("near_tie_at=5,near_tie=0.05,rounding=0.01", "unknown", False),
        ("near_tie_at=5,near_tie=0.2,rounding=0.01", "output_differs", True),
        ("near_tie_at=5,near_tie=0.2,cached=0", "unknown", False),
        ("wavers_at=5,differs_at=9", "unknown", False),
    ],
)
def test_texts_that_part(bench: Bench, behaviour: str, state: str, verdict: bool) -> None:
    tables = settings([4])
    tables["engine"]["env"]["FAKE_SERVER"] += f",{behaviour}"
    run = bench.run(bench.profile(drafts=["D"], **tables))
    drafted = next(each for each in run.result["measurements"] if each["draft"] is not None)
    assert drafted["lossless"]["state"] == state, drafted["lossless"]
    assert ("output_differs" in drafted["verdicts"]) == verdict
    assert (choice(run)["k"] is None) == verdict, choice(run)["reason"]
    assert any(fact.verdict == "output_differs" for fact in run.facts(ev.VerdictRaised)) == verdict


def test_a_baseline_is_asked_for_its_margins_cold_and_again_from_the_cache(bench: Bench) -> None:
    tables = settings([4])
    tables["engine"]["env"]["FAKE_SERVER"] += ",rounding=0.01"
    run = bench.run(bench.profile(drafts=["D"], **tables))
    checks = run.facts(ev.TextChecked)
    assert {fact.step for fact in checks} == {step for step, found in run.view.steps.items() if found.step.k is None}
    by_prompt: dict[str, list[ev.TextChecked]] = {}
    for fact in checks:
        by_prompt.setdefault(fact.prompt_id, []).append(fact)
    for cold, cached in by_prompt.values():
        assert cold.cached_tokens == 0
        assert cached.cached_tokens
        assert len(cold.margins) == len(cached.margins) == TOKENS
    rounding = run.result["measurements"][0]["lossless"]["rounding"]
    assert rounding["places"] == len(by_prompt) * TOKENS
    assert 0 < rounding["usual_nats"] <= 0.01 < rounding["largest_nats"] <= 0.11


def test_a_server_that_keeps_no_prompt_is_asked_for_one_from_its_cache_and_not_for_more(bench: Bench) -> None:
    tables = settings([4])
    tables["engine"]["env"]["FAKE_SERVER"] += ",cached=0"
    run = bench.run(bench.profile(drafts=["D"], **tables))
    assert [fact.cached_tokens for fact in run.facts(ev.TextChecked)] == [0, 0, 0, 0]
    rounding = run.result["measurements"][0]["lossless"]["rounding"]
    assert (rounding["places"], rounding["usual_nats"], rounding["largest_nats"]) == (0, None, None)
    assert "kept no prompt in its cache" in rounding["reason"]


def test_an_arm_whose_text_is_in_doubt_answers_more_prompts_that_its_baseline_answered(bench: Bench) -> None:
    prompts = bench.folder / "more.jsonl"
    texts = [f"Write program number {number}, and explain what it prints." for number in range(8)]
    prompts.write_text("".join(json.dumps({"category": "coding", "prompt": text}) + "\n" for text in texts))
    tables = settings([4], prompts=str(prompts))
    tables["engine"]["env"]["FAKE_SERVER"] += ",near_tie_at=5,near_tie=0.05,rounding=0.01"
    run = bench.run(bench.profile(drafts=["D"], **tables))
    base, arm = run.view.steps.values()
    assert len({check.prompt_id for check in base.checks}) == 3 + SPARE_PROMPTS
    assert {check.prompt_id for check in arm.checks} == {
        check.prompt_id for check in base.checks if check.prompt_id not in {sample.prompt_id for sample in arm.good}
    }
    lossless = run.result["measurements"][1]["lossless"]
    assert (lossless["state"], lossless["prompts"]) == ("unknown", 3 + SPARE_PROMPTS)
    assert "more prompts would tell" in lossless["reason"]
    assert choice(run)["k"] == 4, "what is unknown bars nothing"


@pytest.mark.parametrize(
    ("prompt_speed", "tokens", "said"),
    [
        pytest.param(200, 24, "but whole answers, as measured, take ", id="eaten"),
        pytest.param(900, 96, "", id="kept"),
    ],
)
def test_what_a_draft_takes_to_read_the_prompt_is_told_with_its_gain(
    bench: Bench, prompt_speed: int, tokens: int, said: str
) -> None:
    """The target reads 1000 prompt tokens a second, and fewer with the draft; both decode in exact time."""
    world: dict[str, Any] = dict(pair.split("=") for pair in WORLD.split(","))
    world |= {"prompt_speed": 1000, "models": {"D.gguf": {"prompt_speed": prompt_speed}}, "speed": 200}
    tables = settings([4], iterations=6)
    tables["engine"]["env"]["FAKE_SERVER"] = json.dumps(world)
    tables["measure"]["max_tokens"] = tokens
    run = bench.run(bench.profile(drafts=["D"], **tables))
    assert run.code == 0
    found = choice(run)
    base, arm = (each["summary"] for each in run.result["measurements"])
    assert found["k"] == 4
    assert found["ci95"][0] > 1.2
    whole = found["whole_answer"]
    assert whole["n"] == 6
    assert whole["ratio"] == pytest.approx(arm["total_time_s"]["mean"] / base["total_time_s"]["mean"])
    assert (whole["ci95"][0] > 1) if said else (whole["ci95"][1] < 1)
    assert ("whole answers" in found["reason"]) == bool(said)
    assert said in found["reason"]
    assert f"{whole['ttft_s']:.3g} s instead of {whole['baseline_ttft_s']:.3g} s" in found["reason"] or not said
    assert run.path is not None
    # On the terminal and in both reports the answer says it, and the times stand beside the rates.
    longer = "longer" if said else "less time"
    for text in (run.stderr, *((run.path / name).read_text() for name in ("report.md", "report.html"))):
        assert f" % {longer} (" in " ".join(text.split())
    assert "whole answer" in run.stderr.partition("result ")[2]
