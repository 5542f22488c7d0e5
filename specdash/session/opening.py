"""The facts with which a new run begins: what, where, with which program, models and settings."""

from __future__ import annotations

from pathlib import Path

from specdash import __version__
from specdash.analysis.strategy import first_samples
from specdash.core import events as ev
from specdash.core.engine import EngineInfo
from specdash.core.model import ModelFacts
from specdash.core.plan import iterations_of
from specdash.core.profile import LOSSLESS
from specdash.core.status import StepStatus
from specdash.probes.machine import host_name
from specdash.session.fallback import Engines
from specdash.session.prepare import Prepared

NOTHING_WITH = "no step is planned: the profile has neither a draft nor a command for"


def engine_found(info: EngineInfo) -> ev.EngineFound:
    """The fact that names the program."""
    forced = info.k_scope.value if info.k_scope is not None else None
    return ev.EngineFound(info.kind, info.program, info.version, info.dialect, forced, dict(info.untold))


def model_read(label: str, role: str, facts: ModelFacts) -> ev.ModelRead:
    """The fact that tells what a model's header says."""
    return ev.ModelRead(
        label,
        role,
        str(facts.path),
        facts.size_bytes,
        facts.architecture,
        facts.quantisation,
        facts.model_class,
        facts.synthetic,
        facts.bytes_per_token,
        facts.expert_bytes,
        facts.expert_count,
        facts.expert_used_count,
    )


def _samples_of(prepared: Prepared) -> dict[str, int]:
    """How many samples steps take at first, by step id, where it is not the number of the profile.

    A text is compared once for each prompt; a search, which is about draft models, begins with few samples and spends
    the others where it matters. A method that remembers takes one of each prompt at most.
    """
    profile = prepared.profile
    counts = iterations_of(profile, list(prepared.prompts))
    at_first = first_samples(profile.sweep.k if not profile.queue else None, profile.measure.iterations)
    for step in prepared.steps:
        if step.workload == LOSSLESS:
            counts[step.id] = len(prepared.prompts[step.category])
        elif at_first is not None and step.draft is not None:
            counts[step.id] = at_first
        most = prepared.most_samples(step)
        if most is not None and most < counts.get(step.id, profile.measure.iterations):
            counts[step.id] = most
    return counts | {new: counts[old] for new, old in prepared.was.items() if old in counts}


def opening_facts(
    path: Path, prepared: Prepared, engines: Engines, facts: dict[str, object], hardware: str
) -> list[ev.Fact]:
    """The facts with which a new run begins."""
    profile = prepared.profile
    opening: list[ev.Fact] = [
        ev.RunStarted(
            run_id=path.name,
            name=profile.name,
            specdash_version=__version__,
            hardware={**facts, "label": hardware},
            host=host_name(),
            settings=prepared.settings,
            prompts_digest=prepared.prompts_digest,
            steps=prepared.steps,
            model_family=profile.model_family,
            iterations=_samples_of(prepared),
            prompts=dict(prepared.prompt_bytes),
        ),
        engine_found(engines.main.info),
    ]
    for role, models in (("target", prepared.targets), ("draft", prepared.drafts)):
        opening += [model_read(label, role, model) for label, model in models.items()]
    for step in prepared.steps:
        if not prepared.usable(step):
            reason = prepared.unfit[step.target, step.draft or ""]
            opening.append(ev.StepFinished(step.id, None, StepStatus.SKIPPED, ("draft_unfit",), reason))
        elif (lacking := engines.cannot(step, vision=prepared.has_vision(step.target))) is not None:
            opening.append(ev.StepFinished(step.id, None, StepStatus.SKIPPED, (), lacking))
    opening += [ev.Noted("warning", f"{NOTHING_WITH} {method}") for method in prepared.unserved]
    opening += [ev.Noted("warning", str(each)) for each in prepared.left_out]
    opening += [ev.Noted("warning", line) for line in prepared.fewer_samples]
    if any(model.synthetic for model in prepared.targets.values()):
        opening.append(ev.Noted("warning", "the weights are synthetic: the text means nothing, the timings are real"))
    return opening
