"""What the terminal can show: glyphs and colours, decided once from the environment.

No terminal is refused for what it lacks; it only gets plainer signs. Colour only repeats what a word, a sign or a glyph
says. Only where there is no terminal at all, or none that can move its cursor, is there no dashboard.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from specdash.errors import SpecdashError

Colours = Literal["full", "16", "none"]

PLAIN_TERMINALS = ("linux", "vt100", "vt102", "vt220", "ansi", "cons25", "dumb")
UNATTENDED = "specdash --headless PROFILE"
SIXTEEN_COLOURS = ("linux", "screen", "ansi", "xterm", "cons25")


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The signs to draw with. `ramp` goes from empty to full; `marks` are the states of steps."""

    ramp: str
    bar_full: str
    bar_empty: str
    rule: str
    vertical: str
    cursor: str
    marked: str
    ellipsis: str
    dot: str
    up: str
    down: str
    is_ascii: bool


UNICODE = Glyphs(" ▁▂▃▄▅▆▇█", "█", "░", "─", "│", "▶", "●", "…", "·", "↑", "↓", False)
ASCII = Glyphs(" .:-=+*#%", "#", ".", "-", "|", ">", "*", "~", ".", "^", "v", True)


@dataclass(frozen=True, slots=True)
class Terminal:
    """What one terminal can show. `utf8`: it takes text that is not ASCII, whatever glyphs its font has."""

    glyphs: Glyphs
    colours: Colours
    utf8: bool = True


def terminal_of(environment: Mapping[str, str], encoding: str, glyphs: str = "auto") -> Terminal:
    """Return what to draw with, from TERM, the locale and its `encoding`, COLORTERM and NO_COLOR.

    Text consoles lack the glyphs whatever their encoding says; TERM=screen and -16color promise 16 colours. `glyphs`
    is the user's word: "unicode", "ascii", or "auto".
    """
    term = environment.get("TERM", "")
    utf8 = "utf" in encoding.lower() and not _is_coerced(environment)
    unicode = utf8 and not term.startswith(PLAIN_TERMINALS)
    if glyphs != "auto":
        unicode = glyphs == "unicode"
    colours: Colours = "full"
    if environment.get("NO_COLOR") or term.startswith("vt") or term in ("", "unknown"):
        colours = "none"
    elif term.endswith("-16color") or (term in SIXTEEN_COLOURS and not _is_truecolor(environment)):
        colours = "16"
    return Terminal(UNICODE if unicode else ASCII, colours, utf8 or glyphs == "unicode")


def _is_truecolor(environment: Mapping[str, str]) -> bool:
    return environment.get("COLORTERM", "").strip().lower() in ("truecolor", "24bit")


def _is_coerced(environment: Mapping[str, str]) -> bool:
    """Return whether UTF-8 is only what Python made of the C locale (PEP 538), of which the terminal knows nothing."""
    if environment.get("LC_ALL"):
        return False
    return environment.get("LC_CTYPE") == "C.UTF-8" and environment.get("LANG", "") in ("", "C", "POSIX")


def require_terminal(environment: Mapping[str, str], *, is_tty: bool, unattended: str = UNATTENDED) -> None:
    """Raise SpecdashError, with what to do instead (`unattended`, a command), where no dashboard can be drawn."""
    if not is_tty:
        raise SpecdashError(
            "the dashboard needs a terminal, and standard input or output is none",
            f"Run unattended with {unattended}, or watch from a terminal with specdash attach.",
        )
    if environment.get("TERM") == "dumb":
        raise SpecdashError(
            "the dashboard needs a terminal that can move its cursor; TERM=dumb says that this one cannot",
            f"Run unattended with {unattended}, or watch from another terminal with specdash attach.",
        )


def screen_environment() -> dict[str, str]:
    """Return the environment that Textual reads when it is first imported: no animations, few frames."""
    return {
        "TEXTUAL_ANIMATIONS": "none",
        "TEXTUAL_SMOOTH_SCROLL": "0",
        "TEXTUAL_FPS": "10",
        "TEXTUAL_COLOR_SYSTEM": "auto",
    }
