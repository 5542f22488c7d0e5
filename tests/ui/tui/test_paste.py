"""A paste is text, whatever is in it and however it is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual import events
from textual._xterm_parser import XTermParser

from specdash.ui.tui.terminal.driver import BEGIN, END, ESCAPE_PICTURE, Pastes


def test_an_escape_character_in_a_paste_is_a_picture() -> None:
    typed = f"ab\x1b{BEGIN}x\x1b]52;k\x1b[A{END}\x1b[Aq"
    assert Pastes().cleaned(typed) == f"ab\x1b{BEGIN}x{ESCAPE_PICTURE}]52;k{ESCAPE_PICTURE}[A{END}\x1b[Aq"


@given(st.lists(st.sampled_from(["\x1b", "[", "20", "1", "0", "~", "k", BEGIN, END, "é"]), max_size=30), st.data())
def test_pieces_cut_anywhere_give_the_same(parts: list[str], data: st.DataObject) -> None:
    text = "".join(parts) + END
    pieces, rest = [], text
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        pieces.append(rest[:size])
        rest = rest[size:]
    one, many = Pastes(), Pastes()
    assert "".join(map(many.cleaned, pieces)) == one.cleaned(text)


def test_what_is_typed_is_handed_on_at_once() -> None:
    pastes = Pastes()
    assert [pastes.cleaned(each) for each in ("\x1b", "[2", "0", "q")] == ["\x1b", "[2", "0", "q"]


@pytest.mark.parametrize("pasted", ["x\x1b]k", "\x1b[200~k", "\x1b", "k\x1b[A\x1b"])
def test_no_pasted_character_is_a_key(pasted: str) -> None:
    messages = list(XTermParser().feed(Pastes().cleaned(f"{BEGIN}{pasted}{END}")))
    assert [type(message) for message in messages] == [events.Paste]
