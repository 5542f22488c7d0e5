"""Steps and server loads: what is measured, and what has to run for it.

A step is composed: a target, a server setting, a speculation of any number of stages (none: the baseline), a workload
point and a text. `core.axes` lists the axes of each part. A load is the projection of steps on what only a restart of
the server can change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from specdash.core import axes
from specdash.core.axes import AXES, NONE, Part, Scope, Value, Values
from specdash.core.methods import BASELINE, DRAFT, is_ceiling, is_draftless, may_draft_nothing

STAGES = "stages"
"""The key of a speculation in journals, where it has more than one stage."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a speculation: a method, its draft model or head if it has one, K, and its parameters.

    `k` is the most tokens that it drafts for one verification; None where that is not known or left open.
    """

    method: str
    draft: str | None = None
    k: int | None = None
    params: Values = NONE

    def value(self, name: str) -> Any:
        """The value of an axis of stages."""
        if name in ("method", "draft", "k"):
            return getattr(self, name)
        return self.params.get(name, AXES[name].default)

    @property
    def is_plain(self) -> bool:
        """Whether an ordinary draft model drafts."""
        return self.method == DRAFT

    @property
    def is_shortened(self) -> bool:
        """Whether a parameter ends drafts before K."""
        return any(AXES[name].shortens for name in self.params)

    def row(self) -> dict[str, Any]:
        """The stage as results have it: what drafts, and every parameter that its method has."""
        params = {name: self.value(name) for name in axes.PARAMS if AXES[name].is_of(self.method)}
        return {"method": self.method, "draft": self.draft, "n_max": self.k, **params}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to measure. `setting` and `point` hold what is not the default; without stages it is a baseline.

    `copy` tells apart steps that measure the same thing again (1, 2, …) from the first of them (0).
    """

    target: str
    setting: Values = NONE
    speculation: tuple[Stage, ...] = ()
    point: Values = NONE
    category: str = ""
    copy: int = 0

    @classmethod
    def of(cls, target: str, **values: Value) -> Step:
        """The step with these values of axes, with one stage at most; a draft alone is an ordinary draft model."""
        method = values.get("method") or (BASELINE if values.get("draft") is None else DRAFT)
        stage = tuple(values.get(name) for name in axes.STAGE if name != "method")
        return cls(
            target,
            _values(axes.SETTING, tuple(values.get(name) for name in axes.SETTING)),
            _speculation(str(method), stage),
            _values(axes.POINT, tuple(values.get(name, AXES[name].default) for name in axes.POINT)),
            str(values.get("category", "")),
            int(values.get("copy") or 0),
        )

    def with_values(self, **changes: Value) -> Step:
        """The same step with other values of some axes; those of stages belong to the first."""
        stages = self.speculation
        if any(name in changes for name in axes.STAGE):
            first = stages[0] if stages else Stage(BASELINE if changes.get("draft") is None else DRAFT)
            given = tuple(changes.get(name, first.value(name)) for name in axes.STAGE if name != "method")
            made = _speculation(str(changes.get("method", first.method)), given)
            stages = (*made, *stages[1:]) if made else ()
        return Step(
            str(changes.get("target", self.target)),
            _changed(self.setting, axes.SETTING, changes),
            stages,
            _changed(self.point, axes.POINT, changes),
            str(changes.get("category", self.category)),
            int(changes.get("copy", self.copy) or 0),
        )

    def value(self, name: str) -> Any:
        """The value of an axis; of several stages that of the first that has one, and the methods of all."""
        match AXES[name].part:
            case Part.SETTING:
                return self.setting.get(name, AXES[name].default)
            case Part.POINT:
                return self.point.get(name, AXES[name].default)
            case Part.STAGE:
                if name == "method":
                    return self.method
                found = (each.value(name) for each in self.speculation)
                return next((each for each in found if each != AXES[name].default), AXES[name].default)
        return getattr(self, name)

    def values(self) -> dict[str, Any]:
        """The values of all axes by name."""
        return {name: self.value(name) for name in AXES}

    @property
    def method(self) -> str:
        """What drafts: a method of `core.methods`, several joined by "+", or "baseline"."""
        return "+".join(each.method for each in self.speculation) or BASELINE

    @property
    def draft(self) -> str | None:
        """The draft model or head of the first stage that has one."""
        return next((each.draft for each in self.speculation if each.draft is not None), None)

    @property
    def k(self) -> int | None:
        """The draft length that is asked for; None for a baseline."""
        return self.speculation[0].k if self.speculation else None

    @property
    def config(self) -> str | None:
        """The named server configuration."""
        return self.setting.get("config")

    @property
    def workload(self) -> str:
        """What kind of work is asked for."""
        return str(self.value("workload"))

    @property
    def depth(self) -> int:
        """Tokens of context before the prompt."""
        return int(self.point.get("depth", 0))

    @property
    def speculates(self) -> bool:
        """Whether anything drafts."""
        return bool(self.speculation)

    @property
    def is_ceiling(self) -> bool:
        """Whether K is the most that one verification drafts, and fewer is no fault."""
        return any(is_ceiling(each.method) or each.is_shortened for each in self.speculation)

    @property
    def at_full_length(self) -> Step:
        """The same step without the parameters that end drafts before K: what shows whether these can reach K."""
        plain = {axis.name: axis.default for axis in AXES.values() if axis.shortens}
        stages = (replace(each, params=each.params.with_values(**plain)) for each in self.speculation)
        return replace(self, speculation=tuple(stages))

    @property
    def may_draft_nothing(self) -> bool:
        """Whether it is a result that nothing was drafted."""
        return bool(self.speculation) and all(
            may_draft_nothing(each.method) or each.is_shortened for each in self.speculation
        )

    @property
    def drafter(self) -> str | None:
        """What drafts, as it is shown; None for a baseline."""
        if len(self.speculation) < 2:
            return axes.drafter_label(self)
        return " + ".join(str(axes.drafter_label(each)) for each in self.speculation)

    @property
    def id(self) -> str:
        """The step's name in journals and narration; unique within a run, since labels are."""
        stages = self.speculation
        drafts = (stages[0].draft,) if len(stages) == 1 else ()
        parts = [" + ".join(_quoted(label) for label in (self.target, *drafts) if label is not None)]
        parts.append(", ".join(_stage_id(each, with_draft=len(stages) > 1) for each in stages) or BASELINE)
        parts += _variant_id(self.setting, self.point)
        parts.append(_quoted(self.category))
        if self.copy:
            parts.append(AXES["copy"].say(self.copy))
        return " | ".join(parts)

    def key(self, k_startup: int | None) -> LoadKey:
        """The load that this step runs on, if its server is started with `k_startup`."""
        return _load(self.target, self.setting, self.speculation, _projected(self.point, Scope.LOAD), k_startup)

    @property
    def pair(self) -> LoadKey:
        """The step's load with K left open: what a server that takes K per request is started for."""
        return self.key(None)

    def projected(self, scope: Scope) -> Step:
        """What is left of the step if all but the axes of one scope are as if nobody had asked."""
        return Step(
            self.target,
            _projected(self.setting, scope),
            tuple(_stage_projected(each, scope) for each in self.speculation),
            _projected(self.point, scope),
        )

    def baseline(self) -> Step:
        """The baseline that this step is compared with: the same but for what drafts, and no copy."""
        return replace(self, speculation=(), copy=0)

    @property
    def arm(self) -> Step:
        """The step whatever it is asked: without category, workload and copy. Steps with the same do the same work."""
        return replace(self, point=self.point.with_values(workload=""), category="", copy=0)


@dataclass(frozen=True, slots=True)
class LoadKey:
    """Everything that only a restart of the server can change.

    `served` is the projection of the steps that the load serves; `k_startup` is the K that it is started with, None
    without speculation and where K is left open.
    """

    served: Step
    k_startup: int | None = None

    @classmethod
    def of(cls, target: str, k_startup: int | None = None, **values: Value) -> LoadKey:
        """The load of a step with these values of axes."""
        return Step.of(target, **values).key(k_startup)

    def value(self, name: str) -> Any:
        """The value of an axis; that of `k` is the one that it is started with."""
        return self.k_startup if name == "k" else self.served.value(name)

    @property
    def target(self) -> str:
        """The target's label."""
        return self.served.target

    @property
    def draft(self) -> str | None:
        """The draft model or head, if any."""
        return self.served.draft

    @property
    def method(self) -> str:
        """What drafts on this load: a name of `core.methods`, "baseline" for nothing."""
        return self.served.method

    @property
    def config(self) -> str | None:
        """The named server configuration."""
        return self.served.config

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages of the speculation, their Ks left open."""
        return self.served.speculation

    def with_values(self, **changes: Value) -> LoadKey:
        """The same load with other values of some axes; `k` is the one that it is started with."""
        k = changes.pop("k", self.k_startup)
        return self.served.with_values(**changes).key(None if k is None else int(k))

    @property
    def pair(self) -> LoadKey:
        """The load with K left open: loads with the same differ in K."""
        return replace(self, k_startup=None)

    @property
    def baseline(self) -> LoadKey:
        """The load of the baseline."""
        return LoadKey(self.served.baseline())

    @property
    def speculates(self) -> bool:
        """Whether anything drafts on this load."""
        return self.served.speculates

    @property
    def is_plain(self) -> bool:
        """Whether an ordinary draft model drafts, or nothing does."""
        return all(each.is_plain for each in self.stages)

    @property
    def drafter(self) -> str | None:
        """What drafts, as it is shown; None for a baseline."""
        return self.served.drafter

    @property
    def label(self) -> str:
        """The load in a few words, for narration."""
        parts = [self.target if self.draft is None else f"{self.target} + {self.draft}"]
        if not self.is_plain:
            parts.append(" + ".join(axes.method_label(each) for each in self.stages))
        elif self.speculates:
            parts += axes.value_words(self, axes.PARAMS)
        parts += axes.value_words(self, axes.SETTING)
        if self.k_startup is not None:
            parts.append(f"K {self.k_startup}")
        elif not self.speculates:
            parts.append("no draft")
        return ", ".join(parts)


def fixes_k_by_method(step: Step) -> bool:
    """Whether a stage's draft length is a start-up argument of every program: it has no draft model."""
    return any(is_draftless(each.method) for each in step.speculation)


@lru_cache(maxsize=4096)
def _values(names: tuple[str, ...], given: tuple[Value, ...]) -> Values:
    """These values, the same object for the same ones: many steps share them."""
    return Values(dict(zip(names, given, strict=True)))


@lru_cache(maxsize=4096)
def _speculation(method: str, given: tuple[Value, ...]) -> tuple[Stage, ...]:
    """A speculation of one stage, from the values of the axes of stages but the method; () for a baseline."""
    if method == BASELINE:
        return ()
    known = dict(zip((name for name in axes.STAGE if name != "method"), given, strict=True))
    draft, k = known.pop("draft"), known.pop("k")
    return (Stage(method, None if draft is None else str(draft), None if k is None else int(k), Values(known)),)


def _changed(found: Values, names: tuple[str, ...], changes: Mapping[str, Value]) -> Values:
    """The values of one part of a step with those of the changes that belong to it."""
    mine = {name: changes[name] for name in names if name in changes}
    return found.with_values(**mine) if mine else found


@lru_cache(maxsize=4096)
def _projected(found: Values, scope: Scope) -> Values:
    return Values({name: each for name, each in found.items() if AXES[name].scope is scope})


@lru_cache(maxsize=4096)
def _stage_projected(stage: Stage, scope: Scope) -> Stage:
    """A stage without the values of axes of other scopes; it stays a stage of its method."""
    k = stage.k if AXES["k"].scope is scope else None
    return Stage(stage.method, stage.draft, k, _projected(stage.params, scope))


def _quoted(label: str) -> str:
    """A label as a part of a step's name: in quotes where it could be read as several parts."""
    return f'"{label}"' if any(mark in label for mark in ('"', " + ", " | ")) else label


@lru_cache(maxsize=4096)
def _load(target: str, setting: Values, stages: tuple[Stage, ...], point: Values, k_startup: int | None) -> LoadKey:
    """The load of these parts of a step; one that many steps share is made once."""
    return LoadKey(Step(target, setting, stages, point).projected(Scope.LOAD), k_startup)


@lru_cache(maxsize=4096)
def _variant_id(setting: Values, point: Values) -> tuple[str, ...]:
    """The parts of a step's name for what is not the default of its server setting and workload point."""
    given = {**setting, **point}
    return tuple(
        (AXES[name].in_id or AXES[name].words).format(_quoted(given[name]) if AXES[name].in_id else given[name])
        for name in axes.VARIANT
        if name in given
    )


@lru_cache(maxsize=4096)
def _stage_id(stage: Stage, *, with_draft: bool) -> str:
    """A stage as a part of a step's name; its draft is named there where the speculation has several stages."""
    words = [axes.method_label(stage)]
    words += [f'"{stage.draft}"'] if with_draft and stage.draft is not None else []
    words += [AXES["k"].say(stage.k)] if stage.k is not None else []
    return " ".join(words)


def encode_step(step: Step) -> dict[str, Any]:
    """A step as JSON-able values, one for each axis; of several stages each beside them."""
    found = axes.row_of(step, AXES)
    if len(step.speculation) > 1:
        found[STAGES] = [axes.row_of(each, axes.STAGE) for each in step.speculation]
    return found


def step_from(found: Mapping[str, Any]) -> Step:
    """The step that `encode_step` made these values of; their types are as they should be."""
    stages = found.get(STAGES)
    step = Step.of(**{name: each for name, each in found.items() if name != STAGES})
    return replace(step, speculation=_stages_from(stages)) if stages else step


def encode_load(key: LoadKey) -> dict[str, Any]:
    """A load as JSON-able values: `k` is the one that it is started with, `method` "" for ordinary drafts and none."""
    found = axes.row_of(key, (*axes.LOAD, "k"))
    if key.is_plain:
        found["method"] = ""
    if len(key.stages) > 1:
        found[STAGES] = [axes.row_of(each, axes.STAGE) for each in key.stages]
    return found


def load_from(found: Mapping[str, Any]) -> LoadKey:
    """The load that `encode_load` made these values of."""
    step = step_from({**found, "method": found.get("method") or (BASELINE if found.get("draft") is None else DRAFT)})
    return step.key(found.get("k"))


def _stages_from(found: Sequence[Mapping[str, Any]]) -> tuple[Stage, ...]:
    stages = (tuple(each.get(name, AXES[name].default) for name in axes.STAGE if name != "method") for each in found)
    return tuple(one for each, given in zip(found, stages, strict=True) for one in _speculation(each["method"], given))
