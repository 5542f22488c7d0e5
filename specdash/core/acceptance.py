"""What samples say of drafting, together: the one place where their counts are added up.

Counts that are inferred from how tokens arrived take K as it was asked for, and most answers cannot prove that it took
effect: that takes a step which accepted all K tokens. One that has such a step proves K for all that were asked with
it. To add up those alone would be to choose the answers that went well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from specdash.core.engine import DRAFTED, K_SEEN
from specdash.core.measure import INFERRED, Sample
from specdash.core.status import SampleStatus


@dataclass(frozen=True, slots=True)
class Drafting:
    """How many tokens were drafted and how many of them accepted; `source` as `Sample.acceptance_source`."""

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
    return _together(map(drafting_of_sample, proven(samples)))


def drafting_over(steps: Iterable[Sequence[Sample]]) -> Drafting | None:
    """The counts of several steps, each with its samples; None where none tells, or where one cannot prove its K.

    Without that one the others would stand for all, and they are those that went well.
    """
    groups = [(samples, drafting_of(samples)) for samples in steps]
    if any(found is None and any(map(_rests_on_k, samples)) for samples, found in groups):
        return None
    return _together(found for _, found in groups)


def proven(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """Samples of one K, those without their draft counts that rest on a K which no valid one proves."""
    if any(each.k_seen is not None and each.status == SampleStatus.OK for each in samples):
        return tuple(samples)
    return tuple(_without_counts(each) if _rests_on_k(each) else each for each in samples)


def drafting_of_sample(sample: Sample) -> Drafting | None:
    """The counts of one of the samples that `proven` gives; None where they are not known."""
    if sample.draft_tokens is None or sample.accepted_tokens is None:
        return None
    return Drafting(sample.draft_tokens, sample.accepted_tokens, sample.acceptance_source)


def share_of(sample: Sample) -> float | None:
    """The acceptance rate of one of the samples that `proven` gives; None where its counts are not known."""
    told = drafting_of_sample(sample)
    return told.rate if told is not None else None


def _together(parts: Iterable[Drafting | None]) -> Drafting | None:
    """The counts of those that are known as one; None where none is."""
    known = [each for each in parts if each is not None]
    if not known:
        return None
    drafted, accepted = sum(each.drafted for each in known), sum(each.accepted for each in known)
    return Drafting(drafted, accepted, _source(each.source for each in known))


def _rests_on_k(sample: Sample) -> bool:
    return sample.acceptance_source == INFERRED and sample.draft_tokens is not None


def _without_counts(sample: Sample) -> Sample:
    why = sample.unknown.get(K_SEEN)
    unknown = sample.unknown if why is None else {DRAFTED: why, **sample.unknown}
    return replace(sample, draft_tokens=None, accepted_tokens=None, unknown=unknown)


def _source(sources: Iterable[str | None]) -> str | None:
    """Where draft counts come from: "inferred" if any do, None where nobody says."""
    known = {source for source in sources if source is not None}
    return INFERRED if INFERRED in known else next(iter(sorted(known)), None)
