"""What a profile asks of methods without a draft model that these cannot do: Ks, and samples of prompts that came."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

from specdash.config.lines import KeyPath
from specdash.config.problems import Findings
from specdash.config.prompts import load_builtin, load_jsonl
from specdash.core.plan import Step, plan_of, possible
from specdash.core.profile import BUILTIN, Profile, abilities_of
from specdash.core.prompts import Prompt


def warn_of_methods(findings: Findings, profile: Profile) -> None:
    """Files the Ks that are left out of the plan, and the samples that are not taken, each with the reason."""
    if not profile.targets:
        return
    prompts = _prompts(profile)
    plan = plan_of(profile, {}, tuple(prompts) or ("all",))
    wanted = possible(
        plan.steps,
        lambda step: abilities_of(profile, step.method, step.config),
    )
    path: KeyPath = ("queue",) if profile.queue else ("sweep", "k")
    for each in wanted.left_out:
        findings.warn(path, str(each))
    fewer: dict[str, tuple[int, int]] = {}
    for step in wanted.steps:
        most = _most_samples(profile, step, prompts)
        asked = plan.iterations.get(step.id, profile.measure.iterations)
        if most is not None and most < asked:
            fewer.setdefault(step.method, (asked, most))
    for method, (asked, most) in fewer.items():
        what = f"{asked} samples of a step, and {method} remembers what it answered: each prompt counts once"
        todo = f"{most} are taken; give a category {asked} prompts, or set iterations to {most}"
        findings.warn(("queue",) if profile.queue else ("measure", "iterations"), what, todo)


def _most_samples(profile: Profile, step: Step, prompts: Counter[str]) -> int | None:
    """How many samples of a step can count; None for any number, and where its prompts are not known."""
    known = prompts.get(step.category)
    return abilities_of(profile, step.method, step.config).most_samples(known) if known else None


def _prompts(profile: Profile) -> Counter[str]:
    """How many prompts there are of each category that is measured; none where their file is not here or broken."""
    found: Sequence[Prompt] = ()
    if profile.measure.prompts == BUILTIN:
        found = load_builtin()
    elif os.path.isfile(profile.measure.prompts):
        found, problems = load_jsonl(profile.measure.prompts)
        found = () if problems else found
    wanted = profile.measure.categories
    return Counter(prompt.category for prompt in found if isinstance(wanted, str) or prompt.category in wanted)
