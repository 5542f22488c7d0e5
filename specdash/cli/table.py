"""Plain tables for stdout: columns as wide as their cells, no frames, fit for a pipe."""

from __future__ import annotations

from collections.abc import Sequence

from specdash.core.text import one_line

CELL_CHARS = 90


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints rows under a header, with cells made harmless and cut to a sane width."""
    cells = [[one_line(cell, CELL_CHARS) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
