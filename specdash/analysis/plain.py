"""Values of facts as JSON has them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

from specdash.analysis.stats import Speedup, Summary
from specdash.core.measure import Sample

Json = dict[str, Any]

_SAMPLE = tuple(item.name for item in fields(Sample))
_VALUES = attrgetter(*_SAMPLE)
_AS_THEY_ARE = frozenset({str, int, bool, type(None)})


def iso(time_s: float | None) -> str | None:
    """A moment (seconds since 1970) as ISO 8601 with milliseconds, UTC."""
    if time_s is None:
        return None
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def plain(value: Any) -> Any:
    """A fact's value as JSON has it: lists for tuples, dictionaries for dataclasses, None for NaN and infinity."""
    kind = type(value)
    if kind in _AS_THEY_ARE:
        return value
    if kind is float:
        return value if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def plain_sample(sample: Sample) -> Json:
    """A sample as JSON has it, the same as `plain` gives; a report of a long run asks for thousands."""
    found = dict(zip(_SAMPLE, _VALUES(sample), strict=True))
    for name, value in found.items():
        kind = type(value)
        if kind is float:
            if not math.isfinite(value):
                found[name] = None
        elif kind is tuple:
            found[name] = list(value)  # counts and names
    return found


def plain_summary(summary: Summary) -> Json:
    """A summary as JSON has it."""
    return {
        "n": summary.n,
        "mean": _finite(summary.mean),
        "stddev": _finite(summary.stddev),
        "min": summary.min,
        "max": summary.max,
        "median": _finite(summary.median),
        "p95": _finite(summary.p95),
        "ci95": _interval(summary.ci95),
    }


def plain_speedup(speedup: Speedup | None) -> Json | None:
    """A speedup as JSON has it."""
    if speedup is None:
        return None
    return {
        "value": _finite(speedup.value),
        "stddev": _finite(speedup.stddev),
        "ci95": _interval(speedup.ci95),
    }


def _interval(ends: tuple[float, float] | None) -> list[float | None] | None:
    return None if ends is None else [_finite(end) for end in ends]


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value
