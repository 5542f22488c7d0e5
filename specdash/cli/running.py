"""The run that a command means when none is named: the one that is going on, or the one that was interrupted."""

from __future__ import annotations

from pathlib import Path

from specdash.core.text import one_line
from specdash.errors import SpecdashError

SHOWN = 10


def chosen_run(run: str | None, *, else_last: bool = False) -> Path:
    """The run folder that `run` means; for None the only one of this machine that an engine is at work on.

    `else_last`: where none is, the last one that there is. Raises SpecdashError that lists what there is where it is
    none, or not clear which.
    """
    from specdash.store.runs import find_runs, known_results_dirs, resolve

    if run is not None:
        return resolve(run, known_results_dirs())
    from specdash.runtime.locks import run_owner

    runs = find_runs(known_results_dirs(), lambda path: run_owner(path) is not None)
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


def interrupted_run(run: str | None) -> Path:
    """The run folder that `run` means; for None the only one that has steps left to measure.

    Raises SpecdashError that lists what there is where it is none, or not clear which.
    """
    from specdash.store.runs import find_runs, known_results_dirs, resolve

    if run is not None:
        return resolve(run, known_results_dirs())
    from specdash.runtime.locks import run_owner

    runs = find_runs(known_results_dirs(), lambda path: run_owner(path) is not None)
    left = [each for each in runs if each.resumable]
    if len(left) == 1:
        return left[0].path
    if left:
        names = "".join(f"\n    {one_line(each.id)}" for each in left[-SHOWN:])
        raise SpecdashError("several runs have steps left to measure", f"Name one, such as the last ones:{names}")
    if running := [each for each in runs if each.state == "running"]:
        raise SpecdashError("a run is going on already", f"Watch it: specdash attach {one_line(running[-1].id)}")
    raise SpecdashError("no run here has steps left to measure", "Start one: specdash PROFILE")
