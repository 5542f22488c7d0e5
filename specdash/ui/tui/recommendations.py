"""What follows from the measurements of a run, as its report would say it: worked out beside the screen, and kept.

A whole result document is made, so that screens and reports never disagree. That takes long for long runs, so it is
made in a thread, only when a step or a load is over, and no more often than costs one part in fifty of the time.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from specdash.core.steps import StepView
from specdash.core.steptable import Tally, tally_of
from specdash.core.text import one_line
from specdash.core.view import View
from specdash.ui.recommended import ALL, subject

Json = Mapping[str, Any]
# Target, draft, configuration, experts, depth and category of a K curve.
CurveKey = tuple[str, str | None, str | None, int | None, int, str]
_GroupKey = tuple[str, str | None, int | None, int]

LEAST_AGE_S = 1.0
SHARE_OF_TIME = 50
_KEPT = ("lossless", "roofline", "verdicts")


@dataclass(frozen=True, slots=True)
class Group:
    """A target in one variant: how far its steps are, and what is recommended, over all categories first."""

    target: str
    config: str | None
    moe_experts: int | None
    depth: int
    tally: Tally
    choices: tuple[Json, ...] = ()

    @property
    def name(self) -> str:
        """Return the target, and what sets it apart from the other variants."""
        return subject({"target": self.target, "config": self.config, "moe_experts": self.moe_experts,
                        "depth": self.depth})  # fmt: skip

    @property
    def overall(self) -> Json | None:
        """Return the recommendation over all categories; None where there is none."""
        return next((each for each in self.choices if each.get("category", ALL) == ALL), None)


@dataclass(frozen=True, slots=True)
class Recommendations:
    """What a result document says beside the figures; `measurements` by step id, `curves` with K ascending.

    `is_known` is False until the first document was made; `problem`: why none could be.
    """

    is_known: bool = False
    is_over: bool = False
    groups: tuple[Group, ...] = ()
    measurements: Mapping[str, Json] = field(default_factory=dict)
    curves: Mapping[CurveKey, tuple[Json, ...]] = field(default_factory=dict)
    problem: str = ""

    def of(self, target: str, config: str | None = None, experts: int | None = None, depth: int = 0) -> Group | None:
        """Return the group of a target in a variant, else the first of that target."""
        mine = [group for group in self.groups if group.target == target]
        wanted = (config, experts, depth)
        exact = (each for each in mine if (each.config, each.moe_experts, each.depth) == wanted)
        return next(exact, next(iter(mine), None))


def work_out(view: View) -> Recommendations:
    """Make the result document of a view, and keep what screens show of it. May take seconds."""
    from specdash.analysis.result import build_result

    try:
        document: Json = build_result(view)
    except Exception as error:  # noqa: BLE001 - a mistake in a report must not take the screen away from its reader
        return Recommendations(True, problem=one_line(f"{type(error).__name__}: {error}", 300))
    return from_document(document, view)


def from_document(document: Json, view: View) -> Recommendations:
    """Return the advice in a document of a view."""
    steps: dict[_GroupKey, list[StepView]] = {}
    for found in view.steps.values():
        key = (found.step.target, found.step.config, found.step.moe_experts, found.step.depth)
        steps.setdefault(key, []).append(found)
    choices: dict[_GroupKey, list[Json]] = {}
    for each in document.get("recommendations") or ():
        choices.setdefault((each["target"], each["config"], each["moe_experts"], each["depth"]), []).append(each)
    curves: dict[CurveKey, list[Json]] = {}
    for each in document.get("curves") or ():
        of = (each["target"], each["draft"], each["config"], each["moe_experts"], each["depth"], each["category"])
        curves.setdefault(of, []).append(each)
    return Recommendations(
        is_known=True,
        is_over=view.finished is not None,
        groups=tuple(
            Group(*key, tally_of(Counter(found.status for found in mine)), tuple(choices.get(key, ())))
            for key, mine in steps.items()
        ),
        measurements={
            each["step"]: {name: each.get(name) for name in _KEPT} for each in document.get("measurements") or ()
        },
        curves={of: tuple(sorted(rows, key=lambda each: each["k"])) for of, rows in curves.items()},
    )


class RecommendationUpdater:
    """Says when the advice of a run is out of date, and keeps the newest."""

    def __init__(self) -> None:
        self._found = Recommendations()
        self._view: View | None = None
        self._begun: tuple[object, ...] = ()
        self._until_s = 0.0

    def of(self, view: View) -> Recommendations:
        """Return the newest advice for the run of `view`."""
        return self._found if self._is_of(view) else Recommendations()

    def is_behind(self, view: View) -> bool:
        """Return whether something was measured since the newest advice was begun."""
        return view.run is not None and (not self._is_of(view) or _mark(view) != self._begun)

    def is_due(self, view: View) -> bool:
        """Return whether it is time to work out new advice; at the end of a run it always is."""
        at_end = view.finished is not None and (self._view is None or self._view.finished is None)
        return not self._is_of(view) or at_end or time.monotonic() >= self._until_s

    def begin(self, view: View) -> None:
        """Note that new recommendations are being worked out."""
        if not self._is_of(view):
            self._found = Recommendations()
        self._view, self._begun = view, _mark(view)

    def take(self, view: View, found: Recommendations, cost_s: float) -> None:
        """Keep new recommendations for `view`, and how long they took."""
        if self._is_of(view):
            self._found = found
            self._until_s = time.monotonic() + max(LEAST_AGE_S, SHARE_OF_TIME * cost_s)

    def _is_of(self, view: View) -> bool:
        return self._view is not None and self._view.run is view.run


def _mark(view: View) -> tuple[object, ...]:
    """Return what changes when advice may: steps and loads that are over, verdicts, the end of the run."""
    table = view.table
    return len(table), table.tally.done, table.n_verdicts, len(view.loads), view.current_load, view.finished is not None
