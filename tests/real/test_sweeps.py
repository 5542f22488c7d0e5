"""The same sweep on three llama.cpps: how many loads each needs, and that every K is the one that was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from specdash.core import events as ev
from tests.support.machine import Run, assert_complete, assert_each_block_once, assert_gone, descendants
from tests.support.real_machine import Real, of_draft, scopes, values_of

pytestmark = pytest.mark.real
KS = [2, 4, 8]


def sweep(machine: Real, program: object, pair: tuple[Path, Path]) -> Path:
    measure = {"max_tokens": 96, "iterations": 3}
    return machine.profile(program, {"T": pair[0]}, {"D": pair[1]}, sweep={"k": KS}, measure=measure)


def by_k(run: Run) -> dict[int | None, dict[str, Any]]:
    return {each["k"]: each for each in run.result["measurements"]}


def test_one_sweep_on_three_builds(
    machine: Real, pair: tuple[Path, Path], llama_server: Path, embedded_available: None, old_xllamacpp_python: Path
) -> None:
    """K at start-up costs a load for each K, K per request one for all; what is measured is the same."""
    expected = {
        str(llama_server): (4, ["startup"] * 3, "spec-draft"),
        "embedded": (4, ["startup"] * 3, "spec-draft"),
        f"embedded:{old_xllamacpp_python}": (2, ["request"], "draft-max"),
    }
    accepted: dict[int, list[float]] = {k: [] for k in KS}
    for program, (loads, found, dialect) in expected.items():
        run = machine.run(sweep(machine, program, pair))
        assert_complete(run)
        assert run.code == 0, run.stderr
        assert_each_block_once(run, 3)
        assert len(run.view.loads) == loads
        assert scopes(run) == found
        assert run.view.engine is not None
        assert run.view.engine.dialect == dialect
        assert_argv(run, pair, dialect)
        measured = by_k(run)
        assert {k: each["status"] for k, each in measured.items()} == dict.fromkeys([None, *KS], "ok")
        assert {k: each["k_seen"] for k, each in measured.items()} == {None: None, 2: 2, 4: 4, 8: 8}
        for k in KS:
            assert measured[k]["speedup"]
            accepted[k].append(measured[k]["acceptance_rate"])
    for rates in accepted.values():
        assert max(rates) - min(rates) < 0.03, accepted
    means = [sum(rates) / 3 for rates in accepted.values()]
    assert 1 > means[0] > means[1] > means[2] > 0.1, "a longer draft is accepted less"


def assert_argv(run: Run, pair: tuple[Path, Path], dialect: str) -> None:
    """Each load's command: a baseline knows of no draft, a load with one says how many tokens and that all count."""
    (baseline,) = of_draft(run, None)
    assert not [arg for arg in baseline.argv if "draft" in arg and arg.startswith("-")]
    assert "-md" not in baseline.argv
    assert "--spec-type" not in baseline.argv
    names = {
        "spec-draft": ("--spec-draft-n-max", "--spec-draft-n-min", "--spec-draft-p-min"),
        "draft-max": ("--draft-max", "--draft-min", "--draft-p-min"),
    }
    longest, shortest, surest = names[dialect]
    for load in run.view.loads.values():
        assert values_of(load.argv, "-m") == [str(pair[0])]
        if load.key.draft is None:
            continue
        assert values_of(load.argv, "-md") == [str(pair[1])]
        assert values_of(load.argv, "--spec-type") == (["draft-simple"] if dialect == "spec-draft" else [])
        assert values_of(load.argv, longest) == [str(load.key.k_startup)]
        assert values_of(load.argv, shortest) == values_of(load.argv, surest) == ["0"]
    first = next(load for load in run.view.loads.values() if load.key.draft)
    assert first.key.k_startup == max(KS)


def test_a_forced_scope_makes_no_k_true(machine: Real, pair: tuple[Path, Path], llama_server: Path) -> None:
    profile = machine.profile(
        llama_server, {"T": pair[0]}, {"D": pair[1]}, sweep={"k": KS}, engine={"k_scope": "request"}
    )
    run = machine.run(profile)
    assert_complete(run)
    assert run.code == 1
    assert len(run.view.loads) == 2
    outcome = {k: (each["status"], each["verdicts"], each["k_seen"]) for k, each in by_k(run).items()}
    assert outcome == {
        None: ("ok", [], None),
        2: ("invalid", ["k_not_effective"], 8),
        4: ("invalid", ["k_not_effective"], 8),
        8: ("ok", [], 8),
    }
    for k in (2, 4):
        assert not by_k(run)[k]["summary"]
        assert not by_k(run)[k]["speedup"]
    assert "k_not_effective" in run.stderr


def test_killed_in_the_middle_and_resumed(machine: Real, pair: tuple[Path, Path], llama_server: Path) -> None:
    command = machine.headless(sweep(machine, llama_server, pair))
    command.until("sample T . D .* #2")
    family = descendants(command.process.pid)
    assert len(family) == 2, "a guard and its server"
    killed = command.kill()
    assert_gone(family)
    run = machine.resume(killed.path)
    assert_complete(run)
    assert run.code == 0, run.stderr
    assert_each_block_once(run, 3)
    assert run.records[: len(killed.records)] == killed.records
    taken = [(fact.step, fact.sample.block) for fact in run.facts(ev.SampleTaken)]
    assert len(set(taken)) == len(taken) == 4 * 3, "no sample twice"
    assert len(killed.facts(ev.SampleTaken)) == 5
    # The load that was killed is started again; nothing else is.
    started = [load.key.k_startup for load in run.view.loads.values()]
    assert started[:2] == [None, 8]
    assert sorted(k for k in started if k) == [2, 4, 8, 8]
    assert {k: each["k_seen"] for k, each in by_k(run).items()} == {None: None, 2: 2, 4: 4, 8: 8}


def test_a_repeated_prompt_is_not_replayed(machine: Real, pair: tuple[Path, Path], old_xllamacpp_python: Path) -> None:
    """Builds of early 2026 keep the last draft of a prompt, and would accept all of it the second time."""
    prompt = {"category": "coding", "prompt": "Sort the words of this line, then say how long it took."}
    only = machine.prompts([prompt], "only")
    profile = machine.profile(
        f"embedded:{old_xllamacpp_python}",
        {"T": pair[0]},
        {"D": pair[1]},
        sweep={"k": [4]},
        measure={"prompts": str(only), "iterations": 4, "max_tokens": 64},
    )
    run = machine.run(profile)
    assert_complete(run)
    assert run.code == 0, run.stderr
    samples = run.only(draft="D").good
    assert len(samples) == 4
    assert len({(sample.draft_tokens, sample.accepted_tokens, sample.text_hash) for sample in samples}) == 1
    assert samples[0].accepted_tokens is not None
    assert samples[0].draft_tokens is not None
    assert samples[0].accepted_tokens < samples[0].draft_tokens
    assert {sample.cached_tokens for sample in samples} == {0}
