"""`specdash attach`: the dashboard on a run, here or on a machine reached by ssh."""

from __future__ import annotations

from pathlib import Path

from specdash.cli import command_parser
from specdash.core.text import one_line
from specdash.errors import Exit, SpecdashError


def main(name: str, arguments: list[str]) -> Exit:
    """Shows a run that goes on, or replays one that has ended."""
    parser = command_parser(name)
    parser.add_argument(
        "run", nargs="?", metavar="RUN", help="a run folder, or the beginning of its name (default: the one that runs)"
    )
    parser.add_argument("--ssh", metavar="HOST", help="the machine that it is on, as ssh knows it")
    options = parser.parse_args(arguments)
    from specdash.ui.tui.run import require_screen, show

    require_screen()
    if options.ssh is not None:
        return _far(options.ssh, options.run)
    from specdash.store.runs import known_results_dirs, resolve
    from specdash.ui.sources import open_run

    path = resolve(options.run, known_results_dirs()) if options.run is not None else _running()
    return show(lambda: open_run(path))


def _far(host: str, run: str | None) -> Exit:
    """The run of another machine. What goes wrong before anything is shown is an error of this command."""
    from specdash.ui.source import Source, SourceError
    from specdash.ui.sources import PipeSource
    from specdash.ui.ssh import SshLine
    from specdash.ui.tui.run import show

    try:
        line = SshLine.open(host, run)
    except SourceError as error:
        raise SpecdashError(str(error)) from error
    line.wait_for_answer()

    async def opening() -> Source:
        return await PipeSource.over(line)

    return show(opening, ssh=host)


def _running() -> Path:
    """The one run of this machine that an engine is at work on; SpecdashError where there is none, or several."""
    from specdash.runtime.locks import lock_owner
    from specdash.session.run import LOCK_NAME
    from specdash.store.runs import find_runs, known_results_dirs

    runs = find_runs(known_results_dirs(), lambda path: lock_owner(path / LOCK_NAME) is not None)
    running = [run for run in runs if run.state == "running"]
    if len(running) == 1:
        return running[0].path
    if running:
        names = "".join(f"\n    {one_line(run.id)}" for run in running)
        raise SpecdashError("several runs are going on", f"Name one of these: specdash attach RUN{names}")
    todo = "Start one: specdash PROFILE"
    if runs:
        todo = f"Look at the last one: specdash attach {one_line(runs[-1].id)}"
    raise SpecdashError("no run is going on here", todo)
