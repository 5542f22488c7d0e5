"""`specdash check`: what is wrong on this machine, which the text of a profile alone does not tell."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from specdash.errors import Exit

SHORT = {"prompts": "prompts.jsonl", "iterations": 2, "max_tokens": 32}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file of short prompts."""
    (tmp_path / "prompts.jsonl").write_text('{"category": "c", "prompt": "Count the words of this line."}\n')
    return tmp_path


def check(folder: Path, settings: dict[str, Any]) -> tuple[int, list[dict[str, Any]]]:
    """The exit code of `specdash check --json` for a profile of these settings, and what it found."""
    (folder / "p.toml").write_text(tomli_w.dumps(settings))
    command = [sys.executable, "-m", "specdash", "check", "p.toml", "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


def profile(program: Path | str, target: Path, kind: str = "llama-server", **engine: Any) -> dict[str, Any]:
    return {
        "engine": {"kind": kind, "program": str(program), **engine},
        "targets": [{"label": "T", "path": str(target)}],
        "sweep": {"methods": []},
        "measure": SHORT,
    }


@pytest.mark.real
def test_flags_are_held_against_the_help_of_the_program(folder: Path, llama_server: Path, tiny_models: Path) -> None:
    settings = profile(llama_server, tiny_models / "target.gguf", args=["-c", "512", "-cd", "512"])
    settings["configs"] = [{"label": "good", "args": ["-ctk", "q8_0"]}, {"label": "bad", "args": ["-t", "1", "-fa"]}]
    code, found = check(folder, settings)
    assert code == Exit.USAGE
    assert [(each["kind"], each["key"]) for each in found] == [
        ("error", "engine.args[2]"),
        ("error", "configs[1].args[2]"),
    ]
    assert all(each["line"] for each in found)
    assert "llama-server has no flag -cd" in found[0]["what"]
    assert "[on|off|auto]" in found[1]["what"]
    settings["engine"]["args"] = ["-c", "512"]
    settings["configs"].pop()
    assert check(folder, settings) == (Exit.OK, [])


@pytest.mark.real
def test_variables_that_set_nothing_are_told(folder: Path, llama_server: Path, tiny_models: Path) -> None:
    env = {"LLAMA_ARG_CTX_SIZE": "512", "LLAMA_ARG_CTX_SISE": "512", "OMP_NUM_THREADS": "1"}
    code, found = check(folder, profile(llama_server, tiny_models / "target.gguf", env=env))
    assert code == Exit.OK
    said = [(each["kind"], each["key"].rpartition(".")[2], each["what"]) for each in found]
    assert [key for _, key, what in said if "reads no variable" in what] == ["LLAMA_ARG_CTX_SISE"]
    assert [key for _, key, what in said if "nobody looks" in what] == ["LLAMA_ARG_CTX_SIZE", "LLAMA_ARG_CTX_SISE"]


@pytest.mark.real
def test_the_folder_of_the_command_line_programs(folder: Path, llama_server: Path, tiny_models: Path) -> None:
    settings = profile(llama_server.parent, tiny_models / "target.gguf", "llama-cli", args=["-t", "1"])
    assert check(folder, settings) == (Exit.OK, [])
    settings["engine"]["args"] = ["--slots"]
    code, (found,) = check(folder, settings)
    assert (code, found["key"], found["what"]) == (2, "engine.args[0]", "llama-completion has no flag --slots")
    settings["engine"] = {"kind": "llama-cli", "program": str(folder)}
    code, (found,) = check(folder, settings)
    assert (code, found["kind"], found["key"]) == (3, "missing", "engine.program")
    assert "none of llama.cpp's command-line programs" in found["what"]


@pytest.mark.real
def test_flags_of_an_mlx_server(folder: Path, mlx_python: Path, tiny_mlx_models: Path) -> None:
    settings = profile(f"mlx_lm.server:{mlx_python}", tiny_mlx_models / "target", "mlx", args=["--kv-bit-size=8"])
    code, (found,) = check(folder, settings)
    assert (code, found["key"]) == (2, "engine.args[0]")
    assert "no flag --kv-bit-size=8" in found["what"]


def test_a_program_of_another_tool(folder: Path, tiny_models: Path) -> None:
    code, (found,) = check(folder, profile("/bin/ls", tiny_models / "target.gguf"))
    assert (code, found["kind"], found["key"]) == (3, "missing", "engine.program")
    assert "does not look like llama-server" in found["what"]


def test_a_draft_that_never_fits(folder: Path, fake_server: Path, tiny_models: Path) -> None:
    settings = profile(fake_server, tiny_models / "target.gguf")
    settings["sweep"] = {"k": [2]}
    draft = Path(__file__).parents[1] / "data" / "split" / "tiny.gguf"
    settings["drafts"] = [{"label": "D", "path": str(draft)}]
    code, (found,) = check(folder, settings)
    assert (code, found["kind"], found["key"]) == (0, "warning", "drafts[0].path")
    assert found["what"].startswith("cannot draft for T: ")


def test_a_model_that_cannot_be_read(folder: Path, fake_server: Path, tiny_models: Path) -> None:
    settings = profile(fake_server, tiny_models / "target.gguf")
    (folder / "cut.gguf").write_bytes((tiny_models / "target.gguf").read_bytes()[:100_000])
    settings["targets"][0]["path"] = "cut.gguf"
    code, (found,) = check(folder, settings)
    assert (code, found["key"]) == (3, "targets[0].path")
    assert "is truncated" in found["what"]
