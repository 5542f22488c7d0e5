"""What one text would have done at a smaller K: replaying a request that was traced at the largest one.

At temperature 0 a greedy draft's guess for a token depends on the text before it alone, so a place in the text is
either guessed or missed, wherever a verification step began. A trace at K_max tells which: a step that kept a of its d
drafted tokens says "a guessed", then "one missed" for a < d, and "one unknown" for a = d, since the token behind a
draft that was kept whole was never proposed. A server drafts min(K, tokens still to make - 1) in a step and makes the
kept tokens and one more, so the steps at any K follow by counting, those at the end of the request included.

Unknown places are replayed twice, as all guessed and as all missed, and mixed by the rate of guesses behind long runs
of guesses; what remains uncertain is kept as an error. At temperature above 0 the guess also depends on chance, and the
replay is an approximation: that of texts which happen to be these.

`evidence` finds in a run's state what a curve is made from: the samples at K_max, their texts, and all traces.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from specdash.core.events import StepTimes
from specdash.core.measure import Sample
from specdash.core.methods import DRAFT
from specdash.core.plan import LoadKey
from specdash.core.profile import CONTENT
from specdash.core.state import RunState
from specdash.core.status import DONE
from specdash.core.step_state import StepState

_ENOUGH = 20  # observations behind long runs, before shorter runs need not be asked

Place = bool | None
Counts = Mapping[int, float]


@dataclass(frozen=True)
class Text:
    """The places of one text behind its first token, which the prompt makes.

    `places[i]`: whether the draft guesses token i + 1; None where the trace does not tell. `budget`: how many tokens
    the request may make behind the first one; more than there are places where the text ended by itself.
    """

    places: tuple[Place, ...]
    budget: int

    @cached_property
    def unknown(self) -> int:
        """How many places the trace leaves open."""
        return self.places.count(None)

    @cached_property
    def misses(self) -> tuple[list[int], list[int]]:
        """From each place on, the next one that is missed: with unknown places guessed, and with them missed."""
        return self._misses(unknown=True), self._misses(unknown=False)

    def _misses(self, *, unknown: bool) -> list[int]:
        size = len(self.places)
        found = [size] * (size + 1)
        for place in range(size - 1, -1, -1):
            known = self.places[place]
            found[place] = found[place + 1] if (unknown if known is None else known) else place
        return found


@dataclass(frozen=True, slots=True)
class Replayed:
    """The verification steps of one request at one K: how many (expected) drafted how many tokens.

    `spread`: by how much each count would change if all unknown places were missed in place of guessed.
    `doubt`: the standard deviation of where between both extremes (0 to 1) the truth lies.
    """

    counts: Counts
    spread: Counts = field(default_factory=dict)
    doubt: float = 0.0

    @property
    def steps(self) -> float:
        """All verification steps."""
        return math.fsum(self.counts.values())


def replayed_text(trace: StepTimes, generated: int, budget: int | None = None) -> Text | None:
    """The text of a request that generated so many tokens (the prompt's included), or None if its trace is not whole.

    `budget` as in `Text`, for a text that ended by itself; None for one that ended at its limit.
    """
    places: list[Place] = []
    wanted = generated - 1
    if wanted < 1 or not len(trace.drafted) == len(trace.accepted) == len(trace.times_ms):
        return None
    for drafted, accepted in zip(trace.drafted, trace.accepted, strict=True):
        if not 0 <= accepted <= drafted or len(places) >= wanted:
            return None
        places += [True] * accepted
        places.append(False if accepted < drafted else None)
    if len(places) < wanted or (budget is None and len(places) != wanted):
        return None
    return Text(tuple(places[:wanted]), max(budget or 0, wanted))


def replay(text: Text, k: int, guess_rate: float) -> Replayed:
    """The steps of this text on a server with K = `k`; `guess_rate` is the chance that an unknown place is guessed."""
    best = _count(text, k, text.misses[0])
    if not text.unknown:
        return Replayed(best)
    worst = _count(text, k, text.misses[1])
    lengths = sorted({*best, *worst})
    spread = {length: float(worst.get(length, 0) - best.get(length, 0)) for length in lengths}
    counts = {length: best.get(length, 0) + (1 - guess_rate) * spread[length] for length in lengths}
    return Replayed(counts, spread, math.sqrt(guess_rate * (1 - guess_rate) / text.unknown))


def _count(text: Text, k: int, misses: Sequence[int]) -> dict[int, int]:
    """Steps by the number of tokens that they draft, with these places missed."""
    counts: dict[int, int] = {}
    place, size = 0, len(text.places)
    while place < size:
        drafted = min(k, text.budget - place - 1)
        counts[drafted] = counts.get(drafted, 0) + 1
        place += min(drafted, misses[place] - place) + 1
    return counts


def product_model(acceptance: Sequence[float], tokens: int, k: int) -> Replayed | None:
    """The steps that make so many tokens at K = `k`, from the acceptance per position alone: for want of a trace.

    A server makes 1 + A_1 + … + A_K tokens a step, A_i the chance that the first i drafted tokens are all kept. The
    short steps at the end of a request are left out, so this says somewhat too few steps. None beyond the positions.
    """
    if not 1 <= k <= len(acceptance) or tokens < 1:
        return None
    return Replayed({k: tokens / (1 + math.fsum(acceptance[:k]))})


def acceptance_by_position(traces: Iterable[StepTimes]) -> tuple[float, ...]:
    """A_i = P(the first i + 1 drafted tokens are all kept), at index i; () where nothing was drafted.

    Only steps that drafted so far count below the line: short steps at the end of a request say nothing of the rest.
    """
    drafted: list[int] = []
    accepted: list[int] = []
    for trace in traces:
        for tried, kept in zip(trace.drafted, trace.accepted, strict=False):
            if 0 <= kept <= tried:
                drafted.append(tried)
                accepted.append(kept)
    return tuple(
        sum(kept > position for kept in accepted) / sum(tried > position for tried in drafted)
        for position in range(max(drafted, default=0))
    )


def guess_rate(traces: Iterable[StepTimes]) -> float:
    """The chance that the draft guesses a token behind a long run of guessed ones.

    Of steps that kept i tokens and drafted more, the share that kept one more; over the largest i that together give
    enough of them, with Laplace's rule of succession.
    """
    tried: dict[int, int] = {}
    kept: dict[int, int] = {}
    for trace in traces:
        for drafted, accepted in zip(trace.drafted, trace.accepted, strict=False):
            for run in range(min(accepted + 1, drafted)):
                tried[run] = tried.get(run, 0) + 1
                kept[run] = kept.get(run, 0) + (run < accepted)
    all_tried = all_kept = 0
    for run in sorted(tried, reverse=True):
        all_tried += tried[run]
        all_kept += kept[run]
        if all_tried >= _ENOUGH:
            break
    return (all_kept + 1) / (all_tried + 2)


SAMPLE, COST = "sample", "cost"
Group = tuple[LoadKey, int]  # a pair (k None) and a depth


@dataclass(frozen=True, slots=True)
class Measured:
    """One valid sample at K_max; `text` is None where no whole trace of it is known."""

    category: str
    sample: Sample
    tokens: int  # made by verification steps: all but the first
    time_s: float
    text: Text | None

    @property
    def words(self) -> tuple[str, str]:
        """What tells one text from another: samples of the same words share what their traces leave open."""
        return self.category, self.sample.text_hash or self.sample.prompt_id

    def at(self, k: int, guess_rate: float) -> Replayed | None:
        """The steps of this sample at another K: by replay, else by its acceptance per position."""
        if self.text is not None:
            return replay(self.text, k, guess_rate)
        return product_model(self.sample.step_facts.accepted_per_position or (), self.tokens, k)


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of one pair at one depth; `k_max` None where nothing was traced at any K."""

    pair: LoadKey
    depth: int
    k_max: int | None
    samples: tuple[Measured, ...]
    traces: tuple[StepTimes, ...]  # of requests to servers that drafted up to k_max, of both purposes


def groups(view: RunState) -> dict[Group, list[StepState]]:
    """The steps with a draft by pair and depth, in the order of the queue."""
    found: dict[Group, list[StepState]] = {}
    for each in view.steps.values():
        step = each.step
        if step.method == DRAFT and step.draft is not None and step.k is not None and step.workload == CONTENT:
            found.setdefault((step.pair, step.depth), []).append(each)
    return found


def traces_by_step(view: RunState) -> dict[str, list[StepTimes]]:
    """The traces of a run by the step that they were taken for, in the order in which they came.

    Those of servers with other files, flags or builds than the step's samples are left out.
    """
    found: dict[str, list[StepTimes]] = {}
    for load, traces in view.traces.items():
        fingerprint = view.loads[load].fingerprint if load in view.loads else None
        for trace in traces:
            step = view.steps.get(trace.step)
            if step is not None and step.fingerprint == fingerprint:
                found.setdefault(trace.step, []).append(trace)
    return found


def evidence(
    view: RunState, group: Group, steps: Iterable[StepState], by_step: Mapping[str, Sequence[StepTimes]]
) -> Evidence:
    """What the run knows of one pair. Its K_max is the largest K that a trace was taken at."""
    pair, depth = group
    counted = [each for each in steps if each.status not in DONE or each.status == "ok"]
    traced = [each.step.k for each in counted if each.step.k is not None and by_step.get(each.step.id)]
    k_max = max(traced, default=None)
    at_k_max = [each for each in counted if each.step.k == k_max]
    traces = tuple(trace for each in at_k_max for trace in by_step.get(each.step.id, ()))
    samples = tuple(
        measured
        for each in at_k_max
        for sample in each.good
        if (measured := _measured(each, sample, by_step.get(each.step.id, ()), k_max or 0, view)) is not None
    )
    return Evidence(pair.pair, depth, k_max, samples, traces)


def _measured(
    step: StepState, sample: Sample, traces: Sequence[StepTimes], k_max: int, view: RunState
) -> Measured | None:
    """A sample with its text; None where it has no rate."""
    generated, time_s = sample.generated_tokens, sample.decode_time_s
    if generated is None or generated < 2 or time_s is None or not 0 < time_s < math.inf:
        return None
    budget = None
    if sample.finish_reason != "limit":
        limit = view.settings.max_tokens
        budget = limit - 1 if limit is not None and limit > generated else generated + k_max
    text = None
    # A sample that was taken again left more than one trace: the last one that fits is its own.
    for trace in reversed(traces):
        if trace.purpose != SAMPLE or trace.block != sample.block or max(trace.drafted, default=0) > k_max:
            continue
        if sample.steps is None or sample.steps == len(trace.drafted):
            text = replayed_text(trace, generated, budget)
        if text is not None:
            break
    return Measured(step.step.category, sample, generated - 1, time_s, text)
