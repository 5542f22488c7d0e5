"""`specdash --headless PROFILE` and `specdash resume RUN`: a run in this process, narrated on stderr."""

from __future__ import annotations

from pathlib import Path

from specdash.cli import command_parser
from specdash.config.load import check
from specdash.errors import EngineError, Exit, ProfileError


def headless(profile_path: str) -> Exit:
    """Runs a profile unattended; the path of the result goes to stdout."""
    from specdash.session.run import start_new

    found = check(Path(profile_path))
    if found.profile is None or found.problems:
        raise ProfileError(found.problems)
    if found.missing:
        raise EngineError("\n".join(str(problem) for problem in found.missing))
    profile = found.profile
    from specdash.ui.headless import narrate

    return narrate(lambda watcher: start_new(profile, watcher), [str(problem) for problem in found.warnings])


def main(name: str, arguments: list[str]) -> Exit:
    """`specdash resume RUN`."""
    parser = command_parser(name)
    parser.add_argument("run", metavar="RUN", help="a run folder, or the beginning of its name")
    options = parser.parse_args(arguments)
    from specdash.session.run import resume
    from specdash.store.runs import known_results_dirs, resolve
    from specdash.ui.headless import narrate

    path = resolve(options.run, known_results_dirs())
    return narrate(lambda watcher: resume(path, watcher), [])
