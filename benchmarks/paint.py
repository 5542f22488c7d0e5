"""Repaints of the main screen: their bytes through a pty, and the time that one takes with a queue of 5,000 steps."""

from __future__ import annotations

import time
from dataclasses import replace
from statistics import mean

from benchmarks.common import Row, spread
from specdash.core.forecast import outlook
from specdash.remote.feed import RunFeed, fold_event
from specdash.remote.run_source import CaughtUp, Event
from specdash.ui.tui.panes.figures import PaneFigures
from specdash.ui.tui.panes.layout import ViewChoice, main_body
from specdash.ui.tui.panes.pane import PaintContext
from specdash.ui.tui.panes.queue import queue_table
from specdash.ui.tui.terminal import UNICODE
from tests.support import live_runs
from tests.support.painted_bytes import paint_bytes
from tests.support.recorded_run import loaded, measured, recorded, started, step

BUDGETS = (((80, 24), 2048), ((120, 36), 5120), ((160, 48), 5120))
IDLE_BYTES_S = 1024
PAINTS = 40
STEPS = 5000
PAINT_MS = 20.0
REPEATS = 25
BRIEF = {"BUDGETS": (((80, 24), 2048),), "PAINTS": 2, "STEPS": 100, "REPEATS": 2}


def main() -> list[Row]:
    """The figures."""
    rows: list[Row] = []
    for (width, height), budget in BUDGETS:
        sizes = paint_bytes(width, height, PAINTS)
        met = mean(sizes) <= budget
        rows.append(Row(f"steady paint {width}x{height}", f"<= {budget} B", spread(sizes, unit=" B"), met))
    idle = paint_bytes(80, 24, PAINTS, idle=True)
    per_s = 2 * mean(idle)
    rows.append(Row("idle 80x24", f"< {IDLE_BYTES_S} B/s", f"{per_s:.0f} B/s", per_s < IDLE_BYTES_S))
    return [*rows, *_long_queue()]


def long_feed(count: int = STEPS) -> RunFeed:
    """A run of `count` steps, half of them done, with everything that moves."""
    steps = [step(), *(step(k, f"category {number}") for number in range(count // 8) for k in range(1, 9))][:count]
    facts = [started(steps), *loaded("l001", 8)]
    for done in steps[: count // 2]:
        facts += measured(done, [10.0, 11.0, 12.0])
    feed = RunFeed()
    events: list[Event] = [*recorded(facts), CaughtUp(), *live_runs.ticks()]
    for event in events:
        feed = fold_event(feed, event)
    return feed


def _long_queue() -> list[Row]:
    feed = long_feed()
    begun_s = time.perf_counter()
    ahead = outlook(feed.view)
    outlook_ms = (time.perf_counter() - begun_s) * 1000
    look = PaintContext(feed, live_runs.NOW_S, UNICODE, PaneFigures(), ahead)
    begun_s = time.perf_counter()
    body = main_body(look, ViewChoice(), 160, 45)
    first_ms = (time.perf_counter() - begun_s) * 1000
    same, scrolled, changed = [], [], []
    for _ in range(REPEATS):
        same.append(_timed(look, ViewChoice(position=body.position)))
    position = body.position
    for _ in range(REPEATS):
        position = queue_table(look).moved(position, 97)
        scrolled.append(_timed(look, ViewChoice(position=position)))
    for _ in range(REPEATS):
        # A fact makes a new mapping of steps, and all that is known of the queue has to be looked at again.
        view = replace(feed.view, steps=dict(feed.view.steps))
        changed.append(_timed(replace(look, feed=replace(feed, view=view)), ViewChoice(position=position)))
    goal = f"< {PAINT_MS:.0f} ms"
    what = f"{STEPS} steps at 160x45"
    return [
        Row(f"{what}: first paint", "", f"{first_ms:.1f} ms"),
        Row(f"{what}: paint, nothing new", goal, spread(same, "{:.1f}", " ms"), max(same) < PAINT_MS),
        Row(f"{what}: paint after a page down", goal, spread(scrolled, "{:.1f}", " ms"), max(scrolled) < PAINT_MS),
        Row(f"{what}: paint after a fact", goal, spread(changed, "{:.1f}", " ms"), max(changed) < PAINT_MS),
        Row(f"{STEPS} steps: forecast", "", f"{outlook_ms:.0f} ms"),
    ]


def _timed(look: PaintContext, choice: ViewChoice) -> float:
    begun_s = time.perf_counter()
    main_body(look, choice, 160, 45)
    return (time.perf_counter() - begun_s) * 1000
