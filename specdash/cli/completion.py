"""`specdash completion`: what a shell needs to complete commands, options, profiles and runs with the tab key.

The shell asks the program itself at each tab (argcomplete's protocol), so run names are those that are there now.
"""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Callable, Iterable

import argcomplete
from argcomplete.completers import FilesCompleter
from argcomplete.shell_integration import shellcode

from specdash.cli import COMMANDS, command_parser, main_parser
from specdash.errors import Exit

SHELLS = ("bash", "zsh", "fish")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what this command takes."""
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=f"one of {', '.join(SHELLS)}")


def main(name: str, arguments: list[str]) -> Exit:
    """Print the lines that a shell's start-up file evaluates."""
    parser = command_parser(name)
    options = parser.parse_args(arguments)
    print(shellcode(["specdash"], shell=options.shell))
    return Exit.OK


def answer_shell() -> None:
    """Answer a shell that asks for completions, and end the process; return at once when none asks."""
    argcomplete.autocomplete(parser_for(os.environ.get("COMP_LINE", "").split()[1:]), always_complete_options="long")


def parser_for(words: list[str]) -> argparse.ArgumentParser:
    """The parser that reads a command line which begins with these words, with what completes each argument."""
    command = words[0] if words and words[0] in COMMANDS else None
    parser = main_parser()
    if command is None:
        (profile,) = (action for action in parser._actions if action.dest == "profile")
        _complete(profile, _commands_and_profiles)
        return parser
    parser = argparse.ArgumentParser(prog="specdash")
    commands = parser.add_subparsers()
    module = importlib.import_module(f"specdash.cli.{COMMANDS[command].module}")
    inner = commands.add_parser(command)
    module.add_arguments(inner)
    for action in inner._actions:
        if action.metavar in ("RUN", "A", "B"):
            _complete(action, run_names)
        elif action.metavar == "PROFILE":
            _complete(action, FilesCompleter(("toml",)))
        elif action.dest in ("example", "format"):
            _complete(action, _examples if action.dest == "example" else _formats)
    return parser


def _complete(action: argparse.Action, completer: Callable[..., Iterable[str]]) -> None:
    """Let a completer tell the values of an argument, in the way that argcomplete finds it."""
    action.completer = completer  # type: ignore[attr-defined]  # argparse knows nothing of it


def _examples(prefix: str, **_: object) -> Iterable[str]:
    """The names of the example profiles."""
    from specdash.cli.new import example_names

    return example_names()


def _formats(prefix: str, **_: object) -> Iterable[str]:
    """The formats of reports, behind those that stand in the list already."""
    from specdash.cli.report import FORMATS

    listed, comma, _last = prefix.rpartition(",")
    return [f"{listed}{comma}{name}" for name in FORMATS if name not in listed.split(",")]


def _commands_and_profiles(prefix: str, **_: object) -> Iterable[str]:
    """What the first word of a command line may be."""
    yield from (name for name, command in COMMANDS.items() if not command.hidden)
    yield from FilesCompleter(("toml",))(prefix)


def run_names(prefix: str, **_: object) -> list[str]:
    """The names of the known runs, newest first; run folders may be typed as paths too."""
    from specdash.cli.running import all_runs

    return [run.path.name for run in reversed(all_runs()) if run.path.name.startswith(prefix)]
