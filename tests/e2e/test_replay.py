"""Runs that are over, and what may be wrong with a run while one looks at it."""

from __future__ import annotations

import json
import shutil
import zlib

from tests.support.machine import assert_gone, wait_for
from tests.support.terminal_machine import Place, copy_of, ends, engine_of, facts, servers_of, view_of

SCREENS = (("2", "On/off"), ("3", "best K"), ("4", "Search"), ("5", "c Compare"), ("1", "Details"))


def of_format(version: int, line: bytes) -> bytes:
    """A whole record of a journal, of another format."""
    content = json.dumps(json.loads(line) | {"v": version}, separators=(",", ":")).encode()
    content = content[: content.rindex(b',"crc"')] + b"}"
    return content[:-1] + b',"crc":"%08x"}\n' % zlib.crc32(content)


def test_a_run_that_is_over_has_all_its_screens(old: Place) -> None:
    path = old.over
    with old.terminal() as terminal:
        terminal.command(f"specdash attach {path.name}")
        terminal.until("DONE (replay)")
        for key, there_is in SCREENS:
            terminal.keys(key)
            terminal.until(there_is)
        assert engine_of(path) is None
        terminal.keys("Space")
        terminal.until("no engine is at work")
        terminal.keys("q")
        assert terminal.ended() == 0


def test_journals_that_are_odd(old: Place) -> None:
    path = old.over
    half, newer = copy_of(path, "half"), copy_of(path, "newer")
    lines = (path / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (half / "journal.jsonl").write_bytes(b"".join(lines[:-1]) + lines[-1][:20])
    (newer / "journal.jsonl").write_bytes(of_format(9, lines[0]) + b"".join(lines[1:]))
    with old.terminal() as terminal:
        terminal.command("specdash attach half")
        terminal.until("REPLAY")
        terminal.until("3/3" if "3/3" in terminal.screen() else "2/2")
        terminal.keys("3")
        terminal.until("best K")
        terminal.keys("q")
        assert terminal.ended() == 0
        assert "specdash resume half" in terminal.scrollback()
        terminal.clear()
        terminal.command("specdash attach newer")
        terminal.until(lambda screen: "UNREADABLE:" in screen and "has format 9" in screen)
        terminal.keys("5")
        terminal.until("c Compare")
        terminal.keys("q")
        assert terminal.ended() in (0, 1)
    for each in (half, newer):
        shutil.rmtree(each)


def test_a_run_folder_that_is_removed_comes_back_with_its_journal(place: Place) -> None:
    profile = place.slow_profile(measure={"max_tokens": 48, "iterations": 20})
    with place.terminal() as terminal:
        terminal.command(f"specdash {profile.name}")
        terminal.until(" RUN ")
        path = place.run_path()
        before = len(facts(path))
        shutil.rmtree(path)
        wait_for(lambda: (path / "journal.jsonl").exists())
        for key, there_is in (("2", "On/off"), ("4", "Search"), ("1", "Pause")):
            terminal.keys(key)
            terminal.until(there_is)
        terminal.keys("q")
        terminal.until("Leave: the sweep is running")
        terminal.keys("k")
        assert terminal.ended() in (75, 143)
    view = view_of(path)
    assert len(facts(path)) > before
    assert view.run is not None
    assert view.finished is not None
    assert ends(path)


def test_an_engine_killed_under_open_dialogs_and_a_stale_socket(place: Place) -> None:
    profile = place.slow_profile(measure={"max_tokens": 48, "iterations": 20})
    with place.terminal() as menu, place.terminal() as dialog:
        menu.command(f"specdash {profile.name}")
        menu.until(" RUN ")
        path = place.run_path()
        dialog.command("specdash attach")
        dialog.until(" RUN ")
        menu.keys("q")
        menu.until("Leave: the sweep is running")
        dialog.keys("2")
        dialog.until("On/off")
        dialog.keys("a")
        dialog.until("Add steps")
        engine = engine_of(path)
        assert engine is not None
        servers = servers_of(engine)
        engine.kill()
        assert_gone([engine, *servers])
        menu.until("ENGINE GONE")
        menu.keys("k")
        menu.until("not stopped:")
        menu.keys("q")
        assert menu.ended() == 0
        assert f"specdash resume {path.name}" in menu.scrollback()
        dialog.until("Add steps")
        dialog.keys("Escape")
        dialog.until("ENGINE GONE")
        dialog.keys("End", "x")
        dialog.until("Staged  1 edit")
        dialog.keys("W")
        dialog.until("refused, and still staged")
        dialog.keys("q")
        assert dialog.ended() == 0
        menu.clear()
        assert (path / "engine.json").exists()
        menu.command(f"specdash attach {path.name}")
        menu.until("REPLAY")
        menu.keys("q")
        assert menu.ended() == 0
    assert ends(path)
    assert view_of(path).finished is None


def test_a_megabyte_pasted_into_fields(old: Place) -> None:
    path = old.over
    text = "x y q d \x07 " * 100_000
    with old.terminal() as terminal:
        terminal.command("specdash")
        terminal.until("p Profile")
        terminal.keys("p")
        terminal.until("path of a profile")
        terminal.paste(text)
        terminal.until("characters were pasted")
        terminal.keys("Escape")
        terminal.until("p Profile")
        terminal.keys("q")
        assert terminal.ended() == 0
        terminal.clear()
        terminal.command(f"specdash attach {path.name}")
        terminal.until("DONE")
        terminal.paste("q" + text)  # nothing has the focus: it is for nobody
        terminal.keys("2")
        terminal.until("On/off")
        terminal.keys("/")
        terminal.until("words of a step")
        terminal.paste(text)
        terminal.until("characters were pasted")
        terminal.keys("Escape")
        terminal.until("On/off")
        terminal.keys("1", "q")
        assert terminal.ended() == 0
