"""The state of a run as its facts tell it: its steps, its server loads, and what was said of the whole.

`core.reduce` makes it, fact by fact. Headless narration, reports, resume and every screen read it: what it does not
hold is not known about a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from specdash.core import events as ev
from specdash.core.persistent import PersistentMap, backwards
from specdash.core.plan import KScope, LoadKey
from specdash.core.step_state import StepState
from specdash.core.steptable import StepTable, table_of


@dataclass(frozen=True, slots=True)
class Transition:
    """A move of a server's state machine, at `time_s` (seconds since 1970)."""

    time_s: float
    load: str
    before: str
    trigger: str
    after: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class LoadState:
    """One server load: its key, command, state and what it cost."""

    id: str
    key: LoadKey
    argv: tuple[str, ...]
    log: str
    size_bytes: int | None
    fingerprint: str
    started_s: float
    state: str = "stopped"
    state_since_s: float | None = None
    load_time_s: float | None = None
    pid: int | None = None
    k_scope: str | None = None
    peak_rss_bytes: int | None = None
    wired_peak_bytes: int | None = None
    error: str | None = None
    hint: str | None = None
    finished: bool = False
    timeout_s: float | None = None
    warm_up_s: float | None = None  # of one warm-up request
    ready_at_s: float | None = None  # seconds since 1970
    asked_s: float | None = None  # from then to the first warm-up request: who decides K, and rendered prompts
    command: tuple[str, ...] = ()  # for the user to paste; () in journals that lack it
    was_ready: bool = False  # at some time; its load time may be unknown


@dataclass(frozen=True, slots=True)
class RunState:
    """A run as far as its facts tell. `steps` is in the order of the queue; `transitions` are the last ones."""

    run: ev.RunStarted | None = None
    engine: ev.EngineFound | None = None
    models: Mapping[str, ev.ModelRead] = field(default_factory=dict)
    steps: Mapping[str, StepState] = field(default_factory=StepTable)
    loads: Mapping[str, LoadState] = field(default_factory=PersistentMap)
    live_loads: tuple[str, ...] = ()  # servers that were started and are not gone, in that order
    steps_at_work: Mapping[str, str] = field(default_factory=dict)  # the step of each live load, the newest last
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
    def current_load(self) -> str | None:
        """The load that was started last, while it lives."""
        return self.live_loads[-1] if self.live_loads else None

    @property
    def current_step(self) -> str | None:
        """The step that something happened to last, while its server lives."""
        return next(reversed(tuple(self.steps_at_work.values())), None)

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
        return self.settings.iterations

    @property
    def settings(self) -> ev.RunSettings:
        """What holds for every sample; nothing is known of it before the first fact."""
        return self.run.settings if self.run is not None else ev.RunSettings()
