"""A profile: what the user wants measured, checked and with every default filled in.

Frozen values only; reading them from TOML, and every check, is `specdash.config.load`. Fields are named as the keys of
the TOML file (`class` is `model_class`). Paths are absolute, with `~` and variables expanded and symbolic links left as
they are, since the name of a link often tells more than that of the blob behind it. Where a value came from (`key`,
`line`, `source`) takes no part in equality: two profiles that ask for the same thing are equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from specdash.core import engine_kinds as kinds
from specdash.core.axes import NONE, Values
from specdash.core.draft_lengths import Abilities
from specdash.core.methods import BASELINE

BUILTIN: Final = "builtin"
CONTENT: Final = "content"  # the workload of ordinary prompts
ALL: Final = "all"  # the category of what holds over all categories
LOSSLESS: Final = "lossless"

KMode = Literal["auto", "curve", "search"]

EVERY_METHOD: Final = "*"
Launch = Mapping[str, tuple[str, ...]]
"""Commands that start a server, by the method that they start it for; EVERY_METHOD where one does for all."""
Urls = Mapping[str, str]
"""Servers that run already, by method as in `Launch`."""
T = TypeVar("T")


def for_method(by_method: Mapping[str, T], method: str) -> T | None:
    """What a `Launch` or `Urls` has for a method; None for nothing."""
    return by_method.get(method, by_method.get(EVERY_METHOD))


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """`[engine]`: the program that serves, and how it is started.

    `program` is a name on PATH, an absolute path, "embedded" (llama.cpp from the xllamacpp wheel beside specdash) or
    "embedded:PYTHON" (from the wheel in that interpreter's environment). `port` 0 means any free one.
    `load_timeout_s` "auto" is max(180, int(size_gb * 3) + 120). `launch` and `stop` are commands that start and end a
    server; `health`, `ready` and `metrics` are paths on it ("" where not given), `url` is one that runs already, and
    `cool_down_s` passes after each stop before anything is started. `api_key_env` names a variable, never a key; `body`
    are fields for every request.
    """

    kind: str = kinds.DEFAULT.name
    program: str = kinds.DEFAULT.programs[0].name
    k_scope: Literal["auto", "request", "capped", "startup"] = "auto"
    grace_s: float = 10.0
    stall_s: float = 300.0
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    wrap: tuple[str, ...] = ()
    port: int = 0
    load_timeout_s: float | Literal["auto"] = "auto"
    launch: Launch = field(default_factory=dict)
    stop: tuple[str, ...] = ()
    health: str = ""
    ready: str = ""
    metrics: str = ""
    pid_file: Path | None = None
    cool_down_s: float = 0.0
    url: Urls = field(default_factory=dict)
    api_key_env: str = ""
    body: Mapping[str, object] = field(default_factory=dict)

    @property
    def is_embedded(self) -> bool:
        """True when the engine is the built-in llama.cpp rather than a program."""
        return self.program.partition(":")[0] == kinds.EMBEDDED


@dataclass(frozen=True, slots=True)
class ModelRef:
    """One model of `[[targets]]` or `[[drafts]]`; an entry with a pattern or folder gives several.

    `key` ("targets[0].path") and `line` say which entry of the file it came from; `from_pattern` whether the entry
    named it by a pattern or folder. `path` need not exist: a profile may be written for another machine, and it is None
    where the server is asked for a model by its name alone (`model`). `mmproj` is the projector of a vision model.
    `method` is what a draft is used for: "auto", or one of `core.methods.WITH_DRAFT_MODEL`.
    """

    label: str
    path: Path | None
    mmproj: Path | None = None
    model_class: str = "auto"
    model: str = ""
    method: str = "auto"
    key: str = field(default="", compare=False)
    line: int | None = field(default=None, compare=False)
    from_pattern: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """`[[configs]]`: a named set of further start-up arguments, multiplied with the rest of the sweep.

    `launch`, `stop` and `url` take the place of the engine's. `engine` is the kind that serves it where that is not the
    profile's: what the profile's cannot serve is measured under a configuration of its own, baseline and all.
    """

    label: str
    args: tuple[str, ...] = ()
    launch: Launch = field(default_factory=dict)
    stop: tuple[str, ...] = ()
    url: Urls = field(default_factory=dict)
    engine: str = ""

    @property
    def methods(self) -> frozenset[str] | None:
        """The methods that its launch commands or servers are for; None for all."""
        named = {*self.launch, *self.url}
        return None if not named or EVERY_METHOD in named else frozenset(named)


@dataclass(frozen=True, slots=True)
class Sweep:
    """`[sweep]`: the axes.

    `lists` has the values of each axis of `core.axes.SWEPT` that has any, `stages` those of one method
    alone, by method. Drafts are tried with each of them; a model's
    own number of experts is always measured once without a draft, as the reference. `pairs` holds (target label, draft
    label). `k` is a list, or how the Ks are found: "auto" by the class of the target, "curve" predicted from one load
    at the largest K and confirmed, "search" by spending samples where it matters.
    """

    methods: tuple[str, ...] = ("draft",)
    k: tuple[int, ...] | KMode = "auto"
    lists: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    stages: Mapping[str, Mapping[str, tuple[Any, ...]]] = field(default_factory=dict)
    baseline: bool = True
    pairs: tuple[tuple[str, str], ...] | Literal["all"] = "all"

    def listed(self, axis: str, method: str = "") -> tuple[Any, ...]:
        """The listed values of an axis, a method's own before the general ones; () where there are none."""
        return self.stages.get(method, {}).get(axis) or self.lists.get(axis, ())


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """One `[[queue]]`: steps in the order of their lists, K in the outer loop, then depth, then category.

    `values` are those of the axes that an entry has one value of. `k` is empty for a baseline. `iterations` None: as
    `[measure]` says. `copy` tells apart entries that measure the same thing again (1, 2, …) from the first of them (0).
    """

    target: str
    values: Values = NONE
    k: tuple[int, ...] = ()
    categories: tuple[str, ...] | Literal["all"] = "all"
    depth: tuple[int, ...] = (0,)
    iterations: int | None = None
    copy: int = 0

    @property
    def draft(self) -> str | None:
        """The draft model, if any."""
        return self.values.get("draft")

    @property
    def method(self) -> str:
        """What drafts, "baseline" for nothing."""
        return str(self.values.get("method", BASELINE))


@dataclass(frozen=True, slots=True)
class Measure:
    """`[measure]`: what is sent, and how often. `prompts` is "builtin" or the path of a .jsonl file."""

    workloads: tuple[str, ...] = ("content",)
    prompts: Path | Literal["builtin"] = "builtin"
    categories: tuple[str, ...] | Literal["all"] = "all"
    max_tokens: int = 256
    temperature: float = 0.0
    seed: int = 1
    warmup: int = 1
    iterations: int = 5
    precision: float | None = None
    timeout_s: float = 600.0
    passes: int = 1


@dataclass(frozen=True, slots=True)
class Limits:
    """`[limits]`: when to stop. `max_time` is in seconds (None: no limit), `memory` in bytes."""

    max_time: float | None = None
    memory: int | Literal["auto", "off"] = "auto"
    on_failure: Literal["continue", "stop"] = "continue"
    inhibit_sleep: bool = True


@dataclass(frozen=True, slots=True)
class Profile:
    """A whole profile. `source` is the file that it was read from; relative paths were relative to its folder.

    `queue` is the list of steps where it is not empty; `sweep`, which has its defaults then, is the matrix otherwise.
    """

    name: str
    hardware: str
    model_family: str
    engine: EngineConfig
    targets: tuple[ModelRef, ...]
    drafts: tuple[ModelRef, ...]
    configs: tuple[ServerConfig, ...]
    sweep: Sweep
    measure: Measure
    limits: Limits
    results_dir: Path
    source: Path = field(compare=False)
    queue: tuple[QueueEntry, ...] = ()
    results_shared: bool = False  # run folders may be read by others, as the umask has it

    @property
    def depths(self) -> tuple[int, ...]:
        """Every depth that is measured, in tokens of context."""
        if not self.queue:
            return self.sweep.listed("depth") or (0,)
        return tuple(dict.fromkeys(depth for entry in self.queue for depth in entry.depth))

    def asked(self, axis: str) -> tuple[Any, ...]:
        """Every value of an axis that is asked for, where it is not the default."""
        if not self.queue:
            return self.sweep.listed(axis)
        return tuple(dict.fromkeys(entry.values[axis] for entry in self.queue if axis in entry.values))


def abilities_of(profile: Profile, method: str, config: str | None) -> Abilities:
    """What a method can draft on the engine of a profile, under one of its configurations."""
    found = next((each for each in profile.configs if each.label == config), ServerConfig(""))
    kind = kinds.kind_named(found.engine or profile.engine.kind)
    return kind.abilities_of(method, (*profile.engine.args, *found.args))
