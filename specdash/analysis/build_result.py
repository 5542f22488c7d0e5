"""The result of a run, made from its state. Pure.

Every field of the schema is there, None where unknown, never 0. Only a measurement with status "ok" has summary
figures; the samples of all are kept. The figures are those of `analysis.figures`, what is found against them that of
`analysis.findings`, and what follows from the whole that of `concluded`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime

from specdash.analysis.curve_rows import curve_rows
from specdash.analysis.figures import NOTHING, ArmFigures, FiguresCache, StepFigures, in_order
from specdash.analysis.findings import DERIVED, Examined, Found, derived_findings, examine_run
from specdash.analysis.pair_summary import target_pairs
from specdash.analysis.recommend import recommendations
from specdash.analysis.result import (
    UNFINISHED,
    Arm,
    Bandwidth,
    Capabilities,
    Effort,
    EngineUsed,
    Hardware,
    Load,
    Measurement,
    ModelInfo,
    Note,
    PlanStage,
    Result,
    ResultSettings,
    RunInfo,
)
from specdash.analysis.rules import judged_rules
from specdash.analysis.speedups import block_drift
from specdash.analysis.strategy import CURVE, SEARCH
from specdash.core.acceptance import proven
from specdash.core.events import ModelRead
from specdash.core.model import k_range
from specdash.core.plan import LoadKey
from specdash.core.state import LoadState, RunState
from specdash.core.status import DONE
from specdash.errors import StoreError


def result_of(view: RunState, figures: FiguresCache | None = None) -> Result:
    """The result of a run, finished or not; `figures` keep what is not to be computed again for the next one.

    Raises StoreError for a journal without its first record.
    """
    run = view.run
    if run is None:
        raise StoreError("this run has no first record: nothing was measured", "Start the profile anew.")
    figures = figures if figures is not None else FiguresCache()
    figures.update(view)
    examined = examine_run(view, {name: row.figures.compared for name, row in figures.rows.items()})
    against = derived_findings(view, examined)
    done: list[Measurement] = []
    unfinished: list[Measurement] = []
    for number, (name, row) in enumerate(figures.rows.items(), start=1):
        measured = _measurement(f"m{number:03d}", row, examined, against.get(name, ()))
        (done if row.found.status in DONE else unfinished).append(measured)
    result = Result(
        run=_run(view),
        engine=_engine(view),
        models=tuple(_model(fact) for fact in view.models.values()),
        settings=replace(ResultSettings.of(asdict(run.settings)), prompts_digest=run.prompts_digest),
        loads=tuple(_load(load) for load in view.loads.values()),
        measurements=tuple(done),
        unfinished=tuple(unfinished),
        overall=tuple(in_order(_arm(each) for each in figures.arms.values())),
        curves=curve_rows(view.steps.values(), examined.curves),
        bandwidth=_bandwidth(view),
        anchors=tuple(examined.anchors.values()),
        plan=tuple(PlanStage(each.stage, each.reason) for each in view.replans if each.stage),
        effort=_effort(view),
        notes=tuple(Note(note.level, note.text) for note in view.notes),
    )
    return concluded(result)


def concluded(result: Result) -> Result:
    """The result with what follows from its measurements: pairs, recommendations and judged rules."""
    pairs = target_pairs(result.overall, result.measurements)
    return replace(result, pairs=pairs, recommendations=recommendations(result), rules=judged_rules(result))


def iso(time_s: float | None) -> str | None:
    """A moment (seconds since 1970) as ISO 8601 with milliseconds, UTC."""
    if time_s is None:
        return None
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _measurement(name: str, row: StepFigures, examined: Examined, against: Sequence[Found]) -> Measurement:
    """A step with its samples; the figures are None or empty unless its status is "ok"."""
    found = row.found
    figures = row.figures if found.status == "ok" else NOTHING
    # What was raised by analysis holds only as long as it is found.
    raised = (detail for verdict, detail in found.raised if verdict not in DERIVED)
    details = (detail for detail in (*raised, *(detail for _, detail in against)) if detail)
    verdicts = (*(each for each in found.verdicts if each not in DERIVED), *(verdict.value for verdict, _ in against))
    drafting = figures.drafting
    return Measurement(
        id=name,
        name=row.id,
        load=found.load,
        step=found.step,
        status=found.status,
        verdicts=tuple(dict.fromkeys(verdicts)),
        error=found.error,
        details=tuple(dict.fromkeys(details)),
        taken_again=found.taken_again,
        samples=proven(found.samples),
        summary=figures.summary,
        acceptance_rate=figures.acceptance,
        acceptance_source=drafting.source if drafting is not None and drafting.drafted else None,
        tokens_per_step=figures.tokens_per_step,
        accepted_per_position=figures.facts.accepted_per_position,
        # Also for a step that does not count: it is the evidence against it.
        k_seen=max((sample.k_seen for sample in found.samples if sample.k_seen is not None), default=None),
        speedup=figures.speedup,
        speedup_reason=figures.compared.reason,
        drift=block_drift(figures.samples),
        lossless=examined.agreements.get(row.id),
        roofline=examined.rooflines.get(row.id),
    )


def _arm(found: ArmFigures) -> Arm:
    """An arm over all its categories."""
    figures, drafting = found.figures, found.figures.drafting
    return Arm(
        step=found.step,
        categories=found.categories,
        missing=found.missing,
        summary=figures.summary,
        acceptance_rate=figures.acceptance,
        acceptance_source=drafting.source if drafting is not None and drafting.drafted else None,
        tokens_per_step=figures.tokens_per_step,
        accepted_per_position=figures.facts.accepted_per_position,
        speedup=figures.speedup,
    )


def _run(view: RunState) -> RunInfo:
    run = view.run
    assert run is not None
    return RunInfo(
        id=run.run_id,
        name=run.name,
        state=view.finished.state if view.finished is not None else UNFINISHED,
        started=iso(view.started_s),
        finished=iso(view.updated_s) if view.finished is not None else None,
        hardware=Hardware.of(run.hardware),
        host=run.host,
        specdash_version=run.specdash_version,
        model_family=run.model_family,
        reason=view.finished.reason if view.finished is not None else "",
        resumes=view.resumes,
        running_s=view.running_s,
    )


def _engine(view: RunState) -> EngineUsed:
    found = view.engine
    if found is None:
        return EngineUsed(capabilities=Capabilities(k_scope=view.k_scope))
    return EngineUsed(
        kind=found.kind,
        program=found.program,
        version=found.version,
        dialect=found.dialect,
        capabilities=Capabilities(k_scope=view.k_scope, untold=dict(found.untold)),
    )


def _model(fact: ModelRead) -> ModelInfo:
    return ModelInfo(**{name: getattr(fact, name) for name in ModelInfo.__dataclass_fields__})


def _load(load: LoadState) -> Load:
    return Load(
        id=load.id,
        key=load.key,
        argv=load.argv,
        command=load.command,
        load_time_s=load.load_time_s,
        peak_rss_bytes=load.peak_rss_bytes,
        wired_peak_bytes=load.wired_peak_bytes,
        state=load.state,
        k_scope=load.k_scope,
        size_bytes=load.size_bytes,
        log=load.log,
        fingerprint=load.fingerprint,
        error=load.error,
        hint=load.hint,
    )


def _bandwidth(view: RunState) -> Bandwidth | None:
    found = view.bandwidth
    if found is None:
        return None
    return Bandwidth(
        bytes_s=found.bytes_s,
        cache_bytes=found.cache_bytes,
        threads=found.threads,
        reason=found.reason,
        measured=view.bandwidth_count,
    )


def _effort(view: RunState) -> Effort:
    """What the run cost: server starts and their time, the time of all requests of samples, and those taken again."""
    loads = view.loads.values()
    times = [load.load_time_s for load in loads if load.load_time_s is not None]
    measuring_s = sum(found.wall_s for found in view.steps.values())
    return Effort(
        loads=len(view.loads),
        load_time_s=None if any(load.was_ready and load.load_time_s is None for load in loads) else sum(times),
        measuring_s=measuring_s if any(found.samples for found in view.steps.values()) else None,
        taken_again=sum(found.taken_again for found in view.steps.values()),
        step_by_step_loads=_step_by_step_loads(view),
    )


def _step_by_step_loads(view: RunState) -> int:
    """The loads of a tool that starts a server for every pair and K, and tries the Ks of the target's class at least.

    The Ks that a curve or a search looked at are no more than what led it on, so they are not what such a tool would
    have been spared.
    """
    ks: dict[LoadKey, set[int | None]] = {}
    for found in view.steps.values():
        ks.setdefault(found.step.pair, set()).add(found.step.k)
    searched = view.settings.k in (CURVE, SEARCH)
    return sum(
        len(found | _class_ks(pair, view) if searched and pair.draft is not None else found)
        for pair, found in ks.items()
    )


def _class_ks(pair: LoadKey, view: RunState) -> set[int | None]:
    """The Ks that are tried on targets of this class; none where the class is unknown."""
    model = view.models.get(pair.target)
    try:
        return set(k_range(model.model_class)) if model is not None else set()
    except ValueError:
        return set()
