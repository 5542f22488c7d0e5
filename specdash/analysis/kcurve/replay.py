"""What one text would have done at a smaller K: replaying a request that was traced at the largest one.

At temperature 0 a greedy draft's guess for a token depends on the text before it alone, so a place in the text is
either guessed or missed, wherever a verification step began. A trace at K_max tells which: a step that kept a of its d
drafted tokens says "a guessed", then "one missed" for a < d, and "one unknown" for a = d, since the token behind a
draft that was kept whole was never proposed. A server drafts min(K, tokens still to make - 1) in a step and makes the
kept tokens and one more, so the steps at any K follow by counting, those at the end of the request included.

Unknown places are replayed twice, as all guessed and as all missed, and mixed by the rate of guesses behind long runs
of guesses; what remains uncertain is kept as an error. At temperature above 0 the guess also depends on chance, and the
replay is an approximation: that of texts which happen to be these.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from specdash.core.events import StepTimes

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


def text_of(trace: StepTimes, generated: int, budget: int | None = None) -> Text | None:
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
