"""The end of a run: the table, the chart and what failed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from recorded_run import folded, measured, started, step
from rich.console import Console

from specdash.core import events as ev
from specdash.core.view import View
from specdash.ui.summary import near, print_summary

LONG = "qwen2.5-coder-0.5b-instruct-fp16-and-then-some-q8_0"


def run_of(**changes: Any) -> View:
    """A run with a slower, an equal and a faster arm."""
    steps = [step(), step(2, **changes), step(4, **changes), step(8, **changes)]
    facts: list[ev.Fact] = [started(steps)]
    rates = ([100.0, 102.0, 98.0] * 2, [80.0, 82.0, 78.0] * 2, [100.0, 103.0, 97.0] * 2, [1250.0, 1252.0, 1248.0] * 2)
    for each, found in zip(steps, rates, strict=True):
        facts += measured(each, found)
    return folded(facts)


def shown(view: View, width: int = 80, encoding: str = "utf-8", path: Path = Path("/r")) -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, errors="strict")
    console = Console(file=file, force_terminal=True, width=width, color_system=None, highlight=False)
    print_summary(console, view, path, with_table=True)
    file.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [80, 160])
def test_the_table_fits_and_keeps_every_column(width: int) -> None:
    text = shown(run_of(draft=LONG), width)
    assert max(map(len, text.splitlines())) <= width
    header = next(line for line in text.splitlines() if "tok/s" in line)
    assert header.split() == ["draft", "K", "tok/s", "x", "baseline", "(95", "%)", "accepted", "tok/step", "n"]
    assert "…" not in text
    fastest = next(line.split() for line in text.splitlines() if line.split()[:2] == ["8", "1250"])
    assert fastest == ["8", "1250", "±", "2", "12.50", "(12.29-12.72)", "19", "%", "2.50", "6"]
    # A long name folds, and stands in full when read downwards.
    column = header.index(" K ")
    assert LONG in "".join(line[:column].strip() for line in text.splitlines())


def test_noise_is_equal_and_losses_are_called_slower() -> None:
    text = shown(run_of())
    assert "0.80 (0.80-0.80) slower" in text
    assert "1.00 (0.99-1.01) equal" in text
    assert (text.count("equal"), text.count("slower")) == (1, 1)


def test_ascii_terminals_get_ascii() -> None:
    text = shown(run_of(), encoding="ascii")  # a strict stream: anything else raises
    assert "+-" in text
    assert "tok/s by K" in text


def test_a_missing_category_is_marked_and_explained() -> None:
    steps = [step(), step(4), step(None, "math"), step(4, "math")]
    facts: list[ev.Fact] = [started(steps)]
    for each in steps[:3]:
        facts += measured(each, [10.0, 11.0, 12.0])
    facts += measured(steps[3], [], "failed")
    text = shown(folded(facts))
    assert "11.0 ± 1.0*" in text
    assert "* lacks categories" in text
    assert "failed: 72B Q8_0 + 0.5B | draft K=4 | math: it is failed" in " ".join(text.split())
    assert "* lacks" not in shown(run_of())


def test_paths_are_short_where_they_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert near(tmp_path / "results" / "r") == "results/r"
    assert near(Path("/elsewhere/r")) == "/elsewhere/r"
    assert "report: results/r/report.md" in shown(run_of(), path=tmp_path / "results" / "r")


def test_what_is_left_to_measure_is_said_with_the_command() -> None:
    steps = [step(), step(4)]
    text = shown(folded([started(steps), *measured(steps[0], [10.0, 11.0])]), path=Path("/r/run-1"))
    assert "1 step is not measured yet: specdash resume run-1\n" in text
    assert "not measured yet" not in shown(run_of())
