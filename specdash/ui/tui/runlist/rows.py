"""The table of runs: one row each, columns of constant widths, the name with what is left."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from specdash.core.text import human_seconds, one_line
from specdash.store.runs import DAMAGED, RUNNING, RunInfo
from specdash.ui.tui.lines import Line, around, fitted, rule
from specdash.ui.tui.terminal import Glyphs
from specdash.ui.tui.terminal.theme import StyleName

STYLES: dict[str, StyleName] = {
    "finished": "good", RUNNING: "accent", "stopped": "warn", "unfinished": "warn", DAMAGED: "bad",
}  # fmt: skip
_STAMP = re.compile(r"_(\d{8}T\d{6}Z)(?:-\d+)?$")


def newest_first(paths: Sequence[Path]) -> list[Path]:
    """Run folders by the time in their names, the newest first; those without any last."""

    def stamp(path: Path) -> str:
        found = _STAMP.search(path.name)
        return found[1] if found is not None else ""

    return sorted(paths, key=lambda path: (stamp(path), path.name), reverse=True)


def sorted_runs(runs: Sequence[RunInfo]) -> list[RunInfo]:
    """The newest first."""
    return sorted(runs, key=lambda run: (run.started or "", run.id), reverse=True)


def matching(runs: Sequence[RunInfo], wanted: str) -> list[RunInfo]:
    """The runs that have all these words in their name, folder, state or host."""
    words = wanted.casefold().split()
    return [
        run
        for run in runs
        if all(word in f"{run.name} {run.id} {run.state} {run.host or ''}".casefold() for word in words)
    ]


def duration(run: RunInfo) -> str:
    """How long it was at work, pauses among it and the time between a stop and the resume not; "-" where unknown."""
    return human_seconds(run.running_s) if run.running_s is not None else "-"


def started(run: RunInfo) -> str:
    """The start in local time; "-" where unknown."""
    return datetime.fromisoformat(run.started).astimezone().strftime("%Y-%m-%d %H:%M") if run.started else "-"


def row(run: RunInfo, width: int, glyphs: Glyphs, *, marked: str = " ", at_cursor: bool = False) -> Line:
    """One run on one line; `marked` is the letter under which it is compared."""
    state = one_line(run.state, 10)
    done = f"{run.n_measured}/{run.n_steps}" if run.problem is None else "-"
    failed = f"{run.n_failed}" if run.problem is None else "-"
    sign = glyphs.cursor if at_cursor else " "
    wide = width >= 100
    columns = f" {done:>11} {failed:>6}  {started(run):<16} "
    columns += f"{duration(run):>12}  {one_line(run.host or '-', 16):<16} " if wide else ""
    name = one_line(run.name) if run.problem is None else f"{one_line(run.id)}: {one_line(run.problem, 300)}"
    name += f"  {one_line(run.id)}" if wide and run.problem is None else ""
    line: Line = (
        (f"{sign}{marked}", "marked"),
        (f"{state:<10}", STYLES.get(run.state, "")),
        (columns, "cursor" if at_cursor else ""),
        (name, "cursor" if at_cursor else ""),
    )
    return fitted(line, width, glyphs.ellipsis)


def head(width: int) -> Line:
    """The names of the columns."""
    columns = f"  {'STATE':<10} {'MEASURED':>11} {'FAILED':>6}  {'STARTED':<16} "
    columns += f"{'DURATION':>12}  {'HOST':<16} " if width >= 100 else ""
    return fitted(((f"{columns}RUN", "dim"),), width)


def table(
    runs: Sequence[RunInfo], cursor: int, marks: Sequence[Path], width: int, height: int, glyphs: Glyphs
) -> list[Line]:
    """Title, columns, and the rows around the cursor."""
    room = max(1, height - 1)
    first = around(cursor, room, len(runs))
    letters = dict(zip(marks, "AB", strict=False))
    return [
        head(width),
        *(
            row(run, width, glyphs, marked=letters.get(run.path, " "), at_cursor=number == cursor)
            for number, run in enumerate(runs[first : first + room], start=first)
        ),
    ]


def title(shown: int, known: int, reading: str, wanted: str, width: int, glyphs: Glyphs) -> Line:
    """How many runs there are, and whether more are being read."""
    count = f"{known} known" if shown == known else f"{shown} of {known} match {one_line(wanted, 30)!r}"
    return rule(f"runs  {count}", reading, width, glyphs.rule)
