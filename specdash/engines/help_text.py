"""The entries of a program's `--help`: flags, the values that they take, and the variables that mean the same. Pure.

An entry is a line that begins with a flag; it goes on to the next such line or blank line. In llama.cpp's layout the
description begins in column 40, or on the next line where the names reach beyond it; argparse's is alike but for an
indent. A flag that only stands in somebody else's description does not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

COLUMN = 40

_FLAG = re.compile(r"(?<![\w-])--?[a-zA-Z](?:[\w.-]*\w)?")
_ENTRY = re.compile(r"^ {0,4}-{1,2}[a-zA-Z]")
_GAP = re.compile(r"\s{2,}(?![-\s])")
_GROUP = re.compile(r"<[^<>]*>|\{[^{}]*\}|\[[^\[\]]*\]")
_VARIABLE = re.compile(r"\(env: (\w+)\)")
_GONE = "has been removed"


@dataclass(frozen=True, slots=True)
class Entry:
    """One option: its names, words for the values that it takes (() for a switch), and its variable ("" for none).

    `is_removed`: the program knows it, and refuses it.
    """

    names: tuple[str, ...]
    values: tuple[str, ...] = ()
    variable: str = ""
    is_removed: bool = False


def read_entries(text: str) -> tuple[Entry, ...]:
    """The entries of a help text, in its order."""
    return tuple(_entry(lines) for lines in _blocks(text))


def _blocks(text: str) -> Iterator[list[str]]:
    """The lines of each entry."""
    block: list[str] = []
    for line in [*text.splitlines(), ""]:
        if block and (not line.strip() or _ENTRY.match(line)):
            yield block
            block = []
        if block or _ENTRY.match(line):
            block.append(line)


def _entry(lines: list[str]) -> Entry:
    head = _head(lines[0])
    said = " ".join(" ".join(lines).split())
    variable = _VARIABLE.search(said)
    return Entry(tuple(_FLAG.findall(head)), _values(head), variable[1] if variable else "", _GONE in said)


def _head(line: str) -> str:
    """Names and values of an entry, without the description where that begins on the same line."""
    head = _GAP.split(line.strip(), maxsplit=1)[0]
    if head == line.strip() and line[COLUMN - 1 : COLUMN] == " " and line[COLUMN - 2 : COLUMN - 1] != " ":
        # As long as the column allows: one blank parts it from a description, and a name from the next one too.
        rest = line[COLUMN:]
        if not rest.startswith("-") and "," not in line[COLUMN - 2 : COLUMN - 1] and len(_bare(rest).split()) > 1:
            return line[: COLUMN - 1].strip()
    return head


def _values(head: str) -> tuple[str, ...]:
    """The words behind the last name; of a group in brackets blanks do not count."""
    words = _bare(head).split()
    last = max((at for at, word in enumerate(words) if _FLAG.match(word)), default=len(words))
    return tuple(words[last + 1 :])


def _bare(text: str) -> str:
    """A text with no blanks inside brackets."""
    return _GROUP.sub(lambda match: re.sub(r"\s+", "", match[0]), text)
