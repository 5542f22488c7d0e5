"""What samples say of drafting, together: the one place where their counts are added up.

Counts that are inferred from how tokens arrived take K as it was asked for, and most answers cannot prove that it took
effect: that takes a step which accepted all K tokens. One that has such a step proves K for all that were asked with
it. To add up those alone would be to choose the answers that went well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from specdash.core.engine import ACCEPTED, DRAFTED, K_SEEN
from specdash.core.measure import INFERRED, Sample


@dataclass(frozen=True, slots=True)
class Drafting:
    """How many tokens were drafted and how many of them accepted; `source` is `acceptance_source` of the samples."""

    drafted: int
    accepted: int
    source: str | None

    @property
    def rate(self) -> float | None:
        """The acceptance rate; None where nothing was drafted."""
        return self.accepted / self.drafted if self.drafted else None

    @property
    def is_inferred(self) -> bool:
        """Whether any of the counts is inferred, and nobody told it."""
        return self.source == INFERRED


def drafting_of(samples: Sequence[Sample]) -> Drafting | None:
    """The counts of samples of one K as one, long answers weighing more; None where no sample tells."""
    known = [each for each in proven(samples) if each.draft_tokens is not None and each.accepted_tokens is not None]
    if not known:
        return None
    drafted, accepted = (sum(getattr(each, name) for each in known) for name in (DRAFTED, ACCEPTED))
    return Drafting(drafted, accepted, _source(known))


def proven(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """Samples of one K, those without their draft counts that rest on a K which none of them proves."""
    if any(each.k_seen is not None for each in samples):
        return tuple(samples)
    return tuple(_without_counts(each) if each.acceptance_source == INFERRED else each for each in samples)


def _without_counts(sample: Sample) -> Sample:
    why = sample.unknown.get(K_SEEN)
    unknown = sample.unknown if why is None else {DRAFTED: why, **sample.unknown}
    return replace(sample, draft_tokens=None, accepted_tokens=None, unknown=unknown)


def _source(samples: Iterable[Sample]) -> str | None:
    """Where draft counts come from: "inferred" if any do, None where nobody says."""
    sources = {sample.acceptance_source for sample in samples if sample.acceptance_source is not None}
    return INFERRED if INFERRED in sources else next(iter(sorted(sources)), None)
