"""What is told of a bug of specdash, and where its traceback goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from specdash.crash import bug_report


def a_bug() -> Exception:
    secret = "not to be shown"
    try:
        raise ZeroDivisionError(len(secret))
    except ZeroDivisionError as error:
        return error


def test_the_traceback_is_in_the_log_without_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    said = bug_report(a_bug(), "a test")
    (log,) = tmp_path.rglob("errors.log")
    assert said == f"internal error, a bug of specdash; details: {log}"
    assert "ZeroDivisionError: 15" in log.read_text()
    assert ", a test\n" in log.read_text()


def test_a_log_that_cannot_be_written_is_no_second_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    said = bug_report(a_bug(), "a test")
    assert said.startswith("internal error, a bug of specdash: ZeroDivisionError at test_crash.py:")
    assert "no log of it could be written: No such file or directory" in said
