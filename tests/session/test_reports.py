"""Reports, each for itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from specdash.core import events as ev
from specdash.errors import Exit
from specdash.session.ending import with_reports
from specdash.session.handle import Reports
from specdash.session.reports import AT_THE_END, REPORTS, write_reports
from tests.support.recorded_run import folded, measured, started, step

VIEW = folded([started([step()]), *measured(step(), [10.0, 11.0, 12.0]), ev.RunFinished("finished", 0)])


def fails(error: Exception) -> object:
    def make(result: object) -> str:
        raise error

    return make


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "report.md cannot be made: not enough memory."),
        (ZeroDivisionError("a bug"), "internal error, a bug of specdash; details: "),
    ],
    ids=["memory", "bug"],
)
def test_one_that_cannot_be_made_keeps_none_of_the_others_from_being_there(
    error: Exception, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setitem(REPORTS, "md", ("report.md", fails(error)))
    folder = tmp_path / "run"
    folder.mkdir()
    found = write_reports(folder, VIEW)
    assert [path.name for path in found.written] == ["result.json", "result.csv", "report.html"]
    assert sorted(folder.iterdir()) == sorted(found.written)
    (why,) = found.failed
    assert said in why
    assert why.startswith(str(folder / "report.md"))


def test_results_that_cannot_be_summed_up_are_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specdash.session.reports.result_of", fails(MemoryError()))
    assert write_reports(tmp_path, VIEW) == Reports((), ("the results cannot be summed up: not enough memory.",))
    assert len(AT_THE_END) == 4


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Exit.OK, Exit.UNSAFE),
        (Exit.INCOMPLETE, Exit.UNSAFE),
        (Exit.NOTHING_MEASURED, Exit.NOTHING_MEASURED),
        (Exit.STOPPED_EARLY, Exit.STOPPED_EARLY),
        (Exit.HANGUP, Exit.HANGUP),
    ],
)
def test_no_run_without_its_reports_is_a_success(before: Exit, after: Exit) -> None:
    ended = ev.RunFinished("finished", int(before), "why")
    assert with_reports(ended, Reports((Path("result.json"),)), "run-1") == ended
    told = with_reports(ended, Reports((), ("no space",)), "run-1")
    assert told.exit_code == after
    assert told.reason.startswith("why; ")
    assert "specdash report run-1" in told.reason
