"""Facts from the plain dictionaries of journal lines, and ticks from those of a socket, with every type checked.

A checksum proves that a line is as it was written, not that what wrote it was specdash. Unknown fields are dropped and
missing ones take their default, so that a journal of another minor version can be read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any, TypedDict

from specdash.core.axes import AXES, LOAD, STAGE
from specdash.core.events import FACTS, Fact, LoadStarted, RunStarted
from specdash.core.step import STAGES, load_from, step_from
from specdash.core.ticks import TICKS, Tick

MOST_INTEGER = 2**63  # seeds have 64 bits, and all else is smaller


class Settings(TypedDict, total=False):
    """What `RunStarted.settings` holds; other versions may have more."""

    max_tokens: int
    temperature: float
    seed: int
    warmup: int
    iterations: int
    prompts: str
    workloads: list[str]
    k: str
    precision: float | None
    passes: int


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
    fact = _converted(body, cls)
    if isinstance(fact, RunStarted):
        for values, shape in ((fact.settings, Settings), (fact.hardware, Hardware)):
            msgspec.convert(values, shape)
    return fact


def _converted(body: Mapping[str, Any], cls: type[Fact]) -> Fact:
    """The fact, its steps and its load made of the values of axes that stand for them."""
    import msgspec

    steps, load = _shapes()
    if cls is RunStarted and "steps" in body:
        found = msgspec.to_builtins(msgspec.convert({"steps": body["steps"]}, steps))["steps"]
        return replace(msgspec.convert({**body, "steps": []}, RunStarted), steps=tuple(map(step_from, found)))
    if cls is LoadStarted and "key" in body:
        found = msgspec.to_builtins(msgspec.convert({"key": body["key"]}, load))["key"]
        whole = msgspec.convert({**body, "key": {"served": {"target": ""}}}, LoadStarted)
        return replace(whole, key=load_from(found))
    return msgspec.convert(body, cls)


@cache
def _shapes() -> tuple[type, type]:
    """What the steps of a run and the key of a load have to be: values of axes, by the table of these."""
    from msgspec import NODEFAULT, defstruct

    def shape(name: str, names: Iterable[str], *more: tuple[str, Any, Any], optional: Collection[str] = ()) -> Any:
        listed = [
            (
                axis.name,
                axis.kind if axis.default is not None else axis.kind | None,
                NODEFAULT if axis.is_required and axis.name not in optional else axis.default,
            )
            for axis in map(AXES.__getitem__, names)
        ]
        return defstruct(name, [*listed, *more], kw_only=True)

    stages: tuple[str, Any, Any] = STAGES, list.__class_getitem__(shape("Stage", STAGE)), []
    step = shape("Step", AXES, stages)
    load = shape("Load", (*LOAD, "k"), stages, optional=("method",))
    return defstruct("Steps", [("steps", list.__class_getitem__(step))]), defstruct("Key", [("key", load)])


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
