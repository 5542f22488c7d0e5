"""A result in draftbench's format, which its chart script draws: one row for each target and draft.

The format knows neither K nor categories: a row is the best K over all categories, and names its K beside theirs where
it is known (their script ignores other keys). A row with "error" is one that their script leaves out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from specdash.analysis.pair_summary import REFUTED
from specdash.analysis.result import RATE, Arm, Measurement, Result
from specdash.core.numbers import finite
from specdash.core.plan import Step
from specdash.report.arms import arm_key, rate_of
from specdash.report.text import setting

Row = dict[str, Any]

DIGITS = 10
_LLAMA_CPP = frozenset({"llama-server", "llama-cli", "embedded", "demo", "llamacpp"})


def to_draftbench(result: Result) -> str:
    """The result as the text of a draftbench file.

    Configs, expert counts and depths stand beside the label of the target, since each has a baseline of its own.
    An arm that measured other categories than its baseline is a row without figures: their script would divide means
    over unlike prompts. So is a draft of which every K changed the output.
    """
    run = result.run
    told = {
        "timestamp": run.finished or run.started,
        "name": run.name,
        "hardware": run.hardware.label or "unknown",
        "backend": "llamacpp" if result.engine.kind in _LLAMA_CPP else result.engine.kind or "unknown",
        "model_family": run.model_family or "unknown",
        "settings": _settings(result),
        "results": _rows(result),
    }
    return json.dumps(told, indent=2, allow_nan=False) + "\n"


def _settings(result: Result) -> Row:
    """Theirs as they stood in an imported file; ours under their names."""
    settings = result.settings
    if result.imported is not None:
        ours = {name: getattr(settings, name) for name in settings.__dataclass_fields__ if name != "others"}
        told = {name: value for name, value in ours.items() if value is not None and name != "prompts_digest"}
        return {**told, **settings.others}
    return {"runs": settings.iterations, "max_tokens": settings.max_tokens, "temperature": settings.temperature}


def _rows(result: Result) -> list[Row]:
    measured: dict[Step, list[Measurement]] = {}
    for row in result.measurements:
        measured.setdefault(arm_key(row.step), []).append(row)
    arms: dict[tuple[str, str | None], list[Arm]] = {}
    for arm in result.overall:
        if arm.step.workload != "lossless":
            # The target with all that has a baseline of its own; null is the baseline.
            target = ", ".join(filter(None, (arm.step.target, setting(arm.step))))
            arms.setdefault((target, arm.step.drafter), []).append(arm)
    rows = []
    for (target, draft), found in arms.items():
        base = arms.get((target, None), [None])[0] if draft is not None else None
        rows.append({"target": target, "draft": draft, **_best(found, base, measured)})
    return rows


def _best(arms: Iterable[Arm], base: Arm | None, measured: Mapping[Step, Sequence[Measurement]]) -> Row:
    """The figures of the fastest arm that may stand beside its baseline, or why there are none."""
    wanted = set(base.categories) if base is not None and base.categories else None
    reasons: list[str] = []
    fit: list[tuple[float, Row]] = []
    for arm in arms:
        steps = measured.get(arm_key(arm.step), ())
        tok_s = rate_of(arm)
        if tok_s is None:
            reasons += [row.error or row.status for row in steps if row.status != "ok"]
        elif any(REFUTED.keys() & set(row.verdicts) for row in steps):
            reasons.append("its output is not the target's, or its rate is impossible")
        elif wanted is not None and set(arm.categories) != wanted:
            reasons.append("measured in other categories than the baseline")
        else:
            fit.append((tok_s, _figures(arm, steps)))
    if not fit:
        return {"error": reasons[0] if reasons else "nothing was measured"}
    return max(fit, key=lambda each: each[0])[1]


def _figures(arm: Arm, steps: Iterable[Measurement]) -> Row:
    """The row of one arm, without its labels."""
    times = [arm.summary[name].mean if name in arm.summary else None for name in ("ttft_s", "total_time_s")]
    figures: Row = {
        "mean_tps": _short(arm.summary[RATE].mean),
        "median_tps": _short(arm.summary[RATE].median),
        "mean_ttft": _short(times[0]),
        "mean_total_time": _short(times[1]),
        "wall_time": _short(_wall_time_s(steps)),
        "acceptance_rate": _short(arm.acceptance_rate),
    }
    return figures if arm.step.k is None else {**figures, "k": arm.step.k}


def _wall_time_s(steps: Iterable[Measurement]) -> float | None:
    """How long the answers took together, as far as all of them tell."""
    times: list[float | None] = []
    for row in steps:
        if row.status == "ok":
            times += [row.wall_time_s] if row.wall_time_s is not None else [each.total_time_s for each in row.good]
    known = [time for time in times if time is not None]
    return sum(known) if known and len(known) == len(times) else None


def _short(value: float | None) -> float | None:
    """A figure without the digits that no clock tells."""
    number = finite(value)
    return None if number is None else float(f"{number:.{DIGITS}g}")
