"""The line of every key and table of a TOML text, which `tomllib` does not tell.

A scanner for text that `tomllib` has already accepted: it finds where things stand and never judges, so it needs no
errors of its own. Values are skipped, not converted; the key of a quoted name is unquoted by `tomllib` itself.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right

KeyPath = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*+"{3,5}'
    r"|'''(?:[^']|'{1,2}(?!'))*+'{3,5}"
    r'|"(?:[^"\\]|\\.)*+"'
    r"|'[^']*+'",
    re.DOTALL,
)
# Numbers, booleans and dates contain none of these; a date may contain a space.
_SCALAR = re.compile(r"[^,\]}#\r\n]+")


def key_lines(text: str) -> dict[KeyPath, int]:
    """Maps the path of every table, key and array element of `text` to its line, counted from 1.

    A path is made of keys and, inside arrays, indexes: ("targets", 0, "path"). A table that is only implied, as `a` by
    `[a.b]`, has the line of what implies it. `text` must be valid TOML (else the result means nothing).
    """
    return _Scanner(text).scan()


class _Scanner:
    """One pass over a text; `pos` is the offset of the next character to look at."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.pos = 0
        self.lines: dict[KeyPath, int] = {}
        self.newlines = [found.start() for found in re.finditer("\n", text)]
        self.last_index: dict[KeyPath, int] = {}  # the newest element of every [[array]]

    def scan(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        self.skip(_BLANK)
        while self.pos < len(self.text):
            if self.text[self.pos] == "[":
                table = self.header()
            else:
                self.pair(table)
            self.skip(_BLANK)
        return self.lines

    def skip(self, pattern: re.Pattern[str]) -> str:
        """Moves behind what `pattern` matches here, and returns it; past the end of the text when nothing does."""
        found = pattern.match(self.text, self.pos)
        self.pos = found.end() if found else len(self.text)
        return found.group() if found else ""

    def at(self, mark: str) -> bool:
        """Moves behind `mark` if it stands here."""
        found = self.text.startswith(mark, self.pos)
        self.pos += len(mark) if found else 0
        return found

    def mark(self, path: KeyPath, line: int) -> None:
        """Notes the line of `path`, and of whatever tables it implies."""
        for length in range(1, len(path)):
            self.lines.setdefault(path[:length], line)
        self.lines[path] = line

    def line(self) -> int:
        return bisect_right(self.newlines, self.pos - 1) + 1

    def keys(self) -> list[str]:
        """A key with its dots, as a list."""
        names = []
        while True:
            self.skip(_SPACE)
            if self.text[self.pos : self.pos + 1] in {'"', "'"}:
                (name,) = tomllib.loads(f"{self.skip(_STRING)} = 0")
                names.append(name)
            else:
                names.append(self.skip(_BARE_KEY))
            self.skip(_SPACE)
            if not self.at("."):
                return names

    def header(self) -> KeyPath:
        """`[a.b]` or `[[a.b]]`; returns the path of the table that it opens."""
        line = self.line()
        is_array = self.at("[[")
        if not is_array:
            self.at("[")
        *parents, name = self.keys()
        self.at("]]" if is_array else "]")
        path: KeyPath = ()
        for parent in parents:
            path += (parent,)
            if path in self.last_index:
                path += (self.last_index[path],)
        path += (name,)
        if is_array:
            index = self.last_index.get(path, -1) + 1
            self.last_index[path] = index
            self.lines.setdefault(path, line)
            path += (index,)
            # Tables inside a new element start counting anew by themselves: its index is part of their path.
        self.mark(path, line)
        return path

    def pair(self, table: KeyPath) -> None:
        """`key = value` of the table at `table`."""
        line = self.line()
        path = table + tuple(self.keys())
        self.mark(path, line)
        self.at("=")
        self.skip(_SPACE)
        self.value(path)

    def value(self, path: KeyPath) -> None:
        if self.at("["):
            index = 0
            self.skip(_BLANK)
            while self.pos < len(self.text) and not self.at("]"):
                self.mark((*path, index), self.line())
                self.value((*path, index))
                self.separator()
                index += 1
        elif self.at("{"):
            self.skip(_BLANK)
            while self.pos < len(self.text) and not self.at("}"):
                self.pair(path)
                self.separator()
        elif self.text[self.pos : self.pos + 1] in {'"', "'"}:
            self.skip(_STRING)
        else:
            self.skip(_SCALAR)

    def separator(self) -> None:
        """Comments, line ends and the comma between two elements."""
        self.skip(_BLANK)
        self.at(",")
        self.skip(_BLANK)
