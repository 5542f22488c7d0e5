"""The result of a run as one plain document, schema `specdash.result/1`, made from the folded journal. Pure.

Every field of the schema is present, null where unknown, never 0. Fields beyond it may come and go: `models`,
`settings`, `notes`, `overall`, `unfinished`, and in measurements `step`, `depth`, `details`, `drift`,
`speedup_reason`. Only a measurement with status "ok" has summary figures; the samples of all are kept.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass, replace
from datetime import UTC, datetime
from typing import Any

from specdash.analysis.stats import Speedup, drift, speedup, summarise
from specdash.core.measure import Sample, combine
from specdash.core.plan import BASELINE, Step
from specdash.core.view import DONE, LoadView, StepView, View
from specdash.errors import StoreError

SCHEMA = "specdash.result/1"
UNFINISHED = "unfinished"

METRICS = (
    "prefill_time_s",
    "prefill_tok_s",
    "decode_time_s",
    "decode_tok_s",
    "throughput_tok_s",
    "ttft_s",
    "total_time_s",
    "prompt_tokens",
    "cached_tokens",
    "generated_tokens",
    "draft_tokens",
    "accepted_tokens",
    "steps",
    "client_decode_time_s",
    "client_decode_tok_s",
)
"""The fields of a sample that are summarised."""

Json = dict[str, Any]
Keyed = list[tuple[Hashable, float]]


def build_result(view: View) -> Json:
    """The result of a run, finished or not. Raises StoreError for a journal without its first record."""
    run = view.run
    if run is None:
        raise StoreError("this run has no first record: nothing was measured", "Start the profile anew.")
    numbered = [(f"m{number:03d}", found) for number, found in enumerate(view.steps.values(), start=1)]
    return {
        "schema": SCHEMA,
        "run": {
            "id": run.run_id,
            "name": run.name,
            "state": view.finished.state if view.finished is not None else UNFINISHED,
            "started": iso(view.started_s),
            "finished": iso(view.updated_s) if view.finished is not None else None,
            "hardware": _plain(run.hardware),
            "host": run.host,
            "specdash_version": run.specdash_version,
            "model_family": run.model_family,
            "reason": view.finished.reason if view.finished is not None else "",
            "resumes": view.resumes,
        },
        "engine": _engine(view),
        "models": [_plain(model) for model in view.models.values()],
        "settings": {**_plain(run.settings), "prompts_digest": run.prompts_digest},
        "loads": [_load(load) for load in view.loads.values()],
        "measurements": [_measurement(name, found, view) for name, found in numbered if found.status in DONE],
        "unfinished": [_measurement(name, found, view) for name, found in numbered if found.status not in DONE],
        "overall": _overall(view),
        "curves": [],
        "recommendations": [],
        "notes": [_plain(note) for note in view.notes],
    }


def iso(time_s: float | None) -> str | None:
    """A moment (seconds since 1970) as ISO 8601 with milliseconds, UTC."""
    if time_s is None:
        return None
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _plain(value: Any) -> Any:
    """A fact's value as JSON has it: lists for tuples, dictionaries for dataclasses, None for NaN and infinity."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _engine(view: View) -> Json:
    found = view.engine
    return {
        "kind": found.kind if found is not None else None,
        "program": found.program if found is not None else None,
        "version": found.version if found is not None else None,
        "dialect": found.dialect if found is not None else None,
        "capabilities": {"k_scope": view.k_scope},
    }


def _load(load: LoadView) -> Json:
    return {
        "id": load.id,
        "target": load.key.target,
        "draft": load.key.draft,
        "config": load.key.config,
        "moe_experts": load.key.moe_experts,
        "k_startup": load.key.k,
        "argv": list(load.argv),
        "load_time_s": load.load_time_s,
        "peak_rss_bytes": load.peak_rss_bytes,
        "wired_peak_bytes": load.wired_peak_bytes,
        "state": load.state,
        "k_scope": load.k_scope,
        "size_bytes": load.size_bytes,
        "log": load.log,
        "fingerprint": load.fingerprint,
        "error": load.error,
        "hint": load.hint,
    }


def _measurement(name: str, found: StepView, view: View) -> Json:
    """One step with its samples; the figures are null or empty unless its status is "ok"."""
    step = found.step
    counted = found.good if found.status == "ok" else ()
    faster, reason = _speedup(found, view)
    return {
        "id": name,
        "step": step.id,
        "load": found.load,
        **_arm(step),
        "category": step.category,
        "status": found.status,
        "verdicts": list(found.verdicts),
        "error": found.error,
        "details": [detail for detail in found.details if detail],
        "samples": [_plain(sample) for sample in found.samples],
        "summary": _summaries(counted),
        **_acceptance(counted),
        # Also for a step that does not count: it is the evidence against it.
        "k_seen": max((sample.k_seen for sample in found.samples if sample.k_seen is not None), default=None),
        "speedup": faster,
        "speedup_reason": reason,
        "drift": _drift(counted),
    }


def _arm(step: Step) -> Json:
    """What is measured, whatever the category."""
    return {
        "target": step.target,
        "draft": step.draft,
        "method": step.method,
        "config": step.config,
        "k": step.k,
        "moe_experts": step.moe_experts,
        "workload": step.workload,
        "depth": step.depth,
    }


def _summaries(samples: Sequence[Sample]) -> Json:
    """A summary of each metric over the samples that know it."""
    found: Json = {}
    for metric in METRICS:
        known = [value for sample in samples if (value := getattr(sample, metric)) is not None]
        values = [value for value in known if math.isfinite(value)]
        summary = summarise(values)
        if summary is not None:
            found[metric] = _plain(asdict(summary))
    return found


def _acceptance(samples: Sequence[Sample]) -> Json:
    """What the samples together say of the draft; sums over samples, so that long answers weigh more."""
    drafted = sum(sample.draft_tokens or 0 for sample in samples)
    accepted = sum(sample.accepted_tokens or 0 for sample in samples)
    facts = combine(sample.step_facts for sample in samples)
    return {
        "acceptance_rate": accepted / drafted if drafted else None,
        "tokens_per_step": facts.tokens_per_step,
        "accepted_per_position": _plain(facts.accepted_per_position),
    }


def _rates(steps: Iterable[StepView]) -> Keyed:
    """Decode rates of valid samples, keyed by what was asked: arms answer the same prompts in the same blocks."""
    return [
        ((found.step.category, sample.prompt_id, sample.block), sample.decode_tok_s)
        for found in steps
        for sample in found.good
        if sample.decode_tok_s is not None and 0 < sample.decode_tok_s < math.inf
    ]


def _quotient(found: Speedup | None) -> Json | None:
    return _plain(asdict(found)) if found is not None else None


def _speedup(found: StepView, view: View) -> tuple[Json | None, str | None]:
    """The speedup of a step over its baseline, or None and why there is none; a baseline has none to give."""
    if found.step.method == BASELINE or found.status != "ok":
        return None, None
    base = view.steps.get(found.step.baseline().id)
    if base is None:
        return None, "no baseline is planned for it"
    if base.status != "ok":
        return None, f"its baseline is {base.status}" if base.status in DONE else "its baseline is not finished"
    faster = _quotient(speedup(_rates([found]), _rates([base])))
    return faster, None if faster is not None else "there is no rate to compare"


def _drift(samples: Sequence[Sample]) -> float | None:
    """The relative change of decode_tok_s from the first block to the last: 0.03 = 3 % faster at the end.

    Blocks take turns with their prompts, and prompts differ in speed, so each prompt's first block is compared with
    its own last one; None where no prompt came twice.
    """
    rates: dict[str, list[float]] = {}
    for sample in sorted(samples, key=lambda each: each.block):
        if sample.decode_tok_s is not None:
            rates.setdefault(sample.prompt_id, []).append(sample.decode_tok_s)
    again = [found for found in rates.values() if len(found) > 1]
    return drift([found[0] for found in again], [found[-1] for found in again])


def _overall(view: View) -> list[Json]:
    """Each arm over all its categories.

    Every valid sample weighs the same, whatever its category. An arm that lacks a category (`missing`) has another mix
    of prompts, so its mean is not comparable with the others'; its speedup is, since it is taken over the categories
    that both it and its baseline have.
    """
    arms: dict[Step, list[StepView]] = {}
    for found in view.steps.values():
        arms.setdefault(replace(found.step, category=""), []).append(found)
    return [_over_categories(arm, steps, arms) for arm, steps in arms.items()]


def _over_categories(arm: Step, steps: Sequence[StepView], arms: Mapping[Step, Sequence[StepView]]) -> Json:
    counted = [found for found in steps if found.status == "ok"]
    samples = [sample for found in counted for sample in found.good]
    base = {found.step.category: found for found in arms.get(arm.baseline(), ()) if found.status == "ok"}
    both = [found for found in counted if found.step.category in base]
    faster = None
    if arm.method != BASELINE and both:
        faster = _quotient(speedup(_rates(both), _rates(base[found.step.category] for found in both)))
    return {
        **_arm(arm),
        "categories": [found.step.category for found in counted],
        "missing": [found.step.category for found in steps if found.status != "ok"],
        "summary": _summaries(samples),
        **_acceptance(samples),
        "speedup": faster,
    }
