"""Frames that send only the cells that have changed, and of each style only what differs from the one before it.

Textual's own partial update begins every changed row at the left edge of its widget, and repeats all colours for every
piece of text: two to five times as many bytes over a slow line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rich.color import ColorSystem
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, CompositorUpdate
from textual.strip import Strip

_ATTRIBUTES = (
    ("bold", 1), ("dim", 2), ("italic", 3), ("underline", 4), ("blink", 5), ("blink2", 6), ("reverse", 7),
    ("conceal", 8), ("strike", 9), ("underline2", 21), ("frame", 51), ("encircle", 52), ("overline", 53),
)  # fmt: skip
_INTENSITIES = frozenset({1, 2})  # both are ended by 22; all others are rare enough for a full reset


class _Look(NamedTuple):
    """What a terminal is set to: attributes, and the codes of the colours ("" for its own)."""

    attributes: frozenset[int] = frozenset()
    foreground: str = ""
    background: str = ""


PLAIN = _Look()


class TightUpdate(CompositorUpdate):
    """A partial update of Textual's, written with as few bytes as the terminal's language allows."""

    def __init__(self, update: ChopsUpdate) -> None:
        self._update = update
        self._looks: dict[Style, _Look] = {}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self._update.__rich_console__(console, options)

    def render_segments(self, console: Console) -> str:
        """Return what is sent to the terminal; it is left without attributes and colours."""
        written: list[str] = []
        now = PLAIN
        system = console._color_system
        update = self._update
        for y, first, last in update.spans:
            at = -1
            chops: Mapping[int, Strip | None] = update.chops[y]
            for end, (x, strip) in zip(update.chop_ends[y], chops.items(), strict=False):
                if strip is None or x >= last or end <= first:
                    continue
                start, stop = max(first, x), min(last, end)
                if start != at:
                    written.append(f"\x1b[{y + 1};{start + 1}H")
                for segment in _cut(strip, start - x, stop - x):
                    if segment.control or not segment.text:
                        continue
                    look = self._look(segment.style, system)
                    if look != now:
                        written.append(_change(now, look))
                        now = look
                    written.append(segment.text)
                at = stop
        if now != PLAIN:
            written.append("\x1b[0m")
        return "".join(written)

    def _look(self, style: Style | None, system: ColorSystem | None) -> _Look:
        if style is None:
            return PLAIN
        look = self._looks.get(style)
        if look is None:
            look = self._looks[style] = _look_of(style, system)
        return look


def _cut(strip: Strip, first: int, last: int) -> list[Segment]:
    return list(strip if first <= 0 and last >= strip.cell_length else strip.crop(first, last))


def _look_of(style: Style, system: ColorSystem | None) -> _Look:
    attributes = frozenset(code for name, code in _ATTRIBUTES if getattr(style, name))
    if system is None:
        return _Look(attributes)
    codes = [
        ";".join(colour.downgrade(system).get_ansi_codes(foreground=front))
        if colour is not None and not colour.is_default
        else ""
        for colour, front in ((style.color, True), (style.bgcolor, False))
    ]
    return _Look(attributes, codes[0], codes[1])


def _change(before: _Look, after: _Look) -> str:
    """Return the shortest sequence that turns one look into another."""
    codes: list[str] = []
    gone = before.attributes - after.attributes
    kept = before
    if gone and gone <= _INTENSITIES:
        codes.append("22")
        kept = before._replace(attributes=before.attributes - _INTENSITIES)
    elif gone:
        codes.append("0")
        kept = PLAIN
    codes += [str(code) for code in sorted(after.attributes - kept.attributes)]
    if after.foreground != kept.foreground:
        codes.append(after.foreground or "39")
    if after.background != kept.background:
        codes.append(after.background or "49")
    return f"\x1b[{';'.join(codes)}m"
