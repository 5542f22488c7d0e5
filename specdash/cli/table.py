"""Plain tables for stdout: columns as wide as their cells, no frames, fit for a pipe and for a narrow terminal."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence

from specdash.core.text import one_line, plain

CELL_CHARS = 90
LAST_CELL_CHARS = 4000
LEAST_LAST_COLUMNS = 20
GAP = "  "


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints rows under a header, with cells made harmless and cut to a sane width.

    On a terminal, a last cell that does not fit goes on below itself; in a pipe, a row is one line.
    """
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in table_lines(header, rows, width):
        print(line)


def print_folded(text: str, indent: int) -> None:
    """Prints a sentence made harmless; on a terminal it goes on below itself, `indent` columns in, word by word."""
    line = plain(text)
    if sys.stdout.isatty():
        width = max(shutil.get_terminal_size().columns, 2 * indent)
        hanging = " " * indent
        line = textwrap.fill(line, width, subsequent_indent=hanging, break_on_hyphens=False, break_long_words=False)
    print(line)


def table_lines(header: Sequence[str], rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """The lines of a table; `width` None: one line for each row, however long."""
    last = len(header) - 1
    cells = [
        [one_line(cell, LAST_CELL_CHARS if column == last else CELL_CHARS) for column, cell in enumerate(row)]
        for row in (header, *rows)
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(last)]
    lines = []
    for row in cells:
        start = "".join(cell.ljust(size) + GAP for cell, size in zip(row, widths, strict=False))
        lines += [f"{start}{row[last]}".rstrip()] if width is None else _folded(start, row[last], width)
    return lines


def _folded(start: str, cell: str, width: int) -> list[str]:
    """A row whose last cell goes on below itself, or below the row where too little room is beside it."""
    if len(start) + len(cell) <= width:
        return [f"{start}{cell}".rstrip()]
    beside = width - len(start) >= LEAST_LAST_COLUMNS
    indent = " " * (len(start) if beside else 4)
    folded = textwrap.wrap(
        cell, max(width, len(indent) + 1), initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
    return [start + folded[0][len(indent) :], *folded[1:]] if beside else [start.rstrip(), *folded]
