"""The JSON Schema of a profile, made from its reader: each key with what the reader asks of its value.

Editors complete and check profiles by it. It knows single values alone: what depends on other keys or on this machine
is for `specdash check` to tell.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from specdash.config.fields import TomlTable
from specdash.config.load import read_profile
from specdash.config.problems import Findings

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# A reader asks a table for its keys where the table is there.
_EVERY_TABLE = "[engine]\n[[targets]]\n[[drafts]]\n[[configs]]\n[sweep]\n[[queue]]\n[measure]\n[limits]\n[results]\n"


def every_table() -> list[TomlTable]:
    """All tables of a profile, each with the keys that its reader asks for."""
    findings = Findings("profile.toml")
    top = TomlTable(findings, (), tomllib.loads(_EVERY_TABLE))
    read_profile(top, Path("profile.toml"), findings)
    return top.family


def profile_schema() -> dict[str, Any]:
    """The schema of a profile."""
    tables = {table.path: _table(table) for table in every_table()}
    top = tables.pop(())
    for path, schema in sorted(tables.items(), key=lambda item: len(item[0])):
        *parents, name = (part for part in path if isinstance(part, str))
        home = top
        for parent in parents:
            inner = home["properties"][parent]
            home = inner.get("items", inner)
        is_list = isinstance(path[-1], int)
        home["properties"][name] = {"type": "array", "items": schema} if is_list else schema
    return {"$schema": DIALECT, "title": "specdash profile", **top, "required": ["targets"]}


def _table(table: TomlTable) -> dict[str, Any]:
    """One table by itself; one that has no keys of its own is by names of the user's."""
    if not table.asked:
        return {"type": "object"}
    return {"type": "object", "properties": dict(table.asked), "additionalProperties": False}
