"""The example profiles of engines beside llama-server, as they stand in the repository, on models of the demo recipe.

Only what names this machine is changed: HOME has the models, PATH the programs, and specdash-mlx gets its interpreter.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from specdash.core.methods import BASELINE
from tests.support.machine import Run, assert_complete
from tests.support.paths import ROOT
from tests.support.real_machine import ONE_THREAD, Real

PROFILES = ROOT / "profiles"


def run_example(machine: Real, name: str, *changes: tuple[str, str], path: Path | None = None) -> Run:
    """An example profile, copied into the machine and run there, with these replacements and folders on PATH."""
    text = (PROFILES / f"{name}.toml").read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    copied = machine.folder / f"{name}.toml"
    copied.write_text(text)
    # On Linux mlx would run a C++ compiler the first time that it samples, for up to a quarter of a minute.
    env = {"MLX_DISABLE_COMPILE": "1", "PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"]}
    run = machine.headless(copied, env=env).end()
    assert_complete(run)
    return run


def put(machine: Real, models: dict[str, Path]) -> None:
    """The models under the names that the examples have for them."""
    folder = machine.folder / "models"
    folder.mkdir()
    for name, path in models.items():
        (shutil.copytree if path.is_dir() else shutil.copyfile)(path, folder / name)


def test_llama_cli(machine: Real, pair: tuple[Path, Path], llama_server: Path) -> None:
    names = ("Qwen2.5-7B-Instruct-Q4_K_M.gguf", "qwen2.5-0.5b-instruct-q8_0.gguf")
    put(machine, dict(zip(names, pair, strict=True)))
    one_thread = ('args = ["-c", "4096"]', f"args = {json.dumps(ONE_THREAD)}")
    run = run_example(machine, "llama-cli", one_thread, ("iterations = 3", "iterations = 2"), path=llama_server.parent)
    assert run.code == 0, run.stderr
    assert {(found.step.method, found.step.k) for found in run.view.steps.values()} == {
        (BASELINE, None),
        ("draft", 2),
        ("draft", 4),
        ("lookup", 2),
        ("lookup", 4),
    }
    for found in run.view.steps.values():
        assert found.status == "ok", (found.step.id, found.error)
        assert all(sample.decode_tok_s and sample.ttft_s and sample.generated_tokens for sample in found.good)
    drafted = [row for row in run.result["measurements"] if row["method"] == "draft"]
    assert all(0 < row["acceptance_rate"] < 1 for row in drafted)
    assert all(row["lossless"]["state"] in ("identical", "near_tie", "unknown") for row in drafted)
    assert any("llama-lookup" in word for load in run.result["loads"] for word in load["command"])


def test_mlx(machine: Real, tiny_mlx_models: Path, mlx_python: Path) -> None:
    names = ("Qwen2.5-7B-Instruct-4bit", "Qwen2.5-0.5B-Instruct-4bit")
    put(machine, dict(zip(names, (tiny_mlx_models / "target", tiny_mlx_models / "draft"), strict=True)))
    change = ('"specdash-mlx"  #', f'"specdash-mlx:{mlx_python}"  #')
    # MLX takes seconds for the long prompts on a small CPU.
    short = (('"coding"', '"counting"'), ("iterations = 3", "iterations = 2"), ("max_tokens = 96", "max_tokens = 32"))
    run = run_example(machine, "mlx", change, ("[sweep]", "[limits]\ninhibit_sleep = false\n\n[sweep]"), *short)
    assert run.code == 0, run.stderr
    loads = [(load.key.config, load.key.draft is not None) for load in run.view.loads.values()]
    assert sorted(loads) == [("kv 16", False), ("kv 16", True), ("kv 8", False), ("kv 8", True)], "one load a pair"
    for row in run.result["measurements"]:
        assert row["status"] == "ok", row["error"]
        assert row["k_seen"] == row["k"]
        assert (row["acceptance_rate"] is None) == (row["method"] == BASELINE)
