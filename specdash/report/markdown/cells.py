"""Text and tables of Markdown that nothing from outside can end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from specdash.core.text import markdown_cell, plain

MAX_COLUMNS = 119
SENTENCE_CHARS = 400
COMMAND_CHARS = 8000


def safe(text: object, limit: int = SENTENCE_CHARS) -> str:
    """Text that is neither markup nor HTML."""
    return markdown_cell(str(text), limit)


def code(commands: Iterable[str]) -> list[str]:
    """Lines of an indented code block: unlike a fence, no content can end it."""
    return [f"    {' '.join(plain(command, COMMAND_CHARS).splitlines())}" for command in commands]


def table(header: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> list[str]:
    """A table with aligned columns: the first `texts` are names from outside, those behind them figures.

    Names are made safe, and cut until a line fits.
    """
    limit = 60
    while True:
        cells = [[*(safe(cell, limit) for cell in row[:texts]), *row[texts:]] for row in rows]
        widths = [max(3, *(len(row[column]) for row in (header, *cells))) for column in range(len(header))]
        if sum(widths) + 3 * len(widths) + 1 <= MAX_COLUMNS or limit <= 8:
            break
        limit -= 1
    ruler = ["-" * width if column < texts else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    aligned = [
        [cell.ljust(width) if column < texts else cell.rjust(width) for column, (cell, width) in enumerate(pairs)]
        for pairs in (list(zip(row, widths, strict=True)) for row in (header, *cells))
    ]
    return [f"| {' | '.join(row)} |" for row in (aligned[0], ruler, *aligned[1:])]
