"""The types of a result: what one run measured and what follows from it, schema `specdash.result/1`.

Each class is a table of `result.json`, each field a key of it, in the order of the file. Unknown is None, never 0.
What was measured is a `core.plan.Step`, wherever a row is about one: without a category where it is over all of them,
with the category "all" in curves and recommendations. `analysis.build_result.result_of` makes a result from the state
of a run, `store.result_json` reads and writes it as JSON. Rates are in tokens per second (`_tok_s`), times in seconds
(`_s`), memory in bytes, speedups are factors. An end of an interval that is unbounded is infinite here, null in JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from specdash.analysis.lossless import Agreement
from specdash.analysis.pass_drift import Anchor
from specdash.analysis.roofline import Roofline
from specdash.analysis.stats import Interval, Speedup, Summary
from specdash.core.measure import Sample
from specdash.core.methods import BASELINE
from specdash.core.plan import LoadKey, Step

SCHEMA = "specdash.result/1"
UNFINISHED = "unfinished"
RATE = "decode_tok_s"
"""The metric that arms are compared by."""


@dataclass(frozen=True, slots=True)
class GpuInfo:
    """A device that models may run on."""

    name: str
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The machine: its label in names of folders, and what it is made of."""

    label: str | None = None
    cpu: str | None = None
    cores: int | None = None
    ram_bytes: int | None = None
    gpus: tuple[GpuInfo, ...] | None = None
    os: str | None = None
    os_release: str | None = None
    arch: str | None = None
    python: str | None = None

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """The machine that a journal tells of; keys that this version does not know are left out."""
        known = {name: told.get(name) for name in cls.__dataclass_fields__}
        gpus = known.pop("gpus")
        return cls(
            **known, gpus=None if gpus is None else tuple(GpuInfo(each["name"], each["memory_bytes"]) for each in gpus)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """Which run it is, where it ran, and how it ended. `started` and `finished` are ISO 8601, UTC."""

    id: str | None = None
    name: str | None = None
    state: str | None = None
    started: str | None = None
    finished: str | None = None
    hardware: Hardware = Hardware()
    host: str | None = None
    specdash_version: str | None = None
    model_family: str | None = None
    reason: str | None = None
    resumes: int | None = None
    running_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What the servers were found to do: who decides K, and what they never tell, each with the reason."""

    k_scope: str | None = None
    untold: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineUsed:
    """The program that served the run."""

    kind: str | None = None
    program: str | None = None
    version: str | None = None
    dialect: str | None = None
    capabilities: Capabilities = Capabilities()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What the header of a target or draft says; `bytes_per_token` are read for one token by a pass of it."""

    label: str | None = None
    role: str | None = None
    path: str | None = None
    size_bytes: int | None = None
    architecture: str | None = None
    quantisation: str | None = None
    model_class: str | None = None
    synthetic: bool | None = None
    bytes_per_token: int | None = None
    expert_bytes: int | None = None
    expert_count: int | None = None
    expert_used_count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultSettings:
    """The settings that hold for every sample; `others` are those of another tool, under its own names."""

    max_tokens: int | None = None
    temperature: float | None = None
    seed: int | None = None
    warmup: int | None = None
    iterations: int | None = None
    prompts: str | None = None
    workloads: tuple[str, ...] | None = None
    k: str | None = None
    precision: float | None = None
    passes: int | None = None
    prompts_digest: str | None = None
    others: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """These settings; those that this version does not know, or of another type, are among the `others`."""
        known = {name: _listed(told[name]) for name, types in _SETTINGS.items() if isinstance(told.get(name), types)}
        others = {name: value for name, value in told.items() if name not in known and value is not None}
        return cls(**known, others=others)


_SETTINGS: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("max_tokens", "seed", "warmup", "iterations", "passes"), int),
    **dict.fromkeys(("temperature", "precision"), (int, float)),
    **dict.fromkeys(("prompts", "k", "prompts_digest"), str),
    "workloads": (list, tuple),
}


def _listed(value: Any) -> Any:
    return tuple(map(str, value)) if isinstance(value, list | tuple) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One start of a server: what it served (`key.k_startup`: the K at start-up), its command, and what it took."""

    id: str
    key: LoadKey
    argv: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    load_time_s: float | None = None
    peak_rss_bytes: int | None = None
    wired_peak_bytes: int | None = None
    state: str | None = None
    k_scope: str | None = None
    size_bytes: int | None = None
    log: str | None = None
    fingerprint: str | None = None
    error: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One step with its samples and figures; the figures are None or empty unless its `status` is "ok".

    `name` is the step's name in the journal (JSON: `step`). `verdicts` are names of `core.measure.Verdict`, `details`
    what was said with them. `summary` is by the names of a sample's fields. `k_seen` is there also where the step does
    not count: it is the evidence against it. `drift` is a share. `wall_time_s` is told by other tools alone. Samples
    of other tools know few fields: their `clock` is "", their `started_s` NaN (JSON: null).
    """

    id: str
    name: str | None = None
    load: str | None = None
    step: Step
    status: str
    verdicts: tuple[str, ...] = ()
    error: str | None = None
    details: tuple[str, ...] = ()
    taken_again: int | None = None
    samples: tuple[Sample, ...] = ()
    summary: Mapping[str, Summary] = field(default_factory=dict)
    acceptance_rate: float | None = None
    acceptance_source: str | None = None
    tokens_per_step: float | None = None
    accepted_per_position: tuple[float, ...] | None = None
    k_seen: int | None = None
    speedup: Speedup | None = None
    speedup_reason: str | None = None
    drift: float | None = None
    lossless: Agreement | None = None
    roofline: Roofline | None = None
    wall_time_s: float | None = None

    @property
    def good(self) -> tuple[Sample, ...]:
        """The samples that count."""
        return tuple(sample for sample in self.samples if sample.status == "ok")

    @property
    def rate_tok_s(self) -> float | None:
        """The mean decode rate; None where nothing counts."""
        return _mean(self.summary)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """An arm over all its categories: `step` has none. `missing` are the categories in which it has no figures."""

    step: Step
    categories: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    summary: Mapping[str, Summary] = field(default_factory=dict)
    acceptance_rate: float | None = None
    acceptance_source: str | None = None
    tokens_per_step: float | None = None
    accepted_per_position: tuple[float, ...] | None = None
    speedup: Speedup | None = None

    @property
    def rate_tok_s(self) -> float | None:
        """The mean decode rate; None where nothing counts."""
        return _mean(self.summary)


def _mean(summary: Mapping[str, Summary]) -> float | None:
    found = summary.get(RATE)
    return found.mean if found is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPairs:
    """How many pairs of a target were measured, compared with a baseline, and slower than it; and the best of them.

    `best` is None where what was measured is refuted; of a result that was read its axes are those of the pair alone.
    """

    target: str
    pairs: int
    compared: int
    slower: int | None = None
    best: Step | None = None
    best_tok_s: float | None = None
    speedup: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One K of the curve of a pair and a kind of text: the rate that was predicted and the one that was measured.

    `step` has the category, or "all". `off`: the measured rate is off the predicted line. `k_max`, `at_edge` (the best
    K is the largest that was tried) and `reason` are of the whole curve.
    """

    step: Step
    predicted_tok_s: float | None = None
    predicted_ci95: Interval | None = None
    measured_tok_s: float | None = None
    measured_ci95: Interval | None = None
    n: int | None = None
    tokens_per_step: float | None = None
    step_time_s: float | None = None
    off: bool | None = None
    k_max: int | None = None
    at_edge: bool | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth:
    """How many bytes a second the memory was measured to give, with how many threads, how often."""

    bytes_s: float | None = None
    cache_bytes: int | None = None
    threads: int | None = None
    reason: str | None = None
    measured: int | None = None


@dataclass(frozen=True, slots=True)
class PlanStage:
    """A stage of the plan that was begun while the run went on, and why."""

    stage: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """What the run cost: server starts and their time, the time of all requests of samples, and those taken again."""

    loads: int | None = None
    load_time_s: float | None = None
    measuring_s: float | None = None
    taken_again: int | None = None
    step_by_step_loads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """The tool and file that a result was imported from, with what has to be known of it."""

    tool: str
    file: str | None = None
    notes: tuple[str, ...] = ()
    has_samples: bool | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence that is not about one step: "info", "warning" or "error"."""

    level: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeAnswer:
    """The time of whole answers over that of the baseline's, `ratio` below 1 is faster; of `n` pairs of answers."""

    ratio: float | None = None
    ci95: Interval | None = None
    n: int | None = None
    total_time_s: float | None = None
    baseline_total_time_s: float | None = None
    ttft_s: float | None = None
    baseline_ttft_s: float | None = None


@dataclass(frozen=True, slots=True)
class Tied:
    """An arm that cannot be told from the recommended one, with its speedup over the baseline."""

    step: Step
    speedup: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """What to use for a target in one setting and kind of text.

    `baseline` is what everything is compared with: target, setting and category ("all", or one). `choice` is what to
    use: the baseline where `off` (no draft), None where nothing can be said. `proven`: beyond the noise. `regret` is
    the largest share by which another arm's mean is faster.
    """

    baseline: Step
    choice: Step | None = None
    speedup: float | None = None
    ci95: Interval | None = None
    tok_s: float | None = None
    baseline_tok_s: float | None = None
    regret: float | None = None
    regret_ci95: Interval | None = None
    whole_answer: WholeAnswer | None = None
    off: bool = False
    proven: bool = False
    tied: tuple[Tied, ...] = ()
    reason: str = ""
    reason_names_tied: bool = False
    command: str | None = None

    @property
    def category(self) -> str:
        """The kind of text, or "all"."""
        return self.baseline.category

    @property
    def k(self) -> int | None:
        """The recommended K; None where no draft is."""
        return self.choice.k if self.choice is not None else None

    @property
    def speculates(self) -> bool:
        """Whether it recommends to speculate."""
        return self.choice is not None and self.choice.method != BASELINE


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRule:
    """A rule of thumb with its source, whether it held here (None: not to be judged), and the evidence in words."""

    rule: str | None = None
    source: str | None = None
    held: bool | None = None
    evidence: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All that one run measured, and what follows from it. `overall` are its arms over all their categories."""

    schema: str = SCHEMA
    run: RunInfo = RunInfo()
    engine: EngineUsed = EngineUsed()
    models: tuple[ModelInfo, ...] = ()
    settings: ResultSettings = ResultSettings()
    loads: tuple[Load, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    unfinished: tuple[Measurement, ...] = ()
    overall: tuple[Arm, ...] = ()
    pairs: tuple[TargetPairs, ...] = ()
    curves: tuple[CurvePoint, ...] = ()
    bandwidth: Bandwidth | None = None
    anchors: tuple[Anchor, ...] = ()
    plan: tuple[PlanStage, ...] = ()
    effort: Effort = Effort()
    imported: Imported | None = None
    notes: tuple[Note, ...] = ()
    recommendations: tuple[Recommendation, ...] = ()
    rules: tuple[JudgedRule, ...] = ()

    @property
    def rows(self) -> tuple[Measurement, ...]:
        """The measurements, finished or not."""
        return (*self.measurements, *self.unfinished)

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets in the order of the plan."""
        return tuple(dict.fromkeys(arm.step.target for arm in self.overall))

    def model(self, label: str | None) -> ModelInfo | None:
        """The model of this label; the last of several."""
        return next((each for each in reversed(self.models) if each.label == label), None)

    def load(self, load_id: str | None) -> Load | None:
        """The load of this id."""
        return next((each for each in self.loads if each.id == load_id), None)
