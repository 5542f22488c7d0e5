"""How a run ended: its exit code, and the reason in words."""

from __future__ import annotations

import signal
from dataclasses import replace

from specdash.core.events import RunFinished
from specdash.core.state import RunState
from specdash.core.status import StepStatus
from specdash.errors import Exit
from specdash.runtime.sweep import Ended
from specdash.session.handle import Reports
from specdash.signals import SIGNALS


def verdict_of_run(ended: Ended, view: RunState, name: str, by: signal.Signals | None) -> tuple[Exit, str]:
    """The exit code and the reason; `name` is the run's, for the command that goes on with it."""
    again = f"specdash resume {name}"
    if ended is Ended.ASKED and by is not None:
        return SIGNALS[by], f"ended by {by.name}; go on with: {again}"
    reasons = {
        Ended.OUT_OF_TIME: f"limits.max_time is used up; go on with: {again}",
        Ended.BUGS: f"stopped after internal errors; logs/specdash.log has the details: {again}",
        Ended.ASKED: f"stopped by you; go on with: {again}",
        Ended.FAILURE: f"stopped by a failure (limits.on_failure); go on with: {again}",
    }
    if ended in reasons:
        return Exit.INCOMPLETE if ended is Ended.BUGS else Exit.STOPPED_EARLY, reasons[ended]
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
