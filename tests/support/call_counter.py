"""Counts the work of a headless run: calls of specdash's own functions of some loads.

Run as a program: PROFILE FIRST LAST, the numbers of the loads that it counts from and to. Prints the count. Calls are
counted instead of seconds, since a machine is never quiet.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import specdash
from specdash.cli import main
from specdash.core import events as ev
from specdash.core.state import RunState
from specdash.session.recorder import Recorder

# What waits for a server makes more calls on a busy machine; who decides, records and tells does not.
COUNTED = tuple(str(Path(specdash.__file__).parent / part) + os.sep for part in ("core", "analysis", "session", "ui"))
NOT_COUNTED = "ticker.py"


class Counting:
    """Counts from one load on; ends the run when another begins."""

    def __init__(self, first: int, last: int) -> None:
        self.calls = 0
        self._first, self._last = first, last
        self.loads = 0

    def _called(self, frame: FrameType, event: str, argument: object) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(COUNTED) and not name.endswith(NOT_COUNTED):
            self.calls += 1

    def on_fact(self, recorded: ev.Recorded, view: RunState) -> None:
        """Looks at each fact of the run."""
        if not isinstance(recorded.fact, ev.LoadStarted):
            return
        self.loads += 1
        if self.loads == self._first:
            sys.setprofile(self._called)
        if self.loads == self._last:
            sys.setprofile(None)
            os.kill(os.getpid(), signal.SIGTERM)


def count(profile: str, first: int, last: int) -> int:
    """The calls of one run."""
    counting, begun = Counting(first, last), Recorder.__init__

    def begin(recorder: Recorder, *arguments: Any) -> None:
        begun(recorder, *arguments)
        recorder.subscribe(counting.on_fact)

    Recorder.__init__ = begin  # type: ignore[method-assign, assignment]
    sys.argv = ["specdash", "--headless", profile]
    with suppress(SystemExit):
        main()
    assert counting.loads >= last, f"it ended after {counting.loads} loads"
    return counting.calls


if __name__ == "__main__":
    calls = count(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    print(f"calls: {calls}")
