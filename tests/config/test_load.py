"""Profiles read from TOML: the good ones give what they say, the bad ones every problem at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from specdash.config.fields import parse_duration, parse_size
from specdash.config.load import CheckResult, check_profile, load_profile
from specdash.config.write import dump_profile
from specdash.core.plan import steps_of
from specdash.core.profile import ServerConfig, for_method
from specdash.errors import Exit, Problem, ProfileError

MODELS = '[[targets]]\npath = "big.gguf"\n[[drafts]]\npath = "small.gguf"\n'
LINES = MODELS.count("\n")


def write(folder: Path, text: str, name: str = "p.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    for model in ("big.gguf", "small.gguf"):
        (folder / model).touch()
    return path


def of(result: CheckResult) -> list[tuple[int | None, str]]:
    """Where the problems are: (line, key)."""
    return [(problem.line, problem.key) for problem in result.problems]


# (TOML text after the models, line counted from there, key, part of what, part of what to do)
BAD: list[tuple[str, int, str, str, str]] = [
    ("[sweep]\nk = 0", 2, "sweep.k", "list of whole numbers", "k = [4, 8, 16]"),
    ('[sweep]\nk = "eight"', 2, "sweep.k", 'a list of whole numbers, "auto", "curve" or "search"; found "eight"', "["),
    ("[sweep]\nk = [4, 0]", 2, "sweep.k[1]", "1 or more; found 0", ""),
    ("[sweep]\nk = [\n4,\n-1]", 4, "sweep.k[1]", "1 or more; found -1", ""),
    ('[sweep]\nk = [4, "eight"]', 2, "sweep.k[1]", 'found "eight"', ""),
    ("[sweep]\nk = [true]", 2, "sweep.k[0]", "found true", ""),
    ("[sweep]\nk = [4.5]", 2, "sweep.k[0]", "found 4.5", ""),
    ("[sweep]\nk = [4, 8, 4]", 2, "sweep.k", "lists 4 more than once", "out"),
    ("[sweep]\nk = []", 2, "sweep.k", "at least one K", "auto"),
    ('[sweep]\nk = "curves"', 2, "sweep.k", '"curve" or "search"; found "curves"', 'mean "curve"'),
    ('[sweep]\nmethods = ["look-up"]', 2, "sweep.methods[0]", "unknown", '"lookup"'),
    ('[sweep]\nmethods = ["lookup", "lookup"]', 2, "sweep.methods", "more than once", "out"),
    ('[sweep]\nmethods = ["drat"]', 2, "sweep.methods[0]", "unknown", 'Did you mean "draft"?'),
    ("[sweep]\nmethods = []\nbaseline = false", 2, "sweep.methods", "nothing to measure", ""),
    ("[sweep]\nngram_n = [2]", 2, "sweep.ngram_n", "no method here has one", "ngram-simple"),
    ('[sweep]\nmethods = ["ngram"]\nngram_n = [0]', 3, "sweep.ngram_n[0]", "1 or more", ""),
    ("[sweep]\nmoe_experts = [0]", 2, "sweep.moe_experts[0]", "1 or more", ""),
    ("[sweep]\ndepth = [-1]", 2, "sweep.depth[0]", "0 or more", ""),
    ('[sweep]\nbaseline = "yes"', 2, "sweep.baseline", 'true or false; found "yes"', ""),
    ('[sweep]\npairs = [["bog", "small"]]', 2, "sweep.pairs[0][0]", 'no target is called "bog"', '"big"'),
    ('[sweep]\npairs = [["big", "smal"]]', 2, "sweep.pairs[0][1]", 'no draft is called "smal"', '"small"'),
    ('[sweep]\npairs = [["small", "big"]]', 2, "sweep.pairs[0]", "draft first", '["big", "small"]'),
    ('[sweep]\npairs = ["big", "small"]', 2, "sweep.pairs", "a list of pairs", '[["target label"'),
    ('[sweep]\npairs = [["big"]]', 2, "sweep.pairs[0]", 'must be ["target label", "draft label"]', ""),
    ("[sweep]\npairs = []", 2, "sweep.pairs", '"all" or a list', "pairs ="),
    ("[measure]\niteration = 3", 2, "measure.iteration", "unknown key", 'Did you mean "iterations"? [measure] knows: '),
    ("[mesure]\niterations = 3", 1, "mesure", "unknown key", '"measure"'),
    ("[[target]]\nlabel = 'x'", 1, "target", "unknown key", '"targets"'),
    ("[measure]\nk = [4]", 2, "measure.k", "unknown key", "It belongs in [sweep]"),
    ("[measure]\nname = 'x'", 2, "measure.name", "unknown key", "top of the file"),
    ('[measure]\n"\\u001b[31m" = 1', 2, 'measure."\\x1b[31m"', "unknown key", ""),
    ("measure = 3", -4, "measure", "must be a table; found 3", "[measure]"),
    ("[measure]\nmax_tokens = 1.5", 2, "measure.max_tokens", "whole number, 16 or more; found 1.5", ""),
    ("[measure]\nmax_tokens = 8", 2, "measure.max_tokens", "16 or more", "too short"),
    ("[measure]\niterations = 0", 2, "measure.iterations", "1 or more", ""),
    ("[measure]\nseed = -1", 2, "measure.seed", "from 0 to", ""),
    ("[measure]\ntemperature = nan", 2, "measure.temperature", "0 or more; found nan", ""),
    ("[measure]\ntimeout_s = 1979-05-27", 2, "measure.timeout_s", "the date or time 1979-05-27", ""),
    ("[measure]\nprecision = 2", 2, "measure.precision", "share above 0 and below 1; found 2", "0.02"),
    ('[measure]\nprecision = "2 %"', 2, "measure.precision", "share above 0 and below 1", "0.02"),
    ("[measure]\npasses = 3", 2, "measure.passes", "from 1 to 2; found 3", "mirrored"),
    ('[measure]\nworkloads = ["batch"]', 2, "measure.workloads[0]", '"batch" is not in this version', '"content"'),
    ('[measure]\nworkloads = ["contents"]', 2, "measure.workloads[0]", "unknown", '"content"'),
    ('[measure]\ncategories = ["coding", "maths"]', 2, "measure.categories[1]", 'unknown: "maths"', '"math"'),
    ("[measure]\ncategories = []", 2, "measure.categories", "at least one", "coding"),
    ('[measure]\nprompts = "buildin"', 2, "measure.prompts", ".jsonl", ""),
    ('[limits]\nmax_time = "8"', 2, "limits.max_time", 'unit; found "8"', '"90m"'),
    ("[limits]\nmax_time = 8", 2, "limits.max_time", "unit; found 8", ""),
    ('[limits]\nmax_time = "0h"', 2, "limits.max_time", "unit", ""),
    ('[limits]\nmemory = "64 gigs"', 2, "limits.memory", "a size", '"64GB"'),
    ('[limits]\non_failure = "halt"', 2, "limits.on_failure", '"continue" or "stop"; found "halt"', ""),
    ('[engine]\nkind = "llama-sever"', 2, "engine.kind", "found", 'Did you mean "llama-server"?'),
    ('[engine]\nlaunch = ["x"]', 2, "engine.launch", 'is for kind = "script" and "openai"', "Set kind"),
    ('[engine]\nkind = "script"', 1, "engine", "says no way to a server", 'launch = ["./launch.sh"]'),
    ('[engine]\nkind = "openai"', 1, "engine", "says no way to a server", "url ="),
    ('[engine]\nkind = "openai"\nurl = "localhost:8000"', 3, "engine.url", "the address of a server", "http://"),
    ('[engine]\nkind = "openai"\nurl = "http://me:key@x"', 3, "engine.url", "name or password", "api_key_env"),
    ('[engine]\nkind = "openai"\nurl = { darft = "http://x" }', 3, "engine.url.darft", "no method", '"draft"'),
    (
        '[engine]\nkind = "openai"\nurl = "http://x"\napi_key_env = "sk-123"',
        4,
        "engine.api_key_env",
        "never the key itself",
        "OPENAI_API_KEY",
    ),
    ('[engine]\nkind = "openai"\nurl = "http://x"\nprogram = "vllm"', 4, "engine.program", "is for kind", "leave"),
    ('[engine]\nkind = "openai"\nurl = "http://x"\nbody = { seed = 1 }', 4, "engine.body.seed", "is set by", "It"),
    ('[engine]\nkind = "openai"\nurl = ""', 3, "engine.url", "an address, or a table", "http://"),
    ('[engine]\nkind = "openai"\nurl = ["http://x"]', 3, "engine.url", "an address, or a table", "http://"),
    (
        '[engine]\nkind = "openai"\nurl = "http://x/v1/chat/completions"',
        3,
        "engine.url",
        "one endpoint",
        '"/v1/chat/completions"',
    ),
    ('[engine]\nkind = "openai"\nurl = "http://x"\nport = 1', 4, "engine.port", "runs already", "Leave port out"),
    ('[engine]\nkind = "script"\nlaunch = {}', 3, "engine.launch", "a command, or a table", "launch = ["),
    ('[engine]\nkind = "script"\nlaunch = [""]', 3, "engine.launch", "first word is a program", "launch = ["),
    ('[engine]\nkind = "script"\nlaunch = ["sh", "{prot}"]', 3, "engine.launch[1]", "nothing is filled in", '"port"'),
    ('[sweep]\nmethods = ["ngram", "ngram-simple"]', 2, "sweep.methods", "more than once", "out"),
    ('[sweep]\nmethods = ["lookup", "ngram-cache"]', 2, "sweep.methods", "are the same there", "out"),
    ('[engine]\nkind = "script"\nlaunch = "./x.sh"', 3, "engine.launch", "a list of words", "launch = ["),
    ('[engine]\nkind = "script"\nlaunch = ["sh"]\nhealth = "healthz"', 4, "engine.health", "a path", '"/healthz"'),
    ('[engine]\nkind = "llama-cli"\nprogram = "embedded"', 3, "engine.program", 'kind = "llama-server"', "llama-cli"),
    ('[engine]\nk_scope = "requests"', 2, "engine.k_scope", "found", '"request"'),
    ('[engine]\nargs = ["-c",\n4096]', 3, "engine.args[1]", "must be a string; found 4096", 'Quote it: "4096"'),
    ('[engine]\nargs = "-c 4096"', 2, "engine.args", "a list of strings", '["-c", "4096"]'),
    ('[engine]\nargs = ["-c 4096"]', 2, "engine.args[0]", "in one string", 'write "-c", "4096"'),
    ('[engine]\nargs = ["-m", "x"]', 2, "engine.args[0]", '"-m" is not for args', "[[targets]]"),
    ('[engine]\nargs = ["-md", "x"]', 2, "engine.args[0]", '"-md" is not for args', "[[drafts]]"),
    ('[engine]\nargs = ["--draft-max", "8"]', 2, "engine.args[0]", "not for args", "sweep.k"),
    ('[engine]\nargs = ["--spec-draft-n-max=8"]', 2, "engine.args[0]", "not for args", "sweep.k"),
    ('[engine]\nargs = ["-np", "4"]', 2, "engine.args[0]", '"-np" is not for args', "measure.concurrency"),
    ('[engine]\nargs = ["--parallel=4"]', 2, "engine.args[0]", "not for args", "measure.concurrency"),
    ("[[configs]]\nlabel='a'\nargs=['-np','2']", 3, "configs[0].args[0]", "not for args", "measure.concurrency"),
    (
        '[engine]\nenv = { LLAMA_ARG_N_PARALLEL = "4" }',
        2,
        "engine.env.LLAMA_ARG_N_PARALLEL",
        "not for the user",
        "measure.concurrency",
    ),
    (
        '[engine]\nenv = { LLAMA_ARG_SPEC_DRAFT_MODEL = "x" }',
        2,
        "engine.env.LLAMA_ARG_SPEC_DRAFT_MODEL",
        "not for the user",
        "[[drafts]]",
    ),
    ('[engine]\nwrap = ["env", "LLAMA_ARG_N_PARALLEL=4"]', 2, "engine.wrap[1]", "not for the user", "concurrency"),
    ('[engine]\nkind = "llama-cli"\nargs = ["-n", "4"]', 3, "engine.args[0]", "not for args", "measure.max_tokens"),
    ('[engine]\nkind = "llama-cli"\nargs = ["-np", "4"]', 3, "engine.args[0]", "not for args", "concurrency"),
    ('[engine]\nargs = ["--port", "1"]', 2, "engine.args[0]", "not for args", "engine.port"),
    ('[engine]\nargs = ["--alias", "x"]', 2, "engine.args[0]", "not for args", "Leave it out"),
    ('[engine]\nargs = ["--metrics"]', 2, "engine.args[0]", "not for args", "always"),
    ('[engine]\nargs = ["--host", "127.0.0.1"]', 2, "engine.args[0]", "not for args", "Leave it out"),
    (
        '[engine]\nargs = ["--override-kv", "llama.expert_used_count=int:4"]',
        2,
        "engine.args[0]",
        "expert counts",
        "sweep.moe_experts",
    ),
    ('[engine]\nargs = ["a\\u0000b"]', 2, "engine.args[0]", "NUL", ""),
    ("[engine]\nenv = { OMP_NUM_THREADS = 4 }", 2, "engine.env.OMP_NUM_THREADS", "must be a string", 'Quote it: "4"'),
    ("[engine]\nport = 70000", 2, "engine.port", "from 0 to 65535", ""),
    ("[engine]\ngrace_s = 0", 2, "engine.grace_s", "more than 0", ""),
    ("[engine]\nload_timeout_s = 'soon'", 2, "engine.load_timeout_s", 'or "auto"', ""),
    ("[engine]\nprogram = 'embedded:'", 2, "engine.program", "names no Python", "embedded:/"),
    ("[[configs]]\nargs = ['-fa']", 1, "configs[0]", "has no label", "label"),
    ("[[configs]]\nlabel='a'\n[[configs]]\nlabel='a'", 4, "configs[1].label", "earlier", "own"),
    ("[[configs]]\nlabel='a'\nargs=['-md']", 3, "configs[0].args[0]", "not for args", "[[drafts]]"),
    (
        "[[targets]]\npath='other/big.gguf'",
        2,
        "targets[1].path",
        'label "big" is already that of targets[0].path',
        "own",
    ),
    ("[[targets]]\nlabel = 'x'", 1, "targets[1]", "has no path", "path ="),
    ("[[targets]]\npath = 3", 2, "targets[1].path", "must be a string", ""),
    ("[[targets]]\npath='x.gguf'\nclass='huge'", 3, "targets[1].class", '"moe"; found "huge"', ""),
    ("[[targets]]\nmodel='x'", 2, "targets[1].model", 'kind = "openai"', "path"),
    ("[[drafts]]\npath='x.gguf'\nmethod='eagle'", 3, "drafts[1].method", '"eagle3"', '"eagle3"'),
    ("[[drafts]]\npath='x.gguf'\nclass='moe'", 3, "drafts[1].class", "unknown key", "[[targets]]"),
    ("[[drafts]]\nlabel='big'\npath='x.gguf'", 3, "drafts[1].path", "another file at targets[0].path", "own"),
    ('[results]\ndir = "big.gguf/x"', 2, "results.dir", "not a folder", ""),
]


@pytest.mark.parametrize(
    ("text", "line", "key", "what", "todo"), BAD, ids=[text.replace("\n", " ") for text, *_ in BAD]
)
def test_bad_value(tmp_path: Path, text: str, line: int, key: str, what: str, todo: str) -> None:
    at_top = line < 0
    body = f"{text}\n{MODELS}" if at_top else f"{MODELS}{text}\n"
    result = check_profile(write(tmp_path, body))
    assert of(result) == [(1 if at_top else line + LINES, key)], [str(problem) for problem in result.problems]
    (problem,) = result.problems
    assert what in problem.what
    assert todo in problem.todo
    assert result.profile is None
    assert str(problem).isprintable()


@pytest.mark.parametrize(
    ("text", "line", "key", "what"),
    [
        ("name = '../../x'\n" + MODELS, 1, "name", "no slash, no '..'; found \"../../x\""),
        ("name = '...'\n" + MODELS, 1, "name", "a name for folders"),
        ("name = ''\n" + MODELS, 1, "name", "a name for folders"),
        ("name = 3\n" + MODELS, 1, "name", "found 3"),
        ("hardware = 'a/b'\n" + MODELS, 1, "hardware", "no slash"),
        ('model_family = "\\u001b[2J"\n' + MODELS, 1, "model_family", 'found "\\x1b[2J"'),
        ("[[drafts]]\npath = 'small.gguf'", None, "targets", "no target model"),
        ("targets = []\n[[drafts]]\npath = 'small.gguf'", 1, "targets", "no target model"),
        ("[[targets]]\npath = 'big.gguf'", None, "sweep.methods", "no draft model"),
        ("drafts = []\n[[targets]]\npath = 'big.gguf'", 1, "drafts", "no draft model"),
        ("targets = 'big.gguf'\n[[drafts]]\npath = 'small.gguf'", 1, "targets", "must be an array of tables"),
        ("[targets]\npath = 'big.gguf'\n[[drafts]]\npath = 'small.gguf'", 1, "targets", "found one table"),
        (MODELS + "[[engine]]\nport = 1", LINES + 1, "engine", "must be a table"),
    ],
)
def test_bad_shape(tmp_path: Path, text: str, line: int | None, key: str, what: str) -> None:
    result = check_profile(write(tmp_path, text))
    assert of(result) == [(line, key)], [str(problem) for problem in result.problems]
    assert what in result.problems[0].what


def test_all_problems_at_once_in_file_order(tmp_path: Path) -> None:
    text = "nme = 'x'\n" + MODELS + "[sweep]\nk = [0]\nmethods = ['mpt']\n[measure]\niterations = 'five'\n"
    result = check_profile(write(tmp_path, text))
    assert [key for _, key in of(result)] == ["nme", "sweep.k[0]", "sweep.methods[0]", "measure.iterations"]
    with pytest.raises(ProfileError) as raised:
        load_profile(tmp_path / "p.toml")
    assert raised.value.problems == result.problems
    assert raised.value.exit_code is Exit.USAGE
    assert f"{tmp_path / 'p.toml'}:1: nme: unknown key" in str(raised.value)


@pytest.mark.parametrize(
    ("raw", "line", "what", "todo"),
    [
        (b"a = 1\nb = \n", 2, "not TOML: Invalid value", "quotes"),
        (b"a = 1\na = 2\n", 2, "not TOML: Cannot overwrite a value", ""),
        (b"a = 1\n\n[b\n", 3, "not TOML: Expected ']'", ""),
        (b'a = 1\nb = "x', 2, "not TOML", ""),
        (b"a = 1\nb = '\xff'\n", 2, "not UTF-8 text: byte 0xff", "UTF-8"),
        (b"a = " + b"[" * 20_000 + b"]" * 20_000, None, "nested too deeply", ""),
        (b"a = " + b"9" * 5000, 1, "not TOML: Exceeds the limit", ""),
        (b"#" * 1_000_001, None, "too large", ""),
        (b"a = '\x1b[31m'\n", 1, "not TOML", ""),
    ],
)
def test_not_a_toml_text(tmp_path: Path, raw: bytes, line: int | None, what: str, todo: str) -> None:
    path = tmp_path / "p.toml"
    path.write_bytes(raw)
    (problem,) = check_profile(path).problems
    assert problem.line == line
    assert what in problem.what
    assert todo in problem.todo
    assert str(problem).isprintable()


def test_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    path.write_bytes(b"\xef\xbb\xbf" + MODELS.encode())
    assert check_profile(path).problems == []


def test_profile_that_is_no_file(tmp_path: Path) -> None:
    write(tmp_path, MODELS, "mine.toml")
    os.mkfifo(tmp_path / "pipe")
    cases = [
        ("", "is a folder", "mine.toml"),
        ("mime.toml", "no such file", '"mine.toml"'),
        ("pipe", "regular file", ""),
    ]
    for name, what, todo in cases:
        (problem,) = check_profile(tmp_path / name).problems
        assert what in problem.what
        assert todo in problem.todo
        assert problem.line is None
    assert check_profile("a\0b").problems


def test_what_may_not_be_read_or_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, MODELS)
    monkeypatch.setattr(os, "access", lambda _path, mode: mode == os.R_OK)
    assert [(problem.key, problem.line) for problem in check_profile(path).missing if "written" in problem.what] == [
        ("results.dir", None)
    ]
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    (problem,) = check_profile(path).problems
    assert "cannot be read" in problem.what
    assert problem.todo == "chmod u+r p.toml"


def test_defaults(tmp_path: Path) -> None:
    profile = load_profile(write(tmp_path, MODELS, "my sweep.toml"))
    assert profile.name == "my-sweep"
    assert profile.hardware == "auto"
    assert profile.engine.program == "llama-server"
    assert (profile.engine.grace_s, profile.engine.stall_s, profile.engine.load_timeout_s) == (10, 300, "auto")
    assert (profile.sweep.k, profile.sweep.methods, profile.depths) == ("auto", ("draft",), (0,))
    assert profile.sweep.baseline
    assert profile.sweep.pairs == "all"
    assert (profile.measure.max_tokens, profile.measure.iterations, profile.measure.warmup) == (256, 5, 1)
    assert (profile.measure.categories, profile.measure.prompts, profile.measure.passes) == ("all", "builtin", 1)
    assert (profile.limits.max_time, profile.limits.memory, profile.limits.on_failure) == (None, "auto", "continue")
    assert profile.results_dir == tmp_path / "results"
    assert profile.source == tmp_path / "my sweep.toml"
    (target,) = profile.targets
    assert (target.label, target.path, target.model_class) == ("big", tmp_path / "big.gguf", "auto")
    assert (target.key, target.line, target.from_pattern) == ("targets[0].path", 2, False)


def test_everything_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELS", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    text = f"""
name = "qwen2.5-72b"
hardware = "rtx4090-24gb"
[engine]
program = "embedded:{sys.executable}"
k_scope = "startup"
grace_s = 40
args = ["-c", "4096"]
env = {{ OMP_NUM_THREADS = "4" }}
wrap = ["env", "A=1"]
load_timeout_s = 99.5
[[targets]]
label = "72B"
path = "$MODELS/big.gguf"
class = "dense-large"
[[drafts]]
label = "0.5B"
path = "~/small.gguf"
[[configs]]
label = "kv-q8"
args = ["-ctk", "q8_0"]
[sweep]
k = [4, 8]
moe_experts = [4, 6]
depth = [0, 2000]
pairs = [["72B", "0.5B"]]
[measure]
categories = ["coding"]
temperature = 1
[limits]
max_time = "1h30m"
memory = "64GB"
on_failure = "stop"
inhibit_sleep = false
[results]
dir = "out/here"
"""
    profile = load_profile(write(tmp_path, text))
    assert profile.engine.program == f"embedded:{sys.executable}"
    assert profile.engine.is_embedded
    assert (profile.engine.args, profile.engine.env) == (("-c", "4096"), {"OMP_NUM_THREADS": "4"})
    assert (profile.engine.wrap, profile.engine.load_timeout_s) == (("env", "A=1"), 99.5)
    assert [model.path for model in profile.targets + profile.drafts] == [
        tmp_path / "big.gguf",
        tmp_path / "small.gguf",
    ]
    assert profile.configs == (ServerConfig("kv-q8", ("-ctk", "q8_0")),)
    assert (profile.sweep.k, profile.sweep.listed("moe_experts"), profile.depths) == ((4, 8), (4, 6), (0, 2000))
    assert profile.sweep.pairs == (("72B", "0.5B"),)
    assert (profile.limits.max_time, profile.limits.memory) == (5400.0, 64 * 10**9)
    assert profile.results_dir == tmp_path / "out" / "here"


def test_baseline_alone(tmp_path: Path) -> None:
    profile = load_profile(write(tmp_path, "[[targets]]\npath = 'big.gguf'\n[sweep]\nmethods = []\n"))
    assert (profile.sweep.methods, profile.drafts) == ((), ())


def gguf_folder(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()


def test_patterns_and_folders(tmp_path: Path) -> None:
    gguf_folder(tmp_path / "d", "q-0.5b.gguf", "q-1.5b.gguf", "notes.txt")
    text = """
[[targets]]
path = "big.gguf"
[[drafts]]
label = "Qwen"
path = "d/q-*.gguf"
[[drafts]]
label = "one"
path = "d/*0.5b*"
[sweep]
pairs = [["big", "Qwen"], ["big", "one"]]
"""
    profile = load_profile(write(tmp_path, text))
    assert [draft.label for draft in profile.drafts] == ["Qwen q-0.5b", "Qwen q-1.5b", "one"]
    assert all(draft.from_pattern and draft.path and draft.path.parent == tmp_path / "d" for draft in profile.drafts)
    assert [draft.key for draft in profile.drafts] == ["drafts[0].path", "drafts[0].path", "drafts[1].path"]
    assert profile.sweep.pairs == (("big", "Qwen q-0.5b"), ("big", "Qwen q-1.5b"), ("big", "one"))
    folder = load_profile(write(tmp_path, "[[targets]]\npath = 'big.gguf'\n[[drafts]]\npath = 'd'\n"))
    assert [draft.label for draft in folder.drafts] == ["q-0.5b", "q-1.5b"]


def test_a_bracket_in_a_file_name_is_no_pattern(tmp_path: Path) -> None:
    gguf_folder(tmp_path / "d", "a[1].gguf", "a1.gguf")
    profile = load_profile(write(tmp_path, "[[targets]]\npath = 'd/a[1].gguf'\n[sweep]\nmethods = []\n"))
    assert [target.path and target.path.name for target in profile.targets] == ["a[1].gguf"]


def test_label_of_a_model_in_parts_and_of_a_link(tmp_path: Path) -> None:
    gguf_folder(tmp_path / "d", "m-00001-of-00003.gguf", "blob")
    (tmp_path / "d" / "Qwen2.5.gguf").symlink_to("blob")
    text = (
        "[[targets]]\npath = 'd/m-00001-of-00003.gguf'\n[[targets]]\npath = 'd/Qwen2.5.gguf'\n[sweep]\nmethods = []\n"
    )
    assert [target.label for target in load_profile(write(tmp_path, text)).targets] == ["m", "Qwen2.5"]


MISSING: list[tuple[str, int, str, str, str]] = [
    ("[[targets]]\npath = 'bigg.gguf'", 2, "targets[1].path", "no such file: ", 'Nearest name there: "big.gguf"'),
    (
        "[[targets]]\npath = '/nowhere/x.gguf'",
        2,
        "targets[1].path",
        "no such file",
        "The folder /nowhere does not exist",
    ),
    ("[[targets]]\npath = '$NO_SUCH_SET/x.gguf'", 2, "targets[1].path", "$NO_SUCH_SET", "NO_SUCH_SET is not set"),
    ("[[targets]]\npath = 'nothing*.gguf'", 2, "targets[1].path", "no .gguf or MLX model matches", ""),
    ("[[drafts]]\npath = 'empty'", 2, "drafts[1].path", "no .gguf or MLX model in the folder", ""),
    ("[engine]\nprogram = 'no-such-server'", 2, "engine.program", "not on PATH", "embedded"),
    ("[engine]\nprogram = './lama-server'", 2, "engine.program", "no such file", 'name there: "llama-server"'),
    ("[engine]\nprogram = './llama-server'", 2, "engine.program", "is not executable", "chmod +x"),
    ("[engine]\nprogram = './bin'", 2, "engine.program", "is a folder", "/bin/llama-server"),
    ("[engine]\nprogram = 'embedded:/no/python'", 2, "engine.program", "no such file", "/no does not exist"),
    ("[engine]\nwrap = ['no-such-wrap']", 2, "engine.wrap[0]", "not on PATH", ""),
    ("[measure]\nprompts = 'mine.jsonl'", 2, "measure.prompts", "no such file", ""),
]


@pytest.mark.parametrize(("text", "line", "key", "what", "todo"), MISSING, ids=[text for text, *_ in MISSING])
def test_what_this_machine_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, line: int, key: str, what: str, todo: str
) -> None:
    on_path = tmp_path / "path"
    gguf_folder(on_path)
    gguf_folder(tmp_path / "empty")
    gguf_folder(tmp_path / "bin", "llama-server")
    (tmp_path / "llama-server").touch(mode=0o644)
    (on_path / "llama-server").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(on_path))
    monkeypatch.delenv("NO_SUCH_SET", raising=False)
    result = check_profile(write(tmp_path, f"{MODELS}{text}\n"))
    assert result.problems == []
    assert [(problem.line, problem.key) for problem in result.missing] == [(line + LINES, key)]
    assert what in result.missing[0].what
    assert todo in result.missing[0].todo
    assert result.profile is not None
    if key == "targets[1].path":
        assert len(result.profile.targets) == 2


def warnings(folder: Path, text: str) -> list[Problem]:
    result = check_profile(write(folder, f"{MODELS}{text}\n"))
    assert result.profile is not None, [str(problem) for problem in result.problems]
    return result.warnings


@pytest.mark.parametrize(
    ("text", "key", "what"),
    [
        ("[engine]\nargs = ['--host', '0.0.0.0']", "engine.args[0]", "OPEN TO THE NETWORK"),
        ("[[configs]]\nlabel = 'x'\nargs = ['--host', '::']", "configs[0].args[0]", "OPEN TO THE NETWORK"),
        ("[engine]\nenv = { LLAMA_ARG_CTX_SIZE = '1' }", "engine.env.LLAMA_ARG_CTX_SIZE", "sets a flag"),
        ("[measure]\niterations = 1", "measure.iterations", "never a verdict"),
        ("[measure]\nprecision = 0.02", "measure.precision", "never stops a step before 12 samples"),
        ("[sweep]\nk = 'search'", "sweep.k", "nothing to decide on"),
        (
            "[sweep]\nmethods = ['draft', 'ngram-simple']\nk = [2, 4, 16]",
            "sweep.k",
            "ngram-simple: K = 2, 4 are left out, since it drops drafts shorter than its n-gram of 12 tokens",
        ),
        ("[sweep]\nmethods = ['draft', 'lookup']\nk = [8, 16]", "sweep.k", "lookup: K = 16 is measured as K = 8"),
        (
            "[[queue]]\ntarget = 'big'\nmethod = 'ngram-cache'\nk = [4]",
            "queue",
            "ngram-cache: K = 4 is left out, since it drafts up to 8 tokens, whatever K is: ask for K = 8",
        ),
        (
            "[sweep]\nmethods = ['draft', 'ngram-mod']\nk = [4]\n[measure]\niterations = 99",
            "measure.iterations",
            "99 samples of a step, and ngram-mod remembers what it answered: each prompt counts once",
        ),
        ("[engine]\nprogram = 'embedded'\n[sweep]\nmoe_experts = [4]", "sweep.moe_experts", "expert counts"),
    ],
)
def test_warnings(tmp_path: Path, text: str, key: str, what: str) -> None:
    (warning,) = warnings(tmp_path, text)
    assert warning.key == key
    assert what in warning.what
    assert warning.line is not None


def test_a_k_that_a_method_can_have_is_left_alone(tmp_path: Path) -> None:
    for text in (
        "[sweep]\nmethods = ['draft', 'ngram-simple', 'ngram-cache']\nk = 'auto'",
        "[sweep]\nmethods = ['draft', 'ngram-mod']\nk = 'auto'\n[measure]\niterations = 3",
        "[sweep]\nmethods = ['draft', 'ngram-simple']\nngram_n = [2, 3]\nk = [4, 16]",
        "[engine]\nargs = ['--spec-ngram-simple-size-n', '3']\n[sweep]\nmethods = ['draft', 'ngram-simple']\nk = [4]",
        "[engine]\nkind = 'llama-cli'\n[sweep]\nmethods = ['draft', 'lookup']\nk = [4, 16]",
    ):
        assert [str(each) for each in warnings(tmp_path, text)] == [], text


def test_a_k_that_no_answer_has_room_for_is_told_without_a_draft_model_too(tmp_path: Path) -> None:
    text = "[[targets]]\npath = 'big.gguf'\n[sweep]\nmethods = ['ngram-map-k']\nk = [64]\n[measure]\nmax_tokens = 48\n"
    (warning,) = check_profile(write(tmp_path, text)).warnings
    assert (warning.key, "K = 64 cannot take effect in answers of 48 tokens" in warning.what) == ("sweep.k", True)


def test_harmless_args_are_left_alone(tmp_path: Path) -> None:
    args = '["-ngl", "99", "-ngld", "99", "-p", "- a list", "--override-kv", "llama.x=int:4", "-ot", "a=CPU"]'
    assert warnings(tmp_path, f"[engine]\nargs = {args}") == []


def test_categories_of_own_prompts(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text('{"category": "poems", "prompt": "x"}\n', encoding="utf-8")
    text = MODELS + '[measure]\nprompts = "mine.jsonl"\ncategories = ["peoms"]\n'
    (problem,) = check_profile(write(tmp_path, text)).problems
    assert problem.key == "measure.categories[0]"
    assert 'Did you mean "poems"? Known: poems' in problem.todo
    profile = load_profile(write(tmp_path, text.replace("peoms", "poems")))
    assert (profile.measure.prompts, profile.measure.categories) == (tmp_path / "mine.jsonl", ("poems",))


def test_what_is_wrong_in_own_prompts_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text('{"category": "poems", "prompt": "x"}\n{"category": 3}\n', encoding="utf-8")
    result = check_profile(write(tmp_path, MODELS + '[measure]\nprompts = "mine.jsonl"\n'))
    assert {(problem.where, problem.line) for problem in result.problems} == {(str(tmp_path / "mine.jsonl"), 2)}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("8h", 28800), ("90m", 5400), ("1h30m", 5400), ("1h 30m", 5400), ("2d", 172800), ("45s", 45), ("1.5h", 5400)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("64GB", 64 * 10**9), ("16GiB", 2**34), ("512MB", 512 * 10**6), ("1.5 TB", 15 * 10**11), ("7B", 7)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", " ", "8", "h", "30m1h", "-1h", "1,5h", "1..5h", "eight", "64", "64gb", "GB", "٣h", "٣GB"]
)
def test_neither_duration_nor_size(text: str) -> None:
    assert parse_duration(text) is None
    assert parse_size(text) is None


KEYS = [
    "name",
    "engine",
    "targets",
    "drafts",
    "configs",
    "sweep",
    "measure",
    "limits",
    "results",
    "kind",
    "program",
    "args",
    "env",
    "wrap",
    "port",
    "load_timeout_s",
    "launch",
    "stop",
    "health",
    "metrics",
    "pid_file",
    "cool_down_s",
    "url",
    "api_key_env",
    "body",
    "model",
    "method",
    "label",
    "path",
    "class",
    "mmproj",
    "methods",
    "k",
    "moe_experts",
    "ngram_n",
    "depth",
    "baseline",
    "pairs",
    "workloads",
    "prompts",
    "categories",
    "max_tokens",
    "seed",
    "iterations",
    "precision",
    "passes",
    "max_time",
    "memory",
    "on_failure",
    "dir",
    "x",
]
anything = st.recursive(
    st.one_of(
        st.sampled_from(
            ["auto", "all", "draft", "curve", "8h", "64GB", "builtin", "~", "$X", "*", "", "\x1b[2J", "\0", "/"]
        ),
        st.sampled_from([0, -1, 1, 8, 2.5, float("nan"), float("inf"), True, 10**30]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(KEYS), anything, max_size=6))
def test_no_document_makes_it_raise(tmp_path: Path, document: dict[str, Any]) -> None:
    path = write(tmp_path, tomli_w.dumps(document))
    result = check_profile(path)
    assert (result.profile is None) == bool(result.problems)
    assert all(str(problem).isprintable() for problem in result.problems + result.warnings + result.missing)
    lines = path.read_text(encoding="utf-8").count("\n") + 1
    assert all(problem.line is None or 1 <= problem.line <= lines for problem in result.problems)


def test_models_are_of_the_form_that_the_engine_takes(tmp_path: Path) -> None:
    folder = tmp_path / "mlx-model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "model.safetensors").write_bytes(b"")
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    for kind, named, wanted in (("mlx", "a.gguf", "the folder of a model"), ("llama-cli", "mlx-model", "a .gguf file")):
        path = write(tmp_path, f'[engine]\nkind = "{kind}"\n[[targets]]\npath = "{named}"\n[sweep]\nmethods = []\n')
        (problem,) = check_profile(path).problems
        assert (problem.line, problem.key) == (4, "targets[0].path")
        assert wanted in problem.what
    for kind, found in (("mlx", ["mlx-model"]), ("llama-server", ["a", "big", "small"])):
        path = write(tmp_path, f'[engine]\nkind = "{kind}"\n[[targets]]\npath = "."\n[sweep]\nmethods = []\n')
        profile = check_profile(path).profile
        assert profile is not None
        assert [target.label for target in profile.targets] == found


def test_llama_cli_takes_the_folder_of_its_programs(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    result = check_profile(write(tmp_path, f'{MODELS}[engine]\nkind = "llama-cli"\nprogram = "./bin"'))
    assert not [problem for problem in result.missing if problem.key == "engine.program"]
    assert result.profile is not None
    assert result.profile.engine.program == str(tmp_path / "bin")
    result = check_profile(write(tmp_path, f'{MODELS}[engine]\nkind = "llama-server"\nprogram = "./bin"'))
    assert "is a folder" in next(problem.what for problem in result.missing if problem.key == "engine.program")


def test_what_mlx_may_not_be_given(tmp_path: Path) -> None:
    for line, key, what in (
        ('args = ["--model", "x"]', "engine.args[0]", "not for args"),
        ('program = "specdash-mlx:"', "engine.program", "names no Python"),
    ):
        (problem,) = check_profile(
            write(tmp_path, f'[engine]\nkind = "mlx"\n{line}\n[[targets]]\npath = "m"\n[sweep]\nmethods = []\n')
        ).problems
        assert (problem.line, problem.key) == (3, key)
        assert what in problem.what


def test_launch_and_url_may_be_tables_by_method(tmp_path: Path) -> None:
    text = """
[engine]
kind = "script"
launch = { baseline = ["sh", "a.sh"], ngram = ["./b.sh", "{k}"] }
stop = ["./stop.sh"]
port = 8080
[[targets]]
label = "cluster"
[[configs]]
label = "kv8"
launch = ["./kv8.sh"]
[sweep]
methods = ["ngram"]
k = [5]
ngram_n = [4]
"""
    result = check_profile(write(tmp_path, text))
    assert result.problems == []
    profile = result.profile
    assert profile is not None
    assert profile.engine.launch == {"baseline": ("sh", "a.sh"), "ngram": (str(tmp_path / "b.sh"), "{k}")}
    assert profile.engine.stop == (str(tmp_path / "stop.sh"),)
    assert for_method(profile.configs[0].launch, "ngram") == (str(tmp_path / "kv8.sh"),)
    assert profile.targets[0].path is None
    assert load_profile(write(tmp_path, dump_profile(profile))) == profile
    steps = [(step.method, step.k, step.value("ngram_n")) for step in steps_of(profile, {}, ["coding"])]
    assert steps == [("baseline", None, None), ("ngram", 5, 4)]


def test_a_configuration_measures_the_methods_that_it_has_commands_for(tmp_path: Path) -> None:
    text = """
[engine]
kind = "openai"
[[targets]]
model = "big"
[[configs]]
label = "plain"
url = { baseline = "http://127.0.0.1:1" }
[[configs]]
label = "both"
url = { baseline = "http://127.0.0.1:2", mtp = "http://127.0.0.1:3" }
[sweep]
methods = ["mtp"]
k = [3]
"""
    profile = load_profile(write(tmp_path, text))
    steps = [(step.config, step.method) for step in steps_of(profile, {}, ["coding"])]
    assert steps == [("plain", "baseline"), ("both", "baseline"), ("both", "mtp")]


def test_prompts_with_images_need_a_model_that_sees(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(b"png")
    (tmp_path / "p.jsonl").write_text('{"category": "see", "prompt": "What is this?", "image": "cat.png"}\n')
    text = '[[targets]]\nlabel = "T"\npath = "big.gguf"\n[sweep]\nmethods = []\n[measure]\nprompts = "p.jsonl"\n'
    (problem,) = check_profile(write(tmp_path, text)).problems
    assert (problem.line, problem.key) == (7, "measure.prompts")
    assert "target 'T' takes none" in problem.what
    (tmp_path / "mm.gguf").write_bytes(b"")
    assert check_profile(write(tmp_path, text.replace('"big.gguf"', '"big.gguf"\nmmproj = "mm.gguf"'))).problems == []


def test_a_draft_that_no_method_is_for_is_told(tmp_path: Path) -> None:
    models = '[[targets]]\npath = "big.gguf"\n[[drafts]]\npath = "small.gguf"\n'
    for rest, wanted in (
        ('[sweep]\nmethods = ["mtp"]\nk = [2]\n', '"draft"'),
        ('method = "eagle3"\n[sweep]\nk = [2]\n', '"eagle3"'),
    ):
        (warning,) = check_profile(write(tmp_path, models + rest)).warnings
        assert (warning.line, warning.key) == (4, "drafts[0].path")
        assert wanted in warning.todo
    assert (
        check_profile(write(tmp_path, models + 'method = "eagle3"\n[sweep]\nk = [2]\nmethods = ["eagle3"]\n')).warnings
        == []
    )


def test_a_launch_command_that_is_never_told_k_is_found(tmp_path: Path) -> None:
    (tmp_path / "deaf.sh").write_text("#!/bin/sh\nexec serve --k 4\n")
    (tmp_path / "told.sh").write_text('#!/bin/sh\nexec serve --k "$SPECDASH_K"\n')
    rest = '[[targets]]\nmodel = "big"\n[sweep]\nmethods = ["ngram"]\nk = {k}\n'

    def found(launch: str, k: str = "[2, 4]", more: str = "") -> list[tuple[int | None, str]]:
        engine = f'[engine]\nkind = "script"\nport = 8080\nlaunch = {launch}\n'
        result = check_profile(write(tmp_path, engine + rest.replace("{k}", k) + more))
        assert result.problems == []
        assert all('does not say K for "ngram"' in warning.what for warning in result.warnings)
        return [(warning.line, warning.key) for warning in result.warnings]

    (tmp_path / "deaf.sh").chmod(0o755)
    (tmp_path / "told.sh").chmod(0o755)
    assert found('["./deaf.sh"]') == [(4, "engine.launch")]
    assert found('{ baseline = ["./deaf.sh"], ngram = ["./deaf.sh", "--k={k}"] }') == []
    assert found('["./told.sh"]') == found('["sh", "told.sh"]') == []
    assert found('["./deaf.sh"]', "[2]") == [], "one K may be that of the script"
    of_its_own = '[[configs]]\nlabel = "x"\nlaunch = ["./deaf.sh"]\n'
    assert found('["./deaf.sh"]', more=of_its_own) == [(12, "configs[0].launch")]


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ("[sweep]\np_min = [1.0]", "sweep.p_min[0]", "a number, 0 or more and below 1"),
        ('[sweep]\np_min = ["a"]', "sweep.p_min[0]", "found"),
        ("[sweep]\nn_min = [-1]", "sweep.n_min[0]", "a whole number, 0 or more"),
        ("[sweep]\nn_min = [0.5]", "sweep.n_min[0]", "a whole number, 0 or more"),
        ('[sweep]\nmethods = ["ngram-simple"]\np_min = [0.5]', "sweep.p_min", "no method here has one"),
        ('[sweep]\nmethods = ["draft"]\nk = "curve"\np_min = [0.5]', "sweep.k", "ends them before"),
        ('[engine]\nkind = "mlx"\n[sweep]\np_min = [0.5]', "sweep.p_min", 'kind = "mlx" has no way to set it'),
        ("[sweep.stages.draft]\np_mn = [0.5]", "sweep.stages.draft.p_mn", "unknown key"),
        ("[sweep.stages.ngram-mod]\nn_min = [0]", "sweep.stages.ngram-mod", "is no method of this sweep"),
    ],
)
def test_what_is_wrong_with_parameters_of_drafts_is_said(tmp_path: Path, text: str, where: str, said: str) -> None:
    file = tmp_path / "p.toml"
    file.write_text(f'{text}\n[[targets]]\npath = "t.gguf"\n[[drafts]]\npath = "d.gguf"\n')
    assert any(each.key == where and said in f"{each.what}" for each in check_profile(file).problems), check_profile(
        file
    ).problems


def test_parameters_of_drafts_are_read_for_all_methods_and_for_one(tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text(
        '[[targets]]\npath = "t.gguf"\n[[drafts]]\npath = "d.gguf"\n'
        '[sweep]\nmethods = ["draft", "ngram-mod"]\np_min = [0, 0.75]\nn_min = [4]\nk = [64]\n'
        '[sweep.stages."ngram-mod"]\nn_min = [0, 48]\n'
    )
    sweep = load_profile(file).sweep
    assert (sweep.listed("p_min", "draft"), sweep.listed("n_min", "draft")) == ((0.0, 0.75), (4,))
    assert sweep.listed("n_min", "ngram-mod") == (0, 48)
