"""Facts, commands and ticks as JSON-able dictionaries, and back with every type checked.

A checksum proves that a line of a journal is as it was written, not that what wrote it was specdash, and what comes
over a socket proves nothing. Unknown fields are dropped and missing ones take their default, so that a journal of
another minor version can be read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, fields, replace
from functools import cache
from typing import Any, TypedDict

from specdash.core import commands
from specdash.core.axes import AXES, LOAD, STAGE
from specdash.core.commands import EDITS, Add, BadCommand, Command, Edit, SetIterations, checked_step, require_label
from specdash.core.events import FACTS, CommandAccepted, Fact, LoadStarted, PlanChanged, RunStarted
from specdash.core.step import STAGES, LoadKey, Step, encode_load, encode_step, load_from, step_from
from specdash.core.ticks import TICKS, Tick

MOST_INTEGER = 2**63  # seeds have 64 bits, and all else is smaller


class GpuFields(TypedDict):
    """A device of `HardwareFields`."""

    name: str
    memory_bytes: int


class HardwareFields(TypedDict, total=False):
    """What `RunStarted.hardware` holds (`probes.machine`); other versions may have more."""

    os: str | None
    os_release: str | None
    arch: str | None
    cpu: str | None
    cores: int | None
    ram_bytes: int | None
    gpus: list[GpuFields] | None
    python: str | None


def encode_fact(fact: Fact) -> dict[str, Any]:
    """Return the fields of a fact, without type, number and time."""
    match fact:
        case RunStarted():
            return {**asdict(replace(fact, steps=())), "steps": [encode_step(step) for step in fact.steps]}
        case LoadStarted():
            body = {item.name: getattr(fact, item.name) for item in fields(fact)}
            return {**body, "key": encode_load(fact.key)}
        case CommandAccepted() | PlanChanged():
            body = {**asdict(replace(fact, edits=())), "edits": [encode_edit(edit) for edit in fact.edits]}
        case _:
            return asdict(fact)
    if isinstance(fact, CommandAccepted) and not fact.models:
        del body["models"]
    return body


def decode_fact(kind: str, body: Mapping[str, Any]) -> Fact | None:
    """The fact of type `kind` with these fields; None for a type that this version does not know.

    Raises ValueError, with the field, when a required one is missing or one is of the wrong type; BadCommand, which is
    one, for an edit that this version does not know.
    """
    import msgspec  # with the first line: the first frame of a dashboard has none

    cls = FACTS.get(kind)
    if cls is None:
        return None
    fact = _converted({**body, "edits": ()} if "edits" in body else body, cls)
    if isinstance(fact, CommandAccepted | PlanChanged):
        return replace(fact, edits=tuple(map(decode_edit, msgspec.convert(body.get("edits", ()), tuple[Any, ...]))))
    if isinstance(fact, RunStarted):
        msgspec.convert(fact.hardware, HardwareFields)
    return fact


def _converted(body: Mapping[str, Any], cls: type[Fact]) -> Fact:
    """The fact, its steps and its load made of the values of axes that stand for them."""
    import msgspec

    if cls is RunStarted and "steps" in body:
        found = msgspec.to_builtins(msgspec.convert({"steps": body["steps"]}, _shapes()["steps"]))["steps"]
        return replace(msgspec.convert({**body, "steps": []}, RunStarted), steps=tuple(map(step_from, found)))
    if cls is LoadStarted and "key" in body:
        whole = msgspec.convert({**body, "key": {"served": {"target": ""}}}, LoadStarted)
        return replace(whole, key=decode_load(body["key"]))
    return msgspec.convert(body, cls)


def decode_step(values: Any, name: str = "step") -> Step:
    """The step of these values of axes; raises ValueError, with the place under `name`, for one of the wrong type."""
    return step_from(_shaped(values, name, "step"))


def decode_load(values: Any, name: str = "key") -> LoadKey:
    """The load of these values of axes; raises ValueError, with the place under `name`, for one of the wrong type."""
    return load_from(_shaped(values, name, "load"))


def _shaped(values: Any, name: str, shape: str) -> dict[str, Any]:
    import msgspec

    try:
        found: dict[str, Any] = msgspec.to_builtins(msgspec.convert(values, _shapes()[shape]))
    except msgspec.ValidationError as error:
        text = str(error)
        raise ValueError(text.replace("`$", f"`$.{name}") if "`$" in text else f"{text} - at `$.{name}`") from error
    return found


@cache
def _shapes() -> Mapping[str, Any]:
    """What a step, the key of a load and the steps of a run have to be: values of axes, by the table of these."""
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
    steps = defstruct("Steps", [("steps", list.__class_getitem__(step))])
    return {"step": step, "load": shape("Load", (*LOAD, "k"), stages, optional=("method",)), "steps": steps}


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


def encode_command(command: Command) -> dict[str, Any]:
    """Return a command with its edits."""
    return {"command": command.name, "edits": [encode_edit(edit) for edit in command.edits]}


def decode_command(body: Mapping[str, Any]) -> Command:
    """Return the command of these values; raises BadCommand with the reason."""
    name = body.get("command")
    if not isinstance(name, str) or name not in commands.NAMES:
        raise BadCommand(f"there is no command {str(name)[:40]!r}")
    edits = body.get("edits", [])
    if not isinstance(edits, list | tuple) or bool(edits) != (name == commands.EDIT):
        raise BadCommand(f"{name}: edits must be a list, and belong to {commands.EDIT!r}")
    return Command(name, tuple(map(decode_edit, edits)))


def encode_edit(edit: Edit) -> dict[str, Any]:
    """Return the fields of an edit, its type among them as "edit"."""
    body = asdict(edit if not isinstance(edit, Add) else replace(edit, steps=()))
    if isinstance(edit, Add):
        body["steps"] = [encode_step(step) for step in edit.steps]
    return {"edit": edit.TYPE, **body}


def decode_edit(body: Any) -> Edit:
    """Return the edit of these values; raises BadCommand with the reason."""
    import msgspec

    name = body.get("edit") if isinstance(body, Mapping) else None
    if not isinstance(name, str) or name not in EDITS:
        raise BadCommand("an edit needs a type: " + ", ".join(EDITS))
    try:
        listed = msgspec.convert(body.get("steps", ()), tuple[Any, ...])
        if len(listed) > commands.MOST_STEPS:
            raise BadCommand(f"{name}: at most {commands.MOST_STEPS} steps at once")
        if EDITS[name] is not Add:
            edit = msgspec.convert(body, EDITS[name])
        else:
            # A step has checks of its own.
            edit = replace(msgspec.convert({**body, "steps": ()}, Add), steps=tuple(map(checked_step, listed)))
    except msgspec.ValidationError as error:
        raise BadCommand(f"{name}: {error}") from error
    if isinstance(edit, Add | SetIterations):
        _require_sane_edit(edit)
    return edit


def _require_sane_edit(edit: Add | SetIterations) -> None:
    """Raise BadCommand for a number of samples or a model that no profile could have."""
    count = edit.iterations
    if count is not None and not 1 <= count <= commands.MOST_SAMPLES:
        raise BadCommand(f"{edit.TYPE}: iterations cannot be {str(count)[:40]!r}")
    for model in edit.models if isinstance(edit, Add) else ():
        if model.role not in ("target", "draft"):
            raise BadCommand(f"a model's role is target or draft, not {model.role[:40]!r}")
        if not model.path:
            raise BadCommand("a model needs a label, a role and a path")
        require_label(model.label)


def encode_tick(tick: Tick) -> dict[str, Any]:
    """Return the fields of a tick, its type among them as "tick"."""
    return {"tick": tick.TYPE, **asdict(tick)}


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
