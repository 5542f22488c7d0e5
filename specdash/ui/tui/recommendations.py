"""What follows from the measurements of a run, as its report would say it: worked out beside the screen, and kept.

A whole result document is made, so that screens and reports never disagree. That takes long for long runs, so it is
made in a thread, only when a step or a load is over, and no more often than costs one part in fifty of the time.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from specdash.core.axes import GROUP, NONE, Values, drafter_label, pick, value, value_words
from specdash.core.profile import ALL
from specdash.core.state import RunState
from specdash.core.step import Step
from specdash.core.step_state import StepState
from specdash.core.steptable import Tally, tally_of
from specdash.core.text import one_line

if TYPE_CHECKING:  # analysis is loaded once something is worked out, not for the first frame
    from specdash.analysis.figures import FiguresCache
    from specdash.analysis.result import Recommendation, Result

Json = Mapping[str, Any]
# Target, variant, what drafts, and category of a K curve.
CurveKey = tuple[str, Values, str | None, str]
_GroupKey = tuple[str, Values]

LEAST_AGE_S = 1.0
SHARE_OF_TIME = 50
_KEPT = ("lossless", "roofline", "verdicts")


@dataclass(frozen=True, slots=True)
class TargetRecommendations:
    """A target in one variant: how far its steps are, and what is recommended, over all categories first."""

    target: str
    variant: Values
    tally: Tally
    choices: tuple[Recommendation, ...] = ()

    @property
    def name(self) -> str:
        """Return the target, and what sets it apart from the other variants."""
        return one_line(", ".join([self.target, *value_words(self.variant)]), 120)

    @property
    def overall(self) -> Recommendation | None:
        """Return the recommendation over all categories; None where there is none."""
        return next((each for each in self.choices if each.category == ALL), None)


@dataclass(frozen=True, slots=True)
class Recommendations:
    """What a result document says beside the figures; `measurements` by step id, `curves` with K ascending.

    `is_known` is False until the first document was made; `problem`: why none could be.
    """

    is_known: bool = False
    is_over: bool = False
    groups: tuple[TargetRecommendations, ...] = ()
    measurements: Mapping[str, Json] = field(default_factory=dict)
    curves: Mapping[CurveKey, tuple[Json, ...]] = field(default_factory=dict)
    problem: str = ""

    def of(self, target: str, variant: Values = NONE) -> TargetRecommendations | None:
        """Return the group of a target in a variant, else the first of that target."""
        mine = [group for group in self.groups if group.target == target]
        exact = (each for each in mine if each.variant == pick(variant, GROUP[1:]))
        return next(exact, next(iter(mine), None))


def work_out(view: RunState, figures: FiguresCache | None = None) -> Recommendations:
    """Makes the result of a state, and keeps what screens want of it. May take seconds.

    `figures` are those of the result before: what has not changed since is not computed again.
    """
    from specdash.analysis.build_result import result_of

    try:
        result = result_of(view, figures)
    except Exception as error:  # noqa: BLE001 - a mistake in a report must not take the screen away from its reader
        return Recommendations(True, problem=one_line(f"{type(error).__name__}: {error}", 300))
    return recommendations_of(result, view)


def recommendations_of(result: Result, view: RunState) -> Recommendations:
    """Return the recommendations in the result of a state."""
    from specdash.store.result_json import encoded

    steps: dict[_GroupKey, list[StepState]] = {}
    for found in view.steps.values():
        steps.setdefault(_key(found.step), []).append(found)
    choices: dict[_GroupKey, list[Recommendation]] = {}
    for choice in result.recommendations:
        choices.setdefault(_key(choice.baseline), []).append(choice)
    curves: dict[CurveKey, list[Json]] = {}
    for each in encoded(result.curves):
        of = (*_key(each), drafter_label(each), each["category"])
        curves.setdefault(of, []).append(each)
    return Recommendations(
        is_known=True,
        is_over=view.finished is not None,
        groups=tuple(
            TargetRecommendations(*key, tally_of(Counter(found.status for found in mine)), tuple(choices.get(key, ())))
            for key, mine in steps.items()
        ),
        measurements={
            str(each.name): {name: encoded(getattr(each, name)) for name in _KEPT} for each in result.measurements
        },
        curves={of: tuple(sorted(rows, key=lambda each: each["k"])) for of, rows in curves.items()},
    )


def _key(of: Step | Json) -> _GroupKey:
    """The group that a step, recommendation or curve belongs to."""
    return value(of, "target"), pick(of, GROUP[1:])


class RecommendationUpdater:
    """Says when the recommendations are out of date, and keeps the newest; `figures` go on from one to the next."""

    def __init__(self) -> None:
        self._found = Recommendations()
        self._figures: FiguresCache | None = None
        self._view: RunState | None = None
        self._begun: tuple[object, ...] = ()
        self._until_s = 0.0

    @property
    def figures(self) -> FiguresCache:
        """What was computed for the newest recommendations, for the next ones to go on from."""
        if self._figures is None:
            from specdash.analysis.figures import FiguresCache

            self._figures = FiguresCache()
        return self._figures

    def of(self, view: RunState) -> Recommendations:
        """Return the newest advice for the run of `view`."""
        return self._found if self._is_of(view) else Recommendations()

    def is_behind(self, view: RunState) -> bool:
        """Return whether something was measured since the newest advice was begun."""
        return view.run is not None and (not self._is_of(view) or _mark(view) != self._begun)

    def is_due(self, view: RunState) -> bool:
        """Return whether it is time to work out new advice; at the end of a run it always is."""
        at_end = view.finished is not None and (self._view is None or self._view.finished is None)
        return not self._is_of(view) or at_end or time.monotonic() >= self._until_s

    def begin(self, view: RunState) -> None:
        """Note that new recommendations are being worked out."""
        if not self._is_of(view):
            self._found, self._figures = Recommendations(), None
        self._view, self._begun = view, _mark(view)

    def take(self, view: RunState, found: Recommendations, cost_s: float) -> None:
        """Keep new recommendations for `view`, and how long they took."""
        if self._is_of(view):
            self._found = found
            self._until_s = time.monotonic() + max(LEAST_AGE_S, SHARE_OF_TIME * cost_s)

    def _is_of(self, view: RunState) -> bool:
        return self._view is not None and self._view.run is view.run


def _mark(view: RunState) -> tuple[object, ...]:
    """Return what changes when advice may: steps and loads that are over, verdicts, the end of the run."""
    table = view.table
    return len(table), table.tally.done, table.n_verdicts, len(view.loads), view.current_load, view.finished is not None
