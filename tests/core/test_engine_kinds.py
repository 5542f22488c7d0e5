"""The table of engine kinds, and that hardly any other module outside the engines knows a kind by its name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import specdash
from specdash.core.draft_lengths import ANYTHING
from specdash.core.engine_kinds import DEFAULT, KINDS, OWN_KEYS, kind_named, kind_of_format, owners_of
from specdash.core.model import GGUF, MLX
from specdash.core.profile import EngineConfig

PACKAGE = Path(specdash.__file__).parent
MOST = 6


def lines_that_name_a_kind() -> Iterator[str]:
    """`file:line` of every string outside of the engines and the table that is the name of a kind."""
    for path in sorted(PACKAGE.rglob("*.py")):
        file = path.relative_to(PACKAGE)
        if file.parts[0] in ("engines", "programs") or file.as_posix() == "core/engine_kinds.py":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and node.value in KINDS:
                yield f"{file}:{node.lineno}"


def test_hardly_any_module_outside_the_engines_names_a_kind() -> None:
    found = sorted(set(lines_that_name_a_kind()))
    assert len(found) <= MOST, found


def test_every_row_agrees_with_the_others() -> None:
    assert EngineConfig().kind == DEFAULT.name
    assert EngineConfig().program == DEFAULT.programs[0].name
    for name, kind in KINDS.items():
        assert name == kind.name
        assert not kind.fallback or KINDS[kind.fallback].fallback == ""
        assert ("program" in kind.keys) is bool(kind.programs)
        assert kind.by_name is bool(kind.reach)
        assert bool(kind.refused) is bool(kind.programs), "who starts a program knows its arguments"
        assert set(kind.keys) <= set(OWN_KEYS) <= set(EngineConfig.__slots__)
    assert [kind_of_format(each).name for each in (GGUF, MLX)] == ["llama-server", "mlx"]
    assert owners_of("url") == ("openai",)
    assert owners_of("args") == ()


@pytest.mark.parametrize("name", ["", "llamacpp", "?"])
def test_a_kind_of_another_version_has_a_row_that_knows_nothing(name: str) -> None:
    kind = kind_named(name)
    assert kind.abilities_of("ngram") == ANYTHING
    assert (kind.programs, kind.fallback, kind.k_scope, kind.new_profile) == ((), "", None, "")
