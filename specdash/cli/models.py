"""`specdash models`: models on this machine, and which can draft for which."""

from __future__ import annotations

import argparse
import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specdash.cli import command_parser
from specdash.cli.table import print_table
from specdash.core.text import human_bytes, one_line
from specdash.errors import Exit

if TYPE_CHECKING:
    from specdash.config.discover import Family, FoundModel


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what this command takes."""
    parser.add_argument("dirs", nargs="*", metavar="DIR", help="folders to search (default: the usual caches)")
    parser.add_argument("--json", action="store_true", help="the models as JSON")


def main(name: str, arguments: list[str]) -> Exit:
    """Prints models by vocabulary family, with the drafts that fit each.

    Of what was named, 2 for a place that is not there, 3 for one that cannot be read; a broken model in a folder is
    only listed.
    """
    parser = command_parser(name)
    options = parser.parse_args(arguments)
    from specdash.config.discover import families, find_models

    named = [Path(each).expanduser() for each in options.dirs]
    found = find_models(named or None)
    grouped = families(found)
    if options.json:
        print(json.dumps(_as_json(found, grouped), indent=2))
    else:
        _print(found, grouped, named)
    if any(not os.path.exists(path) for path in named):
        return Exit.USAGE
    return Exit.NOTHING_MEASURED if any(model.problem and model.path in named for model in found) else Exit.OK


def _as_json(found: Sequence[FoundModel], grouped: Sequence[Family]) -> list[dict[str, Any]]:
    """One object for each model; what is unknown is null."""
    family_of = {model.path: family for family in grouped for model in family.models}
    rows = []
    for model in found:
        facts, family = model.facts, family_of.get(model.path)
        rows.append(
            {
                "path": str(model.path),
                "label": model.label,
                "source": model.source,
                "problem": model.problem or None,
                "size_bytes": facts.size_bytes if facts else None,
                "architecture": facts.architecture if facts else None,
                "class": facts.model_class if facts else None,
                "quantisation": facts.quantisation if facts else None,
                "parameters": facts.parameters if facts else None,
                "vocabulary": family.name if family else None,
                "drafts": [str(path) for path in family.drafts.get(model.path, ())] if family else [],
                "unfit": _unfit(model, found),
            }
        )
    return rows


def _unfit(target: FoundModel, found: Sequence[FoundModel]) -> dict[str, str]:
    """Why each smaller model that cannot draft for `target` cannot, by path."""
    from specdash.core.model import vocabulary_conflict

    ours = target.facts
    if ours is None:
        return {}
    smaller = [each for each in found if each.facts and (each.facts.parameters or 0) < (ours.parameters or 0)]
    reasons = {str(each.path): vocabulary_conflict(ours, each.facts) for each in smaller if each.facts is not None}
    return {path: reason for path, reason in reasons.items() if reason is not None}


def _print(found: Sequence[FoundModel], grouped: Sequence[Family], named: Sequence[Path]) -> None:
    if not found and named:
        print(f"no models in {one_line(', '.join(map(str, named)), 1000)}")
        return
    if not found:
        print("no models found; name the folders to search: specdash models DIR...")
        return
    for family in grouped:
        print(f"vocabulary {one_line(family.name)}")
        rows = []
        for model in family.models:
            facts = model.facts
            assert facts is not None, "a family has only models that could be read"
            drafts = ", ".join(path.name for path in family.drafts.get(model.path, ())) or "-"
            size = human_bytes(facts.size_bytes)
            rows.append((model.label, size, facts.model_class, facts.quantisation or "?", drafts))
        print_table(("MODEL", "SIZE", "CLASS", "QUANT", "DRAFTS THAT FIT"), rows)
        print()
    for model in found:
        if model.problem:
            print(f"not usable: {one_line(str(model.path), 1000)}: {one_line(model.problem)}")
    example = next(
        (
            (model.path, drafts[0])
            for family in grouped
            for model in family.models
            for drafts in [family.drafts.get(model.path, ())]
            if drafts
        ),
        None,
    )
    if example is not None:
        words = " ".join(shlex.quote(one_line(str(path), 1000)) for path in example)
        print(f"a profile for the first pair: specdash new {words} -o profile.toml")
