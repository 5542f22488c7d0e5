"""Answers that are none, on whole runs: each is named as what it is, and asked for no more often than helps."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.machine import Machine, Run, assert_complete

FAKE = Path(__file__).parents[1] / "fakes" / "openai_server.py"
TEMPLATE = (
    "{% for message in messages %}{% if message.reasoning_content %}<think>\n{{ message.reasoning_content }}\n"
    "</think>\n{% endif %}{{ message.content }}\n{% endfor %}{% if add_generation_prompt %}<think>\n{% endif %}"
)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine of the test's own."""
    found = Machine(tmp_path)
    yield found
    found.close()


def profile(machine: Machine, engine: dict[str, Any], **measure: Any) -> Path:
    """A baseline alone, of one category of three prompts with three samples each of 24 tokens."""
    prompts = machine.folder / "three.jsonl"
    lines = [{"category": "mine", "prompt": f"Tell me of {each}, and then more of it. "} for each in ("a", "b", "c")]
    prompts.write_text("".join(json.dumps(each) + "\n" for each in lines))
    settings: dict[str, Any] = {
        "name": "it",
        "hardware": "bench",
        "engine": engine,
        "targets": [{"label": "T", "model": "m"}],
        "sweep": {"methods": []},
        "measure": {"prompts": str(prompts), "max_tokens": 24, "iterations": 3, "warmup": 0} | measure,
        "limits": {"inhibit_sleep": False},
        "results": {"dir": str(machine.results)},
    }
    return machine.write_profile("it", settings)


def run_of(machine: Machine, iterations: int, **behaviour: Any) -> tuple[Run, int]:
    """A run on the fake server, and how many answers were asked of it."""
    log = machine.folder / "requests.jsonl"
    how = json.dumps(behaviour | {"log": str(log)})
    command = [sys.executable, str(FAKE), "--flavour", "plain", "--port", "{port}"]
    engine = {"kind": "openai", "launch": command, "env": {"FAKE_OPENAI": how}, "health": "/health"}
    run = machine.run(profile(machine, engine, iterations=iterations))
    assert_complete(run)
    asked = [json.loads(line) for line in log.read_text().splitlines()]
    return run, sum(bool((each["body"] or {}).get("stream")) for each in asked)


@pytest.mark.parametrize(
    ("verdict", "behaviour"),
    [
        ("no_text", {"tokens": 0, "finish": "stop"}),
        ("context_full", {"tokens": 5}),
        ("all_thoughts", {"tokens": 24, "hidden": True}),
    ],
)
def test_a_prompt_is_asked_once_where_every_try_gives_the_same_answer(
    machine: Machine, verdict: str, behaviour: dict[str, Any]
) -> None:
    """Five samples of three prompts: three requests, not five nor fifteen; and no advice to try another build."""
    run, asked = run_of(machine, 5, **behaviour)
    assert run.code == 1
    (found,) = run.view.steps.values()
    assert (found.status, found.verdicts) == ("invalid", (verdict,))
    assert asked == len(found.samples) == 3
    assert verdict in run.stderr
    assert "another build" not in run.stderr + run.stdout


def test_a_fault_of_form_that_comes_three_times_running_ends_the_step(machine: Machine) -> None:
    """The answer has no usage, whoever asks: three tries tell, and nine would tell no more."""
    run, asked = run_of(machine, 3, no_usage=True)
    (found,) = run.view.steps.values()
    assert (found.status, asked, len(found.samples)) == ("invalid", 3, 3)
    assert "the answer has no usage" in str(found.error)


@pytest.mark.real
@pytest.mark.parametrize("kind", ["llama-server", "openai"])
def test_a_real_server_whose_context_is_full_is_told_from_one_that_miscounts(
    machine: Machine, kind: str, tiny_models: Path, llama_server: Path
) -> None:
    """256 tokens hold the prompt and not the answer: the chat API says so by finish_reason alone."""
    model, flags = tiny_models / "target.gguf", ["-c", "256", "-t", "1"]
    engine: dict[str, Any] = {"kind": kind, "program": str(llama_server), "args": flags}
    if kind == "openai":
        command = [str(llama_server), "-m", str(model), "--port", "{port}", "-np", "1", *flags]
        engine = {"kind": kind, "launch": command}
    path = profile(machine, engine, max_tokens=250)
    text = path.read_text()
    path.write_text(text.replace('model = "m"', f'path = "{model}"') if kind == "llama-server" else text)
    run = machine.run(path)
    assert_complete(run)
    (found,) = run.view.steps.values()
    assert (found.status, found.verdicts, len(found.samples)) == ("invalid", ("context_full",), 3), found.error
    assert all(0 < (sample.generated_tokens or 0) < 250 for sample in found.samples)


@pytest.mark.real
def test_a_real_server_that_only_thinks_is_measured_and_said_to_think(
    machine: Machine, tiny_models: Path, llama_server: Path
) -> None:
    template = machine.folder / "thinking.jinja"
    template.write_text(TEMPLATE)
    command = [str(llama_server), "-m", str(tiny_models / "target.gguf"), "--port", "{port}", "-np", "1", "-t", "1"]
    engine = {"kind": "openai", "launch": [*command, "-c", "1024", "--jinja", "--chat-template-file", str(template)]}
    run = machine.run(profile(machine, engine))
    assert_complete(run)
    assert run.code == 0, run.stderr
    (found,) = run.view.steps.values()
    assert (found.status, found.verdicts) == ("ok", ("all_thoughts",))
    assert [sample.all_thoughts for sample in found.good] == [True] * 3
    assert "3 of 3 answers were thoughts alone" in run.stderr
