"""The result of a run as one plain document, schema `specdash.result/1`, made from the folded journal. Pure.

Every field of the schema is present, null where unknown, never 0. Fields beyond it may come and go: `models`,
`settings`, `notes`, `overall`, `unfinished`, and in measurements `step`, `depth`, `details`, `drift`,
`speedup_reason`. Only a measurement with status "ok" has summary figures; the samples of all are kept.
"""

from __future__ import annotations

from typing import Any

from specdash.analysis.anchors import Anchor
from specdash.analysis.curve_rows import curve_rows
from specdash.analysis.findings import examine, findings
from specdash.analysis.pairs import target_pairs
from specdash.analysis.plain import iso, plain
from specdash.analysis.recommend import recommendations
from specdash.analysis.rules import judged_rules
from specdash.analysis.tables import METRICS, measurement, overall
from specdash.core.axes import GROUP, LOAD, row_of
from specdash.core.model import k_range
from specdash.core.plan import LoadKey
from specdash.core.view import DONE, LoadView, View
from specdash.errors import StoreError

__all__ = ["METRICS", "SCHEMA", "UNFINISHED", "build_result", "iso"]

SCHEMA = "specdash.result/1"
UNFINISHED = "unfinished"

Json = dict[str, Any]


def build_result(view: View) -> Json:
    """The result of a run, finished or not. Raises StoreError for a journal without its first record."""
    run = view.run
    if run is None:
        raise StoreError("this run has no first record: nothing was measured", "Start the profile anew.")
    examined = examine(view)
    against = findings(view, examined)
    done: list[Json] = []
    unfinished: list[Json] = []
    for number, (name, found) in enumerate(view.steps.items(), start=1):
        row = measurement(number, name, found, examined, against.get(name, ()))
        (done if found.status in DONE else unfinished).append(row)
    arms = overall(view.steps)
    document = {
        "schema": SCHEMA,
        "run": _run(view),
        "engine": _engine(view),
        "models": [plain(model) for model in view.models.values()],
        "settings": {**plain(run.settings), "prompts_digest": run.prompts_digest},
        "loads": [_load(load) for load in view.loads.values()],
        "measurements": done,
        "unfinished": unfinished,
        "overall": arms,
        "pairs": target_pairs(arms, done),
        "curves": curve_rows(view.steps.values(), examined.curves),
        "bandwidth": _bandwidth(view),
        "anchors": [_anchor(each) for each in examined.anchors.values()],
        "plan": [{"stage": each.stage, "reason": each.reason} for each in view.replans if each.stage],
        "effort": _effort(view),
        "imported": None,
        "notes": [plain(note) for note in view.notes],
    }
    return {**document, "recommendations": recommendations(document), "rules": judged_rules(document)}


def _run(view: View) -> Json:
    run = view.run
    assert run is not None
    return {
        "id": run.run_id,
        "name": run.name,
        "state": view.finished.state if view.finished is not None else UNFINISHED,
        "started": iso(view.started_s),
        "finished": iso(view.updated_s) if view.finished is not None else None,
        "hardware": plain(run.hardware),
        "host": run.host,
        "specdash_version": run.specdash_version,
        "model_family": run.model_family,
        "reason": view.finished.reason if view.finished is not None else "",
        "resumes": view.resumes,
        "running_s": view.running_s,
    }


def _engine(view: View) -> Json:
    found = view.engine
    return {
        "kind": found.kind if found is not None else None,
        "program": found.program if found is not None else None,
        "version": found.version if found is not None else None,
        "dialect": found.dialect if found is not None else None,
        "capabilities": {"k_scope": view.k_scope, "untold": dict(found.untold) if found is not None else {}},
    }


def _load(load: LoadView) -> Json:
    return {
        "id": load.id,
        **row_of(load.key, LOAD),
        "k_startup": load.key.k_startup,
        "argv": list(load.argv),
        "command": list(load.command),
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


def _bandwidth(view: View) -> Json | None:
    found = view.bandwidth
    if found is None:
        return None
    return {
        "bytes_s": plain(found.bytes_s),
        "cache_bytes": found.cache_bytes,
        "threads": found.threads,
        "reason": found.reason,
        "measured": view.bandwidth_count,
    }


def _anchor(anchor: Anchor) -> Json:
    step = anchor.baseline
    return {
        **row_of(step, GROUP),
        "first_tok_s": anchor.first_tok_s,
        "last_tok_s": anchor.last_tok_s,
        "moved": anchor.moved,
        "n": anchor.n,
    }


def _effort(view: View) -> Json:
    """What the run cost: server starts and their time, the time of all requests of samples, and those taken again."""
    loads = view.loads.values()
    times = [load.load_time_s for load in loads if load.load_time_s is not None]
    measuring_s = sum(found.wall_s for found in view.steps.values())
    return {
        "loads": len(view.loads),
        "load_time_s": None if any(load.was_ready and load.load_time_s is None for load in loads) else sum(times),
        "measuring_s": measuring_s if any(found.samples for found in view.steps.values()) else None,
        "taken_again": sum(found.taken_again for found in view.steps.values()),
        "step_by_step_loads": _step_by_step_loads(view),
    }


def _step_by_step_loads(view: View) -> int:
    """The loads of a tool that starts a server for every pair and K, and tries the Ks of the target's class at least.

    The Ks that a curve or a search looked at are no more than what led it on, so they are not what such a tool would
    have been spared.
    """
    ks: dict[LoadKey, set[int | None]] = {}
    for found in view.steps.values():
        ks.setdefault(found.step.pair, set()).add(found.step.k)
    searched = view.run is not None and view.run.settings.get("k") in ("curve", "search")
    return sum(
        len(found | _class_ks(pair, view) if searched and pair.draft is not None else found)
        for pair, found in ks.items()
    )


def _class_ks(pair: LoadKey, view: View) -> set[int | None]:
    """The Ks that are tried on targets of this class; none where the class is unknown."""
    model = view.models.get(pair.target)
    try:
        return set(k_range(model.model_class)) if model is not None else set()
    except ValueError:
        return set()
