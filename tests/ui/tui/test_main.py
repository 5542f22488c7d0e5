"""The main screen with keys and mouse, over a recorded run in the middle of its work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from rich.style import Style
from syrupy.assertion import SnapshotAssertion
from textual import events
from textual.pilot import Pilot

from specdash.core import commands as cmd
from specdash.core import events as ev
from specdash.core.status import StepStatus
from specdash.remote.feed import fold_event
from specdash.remote.run_source import Gone
from specdash.ui.tui.app import Dashboard
from specdash.ui.tui.screens.main import MainScreen
from specdash.ui.tui.terminal import ASCII, Terminal
from specdash.ui.tui.terminal.theme import styles_for
from specdash.ui.tui.widgets.dialog import Question, StepWindow
from tests.support import live_runs
from tests.support.dashboards import SIZES, ScriptedSource, dashboard, finished, screen_text
from tests.support.machine import LIMIT_S
from tests.support.painted_bytes import paint_bytes

BUDGETS = (((80, 24), 2048), ((160, 48), 5120))


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times of day are those of the machine; here they have to be the same everywhere."""
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@asynccontextmanager
async def shown(
    source: ScriptedSource | None = None, size: tuple[int, int] = (80, 24), terminal: Terminal | None = None
) -> AsyncIterator[tuple[Dashboard, Pilot[int]]]:
    """The main screen of the scene, at the time of the scene."""
    source = source or ScriptedSource(live_runs.facts(), live_runs.ticks())
    async with dashboard(source, size=size, terminal=terminal, now_s=live_runs.NOW_S) as (app, pilot):
        app.paint_now()
        await pilot.pause()
        yield app, pilot


def sent(app: Dashboard) -> list[cmd.Command]:
    """The commands that the run was sent."""
    assert isinstance(app.source, ScriptedSource)
    return app.source.commands


async def press(app: Dashboard, pilot: Pilot[int], *keys: str) -> None:
    """Presses keys and waits for what they ask of the run."""
    await pilot.press(*keys)
    await finished(pilot)
    await pilot.pause()


def told(app: Dashboard) -> str:
    """The sentences that are being shown."""
    return "\n".join(notification.message for notification in app._notifications)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_a_run_at_work(size: tuple[int, int], snapshot: SnapshotAssertion) -> None:
    async with shown(size=size) as (app, _):
        assert screen_text(app) == snapshot


async def test_a_finished_run(snapshot: SnapshotAssertion) -> None:
    over = [
        *live_runs.facts(),
        ev.LoadFinished("l001", "stopped", 410 * live_runs.GIB),
        ev.RunFinished("stopped", 1, "asked"),
    ]
    async with shown(ScriptedSource(over, gone=Gone("the run is over"))) as (app, _):
        assert screen_text(app) == snapshot


async def test_plain_signs(snapshot: SnapshotAssertion) -> None:
    async with shown(terminal=Terminal(ASCII, "none")) as (app, _):
        text = screen_text(app)
        assert text.isascii()
        assert text == snapshot


async def test_pause_and_resume_are_one_key_that_says_which() -> None:
    async with shown() as (app, pilot):
        screen = app.screen
        assert screen.active_bindings["space"].binding.description == "Pause"
        await press(app, pilot, "space")
        assert sent(app) == [cmd.Command(cmd.PAUSE)]
        paused = ev.Recorded(99, live_runs.NOW_S, ev.CommandAccepted(cmd.PAUSE))
        app.feed = fold_event(app.feed, paused)
        app.paint_now()
        await pilot.pause()
        assert screen.active_bindings["space"].binding.description == "Resume"
        assert "PAUSED" in screen_text(app)
        await press(app, pilot, "space")
        assert sent(app)[-1] == cmd.Command(cmd.RESUME)


async def test_skip_asks_first_and_says_what_it_costs() -> None:
    async with shown() as (app, pilot):
        await press(app, pilot, "s")
        assert isinstance(app.screen, Question)
        text = screen_text(app)
        assert "The request in flight is dropped." in text
        await press(app, pilot, "enter")
        assert isinstance(app.screen, Question)
        await press(app, pilot, "n")
        assert sent(app) == []
        await press(app, pilot, "s", "y")
        assert sent(app) == [cmd.Command(cmd.EDIT, (cmd.Skip((live_runs.RUNNING.id,)),))]


async def test_a_key_that_comes_in_one_packet_with_the_question_answers_it() -> None:
    async with shown() as (app, pilot):
        for key in "sy":
            app.post_message(events.Key(key, key))
        await finished(pilot)
        await pilot.pause()
        await finished(pilot)
        assert sent(app) == [cmd.Command(cmd.EDIT, (cmd.Skip((live_runs.RUNNING.id,)),))]


async def test_the_step_under_the_cursor_is_the_one_that_is_skipped() -> None:
    async with shown() as (app, pilot):
        await press(app, pilot, "j", "down", "s", "y")
        assert sent(app) == [cmd.Command(cmd.EDIT, (cmd.Skip((live_runs.STEPS[7].id,)),))]


async def test_what_is_done_cannot_be_skipped() -> None:
    async with shown() as (app, pilot):
        await press(app, pilot, "g", "s")
        assert isinstance(app.screen, MainScreen)
        assert "nothing to skip" in told(app)
        assert sent(app) == []


async def test_while_no_step_runs_there_is_none_to_skip() -> None:
    between = [*live_runs.facts(), ev.StepFinished(live_runs.RUNNING.id, "l001", StepStatus.OK, fingerprint="fp")]
    async with shown(ScriptedSource([*between, ev.LoadFinished("l001", "stopped")])) as (app, pilot):
        await press(app, pilot, "s")
        assert "no step is running; move to a step of the queue to skip it" in told(app)
        await press(app, pilot, "G", "s")
        assert isinstance(app.screen, Question)


async def test_a_failed_step_is_tried_again() -> None:
    async with shown() as (app, pilot):
        await press(app, pilot, "k", "k", "r")
        assert sent(app) == [cmd.Command(cmd.EDIT, (cmd.Reopen((live_runs.FAILED.id,)),))]


async def test_a_good_step_is_not_thrown_away_by_a_retry() -> None:
    async with shown() as (app, pilot):
        await press(app, pilot, "g", "r")
        assert "this step is ok" in told(app)
        await press(app, pilot, "escape", "r")
        assert "still to be measured" in told(app)
        assert sent(app) == []


async def test_stop_after_load_asks_first() -> None:
    async with shown() as (app, pilot):
        await press(app, pilot, "S")
        assert "Stop after this load?" in screen_text(app)
        await press(app, pilot, "y")
        assert sent(app) == [cmd.Command(cmd.STOP_AFTER_LOAD)]


async def test_a_refusal_of_the_run_is_shown() -> None:
    async with shown(ScriptedSource(live_runs.facts(), live_runs.ticks(), refusal="the disk is full")) as (app, pilot):
        await press(app, pilot, "space")
        assert "refused: the disk is full" in told(app)


async def test_an_engine_that_dies_while_a_dialog_is_open() -> None:
    async with shown() as (app, pilot):
        await press(app, pilot, "s")
        app.feed = fold_event(app.feed, Gone("the engine died"))
        app.paint_now()
        assert isinstance(app.source, ScriptedSource)
        app.source._refusal = "the engine is gone"
        await press(app, pilot, "y")
        assert "refused: the engine is gone" in told(app)
        await press(app, pilot, "s")
        assert isinstance(app.screen, MainScreen)
        assert "no engine is at work" in told(app)


async def test_details_of_a_step_open_scroll_and_close() -> None:
    async with shown() as (app, pilot):
        await press(app, pilot, "k", "enter")
        assert isinstance(app.screen, StepWindow)
        assert "noisy" in screen_text(app)
        await press(app, pilot, "end")
        assert "llama-server -m" in screen_text(app)
        await press(app, pilot, "escape")
        assert isinstance(app.screen, MainScreen)


async def test_a_click_moves_the_cursor_and_a_second_one_opens() -> None:
    async with shown() as (app, pilot):
        rows = screen_text(app).splitlines()
        line = next(number for number, row in enumerate(rows) if row.startswith("    8 72B"))
        await pilot.click(offset=(10, line))
        await pilot.pause()
        assert screen_text(app).splitlines()[line].startswith("▶   8")
        await pilot.click(offset=(10, line), times=2)
        await pilot.pause()
        assert isinstance(app.screen, StepWindow)
        assert "draft K=16 | coding" in screen_text(app)


async def test_text_and_log_change_places() -> None:
    async with shown() as (app, pilot):
        assert "── Text" in screen_text(app)
        await press(app, pilot, "t")
        assert "── Log" in screen_text(app)
        assert "slot launch_slot_" in screen_text(app)
        assert "── Text" not in screen_text(app)


async def test_one_pane_at_a_time_where_there_is_no_room() -> None:
    async with shown(size=(60, 20)) as (app, pilot):
        seen = []
        for _ in range(7):
            seen.append(screen_text(app).splitlines()[1].split()[1])
            await press(app, pilot, "tab")
        assert seen == ["server", "speed", "acceptance", "memory", "queue", "text", "log"]
        assert "server" in screen_text(app).splitlines()[1]


async def test_a_resize_is_taken() -> None:
    async with shown() as (app, pilot):
        for size in ((130, 40), (60, 20), (80, 24)):
            await pilot.resize_terminal(*size)
            async with asyncio.timeout(LIMIT_S):
                while "Help" not in "".join(screen_text(app).splitlines()[size[1] - 1 : size[1]]):
                    await pilot.pause()
            assert len(screen_text(app).splitlines()[1]) == size[0]


async def test_every_size_draws_something() -> None:
    async with shown() as (app, pilot):
        for size in ((1, 1), (20, 5), (39, 9), (40, 10), (79, 23), (80, 10), (80, 15), (119, 20), (240, 80), (80, 24)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
            app.paint_now()
            await pilot.pause()
            assert screen_text(app).strip()


def test_without_colours_drafted_text_is_underlined() -> None:
    styles = styles_for({}, colours=False)
    assert styles["draft"] == Style(underline=True)
    assert styles[""] == Style()


@pytest.mark.parametrize(("size", "budget"), BUDGETS, ids=["80x24", "160x48"])
def test_steady_repaints_keep_to_their_bytes(size: tuple[int, int], budget: int) -> None:
    sizes = paint_bytes(*size, 12)
    assert min(sizes) > 0
    assert sum(sizes) / len(sizes) <= budget


def test_an_idle_screen_sends_next_to_nothing() -> None:
    sizes = paint_bytes(80, 24, 12, idle=True)
    assert 2 * sum(sizes) / len(sizes) < 1024
