"""The shell of the dashboard: leaving, help, palette, sizes, rates, notifications, hostile text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from textual.widgets import Input

from specdash.config.settings import load_settings
from specdash.core import commands as cmd
from specdash.core import events as ev
from specdash.core.forecast import Range
from specdash.core.state import RunState
from specdash.core.ticks import DiskTick, Telemetry
from specdash.remote.feed import RunFeed, fold_event
from specdash.remote.run_source import Gone, Moved, Origin
from specdash.ui.tui import screen_registry
from specdash.ui.tui.app import Dashboard
from specdash.ui.tui.exit_message import announcement, run_ended_message
from specdash.ui.tui.lines import text_of, width_of
from specdash.ui.tui.palette import Actions
from specdash.ui.tui.panes.header import banner, connection, header, one_line_status, state_word
from specdash.ui.tui.terminal import ASCII, UNICODE, Glyphs, Terminal
from specdash.ui.tui.widgets.dialog import LeaveMenu, TinyScreen
from tests.support.dashboards import ScriptedSource, dashboard, screen_text
from tests.support.recorded_run import loaded, measured, started, step

STEPS = [step(None), step(4), step(8)]
FACTS: list[ev.Fact] = [started(STEPS), *loaded(k=8), *measured(STEPS[0], [10.0, 11.0, 12.0])]
DONE: list[ev.Fact] = [*FACTS, ev.RunFinished("finished", 0)]
SCREENS = ("main", "queue", "results", "logs", "runs", "start")
HOSTILE = [
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x1b]52;c;aGVsbG8=\x07",
    "\x1bP+q544e\x1b\\",
    "\x9b31m",
    "\x9d0;title\x9c",
    "\x00nul\x00",
    "\x07bell",
    "\x08\x08\x08",
    "\r\noverwritten",
    "\x7f",
    "[/foo]",
    "[@click=app.quit]x[/]",
    "[bold",
    "\u202eevil\u202c",
    "\u2028line",
    "\ud800",
    "\x1b[?1049l\x1b[2J",
]
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\ud800-\udfff]")


async def test_leaving_a_run_that_goes_on_asks_and_enter_detaches() -> None:
    source = ScriptedSource(FACTS)
    async with dashboard(source) as (app, pilot):
        await pilot.press("q")
        assert isinstance(app.screen, LeaveMenu)
        assert "the sweep goes on" in screen_text(app)
        await pilot.press("enter")
        await pilot.pause()
        assert app.return_value == 0
    assert source.commands == []
    assert source.closed


@pytest.mark.parametrize("keys", [("escape",), ("q",)])
async def test_staying_changes_nothing(keys: tuple[str, ...]) -> None:
    source = ScriptedSource(FACTS)
    async with dashboard(source) as (app, pilot):
        await pilot.press("q", *keys)
        assert not isinstance(app.screen, LeaveMenu)
        assert app.is_running
        assert app.return_value is None
    assert source.commands == []


@pytest.mark.parametrize(("key", "name"), [("s", cmd.STOP_AFTER_LOAD), ("k", cmd.STOP)])
async def test_the_leave_menu_stops_the_sweep(key: str, name: str) -> None:
    source = ScriptedSource(FACTS)
    async with dashboard(source) as (app, pilot):
        await pilot.press("q", key)
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert source.commands == [cmd.Command(name)]
        assert app.asked is not None


async def test_a_refusal_is_said_and_the_viewer_stays() -> None:
    source = ScriptedSource(FACTS, refusal="the run is\x1b[31m over [/foo]")
    async with dashboard(source) as (app, pilot):
        await pilot.press("q", "k")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert app.return_value is None
        assert [each.message for each in app._notifications] == ["not stopped: the run is<1b>[31m over [/foo]"]


async def test_control_c_twice_detaches_from_anywhere() -> None:
    source = ScriptedSource(FACTS)
    async with dashboard(source) as (app, pilot):
        await pilot.press("question_mark", "ctrl+c")
        assert isinstance(app.screen, LeaveMenu)
        await pilot.press("ctrl+c")
        await pilot.pause()
        assert app.return_value == 0
    assert source.commands == []


@pytest.mark.parametrize("gone", [None, Gone("its journal ends here")])
async def test_a_run_that_is_over_is_left_at_once(gone: Gone | None) -> None:
    async with dashboard(ScriptedSource(DONE, gone=gone)) as (app, pilot):
        await pilot.press("q")
        await pilot.pause()
        assert app.return_value == 0


async def test_an_engine_that_dies_while_the_menu_is_open_leaves_a_usable_screen() -> None:
    source = ScriptedSource(FACTS)
    async with dashboard(source) as (app, pilot):
        await pilot.press("q")
        app.feed = RunFeed(app.feed.view, origin=app.feed.origin, caught_up=True, gone=Gone("the engine was killed"))
        app.paint_now()
        await pilot.press("escape")
        app.paint_now()
        await pilot.pause()
        assert "ENGINE GONE" in screen_text(app)
        await pilot.press("2", "1", "question_mark", "escape", "q")
        await pilot.pause()
        assert app.return_value == 0


async def test_help_lists_the_keys_of_this_screen_and_then_of_all() -> None:
    async with dashboard(ScriptedSource(FACTS), size=(120, 60)) as (app, pilot):
        await pilot.press("question_mark")
        here = screen_text(app)
        assert "Everywhere" in here
        assert "Main" in here
        assert "\nResults" not in here
        await pilot.press("tab", "end")
        assert "esc close" in screen_text(app)
        await pilot.press("escape")
        assert app.place_of(app.screen) == "main"


async def test_every_action_has_an_id_and_words() -> None:
    async with dashboard(ScriptedSource(FACTS)) as (app, _):
        acts = app.all_acts()
        ids = [act.id for act in acts]
        for name in ("show.main", "leave", "detach", "help", "palette", "freeze", "redraw", "mouse"):
            assert name in ids
        for _, kind in screen_registry.screen_kinds():
            for binding in vars(kind).get("BINDINGS", ()):
                assert binding.id, f"{kind.__name__}: {binding} cannot be renamed"
                assert binding.description, f"{kind.__name__}: {binding} cannot be found"


async def test_the_palette_names_keys_in_letters_where_signs_may_lack() -> None:
    async with dashboard(ScriptedSource(FACTS), terminal=Terminal(ASCII, "none")) as (app, _):
        words = [words for _, words, _ in Actions(app.screen)._entries()]
        assert any("down" in each for each in words)
        assert all(each.isascii() for each in words)


async def test_the_palette_performs_an_action_of_another_screen() -> None:
    async with dashboard(ScriptedSource(FACTS)) as (app, pilot):
        await pilot.press("colon")
        await pilot.pause()
        await pilot.press(*"Repaint less")
        await pilot.pause(0.3)
        await pilot.press("enter")
        await pilot.pause(0.3)
        assert app.rate_hz == 1.0
        act = next(act for act in app.acts() if act.where == "results")
        app.perform(act)
        await pilot.pause()
        assert "results" in [app.place_of(screen) for screen in app.screen_stack]


async def test_the_rate_goes_through_its_steps_and_stops_at_both_ends() -> None:
    async with dashboard(ScriptedSource(FACTS)) as (app, pilot):
        seen = []
        for key in ("minus", "minus", "minus", "minus", "plus", "plus", "plus", "plus", "plus"):
            await pilot.press(key)
            seen.append(app.rate_hz)
        assert seen == [1.0, 0.5, 0.2, 0.2, 0.5, 1.0, 2.0, 5.0, 5.0]


async def test_a_frozen_view_says_so() -> None:
    async with dashboard(ScriptedSource(FACTS)) as (app, pilot):
        await pilot.press("f")
        assert "FROZEN" in screen_text(app)
        await pilot.press("f")
        assert "FROZEN" not in screen_text(app)


@pytest.mark.parametrize(
    ("size", "name"),
    # Too small a terminal has one screen, whatever was asked for.
    [(size, "main") for size in ((1, 1), (2, 1), (1, 40), (39, 24), (80, 9), (12, 3), (240, 1))]
    + [(size, name) for size in ((40, 10), (41, 11)) for name in SCREENS],
)
async def test_every_size_draws_something_and_obeys_q(size: tuple[int, int], name: str) -> None:
    async with dashboard(ScriptedSource(FACTS), size=size) as (app, pilot):
        if not isinstance(app.screen, TinyScreen):
            app.action_show(name)
        await pilot.pause()
        app.resized()
        await pilot.pause()
        assert isinstance(app.screen, TinyScreen) == (size[0] < 40 or size[1] < 10)
        assert screen_text(app).strip()
        await pilot.press("q")
        await pilot.pause()
        assert isinstance(app.screen, LeaveMenu)
        assert screen_text(app).strip()
        await pilot.press("d")
        await pilot.pause()
        assert app.return_value == 0


async def test_a_tiny_terminal_obeys_no_other_key_and_grows_again() -> None:
    source = ScriptedSource(FACTS)
    async with dashboard(source) as (app, pilot):
        await pilot.resize_terminal(30, 5)
        await pilot.pause(0.1)
        assert isinstance(app.screen, TinyScreen)
        assert screen_text(app).startswith("RUN 1/3")
        await pilot.press("s", "y", "S", "space", "x", "2", "enter")
        assert isinstance(app.screen, TinyScreen)
        assert source.commands == []
        await pilot.resize_terminal(80, 24)
        await pilot.pause(0.1)
        assert app.place_of(app.screen) == "main"


async def test_a_dialog_survives_a_terminal_that_shrinks_and_grows() -> None:
    async with dashboard(ScriptedSource(FACTS)) as (app, pilot):
        await pilot.press("colon")
        await pilot.resize_terminal(20, 4)
        await pilot.pause(0.1)
        assert isinstance(app.screen, TinyScreen)
        await pilot.resize_terminal(80, 24)
        await pilot.pause(0.1)
        assert app.screen.query(Input)


async def test_a_source_that_cannot_be_opened_is_said() -> None:
    from specdash.remote.run_source import SourceError

    async def opening() -> ScriptedSource:
        raise SourceError("there is no run\x1b[31m there")

    app = Dashboard(opening, Terminal(UNICODE, "full"))
    async with app.run_test(size=(80, 24)) as pilot:
        await app.workers.wait_for_complete()
        await pilot.pause()
        app.paint_now()
        await pilot.pause()
        assert "no run<1b>" in " ".join(screen_text(app).split())
        await pilot.press("q")
        await pilot.pause()
        assert app.return_value == 0


async def test_a_theme_is_kept_and_the_rest_of_the_settings_too(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('# mine\nfps = 1\n[keys]\n"main.skip" = "w"\n')

    async def opening() -> ScriptedSource:
        return ScriptedSource(FACTS)

    app = Dashboard(opening, Terminal(UNICODE, "full"), load_settings(file))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert app.rate_hz == 1.0
        assert "w" in {key for key, active in app.screen.active_bindings.items() if active.binding.id == "main.skip"}
        app.choose_theme("nord")
        await pilot.pause()
        assert app.theme == "nord"
    assert load_settings(file).theme == "nord"
    assert "# mine" in file.read_text()
    assert load_settings(file).keys == {"main.skip": "w"}


async def test_bad_settings_are_said_and_stop_nothing(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('theme = "no such"\nfsp = 2\n[keys]\n"leave" = "1"\n"help" = "f99"\n')

    async def opening() -> ScriptedSource:
        return ScriptedSource(FACTS)

    app = Dashboard(opening, Terminal(UNICODE, "full"), load_settings(file))
    async with app.run_test(size=(160, 60)) as pilot:
        await pilot.pause()
        said = " ".join(notification.message for notification in app._notifications)
        assert 'Did you mean "fps"?' in said
        assert "no theme no such" in said
        assert '"1" is the key of show.main already' in said
        assert "help" in said
        await pilot.press("q")
        assert isinstance(app.screen, LeaveMenu)


@pytest.mark.parametrize("text", HOSTILE)
def test_text_from_outside_reaches_no_line(text: str) -> None:
    view = RunState(run=started([], name=text, host=text, run_id=text))
    origin = Origin(f"/results/{text}", text, 4711, False, text)
    for gone in (None, Gone(text), Gone(text, lost=True)):
        feed = RunFeed(view, origin=origin, caught_up=True, gone=gone)
        lines = [
            header(feed, 200, 0.0, UNICODE),
            connection(feed, 200, UNICODE, 2.0),
            one_line_status(feed, 200, UNICODE),
            banner(feed, 200, UNICODE) or (),
        ]
        for line in lines:
            assert not _UNSAFE.search(text_of(line)), repr(text_of(line))


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_text_is_told_as_it_is_written(text: str) -> None:
    facts: list[ev.Fact] = [started(STEPS, name=text), *FACTS[1:]]
    async with dashboard(ScriptedSource(facts)) as (app, pilot):
        app.tell(text)
        await pilot.pause()
        await pilot.pause()
        assert not _UNSAFE.search(screen_text(app).replace("\n", ""))
        assert app.is_running


@pytest.mark.parametrize("width", [0, 1, 5, 20, 40, 79, 80, 120, 240])
@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
def test_lines_fit_every_width(width: int, glyphs: Glyphs) -> None:
    feed = RunFeed(
        RunState(run=started(STEPS, name="名前" * 40)), origin=Origin("/r/x", "host" * 20, 1, False, ""), caught_up=True
    )
    for line in (
        header(feed, width, 0.0, UNICODE),
        connection(feed, width, UNICODE, 2.0),
        one_line_status(feed, width, ASCII),
    ):
        assert width_of(line) <= width


def test_a_replay_is_no_engine_that_has_gone() -> None:
    replay = RunFeed(
        RunState(run=started(STEPS)), origin=Origin("/r", "h", None, True, ""), caught_up=True, gone=Gone("over")
    )
    died = RunFeed(
        RunState(run=started(STEPS)), origin=Origin("/r", "h", 7, True, ""), caught_up=True, gone=Gone("it died")
    )
    assert state_word(replay)[0] == "REPLAY"
    assert banner(replay, 80, UNICODE) is None
    assert state_word(died)[0] == "ENGINE GONE"
    assert "specdash resume" in text_of(banner(died, 120, UNICODE) or ())


def test_a_run_that_waits_for_room_on_disk_says_so() -> None:
    live = Telemetry(disk=DiskTick("/r/journal.jsonl: no record can be added"))
    full = RunFeed(RunState(run=started(STEPS)), live, Origin("/r", "h", 7, True, ""), caught_up=True)
    assert state_word(full)[0] == "DISK FULL"
    assert "/r/journal.jsonl: no record can be added" in text_of(banner(full, 120, UNICODE) or ())
    assert "ETA" not in text_of(header(full, 120, 0.0, UNICODE, Range(1.0, 2.0)))
    again = fold_event(full, DiskTick())
    assert state_word(again)[0] == "RUN"
    assert banner(again, 120, UNICODE) is None


def test_a_run_folder_that_was_moved_is_known_by_its_new_place() -> None:
    feed = RunFeed(RunState(run=started(STEPS)), origin=Origin("/r", "h", 7, True, ""), caught_up=True)
    moved = fold_event(feed, Moved("/elsewhere/r")).origin
    assert moved == Origin("/elsewhere/r", "h", 7, True, "")


def test_only_the_end_of_a_run_that_was_watched_is_announced() -> None:
    live = RunFeed(RunState(run=started(STEPS)), caught_up=True)
    over = RunFeed(RunState(run=started(STEPS), finished=ev.RunFinished("finished", 0)), caught_up=True)
    assert run_ended_message(live, over) is not None
    assert run_ended_message(RunFeed(live.view), over) is None, "told while the journal was read: a replay"
    assert run_ended_message(over, over) is None
    assert run_ended_message(live, live) is None
    assert run_ended_message(live, RunFeed(live.view, caught_up=True, gone=Gone("died"))) is not None
    assert run_ended_message(live, RunFeed(live.view, caught_up=True, gone=Gone("line", lost=True))) is None


def test_announcements_carry_no_escape_of_others() -> None:
    assert announcement("x", "off", {}) == ""
    assert announcement("x", "bell", {}) == "\a"
    sent = announcement("done\x07\x1b]52;c;eA==\x07", "osc9", {})
    assert sent.startswith("\x1b]9;done<07><1b>]52")
    assert sent.count("\x1b") == 2
    wrapped = announcement("done", "osc9", {"TMUX": "/tmp/x"})
    assert wrapped == "\x1bPtmux;\x1b\x1b]9;done\x1b\x1b\\\x1b\\\a"
