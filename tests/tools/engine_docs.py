"""Write docs/engines.md from the engines' own tables: `python -m tests.tools.engine_docs`, or `make docs`.

What was run for real is read off the conformance suite's table, and what is known from documents alone stands here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from specdash.core.engine import Param
from specdash.core.engine_kinds import KINDS, Kind
from specdash.engines.registry import module_of
from tests.conformance.cases import CASES

TEMPLATE = Path(__file__).with_name("engines.md")


def main() -> None:
    """Print the document."""
    sys.stdout.write(document())


def document() -> str:
    """The whole document."""
    real = ", ".join(case.name for case in CASES if case.real)
    fakes = ", ".join(case.name for case in CASES if not case.real)
    sections = [section(kind) for kind in KINDS.values()]
    return TEMPLATE.read_text("utf-8").format(real=real, fakes=fakes, sections="\n".join(sections))


def section(kind: Kind) -> str:
    """One engine: how to get it, its parameters, what it does not tell."""
    module = module_of(kind.name)
    lines = [f"## `{kind.name}`: {kind.title}", f"**Install**: {kind.install}", ""]
    lines += ["| parameter | scope | at start-up | in a request | in a profile | |", "|---|---|---|---|---|---|"]
    lines += [row(param) for param in module.PARAMS]
    if module.NOT_REPORTED:
        lines += ["", "Not told, or not by all of them:", ""]
        lines += [f"- `{name}`: {reason}" for name, reason in module.NOT_REPORTED.items()]
    return "\n".join(lines) + "\n"


def row(param: Param) -> str:
    """A parameter as a line of the table."""
    flags = ", ".join(f"`{flag}`" for flag in distinct(param))
    field = f"`{param.field}`" if param.field else ""
    key = f"`{param.key}`" if param.key else ""
    return f"| {param.name} | {param.scope} | {flags} | {field} | {key} | {param.help.replace('|', chr(92) + '|')} |"


def distinct(param: Param) -> Iterator[str]:
    """The flags of all dialects, each once."""
    yield from dict.fromkeys(param.flags.values())


if __name__ == "__main__":
    main()
