"""`specdash attach`: the dashboard on a run, here or on a machine reached by ssh."""

from __future__ import annotations

import argparse

from specdash.cli import command_parser
from specdash.errors import Exit, SpecdashError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what this command takes."""
    parser.add_argument(
        "run", nargs="?", metavar="RUN", help="a run folder, or the beginning of its name (default: the one that runs)"
    )
    parser.add_argument("--ssh", metavar="HOST", help="the machine that it is on, as ssh knows it")


def main(name: str, arguments: list[str]) -> Exit:
    """Shows a run that goes on, or replays one that has ended."""
    parser = command_parser(name)
    options = parser.parse_args(arguments)
    if options.ssh is not None and not options.ssh.strip():
        parser.error("--ssh needs the name of a host")
    from specdash.ui.tui.run import require_screen, show_run

    require_screen()
    if options.ssh is not None:
        return _far(options.ssh, options.run)
    from specdash.cli.running import chosen_run
    from specdash.remote.sources import open_run

    path = chosen_run(options.run)
    return show_run(lambda: open_run(path))


def _far(host: str, run: str | None) -> Exit:
    """The run of another machine. What goes wrong before anything is shown is an error of this command."""
    import asyncio

    from specdash.remote.run_source import Source, SourceError
    from specdash.remote.sources import PipeSource
    from specdash.remote.ssh import SshLine
    from specdash.ui.tui.run import show_run

    try:
        line = SshLine.open(host, run)
    except SourceError as error:
        raise SpecdashError(str(error)) from error
    line.wait_for_answer()
    if (why := asyncio.run(line.turned_away())) is not None:
        raise SpecdashError(why, exit_code=Exit.NOTHING_MEASURED)

    async def opening() -> Source:
        return await PipeSource.over(line)

    return show_run(opening, ssh=host)
