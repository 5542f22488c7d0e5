"""Keeps the folder of a run whole for as long as the run goes on, whatever is done to it from outside.

A folder that was moved is followed. One that was deleted, or a part of it, is written again: nobody deletes the results
of a run that goes on but by accident, and all of it is still here. Only a folder that cannot be reached by any name
ends the run.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from specdash.errors import StoreError
from specdash.runtime.locks import RunLock
from specdash.runtime.orphans import Orphan, end_orphans, find_orphans
from specdash.store.disk import PRIVATE_FILE, write_atomic
from specdash.store.folder import Fate, RunFolder
from specdash.store.journal import Journal
from specdash.store.runs import JOURNAL, known_results_dirs

PROFILE_NAME = "profile.toml"
LOGS = "logs"
NOTES = "run"


class Keeper:
    """The parts of a run folder that a run cannot do without. `path` is where the folder is.

    `journal` is open for writing. `news`: what was done to the folder and is not told yet, in sentences. `lost`: why it
    cannot be kept any more.
    """

    def __init__(self, path: Path, profile: str, journal: Journal, lock: RunLock) -> None:
        self.news: list[str] = []
        self.lost: StoreError | None = None
        self._folder = RunFolder(path)
        self._profile = profile
        self.journal = journal
        self._lock = lock

    @property
    def path(self) -> Path:
        """Where the run folder is."""
        return self._folder.path

    @property
    def logs(self) -> Path:
        """The folder of the logs."""
        return self.path / LOGS

    @property
    def notes(self) -> Path:
        """The folder of the notes of servers."""
        return self.path / NOTES

    def keep(self) -> None:
        """Follows the folder, and writes again what is missing of it.

        Raises StoreError, DiskFull for want of room. Once the folder is out of reach that is told once, and what is
        held open is written to until the end.
        """
        if self.lost is not None:
            return
        try:
            fate = self._folder.look()
        except StoreError as error:
            self.lost = error
            raise
        if fate is Fate.DELETED:
            self._folder.make_again()
        missing = self._write_missing()
        if fate is Fate.MOVED:
            self.news.append(f"the run folder was moved while the run went on; it is {self.path} now")
        if missing:
            what = f"{', '.join(missing)} of the run folder" if JOURNAL not in missing else "the run folder"
            self.news.append(f"{what} was deleted while the run went on, and is written again")

    def _write_missing(self) -> list[str]:
        """Names of what was missing, and is there again."""
        missing = []
        if self.journal.keep(self.path / JOURNAL):
            missing.append(JOURNAL)
        self._lock.keep(self.path)
        profile = self.path / PROFILE_NAME
        if not os.path.exists(profile):
            write_profile(self.path, self._profile)
            missing.append(PROFILE_NAME)
        return missing

    def close(self) -> None:
        """Lets go of the folder and the journal; all that was written is on disk."""
        self.journal.close()
        self._folder.close()


def write_profile(folder: Path, text: str) -> None:
    """Puts the profile of a run into its folder, for its owner alone; raises StoreError."""
    write_atomic(folder / PROFILE_NAME, text, PRIVATE_FILE)


LOOK_S = 5.0  # a results folder on a file system that does not answer must not hold up every start


def note_folders(more: Iterable[Path] = ()) -> list[Path]:
    """The folders for notes of servers of all runs in the results folders that are known, and in `more`."""
    found: list[Path] = []

    def look() -> None:
        for results in dict.fromkeys([*known_results_dirs(), *more]):
            with suppress(OSError):
                found.extend(results.glob(f"*/{NOTES}"))

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    looking.join(LOOK_S)
    return list(found)


def left_behind() -> list[Orphan]:
    """The servers that run without their engine; nothing is done about them."""
    return find_orphans(note_folders())


def end_left_behind(more: Iterable[Path] = ()) -> list[str]:
    """Ends those that are provably ours; what was done, and what was left alone and why, in sentences."""
    ended, left = end_orphans(note_folders(more))
    return [f"ended a server left behind by an earlier run: {each}" for each in ended] + [
        f"{each}; {each.todo}" for each in left
    ]
