"""Reading TOML tables key by key, with every mistake noted instead of raised.

A `TomlTable` hands out the values of one table, checked, and the default where a value is absent or wrong, so that one
mistake does not hide the next. The keys that a reader asks for are the keys that the table knows; whatever else stands
in it is reported by `unknown_keys`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from specdash.config.lines import KeyPath
from specdash.config.problems import Findings, dotted, guess, nearest, toml_text
from specdash.core.axes import Axis

Schema = dict[str, Any]
ALL_OR_NAMES: Schema = {"anyOf": [{"const": "all"}, {"type": "array", "items": {"type": "string"}}]}
T = TypeVar("T")
H = TypeVar("H", bound=Hashable)

_NUMBER = r"\d+(?:\.\d+)?"
_DURATION = re.compile(rf"(?:({_NUMBER}) ?d)? ?(?:({_NUMBER}) ?h)? ?(?:({_NUMBER}) ?m)? ?(?:({_NUMBER}) ?s)?", re.ASCII)
_SIZE = re.compile(rf"({_NUMBER}) ?(?:([KMGT])(i?))?B", re.ASCII)


def parse_duration(text: str) -> float | None:
    """Seconds of "8h", "90m", "1h30m", "2d", "45s"; None when it is none of these."""
    found = _DURATION.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        return None
    return sum(float(part or 0) * unit for part, unit in zip(found.groups(), (86400, 3600, 60, 1), strict=True))


def parse_size(text: str) -> int | None:
    """Bytes of "64GB" (10^9 each), "16GiB" (2^30 each), "512MB"; None when it is none of these."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        return None
    number, prefix, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** (" KMGT".index(prefix) if prefix else 0))


def as_whole(value: object, least: int, most: int | None = None) -> int | None:
    """`value` if it is a whole number in range; booleans are none, though Python thinks so."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if value >= least and (most is None or value <= most) else None


def axis_schema(axis: Axis) -> Schema:
    """What a JSON Schema says of one value of an axis."""
    kind = {str: "string", int: "integer", float: "number"}[axis.kind]
    found: Schema = {"type": kind} if axis.kind is str else {"type": kind, "minimum": axis.least}
    return found if axis.below is None else {**found, "exclusiveMaximum": axis.below}


@dataclass(slots=True)
class TomlTable:
    """One table of the file; `path` leads to it, `raw` is what tomllib made of it.

    `asked` are the keys it may have, each with what a JSON Schema says of its values. `family` lists the table and all
    others of the same file, for `unknown_keys`.
    """

    findings: Findings
    path: KeyPath
    raw: Mapping[str, object]
    family: list[TomlTable] = field(default_factory=list)
    asked: dict[str, Schema] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.family.append(self)

    @property
    def title(self) -> str:
        """The table as its header says it: `[measure]`, `[[targets]]`; "" for the top of the file."""
        name = ".".join(part for part in self.path if isinstance(part, str))
        if not name:
            return ""
        return f"[[{name}]]" if isinstance(self.path[-1], int) else f"[{name}]"

    def at(self, key: str) -> KeyPath:
        """The path of a key of this table."""
        return (*self.path, key)

    def ask(self, key: str, default: object = None, schema: Schema | None = None) -> object:
        """The raw value of a key that this table may have, and what it has to be: the first who says so is believed."""
        if schema is not None or key not in self.asked:
            self.asked[key] = self.asked.get(key) or schema or {}
        return self.raw.get(key, default)

    def wrong(self, key: str, wanted: str, todo: str = "") -> None:
        """Reports a value of the wrong type or range: `must be WANTED; found VALUE`."""
        self.findings.problem(self.at(key), f"must be {wanted}; found {toml_text(self.raw.get(key))}", todo)

    def get(
        self,
        key: str,
        default: T,
        wanted: str,
        convert: Callable[[object], T | None],
        todo: str = "",
        schema: Schema | None = None,
    ) -> T:
        """The value of `key` by way of `convert`, which returns None for what is not WANTED."""
        value = self.ask(key, schema={**(schema or {}), "description": wanted})
        if key not in self.raw:
            return default
        converted = convert(value)
        if converted is None:
            self.wrong(key, wanted, todo)
            return default
        return converted

    def text(self, key: str, default: str) -> str:
        """A string without control characters: it is shown, and used in names."""

        def convert(value: object) -> str | None:
            return value if isinstance(value, str) and value.isprintable() else None

        wanted = "a string without control characters"
        return self.get(key, default, wanted, convert, schema={"type": "string"})

    def boolean(self, key: str, default: bool) -> bool:
        """True or false."""

        def convert(value: object) -> bool | None:
            return value if isinstance(value, bool) else None

        return self.get(key, default, "true or false", convert, schema={"type": "boolean"})

    def whole(self, key: str, default: int, least: int, most: int | None = None, todo: str = "") -> int:
        """A whole number from `least` to `most`."""
        wanted = f"a whole number, {least} or more" if most is None else f"a whole number from {least} to {most}"
        bounds = {"minimum": least} if most is None else {"minimum": least, "maximum": most}
        schema = {"type": "integer", **bounds}
        return self.get(key, default, wanted, lambda value: as_whole(value, least, most), todo, schema)

    def number(self, key: str, default: float, wanted: str, *, zero: bool = False) -> float:
        """A finite number above 0 (or 0 too), with or without a fraction."""

        def convert(value: object) -> float | None:
            if isinstance(value, bool) or not isinstance(value, int | float):
                return None
            return float(value) if abs(value) < 1e12 and (value > 0 or (zero and value == 0)) else None

        return self.get(key, default, wanted, convert, schema={"type": "number"})

    def choice(self, key: str, default: str, allowed: Sequence[str], later: Collection[str] = ()) -> str:
        """One of some words; those `later` are known, but not in this version."""
        value = self.ask(key, default, {"enum": list(allowed)})
        if isinstance(value, str) and value in allowed:
            return value
        if isinstance(value, str) and value in later:
            self.findings.not_yet(self.at(key), toml_text(value), allowed)
        else:
            close = nearest(value, [*allowed, *later]) if isinstance(value, str) else None
            todo = "" if close is None else f"Did you mean {toml_text(close)}?"
            self.wrong(key, " or ".join(toml_text(word) for word in allowed), todo)
        return default

    def wholes(
        self, key: str, default: tuple[int, ...], least: int, wanted: str = "a list of whole numbers", todo: str = ""
    ) -> tuple[int, ...]:
        """A list of different whole numbers."""
        value = self.ask(key, schema={"type": "array", "items": {"type": "integer", "minimum": least}})
        if key not in self.raw:
            return default
        if not isinstance(value, list):
            self.wrong(key, wanted, todo)
            return default
        for index, item in enumerate(value):
            if as_whole(item, least) is None:
                what = f"must be a whole number, {least} or more; found {toml_text(item)}"
                self.findings.problem((*self.at(key), index), what, todo)
        return self._distinct(key, [item for item in value if as_whole(item, least) is not None])

    def axis(self, axis: Axis) -> Any:
        """One value of an axis, its default where the table has none."""
        return self.get(axis.name, axis.default, axis.wanted, axis.read, schema=axis_schema(axis))

    def axis_list(self, axis: Axis) -> tuple[Any, ...]:
        """Different values of an axis; () where the table has none."""
        what = f"{axis.what}: a list of values, each {axis.wanted}"
        value = self.ask(axis.name, None, {"description": what, "type": "array", "items": axis_schema(axis)})
        if axis.name not in self.raw:
            return ()
        if not isinstance(value, list):
            self.wrong(axis.name, "a list of whole numbers" if axis.kind is int else "a list of numbers")
            return ()
        for index, item in enumerate(value):
            if axis.read(item) is None:
                self.findings.problem((*self.at(axis.name), index), f"must be {axis.wanted}; found {toml_text(item)}")
        return self._distinct(axis.name, [found for item in value if (found := axis.read(item)) is not None])

    def strings(self, key: str, todo: str = "") -> tuple[str, ...]:
        """A list of strings; () when absent."""
        value = self.ask(key, [], {"type": "array", "items": {"type": "string"}})
        if not isinstance(value, list):
            self.wrong(key, "a list of strings", todo)
            return ()
        for index, item in enumerate(value):
            if not isinstance(item, str):
                quoted = f'Quote it: "{toml_text(item)}"' if isinstance(item, int | float) else ""
                self.findings.problem((*self.at(key), index), f"must be a string; found {toml_text(item)}", quoted)
            elif "\0" in item:
                self.findings.problem((*self.at(key), index), "contains a NUL character, which no program can be given")
        return tuple(item for item in value if isinstance(item, str))

    def words(
        self, key: str, default: tuple[str, ...], allowed: Sequence[str], later: Collection[str] = ()
    ) -> tuple[str, ...]:
        """A list of different words out of some; those `later` are known, but not in this version."""
        self.ask(key, schema={"type": "array", "items": {"enum": list(allowed)}})
        given = self.strings(key)
        for index, word in enumerate(given):
            path = (*self.at(key), index)
            if word in later:
                self.findings.not_yet(path, toml_text(word), allowed)
            elif word not in allowed:
                self.findings.problem(path, f"unknown: {toml_text(word)}", guess(word, [*allowed, *later]))
        return self._distinct(key, list(given)) if key in self.raw else default

    def _distinct(self, key: str, items: list[H]) -> tuple[H, ...]:
        """`items` without repetitions, each of which is reported."""
        distinct = tuple(dict.fromkeys(items))
        for item in distinct:
            if items.count(item) > 1:
                self.findings.problem(self.at(key), f"lists {toml_text(item)} more than once", "Leave one of them out")
        return distinct

    def table(self, key: str) -> TomlTable:
        """A sub-table; an empty one when it is absent."""
        value = self.ask(key, {})
        if not isinstance(value, dict):
            self.wrong(key, "a table", f"Write [{dotted(self.at(key))}] with its keys below, in single brackets")
            value = {}
        return TomlTable(self.findings, self.at(key), value, self.family)

    def tables(self, key: str) -> list[TomlTable]:
        """The elements of an array of tables, `[[key]]`."""
        value = self.ask(key, [])
        if isinstance(value, dict):
            title = f"[[{dotted(self.at(key))}]]"
            self.findings.problem(self.at(key), "must be an array of tables; found one table", f"Write {title}")
            # Read all the same, so that what is wrong inside is told at once.
            return [TomlTable(self.findings, self.at(key), value, self.family)]
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            todo = f"Write [[{dotted(self.at(key))}]] with its keys below, once for each"
            self.wrong(key, "an array of tables", todo)
            return []
        return [TomlTable(self.findings, (*self.at(key), at), item, self.family) for at, item in enumerate(value)]


def unknown_keys(family: Sequence[TomlTable]) -> None:
    """Reports every key that no reader asked for; to be called when all tables have been read."""
    homes: dict[str, str] = {}
    for table in reversed(family):
        homes |= dict.fromkeys(table.asked, table.title)
    for table in family:
        for key in table.raw:
            if key in table.asked:
                continue
            todo = guess(key, list(table.asked), f"{table.title or 'the top of the file'} knows")
            if key in homes:
                home = f"in {homes[key]}" if homes[key] else "at the top of the file, before the first [table]"
                todo = f"It belongs {home}"
            table.findings.problem(table.at(key), "unknown key", todo)
