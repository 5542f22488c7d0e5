"""`specdash report`: reports made from a run's journal, at any time, also of a run that is going on."""

from __future__ import annotations

import sys

from specdash.cli import command_parser
from specdash.errors import Exit, SpecdashError

FORMATS = ("md", "csv", "json")
LATER = ("html", "draftbench")


def main(name: str, arguments: list[str]) -> Exit:
    """Writes the wanted formats: one to stdout, several into the run's folder."""
    parser = command_parser(name)
    parser.add_argument("run", metavar="RUN", help="a run folder, or the beginning of its name")
    parser.add_argument(
        "--format",
        default="",
        metavar="F",
        help=f"some of {', '.join(FORMATS)}, comma-separated: one is printed, several are written into the run's "
        "folder (default: all)",
    )
    options = parser.parse_args(arguments)
    from specdash.analysis.result import build_result
    from specdash.core.view import fold_all
    from specdash.session.reports import write_reports
    from specdash.session.run import JOURNAL_NAME
    from specdash.store import export
    from specdash.store.journal import read
    from specdash.store.runs import known_results_dirs, resolve

    formats = list(dict.fromkeys(part.strip() for part in options.format.split(",") if part.strip()))
    for each in formats:
        if each in LATER:
            raise SpecdashError(f"--format {each} is not in this version", f"There are: {', '.join(FORMATS)}.")
        if each not in FORMATS:
            raise SpecdashError(f"--format {each}: no such format", f"There are: {', '.join(FORMATS)}.")
    path = resolve(options.run, known_results_dirs())
    view = fold_all(read(path / JOURNAL_NAME).records)
    if len(formats) == 1:
        result = build_result(view)
        write = {"md": export.to_markdown, "csv": export.to_csv, "json": export.to_json}[formats[0]]
        sys.stdout.write(write(result))
        return Exit.OK
    for written in write_reports(path, view, formats or FORMATS):
        print(written)
    return Exit.OK
