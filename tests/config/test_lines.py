"""Whatever tomllib finds in a text must have a line, and the right one."""

from __future__ import annotations

import string
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from specdash.config.lines import KeyPath, key_lines


def paths(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """The path of everything inside a parsed TOML value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from paths(inner, (*path, key))


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ("a = 1", ("a",), 1),
        ("\n\n  a = 1\n", ("a",), 3),
        ("\r\n# c\r\na = 1\r\nb = 2\r\n", ("b",), 4),
        ("# a = 0\na = 1", ("a",), 2),
        ("[t]\n\na = 1", ("t", "a"), 3),
        ("[a.b.c]\n[a]\nx = 1", ("a",), 2),
        ("[a.b.c]\n[a]\nx = 1", ("a", "b"), 1),
        ("a . b.'c d' = 1", ("a", "b", "c d"), 1),
        ('"k\\u00e9y # [" = 1\n"b.c" = 2', ("b.c",), 2),
        ('x = 0\n"k\\u00e9y = [" = 1', ("kéy = [",), 2),
        ("[[t]]\na = 1\n[[t]]\na = 2", ("t", 1, "a"), 4),
        ("[[t]]\n[t.u]\na = 1\n[[t]]\n[t.u]\na = 2", ("t", 1, "u", "a"), 6),
        ("[[t]]\n[[t.u]]\n[[t.u]]\n[[t]]\n[[t.u]]\na = 1", ("t", 1, "u", 0, "a"), 6),
        ("[[t]]\n[[t]]", ("t",), 1),
        ("[ t . 'u' ] # c\na = 1", ("t", "u", "a"), 2),
        ('s = """\n[t]\nb = 1\n"""\na = 1', ("a",), 5),
        ('s = """a\\"""\nb"""""\na = 1', ("a",), 3),
        ("s = '''\n''a = '''''\na = 1", ("a",), 3),
        ("s = 'a\\'\na = 1", ("a",), 2),
        ('s = "\\""\na = 1', ("a",), 2),
        ("l = [\n  1, # ] x\n  2\n]\na = 1", ("l", 1), 3),
        ("l = [\n  1, # ] x\n  2,\n]\na = 1", ("a",), 5),
        ("l = [[1,\n2], ['a', \"]\"]]\na = 1", ("a",), 3),
        ("l = [{a = 1},\n{a = 2, b.c = [3]}]", ("l", 1, "b", "c", 0), 2),
        ("d = 1979-05-27 07:32:00Z # x\na = 1", ("a",), 2),
        ("l = [1979-05-27 07:32:00,\n2]", ("l", 1), 2),
        ("a = inf\nb = 0x1F", ("b",), 2),
    ],
)
def test_line_of(text: str, path: KeyPath, line: int) -> None:
    assert key_lines(text)[path] == line
    assert set(key_lines(text)) == set(paths(tomllib.loads(text)))


def test_empty() -> None:
    assert key_lines("") == {}
    assert key_lines("# only a comment") == {}


scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.floats(allow_nan=False),
    st.datetimes(),
    st.dates(),
    st.text(st.characters(blacklist_categories=["Cs"]), max_size=12),
    st.text("\"'\\\n#[]{}=, ", max_size=8),
)
keys = st.one_of(st.text(string.ascii_letters + "-_0", min_size=1, max_size=4), st.text("\"'\\.#[ \té", max_size=4))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)),
    max_leaves=15,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(keys, values, max_size=5), st.booleans())
def test_finds_all_that_tomllib_finds(document: dict[str, Any], multiline: bool) -> None:
    text = tomli_w.dumps(document, multiline_strings=multiline)
    lines = key_lines(text)
    assert set(lines) == set(paths(tomllib.loads(text)))
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(keys, scalars), max_size=6, unique_by=lambda pair: pair[0]), st.data())
def test_line_is_where_the_key_stands(pairs: list[tuple[str, Any]], data: st.DataObject) -> None:
    text, expected = "", {}
    for key, value in pairs:
        text += data.draw(st.sampled_from(["", "\n", "# x = [\n", "\t\r\n"]))
        expected[(key,)] = text.count("\n") + 1
        text += tomli_w.dumps({key: value})
    lines = key_lines(text)
    assert {path: lines[path] for path in expected} == expected
