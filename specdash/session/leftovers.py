"""Servers that killed engines have left behind: looked for in the notes of every run that is known here."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from specdash.runtime.orphans import Orphan, end_orphans, find_orphans
from specdash.session.keeper import NOTES
from specdash.store.runs import known_results_dirs

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
