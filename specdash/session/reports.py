"""What is made from a run's journal, at any time and as often as wanted."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from specdash.analysis.result import build_result
from specdash.core.view import View
from specdash.store.disk import write_atomic
from specdash.store.export import to_csv, to_json, to_markdown
from specdash.store.foreign.to_draftbench import to_draftbench
from specdash.store.html import to_html

REPORTS = {
    "json": ("result.json", to_json),
    "csv": ("result.csv", to_csv),
    "md": ("report.md", to_markdown),
    "html": ("report.html", to_html),
    "draftbench": ("draftbench.json", to_draftbench),
}


def write_reports(path: Path, view: View, formats: Iterable[str] = ("json", "csv", "md", "html")) -> list[Path]:
    """Writes derived files of a run folder (result.json, result.csv, report.md, report.html); their paths."""
    result = build_result(view)
    written = []
    for each in formats:
        name, text = REPORTS[each]
        write_atomic(path / name, text(result))
        written.append(path / name)
    return written
