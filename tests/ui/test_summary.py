"""The end of a run: the table, the chart and what failed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from specdash.analysis.result import Result
from specdash.core import events as ev
from specdash.core.state import RunState
from specdash.report.text import brief
from specdash.store.result_json import document_of, from_document
from specdash.ui import summary
from specdash.ui.summary import near, print_summary
from tests.support.recorded_run import folded, measured, started, step
from tests.support.rendering import recommendation

LONG = "qwen2.5-coder-0.5b-instruct-fp16-and-then-some-q8_0"


def run_of(**changes: Any) -> RunState:
    """A run with a slower, an equal and a faster arm."""
    steps = [step(), step(2, **changes), step(4, **changes), step(8, **changes)]
    facts: list[ev.Fact] = [started(steps)]
    rates = ([100.0, 102.0, 98.0] * 2, [80.0, 82.0, 78.0] * 2, [100.0, 103.0, 97.0] * 2, [1250.0, 1252.0, 1248.0] * 2)
    for each, found in zip(steps, rates, strict=True):
        facts += measured(each, found)
    return folded(facts)


def shown(view: RunState, width: int = 80, encoding: str = "utf-8", path: Path = Path("/r")) -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, errors="strict")
    console = Console(file=file, force_terminal=True, width=width, color_system=None, highlight=False)
    print_summary(console, view, path, [path / "report.md", path / "report.html"], with_table=True)
    file.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [80, 160])
def test_the_table_fits_and_keeps_what_matters(width: int) -> None:
    text = shown(run_of(draft=LONG), width)
    assert max(map(len, text.splitlines())) <= width
    header = next(line for line in text.splitlines() if "x baseline" in line)
    # Where there is no room for all, what stands beside the decode rate stays longer than what was drafted.
    more = "" if width == 80 else " accepted tok/step"
    assert header.split() == f"draft K tok/s x baseline (95 %) prefill ttft total{more} n".split()
    assert "…" not in text
    fastest = next(line.split() for line in text.splitlines() if line.split()[:2] == ["8", "1250"])
    drafted = [] if width == 80 else ["19", "%", "2.50"]
    times = ["200.0", "0.510", "s", "0.590", "s"]
    assert fastest == ["8", "1250", "±", "2", "12.50", "(12.29-12.72)", *times, *drafted, "6"]
    # A long name folds, and stands in full when read downwards.
    column = header.index(" K ")
    assert LONG in "".join(line[:column].strip() for line in text.splitlines())


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("width", range(32, 120, 4))
def test_no_figure_is_cut_however_narrow_the_terminal(width: int, encoding: str) -> None:
    lines = shown(run_of(), width, encoding).replace("|", " ").splitlines()
    first = next(number for number, line in enumerate(lines) if line.split()[:2] == ["draft", "K"])
    table = lines[first : first + 6]
    assert max(map(len, table)) <= width
    words = {word for line in table for word in line.replace("+-", " ").split()}
    assert not any("…" in word or ".." in word for word in words)
    figures = {word for word in words if word[:1].isdigit() and "B" not in word}
    assert {"100.0", "80.0", "1250", "12.50"} <= figures
    wide = shown(run_of(), 160).split()
    assert figures <= set(wide)


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


COMMAND = "llama-server -m '/models/" + "very-" * 30 + "big model.gguf' -md /models/d.gguf --spec-draft-n-max 8"
CHOICE = {
    "target": "72B Q8_0", "config": None, "moe_experts": None, "depth": 0, "category": "all", "draft": "0.5B", "k": 8,
    "method": "draft", "speedup": 12.5, "ci95": [12.29, 12.72], "tok_s": 1250.0, "baseline_tok_s": 100.0,
    "regret": 0.0, "regret_ci95": [0.0, 0.012], "off": False, "proven": True,
    "tied": [{"draft": "0.5B", "k": 16, "speedup": 12.41}], "reason": "K = 8 and 16 tie; the smaller one is taken",
    "command": COMMAND,
}  # fmt: skip
OFF = {
    **CHOICE, "category": "prose", "draft": None, "k": None, "method": "baseline", "speedup": 1.0, "ci95": None,
    "off": True, "tied": [], "reason": "no draft is faster beyond the noise", "command": None,
}  # fmt: skip


def document(view: RunState, **changes: Any) -> Result:
    """The result of a run with these parts in place of its own."""
    return from_document({**document_of(view), **changes})


def test_what_to_use_comes_first_with_a_command_that_can_be_pasted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "result_of", lambda view: document(view, recommendations=[CHOICE, OFF]))
    lines = shown(run_of()).splitlines()
    text = " ".join(" ".join(lines).split())
    use = "use 0.5B with K = 8: 12.50 times as fast (12.29 to 12.72), 1250 tok/s instead of 100.0"
    assert f"72B Q8_0: {use}" in text
    assert text.index(use) < text.index("x baseline (95 %)")
    assert COMMAND in lines  # a line of its own, whole, at 80 columns
    assert "not to be told apart from it: 0.5B with K = 16 (12.41)" in text
    assert "no alternative has a faster mean (at most 1.2 %)" in text
    assert "another choice on prose: off" in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"off": True, "draft": None, "k": None, "reason": "no draft is faster"}, "off: no draft is faster"),
        (
            {"draft": None, "k": None, "method": None, "speedup": None, "reason": "no baseline"},
            "nothing can be recommended: no baseline",
        ),
        (
            {"ci95": None, "proven": False},
            "12.50 times as fast (no interval), 1250 tok/s instead of 100.0 (not proven)",
        ),
        ({"tok_s": None}, "(12.29 to 12.72)"),
        ({"speedup": float("nan"), "ci95": [None, 2.0]}, "use 0.5B with K = 8, 1250 tok/s"),
        ({"config": "fa on", "depth": 2048}, "72B Q8_0, fa on, depth 2048: use"),
        ({"regret": 0.031, "regret_ci95": [0.0, 0.05]}, "an alternative's mean is 3.1 % faster (0.0 to 5.0 %)"),
    ],
)
def test_every_kind_of_recommendation_has_its_words(
    changes: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [{**CHOICE, **changes}]
    monkeypatch.setattr(summary, "result_of", lambda view: document(view, recommendations=found))
    assert said in " ".join(shown(run_of(), 160).split())


def test_predicted_points_are_hollow_and_measured_ones_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    base = {"target": "72B Q8_0", "draft": "0.5B", "config": None, "moe_experts": None, "depth": 0, "category": "all"}
    curve = [
        {**base, "k": k, "predicted_tok_s": 100.0 + 10 * k, "predicted_ci95": [95.0 + 10 * k, 105.0 + 10 * k]}
        for k in range(1, 13)
    ]
    broken = {**base, "k": 13, "predicted_tok_s": None, "predicted_ci95": None}
    monkeypatch.setattr(summary, "result_of", lambda view: document(view, curves=[*curve, broken]))
    text = shown(run_of())
    chart = text[text.index("tok/s by K") : text.index("K: tokens drafted a step")]
    assert chart.count("○") >= 8
    assert chart.count("●") == 3
    assert "● 0.5B   ○ predicted   dotted: no draft" in text
    assert "○" not in shown(run_of(draft="other"))
    ascii_text = shown(run_of(), encoding="ascii")
    assert "o 0.5B   ~ predicted" in ascii_text


def test_a_late_verdict_is_noted_with_its_meaning() -> None:
    steps = [step(), step(4)]
    facts: list[ev.Fact] = [started(steps, settings={"iterations": 2, "temperature": 0.0})]
    facts += [ev.TextSeen("aa", tuple(range(20))), ev.TextSeen("bb", (*range(17), 99, 18, 19))]
    facts += [*measured(steps[0], [10.0, 11.0]), ev.TextChecked(steps[0].id, "l001", "p0", "aa", (5.0,) * 20, 0)]
    facts += [*measured(steps[1], [14.0, 15.0]), ev.TextChecked(steps[1].id, "l002", "p0", "bb", (), 0)]
    text = " ".join(shown(folded(facts)).split())
    assert "noted: 72B Q8_0 + 0.5B | draft K=4 | coding: output_differs: token 17 of prompt p0 is not the" in text
    assert "output_differs: At temperature 0 the text differs" in text
    assert "output differs" in text.partition("noted:")[0]
    assert "1.38 (" not in text.partition("noted:")[0]


def test_whole_texts_compared_are_not_listed_again() -> None:
    steps = [step(), step(4)]
    whole = [each.with_values(workload="lossless") for each in steps]
    rates = zip((*steps, *whole), (10.0, 14.0, 10.5, 14.5), strict=True)
    facts = [fact for each, rate in rates for fact in measured(each, [rate, rate + 1])]
    text = shown(folded([started([*steps, *whole]), *facts]))
    assert text.count("no draft") == shown(folded([started(steps), *facts[: len(facts) // 2]])).count("no draft")


def test_paths_are_short_where_they_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert near(tmp_path / "results" / "r") == "results/r"
    assert near(Path("/elsewhere/r")) == "/elsewhere/r"
    text = shown(run_of(), path=tmp_path / "results" / "r")
    assert "report: results/r/report.md" in text
    assert "report: results/r/report.html" in text


def test_what_is_left_to_measure_is_said_with_the_command() -> None:
    steps = [step(), step(4)]
    text = shown(folded([started(steps), *measured(steps[0], [10.0, 11.0])]), path=Path("/r/run-1"))
    assert "1 step is not finished yet: specdash resume run-1\n" in text
    begun = [*measured(steps[0], [10.0, 11.0]), *measured(steps[1], [12.0])[:-1]]
    assert "1 step is not finished yet (1 sample kept): specdash" in shown(folded([started(steps), *begun]))
    assert "not finished yet" not in shown(run_of())


@pytest.mark.parametrize(("ci95", "said"), [([0.9, 1.2], "answers about +2.0 %"), ([1.01, 1.03], "answers +2.0 %")])
def test_half_a_line_is_in_signs_that_every_terminal_has(ci95: list[float], said: str) -> None:
    whole = {"ratio": 1.02, "ci95": ci95}
    each = {"target": "T", "draft": "D", "method": "draft", "k": 4, "speedup": 1.5, "ci95": [1.4, 1.6], "tok_s": 9.0}
    line = brief(recommendation({**each, "off": False, "whole_answer": whole}))
    assert said in line
    assert line.isascii()
