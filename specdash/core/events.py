"""Facts: what happened in a run, in the words that the journal keeps.

Facts are few and never lost: numbered, checksummed and on disk before anybody shows them. Everything that a screen,
a narrator or a report knows about a run is folded from them (`core.state`). Ticks, which are many and of which only
the newest matters, are not facts and are never stored.

`store.codec` turns a fact into a line of the journal and back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from specdash.core.commands import Edit
from specdash.core.measure import Sample
from specdash.core.status import StepStatus
from specdash.core.step import LoadKey, Step

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Fact:
    """Base of all facts; `TYPE` is the journal's name for it."""

    TYPE: ClassVar[str] = ""


@dataclass(frozen=True, slots=True)
class BandwidthMeasured(Fact):
    """How fast this machine reads memory: what bounds a rate. `bytes_s` None: not measured, for the reason given.

    A run may measure several times: the best counts, since whatever else reads memory meanwhile makes it less.
    """

    TYPE: ClassVar[str] = "bandwidth_measured"
    bytes_s: float | None
    cache_bytes: int | None = None  # the last level, all of it
    threads: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StepTimes(Fact):
    """The verification steps of one request, in order, by the server's clock: where a K curve comes from.

    `purpose` is "sample" (the trace of the sample of that block) or "cost" (a request made for its short last steps,
    never a sample; its prompt may be cached). The lists are of one length: tokens drafted, tokens accepted, and
    milliseconds, None where the stream does not tell. The first entry is the first step behind the prompt.
    """

    TYPE: ClassVar[str] = "step_times"
    step: str
    load: str
    purpose: str
    block: int | None
    drafted: tuple[int, ...]
    accepted: tuple[int, ...]
    times_ms: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class TextSeen(Fact):
    """The token ids of a text, recorded when its hash comes up for the first time.

    Of servers that tell no ids its characters are kept, each as -1 minus its code point, below any id.
    """

    TYPE: ClassVar[str] = "text_seen"
    text_hash: str
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TextChecked(Fact):
    """A greedy answer outside every measurement, to compare texts by.

    `margins`: by how many nats the first choice led over the second at each token of the answer (None where the server
    does not tell), asked of baselines only; () where it was not asked. `cached_tokens` is how many tokens of the prompt
    came from the server's cache: 0 for a cold answer, as samples are. A baseline is asked cold, and again from the
    cache: by how much the margins of the two differ is this server's own rounding. None where the server does not tell,
    and in journals that were written before it was kept.
    """

    TYPE: ClassVar[str] = "text_checked"
    step: str
    load: str
    prompt_id: str
    text_hash: str
    margins: tuple[float | None, ...] = ()
    cached_tokens: int | None = None


K_PLACE = "{k}"  # in the command of a load


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What holds for every sample of a run: the measure table of its profile, as run. None: its journal tells none.

    `k` is "list", "curve" or "search"; `precision` is a share (0.02 = 2 %), None for a fixed number of samples.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    seed: int | None = None
    warmup: int | None = None  # requests
    iterations: int | None = None  # samples of a step
    prompts: str | None = None
    workloads: tuple[str, ...] | None = None
    k: str | None = None
    precision: float | None = None
    passes: int | None = None


@dataclass(frozen=True, slots=True)
class RunStarted(Fact):
    """First fact of a run: what is to be measured, where, and with which settings."""

    TYPE: ClassVar[str] = "run_started"
    run_id: str
    name: str
    specdash_version: str
    hardware: Json
    host: str
    settings: RunSettings
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
    untold: Mapping[str, str] = field(default_factory=dict)  # names of core.engine.REPORTABLE, with the reasons


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
    """The order or number of loads changed while running, and why; `edits` of the queue do it.

    `stage` names what of the plan is thereby begun, where the plan has stages: "pass 2", "confirm TARGET + DRAFT".
    """

    TYPE: ClassVar[str] = "plan_changed"
    reason: str
    loads_left: int
    edits: tuple[Edit, ...] = ()
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
    """A step is over: its status is one of `core.status.DONE`, with the reason for all but "ok"."""

    TYPE: ClassVar[str] = "step_finished"
    step: str
    load: str | None
    status: StepStatus
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
    """A command of the user's entered the run: `command` of `core.commands`, its edits, and both in words.

    `models` are those that its edits brought; versions before recorded them as facts of their own.
    """

    TYPE: ClassVar[str] = "command_accepted"
    command: str
    detail: str = ""
    edits: tuple[Edit, ...] = ()
    models: tuple[ModelRead, ...] = ()


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
