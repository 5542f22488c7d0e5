"""The text that is being generated, wrapped at words, and the newest lines of the server's log."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rich.cells import cell_len

from specdash.core.text import plain
from specdash.core.ticks import TokenTick
from specdash.remote.feed import RunFeed
from specdash.ui.tui.lines import Line, Span, fitted
from specdash.ui.tui.panes.pane import PaintContext, Pane, note

JOINT = 200  # characters by which a text that lost its beginning is found in what was there before
MOST = 12_000  # characters that are kept of one answer

Row = list[tuple[int, int]]  # parts of a text, from and to

_WORD = re.compile(r"\n|[^\S\n]+|\S+")
_SAME = re.compile("1+|0+")


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


def text_pane(context: PaintContext, written: Written | None, width: int, rows: int) -> Pane:
    """The answer that is being given, wrapped at words; its legend stands on the rule."""
    token = context.feed.live.token
    drafts = token is not None and token.drafted is not None
    legend: list[Span] = [("drafted, accepted", "draft"), ("target's own", "")] if drafts else []
    parts = note(legend, width - 13)
    if written is None or not written.text:
        why = _why_nothing(context.feed)
        said: Line = ((" " + why, "dim"),)
        return Pane("Text", parts, (said,)[: max(0, rows)])
    harmless, marks = _harmless(written)
    lines = _rows(harmless, max(1, width - 1))
    step = max(1, rows // 2)
    over = len(lines) - rows
    first = -(-over // step) * step if over > 0 else 0
    page = [((" ", ""), *_line(harmless, marks, line)) for line in lines[first : first + rows]] if rows > 0 else []
    return Pane("Text", parts, tuple(page))


def wrap_answer(written: Written, width: int) -> list[Line]:
    """The text in lines of at most `width` cells, broken at blanks where there are any."""
    harmless, marks = _harmless(written)
    return [_line(harmless, marks, row) for row in _rows(harmless, max(1, width))]


def _rows(text: str, width: int) -> list[Row]:
    """Which parts of a text stand in each line: thousands of characters are looked through for every repaint."""
    rows: list[Row] = []
    row: Row = []
    used = 0
    for found in _WORD.finditer(text):
        word = found[0]
        if word == "\n":
            rows.append(row)
            row, used = [], 0
            continue
        size = len(word) if word.isascii() else sum(map(cell_len, word))
        if used + size > width and row and not word[0].isspace():
            rows.append(row)
            row, used = [], 0
        if used + size <= width:
            row.append(found.span())
            used += size
            continue
        for at, character in enumerate(word, start=found.start()):
            cells = cell_len(character)
            if used + cells > width:
                if character == " ":
                    continue
                rows.append(row)
                row, used = [], 0
            row.append((at, at + 1))
            used += cells
    rows.append(row)
    return rows


def _harmless(written: Written) -> tuple[str, str]:
    """The text without what a terminal would obey, and the mark of each of its characters."""
    if plain(written.text, len(written.text)) == written.text and "\t" not in written.text:
        return written.text, written.drafted
    pieces = [plain(character).replace("\t", "    ") for character in written.text]
    marks = (mark * len(piece) for mark, piece in zip(written.drafted, pieces, strict=True))
    return "".join(pieces), "".join(marks)


def _line(text: str, marks: str, row: Row) -> Line:
    """A line's parts as spans, neighbours of one kind together."""
    shown = "".join(text[first:last] for first, last in row)
    kinds = "".join(marks[first:last] for first, last in row)
    return tuple(
        (shown[found.start() : found.end()], "draft" if found[0][0] == "1" else "") for found in _SAME.finditer(kinds)
    )


def _why_nothing(feed: RunFeed) -> str:
    """Why there is no text, in words."""
    if feed.gone is not None:
        return "a finished run: texts are not kept"
    server = feed.live.server
    if server is not None and server.state == "busy":
        return "the server reads the prompt"
    return "nothing is being generated"


def log(context: PaintContext, width: int, rows: int) -> Pane:
    """The last lines of the log of the load that runs now, as text and nothing else."""
    tick = context.feed.live.log
    if tick is None:
        load = context.feed.view.loads.get(context.feed.view.current_load or "")
        why = "a finished run: 4 shows the logs that are kept" if context.feed.gone is not None else "no line yet"
        said: Line = ((" " + why, "dim"),)
        return Pane("Log", ((safe_line(load.log, 60), "dim"),) if load is not None else (), (said,)[: max(0, rows)])
    lines = tuple(
        fitted(((" " + safe_line(text, 500), ""),), width, context.glyphs.ellipsis)
        for text in tick.lines[-rows:]
        if rows > 0
    )
    return Pane("Log", ((safe_line(tick.log, 60), "dim"),), lines)


def safe_line(text: str, limit: int) -> str:
    """A line from outside, harmless, its blanks as they are."""
    return plain(text.expandtabs(4), limit).replace("\n", " ")
