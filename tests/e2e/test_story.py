"""A sweep of the demo's pair from the start screen, by keys only; the journal tells what was done."""

from __future__ import annotations

from pathlib import Path

import pytest

from specdash.core import commands as cmd
from specdash.core import events as ev
from tests.support.terminal_machine import Place, ends, engine_of, facts, statuses, until, view_of
from tests.support.tmux import Tmux

WRITING_S = 200.0


def accepted(path: Path) -> list[ev.CommandAccepted]:
    return [fact for fact in facts(path) if isinstance(fact, ev.CommandAccepted)]


def edit_in_the_queue(terminal: Tmux, k: int) -> None:
    """Skips the last step of the queue and adds a K, as one command."""
    terminal.keys("2")
    terminal.until("On/off")
    terminal.keys("End", "x")
    terminal.until("Staged  1 edit")
    terminal.keys("a")
    terminal.until("▶[x] T")
    terminal.keys("Tab")
    terminal.matching(r"▶\[.\] (\(none|D)")
    terminal.keys("Tab")
    terminal.until("▶[x] coding")
    terminal.keys("Tab")
    terminal.until(lambda screen: "▶" not in screen)
    terminal.keys("C-u")
    terminal.until("needs a K")
    terminal.type(str(k))
    terminal.matching(r"\d steps: .*loads? left")
    terminal.keys("Enter")
    terminal.until("Staged  2 edits")
    terminal.keys("W")
    terminal.until("2 edits applied")


def leave_and_finish(terminal: Tmux, path: Path, skipped: str, added: list[str], limit_s: float) -> None:
    """Detaches, attaches again, waits for the end, and reads the journal."""
    terminal.keys("d")
    assert terminal.ended() == 0
    assert f"attach again: specdash attach {path.name}" in terminal.scrollback()
    terminal.clear()
    terminal.command("specdash attach")
    terminal.until(" RUN ")
    view = until(path, lambda view: view.finished is not None, limit_s)
    terminal.until("DONE")
    terminal.keys("q")
    assert terminal.ended() == 0
    assert ends(path)
    expected = dict.fromkeys(view.steps, "ok") | {skipped: "skipped"}
    assert statuses(view) == expected
    assert set(added) <= set(view.steps)
    (command,) = accepted(path)
    assert command.command == cmd.EDIT
    assert view.finished == ev.RunFinished("finished", 0)


@pytest.mark.real
def test_from_the_start_screen_to_the_end_by_keys(place: Place, llama_server: Path) -> None:
    measure = {"iterations": 8, "categories": ["coding", "conversation"]}
    profile = place.real_profile(llama_server, sweep={"k": [2]}, measure=measure)
    with place.terminal() as terminal:
        terminal.command("specdash")
        terminal.until("p Profile")
        terminal.keys("p")
        terminal.until("path of a profile")
        terminal.type(profile.name)
        terminal.keys("Enter")
        terminal.until("y Start")
        terminal.keys("y")
        terminal.until(" RUN ")
        path = place.run_path()
        before = list(view_of(path).steps)
        edit_in_the_queue(terminal, 3)
        assert engine_of(path) is not None
        added = [each for each in view_of(path).steps if each not in before]
        assert len(added) == 2
        leave_and_finish(terminal, path, before[-1], added, 60)
    (command,) = accepted(path)
    assert len(command.edits) == 2
    assert {edit.TYPE for edit in command.edits} == {"add", "skip"}


@pytest.mark.real
@pytest.mark.slow
def test_the_demo_key(place: Place, embedded_available: None) -> None:
    with place.terminal((120, 36)) as terminal:
        terminal.command("specdash")
        terminal.until("d Demo")
        terminal.keys("d")
        terminal.until(" RUN ", WRITING_S)
        path = place.run_path()
        before = list(view_of(path).steps)
        edit_in_the_queue(terminal, 3)
        added = [each for each in view_of(path).steps if each not in before]
        leave_and_finish(terminal, path, before[-1], added, 900)
