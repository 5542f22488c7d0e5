"""A heat map as lines: labelled rows and columns, a window onto them that follows a cursor, never a blank cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.cells import cell_len

from specdash.core.text import markdown_cell, one_line
from specdash.ui.tui.lines import Line, Span, cut, fitted, squeezed
from specdash.ui.tui.terminal import Glyphs
from specdash.ui.tui.terminal.theme import StyleName

MARKS = 2  # cells for "*" and "!"
ROW_LABEL = (6, 18)  # least and most cells
CELL_LEAST = 8


@dataclass(frozen=True, slots=True)
class Cell:
    """What one cell says: a value or a word, the sign that it has against its baseline, and marks."""

    text: str
    sign: str = " "
    marks: str = ""
    style: StyleName = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """A heat map; `cells` by row and column, both counted from 0. `corner` says what rows and columns are."""

    title: str
    corner: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: Mapping[tuple[int, int], Cell]


@dataclass(frozen=True, slots=True)
class Frame:
    """Which part of a grid is on the screen, and where: for drawing and for clicks."""

    first_row: int
    rows: int
    first_column: int
    columns: int
    label_width: int
    cell_width: int


def frame_of(grid: Grid, cursor: tuple[int, int], width: int, height: int) -> Frame:
    """The part of `grid` around `cursor` that fits; the first of `height` lines has the columns' names."""
    least, most = ROW_LABEL
    longest = max((cell_len(one_line(row)) for row in (*grid.rows, grid.corner)), default=0)
    label = min(most, max(least, longest), max(0, width // 3)) + 1
    text = max((len(cell.text) for cell in grid.cells.values()), default=0)
    names = max((cell_len(one_line(column)) for column in grid.columns), default=0)
    cell = max(CELL_LEAST, text + 2 + MARKS + 2, min(names, 14) + 2)
    columns = max(1, min(len(grid.columns), (width - label) // cell))
    rows = max(0, min(len(grid.rows), height - 1))
    return Frame(
        _first(cursor[0], rows, len(grid.rows)),
        rows,
        _first(cursor[1], columns, len(grid.columns)),
        columns,
        label,
        cell,
    )


def _first(position: int, shown: int, count: int) -> int:
    """The first of `shown` entries so that `position` is near their middle."""
    return max(0, min(position - shown // 2, count - shown))


def grid_lines(grid: Grid, cursor: tuple[int, int], frame: Frame, width: int, glyphs: Glyphs) -> list[Line]:
    """The names of the columns, then the rows in the frame; the cell under the cursor is marked by a glyph too."""
    columns = range(frame.first_column, min(len(grid.columns), frame.first_column + frame.columns))
    before = "<" if frame.first_column > 0 else " "
    after = ">" if frame.first_column + frame.columns < len(grid.columns) else ""
    head: list[Span] = [
        (_left(one_line(grid.corner), frame.label_width - 1, glyphs) + before, "dim"),
        *(
            (_right(one_line(grid.columns[column]), frame.cell_width - 2 - MARKS, glyphs) + " " * (MARKS + 2), "title")
            for column in columns
        ),
    ]
    lines: list[Line] = [fitted((*head, (after, "dim")), width, glyphs.ellipsis)]
    for row in range(frame.first_row, min(len(grid.rows), frame.first_row + frame.rows)):
        here = row == cursor[0]
        spans: list[Span] = [(_left(one_line(grid.rows[row]), frame.label_width, glyphs), "title" if here else "")]
        for column in columns:
            cell = grid.cells.get((row, column), Cell("n/a", style="dim"))
            at = (row, column) == cursor
            text = _right(cell.text, frame.cell_width - 3 - MARKS, glyphs)
            spans.append((glyphs.cursor if at else " ", "cursor" if at else ""))
            spans.append((f"{text} {cell.sign}", "cursor" if at else cell.style))
            spans.append((f"{cell.marks:<{MARKS}}", "cursor" if at else "marked"))
        lines.append(fitted(tuple(spans), width, glyphs.ellipsis))
    return lines


def cell_at(grid: Grid, frame: Frame, x: int, y: int) -> tuple[int, int] | None:
    """The cell at column `x` and row `y` of what `grid_lines` drew; None beside all cells."""
    row = frame.first_row + y - 1
    column = frame.first_column + (x - frame.label_width) // frame.cell_width
    inside = y > 0 and x >= frame.label_width and row < len(grid.rows) and column < len(grid.columns)
    return (row, column) if inside else None


def markdown_of(grid: Grid) -> str:
    """The grid as a Markdown table."""
    lines = [" | ".join(["", markdown_cell(grid.corner), *map(markdown_cell, grid.columns), ""]).strip()]
    lines.append("|---|" + "---:|" * len(grid.columns))
    for row, name in enumerate(grid.rows):
        cells = [_words(grid.cells.get((row, column), Cell("n/a"))) for column in range(len(grid.columns))]
        lines.append(" | ".join(["", markdown_cell(name), *cells, ""]).strip())
    return "\n".join(lines) + "\n"


def _words(cell: Cell) -> str:
    return markdown_cell(" ".join(part for part in (cell.text, cell.sign.strip(), cell.marks) if part))


def _left(text: str, width: int, glyphs: Glyphs) -> str:
    return _cut(text, width, glyphs) + " " * max(0, width - cell_len(_cut(text, width, glyphs)))


def _right(text: str, width: int, glyphs: Glyphs) -> str:
    cut = _cut(text, width, glyphs)
    return " " * max(0, width - cell_len(cut)) + cut


def _cut(text: str, width: int, glyphs: Glyphs) -> str:
    """At most `width` cells of a text; its end is what tells labels apart least, so it goes."""
    return cut(squeezed(text, width, glyphs.ellipsis), width, glyphs.ellipsis)
