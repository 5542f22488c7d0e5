"""What is made from a run's journal, at any time and as often as wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from specdash.analysis.build_result import result_of
from specdash.analysis.result import Result
from specdash.core.state import RunState
from specdash.crash import bug_report
from specdash.errors import SpecdashError
from specdash.report.export import to_csv, to_json
from specdash.report.html import to_html
from specdash.report.importers.to_draftbench import to_draftbench
from specdash.report.markdown import to_markdown
from specdash.session.handle import Reports
from specdash.store.disk import write_atomic

RESULT = "json"
REPORTS: dict[str, tuple[str, Callable[[Result], str]]] = {
    RESULT: ("result.json", to_json),
    "csv": ("result.csv", to_csv),
    "md": ("report.md", to_markdown),
    "html": ("report.html", to_html),
    "draftbench": ("draftbench.json", to_draftbench),
}
AT_THE_END = (RESULT, "csv", "md", "html")


def write_reports(path: Path, view: RunState, formats: Iterable[str] = AT_THE_END) -> Reports:
    """Writes derived files of a run folder (result.json, result.csv, report.md, report.html).

    One that cannot be made or written keeps none of the others from being there.
    """
    try:
        result = result_of(view)
    except Exception as error:  # noqa: BLE001 - whatever it is, the run is over and its journal is whole
        return Reports((), (_why("the results cannot be summed up", error),))
    names = [REPORTS[each] for each in formats]
    return write_each((path / name, partial(text, result)) for name, text in names)


def write_each(files: Iterable[tuple[Path, Callable[[], str]]]) -> Reports:
    """Makes and writes files, each for itself, as a whole or not at all."""
    written, failed = [], []
    for path, make in files:
        try:
            write_atomic(path, make())
        except Exception as error:  # noqa: BLE001 - one report that fails is told, and the next one is tried
            failed.append(_why(f"{path} cannot be made", error))
        else:
            written.append(path)
    return Reports(tuple(written), tuple(failed))


def _why(what: str, error: Exception) -> str:
    """A sentence about a report that is not there."""
    if isinstance(error, SpecdashError):
        return f"{error.what}. {error.todo}".rstrip(". ") + "."
    if isinstance(error, MemoryError):
        return f"{what}: not enough memory."
    return f"{what}: {bug_report(error, 'reports')}"
