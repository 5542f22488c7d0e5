"""`specdash report`: reports made from a run's journal, at any time, also of a run that is going on; or from a file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specdash.cli import command_parser
from specdash.errors import Exit, SpecdashError, StoreError

if TYPE_CHECKING:
    from specdash.report.results import Named
    from specdash.session.handle import Reports

DEFAULT = ("html", "md", "csv", "json")
ON_DEMAND = ("draftbench",)
FORMATS = (*DEFAULT, *ON_DEMAND)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what this command takes."""
    parser.add_argument(
        "run",
        metavar="RUN",
        help="a run folder, or the beginning of its name; or a result file: of specdash, draftbench or velollm",
    )
    parser.add_argument(
        "--format",
        default="",
        metavar="F",
        help=f"some of {', '.join(FORMATS)}, comma-separated: one is printed, several are written into the run's"
        f" folder, of a result file into this one (default: all but {', '.join(ON_DEMAND)})",
    )


def main(name: str, arguments: list[str]) -> Exit:
    """Writes the wanted formats: one to stdout, several into the run's folder, or here where it is a file."""
    parser = command_parser(name)
    options = parser.parse_args(arguments)
    from specdash.report.results import named_result
    from specdash.store.runs import known_results_dirs

    formats = list(dict.fromkeys(part.strip() for part in options.format.split(",") if part.strip()))
    for each in formats:
        if each not in FORMATS:
            raise SpecdashError(f"--format {each}: no such format", f"There are: {', '.join(FORMATS)}.")
    found = named_result(options.run, known_results_dirs())
    if len(formats) == 1:
        sys.stdout.write(_text(found, formats[0]))
        return Exit.OK
    reports = _written(found, formats or list(DEFAULT))
    for path in reports.written:
        print(path)
    if reports.failed:
        raise StoreError("\n".join(reports.failed), "To print one instead: --format with one of them.")
    return Exit.OK


def _text(found: Named, kind: str) -> str:
    """A report as text. Raises SpecdashError for a file that is broken deeper than its reader looks."""
    from specdash.report.importers.saved import unusable
    from specdash.session.reports import REPORTS

    write: Any = REPORTS[kind][1]
    try:
        text = write(found.result)
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError) as error:
        if found.view is not None:
            raise
        raise unusable(found.path, error) from error
    assert isinstance(text, str)
    return text


def _written(found: Named, formats: Sequence[str]) -> Reports:
    """Writes the reports of a run into its folder, those of a file into the working folder under its name."""
    from specdash.session.reports import REPORTS, write_each

    files = []
    for each in formats:
        name = REPORTS[each][0]
        if found.view is None:
            path = Path(f"{found.path.stem}.{name if each == 'draftbench' else f'report.{each}'}")
        else:
            path = found.path / name
        files.append((path, partial(_text, found, each)))
    return write_each(files)
