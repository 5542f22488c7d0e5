"""The rows of a log on a screen: entries laid out for a width, a place in them, and how to move it.

Only what is seen is laid out: a paint costs as much for 5,000 lines as for 50.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells

from specdash.core.text import plain
from specdash.ui.tui.lines import Line, Span, fitted
from specdash.ui.tui.logview.entries import Entry
from specdash.ui.tui.logview.window import LogLine
from specdash.ui.tui.styles import StyleName

TAB = "    "


@dataclass(frozen=True, slots=True)
class Look:
    """How the log is shown: the room for it, wrapped or shifted by `pan` columns, what is searched for.

    `needle` is highlighted; `found` is the offset of the line of the match that was jumped to.
    """

    width: int
    height: int
    wrap: bool = False
    pan: int = 0
    needle: str = ""
    ignore_case: bool = True
    found: int | None = None
    ellipsis: str = "…"


@dataclass(frozen=True, slots=True)
class Place:
    """The first row on the screen: an index of the entries, and a row of that entry."""

    index: int = 0
    row: int = 0


def text_of_line(line: LogLine) -> str:
    """A line as it can be shown: control characters by their codes, cut where it is too long."""
    before = "(begins earlier) " if line.continues else ""
    shown = plain(line.head).replace("\n", "<0a>").replace("\t", TAB)
    cut = line.size - len(line.head)
    return before + shown + (f"... ({cut:,} more bytes in the file)" if cut > 0 else "")


def rows_of(entry: Entry, look: Look) -> list[Line]:
    """The rows of one entry, each no wider than the screen."""
    if entry.mark is not None:
        text, sign, style = f"{entry.mark.clock} specdash: {entry.mark.text}", "=", "accent"
    else:
        assert entry.line is not None
        text = text_of_line(entry.line)
        style = {"E": "bad", "W": "warn"}.get(entry.line.level, "")
        sign = ">" if look.found == entry.line.offset else " "
    room = max(1, look.width - 1)
    parts = (chop_cells(text, room) or [""]) if look.wrap else [_panned(text, look.pan)]
    lines: list[Line] = []
    for number, part in enumerate(parts):
        first: Span = (sign if number == 0 else " ", "accent" if sign == "=" else "marked")
        lines.append(fitted((first, *_highlighted(part, style, look)), look.width, look.ellipsis))  # type: ignore[arg-type]
    return lines


def _panned(text: str, pan: int) -> str:
    """The text from a column on."""
    if pan <= 0:
        return text
    if text.isascii():
        return text[pan:]
    cells = 0
    for index, character in enumerate(text):
        if cells >= pan:
            return text[index:]
        cells += cell_len(character)
    return ""


def _highlighted(text: str, style: StyleName, look: Look) -> list[Span]:
    """The text with what is searched for set off."""
    if not look.needle:
        return [(text, style)]
    spans: list[Span] = []
    at = 0
    for match in re.finditer(re.escape(look.needle), text, re.IGNORECASE if look.ignore_case else 0):
        spans += [(text[at : match.start()], style), (match[0], "cursor")]
        at = match.end()
    return [span for span in (*spans, (text[at:], style)) if span[0]]


def visible(entries: Sequence[Entry], look: Look, place: Place) -> list[Line]:
    """The rows on the screen."""
    found: list[Line] = []
    skip = place.row
    for entry in entries[place.index :]:
        found += rows_of(entry, look)[skip:]
        skip = 0
        if len(found) >= look.height:
            break
    return found[: look.height]


def bottom(entries: Sequence[Entry], look: Look) -> Place:
    """The place from which the last row is the last on the screen."""
    return moved(entries, look, Place(len(entries), 0), -look.height)


def moved(entries: Sequence[Entry], look: Look, place: Place, rows: int) -> Place:
    """The place `rows` further down, or up when negative; no further than the first row."""
    index, row = place.index, place.row + rows
    while row < 0 and index > 0:
        index -= 1
        row += len(rows_of(entries[index], look)) if look.wrap else 1
    if row < 0:
        return Place()
    while row > 0 and index < len(entries):
        count = len(rows_of(entries[index], look)) if look.wrap else 1
        if row < count:
            break
        index, row = index + 1, row - count
    return Place(index, row)


def place_of(entries: Sequence[Entry], key: tuple[int, int], row: int) -> Place:
    """Where an entry stands now: the first one that does not come before `key`."""
    low, high = 0, len(entries)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if entries[middle].key < key else (low, middle)
    exact = low < len(entries) and entries[low].key == key
    return Place(low, row if exact else 0)
