"""The headless narrator: a live line on a terminal, plain lines in a pipe, and a summary at the end.

A skin over the session's handle: it reads facts and the forecast, and decides nothing. Narration goes to stderr; the
path of the result is the only thing on stdout.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.live import Live
from rich.text import Text

from specdash.core import events as ev
from specdash.core.text import human_seconds, one_line
from specdash.core.view import View
from specdash.errors import Exit
from specdash.session.handle import Handle, Outcome, Watcher
from specdash.ui.narration import progress, sentences
from specdash.ui.summary import print_summary

REFRESH_S = 0.5
QUIET = (ev.SampleTaken, ev.StepFinished)  # on a terminal the live line and the table tell these
ERROR_STYLE = "red"
WARNING_STYLE = "yellow"


def narrate(start: Callable[[Watcher], Outcome], warnings: Sequence[str]) -> Exit:
    """Runs `start` and tells what happens; returns the run's exit code."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    narrator = _Live(console) if console.is_terminal and not console.is_dumb_terminal else _Plain(console)
    for warning in warnings:
        narrator.say(f"warning: {warning}")
    outcome = start(Watcher(narrator.begin, lambda text: narrator.say(f"warning: {text}")))
    narrator.end()
    print_summary(console, outcome.view, outcome.path, with_table=console.is_terminal)
    print(outcome.path / "result.json", flush=True)
    return outcome.exit_code


class _Plain:
    """One plain line for every event."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def begin(self, handle: Handle) -> None:
        for line in _opening(handle.view):
            self.say(line)
        handle.subscribe(self._on_fact)

    def _on_fact(self, recorded: ev.Recorded, view: View) -> None:
        for line in sentences(recorded.fact, view):
            self.say(line)

    def say(self, text: str) -> None:
        """Writes a line, coloured where colours are wanted."""
        style = WARNING_STYLE if text.startswith("warning:") else ""
        if text.startswith("error:") or " failed" in text[:16]:
            style = ERROR_STYLE
        self._console.print(Text(text, style=style))

    def end(self) -> None:
        """Nothing is left on the screen that has to go."""


class _Live(_Plain):
    """Lines for what changes rarely, above one line that is always true."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._live: Live | None = None
        self._handle: Handle | None = None

    def begin(self, handle: Handle) -> None:
        self._handle = handle
        for line in _opening(handle.view):
            self.say(line)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._live.start()
        handle.subscribe(self._on_fact)
        self._tick()

    def _tick(self) -> None:
        """Repaints the line, twice a second, for as long as there is one."""
        if self._live is None or self._handle is None:
            return
        self._live.update(Text(status_line(self._handle), no_wrap=True, overflow="ellipsis"), refresh=True)
        asyncio.get_running_loop().call_later(REFRESH_S, self._tick)

    def _on_fact(self, recorded: ev.Recorded, view: View) -> None:
        fact = recorded.fact
        good = isinstance(fact, ev.SampleTaken) and fact.sample.status == "ok"
        good = good or (isinstance(fact, ev.StepFinished) and fact.status == "ok")
        if not (isinstance(fact, QUIET) and good):
            super()._on_fact(recorded, view)

    def end(self) -> None:
        """Takes the live line off the screen."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def _opening(view: View) -> list[str]:
    """What was recorded before the narrator came."""
    facts: list[ev.Fact] = [fact for fact in (view.run, view.engine) if fact is not None]
    lines = [line for fact in facts for line in sentences(fact, view)]
    lines += [
        f"skipped {step.step.id}: {one_line(step.error or '', 300)}"
        for step in view.steps.values()
        if step.status == "skipped"
    ]
    lines += [line for note in view.notes for line in sentences(note, view)]
    done, total = progress(view)
    if view.resumes:
        lines.append(f"resumed: {done} of {total} steps are done")
    return lines


def status_line(handle: Handle) -> str:
    """Steps done, what is going on, and the time that is left, on one line."""
    view = handle.view
    done, total = progress(view)
    left = handle.time_left()
    if left is None:
        eta = "time left: not known yet"
    elif human_seconds(left.low_s) == human_seconds(left.high_s):
        eta = f"{human_seconds(left.high_s)} left"
    else:
        eta = f"{human_seconds(left.low_s)} to {human_seconds(left.high_s)} left"
    load = view.loads.get(view.current_load or "")
    if load is None:
        doing = "between loads"
    elif load.state != "ready":
        doing = f"{load.state} {load.key.label}"
    else:
        step = view.steps.get(view.current_step or "")
        samples = len(step.good) if step is not None else 0
        doing = f"{view.current_step or load.key.label} ({samples} samples, {handle.events_in_flight()} tokens)"
    return one_line(f"{done}/{total} steps | {eta} | {handle.loads_left} loads to go | {doing}", 400)
