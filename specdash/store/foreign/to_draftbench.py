"""A result in draftbench's format, which its chart script draws: one row for each target and draft.

The format knows neither K nor categories: a row is the best K over all categories, and names its K beside theirs where
it is known (their script ignores other keys). A row with "error" is one that their script leaves out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from specdash.analysis.pairs import REFUTED
from specdash.core.axes import ARM, drafter_label, said, values

Json = Mapping[str, Any]
Row = dict[str, Any]

DIGITS = 10
_LLAMA_CPP = frozenset({"llama-server", "llama-cli", "embedded", "demo", "llamacpp"})


def to_draftbench(result: Json) -> str:
    """The result as the text of a draftbench file.

    Configs, expert counts and depths stand beside the label of the target, since each has a baseline of its own.
    An arm that measured other categories than its baseline is a row without figures: their script would divide means
    over unlike prompts. So is a draft of which every K changed the output.
    """
    run = result["run"]
    told = {
        "timestamp": run.get("finished") or run.get("started"),
        "name": run.get("name"),
        "hardware": run["hardware"].get("label") or "unknown",
        "backend": _backend(result["engine"].get("kind")),
        "model_family": run.get("model_family") or "unknown",
        "settings": _settings(result),
        "results": _rows(result),
    }
    return json.dumps(told, indent=2, allow_nan=False) + "\n"


def _backend(kind: object) -> str:
    return "llamacpp" if kind in _LLAMA_CPP else str(kind or "unknown")


def _settings(result: Json) -> Json:
    """Theirs as they stood in an imported file; ours under their names."""
    settings = result["settings"]
    if result.get("imported") is not None:
        return {name: value for name, value in settings.items() if name != "prompts_digest"}
    return {
        "runs": settings.get("iterations"),
        "max_tokens": settings.get("max_tokens"),
        "temperature": settings.get("temperature"),
    }


def _rows(result: Json) -> list[Row]:
    measured: dict[tuple[Any, ...], list[Json]] = {}
    for each in result["measurements"]:
        measured.setdefault(values(each, ARM), []).append(each)
    arms: dict[tuple[str, str | None], list[Json]] = {}
    for arm in result["overall"]:
        if arm["workload"] != "lossless":
            arms.setdefault((_target(arm), _draft(arm)), []).append(arm)
    rows = []
    for (target, draft), each in arms.items():
        base = arms.get((target, None), [None])[0] if draft is not None else None
        rows.append({"target": target, "draft": draft, **_best(each, base, measured)})
    return rows


def _target(arm: Json) -> str:
    """The label of a target with all that has a baseline of its own."""
    return ", ".join([arm["target"], *said(arm)])


def _draft(arm: Json) -> str | None:
    """Null is the baseline; an arm that drafts without a model has the name of its method."""
    return drafter_label(arm)


def _best(arms: Iterable[Json], base: Json | None, measured: Mapping[tuple[Any, ...], Sequence[Json]]) -> Row:
    """The figures of the fastest arm that may stand beside its baseline, or why there are none."""
    wanted = set(base["categories"]) if base is not None and base["categories"] else None
    reasons: list[str] = []
    fit: list[tuple[float, Row]] = []
    for arm in arms:
        steps = measured.get(values(arm, ARM), ())
        if "decode_tok_s" not in arm["summary"]:
            reasons += [each["error"] or each["status"] for each in steps if each["status"] != "ok"]
        elif any(REFUTED.intersection(each["verdicts"]) for each in steps):
            reasons.append("its output is not the target's, or its rate is impossible")
        elif wanted is not None and set(arm["categories"]) != wanted:
            reasons.append("measured in other categories than the baseline")
        else:
            fit.append((arm["summary"]["decode_tok_s"]["mean"], _figures(arm, steps)))
    if not fit:
        return {"error": reasons[0] if reasons else "nothing was measured"}
    return max(fit, key=lambda each: each[0])[1]


def _figures(arm: Json, steps: Iterable[Json]) -> Row:
    """The row of one arm, without its labels."""
    rate = arm["summary"]["decode_tok_s"]
    figures: Row = {
        "mean_tps": _short(rate["mean"]),
        "median_tps": _short(rate.get("median")),
        "mean_ttft": _short(arm["summary"].get("ttft_s", {}).get("mean")),
        "mean_total_time": _short(arm["summary"].get("total_time_s", {}).get("mean")),
        "wall_time": _short(_wall_time_s(steps)),
        "acceptance_rate": _short(arm["acceptance_rate"]),
    }
    return figures if arm["k"] is None else {**figures, "k": arm["k"]}


def _wall_time_s(steps: Iterable[Json]) -> float | None:
    """How long the answers took together, as far as all of them tell."""
    times: list[float | None] = []
    for each in steps:
        if each["status"] == "ok":
            told = each.get("wall_time_s")
            taken = [sample.get("total_time_s") for sample in each["samples"] if sample.get("status", "ok") == "ok"]
            times += [told] if told is not None else taken
    known = [time for time in times if time is not None]
    return sum(known) if known and len(known) == len(times) else None


def _short(value: float | None) -> float | None:
    """A figure without the digits that no clock tells."""
    return None if value is None else float(f"{value:.{DIGITS}g}")
