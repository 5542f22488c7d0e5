"""The text that is being generated, with the tokens that the draft proposed told from the target's own.

The end of the text is shown a page at a time: when the pane is full the upper half goes, so that one new word does not
move every line of it. The engine sends only the last part of a long text; `grown` joins it to what was there before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.cells import cell_len

from specdash.core.text import plain
from specdash.core.ticks import TokenTick
from specdash.ui.feed import Feed
from specdash.ui.tui.lines import Line, Span
from specdash.ui.tui.panes.pane import Look, Pane, note

JOINT = 200  # characters by which a text that lost its beginning is found in what was there before
MOST = 12_000  # characters that are kept of one answer

Cell = tuple[str, bool]


@dataclass(frozen=True, slots=True)
class Written:
    """One answer so far: the request that it belongs to, its text, and for each character whether it was drafted."""

    request: tuple[str, float]
    text: str
    drafted: str  # "1" or "0" for each character


def grown(before: Written | None, token: TokenTick) -> Written:
    """The answer after one more tick."""
    request = (token.load, token.started_s)
    text = "".join(run.text for run in token.text)
    drafted = "".join(("1" if run.drafted else "0") * len(run.text) for run in token.text)
    if before is not None and before.request == request and not text.startswith(before.text[:JOINT]):
        at = before.text.rfind(text[:JOINT])
        if at >= 0:
            text, drafted = before.text[:at] + text, before.drafted[:at] + drafted
    if len(text) > MOST:
        text, drafted = text[-MOST // 2 :], drafted[-MOST // 2 :]
    return Written(request, text, drafted)


def text(look: Look, written: Written | None, width: int, rows: int) -> Pane:
    """The answer that is being given, wrapped at words; its legend stands on the rule."""
    token = look.feed.live.token
    drafts = token is not None and token.drafted is not None
    legend: list[Span] = [("drafted, accepted", "draft"), ("target's own", "")] if drafts else []
    parts = note(legend, width - 13)
    if written is None or not written.text:
        why = _why_nothing(look.feed)
        said: Line = ((" " + why, "dim"),)
        return Pane("Text", parts, (said,)[: max(0, rows)])
    lines = wrapped(written, width - 1)
    step = max(1, rows // 2)
    over = len(lines) - rows
    first = -(-over // step) * step if over > 0 else 0
    page = [((" ", ""), *line) for line in lines[first : first + rows]] if rows > 0 else []
    return Pane("Text", parts, tuple(page))


def wrapped(written: Written, width: int) -> list[Line]:
    """The text in lines of at most `width` cells, broken at blanks where there are any."""
    width = max(1, width)
    lines: list[Line] = []
    row: list[Cell] = []
    used = 0
    for word in _words(written):
        size = sum(cell_len(character) for character, _ in word)
        if word[0][0] == "\n":
            lines.append(_line(row))
            row, used = [], 0
            continue
        if used + size > width and row and not word[0][0].isspace():
            lines.append(_line(row))
            row, used = [], 0
        for character, drafted in word:
            cells = cell_len(character)
            if used + cells > width:
                if character == " ":
                    continue
                lines.append(_line(row))
                row, used = [], 0
            row.append((character, drafted))
            used += cells
    lines.append(_line(row))
    return lines


def _words(written: Written) -> list[list[Cell]]:
    """Words, runs of blanks and line feeds, of harmless characters."""
    cells: list[Cell] = []
    if plain(written.text, len(written.text)) == written.text and "\t" not in written.text:
        cells = [(character, mark == "1") for character, mark in zip(written.text, written.drafted, strict=True)]
    else:
        for character, mark in zip(written.text, written.drafted, strict=True):
            cells += [(each, mark == "1") for each in plain(character).replace("\t", "    ")]
    words: list[list[Cell]] = []
    for kind, group in groupby(cells, key=lambda each: "\n" if each[0] == "\n" else each[0].isspace()):
        found = list(group)
        words += [[each] for each in found] if kind == "\n" else [found]
    return words


def _line(row: Sequence[Cell]) -> Line:
    """Cells as spans, neighbours of one kind together."""
    return tuple(
        ("".join(character for character, _ in group), "draft" if drafted else "")
        for drafted, group in groupby(row, key=lambda each: each[1])
    )


def _why_nothing(feed: Feed) -> str:
    """Why there is no text, in words."""
    if feed.gone is not None:
        return "a finished run: texts are not kept"
    server = feed.live.server
    if server is not None and server.state == "busy":
        return "the server reads the prompt"
    return "nothing is being generated"
