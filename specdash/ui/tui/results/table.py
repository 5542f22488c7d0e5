"""All measurements of a run as a table: what its columns show and are sorted by, what a filter looks in, Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from rich.cells import cell_len

from specdash.analysis.figures import StepFigures
from specdash.core.state import RunState
from specdash.core.status import StepStatus
from specdash.core.text import markdown_cell, one_line
from specdash.ui.tui.lines import Span
from specdash.ui.tui.results.heatmap import STYLES, WORD_STYLES, speedup_interval, number, rate_interval, percent, measure_text
from specdash.ui.tui.results.heatmap import sign_of, variant_label, variant_of, word_of
from specdash.ui.tui.table import Column, Sorting, WindowTable, sorted_rows_by

CLIPBOARD_BYTES = 70_000  # terminals take some 74,994 bytes of text in one OSC 52 and drop longer ones as a whole
USUAL_LABEL = 14  # cells: usual labels stand as a whole, since their ends are what tells them apart


def measurement_status(row: StepFigures, view: RunState) -> str:
    """The state of a measurement in a word."""
    if row.found.status == StepStatus.OK:
        return "noisy" if "noisy" in row.found.verdicts else "ok"
    return word_of([row.found], view.iterations(row.id))


def words_of(row: StepFigures) -> str:
    """What a filter looks in: all labels of a row, in lower case."""
    step = row.step
    k = "baseline" if step.k is None else f"k={step.k}"
    parts = (step.target, step.drafter or "no draft", variant_label(variant_of(step)), step.category, row.found.status)
    return f"{' '.join(parts)} {' '.join(row.found.verdicts)} {k} ".lower()


def filtered(rows: Sequence[StepFigures], words: str) -> list[StepFigures]:
    """The rows that have all of these words in their labels, status or verdicts; `k=8` is that K alone."""
    wanted = [f"{word} " if word.startswith("k=") else word for word in words.lower().split()]
    if not wanted:
        return list(rows)
    return [row for row in rows if all(word in have for have in (words_of(row),) for word in wanted)]


def sorted_rows(rows: Sequence[StepFigures], sorting: Sorting) -> list[StepFigures]:
    """The rows in another order; what is unknown comes last either way. Rates and the like begin with the highest."""
    return sorted_rows_by(rows, COLUMNS, sorting)


def _status(row: StepFigures, view: RunState) -> Span:
    text = measurement_status(row, view)
    return text, "warn" if text == "noisy" else WORD_STYLES.get(text.split()[0], "" if text == "ok" else "dim")


def _rate(row: StepFigures) -> Span:
    without = "no rate" if row.figures.n else "-"  # the samples have none, or there are no samples that count
    mean = number(row.figures.rate.mean) if row.figures.rate is not None else without
    return f"{mean} {rate_interval(row.figures)}".rstrip(), ""


def _speedup(row: StepFigures) -> Span:
    found = row.figures.speedup
    sign = sign_of(found)
    text = row.figures.without or "-" if found is None else f"{number(found.value)}x {sign} {speedup_interval(found)}"
    return text, STYLES[sign]


def _accepted(row: StepFigures) -> Span:
    return ("~" if row.figures.is_inferred else "") + percent(row.figures.acceptance), ""


def _verdicts(row: StepFigures) -> Span:
    text = one_line(", ".join(row.found.verdicts)) or "-"
    return text, "warn" if text != "-" else ""


def _without_interval(text: str) -> str:
    """A figure where a column has no room for its interval, which goes as a whole."""
    return text.partition(" [")[0]


def _label(
    name: str, text_of: Callable[[StepFigures], str | None], least: int, most: int, rank: int
) -> Column[StepFigures]:
    """A column of names from outside, on one line and safe to show."""
    return Column(
        name, name, lambda row: (one_line(text_of(row) or "") or "-", ""), least, most, rank=rank, sort_key=text_of
    )


def _figure(
    name: str, width: int, rank: int, value: Callable[[StepFigures], float | None], text: Callable[[float | None], str],
    *, falls: bool = True,
) -> Column[StepFigures]:  # fmt: skip
    """A column of a figure."""
    return Column(name, name, lambda row: (text(value(row)), ""), width, 0, True, rank, sort_key=value, falls=falls)


def _time(value_s: float | None) -> str:
    return "-" if value_s is None else measure_text("total", value_s)


COLUMNS: tuple[Column[StepFigures], ...] = (
    _label("target", lambda row: row.step.target, 10, 24, 6),
    _label("draft", lambda row: row.step.drafter, 8, 20, 4),
    _figure("K", 3, 0, lambda row: row.step.k, lambda k: "-" if k is None else str(k), falls=False),
    _label("category", lambda row: row.step.category, 8, 16, 1),
    _label("variant", lambda row: variant_label(variant_of(row.step)), 7, 24, 7),
    Column("status", "status", lambda row: (row.found.status, ""), 7, rank=2, sort_key=lambda row: row.found.status),
    _figure("n", 3, 12, lambda row: row.figures.n, lambda n: str(n or "-")),
    Column("tok/s", "tok/s", _rate, 7, 22, True, 3, shorten=_without_interval, falls=True,
           sort_key=lambda row: row.figures.rate.mean if row.figures.rate is not None else None),
    Column("speedup", "speedup", _speedup, 19, 0, False, 5, shorten=_without_interval, falls=True,
           sort_key=lambda row: row.figures.speedup.value if row.figures.speedup is not None else None),
    _figure("prefill", 7, 10, lambda row: row.figures.prefill_tok_s, number),
    _figure("ttft", 7, 9, lambda row: row.figures.ttft_s, _time, falls=False),
    _figure("total", 7, 8, lambda row: row.figures.total_time_s, _time, falls=False),
    Column("acc", "acc", _accepted, 4, 0, True, 11, sort_key=lambda row: row.figures.acceptance, falls=True),
    _figure("tok/step", 8, 13, lambda row: row.figures.tokens_per_step, number),
    Column("verdicts", "verdicts", _verdicts, 8, 40, False, 14,
           sort_key=lambda row: " ".join(row.found.verdicts) or None),
)  # fmt: skip
NAMES = tuple(column.name for column in COLUMNS)
LABELS = ("target", "draft", "category", "variant")  # columns that become as wide as their texts


def columns_of(view: RunState) -> tuple[Column[StepFigures], ...]:
    """The columns, with a status that says how many samples are planned."""
    return tuple(
        replace(each, cell=lambda row: _status(row, view)) if each.name == "status" else each for each in COLUMNS
    )


def widths_of(rows: Iterable[StepFigures]) -> dict[str, int]:
    """How wide the labels of a run are, column by column; taken of all rows, so that columns do not jump.

    A column of labels of which none says anything has 0.
    """
    labels = [column for column in COLUMNS if column.name in LABELS]
    texts: dict[str, set[str]] = {column.name: set() for column in labels}
    for row in rows:
        for column in labels:
            texts[column.name].add(column.cell(row)[0])
    return {name: max((cell_len(each) for each in found - {"-"}), default=0) for name, found in texts.items()}


def results_table(
    rows: Sequence[StepFigures],
    widths: Mapping[str, int],
    view: RunState,
    before: WindowTable[StepFigures] | None = None,
) -> WindowTable[StepFigures]:
    """The table of these rows; without variants it has no column for them. `before`: an earlier table of these rows."""

    def sized(column: Column[StepFigures]) -> Column[StepFigures]:
        if column.name not in widths:
            return column
        most = min(column.most, widths[column.name])
        return replace(column, least=max(column.least, min(most, USUAL_LABEL)), most=most)

    columns = tuple(sized(each) for each in columns_of(view) if each.name != "variant" or widths["variant"])
    if before is not None:
        return replace(before, columns=columns)
    by_key = {row.id: row for row in rows}
    return WindowTable(columns, tuple(by_key), by_key.__getitem__, centred=True)


def markdown_table(rows: Sequence[StepFigures], view: RunState) -> tuple[str, int]:
    """As many of the rows as a clipboard takes, as a Markdown table, and how many those are."""
    variants = any(variant_label(variant_of(row.step)) for row in rows)
    columns = [column for column in columns_of(view) if column.name != "variant" or variants]
    lines = ["| " + " | ".join(column.heading for column in columns) + " |"]
    lines.append("|" + "|".join("---:" if column.right else "---" for column in columns) + "|")
    size = sum(len(line.encode()) + 1 for line in lines)
    for taken, row in enumerate(rows):
        line = "| " + " | ".join(markdown_cell(column.cell(row)[0]) for column in columns) + " |"
        size += len(line.encode("utf-8", "replace")) + 1
        if size > CLIPBOARD_BYTES:
            return "\n".join(lines) + "\n", taken
        lines.append(line)
    return "\n".join(lines) + "\n", len(rows)
