"""The start screen: what is on this machine, recent runs, and the ways to begin, with keys only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual import events

from specdash.ui.tui import discovery, run_launcher
from specdash.ui.tui.discovery import DiscoveredModel, DoctorLine, FindError
from tests.support.dashboards import SIZES, screen_text
from tests.support.start_screen import machine as machine
from tests.support.start_screen import settled, started

pytestmark = pytest.mark.usefixtures("machine")


def note(app: Any) -> str:
    return " ".join("".join(text for text, _ in line) for line in app.screen.query_one("#start-note").lines)


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_it_shows_what_is_here(size: tuple[int, int], snapshot: Any) -> None:
    async with started(size) as (app, _):
        assert screen_text(app) == snapshot


async def test_what_is_missing_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(places: Any = ()) -> list[DiscoveredModel]:
        raise FindError("`specdash models` took longer than 120 s and was ended")

    async def no_engine() -> list[DoctorLine]:
        return [
            DoctorLine("FAIL", "llama-server", "none on PATH", "pip install 'specdash[embedded]'", kind="llama-server")
        ]

    monkeypatch.setattr(discovery, "discover_models", nothing)
    monkeypatch.setattr(discovery, "run_doctor", no_engine)
    async with started() as (app, pilot):
        text = screen_text(app)
        assert "took longer than 120 s" in text
        assert "pip install 'specdash[embedded]'" in text
        await pilot.press("enter")
        assert "there is no run yet" in note(app)
        await pilot.press("a")
        assert "no run is going on" in note(app)


async def test_the_demo_is_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def demo(_: Any) -> str | None:
        asked.append("demo")
        return "the demo needs a llama.cpp"

    monkeypatch.setattr(run_launcher, "start_demo", demo)
    async with started() as (app, pilot):
        await pilot.press("d")
        await settled(app, pilot)
        assert "the demo needs a llama.cpp" in note(app)
    assert asked == ["demo"]


def write_profile(path: Path, target: Path, *, samples: int = 2) -> None:
    path.write_text(
        f'[engine]\nprogram = "embedded"\n[[targets]]\nlabel = "big"\npath = "{target}"\n[sweep]\nmethods = []\n'
        f'[measure]\ncategories = ["coding"]\niterations = {samples}\n'
    )


async def test_a_profile_is_planned_then_started(
    tmp_path: Path, tiny_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    async def start(_: Any, path: Path) -> str | None:
        asked.append(path)
        return "another sweep is going on"

    monkeypatch.setattr(run_launcher, "start_path", start)
    profile = tmp_path / "mine.toml"
    write_profile(profile, tiny_models / "target.gguf")
    async with started() as (app, pilot):
        await pilot.press("p", *"mine.toml", "enter")
        await settled(app, pilot)
        assert "1 steps" in screen_text(app) or "1 step" in screen_text(app)
        assert "2 samples each" in screen_text(app)
        write_profile(profile, tiny_models / "target.gguf", samples=3)
        await pilot.press("y")
        await settled(app, pilot)
        assert "changed on disk" in screen_text(app)
        assert "3 samples each" in screen_text(app)
        assert asked == []
        await pilot.press("y")
        await settled(app, pilot)
        assert asked == [Path("mine.toml")]
        assert "another sweep is going on" in screen_text(app)
        await pilot.press("escape")
        assert app.place_of(app.screen) == "start"


async def test_a_profile_with_problems_cannot_be_started_and_says_them_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.toml").write_text('nmae = "x"\n[[targets]]\npath = "/nowhere/[/b].gguf"\n[sweep]\nk = "many"\n')
    async with started((120, 36)) as (app, pilot):
        await pilot.press("p", *"bad.toml", "enter")
        await settled(app, pilot)
        text = screen_text(app)
        assert "r Read again" in text.splitlines()[-1]
        assert "y Start" not in text
        assert "It cannot be started" in text
        assert "nmae" in text
        assert "sweep.k" in text
        await pilot.press("y")
        await settled(app, pilot)
        assert "It cannot be started" in screen_text(app)
        await pilot.press("escape", "p", *"gone.toml", "enter")
        await settled(app, pilot)
        assert "gone.toml" in screen_text(app)
        assert "It cannot be started" in screen_text(app)


async def test_a_pasted_megabyte_leaves_the_field_usable() -> None:
    async with started() as (app, pilot):
        await pilot.press("p")
        field = app.screen.query_one("#start-field")
        field.post_message(events.Paste("c" * 2**20))
        await pilot.pause()
        assert len(field.value) == 1000  # type: ignore[attr-defined]
        assert "characters were pasted" in note(app)
        await pilot.press("escape", "j", "k")
        assert app.is_running


@pytest.mark.parametrize("size", [(40, 10), (60, 12), (240, 80)], ids=str)
async def test_sizes(size: tuple[int, int]) -> None:
    async with started(size) as (app, _):
        assert "models" in screen_text(app)
