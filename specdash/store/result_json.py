"""A result as the document of `result.json` has it, and back: the one place where both are spelled out.

A row names the axes of its step beside its other fields. Documents of earlier versions lack keys, and those of later
ones have more: what is missing is unknown, and what this version does not know is left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from operator import attrgetter
from typing import Any

from specdash.analysis.build_result import result_of
from specdash.analysis.figures import FiguresCache
from specdash.analysis.lossless import Agreement
from specdash.analysis.pass_drift import Anchor
from specdash.analysis.result import (
    RATE,
    Arm,
    CurvePoint,
    Load,
    Measurement,
    Recommendation,
    Result,
    ResultSettings,
    TargetPairs,
    Tied,
)
from specdash.analysis.roofline import Roofline
from specdash.core.axes import ARM, AXES, GROUP, LOAD, PARAMS, SETTING, STAGE, row_of, unknown
from specdash.core.engine_kinds import KINDS
from specdash.core.measure import Sample
from specdash.core.methods import BASELINE, DRAFT
from specdash.core.numbers import finite
from specdash.core.plan import LoadKey, Step
from specdash.core.profile import ALL, CONTENT
from specdash.core.state import RunState
from specdash.store.codec import decode_load, decode_step

Json = dict[str, Any]

CURVE = ("target", "draft", *SETTING, "depth", "category", "k", *(name for name in PARAMS if AXES[name].is_sparse))
"""The axes of a step that rows of curves name; those of other rows are lists of `core.axes`."""
_STEPS = ("step", "baseline", "choice", "best", "key")
"""The fields of rows, as they are decoded, that are a step or the load of one."""

_SAMPLE = tuple(item.name for item in fields(Sample))
_VALUES = attrgetter(*_SAMPLE)
_UNKNOWN_SAMPLE: Mapping[str, Any] = {
    **dict.fromkeys(_SAMPLE),
    "clock": "",
    "started_s": float("nan"),
    "prompt_id": "",
    "block": 0,
    "status": "ok",
    "reasons": (),
    "positions_drafted": (),
    "positions_accepted": (),
    "unknown": {},
}
_OF_A_COLD_PROMPT = ("prefill_time_s", "prefill_tok_s", "throughput_tok_s", "ttft_s", "total_time_s")
_AS_THEY_ARE = frozenset({str, int, bool, type(None)})


def to_document(result: Result) -> Json:
    """The result as JSON has it; every field is there, null where unknown."""
    document: Json = encoded(result)
    kind = KINDS.get(result.engine.kind or "")
    not_set = [] if kind is None else [name for name in PARAMS if not kind.sets(AXES[name])]
    for row in (*document["measurements"], *document["unfinished"]):
        for stage in row["stages"]:
            stage |= {name: None for name in not_set if name in stage}  # no server of this kind was told
    return document


def document_of(view: RunState, figures: FiguresCache | None = None) -> Json:
    """The document of a run, finished or not; see `result_of`."""
    return to_document(result_of(view, figures))


def from_document(document: Mapping[str, Any]) -> Result:
    """The result in a document. Raises ValueError, with the place, for a field that is not what it has to be."""
    import msgspec

    wrong: list[str] = []
    nested: Json = {name: value for name, value in document.items() if value is not None}
    for name, decoded in _PARTS.items():
        if name in nested:
            nested[name] = _with_steps(decoded(nested[name]), name, wrong)
    try:
        result = msgspec.convert(nested, Result)
    except msgspec.ValidationError as error:
        raise ValueError(_place_in_file(str(error))) from error
    if wrong:
        raise ValueError(_place_in_file(wrong[0]))
    return result


def _place_in_file(text: str) -> str:
    """A message of the decoder by the place in the document, where the axes of a step stand in its row."""
    return re.sub(r"\.(step|baseline|key)\b", "", text).replace("`$.", "`").replace("`$`", "the document")


def _with_steps(value: Any, place: str, wrong: list[str]) -> Any:
    """A part of a document, its steps and loads made of the values of axes that stand for them.

    What cannot be made is added to `wrong`, with its place.
    """
    if isinstance(value, list):
        return [_with_steps(each, f"{place}[{index}]", wrong) for index, each in enumerate(value)]
    if not isinstance(value, dict) or not any(name in value for name in (*_STEPS, "tied")):
        return value
    made = {name: _made(value[name], name, place, wrong) for name in _STEPS if value.get(name) is not None}
    if isinstance(value.get("tied"), list):
        made["tied"] = _with_steps(value["tied"], f"{place}.tied", wrong)
    return {**value, **made}


def _made(values: Any, name: str, place: str, wrong: list[str]) -> Step | LoadKey:
    try:
        return decode_load(values, f"{place}.{name}") if name == "key" else decode_step(values, f"{place}.{name}")
    except ValueError as error:
        wrong.append(str(error))
        return Step("") if name != "key" else LoadKey(Step(""))


# What is written.


def encoded(value: Any) -> Any:
    """A value of a result, a row for one, as JSON has it: null for NaN and infinity."""
    kind = type(value)
    if kind in _AS_THEY_ARE:
        return value
    if kind is float:
        return value if math.isfinite(value) else None
    if kind in _ROWS:
        return _ROWS[kind](value)
    if kind is tuple or kind is list:
        return [encoded(each) for each in value]
    if is_dataclass(value):
        return _fields(value)
    if isinstance(value, Mapping):
        return {str(name): encoded(each) for name, each in value.items()}
    return str(value) if isinstance(value, str) else value


def _fields(row: Any, *without: str) -> Json:
    return {name: encoded(getattr(row, name)) for name in row.__dataclass_fields__ if name not in without}


def _measurement(row: Measurement) -> Json:
    stages = [stage.row() for stage in row.step.speculation]
    axes = {**row_of(row.step, ARM), "stages": stages, "category": row.step.category or None}
    rest = _fields(row, "id", "name", "load", "step", *(["wall_time_s"] if row.wall_time_s is None else []))
    return {"id": row.id, "step": row.name, "load": row.load, **axes, **rest}


def _sample(sample: Sample) -> Json:
    """A sample; written apart from all else, since a report of a long run has thousands."""
    found = dict(zip(_SAMPLE, _VALUES(sample), strict=True))
    for name, value in found.items():
        kind = type(value)
        if kind is float:
            found[name] = value if math.isfinite(value) else None
        elif kind is tuple:
            found[name] = list(value)  # counts and names
    found["unknown"] = dict(sample.unknown)
    found["clock"] = sample.clock or None
    return found


def _load(load: Load) -> Json:
    names = {**row_of(load.key, LOAD), "k_startup": load.key.k_startup}
    return {"id": load.id, **names, **_fields(load, "id", "key")}


def _recommendation(row: Recommendation) -> Json:
    choice = row_of(row.choice, STAGE) if row.choice is not None else unknown(STAGE)
    axes = {**row_of(row.baseline, GROUP), "category": row.category, **choice}
    return {**axes, **_fields(row, "baseline", "choice")}


def _pairs(row: TargetPairs) -> Json:
    counts = {"target": row.target, "pairs": row.pairs, "compared": row.compared, "slower": row.slower}
    named = row_of(row.best, STAGE) if row.best is not None else unknown(STAGE)
    best = {f"best_{name}": value for name, value in named.items()}
    return {**counts, **best, "best_tok_s": finite(row.best_tok_s), "speedup": finite(row.speedup)}


def _settings(row: ResultSettings) -> Json:
    return {**_fields(row, "others"), **encoded(row.others)}


_ROWS: Mapping[type, Callable[[Any], Json]] = {
    Sample: _sample,
    Measurement: _measurement,
    Load: _load,
    Recommendation: _recommendation,
    TargetPairs: _pairs,
    ResultSettings: _settings,
    Arm: lambda row: {**row_of(row.step, ARM), **_fields(row, "step")},
    CurvePoint: lambda row: {**row_of(row.step, CURVE), **_fields(row, "step")},
    Tied: lambda row: {**row_of(row.step, STAGE), "speedup": finite(row.speedup)},
    Anchor: lambda row: {**row_of(row.baseline, GROUP), **_fields(row, "baseline")},
    Agreement: lambda row: _fields(row, "more_prompts"),
    Roofline: lambda row: _fields(row, "figures"),
}


# What is read: the axes of each row go into a step of their own, and what is null is left to its default.


def _told(row: Mapping[str, Any]) -> Json:
    """The fields of a row that are known, intervals with infinite ends where those are null."""
    return {
        name: _interval(value) if name.endswith("ci95") else _told(value) if isinstance(value, Mapping) else value
        for name, value in row.items()
        if value is not None
    }


def _interval(ends: Any) -> Any:
    """The ends of an interval; one that is null is unbounded."""
    if not isinstance(ends, list | tuple) or len(ends) != 2:
        return ends
    low, high = ends
    return [float("-inf") if low is None else low, float("inf") if high is None else high]


def _each(rows: Any, decoded: Callable[[Mapping[str, Any]], Json]) -> Any:
    """Each table of a list; what is none is left for the decoder to refuse."""
    if not isinstance(rows, list | tuple):
        return rows
    return [decoded(row) if isinstance(row, Mapping) else row for row in rows]


def _step_of(row: Mapping[str, Any], **others: Any) -> Json:
    """The step whose axes a row names; `others` stand for those that it does not name."""
    named = {name: row[name] for name in (*ARM, "category") if name in row}
    return {**others, **named}


def _choice_of(row: Mapping[str, Any], setting: Mapping[str, Any]) -> Json | None:
    """The step that a choice names in a setting; None where nothing was chosen. Older documents name no method."""
    named = {name: row.get(name, AXES[name].default) for name in STAGE}
    named["method"] = row.get("method")
    if named["method"] is None:
        named["method"] = DRAFT if named["draft"] is not None else BASELINE if row.get("off") else None
    return {**setting, **named} if named["method"] is not None else None


def _numbered(rows: Any) -> Any:
    """Measurements or arms, repeated ones with the number of the copy."""
    seen: dict[tuple[Any, ...], int] = {}
    for row in rows if isinstance(rows, Sequence) else ():
        if isinstance(row, dict) and isinstance(step := row.get("step"), dict):
            key = tuple(repr(value) for value in step.values())
            seen[key] = seen.get(key, -1) + 1
            step["copy"] = seen[key]
    return rows


def _measurement_of(row: Mapping[str, Any]) -> Json:
    step = _step_of(row)
    if "category" in step:
        step["category"] = step["category"] or ""
    found = _told({name: value for name, value in row.items() if name != "samples"})
    for name, table in (("lossless", Agreement), ("roofline", Roofline)):
        if isinstance(row.get(name), Mapping):
            required = {
                item.name: None for item in fields(table) if item.name not in ("rounding", "more_prompts", "figures")
            }
            found[name] = {**required, "reason": "", **found[name]}
            if isinstance(found[name].get("rounding"), Mapping):
                found[name]["rounding"] = _told(found[name]["rounding"])
    samples = _each(row.get("samples") or [], _sample_of)
    return {**found, "name": row.get("step"), "step": step, "samples": samples}


def _sample_of(row: Mapping[str, Any]) -> Json:
    """A sample; what is no rate is none, and of a prompt that was cached only the decoding counts."""
    found = {**_UNKNOWN_SAMPLE, **_told(row), "decode_tok_s": finite(row.get(RATE))}
    return {**found, **dict.fromkeys(_OF_A_COLD_PROMPT)} if row.get("warm") else found


def _anchor_of(row: Mapping[str, Any]) -> Json:
    unknown = {"first_tok_s": float("nan"), "last_tok_s": float("nan"), "n": 0}
    return {**unknown, **_told(row), "baseline": _setting_of(row, "")}


def _arm_of(row: Mapping[str, Any]) -> Json:
    return {**_told(row), "step": {**_step_of(row), "category": ""}}


def _curve_of(row: Mapping[str, Any]) -> Json:
    rest = {"method": DRAFT if row.get("draft") is not None else BASELINE, **dict.fromkeys(SETTING)}
    step = _step_of(row, **rest, workload=CONTENT)
    return {**_told(row), "step": {**step, "category": step.get("category") or ALL, "depth": step.get("depth") or 0}}


def _setting_of(row: Mapping[str, Any], category: str) -> Json:
    """The baseline of a setting."""
    named = {name: AXES[name].default if row.get(name) is None else row[name] for name in GROUP}
    return {"draft": None, "method": BASELINE, "k": None, "workload": CONTENT, "category": category, **named}


def _recommendation_of(row: Mapping[str, Any]) -> Json:
    baseline = _setting_of(row, row.get("category") or ALL)
    tied = _each(
        row.get("tied") or [], lambda each: {"step": _choice_of(each, baseline), "speedup": each.get("speedup")}
    )
    return {**_told(row), "baseline": baseline, "choice": _choice_of(row, baseline), "tied": tied}


def _pairs_of(row: Mapping[str, Any]) -> Json:
    named = {name: row[f"best_{name}"] for name in STAGE if f"best_{name}" in row}
    best = _choice_of(named, _setting_of({"target": row.get("target")}, ""))
    return {**_told(row), "best": best}


def _load_of(row: Mapping[str, Any]) -> Json:
    key = {name: AXES[name].default if row.get(name) is None else row[name] for name in LOAD}
    key |= {"target": row.get("target") or "", "k": row.get("k_startup"), "method": row.get("method") or ""}
    return {**_told(row), "key": key}


def _settings_of(told: Any) -> Any:
    return _fields(ResultSettings.of(told)) if isinstance(told, Mapping) else told


_PARTS: Mapping[str, Callable[[Any], Any]] = {
    "run": lambda table: {**_told(table)} if isinstance(table, Mapping) else table,
    "engine": lambda table: _told(table) if isinstance(table, Mapping) else table,
    "settings": _settings_of,
    "loads": lambda rows: _each(rows, _load_of),
    "measurements": lambda rows: _numbered(_each(rows, _measurement_of)),
    "unfinished": lambda rows: _numbered(_each(rows, _measurement_of)),
    "overall": lambda rows: _numbered(_each(rows, _arm_of)),
    "pairs": lambda rows: _each(rows, _pairs_of),
    "curves": lambda rows: _each(rows, _curve_of),
    "anchors": lambda rows: _each(rows, _anchor_of),
    "recommendations": lambda rows: _each(rows, _recommendation_of),
    **{name: lambda rows: _each(rows, _told) for name in ("models", "plan", "notes", "rules")},
    **{
        name: lambda row: _told(row) if isinstance(row, Mapping) else row
        for name in ("bandwidth", "effort", "imported")
    },
}
