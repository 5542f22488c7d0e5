"""The table of runs, and two runs set side by side as a page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from specdash.analysis.build_result import result_of
from specdash.analysis.compare import Comparison, Pair, Quotient
from specdash.analysis.compare import compare_results as compared
from specdash.core.state import RunState
from specdash.core.text import human_seconds, one_line
from specdash.store.runs import DAMAGED, RUNNING, RunSummary
from specdash.ui.tui.lines import Line, fitted, rule
from specdash.ui.tui.table import FILL, Column, Position, WindowTable, heading, matching
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


def sorted_runs(runs: Sequence[RunSummary]) -> list[RunSummary]:
    """The newest first."""
    return sorted(runs, key=lambda run: (run.started or "", run.id), reverse=True)


def with_words(runs: Sequence[RunSummary], words: str) -> list[RunSummary]:
    """The runs that have all these words in their name, folder, state or host."""
    return matching(runs, words, lambda run: f"{run.name} {run.id} {run.state} {run.host or ''}")


def duration(run: RunSummary) -> str:
    """How long it was at work, pauses among it and the time between a stop and the resume not; "-" where unknown."""
    return human_seconds(run.running_s) if run.running_s is not None else "-"


def started(run: RunSummary) -> str:
    """The start in local time; "-" where unknown."""
    return datetime.fromisoformat(run.started).astimezone().strftime("%Y-%m-%d %H:%M") if run.started else "-"


def _name(run: RunSummary) -> str:
    """The name of a run, or what is wrong with it."""
    return one_line(run.name) if run.problem is None else f"{one_line(run.id)}: {one_line(run.problem, 300)}"


def _name_and_folder(run: RunSummary) -> str:
    return _name(run) + (f"  {one_line(run.id)}" if run.problem is None else "")


def _count(run: RunSummary, text: str) -> str:
    return text if run.problem is None else "-"


NARROW: tuple[Column[RunSummary], ...] = (
    Column("state", "STATE", lambda run: (one_line(run.state, 10), STYLES.get(run.state, "")), 10),
    Column("measured", "MEASURED", lambda run: (_count(run, f"{run.n_measured}/{run.n_steps}"), ""), 11, right=True),
    Column("failed", "FAILED", lambda run: (_count(run, str(run.n_failed)), ""), 6, right=True),
    Column("started", " STARTED", lambda run: (f" {started(run)}", ""), 17),
)
WIDE: tuple[Column[RunSummary], ...] = (
    Column("duration", "DURATION", lambda run: (duration(run), ""), 12, right=True),
    Column("host", " HOST", lambda run: (f" {one_line(run.host or '-', 16)}", ""), 17),
)
WIDE_FROM = 100  # columns of the terminal from which duration, host and folder are there


def run_table(runs: Sequence[RunSummary], width: int) -> WindowTable[RunSummary]:
    """The table of runs in so many cells."""
    by_path = {str(run.path): run for run in runs}
    is_wide = width >= WIDE_FROM
    name = _name_and_folder if is_wide else _name
    last: Column[RunSummary] = Column("run", "RUN", lambda run: (name(run), ""), 1, FILL)
    columns = (*NARROW, *(WIDE if is_wide else ()), last)
    return WindowTable(columns, tuple(by_path), by_path.__getitem__, signs=2, centred=True)


def run_table_lines(
    table: WindowTable[RunSummary], position: Position, marks: Sequence[Path], width: int, height: int, glyphs: Glyphs
) -> list[Line]:
    """The names of the columns, and the rows around the cursor; runs that are compared are marked by letters."""
    letters = {str(path): letter for path, letter in zip(marks, "AB", strict=False)}
    shape, rows = table.layout(width), max(1, height - 1)
    lines = table.lines(
        table.settled(position, rows), shape, rows, width, glyphs, lambda key, cursor: cursor + letters.get(key, " ")
    )
    return [fitted(line, width, glyphs.ellipsis) for line in (heading(shape, glyphs), *lines)]


def run_lines(runs: Sequence[RunSummary], selected: int, width: int, glyphs: Glyphs) -> list[Line]:
    """A row for each of a few runs, without the names of the columns."""
    table = run_table(runs, width)
    cursor = table.keys[selected] if selected < len(runs) else None
    lines = table.lines(Position(cursor), table.layout(width), len(runs), width, glyphs,
                        lambda _, sign: sign + " ")  # fmt: skip
    return [fitted(line, width, glyphs.ellipsis) for line in lines]


def run_list_title(shown: int, known: int, reading: str, wanted: str, width: int, glyphs: Glyphs) -> Line:
    """How many runs there are, and whether more are being read."""
    count = f"{known} known" if shown == known else f"{shown} of {known} match {one_line(wanted, 30)!r}"
    return rule(f"runs  {count}", reading, width, glyphs.rule)


_HEAD = (
    f" {'A tok/s':>9} {'B tok/s':>9} {'B/A':>6}  {'95 %':<13} {'B IS':<8} {'PREFILL':>7} {'TTFT':>5} {'TOTAL':>5}  STEP"
)


def compare_runs(a: RunState, b: RunState) -> Comparison:
    """Two runs, step by step; where nothing can be set side by side, with the reason."""
    if a.run is None or b.run is None:
        return Comparison(("one of the two has no first record: nothing was measured",))
    found = compared(result_of(a), result_of(b))
    return found if found.reasons or found.pairs else Comparison(("no step was measured by both",))


def compare_lines(found: Comparison, names: tuple[str, str], width: int, glyphs: Glyphs) -> list[Line]:
    """The comparison as a page to scroll."""
    page: list[Line] = [rule("compare", "", width, glyphs.rule)]
    page += [
        fitted(((f" {letter} ", "marked"), (one_line(name), "")), width)
        for letter, name in zip("AB", names, strict=True)
    ]
    if found.reasons:
        page += [(), ((" These two cannot be compared:", "warn"),)]
        return page + [
            fitted(((f"  - {one_line(reason, 300)}", ""),), width, glyphs.ellipsis) for reason in found.reasons
        ]
    page += [fitted(((f" {one_line(machine, 300)}", "title"),), width, glyphs.ellipsis) for machine in found.machines]
    page += [fitted(((f" {one_line(note, 300)}", "dim"),), width, glyphs.ellipsis) for note in found.notes]
    alone = [f"{count} only in {letter}" for letter, count in (("A", found.only_a), ("B", found.only_b)) if count]
    page += [(((f" steps {', '.join(alone)} are left out"), "dim"),)] if alone else []
    page += [(), ((_HEAD, "dim"),)]
    return page + [fitted(_pair_line(pair), width, glyphs.ellipsis) for pair in found.pairs]


def _over(found: Quotient | None) -> str:
    return "-" if found is None else f"{found.value:.2f}"


def _pair_line(pair: Pair) -> Line:
    ratio = "-" if pair.ratio is None else f"{pair.ratio:.3f}"
    interval = "-" if pair.low is None or pair.high is None else f"{pair.low:.3f}-{pair.high:.3f}"
    styles: dict[str, StyleName] = {"faster": "faster", "slower": "slower"}
    return (
        (f" {pair.a_tok_s:>9.2f} {pair.b_tok_s:>9.2f} {ratio:>6}  {interval:<13} ", ""),
        (f"{pair.word:<8} ", styles.get(pair.word, "dim")),
        (f"{_over(pair.prefill):>7} {_over(pair.ttft):>5} {_over(pair.total):>5}  ", ""),
        (one_line(pair.step), ""),
        (f" ({', '.join(pair.doubts)})" if pair.doubts else "", "warn"),
    )
