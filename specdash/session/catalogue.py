"""What a run can measure: its models, configurations and prompts, and what edits of the queue may add to them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from specdash.config.discover import read_any
from specdash.core import commands as cmd
from specdash.core import events as ev
from specdash.core.model import ModelFacts, vocabulary_conflict
from specdash.core.plan import Step
from specdash.core.queue import IllegalEdit
from specdash.core.state import RunState
from specdash.core.step_state import StepState
from specdash.errors import SpecdashError
from specdash.session.fallback import Engines
from specdash.session.prepare import Prepared, expert_problem
from specdash.session.run_header import model_read

FILLER_TOKENS = 10_000  # of context that a run can put before a prompt, whatever its profile asks for


class Catalogue:
    """The models of a run, by label; `prepared` grows when steps with other models are added."""

    def __init__(self, prepared: Prepared, engines: Engines) -> None:
        self.prepared = prepared
        self._engines = engines

    def restore(self, view: RunState) -> None:
        """Takes in the models that steps of this run were added with; EngineError for one that is gone."""
        for found in view.steps.values():
            for role, label in (("target", found.step.target), ("draft", found.step.draft)):
                is_known = label in self._models(role) or label in self.prepared.refs
                if label is not None and not is_known:
                    self._take(role, label, read_any(Path(view.models[label].path)))

    async def admit(self, edits: Iterable[cmd.Edit], steps: Mapping[str, StepState]) -> list[ev.ModelRead]:
        """Checks that what these edits ask for can be measured, and takes in new models; the facts to record of them.

        `steps` are those of the queue. Raises IllegalEdit with the reason; nothing is taken in then. One at a time.
        """
        before = self.prepared
        facts: list[ev.ModelRead] = []
        try:
            for edit in edits:
                if isinstance(edit, cmd.Add):
                    for model in edit.models:
                        facts += await self._read(model)
                    for step in edit.steps:
                        self._require(step)
                        self._require_prompts(step, edit.iterations)
                elif isinstance(edit, cmd.SetIterations):
                    for found in (steps[each].step for each in edit.steps if each in steps):
                        self._require_prompts(found, edit.iterations)
        except IllegalEdit:
            self.prepared = before
            raise
        return facts

    def _models(self, role: str) -> Mapping[str, ModelFacts]:
        return self.prepared.targets if role == "target" else self.prepared.drafts

    async def _read(self, model: cmd.NewModel) -> list[ev.ModelRead]:
        path = _whole(model.path)
        known = self._models("target").get(model.label) or self._models("draft").get(model.label)
        if known is not None and known.path != path:
            raise IllegalEdit(f"{model.label}: another model of this run has that label: {known.path}")
        if model.label in self._models(model.role):
            return []
        try:
            facts = await asyncio.to_thread(read_any, path)
        except SpecdashError as error:
            raise IllegalEdit(error.what) from error
        self._take(model.role, model.label, facts)
        return [model_read(model.label, model.role, facts)]

    def _take(self, role: str, label: str, facts: ModelFacts) -> None:
        models = {**self._models(role), label: facts}
        self.prepared = (
            replace(self.prepared, targets=models) if role == "target" else replace(self.prepared, drafts=models)
        )

    def _require(self, step: Step) -> None:
        """Raises IllegalEdit for a step that this run cannot measure, with what there is instead."""
        prepared = self.prepared
        target = _known(prepared, step.target, "target")
        draft = _known(prepared, step.draft, "draft") if step.draft is not None else None
        configs = [config.label for config in prepared.profile.configs]
        if step.config is not None and step.config not in configs:
            raise IllegalEdit(f"{step.config}: no config of this run; there is {', '.join(configs) or 'none'}")
        if step.config is None and any(not config.engine for config in prepared.profile.configs):
            raise IllegalEdit(f"a config is needed: {', '.join(configs)}")
        if step.category not in prepared.prompts:
            raise IllegalEdit(f"{step.category}: no prompts of that category; there is {', '.join(prepared.prompts)}")
        if step.workload not in prepared.profile.measure.workloads:
            raise IllegalEdit(f"{step.workload}: no workload of this run")
        if (problem := expert_problem(step, target)) is not None:
            raise IllegalEdit(problem)
        if target is not None and draft is not None and (conflict := vocabulary_conflict(target, draft)) is not None:
            raise IllegalEdit(f"{step.draft} cannot draft for {step.target}: {conflict}")
        self._require_room(step)
        reason = prepared.abilities(step).why_not(step.k, step) if step.k is not None else None
        if reason is not None:
            raise IllegalEdit(f"K={step.k}: {step.method} {reason}")
        if (lacking := self._engines.unsupported_reason(step, vision=prepared.has_vision(step.target))) is not None:
            raise IllegalEdit(lacking)

    def _require_prompts(self, step: Step, iterations: int | None) -> None:
        """Raises IllegalEdit for more samples of a step than can count, as its server remembers what it answered."""
        most = self.prepared.most_samples(step) if step.category in self.prepared.prompts else None
        if most is not None and iterations is not None and iterations > most:
            raise IllegalEdit(
                f"{iterations} samples, but {step.method} remembers what it answered: {step.category} gives {most}"
            )

    def _require_room(self, step: Step) -> None:
        """Raises IllegalEdit for a K or a depth that no answer or no context of this run has room for."""
        profile = self.prepared.profile
        if step.k is not None and step.k > profile.measure.max_tokens:
            raise IllegalEdit(f"K={step.k}: answers of {profile.measure.max_tokens} tokens have no room for it")
        if step.depth > max(FILLER_TOKENS, *profile.depths):
            raise IllegalEdit(f"depth {step.depth}: this run has text for {max(FILLER_TOKENS, *profile.depths)} tokens")


def _whole(path: str) -> Path:
    """The path with ~ expanded; IllegalEdit for one that means another file in another working folder."""
    whole = Path(path).expanduser()
    if not whole.is_absolute():
        raise IllegalEdit(f"{path}: give the whole path, since the run's engine is in a folder of its own")
    return whole


def _known(prepared: Prepared, label: str, role: str) -> ModelFacts | None:
    """The header of a model of this run, None where its server alone has it; IllegalEdit for no model of the run."""
    models = prepared.targets if role == "target" else prepared.drafts
    refs = prepared.profile.targets if role == "target" else prepared.profile.drafts
    if label not in models and all(ref.label != label for ref in refs):
        names = dict.fromkeys((*models, *(ref.label for ref in refs)))
        raise IllegalEdit(f"{label}: no {role} of this run; there is {', '.join(names) or 'none'}")
    return models.get(label)
