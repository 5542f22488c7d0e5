"""The panes of the main screen as pure functions: what is said, at which size, of which feed."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specdash.core import events as ev
from specdash.core.forecast import outlook
from specdash.core.lifecycle import TABLE, ServerState
from specdash.core.status import StepStatus
from specdash.core.ticks import GpuUse, ServerTick, TextRun, Tick
from specdash.remote.feed import RunFeed, fold_event
from specdash.remote.run_source import CaughtUp, Event, Gone, Origin
from specdash.ui.tui.lines import text_of, width_of
from specdash.ui.tui.panes.figures import PaneFigures
from specdash.ui.tui.panes.layout import PANES, ViewChoice, main_body, main_layout, stacked_rows
from specdash.ui.tui.panes.memory import memory
from specdash.ui.tui.panes.pane import PaintContext, Pane, age, bar, ceiling, ruled, short_range
from specdash.ui.tui.panes.pane import bar_columns as spark_columns
from specdash.ui.tui.panes.queue import details, queue, queue_table, running
from specdash.ui.tui.panes.server import server, way_up
from specdash.ui.tui.panes.speed import acceptance_pane, speed_pane
from specdash.ui.tui.panes.text import Written, grown, text_pane, wrap_answer
from specdash.ui.tui.table import Position
from specdash.ui.tui.terminal import ASCII, UNICODE
from tests.support import live_runs
from tests.support.recorded_run import loaded, measured, recorded, started, step


def feed(facts: list[ev.Fact] | None = None, ticks: list[Tick] | None = None, *, gone: Gone | None = None) -> RunFeed:
    """The scene, or other facts and ticks, as a feed."""
    found = RunFeed(origin=Origin("/results/run-1", "tower", 4711, True, "0.0"))
    events: list[Event] = [*recorded(live_runs.facts() if facts is None else facts), CaughtUp()]
    for event in [*events, *(live_runs.ticks() if ticks is None else ticks), *([gone] if gone else [])]:
        found = fold_event(found, event)
    return found


def look(of: RunFeed | None = None, *, ascii_only: bool = False) -> PaintContext:
    """What panes are drawn from, with an outlook."""
    of = feed() if of is None else of
    ahead = outlook(of.view) if of.view.run is not None else None
    return PaintContext(of, live_runs.NOW_S, ASCII if ascii_only else UNICODE, PaneFigures(), ahead)


FOLLOWING = Position(follows=True)


def settled(of: PaintContext, place: Position, rows: int) -> Position:
    """The place in the queue as the main screen settles it."""
    return queue_table(of).settled(place, rows, running(of))


def moved(of: PaintContext, place: Position, by: int) -> Position:
    """The place in the queue so many steps further down."""
    return queue_table(of).moved(place, by)


def said(pane: Pane) -> str:
    """Everything that a pane says."""
    return "\n".join([pane.title, text_of(pane.note), *map(text_of, pane.lines)])


class TestServer:
    def test_every_state_of_the_table_is_drawn_and_the_one_of_now_is_marked(self) -> None:
        shown = said(server(look(), 120, 4))
        for state in TABLE:
            assert state.value in shown.lower()
        assert "[BUSY 0:42]" in shown
        assert "[READY" not in shown

    def test_the_way_up_is_read_off_the_table(self) -> None:
        assert way_up() == (
            ServerState.STOPPED, ServerState.STARTING, ServerState.LOADING, ServerState.WARMING,
            ServerState.READY, ServerState.BUSY,
        )  # fmt: skip

    def test_the_state_of_now_is_seen_where_the_line_is_short(self) -> None:
        for width in (30, 40, 50, 60):
            assert "[BUSY 0:42]" in text_of(server(look(), width, 3).lines[0])

    def test_a_server_that_is_dying_says_so_first(self) -> None:
        moves = [*live_runs.moves(), ev.StateChanged("l001", "ready", "over_budget", "aborting", "RAM is full")]
        dying = feed([*live_runs.facts()[:5], *moves], [])
        assert "[ABORTING" in text_of(server(look(dying), 60, 4).lines[0])
        assert "RAM is full" in said(server(look(dying), 80, 6))

    def test_progress_of_a_load_is_called_about(self) -> None:
        facts = [*live_runs.facts()[:2], *loaded("l001", 16)[:1], *live_runs.moves(upto=ServerState.LOADING)]
        tick = ServerTick("l001", "loading", live_runs.NOW_S - 50, 200 * live_runs.GIB, 404 * live_runs.GIB)
        shown = said(server(look(feed(facts, [tick])), 100, 3))
        assert "about  50%" in shown
        assert "200 GiB of 404 GiB read" in shown
        assert "of 3:00" in shown

    def test_unknown_progress_is_no_zero(self) -> None:
        facts = [*live_runs.facts()[:2], *loaded("l001", 16)[:1], *live_runs.moves(upto=ServerState.LOADING)]
        shown = said(server(look(feed(facts, [ServerTick("l001", "loading", live_runs.NOW_S)])), 100, 3))
        assert "progress unknown" in shown
        assert "0%" not in shown

    def test_a_server_started_again_for_the_same_work_is_a_restart(self) -> None:
        again = [*live_runs.facts(), ev.LoadFinished("l001", "failed", error="it died"), *loaded("l002", 16)[:1]]
        assert "1 restart" in said(server(look(feed(again, [])), 120, 3))
        assert "restart" not in said(server(look(), 120, 3))

    def test_a_load_that_the_queue_came_back_to_is_no_restart(self) -> None:
        back = [*live_runs.facts(), ev.LoadFinished("l001", "stopped"), *loaded("l002", 16)[:1]]
        assert "restart" not in said(server(look(feed(back, [])), 120, 3))
        never = [
            started(live_runs.STEPS),
            *loaded("l001", 16)[:1],
            ev.LoadFinished("l001", "failed", error="no such flag"),
        ]
        assert "restart" not in said(server(look(feed([*never, *loaded("l002", 16)[:1]], [])), 120, 3))

    def test_several_servers_have_a_row_each(self) -> None:
        facts = [started(live_runs.STEPS), *loaded("l001", 16), *loaded("l002", 8)[:2], *loaded("l003", None)[:1]]
        ticks = [
            ServerTick("l001", "busy", live_runs.NOW_S - 42),
            ServerTick("l002", "ready", live_runs.NOW_S - 7),
            ServerTick("l003", "loading", live_runs.NOW_S - 3, 100, 400),
            live_runs.token(request="r1", rate_tok_s=10.0),
            live_runs.token(request="r2", rate_tok_s=4.5, tokens=6),
        ]
        pane = server(look(feed(facts, ticks)), 80, 3)
        first, second, third = map(text_of, pane.lines)
        assert all(width_of(line) <= 80 for line in pane.lines)
        assert "l001 [BUSY 0:42]  2 requests, 70 tokens  14.5 tok/s  72B Q8_0" in first
        assert "l002 [READY 0:07]  72B Q8_0" in second
        assert "l003 [LOADING 0:03]  about  25%  72B Q8_0" in third
        assert "3 at work" in text_of(pane.note)
        assert "and 2 more" in said(server(look(feed(facts, ticks)), 80, 2))
        screen = main_body(look(feed(facts, ticks)), ViewChoice(), 80, 24)
        assert sum("[" in text_of(line) and text_of(line).lstrip().startswith("l00") for line in screen.lines) == 3
        over = [live_runs.token(request="r1", done=True), live_runs.token(request="r2", rate_tok_s=4.5, tokens=6)]
        assert "  6/101 tokens  4.5" in said(server(look(feed(facts, [*ticks, *over])), 80, 3))

    def test_of_several_servers_that_end_the_last_is_drawn_as_one_alone_is(self) -> None:
        both = [started(live_runs.STEPS), *loaded("l001", 16), *loaded("l002", 8)[:2]]
        one = server(look(feed([*both, ev.LoadFinished("l001", "stopped")], [])), 80, 3)
        assert one.title == "Server"
        assert "load l002" in text_of(one.note)

    def test_a_load_that_failed_says_why_and_what_to_do(self) -> None:
        failed = ev.LoadFinished(
            "l001", "failed", error="error: invalid argument: --nope", hint="PaintContext at [engine] args."
        )
        of = feed([started(live_runs.STEPS), *loaded("l001", 16)[:1], failed], [])
        for width, rows in ((80, 2), (80, 4), (120, 3), (200, 9)):
            shown = said(server(look(of), width, rows))
            assert "load l001 failed: error: invalid argument: --nope" in shown
            assert "PaintContext at [engine] args." in shown
            assert "no step is running" not in shown
        assert "invalid argument" in said(server(look(of), 80, 1))
        short = ev.LoadFinished("l001", "failed", error="it exited")
        lost = ev.StepFinished(live_runs.BASELINE.id, "l001", StepStatus.FAILED, error="it exited: bad flag")
        told = [started(live_runs.STEPS), *loaded("l001", 16)[:1], lost, short]
        assert "load l001 failed: it exited: bad flag" in said(server(look(feed(told, [])), 80, 2))
        going_on = feed([started(live_runs.STEPS), *loaded("l001", 16)[:1], failed, *loaded("l002", 8)[:1]], [])
        assert "invalid argument" not in said(server(look(going_on), 80, 4))

    def test_a_long_reason_leaves_room_for_what_to_do(self) -> None:
        failed = ev.LoadFinished("l001", "failed", error="word " * 90, hint="Do this. " * 40)
        pane = server(look(feed([started(live_runs.STEPS), *loaded("l001", 16)[:1], failed], [])), 80, 2)
        assert [text_of(line).split()[0] for line in pane.lines] == ["load", "Do"]
        assert text_of(pane.lines[0]).rstrip().endswith("…")

    def test_a_run_in_which_no_server_was_started_says_why(self) -> None:
        told = [
            started(live_runs.STEPS),
            ev.StepFinished(live_runs.BASELINE.id, "", StepStatus.FAILED, error="the file is gone"),
        ]
        over = feed([*told, ev.RunFinished("finished", 3)], [])
        assert "no server was started: the file is gone" in said(server(look(over), 80, 2))

    def test_a_request_has_an_age_only_while_it_is_in_flight(self) -> None:
        assert "request 0:42" in said(server(look(), 120, 3))
        ready = [*live_runs.ticks(), ServerTick("l001", "ready", live_runs.NOW_S)]
        idle = said(server(look(feed(ticks=ready)), 120, 3))
        assert "  request " not in idle
        assert "tokens" not in idle
        assert "paused" not in idle
        paused = [*live_runs.facts(), ev.CommandAccepted("pause")]
        assert "  paused" in said(server(look(feed(paused, ready)), 120, 3))
        assert "request 0:42" in said(server(look(feed(paused)), 120, 3))

    def test_the_running_step_is_never_left_out(self) -> None:
        assert "step 6/9" in text_of(server(look(), 80, 1).lines[0])

    def test_nothing_known_is_drawn_too(self) -> None:
        for rows in range(6):
            assert len(server(look(RunFeed()), 80, rows).lines) <= rows


class TestSpeed:
    def test_now_step_and_baseline_stand_on_the_rule(self) -> None:
        shown = text_of(speed_pane(look(), 120, 2).note)
        assert "now   14.8" in shown
        assert "step 14.6" in shown
        assert "x1.83 vs base 8.00" in shown
        assert "best 14.6 (step 6)" in shown

    def test_a_stalled_answer_is_told_where_the_eye_is(self) -> None:
        stalled = look(feed(ticks=[*live_runs.ticks(), live_runs.token(silent_s=12.0)]))
        assert text_of(speed_pane(stalled, 80, 2).note) == "no token for 0:12 (server is busy)"
        assert speed_pane(stalled, 80, 2).note[0][1] == "warn"
        fine = look(feed(ticks=[*live_runs.ticks(), live_runs.token(silent_s=9.0)]))
        assert "no token" not in said(speed_pane(fine, 80, 2))

    def test_a_replay_draws_samples_in_order_of_time(self) -> None:
        over = look(feed(ticks=[], gone=Gone("the run is over")))
        pane = speed_pane(over, 80, 1)
        assert "of each sample" in pane.title
        drawn = text_of(pane.lines[0])
        assert len(drawn.split("│")[1].strip()) == sum(len(found.samples) for found in over.feed.view.steps.values())
        assert "now" not in text_of(pane.note)

    def test_a_gap_is_no_zero(self) -> None:
        assert spark_columns([None, 0.0, 8.0], 3, 1, 8.0, UNICODE.ramp) == [" ▁█"]

    def test_two_rows_hold_twice_the_levels(self) -> None:
        assert spark_columns([4.0, 8.0, 6.0], 3, 2, 8.0, UNICODE.ramp) == [" █▄", "███"]

    @given(st.lists(st.one_of(st.none(), st.floats(0, 1e6))), st.integers(0, 50), st.integers(0, 5))
    def test_graphs_keep_to_their_room(self, values: list[float | None], width: int, rows: int) -> None:
        drawn = spark_columns(values, width, rows, ceiling(values), ASCII.ramp)
        assert all(len(row) == width for row in drawn)
        assert ceiling(values) >= max((value for value in values if value is not None), default=0)

    def test_acceptance_proves_that_the_draft_is_used(self) -> None:
        pane = acceptance_pane(look(), 80, 3)
        assert "K 8 asked, up to 8 drafted" in said(pane)
        assert "1:0.75" in said(pane)
        assert "K seen 8" in text_of(acceptance_pane(look(), 80, 1).note)

    def test_a_draft_that_is_loaded_and_not_used_is_a_warning(self) -> None:
        running = live_runs.RUNNING
        facts = [started(live_runs.STEPS), *loaded("l001", 16), ev.StepStarted(running.id, "l001", "fp")]
        quiet = replace(live_runs.facts()[-1].sample, k_seen=None, draft_tokens=0, accepted_tokens=0)  # type: ignore[attr-defined]
        facts.append(ev.SampleTaken(running.id, "l001", quiet, 1.0))
        pane = acceptance_pane(look(feed(facts, [])), 80, 3)
        assert ("nothing drafted yet", "warn") in [span for line in pane.lines for span in line]

    def test_a_baseline_has_no_acceptance(self) -> None:
        of = feed([started([step()]), *loaded("l001"), *measured(step(), [8.0])[:-1]], [])
        assert text_of(acceptance_pane(look(of), 80, 2).note) == "no draft in this step"


class TestMemory:
    def test_everything_is_said_in_two_rows(self) -> None:
        shown = said(memory(look(), 80, 2))
        for part in (
            "431/768 GiB",
            "wired 404/720 GiB limit",
            "swap 0 B",
            "121/139 GiB",
            "61 °C",
            "412 W",
            "memory ok",
        ):
            assert part in shown

    def test_danger_is_a_word_and_names_what_it_is(self) -> None:
        tick = replace(live_runs.MEMORY, available_bytes=10 * live_runs.GIB)
        pane = memory(look(feed(ticks=[tick])), 100, 8)
        assert text_of(pane.note).startswith("danger: RAM")
        assert any(style == "bad" for line in pane.lines for _, style in line)
        assert "danger" in text_of(pane.lines[0])

    def test_a_throttled_gpu_says_why(self) -> None:
        gpu = GpuUse("H200", 10 * live_runs.GIB, 139 * live_runs.GIB, throttled="too hot")
        assert "throttled: too hot" in said(memory(look(feed(ticks=[replace(live_runs.MEMORY, gpus=(gpu,))])), 100, 8))

    def test_what_is_missing_says_why(self) -> None:
        why = "no NVIDIA driver answers (not found)"
        tick = replace(live_runs.MEMORY, gpus=(), missing=(why,), wired_bytes=None, server_locked_bytes=None)
        assert why in said(memory(look(feed(ticks=[tick])), 100, 8))
        assert why in said(memory(look(feed(ticks=[tick])), 100, 2))
        assert "wired -" in said(memory(look(feed(ticks=[tick])), 100, 2))

    def test_a_finished_run_tells_of_its_peaks(self) -> None:
        facts = [*live_runs.facts(), ev.LoadFinished("l001", "stopped", 410 * live_runs.GIB)]
        shown = said(memory(look(feed(facts, [], gone=Gone("over"))), 80, 3))
        assert "peak of l001: 410 GiB" in shown

    def test_an_unknown_share_is_no_empty_bar(self) -> None:
        assert bar(None, 4, UNICODE) == "????"
        assert bar(0.5, 4, UNICODE) == "██░░"


class TestQueue:
    def test_states_are_words(self) -> None:
        shown = said(queue(look(), settled(look(), FOLLOWING, 9), 100, 10))
        for word in ("ok", "FAILED", "ok noisy", "RUN 2/5", "queued"):
            assert word in shown

    def test_the_window_follows_the_run(self) -> None:
        assert settled(look(), FOLLOWING, 3) == Position(live_runs.RUNNING.id, 4, follows=True)

    def test_a_cursor_that_was_moved_stays_and_is_seen(self) -> None:
        here = settled(look(), moved(look(), settled(look(), FOLLOWING, 3), -100), 3)
        assert here == Position(live_runs.BASELINE.id, 0, follows=False)
        last = settled(look(), moved(look(), here, 100), 3)
        assert last.cursor == live_runs.STEPS[-1].id
        assert last.top == len(live_runs.STEPS) - 3

    def test_a_cursor_on_a_step_that_was_removed_goes_back_to_the_run(self) -> None:
        assert settled(look(), Position("gone", 0, follows=False), 3).cursor == live_runs.RUNNING.id

    def test_columns_that_all_have_in_common_are_left_out(self) -> None:
        assert "config" not in [column.name for column, _ in queue_table(look()).layout(160).columns]
        varied = [step(), step(2, config="f16"), step(2, config="q8", depth=4096)]
        names = [column.name for column, _ in queue_table(look(feed([started(varied)], []))).layout(160).columns]
        assert "config" in names
        assert "depth" in names
        assert "moe_experts" not in names

    def test_rows_keep_their_columns(self) -> None:
        pane = queue(look(), settled(look(), FOLLOWING, 9), 80, 10)
        assert len({width_of(line) for line in pane.lines} - {80}) == 1  # the row of the cursor goes to the edge

    def test_labels_of_any_width_and_content_keep_the_table_together(self) -> None:
        evil = [step(), step(2, category="漢字\x1b[31m" * 9), step(4, category="a" * 300)]
        pane = queue(look(feed([started(evil)], [])), Position(evil[0].id), 80, 4)
        assert {width_of(line) for line in pane.lines} == {80}
        assert "\x1b" not in said(pane)

    def test_skipped_by_you_is_told_from_skipped(self) -> None:
        from specdash.core import commands as cmd

        edit = ev.CommandAccepted(cmd.EDIT, "", (cmd.Skip((live_runs.STEPS[8].id,)),))
        shown = said(queue(look(feed([*live_runs.facts(), edit])), FOLLOWING, 80, 10))
        assert "skip (you)" in shown


class TestText:
    def test_drafted_text_has_its_own_style(self) -> None:
        written = grown(None, live_runs.token())
        spans = [span for line in text_pane(look(), written, 80, 8).lines for span in line]
        assert ("radius: float) -> float:", "draft") in spans
        assert ("def area(", "") in spans

    def test_the_legend_says_it_in_words(self) -> None:
        pane = text_pane(look(), grown(None, live_runs.token()), 80, 8)
        assert pane.note == (("drafted, accepted", "draft"), ("  ", ""), ("target's own", ""))

    def test_server_output_is_only_text(self) -> None:
        evil = live_runs.token(text=(TextRun("a\x1b[2Jb\x07\x9b31m\u202ec\r\n[bold]x[/]", True),))
        shown = "".join(text_of(line) for line in wrap_answer(grown(None, evil), 40))
        assert shown == "a<1b>[2Jb<07><9b>31m<202e>c<0d>[bold]x[/]"

    def test_a_beginning_that_was_cut_off_is_joined_to_what_was_there(self) -> None:
        long = "".join(f"word{number} " for number in range(900))
        before = grown(None, live_runs.token(text=(TextRun(long[:4000], True),)))
        after = grown(before, live_runs.token(text=(TextRun(long[300:4300], False),)))
        assert after.text == long[:4300]
        assert after.drafted[:300] == "1" * 300

    def test_another_request_begins_anew(self) -> None:
        before = grown(None, live_runs.token())
        after = grown(before, live_runs.token(started_s=live_runs.NOW_S, text=(TextRun("new", False),)))
        assert after.text == "new"

    def test_one_more_word_leaves_the_lines_above_as_they_are(self) -> None:
        words = [f"word{number} " for number in range(400)]
        pages = [
            text_pane(look(), Written(("l", 0.0), "".join(words[:n]), "0" * len("".join(words[:n]))), 40, 8).lines
            for n in range(200, 260)
        ]
        moved_pages = sum(1 for a, b in pairwise(pages) if a[:3] != b[:3])
        assert moved_pages <= 4

    @given(st.text(max_size=300), st.integers(1, 40))
    def test_nothing_is_lost_and_nothing_is_too_wide(self, what: str, width: int) -> None:
        lines = wrap_answer(Written(("l", 0.0), what, "0" * len(what)), width)
        assert all(width_of(line) <= max(width, 2) for line in lines)

    def test_words_are_not_broken_where_they_fit(self) -> None:
        lines = wrap_answer(Written(("l", 0.0), "one two three", "0" * 13), 7)
        assert [text_of(line).rstrip() for line in lines] == ["one two", "three"]


class TestLayout:
    def test_every_size_has_a_layout(self) -> None:
        assert main_layout(60, 20) == "single"
        assert main_layout(80, 21) == "stacked"
        assert main_layout(120, 33) == "columns"

    @pytest.mark.parametrize("height", range(12, 70))
    def test_stacked_panes_fill_the_height(self, height: int) -> None:
        rows = stacked_rows(height, "text")
        assert sum(rows.values()) + len(rows) == height
        assert {"server", "memory", "queue"} <= set(rows)
        assert rows["server"] >= 1
        assert rows["memory"] >= 1

    @pytest.mark.parametrize("kind", ["busy", "empty", "over"])
    @pytest.mark.parametrize("ascii_only", [False, True])
    def test_every_size_is_drawn_within_its_bounds(self, kind: str, ascii_only: bool) -> None:
        of = {"busy": feed(), "empty": RunFeed(), "over": feed(ticks=[], gone=Gone("over"))}[kind]
        seen = look(of, ascii_only=ascii_only)
        for width in (1, 2, 5, 20, 39, 79, 80, 100, 119, 120, 160, 240):
            for height in (0, 1, 2, 5, 11, 12, 16, 21, 33, 45, 57, 80):
                for pane in PANES if width < 80 else PANES[:1]:
                    body = main_body(seen, ViewChoice(pane=pane), width, height)
                    assert len(body.lines) == height
                    assert all(width_of(line) <= width for line in body.lines)
                    if ascii_only and kind != "busy":
                        assert "\n".join(map(text_of, body.lines)).isascii()

    def test_a_rule_has_the_whole_width(self) -> None:
        for width in range(10, 60):
            assert width_of(ruled(Pane("Queue", (("follows", "dim"),)), width, UNICODE)) == width


class TestDetails:
    def test_a_failed_step_says_why_and_on_which_server(self) -> None:
        of = look()
        shown = "\n".join(map(text_of, details(of, of.feed.view.steps[live_runs.FAILED.id], 72)))
        assert "FAILED" in shown
        assert "it is failed" in shown
        assert "llama-server -m '/models/big model.gguf'" in shown

    def test_a_verdict_comes_with_what_to_do(self) -> None:
        of = look()
        lines = details(of, of.feed.view.steps[live_runs.STEPS[4].id], 72)
        shown = " ".join(text_of(line).strip() for line in lines)
        assert "close other programs, or raise iterations" in shown
        assert all(width_of(line) <= 80 for line in lines)
        assert sum(text_of(line).startswith(" #") for line in lines) == 5


def test_times_are_short_and_never_below_zero() -> None:
    assert [age(value) for value in (-3.0, 42.9, 725, 11_220, 183_600, None, float("nan"))] == [
        "0:00", "0:42", "12:05", "3h07m", "2d03h", "-", "-"
    ]  # fmt: skip
    assert short_range(None) == "-"
