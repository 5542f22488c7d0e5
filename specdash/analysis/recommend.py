"""Which draft and which K to use, or none at all: one recommendation for each target and kind of text. Pure.

What is inside the noise is called equal. The fastest arm leads; those whose ratio to it has 1 in its 95 % interval, and
whose mean is at most 1 % below, tie with it, and among them the smaller K, the smaller draft, less memory wins. Without
the 1 % a wide interval would hand the choice to the smallest K whatever it costs: simulated at 3 samples a prompt, the
choice would lose less than 2 % in 46 % of runs only, with it in 97 %. An arm beats "off" when its speedup exceeds
1 at a confidence that is corrected for the m arms that were looked at: 1 - 0.05 / m (Bonferroni, two-sided), so that
where no draft helps, "off" comes out in more than 95 % of all runs however many arms were tried. Arms are compared by
their decoding; what becomes of the gain in whole answers is measured too, and said with it (`whole_answer`).

A draft can gain in decoding and lose more than that while the prompt is read, which it reads too. So a recommendation
says what becomes of its gain in whole answers, as they were measured: with this run's prompts and lengths. Where an
answer has another length than its baseline's, its decoding counts as if it had the same, since texts that end
elsewhere are no gain or loss of the draft.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

from specdash.analysis.candidates import (
    REFUSED,
    AnswerTime,
    Candidate,
    SettingGroup,
    candidates_of,
    common_means,
    compared,
    groups_of,
    overall_mean,
    shared_means,
    text_groups,
)
from specdash.analysis.grouping import group_of
from specdash.analysis.reasons import (
    NO_BASELINE,
    ONLY_TEXTS,
    baseline_reason,
    beaten_reason,
    choice_reason,
    edge_reason,
    joined_reason,
    off_reason,
    out_reason,
    unproven_reason,
)
from specdash.analysis.result import Recommendation, Result, Tied, WholeAnswer
from specdash.analysis.speedups import PARTS, Question
from specdash.analysis.stats import CONFIDENCE, Interval, Speedup, speedup
from specdash.core.axes import PARAMS, values
from specdash.core.events import K_PLACE
from specdash.core.measure import Verdict
from specdash.core.methods import BASELINE
from specdash.core.profile import ALL
from specdash.core.secrets import shell_line

TIE_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class _Field:
    """The arms of one question: those that may be recommended with their speedups, and why the others may not."""

    base: Candidate | None
    live: tuple[Candidate, ...]
    speedups: Mapping[int, Speedup]  # by position in `live`
    out: tuple[tuple[Candidate, str], ...]

    def speedup_of(self, arm: Candidate) -> Speedup:
        """The speedup of an arm that may be recommended."""
        return self.speedups[self.live.index(arm)]

    @property
    def level(self) -> float:
        """The confidence that one arm needs for all together to be wrong in 5 % of runs at most."""
        return 1 - (1 - CONFIDENCE) / max(1, len(self.live))


@dataclass(frozen=True, slots=True)
class _Choice:
    """What is recommended; `arm` None: no draft where `off`, else nothing can be said."""

    arm: Candidate | None
    off: bool
    proven: bool
    reasons: tuple[str, ...]
    tied: tuple[Candidate, ...] = field(default=())
    names_tied: bool = False  # the reasons name the tied arms


def recommendations(result: Result) -> tuple[Recommendation, ...]:
    """The recommendations of a result, "all" before the single categories of each group.

    Where texts alone were compared there is one entry that says so.
    """
    found = [
        _recommended(group, category, result)
        for group in groups_of(result.measurements)
        for category in (ALL, *group.categories)
    ]
    texts = (Recommendation(baseline=replace(key, category=ALL), reason=ONLY_TEXTS) for key in text_groups(result))
    return (*found, *texts)


def _recommended(group: SettingGroup, category: str, result: Result) -> Recommendation:
    arms = _field(group, category, result)
    choice = _choose(arms)
    edge = _edge(choice.arm, arms, group, category, result) if choice.arm is not None else ""
    chosen = arms.base if choice.off else choice.arm
    faster = arms.speedup_of(choice.arm) if choice.arm is not None else None
    means = shared_means(chosen, arms.base) if chosen is not None and arms.base is not None else None
    regret, regret_ci95 = _regret(chosen, arms) if chosen is not None else (None, None)
    whole = whole_answer(choice.arm, arms.base) if choice.arm is not None and arms.base is not None else None
    eaten = whole_answer_reason(whole) if choice.arm is not None else ""
    return Recommendation(
        baseline=replace(group.key, category=category),
        choice=replace(chosen.step, category=category) if chosen is not None else None,
        speedup=faster.value if faster is not None else 1.0 if choice.off else None,
        ci95=faster.ci95 if faster is not None else None,
        tok_s=means[0] if means is not None else None,
        baseline_tok_s=overall_mean(arms.base) if means is None and arms.base is not None else means and means[1],
        regret=regret,
        regret_ci95=regret_ci95,
        whole_answer=whole,
        off=choice.off,
        proven=choice.proven,
        tied=tuple(Tied(replace(arm.step, category=category), arms.speedup_of(arm).value) for arm in choice.tied),
        reason=joined_reason((*choice.reasons, eaten, edge, out_reason(arms.out))),
        reason_names_tied=choice.names_tied,
        command=_command(chosen, result),
    )


def _field(group: SettingGroup, category: str, result: Result) -> _Field:
    """The arms of a question, sorted into those that may be recommended and those that may not."""
    base, arms = candidates_of(group, category, result)
    if base is not None and overall_mean(base) is None:
        return _Field(base, (), {}, ())
    moved = _moved(group, result) if category == ALL else 0.0
    live: list[Candidate] = []
    speedups: dict[int, Speedup] = {}
    out: list[tuple[Candidate, str]] = []
    for arm in arms:
        faster = compared(arm, base) if base is not None else None
        against = _against(arm, base, faster, moved, category)
        if against:
            out.append((arm, against))
        elif faster is not None:
            speedups[len(live)] = faster
            live.append(arm)
    return _Field(base, tuple(live), speedups, tuple(out))


def _against(arm: Candidate, base: Candidate | None, faster: Speedup | None, moved: float, category: str) -> str:
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


def _moved(group: SettingGroup, result: Result) -> float:
    """By what share the group's baseline moved between the passes; 0.0 where there was one pass."""
    return max((abs(each.moved) for each in result.anchors if group_of(each.baseline) == group.key), default=0.0)


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
    return _Choice(chosen, False, True, tuple(reasons), others, names_tied=chosen in tied and len(tied) > 1)


def _passed_over(first: Candidate, leader: Candidate, chosen: Candidate) -> str:
    """Why neither the thriftiest of those that tie with the leader was chosen, nor, if that is none, the leader."""
    faster = compared(leader, chosen)
    if faster is None or _thrift(first) < _thrift(chosen):
        return beaten_reason(first, chosen)
    return unproven_reason(leader, chosen, faster)


def _leader(arms: _Field) -> Candidate:
    """The fastest arm. Arms that lack categories are compared pair by pair on what both have: most wins lead."""
    first = arms.live[0]
    if all(arm.rates.keys() == first.rates.keys() and arm.means.keys() == first.means.keys() for arm in arms.live):
        return max(arms.live, key=lambda arm: arms.speedup_of(arm).value)
    return max(arms.live, key=lambda arm: (_wins(arm, arms.live), arms.speedup_of(arm).value))


def _wins(arm: Candidate, others: Sequence[Candidate]) -> int:
    """How many of the others an arm is faster than, less those that are faster than it."""
    pairs = [means for other in others if other is not arm and (means := shared_means(arm, other)) is not None]
    return sum((ours > theirs) - (ours < theirs) for ours, theirs in pairs)


def _ties(arm: Candidate, leader: Candidate) -> bool:
    """Whether the leader cannot be told apart from an arm and is hardly faster, or nothing can be compared."""
    ratio = compared(leader, arm)
    if ratio is None:
        return True
    return ratio.value <= 1 + TIE_SHARE and (ratio.ci95 is None or ratio.ci95[0] <= 1.0)


def _is_untold(arm: Candidate, leader: Candidate) -> bool:
    """Whether an arm is inside the leader's noise, however much slower it is by its mean."""
    ratio = compared(leader, arm)
    return ratio is None or ratio.ci95 is None or ratio.ci95[0] <= 1.0


def _is_proven(arm: Candidate, arms: _Field) -> bool:
    """Whether an arm is faster than its baseline with the confidence that the number of arms asks for."""
    if arms.base is None:
        return False
    faster = compared(arm, arms.base, arms.level)
    return faster is not None and faster.ci95 is not None and faster.ci95[0] > 1.0


def _thrift(arm: Candidate) -> tuple[Any, ...]:
    """What decides between arms that are equally fast: K, size of the draft, memory of the server, name.

    A method without a draft model has one of no size.
    """
    return (
        arm.step.k if arm.step.k is not None else 0,
        arm.size_bytes if arm.size_bytes is not None else float("inf"),
        arm.peak_rss_bytes if arm.peak_rss_bytes is not None else float("inf"),
        arm.step.draft or "",
        arm.step.method,
        *(each or 0 for each in values(arm.step, PARAMS)),
        arm.step.copy,
    )


def _off(leader: Candidate, arms: _Field) -> _Choice:
    """No draft: proven where the interval of every arm excludes a gain."""
    tied = tuple(arm for arm in arms.live if (ci95 := arms.speedup_of(arm).ci95) is None or ci95[1] > 1.0)
    slower = not tied
    return _Choice(None, True, slower, (off_reason(leader, arms.speedup_of(leader), len(arms.live), slower),), tied)


def _by_means(leader: Candidate, arms: _Field) -> _Choice:
    """The choice where a file holds means without samples."""
    reason = "by the means alone: there are no samples, so there is no interval, and nothing is proven"
    if arms.speedup_of(leader).value > 1.0:
        return _Choice(leader, False, False, (reason,))
    return _Choice(None, True, False, ("no draft has a mean above that without one", reason))


def _regret(chosen: Candidate, arms: _Field) -> tuple[float | None, Interval | None]:
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
    low, high = (max(0.0, *(ends[side] - 1 for ends in intervals)) for side in (0, 1))
    return worst, (low, high)


def _edge(chosen: Candidate, arms: _Field, group: SettingGroup, category: str, result: Result) -> str:
    """The sentence for a best K beyond which nothing was tried; "" where larger ones were.

    Where the curve was predicted it tells; else the largest K that was measured of that draft, if it was not the only.
    """
    step = chosen.step
    if step.k is None:
        return ""
    predicted = [
        each
        for each in result.curves
        if each.predicted_tok_s is not None
        and (each.step.draft, each.step.category) == (step.draft, category)
        and group_of(each.step) == group.key
    ]
    if predicted:
        at_edge = any(each.at_edge and each.k_max == step.k for each in predicted)
    else:
        everything = (*arms.live, *(arm for arm, _ in arms.out))
        tried = {arm.step.k for arm in everything if arm.drafter == chosen.drafter}
        at_edge = len(tried) > 1 and step.k == max(k for k in tried if k is not None)
    return edge_reason(step.k) if at_edge else ""


def _command(chosen: Candidate | None, result: Result) -> str | None:
    """The command line to paste; None where the load that measured the arm does not tell."""
    if chosen is None or (chosen.step.method != BASELINE and chosen.step.k is None):
        return None
    load = result.load(chosen.load)
    if load is None or not load.command:
        return None
    return shell_line(word.replace(K_PLACE, str(chosen.step.k)) for word in load.command)


def whole_answer(arm: Candidate, base: Candidate) -> WholeAnswer | None:
    """The time of an arm's answers over that of its baseline's: `ratio` below 1 is faster; None where it is unknown.

    `ci95` is of pairs of the same prompt in the same block, None below two. The times, in seconds, are means of what
    was asked of both: `total_time_s` as `ratio` compares it, `ttft_s` to the first token.
    """
    pairs = _pairs(arm.answers, base.answers)
    if not pairs:
        times = common_means(arm.totals, base.totals)
        return None if times is None else _told(Speedup(times[0] / times[1], None, None), times, (None, None), 0)
    ours, theirs = ([(key, pair[side]) for key, pair in pairs.items()] for side in (0, 1))
    ratio = speedup(ours, theirs, strata=PARTS)
    if ratio is None:
        return None
    first = [(arm.answers[key].ttft_s, base.answers[key].ttft_s) for key in pairs]
    known = [(mine, other) for mine, other in first if mine is not None and other is not None]
    ttft = (fmean(mine for mine, _ in known), fmean(other for _, other in known)) if known else (None, None)
    return _told(ratio, (_mean(ours), _mean(theirs)), ttft, len(pairs))


def _told(
    ratio: Speedup, times: tuple[float, float], ttft: tuple[float | None, float | None], pairs: int
) -> WholeAnswer:
    return WholeAnswer(
        ratio=ratio.value,
        ci95=ratio.ci95,
        n=pairs,
        total_time_s=times[0],
        baseline_total_time_s=times[1],
        ttft_s=ttft[0],
        baseline_ttft_s=ttft[1],
    )


def _pairs(
    ours: Mapping[Question, AnswerTime], theirs: Mapping[Question, AnswerTime]
) -> dict[Question, tuple[float, float]]:
    """The times of both to what was asked of both, for answers of the baseline's length."""
    found = {
        key: (answer.time_for(theirs[key].tokens), theirs[key].total_s) for key, answer in ours.items() if key in theirs
    }
    return {key: (mine, other) for key, (mine, other) in found.items() if mine is not None}


def _mean(values: Sequence[tuple[Question, float]]) -> float:
    return fmean(value for _, value in values)


def whole_answer_reason(found: WholeAnswer | None) -> str:
    """What to add to the reason of a gain in decoding; "" where whole answers are known to be faster too."""
    ratio = found.ratio if found is not None else None
    if found is None or ratio is None:
        return "whole answers were not timed, so what the prefill takes of the gain is not known"
    mean = f"{_percent(max(ratio, 2 - ratio))} % {'longer' if ratio > 1 else 'less'} by the mean"
    if found.ci95 is None:
        return f"whether whole answers are faster too cannot be told: {mean}, without an interval"
    low, high = found.ci95
    if high < 1:
        return ""
    if low > 1:
        ends = f"{_percent(low)} to {_percent(high)} %" if high < math.inf else f"{_percent(low)} % at least"
        return f"but whole answers, as measured, take {_percent(ratio)} % longer ({ends}){_first_token(found)}"
    ends = f"{_signed(low)} to {_signed(high)} %"
    return f"whether whole answers are faster too cannot be told: {mean} ({ends}){_first_token(found)}"


def _first_token(found: WholeAnswer) -> str:
    """How much later the first token comes; "" where it does not."""
    mine, other = found.ttft_s, found.baseline_ttft_s
    if mine is None or other is None or mine <= other:
        return ""
    return f": the first token comes after {mine:.3g} s instead of {other:.3g} s"


def _percent(ratio: float) -> str:
    """By how many per cent a ratio is above 1."""
    percent = 100 * (ratio - 1)
    return f"{percent:.0f}" if percent >= 10 else f"{percent:.2g}"


def _signed(ratio: float) -> str:
    return "?" if math.isinf(ratio) else f"{round(100 * (ratio - 1), 1) + 0.0:+g}"
