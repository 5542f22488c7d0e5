"""Which arms of a result belong together: the baselines, the best K of each draft, the pairs and their curves.

An arm is what `overall` of the result lists: one value of each axis of `core.axes`, over all its categories.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from specdash.analysis.reasons import edge_reason
from specdash.core.axes import GROUP, KEPT, PARAMS, values
from specdash.core.methods import BASELINE, DRAFT
from specdash.store.wording import SPEED, Json, drafter_of, is_noise, known, sentence, setting, slower_of

Key = tuple[Any, ...]
CONTENT = "content"
REFUTED = {"output_differs": "differs", "impossible": "impossible"}
"""Verdicts that no speedup can stand against, with the word that marks them in a picture."""


def rate_of(arm: Json) -> float | None:
    """The mean decode rate, tokens per second; None where nothing counts."""
    return known(((arm.get("summary") or {}).get(SPEED) or {}).get("mean"))


def speedup_of(arm: Json) -> float | None:
    """How many times as fast as its baseline; None where unknown."""
    return known((arm.get("speedup") or {}).get("value"))


def doubt(arm: Json) -> str:
    """Why a speedup proves nothing, "" where it does: "≈" inside the noise, "?" too few samples, a word of `REFUTED`.

    Imported results have neither samples nor intervals; their figures are taken as they are.
    """
    if refuted(arm):
        return refuted(arm)
    ci95 = (arm.get("speedup") or {}).get("ci95")
    if ci95 is not None:
        return "≈" if is_noise(ci95) else ""
    return "?" if known(((arm.get("summary") or {}).get(SPEED) or {}).get("n")) is not None else ""


def refuted(arm: Json) -> str:
    """The word for what makes the figures of an arm worthless, "" for nothing; known of arms from `content_arms`."""
    return str(arm.get("refuted") or "")


def content_arms(result: Json) -> list[Json]:
    """The arms of `overall` that measured content, each with `refuted`; whole texts are compared elsewhere."""
    found: dict[Key, str] = {}
    for each in result.get("measurements") or ():
        for verdict, word in REFUTED.items():
            if verdict in (each.get("verdicts") or ()):
                found.setdefault(arm_key(each), word)
    arms = [arm for arm in result.get("overall") or () if arm.get("workload") in (None, CONTENT)]
    return [{**arm, "refuted": found.get(arm_key(arm), "")} for arm in arms]


def is_baseline(arm: Json) -> bool:
    """Whether an arm is one without any speculation."""
    return bool(arm.get("method") == BASELINE)


def setting_key(arm: Json) -> Key:
    """What an arm shares with its baseline."""
    return values(arm, KEPT)


def pair_key(arm: Json) -> Key:
    """The arm with K left open. Curves name neither workload nor method: they are of drafts, in the content run."""
    return (*values(arm, GROUP), *_drafting(arm))


def _drafting(arm: Json) -> Key:
    """What drafts; an ordinary draft model needs no method to be told by."""
    method = arm.get("method")
    return arm.get("draft"), None if method == DRAFT else method, *values(arm, PARAMS)


def arm_key(arm: Json) -> Key:
    """What tells arms apart."""
    return (*setting_key(arm), *_drafting(arm), arm.get("k"))


def targets(result: Json) -> list[str]:
    """The targets in the order of the plan."""
    return list(dict.fromkeys(str(arm["target"]) for arm in result.get("overall") or ()))


def contenders(arms: Iterable[Json]) -> list[Json]:
    """The baselines, and of each draft and setting the fastest arm, fastest first; arms without a rate are left out.

    An arm that lacks categories has another mix of prompts, so it stands for its pair only where no arm is complete,
    and one that is refuted only where all are.
    """
    best: dict[Key, Json] = {}
    for arm in arms:
        if rate_of(arm) is None:
            continue
        key = (*setting_key(arm), *_drafting(arm))
        if key not in best or _merit(arm) > _merit(best[key]):
            best[key] = arm
    return sorted(best.values(), key=lambda arm: rate_of(arm) or 0.0, reverse=True)


def _merit(arm: Json) -> tuple[bool, bool, float]:
    return not refuted(arm), not arm.get("missing"), rate_of(arm) or 0.0


def recommended_ks(result: Json) -> dict[Key, Json]:
    """The recommendation over all categories of each pair (`pair_key`) that is one to use."""
    found = (each for each in result.get("recommendations") or () if each.get("category", "all") == "all")
    return {pair_key(each): each for each in found if not each.get("off") and each.get("k") is not None}


def other_k(best: Any, each: Json | None) -> str:
    """The K that is recommended where the best mean is that of another one: "recommended K = 2: tied"; else ""."""
    if each is None or best is None or each.get("k") == best:
        return ""
    names = (None, drafter_of(each))
    is_tied = any(other.get("k") == best and drafter_of(other) in names for other in each.get("tied") or ())
    return f"recommended K = {each['k']}{': tied' if is_tied else ''}"


def curves_by_pair(result: Json) -> dict[Key, list[Json]]:
    """Points of each pair (`pair_key`) over all categories by ascending K; of its first category where it has no "all".

    Only points with a rate, predicted or measured, count.
    """
    found: dict[Key, dict[str, list[Json]]] = {}
    for point in result.get("curves") or ():
        if known(point.get("predicted_tok_s")) is None and known(point.get("measured_tok_s")) is None:
            continue
        found.setdefault(pair_key(point), {}).setdefault(str(point.get("category") or "all"), []).append(point)
    chosen = {pair: by.get("all") or next(iter(by.values())) for pair, by in found.items()}
    return {pair: sorted(points, key=lambda point: point["k"]) for pair, points in chosen.items()}


def baseline_of(point: Json, result: Json) -> float | None:
    """The rate without speculation that a point of a curve is held against."""
    category = point.get("category") or "all"
    same = result.get("overall") if category == "all" else result.get("measurements")
    for arm in same or ():
        if (
            is_baseline(arm)
            and arm.get("workload") in (None, CONTENT)
            and values(arm, GROUP) == values(point, GROUP)
            and (category == "all" or arm.get("category") == category)
        ):
            return rate_of(arm)
    return None


def slower_pairs(arms: Iterable[Json]) -> str:
    """How many pairs are slower than their baselines, and how many were left out; "" where none can be compared."""
    compared = [arm for arm in arms if not is_baseline(arm) and speedup_of(arm) is not None]
    counted = [arm for arm in compared if not refuted(arm)]
    slower = sum(not doubt(arm) and (speedup_of(arm) or 1.0) < 1 for arm in counted)
    parts = [f"{slower_of(slower, len(counted))} slower than the baseline"] if counted else []
    for verdict, word in REFUTED.items():
        if number := sum(refuted(arm) == word for arm in compared):
            said = "output differs" if verdict == "output_differs" else "rate is impossible"
            one = number == 1
            parts.append(f"{number} {'is' if one else 'are'} left out, since {'its' if one else 'their'} {said}")
    return "; ".join(parts)


def best_k(points: Sequence[Json]) -> Json | None:
    """The point of a curve with the best predicted rate; of the measured ones where nothing was predicted."""
    for name in ("predicted_tok_s", "measured_tok_s"):
        rated = [point for point in points if known(point.get(name)) is not None]
        if rated:
            return max(rated, key=lambda point: known(point[name]) or 0.0)
    return None


def edge(points: Sequence[Json]) -> str:
    """What to do about an optimum at the edge of what was tried, "" where there is none."""
    if not any(point.get("at_edge") for point in points):
        return ""
    k_max = max(int(point.get("k_max") or point["k"]) for point in points)
    return sentence(edge_reason(k_max))


def pair_name(point: Json, *, with_target: bool = False) -> str:
    """A pair in words."""
    parts = [str(point.get("target"))] if with_target else []
    drafts = drafter_of(point) or "no draft model"
    return ", ".join(part for part in (" + ".join([*parts, drafts]), setting(point)) if part)


def by_arm(measurements: Iterable[Json], field: str) -> dict[Key, list[Json]]:
    """The measurements of each arm that have this field, in the order of the plan."""
    found: dict[Key, list[Json]] = {}
    for each in measurements:
        if each.get(field) is not None:
            found.setdefault(arm_key(each), []).append(each)
    return found
