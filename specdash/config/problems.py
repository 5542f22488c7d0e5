"""What is wrong in a file, collected instead of raised, and said in the file's own words.

The words: a value as it stands in the file, a key with its dots, the nearest spelling. Everything that comes from a
file passes `escaped` before it reaches a message.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from specdash.config.lines import KeyPath
from specdash.errors import Problem

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SHOWN_CHARS = 80


def escaped(text: str) -> str:
    """`text` without anything that a terminal could obey: what is not printable becomes its escape sequence."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def toml_text(value: object) -> str:
    """A TOML value as it would stand in the file, on one line and at most 80 characters long."""
    match value:
        case bool():
            text = "true" if value else "false"
        case str() if "/" in value:
            return '"' + escaped(value) + '"'  # a path, of which the end tells most: never cut
        case str():
            text = '"' + escaped(value) + '"'
        case list():
            text = "[" + ", ".join(toml_text(item) for item in value[:_SHOWN_CHARS]) + "]"
        case dict():
            text = "a table"
        case datetime.date() | datetime.time():
            text = f"the date or time {value.isoformat()}"
        case int() if abs(value) >= 10**_SHOWN_CHARS:
            text = f"a number of {value.bit_length()} bits"  # str() refuses the largest ones
        case _:
            text = str(value)
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"


def dotted(path: KeyPath) -> str:
    """A path as the user would write it: `targets[0].path`, with keys quoted where TOML wants it."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if _BARE_KEY.fullmatch(part) else toml_text(part)
            text += f".{name}" if text else name
    return text


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The entry of `known` that `word` most likely stands for, whatever its case; None when none is close."""
    by_folded = {name.casefold(): name for name in known}
    close = get_close_matches(word.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[close[0]] if close else None


def guess(word: str, known: Sequence[str], label: str = "Known") -> str:
    """What to do about an unknown `word`: the nearest spelling, if any, and all that is known."""
    close = nearest(word, known)
    hint = f"Did you mean {toml_text(close)}? " if close is not None else ""
    return hint + f"{label}: " + (", ".join(escaped(name) for name in known) or "nothing")


@dataclass(slots=True)
class Findings:
    """What was found in one file: `problems` make it useless, `warnings` do not, `missing` is not on this machine.

    `where` is the file as the user knows it; `lines` is `key_lines` of its text.
    """

    where: str
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    missing: list[Problem] = field(default_factory=list)

    def line(self, path: KeyPath) -> int | None:
        """The line of a path, or of the nearest thing around it that has one."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return None

    def problem(self, path: KeyPath, what: str, todo: str = "") -> None:
        """Files a problem that makes the profile useless."""
        self.problems.append(self.about(path, what, todo))

    def warn(self, path: KeyPath, what: str, todo: str = "") -> None:
        """Files a warning."""
        self.warnings.append(self.about(path, what, todo))

    def lacks(self, path: KeyPath, what: str, todo: str = "") -> None:
        """Files something that this machine does not have."""
        self.missing.append(self.about(path, what, todo))

    def not_yet(self, path: KeyPath, what: str, allowed: Sequence[str] = ()) -> None:
        """Files the use of something that specdash is to have and this version has not; `allowed` is what it has."""
        todo = "This version has: " + ", ".join(toml_text(word) for word in allowed) if allowed else "Leave it out"
        self.problem(path, f"{what} is not in this version", todo)

    def about(self, path: KeyPath, what: str, todo: str) -> Problem:
        """A problem at a path of the file, filed by nobody yet."""
        return Problem(self.where, self.line(path), dotted(path), what, todo)
