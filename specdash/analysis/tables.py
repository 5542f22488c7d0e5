"""The measurements of a result document: each step with its samples and figures, and each arm over its categories."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from specdash.analysis.findings import DERIVED, Examined, Found
from specdash.analysis.lossless import Agreement
from specdash.analysis.plain import plain, plain_sample, plain_speedup, plain_summary
from specdash.analysis.rates import block_drift, faster_than, rate_estimate
from specdash.analysis.roofline import Roofline
from specdash.analysis.rounding import Rounding
from specdash.analysis.stats import summarise
from specdash.core.axes import ARM, READ_BY, row_of, sorted_values, value
from specdash.core.drafting import drafting_over, proven
from specdash.core.measure import Sample, combine
from specdash.core.methods import BASELINE
from specdash.core.plan import Step
from specdash.core.steps import StepView

Json = dict[str, Any]
Row = TypeVar("Row", bound=Mapping[str, Any])

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


def measurement(number: int, name: str, found: StepView, examined: Examined, against: Sequence[Found]) -> Json:
    """The step `name` with its samples; the figures are null or empty unless its status is "ok"."""
    step = found.step
    counted = proven(found.good) if found.status == "ok" else ()
    compared = examined.compared[name]
    # What was raised by analysis holds only as long as it is found.
    raised = (detail for verdict, detail in found.raised if verdict not in DERIVED)
    details = [detail for detail in (*raised, *(detail for _, detail in against)) if detail]
    verdicts = (*(each for each in found.verdicts if each not in DERIVED), *(verdict.value for verdict, _ in against))
    return {
        "id": f"m{number:03d}",
        "step": name,
        "load": found.load,
        **arm_names(step),
        "stages": [stage.row() for stage in step.speculation],
        "category": step.category,
        "status": found.status,
        "verdicts": list(dict.fromkeys(verdicts)),
        "error": found.error,
        "details": list(dict.fromkeys(details)),
        "taken_again": found.taken_again,
        "samples": [plain_sample(sample) for sample in proven(found.samples)],
        "summary": _summaries(counted),
        **_acceptance([counted]),
        # Also for a step that does not count: it is the evidence against it.
        "k_seen": max((sample.k_seen for sample in found.samples if sample.k_seen is not None), default=None),
        "speedup": plain_speedup(compared.speedup),
        "speedup_reason": compared.reason,
        "drift": block_drift(counted),
        "lossless": _agreement(examined.agreements.get(name)),
        "roofline": _roofline(examined.rooflines.get(name)),
    }


def arm_names(step: Step) -> Json:
    """What is measured, whatever the category."""
    return row_of(step, ARM)


def overall(steps: Mapping[str, StepView]) -> list[Json]:
    """Each arm over all its categories.

    Every valid sample weighs the same, whatever its category. An arm that lacks a category (`missing`) has another mix
    of prompts, so its mean is not comparable with the others'; its speedup is, since it is taken over the categories
    that both it and its baseline have.
    """
    arms: dict[Step, list[StepView]] = {}
    for found in steps.values():
        arms.setdefault(found.step.with_values(category=""), []).append(found)
    return in_order([_over_categories(arm, members, arms) for arm, members in arms.items()])


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Arms or measurements as they are read: baselines first, then each draft with its Ks ascending.

    A search or a second pass leaves the queue in an order of its own. Targets, configurations, drafts and what else has
    no order keep that of their first appearance; so do rows that differ in none of these. `core.axes` tells which
    ascend.
    """
    found = list(rows)
    seen = {name: list(dict.fromkeys(value(row, name) for row in found)) for name in READ_BY}
    places = {name: {each: at for at, each in enumerate(sorted_values(name, of_it))} for name, of_it in seen.items()}
    first = READ_BY.index("draft")

    def place(row: Row) -> tuple[int | bool, ...]:
        at = [places[name][value(row, name)] for name in READ_BY]
        return *at[:first], value(row, "method") != BASELINE, *at[first:]

    return sorted(found, key=place)


def _over_categories(arm: Step, steps: Sequence[StepView], arms: Mapping[Step, Sequence[StepView]]) -> Json:
    counted = [found for found in steps if found.status == "ok"]
    samples = [sample for found in counted for sample in proven(found.good)]
    base = {found.step.category: found for found in arms.get(arm.baseline(), ()) if found.status == "ok"}
    both = [found for found in counted if found.step.category in base]
    faster = None
    if arm.method != BASELINE and both:
        faster = plain_speedup(faster_than(both, [base[found.step.category] for found in both]))
    return {
        **arm_names(arm),
        "categories": [found.step.category for found in counted],
        "missing": [found.step.category for found in steps if found.status != "ok"],
        "summary": _summaries(samples),
        **_acceptance([found.good for found in counted]),
        "speedup": faster,
    }


def _summaries(samples: Sequence[Sample]) -> Json:
    """A summary of each metric over the samples that know it.

    Prompts differ in speed and are no noise: the interval of the decode rate is that of `analysis.sequential.estimate`.
    """
    found: Json = {}
    for metric in METRICS:
        known = [value for sample in samples if (value := getattr(sample, metric)) is not None]
        summary = summarise([value for value in known if math.isfinite(value)])
        if summary is not None:
            found[metric] = plain_summary(summary)
    rates = found.get("decode_tok_s")
    known_rate = rate_estimate(samples) if rates is not None else None
    if rates is not None and known_rate is not None and known_rate.ci95 is not None:
        rates["ci95"] = plain(known_rate.ci95)
    return found


def _acceptance(steps: Sequence[Sequence[Sample]]) -> Json:
    """What the samples of one or several steps say together of the draft."""
    drafting = drafting_over(steps)
    facts = combine(sample.step_facts for samples in steps for sample in samples)
    return {
        "acceptance_rate": drafting.rate if drafting else None,
        "acceptance_source": drafting.source if drafting and drafting.drafted else None,
        "tokens_per_step": facts.tokens_per_step,
        "accepted_per_position": plain(facts.accepted_per_position),
    }


def _agreement(found: Agreement | None) -> Json | None:
    if found is None:
        return None
    return {
        "state": str(found.state),
        "prompts": found.prompts,
        "tokens": found.tokens,
        "diverges_at": found.diverges_at,
        "margin": plain(found.margin),
        "prompt_id": found.prompt_id,
        "reason": found.reason,
        "rounding": _rounding(found.rounding),
    }


def _rounding(found: Rounding | None) -> Json | None:
    """How far margins moved between a cold prompt and a cached one."""
    if found is None:
        return None
    return {
        "places": found.places,
        "usual_nats": plain(found.usual_nats),
        "largest_nats": plain(found.largest_nats),
        "reason": found.reason,
    }


def _roofline(found: Roofline | None) -> Json | None:
    if found is None:
        return None
    return {
        "bound_tok_s": plain(found.bound_tok_s),
        "share": plain(found.share),
        "bytes_per_pass": found.bytes_per_pass,
        "reason": found.reason,
    }
