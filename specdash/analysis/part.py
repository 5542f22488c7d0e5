"""The part of a run that findings about some pairs are made from: so a load is judged without judging all loads again.

A step is compared with its baseline, with the steps of its own pair (curves), and with the baselines of its target in
one setting (drift); whatever changes in a baseline may change what is found of all that are compared with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from specdash.core.plan import LoadKey
from specdash.core.steps import OPEN, SKIPPED, StepView
from specdash.core.steptable import StepTable
from specdash.core.view import View


def part_of(view: View, pairs: Collection[LoadKey]) -> View:
    """The view with no more steps than `analysis.findings` needs for those of these pairs.

    With a baseline come all that are compared with it, since they may be judged otherwise.
    """
    return replace(view, steps=StepTable({found.step.id: found for found in _steps(view.table, pairs)}))


def around(view: View, pair: LoadKey) -> View:
    """The view with no more steps than tell of those of one pair: its own, and its baseline's."""
    mine = (found for each in dict.fromkeys((_baseline(pair), pair)) for found in view.table.of_pair(each))
    return replace(view, steps=StepTable({found.step.id: found for found in mine}))


def _steps(table: StepTable, pairs: Collection[LoadKey]) -> Iterator[StepView]:
    """The steps of these pairs, those that they are compared with, and those that are compared with them."""
    settings = dict.fromkeys(_baseline(pair) for pair in pairs)
    for each in settings:
        yield from table.of_pair(each)
    for pair in dict.fromkeys(pairs):
        if pair not in settings:
            yield from table.of_pair(pair)
    moved = {pair for pair in pairs if not pair.speculates}
    if moved:
        known = {status for status in table.statuses if status not in (OPEN, SKIPPED)}
        yield from (found for found in table.with_status(known) if _baseline(found.step.pair) in moved)


def _baseline(pair: LoadKey) -> LoadKey:
    """The load of the baseline of a pair."""
    return pair.baseline
