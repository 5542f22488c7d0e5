"""Servers that killed engines have left behind, told of by the commands that look at runs."""

from __future__ import annotations

import sys

from specdash.core.text import plain


def report_orphans() -> None:
    """Names them on stderr, with what to do; nothing is done about them."""
    from specdash.session.keeper import left_behind

    for each in left_behind():
        print(plain(f"specdash: {each}\n  {each.todo}"), file=sys.stderr)


def end_and_report_orphans() -> int:
    """Ends those that are provably ours, and says so; how many were ended. The others are named on stderr."""
    from specdash.runtime.orphans import end_orphans
    from specdash.session.keeper import note_folders

    ended, left = end_orphans(note_folders())
    for name in ended:
        print(plain(f"ended a server that had lost its engine: {name}"))
    for each in left:
        print(plain(f"specdash: {each}\n  {each.todo}"), file=sys.stderr)
    return len(ended)
