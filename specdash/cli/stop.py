"""`specdash stop`: ends a run that is going on, as Ctrl-C in its terminal would, and servers without an engine."""

from __future__ import annotations

import argparse
import os
import signal

from specdash.cli import command_parser
from specdash.errors import Exit, SpecdashError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what this command takes."""
    parser.add_argument(
        "run", nargs="?", metavar="RUN", help="a run folder, or the beginning of its name (default: the one that runs)"
    )
    parser.add_argument("--wait", type=float, default=120.0, metavar="S", help="seconds to wait for its end")


def main(name: str, arguments: list[str]) -> Exit:
    """Asks the engine process of a run to stop, and waits until it has. Servers that lost their engine end too."""
    parser = command_parser(name)
    options = parser.parse_args(arguments)
    from specdash.cli.running import all_runs, chosen_run, end_and_report_orphans
    from specdash.runtime.locks import run_owner, wait_ended

    ended = end_and_report_orphans()
    if ended and options.run is None and not any(run.state == "running" for run in all_runs()):
        return Exit.OK
    path = chosen_run(options.run)
    owner = run_owner(path)
    if owner is None:
        print(f"{path.name} is not running")
        return Exit.OK
    if not owner.here:
        raise SpecdashError(
            f"{path.name} runs on {owner.host}, not on this machine", f"Stop it there: {parser.prog} {path.name}"
        )
    os.kill(owner.pid, signal.SIGTERM)
    if not wait_ended(path, options.wait):
        raise SpecdashError(
            f"{path.name} (pid {owner.pid}) has not ended after {options.wait:.0f} s",
            f"Its log tells what it waits for: {path / 'logs'}; or wait longer: --wait 600",
        )
    print(f"{path.name} is stopped; go on with it: specdash resume {path.name}")
    return Exit.OK
