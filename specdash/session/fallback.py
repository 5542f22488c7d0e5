"""Steps that the profile's engine cannot serve, and another one can: they are measured by that one.

They go under a configuration of their own, which names the engine, together with a baseline: a rate of one engine is
never compared with a rate of another, whose definition of decoding may differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from specdash.core.axes import AXES
from specdash.core.engine import UNKNOWN, Engine, EngineInfo
from specdash.core.engine_kinds import kind_named
from specdash.core.events import EngineFound
from specdash.core.plan import LoadKey, Step
from specdash.core.profile import ServerConfig
from specdash.session.prepare import Prepared


@dataclass(frozen=True, slots=True)
class Engines:
    """The engine of a run, and the one that steps fall back to; `labels` are the configurations of the latter.

    `recorded` is what a resumed run knows of its engine.
    """

    main: Engine
    other: Engine | None = None
    labels: frozenset[str] = frozenset()
    recorded: EngineFound | None = None

    def of(self, key: LoadKey) -> Engine:
        """The engine that serves a load."""
        return self.other if self.other is not None and key.config in self.labels else self.main

    def info(self, key: LoadKey) -> EngineInfo:
        """What is known of the engine of a load."""
        engine = self.of(key)
        return self.main_info if engine is self.main else engine.info

    @property
    def main_info(self) -> EngineInfo:
        """What is known of the run's own engine.

        A server that does not answer now, or did not then, has no version; unknown is not changed.
        """
        found, recorded = self.main.info, self.recorded
        if recorded is None or recorded.kind != found.kind or UNKNOWN not in (found.version, recorded.version):
            return found
        return replace(found, version=recorded.version, dialect=recorded.dialect)

    def unsupported_reason(self, step: Step, *, vision: bool) -> str | None:
        """Why a step cannot be measured."""
        return step_unsupported_reason(self.of(step.pair), step, vision=vision)


def step_unsupported_reason(engine: Engine, step: Step, *, vision: bool) -> str | None:
    """Why an engine cannot serve a step: by its kind, or by what it knows of its program; None where it can."""
    kind = kind_named(engine.info.kind)
    given = ((stage, AXES[name]) for stage in step.speculation for name in stage.params)
    problems = (kind.problem_with(axis, stage.method) for stage, axis in given)
    known = next((problem for problem in problems if problem is not None), None)
    return known or engine.unsupported_reason(step.pair, vision=vision)


def with_fallback(
    prepared: Prepared, main: Engine, find_other: Callable[[], Engine | None]
) -> tuple[Prepared, Engines, tuple[str, ...]]:
    """The plan with the steps that `main` cannot serve given to another engine, and what to tell the user of it.

    `find_other` is asked only if there is such a step. What neither can serve stays, to be skipped with its reason.
    """
    reasons = {
        step: reason
        for step in prepared.steps
        if prepared.usable(step)
        and (reason := step_unsupported_reason(main, step, vision=prepared.has_vision(step.target))) is not None
    }
    other = find_other() if reasons else None
    if other is None:
        return prepared, Engines(main), ()
    served = {
        step: reason
        for step, reason in reasons.items()
        if step_unsupported_reason(other, step, vision=prepared.has_vision(step.target)) is None
    }
    if not served:
        return prepared, Engines(main), ()
    labels = _labels(prepared, {step.config for step in served}, other.info.kind)
    planned = set(prepared.steps)
    steps: list[Step] = []
    was: dict[str, str] = {}
    for step in prepared.steps:
        if step not in served:
            steps.append(step)
            continue
        moved = step.with_values(config=labels[step.config])
        if step.baseline() in planned:
            steps.append(moved.baseline())
            was[moved.baseline().id] = step.baseline().id
        steps.append(moved)
        was[moved.id] = step.id
    profile = prepared.profile
    known = {config.label: config for config in profile.configs}
    added = tuple(
        replace(known.get(of or "", ServerConfig("")), label=label, engine=other.info.kind)
        for of, label in labels.items()
    )
    changed = replace(
        prepared,
        profile=replace(profile, configs=(*profile.configs, *added)),
        steps=tuple(dict.fromkeys(steps)),
        was=was,
    )
    notes = tuple(
        f"measured by {other.info.kind}, with a baseline of its own, as configuration {label!r}: {reason}"
        for (reason, label) in dict.fromkeys((reason, labels[step.config]) for step, reason in served.items())
    )
    return changed, Engines(main, other, frozenset(labels.values())), notes


def _labels(prepared: Prepared, configs: set[str | None], kind: str) -> Mapping[str | None, str]:
    """A new configuration for each that loses steps, under a name that no other has."""
    taken = {config.label for config in prepared.profile.configs}
    labels: dict[str | None, str] = {}
    for config in sorted(configs, key=lambda each: each or ""):
        wanted = kind if config is None else f"{config}, {kind}"
        labels[config] = next(
            name for name in (wanted, *(f"{wanted} {number}" for number in range(2, 99))) if name not in taken
        )
        taken.add(labels[config])
    return labels
