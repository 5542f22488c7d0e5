"""Run folders of an earlier version open, report, compare and resume as they did then."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from specdash.cli import guarded
from specdash.core import events as ev
from specdash.core.reduce import fold_all
from specdash.store.journal import read
from tests.support.fake_machine import Bench

TESTS = Path(__file__).parents[1]
RUNS = TESTS / "data" / "runs"
NAMES = ("curve", "fallback", "edited")
# Words of the report that became plainer since.
PLAINER = {"K is taken from each request": "K is taken per request"}
MODEL_TIME_S = 1_750_000_000


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Copies of the kept run folders, without what can be made again."""
    folder = tmp_path / "kept"
    shutil.copytree(RUNS, folder)
    for derived in folder.glob("*/re[ps]*"):
        derived.unlink()
    return folder


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Where a value of `old` is missing or another in `new`; keys that were added are none."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [line for key in old for line in differences(old[key], new.get(key, "missing"), f"{where}.{key}")]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [
            line
            for number, (one, other) in enumerate(zip(old, new, strict=True))
            for line in differences(one, other, f"{where}[{number}]")
        ]
    return [] if old == new else [f"{where}: {old!r} is now {new!r}"]


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file by the names of their columns: those that were added are no difference."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", NAMES)
def test_a_kept_run_gives_the_same_result_and_reports(
    name: str, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(["report", str(kept / name)]) == 0, capsys.readouterr()
    result = json.loads((kept / name / "result.json").read_text())
    old = json.loads((RUNS / name / "result.json").read_text())
    assert not differences(old, result)
    old_rows, rows = (table(folder / name / "result.csv") for folder in (RUNS, kept))
    assert [{key: row[key] for key in old_rows[0]} for row in rows] == old_rows
    said = (RUNS / name / "report.md").read_text()
    for words, plainer in PLAINER.items():
        said = said.replace(words, plainer)
    assert not set(said.splitlines()) - set((kept / name / "report.md").read_text().splitlines())


def test_kept_runs_compare_as_before(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(["compare", "--json", str(kept / "curve"), str(kept / "curve")]) == 0
    assert not differences(
        json.loads((RUNS / "curve" / "compare.json").read_text()), json.loads(capsys.readouterr().out)
    )


def test_a_kept_run_is_resumed_and_what_it_has_is_not_measured_again(bench: Bench, kept: Path, tmp_path: Path) -> None:
    folder = kept / "edited"
    profile = folder / "profile.toml"
    text = profile.read_text().replace("/tmp/specdash-old-runs/bin/fake-llama-server", str(bench.fake))
    profile.write_text(text.replace("/tmp/specdash-old-runs", str(tmp_path)))
    for label in ("T", "D"):
        model = tmp_path / f"{label}.gguf"
        shutil.copyfile(TESTS / "data" / "split" / "tiny.gguf", model)
        os.utime(model, (MODEL_TIME_S, MODEL_TIME_S))
    records = read(folder / "journal.jsonl").records
    before = fold_all(records)
    run = bench.resume(folder)
    assert run.code == 0, run.stderr
    again = {
        recorded.fact.step for recorded in run.records[len(records) :] if isinstance(recorded.fact, ev.StepStarted)
    }
    done = {name for name, found in before.steps.items() if found.status == "ok"}
    assert done == {"T | baseline | coding", "T | baseline | math"}
    assert not again & done
    assert {name: found.status for name, found in run.view.steps.items()} == {
        name: "skipped" if found.status == "skipped" else "ok" for name, found in before.steps.items()
    }
    assert list(run.view.steps) == list(before.steps)
    assert len(run.only(k=4, category="coding").good) == 4
    assert len(run.only(k=8).good) == 3
