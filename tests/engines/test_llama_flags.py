"""Flags read from help texts, real ones first, and hints read from logs."""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specdash.engines.llama_cpp.flags import CURRENT, HINTS, OLD, parse_help, read_flags
from specdash.engines.llama_cpp.methods import DRAFT_MODEL, EXPERTS, SPECULATION, TARGET, dialect_words
from specdash.engines.log_diagnosis import first_cause
from specdash.errors import EngineError, Exit

DATA = Path(__file__).parents[1] / "data"
HELP = {
    CURRENT: (DATA / "help" / "llama-server.b11669.txt").read_text("utf-8"),
    OLD: (DATA / "help" / "embedded.xllamacpp-0.2.14.txt").read_text("utf-8"),
}
Program = Callable[[str], list[str]]


def explain(log: str) -> str | None:
    """What to do about the first known cause in a log."""
    found = first_cause(log, HINTS)
    return found.todo if found is not None else None


@pytest.fixture
def says(tmp_path: Path) -> Program:
    """A program whose --help prints a text."""

    def make(text: str) -> list[str]:
        (tmp_path / "text").write_text(text, "utf-8")
        program = tmp_path / "program"
        program.write_text(f"#!/bin/sh\ncat '{tmp_path}/text'\n")
        program.chmod(0o755)
        return [str(program)]

    return make


def listed(text: str) -> set[str]:
    """The flags at the beginnings of lines, word by word: another way to the same answer."""
    found: set[str] = set()
    for line in text.splitlines():
        for word in line.split():
            if not re.match(r"--?[a-zA-Z]", word) or line.startswith(" "):
                break
            found.add(word.rstrip(","))
    return found


@pytest.mark.parametrize("dialect", [CURRENT, OLD])
def test_every_flag_of_a_real_help_is_found(dialect: str) -> None:
    known, removed = parse_help(HELP[dialect])
    assert known | removed == listed(HELP[dialect])
    assert not known & removed


def test_todays_help() -> None:
    known, removed = parse_help(HELP[CURRENT])
    assert {"-m", "-md", "--spec-draft-model", "--spec-type", "--spec-draft-n-max", "--metrics", "-np"} <= known
    assert removed == {
        "--draft",
        "--draft-n",
        "--draft-max",
        "--draft-min",
        "--draft-n-min",
        "--spec-ngram-size-n",
        "--spec-ngram-size-m",
        "--spec-ngram-min-hits",
    }


def test_an_old_help() -> None:
    known, removed = parse_help(HELP[OLD])
    assert {"-m", "-md", "--model-draft", "--draft-max", "--draft-min", "--draft-p-min", "--metrics"} <= known
    assert {"--spec-type", "--spec-ngram-size-n", "--spec-ngram-size-m", "--spec-ngram-min-hits"} <= known
    assert not removed
    assert not {flag for flag in known if flag.startswith("--spec-draft")}


@pytest.mark.parametrize("dialect", [CURRENT, OLD])
def test_every_flag_that_is_passed_is_in_the_help_of_its_dialect(dialect: str, says: Program) -> None:
    flags = read_flags(says(HELP[dialect]), "program")
    assert flags.dialect == dialect
    unknown = {
        param.name
        for param in (TARGET, DRAFT_MODEL, *SPECULATION, EXPERTS)
        if dialect in param.flags and param.flags[dialect] not in flags
    }
    assert unknown == ({"moe_experts"} if dialect == OLD else set())  # the wheel cannot override metadata


@pytest.mark.parametrize(
    ("text", "known", "removed"),
    [
        ("", set(), set()),
        ("Usage: echo [SHORT-OPTION]... [STRING]...\n", set(), set()),
        ("-m, --model FNAME    a path\n", {"-m", "--model"}, set()),
        ("--port PORT  port; see --host\n", {"--port"}, set()),
        ("--slots, --no-slots       endpoint\n", {"--slots", "--no-slots"}, set()),
        ("--foo\n        an entry of two lines, unlike --bar\n", {"--foo"}, set()),
        ("text about --bar at the end of a line\n\n  and --baz\n", set(), set()),
        ("--foo N   the argument has been removed. use --bar\n--bar N   new\n", {"--bar"}, {"--foo"}),
        ("--foo N   the argument\n          has been removed. use --bar\n", set(), {"--foo"}),
        ("--foo N   the argument has been\n          removed. use --bar\n", set(), {"--foo"}),
        ("--foo N   takes -1 for all, and -m\n", {"--foo"}, set()),
        ("--qwen-1.5b-default   a model\n", {"--qwen-1.5b-default"}, set()),
        ("--prio-batch <0|1>    level (default: -1)\n", {"--prio-batch"}, set()),
        ("--foo\tN\ttabs\n", {"--foo"}, set()),
        ("\x1b[31m--foo\x1b[0m\n", set(), set()),
    ],
)
def test_parse_help(text: str, known: set[str], removed: set[str]) -> None:
    assert tuple(map(set, parse_help(text))) == (known, removed)


@given(text=st.text(alphabet=string.printable))
def test_any_text_is_read(text: str) -> None:
    known, removed = parse_help(text)
    assert all(flag.startswith("-") and flag in text for flag in known | removed)
    assert not known & removed


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", "nothing"),
        ("\n\n  Usage: tool [FILE]\n", "Usage: tool [FILE]"),
        ("<!DOCTYPE html>\n<html></html>\n", "<!DOCTYPE html>"),
        ("--port N  a port\n", "--port N"),
    ],
)
def test_another_program_is_refused_with_its_own_words(text: str, shown: str, says: Program) -> None:
    with pytest.raises(EngineError) as caught:
        read_flags(says(text), "/opt/tool")
    assert "/opt/tool does not look like llama-server" in caught.value.what
    assert shown in caught.value.what
    assert caught.value.todo
    assert caught.value.exit_code is Exit.NOTHING_MEASURED


def test_what_another_program_says_cannot_reach_the_terminal(says: Program) -> None:
    with pytest.raises(EngineError) as caught:
        read_flags(says("\x1b]0;title\x07\x9b31m\u202e" + "x" * 5000), "tool")
    assert caught.value.what.isprintable()
    assert len(caught.value.what) < 400


@pytest.mark.parametrize("extra", ["", "--draft-max N   the argument has been removed\n", "--spec-draft-n-max N  K\n"])
def test_a_build_without_draft_flags_is_refused(extra: str, says: Program) -> None:
    with pytest.raises(EngineError, match="no flag for the draft length"):
        read_flags(says(f"-m, --model FNAME   model\n--port PORT   port\n{extra}"), "program")


def test_dialects_are_told_by_the_flag_of_k() -> None:
    assert (dialect_words(CURRENT), dialect_words(OLD)) == ("--spec-draft-n-max", "--draft-max")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("llama-server.b11669.log", None),
        ("llama-server.missing-model.log", "check the paths"),
        ("llama-server.removed-flag.log", "was removed from this build"),
    ],
)
def test_recorded_logs(name: str, words: str | None) -> None:
    hint = explain((DATA / "recordings" / name).read_text("utf-8"))
    assert hint is None if words is None else words in (hint or "")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 40960.00 MiB: cudaMalloc failed: out of memory",
            "memory",
        ),
        ("llama_model_load: error loading model: unable to allocate CPU buffer", "memory"),
        ("terminate called after throwing an instance of 'std::bad_alloc'", "memory"),
        ("error: Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)", "memory"),
        ("ggml_vulkan: Device memory allocation failed: ErrorOutOfDeviceMemory", "memory"),
        ("llama_kv_cache: failed to allocate buffer for kv cache", "memory"),
        ("error: invalid argument: --foo", "does not know a flag"),
        ("main: unknown argument: --draft-max", "does not know a flag"),
        ("start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 8080", "port is taken"),
        ("listen tcp: bind: Address already in use", "port is taken"),
        (
            "llama-server: error while loading shared libraries: libggml.so: cannot open shared object file: "
            "No such file or directory",
            "library of the program",
        ),
        ("dyld[81]: Library not loaded: @rpath/libggml.dylib", "library of the program"),
        (
            "llama_model_load: error loading model: error loading model architecture: unknown model architecture: 'x'",
            "older",
        ),
        ("ModuleNotFoundError: No module named 'xllamacpp'", "specdash[embedded]"),
        ("gguf_init_from_file_impl: invalid magic characters: '<!DO', expected 'GGUF'", "whole"),
        (
            "llama_model_load: error loading model: tensor 'x' data is not within the file bounds, model is corrupted",
            "whole",
        ),
        ("embedded: cannot set --override-kv", "use the llama-server program"),
        (
            "0.00.578.981 W llama_init_from_model: context type MTP requested but model doesn't contain MTP layers",
            'take "mtp" out of sweep.methods',
        ),
        ('GGML_ASSERT(n > 0 && "DFlash model has no target_layer_ids") failed', "made for this target"),
    ],
)
def test_typical_causes(line: str, words: str) -> None:
    assert words in (explain(f"0.01.720.448 I srv  loading model\n{line}\nAborted (core dumped)\n") or "")


@pytest.mark.parametrize(
    ("line", "at_any_k"),
    [
        ("doesn't contain MTP layers", True),
        ("error: unknown model architecture: 'new'", True),
        ("error: invalid argument: --nonsense", True),
        ("pthread_setaffinity_np() failed: Invalid argument\ncudaMalloc failed: out of memory", False),
        ("set_mempolicy: Invalid argument\nGGML_ASSERT(n > 0) failed", False),
        ("cudaMalloc failed: out of memory", False),
        ("GGML_ASSERT(n_tokens <= n_batch) failed", False),
        ("gguf_init_from_file: failed to open GGUF file 'T.gguf'", False),
        ("llama_model_load: error loading model", False),
    ],
)
def test_which_causes_no_other_k_changes(line: str, at_any_k: bool) -> None:
    found = first_cause(line, HINTS)
    assert found is not None
    assert found.at_any_k is at_any_k


def test_the_first_cause_counts_and_not_what_follows_from_it() -> None:
    log = "cudaMalloc failed: out of memory\nllama_model_load_from_file_impl: failed to load model\n"
    assert "memory" in (explain(log) or "")


@pytest.mark.parametrize("log", ["", "\n", "server is listening on http://127.0.0.1:8080\n", "Segmentation fault\n"])
def test_an_unknown_cause_gets_no_hint(log: str) -> None:
    assert explain(log) is None
