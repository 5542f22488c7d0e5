"""Text from outside made safe to show, and numbers made easy to read.

Logs, model output, error bodies, file names and GGUF strings may hold anything: escape sequences that retitle a
terminal or write to its clipboard, controls that reorder what is read, half characters. `plain` makes all of that
visible and harmless. What is stored stays raw; what is shown went through here. Rich markup, HTML and Markdown have
meanings of their own, which `plain` leaves alone: the one who writes such a format escapes for it, on top of this.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable

PLAIN_LIMIT = 65_536
LINE_LIMIT = 200
SLUG_LIMIT = 80

# C0 but TAB and LF, DEL, C1, line and paragraph separator, bidi controls, lone surrogates.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# An underscore between letters or digits, as in Q8_0, is no emphasis.
_MARKDOWN = re.compile(r"[\\`|<>\[\]*&~#]|(?<![^\W_])_|_(?![^\W_])")
# What GitHub makes links and notifications of when all escapes are gone already: mentions and mail addresses,
# numbers of issues, addresses. A word joiner, which has no width, parts them.
_LINKED = re.compile(r"@|#(?=\d)|\bgh-(?=\d)|:(?=//)|\bwww(?=\.)", re.IGNORECASE)
# A number that stands by itself, with the unit that is written to it: 18.24, +11 %, 1.82x, 1.2e-05, K=16.
_FIGURE = re.compile(
    r"(?<![^\s(\[=~≈±\u00d7,;:<>/])[+-]?\d[\d.,]{0,23}(?:e[+-]?\d+|-\d[\d.,]*)?(?:\s?%|[^\W\d_]*)(?![\w-])"
)
_INTERVAL = re.compile(r"[(\[][^()\[\]]*\d[^()\[\]]*[)\]]")
_ENDS_IN_FIGURE = re.compile(r"(?<!\S)\S*\d\s+$")
_JOINER = "\u2060"
_SIZE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def plain(text: str | bytes, limit: int = PLAIN_LIMIT) -> str:
    """`text` without anything that a terminal could obey or that reads differently from how it is stored.

    Bytes are decoded as UTF-8, with U+FFFD for what is none. Line feeds and tabs stay; every other control character,
    bidi control and lone surrogate becomes its code point in angle brackets: `<1b>`, `<202e>`. Beyond `limit`
    characters of the original the rest is cut, and the number of characters that were cut stands in its place.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    shown = _UNSAFE.sub(lambda match: f"<{ord(match[0]):02x}>", text[:limit])
    cut = len(text) - limit
    return shown if cut <= 0 else f"{shown}… ({cut} more characters)"


def one_line(text: str | bytes, limit: int = LINE_LIMIT) -> str:
    """`plain` text on one line of at most `limit` characters, for table cells and narration.

    Runs of white space become one space; a text that was cut ends in "…".
    """
    line = " ".join(plain(text, max(limit, PLAIN_LIMIT)).split())
    if len(line) <= limit:
        return line
    kept = line[: before_figure(line, max(0, limit - 1))]
    # A blank stays between a whole number and the "…", which would else stand for more of its digits.
    return kept.rstrip() + (" …" if _ENDS_IN_FIGURE.search(kept) else "…")


def before_figure(text: str, at: int) -> int:
    """Where to cut a text that has room for `at` characters, so that no number or interval is cut in its middle.

    `at`, or the place before the figure that would be cut or end right there, with its unit; and before the bracket
    where that is an interval, since half of one reads as a whole. "18.24 [3.36,98.9]" has room for 12 characters: 6.
    Digits within a name, as in Q8_0 or Qwen2.5, are no figure.
    """
    if at >= len(text):
        return len(text)
    for pattern in (_INTERVAL, _FIGURE):
        for match in pattern.finditer(text):
            if match.start() < at <= match.end():
                at = match.start()
    return at


def markdown_cell(text: str | bytes, limit: int = LINE_LIMIT) -> str:
    """`one_line` text for a cell of a Markdown table: it can neither end the cell nor become markup, HTML or a link.

    `limit` counts the characters that a reader sees, without the backslashes and the word joiners (U+2060), which stop
    GitHub from turning `@name`, `#1` and bare addresses into mentions and links.
    """
    return _MARKDOWN.sub(r"\\\g<0>", _LINKED.sub(rf"\g<0>{_JOINER}", one_line(text, limit)))


def slug(text: str, default: str = "unnamed") -> str:
    """`text` as part of a path: [A-Za-z0-9._-], at most 80 characters, never "..", no dot or dash at its ends.

    Accents are dropped, runs of anything else become one dash. `default` where nothing is left.
    """
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9._-]+", "-", ascii_text))
    return name.strip(".-_")[:SLUG_LIMIT].rstrip(".-_") or default


def plural(count: int, noun: str, many: str = "") -> str:
    """A number with its noun: "1 step", "3 steps"; `many` is the plural where it is not the noun with an "s"."""
    return f"{count} {noun}" if count == 1 else f"{count} {many or f'{noun}s'}"


def human_bytes(size_bytes: float) -> str:
    """A size in binary units with three digits: "512 B", "1.50 KiB", "15.3 GiB", "640 GiB"."""
    size, unit = float(size_bytes), 0
    while abs(size) >= 999.5 and unit < len(_SIZE_UNITS) - 1:
        size /= 1024
        unit += 1
    if unit == 0:
        return f"{size:.0f} B"
    digits = 2 if abs(size) < 9.995 else 1 if abs(size) < 99.95 else 0
    return f"{size:.{digits}f} {_SIZE_UNITS[unit]}"


def human_seconds(duration_s: float) -> str:
    """A duration in at most two units: "12 ms", "4.2 s", "42 s", "2 min 05 s", "1 h 05 min", "2 d 03 h".

    "unknown" for what is not a finite number.
    """
    if not math.isfinite(duration_s):
        return "unknown"
    if duration_s < 0:
        return f"-{human_seconds(-duration_s)}"
    if duration_s < 0.9995:
        return f"{duration_s * 1000:.0f} ms"
    if duration_s < 9.95:
        return f"{duration_s:.1f} s"
    seconds = round(duration_s)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    minutes = round(duration_s / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(duration_s / 3600)
    return f"{hours // 24} d {hours % 24:02d} h"


_WITH_PARAMETERS = re.compile(r"(?:ngram-)?(.+?)((?: [a-z_]+=[0-9.]+)+)$")


def squeezed(text: str, width: int, ellipsis: str = "…", length: Callable[[str], int] = len) -> str:
    """What drafts in fewer cells, where it is too wide for `width`; any other text as it is.

    Its parameters tell it from its neighbours, so they stay, and the name is cut: "ngram-simple n=4" is "simple n=4" or
    "si… n=4". `length` counts the cells of a text.
    """
    found = _WITH_PARAMETERS.match(text) if length(text) > width else None
    if found is None:
        return text
    name, parameters = found.groups()
    room = width - len(parameters)
    if length(name) <= room:
        return f"{name}{parameters}"
    return f"{name[: room - 1]}{ellipsis}{parameters}" if room > 1 else text
