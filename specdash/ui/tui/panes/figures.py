"""What the main screen shows of a queue, kept for as long as its steps are the same.

The figures of a step are those of `analysis.figures`, so that a pane, the results and a report never disagree. A
`PaneFigures` only remembers: everything in it follows from the view that it is asked about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from specdash.analysis.figures import Figures
from specdash.core.acceptance import proven, share_of
from specdash.core.axes import VARYING
from specdash.core.methods import BASELINE
from specdash.core.state import RunState
from specdash.core.step_state import StepState
from specdash.core.steptable import StepTable
from specdash.core.text import one_line
from specdash.core.ticks import HISTORY

KEPT = 1_000


@dataclass(frozen=True, slots=True)
class QueueOverview:
    """A queue as a whole: the order of its steps, their places in it, and how wide its columns have to be.

    `best`: the highest mean rate of a step so far and the number of that step. `varying` names the columns of which
    not all steps have the same.
    """

    order: tuple[str, ...]
    place: Mapping[str, int]
    widths: Mapping[str, int]
    varying: frozenset[str]
    counts: Mapping[str, int]
    best: tuple[float, int] | None


class PaneFigures:
    """What was worked out of a view and its steps, kept while they are the same."""

    def __init__(self) -> None:
        # By identity, since a step's name takes as long to make as all else; the step is kept, so that it stays its.
        self._steps: dict[int, tuple[StepState, Figures]] = {}
        self._of: Mapping[str, StepState] | None = None
        self._overview: QueueOverview | None = None
        self._history_of: Mapping[str, StepState] | None = None
        self._history: tuple[tuple[float | None, float | None], ...] = ()

    def measured(self, found: StepState) -> Figures:
        """The numbers of one step."""
        known = self._steps.get(id(found))
        if known is None:
            if len(self._steps) > max(KEPT, 2 * len(self._of or ())):
                self._steps.clear()  # mostly of steps as they were before their last samples
            known = self._steps[id(found)] = found, Figures([found])
        return known[1]

    def factor(self, view: RunState, found: StepState) -> float | None:
        """How many times as fast as its baseline a step is by the means; None for a baseline and where none is known.

        It stands beside the means on the screen, also of a step that runs. Results compare answer by answer.
        """
        baseline = view.steps.get(found.step.baseline().id)
        mine = self.measured(found).rate_tok_s
        if baseline is None or found.step.method == BASELINE or mine is None:
            return None
        theirs = self.measured(baseline).rate_tok_s
        if len({sample.clock for step in (found, baseline) for sample in step.good}) > 1:
            return None  # no mean of a clock that timed both is kept here; the results have it
        return mine / theirs if theirs else None

    def overview(self, view: RunState) -> QueueOverview:
        """The queue of a view as a whole."""
        if self._overview is None or self._of is not view.steps:
            before, earlier = self._overview, self._of
            self._of = view.steps
            if before is None or earlier is None or not view.table.is_same_queue(earlier):
                before = _unmeasured(view)
                earlier = {}
                self._steps = {}
            self._overview = self._survey(view.table, before, earlier)
        return self._overview

    def _survey(self, table: StepTable, before: QueueOverview, earlier: Mapping[str, StepState]) -> QueueOverview:
        """The queue as it is now, from what has changed in it since."""
        best = before.best
        for step_id, found in table.changed_since(earlier):
            number = before.place[step_id] + 1
            if best is not None and best[1] == number:
                best = None  # the others are looked at again below
            self._steps.pop(id(earlier.get(step_id)), None)
            if found.samples:
                self._steps[id(found)] = found, Figures([found])
                best = _better(best, self._steps[id(found)], number)
        if best is None or (before.best is not None and best[0] < before.best[0]):
            for known in tuple(self._steps.values()):
                if table.get(known[0].step.id) is known[0]:
                    best = _better(best, known, before.place[known[0].step.id] + 1)
        return replace(before, counts=table.statuses, best=best)

    def history(self, view: RunState) -> tuple[tuple[float | None, float | None], ...]:
        """Rate and acceptance of the last samples in order of time: the history of a run that gives no ticks."""
        if self._history_of is not view.steps:
            self._history_of, self._history = view.steps, _history(view)
        return self._history


def _better(best: tuple[float, int] | None, known: tuple[StepState, Figures], number: int) -> tuple[float, int] | None:
    """The highest mean rate and the number of its step: the best so far, or this one's; the first of equals."""
    mean = known[1].rate_tok_s if known[0].status in ("ok", "running") else None
    if mean is None:
        return best
    return (mean, number) if best is None or (mean, -number) > (best[0], -best[1]) else best


def _unmeasured(view: RunState) -> QueueOverview:
    """A queue of which nothing was looked at yet."""
    order = tuple(view.steps)
    widths, varying = _columns(view)
    return QueueOverview(order, {step_id: number for number, step_id in enumerate(order)}, widths, varying, {}, None)


def _columns(view: RunState) -> tuple[Mapping[str, int], frozenset[str]]:
    """The widest label of each column, and which of them differ between steps."""
    labels: dict[str, set[object]] = {}
    for found in view.steps.values():
        step = found.step
        for name in VARYING:
            labels.setdefault(name, set()).add(step.value(name))
        labels.setdefault("draft", set()).add(step.drafter)
    widths = {
        name: max(len(one_line(str(each), 60)) if each is not None else 1 for each in found)
        for name, found in labels.items()
    }
    return widths, frozenset(name for name, found in labels.items() if len(found) > 1)


def _history(view: RunState) -> tuple[tuple[float | None, float | None], ...]:
    taken = [sample for found in view.steps.values() if found.samples for sample in proven(found.samples)]
    taken.sort(key=lambda sample: sample.started_s)
    return tuple((sample.decode_tok_s, share_of(sample)) for sample in taken[-HISTORY:])
