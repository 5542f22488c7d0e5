"""What a report is made of: sections of text, tables and charts. `sections` makes them, each renderer shows them.

A plain `str` is text, from here or from outside, and is escaped wherever it meets a format. `Only` holds what one kind
of report has: charts are for pages, a table that is too wide for Markdown has another form there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

HTML, MARKDOWN = "html", "markdown"

LABEL_CHARS = 64
FOLDED_ROWS = 60  # from which on a table is folded away


# -- text -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Name:
    """A name from outside: its direction stays its own, a long one is cut to `limit` characters."""

    text: str
    limit: int = LABEL_CHARS


@dataclass(frozen=True, slots=True)
class Below:
    """Smaller text under a value, as its interval is."""

    text: str | Name


@dataclass(frozen=True, slots=True)
class Strong:
    """What stands out."""

    text: str | Name | tuple[str | Name, ...]


@dataclass(frozen=True, slots=True)
class Badge:
    """A state in its colour; `kind` is a class of the style sheet."""

    text: str
    kind: str


@dataclass(frozen=True, slots=True)
class Code:
    """Words to type, such as a command of ours."""

    text: str


Inline = str | Name | Below | Strong | Badge | Code
Words = Inline | tuple[Inline, ...]


# -- blocks -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A sentence or more. `kind` is "" or a class of the style sheet: "lead", "note", "none", "sub"."""

    words: Words
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading inside of a section."""

    words: Words


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list of sentences."""

    items: Sequence[Words]


@dataclass(frozen=True, slots=True)
class ReportColumn:
    """A column's title; `is_number` aligns it to the right, `is_wide` lets text wrap."""

    title: str
    is_number: bool = True
    is_wide: bool = False


def report_columns(texts: Sequence[str], numbers: Sequence[str] = (), wide: Sequence[str] = ()) -> list[ReportColumn]:
    """Columns of texts, of numbers, and of texts that wrap, by their titles."""
    return [
        *(ReportColumn(title, is_number=False) for title in texts),
        *map(ReportColumn, numbers),
        *(ReportColumn(title, is_number=False, is_wide=True) for title in wide),
    ]


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of a row, of which the first `heads` name it. `span`: text in place of the cells that are left.

    `kind` is a class of the style sheet: "base", "bad", "off", "all".
    """

    cells: Sequence[Words]
    heads: int = 1
    span: str | None = None
    kind: str = ""


@dataclass(frozen=True, slots=True)
class ReportTable:
    """Rows under their columns."""

    caption: str
    columns: Sequence[ReportColumn]
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class GridCell:
    """A cell of a grid: `kind` is its colour, `title` what a reader sees who points at it."""

    text: str
    kind: str
    title: str
    below: str = ""


@dataclass(frozen=True, slots=True)
class ReportGrid:
    """Coloured cells by column and row; `corner` names the rows."""

    caption: str
    corner: str
    columns: Sequence[str]
    rows: Sequence[str]
    cells: Mapping[tuple[str, str], GridCell]


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure as `report.plots` makes it; `description` is read in place of the picture."""

    figure: Mapping[str, Any]
    description: str
    caption: Words = ""


@dataclass(frozen=True, slots=True)
class Cards:
    """Blocks side by side; `kind` is a class of the style sheet."""

    cards: Sequence[Sequence[Block]]
    kind: str = "cards"


@dataclass(frozen=True, slots=True)
class Legend:
    """What the marks of charts mean: the class of the mark, the sign in it, the meaning."""

    signs: Sequence[tuple[str, str, str]]


@dataclass(frozen=True, slots=True)
class ColourScale:
    """The colours of a grid, from slow to fast."""

    slow: int
    fast: int


@dataclass(frozen=True, slots=True)
class Folded:
    """Blocks under a line that opens them."""

    summary: Words
    blocks: Sequence[Block]
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class Commands:
    """Command lines to paste, each under its name; without names, one list to read."""

    lines: Sequence[str]
    names: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and what is known under them."""

    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Only:
    """Blocks that one kind of report has: `HTML` or `MARKDOWN`."""

    kind: str
    blocks: Sequence[Block]


Block = (
    Paragraph
    | Heading
    | Bullets
    | ReportTable
    | ReportGrid
    | Chart
    | Cards
    | Legend
    | ColourScale
    | Folded
    | Commands
    | Facts
    | Only
)


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a report: `name` is its anchor in a page. `kind`: as of `Only`; "" is for every report.

    `contents` and `markdown_title` are its titles in the table of contents and in Markdown, where those are others.
    """

    name: str
    title: str
    blocks: Sequence[Block]
    contents: str = ""
    markdown_title: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What to use for a target: the choice, what it gains, what it ties with, and the command."""

    subject: str
    choice: str | tuple[str | Name, ...]
    said: str
    remark: str = ""
    tied: str = ""
    command: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """A whole report; `answers` and `warnings` come before all else. `fallback`: what was seen, without an answer."""

    title: str
    run: str
    state: str
    served: str
    answers: Sequence[Answer]
    fallback: Sequence[Block]
    warnings: Sequence[str]
    sections: Sequence[Section]


def blocks_for(kind: str, blocks: Sequence[Block]) -> list[Block]:
    """The blocks that a kind of report has, those inside of `Only` among them."""
    found: list[Block] = []
    for block in blocks:
        if not isinstance(block, Only):
            found.append(block)
        elif block.kind == kind:
            found += blocks_for(kind, block.blocks)
    return found
