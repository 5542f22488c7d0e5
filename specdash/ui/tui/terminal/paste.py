"""Keeps what is pasted text: an escape character in it must not turn the rest into key presses.

Between the marks of a bracketed paste a terminal sends what was on the clipboard, and some (tmux 3.3) send escape
characters as they are. Textual's parser would end the paste there and take every character after it for a key.
"""

from __future__ import annotations

BEGIN = "\x1b[200~"
END = "\x1b[201~"
ESCAPE_PICTURE = "\u241b"  # "symbol for escape": what stood there is seen, and does nothing


class Pastes:
    """A filter for what comes from a terminal, in pieces cut anywhere."""

    def __init__(self) -> None:
        self._inside = False
        self._last = ""  # outside: what may be the beginning of BEGIN; it was handed on already
        self._held = ""  # inside: what may be the beginning of END

    def cleaned(self, text: str) -> str:
        """Return the next piece, with a picture in place of every escape character that is pasted."""
        found: list[str] = []
        while text:
            text = self._pasted(text, found) if self._inside else self._typed(text, found)
        return "".join(found)

    def _typed(self, text: str, found: list[str]) -> str:
        """Hand on what is typed at once, since a lone escape is a key; what is left after a paste has begun."""
        seen = self._last + text
        at = seen.find(BEGIN)
        if at < 0:
            self._last = seen[1 - len(BEGIN) :]
            found.append(text)
            return ""
        cut = at + len(BEGIN) - len(self._last)
        self._last, self._inside = "", True
        found.append(text[:cut])
        return text[cut:]

    def _pasted(self, text: str, found: list[str]) -> str:
        """Hand on what is pasted but for a possible end mark; what is left after the paste has ended."""
        text, self._held = self._held + text, ""
        at = text.find(END)
        if at >= 0:
            self._inside = False
            found += [text[:at].replace("\x1b", ESCAPE_PICTURE), END]
            return text[at + len(END) :]
        keep = next((size for size in range(len(END) - 1, 0, -1) if text.endswith(END[:size])), 0)
        self._held = text[len(text) - keep :]
        found.append(text[: len(text) - keep].replace("\x1b", ESCAPE_PICTURE))
        return ""
