"""`specdash runs`: the runs that are known here, and how far each came."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict

from specdash.cli import command_parser
from specdash.cli.table import print_table
from specdash.core.text import human_seconds, one_line
from specdash.errors import Exit, SpecdashError
from specdash.store.runs import RUNNING, RunSummary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what this command takes."""
    parser.add_argument("dirs", nargs="*", metavar="DIR", help="results folders (default: those used before)")
    parser.add_argument("--json", action="store_true", help="the runs as JSON")


def main(name: str, arguments: list[str]) -> Exit:
    """Prints one row for each run, newest last."""
    parser = command_parser(name)
    options = parser.parse_args(arguments)
    for each in options.dirs:
        if not os.path.isdir(each):
            raise SpecdashError(f"{each}: there is no such folder", "Name a folder that has runs in it: results.dir.")
    from specdash.cli.running import all_runs, report_orphans

    found = all_runs(options.dirs)
    report_orphans()
    if options.json:
        print(json.dumps([asdict(run) for run in found], indent=2, default=str))
        return Exit.OK
    if not found and options.dirs:
        print(f"no runs in {one_line(', '.join(options.dirs))}")
        return Exit.OK
    if not found:
        print("no runs yet; start one: specdash --headless profile.toml, or specdash demo")
        return Exit.OK
    print_table(
        ("STATE", "MEASURED", "FAILED", "SKIPPED", "TIME", "RUN"),
        [(_state(run), *_counts(run), _time(run), run.id) for run in found],
    )
    running = [run for run in found if run.state == "running"]
    if running:
        print(f"\nwatch the one that is going on: specdash attach {one_line(running[-1].id)}")
    resumable = [run for run in found if run.resumable]
    if interrupted := [run for run in resumable if run.state != "finished"]:
        print(f"\ngo on with the last interrupted one: specdash resume {one_line(interrupted[-1].id)}")
    elif resumable:
        print(f"\ntry the failed steps of the last one again: specdash resume {one_line(resumable[-1].id)}")
    return Exit.OK


def _time(run: RunSummary) -> str:
    """How long a run was at work."""
    return human_seconds(run.running_s) if run.running_s is not None else "-"


def _state(run: RunSummary) -> str:
    return run.state if run.problem is None else f"{run.state}: {one_line(run.problem, 60)}"


def _counts(run: RunSummary) -> tuple[str, str, str]:
    """Steps measured, failed and skipped; unknown where nothing could be read."""
    if run.state == RUNNING and run.problem is not None:
        return "-", "-", "-"
    return f"{run.n_measured}/{run.n_steps}", str(run.n_failed), str(run.n_skipped)
