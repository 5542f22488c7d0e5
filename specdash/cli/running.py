"""The runs of this machine, and the one that a command means when none is named: going on, or interrupted."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from specdash.core.text import one_line, plain
from specdash.errors import SpecdashError
from specdash.store.runs import RUNNING, RunSummary, find_runs, known_results_dirs, resolve_run, run_info


def all_runs(dirs: Sequence[str | Path] = ()) -> list[RunSummary]:
    """The runs in these results folders, else in all that are known, oldest first.

    Those that an engine of this machine is at work on are among the latter, whatever happened to their folders.
    """
    from specdash.runtime.locks import run_owner
    from specdash.runtime.running import engines_at_work

    found = find_runs(known_results_dirs(dirs), lambda path: run_owner(path) is not None)
    listed = {run.path for run in found}
    others = [each.run for each in engines_at_work() if each.run not in listed] if not dirs else []
    return [*found, *(run_info(path, lambda _: True) for path in others)]


SHOWN = 10


def chosen_run(run: str | None, *, else_last: bool = False) -> Path:
    """The run folder that `run` means; for None the only one of this machine that an engine is at work on.

    `else_last`: where none is, the last one that there is. Raises SpecdashError that lists what there is where it is
    none, or not clear which.
    """
    if run is not None:
        return _named(run)
    runs = all_runs()
    running = [each for each in runs if each.state == "running"]
    if len(running) == 1:
        return running[0].path
    if running:
        # In one line: through ssh no more than the last ones are shown.
        names = ", ".join(one_line(each.id) for each in running)
        raise SpecdashError("several runs are going on", f"Name one of these: {names}")
    if runs and else_last:
        return runs[-1].path
    todo = "Start one: specdash PROFILE"
    if runs:
        todo = f"Name one that has ended, such as the last one: {one_line(runs[-1].id)}"
    raise SpecdashError("no run is going on here", todo)


def _named(run: str) -> Path:
    """The run folder that a name means: also of a run that goes on in a folder that cannot be found by it any more."""
    from specdash.runtime.running import engines_at_work

    try:
        return resolve_run(run, known_results_dirs())
    except SpecdashError:
        given = Path(run).expanduser().absolute()
        at_work = [
            each.run
            for each in engines_at_work()
            if each.run == given or each.run.name.startswith(run) or each.name.startswith(run)
        ]
        if len(at_work) != 1 or not run:
            raise
        return at_work[0]


def interrupted_run(run: str | None) -> Path:
    """The run folder that `run` means; for None the only one that has steps left to measure.

    Raises SpecdashError that lists what there is where it is none, or not clear which.
    """
    if run is not None:
        return resolve_run(run, known_results_dirs())
    runs = all_runs()
    left = [each for each in runs if each.resumable]
    if len(left) == 1:
        return left[0].path
    if left:
        names = "".join(f"\n    {one_line(each.id)}" for each in left[-SHOWN:])
        raise SpecdashError("several runs have steps left to measure", f"Name one, such as the last ones:{names}")
    if running := [each for each in runs if each.state == RUNNING]:
        raise SpecdashError("a run is going on already", f"Watch it: specdash attach {one_line(running[-1].id)}")
    raise SpecdashError("no run here has steps left to measure", "Start one: specdash PROFILE")


def report_orphans() -> None:
    """Names them on stderr, with what to do; nothing is done about them."""
    from specdash.session.keeper import left_behind

    for each in left_behind():
        print(plain(f"specdash: {each}\n  {each.todo}"), file=sys.stderr)


def end_and_report_orphans() -> int:
    """Ends those that are provably ours, and says so; how many were ended. The others are named on stderr."""
    from specdash.runtime.orphans import end_orphans
    from specdash.session.keeper import note_folders

    ended, left = end_orphans(note_folders())
    for name in ended:
        print(plain(f"ended a server that had lost its engine: {name}"))
    for each in left:
        print(plain(f"specdash: {each}\n  {each.todo}"), file=sys.stderr)
    return len(ended)
