"""The state of a run, folded from its facts.

`fold(view, recorded)` is the one pure reducer that headless narration, reports, resume and any screen share: what it
does not know is not known about a run. It never changes the view it was given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from specdash.core import commands as cmd
from specdash.core import events as ev
from specdash.core import queue
from specdash.core.loads import LoadView, Transition
from specdash.core.plan import KScope
from specdash.core.steps import DONE, OPEN, RUNNING, StepView
from specdash.errors import StoreError

__all__ = ["DONE", "OPEN", "RUNNING", "LoadView", "StepView", "Transition", "View", "fold", "fold_all"]

TRANSITIONS_KEPT = 50


@dataclass(frozen=True, slots=True)
class View:
    """A run as far as its facts tell. `steps` is in the order of the queue; `transitions` are the last ones."""

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
    paused: bool = False
    stopping: bool = False  # a stop was accepted, and the run has not ended yet
    transitions: tuple[Transition, ...] = ()
    commands: tuple[ev.CommandAccepted, ...] = ()

    @property
    def k_scope(self) -> str | None:
        """The scope of K that the profile forces, or that the probes of this run found last; None before any did."""
        if self.engine is not None and self.engine.k_scope is not None:
            return self.engine.k_scope
        return next((load.k_scope for load in reversed(list(self.loads.values())) if load.k_scope), None)

    @property
    def scope(self) -> KScope | None:
        """`k_scope` as plans and queues take it."""
        return KScope(self.k_scope) if self.k_scope is not None else None

    def iterations(self, step_id: str) -> int | None:
        """How many samples a step takes; None where neither the queue nor the run says."""
        found = self.steps.get(step_id)
        if found is not None and found.iterations is not None:
            return found.iterations
        settled = self.run.settings.get("iterations") if self.run is not None else None
        return settled if isinstance(settled, int) else None


def fold(view: View, recorded: ev.Recorded) -> View:
    """The view after one more fact."""
    return replace(_told(view, recorded), last_seq=recorded.seq, updated_s=recorded.time_s)


def fold_all(records: Iterable[ev.Recorded], view: View | None = None) -> View:
    """The view after all of `records`, begun from `view`; the same as folding one by one, without a copy for each."""
    view = view if view is not None else View()
    recorded: ev.Recorded | None = None
    for recorded in records:
        if not isinstance(view.steps, _Open):
            view = replace(view, steps=_Open(view.steps), loads=_Open(view.loads))
        view = _told(view, recorded)
    if recorded is None:
        return view
    return replace(
        view, steps=dict(view.steps), loads=dict(view.loads), last_seq=recorded.seq, updated_s=recorded.time_s
    )


def _told(view: View, recorded: ev.Recorded) -> View:
    """The view with what a fact says, but not yet when it was said."""
    handler = _HANDLERS.get(type(recorded.fact))
    return handler(view, recorded) if handler is not None else view


class _Open(dict[str, Any]):
    """A mapping that nobody else holds yet, so that it may be changed in place."""


def _with(mapping: Mapping[str, Any], key: str, value: Any) -> Mapping[str, Any]:
    """A copy of `mapping` with one entry more or changed."""
    if isinstance(mapping, _Open):
        mapping[key] = value
        return mapping
    return {**mapping, key: value}


def _changed(view: View, steps: Mapping[str, StepView], current_step: str) -> View:
    """The view with these steps; itself where nothing in it has to be replaced, as with steps changed in place."""
    if steps is view.steps and current_step == view.current_step:
        return view
    return replace(view, steps=steps, current_step=current_step)


def _step(view: View, step_id: str, **changes: Any) -> View:
    """The view with a step changed; a step that the plan does not list is left out."""
    known = view.steps.get(step_id)
    if known is None:
        return view
    steps = _with(view.steps, step_id, replace(known, **changes))
    return view if steps is view.steps else replace(view, steps=steps)


def _load(view: View, load_id: str, **changes: Any) -> View:
    """The view with a load changed."""
    known = view.loads.get(load_id)
    if known is None:
        return view
    loads = _with(view.loads, load_id, replace(known, **changes))
    return view if loads is view.loads else replace(view, loads=loads)


def _run_started(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.RunStarted)
    steps = {step.id: StepView(step, iterations=fact.iterations.get(step.id)) for step in fact.steps}
    return replace(
        view,
        run=fact,
        steps=steps,
        started_s=recorded.time_s,
        finished=None,
    )


def _run_resumed(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.RunResumed)
    redone = set(fact.redo)
    steps = {
        step_id: StepView(found.step, iterations=found.iterations)
        if step_id in redone
        else replace(found, status=OPEN)
        if found.status == RUNNING
        else found
        for step_id, found in view.steps.items()
    }
    return replace(
        view,
        steps=steps,
        finished=None,
        resumes=view.resumes + 1,
        current_load=None,
        current_step=None,
        paused=False,
        stopping=False,
    )


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
    load = LoadView(
        fact.load,
        fact.key,
        fact.argv,
        fact.log,
        fact.size_bytes,
        fact.fingerprint,
        recorded.time_s,
        timeout_s=fact.load_timeout_s,
    )
    return replace(view, loads=_with(view.loads, fact.load, load), current_load=fact.load)


def _state_changed(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.StateChanged)
    moved = Transition(recorded.time_s, fact.load, fact.before, fact.trigger, fact.after, fact.detail)
    changed = _load(view, fact.load, state=fact.after, state_since_s=recorded.time_s)
    return replace(changed, transitions=(*view.transitions[1 - TRANSITIONS_KEPT :], moved))


def _load_ready(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.LoadReady)
    return _load(view, fact.load, load_time_s=fact.load_time_s, pid=fact.pid)


def _probed(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.Probed)
    return _load(view, fact.load, k_scope=fact.k_scope)


def _warmed_up(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.WarmedUp)
    return _load(view, fact.load, warm_up_s=fact.wall_s / fact.requests if fact.requests else None)


def _step_started(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.StepStarted)
    known = view.steps.get(fact.step)
    if known is None:
        return view
    # Samples that were taken with other files, flags or builds are never mixed with new ones.
    kept = known if known.fingerprint == fact.fingerprint else StepView(known.step, iterations=known.iterations)
    load = view.loads.get(fact.load)
    k_startup = load.key.k if load is not None else None
    started = replace(
        kept, status=RUNNING, load=fact.load, fingerprint=fact.fingerprint, error=None, k_startup=k_startup
    )
    return _changed(view, _with(view.steps, fact.step, started), fact.step)


def _sample_taken(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.SampleTaken)
    known = view.steps.get(fact.step)
    if known is None:
        return view
    taken = replace(known, samples=(*known.samples, fact.sample), wall_s=known.wall_s + fact.wall_s)
    return _changed(view, _with(view.steps, fact.step, taken), fact.step)


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
        by_user=False,
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


def _command_accepted(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.CommandAccepted)
    noted = replace(view, commands=(*view.commands, fact))
    match fact.command:
        case cmd.PAUSE | cmd.RESUME:
            return replace(noted, paused=fact.command == cmd.PAUSE)
        case cmd.STOP | cmd.STOP_AFTER_LOAD:
            return replace(noted, stopping=True, paused=False)
        case cmd.EDIT:
            return replace(noted, steps=_edited(view, recorded.seq, fact))
    return noted


def _edited(view: View, seq: int, fact: ev.CommandAccepted) -> Mapping[str, StepView]:
    """The queue after the edits of a fact, which were legal when they were accepted by the version that wrote it."""
    try:
        return queue.apply(view.steps, [cmd.decode_edit(each) for each in fact.edits], view.scope)
    except ValueError as error:
        raise StoreError(
            f"record {seq} of the journal holds an edit that this version of specdash does not understand: {error}",
            "Read it with the newer specdash that wrote it.",
        ) from error


def _run_finished(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.RunFinished)
    return replace(view, finished=fact, current_load=None, current_step=None, paused=False, stopping=False)


_HANDLERS = {
    ev.RunStarted: _run_started,
    ev.RunResumed: _run_resumed,
    ev.EngineFound: _engine_found,
    ev.ModelRead: _model_read,
    ev.LoadStarted: _load_started,
    ev.StateChanged: _state_changed,
    ev.LoadReady: _load_ready,
    ev.Probed: _probed,
    ev.WarmedUp: _warmed_up,
    ev.StepStarted: _step_started,
    ev.SampleTaken: _sample_taken,
    ev.VerdictRaised: _verdict_raised,
    ev.StepFinished: _step_finished,
    ev.LoadFinished: _load_finished,
    ev.Noted: _noted,
    ev.CommandAccepted: _command_accepted,
    ev.RunFinished: _run_finished,
}
