"""How long whole answers take beside those without a draft, from the request to the last token. Pure.

A draft can gain in decoding and lose more than that while the prompt is read, which it reads too. So a recommendation
says what becomes of its gain in whole answers, as they were measured: with this run's prompts and lengths. Where an
answer has another length than its baseline's, its decoding counts as if it had the same, since texts that end
elsewhere are no gain or loss of the draft.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from specdash.analysis.candidates import Answer, Candidate, common_means
from specdash.analysis.result import WholeAnswer
from specdash.analysis.speedups import PARTS, Asked
from specdash.analysis.stats import Speedup, speedup


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


def _pairs(ours: Mapping[Asked, Answer], theirs: Mapping[Asked, Answer]) -> dict[Asked, tuple[float, float]]:
    """The times of both to what was asked of both, for answers of the baseline's length."""
    found = {
        key: (answer.time_for(theirs[key].tokens), theirs[key].total_s) for key, answer in ours.items() if key in theirs
    }
    return {key: (mine, other) for key, (mine, other) in found.items() if mine is not None}


def _mean(values: Sequence[tuple[Asked, float]]) -> float:
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
