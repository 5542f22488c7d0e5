"""The state of a run, folded from its facts.

`fold(view, recorded)` is the one pure reducer that headless narration, reports, resume and any screen share: what it
does not know is not known about a run. It never changes the view it was given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from specdash.core import events as ev
from specdash.core.measure import Sample
from specdash.core.plan import LoadKey, Step

OPEN = "open"
RUNNING = "running"
DONE = frozenset({"ok", "invalid", "failed", "timeout", "skipped"})


@dataclass(frozen=True, slots=True)
class LoadView:
    """One server load: its key, command, state and what it cost."""

    id: str
    key: LoadKey
    argv: tuple[str, ...]
    log: str
    size_bytes: int
    fingerprint: str
    started_s: float
    state: str = "stopped"
    load_time_s: float | None = None
    pid: int | None = None
    k_scope: str | None = None
    peak_rss_bytes: int | None = None
    wired_peak_bytes: int | None = None
    error: str | None = None
    hint: str | None = None
    finished: bool = False


@dataclass(frozen=True, slots=True)
class StepView:
    """One step: its status, the load that it ran on, all its samples and what was said of them."""

    step: Step
    status: str = OPEN
    load: str | None = None
    samples: tuple[Sample, ...] = ()
    verdicts: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    error: str | None = None
    fingerprint: str | None = None
    wall_s: float = 0.0

    @property
    def good(self) -> tuple[Sample, ...]:
        """The samples that may be summarised."""
        return tuple(sample for sample in self.samples if sample.status == "ok")


@dataclass(frozen=True, slots=True)
class View:
    """A run as far as its facts tell."""

    run: ev.RunStarted | None = None
    engine: ev.EngineFound | None = None
    models: Mapping[str, ev.ModelRead] = field(default_factory=dict)
    steps: Mapping[str, StepView] = field(default_factory=dict)
    loads: Mapping[str, LoadView] = field(default_factory=dict)
    current_load: str | None = None
    current_step: str | None = None
    notes: tuple[ev.Noted, ...] = ()
    finished: ev.RunFinished | None = None
    started_s: float | None = None
    updated_s: float | None = None
    last_seq: int = 0
    resumes: int = 0

    @property
    def k_scope(self) -> str | None:
        """The scope of K that the probes of this run found last; None before any did."""
        return next((load.k_scope for load in reversed(list(self.loads.values())) if load.k_scope), None)


def fold(view: View, recorded: ev.Recorded) -> View:
    """The view after one more fact."""
    handler = _HANDLERS.get(type(recorded.fact))
    changed = handler(view, recorded) if handler is not None else view
    return replace(changed, last_seq=recorded.seq, updated_s=recorded.time_s)


def fold_all(records: Iterable[ev.Recorded]) -> View:
    """The view after all of `records`."""
    view = View()
    for recorded in records:
        view = fold(view, recorded)
    return view


def _with(mapping: Mapping[str, Any], key: str, value: Any) -> Mapping[str, Any]:
    """A copy of `mapping` with one entry more or changed."""
    return {**mapping, key: value}


def _step(view: View, step_id: str, **changes: Any) -> View:
    """The view with a step changed; a step that the plan does not list is left out."""
    known = view.steps.get(step_id)
    if known is None:
        return view
    return replace(view, steps=_with(view.steps, step_id, replace(known, **changes)))


def _load(view: View, load_id: str, **changes: Any) -> View:
    """The view with a load changed."""
    known = view.loads.get(load_id)
    if known is None:
        return view
    return replace(view, loads=_with(view.loads, load_id, replace(known, **changes)))


def _run_started(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.RunStarted)
    return replace(
        view, run=fact, steps={step.id: StepView(step) for step in fact.steps}, started_s=recorded.time_s, finished=None
    )


def _run_resumed(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.RunResumed)
    redone = set(fact.redo)
    steps = {
        step_id: StepView(found.step)
        if step_id in redone
        else replace(found, status=OPEN)
        if found.status == RUNNING
        else found
        for step_id, found in view.steps.items()
    }
    return replace(view, steps=steps, finished=None, resumes=view.resumes + 1, current_load=None, current_step=None)


def _engine_found(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.EngineFound)
    return replace(view, engine=fact)


def _model_read(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.ModelRead)
    return replace(view, models=_with(view.models, fact.label, fact))


def _load_started(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.LoadStarted)
    load = LoadView(fact.load, fact.key, fact.argv, fact.log, fact.size_bytes, fact.fingerprint, recorded.time_s)
    return replace(view, loads=_with(view.loads, fact.load, load), current_load=fact.load)


def _state_changed(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.StateChanged)
    return _load(view, fact.load, state=fact.after)


def _load_ready(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.LoadReady)
    return _load(view, fact.load, load_time_s=fact.load_time_s, pid=fact.pid)


def _probed(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.Probed)
    return _load(view, fact.load, k_scope=fact.k_scope)


def _step_started(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.StepStarted)
    known = view.steps.get(fact.step)
    if known is None:
        return view
    # Samples that were taken with other files, flags or builds are never mixed with new ones.
    kept = known if known.fingerprint == fact.fingerprint else StepView(known.step)
    started = replace(kept, status=RUNNING, load=fact.load, fingerprint=fact.fingerprint, error=None)
    return replace(view, steps=_with(view.steps, fact.step, started), current_step=fact.step)


def _sample_taken(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.SampleTaken)
    known = view.steps.get(fact.step)
    if known is None:
        return view
    changed = _step(view, fact.step, samples=(*known.samples, fact.sample), wall_s=known.wall_s + fact.wall_s)
    return replace(changed, current_step=fact.step)


def _verdict_raised(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.VerdictRaised)
    known = view.steps.get(fact.step)
    if known is None:
        return view
    verdicts = tuple(dict.fromkeys((*known.verdicts, fact.verdict)))
    return _step(view, fact.step, verdicts=verdicts, details=(*known.details, fact.detail))


def _step_finished(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.StepFinished)
    known = view.steps.get(fact.step)
    if known is None:
        return view
    verdicts = tuple(dict.fromkeys((*known.verdicts, *fact.verdicts)))
    return _step(
        view,
        fact.step,
        status=fact.status,
        load=fact.load or known.load,
        verdicts=verdicts,
        error=fact.error,
        fingerprint=fact.fingerprint or known.fingerprint,
    )


def _load_finished(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.LoadFinished)
    changed = _load(
        view,
        fact.load,
        state=fact.state,
        peak_rss_bytes=fact.peak_rss_bytes,
        wired_peak_bytes=fact.wired_peak_bytes,
        error=fact.error,
        hint=fact.hint,
        finished=True,
    )
    return replace(changed, current_load=None, current_step=None)


def _noted(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.Noted)
    return replace(view, notes=(*view.notes, fact))


def _run_finished(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.RunFinished)
    return replace(view, finished=fact, current_load=None, current_step=None)


_HANDLERS = {
    ev.RunStarted: _run_started,
    ev.RunResumed: _run_resumed,
    ev.EngineFound: _engine_found,
    ev.ModelRead: _model_read,
    ev.LoadStarted: _load_started,
    ev.StateChanged: _state_changed,
    ev.LoadReady: _load_ready,
    ev.Probed: _probed,
    ev.StepStarted: _step_started,
    ev.SampleTaken: _sample_taken,
    ev.VerdictRaised: _verdict_raised,
    ev.StepFinished: _step_finished,
    ev.LoadFinished: _load_finished,
    ev.Noted: _noted,
    ev.RunFinished: _run_finished,
}
