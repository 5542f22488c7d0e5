"""The runs screen: earlier runs from their journals, opened, resumed, filtered, compared."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual import events

from specdash.core import events as ev
from specdash.store import runs as store
from specdash.store.journal import Journal
from specdash.ui.tui import run_launcher
from specdash.ui.tui.runs import compare_lines, compare_runs, newest_first
from specdash.ui.tui.terminal import UNICODE
from tests.support.dashboards import SIZES, ScriptedSource, dashboard, screen_text
from tests.support.recorded_run import folded, measured, recorded, started, step

STEPS = [step(), step(k=4), step(k=8)]


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one results folder that this user has used."""
    folder = tmp_path / "results"
    folder.mkdir()
    monkeypatch.setattr(store, "_state_dir", lambda: tmp_path / "state")
    store.remember(folder)
    return folder


def write_run(results: Path, name: str, facts: list[ev.Fact], monkeypatch: pytest.MonkeyPatch, day: int = 21) -> Path:
    path = results / f"hw_llama-server_{name}_202611{day}T100000Z"
    path.mkdir()
    now = iter(record.time_s + (day - 21) * 86400 for record in recorded(facts))
    monkeypatch.setattr(time, "time", lambda: next(now))
    journal = Journal.create(path / "journal.jsonl")
    for fact in facts:
        journal.append(fact)
    journal.close()
    monkeypatch.undo()
    return path


def run_of(name: str, rates: list[float], *, finished: str | None = "finished", **changes: Any) -> list[ev.Fact]:
    facts: list[ev.Fact] = [started(STEPS, name=name, **changes)]
    for each, rate in zip(STEPS, rates, strict=False):
        facts += measured(each, [rate, rate * 1.01, rate * 0.99])
    return facts + ([ev.RunFinished(finished, 0)] if finished else [])


@pytest.fixture
def three(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """An old finished run, a newer one that was interrupted, and one that is damaged."""
    with pytest.MonkeyPatch.context() as patch:
        old = write_run(results, "old", run_of("old qwen", [10.0, 20.0, 30.0]), patch, 21)
    with pytest.MonkeyPatch.context() as patch:
        new = write_run(results, "new", run_of("new qwen", [10.0, 25.0], finished="stopped"), patch, 22)
    broken = results / "hw_llama-server_broken_20261120T100000Z"
    broken.mkdir()
    (broken / "journal.jsonl").write_bytes(b'{"v":1}\n{"v":1}\n')
    return [new, old, broken]


def body(app: Any) -> list[str]:
    return ["".join(text for text, _ in line) for line in app.screen.query_one("#runs-body").lines]


def note(app: Any) -> str:
    return "".join(text for text, _ in app.screen.query_one("#runs-note").lines[0])


async def settled(app: Any, pilot: Any) -> None:
    await app.workers.wait_for_complete()
    await pilot.pause()


def source() -> ScriptedSource:
    return ScriptedSource([started(STEPS)])


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_runs_are_listed_newest_first(size: tuple[int, int], three: list[Path], snapshot: Any) -> None:
    async with dashboard(source(), size=size, show="runs") as (app, pilot):
        await settled(app, pilot)
        assert str(three[0].parent).startswith(note(app).strip()[:40])
        app.clock = lambda: 1795255260.0
        app.paint_now()
        await pilot.pause()
        lines = screen_text(app).splitlines()
        # Where the folder is differs from test to test.
        shown = [line.partition(": /")[0] for line in lines if not line.startswith(" /")]
        assert "\n".join(shown) == snapshot
        rows = body(app)[1:]
        assert ["new" in rows[0], "old" in rows[1], "broken" in rows[2]] == [True] * 3


async def test_a_run_is_opened_and_an_interrupted_one_resumed(
    three: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, Path]] = []

    async def opened(_: Any, path: Path) -> str | None:
        asked.append(("open", path))
        return None

    async def resumed(_: Any, path: Path) -> str | None:
        asked.append(("resume", path))
        return "another run is going on: [/nonsense]"

    monkeypatch.setattr(run_launcher, "open_path", opened)
    monkeypatch.setattr(run_launcher, "resume_path", resumed)
    async with dashboard(source(), show="runs") as (app, pilot):
        await settled(app, pilot)
        await pilot.press("R")
        await settled(app, pilot)
        assert "another run is going on: [/nonsense]" in note(app)
        await pilot.press("j", "R")
        assert "nothing left to measure" in note(app)
        await pilot.press("enter")
        await settled(app, pilot)
        await pilot.press("j", "enter")
        await settled(app, pilot)
        assert "cannot be opened" in note(app)
    assert asked == [("resume", three[0]), ("open", three[1])]


async def test_a_finished_run_is_really_opened(three: list[Path]) -> None:
    async with dashboard(source(), show="runs") as (app, pilot):
        await settled(app, pilot)
        await pilot.press("G", "k", "enter")
        await settled(app, pilot)
        await settled(app, pilot)
        assert app.place_of(app.screen) == "main"
        assert app.feed.view.run is not None
        assert app.feed.view.run.name == "old qwen"


async def test_the_filter_keeps_what_matches(three: list[Path]) -> None:
    async with dashboard(source(), show="runs") as (app, pilot):
        await settled(app, pilot)
        await pilot.press("/", *"finished old", "enter")
        assert len(body(app)) == 2
        assert "old qwen" in body(app)[1]
        await pilot.press("/", *" zzz", "enter")
        assert "no run matches" in body(app)[0]
        await pilot.press("escape")
        assert len(body(app)) == 4
        field = app.screen.query_one("#runs-field")
        await pilot.press("/")
        field.post_message(events.Paste("b" * 2**20))
        await pilot.pause()
        assert len(field.value) == 200  # type: ignore[attr-defined]
        assert "characters were pasted" in note(app)


async def test_two_runs_are_set_side_by_side(three: list[Path], snapshot: Any) -> None:
    async with dashboard(source(), show="runs") as (app, pilot):
        await settled(app, pilot)
        await pilot.press("c", "j", "c")
        await settled(app, pilot)
        assert "\n".join(body(app)) == snapshot
        await pilot.press("escape")
        assert len(body(app)) == 4


async def test_runs_that_vanish_while_shown_are_a_sentence(three: list[Path]) -> None:
    async with dashboard(source(), show="runs") as (app, pilot):
        await settled(app, pilot)
        for path in three[0].iterdir():
            path.unlink()
        three[0].rmdir()
        await pilot.press("enter")
        await settled(app, pilot)
        assert note(app).strip()
        await pilot.press("r")
        await settled(app, pilot)
        assert len(body(app)) == 3


async def test_no_runs_says_how_to_begin(results: Path) -> None:
    async with dashboard(source(), show="runs") as (app, pilot):
        await settled(app, pilot)
        assert "no runs yet" in body(app)[0]
        await pilot.press("enter", "R", "c", "j", "k", "G", "escape")
        assert app.place_of(app.screen) == "main"


def test_unlike_runs_are_refused_with_the_reason() -> None:
    a = folded(run_of("a", [10.0, 20.0]))
    assert compare_runs(a, a).reasons == ()
    assert a.run is not None
    settings = replace(a.run.settings, max_tokens=7)
    others: dict[str, dict[str, Any]] = {
        "different prompts": {"prompts_digest": "other"},
        "max_tokens is 101 in A and 7 in B": {"settings": settings},
    }
    for reason, changes in others.items():
        found = compare_runs(a, replace(a, run=replace(a.run, **changes)))
        assert reason in found.reasons[0]
        assert found.pairs == ()
    # Machines are what one compares: that they differ is said, loudly.
    other = replace(a, run=replace(a.run, hardware={**a.run.hardware, "cpu": "M4"}))
    page = compare_lines(compare_runs(a, other), ("a", "b"), 120, UNICODE)
    assert [style for line in page for text, style in line if "cpu is EPYC 9654 in A and M4 in B" in text] == ["title"]
    # Where the prompts lie does not matter, what they say does.
    moved = replace(a, run=replace(a.run, settings=replace(a.run.settings, prompts="/elsewhere.jsonl")))
    assert compare_runs(a, moved).reasons == ()


def test_only_what_both_measured_is_compared() -> None:
    a, b = folded(run_of("a", [10.0, 20.0, 30.0])), folded(run_of("b", [10.0, 25.0]))
    found = compare_runs(a, b)
    assert [pair.step for pair in found.pairs] == [STEPS[0].id, STEPS[1].id]
    assert (found.only_a, found.only_b) == (1, 0)
    assert found.pairs[1].ratio == pytest.approx(1.25)
    assert [pair.word for pair in found.pairs] == ["equal", "faster"]


def test_folders_are_read_newest_first() -> None:
    names = ["a_b_c_20261121T100000Z", "z_b_c_20251121T100000Z", "a_b_c_20261121T100000Z-2", "mine"]
    assert [path.name for path in newest_first([Path(name) for name in names])] == [
        names[2], names[0], names[1], "mine",
    ]  # fmt: skip
