"""The command line: parses, hands over to one command, and turns errors into messages and exit codes.

Nothing but the standard library is imported before a command is chosen: `--help`, `check` and `plan` must not pay for
a screen or an HTTP library. Data goes to stdout, narration and errors to stderr.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from specdash import __version__, signals, streams
from specdash.errors import Exit, SpecdashError

_NO_PATH = frozenset({errno.ENAMETOOLONG, errno.ELOOP, errno.EILSEQ})  # what cannot be one, wherever it was written


@dataclass(frozen=True, slots=True)
class Subcommand:
    """A subcommand: its module under `specdash.cli`, a line of help, an example. `hidden`: for other programs."""

    module: str
    help: str
    example: str
    hidden: bool = False


COMMANDS: dict[str, Subcommand] = {
    "plan": Subcommand("plan", "show steps, server loads and a forecast; runs nothing", "specdash plan profile.toml"),
    "check": Subcommand("check", "show every problem in a profile at once", "specdash check profile.toml"),
    "attach": Subcommand("attach", "the dashboard on a sweep, here or by ssh", "specdash attach --ssh tower"),
    "runs": Subcommand("runs", "list runs and their state", "specdash runs"),
    "resume": Subcommand(
        "run", "go on with an interrupted run, on a terminal in the dashboard", "specdash resume rtx4090_llama-server"
    ),
    "stop": Subcommand("stop", "end a run cleanly", "specdash stop rtx4090_llama-server_qwen"),
    "report": Subcommand(
        "report", "write reports from a run's journal, or a result file", "specdash report RUN --format md"
    ),
    "compare": Subcommand(
        "compare", "two runs side by side, with uncertainty", "specdash compare A B --max-regression 5"
    ),
    "doctor": Subcommand("doctor", "what was found here, what it can do, what to install", "specdash doctor"),
    "new": Subcommand("new", "write a commented profile", "specdash new big.gguf small.gguf > profile.toml"),
    "models": Subcommand("models", "models found, and which can draft for which", "specdash models ~/models"),
    "demo": Subcommand("demo", "make a small pair of models and sweep it; no download", "specdash demo"),
    "completion": Subcommand(
        "completion", "completion by the tab key, for bash, zsh or fish", "specdash completion bash >> ~/.bashrc"
    ),
    "_engine": Subcommand("engine", "the engine process of a run", "specdash _engine", hidden=True),
    "relay": Subcommand(
        "relay", "the far end of attach --ssh: a run over stdin and stdout", "specdash relay", hidden=True
    ),
}

EPILOG = """commands (each has --help with an example):
{commands}

exit codes: 0 all steps good; 1 finished, but some steps failed or are invalid; 2 usage or profile error;
  3 nothing could be measured; 4 compare found a regression; 5 results unsafe (disk, lock, journal, reports or output
  that could not be written);
  75 stopped early, can be resumed; 129, 130, 143 ended by a signal, cleanly
environment: NO_COLOR=1 turns colours off; SPECDASH_CONFIG names another settings file; SPECDASH_DEBUG=1 logs details
  to stderr; SPECDASH_SSH and SPECDASH_REMOTE name the programs of attach --ssh here and there"""


def command_parser(name: str) -> argparse.ArgumentParser:
    """A parser for one command, with its example and the arguments that its module declares."""
    command = COMMANDS[name]
    parser = argparse.ArgumentParser(
        prog=f"specdash {name}",
        description=command.help[0].upper() + command.help[1:] + ".",
        epilog=f"example: {command.example}",
    )
    importlib.import_module(f"specdash.cli.{command.module}").add_arguments(parser)
    return parser


def main_parser() -> argparse.ArgumentParser:
    """The parser of a command line that names no command."""
    listing = "\n".join(f"  {name:<10} {command.help}" for name, command in COMMANDS.items() if not command.hidden)
    parser = argparse.ArgumentParser(
        prog="specdash",
        usage="specdash [--headless] [PROFILE] | specdash COMMAND ...",
        description="Measures speculative decoding on this machine: which draft model, which K, or none at all.",
        epilog=EPILOG.format(commands=listing),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("profile", nargs="?", metavar="PROFILE", help="the TOML profile to run")
    parser.add_argument(
        "--headless",
        action="store_true",
        help="run unattended: narration on stderr, the path of the result on stdout",
    )
    parser.add_argument("--version", action="version", version=f"specdash {__version__}")
    return parser


def dispatch(arguments: Sequence[str]) -> Exit:
    """Carries out a command line; raises SpecdashError for what the user can mend."""
    name = arguments[0] if arguments else ""
    command = COMMANDS.get(name)
    if command is not None:
        module = importlib.import_module(f"specdash.cli.{command.module}")
        code = module.main(name, list(arguments[1:]))
        assert isinstance(code, Exit)
        return code
    if name and not name.startswith("-") and not os.path.exists(name):
        raise SpecdashError(f"{name}: no such command or profile", _nearest(name))
    options = main_parser().parse_args(list(arguments))
    if options.headless and options.profile is not None:
        from specdash.cli.run import headless

        return headless(options.profile)
    if options.headless:
        raise SpecdashError("--headless needs a profile", "example: specdash --headless profile.toml")
    if options.profile is not None and not os.path.exists(options.profile):
        raise SpecdashError(f"{options.profile}: no such command or profile", _nearest(options.profile))
    from specdash.cli import dashboard

    return dashboard.profile(options.profile) if options.profile is not None else dashboard.show_start_screen()


def _nearest(word: str) -> str:
    """A hint at the command that may have been meant."""
    if word in ("headless", "run", "sweep", "start"):
        return "Did you mean specdash --headless PROFILE?"
    import difflib

    found = difflib.get_close_matches(word, COMMANDS, n=1)
    return f"Did you mean specdash {found[0]}?" if found else "specdash --help lists the commands."


def main() -> None:
    """Entry point of the `specdash` program."""
    if "_ARGCOMPLETE" in os.environ:
        from specdash.cli.completion import answer_shell

        answer_shell()
    streams.make_lasting()
    signals.end_by_exit()
    if sys.platform == "win32":
        print("specdash runs on Linux and macOS; on Windows, use it inside WSL.", file=sys.stderr)
        sys.exit(int(Exit.USAGE))
    if os.environ.get("SPECDASH_DEBUG"):
        logging.basicConfig(stream=sys.stderr, level=logging.DEBUG)
    else:
        logging.lastResort = None  # a run keeps a log of its own; without one, nothing raw reaches the terminal
    sys.exit(int(guarded(sys.argv[1:])))


def guarded(arguments: Sequence[str]) -> Exit:
    """`dispatch` with every error turned into a message and an exit code, and output that was lost into UNSAFE."""
    code = _carried_out(arguments)
    lost = streams.failure()
    if lost is None:
        return code
    _say(f"specdash: standard output could not be written: {lost.strerror}\n  What was to be printed is not complete.")
    return Exit.UNSAFE if code is Exit.OK else code


def _carried_out(arguments: Sequence[str]) -> Exit:
    try:
        return dispatch(arguments)
    except SpecdashError as error:
        _say(f"specdash: {error}")
        return error.exit_code
    except SystemExit as ended:  # argparse, after its help or its message
        return Exit(ended.code) if isinstance(ended.code, int) else Exit.OK if ended.code is None else Exit.USAGE
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last line of defence: a traceback is for the log, not for the screen
        if isinstance(error, OSError) and error.errno in _NO_PATH and error.filename is not None:
            _say(f"specdash: {os.fsdecode(error.filename)[:100]}…: {error.strerror}\n  Choose another path.")
            return Exit.USAGE
        from specdash.crash import bug_report

        _say(f"specdash: {bug_report(error, 'command line')}")
        return Exit.INCOMPLETE


def _say(text: str) -> None:
    """An error on stderr, with what came from outside made harmless."""
    from specdash.core.text import plain

    print(plain(text), file=sys.stderr)
