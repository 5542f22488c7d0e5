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
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from specdash.core import axes
from specdash.core.axes import AXES
from specdash.core.engine import UNKNOWN, Param, ServerSpec
from specdash.core.methods import DRAFT
from specdash.core.step import LoadKey, Stage
from specdash.engines.causes import hints
from specdash.engines.help_text import Entry, read_entries
from specdash.errors import EngineError

CURRENT = "spec-draft"
OLD = "draft-max"
EMBEDDED = "embedded"
BRIEF_LIMIT_S = 60.0  # for --help and --version; builds with a GPU look for it first

_SPEC_TYPES = re.compile(r"^\s*--spec-type\s+\[?([a-z0-9-]+(?:[,|][a-z0-9-]+)+)", re.MULTILINE)


PARAMS: tuple[Param, ...] = (
    Param("target", "startup", {CURRENT: "-m", OLD: "-m"}, None, "the model that is sped up", "targets.path"),
    Param("draft", "startup", {CURRENT: "-md", OLD: "-md"}, None, "the model that proposes tokens", "drafts.path"),
    Param("spec_type", "startup", {CURRENT: "--spec-type"}, None, "without draft-simple a draft model is never used"),
    Param(
        "k",
        "request",
        {CURRENT: "--spec-draft-n-max", OLD: "--draft-max"},
        "speculative.n_max",
        "tokens drafted for each verification; builds since mid-2026 ignore it in requests",
        "sweep.k",
    ),
    Param(
        "n_min",
        "request",
        {CURRENT: "--spec-draft-n-min", OLD: "--draft-min"},
        "speculative.n_min",
        "shortest draft worth verifying; 0 unless asked for, so that K alone decides",
        "sweep.n_min",
    ),
    Param(
        "p_min",
        "request",
        {CURRENT: "--spec-draft-p-min", OLD: "--draft-p-min"},
        "speculative.p_min",
        "confidence below which a draft stops; 0 unless asked for, as old builds have 0.75 and then draft fewer than K",
        "sweep.p_min",
    ),
    Param(
        "moe_experts",
        "startup",
        {CURRENT: "--override-kv", OLD: "--override-kv"},
        None,
        "experts used for each token of a mixture-of-experts model",
        "sweep.moe_experts",
    ),
)


@dataclass(frozen=True, slots=True)
class Flags:
    """The flags that a program lists, which dialect of speculative decoding they make, and what `--spec-type` takes.

    `entries` is its whole help.
    """

    known: frozenset[str]
    removed: frozenset[str]
    dialect: str
    spec_types: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = ()

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


def model_values(spec: ServerSpec, k: str) -> dict[str, str]:
    """What a load sets of `PARAMS`, by name: its models, its experts, and K where a draft model drafts as usual."""
    values = {"target": str(spec.target)}
    if spec.draft is not None:
        values["draft"] = str(spec.draft)
    if spec.method == DRAFT:
        values |= {"spec_type": "draft-simple", "k": k, **params_of_stage(spec.key.stages[0])}
    experts = spec.key.value("moe_experts")
    if experts is not None:
        values["moe_experts"] = f"{spec.architecture}.expert_used_count=int:{experts}"
    return values


def missing_for_experts(key: LoadKey, flags: Flags) -> str | None:
    """The flag for expert counts that a program lacks, where a load sets one; None where nothing is missing."""
    flag = next(param.flags[CURRENT] for param in PARAMS if param.name == "moe_experts")
    return flag if key.value("moe_experts") is not None and flag not in flags else None


def params_of_stage(stage: Stage) -> dict[str, str]:
    """The parameters of a stage that are sent: those that a profile names, and what is sent where nobody names any."""
    found = {name: stage.value(name) for name in axes.PARAMS if AXES[name].is_of(stage.method) or name in stage.params}
    return {name: AXES[name].plain(each) for name, each in found.items() if each is not None}


def missing_for_params(key: LoadKey, flags: Flags, params: Sequence[Param]) -> str | None:
    """The parameter of a load's first stage that a program has no flag for; None where nothing is missing."""
    by_name = {param.name: param.flags.get(flags.dialect) for param in params}
    given = key.stages[0].params if key.stages else ()
    return next((name for name in given if (by_name.get(name) or "") not in flags), None)


def given_flags(params: Sequence[Param], values: Mapping[str, str], dialect: str) -> list[str]:
    """The words that set these values at start-up, in the order of the parameters; what a dialect lacks is left out."""
    return [
        part
        for param in params
        if param.name in values and dialect in param.flags
        for part in (param.flags[dialect], values[param.name])
    ]


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


def resolve(program: str) -> tuple[tuple[str, ...], str]:
    """The command that starts `program`, and how to name it to the user; EngineError when there is no such file."""
    kind, _, interpreter = program.partition(":")
    if kind == EMBEDDED:
        python = interpreter or sys.executable
        if shutil.which(python) is None:
            raise EngineError(f"engine.program: there is no Python at {python}", 'Use "embedded:PATH-OF-PYTHON".')
        return (python, "-I", str(Path(__file__).with_name("embedded.py"))), program
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


def run_briefly(command: Sequence[str], shown_as: str, limit_s: float, env: Mapping[str, str] | None = None) -> str:
    """Both output streams of a short command; EngineError when it cannot be run or does not end."""
    try:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=env,
        )
        with process:
            try:
                text, _ = process.communicate(timeout=limit_s)
            except BaseException:  # too late, or a signal that ends us: its session would outlive ours
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # its children too: it is the leader of their group
                raise
    except FileNotFoundError:
        if os.path.exists(command[0]):
            raise EngineError(
                f"engine.program: {shown_as} cannot be run: the interpreter in its first line is missing",
                "Mend that line, or name another program.",
            ) from None
        raise EngineError(
            f"engine.program: {shown_as} was not found", "Install llama.cpp, or give the path of its llama-server."
        ) from None
    except PermissionError:
        raise EngineError(f"engine.program: {shown_as} is not executable", f"chmod +x {shown_as}") from None
    except subprocess.TimeoutExpired:
        raise EngineError(
            f"engine.program: {shown_as} {command[-1]} did not end within {limit_s:.0f} s",
            "Run it by hand and see what it waits for.",
        ) from None
    except OSError as error:
        raise EngineError(
            f"engine.program: {shown_as} cannot be run: {error.strerror}", "Is it a program for this machine?"
        ) from None
    return text.decode("utf-8", "replace")


HINTS = (
    *hints(
        (
            r"cudaMalloc failed|out of memory|bad_alloc|failed to allocate|unable to allocate|insufficient memory"
            r"|ErrorOutOfDeviceMemory",
            "It ran out of memory: a smaller context (-c), fewer layers on the GPU (-ngl), or a smaller model or"
            " quantisation.",
        ),
        (
            r"couldn't bind|address already in use|failed to bind",
            "The port is taken by another program; set engine.port = 0 for any free one.",
        ),
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
        at_any_k=True,
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


def dialect_words(dialect: str) -> str:
    """The flag of K in a dialect, as a reader knows it."""
    return next(param.flags[dialect] for param in PARAMS if param.name == "k")
