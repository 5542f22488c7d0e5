"""What may be asked of a run while it goes on: pause, resume, stop, and edits of its queue.

Commands are the only thing that flows towards a run. An accepted one becomes a fact, with its edits, so that the
journal tells the same story as the screen. `store.codec` writes them as JSON, and reads what came over a socket.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from specdash.core.axes import AXES, STAGE
from specdash.core.step import STAGES, Step, step_from

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


def require_label(text: str) -> None:
    """Raises BadCommand for a name that no profile could give: blank, far too long, or not to be printed."""
    if not text.strip() or len(text) > MOST_LABEL_CHARS or not text.isprintable():
        raise BadCommand(f"{text[:40]!r} is no label: use up to {MOST_LABEL_CHARS} printable characters")


def checked_step(value: Any) -> Step:
    """Return the step of these values of axes, each of its type and in bounds; raises BadCommand."""
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
            require_label(each)
