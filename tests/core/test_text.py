from __future__ import annotations

import math
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specdash.core.text import before_figure, human_bytes, human_seconds, markdown_cell, one_line, plain, slug

HOSTILE: dict[str, tuple[str | bytes, str]] = {
    "colour": ("\x1b[31mred\x1b[0m", "<1b>[31mred<1b>[0m"),
    "clear screen": ("\x1b[2J\x1b[Hgone", "<1b>[2J<1b>[Hgone"),
    "window title (OSC 0)": ("\x1b]0;pwned\x07", "<1b>]0;pwned<07>"),
    "link (OSC 8)": ("\x1b]8;;http://evil\x1b\\ok\x1b]8;;\x1b\\", "<1b>]8;;http://evil<1b>\\ok<1b>]8;;<1b>\\"),
    "clipboard (OSC 52)": ("\x1b]52;c;cm0gLXJmIH4=\x07", "<1b>]52;c;cm0gLXJmIH4=<07>"),
    "device string": ("\x1bP$q\x1b\\", "<1b>P$q<1b>\\"),
    "C1 introducer": ("\x9b31mred", "<9b>31mred"),
    "C1 introducer in UTF-8": (b"\xc2\x9b31mred", "<9b>31mred"),
    "C1 introducer as a raw byte": (b"\x9b31mred", "\ufffd31mred"),
    "carriage return hides": ("password\rok      ", "password<0d>ok      "),
    "backspaces": ("rm -rf\x08\x08\x08\x08\x08\x08ls", "rm -rf<08><08><08><08><08><08>ls"),
    "bell, NUL, DEL": ("\x07\x00\x7f", "<07><00><7f>"),
    "bidi override": ("photo\u202egpj.exe", "photo<202e>gpj.exe"),
    "bidi isolates": ("\u2066a\u2067b\u2068c\u2069", "<2066>a<2067>b<2068>c<2069>"),
    "line separators": ("a\u2028b\u2029c\x85d", "a<2028>b<2029>c<85>d"),
    "lone surrogate of a file name": ("model\udcff.gguf", "model<dcff>.gguf"),
    "broken UTF-8": (b"caf\xc3 \xff\xf0\x9f", "caf\ufffd \ufffd\ufffd"),
    "vertical tab and form feed": ("a\x0bb\x0cc", "a<0b>b<0c>c"),
    "markup is not ours to judge": ("[bold]<script>|`x`", "[bold]<script>|`x`"),
    "honest text": ("größe\t模型 👩‍🔬\nعربي", "größe\t模型 👩‍🔬\nعربي"),
}


@pytest.mark.parametrize(("raw", "shown"), HOSTILE.values(), ids=HOSTILE.keys())
def test_plain_disarms(raw: str | bytes, shown: str) -> None:
    assert plain(raw) == shown


@given(st.text() | st.binary())
def test_plain_is_printable_and_encodable_and_leaves_nothing_to_do(raw: str | bytes) -> None:
    shown = plain(raw)
    shown.encode("utf-8")
    assert not [char for char in shown if unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} and char not in "\t\n"]
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", shown)
    assert plain(shown) == shown


def test_plain_cuts_and_says_how_much() -> None:
    assert plain("a" * 10, 10) == "a" * 10
    assert plain("a" * 1010, 10) == "aaaaaaaaaa… (1000 more characters)"
    assert plain("\x1b" * 11, 10) == "<1b>" * 10 + "… (1 more characters)"
    assert len(plain("\u202e" * 2_000_000)) < 500_000


@given(st.text() | st.binary(), st.integers(1, 40))
def test_one_line_is_one_short_line(raw: str | bytes, limit: int) -> None:
    line = one_line(raw, limit)
    assert len(line) <= limit
    assert line.splitlines() in ([], [line])
    assert "\t" not in line


def test_one_line_joins_and_marks_the_cut() -> None:
    assert one_line("  error:\n\tout of\n\nmemory  ") == "error: out of memory"
    assert one_line("abcdef", 6) == "abcdef"
    assert one_line("abcdefg", 6) == "abcde…"
    assert one_line("\x1b[1m\n", 20) == "<1b>[1m"


@pytest.mark.parametrize(
    ("raw", "cell"),
    [
        ("72B Q8_0 (rtx-4090)", "72B Q8_0 (rtx-4090)"),
        ("a | b", r"a \| b"),
        ("a\\| b", r"a\\\| b"),
        ("`code`", r"\`code\`"),
        ("<img src=x onerror=alert(1)>", r"\<img src=x onerror=alert(1)\>"),
        ("![x](http://evil)", "!\\[x\\](http:\u2060//evil)"),
        ("one\n| two |\n", r"one \| two \|"),
        ("&lt;b&gt; *x*", r"\&lt;b\&gt; \*x\*"),
        ("\x1b[0m", r"\<1b\>\[0m"),
        ("_em_ a_b __x__ ~~gone~~", r"\_em\_ a_b \_\_x\_\_ \~\~gone\~\~"),
        ("@octocat a@b.org", "@\u2060octocat a@\u2060b.org"),
        ("#12 # title gh-7", "\\#\u206012 \\# title gh-\u20607"),
        ("www.evil.org", "www\u2060.evil.org"),
    ],
)
def test_markdown_cell_stays_in_its_cell(raw: str, cell: str) -> None:
    assert markdown_cell(raw) == cell


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("Qwen2.5-72B_Q8", "Qwen2.5-72B_Q8"),
        ("72B Q8 / draft", "72B-Q8-draft"),
        ("../../etc/passwd", "etc-passwd"),
        ("a..b...c", "a.b.c"),
        ("..", "unnamed"),
        ("", "unnamed"),
        ("模型", "unnamed"),
        ("Crème", "Creme"),
        ("-rf", "rf"),
        (".hidden", "hidden"),
        ("a" * 79 + "-b", "a" * 79),
        ("x\x00y\x1b", "x-y"),
    ],
)
def test_slug(raw: str, name: str) -> None:
    assert slug(raw) == name


@given(st.text())
def test_slug_is_always_a_name(raw: str) -> None:
    name = slug(raw)
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,80}", name, re.ASCII)
    assert ".." not in name
    assert name[0] not in ".-"
    assert slug(name) == name


def test_slug_takes_another_default() -> None:
    assert slug("…", "") == ""
    assert slug("?", "machine") == "machine"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.98 KiB"),
        (1536, "1.50 KiB"),
        (1023.99 * 1024, "1.00 MiB"),
        (15.26 * 2**30, "15.3 GiB"),
        (640 * 2**30, "640 GiB"),
        (5e20, "444089 PiB"),
        (-1536, "-1.50 KiB"),
    ],
)
def test_human_bytes(size: float, text: str) -> None:
    assert human_bytes(size) == text


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [
        (0, "0 ms"),
        (0.0124, "12 ms"),
        (0.9999, "1.0 s"),
        (4.24, "4.2 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3599.7, "1 h 00 min"),
        (3900, "1 h 05 min"),
        (86_399, "1 d 00 h"),
        (183_600, "2 d 03 h"),
        (-42, "-42 s"),
        (math.nan, "unknown"),
        (math.inf, "unknown"),
    ],
)
def test_human_seconds(duration_s: float, text: str) -> None:
    assert human_seconds(duration_s) == text


FIGURES = "18.24 [3.36,98.9] +11 % (4 to 19 %) K=16 1.2e-05 0.800-0.812 2.5x"


@pytest.mark.parametrize("room", range(len(FIGURES) + 1))
def test_a_text_is_never_cut_within_a_number_or_an_interval(room: int) -> None:
    whole = ("18.24", "[3.36,98.9]", "+11 %", "(4 to 19 %)", "K=16", "1.2e-05", "0.800-0.812", "2.5x")
    kept = FIGURES[: before_figure(FIGURES, room)]
    assert len(kept) <= room
    left = kept
    for each in whole:
        left = left.replace(each, "", 1)
    assert not any(character.isdigit() for character in left), kept
    # What "..." stands right behind would read as more of its digits.
    assert room == len(FIGURES) or not kept[-1:].isdigit()
    assert not one_line(FIGURES, room).rstrip("…")[-1:].isdigit() or room == len(FIGURES)


@pytest.mark.parametrize("name", ["Qwen2.5-72B Q8_0", "0123456789" * 6, "2026-07-21T1000", "hardware_20260721T101500Z"])
def test_digits_in_a_name_are_cut_like_letters(name: str) -> None:
    assert [before_figure(name, room) for room in range(5, len(name))] == list(range(5, len(name)))
