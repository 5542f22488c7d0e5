"""What to use, as the screens tell it: when it is worked out, in which words, and how a command line is copied."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from specdash.analysis.figures import FiguresCache
from specdash.core import events as ev
from specdash.core.axes import NONE, Values
from specdash.core.reduce import fold
from specdash.core.state import RunState
from specdash.core.steptable import Tally
from specdash.core.ticks import ServerTick
from specdash.remote.run_source import Gone
from specdash.store.result_json import from_document
from specdash.ui.tui import app as application
from specdash.ui.tui.app import Dashboard
from specdash.ui.tui.lines import text_of, width_of
from specdash.ui.tui.panes.advice import (
    advice_pane,
    measurement_remarks,
    recommendation_details,
    recommendation_text,
    strip,
)
from specdash.ui.tui.recommendations import (
    Recommendations,
    RecommendationUpdater,
    recommendations_of,
    work_out,
)
from specdash.ui.tui.results.curve import predicted_of
from specdash.ui.tui.results.detail import choice_finding, curve_finding
from specdash.ui.tui.results.heatmap import arms_of_variant, best_of
from specdash.ui.tui.screens.advice import AdviceWindow
from specdash.ui.tui.terminal import ASCII, UNICODE, Glyphs, Terminal
from tests.support import advised_run as run
from tests.support import live_runs
from tests.support.dashboards import SIZES, ScriptedSource, dashboard, screen_text
from tests.support.recorded_run import DRAFT, TARGET, folded, measured, recorded, step
from tests.support.rendering import recommendation

OVER = Gone("the run is over")


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The advice of the run, known beforehand."""
    monkeypatch.setattr(application, "work_out", known)


def known(view: RunState, _figures: object = None) -> Recommendations:
    return recommendations_of(from_document(run.document(view)), view)


def words(lines: Any) -> str:
    return " ".join(" ".join(text_of(line).split()) for line in lines)


def body(app: Dashboard) -> str:
    """The screen between its header and the connection line, which tell the time."""
    return "\n".join(screen_text(app).splitlines()[1:-2])


# -- when it is worked out --------------------------------------------------------------------------------------------


def test_it_is_asked_for_again_when_a_step_is_over_and_not_for_samples() -> None:
    adviser, facts = RecommendationUpdater(), recorded(run.facts(until=3))
    at = next(number for number, each in enumerate(facts) if isinstance(each.fact, ev.StepFinished))
    view = RunState()
    for each in facts[: at + 1]:
        view = fold(view, each)
    assert adviser.is_behind(view)
    assert adviser.is_due(view)
    adviser.begin(view)
    assert not adviser.of(view).is_known
    adviser.take(view, Recommendations(True), 0.0)
    assert adviser.of(view).is_known
    behind = []
    for each in facts[at + 1 :]:
        view = fold(view, each)
        behind.append(adviser.is_behind(view))
    kinds = [type(each.fact) for each in facts[at + 1 :]]
    assert behind == [ev.StepFinished in kinds[: number + 1] for number in range(len(kinds))]
    assert not adviser.is_due(view)  # another one this soon would cost too much


def test_costly_advice_is_rare_and_the_end_of_a_run_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("specdash.ui.tui.recommendations.time.monotonic", lambda: now[0])
    adviser, view = RecommendationUpdater(), folded(run.facts(until=6))
    adviser.begin(view)
    adviser.take(view, Recommendations(True), 2.0)
    now[0] += 99.0
    assert not adviser.is_due(view)
    end = replace(view, finished=ev.RunFinished("finished", 0))
    assert adviser.is_due(end)
    adviser.begin(end)
    assert not adviser.is_due(end)
    now[0] += 2.0
    assert adviser.is_due(end)


def test_another_run_begins_with_nothing_and_late_advice_of_the_one_before_is_dropped() -> None:
    adviser, first, second = RecommendationUpdater(), folded(run.facts()), folded(live_runs.facts())
    adviser.begin(first)
    adviser.take(first, Recommendations(True), 0.0)
    assert not adviser.of(second).is_known
    adviser.begin(second)
    adviser.take(first, Recommendations(True), 0.0)
    assert not adviser.of(second).is_known


def test_a_document_that_cannot_be_made_is_said_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(view: RunState, figures: object) -> None:
        raise ZeroDivisionError("no samples")

    monkeypatch.setattr("specdash.analysis.build_result.result_of", broken)
    found = work_out(folded(run.facts()))
    assert "could not be worked out: ZeroDivisionError: no samples" in words(strip(found, TARGET, 1, 80, UNICODE))


def test_what_screens_keep_of_a_real_document_is_by_target_and_step() -> None:
    view = folded(run.facts(until=6))
    found = work_out(view)
    assert [(group.name, group.tally) for group in found.groups] == [
        (TARGET, Tally(measured=6)), (run.SMALL, Tally(open=4)),
    ]  # fmt: skip
    assert set(found.measurements) == {step_id for step_id, each in view.steps.items() if each.is_done}
    assert not found.is_over
    mine = found.of(run.SMALL, Values({"config": "a config that there is not"}))
    assert mine is not None
    assert mine.target == run.SMALL


# -- words ------------------------------------------------------------------------------------------------------------


def test_a_choice_off_and_not_yet_are_told() -> None:
    found = known(folded(run.facts(until=8)))
    big, small = found.groups
    assert recommendation_text(big, is_over=False) == (
        "use 0.5B with K = 8: 1.85 times as fast (1.82 to 1.88), 18.5 tok/s instead of 10.0", "faster",
    )  # fmt: skip
    assert recommendation_text(small, is_over=False)[0] == "not yet: 2 of 4 steps measured"
    assert recommendation_text(small, is_over=True)[0].endswith("(2 of 4 steps measured)")
    assert recommendation_text(small, is_over=True)[0].startswith("off: no draft is faster")
    partly = replace(big, tally=Tally(measured=3, open=3))
    assert recommendation_text(partly, is_over=False)[0] == (
        "not yet: 3 of 6 steps measured; so far 0.5B with K = 8: 1.85x (1.82 to 1.88), 18.5 tok/s"
    )
    assert (
        recommendation_text(replace(big, choices=()), is_over=True)[0]
        == "nothing can be recommended (6 of 6 steps measured)"
    )


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
@pytest.mark.parametrize("width", [40, 60, 80, 160])
def test_lines_never_leave_their_room(glyphs: Glyphs, width: int) -> None:
    found = known(folded(run.facts()))
    nasty = replace(found.groups[0], target="\x1b[31m" + "名前" * 60, choices=())
    for each in (found, replace(found, groups=(nasty, *found.groups)), Recommendations(), Recommendations(True)):
        for most in (0, 1, 3):
            lines = strip(each, run.SMALL, most, width, glyphs)
            assert len(lines) <= most
            assert all(width_of(line) <= width for line in lines)
        for rows in (0, 1, 2, 4, 9):
            pane = advice_pane(each, width, rows, glyphs)
            assert len(pane.lines) <= rows
            assert "\x1b" not in words(pane.lines)
            if glyphs is ASCII and each is found:
                assert words(pane.lines).isascii()
    whole = recommendation_details(found.groups[0], width, is_over=True)
    command = next(at for at, line in enumerate(whole) if "command line" in text_of(line))
    assert all(width_of(line) <= width for line in whole[command:])
    assert "".join(text_of(line)[1:] for line in whole[command + 1 :]) == run.COMMAND


def test_the_target_under_the_cursor_comes_first_where_there_is_room_for_one() -> None:
    found = known(folded(run.facts()))
    assert words(strip(found, TARGET, 1, 100, UNICODE)).startswith(TARGET)
    assert words(strip(found, run.SMALL, 1, 100, UNICODE)).startswith(run.SMALL)
    assert "1 of 2" in words(strip(found, TARGET, 1, 200, UNICODE))
    assert words(strip(found, run.SMALL, 3, 200, UNICODE)).startswith(TARGET)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (None, []),
        ({"lossless": None, "roofline": None}, []),
        (
            {"lossless": {"state": "output_differs", "reason": "token 17 is another one"}},
            [("text", "DIFFERS: token 17 is another one", "bad")],
        ),
        (
            {"lossless": {"state": "near_tie", "reason": "0.02 nats at token 41"}},
            [("text", "near tie: 0.02 nats at token 41", "")],
        ),
        (
            {"roofline": {"bound_tok_s": 20.0, "share": 1.25, "reason": ""}},
            [("bound", "20.0 tok/s by memory bandwidth; the rate is 125% of that", "bad")],
        ),
        (
            {"roofline": {"bound_tok_s": None, "share": None, "reason": "the model fits the cache"}},
            [("bound", "none: the model fits the cache", "dim")],
        ),
    ],
)
def test_remarks_on_a_measurement(entry: Any, said: list[tuple[str, str, str]]) -> None:
    assert measurement_remarks(entry) == said


def test_predicted_points_are_those_of_the_pair_and_the_category() -> None:
    found = known(folded(run.facts()))
    curves = predicted_of(found, (TARGET, DRAFT), NONE, "prose")
    assert list(curves) == ["all", "prose"]
    assert [k for k, _, _ in curves["all"]] == list(range(1, run.K_MAX + 1))
    assert predicted_of(found, (run.SMALL, DRAFT), NONE, None) == {}
    key = (TARGET, NONE, DRAFT, "all")
    odd: list[dict[str, Any]] = [
        {"k": 1, "predicted_tok_s": float("nan"), "predicted_ci95": None},
        {"k": 2, "predicted_tok_s": 11.0, "predicted_ci95": [None, 12.0]},
        {"k": 3, "predicted_tok_s": None},
    ]
    assert predicted_of(Recommendations(curves={key: tuple(odd)}), (TARGET, DRAFT), NONE, None) == {
        "all": ((2, 11.0, (11.0, 12.0)),)
    }


def test_the_recommended_k_is_told_beside_the_best_mean() -> None:
    view = folded(run.facts())
    found, book = known(view), FiguresCache()
    book.update(view, 10.0)
    best = best_of({k: arm for k, arm in arms_of_variant(book, NONE)[TARGET, DRAFT].items() if k is not None})
    assert best is not None
    k = best.step.k
    for chosen, said in ((1, f"use best mean K = {k}, recommended K = 1: tied"), (k, "")):
        choice = recommendation({"target": TARGET, "draft": DRAFT, "k": chosen, "tied": [{"draft": DRAFT, "k": k}]})
        groups = tuple(replace(each, choices=(choice,)) for each in found.groups if each.target == TARGET)
        lines = choice_finding(book, replace(found, groups=groups), (TARGET, DRAFT), NONE, 100)
        assert words(lines) == said


def test_the_best_predicted_k_and_its_edge_are_findings() -> None:
    found = known(folded(run.facts()))
    key = (TARGET, NONE, DRAFT, "all")
    rows = tuple({**each, "at_edge": True, "off": each["k"] == 3} for each in found.curves[key])
    said = words(curve_finding(replace(found, curves={key: rows}), (TARGET, DRAFT), NONE, 100))
    assert "K=8 predicted best, 18.50 [17.76,19.24] tok/s; the largest K that this load can tell of" in said
    assert "measured off it: K=3" in said
    assert curve_finding(found, (run.SMALL, DRAFT), NONE, 100) == []


# -- screens ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_the_results_with_a_curve_and_a_recommendation(
    size: tuple[int, int], snapshot: SnapshotAssertion
) -> None:
    async with dashboard(ScriptedSource(run.facts(), gone=OVER), size=size, show="results") as (app, pilot):
        await app.workers.wait_for_complete()
        shots = []
        for keys in (("c",), ("c", "enter", "up", "left")):
            await pilot.press(*keys)
            await pilot.pause()
            shots.append(body(app))
        assert "\n\n".join(shots) == snapshot


async def test_ascii_without_colours_tells_predicted_from_measured() -> None:
    source = ScriptedSource(run.facts(), gone=OVER)
    async with dashboard(source, terminal=Terminal(ASCII, "none"), show="results") as (app, pilot):
        await app.workers.wait_for_complete()
        await pilot.press("c")
        await pilot.pause()
        text = screen_text(app)
    assert "o all   ~ predicted   . no draft" in text
    assert text.count("~") > 15
    assert text.isascii()


async def test_a_command_line_is_shown_whole_and_copied() -> None:
    async with dashboard(ScriptedSource(run.facts(), gone=OVER), show="results") as (app, pilot):
        await pilot.press("a")
        await pilot.pause()
        assert isinstance(app.screen, AdviceWindow)
        text = "".join(re.findall(r"^[^|]*\|\s?(.*?)\s?\|", screen_text(app), re.MULTILINE))
        assert run.COMMAND.replace(" ", "") in text.replace(" ", "")
        assert "prose" in text
        await pilot.press("y")
        assert app.clipboard == run.COMMAND
        await pilot.press("right")
        await pilot.pause()
        assert run.SMALL in screen_text(app)
        await pilot.press("y")
        assert app.clipboard == "llama-server -m /models/small.gguf"
        await pilot.press("right", "a")
        await pilot.pause()
        assert not isinstance(app.screen, AdviceWindow)


async def test_nothing_is_copied_where_there_is_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "work_out", lambda view, figures: Recommendations(True))
    async with dashboard(ScriptedSource(run.facts(), gone=OVER)) as (app, pilot):
        await pilot.press("a")
        await pilot.pause()
        assert "nothing is known yet" in screen_text(app)
        await pilot.press("y", "right")
        assert app.clipboard == ""


async def test_the_main_screen_tells_it_where_no_text_can_come_any_more() -> None:
    async with dashboard(ScriptedSource(run.facts(), gone=OVER)) as (app, _):
        assert "use 0.5B with K = 8" in screen_text(app) or "0.5B with K = 8: 1.85x" in screen_text(app)
        assert "off: no draft" in screen_text(app)
    async with dashboard(ScriptedSource(run.facts(until=8), live_runs.ticks()), size=(160, 48)) as (app, _):
        assert "Recommendation" in screen_text(app)
        assert "7B Q4_K_M: not yet: 2 of 4 steps measured" in screen_text(app)
        assert "def area(" in screen_text(app)


async def test_nothing_is_worked_out_for_a_screen_that_does_not_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[RunState] = []

    def counted(view: RunState, figures: object) -> Recommendations:
        asked.append(view)
        return Recommendations(True)

    monkeypatch.setattr(application, "work_out", counted)
    async with dashboard(ScriptedSource(run.facts(until=8), live_runs.ticks())) as (app, pilot):
        app.paint_now()
        await pilot.pause()
        assert asked == []
        app.action_show("results")
        await app.workers.wait_for_complete()
        await pilot.pause()
        app.paint_now()
        await app.workers.wait_for_complete()
        assert len(asked) == 1


async def test_keys_are_answered_while_it_is_worked_out(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def slow(view: RunState, figures: object) -> Recommendations:
        assert go_on.wait(30.0)
        return known(view)

    async def opening() -> ScriptedSource:
        return ScriptedSource(run.facts(), gone=OVER)

    monkeypatch.setattr(application, "work_out", slow)
    app = Dashboard(opening, Terminal(UNICODE, "full"))
    async with app.run_test(size=(80, 24)) as pilot:
        while not app.feed.caught_up:
            await pilot.pause()
        try:
            app.action_show("results")
            await pilot.pause()
            app.paint_now()
            await pilot.pause()
            assert "working it out" in screen_text(app)
            await pilot.press("down")
            await pilot.pause()
            assert f"{run.SMALL} + {DRAFT}" in screen_text(app)
        finally:
            go_on.set()
        await app.workers.wait_for_complete()
        app.paint_now()
        await pilot.pause()
        assert "off: no draft" in screen_text(app)


async def test_the_plan_is_shown_as_it_changes() -> None:
    async with dashboard(ScriptedSource(run.facts(until=6, stages=0)), show="queue") as (app, pilot):
        assert "plan" not in body(app)
        assert "pass 2" not in body(app)
        app.action_show("main")
        await pilot.pause()
        assert "pass 2 ──" not in body(app)
    async with dashboard(ScriptedSource(run.facts(until=6)), show="queue") as (app, pilot):
        assert "plan  the loads once more in mirrored order" in body(app)
        assert "predicted to be 8" not in body(app)  # one line, the newest, where the screen is low
        lines = screen_text(app).splitlines()
        at = next(y for y, line in enumerate(lines) if " 8 x " in line)
        await pilot.click(offset=(30, at))
        await pilot.pause()
        assert "▶" in screen_text(app).splitlines()[at]
        app.action_show("main")
        await pilot.pause()
        assert "pass 2 ──" in body(app)
    async with dashboard(ScriptedSource(run.facts(until=4, stages=1))) as (app, _):
        assert "confirm 72B Q8_0 + 0.5B ──" in body(app)
    long = ev.PlanChanged("why", 1, stage="confirm " + "a target of a long name " * 4)
    async with dashboard(ScriptedSource([*run.facts(until=4, stages=0), long])) as (app, _):
        assert "confirm a target of" in body(app)
        assert "… ──" in body(app)
    async with dashboard(ScriptedSource(run.facts(until=6)), size=(160, 48), show="queue") as (app, _):
        text = body(app)
        assert text.index("predicted to be 8") < text.index("the loads once more")


@pytest.mark.parametrize(("purpose", "said"), [("check", "comparing texts"), ("cost", "measuring step costs")])
async def test_requests_that_are_no_samples_are_named(purpose: str, said: str) -> None:
    now = [ServerTick("l001", "busy", live_runs.NOW_S), live_runs.token(purpose=purpose, block=None)]
    async with dashboard(ScriptedSource(live_runs.facts(), now)) as (app, _):
        assert said in screen_text(app)


async def test_a_step_tells_whether_its_text_is_the_targets_own() -> None:
    async with dashboard(ScriptedSource(run.facts(), gone=OVER), size=(120, 36)) as (app, pilot):
        await pilot.press("G", "enter")
        await app.workers.wait_for_complete()
        await pilot.pause()
        text = screen_text(app)
    assert "text: identical: the same tokens as the baseline's for 3 prompts" in text
    assert "bound: 32.1 tok/s by memory bandwidth; the rate is 58% of that" in text


def test_a_retried_step_makes_advice_stale() -> None:
    adviser, view = RecommendationUpdater(), folded(run.facts(until=6))
    adviser.begin(view)
    more = folded([*run.facts(until=6), *measured(step(4, target=run.SMALL), [9.0, 9.1])])
    assert adviser.is_behind(replace(more, run=view.run))
