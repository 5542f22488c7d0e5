"""All measurements of a run as a table: sorted, filtered, and drawn a window at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from specdash.core.state import RunState
from specdash.core.status import StepStatus
from specdash.core.text import markdown_cell, one_line
from specdash.ui.tui.lines import BLANK, Line, Span, cut, fitted, squeezed
from specdash.ui.tui.results.figures import Row, sign_of, variant_label, variant_of, word_of
from specdash.ui.tui.results.heatmap import STYLES, WORD_STYLES
from specdash.ui.tui.results.measures import interval, number, rate_interval, share, shown
from specdash.ui.tui.terminal import Glyphs
from specdash.ui.tui.terminal.theme import StyleName

CLIPBOARD_BYTES = 70_000  # terminals take some 74,994 bytes of text in one OSC 52 and drop longer ones as a whole


@dataclass(frozen=True, slots=True)
class Column:
    """One column: `rank` says which go first where there is no room (the highest), `most` how wide it may become."""

    name: str
    least: int
    most: int
    is_right: bool
    rank: int


COLUMNS: tuple[Column, ...] = (
    Column("target", 10, 24, False, 6),
    Column("draft", 8, 20, False, 4),
    Column("K", 3, 3, True, 0),
    Column("category", 8, 16, False, 1),
    Column("variant", 7, 24, False, 7),
    Column("status", 7, 9, False, 2),
    Column("n", 3, 3, True, 12),
    Column("tok/s", 7, 22, True, 3),
    Column("speedup", 19, 20, False, 5),
    Column("prefill", 7, 7, True, 10),
    Column("ttft", 7, 7, True, 9),
    Column("total", 7, 7, True, 8),
    Column("acc", 4, 4, True, 11),
    Column("tok/step", 8, 8, True, 13),
    Column("verdicts", 8, 40, False, 14),
)
NAMES = tuple(column.name for column in COLUMNS)
ORDER = "order"
USUAL_LABEL = 14  # cells
SORTS: tuple[str, ...] = (ORDER, *NAMES)


@dataclass(frozen=True, slots=True)
class Sorting:
    """What a table is sorted by: a column, or the order of the queue."""

    column: str = ORDER
    is_reversed: bool = False

    def next(self) -> Sorting:
        """By the next column."""
        return Sorting(SORTS[(SORTS.index(self.column) + 1) % len(SORTS)])

    def by(self, column: str) -> Sorting:
        """By this column; the other way round if it is so already."""
        return Sorting(column, not self.is_reversed) if column == self.column else Sorting(column)


def status_of(row: Row, view: RunState) -> str:
    """The state of a measurement in a word."""
    if row.found.status == StepStatus.OK:
        return "noisy" if "noisy" in row.found.verdicts else "ok"
    return word_of([row.found], view.iterations(row.id))


def words_of(row: Row) -> str:
    """What a filter looks in: all labels of a row, in lower case."""
    step = row.step
    k = "baseline" if step.k is None else f"k={step.k}"
    parts = (step.target, step.drafter or "no draft", variant_label(variant_of(step)), step.category, row.found.status)
    return f"{' '.join(parts)} {' '.join(row.found.verdicts)} {k} ".lower()


def filtered(rows: Sequence[Row], words: str) -> list[Row]:
    """The rows that have all of these words in their labels, status or verdicts; `k=8` is that K alone."""
    wanted = [f"{word} " if word.startswith("k=") else word for word in words.lower().split()]
    if not wanted:
        return list(rows)
    return [row for row in rows if all(word in have for have in (words_of(row),) for word in wanted)]


def sorted_rows(rows: Sequence[Row], sorting: Sorting) -> list[Row]:
    """The rows in another order; what is unknown comes last either way. Rates and the like begin with the highest."""
    if sorting.column == ORDER:
        return list(reversed(rows)) if sorting.is_reversed else list(rows)
    key = _KEYS[sorting.column]
    known = [(value, row) for row in rows if (value := key(row)) is not None]
    unknown = [row for row in rows if key(row) is None]
    falling = sorting.column in _FALLING
    ordered = sorted(known, key=lambda each: each[0], reverse=falling != sorting.is_reversed)
    return [row for _, row in ordered] + unknown


_FALLING = frozenset({"tok/s", "speedup", "prefill", "acc", "tok/step", "n"})
_KEYS: Mapping[str, Callable[[Row], float | str | None]] = {
    "target": lambda row: row.step.target,
    "draft": lambda row: row.step.drafter,
    "K": lambda row: row.step.k,
    "category": lambda row: row.step.category,
    "variant": lambda row: variant_label(variant_of(row.step)),
    "status": lambda row: row.found.status,
    "n": lambda row: row.figures.n,
    "tok/s": lambda row: row.figures.rate.mean if row.figures.rate is not None else None,
    "speedup": lambda row: row.figures.speedup.value if row.figures.speedup is not None else None,
    "acc": lambda row: row.figures.acceptance,
    "tok/step": lambda row: row.figures.tokens_per_step,
    "prefill": lambda row: row.figures.prefill_tok_s,
    "ttft": lambda row: row.figures.ttft_s,
    "total": lambda row: row.figures.total_time_s,
    "verdicts": lambda row: " ".join(row.found.verdicts) or None,
}


def cell_text(row: Row, column: str, view: RunState, glyphs: Glyphs) -> str:
    """One cell of the table, on one line and safe to show; "-" for what is unknown."""
    label = _LABELS.get(column)
    if label is not None:
        return one_line(label(row)) or "-"
    figures = row.figures
    match column:
        case "status":
            return status_of(row, view)
        case "tok/s":
            mean = number(figures.rate.mean) if figures.rate is not None else _none(row)
            return f"{mean} {rate_interval(figures)}".rstrip()
        case "speedup":
            if figures.speedup is None:
                return figures.without or "-"
            return f"{number(figures.speedup.value)}x {sign_of(figures.speedup)} {interval(figures.speedup)}"
        case "acc":
            return ("~" if figures.is_inferred else "") + share(figures.acceptance)
        case "tok/step":
            return number(figures.tokens_per_step)
        case "prefill":
            return number(figures.prefill_tok_s)
        case "total":
            return "-" if figures.total_time_s is None else shown("total", figures.total_time_s)
    return "-" if figures.ttft_s is None else shown("ttft", figures.ttft_s)


_WITH_INTERVAL = ("tok/s", "speedup")  # which give it up as a whole where a column has no room for it
_LABELS: Mapping[str, Callable[[Row], str]] = {
    "target": lambda row: row.step.target,
    "draft": lambda row: row.step.drafter or "",
    "K": lambda row: "" if row.step.k is None else str(row.step.k),
    "category": lambda row: row.step.category,
    "variant": lambda row: variant_label(variant_of(row.step)),
    "n": lambda row: str(row.figures.n or ""),
    "verdicts": lambda row: ", ".join(row.found.verdicts),
}


def _none(row: Row) -> str:
    """Why there is no rate: the samples have none, or there are no samples that count."""
    return "no rate" if row.figures.n else "-"


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns that fit, with their widths, and the rows on the screen; for drawing and for clicks."""

    columns: tuple[tuple[Column, int], ...]
    first: int
    count: int

    def column_at(self, x: int) -> str | None:
        """The name of the column at `x` of a line; None beside all."""
        at = 1
        for column, width in self.columns:
            if at <= x < at + width:
                return column.name
            at += width + 1
        return None


def widths_of(rows: Iterable[Row]) -> dict[str, int]:
    """How wide the labels of a run are, column by column; taken of all rows, so that columns do not jump."""
    labels: dict[str, set[str]] = {name: set() for name in ("target", "draft", "category", "variant")}
    for row in rows:
        for name, found in labels.items():
            found.add(_LABELS[name](row))
    return {name: max((cell_len(one_line(each)) for each in found), default=0) for name, found in labels.items()}


def layout_of(widths: Mapping[str, int], count: int, cursor: int, width: int, height: int) -> Layout:
    """The layout for `count` rows in `height` lines, the first of which has the names of columns."""
    wanted = [column for column in COLUMNS if column.name != "variant" or widths["variant"]]
    kept: list[Column] = []
    room = width - 1
    for column in sorted(wanted, key=lambda each: each.rank):
        least = _least(column, widths)
        if least + 1 > room:
            break
        kept.append(column)
        room -= least + 1
    sized: list[tuple[Column, int]] = []
    for column in sorted(kept, key=COLUMNS.index):
        longest = column.most if column.name in ("tok/s", "verdicts") else widths.get(column.name, 0)
        least = _least(column, widths)
        more = max(0, min(room, column.most - least, longest - least))
        room -= more
        sized.append((column, least + more))
    shown = max(0, min(count, height - 1))
    return Layout(tuple(sized), max(0, min(cursor - shown // 2, count - shown)), shown)


def _least(column: Column, widths: Mapping[str, int]) -> int:
    """What a column takes at least: usual labels as a whole, since their ends are what tells them apart."""
    return max(column.least, min(widths.get(column.name, 0), column.most, USUAL_LABEL))


def table_lines(
    rows: Sequence[Row], cursor: int, sorting: Sorting, layout: Layout, view: RunState, width: int, glyphs: Glyphs
) -> list[Line]:
    """The names of the columns and the rows of the layout."""
    head: list[Span] = [(" ", "")]
    for column, size in layout.columns:
        falls = sorting.is_reversed != (column.name in _FALLING)
        arrow = (glyphs.down if falls else glyphs.up) if column.name == sorting.column else ""
        head.append((_fit(column.name + arrow, size, column.is_right, glyphs) + " ", "title" if arrow else "dim"))
    lines: list[Line] = [fitted(tuple(head), width, glyphs.ellipsis)]
    for number_, row in enumerate(rows[layout.first : layout.first + layout.count], start=layout.first):
        here = number_ == cursor
        spans: list[Span] = [(glyphs.cursor if here else " ", "cursor" if here else "")]
        for column, size in layout.columns:
            text = cell_text(row, column.name, view, glyphs)
            if len(text) > size and column.name in _WITH_INTERVAL:
                text = text.partition(" [")[0]
            style: StyleName = "cursor" if here else _style(row, column.name, text)
            spans.append((_fit(text, size, column.is_right, glyphs) + " ", style))
        lines.append(fitted(tuple(spans), width, glyphs.ellipsis))
    return lines or [BLANK]


def _style(row: Row, column: str, text: str) -> StyleName:
    if column == "speedup":
        return STYLES[sign_of(row.figures.speedup)]
    if column == "status":
        return "warn" if text == "noisy" else WORD_STYLES.get(text.split()[0], "" if text == "ok" else "dim")
    return "warn" if column == "verdicts" and text != "-" else ""


def _fit(text: str, width: int, is_right: bool, glyphs: Glyphs) -> str:
    """Exactly `width` cells."""
    text = cut(squeezed(text, width, glyphs.ellipsis), width, glyphs.ellipsis)
    blanks = " " * (width - cell_len(text))
    return blanks + text if is_right else text + blanks


def markdown_table(rows: Sequence[Row], view: RunState, glyphs: Glyphs) -> tuple[str, int]:
    """As many of the rows as a clipboard takes, as a Markdown table, and how many those are."""
    variants = any(variant_label(variant_of(row.step)) for row in rows)
    names = [name for name in NAMES if name != "variant" or variants]
    lines = ["| " + " | ".join(names) + " |"]
    lines.append(
        "|" + "|".join("---:" if column.is_right else "---" for column in COLUMNS if column.name in names) + "|"
    )
    size = sum(len(line.encode()) + 1 for line in lines)
    for taken, row in enumerate(rows):
        line = "| " + " | ".join(markdown_cell(cell_text(row, name, view, glyphs)) for name in names) + " |"
        size += len(line.encode("utf-8", "replace")) + 1
        if size > CLIPBOARD_BYTES:
            return "\n".join(lines) + "\n", taken
        lines.append(line)
    return "\n".join(lines) + "\n", len(rows)
