"""`specdash check`: what is wrong on this machine, which the text of a profile alone does not tell."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from specdash.errors import Exit
from tests.support import fork_server

SHORT = {"prompts": "prompts.jsonl", "iterations": 2, "max_tokens": 32}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file of short prompts."""
    (tmp_path / "prompts.jsonl").write_text('{"category": "c", "prompt": "Count the words of this line."}\n')
    return tmp_path


def check(folder: Path, settings: dict[str, Any]) -> tuple[int, list[dict[str, Any]]]:
    """The exit code of `specdash check --json` for a profile of these settings, and what it found."""
    (folder / "p.toml").write_text(tomli_w.dumps(settings))
    done = fork_server.run(["check", "p.toml", "--json"], folder, os.environ, timeout_s=120)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


def profile(program: Path | str, target: Path, kind: str = "llama-server", **engine: Any) -> dict[str, Any]:
    return {
        "engine": {"kind": kind, "program": str(program), **engine},
        "targets": [{"label": "T", "path": str(target)}],
        "sweep": {"methods": []},
        "measure": dict(SHORT),
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


LONG = "Then add all the numbers of the table, line by line, and print them. "


@pytest.fixture
def long(folder: Path) -> Path:
    """The folder with short prompts and two long ones, of which two samples take one."""
    words = ("Count the words.", LONG * 60, LONG * 90)
    prompts = [{"category": "b", "prompt": prompt} for prompt in words]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))
    return folder


@pytest.mark.real
@pytest.mark.parametrize("beside", [True, False], ids=["llama-tokenize", "bound"])
def test_prompts_that_no_context_has_room_for(beside: bool, long: Path, llama_server: Path, small_models: Path) -> None:
    """By the program's own tokenizer, or by what the vocabulary needs at least; and the context that would do does."""
    program = llama_server
    if not beside:
        program = long / "llama-server"
        program.write_text(f'#!/bin/sh\nexec "{llama_server}" "$@"\n')
        program.chmod(0o755)
    settings = profile(program, small_models / "smol-q2_k-00001-of-00003.gguf", args=["-t", "1", "-c", "512"])
    code, (found,) = check(long, settings)
    assert (code, found["kind"], found["key"]) == (2, "error", "engine.args")
    assert "no room for 1 prompt (the longest, b-2, has" in found["what"], found
    tokens = int(re.search(r"has (?:at least )?([\d,]+) tokens", found["what"])[1].replace(",", ""))  # type: ignore[index]
    assert ("at least" in found["what"]) != beside
    assert tokens == 60 * 17 + 1 if beside else 900 < tokens <= 60 * 17 + 1
    settings["engine"]["args"][-1] = re.search(r'"-c", "(\d+)"', found["todo"])[1]  # type: ignore[index]
    assert check(long, settings) == (0, [])
    settings["measure"]["iterations"] = 3
    code, (found,) = check(long, settings)
    assert (code, "b-3" in found["what"]) == (2, True)


@pytest.mark.real
def test_a_context_is_sought_where_it_is_set(long: Path, llama_server: Path, small_models: Path) -> None:
    settings = profile(llama_server, small_models / "smol-q2_k.gguf", args=["-c", "4096"])
    settings["configs"] = [{"label": "own", "args": ["-c", "512"]}, {"label": "engine's", "args": ["-t", "1"]}]
    code, (found,) = check(long, settings)
    assert (code, found["key"]) == (2, "configs[0].args")
    settings["configs"] = []
    settings["engine"] |= {"args": [], "env": {"LLAMA_ARG_CTX_SIZE": "512"}}
    code, (found, _) = check(long, settings)
    assert (code, found["kind"], found["key"]) == (2, "error", "engine.env.LLAMA_ARG_CTX_SIZE")
    settings["engine"]["env"] = {}
    assert check(long, settings) == (0, []), "the model was made for 8192"
    settings["sweep"]["depth"] = [0, 8000]
    code, (found,) = check(long, settings)
    assert (code, found["kind"], found["key"]) == (0, "warning", "targets[0].path")
    assert "a model made for a context of 8,192 tokens" in found["what"]


@pytest.mark.real
def test_answers_that_are_cut_are_a_warning(long: Path, llama_server: Path, small_models: Path) -> None:
    settings = profile(llama_server, small_models / "smol-q2_k.gguf", args=["-c", "1024"])
    settings["measure"]["max_tokens"] = 256
    code, (found,) = check(long, settings)
    assert (code, found["kind"]) == (0, "warning")
    assert "no room for answers of 256 tokens to 1 prompt" in found["what"]
    assert found["todo"] == 'Write "-c", "1536"'
