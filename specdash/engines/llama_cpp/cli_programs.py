"""llama.cpp's command-line programs: which there are, what each prints, and the command line of a load.

What differs between them is stated once, in `PROGRAMS`. Which flags a program takes is read off its own --help, in
both dialects, as for the server; a flag that is only convenient is passed where it is listed.
"""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from specdash.core.axes import AXES
from specdash.core.engine import ServerSpec
from specdash.core.methods import BASELINE, DRAFT, LOOKUP
from specdash.core.plan import LoadKey
from specdash.engines.llama_cpp import methods as llama_methods
from specdash.engines.llama_cpp.flags import CURRENT, OLD, Flags, parse_help, read_spec_types, read_version
from specdash.engines.llama_cpp.methods import SPECULATION, K, start_arguments
from specdash.engines.params import sampling_params
from specdash.engines.program_help import BRIEF_LIMIT_S, read_entries, run_briefly
from specdash.errors import EngineError

SIMPLE, SPECULATIVE, LOOKUP_CLI = "llama-speculative-simple", "llama-speculative", "llama-lookup"
COMPLETION, CHAT_CLI, VISION = "llama-completion", "llama-cli", "llama-mtmd-cli"
SERVER = "llama-server"
NO_DIALECT = "none"


@dataclass(frozen=True, slots=True)
class CliProgram:
    """What is peculiar to one program.

    `speculates`: it prints the `encoded` and `decoded` lines and the counters of drafting. `echoes`: the prompt stands
    before the text on its stdout. `decodes_first`: the pass that makes the first token belongs to its `decoded` time;
    else that token comes from the prompt, at no cost. `sees`: it takes images, and prints libllama's figures only when
    it is asked to say more.
    """

    name: str
    speculates: bool = False
    echoes: bool = False
    decodes_first: bool = False
    sees: bool = False


PROGRAMS: Mapping[str, CliProgram] = MappingProxyType(
    {
        program.name: program
        for program in (
            CliProgram(SIMPLE, speculates=True, echoes=True, decodes_first=True),
            CliProgram(SPECULATIVE, speculates=True, echoes=True),
            CliProgram(LOOKUP_CLI, speculates=True, echoes=True),
            CliProgram(COMPLETION),
            CliProgram(CHAT_CLI),
            CliProgram(VISION, sees=True),
        )
    }
)

_BOTH = (CURRENT, OLD)
SAMPLING = sampling_params(
    {"max_tokens": "n", "temperature": "temp"},
    {
        "max_tokens": dict.fromkeys(_BOTH, "-n"),
        "temperature": dict.fromkeys(_BOTH, "--temp"),
        "seed": dict.fromkeys(_BOTH, "-s"),
    },
)

# Passed where the help lists them: no conversation, the text alone, the prompt as it is, the figures at the end.
_WHERE_LISTED: tuple[tuple[str, ...], ...] = (
    ("-no-cnv", "--no-conversation"),
    ("--simple-io",),
    ("--no-display-prompt",),
    ("--special", "-sp"),  # the programs that speculate print special tokens, so the baseline must
    ("--no-escape",),
    ("--perf",),
)
# What speculates takes a prompt in one batch, and fails on one of more than -b (2048). The context bounds it too.
BATCH = "131072"
_FOR_ALL = ("-m", "-n", "-f", "--temp")


class Programs:
    """The programs of one build: their paths by name, and what their help lists, which is read when it is needed."""

    def __init__(self, paths: Mapping[str, str], preferred: str, env: Mapping[str, str] | None) -> None:
        self.paths = paths
        self._preferred = preferred
        self._env = env
        self._known: dict[str, Flags] = {}
        self._versions: dict[str, str] = {}

    @property
    def first(self) -> str:
        """The program that stands for them all: the one that was asked for, else the first that is here."""
        return self._preferred if self._preferred in self.paths else next(iter(self.paths))

    def candidates(self, key: LoadKey, *, vision: bool) -> tuple[str, ...]:
        """The programs that may serve a load, the best first; whether they are here is another question."""
        method = key.method
        if vision:
            return (VISION,)
        if method == BASELINE:
            return (CHAT_CLI, COMPLETION) if self._preferred == CHAT_CLI else (COMPLETION, CHAT_CLI)
        if method == LOOKUP:
            return (LOOKUP_CLI, SIMPLE)
        if method == DRAFT:
            return (SPECULATIVE, SIMPLE) if self._preferred == SPECULATIVE else (SIMPLE, SPECULATIVE)
        return (SIMPLE,)

    def choose(self, key: LoadKey, *, vision: bool = False) -> CliProgram:
        """The program that serves a load; EngineError says why none does."""
        names = self.candidates(key, vision=vision)
        if vision and key.speculates:
            raise EngineError(f"{VISION} has no speculative decoding", "Measure the vision model without, or as text.")
        reasons: list[EngineError] = []
        for name in names:
            if name not in self.paths:
                continue
            try:
                reason = self._against(name, key)
            except EngineError as error:
                reasons.append(error)
                continue
            if reason is None:
                return PROGRAMS[name]
            reasons.append(EngineError(reason))
        if reasons:
            raise reasons[0]
        beside = os.path.dirname(next(iter(self.paths.values()), "")) or "PATH"
        raise EngineError(f"there is no {' or '.join(names)} in {beside}", "Install all of llama.cpp's programs.")

    def _against(self, name: str, key: LoadKey) -> str | None:
        """Why a program that is here cannot serve a load."""
        flags = self.flags(name)
        path = self.paths[name]
        if name == CHAT_CLI and not {"-cnv", "--conversation"} & flags.known:
            return f"{path} only chats (a build of today); its programs for one answer are {COMPLETION} and others"
        if (flag := llama_methods.missing_for_experts(key, flags)) is not None:
            return f"{path} cannot set expert counts (no {flag})"
        if not key.is_plain and name == SIMPLE:
            return llama_methods.unsupported_reason(key, flags, path)
        if (missing := llama_methods.missing_param(key, flags, SPECULATION)) is not None:
            return f"{path} has no flag for {AXES[missing].what}"
        if key.speculates and flags.dialect == NO_DIALECT:
            return f"{path} lists no flag for the draft length: neither --spec-draft-n-max nor --draft-max"
        return None

    def flags(self, name: str) -> Flags:
        """What a program's help lists; EngineError for a program of another tool, or of another build."""
        if name not in self._known:
            path = self.paths[name]
            text = run_briefly([path, "--help"], path, BRIEF_LIMIT_S, self._env)
            known, removed = parse_help(text)
            missing = [flag for flag in _FOR_ALL if flag not in known]
            if missing:
                first = next((line.strip() for line in text.splitlines() if line.strip()), "nothing")
                raise EngineError(
                    f"{path} does not look like {name}: its --help does not list {', '.join(missing)}"
                    f" (it says: {first[:120]!r})",
                    "Set engine.program to one of llama.cpp's programs, or to the folder that they are in.",
                )
            self._same_build(name)
            current = "--spec-draft-n-max" in known
            dialect = CURRENT if current else OLD if "--draft-max" in known else NO_DIALECT
            self._known[name] = Flags(known, removed, dialect, read_spec_types(text), read_entries(text))
        return self._known[name]

    def version(self, name: str) -> str:
        """The version line of a program, without its label; "unknown" where there is none."""
        if name not in self._versions:
            path = self.paths[name]
            self._versions[name] = read_version(run_briefly([path, "--version"], path, BRIEF_LIMIT_S, self._env))
        return self._versions[name]

    def _same_build(self, name: str) -> None:
        """Raises where programs of two builds stand beside each other: their rates must not be compared."""
        ours = self.version(name)
        for other, version in self._versions.items():
            if version != ours:
                raise EngineError(
                    f"{self.paths[other]} is {version}, and {self.paths[name]} is {ours}",
                    "Rates of two builds cannot be compared: name a folder with programs of one build.",
                )

    def template(self, program: CliProgram, spec: ServerSpec) -> list[str]:
        """The command of a load's runs, with the words in braces that `cli_bridge` fills in."""
        flags = self.flags(program.name)
        stage = (K,) if program.name == LOOKUP_CLI else None  # llama-lookup has no other parameter of drafting
        words = [self.paths[program.name], *start_arguments(spec, "{k}", flags, stage)]
        for names in _WHERE_LISTED:
            words += [name for name in names if name in flags][:1]
        if program.sees:
            words += [flag for flag in ("--jinja",) if flag in flags]
            words += ["-lv", "4"] if "-lv" in flags else []
            words += ["--mmproj", str(spec.mmproj), "--image", "{images}"]
        words += ["-b", BATCH] if "-b" in flags else []
        words += [word for param in SAMPLING for word in (param.flags[CURRENT], f"{{{param.field}}}")]
        return [*words, "-f", "{prompt}", *spec.args]


def locate(program: str, env: Mapping[str, str] | None) -> Programs:
    """The programs that belong to `program`: one of them, llama.cpp's server, or the folder that they are in.

    A name is looked for on PATH, and what is not beside it there too; a path or a folder stands for one build, so only
    what is beside it counts. EngineError where there are none.
    """
    given = Path(program)
    if os.path.isdir(given):
        return _from((given,), None, "", env, program)
    if os.sep in program:
        if not os.path.isfile(given):
            raise EngineError(f"engine.program: there is no {program}", "Give the path of one of llama.cpp's programs.")
        return _from(_folders(given), given, given.name, env, program)
    path = env.get("PATH") if env is not None else None
    found = next((where for name in (program, *PROGRAMS) if (where := shutil.which(name, path=path))), None)
    if found is None or (program not in PROGRAMS and program != SERVER):
        known = program in PROGRAMS or program == SERVER
        raise EngineError(
            f"engine.program: {program} is "
            + ("not on PATH" if known else "none of llama.cpp's command-line programs"),
            f"Install llama.cpp, or name the folder of its programs ({', '.join(PROGRAMS)}).",
        )
    on_path = tuple(Path(each) for each in (path or os.environ.get("PATH", "")).split(os.pathsep) if each)
    return _from((*_folders(Path(found)), *on_path), None, program, env, program)


def _folders(program: Path) -> tuple[Path, ...]:
    """Where the siblings of a program may be: beside its name, and beside what that links to."""
    return tuple(dict.fromkeys((program.absolute().parent, program.resolve().parent)))


def _from(
    folders: Iterable[Path], given: Path | None, preferred: str, env: Mapping[str, str] | None, shown_as: str
) -> Programs:
    """The programs in these folders; `given` is one of them under its own name."""
    if given is not None and preferred not in PROGRAMS and preferred != SERVER:
        raise EngineError(
            f"engine.program: {shown_as} is none of llama.cpp's command-line programs ({', '.join(PROGRAMS)})",
            "Name one of them, or the folder that they are in.",
        )
    folders = tuple(folders)
    paths = {
        name: str(path)
        for name in PROGRAMS
        for path in [next((folder / name for folder in folders if os.access(folder / name, os.X_OK)), None)]
        if path is not None
    }
    if not paths:
        raise EngineError(
            f"engine.program: none of llama.cpp's command-line programs is beside {shown_as}",
            f"Name the folder with {', '.join(PROGRAMS)}.",
        )
    return Programs(paths, preferred, env)


def grey_png(side: int) -> bytes:
    """A grey picture of `side` by `side` pixels, for the proof that a vision model can be loaded."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\x80" * 3 * side) * side)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", rows) + part(b"IEND", b"")
