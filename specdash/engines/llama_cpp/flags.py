"""What a llama-server program calls its flags, read from its own `--help`.

llama.cpp renamed the flags of speculative decoding in 2026: `--draft-max` became `--spec-draft-n-max` and now ends the
program with an error, and `-md` alone loads a draft without ever using it unless `--spec-type draft-simple` stands
beside it. A version number does not tell which flags a build has (packagers number builds as they like), so the help
text is the only source; an entry that says "has been removed" counts as absent.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from specdash.core.engine import UNKNOWN, CauseKind
from specdash.core.engine_kinds import EMBEDDED
from specdash.engines.log_diagnosis import hints
from specdash.engines.program_help import BRIEF_LIMIT_S, HelpOption, read_entries, run_briefly
from specdash.errors import EngineError

PROGRAMS = Path(__file__).parents[2] / "programs"  # what runs in a Python of its own
CURRENT = "spec-draft"
OLD = "draft-max"

_SPEC_TYPES = re.compile(r"^\s*--spec-type\s+\[?([a-z0-9-]+(?:[,|][a-z0-9-]+)+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Flags:
    """The flags that a program lists, which dialect of speculative decoding they make, and what `--spec-type` takes.

    `entries` is its whole help.
    """

    known: frozenset[str]
    removed: frozenset[str]
    dialect: str
    spec_types: tuple[str, ...] = ()
    entries: tuple[HelpOption, ...] = ()

    def __contains__(self, flag: str) -> bool:
        """Whether the program takes `flag`."""
        return flag in self.known


def parse_help(text: str) -> tuple[frozenset[str], frozenset[str]]:
    """The flags that a help text lists, and those that it lists as removed."""
    entries = read_entries(text)
    removed = {name for entry in entries if entry.is_removed for name in entry.names}
    known = {name for entry in entries if not entry.is_removed for name in entry.names}
    return frozenset(known - removed), frozenset(removed)


def read_spec_types(text: str) -> tuple[str, ...]:
    """What `--spec-type` takes, as a help text lists it: `none,draft-simple,…` today, `[none|ngram-cache|…]` before."""
    found = _SPEC_TYPES.search(text)
    return tuple(re.split("[,|]", found[1])) if found is not None else ()


def read_version(text: str) -> str:
    """The version line of a program's --version, without its label; UNKNOWN where there is none."""
    found = (re.search(r"version:\s*(.+)", line) for line in text.splitlines())
    return next((match[1].strip() for match in found if match is not None), UNKNOWN)


def read_flags(
    command: Sequence[str], shown_as: str, limit_s: float = BRIEF_LIMIT_S, env: Mapping[str, str] | None = None
) -> Flags:
    """Asks a program for its help and tells its dialect; EngineError for a program that is not a llama-server."""
    text = run_briefly([*command, "--help"], shown_as, limit_s, env)
    known, removed = parse_help(text)
    if not {"--port", "-m"} <= known:
        first = next((line.strip() for line in text.splitlines() if line.strip()), "nothing")
        raise EngineError(
            f"{shown_as} does not look like llama-server: its --help lists neither -m nor --port"
            f" (it says: {first[:120]!r})",
            'Set engine.program to llama.cpp\'s llama-server, or to "embedded".',
        )
    if {"--spec-draft-n-max", "--spec-type"} <= known:
        dialect = CURRENT
    elif "--draft-max" in known:
        dialect = OLD
    else:
        raise EngineError(
            f"{shown_as} lists no flag for the draft length: neither --spec-draft-n-max nor --draft-max",
            "It was built without speculative decoding or is of before 2025; use a newer llama.cpp.",
        )
    return Flags(known, removed, dialect, read_spec_types(text), read_entries(text))


def resolve_program(program: str) -> tuple[tuple[str, ...], str]:
    """The command that starts `program`, and how to name it to the user; EngineError when there is no such file."""
    kind, _, interpreter = program.partition(":")
    if kind == EMBEDDED:
        python = interpreter or sys.executable
        if shutil.which(python) is None:
            raise EngineError(f"engine.program: there is no Python at {python}", 'Use "embedded:PATH-OF-PYTHON".')
        return (python, "-I", str(PROGRAMS / "embedded.py")), program
    if os.sep not in program:
        found = shutil.which(program)
        if found is None:
            raise EngineError(
                f"engine.program: {program} is not on PATH",
                'Install llama.cpp, give the path of its llama-server, or use program = "embedded"'
                " (pip install 'specdash[embedded]').",
            )
        return (found,), found
    path = Path(program)
    if os.path.isdir(path):
        raise EngineError(f"engine.program: {program} is a folder", f"Did you mean {path / 'llama-server'}?")
    return (program,), program


HINTS = (
    *hints(
        (
            r"cudaMalloc failed|out of memory|bad_alloc|failed to allocate|unable to allocate|insufficient memory"
            r"|ErrorOutOfDeviceMemory",
            "It ran out of memory: a smaller context (-c), fewer layers on the GPU (-ngl), or a smaller model or"
            " quantisation.",
        ),
    ),
    *hints(
        (
            r"couldn't bind|address already in use|failed to bind",
            "The port is taken by another program; set engine.port = 0 for any free one.",
        ),
        kind=CauseKind.PORT_TAKEN,
    ),
    *hints(
        (
            r"doesn't contain MTP layers",
            'The model file has no layers for multi-token prediction: take "mtp" out of sweep.methods, or use a file'
            " that was converted with them.",
        ),
        (
            r"draft model is not eagle3|(EAGLE3|EAGLE3 model|DFlash|DFlash model) requires|has no target_layer_ids",
            "The draft is no head of this kind: eagle3, dflash and dspark need a file that was made for this target.",
        ),
        (
            r"the argument has been removed",
            "A flag in engine.args or configs.args was removed from this build; its --help names the new one.",
        ),
        (
            r"error while handling argument \"|expected value for argument",
            "A flag in engine.args or configs.args lacks its value, or has one that it does not take.",
        ),
        (
            r"(invalid|unknown) argument: -",  # a flag: strerror and CUDA say the words too
            "This build does not know a flag in engine.args or configs.args; see its --help.",
        ),
        (r"cannot set --", "The embedded llama.cpp cannot set this; use the llama-server program instead."),
        (
            r"error while loading shared libraries|Library not loaded",
            "A library of the program is missing; reinstall it, or set LD_LIBRARY_PATH in engine.env.",
        ),
        (
            r"unknown model architecture|unsupported model architecture",
            "This build of llama.cpp is older than the model; use a newer one.",
        ),
        (r"xllamacpp.*(not installed|missing)|No module named 'xllamacpp'", "pip install 'specdash[embedded]'"),
        kind=CauseKind.NOT_K,
    ),
    *hints(
        (
            r"GGML_ASSERT|GGML_ABORT",
            "llama.cpp stopped at a check of its own: an option or a value that this model or build cannot take.",
        ),
        (
            r"failed to open GGUF|No such file or directory",
            "A file that the server needs is missing; check the paths in the profile.",
        ),
        (
            r"invalid magic|failed to load model|error loading model",
            "The model cannot be loaded; check that its download is whole.",
        ),
    ),
)

SPEC_TYPE_NOTE = "used with --spec-type draft-simple (specdash passes it: -md alone loads a draft and never uses it)"
