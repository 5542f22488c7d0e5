"""What real programs say when they cannot do what is asked, and what a user is told."""

from __future__ import annotations

import sys
from pathlib import Path

import gguf
import pytest

from specdash.core import events as ev
from tests.support.machine import assert_complete
from tests.support.real_machine import ONE_THREAD, Real

pytestmark = pytest.mark.real


def copied(source: Path, path: Path) -> Path:
    """A copy of a model under another name."""
    path.write_bytes(source.read_bytes())
    return path


def test_a_model_that_was_cut_is_not_loaded(machine: Real, pair: tuple[Path, Path], llama_server: Path) -> None:
    """A download that broke off: the header is whole, the tensors behind it are not."""
    cut = machine.folder / "cut.gguf"
    content = pair[0].read_bytes()
    data = gguf.GGUFReader(pair[0]).data_offset
    cut.write_bytes(content[: data + (len(content) - data) // 2])
    run = machine.run(machine.profile(llama_server, {"T": cut}))
    assert (run.code, run.path) == (3, None)
    assert "it.toml:" in run.stderr
    assert "cut.gguf" in run.stderr
    assert "truncated" in run.stderr or "cut" in run.stderr.replace("cut.gguf", "")


@pytest.mark.parametrize("build", ["b11669", "current", "0.2.14"])
def test_an_unknown_flag(
    machine: Real,
    pair: tuple[Path, Path],
    build: str,
    llama_server: Path,
    embedded_available: None,
    old_xllamacpp_python: Path,
) -> None:
    program = {"b11669": llama_server, "current": "embedded", "0.2.14": f"embedded:{old_xllamacpp_python}"}[build]
    run = machine.run(machine.profile(program, {"T": pair[0]}, engine={"args": ["--no-such-flag"]}))
    assert run.code == 3
    assert_complete(run)
    (load,) = run.facts(ev.LoadFinished)
    assert load.state == "failed"
    assert any("invalid argument: --no-such-flag" in line for line in load.log_tail)
    assert "This build does not know a flag in engine.args" in (load.hint or "")
    assert "invalid argument: --no-such-flag" in run.stderr, "the line of the log that tells"
    assert "This build does not know a flag in engine.args" in run.stderr, "and what to do"
    assert len(run.facts(ev.LoadStarted)) == 1, "the same flag would be refused again"


def test_a_context_too_small_for_the_prompt(machine: Real, pair: tuple[Path, Path], llama_server: Path) -> None:
    """Refused by the server, and said so; the category that fits is measured."""
    prompts = [
        {"category": "short", "prompt": "Count the words of this line, and say how many there are."},
        {"category": "long", "prompt": "Then add all the numbers of the table, line by line, and print them. " * 60},
    ]
    profile = machine.profile(
        llama_server,
        {"T": pair[0]},
        engine={"args": [*ONE_THREAD, "-c", "256"]},
        measure={"prompts": str(machine.prompts(prompts, "own"))},
    )
    run = machine.run(profile)
    assert_complete(run)
    assert run.code == 1
    assert run.only(category="short").status == "ok"
    found = run.only(category="long")
    assert (found.status, found.verdicts) == ("failed", ("prompt_too_long",))
    assert "context size (256 tokens)" in (found.error or "")
    assert "context size (256 tokens)" in run.stderr


def test_a_refusal_that_no_draft_and_no_k_changes_costs_one_load(
    machine: Real, pair: tuple[Path, Path], llama_server: Path
) -> None:
    """One server counts the prompts; arguments tell what another configuration has; the one with room measures."""
    prompts = [{"category": "long", "prompt": "Then add all the numbers of the table, and print them. " * 60}]
    args = [word for word in ONE_THREAD if word not in ("-c", "4096")]
    profile = machine.profile(
        llama_server,
        {"T": pair[0]},
        {"D": pair[1], "E": copied(pair[1], machine.folder / "e.gguf")},
        engine={"args": args, "k_scope": "startup"},
        configs={"small": ["-c", "512"], "kv": ["-c", "512", "-ctk", "q8_0", "-fa", "on"], "large": ["-c", "4096"]},
        sweep={"k": [2, 4]},
        measure={"prompts": str(machine.prompts(prompts, "own")), "max_tokens": 16, "iterations": 1, "warmup": 0},
    )
    run = machine.run(profile)
    assert_complete(run)
    assert run.code == 1
    started = [load.key.config for load in run.facts(ev.LoadStarted)]
    assert started.count("small") == 1
    assert started.count("kv") == 0
    assert started.count("large") == 5
    for found in run.view.steps.values():
        is_large = found.step.config == "large"
        assert (found.status == "ok") == is_large, (found.step.id, found.error)
        assert ("prompt_too_long" in found.verdicts) != is_large
    (tokens,) = {found.samples[0].prompt_tokens for found in run.view.steps.values() if found.samples}
    told = next(found.error for found in run.view.steps.values() if found.step.config == "small")
    assert tokens is not None
    assert f"has {tokens} tokens, too many for the context size (512 tokens)" in (told or "")
    assert f"-c {-(-(tokens + 16) // 256) * 256} has room" in (told or "")


def test_a_flag_that_no_server_of_a_target_takes_is_tried_once(
    machine: Real, pair: tuple[Path, Path], llama_server: Path
) -> None:
    """The baseline has all that its arms have: neither a draft nor a K makes up for it."""
    profile = machine.profile(
        llama_server,
        {"T": pair[0]},
        {"D": pair[1], "E": copied(pair[1], machine.folder / "e.gguf")},
        engine={"args": ["--no-such-flag"], "k_scope": "startup"},
        sweep={"k": [2, 4]},
    )
    run = machine.run(profile)
    assert_complete(run)
    assert run.code == 3
    assert len(run.facts(ev.LoadStarted)) == 1
    assert all("invalid argument: --no-such-flag" in (found.error or "") for found in run.view.steps.values())


def test_a_context_that_ends_an_answer(machine: Real, pair: tuple[Path, Path], llama_server: Path) -> None:
    """A prompt that fits, with no room for the whole answer: not counted, and not passed over in silence either."""
    prompts = [
        {"category": "mixed", "prompt": "Count the words of this line, and say how many there are."},
        {"category": "mixed", "prompt": "Then add the numbers of the table, line by line. " * 14},
    ]
    profile = machine.profile(
        llama_server,
        {"T": pair[0]},
        engine={"args": [*ONE_THREAD, "-c", "256"]},
        measure={"prompts": str(machine.prompts(prompts, "own")), "max_tokens": 128},
    )
    run = machine.run(profile)
    assert_complete(run)
    (found,) = run.steps()
    by_prompt = {sample.prompt_id: (sample.status, sample.reasons) for sample in found.samples}
    assert by_prompt == {"mixed-1": ("ok", ()), "mixed-2": ("invalid", ("context_full",))}
    assert (found.status, found.verdicts) == ("ok", ("context_full",))
    assert "1 of 2 samples are missing" in run.stderr


def test_a_python_without_xllamacpp(machine: Real, pair: tuple[Path, Path]) -> None:
    bare = machine.folder / "bare-python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    bare.chmod(0o755)
    run = machine.run(machine.profile(f"embedded:{bare}", {"T": pair[0]}))
    assert (run.code, run.path) == (3, None)
    assert "xllamacpp" in run.stderr
    assert "pip install" in run.stderr
    assert len(run.stderr.strip().splitlines()) <= 3, "one error"
