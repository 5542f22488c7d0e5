"""Which draft and which K to use, or none at all: one recommendation for each target and kind of text. Pure.

What is inside the noise is called equal. The fastest arm leads; those whose ratio to it has 1 in its 95 % interval, and
whose mean is at most 1 % below, tie with it, and among them the smaller K, the smaller draft, less memory wins. Without
the 1 % a wide interval would hand the choice to the smallest K whatever it costs: simulated at 3 samples a prompt, the
choice would lose less than 2 % in 46 % of runs only, with it in 97 %. An arm beats "off" when its speedup exceeds
1 at a confidence that is corrected for the m arms that were looked at: 1 - 0.05 / m (Bonferroni, two-sided), so that
where no draft helps, "off" comes out in more than 95 % of all runs however many arms were tried. Arms are compared by
their decoding; what becomes of the gain in whole answers is measured too, and said with it (`analysis.whole_answer`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from specdash.analysis.arms import (
    ALL,
    REFUSED,
    Arm,
    Group,
    GroupKey,
    arms_of,
    compared,
    groups_of,
    key_of,
    overall_mean,
    shared_means,
    text_groups,
)
from specdash.analysis.plain import plain
from specdash.analysis.reasons import (
    NO_BASELINE,
    ONLY_TEXTS,
    baseline_reason,
    beaten_reason,
    choice_reason,
    edge_reason,
    off_reason,
    out_reason,
    sentence,
    unproven_reason,
)
from specdash.analysis.stats import CONFIDENCE, Speedup
from specdash.analysis.whole_answer import whole_answer, whole_answer_reason
from specdash.core.axes import GROUP, PARAMS, STAGE, row_of, unknown, values
from specdash.core.events import K_PLACE
from specdash.core.measure import Verdict
from specdash.core.methods import BASELINE
from specdash.core.secrets import shell_line

Json = dict[str, Any]

TIE_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class _Field:
    """The arms of one question: those that may be recommended with their speedups, and why the others may not."""

    base: Arm | None
    live: tuple[Arm, ...]
    speedups: Mapping[int, Speedup]  # by position in `live`
    out: tuple[tuple[Arm, str], ...]

    def speedup_of(self, arm: Arm) -> Speedup:
        """The speedup of an arm that may be recommended."""
        return self.speedups[self.live.index(arm)]

    @property
    def level(self) -> float:
        """The confidence that one arm needs for all together to be wrong in 5 % of runs at most."""
        return 1 - (1 - CONFIDENCE) / max(1, len(self.live))


@dataclass(frozen=True, slots=True)
class _Choice:
    """What is recommended; `arm` None: no draft where `off`, else nothing can be said."""

    arm: Arm | None
    off: bool
    proven: bool
    reasons: tuple[str, ...]
    tied: tuple[Arm, ...] = field(default=())


def recommendations(document: Mapping[str, Any]) -> list[Json]:
    """The recommendations of a result document, "all" before the single categories of each group.

    Reads `measurements`, and where they are there `unfinished`, `curves`, `loads`, `models` and `anchors`. Where texts
    alone were compared there is one entry that says so.
    """
    found = [
        _recommended(group, category, document)
        for group in groups_of(document["measurements"])
        for category in (ALL, *group.categories)
    ]
    return [*found, *(_only_texts(key) for key in text_groups(document))]


def _only_texts(key: GroupKey) -> Json:
    """The entry of a group whose drafts have no measurement of speed: nothing can be recommended."""
    figures = ("speedup", "ci95", "tok_s", "baseline_tok_s", "regret", "regret_ci95", "command")
    return {
        **row_of(key, GROUP),
        "category": ALL,
        **unknown(STAGE),
        **dict.fromkeys(figures),
        "whole_answer": None,
        "off": False,
        "proven": False,
        "tied": [],
        "reason": ONLY_TEXTS,
    }


def _recommended(group: Group, category: str, document: Mapping[str, Any]) -> Json:
    arms = _field(group, category, document)
    choice = _choose(arms)
    edge = _edge(choice.arm, arms, group, category, document) if choice.arm is not None else ""
    chosen = arms.base if choice.off else choice.arm
    faster = arms.speedup_of(choice.arm) if choice.arm is not None else None
    means = shared_means(chosen, arms.base) if chosen is not None and arms.base is not None else None
    regret, regret_ci95 = _regret(chosen, arms) if chosen is not None else (None, None)
    whole = whole_answer(choice.arm, arms.base) if choice.arm is not None and arms.base is not None else None
    eaten = whole_answer_reason(whole) if choice.arm is not None else ""
    return {
        **row_of(group.key, GROUP),
        "category": category,
        **(row_of(choice.arm, STAGE) if choice.arm is not None else unknown(STAGE)),
        "method": chosen.method if chosen is not None else None,
        "speedup": plain(faster.value) if faster is not None else 1.0 if choice.off else None,
        "ci95": plain(faster.ci95) if faster is not None else None,
        "tok_s": means[0] if means is not None else None,
        "baseline_tok_s": overall_mean(arms.base) if means is None and arms.base is not None else means and means[1],
        "regret": plain(regret),
        "regret_ci95": plain(regret_ci95),
        "whole_answer": whole,
        "off": choice.off,
        "proven": choice.proven,
        "tied": [{**_names(arm), "speedup": plain(arms.speedup_of(arm).value)} for arm in choice.tied],
        "reason": sentence((*choice.reasons, eaten, edge, out_reason(arms.out))),
        "command": _command(chosen, document),
    }


def _names(arm: Arm) -> Json:
    """What an arm is called in a recommendation."""
    return row_of(arm, STAGE)


def _field(group: Group, category: str, document: Mapping[str, Any]) -> _Field:
    """The arms of a question, sorted into those that may be recommended and those that may not."""
    base, arms = arms_of(group, category, document)
    if base is not None and overall_mean(base) is None:
        return _Field(base, (), {}, ())
    moved = _moved(group, document) if category == ALL else 0.0
    live: list[Arm] = []
    speedups: dict[int, Speedup] = {}
    out: list[tuple[Arm, str]] = []
    for arm in arms:
        faster = compared(arm, base) if base is not None else None
        against = _against(arm, base, faster, moved, category)
        if against:
            out.append((arm, against))
        elif faster is not None:
            speedups[len(live)] = faster
            live.append(arm)
    return _Field(base, tuple(live), speedups, tuple(out))


def _against(arm: Arm, base: Arm | None, faster: Speedup | None, moved: float, category: str) -> str:
    """Why an arm cannot be recommended; "" where it can."""
    if overall_mean(arm) is None:
        return arm.faults[0] if arm.faults else "no rate"
    # Over all categories a drift is held against the whole effect; that of one category says little of it.
    refused = arm.verdicts & (REFUSED - {Verdict.DRIFTED.value} if category == ALL else REFUSED)
    if refused:
        return min(refused)
    if base is None:
        return ""
    if faster is None:
        return "nothing was asked of both it and its baseline"
    if arm.has_samples and base.has_samples and faster.ci95 is None:
        return "one sample only, which is never a verdict"
    return Verdict.DRIFTED.value if moved > abs(faster.value - 1) else ""


def _moved(group: Group, document: Mapping[str, Any]) -> float:
    """By what share the group's baseline moved between the passes; 0.0 where there was one pass."""
    moves = (each.get("moved") for each in document.get("anchors") or () if key_of(each) == group.key)
    return max((abs(move) for move in moves if move is not None), default=0.0)


def _choose(arms: _Field) -> _Choice:
    """The choice by the rules of the module; never an arm that is out."""
    base = arms.base
    if base is None:
        return _Choice(None, False, False, (NO_BASELINE,))
    if overall_mean(base) is None:
        return _Choice(None, False, False, (baseline_reason(base),))
    if not arms.live:
        broken = bool(arms.out) and all(why == Verdict.OUTPUT_DIFFERS.value for _, why in arms.out)
        return _Choice(None, broken, False, ("no arm is left that could be recommended",))
    leader = _leader(arms)
    if not all(arm.has_samples for arm in (*arms.live, base)):
        return _by_means(leader, arms)
    tied = [arm for arm in arms.live if arm is leader or _ties(arm, leader)]
    proven = [arm for arm in tied if _is_proven(arm, arms)] or [
        arm for arm in arms.live if arm not in tied and _is_proven(arm, arms)
    ]
    if not proven:
        return _off(leader, arms)
    first = min(tied, key=_thrift)
    chosen = first if first in proven else min(proven, key=_thrift)
    others = tuple(arm for arm in tied if arm is not chosen)
    untold = [arm for arm in arms.live if arm not in tied and _is_untold(arm, leader)]
    reasons = [choice_reason(chosen, tied, untold, len(arms.live)) if chosen in tied else ""]
    if chosen is not first:
        reasons.append(_passed_over(first, leader, chosen))
    return _Choice(chosen, False, True, tuple(reasons), others)


def _passed_over(first: Arm, leader: Arm, chosen: Arm) -> str:
    """Why neither the thriftiest of those that tie with the leader was chosen, nor, if that is none, the leader."""
    faster = compared(leader, chosen)
    if faster is None or _thrift(first) < _thrift(chosen):
        return beaten_reason(first, chosen)
    return unproven_reason(leader, chosen, faster)


def _leader(arms: _Field) -> Arm:
    """The fastest arm. Arms that lack categories are compared pair by pair on what both have: most wins lead."""
    first = arms.live[0]
    if all(arm.rates.keys() == first.rates.keys() and arm.means.keys() == first.means.keys() for arm in arms.live):
        return max(arms.live, key=lambda arm: arms.speedup_of(arm).value)
    return max(arms.live, key=lambda arm: (_wins(arm, arms.live), arms.speedup_of(arm).value))


def _wins(arm: Arm, others: Sequence[Arm]) -> int:
    """How many of the others an arm is faster than, less those that are faster than it."""
    pairs = [means for other in others if other is not arm and (means := shared_means(arm, other)) is not None]
    return sum((ours > theirs) - (ours < theirs) for ours, theirs in pairs)


def _ties(arm: Arm, leader: Arm) -> bool:
    """Whether the leader cannot be told apart from an arm and is hardly faster, or nothing can be compared."""
    ratio = compared(leader, arm)
    if ratio is None:
        return True
    return ratio.value <= 1 + TIE_SHARE and (ratio.ci95 is None or ratio.ci95[0] <= 1.0)


def _is_untold(arm: Arm, leader: Arm) -> bool:
    """Whether an arm is inside the leader's noise, however much slower it is by its mean."""
    ratio = compared(leader, arm)
    return ratio is None or ratio.ci95 is None or ratio.ci95[0] <= 1.0


def _is_proven(arm: Arm, arms: _Field) -> bool:
    """Whether an arm is faster than its baseline with the confidence that the number of arms asks for."""
    if arms.base is None:
        return False
    faster = compared(arm, arms.base, arms.level)
    return faster is not None and faster.ci95 is not None and faster.ci95[0] > 1.0


def _thrift(arm: Arm) -> tuple[Any, ...]:
    """What decides between arms that are equally fast: K, size of the draft, memory of the server, name.

    A method without a draft model has one of no size.
    """
    return (
        arm.k if arm.k is not None else 0,
        arm.size_bytes if arm.size_bytes is not None else float("inf"),
        arm.peak_rss_bytes if arm.peak_rss_bytes is not None else float("inf"),
        arm.draft or "",
        arm.method,
        *(each or 0 for each in values(arm, PARAMS)),
        arm.copy,
    )


def _off(leader: Arm, arms: _Field) -> _Choice:
    """No draft: proven where the interval of every arm excludes a gain."""
    tied = tuple(arm for arm in arms.live if (ci95 := arms.speedup_of(arm).ci95) is None or ci95[1] > 1.0)
    slower = not tied
    return _Choice(None, True, slower, (off_reason(leader, arms.speedup_of(leader), len(arms.live), slower),), tied)


def _by_means(leader: Arm, arms: _Field) -> _Choice:
    """The choice where a file holds means without samples."""
    reason = "by the means alone: there are no samples, so there is no interval, and nothing is proven"
    if arms.speedup_of(leader).value > 1.0:
        return _Choice(leader, False, False, (reason,))
    return _Choice(None, True, False, ("no draft has a mean above that without one", reason))


def _regret(chosen: Arm, arms: _Field) -> tuple[float | None, list[float] | None]:
    """The largest share by which an alternative's mean is faster than the choice's, at least 0.0, and its interval.

    The interval is that of the largest: each end is the largest of all alternatives' ends, at least 0.0.
    """
    alternatives = [arm for arm in (*arms.live, arms.base) if arm is not None and arm is not chosen]
    found = [ratio for arm in alternatives if (ratio := compared(arm, chosen)) is not None]
    if not found:
        return None, None
    intervals = [ratio.ci95 for ratio in found if ratio.ci95 is not None]
    worst = max(0.0, *(ratio.value - 1 for ratio in found))
    if len(intervals) < len(found):
        return worst, None
    return worst, [max(0.0, *(ends[side] - 1 for ends in intervals)) for side in (0, 1)]


def _edge(chosen: Arm, arms: _Field, group: Group, category: str, document: Mapping[str, Any]) -> str:
    """The sentence for a best K beyond which nothing was tried; "" where larger ones were.

    Where the curve was predicted it tells; else the largest K that was measured of that draft, if it was not the only.
    """
    if chosen.k is None:
        return ""
    predicted = [
        each
        for each in document.get("curves") or ()
        if each.get("predicted_tok_s") is not None
        and key_of(each) == group.key
        and (each.get("draft"), each.get("category")) == (chosen.draft, category)
    ]
    if predicted:
        at_edge = any(each.get("at_edge") and each.get("k_max") == chosen.k for each in predicted)
    else:
        everything = (*arms.live, *(arm for arm, _ in arms.out))
        tried = {arm.k for arm in everything if arm.drafter == chosen.drafter}
        at_edge = len(tried) > 1 and chosen.k == max(k for k in tried if k is not None)
    return edge_reason(chosen.k) if at_edge else ""


def _command(chosen: Arm | None, document: Mapping[str, Any]) -> str | None:
    """The command line to paste; None where the load that measured the arm does not tell."""
    if chosen is None or (chosen.method != BASELINE and chosen.k is None):
        return None
    loads = (load for load in document.get("loads") or () if load.get("id") == chosen.load)
    words = next((load.get("command") for load in loads), None)
    return shell_line(str(word).replace(K_PLACE, str(chosen.k)) for word in words) if words else None
