"""What may be asked of a run while it goes on: pause, resume, stop, and edits of its queue.

Commands are the only thing that flows towards a run, and they enter by one door. An accepted one becomes a fact, with
its edits, so that the journal tells the same story as the screen. `encode` and `decode` turn a command into a
plain dictionary and back; `decode` trusts nothing, since it reads what came over a socket.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from specdash.core.axes import AXES, STAGE
from specdash.core.step import STAGES, Step, encode_step, step_from

PAUSE = "pause"
RESUME = "resume"
STOP = "stop"  # now: the request in flight is dropped
STOP_AFTER_LOAD = "stop_after_load"  # once every step of the server that runs now is done
EDIT = "edit"
NAMES = frozenset({PAUSE, RESUME, STOP, STOP_AFTER_LOAD, EDIT})

MOST_SAMPLES = 10_000
MOST_STEPS = 100_000
MOST_LABEL_CHARS = 1_000
MOST_STAGES = 8  # of one speculation
MOST_COUNT = 2**31 - 1  # of tokens, experts and copies: what a server's flags can hold


class BadCommand(ValueError):
    """A command that cannot be understood; the message is for the one who sent it."""


@dataclass(frozen=True, slots=True)
class NewModel:
    """A model that the run does not know yet, added with the steps that use it; `path` is on the engine's machine."""

    label: str
    role: str  # "target" | "draft"
    path: str


@dataclass(frozen=True, slots=True)
class Edit:
    """Base of all edits of the queue; `TYPE` is its name in journals and on the wire."""

    TYPE: ClassVar[str] = ""


@dataclass(frozen=True, slots=True)
class Skip(Edit):
    """These steps are not measured; a running one ends at once. What they have is kept."""

    TYPE: ClassVar[str] = "skip"
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reopen(Edit):
    """These finished or skipped steps are measured (again): a retry, or a skip taken back."""

    TYPE: ClassVar[str] = "reopen"
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Remove(Edit):
    """These steps leave the queue; only steps without samples can."""

    TYPE: ClassVar[str] = "remove"
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Move(Edit):
    """These steps, in this order, go before the step `before`, or to the end (None)."""

    TYPE: ClassVar[str] = "move"
    steps: tuple[str, ...]
    before: str | None = None


@dataclass(frozen=True, slots=True)
class Add(Edit):
    """New steps, before the step `before` or at the end (None); `models` are those that the run does not know yet."""

    TYPE: ClassVar[str] = "add"
    steps: tuple[Step, ...]
    before: str | None = None
    models: tuple[NewModel, ...] = ()
    iterations: int | None = None


@dataclass(frozen=True, slots=True)
class SetIterations(Edit):
    """These steps take `iterations` samples each."""

    TYPE: ClassVar[str] = "iterations"
    steps: tuple[str, ...]
    iterations: int


EDITS: Mapping[str, type[Edit]] = {kind.TYPE: kind for kind in (Skip, Reopen, Remove, Move, Add, SetIterations)}


@dataclass(frozen=True, slots=True)
class Command:
    """One command; `edits` belong to "edit" and are applied all together or not at all."""

    name: str
    edits: tuple[Edit, ...] = ()


def encode(command: Command) -> dict[str, Any]:
    """The command as JSON-able values."""
    return {"command": command.name, "edits": [encode_edit(edit) for edit in command.edits]}


def decode(body: Mapping[str, Any]) -> Command:
    """The command of these values; raises BadCommand with the reason."""
    name = body.get("command")
    if not isinstance(name, str) or name not in NAMES:
        raise BadCommand(f"there is no command {str(name)[:40]!r}")
    edits = body.get("edits", [])
    if not isinstance(edits, list | tuple) or bool(edits) != (name == EDIT):
        raise BadCommand(f"{name}: edits must be a list, and belong to {EDIT!r}")
    return Command(name, tuple(decode_edit(each) for each in edits))


def encode_edit(edit: Edit) -> dict[str, Any]:
    """The edit as JSON-able values, its type among them."""
    body = {"edit": edit.TYPE, **{item.name: getattr(edit, item.name) for item in fields(edit)}}
    if isinstance(edit, Add):
        body |= {
            "steps": [encode_step(step) for step in edit.steps],
            "models": [asdict(model) for model in edit.models],
        }
    return body


def decode_edit(body: Any) -> Edit:
    """The edit of these values; raises BadCommand with the reason."""
    name = body.get("edit") if isinstance(body, Mapping) else None
    if not isinstance(name, str) or name not in EDITS:
        raise BadCommand("an edit needs a type: " + ", ".join(EDITS))
    kind = EDITS[name]
    values: dict[str, Any] = {}
    for item in fields(kind):
        if item.name in body:
            values[item.name] = _checked(kind, item.name, body[item.name])
    try:
        return kind(**values)
    except TypeError as error:
        raise BadCommand(f"{kind.TYPE}: {error}") from error


def _checked(kind: type[Edit], name: str, value: Any) -> Any:
    """A field's value with its type proven; raises BadCommand."""
    if name == "before" and (value is None or isinstance(value, str)):
        return value
    if name == "iterations" and (
        (type(value) is int and 1 <= value <= MOST_SAMPLES) or (value is None and kind is Add)
    ):
        return value
    if name in ("steps", "models") and isinstance(value, list | tuple) and len(value) <= MOST_STEPS:
        if name == "models":
            return tuple(_model(each) for each in value)
        return tuple(_step(each) for each in value) if kind is Add else _labels(value)
    raise BadCommand(f"{kind.TYPE}: {name} cannot be {str(value)[:40]!r}")


def _labels(values: Sequence[Any]) -> tuple[str, ...]:
    if not all(isinstance(each, str) for each in values):
        raise BadCommand("steps are named by their ids")
    return tuple(values)


def _model(value: Any) -> NewModel:
    try:
        model = NewModel(**value)
    except TypeError as error:
        raise BadCommand(f"a model: {error}") from error
    if not all(isinstance(each, str) and each for each in asdict(model).values()):
        raise BadCommand("a model needs a label, a role and a path")
    if model.role not in ("target", "draft"):
        raise BadCommand(f"a model's role is target or draft, not {model.role[:40]!r}")
    _require_label(model.label)
    return model


def _require_label(text: str) -> None:
    """Raises BadCommand for a name that no profile could give: blank, far too long, or not to be printed."""
    if not text.strip() or len(text) > MOST_LABEL_CHARS or not text.isprintable():
        raise BadCommand(f"{text[:40]!r} is no label: use up to {MOST_LABEL_CHARS} printable characters")


def _step(value: Any) -> Step:
    """A step from its values of axes, each of its type; numbers are never negative, and counts have a bound."""
    if not isinstance(value, Mapping):
        raise BadCommand("a step is an object")
    stages = value.get(STAGES, ())
    if not isinstance(stages, list | tuple) or len(stages) > MOST_STAGES:
        raise BadCommand(f"a step's {STAGES} cannot be {str(stages)[:40]!r}")
    _require_values({name: each for name, each in value.items() if name != STAGES}, "step", tuple(AXES))
    if missing := [name for name, axis in AXES.items() if axis.is_required and name not in value]:
        raise BadCommand(f"a step needs a value of {missing[0]}")
    for each in stages:
        if not isinstance(each, Mapping) or "method" not in each:
            raise BadCommand(f"a stage cannot be {str(each)[:40]!r}")
        _require_values(each, "stage", STAGE)
    step = step_from(value)
    if not step.speculates and (value.get("draft") is not None or value.get("k") is not None):
        raise BadCommand(f"{step.id}: a baseline has neither draft nor K")
    return step


def _require_values(values: Mapping[str, Any], what: str, names: Sequence[str]) -> None:
    """Raises BadCommand for values that no axes of these names can have."""
    for name, each in values.items():
        if name not in names:
            raise BadCommand(f"a {what} has no {str(name)[:40]!r}")
        if not AXES[name].accepts(each) or (isinstance(each, int | float) and not each <= MOST_COUNT):
            raise BadCommand(f"a {what}'s {name} cannot be {str(each)[:40]!r}")
        if isinstance(each, str):
            _require_label(each)
