"""Reading prompts from JSON Lines, with every mistake noted instead of raised.

Nothing here trusts the file: it may be huge, binary, deeply nested or half written.
"""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from specdash.config.entries import absence, absolute
from specdash.config.problems import guess, nearest, toml_text
from specdash.core.prompts import ROLES, Message, Prompt, Role
from specdash.core.text import one_line
from specdash.errors import Problem

LARGEST_FILE_BYTES = 64 * 2**20
MOST_PROBLEMS = 100
LONGEST_NAME = 80
LONGEST_PATH = 4096

_KEYS = ("category", "prompt", "messages", "id", "image")
_MESSAGE_KEYS = ("role", "content")
_FORMAT = 'One line per prompt: {"category": "…", "prompt": "…"}'


def read_file(path: Path) -> tuple[str | None, list[Problem]]:
    """The text of a file of prompts, or None and the reason why there is none."""
    where = one_line(str(path), LONGEST_PATH)
    if os.path.isdir(path):
        return None, [Problem(where, None, "", "is a folder, not a file of prompts")]
    if (reason := absence(path)) is not None:
        return None, [Problem(where, None, "", *reason)]
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_FILE_BYTES + 1)
    except OSError as error:
        return None, [Problem(where, None, "", f"cannot be read: {error.strerror or one_line(str(error))}")]
    if len(raw) > LARGEST_FILE_BYTES:
        what = f"is too large for prompts: more than {LARGEST_FILE_BYTES // 2**20} MiB"
        return None, [Problem(where, None, "", what, "Is it the right file?")]
    # By hand, since the codec that skips the mark counts error positions from behind it.
    raw = raw.removeprefix(codecs.BOM_UTF8)
    try:
        return raw.decode("utf-8"), []
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        return None, [Problem(where, line, "", f"is not UTF-8 text: byte 0x{raw[error.start]:02x}", "Save it as UTF-8")]


def parse_jsonl(text: str, where: str, base: Path | None = None) -> tuple[tuple[Prompt, ...], list[Problem]]:
    """The prompts in `text` and all problems with it, those beyond a hundred as a count.

    `where` names the file; paths of images start at the folder `base`.
    """
    reader = _Reader(one_line(where, LONGEST_PATH), base or Path.cwd())
    if text.lstrip().startswith("["):
        reader.problem(None, "", "is one JSON array, not one object per line", _FORMAT)
        return (), reader.problems
    entries: list[_Entry] = []
    # Only line feeds end a line: JSON strings may hold the other characters that str.splitlines() cuts at.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and (entry := reader.entry(number, line)) is not None:
            entries.append(entry)
    if not entries and not reader.problems:
        reader.problem(None, "", "has no prompts", _FORMAT)
    prompts = _with_ids(entries, reader)
    if reader.unsaid:
        reader.problems.append(Problem(reader.where, None, "", f"and {reader.unsaid} more problems"))
    return prompts, reader.problems


@dataclass(frozen=True, slots=True)
class _Entry:
    """One line that is a prompt; `given_id` is None where one is to be made up."""

    line: int
    given_id: str | None
    category: str
    messages: tuple[Message, ...] | None
    text: str | None
    images: tuple[Path, ...] = ()


def _with_ids(entries: Sequence[_Entry], reader: _Reader) -> tuple[Prompt, ...]:
    """The prompts of the entries, each under an id of its own; an id given twice is reported."""
    lines: dict[str, int] = {}
    for entry in entries:
        if entry.given_id is None:
            continue
        if entry.given_id in lines:
            what = f"{toml_text(entry.given_id)} is already the id of line {lines[entry.given_id]}"
            reader.problem(entry.line, "id", what, "Give each its own id, or leave it out")
        lines.setdefault(entry.given_id, entry.line)
    numbers: dict[str, Iterator[int]] = {}
    prompts: list[Prompt] = []
    for entry in entries:
        name = entry.given_id
        if name is None:
            made = (f"{entry.category}-{number}" for number in numbers.setdefault(entry.category, count(1)))
            name = next(name for name in made if name not in lines)
        prompts.append(Prompt(name, entry.category, entry.messages, entry.text, entry.images))
    return tuple(prompts)


@dataclass(slots=True)
class _Reader:
    """Turns lines into entries and files what is wrong; `unsaid` counts the problems beyond the first hundred."""

    where: str
    base: Path
    problems: list[Problem] = field(default_factory=list)
    unsaid: int = 0

    def problem(self, line: int | None, key: str, what: str, todo: str = "") -> None:
        """Files a problem."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(Problem(self.where, line, key, what, todo))
        else:
            self.unsaid += 1

    def entry(self, line: int, text: str) -> _Entry | None:
        """The prompt of one line; None, with every reason filed, when it is none."""
        before = (len(self.problems), self.unsaid)
        raw = self._object(line, text)
        if raw is None:
            return None
        self._unknown_keys(line, raw, _KEYS, "")
        category = self._name(line, raw, "category", required=True)
        given_id = self._name(line, raw, "id", required=False)
        messages, prompt = None, None
        if "prompt" in raw and "messages" in raw:
            self.problem(line, "", "has both prompt and messages", "Leave one of them out")
        elif "prompt" in raw:
            prompt = self._text(line, raw, "prompt", "prompt")
        elif "messages" in raw:
            messages = self._messages(line, raw["messages"])
        else:
            self.problem(line, "", "has neither prompt nor messages", 'Add "prompt": "…"')
        images = self._images(line, raw)
        if category is None or (len(self.problems), self.unsaid) != before:
            return None
        return _Entry(line, given_id, category, messages, prompt, images)

    def _images(self, line: int, raw: Mapping[str, object]) -> tuple[Path, ...]:
        """The image files of a prompt, one or a list; each must be there."""
        value = raw.get("image", [])
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
            self.problem(line, "image", f"must be the path of an image, or a list of them; found {_kind(value)}")
            return ()
        paths = tuple(absolute(name, self.base) for name in names)
        for path in paths:
            if (reason := absence(path)) is not None:
                self.problem(line, "image", *reason)
        return paths

    def _object(self, line: int, text: str) -> Mapping[str, object] | None:
        """The JSON object of one line."""
        twice: list[str] = []

        def collect(pairs: list[tuple[str, object]]) -> dict[str, object]:
            found = dict(pairs)
            if len(found) < len(pairs):
                names = [name for name, _ in pairs]
                twice.extend(name for name in found if names.count(name) > 1)
            return found

        try:
            value: object = json.loads(text, object_pairs_hook=collect)
        except json.JSONDecodeError as error:
            self.problem(line, "", f"not JSON: {one_line(error.msg)} (column {error.colno})", _FORMAT)
            return None
        except (ValueError, RecursionError):
            self.problem(line, "", "not usable JSON: nested too deeply, or a number with thousands of digits", _FORMAT)
            return None
        if not isinstance(value, dict):
            self.problem(line, "", f"must be a JSON object; found {_kind(value)}", _FORMAT)
            return None
        for name in twice:
            self.problem(line, _key(name), "stands there more than once", "Leave one of them out")
        return value

    def _unknown_keys(self, line: int, raw: Mapping[str, object], known: Sequence[str], prefix: str) -> None:
        for key in raw:
            if key not in known:
                self.problem(line, f"{prefix}{_key(key)}", "unknown key", guess(key, known))

    def _name(self, line: int, raw: Mapping[str, object], key: str, *, required: bool) -> str | None:
        """An id or category: a short string without control characters; None when absent or wrong."""
        if key not in raw:
            if required:
                self.problem(line, key, "is missing", f'Add "{key}": "…"')
            return None
        value = raw[key]
        if (
            isinstance(value, str)
            and value.strip() == value != ""
            and value.isprintable()
            and len(value) <= LONGEST_NAME
        ):
            return value
        found = toml_text(value) if isinstance(value, str) else _kind(value)
        wanted = f"a string of 1 to {LONGEST_NAME} printable characters without blanks at its ends"
        self.problem(line, key, f"must be {wanted}; found {found}")
        return None

    def _text(self, line: int, raw: Mapping[str, object], key: str, shown_key: str) -> str | None:
        """A text for the model: any string that is not blank and can be sent as UTF-8."""
        value = raw.get(key)
        if not isinstance(value, str):
            self.problem(line, shown_key, "is missing" if key not in raw else f"must be a string; found {_kind(value)}")
        elif not value.strip():
            self.problem(line, shown_key, "is empty")
        elif any("\ud800" <= char <= "\udfff" for char in value):
            self.problem(line, shown_key, "holds half of a surrogate pair (\\ud800 to \\udfff), which is no character")
        else:
            return value
        return None

    def _messages(self, line: int, value: object) -> tuple[Message, ...] | None:
        """A conversation that a model can answer: its last message is the user's."""
        if not isinstance(value, list) or not value:
            found = "an empty array" if value == [] else _kind(value)
            todo = '"messages": [{"role": "user", "content": "…"}]'
            self.problem(line, "messages", f"must be an array of at least one message; found {found}", todo)
            return None
        found_messages: list[Message] = []
        for index, item in enumerate(value):
            at = f"messages[{index}]"
            if not isinstance(item, dict):
                self.problem(line, at, f"must be an object with role and content; found {_kind(item)}")
                continue
            self._unknown_keys(line, item, _MESSAGE_KEYS, f"{at}.")
            role = self._role(line, item, f"{at}.role")
            content = self._text(line, item, "content", f"{at}.content")
            if role is not None and content is not None:
                found_messages.append(Message(role, content))
        if len(found_messages) == len(value) and found_messages[-1].role != "user":
            what = f"must be the user's, since the model answers it; found {toml_text(found_messages[-1].role)}"
            self.problem(line, f"messages[{len(value) - 1}].role", what)
        return tuple(found_messages)

    def _role(self, line: int, item: Mapping[str, object], at: str) -> Role | None:
        value = item.get("role")
        if isinstance(value, str) and value in ROLES:
            return value
        if "role" not in item:
            self.problem(line, at, "is missing", " or ".join(toml_text(role) for role in ROLES))
            return None
        close = nearest(value, ROLES) if isinstance(value, str) else None
        found = toml_text(value) if isinstance(value, str) else _kind(value)
        todo = "" if close is None else f"Did you mean {toml_text(close)}?"
        self.problem(line, at, f"must be {' or '.join(toml_text(role) for role in ROLES)}; found {found}", todo)
        return None


def _key(name: str) -> str:
    """A key of the user's as part of a message."""
    return name if name.isidentifier() and name.isascii() and len(name) <= LONGEST_NAME else toml_text(name)


def _kind(value: object) -> str:
    """What a JSON value is, in JSON's words."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"
