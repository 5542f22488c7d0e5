"""`specdash compare` and reports of files, in this process: what is printed, and with which exit code."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from specdash.analysis.build_result import result_of
from specdash.cli import guarded
from specdash.core import events as ev
from specdash.core.plan import Step
from specdash.errors import Exit
from specdash.store import runs as store
from specdash.store.journal import Journal
from specdash.store.result_json import document_of, from_document
from tests.support.recorded_run import folded, measured, recorded, started, step
from tests.support.rendering import to_json

PUBLISHED = Path(__file__).parents[1] / "data" / "draftbench"
LARGE = PUBLISHED / "m4max-128gb_llamacpp_qwen25-72b.json"
CATEGORIES = ("coding", "math")


def facts_of(factor: float = 1.0, seed: int = 1, n: int = 6, **changes: Any) -> list[ev.Fact]:
    """A baseline, and K = 4 at `factor` times twice its rate, with a little noise."""
    chance = random.Random(seed)
    values: dict[Step, Sequence[float]] = {
        step(k, category): [scale * (1 + chance.gauss(0, 0.003)) for _ in range(n)]
        for k, scale in ((None, 10.0), (4, 20.0 * factor))
        for category in CATEGORIES
    }
    facts: list[ev.Fact] = [started(list(values), **changes)]
    for each, rates in values.items():
        facts += measured(each, rates)
    return [*facts, ev.RunFinished("finished", 0)]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder of a user with a results folder."""
    (tmp_path / "results").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setattr(store, "_state_dir", lambda: tmp_path / "state")
    store.remember(tmp_path / "results")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


@pytest.fixture
def write(place: Path) -> Any:
    """Write a run's journal; the path of its folder."""

    def run(name: str, facts: list[ev.Fact]) -> Path:
        path = place / "results" / name
        path.mkdir()
        now = iter(record.time_s for record in recorded(facts))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "time", lambda: next(now))
            journal = Journal.create(path / store.JOURNAL)
            for fact in facts:
                journal.append(fact)
            journal.close()
        return path

    return run


@pytest.fixture
def two(write: Any) -> tuple[Path, Path]:
    """Two runs; in the second the draft is a tenth slower."""
    return write("before_1", facts_of()), write("after_1", facts_of(0.9, seed=2, run_id="other"))


def specdash(*arguments: object) -> Exit:
    return guarded([str(each) for each in arguments])


def test_runs_are_named_by_the_beginning_of_their_name(two: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert specdash("compare", "before", "after") is Exit.OK
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines()[:2] == ["A  before", "B  after"]
    header, base, fast = out.partition("by category")[0].splitlines()[-4:-1]
    assert header.split()[-1] == "STEP"
    assert "equal" in base
    assert "0.9" in fast
    assert "slower" in fast
    assert "72B Q8_0 + 0.5B | draft K=4 | overall" in fast
    assert out.count("| math") == out.count("| coding") == 2
    assert "\x1b" not in out


def test_a_regression_ends_with_4_and_says_which(two: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert specdash("compare", *two, "--max-regression", "5") is Exit.REGRESSION
    out, err = capsys.readouterr()
    assert "regression: 72B Q8_0 + 0.5B | draft K=4 | overall" in err
    assert "surely more than 5 %" in err
    assert "overall" in out
    assert specdash("compare", *two, "--max-regression", "15%") is Exit.OK
    assert specdash("compare", *reversed(two), "--max-regression", "0") is Exit.OK
    assert specdash("compare", *two) is Exit.OK


def test_too_few_samples_are_said_where_a_regression_is_asked_for(
    write: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write("a", facts_of(n=1)[:-4]), write("b", facts_of(0.5, n=1)[:-4])
    assert specdash("compare", a, b, "--max-regression", "5") is Exit.OK
    assert "too few samples for an interval" in capsys.readouterr().err


def test_json_has_the_same_and_no_nan(two: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert specdash("compare", *two, "--json", "--max-regression", "5") is Exit.REGRESSION
    told = json.loads(capsys.readouterr().out)
    fast = next(pair for pair in told["overall"] if pair["arm"]["k"] == 4)
    assert (fast["word"], fast["categories"]) == ("slower", list(CATEGORIES))
    assert fast["low"] < fast["ratio"] < fast["high"] < 0.95
    assert told["regressions"] == [fast["step"]]
    assert len(told["pairs"]) == 4


def test_unlike_things_are_refused_with_every_reason(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"max_tokens": 7, "iterations": 5}
    a, b = write("a", facts_of()), write("b", facts_of(prompts_digest="other", settings=settings))
    assert specdash("compare", a, b) is Exit.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert "different prompts" in err
    assert "max_tokens is 101 in A and 7 in B" in err
    assert "--anyway" in err
    assert specdash("compare", a, b, "--anyway") is Exit.OK
    out = capsys.readouterr().out
    assert "unlike: they were asked different prompts" in out
    assert "| overall" in out


def test_nothing_in_common_ends_with_3(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    other = step(4, "prose")
    a, b = write("a", facts_of()), write("b", [started([other]), *measured(other, [1.0, 2.0])])
    assert specdash("compare", a, b) is Exit.NOTHING_MEASURED
    out, err = capsys.readouterr()
    assert out == ""
    assert "no step in common" in err


@pytest.mark.parametrize("word", ["five", "-1", "100", "nan", "inf", ""])
def test_a_limit_that_is_none_is_a_usage_error(word: str, two: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert specdash("compare", *two, f"--max-regression={word}") is Exit.USAGE
    assert "is no percentage" in capsys.readouterr().err


def test_saved_results_stand_for_runs(two: Any, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = place / "here" / "saved.json"
    saved.write_text(to_json(result_of(folded(facts_of()))))
    (two[0] / "result.json").write_text("an old one that nobody reads")
    assert specdash("compare", "saved.json", two[0] / "result.json") is Exit.OK
    assert "A and B are the same run" in capsys.readouterr().out


def test_other_tools_files_compare_with_each_other_and_not_with_runs(
    two: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert specdash("compare", LARGE, LARGE) is Exit.OK
    out = capsys.readouterr().out
    assert "72B Q8_0 + 1.5B Q6_K | draft | overall" in out
    assert "3.00" in out
    assert specdash("compare", LARGE, two[0]) is Exit.USAGE
    assert "A was imported from draftbench, B was measured by specdash" in capsys.readouterr().err


def test_names_that_mean_nothing_are_one_clear_error(two: Any, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "here" / "empty").mkdir()
    (place / "here" / "text.json").write_text("hello")
    (place / "here" / "loop").symlink_to("loop")
    for name, words in (
        ("absent", "no such file or run: absent"),
        ("loop", "too many levels of symbolic links"),
        ("empty", "without a journal"),
        ("text.json", "not JSON"),
        ("", ""),
    ):
        assert specdash("compare", name, two[0]) is Exit.USAGE
        out, err = capsys.readouterr()
        assert out == ""
        assert words in err
        assert "Traceback" not in err


def test_a_file_broken_deeper_than_its_reader_looks_is_no_bug_of_ours(
    two: Any, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = document_of(folded(facts_of()))
    for each in result["measurements"]:
        for sample in each["samples"]:
            sample["prompt_id"] = ["a", "list"]
    (place / "here" / "odd.json").write_text(json.dumps(result))
    assert specdash("compare", "odd.json", two[0]) is Exit.USAGE
    assert "changed by hand" in capsys.readouterr().err


# -- reports of files -------------------------------------------------------------------------------------------------


def test_a_report_of_a_foreign_file_is_printed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert specdash("report", LARGE, "--format", "md") is Exit.OK
    out, err = capsys.readouterr()
    assert err == ""
    assert "1.5B Q6_K" in out
    assert specdash("report", LARGE, "--format", "draftbench") is Exit.OK
    assert json.loads(capsys.readouterr().out)["results"] == json.loads(LARGE.read_text())["results"]
    assert list((place / "here").iterdir()) == []


def test_reports_of_a_file_are_written_here_and_nowhere_else(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(LARGE, place / "results" / "x.json")
    assert specdash("report", place / "results" / "x.json", "--format", "md,csv,json,draftbench") is Exit.OK
    names = ["x.report.md", "x.report.csv", "x.report.json", "x.draftbench.json"]
    assert capsys.readouterr().out.split() == names
    assert sorted(path.name for path in (place / "here").iterdir()) == sorted(names)
    assert [path.name for path in (place / "results").iterdir()] == ["x.json"]
    assert specdash("compare", "x.report.json", "x.draftbench.json") is Exit.OK


def test_reports_of_a_run_go_into_its_folder(two: Any, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert specdash("report", "before") is Exit.OK
    written = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert {path.name for path in written} >= {"report.md", "result.csv", "result.json"}
    assert {path.parent for path in written} == {two[0]}
    assert list((place / "here").iterdir()) == []
    assert specdash("report", "before", "--format", "draftbench") is Exit.OK
    rows = json.loads(capsys.readouterr().out)["results"]
    assert [(row["draft"], row.get("k")) for row in rows] == [(None, None), ("0.5B", 4)]


def test_a_format_that_is_none_is_refused(two: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert specdash("report", "before", "--format", "md,pdf") is Exit.USAGE
    assert "--format pdf: no such format" in capsys.readouterr().err


@pytest.mark.parametrize("limit", ["5", "90"])
def test_what_fails_or_changes_its_output_is_a_regression(
    limit: str, write: Any, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = document_of(folded(facts_of())), document_of(folded(facts_of(run_id="other")))
    drafted = [each for each in b["measurements"] if each["k"] == 4]
    drafted[0]["status"], drafted[0]["error"] = "failed", "out of memory"
    drafted[1]["verdicts"] = ["output_differs"]
    for name, result in (("a.json", a), ("b.json", b)):
        (place / "here" / name).write_text(to_json(from_document(result)))
    assert specdash("compare", "a.json", "b.json", "--max-regression", limit) is Exit.REGRESSION
    out, err = capsys.readouterr()
    for text in (out, err):
        assert "ok in A, failed in B: out of memory" in text
        assert "its output differs" in text
    assert specdash("compare", "a.json", "b.json", "--max-regression", limit, "--json") is Exit.REGRESSION
    told = json.loads(capsys.readouterr().out)
    assert [each["step"] for each in told["lost"]] == told["regressions"] == [each["step"] for each in drafted]
    assert specdash("compare", "b.json", "b.json", "--max-regression", limit) is Exit.OK


@pytest.mark.parametrize("command", [("report",), ("compare", LARGE)])
def test_rates_beyond_what_can_be_calculated_with_are_a_clear_error(
    command: tuple[object, ...], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"target": "T", "draft": draft, "mean_tps": rate} for draft, rate in ((None, 5e-324), ("D", 1e308))]
    (place / "here" / "x.json").write_text(json.dumps({"results": rows}))
    specdash(*command, "x.json")
    assert "internal error" not in capsys.readouterr().err
