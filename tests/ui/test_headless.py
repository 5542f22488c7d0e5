"""The live line, and what a run reads like from its first line to its last."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from specdash.core import events as ev
from specdash.core.commands import Command
from specdash.core.forecast import Outlook, Range
from specdash.core.status import StepStatus
from specdash.core.ticks import Telemetry, TokenTick
from specdash.errors import Exit, StoreError
from specdash.session.handle import Handle, Outcome, Reports, Watcher
from specdash.ui.headless import narrate, shorten_middle, status_line, time_left_words
from tests.support.recorded_run import START_S, folded, loaded, measured, sample, started, step

LEFT = Range(62.0, 130.0)
STEPS = [step(), step(4), step(8)]
ON_LOAD = [
    started(STEPS),
    *measured(step(), [10.0] * 5),
    ev.LoadFinished("l001", "stopped"),
    *loaded("l002", 8),
    ev.StateChanged("l002", "warming", "warmed", "ready"),
]


LIVE = Telemetry(requests={"": TokenTick("l002", None, "sample", 0, 0.0, 34, 101, None, None, None, None, 0.0)})


def ahead(left: Range | None = LEFT, loads: int = 1) -> Outlook:
    return Outlook(left, {}, {step(8).key(k): None for k in range(1, loads + 1)})


def line(facts: list[ev.Fact], width: int = 120, now_s: float = START_S, left: Range | None = LEFT) -> str:
    return status_line(folded(facts), LIVE, ahead(left), width, now_s)


def watched(facts: list[ev.Fact], folder: Path) -> Handle:
    """A handle to a run with these facts, as far as the narrator asks."""

    async def refuse(command: Command) -> None:
        raise AssertionError

    (folder / "run-1").mkdir()
    view = folded(facts)
    return Handle(folder / "run-1", lambda: view, lambda: LIVE, refuse, lambda subscription: lambda: None)


def enter(watcher: Watcher, handle: Handle, error: Exception | None = None) -> None:
    """Does what a session does with a watcher, and fails with `error`."""

    async def run() -> None:
        async with watcher.watch(handle):
            if error is not None:
                raise error

    asyncio.run(run())


def test_the_live_line_tells_steps_time_loads_and_samples() -> None:
    facts = [*ON_LOAD, ev.StepStarted(step(8).id, "l002", "fp"), ev.SampleTaken(step(8).id, "l002", sample(9.0), 1.0)]
    assert line(facts) == "1/3 steps | 1-2 min left | 1 more load | 1/5 samples, 34 tok | 72B Q8_0 + 0.5B, K 8"


def test_a_narrow_live_line_loses_only_the_middle_of_a_name() -> None:
    facts = [*ON_LOAD, ev.StepStarted(step(8).id, "l002", "fp")]
    for width in (200, 80, 72):
        found = line(facts, width)
        assert len(found) <= width
        assert "1/3 steps | 1-2 min left | 1 more load | 0/5 samples, 34 tok | 72" in found
        assert found.endswith("8")
    assert len(line(facts, 20)) == 20
    assert line(facts, 0) == ""


def test_the_live_line_between_samples() -> None:
    assert "| warming up, 34 tok | 72B" in line(ON_LOAD)
    begun = next(
        number for number, fact in enumerate(ON_LOAD) if isinstance(fact, ev.LoadStarted) and fact.load == "l002"
    )
    loading = [*ON_LOAD[: begun + 1], ev.StateChanged("l002", "starting", "listening", "loading")]
    assert "| loading for 45 s | 72B" in line(loading, now_s=START_S + begun + 1 + 45)
    stopping = [*ON_LOAD, ev.StateChanged("l002", "ready", "stop", "stopping")]
    assert "| stopping for 2.0 s | 72B" in line(stopping, now_s=START_S + len(ON_LOAD) + 2)
    ended = [*ON_LOAD, ev.LoadFinished("l002", "stopped")]
    assert line(ended, left=None) == "1/3 steps | time left: ? | 1 more load | between loads"


def test_the_live_line_counts_what_was_skipped_apart() -> None:
    skipped = ev.StepFinished(step(4).id, None, StepStatus.SKIPPED, (), "not wanted")
    assert line([*ON_LOAD, skipped]).startswith("1/3 steps, 1 skipped | ")


def test_the_live_line_says_that_the_prompt_is_being_read_and_how_far() -> None:
    assert LIVE.token is not None
    token = replace(LIVE.token, tokens=0)
    for changes, words in (
        ({}, "reading the prompt"),
        ({"prompt_read": 412, "prompt_tokens": 992}, "reading the prompt, 412 of 992"),
    ):
        live = replace(LIVE, requests={"": replace(token, **changes)})  # type: ignore[arg-type]
        assert f"| warming up, {words} | " in status_line(folded(ON_LOAD), live, ahead(), 200, START_S)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (46, 62, "46-62 s left"),
        (91, 123, "2 min left"),
        (122, 365, "2-6 min left"),
        (5400, 9000, "1.5-2.5 h left"),
        (40 * 3600, 50 * 3600, "1.7-2.1 d left"),
        (86400 * 20, 86400 * 30, "20-30 d left"),
        (0, 0, "0 s left"),
    ],
)
def test_time_left_is_one_unit(low: float, high: float, words: str) -> None:
    assert time_left_words(Range(low, high)) == words


def test_names_keep_both_ends() -> None:
    assert shorten_middle("abc", 3) == "abc"
    assert shorten_middle("target + draft, K 8", 12) == "targe..., K 8".replace("...", "..")
    for chars in range(20):
        assert len(shorten_middle("target + draft, K 8", chars)) <= chars


def test_piped_narration_is_one_line_for_each_event(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    facts: list[ev.Fact] = [
        started(STEPS),
        *measured(step(), [10.0, 11.0]),
        *measured(step(4), [20.0, 21.0], load="l002"),
    ]
    facts += measured(step(8), [5.0, 5.0], "invalid", "l002", ("k_not_effective",))
    view = folded(facts)

    def start(watcher: Watcher) -> Outcome:
        enter(watcher, watched([started(STEPS), ev.Noted("warning", "w" * 300)], tmp_path))
        return Outcome(tmp_path, Exit.INCOMPLETE, view, Reports((tmp_path / "result.json",)))

    assert narrate(start, ["iterations: few"]) is Exit.INCOMPLETE
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'result.json'}\n"
    lines = err.splitlines()
    assert lines[0] == "warning: iterations: few"
    assert lines[2].startswith("folder: ")
    assert lines[2].endswith("/run-1")
    assert "warning: " + "w" * 300 in lines
    assert any(line.startswith("result 72B Q8_0 | 0.5B K=4: 20.5") and "x baseline 1.95" in line for line in lines)
    assert any(line.startswith("invalid: ") and "k_not_effective: it is invalid" in line for line in lines)
    assert "\x1b" not in err


@pytest.mark.parametrize("term", ["xterm-256color", "dumb"])
def test_an_error_in_the_middle_gives_the_terminal_back(
    term: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes the captured stream for a terminal

    def start(watcher: Watcher) -> Outcome:
        enter(watcher, watched(ON_LOAD, tmp_path), StoreError("the disk is gone"))
        raise AssertionError

    with pytest.raises(StoreError):
        narrate(start, [])
    err = capsys.readouterr().err
    assert err.count("\x1b[?25l") == err.count("\x1b[?25h") == (0 if term == "dumb" else 1)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (ON_LOAD, "1 of 3 steps measured; 2 to be measured"),
        ([started([step()]), *measured(step(), [10.0])], "1 of 1 step measured; nothing is left to measure"),
    ],
)
def test_a_resumed_run_says_what_is_left(
    facts: list[ev.Fact], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    view = folded([*facts, ev.RunResumed("0.1.0")])

    def start(watcher: Watcher) -> Outcome:
        enter(watcher, watched([*facts, ev.RunResumed("0.1.0")], tmp_path))
        return Outcome(tmp_path, Exit.OK, view)

    narrate(start, [])
    assert f"resumed: {words}" in capsys.readouterr().err
