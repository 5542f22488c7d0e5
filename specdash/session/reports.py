"""Reports of a run, made from its journal as often as wanted, and the exit status that its end has."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from specdash.analysis.build_result import result_of
from specdash.analysis.result import Result
from specdash.core.events import RunFinished
from specdash.core.state import RunState
from specdash.core.status import StepStatus
from specdash.crash import bug_report
from specdash.errors import Exit, SpecdashError
from specdash.report.export import to_csv, to_json
from specdash.report.html import to_html
from specdash.report.importers.to_draftbench import to_draftbench
from specdash.report.markdown import to_markdown
from specdash.runtime.sweep import SweepOutcome
from specdash.session.handle import Reports
from specdash.signals import SIGNALS
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


def exit_status(ended: SweepOutcome, view: RunState, name: str, by: signal.Signals | None) -> tuple[Exit, str]:
    """The exit code and the reason; `name` is the run's, for the command that goes on with it."""
    again = f"specdash resume {name}"
    if ended is SweepOutcome.ASKED and by is not None:
        return SIGNALS[by], f"ended by {by.name}; go on with: {again}"
    reasons = {
        SweepOutcome.OUT_OF_TIME: f"limits.max_time is used up; go on with: {again}",
        SweepOutcome.BUGS: f"stopped after internal errors; logs/specdash.log has the details: {again}",
        SweepOutcome.ASKED: f"stopped by you; go on with: {again}",
        SweepOutcome.FAILURE: f"stopped by a failure (limits.on_failure); go on with: {again}",
    }
    if ended in reasons:
        return Exit.INCOMPLETE if ended is SweepOutcome.BUGS else Exit.STOPPED_EARLY, reasons[ended]
    statuses = [step.status for step in view.steps.values()]
    if statuses and all(step.status == StepStatus.OK or step.by_user for step in view.steps.values()):
        return Exit.OK, ""
    if not any(step.samples for step in view.steps.values()):
        return Exit.NOTHING_MEASURED, "nothing could be measured"
    counts = {status: statuses.count(status) for status in dict.fromkeys(statuses) if status != "ok"}
    return Exit.INCOMPLETE, ", ".join(f"{count} {status}" for status, count in counts.items())


def with_reports(ended: RunFinished, reports: Reports, name: str) -> RunFinished:
    """The end of a run whose reports were written or not: no success while its results are not where they belong.

    A run that goes on later keeps its exit code, since its reports are made again at its end.
    """
    if not reports.failed:
        return ended
    code = Exit.UNSAFE if ended.exit_code in (Exit.OK, Exit.INCOMPLETE) else ended.exit_code
    reason = f"not all reports could be written; all that was measured is in the journal: {report_again(name)}"
    return replace(ended, exit_code=int(code), reason="; ".join(filter(None, (ended.reason, reason))))


def report_again(name: str) -> str:
    """The command that makes the reports of a run again."""
    return f"specdash report {name}"
