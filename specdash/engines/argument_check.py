"""Start-up arguments held against the help of the programs that a profile's loads run, without starting a server.

A flag that the help does not list is refused at the start of a server, and so is one without its value, or a word that
no flag takes. Values are not judged: a help does not list all that a program takes. Nothing here loads an HTTP library,
but for MLX, whose help takes seconds anyway.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from specdash.core.plan import LoadKey
from specdash.core.profile import EngineConfig
from specdash.engines.llama_cpp.cli_programs import locate
from specdash.engines.llama_cpp.flags import read_flags, resolve_program
from specdash.engines.program_help import BRIEF_LIMIT_S, HelpOption, read_entries, run_briefly


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong with the word at `index`, and what to do."""

    index: int
    what: str
    todo: str = ""


@dataclass(frozen=True, slots=True)
class Syntax:
    """How a program reads its arguments.

    `joins`: a value may stand behind "=" in the same word. `abbreviates`: a beginning that fits one flag alone means
    it. `may_lack`: what takes a value in brackets may stand without.
    """

    joins: bool = False
    abbreviates: bool = False
    may_lack: bool = False


LLAMA = Syntax()
ARGPARSE = Syntax(joins=True, abbreviates=True, may_lack=True)


def complaints(
    args: Sequence[str], entries: Sequence[HelpOption], syntax: Syntax, shown_as: str
) -> tuple[Complaint, ...]:
    """What the program of this help would refuse in `args`."""
    return tuple(_complaints(args, _by_name(entries), syntax, shown_as))


def _complaints(
    args: Sequence[str], known: Mapping[str, HelpOption], syntax: Syntax, shown_as: str
) -> Iterator[Complaint]:
    at, may_be_value = 0, False
    while at < len(args):
        word, entry = args[at], _entry(args[at], known, syntax)
        here, at = at, at + 1
        if entry is None:
            is_flag = _looks_like_flag(word)
            if is_flag or not may_be_value:
                yield _unknown(here, word, is_flag, known, syntax, shown_as)
            may_be_value = is_flag  # of a flag that nobody knows
            continue
        may_be_value = False
        if entry.is_removed:
            yield Complaint(here, f"{shown_as} has no {word} any more", "Its --help names what replaces it")
        if syntax.joins and "=" in word:
            continue
        for value in entry.values:
            if at < len(args) and not _is_flag(args[at], known, syntax):
                at += 1
            elif not (syntax.may_lack and value.startswith("[")):
                takes, example = " ".join((word, *entry.values)), ", ".join(map(_example, entry.values))
                yield Complaint(here, f"{word} lacks its value: {shown_as} takes {takes}", f'Write "{word}", {example}')
                break


def _unknown(
    index: int, word: str, is_flag: bool, known: Mapping[str, HelpOption], syntax: Syntax, shown_as: str
) -> Complaint:
    """The complaint about a word that is nothing the program knows."""
    if not is_flag:
        return Complaint(index, f'"{word}" stands alone: no flag before it takes it', "Leave it out")
    name, _, joined = word.partition("=")
    if joined and name in known and not syntax.joins:
        return Complaint(index, f'{shown_as} takes no value behind "="', f'Write "{name}", "{joined}"')
    there = [name for name, entry in known.items() if not entry.is_removed]
    close = difflib.get_close_matches(word, there, n=1) if word.startswith("--") else []
    nearest = f'Did you mean "{close[0]}"? ' if close else ""
    return Complaint(index, f"{shown_as} has no flag {word}", f"{nearest}Its --help lists those that there are")


def _by_name(entries: Sequence[HelpOption]) -> dict[str, HelpOption]:
    """The entries by each of their names; one that is there counts before one that was removed."""
    found: dict[str, HelpOption] = {}
    for entry in sorted(entries, key=lambda each: each.is_removed):
        for name in entry.names:
            found.setdefault(name, entry)
    return found


def _entry(word: str, known: Mapping[str, HelpOption], syntax: Syntax) -> HelpOption | None:
    """The entry that a word of the arguments means."""
    name = word.partition("=")[0] if syntax.joins else word
    if name in known or not syntax.abbreviates or not name.startswith("--"):
        return known.get(name)
    meant = [entry for full, entry in known.items() if full.startswith(name)]
    return meant[0] if len(meant) == 1 else None


def _is_flag(word: str, known: Mapping[str, HelpOption], syntax: Syntax) -> bool:
    return _entry(word, known, syntax) is not None


def _looks_like_flag(word: str) -> bool:
    """Whether a word is written as a flag, and is no negative number."""
    return word.startswith("-") and len(word) > 1 and not word[1].isdigit() and word[1] != "."


def _example(value: str) -> str:
    """One value out of a list of words, else the name that the help has for it."""
    return f'"{value.strip("[]{}<>").split("|")[0].split(",")[0]}"'


# -- the programs --------------------------------------------------------------------------------------------------

Environment = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class OwnHelp:
    """What one program lists in its help. `folder` is where it lies, None where it is no file of its own."""

    shown_as: str
    entries: tuple[HelpOption, ...]
    syntax: Syntax
    folder: Path | None

    def against(self, args: Sequence[str]) -> tuple[Complaint, ...]:
        """What the program would refuse in `args`."""
        return complaints(args, self.entries, self.syntax, Path(self.shown_as).name)

    def has_variable(self, name: str) -> bool:
        """Whether a variable of the environment sets a flag of the program."""
        return any(entry.variable == name for entry in self.entries)


def helps_of(config: EngineConfig, keys: Sequence[tuple[LoadKey, bool]], env: Environment) -> tuple[OwnHelp, ...]:
    """The help of each program that serves these loads, which are vision models or not; () for other kinds of engine.

    Runs the programs in the environment `env`; EngineError for one that is missing or of another kind.
    """
    return _OF_KIND[config.kind](config, keys, env) if config.kind in _OF_KIND else ()


def _server(config: EngineConfig, keys: Sequence[tuple[LoadKey, bool]], env: Environment) -> tuple[OwnHelp, ...]:
    command, shown_as = resolve_program(config.program)
    folder = Path(command[0]).resolve().parent if len(command) == 1 else None
    return (OwnHelp(shown_as, read_flags(command, shown_as, env=env).entries, LLAMA, folder),)


def _programs(config: EngineConfig, keys: Sequence[tuple[LoadKey, bool]], env: Environment) -> tuple[OwnHelp, ...]:
    programs = locate(config.program, env)
    chosen = dict.fromkeys(programs.choose(key, vision=vision).name for key, vision in keys)
    paths = {name: programs.paths[name] for name in chosen}
    return tuple(
        OwnHelp(path, programs.flags(name).entries, LLAMA, Path(path).resolve().parent) for name, path in paths.items()
    )


def _mlx(config: EngineConfig, keys: Sequence[tuple[LoadKey, bool]], env: Environment) -> tuple[OwnHelp, ...]:
    from specdash.engines.mlx.engine import resolve_mlx_program as resolve_mlx

    command, _python = resolve_mlx(config.program)
    entries = read_entries(run_briefly([*command, "--help"], config.program, BRIEF_LIMIT_S, env))
    is_server = any("--num-draft-tokens" in entry.names for entry in entries)
    return (OwnHelp(config.program, entries, ARGPARSE, None),) if is_server else ()


_OF_KIND: Mapping[str, Callable[[EngineConfig, Sequence[tuple[LoadKey, bool]], Environment], tuple[OwnHelp, ...]]] = {
    "llama-server": _server,
    "llama-cli": _programs,
    "mlx": _mlx,
}
