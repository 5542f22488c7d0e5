"""The errors that a person may see, and the exit codes that go with them.

An error here is a sentence for the person at the keyboard: what is wrong, where (file, line, key) and what to do
next. Anything else that escapes is a bug of specdash and is reported as such, with its traceback in the log.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from enum import IntEnum

# No room now; there may be again. EFBIG is the limit of RLIMIT_FSIZE or of the file system.
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Exit(IntEnum):
    """Exit codes of the command line; their meaning is part of the contract with scripts."""

    OK = 0
    INCOMPLETE = 1  # finished, but some steps failed or are invalid
    USAGE = 2  # usage or profile error
    NOTHING_MEASURED = 3  # an engine or model is missing or cannot start
    REGRESSION = 4  # `compare` found one
    UNSAFE = 5  # results cannot be kept safe: disk, lock, journal
    STOPPED_EARLY = 75  # can be resumed
    HANGUP = 129
    INTERRUPTED = 130
    TERMINATED = 143


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a file of the user's.

    `where` is the path as the user knows it, `line` counts from 1 (None: the file as a whole), `key` is the dotted
    TOML key ("sweep.k"), `what` says what is wrong and `todo` what to do about it ("" when that is obvious).
    """

    where: str
    line: int | None
    key: str
    what: str
    todo: str = ""

    def __str__(self) -> str:
        """The problem as one line: `FILE:LINE: KEY: WHAT. TODO`."""
        place = self.where if self.line is None else f"{self.where}:{self.line}"
        text = ": ".join(part for part in (place, self.key, self.what) if part)
        return f"{text}. {self.todo}" if self.todo else text


class SpecdashError(Exception):
    """An error with a message for the user and an exit code; never shown with a traceback."""

    exit_code: Exit = Exit.USAGE

    def __init__(self, what: str, todo: str = "", *, exit_code: Exit | None = None) -> None:
        super().__init__(f"{what}\n  {todo}" if todo else what)
        self.what = what
        self.todo = todo
        if exit_code is not None:
            self.exit_code = exit_code


class ProfileError(SpecdashError):
    """A profile that cannot be used; carries every problem found, not only the first."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class EngineError(SpecdashError):
    """A program or model that is missing, unreadable or cannot be started."""

    exit_code = Exit.NOTHING_MEASURED


class StoreError(SpecdashError):
    """The run folder, its lock or its journal cannot be used safely."""

    exit_code = Exit.UNSAFE


class DiskFull(StoreError):
    """There is no room for a write now. Nothing of it was left behind, so the same write may be tried again."""


def is_full(error: OSError) -> bool:
    """Whether a write failed for want of room: the disk, a quota or a limit of size is used up."""
    return error.errno in _NO_ROOM


_TODO = {
    errno.ENOSPC: "Free some space on its disk; nothing that was measured is lost.",
    errno.EDQUOT: "Your quota on its disk is used up; nothing that was measured is lost.",
    errno.EFBIG: "A limit on the size of files is in its way; nothing that was measured is lost.",
    errno.EROFS: "Its disk cannot be written to.",
    errno.EISDIR: "A folder has that name: move it away.",
    errno.ENOENT: "Its folder is not there.",
}


def unwritten(what: object, error: OSError, todo: str = "") -> StoreError:
    """The error for a write that the system refused, with the kind that it is: DiskFull, or StoreError."""
    kind = DiskFull if is_full(error) else StoreError
    known = _TODO.get(error.errno or 0, "Check the rights of its folder.")
    return kind(f"{what}: {error.strerror}", f"{known} {todo}".rstrip())
