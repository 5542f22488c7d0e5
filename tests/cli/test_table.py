"""Tables on stdout."""

from __future__ import annotations

import pytest

from specdash.cli.table import CELL_CHARS, print_folded, print_table, table_lines

HEADER = ("MODEL", "SIZE", "DRAFTS")
ROWS = [("72B", "70 GiB", "a-0.5b.gguf, b-1.5b.gguf, c-3b.gguf"), ("0.5B", "1 GiB", "-")]


def test_a_pipe_gets_one_line_for_each_row() -> None:
    assert table_lines(HEADER, ROWS, None) == [
        "MODEL  SIZE    DRAFTS",
        "72B    70 GiB  a-0.5b.gguf, b-1.5b.gguf, c-3b.gguf",
        "0.5B   1 GiB   -",
    ]


def test_a_terminal_folds_the_last_column() -> None:
    assert table_lines(HEADER, ROWS, 42) == [
        "MODEL  SIZE    DRAFTS",
        "72B    70 GiB  a-0.5b.gguf, b-1.5b.gguf,",
        "               c-3b.gguf",
        "0.5B   1 GiB   -",
    ]


def test_without_room_the_last_column_goes_below() -> None:
    lines = table_lines(HEADER, ROWS, 30)
    assert lines[1:4] == ["72B    70 GiB", "    a-0.5b.gguf, b-1.5b.gguf,", "    c-3b.gguf"]


@pytest.mark.parametrize("width", [1, 10, 40, 80, None])
def test_nothing_is_lost_at_any_width(width: int | None) -> None:
    words = "".join("".join(table_lines(HEADER, ROWS, width)).split())
    assert words == "".join("".join("".join(row) for row in (HEADER, *ROWS)).split())


def test_cells_are_harmless_and_of_sane_width(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("A", "B"), [("\x1b[2J" + "x" * 500, "y\nz")])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert len(out.splitlines()) == 2
    assert len(out.splitlines()[1]) < CELL_CHARS + 10


def test_a_sentence_is_folded_on_a_terminal_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "ok    engine: one two three four-five /a/path/that/is/long"
    print_folded(text, indent=6)
    assert capsys.readouterr().out == f"{text}\n"
    monkeypatch.setenv("COLUMNS", "24")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    print_folded(text, indent=6)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["ok    engine: one two", "      three four-five"]
    assert lines[-1] == "      /a/path/that/is/long"  # whole, so that it can be copied
