"""How long a profile takes, before anything of it was run: for `specdash plan` and for the screens that offer one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from specdash.analysis.sequential import least_samples
from specdash.analysis.strategy import CURVE, MOST_CONFIRMED, first_samples
from specdash.core.plan import KScope, LoadKey, PlannedLoad, Step
from specdash.core.priors import ZERO, Range, RequestTime, prior_load, prior_request, prior_tokens
from specdash.core.profile import LOSSLESS
from specdash.core.unmeasured_requests import UnmeasuredRequests
from specdash.session.prepare import Prepared


def plan_time(
    prepared: Prepared, scope: KScope | None, loads: Sequence[PlannedLoad], *, is_probed: bool
) -> Range | None:
    """From the plan without what may not be needed to the plan with all of it; None where a size is unknown.

    `is_probed`: loads with a draft are asked who decides K. What a curve confirms may be nothing, a search may end
    after its first samples, and a step as soon as it is precise enough: only the high end has the rest. Ks that join a
    search are in neither, since what they are is measured.
    """
    is_curve = not prepared.profile.queue and prepared.profile.sweep.k == CURVE
    least = _time_of(prepared, scope, loads, is_least=True, is_probed=is_probed)
    all_loads = _with_confirmed(loads, scope) if is_curve else loads
    most = _time_of(prepared, scope, all_loads, is_least=False, is_probed=is_probed)
    return Range(least.low_s, most.high_s) if least is not None and most is not None else None


def _with_confirmed(loads: Sequence[PlannedLoad], scope: KScope | None) -> list[PlannedLoad]:
    """The loads with the Ks that a curve confirms at most: on loads of their own where K is fixed at start-up."""
    found: list[PlannedLoad] = []
    for load in loads:
        more = MOST_CONFIRMED if load.key.draft is not None else 0
        if scope is KScope.STARTUP:
            found += [load] * (1 + more)
        else:
            found.append(replace(load, steps=load.steps * (1 + more)))
    return found


def _time_of(
    prepared: Prepared, scope: KScope | None, loads: Sequence[PlannedLoad], *, is_least: bool, is_probed: bool
) -> Range | None:
    """The time of these loads in all passes, with the fewest samples or the most; None where a size is unknown."""
    profile, total = prepared.profile, ZERO
    measure = profile.measure
    asked = UnmeasuredRequests(prepared.settings, prepared.prompt_bytes)
    for place, load in enumerate(loads, 1):
        size = prepared.size_bytes(load.key)
        if size is None:
            return None
        # The last server of a pass goes on with the next one.
        starts = 1 if place == len(loads) else measure.passes
        first = _request(prepared, asked, load.key, load.steps[0])
        beside = asked.load_time(load.key, first, None, is_probed=is_probed, k_is_fixed=scope is KScope.STARTUP)
        total += (prior_load(size) + beside).times(starts)
        for step in load.steps:
            one = _request(prepared, asked, load.key, step)
            count = _samples(prepared, step, prepared.iterations.get(step.id, measure.iterations), is_least=is_least)
            total += one.whole.times(count) + asked.check_time(step, count, one)
    return total


def _request(prepared: Prepared, asked: UnmeasuredRequests, key: LoadKey, step: Step) -> RequestTime:
    """One sample of a step; the sizes of its models are known."""
    target = prepared.targets[key.target].size_bytes
    draft = prepared.drafts[key.draft].size_bytes if key.draft is not None else 0
    prompt = prior_tokens(asked.mean_bytes(step.category) or 0.0, step.depth)
    return prior_request(target, prepared.profile.measure.max_tokens, prompt, draft, step.k)


def _samples(prepared: Prepared, step: Step, most: int, *, is_least: bool) -> int:
    """The samples of a step in all passes, where one pass takes `most` of them at most."""
    prompts, measure = len(prepared.prompts[step.category]), prepared.profile.measure
    if step.workload == LOSSLESS:
        return prompts  # each text once, whatever the passes
    counted = prepared.most_samples(step)
    most = most if counted is None else min(most, counted)
    at_first = None if prepared.profile.queue else first_samples(prepared.profile.sweep.k, most)
    if is_least and at_first is not None and step.draft is not None:
        most = min(most, at_first)
    if is_least and measure.precision is not None:
        most = min(most, least_samples(prompts))
    return most * measure.passes
