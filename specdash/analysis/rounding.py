"""How far a server's own rounding moves the margins of its choices, as its baseline shows it. Pure.

A baseline answers a prompt cold, and again with the prompt from the cache. Both compute the same: the same weights, the
same tokens before. But what is read in one batch sums in another order than what is read in several, so the margins of
the two differ by what this server, with this model, these threads and this device, rounds. No constant knows that: of
12 layers in BF16 with two threads 99 % of the differences were below 0.105 nats and the largest was 0.36, on a machine
where Q8_0 had none at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from specdash.core.events import TextChecked
from specdash.core.methods import BASELINE
from specdash.core.plan import Step
from specdash.core.state import RunState

USUAL = 0.99  # the share of places whose margins move by no more than what is called usual
ENOUGH_PLACES = 100  # fewer have no 99 % quantile below their largest
_NOT_ASKED = "its baseline was not asked for margins both cold and from the cache"
_NOT_TOLD = "its server does not tell margins"
_NOT_CACHED = "its server kept no prompt in its cache, or does not tell"


@dataclass(frozen=True, slots=True)
class Rounding:
    """By how many nats margins differ between a cold prompt and a cached one, over `places` tokens.

    `usual_nats` is the 99 % quantile, `largest_nats` the largest. Both are None where the places are too few, for the
    `reason` given.
    """

    places: int
    usual_nats: float | None = None
    largest_nats: float | None = None
    reason: str = ""


def rounding_of(differences: Iterable[float]) -> Rounding:
    """The rounding that these differences (nats, one a place) show."""
    found = sorted(abs(each) for each in differences if math.isfinite(each))
    if len(found) < ENOUGH_PLACES:
        return Rounding(len(found), reason=f"its margins were compared at {len(found)} of {ENOUGH_PLACES} places")
    # The smallest of those that at least 99 % of all are not above.
    return Rounding(len(found), found[math.ceil(USUAL * len(found)) - 1], found[-1])


def roundings(view: RunState) -> Mapping[Step, Rounding]:
    """The rounding of each server without a draft, by the `arm` of its steps: over all its categories and workloads."""
    differences: dict[Step, list[float]] = {}
    why: dict[Step, str] = {}
    for found in view.steps.values():
        if found.step.method != BASELINE or not found.checks:
            continue
        arm = found.step.arm
        differences.setdefault(arm, []).extend(_differences(found.checks, view))
        why[arm] = _why_none(found.checks)
    return {arm: rounding_of(found) if found else Rounding(0, reason=why[arm]) for arm, found in differences.items()}


def is_cold(check: TextChecked) -> bool:
    """Whether an answer's prompt was read anew, as the server tells."""
    return check.cached_tokens == 0


def is_cached(check: TextChecked) -> bool:
    """Whether an answer's prompt came from the cache, as the server tells."""
    return bool(check.cached_tokens)


def _differences(checks: Iterable[TextChecked], view: RunState) -> Iterator[float]:
    """Of each prompt's answer from the cache: how far its margins are from those of the cold one."""
    cold: dict[str, TextChecked] = {}
    for check in checks:
        if is_cold(check) and check.margins:
            cold.setdefault(check.prompt_id, check)
    for check in checks:
        first = cold.get(check.prompt_id)
        if is_cached(check) and first is not None:
            yield from _between(first, check, view.texts)


def _between(cold: TextChecked, cached: TextChecked, texts: Mapping[str, tuple[int, ...]]) -> Iterator[float]:
    """The differences up to where the texts part, that place included: there the two lead each over the other."""
    ours, theirs = texts.get(cold.text_hash), texts.get(cached.text_hash)
    if ours is None or theirs is None:
        return
    for one, other, before, after in zip(ours, theirs, cold.margins, cached.margins, strict=False):
        if before is not None and after is not None:
            yield before - after if one == other else before + after
        if one != other:
            return


def _why_none(checks: Iterable[TextChecked]) -> str:
    """Why no place of a server was compared."""
    known = list(checks)
    if not any(check.margins for check in known):
        return _NOT_TOLD
    if any(is_cached(check) for check in known):
        return _NOT_ASKED
    repeated = len({check.prompt_id for check in known}) < len(known)
    return _NOT_CACHED if repeated else _NOT_ASKED
