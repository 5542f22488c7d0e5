"""`specdash runs`: the runs that are known here, and how far each came."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from specdash.cli import command_parser
from specdash.cli.table import print_table
from specdash.core.text import human_seconds, one_line
from specdash.errors import Exit, SpecdashError
from specdash.store.runs import RunInfo, find_runs, known_results_dirs


def main(name: str, arguments: list[str]) -> Exit:
    """Prints one row for each run, newest last."""
    parser = command_parser(name)
    parser.add_argument("dirs", nargs="*", metavar="DIR", help="results folders (default: those used before)")
    parser.add_argument("--json", action="store_true", help="the runs as JSON")
    options = parser.parse_args(arguments)
    for each in options.dirs:
        if not Path(each).is_dir():
            raise SpecdashError(f"{each}: there is no such folder", "Name a folder that has runs in it: results.dir.")
    from specdash.runtime.locks import run_owner

    found = find_runs(known_results_dirs(options.dirs), lambda path: run_owner(path) is not None)
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
        [
            (_state(run), f"{run.n_measured}/{run.n_steps}", str(run.n_failed), str(run.n_skipped), _time(run), run.id)
            for run in found
        ],
    )
    running = [run for run in found if run.state == "running"]
    if running:
        print(f"\nwatch the one that is going on: specdash attach {one_line(running[-1].id)}")
    resumable = [run for run in found if run.resumable]
    if resumable:
        print(f"\ngo on with the last interrupted one: specdash resume {one_line(resumable[-1].id)}")
    return Exit.OK


def _time(run: RunInfo) -> str:
    """How long a run was at work."""
    return human_seconds(run.running_s) if run.running_s is not None else "-"


def _state(run: RunInfo) -> str:
    return run.state if run.problem is None else f"damaged: {one_line(run.problem, 60)}"
