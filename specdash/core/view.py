"""The state of a run, folded from its facts.

`fold(view, recorded)` is the one pure reducer that headless narration, reports, resume and any screen share: what it
does not know is not known about a run. It never changes the view it was given. What each fact does is `core.folding`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from specdash.core import events as ev
from specdash.core.folding import HANDLERS
from specdash.core.loads import LoadView, Transition
from specdash.core.persistent import PersistentMap, backwards
from specdash.core.plan import KScope
from specdash.core.steps import DONE, OPEN, RUNNING, StepView
from specdash.core.steptable import StepTable, table_of

__all__ = ["DONE", "OPEN", "RUNNING", "LoadView", "StepView", "Transition", "View", "fold", "fold_all"]


@dataclass(frozen=True, slots=True)
class View:
    """A run as far as its facts tell. `steps` is in the order of the queue; `transitions` are the last ones."""

    run: ev.RunStarted | None = None
    engine: ev.EngineFound | None = None
    models: Mapping[str, ev.ModelRead] = field(default_factory=dict)
    steps: Mapping[str, StepView] = field(default_factory=StepTable)
    loads: Mapping[str, LoadView] = field(default_factory=PersistentMap)
    current_load: str | None = None
    current_step: str | None = None
    notes: tuple[ev.Noted, ...] = ()
    finished: ev.RunFinished | None = None
    started_s: float | None = None
    updated_s: float | None = None
    session_s: float | None = None  # when this process, or the last one, began
    earlier_s: float = 0.0  # how long the processes before it ran
    last_seq: int = 0
    resumes: int = 0
    paused: bool = False
    stopping: bool = False  # a stop was accepted, and the run has not ended yet
    transitions: tuple[Transition, ...] = ()
    commands: tuple[ev.CommandAccepted, ...] = ()
    bandwidth: ev.BandwidthMeasured | None = None  # the best of all that were measured
    bandwidth_count: int = 0  # measurements that gave a figure
    replans: tuple[ev.PlanChanged, ...] = ()  # those with a stage or edits
    texts: Mapping[str, tuple[int, ...]] = field(default_factory=PersistentMap)  # token ids by hash
    traces: Mapping[str, tuple[ev.StepTimes, ...]] = field(default_factory=PersistentMap)  # by load

    @property
    def table(self) -> StepTable:
        """The steps, with what is known of all of them together."""
        return table_of(self.steps)

    @property
    def running_s(self) -> float | None:
        """How long the run was at work: each process from its first fact to its last; None before it began.

        The time between a stop, or a crash, and the resume is none of it.
        """
        if self.session_s is None or self.updated_s is None:
            return None
        return self.earlier_s + max(0.0, self.updated_s - self.session_s)

    @property
    def k_scope(self) -> str | None:
        """The scope of K that the profile forces, or that the probes of this run found last; None before any did."""
        if self.engine is not None and self.engine.k_scope is not None:
            return self.engine.k_scope
        return next((load.k_scope for load in backwards(self.loads) if load.k_scope), None)

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
    return _stamped(_told(view, recorded), recorded)


def fold_all(records: Iterable[ev.Recorded], view: View | None = None) -> View:
    """The view after all of `records`, begun from `view`; the same as folding one by one."""
    view = view if view is not None else View()
    last: ev.Recorded | None = None
    for recorded in records:
        # When the last fact came is asked by one kind of fact alone; to note it each time would be half of the work.
        if last is not None and isinstance(recorded.fact, ev.RunResumed):
            view = _stamped(view, last)
        view, last = _told(view, recorded), recorded
    return _stamped(view, last) if last is not None else view


def _stamped(view: View, recorded: ev.Recorded) -> View:
    """The view, as of a fact."""
    return replace(view, last_seq=recorded.seq, updated_s=recorded.time_s)


def _told(view: View, recorded: ev.Recorded) -> View:
    """The view with what a fact says, but not yet when it was said."""
    handler = HANDLERS.get(type(recorded.fact))
    return handler(view, recorded) if handler is not None else view
