"""Methods without a draft model of their own, end to end on real llama.cpp: n-grams, layers for prediction, heads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from harness import Run, assert_complete
from real.bench import Real, values_of

from specdash.core.events import K_PLACE
from specdash.core.measure import Verdict

pytestmark = pytest.mark.real

TOOLS = Path(__file__).parents[1] / "tools"
ROUND = "name: baba, sum: dodo; "
REPETITIVE = ("Say it again. " + ROUND * 4, "Go on as before: " + ROUND * 3)  # of few tokens: long ones cost seconds


@pytest.fixture(scope="session")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with mtp.gguf, eagle-target.gguf and eagle3.gguf."""
    folder = tmp_path_factory.mktemp("heads")
    subprocess.run([sys.executable, TOOLS / "head_models.py", folder], check=True)
    return folder


def repetitive(machine: Real, iterations: int) -> dict[str, object]:
    """How to measure on text that repeats itself."""
    prompts = machine.prompts([{"category": "repetitive", "prompt": prompt} for prompt in REPETITIVE], "repetitive")
    return {"prompts": str(prompts), "categories": "all", "iterations": iterations, "warmup": 0}


def measure(machine: Real, profile: Path, code: int = 0) -> Run:
    run = machine.run(profile)
    assert_complete(run)
    assert run.code == code, run.stderr
    return run


def test_ngram_sizes_by_draft_lengths(machine: Real, tiny_models: Path, llama_server: Path) -> None:
    sweep = {"methods": ["ngram-simple", "ngram-mod"], "ngram_n": [2, 12], "k": [3]}
    targets = {"T": tiny_models / "target.gguf"}
    profile = machine.profile(llama_server, targets, sweep=sweep, measure=repetitive(machine, 2))
    run = measure(machine, profile)
    keys = [(load.key.method, load.key.ngram_n, load.key.k) for load in run.view.loads.values()]
    wanted = [(method, n, 3) for method in ("ngram-simple", "ngram-mod") for n in (2, 12)]
    assert keys == [("", None, None), *wanted], "one load for each method and size"
    drafted = 0
    for row in run.result["measurements"]:
        if row["method"] == "baseline":
            assert (row["acceptance_rate"], row["ngram_n"], row["speedup"]) == (None, None, None)
            continue
        assert (row["status"], row["draft"]) == ("ok", None)
        assert set(row["verdicts"]) <= {"noisy", "drafted_nothing"}
        assert row["speedup"] is not None
        assert row["lossless"]["state"] in ("identical", "near_tie")
        assert row["k_seen"] is None or 1 <= row["k_seen"] <= row["k"]
        assert (row["acceptance_rate"] is None) == (row["k_seen"] is None)
        drafted += row["k_seen"] is not None
    assert drafted >= 2, "n-grams of two tokens come again in text that repeats itself"
    for load in run.view.loads.values():
        if load.key.method == "ngram-mod":
            assert values_of(load.argv, "--spec-ngram-mod-n-match") == [str(load.key.ngram_n)]
            assert values_of(load.argv, "--spec-ngram-mod-n-max") == [str(load.key.k)]
            assert values_of(load.argv, "--spec-ngram-mod-n-min") == ["0"]
            assert K_PLACE in load.command
    assert run.result["effort"]["step_by_step_loads"] == 5
    (advice,) = (each for each in run.result["recommendations"] if each["category"] == "all")
    assert advice["off"] or (advice["draft"] is None and advice["method"] in ("ngram-simple", "ngram-mod"))
    assert advice["off"] or f"--spec-type {advice['method']}" in advice["command"]
    assert K_PLACE not in advice["command"]


def test_a_prompt_that_comes_again_is_no_new_text_to_a_method_that_remembers(
    machine: Real, tiny_models: Path, llama_server: Path
) -> None:
    prompts = machine.prompts([{"category": "one", "prompt": "baba dodo lala bebe didi momo"}], "one")
    sweep = {"methods": ["ngram-mod", "ngram-simple"], "ngram_n": [3], "k": [2, 4], "baseline": False}
    settings = {"prompts": str(prompts), "categories": "all", "max_tokens": 48, "iterations": 2}
    targets = {"T": tiny_models / "target.gguf"}
    run = measure(machine, machine.profile(llama_server, targets, sweep=sweep, measure=settings))
    assert [load.key.k for load in run.view.loads.values()] == [2, 4, 2, 4], "K is fixed at start-up"
    samples = {(row["method"], row["k"]): row["samples"] for row in run.result["measurements"]}
    for k in (2, 4):
        assert [sample["status"] for sample in samples["ngram-simple", k]] == ["ok", "ok"]
        assert [sample["reasons"] for sample in samples["ngram-mod", k]] == [[], [Verdict.RECALLED]]
        first, again = (sample["accepted_tokens"] or 0 for sample in samples["ngram-mod", k])
        assert again > first, "the second answer was drafted from memory"
        assert max(sample["k_seen"] or 0 for sample in samples["ngram-mod", k]) == k


def test_layers_that_predict_and_heads_really_draft(machine: Real, heads: Path, llama_server: Path) -> None:
    profile = machine.profile(
        llama_server,
        {"M": heads / "mtp.gguf", "T": heads / "eagle-target.gguf"},
        {"H": heads / "eagle3.gguf"},
        sweep={"methods": ["mtp", "eagle3"], "k": [1, 2], "pairs": [["T", "H"]], "baseline": False},
        measure=repetitive(machine, 3),
    )
    run = measure(machine, profile, code=1)
    rows = {(row["target"], row["method"]): row for row in run.result["measurements"] if row["k"] == 2}
    for target, method, draft in (("M", "mtp", None), ("T", "eagle3", "H")):
        row = rows[target, method]
        assert (row["status"], row["k_seen"], row["verdicts"], row["draft"]) == ("ok", 2, [], draft), row
        assert row["acceptance_rate"] > 0.1
    # A target without such layers ends with the line that tells why, and is loaded once for that.
    (load,) = (load for load in run.view.loads.values() if (load.key.target, load.key.method) == ("T", "mtp"))
    failed = [row for row in run.result["measurements"] if (row["target"], row["method"]) == ("T", "mtp")]
    assert [(row["k"], row["status"]) for row in failed] == [(1, "failed"), (2, "failed")]
    assert all("doesn't contain MTP layers" in row["error"] for row in failed)
    (other,) = (row["error"] for row in failed if row["k"] != load.key.k)
    assert other.endswith(f"so it ended at K = {load.key.k}, and no other K changes that")
    assert 'take "mtp" out of sweep.methods' in run.stderr
