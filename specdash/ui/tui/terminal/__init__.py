"""The terminal, and all that specdash uses of Textual's private parts: nothing outside of this package touches them.

`facts` says what a terminal can show, `theme` what styles look like on it. `app` and `driver` override parts of
Textual, `paste` cleans the input, `diff_update` writes frames with few bytes. tests/ui/tui/test_textual_private.py
names every private part and what it is used for.
"""

from specdash.ui.tui.terminal.facts import ASCII, UNICODE, Glyphs, Terminal

__all__ = ["ASCII", "UNICODE", "Glyphs", "Terminal"]
