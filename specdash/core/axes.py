"""The axes: everything that steps can differ in, one row of a table for each.

A step is one value of each axis. Whatever lists fields of a step reads this table: profiles, journals, results, tables,
exports and reports. A new axis is a row here, and the flag that sets it in its engine's own table of parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias

from specdash.core.methods import BASELINE, DRAFT, SIZED, has_confidence, may_drop_short

MOST_DIGITS = 9  # of a number that is typed

Value: TypeAlias = str | int | float | None


class Scope(Enum):
    """What has to change for another value: the server, the request to it, or what is asked of it."""

    LOAD = "load"
    REQUEST = "request"
    WORKLOAD = "workload"


class Part(Enum):
    """The part of a step that an axis belongs to. A baseline has no stages, and shares all else but the copy."""

    TARGET = "target"
    SETTING = "server setting"
    STAGE = "stage of a speculation"
    POINT = "workload point"
    TEXT = "text"
    COPY = "copy"


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis.

    `name` is the key in profiles, journals and results. `default` is what a step has that says nothing. `words` is a
    value in words ("{} experts"), `in_id` the same in names of steps where it differs. `heading` and `width` (cells)
    make a column in lists, `blank` is shown where there is no value. `of_method` tells which methods have it. One that
    `is_flag` is set by a flag of some kinds of engine, as `core.engine_kinds` says. One that `shortens` drafts makes
    K a ceiling. `rank` says where the axis stands in the order in which results are read, by ascending value or,
    unless it `ascends`, by first appearance. `least` and `below` bound the values of a profile; `in_sweep` says
    whether `[sweep]` lists them. `is_required`: journals always had it; `is_sparse`: it is left out of them where it
    has its default.
    """

    name: str
    kind: type[str] | type[int] | type[float]
    part: Part
    scope: Scope
    default: Value = None
    words: str = "{}"
    in_id: str = ""
    heading: str = ""
    width: int = 0
    blank: str = "-"
    rank: int = 0
    ascends: bool = False
    least: int = 0
    below: float | None = None
    in_sweep: bool = False
    of_method: Callable[[str], bool] | None = None
    is_flag: bool = False
    shortens: bool = False
    is_required: bool = True
    is_sparse: bool = False
    what: str = ""

    @property
    def is_kept_by_baseline(self) -> bool:
        """Whether the baseline that a step is compared with has the same value."""
        return self.part not in (Part.STAGE, Part.COPY)

    def is_of(self, method: str) -> bool:
        """Whether a method has this parameter."""
        return self.of_method is None or self.of_method(method)

    @property
    def wanted(self) -> str:
        """What its values in a profile have to be."""
        what = "a whole number" if self.kind is int else "a number"
        return f"{what}, {self.least} or more" + ("" if self.below is None else f" and below {self.below:g}")

    def read(self, found: object) -> Any:
        """A value of a profile, or a number as it is typed, as the axis has it; None for what is none of it."""
        if isinstance(found, str) and self.kind is not str:
            digits = found if self.kind is int else found.replace(".", "", 1)
            if not (digits.isascii() and digits.isdigit()) or len(found) > MOST_DIGITS:
                return None
            found = self.kind(found)
        if isinstance(found, bool) or not isinstance(found, int if self.kind is int else int | float):
            return None
        fits = found >= self.least and (self.below is None or found < self.below)
        return self.kind(found) if fits else None

    def say(self, value: Value) -> str:
        """A value in words."""
        return self.words.format(self.plain(value))

    def plain(self, value: Value) -> str:
        """A value by itself."""
        return f"{value:g}" if isinstance(value, float) else str(value)

    def accepts(self, value: object) -> bool:
        """Whether a value is of the axis's type and, for numbers, not below its least."""
        if value is None:
            return self.default is None
        if self.kind is str:
            return isinstance(value, str)
        if isinstance(value, bool) or not isinstance(value, int if self.kind is int else int | float):
            return False
        return value >= 0 and (self.below is None or value < self.below)


def _axis(name: str, part: Part, scope: Scope, kind: type[str] | type[int] | type[float] = str, **more: Any) -> Axis:
    return Axis(name, kind, part, scope, **more)


_AXES = (
    _axis("target", Part.TARGET, Scope.LOAD, rank=10, what="the model that is made faster"),
    _axis("draft", Part.STAGE, Scope.LOAD, rank=30, what="the draft model or head"),
    _axis("method", Part.STAGE, Scope.LOAD, default=BASELINE, rank=40, what="what drafts"),
    _axis(
        "config", Part.SETTING, Scope.LOAD, rank=20, in_id="config {}", heading="config", width=10,
        what="a named set of further arguments of the server",
    ),
    _axis(
        "moe_experts", Part.SETTING, Scope.LOAD, int, rank=60, words="{} experts", heading="experts", width=7,
        blank="own", least=1, in_sweep=True, what="experts used for each token of a mixture-of-experts model",
    ),
    _axis("k", Part.STAGE, Scope.REQUEST, int, rank=70, ascends=True, words="K={}", least=1, what="the draft length"),
    _axis("workload", Part.POINT, Scope.WORKLOAD, default="content", rank=80, what="what kind of work is asked for"),
    _axis("category", Part.TEXT, Scope.WORKLOAD, default="", what="the category of the prompts"),
    _axis(
        "depth", Part.POINT, Scope.WORKLOAD, int, default=0, rank=90, ascends=True, words="depth {}", heading="depth",
        width=6, in_sweep=True, what="tokens of context before the prompt",
    ),
    _axis("copy", Part.COPY, Scope.WORKLOAD, int, default=0, words="copy {}", is_required=False,
          what="which of several steps that measure the same"),
    _axis(
        "ngram_n", Part.STAGE, Scope.LOAD, int, rank=50, ascends=True, words="n={}", least=1, in_sweep=True,
        of_method=SIZED.__contains__, is_required=False, what="the size of a looked-up n-gram",
    ),
    _axis(
        "p_min", Part.STAGE, Scope.LOAD, float, default=0.0, rank=52, ascends=True, words="p_min={}", below=1.0,
        in_sweep=True, of_method=has_confidence, is_flag=True, is_required=False, is_sparse=True, shortens=True,
        heading="p_min", width=5,
        what="the confidence below which a draft stops",
    ),
    _axis(
        "n_min", Part.STAGE, Scope.LOAD, int, default=0, rank=54, ascends=True, words="n_min={}", in_sweep=True,
        of_method=may_drop_short, is_flag=True, is_required=False, is_sparse=True, heading="n_min", width=5,
        what="the length of the shortest draft that is used",
    ),
)  # fmt: skip

AXES: Mapping[str, Axis] = MappingProxyType({axis.name: axis for axis in _AXES})
"""Every axis by name, in the order of the columns of exports."""


def names_of(*parts: Part) -> tuple[str, ...]:
    """The names of the axes of these parts, in the order of the table."""
    return tuple(axis.name for axis in _AXES if axis.part in parts)


SETTING = names_of(Part.SETTING)
POINT = names_of(Part.POINT)
STAGE = names_of(Part.STAGE)
PARAMS = tuple(name for name in STAGE if name not in ("draft", "method", "k"))
"""The parameters of a stage beside its draft length."""
PLACED = tuple(name for name in PARAMS if not AXES[name].is_flag)
"""Those of them that a launch command of the user's is told."""
DRAFTER = tuple(name for name in STAGE if name != "k")
"""What drafts: arms with the same differ in K."""
VARIANT = (*SETTING, *sorted(POINT, key=lambda name: name == "workload"))
"""What sets steps of one target apart that share what drafts and the text, in the order in which it is said."""
GROUP = ("target", *(name for name in VARIANT if name != "workload"))
"""What arms have in common that are compared with each other."""
KEPT = ("target", *VARIANT)
"""What an arm has in common with its baseline."""
ARM = tuple(axis.name for axis in _AXES if axis.part not in (Part.TEXT, Part.COPY))
"""What tells arms apart: everything but the text and the copy."""
LOAD = tuple(axis.name for axis in _AXES if axis.scope is Scope.LOAD)
"""What only a restart of the server can change."""
READ_BY = tuple(axis.name for axis in sorted(_AXES, key=lambda axis: axis.rank) if axis.rank)
"""The order in which results are read: the first of these changes least often."""
COLUMNS = tuple(axis for axis in _AXES if axis.heading)
"""The axes that have a column of their own in lists of steps, where they vary."""
VARYING = tuple(axis.name for axis in _AXES if axis.part is not Part.STAGE)
"""The axes that steps with the same speculation can differ in."""
SWEPT = tuple(axis for axis in _AXES if axis.in_sweep)
"""The axes that `[sweep]` of a profile lists the values of."""


class HasAxes(Protocol):
    """What has a value of each axis: a step, or a server load."""

    def value(self, name: str) -> Any:
        """The value of an axis."""


def value(of: HasAxes | Mapping[str, Any], name: str) -> Any:
    """The value of an axis of a step or load, or of a row of a result; its default where a row lacks it."""
    if isinstance(of, Mapping):
        found = of.get(name)
        return AXES[name].default if found is None else found
    return of.value(name)


def values(of: HasAxes | Mapping[str, Any], names: Iterable[str]) -> tuple[Any, ...]:
    """The values of several axes, to tell things apart by."""
    return tuple(value(of, name) for name in names)


class Values(Mapping[str, Any]):
    """Values of some axes that are not the default ones; never changes, and can be a key."""

    __slots__ = ("_hash", "_known")

    def __init__(self, known: Mapping[str, Any] | None = None) -> None:
        given = known or {}
        self._known = {name: given[name] for name in AXES if given.get(name) not in (None, AXES[name].default)}
        self._hash = hash(tuple(self._known.items()))

    def __getitem__(self, name: str) -> Any:
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[type[Values], tuple[dict[str, Any]]]:
        return Values, (self._known,)  # hashes of texts differ between processes

    def __eq__(self, other: object) -> bool:
        return self._known == other._known if isinstance(other, Values) else NotImplemented

    def __repr__(self) -> str:
        return f"Values({self._known!r})"

    def with_values(self, **changes: Value) -> Values:
        """The same with other values of some axes."""
        return Values({**self._known, **changes})


NONE = Values()


def pick(of: HasAxes | Mapping[str, Any], names: Iterable[str]) -> Values:
    """The values of several axes of a step, load or row, as a mapping."""
    return Values({name: value(of, name) for name in names})


def sorted_values(name: str, found: Iterable[Any]) -> list[Any]:
    """The values of an axis in the order in which they are read: as they come, or ascending with none first."""
    listed = list(dict.fromkeys(found))
    return sorted(listed, key=lambda each: (each is not None, each or 0)) if AXES[name].ascends else listed


def row_of(of: HasAxes | Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The values of several axes under their keys, as journals and results have them."""
    found = {name: value(of, name) for name in names}
    return {name: each for name, each in found.items() if not AXES[name].is_sparse or each != AXES[name].default}


def unknown(names: Iterable[str]) -> dict[str, None]:
    """What `row_of` has where there is no step to tell of."""
    return {name: None for name in names if not AXES[name].is_sparse}


def value_words(of: HasAxes | Mapping[str, Any], names: Iterable[str] = VARIANT) -> list[str]:
    """The values of several axes in words, those that are not the default: ["kv-q8", "4 experts"]."""
    found = ((AXES[name], value(of, name)) for name in names)
    return [axis.say(each) for axis, each in found if each != axis.default]


def method_label(of: HasAxes | Mapping[str, Any]) -> str:
    """A method with its parameters, as names of steps and rows have it: "ngram-simple n=4"."""
    return " ".join([str(value(of, "method")), *value_words(of, PARAMS)])


def drafter_label(of: HasAxes | Mapping[str, Any]) -> str | None:
    """What drafts, as every table and screen names it; None for a baseline, where nothing does.

    The draft model by its label, a head with what it is ("head (eagle3)"), a method without a model by its own name,
    each with its parameters.
    """
    draft, method = value(of, "draft"), value(of, "method")
    if draft is None:
        return None if method in ("", BASELINE) else method_label(of)
    name = draft if method in ("", BASELINE, DRAFT) else f"{draft} ({method})"
    return " ".join([name, *value_words(of, PARAMS)])
