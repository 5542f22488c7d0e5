"""Known causes of failure in the logs of servers: which line tells it, and what to do about it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from specdash.core.engine import Cause

Hints = Sequence[tuple[re.Pattern[str], str, bool]]


def hints(*known: tuple[str, str], at_any_k: bool = False) -> Hints:
    """Patterns of lines, in any case, each with what to do; of two that fit a line the first counts.

    `at_any_k`: what these tell has nothing to do with K, so that no load at another K need be tried.
    """
    return tuple((re.compile(pattern, re.IGNORECASE), todo, at_any_k) for pattern, todo in known)


def first_cause(log: str, known: Hints) -> Cause | None:
    """The first line of a log that tells a known cause.

    Not the last: what follows an allocation failure is a backtrace that says nothing.
    """
    return _cause(log.splitlines(), known)


def last_cause(log: str, known: Hints) -> Cause | None:
    """The last line of a log that tells a known cause: a traceback of Python ends with its reason."""
    return _cause(reversed(log.splitlines()), known)


def _cause(lines: Iterable[str], known: Hints) -> Cause | None:
    for line in lines:
        for pattern, todo, at_any_k in known:
            if pattern.search(line):
                return Cause(line.strip(), todo, at_any_k)
    return None
