"""Methods without a draft model of their own, end to end on real llama.cpp: n-grams, layers for prediction, heads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from specdash.core.events import K_PLACE
from specdash.core.plan import LoadKey
from specdash.engines.llama_cpp.server import open_program
from tests.support.machine import Run, assert_complete
from tests.support.paths import ROOT
from tests.support.real_machine import Real, values_of
from tests.support.served_engine import serving, spec_of

pytestmark = pytest.mark.real

ROUND = "name: baba, sum: dodo; "
REPETITIVE = ("Say it again. " + ROUND * 4, "Go on as before: " + ROUND * 3)  # of few tokens: long ones cost seconds


@pytest.fixture(scope="session")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with mtp.gguf, eagle-target.gguf and eagle3.gguf."""
    folder = tmp_path_factory.mktemp("heads")
    subprocess.run([sys.executable, "-m", "tests.tools.head_models", folder], cwd=ROOT, check=True)
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
    sweep = {"methods": ["ngram-simple", "ngram-mod"], "ngram_n": [2, 3], "k": [3]}
    targets = {"T": tiny_models / "target.gguf"}
    profile = machine.profile(llama_server, targets, sweep=sweep, measure=repetitive(machine, 2))
    run = measure(machine, profile)
    keys = [(load.key.method, load.key.value("ngram_n"), load.key.k_startup) for load in run.view.loads.values()]
    wanted = [(method, n, 3) for method in ("ngram-simple", "ngram-mod") for n in (2, 3)]
    assert keys == [("baseline", None, None), *wanted], "one load for each method and size"
    drafted = 0
    for row in run.result["measurements"]:
        if row["method"] == "baseline":
            assert (row["acceptance_rate"], row["ngram_n"], row["speedup"]) == (None, None, None)
            continue
        assert (row["status"], row["draft"]) == ("ok", None)
        assert set(row["verdicts"]) <= {"noisy", "drafted_nothing", "k_unproven"}
        assert row["speedup"] is not None
        assert row["lossless"]["state"] in ("identical", "near_tie")
        assert row["k_seen"] is None or 1 <= row["k_seen"] <= row["k"]
        assert (row["acceptance_rate"] is None) == (row["k_seen"] is None)
        drafted += row["k_seen"] is not None
    assert drafted >= 2, "n-grams of two tokens come again in text that repeats itself"
    for load in run.view.loads.values():
        if load.key.method == "ngram-mod":
            assert values_of(load.argv, "--spec-ngram-mod-n-match") == [str(load.key.value("ngram_n"))]
            assert values_of(load.argv, "--spec-ngram-mod-n-max") == [str(load.key.k_startup)]
            assert values_of(load.argv, "--spec-ngram-mod-n-min") == ["0"]
            assert K_PLACE in load.command
    assert run.result["effort"]["step_by_step_loads"] == 5
    (advice,) = (each for each in run.result["recommendations"] if each["category"] == "all")
    assert advice["off"] or (advice["draft"] is None and advice["method"] in ("ngram-simple", "ngram-mod"))
    assert advice["off"] or f"--spec-type {advice['method']}" in advice["command"]
    assert K_PLACE not in advice["command"]


async def test_a_server_of_ngram_mod_knows_what_it_has_answered(
    tiny_models: Path, llama_server: Path, tmp_path: Path
) -> None:
    """Why a prompt counts once there: its second answer is drafted from memory."""
    engine = open_program(str(llama_server), None, "filler")
    assert engine.info.keeps_history == {"ngram-mod"}
    accepted = {}
    for method in ("ngram-mod", "ngram-map-k"):
        key = LoadKey.of("T", 4, method=method, ngram_n=3)
        spec = spec_of(tiny_models / "target.gguf", None, None, key=key, args=("-t", "1", "-c", "1024"))
        async with serving(engine, spec, tmp_path) as served:
            samples = [await served.sample("baba dodo lala bebe didi momo", 4, block) for block in range(2)]
        accepted[method] = [sample.accepted_tokens or 0 for sample in samples]
    assert accepted["ngram-mod"][1] > accepted["ngram-mod"][0]
    assert accepted["ngram-map-k"][1] == accepted["ngram-map-k"][0]


def test_a_k_that_cannot_be_is_left_out_and_what_is_measured_is_proven(
    machine: Real, tiny_models: Path, llama_server: Path
) -> None:
    """ngram-simple drops drafts below its n-gram of 12, ngram-cache drafts 8 whatever K is, ngram-mod remembers."""
    profile = machine.profile(
        llama_server,
        {"T": tiny_models / "target.gguf"},
        sweep={"methods": ["ngram-simple", "ngram-cache", "ngram-mod"], "k": [4, 16], "baseline": False},
        measure=repetitive(machine, 3) | {"max_tokens": 96},
    )
    run = measure(machine, profile)
    asked = {(load.key.method, load.key.k_startup) for load in run.view.loads.values()}
    assert asked == {("ngram-simple", 16), ("ngram-cache", 8), ("ngram-mod", 4), ("ngram-mod", 16)}
    for words in (
        "ngram-simple: K = 4 is left out, since it drops drafts shorter than its n-gram of 12 tokens",
        "ngram-cache: K = 4 is left out, since it drafts up to 8 tokens, whatever K is",
        "ngram-cache: K = 16 is measured as K = 8",
        "ngram-mod: 2 samples of a step at most, since its server remembers",
    ):
        assert words in run.stderr
    for found in run.view.steps.values():
        assert found.status == "ok"
        assert len(found.samples) == (2 if found.step.method == "ngram-mod" else 3), "none is taken in vain"
        assert all(sample.status == "ok" for sample in found.samples)
        assert max((sample.k_seen or 0 for sample in found.samples), default=0) <= (found.step.k or 0)
    for method, k in (("ngram-simple", 16), ("ngram-mod", 4), ("ngram-mod", 16)):
        found = run.only(method=method, k=k)
        assert max(sample.k_seen or 0 for sample in found.samples) == k, "text that repeats itself proves K"
        assert "k_unproven" not in found.verdicts


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
    (other,) = (row["error"] for row in failed if row["k"] != load.key.k_startup)
    assert other.endswith(f"so it ended at K = {load.key.k_startup}, and no other K changes that")
    assert 'take "mtp" out of sweep.methods' in run.stderr
