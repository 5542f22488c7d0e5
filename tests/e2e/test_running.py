"""A sweep with a real server and its dashboard: started, left, come back to, and hung up on."""

from __future__ import annotations

from pathlib import Path

import pytest

from specdash.core import events as ev
from tests.support.terminal_machine import Place, ends, engine_of, facts, servers_of, statuses, until, view_of


@pytest.mark.real
def test_start_resize_detach_attach_and_a_hangup(place: Place, llama_server: Path) -> None:
    profile = place.real_profile(llama_server, measure={"iterations": 18})
    with place.terminal() as terminal:
        terminal.command(f"specdash {profile.name}")
        first = terminal.until(" RUN ")
        path = place.run_path()
        assert len(first.splitlines()) <= 24
        for width, height in ((120, 36), (200, 60), (30, 8), (80, 24)):
            terminal.resize(width, height)
            seen = terminal.until(lambda screen, width=width: drawn(screen, width))  # type: ignore[misc]
            assert all(len(line) <= width for line in seen.splitlines())
            assert len(seen.splitlines()) <= height
        engine = engine_of(path)
        assert engine is not None, "the run is over before anything could be seen"
        terminal.keys("d")
        assert terminal.ended() == 0
        said = terminal.scrollback()
        assert f"folder: {path}" in said
        assert f"attach again: specdash attach {path.name}" in said
        assert engine_of(path) == engine
        assert servers_of(engine)
        terminal.clear()
        terminal.command("specdash attach")
        terminal.until(" RUN ")
        terminal.kill_window()
        assert not terminal.is_alive
    assert engine_of(path) == engine, "the hangup of a viewer ended the engine"
    view = until(path, lambda view: view.finished is not None)
    assert set(statuses(view).values()) == {"ok"}
    assert ends(path)
    assert view_of(path).finished == ev.RunFinished("finished", 0)
    assert not [fact for fact in facts(path) if isinstance(fact, ev.CommandAccepted)]


def drawn(screen: str, width: int) -> bool:
    """Whether a screen of this width is drawn to its edge."""
    lines = [line for line in screen.splitlines() if line.strip()]
    if width < 40:
        return len(lines) < 5 and "RUN" in screen and "leave" in screen
    return bool(lines) and "RUN" in lines[0] and max(map(len, lines)) > width - 3 and len(lines[0]) > width - 12


def test_two_dashboards_see_the_same_and_stop_ends_both(place: Place) -> None:
    profile = place.slow_profile(measure={"max_tokens": 48, "iterations": 8}, sweep={"k": [2, 4]})
    with place.terminal() as one, place.terminal((120, 36)) as other, place.terminal() as shell:
        one.command(f"specdash {profile.name}")
        one.until(" RUN ")
        path = place.run_path()
        other.command("specdash attach")
        other.until(" RUN ")
        one.keys("Space")
        until(path, lambda view: view.paused)
        counts = [terminal.matching(r"PAUSED\s+(\d+/\d+)")[1] for terminal in (one, other)]
        assert counts[0] == counts[1] == "0/3"
        other.keys("End", "s")
        other.until("Skip ")
        other.keys("y")
        for terminal in (one, other):
            terminal.matching(r"PAUSED\s+0/3\s+1 skipped")
            terminal.until("skipped")
        other.keys("Space")
        for terminal in (one, other):
            terminal.until(" RUN ")
        shell.command(f"specdash stop {path.name}")
        assert shell.ended() == 0
        for terminal in (one, other):
            terminal.until("STOPPED")
        assert engine_of(path) is None
        one.keys("q")
        other.keys("q")
        assert one.ended() == other.ended() == 143
        assert "specdash resume" in one.scrollback()


def test_a_dashboard_tells_of_reports_that_could_not_be_written(place: Place) -> None:
    with place.terminal() as terminal:
        terminal.command(f"specdash {place.slow_profile(60).name}")
        terminal.until(" RUN ")
        path = place.run_path()
        (path / "report.md").mkdir()
        until(path, lambda view: view.finished is not None and view.finished.exit_code == 5)
        assert ends(path)
        terminal.until("DONE")
        terminal.keys("q")
        assert terminal.ended() == 5
        said = " ".join(terminal.scrollback().split())
    assert "not all reports could be written" in said
    assert f"specdash report {path.name}" in said
    assert "report.html" in said
    assert "report.md" not in said
