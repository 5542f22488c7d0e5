"""`specdash runs`: the runs that are known here, and how far each came."""

from __future__ import annotations

import json
from dataclasses import asdict

from specdash.cli import command_parser
from specdash.cli.table import print_table
from specdash.core.text import one_line
from specdash.errors import Exit
from specdash.store.runs import RunInfo, find_runs, known_results_dirs


def main(name: str, arguments: list[str]) -> Exit:
    """Prints one row for each run, newest last."""
    parser = command_parser(name)
    parser.add_argument("dirs", nargs="*", metavar="DIR", help="results folders (default: those used before)")
    parser.add_argument("--json", action="store_true", help="the runs as JSON")
    options = parser.parse_args(arguments)
    from specdash.runtime.locks import lock_owner
    from specdash.session.run import LOCK_NAME

    found = find_runs(known_results_dirs(options.dirs), lambda path: lock_owner(path / LOCK_NAME) is not None)
    if options.json:
        print(json.dumps([asdict(run) for run in found], indent=2, default=str))
        return Exit.OK
    if not found:
        print("no runs yet; start one: specdash --headless profile.toml, or specdash demo")
        return Exit.OK
    print_table(
        ("RUN", "STATE", "STEPS", "FAILED", "STARTED"),
        [(run.id, _state(run), f"{run.n_done}/{run.n_steps}", str(run.n_failed), run.started or "?") for run in found],
    )
    if any(run.resumable for run in found):
        print("\ngo on with an interrupted one: specdash resume RUN")
    return Exit.OK


def _state(run: RunInfo) -> str:
    return run.state if run.problem is None else f"damaged: {one_line(run.problem, 60)}"
