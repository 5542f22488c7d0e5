"""The wizard: a profile written with keys only, its plan, and its start."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from textual import events

from specdash.config.load import check_profile
from specdash.ui.tui import run_launcher
from specdash.ui.tui.widgets.form import Field
from specdash.ui.tui.wizard.answers import next_mode, parse_ks, parse_new_path, samples_of
from tests.support.dashboards import SIZES, screen_text
from tests.support.start_screen import machine as machine
from tests.support.start_screen import settled, started

pytestmark = pytest.mark.usefixtures("machine")


def note(app: Any) -> str:
    return " ".join("".join(text for text, _ in line) for line in app.screen.query_one("#wizard-note").lines)


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_the_pages(size: tuple[int, int], snapshot: Any) -> None:
    async with started(size) as (app, pilot):
        await pilot.press("n")
        await pilot.pause()
        pages = []
        for _ in range(6):
            pages.append(screen_text(app))
            await pilot.press("enter")
            await pilot.pause()
        assert "\n\n".join([*pages, screen_text(app)]) == snapshot


async def test_a_profile_is_written_planned_and_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    async def start(_: Any, path: Path) -> str | None:
        asked.append(path)
        return None

    monkeypatch.setattr(run_launcher, "start_path", start)
    async with started() as (app, pilot):
        await pilot.press("n", "enter", "space", "space")
        await pilot.pause()
        assert "cannot be used: the tokenizers differ" in note(app)
        await pilot.press("enter", "enter")
        for keys in ([*["backspace"] * 4, *"2, 8"], ["a", "space"], ["backspace", "7"], []):
            await pilot.press(*keys, "enter")
            await pilot.pause()
        await settled(app, pilot)
        profile = tomllib.loads((tmp_path / "big.toml").read_text())
        assert profile["targets"][0]["path"] == "/models/big.gguf"
        assert [each["path"] for each in profile["drafts"]] == ["/models/small.gguf"]
        assert profile["engine"]["program"] == "embedded"
        assert profile["sweep"]["k"] == [2, 8]
        assert profile["measure"]["categories"] == ["coding"]
        assert profile["measure"]["iterations"] == 7
        assert check_profile(tmp_path / "big.toml").problems == []
        # The models are not on this machine, which the plan says.
        assert "It cannot be started" in screen_text(app)
        await pilot.press("y")
        await settled(app, pilot)
        assert asked == []


async def test_wrong_answers_are_said_in_place_and_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "big.toml").write_text("mine")
    async with started() as (app, pilot):
        await pilot.press("n", "G")
        await pilot.press("enter")
        assert "ends within its header [/b]" in note(app)
        await pilot.press("g", "enter", "enter", "enter", *"x", "enter")
        assert 'K is "curve", "auto", "search", or whole numbers' in note(app)
        await pilot.press("backspace", *"auto", "enter")
        await pilot.pause()
        await pilot.press("a", "enter")
        assert "mark one at least" in note(app)
        await pilot.press("a", "enter")
        await pilot.pause()
        await pilot.press(*"000", "enter")
        await pilot.pause()
        assert "samples are a whole number" in note(app)
        await pilot.press(*["backspace"] * 3, "5", "enter")
        await pilot.pause()
        await pilot.press("enter")
        await pilot.pause()
        assert "exists already" in note(app)
        field = app.screen.query_one("#wizard-field")
        field.post_message(events.Paste("/" + "d" * 2**20))
        await pilot.pause()
        assert "characters were pasted" in note(app)
        await pilot.press("enter")
        assert note(app).strip()
        await pilot.press(*["escape"] * 7)
        await pilot.pause()
        assert app.place_of(app.screen) == "start"
    assert (tmp_path / "big.toml").read_text() == "mine"


async def test_a_target_can_be_typed(tmp_path: Path) -> None:
    async with started() as (app, pilot):
        await pilot.press("n", "t", *"/nowhere.gguf", "enter")
        await settled(app, pilot)
        assert "/nowhere.gguf is not a file" in note(app)
        await pilot.press("escape", "j", "enter")
        await pilot.pause()
        assert "2 of 7" in screen_text(app)


def test_answers_are_read_strictly() -> None:
    assert [parse_ks(each) for each in (" auto ", '"Curve"', "search")] == ["auto", "curve", "search"]
    assert parse_ks("[8, 2 4;2]") == [2, 4, 8]
    for wrong in ("", "0", "2.5", "-1", "9999", "x", "²"):
        with pytest.raises(ValueError, match="K is"):
            parse_ks(wrong)
    for wrong in ("", "0", "1001", "5.5", "٣"):
        with pytest.raises(ValueError, match="samples"):
            samples_of(wrong)
    with pytest.raises(ValueError, match="no folder"):
        parse_new_path("/no/such/folder/x.toml")


async def test_the_ways_to_find_k_are_explained_and_chosen_with_the_arrows(tmp_path: Path) -> None:
    async with started() as (app, pilot):
        await pilot.press("n", "enter", "enter", "enter")
        await pilot.pause()
        text = screen_text(app)
        assert "one load, all Ks" in text
        answers = [line.split() for line in text.splitlines() if line.startswith((" curve ", " auto ", " search "))]
        assert [words[0] for words in answers if len(words) > 1] == ["curve", "auto", "search"]
        field = app.screen.query_one("#wizard-field", Field)
        found = []
        for key in ("down", "down", "up", "up", "up"):
            await pilot.press(key)
            await pilot.pause()
            found.append(field.value)
        assert found == ["search", "search", "auto", "curve", "curve"]
        await pilot.press("enter", "enter", "enter", "enter")
        await settled(app, pilot)
    assert tomllib.loads((tmp_path / "big.toml").read_text())["sweep"]["k"] == "curve"
    assert check_profile(tmp_path / "big.toml").problems == []


def test_a_list_of_ks_gives_way_to_the_first_or_last_way() -> None:
    assert [next_mode("2, 4", by) for by in (1, -1)] == ["curve", "search"]


async def test_its_keys_are_listed_and_other_screens_wait() -> None:
    async with started() as (app, pilot):
        await pilot.press("n", "5")
        await pilot.pause()
        assert app.place_of(app.screen) == "wizard"
        await pilot.press("?")
        await pilot.pause()
        assert "Wizard" in screen_text(app)
        assert "Type a path" in screen_text(app)
