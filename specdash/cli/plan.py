"""`specdash plan`: what a profile would do, in order, and what it would cost; nothing is started."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from specdash.analysis.strategy import CURVE, MOST_CONFIRMED, SEARCH, first_samples
from specdash.cli import command_parser
from specdash.config.load import check_profile
from specdash.core.engine_kinds import KINDS
from specdash.core.plan import KScope, PlannedLoad, k_values
from specdash.core.priors import Range
from specdash.core.profile import LOSSLESS
from specdash.core.step import encode_load, encode_step
from specdash.core.text import human_bytes, human_seconds, plain, plural
from specdash.errors import Exit, Problem, ProfileError
from specdash.session.plan_time import plan_time
from specdash.session.prepare import Prepared, only_possible, prepare
from specdash.session.run_header import NOTHING_WITH


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what this command takes."""
    parser.add_argument("profile", metavar="PROFILE")
    parser.add_argument("--steps", action="store_true", help="list every step, not only the loads")
    parser.add_argument("--json", action="store_true", help="the plan as JSON")


def main(name: str, arguments: list[str]) -> Exit:
    """Prints loads, steps and forecasts of a profile, also of one whose models are elsewhere."""
    parser = command_parser(name)
    options = parser.parse_args(arguments)
    found = check_profile(Path(options.profile))
    if found.profile is None or found.problems:
        raise ProfileError(found.problems)
    prepared = only_possible(prepare(found.profile))
    plans = {scope: prepared.loads(scope) for scope in _scopes(prepared)}
    # A file that is not there is reported by both; the check names its neighbours too, so it goes first.
    by_place = {(problem.line, problem.key): problem for problem in (*prepared.problems, *found.missing)}
    missing = sorted(by_place.values(), key=lambda problem: problem.line or 0)
    if options.json:
        print(json.dumps(_as_json(prepared, plans, missing), indent=2))
    else:
        for line in _lines(prepared, plans, missing, list_steps=options.steps):
            print(plain(line))
    return Exit.OK


def _scopes(prepared: Prepared) -> list[KScope]:
    """The scopes of K to plan for: the one that is settled, else both, since only a probe tells; one if both agree."""
    forced = prepared.profile.engine.k_scope
    if forced != "auto":
        return [KScope(forced)]
    settled = KINDS[prepared.profile.engine.kind].k_scope
    if settled is not None:
        return [settled]
    drafted = any(step.draft is not None for step in prepared.steps)
    return [KScope.REQUEST, KScope.STARTUP] if drafted else [KScope.STARTUP]


def _time(prepared: Prepared, scope: KScope, loads: Sequence[PlannedLoad]) -> Range | None:
    """How long these loads take."""
    engine = prepared.profile.engine
    is_probed = engine.k_scope == "auto" and KINDS[engine.kind].k_scope is None
    return plan_time(prepared, scope, loads, is_probed=is_probed)


def _largest(prepared: Prepared, loads: Sequence[PlannedLoad]) -> int | None:
    """Bytes of model files of the largest load; None when any is unknown."""
    sizes = [prepared.size_bytes(load.key) for load in loads]
    known = [size for size in sizes if size is not None]
    return max(known) if known and len(known) == len(sizes) else None


def _lines(
    prepared: Prepared, plans: dict[KScope, tuple[PlannedLoad, ...]], missing: list[Problem], *, list_steps: bool
) -> list[str]:
    usable = [step for step in prepared.steps if prepared.usable(step)]
    categories = len(prepared.prompts)
    measure = prepared.profile.measure
    lines = [
        f"{prepared.profile.name}: {len(usable)} steps in "
        f"{plural(categories, 'prompt category', 'prompt categories')}, {measure.iterations} samples each "
        f"of up to {measure.max_tokens} tokens",
        "",
    ]
    for scope, loads in plans.items():
        title = {
            KScope.REQUEST: "Where the server takes K per request",
            KScope.CAPPED: "K per request, up to the start-up value",
            KScope.STARTUP: "Where the server fixes K at start-up",
        }[scope]
        lines.append(f"{title}: {_count_of_loads(prepared, scope, loads)}")
        for number, load in enumerate(loads, 1):
            ks = sorted({step.k for step in load.steps if step.k is not None})
            label = load.key.pair.label if ks else load.key.label
            of_k = f", K = {', '.join(map(str, ks))}" if ks else ""
            count = len(load.steps)
            lines.append(f"  {number:>3}. {label}{of_k}  ({plural(count, 'step')})")
            if list_steps:
                lines += [f"         {step.id}" for step in load.steps]
        time = _time(prepared, scope, loads)
        if time is None:
            lines.append(f"  time: unknown, since {_unknown_models(prepared)}")
        else:
            lines.append(f"  time: {human_seconds(time.low_s)} to {human_seconds(time.high_s)}, before any measurement")
        lines.append("")
    if len(plans) > 1:
        lines.append("Which of the two it is, is found out by a probe on the first load with a draft.")
    lines += _stages(prepared)
    lines.append(f"A tool that starts a server for every step would need {_step_by_step(prepared)} loads.")
    lines.append(_memory_line(prepared, next(iter(plans.values()))))
    lines += _gaps(prepared, missing)
    return lines


def _most_loads(prepared: Prepared, scope: KScope, loads: Sequence[PlannedLoad]) -> int | None:
    """How many loads it can become; None where that depends on what is measured."""
    sweep, passes = prepared.profile.sweep, prepared.profile.measure.passes
    if prepared.profile.queue or sweep.k not in (CURVE, SEARCH):
        return _in_passes(len(loads), passes)
    if scope is not KScope.STARTUP:
        return _in_passes(len(loads), passes) if sweep.k == CURVE else None
    pairs = {load.key for load in loads if load.key.draft is not None}
    return _in_passes(len(loads) + MOST_CONFIRMED * len(pairs), passes) if sweep.k == CURVE else None


def _step_by_step(prepared: Prepared) -> int:
    """The loads of a tool that starts a server for every step; where ours predicts Ks, it tries those of the class.

    Every pass takes them anew; texts are compared once.
    """
    usable = [step for step in prepared.steps if prepared.usable(step)]
    passes = prepared.profile.measure.passes
    times = {step: 1 if step.workload == LOSSLESS else passes for step in usable}
    if prepared.profile.queue or prepared.profile.sweep.k != CURVE:
        return sum(times.values())
    auto = replace(prepared.profile, sweep=replace(prepared.profile.sweep, k="auto"))
    declared = {target.label: target.model_class for target in prepared.profile.targets}
    tried = {label: len(k_values(auto, prepared.targets.get(label), declared[label])) for label in declared}
    return sum(times[step] * (1 if step.draft is None else tried[step.target]) for step in usable)


def _in_passes(loads: int, passes: int) -> int:
    """The loads of all passes: the last server of one is the first of the next, and goes on."""
    return passes * loads - (passes - 1) if loads else 0


def _count_of_loads(prepared: Prepared, scope: KScope, loads: Sequence[PlannedLoad]) -> str:
    most = _most_loads(prepared, scope, loads)
    if most is None:
        return f"{len(loads)} loads in the first round"
    return f"{len(loads)} loads" if most == len(loads) else f"{len(loads)} loads at first, {most} at most"


def _stages(prepared: Prepared) -> list[str]:
    """What the plan does later, depending on what it finds."""
    measure, mode = prepared.profile.measure, None if prepared.profile.queue else prepared.profile.sweep.k
    if all(step.draft is None for step in prepared.steps):
        mode = None  # curves and searches are about draft models
    lines = []
    if mode == CURVE:
        lines.append(
            f"K = curve: from the load at the largest K every smaller one is predicted; the best {MOST_CONFIRMED} at"
            " most are then measured, each pair in its turn."
        )
    if mode == SEARCH:
        at_first = first_samples(mode, measure.iterations)
        lines.append(
            f"K = search: {at_first} samples for each K at first, up to {measure.iterations} where two cannot be told"
            " apart; Ks between the best ones join."
        )
    if measure.precision is not None:
        lines.append(f"A step ends as soon as its tok/s is known to ± {measure.precision * 100:g} %.")
    if measure.passes > 1:
        lines.append("The loads are run once more in mirrored order, with as many samples again.")
    return lines


def _unknown_models(prepared: Prepared) -> str:
    """Why the size of a load is not known."""
    refs = (*prepared.profile.targets, *prepared.profile.drafts)
    if any(ref.path is None for ref in refs):
        return "the models are their server's own"
    return "not all models are here"


def _memory_line(prepared: Prepared, loads: Sequence[PlannedLoad]) -> str:
    from specdash.probes.memory import system_memory

    largest = _largest(prepared, loads)
    available = human_bytes(system_memory().available_bytes)
    if largest is None:
        return f"Memory: unknown, since {_unknown_models(prepared)}; {available} are available."
    return f"Memory: the largest load reads {human_bytes(largest)} of model files; {available} are available."


def _gaps(prepared: Prepared, missing: list[Problem]) -> list[str]:
    """What will be skipped, what is assumed, and what is not here."""
    lines = [
        f'K = "auto" takes {target.label}, whose file is not here, for small and dense; class = ... says what it is.'
        for target in prepared.profile.targets
        if prepared.profile.sweep.k == "auto" and target.model_class == "auto" and target.label not in prepared.targets
    ]
    lines += [f"{NOTHING_WITH} {method}" for method in prepared.unserved]
    lines += [str(each) for each in prepared.left_out]
    lines += prepared.fewer_samples
    if prepared.unfit:
        lines += ["", "Skipped, since the draft cannot serve the target:"]
        lines += [f"  {target} + {draft}: {reason}" for (target, draft), reason in prepared.unfit.items()]
    if missing:
        lines += ["", "Missing on this machine:"]
        lines += [f"  {problem}" for problem in missing]
    return lines


def _as_json(
    prepared: Prepared, plans: dict[KScope, tuple[PlannedLoad, ...]], missing: list[Problem]
) -> dict[str, Any]:
    usable = [step for step in prepared.steps if prepared.usable(step)]
    return {
        "name": prepared.profile.name,
        "steps": [{"id": step.id, **encode_step(step)} for step in usable],
        "plans": {
            scope.value: {
                "loads": [
                    {"key": encode_load(load.key), "label": load.key.label, "steps": [step.id for step in load.steps]}
                    for load in loads
                ],
                "n_loads": len(loads),
                "most_loads": _most_loads(prepared, scope, loads),
                "time_s": asdict(time) if (time := _time(prepared, scope, loads)) is not None else None,
                "largest_bytes": _largest(prepared, loads),
            }
            for scope, loads in plans.items()
        },
        "step_by_step_loads": _step_by_step(prepared),
        "skipped": [
            {"target": target, "draft": draft, "reason": reason} for (target, draft), reason in prepared.unfit.items()
        ],
        "left_out": [asdict(each) for each in prepared.left_out],
        "fewer_samples": list(prepared.fewer_samples),
        "missing": [asdict(problem) for problem in missing],
    }
