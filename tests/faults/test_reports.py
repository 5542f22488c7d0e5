"""Reports that cannot be written: told, with the exit code of results that are not safe, and made again later."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from specdash.core import events as ev
from specdash.session.reports import AT_THE_END, REPORTS
from tests.support.fake_machine import Bench, Run, assert_complete

NAMES = [REPORTS[each][0] for each in AT_THE_END]
HELD_BACK = ";;speed=20"  # the samples: time to put something in the way


def with_folders_in_the_way(bench: Bench, names: list[str]) -> tuple[Run, Path]:
    """A run in whose folder other folders take the names of its reports."""
    program = bench.program({"T": HELD_BACK})
    command = bench.headless(bench.profile(engine={"program": str(program)}))
    command.until("ready after")
    (path,) = bench.results.iterdir()
    for name in names:
        (path / name).mkdir()
    return command.end(), path


def left_over(path: Path) -> list[str]:
    """Files that were begun and not finished."""
    return [each.name for each in path.iterdir() if each.name.endswith(".tmp")]


def test_what_could_not_be_written_is_told_and_never_announced(bench: Bench) -> None:
    run, path = with_folders_in_the_way(bench, ["result.json", "report.md"])
    assert (run.code, run.stdout) == (5, "")
    for name in ("result.json", "report.md"):
        why = "cannot be written: Is a directory. A folder has that name: move it away."
        assert f"error: {path / name} {why}" in run.stderr
        assert f"report: results/{path.name}/{name}" not in run.stderr
    assert f"report: results/{path.name}/report.html" in run.stderr
    assert f"specdash report {path.name}" in run.stderr
    assert left_over(path) == []
    assert (path / "report.html").is_file()
    first, last = run.facts(ev.RunFinished)
    assert (first.state, first.exit_code) == ("finished", 0)
    assert (last.state, last.exit_code) == ("finished", 5)

    again = bench.start("report", path.name).end(path)
    assert again.code == 5
    assert again.stdout.splitlines() == [str(path / name) for name in ("report.html", "result.csv")]
    assert "report.md cannot be written" in again.stderr

    for name in ("result.json", "report.md"):
        (path / name).rmdir()
    mended = bench.resume(path)
    assert_complete(mended)
    assert mended.code == 0
    assert [(path / name).is_file() for name in NAMES] == [True] * len(NAMES)
    assert mended.facts(ev.SampleTaken) == run.facts(ev.SampleTaken)


def test_a_report_that_is_too_large_leaves_nothing_half_written(bench: Bench) -> None:
    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, resource.RLIM_INFINITY))

    run = bench.run(bench.profile(), preexec_fn=small)
    assert run.path is not None
    assert run.code == 5
    assert run.stdout.strip() == str(run.path / "result.json")
    assert f"error: {run.path / 'report.html'} cannot be written: File too large." in run.stderr
    assert (run.path / "report.md").is_file()
    assert not (run.path / "report.html").exists()
    assert left_over(run.path) == []
    done = bench.start("report", run.path.name).end(run.path)
    assert (done.code, (run.path / "report.html").is_file()) == (0, True)


@pytest.mark.parametrize("command", ["report", "new"])
def test_a_file_that_is_asked_for_is_there_as_a_whole_or_not_at_all(command: str, bench: Bench) -> None:
    run = bench.run(bench.profile())
    assert run.path is not None
    (run.path / "report.html").unlink()

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))

    arguments = {"report": ["report", run.path], "new": ["new", bench.target, "-o", "mine.toml"]}[command]
    failed = bench.start(*arguments, preexec_fn=full).end(run.path)
    assert (failed.code, failed.stdout) == (5, "")
    assert "File too large" in failed.stderr
    assert left_over(run.path) == []
    assert not (run.path / "report.html").exists()
    assert not (bench.folder / "mine.toml").exists()
    assert os.path.getsize(run.path / "result.json") > 100
