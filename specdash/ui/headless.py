"""The headless narrator: a live line on a terminal, plain lines in a pipe, and a summary at the end.

A skin over the session's handle: it reads facts and the forecast, and decides nothing. Narration goes to stderr; the
path of the result is the only thing on stdout.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from specdash.core import events as ev
from specdash.core import ticks
from specdash.core.forecast import Forecaster, Outlook, Range, in_flight
from specdash.core.state import LoadState, RunState
from specdash.core.status import SampleStatus, StepStatus
from specdash.core.text import human_seconds, one_line, plural
from specdash.errors import Exit
from specdash.remote.server import serving
from specdash.session.handle import Handle, Outcome, Subscription, Watcher
from specdash.ui.narration import counted, reading, sentences, severity_of
from specdash.ui.output import BackgroundWriter, written_in_background
from specdash.ui.summary import near, print_summary

REFRESH_S = 0.5
OUTLOOK_EVERY_S = 5.0  # a forecast is made in the loop that measures
OUTLOOK_SHARE = 50  # and is kept so many times as long as it took to make
QUIET = (ev.SampleTaken, ev.StepFinished)  # on a terminal the live line and the table tell these
STYLES = {"error": "red", "warning": "yellow"}


def narrate(start: Callable[[Watcher], Outcome], warnings: Sequence[str]) -> Exit:
    """Runs `start` and tells what happens; returns the run's exit code. Other clients may watch meanwhile.

    A reader that stalls or goes away holds nothing up; the end waits for one that stalls.
    """
    with written_in_background(sys.stderr) as stderr:
        outcome = _narrated(start, warnings, Console(file=stderr, highlight=False))
    if (result := outcome.path / "result.json") in outcome.reports.written:
        print(result, flush=True)
    return outcome.exit_code


def _narrated(start: Callable[[Watcher], Outcome], warnings: Sequence[str], console: Console) -> Outcome:
    narrator = _Live(console) if console.is_terminal and not console.is_dumb_terminal else _Plain(console)
    for warning in warnings:
        narrator.say(f"warning: {warning}", "warning")

    def complain(text: str) -> None:
        narrator.say(f"warning: {text}", "warning")

    @asynccontextmanager
    async def watch(handle: Handle) -> AsyncIterator[None]:
        async with serving(handle, complain):
            stop = narrator.begin(handle)
            try:
                yield
            finally:
                stop()

    try:
        outcome = start(Watcher(watch, complain))
    finally:
        narrator.end()
    print_summary(console, outcome.view, outcome.path, outcome.reports.written, with_table=console.is_terminal)
    for each in outcome.reports.failed:
        narrator.say(f"error: {each}", "error")
    if outcome.reports.failed:
        again = f"specdash report {outcome.path.name}"
        narrator.say(f"all that was measured is in the journal; to make the reports again: {again}")
    return outcome


class _Plain:
    """One plain line for every event."""

    wraps_words = False  # in a pipe or a log, an event is one line however long

    def __init__(self, console: Console) -> None:
        self._console = console

    def begin(self, handle: Handle) -> Callable[[], None]:
        """Tells how the run begins and, from now on, what happens; call the result to end that."""
        self._say_all(_opening(handle))
        return handle.subscribe(Subscription(self._on_fact))

    def _on_fact(self, recorded: ev.Recorded, view: RunState) -> None:
        self._say_all(_lines_of(recorded.fact, view))

    def _say_all(self, lines: Iterable[tuple[str, str]]) -> None:
        for text, level in lines:
            self.say(text, level)

    def say(self, text: str, level: str = "") -> None:
        """Write a line, coloured by its level ("error", "warning" or none) where colours are wanted."""
        self._console.print(Text(text, style=STYLES.get(level, "")), soft_wrap=not self.wraps_words)

    def end(self) -> None:
        """Nothing is left on the screen that has to go."""


class _Live(_Plain):
    """Lines for what changes rarely, above one line that is always true."""

    wraps_words = True

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._live: Live | None = None
        self._handle: Handle | None = None
        self._forecaster = Forecaster()
        self._outlook: Outlook | None = None
        self._outlook_due_s = 0.0

    def begin(self, handle: Handle) -> Callable[[], None]:
        self._handle = handle
        self._say_all(_opening(handle))
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._live.start()
        end = handle.subscribe(Subscription(self._on_fact, lambda tick: None))
        self._tick()
        return end

    def _tick(self) -> None:
        """Repaints the line, twice a second, for as long as there is one."""
        if self._live is None or self._handle is None:
            return
        now_s = time.monotonic()
        if now_s >= self._outlook_due_s:
            flying = in_flight(self._handle.live(), time.time())
            self._outlook = self._forecaster.of(self._handle.view(), flying)
            cost_s = time.monotonic() - now_s
            self._outlook_due_s = now_s + max(OUTLOOK_EVERY_S, OUTLOOK_SHARE * cost_s)
        line = status_line(
            self._handle.view(), self._handle.live(), self._outlook, self._console.width - 1, time.time()
        )
        behind = isinstance(self._console.file, BackgroundWriter) and self._console.file.is_behind
        self._live.update(Text(line, no_wrap=True, overflow="crop"), refresh=not behind)
        asyncio.get_running_loop().call_later(REFRESH_S, self._tick)

    def _on_fact(self, recorded: ev.Recorded, view: RunState) -> None:
        fact = recorded.fact
        good = isinstance(fact, ev.SampleTaken) and fact.sample.status == SampleStatus.OK
        good = good or (isinstance(fact, ev.StepFinished) and fact.status == StepStatus.OK)
        if not (isinstance(fact, QUIET) and good):
            super()._on_fact(recorded, view)

    def end(self) -> None:
        """Takes the live line off the screen."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def _lines_of(fact: ev.Fact, view: RunState) -> list[tuple[str, str]]:
    """Return the lines of a fact, the first of them with the level of the fact."""
    return [(text, "" if number else severity_of(fact)) for number, text in enumerate(sentences(fact, view))]


def _opening(handle: Handle) -> list[tuple[str, str]]:
    """Return what was recorded before the narrator came, and where the run is kept, with levels."""
    view = handle.view()
    lines = _lines_of(view.run, view) if view.run is not None else []
    lines.append((f"folder: {one_line(near(handle.path), 1000)}", ""))
    lines += _lines_of(view.engine, view) if view.engine is not None else []
    lines += [
        (f"skipped {step.step.id}: {one_line(step.error or '', 300)}", "")
        for step in view.table.with_status((StepStatus.SKIPPED,))
    ]
    lines += [line for note in view.notes for line in _lines_of(note, view)]
    tally = view.table.tally
    if view.resumes:
        rest = f"{tally.open} to be measured" if tally.open else "nothing is left to measure"
        lines.append((f"resumed: {counted(tally)}; {rest}", ""))
    return lines


def status_line(view: RunState, live: ticks.Telemetry, ahead: Outlook | None, width: int, now_s: float) -> str:
    """Steps done, the time that is left and what is going on, in at most `width` characters.

    What does not fit is cut out of the middle of the load's name, which stands in full further up on the screen.
    `now_s`: seconds since 1970.
    """
    tally = view.table.tally
    loads = len(ahead.starts) if ahead is not None else 0
    words = "paused" if view.paused else time_left_words(ahead.left if ahead is not None else None)
    skipped = f", {tally.skipped} skipped" if tally.skipped else ""
    parts = [f"{tally.tried}/{tally.total} steps{skipped}", words]
    parts += [plural(loads, "more load")] if loads else []
    load = view.loads.get(view.current_load or "")
    if load is None:
        parts.append("between loads" if tally.open else "finishing")
        return one_line(" | ".join(parts), width) if width > 0 else ""
    parts.append(_doing(view, live, load, now_s))
    line = " | ".join(parts)
    if len(line) > width:
        return one_line(line, width) if width > 0 else ""
    return f"{line} | {shorten_middle(one_line(load.key.label), width - len(line) - 3)}"[: max(0, width)]


def _doing(view: RunState, live: ticks.Telemetry, load: LoadState, now_s: float) -> str:
    """What the server of the current load is at."""
    if load.state not in ("ready", "busy"):
        # A load has several states on its way; a server that stops has been at work before.
        since_s = load.state_since_s if load.state_since_s is not None else load.started_s
        return f"{load.state} for {human_seconds(max(1, round(now_s - since_s)))}"
    token = live.token if live.token is not None and live.token.load == load.id else None
    at = reading(token) or f"{token.tokens if token is not None else 0} tok"
    steps = [step for step in view.table.of_pair(load.key.pair) if step.load == load.id]
    if not any(step.status == StepStatus.RUNNING for step in steps):
        return f"warming up, {at}"
    iterations = [view.iterations(step.step.id) for step in steps]
    planned = sum(each for each in iterations if each is not None)
    return f"{sum(len(step.good) for step in steps)}{f'/{planned}' if planned else ''} samples, {at}"


def time_left_words(left: Range | None) -> str:
    """A forecast as people say it, in one unit and no finer than it is known: "2-3 min left"."""
    if left is None:
        return "time left: ?"
    for unit, seconds, most in (("s", 1, 100), ("min", 60, 100), ("h", 3600, 48), ("d", 86400, float("inf"))):
        low, high = left.low_s / seconds, left.high_s / seconds
        if high < most:
            digits = 1 if unit in "hd" and high < 10 else 0
            shown = dict.fromkeys((f"{low:.{digits}f}", f"{high:.{digits}f}"))
            return f"{'-'.join(shown)} {unit} left"
    return "time left: ?"


def shorten_middle(text: str, chars: int) -> str:
    """`text` in at most `chars` characters, without its middle where it is longer: names differ at their ends."""
    if len(text) <= chars:
        return text
    if chars < 5:
        return text[: max(0, chars)]
    tail = (chars - 2) // 2
    return f"{text[: chars - 2 - tail]}..{text[-tail:]}"
