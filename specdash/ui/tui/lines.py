"""Lines of styled text, and the one widget that shows them.

A line is a few spans, each a text and the name of a style. The widget repaints only the cells that differ from what is
on the screen: over a slow line every byte counts, and Textual would send a whole widget again.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from specdash.core.text import before_figure
from specdash.ui.tui.terminal.theme import StyleName, line_styles

Span = tuple[str, StyleName]
Line = tuple[Span, ...]

BLANK: Line = ()
WORTH_A_JUMP = 6  # cells that are alike: moving the cursor costs as many bytes as sending them again


def text_of(line: Line) -> str:
    """The characters of a line, without styles."""
    return "".join(text for text, _ in line)


def width_of(line: Line) -> int:
    """The cells that a line takes on the screen."""
    return sum(cell_len(text) for text, _ in line)


def fitted(line: Line, width: int, ellipsis: str = "…") -> Line:
    """The line in at most `width` cells; what was cut off leaves an ellipsis, and no number or interval is cut."""
    if width_of(line) <= width:
        return line
    room = _room_of(text_of(line), width - 1)
    kept: list[Span] = []
    for text, style in line:
        if room <= 0:
            break
        kept.append((text[:room], style))
        room -= len(text)
    return (*kept, (ellipsis if width > 0 else "", "dim"))


def cut(text: str, width: int, ellipsis: str = "…") -> str:
    """The text in at most `width` cells; what was cut off leaves an ellipsis, and no number or interval is cut."""
    if cell_len(text) <= width:
        return text
    return text[: _room_of(text, width - 1)] + ellipsis if width > 0 else ""


def _room_of(text: str, width: int) -> int:
    """How many characters of a text go into so many cells, with every number and interval whole."""
    at = used = 0
    for character in text:
        used += cell_len(character)
        if used > width:
            break
        at += 1
    return before_figure(text, at)


def scrolled(top: int, rows: int, count: int) -> int:
    """The first of `count` lines that is shown in so many rows, where one has scrolled to `top`."""
    return max(0, min(top, count - rows))


def first_line_shown(at: int, rows: int, count: int) -> int:
    """The first of `count` lines that is shown in so many rows, with line `at` in their middle."""
    return scrolled(at - rows // 2, rows, count)


def rule(title: str, right: str, width: int, glyph: str, style: StyleName = "rule") -> Line:
    """A horizontal rule with a title on the left and a note on the right: what separates strips of a screen."""
    left = f"{glyph}{glyph} {title} " if title else ""
    end = f" {right} {glyph}{glyph}" if right else ""
    if cell_len(left) + cell_len(end) > width:
        end = ""
    fill = max(0, width - cell_len(left) - cell_len(end))
    if not title:
        return ((glyph * fill, style), (end, style))
    return (
        (f"{glyph}{glyph} ", style),
        (title, "title"),
        (" " + glyph * fill, style),
        (f" {right} " if end else "", "dim"),
        (glyph * 2 if end else "", style),
    )


class LinesWidget(Widget):
    """Shows lines from the top; what does not fit is cut. `show` repaints only what has changed."""

    DEFAULT_CSS = "LinesWidget { height: auto; width: 1fr; }"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, classes=classes)
        self._lines: tuple[Line, ...] = ()
        self._strips: dict[int, tuple[Line, Strip]] = {}

    @property
    def lines(self) -> tuple[Line, ...]:
        """What is shown."""
        return self._lines

    def show(self, lines: Sequence[Line]) -> None:
        """Shows these lines instead of the earlier ones."""
        before, self._lines = self._lines, tuple(lines)
        # A layout that is asked for before the first one can get lost.
        is_lost = bool(self._lines) and self.size.height == 0 and self.display
        is_auto = self.styles.height is not None and self.styles.height.is_auto
        if is_auto and (is_lost or len(before) != len(self._lines)):
            self.refresh(layout=True)
            return
        width = self.size.width
        changed = [
            Region(first, y, last - first, 1)
            for y in range(max(len(before), len(self._lines)))
            for first, last in _differences(_at(before, y), _at(self._lines, y), width)
        ]
        if changed:
            self.refresh(*changed)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many rows as there are lines."""
        return len(self._lines)

    def render_line(self, y: int) -> Strip:
        """One row of the screen."""
        line = _at(self._lines, y)
        styles = line_styles(self.app)
        base = self.rich_style
        segments = [Segment(text, base + styles.get(style, Style.null())) for text, style in line if text]
        return Strip(segments).adjust_cell_length(self.size.width, base)

    def notify_style_update(self) -> None:
        """A theme was chosen: everything is drawn again."""
        super().notify_style_update()
        self.refresh()


def _at(lines: Sequence[Line], y: int) -> Line:
    return lines[y] if y < len(lines) else BLANK


def _differences(before: Line, after: Line, width: int) -> list[tuple[int, int]]:
    """The stretches of cells, from and to, in which two lines differ; a short likeness between two joins them."""
    if before == after:
        return []
    old, new = _cells(before), _cells(after)
    size = max(len(old), len(new))
    old += [(" ", "")] * (size - len(old))
    new += [(" ", "")] * (size - len(new))
    found: list[tuple[int, int]] = []
    for at in range(min(size, width)):
        if old[at] != new[at]:
            if found and at - found[-1][1] < WORTH_A_JUMP:
                found[-1] = found[-1][0], at + 1
            else:
                found.append((at, at + 1))
    return found


def _cells(line: Line) -> list[Span]:
    """One entry for each cell; the second cell of a wide character repeats it."""
    cells: list[Span] = []
    for text, style in line:
        if text.isascii():
            cells += [(character, style) for character in text]
        else:
            for character in text:
                cells += [(character, style)] * cell_len(character)
    return cells
