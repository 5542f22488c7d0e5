"""The one table of the dashboard: columns as data, and a window of rows with a cursor, marks, a filter and an order.

Pure. It gives lines for a `LinesWidget`, which sends the cells that have changed. However long a list is, only the rows
of the window are made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from rich.cells import cell_len

from specdash.core.text import squeezed
from specdash.ui.tui.lines import Line, Span, cut, first_line_shown, scrolled
from specdash.ui.tui.terminal import Glyphs

Row = TypeVar("Row")
LEAST_SHARED = 3  # cells below which no column is cut for the sake of another
ORDER = "order"  # what a table is sorted by that is not sorted
FILL = 10_000  # more cells than any terminal has: a column that takes what the others leave


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """A column: its heading, the text and style of a row's cell, and the cells that it takes.

    Where there is no room for all, the column of the highest `rank` goes first; those of rank 0 stay. A column takes
    `least` cells; what is left over goes to columns that may take more (`most`), from left to right. Columns that
    `shares` take `most` at once, and the widest of them is cut until all fit.

    `shorten` gives up a part of a text that is too long. Rows are sorted by `sort_key`, those without one last;
    `falls`: the highest first.
    """

    name: str
    heading: str
    cell: Callable[[Row], Span]
    least: int
    most: int = 0
    right: bool = False
    rank: float = 0
    shares: bool = False
    shorten: Callable[[str], str] | None = None
    sort_key: Callable[[Row], float | str | None] | None = None
    falls: bool = False


@dataclass(frozen=True, slots=True)
class Sorting:
    """What a table is sorted by: the name of a column, or `ORDER`, as its rows come."""

    column: str = ORDER
    is_reversed: bool = False

    def next(self, names: Sequence[str]) -> Sorting:
        """Sort by the column after this one, by `ORDER` after the last."""
        every = (ORDER, *names)
        return Sorting(every[(every.index(self.column) + 1) % len(every)] if self.column in every else ORDER)

    def by(self, column: str) -> Sorting:
        """Sort by this column; the other way round if it is so already."""
        return Sorting(column, not self.is_reversed) if column == self.column else Sorting(column)


@dataclass(frozen=True, slots=True)
class Position:
    """Where one is in a table: the key of the row under the cursor, the first row of the window, and marked keys.

    `words` is the text of the filter. `follows`: the cursor goes with the row that the table calls the current one.
    """

    cursor: str | None = None
    top: int = 0
    marked: frozenset[str] = frozenset()
    words: str = ""
    follows: bool = False


@dataclass(frozen=True, slots=True)
class Layout(Generic[Row]):
    """The columns that fit and their widths, for drawing and for clicks. `signs`: cells in front of the first one."""

    columns: tuple[tuple[Column[Row], int], ...]
    signs: int

    @property
    def width(self) -> int:
        """Count the cells of a whole row."""
        return self.signs + sum(width + 1 for _, width in self.columns) - 1

    def column_at(self, x: int) -> str | None:
        """Find the name of the column at cell `x` of a row, with the blank behind it; None beside all columns."""
        edge = self.signs
        if x < edge:
            return None
        for column, width in self.columns:
            edge += width + 1
            if x < edge:
                return column.name
        return None


def layout(columns: Sequence[Column[Row]], width: int, signs: int) -> Layout[Row]:
    """Find the columns that fit into `width` cells, one blank between two, with their widths."""
    kept = list(columns)

    def left() -> int:
        """Count the cells that are left when each column has the least that it takes."""
        return width - signs - sum(each.least + 1 for each in kept) + 1

    while left() < 0 and (highest := max((each.rank for each in kept), default=0)) > 0:
        kept.remove(next(each for each in kept if each.rank == highest))
    room = left()
    sharing = {each.name: each.most for each in kept if each.shares}
    room += sum(each.least for each in kept if each.shares)
    while sharing and sum(sharing.values()) > room and max(sharing.values()) > LEAST_SHARED:
        sharing[max(sharing, key=lambda name: sharing[name])] -= 1
    room -= sum(sharing.values())
    sized: list[tuple[Column[Row], int]] = []
    for each in kept:
        more = 0 if each.shares else min(room, max(0, each.most - each.least))
        room -= more
        sized.append((each, max(1, sharing.get(each.name, each.least + more))))
    return Layout(tuple(sized), signs)


Sign = Callable[[str, str], str]
"""Makes the signs in front of the row of a key: the cursor's glyph, or a blank, is given to it, and it adds marks."""


def lone_cursor(_key: str, cursor: str) -> str:
    """Put the cursor alone in front of a row."""
    return cursor


@dataclass(frozen=True)
class WindowTable(Generic[Row]):
    """A table: the keys of its rows in the order in which they are shown, and the row of each key.

    `places` has the number of each key, from 0. `signs`: the cells in front of a row, for the cursor and marks.
    `centred`: the cursor stands in the middle of the window, else the window moves only where the cursor leaves it.
    """

    columns: tuple[Column[Row], ...]
    keys: Sequence[str]
    row: Callable[[str], Row]
    signs: int = 1
    centred: bool = False
    places: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Number the keys, unless the caller keeps their numbers."""
        if len(self.places) != len(self.keys):
            object.__setattr__(self, "places", {key: at for at, key in enumerate(self.keys)})

    # -- where one is ------------------------------------------------------------------------------------------

    def at(self, position: Position) -> int:
        """Return the number of the row under the cursor; 0 where the cursor is on none."""
        return self.places.get(position.cursor, 0) if position.cursor is not None else 0

    def settled(self, position: Position, rows: int, current: str | None = None) -> Position:
        """Put the cursor on a row that there is, in a window of `rows` rows that shows it.

        `current` is the row that is followed, and where a cursor begins.
        """
        if not self.keys:
            return replace(position, cursor=None, top=0)
        cursor = position.cursor if position.cursor in self.places else None
        if position.follows or cursor is None:
            cursor = current if current in self.places else cursor or self.keys[0]
        at, count = self.places[cursor or ""], len(self.keys)
        if self.centred:
            return replace(position, cursor=cursor, top=first_line_shown(at, rows, count))
        # Where a row is followed, what comes next is worth more room than what is done.
        top = at - max(0, rows // 3) if position.follows else min(max(position.top, at - rows + 1), at)
        return replace(position, cursor=cursor, top=scrolled(top, rows, count))

    def moved(self, position: Position, by: int) -> Position:
        """Move the cursor `by` rows down, or as far as it goes; it follows nothing any more."""
        if not self.keys:
            return position
        at = max(0, min(len(self.keys) - 1, self.at(position) + by))
        return replace(position, cursor=self.keys[at], follows=False)

    def window(self, position: Position, rows: int) -> Sequence[str]:
        """Return the keys of the rows that `rows` lines show."""
        return self.keys[position.top : position.top + max(0, rows)]

    def key_at(self, position: Position, line: int, rows: int) -> str | None:
        """Find the key of the row on a line of the window, counted from 0; None where there is none."""
        shown = self.window(position, rows)
        return shown[line] if 0 <= line < len(shown) else None

    # -- drawing -----------------------------------------------------------------------------------------------

    def layout(self, width: int) -> Layout[Row]:
        """Find the columns that fit into `width` cells."""
        return layout(self.columns, width, self.signs)

    def lines(
        self, position: Position, shape: Layout[Row], rows: int, width: int, glyphs: Glyphs, sign: Sign = lone_cursor
    ) -> list[Line]:
        """Draw the rows of the window. The one under the cursor has one style over `width` cells, and its own sign."""
        lines: list[Line] = []
        for key in self.window(position, rows):
            here = key == position.cursor
            signs = sign(key, glyphs.cursor if here else " ")
            lines.append(row_line(shape, self.row(key), signs, width if here else None, glyphs))
        return lines


def heading(shape: Layout[Row], glyphs: Glyphs, sorting: Sorting | None = None) -> Line:
    """Draw the names of the columns; an arrow stands behind the one that rows are sorted by."""
    spans: list[Span] = [(" " * shape.signs, "dim")]
    for number, (column, width) in enumerate(shape.columns):
        is_sorted = sorting is not None and sorting.column == column.name
        arrow = ""
        if sorting is not None and is_sorted:
            arrow = glyphs.down if sorting.is_reversed != column.falls else glyphs.up
        text = pad_line(column.heading + arrow, width, glyphs, right=column.right)
        spans.append((text + " " * (number < len(shape.columns) - 1), "title" if is_sorted else "dim"))
    return joined(spans)


def row_line(shape: Layout[Row], row: Row, signs: str, bar: int | None, glyphs: Glyphs) -> Line:
    """Draw one row: its signs, then its cells with a blank between two. Under the cursor it is a bar of `bar` cells."""
    spans: list[Span] = [(signs, "marked")]
    for number, (column, size) in enumerate(shape.columns):
        text, style = column.cell(row)
        if column.shorten is not None and cell_len(text) > size:
            text = column.shorten(text)
        blank = " " * (number < len(shape.columns) - 1)
        spans.append((pad_line(text, size, glyphs, right=column.right) + blank, style))
    if bar is not None:
        return ((pad_line("".join(text for text, _ in spans), bar, glyphs), "cursor"),)
    return joined(spans)


def joined(spans: Iterable[Span]) -> Line:
    """Join neighbours of one style: each change of style costs bytes; blanks take the style before them."""
    line: list[Span] = []
    for text, style in spans:
        if line and (line[-1][1] == style or not text.strip()):
            line[-1] = line[-1][0] + text, line[-1][1]
        else:
            line.append((text, style))
    return tuple(line)


def pad_line(text: str, width: int, glyphs: Glyphs, *, right: bool = False) -> str:
    """Fit `text` into exactly `width` cells; what is cut off leaves an ellipsis."""
    text = cut(squeezed(text, width, glyphs.ellipsis, cell_len), width, glyphs.ellipsis)
    blanks = " " * (width - cell_len(text))
    return blanks + text if right else text + blanks


# -- which rows, and in which order ----------------------------------------------------------------------------


def matching(rows: Iterable[Row], words: str, text_of: Callable[[Row], str]) -> list[Row]:
    """Keep the rows whose text has all of these words, in whatever case."""
    wanted = words.casefold().split()
    return [row for row in rows if all(word in have for have in (text_of(row).casefold(),) for word in wanted)]


def sorted_rows_by(rows: Sequence[Row], columns: Iterable[Column[Row]], sorting: Sorting) -> list[Row]:
    """Sort the rows; what is unknown comes last either way."""
    column = next((each for each in columns if each.name == sorting.column), None)
    if column is None or column.sort_key is None:
        return list(reversed(rows)) if sorting.is_reversed else list(rows)
    key = column.sort_key
    known = [(value, row) for row in rows if (value := key(row)) is not None]
    unknown = [row for row in rows if key(row) is None]
    known.sort(key=lambda each: each[0], reverse=column.falls != sorting.is_reversed)
    return [row for _, row in known] + unknown
