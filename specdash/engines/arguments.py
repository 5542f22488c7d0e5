"""Start-up arguments held against the help of the program that they are for. Pure.

A flag that the help does not list is refused at the start of a server, and so is one without its value, or a word that
no flag takes. Values are not judged: a help does not list all that a program takes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from specdash.engines.help_text import Entry


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


def complaints(args: Sequence[str], entries: Sequence[Entry], syntax: Syntax, shown_as: str) -> tuple[Complaint, ...]:
    """What the program of this help would refuse in `args`."""
    return tuple(_complaints(args, _by_name(entries), syntax, shown_as))


def value_of(args: Sequence[str], names: Sequence[str]) -> str | None:
    """The value of a flag, by any of its names: of several the last one counts. None where it is not given."""
    found = [args[at + 1] for at, word in enumerate(args[:-1]) if word in names]
    return found[-1] if found else None


def _complaints(args: Sequence[str], known: Mapping[str, Entry], syntax: Syntax, shown_as: str) -> Iterator[Complaint]:
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
    index: int, word: str, is_flag: bool, known: Mapping[str, Entry], syntax: Syntax, shown_as: str
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


def _by_name(entries: Sequence[Entry]) -> dict[str, Entry]:
    """The entries by each of their names; one that is there counts before one that was removed."""
    found: dict[str, Entry] = {}
    for entry in sorted(entries, key=lambda each: each.is_removed):
        for name in entry.names:
            found.setdefault(name, entry)
    return found


def _entry(word: str, known: Mapping[str, Entry], syntax: Syntax) -> Entry | None:
    """The entry that a word of the arguments means."""
    name = word.partition("=")[0] if syntax.joins else word
    if name in known or not syntax.abbreviates or not name.startswith("--"):
        return known.get(name)
    meant = [entry for full, entry in known.items() if full.startswith(name)]
    return meant[0] if len(meant) == 1 else None


def _is_flag(word: str, known: Mapping[str, Entry], syntax: Syntax) -> bool:
    return _entry(word, known, syntax) is not None


def _looks_like_flag(word: str) -> bool:
    """Whether a word is written as a flag, and is no negative number."""
    return word.startswith("-") and len(word) > 1 and not word[1].isdigit() and word[1] != "."


def _example(value: str) -> str:
    """One value out of a list of words, else the name that the help has for it."""
    return f'"{value.strip("[]{}<>").split("|")[0].split(",")[0]}"'
