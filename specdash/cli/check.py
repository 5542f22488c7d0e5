"""`specdash check`: every problem in a profile at once."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from specdash.cli import command_parser
from specdash.config.load import check_profile
from specdash.core.text import plain
from specdash.errors import Exit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what this command takes."""
    parser.add_argument("profile", metavar="PROFILE")
    parser.add_argument("--json", action="store_true", help="the problems as JSON")


def main(name: str, arguments: list[str]) -> Exit:
    """Prints the problems of a profile; 2 when it cannot run anywhere, 3 when something is missing here."""
    parser = command_parser(name)
    options = parser.parse_args(arguments)
    found = check_profile(Path(options.profile))
    if found.profile is not None:
        from specdash.session.check import look_closer

        found = look_closer(found)
    groups = {"error": found.problems, "missing": found.missing, "warning": found.warnings}
    if options.json:
        rows = [{"kind": kind, **asdict(problem)} for kind, problems in groups.items() for problem in problems]
        print(json.dumps(rows, indent=2))
    else:
        for kind, problems in groups.items():
            for problem in problems:
                print(plain(f"{kind}: {problem}"))
    if found.problems:
        return Exit.USAGE
    if found.missing:
        return Exit.NOTHING_MEASURED
    if not options.json:
        print(f"{options.profile}: no problems")
    return Exit.OK
