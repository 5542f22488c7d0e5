"""What a run asks of its servers beside the samples: warm-ups, texts to compare, short answers for step costs, probes.

One account of it, for every forecast. How it is asked is `runtime.side_records` and `runtime.sampler`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from specdash.core.events import RunSettings, StepTimes
from specdash.core.methods import BASELINE
from specdash.core.plan import LoadKey, Step
from specdash.core.priors import ZERO, Range, RequestTime
from specdash.core.profile import LOSSLESS

CHECKED_TOKENS = 128  # of an answer, by default: enough to see a broken arm, and no second measurement
ROUNDING_PLACES = 1000  # tokens from the cache that tell a server's rounding: 99 % of them, and its largest
MOST_TRACES = 6  # whose ends are asked for step costs
PROBES = 3  # requests that tell who decides K
PROBE_TOKENS = 16  # that each of them takes beside K, at most


@dataclass(frozen=True, slots=True)
class UnmeasuredRequests:
    """What a run asks, by its settings; `prompt_bytes` of each prompt by category, empty where unknown."""

    settings: RunSettings = field(default_factory=RunSettings)
    prompt_bytes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    _means: dict[str, float | None] = field(default_factory=dict, compare=False, repr=False)  # asked at every sample

    @property
    def max_tokens(self) -> int | None:
        """How long an answer may be; None where that is not known."""
        return self.settings.max_tokens

    def mean_bytes(self, category: str) -> float | None:
        """How long a prompt of a category is; None where that is not known."""
        if category not in self._means:
            sizes = self.prompt_bytes.get(category)
            self._means[category] = fmean(sizes) if sizes else None
        return self._means[category]

    def checks(self, step: Step, samples: int) -> tuple[int, int]:
        """How many answers of how many tokens a step's text is compared by, where its samples do not do for it."""
        longest = self.max_tokens or CHECKED_TOKENS
        is_greedy = step.workload == LOSSLESS or not self.settings.temperature
        if is_greedy and step.method != BASELINE:
            return 0, 0
        tokens = longest if step.workload == LOSSLESS else min(longest, CHECKED_TOKENS)
        prompts = len(self.prompt_bytes.get(step.category, ())) or samples
        return (min(samples, prompts) if is_greedy else min(samples, 1)), tokens

    def check_time(self, step: Step, samples: int, one: RequestTime) -> Range:
        """The time of a step's checks, where one sample takes `one`."""
        answers, tokens = self.checks(step, samples)
        if not answers:
            return ZERO
        share = tokens / max(1, self.max_tokens or tokens)
        whole = one.short(share).times(answers)
        if step.method != BASELINE:
            return whole
        # A baseline answers again from its cache, in turns with its other categories, on servers that keep a prompt.
        again = min(answers, math.ceil(ROUNDING_PLACES / (tokens * max(1, len(self.prompt_bytes)))))
        return whole + Range(0.0, one.answer.high_s * share * again)

    def load_time(
        self, key: LoadKey, one: RequestTime, first: Range | None, *, is_probed: bool, k_is_fixed: bool
    ) -> Range:
        """What a load asks beside the samples of its steps: the probe of K, warm-ups, step costs of a curve.

        `first`: how long it takes to ask what comes before the warm-up, where that was seen.
        """
        whole = one.whole.times(self.settings.warmup or 0) + (first or ZERO)
        if key.draft is None or key.k_startup is None or not self.max_tokens:
            return whole
        if is_probed and first is None:
            whole += Range(0.0, one.whole.high_s * PROBES * max(1.0, (key.k_startup + PROBE_TOKENS) / self.max_tokens))
        if self.settings.k == "curve" and key.is_plain:
            (few, short), (many, long) = cost_answers(key.k_startup, self.max_tokens, k_is_fixed=k_is_fixed)
            low = one.answer.times(short / self.max_tokens)
            whole += Range(
                low.low_s if few else 0.0, one.read.high_s * many + one.answer.high_s * long / self.max_tokens
            )
        return whole


def cost_answers(k: int, max_tokens: int, *, k_is_fixed: bool) -> tuple[tuple[int, int], tuple[int, int]]:
    """How many short answers tell the step costs of a curve, and of how many tokens in all: at least, and at most.

    Where K is fixed, that depends on how well the draft guesses: bounded by a text of which it guesses all, and one of
    which it guesses nothing.
    """
    if not k_is_fixed:
        lengths = request_lengths(k)
        tokens = sum(each for _, each in lengths)
        return (len(lengths), tokens), (MOST_TRACES * len(lengths), MOST_TRACES * tokens)
    found = []
    for accepted in (k, 0):
        steps = max(1, (max_tokens - 1) // (accepted + 1))
        trace = StepTimes("", "", "sample", 0, (k,) * steps, (accepted,) * steps, (None,) * steps)
        asked = cost_requests(trace, k)
        found.append((len(asked), sum(asked)))
    most = tuple(MOST_TRACES * max(each) for each in zip(*found, strict=True))
    least = tuple(min(each) for each in zip(*found, strict=True))
    return (least[0], least[1]), (most[0], most[1])


# Every short length, where costs climb steeply and most best Ks lie; behind them those around 16 and 32 verified
# tokens, where kernels change, and enough to draw lines between.
LENGTHS = (*range(9), 10, 12, 14, 15, 16, 20, 24, 28, 31, 32, 36, 40, 44, 47)
# What is asked as K of a server that takes it from the request: lines are drawn between them.
REQUEST_LENGTHS = (1, 2, 3, 4, 6, 8, 9, 12, 16, 20, 24, 32, 40)
REQUEST_TOKENS = 24  # beside the length itself: room for some full steps
WARM_STEPS = 2  # full steps behind the first one, for the short ones to be compared with
_LATEST_STEP = 8  # a request is kept short: its last full step is one of the first


def cost_requests(trace: StepTimes, k_max: int, times: int = 1) -> tuple[int, ...]:
    """The numbers of tokens to ask for with a sample's prompt (cached), shortest first: each length `times` times.

    Each request begins with the first step, which does not count, and at least `WARM_STEPS` full ones; together they
    show every length of `LENGTHS` below `k_max`. Chosen one by one, always the one that shows the most new lengths for
    its number of steps. Fewer, or none, where the text is too short or its trace is not one of `k_max`.
    """
    begins = _begins(trace, k_max)
    if len(begins) < WARM_STEPS + 2:
        return ()
    first = begins[WARM_STEPS] + k_max + 1
    last = min(begins[-1], begins[min(_LATEST_STEP, len(begins) - 1)] + 2 * k_max)
    shown = {tokens: draft_lengths(begins, tokens, k_max) for tokens in range(first, last + 1)}
    wanted = {length: times for length in LENGTHS if length < k_max and times > 0}
    chosen: list[int] = []
    while wanted and shown:
        best = max(shown, key=lambda tokens: (_new(wanted, shown[tokens]) / len(shown[tokens]), -tokens))
        found = shown.pop(best)
        if not _new(wanted, found):
            break
        for length in set(found[1:]) & set(wanted):
            wanted[length] -= 1
        wanted = {length: left for length, left in wanted.items() if left > 0}
        chosen.append(best)
    return tuple(sorted(chosen))


def _new(wanted: Mapping[int, int], lengths: Sequence[int]) -> int:
    """How many of the wanted lengths these steps show, the first step left out."""
    return len(wanted.keys() & set(lengths[1:]))


def request_lengths(k_max: int) -> tuple[tuple[int, int], ...]:
    """What to ask a server that takes K per request: (K, number of tokens), for lengths below `k_max`."""
    return tuple((length, length + REQUEST_TOKENS) for length in REQUEST_LENGTHS if length < k_max)


def draft_lengths(begins: Sequence[int], tokens: int, k_max: int) -> tuple[int, ...]:
    """What each step of a request for so many tokens drafts; `begins[i]`: tokens there when step i begins."""
    return tuple(min(k_max, tokens - begun - 1) for begun in begins if begun < tokens)


def _begins(trace: StepTimes, k_max: int) -> list[int]:
    """How many tokens are there when each step begins, and at the end; [] for a trace that cannot be one of `k_max`."""
    if k_max < 1 or len(trace.drafted) != len(trace.accepted) or max(trace.drafted, default=0) != k_max:
        return []
    begins = [1]
    for drafted, accepted in zip(trace.drafted, trace.accepted, strict=True):
        if not 0 <= accepted <= drafted:
            return []
        begins.append(begins[-1] + accepted + 1)
    return begins
