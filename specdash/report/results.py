"""A result from whatever a user names: a run, a file inside of it, a saved result.json, or another tool's file."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from specdash.analysis.build_result import result_of
from specdash.analysis.result import Result
from specdash.core.reduce import fold_all
from specdash.core.state import RunState
from specdash.core.text import one_line
from specdash.errors import SpecdashError
from specdash.report.importers.saved import read_result_file
from specdash.store.journal import read as read_journal
from specdash.store.runs import JOURNAL, resolve_run

_OF_A_RUN = frozenset({JOURNAL, "profile.toml", "result.json", "result.csv", "report.md", "report.html"})


@dataclass(frozen=True, slots=True)
class Named:
    """What a name on the command line means: a run's folder with its facts, or a file with the result in it."""

    path: Path
    result: Result
    view: RunState | None = None


def named_result(name: str, results_dirs: Iterable[Path]) -> Named:
    """The result that `name` means: a file, or a run by its path or the beginning of its name in `results_dirs`.

    A file that a run writes into its own folder means that run, whose journal is newer. Raises SpecdashError.
    """
    given = Path(name).expanduser()
    if name and _is_result_file(given):
        return Named(given, read_result_file(given))
    try:
        path = resolve_run(name, results_dirs)
    except SpecdashError as error:
        if name and _is_loop(given):
            raise SpecdashError(
                f"{one_line(name)}: too many levels of symbolic links",
                "Name the run's folder, or a result file itself.",
            ) from error
        if name and _exists(given):
            what = "a folder without a journal" if os.path.isdir(given) else "neither a run nor a file"
            raise SpecdashError(f"{one_line(name)}: it is {what}", "Name a run's folder, or a result file.") from error
        if error.what.endswith(": no such run"):
            raise SpecdashError(f"no such file or run: {one_line(name)}", error.todo) from error
        raise
    except OSError as error:
        raise SpecdashError(f"{one_line(name)}: {error.strerror}", "Name a run's folder, or a result file.") from error
    view = fold_all(read_journal(path / JOURNAL).records)
    return Named(path, result_of(view), view)


def _is_loop(path: Path) -> bool:
    """Whether symbolic links lead from a path to itself."""
    try:
        path.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    except ValueError:
        return False
    return False


def _exists(path: Path) -> bool:
    try:
        return os.path.exists(path)
    except (OSError, ValueError):  # a name that no file can have
        return False


def _is_result_file(path: Path) -> bool:
    """Whether a path is a file that stands for itself."""
    try:
        return os.path.isfile(path) and not (path.name in _OF_A_RUN and os.path.isfile(path.parent / JOURNAL))
    except (OSError, ValueError):  # a name that no file can have
        return False
