"""Facts: what happened in a run, in the words that the journal keeps.

Facts are few and never lost: numbered, checksummed and on disk before anybody shows them. Everything that a screen,
a narrator or a report knows about a run is folded from them (`core.view`). Ticks, which are many and of which only
the newest matters, are not facts and are never stored.

`encode` and `decode` turn a fact into the plain dictionary of a journal line and back. Unknown fields are dropped on
decoding and missing ones take their default, so that a journal of another minor version can be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

from specdash.core.evidence import BandwidthMeasured as BandwidthMeasured
from specdash.core.evidence import Fact as Fact
from specdash.core.evidence import Json as Json
from specdash.core.evidence import StepTimes as StepTimes
from specdash.core.evidence import TextChecked as TextChecked
from specdash.core.evidence import TextSeen as TextSeen
from specdash.core.measure import Sample
from specdash.core.plan import LoadKey, Step

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
    iterations: Json = field(default_factory=dict)  # by step id, where it is not that of the settings
    prompts: Json = field(
        default_factory=dict
    )  # bytes of text of each prompt, by category; {} in journals that lack it


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
    untold: Json = field(default_factory=dict)  # names of core.engine.UNTOLD, with the reasons


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
    """The server answers and is proven ours; `load_time_s` runs from its start to the one-token completion."""

    TYPE: ClassVar[str] = "load_ready"
    load: str
    load_time_s: float
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
    """The warm-up requests of a load are done; they are never samples."""

    TYPE: ClassVar[str] = "warmed_up"
    load: str
    requests: int
    wall_s: float


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
        StepFinished,
        LoadFinished,
        Noted,
        CommandAccepted,
        RunFinished,
    )
}

# Nested values of a fact's fields: how to build one from its dictionary.
_NESTED: Mapping[str, type[Any]] = {"sample": Sample, "key": LoadKey, "steps": Step}
# The fields of each of these; a journal of 10,000 facts asks for them 20,000 times.
_NAMES: Mapping[type[Any], frozenset[str]] = {
    cls: frozenset(item.name for item in fields(cls)) for cls in (*FACTS.values(), *_NESTED.values())
}


@dataclass(frozen=True, slots=True)
class Recorded:
    """A fact as the journal keeps it: its number, wall-clock time (seconds since 1970, UTC) and content."""

    seq: int
    time_s: float
    fact: Fact


def encode(fact: Fact) -> dict[str, Any]:
    """The fact's fields as JSON-able values, without type, number and time."""
    return asdict(fact)


def decode(kind: str, body: Json) -> Fact | None:
    """The fact of type `kind` with these fields; None for a type that this version does not know.

    Raises ValueError when a required field is missing or of the wrong shape.
    """
    cls = FACTS.get(kind)
    if cls is None:
        return None
    values: dict[str, Any] = {}
    for name in _NAMES[cls]:
        if name not in body:
            continue
        value = body[name]
        nested = _NESTED.get(name)
        if nested is None:
            values[name] = _frozen(value) if type(value) is list else value
        elif isinstance(value, list):
            values[name] = tuple(_build(nested, each) for each in value)
        else:
            values[name] = _build(nested, value)
    try:
        return cls(**values)
    except TypeError as error:
        raise ValueError(f"a {kind} fact: {error}") from error


def _build(cls: type[Any], value: Any) -> Any:
    """A nested dataclass from its dictionary, ignoring fields that this version does not know."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{cls.__name__} must be an object")
    known = _NAMES[cls]
    try:
        return cls(
            **{name: _frozen(each) if type(each) is list else each for name, each in value.items() if name in known}
        )
    except TypeError as error:
        raise ValueError(f"{cls.__name__}: {error}") from error


def _frozen(value: Any) -> Any:
    """Lists as tuples, all the way down: facts are values."""
    if isinstance(value, list):
        return tuple([_frozen(each) if type(each) is list else each for each in value])
    return value
