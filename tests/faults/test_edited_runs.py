"""Runs that are resumed with nothing left to do, or with another profile, and runs whose reader has gone."""

from __future__ import annotations

import subprocess
import sys

from specdash.runtime.locks import lock_owner
from specdash.store.journal import read
from tests.support.fake_machine import Bench, newest
from tests.support.machine import wait_for


def test_resuming_a_complete_run_changes_nothing(bench: Bench) -> None:
    run = bench.run(bench.profile())
    assert run.path is not None
    again = bench.resume(run.path)
    assert again.code == 0
    assert "nothing is left" in again.stderr
    assert again.records == run.records


def test_a_run_whose_profile_was_edited_is_refused_and_kept(bench: Bench) -> None:
    run = bench.run(bench.profile())
    assert run.path is not None
    profile = run.path / "profile.toml"
    before = profile.read_text()
    for old, new in (
        ("max_tokens = 24", "max_tokens = 30"),
        ('categories = [\n    "coding",\n]', 'categories = ["math"]'),
    ):
        assert old in before
        profile.write_text(before.replace(old, new))
        refused = bench.start("resume", run.path).end(run.path)
        assert refused.code == 2
        assert "was edited" in refused.stderr
        assert refused.records == run.records


def test_a_reader_that_goes_away_does_not_end_a_run(bench: Bench) -> None:
    command = f"'{sys.executable}' -m specdash --headless '{bench.profile()}' 2>&1 >/dev/null | head -1"
    subprocess.run(["/bin/sh", "-c", command], env=bench.environment(), cwd=bench.folder, check=True, timeout=60)
    path = newest(bench.results)
    assert path is not None
    wait_for(lambda: lock_owner(path / "lock") is None)
    done = bench.start("report", path, "--format", "json").end(path)
    assert '"state": "finished"' in done.stdout
    assert read(path / "journal.jsonl").torn_bytes == 0
    assert [step.status for step in done.view.steps.values()] == ["ok"]
