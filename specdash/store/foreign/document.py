"""The result document of a file that another tool wrote: every field of ours, null where the file does not tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from specdash import __version__
from specdash.analysis.pairs import target_pairs
from specdash.analysis.recommend import recommendations
from specdash.analysis.result import SCHEMA
from specdash.analysis.rules import judged_rules
from specdash.core.axes import ARM, row_of
from specdash.core.measure import Sample
from specdash.core.step import Step

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
        "pairs": target_pairs(overall, measurements),
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
    # The one category is all that there is: what holds of it is said once.
    result["recommendations"] = [each for each in recommendations(result) if each["category"] != CATEGORY]
    result["rules"] = judged_rules(result)
    return result


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
    return row_of(_step_of(found), ARM)


def _step_of(found: Finding) -> Step:
    """What was measured, as far as the file tells."""
    return Step.of(found.target, draft=found.draft, k=found.k, category=CATEGORY)


def _measurement(name: str, found: Finding) -> Json:
    return {
        "id": name,
        "step": _step_of(found).id,
        "load": None,
        **_arm(found),
        "stages": [stage.row() for stage in _step_of(found).speculation],
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
