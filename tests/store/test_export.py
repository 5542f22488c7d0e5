"""Exports: whole files, tables that fit, and names that cannot become anything but text."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from specdash.analysis.build_result import result_of
from specdash.core import events as ev
from specdash.core.status import StepStatus
from specdash.errors import Exit, StoreError
from specdash.report.export import COLUMNS
from specdash.store.disk import write_atomic, write_new
from specdash.store.result_json import document_of, from_document, to_document
from tests.support.recorded_run import folded, loaded, measured, started, step
from tests.support.rendering import to_csv, to_json

CATEGORIES = ("coding", "math")
SLOW = [10.0, 12.0, 11.0, 10.0, 12.0]
FAST = [21.0, 23.0, 22.5, 20.5, 22.0]


def run_of(ks: tuple[int | None, ...] = (None, 4), **changes: Any) -> dict[str, Any]:
    """A finished result in which everything counts."""
    steps = [step(k, category, **changes) for k in ks for category in CATEGORIES]
    facts: list[ev.Fact] = [started(steps), *loaded(k=4)]
    for found in steps:
        facts += measured(found, SLOW if found.k is None else FAST)
    return document_of(folded([*facts, ev.RunFinished("finished", 0)]))


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# -- JSON -------------------------------------------------------------------------------------------------------------


def test_json_says_the_same_and_is_ascii() -> None:
    result = run_of((4,), draft="Qwén \u2028\ud800 \x1b[31m")
    text = to_json(result)
    assert json.loads(text) == to_document(from_document(result))
    assert text.isascii()
    assert "\x1b" not in text


# -- CSV --------------------------------------------------------------------------------------------------------------


def test_csv_has_a_row_for_each_sample_with_all_digits() -> None:
    result = run_of()
    rows = rows_of(to_csv(from_document(result)))
    assert len(rows) == 4 * 5
    assert tuple(rows[0]) == COLUMNS
    first = result["measurements"][0]["samples"][1]
    assert float(rows[1]["throughput_tok_s"]) == first["throughput_tok_s"]
    assert (rows[0]["draft"], rows[0]["k"], rows[0]["draft_tokens"]) == ("", "", "")
    assert (rows[10]["draft"], rows[10]["k"], rows[10]["k_seen"]) == ("0.5B", "4", "4")
    assert rows[10]["positions_drafted"] == "40;40;40;40"


def test_csv_shows_steps_without_samples_and_unfinished_ones() -> None:
    steps = [step(), step(4), step(8)]
    facts = [
        started(steps),
        ev.StepFinished(steps[0].id, None, StepStatus.FAILED, ("hung",), 'no, "it" hung\nfor long'),
    ]
    facts += measured(steps[1], [20.0])[:-1]
    rows = rows_of(to_csv(result_of(folded(facts))))
    assert [(row["status"], row["block"]) for row in rows] == [("failed", ""), ("running", "0"), ("open", "")]
    assert (rows[0]["verdicts"], rows[0]["error"]) == ("hung", 'no, "it" hung for long')


@pytest.mark.parametrize("label", ["=HYPERLINK(1)", "+1", "-1", "@x"])
def test_no_text_cell_is_a_formula_and_numbers_stay_numbers(label: str) -> None:
    steps = [step(4, draft=label)]
    rows = rows_of(to_csv(result_of(folded([started(steps), *measured(steps[0], [20.0])]))))
    assert rows[0]["draft"] == "'" + label
    assert float(rows[0]["decode_tok_s"]) == 20.0


# -- files ------------------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_atomic(path, "old")
    write_atomic(path, "new \ud800 é")
    assert path.read_bytes() == b"new \\ud800 \xc3\xa9"
    assert list(tmp_path.iterdir()) == [path]


def test_a_report_may_be_read_by_whom_the_umask_lets(tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        tmp_path.chmod(0o755)
        write_atomic(tmp_path / "report.md", "x")
        tmp_path.chmod(0o700)
        write_atomic(tmp_path / "mine.md", "x")
    finally:
        os.umask(mask)
    assert (tmp_path / "report.md").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "mine.md").stat().st_mode & 0o777 == 0o600, "as the folder that it is in"


def test_a_full_disk_leaves_the_old_report(tmp_path: Path) -> None:
    path = tmp_path / "report.md"
    write_atomic(path, "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(StoreError, match=r"report\.md cannot be written") as caught:
            write_atomic(path, "x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.exit_code is Exit.UNSAFE
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_report_that_cannot_be_synced_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.md"
    write_atomic(path, "old")

    def fail(descriptor: int) -> bool:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("specdash.store.disk.sync_file", fail)
    with pytest.raises(StoreError, match="Input/output error"):
        write_atomic(path, "new")
    assert path.read_text() == "old"


def test_whatever_ends_the_writing_leaves_nothing_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int, content: bytes) -> None:
        os.write(descriptor, content[:1])
        raise MemoryError

    monkeypatch.setattr("specdash.store.disk.write_all", fail)
    for write in (write_atomic, write_new):
        with pytest.raises(MemoryError):
            write(tmp_path / "report.md", "new")
    assert list(tmp_path.iterdir()) == []


def test_a_new_file_replaces_none_and_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(StoreError, match=r"mine\.toml cannot be written: File too large"):
            write_new(path, "x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not path.exists()
    write_new(path, "old")
    with pytest.raises(FileExistsError):
        write_new(path, "new")
    assert path.read_text() == "old"


def test_a_folder_that_is_gone_is_an_error_for_the_user(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        write_atomic(tmp_path / "gone" / "result.json", "x")
