"""What each fact does to the view of a run: one handler for each kind, called by `core.view.fold`.

A handler gives a new view and leaves the old one as it was; what did not change is shared by both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from specdash.core import commands as cmd
from specdash.core import events as ev
from specdash.core import queue
from specdash.core.loads import LoadView, Transition
from specdash.core.persistent import PersistentMap
from specdash.core.steps import OPEN, RUNNING, StepView
from specdash.core.steptable import StepTable, table_of
from specdash.errors import StoreError

if TYPE_CHECKING:
    from specdash.core.view import View

TRANSITIONS_KEPT = 50


def _with(mapping: Mapping[str, Any], key: str, value: Any) -> Mapping[str, Any]:
    """`mapping` with one entry more or changed."""
    return mapping.with_entry(key, value) if isinstance(mapping, PersistentMap) else {**mapping, key: value}


def _step(view: View, step_id: str, **changes: Any) -> View:
    """The view with a step changed; a step that the plan does not list is left out."""
    known = view.steps.get(step_id)
    return view if known is None else replace(view, steps=_with(view.steps, step_id, replace(known, **changes)))


def _load(view: View, load_id: str, **changes: Any) -> View:
    """The view with a load changed."""
    known = view.loads.get(load_id)
    return view if known is None else replace(view, loads=_with(view.loads, load_id, replace(known, **changes)))


def _run_started(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.RunStarted)
    named = ((step.id, step) for step in fact.steps)
    steps = StepTable({name: StepView(step, iterations=fact.iterations.get(name)) for name, step in named})
    return replace(
        view,
        run=fact,
        steps=steps,
        started_s=recorded.time_s,
        session_s=recorded.time_s,
        finished=None,
    )


def _run_resumed(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.RunResumed)
    steps = table_of(view.steps)
    for found in tuple(steps.with_status((RUNNING,))):
        steps = steps.with_entry(found.step.id, replace(found, status=OPEN))
    for step_id in fact.redo:
        if (redone := steps.get(step_id)) is not None:
            steps = steps.with_entry(step_id, StepView(redone.step, iterations=redone.iterations))
    return replace(
        view,
        steps=steps,
        finished=None,
        session_s=recorded.time_s,
        earlier_s=view.running_s or 0.0,
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


def _bandwidth_measured(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.BandwidthMeasured)
    if not _is_figure(fact):
        return replace(view, bandwidth=fact) if view.bandwidth_count == 0 else view
    # Whatever else reads memory at that time makes the figure smaller, and nothing makes it larger.
    known = view.bandwidth
    is_best = view.bandwidth_count == 0 or known is None or (fact.bytes_s or 0.0) > (known.bytes_s or 0.0)
    return replace(view, bandwidth=fact if is_best else known, bandwidth_count=view.bandwidth_count + 1)


def _is_figure(fact: ev.BandwidthMeasured) -> bool:
    """Whether a measurement gave a number that can bound anything."""
    return fact.bytes_s is not None and 0 < fact.bytes_s < math.inf


def _plan_changed(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.PlanChanged)
    if not fact.edits and not fact.stage:
        return view
    steps = _edited(view, recorded.seq, fact.edits) if fact.edits else view.steps
    return replace(view, steps=steps, replans=(*view.replans, fact))


def _step_times(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.StepTimes)
    return replace(view, traces=_with(view.traces, fact.load, (*view.traces.get(fact.load, ()), fact)))


def _text_seen(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.TextSeen)
    return replace(view, texts=_with(view.texts, fact.text_hash, fact.tokens))


def _text_checked(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.TextChecked)
    known = view.steps.get(fact.step)
    return view if known is None else _step(view, fact.step, checks=(*known.checks, fact))


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
        command=fact.command,
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
    return _load(
        view,
        fact.load,
        load_time_s=fact.load_time_s,
        pid=fact.pid,
        was_ready=True,
        ready_at_s=recorded.time_s,
    )


def _probed(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.Probed)
    return _load(view, fact.load, k_scope=fact.k_scope)


def _warmed_up(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.WarmedUp)
    known = view.loads.get(fact.load)
    ready_at_s = known.ready_at_s if known is not None else None
    if fact.wall_s is None:
        return _load(view, fact.load, warm_up_s=None, asked_s=None)
    return _load(
        view,
        fact.load,
        warm_up_s=fact.wall_s / fact.requests if fact.requests else None,
        asked_s=max(0.0, recorded.time_s - fact.wall_s - ready_at_s) if ready_at_s is not None else None,
    )


def _step_started(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.StepStarted)
    known = view.steps.get(fact.step)
    if known is None:
        return view
    # Samples that were taken with other files, flags or builds are never mixed with new ones.
    kept = known if known.fingerprint == fact.fingerprint else StepView(known.step, iterations=known.iterations)
    load = view.loads.get(fact.load)
    k_startup = load.key.k_startup if load is not None else None
    started = replace(
        kept, status=RUNNING, load=fact.load, fingerprint=fact.fingerprint, error=None, k_startup=k_startup
    )
    return replace(view, steps=_with(view.steps, fact.step, started), current_step=fact.step)


def _sample_taken(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.SampleTaken)
    known = view.steps.get(fact.step)
    if known is None:
        return view
    taken = replace(known, samples=(*known.samples, fact.sample), wall_s=known.wall_s + fact.wall_s)
    return replace(view, steps=_with(view.steps, fact.step, taken), current_step=fact.step)


def _verdict_raised(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.VerdictRaised)
    known = view.steps.get(fact.step)
    if known is None:
        return view
    verdicts = tuple(dict.fromkeys((*known.verdicts, fact.verdict)))
    return _step(view, fact.step, verdicts=verdicts, raised=(*known.raised, (fact.verdict, fact.detail)))


def _verdict_withdrawn(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.VerdictWithdrawn)
    known = view.steps.get(fact.step)
    if known is None:
        return view
    verdicts = tuple(each for each in known.verdicts if each != fact.verdict)
    return _step(
        view, fact.step, verdicts=verdicts, raised=tuple(each for each in known.raised if each[0] != fact.verdict)
    )


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
            return replace(noted, steps=_edited(view, recorded.seq, fact.edits))
    return noted


def _edited(view: View, seq: int, edits: Iterable[ev.Json]) -> Mapping[str, StepView]:
    """The queue after the edits of a fact, which were legal when they were accepted by the version that wrote it."""
    try:
        return table_of(queue.apply(view.steps, [cmd.decode_edit(each) for each in edits], view.scope))
    except ValueError as error:
        raise StoreError(
            f"record {seq} of the journal holds an edit that this version of specdash does not understand: {error}",
            "Read it with the newer specdash that wrote it.",
        ) from error


def _run_finished(view: View, recorded: ev.Recorded) -> View:
    fact = recorded.fact
    assert isinstance(fact, ev.RunFinished)
    return replace(view, finished=fact, current_load=None, current_step=None, paused=False, stopping=False)


HANDLERS: Mapping[type[ev.Fact], Callable[[View, ev.Recorded], View]] = {
    ev.RunStarted: _run_started,
    ev.RunResumed: _run_resumed,
    ev.EngineFound: _engine_found,
    ev.ModelRead: _model_read,
    ev.BandwidthMeasured: _bandwidth_measured,
    ev.PlanChanged: _plan_changed,
    ev.StepTimes: _step_times,
    ev.TextSeen: _text_seen,
    ev.TextChecked: _text_checked,
    ev.LoadStarted: _load_started,
    ev.StateChanged: _state_changed,
    ev.LoadReady: _load_ready,
    ev.Probed: _probed,
    ev.WarmedUp: _warmed_up,
    ev.StepStarted: _step_started,
    ev.SampleTaken: _sample_taken,
    ev.VerdictRaised: _verdict_raised,
    ev.VerdictWithdrawn: _verdict_withdrawn,
    ev.StepFinished: _step_finished,
    ev.LoadFinished: _load_finished,
    ev.Noted: _noted,
    ev.CommandAccepted: _command_accepted,
    ev.RunFinished: _run_finished,
}
"""What each kind of fact does to a view; one that is not here changes nothing."""
