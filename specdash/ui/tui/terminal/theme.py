"""Styles of lines by name, what they look like in the theme of the moment, and screens without colours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from rich.segment import Segment
from rich.style import Style
from textual.color import Color, ColorParseError
from textual.filter import LineFilter

if TYPE_CHECKING:
    from textual.app import App

StyleName = Literal[
    "", "dim", "title", "rule", "key", "good", "warn", "bad", "accent", "draft", "faster", "slower", "cursor", "marked"
]

PLAIN_THEME = "ansi-dark"
# Signs that a terminal without line-drawing characters has.
ASCII_CSS = """
Dashboard.-ascii Input, Dashboard.-ascii Input:focus, Dashboard.-ascii Button, Dashboard.-ascii Button:hover,
Dashboard.-ascii TextArea, Dashboard.-ascii TextArea:focus, Dashboard.-ascii OptionList,
Dashboard.-ascii OptionList:focus, Dashboard.-ascii SelectCurrent { border: ascii $foreground; }
Dashboard.-ascii CommandPalette #--input, Dashboard.-ascii CommandPalette CommandList { border: ascii $foreground; }
Dashboard.-ascii CommandPalette #--input Input { border: none; }
Dashboard.-ascii CommandPalette SearchIcon { display: none; }
Dashboard.-ascii Toast { border-left: ascii $foreground; }
Dashboard.-ascii * { scrollbar-size: 0 0; }
"""

# Style name -> (theme variable or None, attributes). Faster and slower are blue and orange, never green against red.
_LOOK: Mapping[StyleName, tuple[str | None, str]] = {
    "": (None, ""),
    "dim": (None, "dim"),
    "title": (None, "bold"),
    "rule": (None, "dim"),
    "key": ("accent", "bold"),
    "good": ("success", ""),
    "warn": ("warning", "bold"),
    "bad": ("error", "bold"),
    "accent": ("accent", ""),
    "draft": ("primary", "bold"),
    "faster": ("primary", "bold"),
    "slower": ("warning", ""),
    "cursor": (None, "reverse"),
    "marked": ("accent", "bold"),
}
# Without colours only these are told apart by looks; everywhere a word or sign says the same.
_PLAIN: Mapping[StyleName, str] = {"dim": "", "rule": "", "draft": "underline", "bad": "bold", "marked": "bold"}


def styles_for(variables: Mapping[str, str], *, colours: bool) -> dict[StyleName, Style]:
    """Return the styles in a theme with these variables; attributes alone where there are no colours."""
    if not colours:
        return {name: Style.parse(_PLAIN.get(name, attributes) or "none") for name, (_, attributes) in _LOOK.items()}
    found: dict[StyleName, Style] = {}
    for name, (variable, attributes) in _LOOK.items():
        style = Style.parse(attributes or "none")
        colour = _colour(variables.get(variable or "", ""))
        found[name] = style + Style(color=colour.rich_color) if colour is not None else style
    return found


def _colour(value: str) -> Color | None:
    """Return a theme's colour; None where the theme has none of that name."""
    try:
        return Color.parse(value) if value else None
    except ColorParseError:
        return None


def line_styles(app: App[object]) -> Mapping[StyleName, Style]:
    """Return the styles of the app's theme; `Dashboard` keeps them until the theme changes."""
    styles: Mapping[StyleName, Style] | None = getattr(app, "line_styles", None)
    return styles if styles is not None else styles_for(app.theme_variables, colours=True)


class Colourless(LineFilter):
    """Takes every colour out of what is drawn and leaves bold, underlined and reversed text as they are.

    Not one colour code reaches the terminal (https://no-color.org). Textual's own filter replaces colours by the
    terminal's defaults, which are colour codes too.
    """

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Return the segments without colours."""
        return [
            Segment(text, None if style is None else style.without_color, control) for text, style, control in segments
        ]
