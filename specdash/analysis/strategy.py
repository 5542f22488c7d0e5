"""What to measure next, where that depends on what was measured: K curves, searches, and passes.

Each function looks at a view and gives the next change of its plan, or None. A change is a stage with a reason and
edits of the queue; it becomes a fact, so a resumed run knows which stages were begun, and no stage is begun twice.
Pure: whoever calls it records the change, and calls again until there is none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from specdash.analysis import k_search, kcurve
from specdash.analysis.pass_drift import SECOND_PASS
from specdash.analysis.speedups import Question, keyed_rates
from specdash.core import commands as cmd
from specdash.core.events import PlanChanged
from specdash.core.measure import Verdict
from specdash.core.methods import BASELINE
from specdash.core.model import k_max, k_range
from specdash.core.newest_values import of_newest
from specdash.core.plan import LoadKey, Step
from specdash.core.profile import LOSSLESS
from specdash.core.queue import load_key
from specdash.core.state import RunState
from specdash.core.status import StepStatus
from specdash.core.step_state import StepState

CURVE, SEARCH = "curve", "search"
CONFIRM, ROUND, FOUND = "confirm", "search", "found"
MOST_CONFIRMED = 2
FALLBACK_KS = (4, 8)
DEFAULT_PRECISION = 0.02
LEAST_SEARCHED = 2


@dataclass(frozen=True, slots=True)
class Change:
    """A stage of the plan that begins now, why, and the edits of the queue that it takes."""

    stage: str
    reason: str
    edits: tuple[cmd.Edit, ...] = ()


def next_change(view: RunState, pairs: Collection[LoadKey] | None = None) -> Change | None:
    """The next change that follows from what is known; None while samples are being taken or nothing is left to do.

    `pairs`: those in which something has changed since none followed the last time; None looks at all.
    """
    if view.run is None or view.finished is not None or view.stopping:
        return None
    mode = view.settings.k
    change: Change | None = None
    if mode == CURVE:
        change = _first(_confirm(view, pair, steps) for pair, steps in _settled(view, pairs))
    elif mode == SEARCH:
        change = _first(_search(view, pair, steps) for pair, steps in _settled(view, pairs))
    return change or _second_pass(view)


def is_unfinished(view: RunState) -> bool:
    """Whether a run that has ended has work left: open steps, or a stage of its plan that was not begun."""
    if view.table.first_open is not None:
        return True
    return next_change(replace(view, finished=None, stopping=False)) is not None


def first_samples(mode: object, iterations: int) -> int | None:
    """How many samples a step with a draft takes in the first round of a search; None in any other mode."""
    return k_search.next_samples(0, iterations) if mode == SEARCH else None


def _first(changes: Iterable[Change | None]) -> Change | None:
    return next((change for change in changes if change is not None), None)


@of_newest
def _stages_of(replans: tuple[PlanChanged, ...]) -> frozenset[str]:
    return frozenset(change.stage for change in replans)


def _stages(view: RunState) -> Collection[str]:
    """The stages of the plan that were begun."""
    return _stages_of(view.replans)


def _settled(view: RunState, pairs: Collection[LoadKey] | None) -> Iterator[tuple[LoadKey, list[StepState]]]:
    """Those of the pairs whose steps all have an outcome, with those of their steps that measure content.

    Pairs of which nothing can be learned by going on are left out: all failed, or nothing was drafted.
    """
    table = view.table
    for pair in table.pairs(pairs):
        if pair.draft is None:
            continue
        steps = list(table.of_pair(pair))
        if all(found.is_done for found in steps) and any(_is_telling(found) for found in steps):
            yield pair, [found for found in steps if found.step.workload != LOSSLESS]


def _is_telling(found: StepState) -> bool:
    """Whether a finished step says that its pair can be measured, at this K or, where it is not obeyed, at others."""
    return found.status == StepStatus.OK or Verdict.K_NOT_EFFECTIVE.value in found.verdicts


# -- curves -----------------------------------------------------------------------------------------------------------


def _confirm(view: RunState, pair: LoadKey, steps: Sequence[StepState]) -> Change | None:
    """Adds the Ks that the curve of a pair says are best: two at most, since each may take a load of its own."""
    stage = f"{CONFIRM} {pair.label}"
    if stage in _stages(view) or not steps:
        return None
    known = {found.step.k for found in steps if found.step.k is not None}
    curves = [
        curve
        for depth in dict.fromkeys(found.step.depth for found in steps)
        if (curve := kcurve.curve_of(view, pair, depth)) is not None
    ]
    ranked = [kcurve.confirmations(curve, known, MOST_CONFIRMED) for curve in curves]
    # With several depths, the best of each goes before any runner-up.
    in_turn = (found[place] for place in range(MOST_CONFIRMED) for found in ranked if place < len(found))
    ks = list(dict.fromkeys(in_turn))[:MOST_CONFIRMED]
    best = next((curve for curve in curves if curve.best_k is not None), None)
    if best is None:
        unseen = f"of {pair.method} none is known to hold" if not pair.is_plain else "no verification steps were seen"
        why = next((curve.reason for curve in curves if curve.reason), unseen)
        ks = [k for k in FALLBACK_KS if k not in known and k < max(known, default=0)]
        reason = f"{pair.label}: no curve can be predicted ({why}); measuring {_ks(ks)} instead"
    elif ks:
        reason = f"{pair.label}: the best K is predicted to be {best.best_k}; confirming {_ks(ks)}"
    else:
        reason = f"{pair.label}: the best K is predicted to be {best.best_k}, which is measured"
    return Change(stage, reason, _added(view, steps, ks))


def _ks(ks: Sequence[int]) -> str:
    return " and ".join(f"K = {k}" for k in ks) or "nothing"


def _added(
    view: RunState, steps: Sequence[StepState], ks: Sequence[int], iterations: int | None = None
) -> tuple[cmd.Edit, ...]:
    """Steps like those of a pair at its largest K, with these Ks, before whatever comes next for another server.

    They take `iterations` samples, where given, else as many as those at the largest K. What the user skipped there is
    skipped here.
    """
    if not ks or not steps:
        return ()
    pair = steps[0].step.pair
    alike = [found for found in view.table.of_pair(pair) if found.step.method != BASELINE]
    largest = max(found.step.k or 0 for found in alike)
    before = next((found.step.id for found in view.table.with_status((StepStatus.OPEN,))), None)
    fresh: dict[int | None, list[Step]] = {}
    for k in ks:
        for found in alike:
            step = found.step.with_values(k=k)
            if found.step.k != largest or found.step.copy or found.by_user or step.id in view.steps:
                continue
            own = iterations is None or step.workload == LOSSLESS
            fresh.setdefault(found.iterations if own else iterations, []).append(step)
    return tuple(cmd.Add(tuple(added), before=before, iterations=count) for count, added in fresh.items())


# -- search -----------------------------------------------------------------------------------------------------------


def k_samples_of(steps: Iterable[StepState]) -> list[k_search.KSamples]:
    """The Ks of a pair as arms of a race, each with the decode rates of its valid samples."""
    rates: dict[int, list[tuple[Question, float]]] = {}
    for found in steps:
        if found.status != StepStatus.OK or found.step.k is None:
            continue
        category = f"{found.step.category} at depth {found.step.depth}" if found.step.depth else found.step.category
        known = rates.setdefault(found.step.k, [])
        known += [((category, prompt_id, block), rate) for (_, prompt_id, block), rate in keyed_rates([found])]
    return [k_search.KSamples(k, tuple(found)) for k, found in sorted(rates.items())]


def _search(view: RunState, pair: LoadKey, steps: Sequence[StepState]) -> Change | None:
    """The next round of a search: Ks beside those that may be the best, then more samples for those furthest behind."""
    done = f"{FOUND} {pair.label}"
    if done in _stages(view) or not steps:
        return None
    most, precision = view.settings.iterations or 1, view.settings.precision or DEFAULT_PRECISION
    arms = k_samples_of(steps)
    now = k_search.standing(arms, precision, k_search.rounds(most))
    if now.best is None:
        return Change(done, f"{pair.label}: {now.reason}")
    if most < LEAST_SEARCHED:
        return Change(done, f"{pair.label}: one sample decides nothing, so no other K is tried: raise iterations")
    stage = f"{ROUND} {pair.label} round {_rounds(view, pair) + 2}"
    good = [found for found in steps if found.status == StepStatus.OK]
    # What was allowed, not what came out: a prompt that never gives a valid sample must not be asked for ever.
    taken = {k: min(view.iterations(found.step.id) or 0 for found in good if found.step.k == k) for k in now.racing}
    behind = {k: count for k, count in taken.items() if k_search.next_samples(count, most) > 0}
    if behind:
        least = min(behind.values())
        ks = [k for k in behind if behind[k] == least]
        count = least + k_search.next_samples(least, most)
        short = tuple(
            found.step.id for found in good if found.step.k in ks and (view.iterations(found.step.id) or 0) < count
        )
        edits: tuple[cmd.Edit, ...] = (cmd.SetIterations(short, count),)
        return Change(stage, f"{pair.label}: {now.reason}; {count} samples for {_ks(ks)}", edits)
    new = k_search.refine(arms, now, _largest(view, pair), precision)
    edits = _added(view, steps, new, k_search.next_samples(0, most))
    if edits:
        return Change(stage, f"{pair.label}: {now.reason}; {_ks(new)} may be better still", edits)
    used_up = "" if now.settled else "; all samples are used"
    return Change(done, f"{pair.label}: {now.reason}{used_up}")


def _rounds(view: RunState, pair: LoadKey) -> int:
    """How many rounds of a pair's search were begun after the first."""
    return sum(stage.startswith(f"{ROUND} {pair.label} round ") for stage in _stages(view))


def _largest(view: RunState, pair: LoadKey) -> int:
    """The largest K that a search may go to: that of the curve of such a model."""
    model = view.models.get(pair.target)
    tried = view.table.largest_k(pair) or 0
    try:
        return max(tried, k_max(model.model_class)) if model is not None else tried
    except ValueError:
        return max(tried, *k_range("dense-small"))


# -- passes -----------------------------------------------------------------------------------------------------------


def _second_pass(view: RunState) -> Change | None:
    """Once nothing is open: the loads once more, in mirrored order, so that the baselines stand at both ends.

    The last server goes on with its own steps at once: starting it again would only cost a load.
    """
    if view.settings.passes != 2 or SECOND_PASS in _stages(view):
        return None
    if view.table.first_open is not None:
        return None
    again = [found for found in view.table.with_status(("ok",)) if found.step.workload != LOSSLESS]
    if not again:
        return None
    blocks = {found.step.id: 1 + max(sample.block for sample in found.good) for found in again}
    begins = max(blocks.values())  # for all alike, see `anchors.second_pass`
    counts: dict[int, list[str]] = {}
    for step_id, taken in blocks.items():
        counts.setdefault(begins + taken, []).append(step_id)
    edits: list[cmd.Edit] = [cmd.SetIterations(tuple(ids), count) for count, ids in counts.items()]
    edits.append(cmd.Move(tuple(_mirrored(again, view))))
    reason = f"the loads once more in mirrored order: {len(again)} steps"
    return Change(SECOND_PASS, reason, tuple(edits))


def _mirrored(steps: Sequence[StepState], view: RunState) -> list[str]:
    """The steps with their loads in reverse order; those of one load keep theirs."""
    loads: dict[LoadKey, list[Step]] = {}
    for found in steps:
        loads.setdefault(load_key(found.step, view.scope), []).append(found.step)
    order = _as_loaded(loads, view)
    return [step.id for key in reversed(order) for step in loads[key]]


def _as_loaded(loads: Mapping[LoadKey, Collection[Step]], view: RunState) -> list[LoadKey]:
    """The loads in the order in which their servers ran first."""
    first: dict[LoadKey, int] = {}
    numbers = {load: number for number, load in enumerate(view.loads)}
    for key, steps in loads.items():
        ran = [numbers[load] for step in steps if (load := view.steps[step.id].load) in numbers]
        first[key] = min(ran, default=len(numbers))
    return sorted(loads, key=lambda key: first[key])
