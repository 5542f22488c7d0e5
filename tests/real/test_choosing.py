"""What decides about drafts and Ks, on real llama.cpp: curves from one load, texts that differ, passes."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from specdash.core import events as ev
from specdash.engines.demo import TINY, Shape, write_pair
from tests.support.real_machine import PROMPTS, Real, of_draft

MEASURE = {"max_tokens": 64, "iterations": 3}


@pytest.fixture(scope="module")
def sure_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A pair whose draft is mostly right."""
    return write_pair(tmp_path_factory.mktemp("sure"), shape=TINY, epsilon=0.02)


@pytest.fixture(scope="module")
def rounding_pair(tmp_path_factory: pytest.TempPathFactory, llama_server: Path) -> tuple[Path, Path]:
    """Six layers and two of them, in BF16: their sums depend on the batch, and many choices are close."""
    folder = tmp_path_factory.mktemp("rounding")
    shape = Shape(width=512, ffn=1408, layers=6, shared=2)
    found = []
    for path in write_pair(folder, shape=shape):
        found.append(path.with_name(f"bf16-{path.name}"))
        quantize: list[str | Path] = [llama_server.with_name("llama-quantize"), path, found[-1], "BF16"]
        subprocess.run(quantize, check=True, capture_output=True)
    return found[0], found[1]


def making_it_up(folder: Path, llama_server: Path) -> Path:
    """A server that takes three drafted tokens whatever they are; of its own, since no args may touch acceptance."""
    program = folder / "made-up"
    program.write_text(
        f'#!/bin/sh\ncase " $* " in *" -md "*|*" --spec-draft-model "*) set -- "$@" --spec-synth-len 3;; esac\n'
        f'exec "{llama_server}" "$@"\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


@pytest.mark.real
def test_a_curve_is_predicted_from_one_load_and_confirmed(
    machine: Real, llama_server: Path, sure_pair: tuple[Path, Path]
) -> None:
    target, draft = sure_pair
    sweep = {"k": "curve"}
    run = machine.run(machine.profile(llama_server, {"T": target}, {"D": draft}, sweep=sweep, measure=MEASURE))
    assert run.code == 0
    loads = of_draft(run, "D")
    assert loads[0].key.k_startup == 24
    assert 1 <= len(loads) <= 3
    (stage,) = [change for change in run.view.replans if change.stage.startswith("confirm")]
    assert "predicted" in stage.reason
    curve = {each["k"]: each for each in run.result["curves"] if each["category"] == "all"}
    assert all(curve[k]["predicted_tok_s"] > 0 for k in range(1, 25))
    # Tokens per step are a matter of the text alone: what was replayed is what the confirmed servers did, but for the
    # token behind a draft that was kept whole, which no trace tells.
    for arm in run.result["overall"]:
        if arm["k"] is not None:
            replayed = curve[arm["k"]]["tokens_per_step"]
            assert replayed == pytest.approx(arm["tokens_per_step"], rel=0.06), f"K = {arm['k']}"
    (choice,) = [each for each in run.result["recommendations"] if each["category"] == "all"]
    assert choice["command"].startswith(str(llama_server))
    assert "--port" not in choice["command"]
    assert choice["off"] != ("--spec-draft-n-max" in choice["command"])


@pytest.mark.real
def test_a_server_that_takes_k_per_request_gives_the_curve_on_one_load(
    machine: Real, old_xllamacpp_python: Path, sure_pair: tuple[Path, Path]
) -> None:
    target, draft = sure_pair
    sweep = {"k": "curve"}
    program = f"embedded:{old_xllamacpp_python}"
    run = machine.run(machine.profile(program, {"T": target}, {"D": draft}, sweep=sweep, measure=MEASURE))
    assert run.code == 0
    assert len(of_draft(run, "D")) == 1
    ks = {found.step.k for found in run.view.steps.values() if found.step.k is not None}
    assert 24 in ks
    assert 2 <= len(ks) <= 3


@pytest.mark.real
def test_an_honest_draft_changes_no_text_and_one_that_makes_it_up_is_caught(
    machine: Real, llama_server: Path, sure_pair: tuple[Path, Path]
) -> None:
    target, draft = sure_pair
    measure = {**MEASURE, "workloads": ["content", "lossless"]}
    sweep = {"k": [4]}
    honest = machine.profile(llama_server, {"T": target}, {"D": draft}, sweep=sweep, measure=measure)
    run = machine.run(honest)
    assert run.code == 0
    states = {(found["workload"], found["draft"]): found["lossless"]["state"] for found in run.result["measurements"]}
    assert set(states) == {(workload, arm) for workload in ("content", "lossless") for arm in (None, "D")}
    assert set(states.values()) <= {"identical", "near_tie"}
    compared = [found["lossless"]["tokens"] for found in run.result["measurements"] if found["workload"] == "lossless"]
    assert min(compared) >= 3 * 64, "whole answers to every prompt"

    program = making_it_up(machine.folder, llama_server)
    caught = machine.run(
        machine.profile(program, {"T": target}, {"D": draft}, name="caught", sweep=sweep, measure=MEASURE)
    )
    (drafted,) = [found for found in caught.result["measurements"] if found["draft"] == "D"]
    assert "output_differs" in drafted["verdicts"]
    assert drafted["lossless"]["diverges_at"] is not None
    assert any(fact.verdict == "output_differs" for fact in caught.facts(ev.VerdictRaised))
    assert all(each["draft"] is None for each in caught.result["recommendations"])


@pytest.mark.real
@pytest.mark.parametrize(
    ("ks", "made_up"), [([8, 16], False), ([4], True)], ids=["sound, K 8 and 16", "made-up acceptance"]
)
def test_two_threads_in_bf16_are_held_against_their_own_rounding(
    machine: Real, llama_server: Path, rounding_pair: tuple[Path, Path], ks: list[int], made_up: bool
) -> None:
    target, draft = rounding_pair
    program = making_it_up(machine.folder, llama_server) if made_up else llama_server
    categories = ("coding", "story", "science")
    prompts = [
        {"category": name, "prompt": f"{name}, {each['prompt']} " * (5 + turn)}  # long ones are read in several batches
        for turn, name in enumerate(categories)
        for each in PROMPTS[:2]
    ]
    profile = machine.profile(
        program,
        {"T": target},
        {"D": draft},
        # Two threads that wait for each other without spinning: several servers share few cores.
        engine={"args": ["-c", "4096", "-t", "2", "-tb", "2"], "env": {"OMP_WAIT_POLICY": "passive"}},
        sweep={"k": ks},
        measure={"max_tokens": 64, "iterations": 2, "prompts": str(machine.prompts(prompts, "three"))},
    )
    run = machine.run(profile)
    checks = run.facts(ev.TextChecked)
    assert {bool(check.cached_tokens) for check in checks} == {False, True}
    arms = [found for found in run.result["measurements"] if found["k"] is not None]
    assert len(arms) == len(categories) * len(ks)
    rounding = arms[0]["lossless"]["rounding"]
    assert rounding["places"] >= 200
    assert 0 <= rounding["usual_nats"] <= rounding["largest_nats"]
    accused = {found["k"] for found in arms if "output_differs" in found["verdicts"]}
    assert accused == (set(ks) if made_up else set())


@pytest.mark.real
def test_two_passes_put_the_baseline_at_both_ends(
    machine: Real, llama_server: Path, sure_pair: tuple[Path, Path]
) -> None:
    target, draft = sure_pair
    measure = {**MEASURE, "passes": 2}
    run = machine.run(machine.profile(llama_server, {"T": target}, {"D": draft}, sweep={"k": [2, 6]}, measure=measure))
    assert run.code == 0
    assert [load.key.k_startup for load in run.view.loads.values()] == [None, 6, 2, 6, None]
    assert {len(found.good) for found in run.view.steps.values()} == {6}
    (anchor,) = run.result["anchors"]
    assert anchor["n"] == 3


@pytest.mark.real
def test_what_reading_the_prompt_takes_of_a_gain_is_told_with_it(
    machine: Real, llama_server: Path, tmp_path: Path
) -> None:
    """Long prompts and short answers: the draft reads the prompt too, and has few tokens to make up for it.

    Whether the machine was quiet enough to tell is not asserted; that what is said is what the samples say, is.
    """
    target, draft = write_pair(tmp_path, shape=Shape(width=384, ffn=1024, layers=6), epsilon=0.0)
    question = " What is the price of each item in the table and how many of them are left today?" * 12
    prompts = [{"category": "coding", "prompt": f"{name}{question}"} for name in ("one", "two", "three")]
    measure = {"prompts": str(machine.prompts(prompts, "long")), "max_tokens": 24, "iterations": 6}
    run = machine.run(machine.profile(llama_server, {"T": target}, {"D": draft}, measure=measure))
    assert run.code == 0
    base, arm = (each["summary"] for each in run.result["measurements"])
    assert all(0 <= each["ci95"][0] <= each["mean"] <= each["ci95"][1] for each in (*base.values(), *arm.values()))
    (choice, _) = run.result["recommendations"]
    assert run.path is not None
    for name, words in (("report.md", ("prefill", "TTFT", "total")), ("report.html", ("first token", "whole answer"))):
        text = (run.path / name).read_text()
        assert all(word in text for word in words)
    whole = choice["whole_answer"]
    if choice["off"]:  # so noisy a machine that not even the decoding can be told to be faster
        assert whole is None
        return
    assert whole["n"] == 6
    assert (whole["ttft_s"], whole["baseline_ttft_s"]) == pytest.approx((arm["ttft_s"]["mean"], base["ttft_s"]["mean"]))
    assert whole["ratio"] == pytest.approx(arm["total_time_s"]["mean"] / base["total_time_s"]["mean"])
    low, high = whole["ci95"]
    assert ("but whole answers, as measured, take" in choice["reason"]) == (low > 1)
    assert ("cannot be told" in choice["reason"].partition("whole answers are faster too")[2]) == (low <= 1 <= high)
    print(f"{choice['speedup']:.2f} x in decoding, whole answers {whole['ratio']:.2f} ({low:.2f} to {high:.2f})")
