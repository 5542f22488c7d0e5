"""What is drawn with on which terminal."""

from __future__ import annotations

import pytest

from specdash.errors import SpecdashError
from specdash.ui.tui.terminal.facts import require_terminal, terminal_of


@pytest.mark.parametrize(
    ("environment", "encoding", "is_ascii", "colours"),
    [
        ({"TERM": "xterm-256color", "LANG": "en_GB.UTF-8"}, "utf-8", False, "full"),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}, "utf-8", False, "full"),
        ({"TERM": "xterm", "LANG": "C.UTF-8"}, "utf-8", False, "16"),
        ({"TERM": "xterm", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}, "utf-8", False, "full"),
        ({"TERM": "screen", "LANG": "C.UTF-8"}, "utf-8", False, "16"),
        ({"TERM": "screen-256color", "LANG": "C.UTF-8"}, "utf-8", False, "full"),
        ({"TERM": "rxvt-16color", "COLORTERM": "truecolor"}, "utf-8", False, "16"),
        ({"TERM": "linux", "LANG": "C.UTF-8"}, "utf-8", True, "16"),
        ({"TERM": "vt100", "LANG": "C.UTF-8"}, "utf-8", True, "none"),
        ({"TERM": "xterm-256color"}, "ascii", True, "full"),
        ({"TERM": "xterm-256color", "LC_CTYPE": "C.UTF-8", "LANG": "C"}, "utf-8", True, "full"),
        ({"TERM": "xterm-256color", "LC_CTYPE": "C.UTF-8", "LANG": "de_DE.UTF-8"}, "utf-8", False, "full"),
        ({"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "LC_CTYPE": "C.UTF-8"}, "utf-8", False, "full"),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, "utf-8", False, "none"),
        ({"TERM": "xterm-256color", "NO_COLOR": ""}, "utf-8", False, "full"),
    ],
)
def test_terminals(environment: dict[str, str], encoding: str, is_ascii: bool, colours: str) -> None:
    found = terminal_of(environment, encoding)
    assert (found.glyphs.is_ascii, found.colours) == (is_ascii, colours)


def test_the_user_has_the_last_word_on_glyphs() -> None:
    assert terminal_of({"TERM": "xterm"}, "utf-8", "ascii").glyphs.is_ascii
    assert not terminal_of({"TERM": "linux"}, "utf-8", "unicode").glyphs.is_ascii


@pytest.mark.parametrize(("environment", "is_tty"), [({"TERM": "dumb"}, True), ({"TERM": "xterm"}, False)])
def test_no_dashboard_without_a_terminal(environment: dict[str, str], is_tty: bool) -> None:
    with pytest.raises(SpecdashError, match="terminal") as caught:
        require_terminal(environment, is_tty=is_tty)
    assert "--headless" in caught.value.todo
