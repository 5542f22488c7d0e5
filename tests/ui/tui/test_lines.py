"""Lines and the bars above and below every screen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specdash.ui.tui.header_footer import key_line
from specdash.ui.tui.lines import Line, cut, fitted, text_of, width_of
from specdash.ui.tui.panes.header import short_s
from specdash.ui.tui.terminal import UNICODE

KEYS = [("s", "Skip", "s"), ("space", "Pause", "space"), ("1", "Dash", "1"), ("2", "Queue", "2")]
LAST = [("q", "Leave", "q"), ("^p", "Palette", "ctrl+p"), ("?", "Help", "question_mark")]


@given(st.text(max_size=30), st.text(max_size=30), st.integers(0, 80))
def test_a_fitted_line_is_never_too_wide(first: str, second: str, width: int) -> None:
    line: Line = ((first, "title"), (second, ""))
    assert width_of(fitted(line, width)) <= max(width, 0)
    if width_of(line) <= width:
        assert fitted(line, width) == line


@pytest.mark.parametrize("width", range(60))
def test_a_line_of_figures_shows_whole_ones_alone(width: int) -> None:
    line: Line = (("tok/s ", "dim"), ("18.24 [3.36,98.9]", ""), ("  9.00 .. 30.00  n ", ""), ("15", "title"))
    shown = text_of(fitted(line, width))
    assert shown == text_of(line) or shown[-1:] in ("…", "")
    assert not any(wrong in shown for wrong in ("24…", "00…", ",9…", "[3…"))
    figures = shown.rstrip("…").replace("[3.36,98.9]", "").split()
    assert {each for each in figures if each[0].isdigit()} <= {"18.24", "9.00", "30.00", "15"}
    assert cut("18.24 [3.36,98.9]", width) == text_of(fitted((("18.24 [3.36,98.9]", ""),), width))


@pytest.mark.parametrize("width", range(100))
def test_keys_are_never_cut_within_a_word(width: int) -> None:
    line, places = key_line(KEYS, LAST, width, UNICODE)
    text = text_of(line)
    assert len(text) <= width
    if width >= len(" ? Help "):
        assert "? Help" in text
        assert set(text.split()) <= {word for key in (*KEYS, *LAST) for word in key[:2]}
    for first, last, key in places if width >= len(" ? Help ") else ():
        shown = next(each for each in (*KEYS, *LAST) if each[2] == key)
        assert text[first:last] == f" {shown[0]} {shown[1]} "


@pytest.mark.parametrize(
    ("duration_s", "shown"),
    [(0, "0s"), (59.4, "59s"), (59.6, "1m00s"), (185, "3m05s"), (20400, "5h40m"), (86399, "1d00h"), (183600, "2d03h")],
)
def test_short_durations(duration_s: float, shown: str) -> None:
    assert short_s(duration_s) == shown
