"""Verdicts of a run while it goes on: what accuses is measured again first, and what no longer holds is withdrawn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import pytest

from specdash.core import events as ev
from specdash.core.reduce import fold
from specdash.core.state import RunState
from specdash.session.advice import Advice
from tests.support.recorded_run import TARGET, folded, measured, started, step

BASE = step()
MODEL = ev.ModelRead(TARGET, "target", "/m", 10**10, "qwen2", "Q8_0", "dense-small", bytes_per_token=10**10)
BUSY = ev.BandwidthMeasured(None, 2**20, None, "this machine is too busy to measure its memory")


class Recorder:
    """Facts that are folded at once and kept nowhere."""

    def __init__(self, view: RunState) -> None:
        self.view = view
        self.facts: list[ev.Fact] = []

    async def publish(self, fact: ev.Fact) -> None:
        await self.publish_made(lambda view: fact)

    async def publish_made(self, make: Callable[[RunState], ev.Fact]) -> None:
        fact = make(self.view)
        self.facts.append(fact)
        self.view = fold(self.view, ev.Recorded(self.view.last_seq + 1, 0.0, fact))


def gb_s(figure: float) -> ev.BandwidthMeasured:
    return ev.BandwidthMeasured(figure * 1e9, 2**20, 8)


def reconsidered(recorder: Recorder, figures: Iterable[ev.BandwidthMeasured]) -> list[ev.Fact]:
    """The facts that follow when the bandwidth is measured as `figures` say."""
    left = iter(figures)

    async def measure() -> ev.BandwidthMeasured:
        return next(left)

    before = len(recorder.facts)
    asyncio.run(Advice(recorder, measure).reconsider())  # type: ignore[arg-type]
    return recorder.facts[before:]


def at_18_gb_s(rate: float) -> Recorder:
    """A baseline of a model of 10 GB at this rate, after a bandwidth that was measured while others worked."""
    return Recorder(folded([started([BASE]), MODEL, gb_s(18.7), *measured(BASE, [rate] * 3)]))


def test_a_sound_baseline_is_not_accused_by_a_bandwidth_that_was_measured_while_others_worked() -> None:
    recorder = at_18_gb_s(4.0)
    assert reconsidered(recorder, [gb_s(44.2)]) == [gb_s(44.2)]
    assert recorder.view.steps[BASE.id].verdicts == ()
    assert reconsidered(recorder, []) == [], "what is not above the bound is not measured again"


def test_a_rate_that_stays_above_the_best_bandwidth_is_impossible() -> None:
    recorder = at_18_gb_s(9.0)
    *figures, raised = reconsidered(recorder, [gb_s(44.2), gb_s(30.0)])
    assert figures == [gb_s(44.2), gb_s(30.0)]
    assert isinstance(raised, ev.VerdictRaised)
    assert (raised.verdict, raised.detail) == ("impossible", "2.04 times the 4.42 tok/s that memory allows")


def test_a_machine_that_is_too_busy_to_measure_accuses_nobody() -> None:
    recorder = at_18_gb_s(9.0)
    assert reconsidered(recorder, [BUSY] * 3) == [BUSY] * 3
    assert recorder.view.steps[BASE.id].verdicts == ()


def test_a_verdict_is_withdrawn_when_a_later_measurement_refutes_it() -> None:
    recorder = at_18_gb_s(4.0)
    reconsidered(recorder, [gb_s(18.7), gb_s(18.0)])
    assert recorder.view.steps[BASE.id].verdicts == ("impossible",)
    measurement, withdrawn = reconsidered(recorder, [gb_s(44.2)])
    assert measurement == gb_s(44.2)
    assert isinstance(withdrawn, ev.VerdictWithdrawn)
    found = recorder.view.steps[BASE.id]
    assert (found.verdicts, found.details) == ((), ())


@pytest.mark.parametrize("verdict", ["output_differs", "impossible"])
def test_a_verdict_of_an_older_version_is_withdrawn_where_todays_rules_do_not_find_it(verdict: str) -> None:
    facts = [started([BASE]), *measured(BASE, [4.0] * 3), ev.VerdictRaised(BASE.id, "l001", "noisy", "it scatters")]
    recorder = Recorder(folded([*facts, ev.VerdictRaised(BASE.id, "l001", verdict, "of old")]))
    (withdrawn,) = reconsidered(recorder, [])
    assert isinstance(withdrawn, ev.VerdictWithdrawn)
    found = recorder.view.steps[BASE.id]
    assert (found.verdicts, found.details) == (("noisy",), ("it scatters",))
