"""Screens without colours: not one colour code reaches the terminal (https://no-color.org)."""

from __future__ import annotations

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter


class Colourless(LineFilter):
    """Takes every colour out of what is drawn and leaves bold, underlined and reversed text as they are.

    Textual's own filter replaces colours by the terminal's defaults, which are colour codes too.
    """

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The segments without colours."""
        return [
            Segment(text, None if style is None else style.without_color, control) for text, style, control in segments
        ]
