"""The report of a long run: the result document of 500 measurements of five samples."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from statistics import median

from benchmarks.common import Row, spread
from specdash.analysis.build_result import result_of
from specdash.core.state import RunState
from specdash.report.html import to_html
from specdash.store.result_json import document_of
from tests.support.recorded_run import long_sweep

ROUNDS = 5
MEASUREMENTS = 500
GOAL_S = 1.0  # half of what the whole report may take
HTML_GOAL_S = 2.0
HTML_GOAL_MB = 6.0


def main() -> list[Row]:
    """The rows of everything that a report of this run consists of."""
    view = long_sweep(MEASUREMENTS)
    times_s = timed(lambda: document_of(view))
    size_mb = len(json.dumps(document_of(view))) / 1e6
    what = f"report: result document of {MEASUREMENTS} measurements ({size_mb:.1f} MB as JSON)"
    document = Row(what, f"< {GOAL_S:.0f} s", spread(times_s, "{:.2f}", " s"), median(times_s) < GOAL_S)
    return [document, *html_rows(view)]


def html_rows(view: RunState) -> list[Row]:
    """The whole way from the folded journal to report.html, and the size of that file."""
    times_s = timed(lambda: to_html(result_of(view)))
    size_mb = len(to_html(result_of(view)).encode()) / 1e6
    what = f"report: report.html of {MEASUREMENTS} measurements"
    return [
        Row(
            f"{what}, result included",
            f"< {HTML_GOAL_S:.0f} s",
            spread(times_s, "{:.2f}", " s"),
            max(times_s) < HTML_GOAL_S,
        ),
        Row(f"{what}: its size", f"< {HTML_GOAL_MB:.0f} MB", f"{size_mb:.2f} MB", size_mb < HTML_GOAL_MB),
    ]


def timed(work: Callable[[], object]) -> list[float]:
    """Seconds of several calls."""
    times_s = []
    for _ in range(ROUNDS):
        start_s = time.perf_counter()
        work()
        times_s.append(time.perf_counter() - start_s)
    return times_s
