"""Arguments held against what real programs list in their help, and what the programs really do with them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from specdash.engines.argument_check import ARGPARSE, LLAMA, complaints
from specdash.engines.program_help import HelpOption, flag_value, read_entries

HELP = Path(__file__).parents[1] / "data" / "help"
CURRENT = read_entries((HELP / "llama-server.b11669.txt").read_text("utf-8"))
OLD = read_entries((HELP / "embedded.xllamacpp-0.2.14.txt").read_text("utf-8"))
MLX = read_entries("""usage: server [-h] [--kv-bits KV_BITS]

options:
  -h, --help            show this help message and exit
  --kv-bits KV_BITS     bits
  --log-level {DEBUG,INFO}
                        level
  --pipeline            switch
""")

REFUSED = [
    ("-cd 512", 0, "has no flag -cd"),
    ("-c 4096 -fa", 2, "-fa lacks its value: llama-server takes -fa [on|off|auto]"),
    ("-fa -t 1", 0, "-fa lacks its value"),
    ("--control-vector-layer-range 1", 0, "takes --control-vector-layer-range START END"),
    ("-c=512", 0, 'takes no value behind "="'),
    ("--ctx-sise 512", 0, "has no flag --ctx-sise"),
    ("--draft-max 8", 0, "has no --draft-max any more"),
    ("-c 512 1024", 2, '"1024" stands alone'),
    ("--no-mmap", 0, "has no flag --no-mmap"),
]
TAKEN = [
    "",
    "-c 4096 -ngl 99 -ctk q8_0 -ctv q8_0 -fa on -s -1 --no-repack",
    "--temp -0.5 -l 15043-1 --load-mode mmap+mlock",
    "--lora-scaled x:1 --control-vector-layer-range 1 2 --slots",
]


@pytest.mark.parametrize(("line", "index", "what"), REFUSED)
def test_what_a_program_does_not_list_is_told(line: str, index: int, what: str) -> None:
    (found,) = complaints(line.split(), CURRENT, LLAMA, "llama-server")
    assert (found.index, what in found.what) == (index, True), found
    assert found.todo


@pytest.mark.parametrize("line", TAKEN)
def test_what_it_lists_is_taken(line: str) -> None:
    assert complaints(line.split(), CURRENT, LLAMA, "llama-server") == ()


@pytest.mark.real
@pytest.mark.parametrize("line", [line for line, _, _ in REFUSED])
def test_the_program_itself_refuses_the_same(line: str, llama_server: Path, tiny_models: Path) -> None:
    command = [str(llama_server), "-m", str(tiny_models / "target.gguf"), "--port", "0", *line.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "rgument" in done.stderr


@pytest.mark.real
def test_todays_programs_list_what_was_recorded(llama_server: Path) -> None:
    """Names, values and variables of every entry: the parser is held against the program that is here."""
    text = subprocess.run([llama_server, "--help"], capture_output=True, text=True, timeout=60).stdout
    assert read_entries(text) == CURRENT
    for name in ("llama-completion", "llama-speculative-simple", "llama-lookup"):
        text = subprocess.run(
            [llama_server.with_name(name), "--help"], capture_output=True, text=True, timeout=60
        ).stdout
        assert complaints(["-c", "512", "-t", "1", "-fa", "on"], read_entries(text), LLAMA, name) == ()
        assert complaints(["-cd", "512"], read_entries(text), LLAMA, name)


def test_entries_of_todays_help() -> None:
    by_name = {name: entry for entry in CURRENT for name in entry.names}
    assert by_name["-fa"] == HelpOption(("-fa", "--flash-attn"), ("[on|off|auto]",), "LLAMA_ARG_FLASH_ATTN")
    assert by_name["-ot"].values == ("<tensornamepattern>=<buffertype>,...",)
    assert by_name["--parallel"].variable == "LLAMA_ARG_N_PARALLEL"
    assert by_name["--slots"].values == ()
    assert by_name["--draft-max"].is_removed


def test_a_name_as_long_as_its_column_is_parted_from_its_text() -> None:
    """The description then begins behind one blank."""
    head = f"--{'a' * 35} N"
    assert len(head) == 39
    text = f"{head} number of things\n{' ' * 40}(env: LLAMA_ARG_THINGS)\n"
    (entry,) = read_entries(text)
    assert entry == HelpOption((head.split()[0],), ("N",), "LLAMA_ARG_THINGS")


def test_old_builds_have_their_own_flags() -> None:
    assert complaints(["-cd", "512", "--no-mmap", "-fa", "on"], OLD, LLAMA, "embedded") == ()
    assert complaints(["--spec-draft-n-ubatch", "8"], OLD, LLAMA, "embedded")


@pytest.mark.parametrize("line", ["--kv-bits=8 --pipeline", "--kv 8", "--log-level INFO", "--pipe"])
def test_argparse_joins_and_abbreviates(line: str) -> None:
    assert complaints(line.split(), MLX, ARGPARSE, "server") == ()


@pytest.mark.parametrize("line", ["--kv-bits", "--kv-bits --pipeline", "--kv-bit-size 8", "--pipeline 3"])
def test_argparse_refuses_too(line: str) -> None:
    assert len(complaints(line.split(), MLX, ARGPARSE, "server")) == 1


def test_the_last_of_several_values_counts() -> None:
    names = ("-c", "--ctx-size")
    assert flag_value(["-c", "1", "-t", "4", "--ctx-size", "2"], names) == "2"
    assert flag_value(["-t", "4"], names) is None
    assert flag_value(["-c"], names) is None
