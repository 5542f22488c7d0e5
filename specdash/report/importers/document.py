"""The result document of a file that another tool wrote: every field of ours, null where the file does not tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from specdash import __version__
from specdash.analysis.build_result import concluded
from specdash.analysis.result import SCHEMA
from specdash.core.measure import Sample
from specdash.core.methods import BASELINE, DRAFT
from specdash.store.result_json import from_document, to_document

Json = dict[str, Any]

CATEGORY = "mixed"
"""The category of measurements over all prompts of a tool, which tells no kinds of text apart."""
NOTES_SHOWN = 20
_SAMPLE = tuple(item.name for item in fields(Sample))


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a document comes from; `file` is the name of the file, `moment` ISO 8601 in UTC."""

    tool: str
    file: str
    name: str
    hardware: str | None = None
    backend: str | None = None
    program: str | None = None
    model_family: str | None = None
    moment: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """One arm as a file tells of it; `summary` by metric, in the units of a sample's fields.

    `speedup` over the file's own baseline: {value, stddev, ci95}, or None with `speedup_reason`. `error`: it failed.
    `samples` are those that the file has one by one, as `sample` makes them.
    """

    target: str
    draft: str | None
    k: int | None = None
    summary: Mapping[str, Json] = field(default_factory=dict)
    acceptance_rate: float | None = None
    speedup: Json | None = None
    speedup_reason: str | None = None
    wall_time_s: float | None = None
    error: str | None = None
    samples: Sequence[Json] = ()


def known(mean: float | None, **others: float | int | None) -> Json:
    """A summary of which a file tells the mean and perhaps more."""
    names = ("n", "mean", "stddev", "min", "max", "median", "p95", "ci95")
    return {name: others.get(name) if name != "mean" else mean for name in names}


def sample(prompt_id: str, block: int, **told: float | None) -> Json:
    """A sample of which a file tells only some fields; the others are null, lists empty."""
    unknown: Json = dict.fromkeys(_SAMPLE)
    lists: Json = {"positions_drafted": [], "positions_accepted": [], "reasons": []}
    return {**unknown, **lists, "prompt_id": prompt_id, "block": block, "status": "ok", **told}


def document(origin: Origin, findings: Sequence[Finding], notes: Sequence[str]) -> Json:
    """The result document of these findings."""
    measurements = [_measurement(f"m{number:03d}", each) for number, each in enumerate(findings, start=1)]
    overall = [_overall(each) for each in findings]
    result: Json = {
        "schema": SCHEMA,
        "run": _run(origin),
        "engine": {
            "kind": origin.backend,
            "program": origin.program,
            "version": None,
            "dialect": None,
            "capabilities": {"k_scope": None},
        },
        "models": [],
        "settings": {"prompts_digest": None, **origin.settings},
        "loads": [],
        "measurements": measurements,
        "unfinished": [],
        "overall": overall,
        "curves": [],
        "recommendations": [],
        "rules": [],
        "pairs": [],
        "bandwidth": None,
        "anchors": [],
        "plan": [],
        "effort": {
            "loads": None,
            "load_time_s": None,
            "measuring_s": None,
            "step_by_step_loads": None,
            "taken_again": None,
        },
        "notes": [],
        "imported": {
            "tool": origin.tool,
            "file": origin.file,
            "notes": _few(notes),
            "has_samples": any(each.samples for each in findings),
        },
    }
    found = concluded(from_document(result))
    # The one category is all that there is: what holds of it is said once.
    once = tuple(each for each in found.recommendations if each.category != CATEGORY)
    return to_document(replace(found, recommendations=once))


def _run(origin: Origin) -> Json:
    hardware = dict.fromkeys(("cpu", "cores", "ram_bytes", "gpus", "os", "os_release", "arch"))
    return {
        "id": origin.file,
        "name": origin.name,
        "state": "imported",
        "started": None,
        "finished": origin.moment,
        "hardware": {"label": origin.hardware, **hardware},
        "host": None,
        "specdash_version": __version__,
        "model_family": origin.model_family or "",
        "reason": "",
        "resumes": 0,
        "running_s": None,
    }


def _few(notes: Sequence[str]) -> list[str]:
    """The first notes, and how many more there are: a file may be broken on every line."""
    more = len(notes) - NOTES_SHOWN
    return [*notes[:NOTES_SHOWN], *([f"and {more} more like these"] if more > 0 else [])]


def _arm(found: Finding) -> Json:
    return {
        "target": found.target,
        "draft": found.draft,
        "method": BASELINE if found.draft is None else DRAFT,
        "config": None,
        "k": found.k,
        "ngram_n": None,
        "moe_experts": None,
        "workload": "content",
        "depth": 0,
    }


def _step(found: Finding) -> str:
    if found.draft is None:
        return f"{found.target} | {BASELINE}"
    return f"{found.target} + {found.draft} | {DRAFT}{'' if found.k is None else f' K={found.k}'}"


def _measurement(name: str, found: Finding) -> Json:
    return {
        "id": name,
        "step": _step(found),
        "load": None,
        **_arm(found),
        "category": CATEGORY,
        "status": "ok" if found.error is None else "failed",
        "verdicts": [],
        "error": found.error,
        "details": [],
        "samples": [dict(each) for each in found.samples],
        "summary": dict(found.summary),
        "acceptance_rate": found.acceptance_rate,
        "taken_again": None,
        "acceptance_source": None,
        "tokens_per_step": None,
        "accepted_per_position": None,
        "k_seen": None,
        "speedup": found.speedup,
        "speedup_reason": found.speedup_reason,
        "drift": None,
        "lossless": None,
        "roofline": None,
        "wall_time_s": found.wall_time_s,
    }


def _overall(found: Finding) -> Json:
    return {
        **_arm(found),
        "categories": [CATEGORY] if found.error is None else [],
        "missing": [] if found.error is None else [CATEGORY],
        "summary": dict(found.summary),
        "acceptance_rate": found.acceptance_rate,
        "acceptance_source": None,
        "tokens_per_step": None,
        "accepted_per_position": None,
        "speedup": found.speedup,
    }
