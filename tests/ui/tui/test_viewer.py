"""When a viewer paints."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from specdash.core import events as ev
from specdash.remote.run_source import Event, Gone
from specdash.ui.tui.app import Dashboard
from specdash.ui.tui.lines import Line, LinesWidget, text_of
from specdash.ui.tui.run import _after
from specdash.ui.tui.terminal import UNICODE, Terminal
from tests.support import live_runs
from tests.support.dashboards import ScriptedSource, dashboard, screen_text


class Slow(ScriptedSource):
    """Tells nothing before it may."""

    def __init__(self) -> None:
        super().__init__(live_runs.facts())
        self.may = asyncio.Event()

    async def events(self) -> AsyncIterator[Event]:
        await self.may.wait()
        async for event in super().events():
            yield event


async def test_no_frame_comes_without_the_run_where_the_engine_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    show = LinesWidget.show

    def noted(self: LinesWidget, lines: Sequence[Line]) -> None:
        seen.extend(text_of(line) for line in lines)
        show(self, lines)

    monkeypatch.setattr(LinesWidget, "show", noted)
    source = Slow()

    async def opening() -> Slow:
        return source

    app = Dashboard(opening, Terminal(UNICODE, "full"))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        app.paint_now()  # as a resize or the repaint rate has it
        await pilot.pause()
        assert app.is_holding
        assert seen == []
        source.may.set()
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert "5/9" in screen_text(app)
        assert not [text for text in seen if "READING" in text]


async def test_what_has_happened_is_painted_once_it_is_known_and_not_with_the_next_repaint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("specdash.ui.tui.app.HOLD_S", 0.001)
    source = Slow()

    async def opening() -> Slow:
        return source

    app = Dashboard(opening, Terminal(UNICODE, "full"))
    app.rate_hz = 0.001
    async with app.run_test(size=(80, 24)) as pilot:
        while app.is_holding:
            await pilot.pause(0.01)
        await pilot.pause()
        assert "READING" in screen_text(app)
        source.may.set()
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert "READING" not in screen_text(app)
        assert "5/9" in screen_text(app)


async def test_a_folder_that_is_removed_is_said_once(tmp_path: Path) -> None:
    folder = tmp_path / "run-1"
    folder.mkdir()
    source = ScriptedSource(live_runs.facts())
    source.origin = replace(source.origin, path=str(folder))
    async with dashboard(source) as (app, pilot):
        assert "RUN FOLDER REMOVED" not in screen_text(app)
        folder.rmdir()
        for _ in range(2):
            app.look_for_folder()
            await app.workers.wait_for_complete()
        app.paint_now()
        await pilot.pause()
        assert "RUN FOLDER REMOVED" in screen_text(app)
        assert [each.message for each in app._notifications if "not there any more" in each.message] == [
            f"the folder of this run is not there any more: {folder}"
        ]


async def test_a_run_that_was_started_from_here_is_watched_even_if_it_was_over_at_once() -> None:
    over: list[ev.Fact] = [*live_runs.facts(), ev.RunFinished("finished", 3)]
    for own in (True, False):
        source = ScriptedSource(over, gone=Gone("this run is finished"))
        source.origin = replace(source.origin, pid=None)

        async def opening(source: ScriptedSource = source) -> ScriptedSource:
            return source

        app = Dashboard(opening, Terminal(UNICODE, "full"))
        app.is_own = own
        async with app.run_test(size=(80, 24)) as pilot:
            await app.workers.wait_for_complete()
            await pilot.pause()
            app.paint_now()
            await pilot.pause()
            assert app.saw_end == own
            assert ("(replay)" in screen_text(app)) != own
            await pilot.press("q")
        assert _after(app, app.return_value, None) == (3 if own else 0)


async def test_a_dashboard_that_is_taken_down_paints_nothing_more() -> None:
    async with dashboard(ScriptedSource(live_runs.facts())) as (app, _):
        pass
    assert app.screen_stack == []
    app._dirty = True
    app._paint()  # as a timer does that was due while the screens were being taken away
    assert app._dirty, "it tried to paint"
    app.paint_now()
