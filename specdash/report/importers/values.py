"""Values from files that anybody may have written: taken where they are what they should be, else None."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from specdash.core.numbers import finite
from specdash.core.text import one_line

TEXT_LIMIT = 300


def positive(value: object) -> float | None:
    """A finite number above 0."""
    found = finite(value)
    return found if found is not None and found > 0 else None


def text(value: object) -> str | None:
    """A text that is not empty, cut to a sane length."""
    return value.strip()[:TEXT_LIMIT] or None if isinstance(value, str) else None


def shown(value: object) -> str:
    """A value for a sentence, made harmless and short."""
    if isinstance(value, str):
        return f'"{one_line(value, 40)}"'
    return "missing" if value is None else one_line(str(value)[:200], 40)


def moment(value: object) -> str | None:
    """A moment as the result document writes it: ISO 8601, UTC, milliseconds; None for what is none."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
        found = found.astimezone(UTC) if found.tzinfo is not None else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return found.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def scalars(value: object) -> dict[str, Any]:
    """The settings in a table that are plain values; those that are none of JSON's become None."""
    if not isinstance(value, dict):
        return {}
    found: dict[str, Any] = {}
    for name, each in value.items():
        if isinstance(each, str):
            found[str(name)] = each[:TEXT_LIMIT]
        elif each is None or isinstance(each, bool):
            found[str(name)] = each
        elif isinstance(each, int | float):
            found[str(name)] = each if finite(each) is not None else None
    return found
