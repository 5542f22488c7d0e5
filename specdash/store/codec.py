"""Facts from the plain dictionaries of journal lines, and ticks from those of a socket, with every type checked.

A checksum proves that a line is as it was written, not that what wrote it was specdash. Unknown fields are dropped and
missing ones take their default, so that a journal of another minor version can be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from specdash.core.events import FACTS, Fact, RunStarted
from specdash.core.ticks import TICKS, Tick

MOST_INTEGER = 2**63  # seeds have 64 bits, and all else is smaller


class Gpu(TypedDict):
    """A device of `Hardware`."""

    name: str
    memory_bytes: int


class Hardware(TypedDict, total=False):
    """What `RunStarted.hardware` holds (`probes.machine`); other versions may have more."""

    os: str | None
    os_release: str | None
    arch: str | None
    cpu: str | None
    cores: int | None
    ram_bytes: int | None
    gpus: list[Gpu] | None
    python: str | None


def decode_fact(kind: str, body: Mapping[str, Any]) -> Fact | None:
    """The fact of type `kind` with these fields; None for a type that this version does not know.

    Raises ValueError, with the field, when a required one is missing or one is of the wrong type.
    """
    import msgspec  # with the first line: the first frame of a dashboard has none

    cls = FACTS.get(kind)
    if cls is None:
        return None
    fact = msgspec.convert(body, cls)
    if isinstance(fact, RunStarted):
        msgspec.convert(fact.hardware, Hardware)
    return fact


def require_sane(value: Any, where: str) -> None:
    """Raises ValueError for an integer that no count, size or seed can be; JSON knows no limit."""
    if isinstance(value, int):
        if not -MOST_INTEGER <= value <= MOST_INTEGER:
            raise ValueError(f"Number out of range - at `{where}`")
    elif isinstance(value, dict):
        for name, each in value.items():
            require_sane(each, f"{where}.{name}")
    elif isinstance(value, list):
        for each in value:
            require_sane(each, f"{where}[...]")


def decode_tick(body: Mapping[str, Any]) -> Tick | None:
    """The tick of these fields; None for a type that this version does not know or fields that do not fit."""
    import msgspec

    cls = TICKS.get(str(body.get("tick")))
    if cls is None:
        return None
    try:
        return msgspec.convert(body, cls)
    except ValueError:
        return None
