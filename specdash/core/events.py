"""Facts: what happened in a run, in the words that the journal keeps.

Facts are few and never lost: numbered, checksummed and on disk before anybody shows them. Everything that a screen,
a narrator or a report knows about a run is folded from them (`core.view`). Ticks, which are many and of which only
the newest matters, are not facts and are never stored.

`encode` turns a fact into the plain dictionary of a journal line; `store.codec` reads one back and checks its types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, ClassVar

from specdash.core.evidence import BandwidthMeasured as BandwidthMeasured
from specdash.core.evidence import Fact as Fact
from specdash.core.evidence import Json as Json
from specdash.core.evidence import StepTimes as StepTimes
from specdash.core.evidence import TextChecked as TextChecked
from specdash.core.evidence import TextSeen as TextSeen
from specdash.core.measure import Sample
from specdash.core.step import LoadKey, Step, encode_load, encode_step

K_PLACE = "{k}"  # in the command of a load


@dataclass(frozen=True, slots=True)
class RunStarted(Fact):
    """First fact of a run: what is to be measured, where, and with which settings."""

    TYPE: ClassVar[str] = "run_started"
    run_id: str
    name: str
    specdash_version: str
    hardware: Json
    host: str
    settings: Json  # the measure table of the profile, as run
    prompts_digest: str
    steps: tuple[Step, ...]
    model_family: str = ""
    iterations: Mapping[str, int] = field(default_factory=dict)  # by step id, where it is not that of the settings
    # Bytes of text of each prompt, by category; {} in journals that lack it.
    prompts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunResumed(Fact):
    """An interrupted run goes on, in a new engine process."""

    TYPE: ClassVar[str] = "run_resumed"
    specdash_version: str
    redo: tuple[str, ...] = ()  # step ids that are tried again


@dataclass(frozen=True, slots=True)
class EngineFound(Fact):
    """The program that serves the run: kind, resolved path, version and flag dialect."""

    TYPE: ClassVar[str] = "engine_found"
    kind: str
    program: str
    version: str
    dialect: str
    k_scope: str | None = None  # as the profile or the kind of engine settles it; None: found by probes
    untold: Mapping[str, str] = field(default_factory=dict)  # names of core.engine.UNTOLD, with the reasons


@dataclass(frozen=True, slots=True)
class ModelRead(Fact):
    """What the header of a target or draft says."""

    TYPE: ClassVar[str] = "model_read"
    label: str
    role: str  # "target" | "draft"
    path: str
    size_bytes: int
    architecture: str | None
    quantisation: str | None
    model_class: str
    synthetic: bool = False
    bytes_per_token: int | None = None  # of weights that one token reads, with the model's own number of experts
    expert_bytes: int | None = None  # of all experts together; None for a dense model
    expert_count: int | None = None
    expert_used_count: int | None = None


@dataclass(frozen=True, slots=True)
class PlanChanged(Fact):
    """The order or number of loads changed while running, and why; `edits` of the queue (core.commands) do it.

    `stage` names what of the plan is thereby begun, where the plan has stages: "pass 2", "confirm TARGET + DRAFT".
    """

    TYPE: ClassVar[str] = "plan_changed"
    reason: str
    loads_left: int
    edits: tuple[Json, ...] = ()
    stage: str = ""


@dataclass(frozen=True, slots=True)
class LoadStarted(Fact):
    """A server was started; `fingerprint` covers all that makes its numbers comparable (resume rule)."""

    TYPE: ClassVar[str] = "load_started"
    load: str
    key: LoadKey
    argv: tuple[str, ...]
    log: str
    size_bytes: int | None  # of all model files; None where they are the server's own business
    load_timeout_s: float
    fingerprint: str
    command: tuple[str, ...] = ()  # for the user to paste, with K_PLACE where K belongs


@dataclass(frozen=True, slots=True)
class StateChanged(Fact):
    """The server's state machine moved."""

    TYPE: ClassVar[str] = "state_changed"
    load: str
    before: str
    trigger: str
    after: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class LoadReady(Fact):
    """The server answers and is proven ours; `load_time_s` runs from its start to the one-token completion.

    It is None where the server or this process was stopped meanwhile.
    """

    TYPE: ClassVar[str] = "load_ready"
    load: str
    load_time_s: float | None
    pid: int
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Probed(Fact):
    """Who decides K on this server, found by experiment: the K asked for and the draft length seen, in pairs."""

    TYPE: ClassVar[str] = "probed"
    load: str
    k_scope: str | None  # None: nothing was drafted, so nothing can be said
    evidence: tuple[tuple[int, int | None], ...] = ()
    forced: bool = False


@dataclass(frozen=True, slots=True)
class WarmedUp(Fact):
    """The warm-up requests of a load are done; they are never samples. `wall_s` is None after a pause."""

    TYPE: ClassVar[str] = "warmed_up"
    load: str
    requests: int
    wall_s: float | None


@dataclass(frozen=True, slots=True)
class StepStarted(Fact):
    """The first request of a step on this load is about to be sent; samples of another fingerprint are dropped."""

    TYPE: ClassVar[str] = "step_started"
    step: str
    load: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class SampleTaken(Fact):
    """One request was measured; an invalid one is kept too, with its reasons."""

    TYPE: ClassVar[str] = "sample_taken"
    step: str
    load: str
    sample: Sample
    wall_s: float


@dataclass(frozen=True, slots=True)
class VerdictRaised(Fact):
    """Something about a step's numbers that its reader has to know."""

    TYPE: ClassVar[str] = "verdict_raised"
    step: str
    load: str
    verdict: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class VerdictWithdrawn(Fact):
    """A verdict that was raised of a step no longer holds, since more is known; `reason` says what."""

    TYPE: ClassVar[str] = "verdict_withdrawn"
    step: str
    verdict: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StepFinished(Fact):
    """A step is over: "ok", "invalid", "failed", "timeout" or "skipped", with the reason for all but the first."""

    TYPE: ClassVar[str] = "step_finished"
    step: str
    load: str | None
    status: str
    verdicts: tuple[str, ...] = ()
    error: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class LoadFinished(Fact):
    """The server is gone, in state "stopped" or "failed"."""

    TYPE: ClassVar[str] = "load_finished"
    load: str
    state: str
    peak_rss_bytes: int | None = None
    wired_peak_bytes: int | None = None
    stop_s: float | None = None
    error: str | None = None
    hint: str | None = None
    log_tail: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Noted(Fact):
    """A sentence for the user that is not about one step: "info", "warning" or "error"."""

    TYPE: ClassVar[str] = "noted"
    level: str
    text: str


@dataclass(frozen=True, slots=True)
class CommandAccepted(Fact):
    """A command of the user's entered the run: `command` of `core.commands`, its edits, and both in words."""

    TYPE: ClassVar[str] = "command_accepted"
    command: str
    detail: str = ""
    edits: tuple[Json, ...] = ()


@dataclass(frozen=True, slots=True)
class RunFinished(Fact):
    """Last fact of an engine process: "finished" or "stopped" (can be resumed), the exit code and why."""

    TYPE: ClassVar[str] = "run_finished"
    state: str
    exit_code: int
    reason: str = ""


FACTS: Mapping[str, type[Fact]] = {
    kind.TYPE: kind
    for kind in (
        RunStarted,
        RunResumed,
        EngineFound,
        ModelRead,
        BandwidthMeasured,
        PlanChanged,
        LoadStarted,
        StateChanged,
        LoadReady,
        Probed,
        WarmedUp,
        StepStarted,
        SampleTaken,
        StepTimes,
        TextSeen,
        TextChecked,
        VerdictRaised,
        VerdictWithdrawn,
        StepFinished,
        LoadFinished,
        Noted,
        CommandAccepted,
        RunFinished,
    )
}


@dataclass(frozen=True, slots=True)
class Recorded:
    """A fact as the journal keeps it: its number, wall-clock time (seconds since 1970, UTC) and content."""

    seq: int
    time_s: float
    fact: Fact


def encode(fact: Fact) -> dict[str, Any]:
    """The fact's fields as JSON-able values, without type, number and time."""
    match fact:
        case RunStarted():
            return {**asdict(replace(fact, steps=())), "steps": [encode_step(step) for step in fact.steps]}
        case LoadStarted():
            body = {item.name: getattr(fact, item.name) for item in fields(fact)}
            return {**body, "key": encode_load(fact.key)}
    return asdict(fact)
