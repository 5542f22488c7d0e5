"""The steps of a run in the order of the queue, with what is asked of them at every step known without looking at all.

How many have which outcome, which is the next that is open, and which belong to one pair: all of it is kept up by each
change, so that a step costs the same in a plan of 50 steps and in one of 50,000.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from operator import eq
from typing import Self

from specdash.core.axes import GROUP, values
from specdash.core.methods import BASELINE
from specdash.core.persistent import PersistentMap
from specdash.core.plan import LoadKey, Step
from specdash.core.status import DONE, WITHOUT_FIGURE, StepStatus
from specdash.core.step_state import StepState


@dataclass(frozen=True, slots=True)
class Tally:
    """How many steps there are of each kind; the four add up to `total`.

    `measured`: it has a figure. `failed`: it was tried and has none: failed, timed out, or invalid. `skipped`: never
    tried, as the user wanted it or since it cannot be measured. `open`: still to be measured, those that run too.
    """

    measured: int = 0
    failed: int = 0
    skipped: int = 0
    open: int = 0

    @property
    def total(self) -> int:
        """All steps."""
        return self.measured + self.failed + self.skipped + self.open

    @property
    def tried(self) -> int:
        """How many were taken to their end, well or not: how far a run is. What is skipped was never tried."""
        return self.measured + self.failed

    @property
    def done(self) -> int:
        """How many need nothing more: those that were tried, and those that are skipped."""
        return self.total - self.open


def tally_of(statuses: Mapping[str, int]) -> Tally:
    """The tally of steps by status; a status that is not known is open."""
    measured, skipped = statuses.get(StepStatus.OK, 0), statuses.get(StepStatus.SKIPPED, 0)
    failed = sum(statuses.get(each, 0) for each in WITHOUT_FIGURE)
    return Tally(measured, failed, skipped, sum(statuses.values()) - measured - failed - skipped)


class _Pairs:
    """What the steps of a queue have in common: never changes but with the queue itself."""

    __slots__ = ("at", "baselines", "largest", "places")

    def __init__(self, table: StepTable) -> None:
        self.at: list[LoadKey] = []
        self.places: dict[LoadKey, list[int]] = {}
        self.largest: dict[LoadKey, int] = {}
        self.baselines: set[tuple[object, ...]] = set()  # what others are compared with
        known: dict[tuple[object, ...], LoadKey] = {}
        found_pairs: dict[LoadKey, LoadKey] = {}
        for place, found in enumerate(table.values()):
            step = found.step
            parts = (step.target, step.setting, step.speculation)
            pair = known.get(parts)
            if pair is None:
                pair = known[parts] = found_pairs.setdefault(made := step.pair, made)
            self.at.append(pair)
            self.places.setdefault(pair, []).append(place)
            if step.method != BASELINE:
                self.baselines.add(_setting(step))
            if step.k is not None and step.k > self.largest.get(pair, 0):
                self.largest[pair] = step.k


class StepTable(PersistentMap[StepState]):
    """The steps of a run by id, in the order of the queue."""

    __slots__ = ("_masks", "_pairs", "n_verdicts")

    def __init__(self, entries: Mapping[str, StepState] | None = None) -> None:
        super().__init__(entries)
        places: dict[str, list[int]] = {}
        for place, found in enumerate(self.values()):
            places.setdefault(found.status, []).append(place)
        # The places of the steps of each status, as the bits of a number: one operation finds the first, or counts.
        self._masks: dict[str, int] = {status: _mask(found) for status, found in places.items()}
        self.n_verdicts = sum(len(found.verdicts) for found in self.values())
        self._pairs: list[_Pairs] = []  # none, until it is asked for

    def with_entry(self, key: str, value: StepState) -> Self:
        """Another queue with a step changed, or one more at its end."""
        place = self._names.at.get(key)
        known = place is not None and place < self._size
        before = self._value(place) if known and place is not None else None
        made = super().with_entry(key, value)
        made._pairs = self._pairs if known else []
        made._masks = self._masks
        made.n_verdicts = self.n_verdicts + len(value.verdicts) - (len(before.verdicts) if before is not None else 0)
        if before is None or before.status != value.status:
            bit = 1 << (place if known and place is not None else self._size)
            made._masks = {**self._masks, value.status: self._masks.get(value.status, 0) | bit}
            if before is not None:
                made._masks[before.status] &= ~bit
        return made

    def is_same_queue(self, before: Mapping[str, StepState]) -> bool:
        """Whether an earlier view of the run had the same steps in the same order, whatever has become of them."""
        if len(before) != self._size:
            return False
        return (isinstance(before, StepTable) and before._names is self._names) or all(map(eq, self, before))

    @property
    def tally(self) -> Tally:
        """How many steps are measured, failed, skipped and open."""
        return tally_of(self.statuses)

    @property
    def statuses(self) -> Mapping[str, int]:
        """How many steps have each status."""
        return {status: mask.bit_count() for status, mask in self._masks.items() if mask}

    @property
    def first_open(self) -> StepState | None:
        """The first step of the queue that is to be measured."""
        mask = self._open_mask()
        return self._value((mask & -mask).bit_length() - 1) if mask else None

    def opened(self) -> Iterator[StepState]:
        """The steps that are to be measured, in order."""
        return (self._value(place) for place in _places(self._open_mask()))

    def with_status(self, statuses: Collection[str]) -> Iterator[StepState]:
        """The steps that have one of these statuses, in order."""
        mask = 0
        for status in statuses:
            mask |= self._masks.get(status, 0)
        return (self._value(place) for place in _places(mask))

    def opened_by_pair(self) -> Iterator[tuple[LoadKey, StepState]]:
        """The steps that are to be measured, in order, each with its pair (the same object for all of a pair)."""
        at = self._of_pairs().at
        return ((at[place], self._value(place)) for place in _places(self._open_mask()))

    def pairs(self, among: Collection[LoadKey] | None = None) -> Collection[LoadKey]:
        """What the steps need servers for, with K left open, in the order of the queue: all, or those `among` them."""
        places = self._of_pairs().places
        if among is None:
            return places.keys()
        return sorted((pair for pair in among if pair in places), key=lambda pair: places[pair][0])

    def of_pair(self, pair: LoadKey) -> Iterator[StepState]:
        """The steps of a pair (its `k` None), in order."""
        return (self._value(place) for place in self._of_pairs().places.get(pair, ()))

    def changed_pairs(self, before: Mapping[str, StepState]) -> set[LoadKey]:
        """The pairs of which a step has changed, come or gone since an earlier view of the run."""
        changed = {found.step.pair for _, found in self.changed_since(before)}
        if self.is_same_queue(before):
            return changed
        return changed | {found.step.pair for name, found in before.items() if name not in self}

    def is_compared_with(self, baseline: Step) -> bool:
        """Whether any step of the queue is compared with those of a baseline, in whatever category."""
        return _setting(baseline) in self._of_pairs().baselines

    def largest_k(self, pair: LoadKey) -> int | None:
        """The largest K of a pair's steps, the finished ones too; None where none has any."""
        return self._of_pairs().largest.get(pair)

    def _open_mask(self) -> int:
        mask = 0
        for status, places in self._masks.items():
            if status not in DONE:
                mask |= places
        return mask

    def _of_pairs(self) -> _Pairs:
        if not self._pairs:
            self._pairs.append(_Pairs(self))  # shared by all that were made from this one without a change of the queue
        return self._pairs[0]


def table_of(steps: Mapping[str, StepState]) -> StepTable:
    """These steps as a table; those of a view are one already."""
    return steps if isinstance(steps, StepTable) else StepTable(steps)


def _setting(step: Step) -> tuple[object, ...]:
    """What a step and its baseline have in common, whatever they are asked."""
    return values(step, GROUP)


def _mask(places: Collection[int]) -> int:
    """A number whose bits are these places, which ascend."""
    if not places:
        return 0
    found = bytearray(max(places) // 8 + 1)
    for place in places:
        found[place >> 3] |= 1 << (place & 7)
    return int.from_bytes(found, "little")


def _places(mask: int) -> Iterator[int]:
    """The places of the bits of a number, ascending."""
    for at, byte in enumerate(mask.to_bytes((mask.bit_length() + 7) // 8, "little")):
        if byte:
            yield from (8 * at + bit for bit in range(8) if byte >> bit & 1)
