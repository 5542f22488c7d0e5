"""What stays in the scrollback."""

from __future__ import annotations

from specdash.core import events as ev
from specdash.remote.feed import RunFeed
from specdash.remote.run_source import Gone, Origin
from specdash.ui.tui.exit_message import farewell
from tests.support.recorded_run import folded, loaded, measured, started, step

STEPS = [step(None), step(4)]
FACTS: list[ev.Fact] = [started(STEPS), *loaded(k=4), *measured(STEPS[0], [10.0])]
HERE = Origin("/results/run-1", "tower", 4711, True, "")
THERE = Origin("/results/run-1", "tower", 4711, False, "")


def feed(origin: Origin, *more: ev.Fact, gone: Gone | None = None) -> RunFeed:
    return RunFeed(folded([*FACTS, *more]), origin=origin, caught_up=True, gone=gone)


def test_a_run_that_goes_on_can_be_attached_to() -> None:
    assert farewell(feed(HERE), asked=None, ssh=None) == [
        "specdash: qwen: goes on, 1 of 2 steps measured",
        "  folder: /results/run-1",
        "  attach again: specdash attach run-1",
    ]
    assert (
        farewell(feed(THERE), asked=None, ssh="me@tower")[-1] == "  attach again: specdash attach run-1 --ssh me@tower"
    )
    assert farewell(feed(THERE), asked=None, ssh="me@tower")[1] == "  folder: tower:/results/run-1"


def test_a_run_that_has_ended_early_can_go_on() -> None:
    stopped = ev.RunFinished("stopped", 75)
    assert farewell(feed(HERE, stopped), asked="stop", ssh=None)[-1] == "  go on: specdash resume run-1"
    assert farewell(feed(THERE, stopped), asked="stop", ssh="tower")[-1] == "  go on: on tower: specdash resume run-1"
    died = farewell(feed(HERE, gone=Gone("killed")), asked=None, ssh=None)
    assert "its engine has gone" in died[0]
    assert died[-1] == "  go on: specdash resume run-1"


def test_a_finished_run_needs_nothing_more() -> None:
    lines = farewell(feed(HERE, ev.RunFinished("finished", 0)), asked=None, ssh=None)
    assert lines == ["specdash: qwen: finished, 1 of 2 steps measured", "  folder: /results/run-1"]


def test_reports_that_are_not_there_are_told() -> None:
    unsafe = ev.RunFinished("finished", 5, "not all reports could be written; again: specdash report run-1")
    lines = farewell(feed(HERE, unsafe), asked=None, ssh=None)
    assert lines[-1] == "  not all reports could be written; again: specdash report run-1"


def test_a_broken_line_is_no_broken_run() -> None:
    lines = farewell(feed(THERE, gone=Gone("ssh ended", lost=True)), asked=None, ssh="tower")
    assert "may still be running" in lines[0]
    assert lines[-1].endswith("--ssh tower")


def test_what_was_asked_is_said() -> None:
    assert "stops after this load" in farewell(feed(HERE), asked="stop_after_load", ssh=None)[0]
    assert farewell(RunFeed(), asked=None, ssh=None) == []
