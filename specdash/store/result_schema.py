"""The JSON Schema of `result.json`, made from the types of a result.

A row of the document names the axes of its step beside its other fields, as `store.result_json` writes them. Numbers
may be null: unknown, or without a bound. What a later version adds is allowed everywhere.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from specdash.analysis.lossless import Agreement
from specdash.analysis.pass_drift import Anchor
from specdash.analysis.result import (
    SCHEMA,
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
from specdash.core.axes import ARM, AXES, GROUP, LOAD, STAGE
from specdash.store.result_json import CURVE

Json = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_PLAIN: Mapping[Any, Json] = {
    type(None): {"type": "null"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": ["number", "null"]},
    str: {"type": "string"},
    Any: {},
    object: {},
}


@dataclass(frozen=True, slots=True)
class _Row:
    """How a type stands in the document: without these fields, and with the values of these axes instead."""

    without: tuple[str, ...]
    axes: tuple[str, ...] = ()
    more: Mapping[str, Json] | None = None


_STAGES: Json = {
    "type": "array",
    "description": "Each stage of the speculation, with the parameters that its method has; [] for a baseline.",
    "items": {
        "type": "object",
        "properties": {
            "method": {"type": "string"},
            "draft": {"type": ["string", "null"]},
            "n_max": {"type": ["integer", "null"], "description": "K"},
        },
    },
}
_NAMED = {"category": {"type": ["string", "null"]}}
_ROWS: Mapping[type, _Row] = {
    Measurement: _Row(("step", "name"), ARM, {"step": {"type": ["string", "null"]}, "stages": _STAGES, **_NAMED}),
    Arm: _Row(("step",), ARM),
    CurvePoint: _Row(("step",), CURVE),
    Load: _Row(("key",), LOAD, {"k_startup": {"type": ["integer", "null"]}}),
    Recommendation: _Row(("baseline", "choice"), (*GROUP, *STAGE), _NAMED),
    Tied: _Row(("step",), STAGE),
    TargetPairs: _Row(("best",), ("target",)),
    Anchor: _Row(("baseline",), GROUP),
    Agreement: _Row(("more_prompts",)),
    Roofline: _Row(("figures",)),
    ResultSettings: _Row(("others",)),
}


def result_schema() -> Json:
    """The schema of a result document."""
    definitions: dict[str, Json] = {}
    top = _table(Result, definitions)
    top["properties"]["schema"] = {"const": SCHEMA}
    return {
        "$schema": DIALECT,
        "title": "specdash result",
        **top,
        "required": ["schema", "run", "engine", "loads", "measurements", "recommendations"],
        "$defs": dict(sorted(definitions.items())),
    }


def _table(kind: type, definitions: dict[str, Json]) -> Json:
    """The schema of a dataclass as the document has it."""
    row = _ROWS.get(kind, _Row(()))
    hints = get_type_hints(kind)
    known = {item.name: _of(hints[item.name], definitions) for item in fields(kind) if item.name not in row.without}
    named = {name: _axis(name) for name in row.axes} | dict(row.more or {})
    if kind is TargetPairs:
        named |= {f"best_{name}": _axis(name) for name in STAGE}
    about = " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())
    return {"type": "object", "description": about, "properties": {**named, **known}}


def _axis(name: str) -> Json:
    """The value of an axis; null where it has none."""
    axis = AXES[name]
    kind = {str: "string", int: "integer", float: "number"}[axis.kind]
    return {"type": [kind, "null"], "description": axis.what}


def _of(kind: Any, definitions: dict[str, Json]) -> Json:
    """The schema of a type; those of dataclasses are defined once, by name."""
    if kind in _PLAIN:
        return dict(_PLAIN[kind])
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _any(_of(each, definitions) for each in inner)
    if origin is Literal:
        return {"enum": list(inner)}
    if origin in (tuple, list):
        if origin is tuple and inner[-1:] != (Ellipsis,):
            return {"type": "array", "prefixItems": [_of(each, definitions) for each in inner]}
        return {"type": "array", "items": _of(inner[0], definitions)}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _of(inner[1], definitions)}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"type": "string"}
    if is_dataclass(kind) and isinstance(kind, type):
        if kind.__name__ not in definitions:
            definitions[kind.__name__] = {}  # a type may hold itself
            definitions[kind.__name__] = _table(kind, definitions)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    raise TypeError(f"a type of a result that has no schema: {kind!r}")


def _any(found: Iterable[Json]) -> Json:
    """One of several schemas; several plain types as one."""
    listed = list(found)
    if all(each.keys() == {"type"} for each in listed):
        names = [
            name for each in listed for name in ([each["type"]] if isinstance(each["type"], str) else each["type"])
        ]
        return {"type": list(dict.fromkeys(names))}
    return {"anyOf": listed}
