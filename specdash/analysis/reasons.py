"""The sentences that give the reason of a recommendation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from specdash.analysis.candidates import Candidate
from specdash.analysis.stats import Speedup

NO_BASELINE = "no baseline: nothing says whether a draft helps"
ONLY_TEXTS = "only texts were compared (workload lossless): add content to measure speeds"
NAMED = 3
_LADDER = (2, 4, 8, 16, 24, 32, 48, 64, 96, 128)


def joined_reason(parts: Iterable[str]) -> str:
    """Parts of a reason as one line; empty ones are left out."""
    return "; ".join(part for part in parts if part)


def baseline_reason(base: Candidate) -> str:
    """Why a baseline that was measured is none."""
    why = base.faults[0] if base.faults else "without a rate"
    return f"the baseline is {why}: nothing says whether a draft helps"


def choice_reason(chosen: Candidate, tied: Sequence[Candidate], untold: Sequence[Candidate], looked_at: int) -> str:
    """Why an arm was chosen among those that tie with the leader.

    `untold` are slower by their means than what ties, and still inside the noise.
    """
    if len(tied) == 1:
        if untold:
            return f"the fastest by its mean; {_named(untold, chosen)} cannot be told from it at this noise"
        if looked_at == 1:
            return "faster than no draft beyond the noise"
        return f"the fastest of {looked_at} arms beyond the noise"
    taken = f"{_named(tied, chosen)} cannot be told apart at this noise; {_decided_by(chosen, tied)} is taken"
    return f"{taken}; nor can {_named(untold, chosen)}, slower by the means" if untold else taken


def _named(arms: Sequence[Candidate], chosen: Candidate) -> str:
    """Arms in a row: by K alone where all are of the chosen one's draft, the first few of many."""
    same = {arm.drafter for arm in (*arms, chosen)}
    if len(same) == 1 and len({arm.step.k for arm in arms}) == len(arms):
        return f"K = {_listed(str(arm.step.k) for arm in sorted(arms, key=lambda arm: arm.step.k or 0))}"
    names = _listed(arm.label for arm in arms[:NAMED])
    return names + (f" ({len(arms) - NAMED} more)" if len(arms) > NAMED else "")


def _decided_by(chosen: Candidate, tied: Sequence[Candidate]) -> str:
    """What the choice between equally fast arms was decided by."""
    some = "smaller" if len(tied) == 2 else "smallest"
    rest = [arm for arm in tied if arm.step.k == chosen.step.k]
    if len(rest) < len(tied):
        names = {arm.drafter for arm in tied}
        return f"the {some} one" if len(names) == 1 else f"the {some} K"
    if any(arm.size_bytes != chosen.size_bytes for arm in rest):
        return f"the {some} draft"
    if any(arm.peak_rss_bytes != chosen.peak_rss_bytes for arm in rest):
        return "the one that takes less memory"
    return "the first by name"


def unproven_reason(leader: Candidate, chosen: Candidate, faster: Speedup) -> str:
    """Why the fastest arm was passed over for a thriftier one; `faster` is its ratio to the chosen one."""
    is_same = leader.drafter == chosen.drafter
    name = f"K = {leader.step.k}" if is_same and leader.step.k is not None else leader.label
    percent = 100 * (faster.value - 1)
    by = f"{percent:.0f}" if percent >= 10 else f"{percent:.2g}"
    return f"{name} is {by} % faster by its mean, but not proven against no draft"


def beaten_reason(first: Candidate, chosen: Candidate) -> str:
    """Why the thriftiest arm was passed over."""
    return f"{first.label} would be the thriftier choice, but only {chosen.label} is proven faster than no draft"


def off_reason(leader: Candidate, faster: Speedup, looked_at: int, is_slower: bool) -> str:
    """Why no draft is recommended."""
    best = f"{leader.label}, is {faster.value:.3g} times as fast as none"
    if faster.ci95 is not None:
        best += f" ({faster.ci95[0]:.3g} to {faster.ci95[1]:.3g})"
    if is_slower:
        return f"every draft is slower than none: the best, {best}"
    if faster.ci95 is not None and faster.ci95[0] > 1.0:
        best += f", which is too little to tell from chance among {looked_at} arms"
    return f"no draft is faster beyond the noise: the best, {best}"


def edge_reason(k: int) -> str:
    """The best K is the largest that was tried, and the line of the profile that goes on from there."""
    above = [each for each in _LADDER if each > k][:2]
    further = above if len(above) == 2 else [k + k // 2, 2 * k]
    return f"the best K is the largest that was tried: sweep.k = {[k, *further]} goes on from here"


def out_reason(out: Sequence[tuple[Candidate, str]]) -> str:
    """Which arms could not be recommended whatever their rates, and why; the first few by name."""
    if not out:
        return ""
    same = {why for _, why in out}
    if len(same) == 1 and len(out) > 1:
        return f"{len(out)} arms are out ({same.pop()})"
    named = ", ".join(f"{arm.label} ({why})" for arm, why in out[:NAMED])
    more = f" and {len(out) - NAMED} more" if len(out) > NAMED else ""
    return f"out: {named}{more}"


def _listed(names: Iterable[str]) -> str:
    """Names in a row: "a", "a and b", "a, b and c"."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
