"""What the samples of a run tell of how long others will take: kept up step by step, never gathered anew.

A sample is predicted from those of the same pair and K where there are any, else of the same pair, else of the same
target, else from all, each less certain than the one before; and from the length of its prompt against theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from specdash.core.measure import Sample
from specdash.core.plan import LoadKey, Step
from specdash.core.priors import ZERO, Range, RequestTime, Tokens
from specdash.core.state import LoadState
from specdash.core.step_state import StepState
from specdash.core.unmeasured_requests import UnmeasuredRequests

# By how many times a forecast may be off, to either side, by how alike the steps are: those of the same pair and K; of
# the same pair; of the same target, which a draft may make three times as fast or as slow; of another target.
SPREADS = (1.2, 1.5, 3.0, 4.0)
FIRST_SPREAD = 2.0  # at least, until two steps are done
LENGTH_SPREAD = 1.1  # of the tokens of a prompt whose like was seen, in bytes

Kind = tuple[object, ...]


class StepTiming(NamedTuple):
    """What the samples of one step tell; sums over kinds of steps are of the same shape.

    `wall_s` of a sample that counts, those that had to be taken again for it among it; `tokens` of a prompt that was
    read. `text_tokens` of `text_bytes`: what the tokenizer makes of a prompt, without the context before it. The counts
    `steps` and `read` say of how many steps each is the sum.
    """

    steps: float = 0
    wall_s: float = 0.0
    read: float = 0
    tokens: float = 0.0
    read_s: float = 0.0
    text_tokens: float = 0.0
    text_bytes: float = 0.0

    def plus(self, other: StepTiming, sign: int = 1) -> StepTiming:
        """The sum, or the difference."""
        return StepTiming(*(mine + sign * each for mine, each in zip(self, other, strict=True)))


NOTHING = StepTiming()


def timing_of(found: StepState, asked: UnmeasuredRequests) -> StepTiming:
    """What the samples of a step tell of others like it."""
    if not found.samples:
        return NOTHING
    counted = len(found.good) or len(found.samples)
    read = [each for each in found.samples if each.prompt_tokens is not None and (each.prefill_time_s or 0) > 0]
    tokens = sum(_processed(each) for each in read)
    sizes = asked.prompt_bytes.get(found.step.category, ())
    text = [(each.prompt_tokens - found.step.depth, sizes[each.block % len(sizes)])
            for each in read if sizes and each.prompt_tokens is not None]  # fmt: skip
    return StepTiming(
        steps=1,
        wall_s=found.wall_s / counted,
        read=1 if tokens else 0,
        tokens=tokens / len(read) if tokens else 0.0,
        read_s=sum(each.prefill_time_s or 0.0 for each in read) / len(read) if tokens else 0.0,
        text_tokens=sum(max(0, each) for each, _ in text),
        text_bytes=sum(size for _, size in text),
    )


def _processed(sample: Sample) -> int:
    return (sample.prompt_tokens or 0) - (sample.cached_tokens or 0)


class StepTimings:
    """The sums of all that is known, by kind; `change` takes a step's part out and puts its new one in."""

    def __init__(self) -> None:
        self._of_step: dict[str, StepTiming] = {}
        self._sums: dict[Kind, StepTiming] = {}
        self._of_texts: dict[str, StepTiming] = {}  # by target, whose tokenizer it is
        self._done: dict[str, None] = {}
        self._starts: dict[Kind, tuple[int, float]] = {}
        self._warm_ups: dict[Kind, float] = {}
        self._asked: dict[bool, float] = {}  # with speculation, and without

    def change(self, step_id: str, pair: LoadKey, found: StepState, asked: UnmeasuredRequests) -> None:
        """A step is as it is now."""
        if found.is_done and found.samples:
            self._done[step_id] = None
        else:
            self._done.pop(step_id, None)
        before, now = self._of_step.pop(step_id, NOTHING), timing_of(found, asked)
        if before is NOTHING and now is NOTHING:
            return
        if now is not NOTHING:
            self._of_step[step_id] = now
        target = pair.target
        for kind in timing_kinds(pair, found.step.k):
            self._sums[kind] = self._sums.get(kind, NOTHING).plus(before, -1).plus(now)
        self._of_texts[target] = self._of_texts.get(target, NOTHING).plus(before, -1).plus(now)

    def change_load(self, before: LoadState | None, load: LoadState) -> None:
        """A load is as it is now."""
        key = load.key.target, load.key.draft
        for each, sign in ((before, -1), (load, 1)):
            if each is not None and each.load_time_s is not None:
                for models in (key, ()):
                    count, total_s = self._starts.get(models, (0, 0.0))
                    self._starts[models] = count + sign, total_s + sign * each.load_time_s
        if load.asked_s is not None:
            self._asked[load.key.speculates] = load.asked_s
        if load.warm_up_s is not None:
            for kind in timing_kinds(load.key.pair, load.key.k_startup)[1:]:
                self._warm_ups[kind] = load.warm_up_s

    def start(self, key: LoadKey) -> Range | None:
        """How long a load takes: from those of the same models, else from all; None before there was any."""
        for kind in ((key.target, key.draft), ()):
            count, total_s = self._starts.get(kind, (0, 0.0))
            if count:
                return range_around(total_s / count, self.spread)
        return None

    def asked_first(self, key: LoadKey) -> Range | None:
        """How long a load is asked what has to be known before its warm-up; None before it was seen."""
        known = self._asked.get(key.speculates)
        return range_around(known, max(self.spread, SPREADS[1])) if known is not None else None

    def tokens(self, target: str, text_bytes: float | None, depth: float) -> Tokens | None:
        """The length of a prompt, as this run's tokenizer was seen to make tokens of bytes; None before it was."""
        known = self._of_texts.get(target, NOTHING)
        if text_bytes is None or known.text_bytes < 1 or known.text_tokens <= 0:
            return None
        middle = text_bytes * known.text_tokens / known.text_bytes
        return Tokens(depth + middle / LENGTH_SPREAD, depth + middle * LENGTH_SPREAD)

    def sample(self, pair: LoadKey, k: int | None, tokens: Tokens | None) -> RequestTime | None:
        """One sample of a step of this pair and K, whose prompt has so many tokens; None where nothing is known."""
        least = FIRST_SPREAD if len(self._done) < 2 else 1.0
        for likeness, kind in enumerate(timing_kinds(pair, k)):
            known, spread = self._sums.get(kind, NOTHING), max(least, SPREADS[likeness])
            if known.steps > 0.5:  # a sum of floats
                return _request(known, tokens, spread)
            # Until a pair has a sample, its warm-up tells more than another pair's samples.
            if (warm_up_s := self._warm_ups.get(kind)) is not None:
                return RequestTime(ZERO, range_around(warm_up_s, spread))
        return None

    @property
    def spread(self) -> float:
        """By how many times the forecast of a load may be off."""
        return FIRST_SPREAD if len(self._done) < 2 else SPREADS[0]


def _request(known: StepTiming, tokens: Tokens | None, spread: float) -> RequestTime:
    """A request like those that are known, with a prompt of its own."""
    wall_s = known.wall_s / known.steps
    if known.read < 0.5 or known.tokens <= 0:
        return RequestTime(ZERO, range_around(wall_s, spread))
    mean, token_s = known.tokens / known.read, known.read_s / known.tokens
    answer_s = max(0.0, wall_s - mean * token_s)
    ours = tokens if tokens is not None else Tokens(mean, mean)
    read = Range(ours.low * token_s / spread, ours.high * token_s * spread)
    return RequestTime(read, range_around(answer_s, spread))


def range_around(middle_s: float, spread: float) -> Range:
    """A range of so many times to both sides."""
    return Range(middle_s / spread, middle_s * spread)


def timing_kinds(pair: LoadKey, k: int | None) -> Sequence[Kind]:
    """What a step is like, the closest likeness first."""
    return (pair, k), (pair,), (pair.target,), ()


@dataclass(slots=True)
class Backlog:
    """The open steps of one pair at one K that one server takes: sums over them, so that many cost as much as few."""

    step: Step  # one of them
    k_startup: int | None = None  # of their samples, where these need a server like theirs
    steps: int = 0
    samples: int = 0
    text_bytes: float = 0.0  # of the mean prompt of each step
    depth: int = 0  # of each step
    unknown: int = 0  # steps whose prompts' length is not known
    checks: float = 0.0  # answers to compare texts by, in whole samples
    prompts: float = 0.0  # that these answers read
