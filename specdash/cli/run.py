"""`specdash --headless PROFILE`, a run in this process, narrated on stderr; and `specdash resume RUN`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from specdash.cli import command_parser
from specdash.config.load import check_profile
from specdash.errors import EngineError, Exit, ProfileError


def headless(profile_path: str) -> Exit:
    """Runs a profile unattended; the path of the result goes to stdout."""
    from specdash.session.run import start_new

    found = check_profile(Path(profile_path))
    if found.profile is None or found.problems:
        raise ProfileError(found.problems)
    if found.missing:
        raise EngineError("\n".join(str(problem) for problem in found.missing))
    profile = found.profile
    from specdash.ui.headless import narrate

    return narrate(lambda watcher: start_new(profile, watcher), [str(problem) for problem in found.warnings])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what this command takes."""
    parser.add_argument(
        "run",
        nargs="?",
        metavar="RUN",
        help="a run folder, or the beginning of its name (default: the only one that has steps left to measure)",
    )
    parser.add_argument(
        "--headless",
        action="store_true",
        help="in this process, narrated on stderr, as it is where stdin or stdout is no terminal: it ends with its"
        " terminal, and can be resumed",
    )


def main(name: str, arguments: list[str]) -> Exit:
    """`specdash resume RUN`: in the dashboard over an engine process of its own, or narrated in this process."""
    parser = command_parser(name)
    options = parser.parse_args(arguments)
    from specdash.cli.running import interrupted_run

    path = interrupted_run(options.run)
    if not options.headless and sys.stdin.isatty() and sys.stdout.isatty():
        from specdash.cli import dashboard

        return dashboard.resume_and_show(path)
    from specdash.session.run import resume
    from specdash.ui.headless import narrate

    return narrate(lambda watcher: resume(path, watcher), [])
