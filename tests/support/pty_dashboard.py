"""A dashboard over a recorded run in a terminal of its own: the child process of tests that look at real bytes.

Arguments: what happens ("live": ticks come for ever, "idle": nothing comes, "done": a finished run, "crash": a widget
raises on the key x, "flood": ticks without a pause). What the loop did is written to the file named in LOOP_FILE: the
longest gap between two turns, and how many events were folded, newest last.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from specdash.core import events as ev
from specdash.core.commands import Command
from specdash.core.ticks import TextRun, TokenTick
from specdash.errors import SpecdashError
from specdash.remote.run_source import CaughtUp, Event, LogPiece, Origin, SourceError
from specdash.ui.tui.run import show_run
from tests.support.recorded_run import loaded, measured, started, step

STEPS = [step(None), *(step(k) for k in (2, 4, 8, 16))]
FACTS: list[ev.Fact] = [started(STEPS), *loaded(k=16), *measured(STEPS[0], [10.0, 11.0, 12.0])]


class Child:
    """Tells the facts, then what the case asks for; notes how the loop fares."""

    models_argv = None

    def __init__(self, case: str) -> None:
        self.origin = Origin("/results/run-1", "tower", None if case == "done" else 4711, True, "0.0")
        self._case = case

    async def events(self) -> AsyncIterator[Event]:
        facts = [*FACTS, *([ev.RunFinished("finished", 0)] if self._case == "done" else [])]
        for number, fact in enumerate(facts, start=1):
            yield ev.Recorded(number, time.time(), fact)
        yield CaughtUp()
        count, longest_s, last_s = 0, 0.0, time.monotonic()
        while self._case in ("live", "flood"):
            await asyncio.sleep(0.25 if self._case == "live" else 0.02)
            now_s = time.monotonic()
            longest_s, last_s, count = max(longest_s, now_s - last_s), now_s, count + 1
            note(count, longest_s)
            text = (TextRun(f"token {count} of the answer ", drafted=count % 2 == 0),) * 8
            yield TokenTick(
                "l001", STEPS[1].id, "sample", 0, time.time(), count, 512, 40, 30, 10.0 + count % 7, 0.75, 0.1, text
            )

    async def command(self, command: Command) -> None:
        note_file("COMMANDS_FILE", command.name)

    async def log(self, load: str, offset: int, size: int) -> LogPiece:
        raise SourceError("there is no log")

    async def close(self) -> None:
        note_file("COMMANDS_FILE", "closed")


def note(count: int, longest_s: float) -> None:
    note_file("LOOP_FILE", f"{count} {longest_s:.3f}")


def note_file(variable: str, text: str) -> None:
    name = os.environ.get(variable)
    if name:
        with Path(name).open("a", encoding="utf-8") as file:
            file.write(text + "\n")


def main() -> int:
    case = sys.argv[1]

    async def opening() -> Child:
        return Child(case)

    if case == "crash":
        from specdash.ui.tui.lines import LinesWidget

        def broken(self: LinesWidget, y: int) -> None:
            secret = "not to be shown"
            raise ZeroDivisionError(f"line {y} {len(secret)}")

        LinesWidget.render_line = broken  # type: ignore[method-assign, assignment]
    try:
        return int(show_run(opening))
    except SpecdashError as error:
        print(f"specdash: {error}", file=sys.stderr)
        return int(error.exit_code)


if __name__ == "__main__":
    sys.exit(main())
