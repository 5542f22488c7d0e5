"""The entries of a program's `--help`: flags, the values that they take, and the variables that mean the same.

An entry is a line that begins with a flag; it goes on to the next such line or blank line. In llama.cpp's layout the
description begins in column 40, or on the next line where the names reach beyond it; argparse's is alike but for an
indent. A flag that only stands in somebody else's description does not count.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from specdash.errors import EngineError

COLUMN = 40
BRIEF_LIMIT_S = 60.0  # for --help and --version; builds with a GPU look for it first

_FLAG = re.compile(r"(?<![\w-])--?[a-zA-Z](?:[\w.-]*\w)?")
_ENTRY = re.compile(r"^ {0,4}-{1,2}[a-zA-Z]")
_GAP = re.compile(r"\s{2,}(?![-\s])")
_GROUP = re.compile(r"<[^<>]*>|\{[^{}]*\}|\[[^\[\]]*\]")
_VARIABLE = re.compile(r"\(env: (\w+)\)")
_GONE = "has been removed"


@dataclass(frozen=True, slots=True)
class HelpOption:
    """One option: its names, words for the values that it takes (() for a switch), and its variable ("" for none).

    `is_removed`: the program knows it, and refuses it.
    """

    names: tuple[str, ...]
    values: tuple[str, ...] = ()
    variable: str = ""
    is_removed: bool = False


def read_entries(text: str) -> tuple[HelpOption, ...]:
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


def _entry(lines: list[str]) -> HelpOption:
    head = _head(lines[0])
    said = " ".join(" ".join(lines).split())
    variable = _VARIABLE.search(said)
    return HelpOption(tuple(_FLAG.findall(head)), _values(head), variable[1] if variable else "", _GONE in said)


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


def flag_value(args: Sequence[str], names: Sequence[str]) -> str | None:
    """The value of a flag, by any of its names: of several the last one counts. None where it is not given."""
    found = [args[at + 1] for at, word in enumerate(args[:-1]) if word in names]
    return found[-1] if found else None
