"""Run folders: where a new one goes, which there are, and which of them a user means.

A run folder is `<hardware>_<engine>_<name>_<UTC>` in a results folder. Which results folders were used before is kept
in a small list among this user's state files, so that runs are found from anywhere.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from specdash.core.reduce import fold_all
from specdash.core.state import RunState
from specdash.core.text import one_line, slug
from specdash.errors import SpecdashError, StoreError
from specdash.store.disk import PRIVATE_FOLDER, sync_directory, write_all
from specdash.store.journal import read

log = logging.getLogger(__name__)

JOURNAL = "journal.jsonl"
KNOWN = "results-folders.jsonl"
UNFINISHED = "unfinished"
RUNNING = "running"
DAMAGED = "damaged"

_SETTLED = frozenset({"ok", "invalid", "skipped"})


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run as its journal tells it.

    `state`: "finished" or "stopped" (by its last record), "unfinished" (no such record), "running", or "damaged" with
    the reason in `problem`; one that is running may have a problem too. `started` and `finished` are ISO 8601, UTC.
    `n_done` counts steps that have an outcome: `n_measured` of them have a figure, `n_failed` are failed, timed out or
    invalid, `n_skipped` were never tried. `running_s`: how long it was at work, without the time between a stop and the
    resume. `resumable`: `specdash resume` would measure more. `updated` is the moment of the last record; `host` the
    machine that it ran on, where that is known.
    """

    path: Path
    id: str
    name: str
    state: str
    started: str | None
    finished: str | None
    n_steps: int
    n_done: int
    n_failed: int
    resumable: bool
    problem: str | None = None
    updated: str | None = None
    host: str | None = None
    n_measured: int = 0
    n_skipped: int = 0
    running_s: float | None = None


def new_run_dir(
    results_dir: Path, hardware: str, engine: str, name: str, now_s: float, *, shared: bool = False
) -> Path:
    """Makes the folder of a new run; `now_s` is seconds since 1970. The folder is proven writable.

    It is for its owner alone unless it is `shared`: then the umask decides.

    Raises StoreError, naming the folder and what to do.
    """
    moment = datetime.fromtimestamp(now_s, UTC).strftime("%Y%m%dT%H%M%SZ")
    base = "_".join((slug(hardware)[:48], slug(engine)[:24], slug(name), moment))
    number = 1
    while True:
        path = results_dir / (base if number == 1 else f"{base}-{number}")
        try:
            results_dir.mkdir(parents=True, exist_ok=True)
            path.mkdir(0o777 if shared else PRIVATE_FOLDER)
            _prove_writable(path)
        except FileExistsError as error:
            if not os.path.isdir(path):
                raise _not_writable(results_dir, error) from error
            number += 1
        except OSError as error:
            remove_unbegun(path)
            raise _not_writable(results_dir, error) from error
        else:
            return path


def _not_writable(results_dir: Path, error: OSError) -> StoreError:
    return StoreError(
        f"{results_dir}: results cannot be kept there: {error.strerror}",
        "Choose a folder that you may write to, with space on its disk (results.dir in the profile).",
    )


def _prove_writable(folder: Path) -> None:
    """Does once all that a run will do to its folder; raises OSError."""
    first, second = folder / ".writable", folder / ".writable-2"
    descriptor = os.open(first, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        write_all(descriptor, b"specdash\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    first.rename(second)
    second.unlink()
    sync_directory(folder)
    sync_directory(folder.parent)


def remove_unbegun(path: Path) -> None:
    """Removes the folder of a run that did not begin: its journal has no first record, so there is nothing to keep."""
    with suppress(OSError):
        if (path / JOURNAL).stat().st_size:
            return
    with suppress(OSError):
        shutil.rmtree(path)


def find_runs(results_dirs: Iterable[Path], is_running: Callable[[Path], bool] | None = None) -> list[RunSummary]:
    """The runs in these folders, oldest first; damaged ones too, with the reason.

    `is_running` tells of a run folder whether an engine process is at work on it; without it nobody is asked.
    """
    found = [run_info(path, is_running) for path in run_folders(results_dirs)]
    return sorted(found, key=lambda run: (run.started or "", run.id))


def run_folders(results_dirs: Iterable[Path]) -> list[Path]:
    """All run folders, each once; nothing in them is read."""
    found: dict[Path, None] = {}
    for folder in dict.fromkeys(each.resolve() for each in results_dirs):
        with suppress(OSError):
            found |= dict.fromkeys(sorted(path.parent for path in folder.glob(f"*/{JOURNAL}")))
    return list(found)


def run_info(path: Path, is_running: Callable[[Path], bool] | None = None) -> RunSummary:
    """What the journal of one run folder tells; a damaged one too, with the reason."""
    running = is_running is not None and is_running(path)
    try:
        view = fold_all(read(path / JOURNAL).records)
        problem = None if view.run is not None or running else "it has no first record: nothing was measured"
    except StoreError as error:
        view, problem = RunState(), error.what
    tally, statuses = view.table.tally, view.table.statuses
    state = RUNNING if running else UNFINISHED if view.finished is None else view.finished.state
    return RunSummary(
        path=path,
        id=path.name,
        name=view.run.name if view.run is not None else path.name,
        state=state if problem is None or running else DAMAGED,
        started=_iso(view.started_s),
        finished=_iso(view.updated_s) if view.finished is not None else None,
        n_steps=tally.total,
        n_done=tally.done,
        n_failed=tally.failed,
        resumable=not running and problem is None and any(status not in _SETTLED for status in statuses),
        problem=problem,
        updated=_iso(view.updated_s),
        host=view.run.host if view.run is not None else None,
        n_measured=tally.measured,
        n_skipped=tally.skipped,
        running_s=view.running_s,
    )


def _iso(time_s: float | None) -> str | None:
    return None if time_s is None else datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def resolve_run(run: str, results_dirs: Iterable[Path]) -> Path:
    """The run folder that `run` means: a path to it, or a prefix of one name in `results_dirs`.

    Raises SpecdashError (usage) that lists all candidates where there are several, and known runs where there is none.
    """
    given = Path(run).expanduser()
    for folder in (given, given.parent):
        # A name that happens to be a folder here is one only if it holds a run; "" means no path at all.
        if run and os.path.isfile(folder / JOURNAL) and (folder is given or os.path.isfile(given)):
            return folder.resolve()
    known = run_folders(results_dirs)
    matching = [path for path in known if path.name.startswith(run)] if run else []
    exact = [path for path in matching if path.name == run]
    if len(exact or matching) == 1:
        return (exact or matching)[0]
    if matching:
        raise SpecdashError(f"{one_line(run)}: several runs begin like that", _listing(matching))
    todo = _listing(known[-10:]) if known else "None is known here; give the path of a run folder."
    raise SpecdashError(f"{one_line(run)}: no such run", todo)


def _listing(paths: Sequence[Path]) -> str:
    return "Name one of these:" + "".join(
        f"\n    {one_line(path.name)}  ({one_line(str(path.parent))})" for path in paths
    )


def remember(results_dir: Path) -> None:
    """Notes that runs were kept in `results_dir`. A convenience: a failure is logged and otherwise ignored."""
    folder = results_dir.resolve()
    if folder in _remembered():
        return
    try:
        state = _state_dir()
        state.mkdir(parents=True, exist_ok=True)
        # One short write in append mode: two runs that start together do not overwrite each other's line.
        with (state / KNOWN).open("ab", buffering=0) as file:
            file.write(json.dumps(str(folder)).encode() + b"\n")
    except OSError as error:
        log.warning("%s is not remembered for `specdash runs`: %s", folder, error)


def known_results_dirs(given: Sequence[str | Path] = ()) -> list[Path]:
    """The results folders to look in: those `given`, else all that were used before and still exist."""
    if given:
        return [Path(each).expanduser() for each in given]
    return [folder for folder in _remembered() if os.path.isdir(folder)]


def _remembered() -> list[Path]:
    found: dict[Path, None] = {}
    with suppress(OSError):
        for line in (_state_dir() / KNOWN).read_bytes().splitlines():
            with suppress(ValueError, TypeError):
                found[Path(json.loads(line))] = None
    return list(found)


def _state_dir() -> Path:
    from platformdirs import user_state_path

    return user_state_path("specdash", appauthor=False)
