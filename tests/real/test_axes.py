"""What else a load can differ in: experts, configurations, a wrapper; and what a request can: depth and template."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from specdash.core import events as ev
from specdash.core.measure import Sample
from specdash.core.step_state import StepState
from specdash.engines.demo import Shape, write_moe
from tests.support.machine import Run, assert_complete, assert_each_block_once, descendants
from tests.support.real_machine import PROMPTS, TEMPLATE, Real, add_template, change_vocabulary, scopes, values_of
from tests.support.real_programs import absent

pytestmark = pytest.mark.real


def measure(machine: Real, profile: Path, code: int = 0) -> Run:
    run = machine.run(profile)
    assert_complete(run)
    assert run.code == code, run.stderr
    return run


@pytest.fixture(scope="session")
def moe(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A mixture of experts that is large enough for its experts to be what takes time."""
    shape = Shape(width=256, ffn=1024, layers=3, experts=8)
    return write_moe(tmp_path_factory.mktemp("moe"), shape=shape)


def test_expert_counts_are_loads_with_speeds_of_their_own(
    machine: Real, moe: tuple[Path, Path], llama_server: Path
) -> None:
    sweep = {"k": [4], "moe_experts": [2, 8]}
    settings = {"max_tokens": 32, "iterations": 3}
    run = measure(machine, machine.profile(llama_server, {"M": moe[0]}, {"D": moe[1]}, sweep=sweep, measure=settings))
    assert_each_block_once(run, 3)
    loads = [(load.key.draft, load.key.value("moe_experts")) for load in run.view.loads.values()]
    assert loads == [(None, 2), (None, 8), ("D", 2), ("D", 8)], "two is the model's own count, and measured once"
    for load in run.view.loads.values():
        assert values_of(load.argv, "--override-kv") == [f"llama.expert_used_count=int:{load.key.value('moe_experts')}"]
    two, eight = (best_rate(run.only(draft=None, moe_experts=count)) for count in (2, 8))
    assert two > 1.5 * eight
    for each in run.result["measurements"]:
        assert (each["speedup"] is None) == (each["draft"] is None)


def best_rate(found: StepState) -> float:
    """The best of a step's rates: whatever else runs on this machine only ever makes one smaller."""
    return max(sample.decode_tok_s or 0 for sample in found.good)


def test_the_models_own_expert_count_is_the_reference(
    machine: Real, tiny_moe: tuple[Path, Path], llama_server: Path
) -> None:
    run = measure(machine, machine.profile(llama_server, {"M": tiny_moe[0]}, sweep={"moe_experts": [4, 8]}))
    argv = {load.key.value("moe_experts"): values_of(load.argv, "--override-kv") for load in run.view.loads.values()}
    assert argv == {None: [], 4: ["llama.expert_used_count=int:4"], 8: ["llama.expert_used_count=int:8"]}


def test_experts_that_the_embedded_engine_cannot_set(
    machine: Real, tiny_moe: tuple[Path, Path], embedded_available: None
) -> None:
    run = machine.run(machine.profile("embedded", {"M": tiny_moe[0]}, sweep={"moe_experts": [4, 8]}))
    assert_complete(run)
    assert run.code == 1
    assert {found.step.value("moe_experts"): found.status for found in run.view.steps.values()} == {
        None: "ok",
        4: "skipped",
        8: "skipped",
    }
    assert "use the llama-server program" in run.stderr
    assert len(run.view.loads) == 1, "no server is started that must fail"


def test_configurations_are_loads_of_their_own(machine: Real, pair: tuple[Path, Path], llama_server: Path) -> None:
    kinds = {"plain": [], "kv-q8": ["-ctk", "q8_0"]}
    run = measure(machine, machine.profile(llama_server, {"T": pair[0]}, {"D": pair[1]}, configs=kinds))
    assert_each_block_once(run, 2)
    assert sorted((load.key.config, load.key.draft or "") for load in run.view.loads.values()) == [
        ("kv-q8", ""),
        ("kv-q8", "D"),
        ("plain", ""),
        ("plain", "D"),
    ]
    for load in run.view.loads.values():
        assert values_of(load.argv, "-ctk") == (["q8_0"] if load.key.config == "kv-q8" else [])
    assert {(each["config"], bool(each["speedup"])) for each in run.result["measurements"] if each["k"]} == {
        ("plain", True),
        ("kv-q8", True),
    }


@pytest.mark.parametrize("build", ["b11669", "0.2.14"])
def test_depth_is_filled_and_processed(
    machine: Real, pair: tuple[Path, Path], build: str, llama_server: Path, old_xllamacpp_python: Path
) -> None:
    program = llama_server if build == "b11669" else f"embedded:{old_xllamacpp_python}"
    run = measure(machine, machine.profile(program, {"T": pair[0]}, {"D": pair[1]}, sweep={"depth": [0, 512]}))
    assert_each_block_once(run, 2)
    assert len(run.view.loads) == 2, "depth is a matter of the request"
    for draft in (None, "D"):
        (shallow,), (deep,) = run.steps(draft=draft, depth=0), run.steps(draft=draft, depth=512)
        for before, after in zip(sorted_by_block(shallow.good), sorted_by_block(deep.good), strict=True):
            assert before.prompt_id == after.prompt_id
            assert 507 <= (after.prompt_tokens or 0) - (before.prompt_tokens or 0) <= 517
            assert (before.cached_tokens, after.cached_tokens) == (0, 0)


def sorted_by_block(samples: tuple[Sample, ...]) -> list[Sample]:
    return sorted(samples, key=lambda sample: sample.block)


def test_a_draft_of_another_vocabulary_is_never_loaded(
    machine: Real, pair: tuple[Path, Path], llama_server: Path
) -> None:
    drafts = {"unfit": change_vocabulary(pair[1], machine.folder / "unfit.gguf"), "D": pair[1]}
    run = measure(machine, machine.profile(llama_server, {"T": pair[0]}, drafts), code=1)
    skipped = run.only(draft="unfit")
    assert (skipped.status, skipped.verdicts, skipped.samples) == ("skipped", ("draft_unfit",), ())
    assert skipped.error
    assert "vocabular" in skipped.error or "token" in skipped.error
    assert [load.key.draft for load in run.view.loads.values()] == [None, "D"]
    kinds = [type(recorded.fact) for recorded in run.records]
    assert kinds.index(ev.StepFinished) < kinds.index(ev.LoadStarted), "said before anything is loaded"
    assert skipped.error in run.stderr.replace("\n", " ")


def test_wrapped_in_numactl(machine: Real, pair: tuple[Path, Path], llama_server: Path) -> None:
    """The policy and the processors that numactl gave are those of the server that was measured."""
    if shutil.which("numactl") is None:
        absent("no numactl: apt-get install numactl")
    wrap = ["numactl", "--interleave=all", "--physcpubind=0"]
    if subprocess.run([*wrap, "true"], check=False).returncode:
        absent("numactl may not set a memory policy here: give the container SYS_NICE")
    profile = machine.profile(
        llama_server,
        {"T": pair[0]},
        {"D": pair[1]},
        engine={"wrap": wrap},
        measure={"max_tokens": 256, "iterations": 8},
    )
    command = machine.headless(profile)
    command.until("load l001: ready")
    _guard, server = descendants(command.process.pid)
    assert server.cpu_affinity() == [0]
    mappings = Path(f"/proc/{server.pid}/numa_maps").read_text().splitlines()
    run = command.end()
    assert_complete(run)
    assert run.code == 0, run.stderr
    assert mappings
    assert all(line.split()[1].startswith("interleave") for line in mappings), mappings[:3]
    for load in run.view.loads.values():
        assert load.argv[: len(wrap) + 1] == (*wrap, str(llama_server))
    assert len(run.view.loads) == 2


CONVERSATION = [
    {"role": "system", "content": "You answer in few words."},
    {"role": "user", "content": "What is in this file, and what does the first line of it say?"},
    {"role": "assistant", "content": "A table."},
    {"role": "user", "content": "And the order of its columns?"},
]


@pytest.mark.parametrize("build", ["b11669", pytest.param("current", marks=pytest.mark.slow), "0.2.14"])
def test_prompts_go_through_the_models_template(
    machine: Real,
    pair: tuple[Path, Path],
    build: str,
    llama_server: Path,
    embedded_available: None,
    old_xllamacpp_python: Path,
) -> None:
    """The same prompts take as many more tokens as the template adds, on every build."""
    program = {"b11669": llama_server, "current": "embedded", "0.2.14": f"embedded:{old_xllamacpp_python}"}[build]
    prompts: list[dict[str, object]] = [dict(PROMPTS[0]), {"category": "talk", "messages": CONVERSATION}]
    plain = {"T": pair[0]}
    chat = {"T": add_template(pair[0], machine.folder / "chat.gguf")}
    settings = {"prompts": str(machine.prompts(prompts, "own"))}
    counts = []
    for targets in (plain, chat):
        run = measure(machine, machine.profile(program, targets, measure=settings))
        counts.append({found.step.category: {each.prompt_tokens for each in found.good} for found in run.steps()})
        assert scopes(run) == []
    before, after = counts
    assert set(before) == {"coding", "talk"}
    rendered = {
        "coding": [{"role": "user", "content": PROMPTS[0]["prompt"]}],
        "talk": CONVERSATION,
    }
    for category, messages in rendered.items():
        (templated,) = after[category]
        assert templated == tokens(machine, llama_server, pair[0], template(messages)), category
        assert {templated} != before[category]


def template(messages: list[dict[str, str]]) -> str:
    """What `TEMPLATE` makes of a conversation."""
    turns = "".join(f"[{message['role']}] {message['content']}\n" for message in messages)
    assert "[{{ message.role }}] {{ message.content }}" in TEMPLATE
    return f"{turns}[assistant] the answer is here:"


def tokens(machine: Real, llama_server: Path, model: Path, text: str) -> int:
    """How many tokens a text has, with the beginning-of-sequence token, by llama.cpp's own tokenizer program."""
    file = machine.folder / "text"
    file.write_text(text)
    program = str(llama_server.with_name("llama-tokenize"))
    command = [program, "-m", str(model), "-f", str(file), "--ids", "--log-disable"]
    found = subprocess.run(command, check=True, capture_output=True, text=True, env=machine.environment())
    return len(json.loads(found.stdout))


@pytest.mark.parametrize(("which", "n_min"), [("tiny", [0, 2]), ("SmolLM2", [])])
def test_p_min_makes_k_a_ceiling_that_whole_drafts_prove(
    machine: Real, pair: tuple[Path, Path], small_models: Path, which: str, n_min: list[int], llama_server: Path
) -> None:
    """K x p_min: each value is a load, all share one baseline, and no draft is longer than K."""
    smol = small_models / "smol-q4_1.gguf", small_models / "smol-q2_k.gguf"
    target, draft = pair if which == "tiny" else smol
    machine.limit_s = 600
    sweep = {"k": [2, 4], "p_min": [0, 0.75], "n_min": n_min}
    settings = {"max_tokens": 24, "iterations": 2, "warmup": 0}
    run = measure(machine, machine.profile(llama_server, {"T": target}, {"D": draft}, sweep=sweep, measure=settings))
    assert_each_block_once(run, 2)
    for load in run.view.loads.values():
        if load.key.speculates:
            assert values_of(load.argv, "--spec-draft-p-min") == [f"{load.key.value('p_min'):g}"]
            assert values_of(load.argv, "--spec-draft-n-min") == [str(load.key.value("n_min"))]
        else:
            assert not [word for word in load.argv if word.startswith("--spec")]
    drafted = [found for found in run.view.steps.values() if found.step.speculates]
    assert len(drafted) == 4 * len(n_min or [0])
    assert {found.step.baseline() for found in drafted} == {run.only(draft=None).step}
    for found in drafted:
        seen = max((sample.k_seen or 0 for sample in found.good), default=0)
        assert seen == found.step.k if not found.step.is_ceiling else seen <= (found.step.k or 0)
        assert "k_unproven" not in found.verdicts, "drafts of the same K at p_min 0 reached it"
    rows = [each["stages"][0] for each in run.result["measurements"] if each["stages"]]
    assert {(each["n_max"], each["p_min"], each["n_min"]) for each in rows} == {
        (k, p_min, least) for k in (2, 4) for p_min in (0, 0.75) for least in n_min or [0]
    }
    assert run.path is not None
    html = (run.path / "report.html").read_text("utf-8")
    assert "Speedup of each draft by its parameters and K" in html
    assert "D p_min=0.75" in html
