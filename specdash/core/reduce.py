"""The fold of a run's facts into its state: the one pure reducer, which all that reads a run shares.

`fold(state, recorded)` gives a new state and leaves the old one as it was; what did not change is shared by both. A
kind of fact that is not named here changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from specdash.core import commands as cmd
from specdash.core import events as ev
from specdash.core import queue
from specdash.core.persistent import PersistentMap
from specdash.core.state import LoadState, RunState, Transition
from specdash.core.status import StepStatus
from specdash.core.step_state import StepState
from specdash.core.steptable import StepTable, table_of
from specdash.errors import StoreError

TRANSITIONS_KEPT = 50


def fold(state: RunState, recorded: ev.Recorded) -> RunState:
    """Return the state after one more fact."""
    return _stamped(_of_step(state, recorded), recorded)


def fold_all(records: Iterable[ev.Recorded], state: RunState | None = None) -> RunState:
    """Return the state after all of `records`, begun from `state`; the same as folding one by one."""
    state = state if state is not None else RunState()
    last: ev.Recorded | None = None
    for recorded in records:
        # When the last fact came is asked by one kind of fact alone; to note it each time would be half of the work.
        if last is not None and isinstance(recorded.fact, ev.RunResumed):
            state = _stamped(state, last)
        state, last = _of_step(state, recorded), recorded
    return _stamped(state, last) if last is not None else state


def _stamped(state: RunState, recorded: ev.Recorded) -> RunState:
    """Return the state with the number and time of its last fact."""
    return replace(state, last_seq=recorded.seq, updated_s=recorded.time_s)


def _of_step(state: RunState, recorded: ev.Recorded) -> RunState:
    """Apply a fact about a step or its text; any other goes on to `_of_load`."""
    match recorded.fact:
        case ev.StepStarted() as fact:
            return _step_started(state, fact)
        case ev.SampleTaken() as fact:
            known = state.steps.get(fact.step)
            if known is None:
                return state
            taken = replace(known, samples=(*known.samples, fact.sample), wall_s=known.wall_s + fact.wall_s)
            return _at_work(replace(state, steps=_with(state.steps, fact.step, taken)), fact.load, fact.step)
        case ev.TextSeen() as fact:
            return replace(state, texts=_with(state.texts, fact.text_hash, fact.tokens))
        case ev.TextChecked() as fact:
            known = state.steps.get(fact.step)
            return state if known is None else _step(state, fact.step, checks=(*known.checks, fact))
        case ev.VerdictRaised() as fact:
            return _verdict_raised(state, fact)
        case ev.VerdictWithdrawn() as fact:
            return _verdict_withdrawn(state, fact)
        case ev.StepFinished() as fact:
            return _step_finished(state, fact)
    return _of_load(state, recorded)


def _of_load(state: RunState, recorded: ev.Recorded) -> RunState:
    """Apply a fact about a server load; any other goes on to `_of_run`."""
    time_s = recorded.time_s
    match recorded.fact:
        case ev.LoadStarted() as fact:
            return _load_started(state, fact, time_s)
        case ev.StateChanged() as fact:
            moved = Transition(time_s, fact.load, fact.before, fact.trigger, fact.after, fact.detail)
            changed = _load(state, fact.load, state=fact.after, state_since_s=time_s)
            return replace(changed, transitions=(*state.transitions[1 - TRANSITIONS_KEPT :], moved))
        case ev.LoadReady() as fact:
            is_ready = {"load_time_s": fact.load_time_s, "pid": fact.pid, "was_ready": True, "ready_at_s": time_s}
            return _load(state, fact.load, **is_ready)
        case ev.Probed() as fact:
            return _load(state, fact.load, k_scope=fact.k_scope)
        case ev.WarmedUp() as fact:
            return _warmed_up(state, fact, time_s)
        case ev.StepTimes() as fact:
            return replace(state, traces=_with(state.traces, fact.load, (*state.traces.get(fact.load, ()), fact)))
        case ev.LoadFinished() as fact:
            return _load_finished(state, fact)
    return _of_run(state, recorded)


def _of_run(state: RunState, recorded: ev.Recorded) -> RunState:
    """Apply a fact about the run as a whole; one of no kind known here changes nothing."""
    match recorded.fact:
        case ev.RunStarted() as fact:
            return _run_started(state, fact, recorded.time_s)
        case ev.RunResumed() as fact:
            return _run_resumed(state, fact, recorded.time_s)
        case ev.EngineFound() as fact:
            return replace(state, engine=fact)
        case ev.ModelRead() as fact:
            return replace(state, models=_with(state.models, fact.label, fact))
        case ev.BandwidthMeasured() as fact:
            return _bandwidth_measured(state, fact)
        case ev.PlanChanged() as fact:
            if not fact.edits and not fact.stage:
                return state
            steps = _edited(state, recorded.seq, fact.edits) if fact.edits else state.steps
            return replace(state, steps=steps, replans=(*state.replans, fact))
        case ev.Noted() as fact:
            return replace(state, notes=(*state.notes, fact))
        case ev.CommandAccepted() as fact:
            return _command_accepted(state, fact, recorded.seq)
        case ev.RunFinished() as fact:
            ended = replace(state, finished=fact, live_loads=(), steps_at_work={})
            return replace(ended, paused=False, stopping=False)
    return state


def _with(mapping: Mapping[str, Any], key: str, value: Any) -> Mapping[str, Any]:
    """Return `mapping` with one entry more or changed."""
    return mapping.with_entry(key, value) if isinstance(mapping, PersistentMap) else {**mapping, key: value}


def _without(mapping: Mapping[str, str], key: str) -> dict[str, str]:
    """Return `mapping` without an entry."""
    return {name: value for name, value in mapping.items() if name != key}


def _at_work(state: RunState, load_id: str, step_id: str) -> RunState:
    """Return the state with a step at work on a load, the last that something happened to."""
    if state.current_step == step_id and state.steps_at_work.get(load_id) == step_id:
        return state
    return replace(state, steps_at_work={**_without(state.steps_at_work, load_id), load_id: step_id})


def _step(state: RunState, step_id: str, /, **changes: Any) -> RunState:
    """Return the state with a step changed; a step that the plan does not list is left out."""
    known = state.steps.get(step_id)
    return state if known is None else replace(state, steps=_with(state.steps, step_id, replace(known, **changes)))


def _load(state: RunState, load_id: str, /, **changes: Any) -> RunState:
    """Return the state with a load changed; one that never started is left out."""
    known = state.loads.get(load_id)
    return state if known is None else replace(state, loads=_with(state.loads, load_id, replace(known, **changes)))


def _run_started(state: RunState, fact: ev.RunStarted, time_s: float) -> RunState:
    named = ((step.id, step) for step in fact.steps)
    steps = StepTable({name: StepState(step, iterations=fact.iterations.get(name)) for name, step in named})
    return replace(state, run=fact, steps=steps, started_s=time_s, session_s=time_s, finished=None)


def _run_resumed(state: RunState, fact: ev.RunResumed, time_s: float) -> RunState:
    steps = table_of(state.steps)
    for found in tuple(steps.with_status((StepStatus.RUNNING,))):
        steps = steps.with_entry(found.step.id, replace(found, status=StepStatus.OPEN))
    for step_id in fact.redo:
        if (redone := steps.get(step_id)) is not None:
            steps = steps.with_entry(step_id, StepState(redone.step, iterations=redone.iterations))
    return replace(
        state,
        steps=steps,
        finished=None,
        session_s=time_s,
        earlier_s=state.running_s or 0.0,
        resumes=state.resumes + 1,
        live_loads=(),
        steps_at_work={},
        paused=False,
        stopping=False,
    )


def _bandwidth_measured(state: RunState, fact: ev.BandwidthMeasured) -> RunState:
    if fact.bytes_s is None or not 0 < fact.bytes_s < math.inf:
        return replace(state, bandwidth=fact) if state.bandwidth_count == 0 else state
    # Whatever else reads memory at that time makes the figure smaller, and nothing makes it larger.
    known = state.bandwidth
    is_best = state.bandwidth_count == 0 or known is None or fact.bytes_s > (known.bytes_s or 0.0)
    return replace(state, bandwidth=fact if is_best else known, bandwidth_count=state.bandwidth_count + 1)


def _load_started(state: RunState, fact: ev.LoadStarted, time_s: float) -> RunState:
    load = LoadState(
        fact.load,
        fact.key,
        fact.argv,
        fact.log,
        fact.size_bytes,
        fact.fingerprint,
        time_s,
        timeout_s=fact.load_timeout_s,
        command=fact.command,
    )
    live = (*(each for each in state.live_loads if each != fact.load), fact.load)
    return replace(state, loads=_with(state.loads, fact.load, load), live_loads=live)


def _warmed_up(state: RunState, fact: ev.WarmedUp, time_s: float) -> RunState:
    known = state.loads.get(fact.load)
    ready_at_s = known.ready_at_s if known is not None else None
    if fact.wall_s is None:
        return _load(state, fact.load, warm_up_s=None, asked_s=None)
    return _load(
        state,
        fact.load,
        warm_up_s=fact.wall_s / fact.requests if fact.requests else None,
        asked_s=max(0.0, time_s - fact.wall_s - ready_at_s) if ready_at_s is not None else None,
    )


def _load_finished(state: RunState, fact: ev.LoadFinished) -> RunState:
    changed = _load(
        state,
        fact.load,
        state=fact.state,
        peak_rss_bytes=fact.peak_rss_bytes,
        wired_peak_bytes=fact.wired_peak_bytes,
        error=fact.error,
        hint=fact.hint,
        finished=True,
    )
    live = tuple(each for each in state.live_loads if each != fact.load)
    return replace(changed, live_loads=live, steps_at_work=_without(state.steps_at_work, fact.load))


def _step_started(state: RunState, fact: ev.StepStarted) -> RunState:
    known = state.steps.get(fact.step)
    if known is None:
        return state
    # Samples that were taken with other files, flags or builds are never mixed with new ones.
    kept = known if known.fingerprint == fact.fingerprint else StepState(known.step, iterations=known.iterations)
    load = state.loads.get(fact.load)
    k_startup = load.key.k_startup if load is not None else None
    started = replace(
        kept, status=StepStatus.RUNNING, load=fact.load, fingerprint=fact.fingerprint, error=None, k_startup=k_startup
    )
    return _at_work(replace(state, steps=_with(state.steps, fact.step, started)), fact.load, fact.step)


def _verdict_raised(state: RunState, fact: ev.VerdictRaised) -> RunState:
    known = state.steps.get(fact.step)
    if known is None:
        return state
    verdicts = tuple(dict.fromkeys((*known.verdicts, fact.verdict)))
    return _step(state, fact.step, verdicts=verdicts, raised=(*known.raised, (fact.verdict, fact.detail)))


def _verdict_withdrawn(state: RunState, fact: ev.VerdictWithdrawn) -> RunState:
    known = state.steps.get(fact.step)
    if known is None:
        return state
    verdicts = tuple(verdict for verdict in known.verdicts if verdict != fact.verdict)
    raised = tuple((verdict, detail) for verdict, detail in known.raised if verdict != fact.verdict)
    return _step(state, fact.step, verdicts=verdicts, raised=raised)


def _step_finished(state: RunState, fact: ev.StepFinished) -> RunState:
    known = state.steps.get(fact.step)
    if known is None:
        return state
    verdicts = tuple(dict.fromkeys((*known.verdicts, *fact.verdicts)))
    return _step(
        state,
        fact.step,
        status=fact.status,
        load=fact.load or known.load,
        verdicts=verdicts,
        error=fact.error,
        fingerprint=fact.fingerprint or known.fingerprint,
        by_user=False,
    )


def _command_accepted(state: RunState, fact: ev.CommandAccepted, seq: int) -> RunState:
    models = state.models
    for model in fact.models:
        models = _with(models, model.label, model)
    noted = replace(state, commands=(*state.commands, fact), models=models)
    match fact.command:
        case cmd.PAUSE | cmd.RESUME:
            return replace(noted, paused=fact.command == cmd.PAUSE)
        case cmd.STOP | cmd.STOP_AFTER_LOAD:
            return replace(noted, stopping=True, paused=False)
        case cmd.EDIT:
            return replace(noted, steps=_edited(state, seq, fact.edits))
    return noted


def _edited(state: RunState, seq: int, edits: Sequence[cmd.Edit]) -> Mapping[str, StepState]:
    """Return the queue after the edits of a fact; they were legal for the version that wrote it."""
    try:
        return table_of(queue.apply_edits(state.steps, edits, state.scope))
    except queue.IllegalEdit as error:
        raise StoreError(
            f"record {seq} of the journal holds an edit that this version of specdash does not understand: {error}",
            "Read it with the newer specdash that wrote it.",
        ) from error
