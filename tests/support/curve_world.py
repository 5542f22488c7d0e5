"""A server with a known truth, for tests of predicted K curves: texts that a draft guesses well or badly, and costs.

Nothing of the product's replay is used here: the server drafts and verifies token by token.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from specdash.core import events as ev
from specdash.core.measure import Sample
from specdash.core.state import RunState
from specdash.core.status import StepStatus
from specdash.core.unmeasured_requests import cost_requests
from tests.support import recorded_run as rec


@dataclass(frozen=True)
class World:
    """What is true: how texts are guessed, what steps cost, and how the machine disturbs it.

    `easy`, `hard`: chance of a guessed token in easy and hard passages (of ten tokens on average); `by_text`: standard
    deviation of a text's own share of easy passages. `draft_ms`: cost of a drafted token; verifying n tokens costs
    `target_ms` times `verify(n)`. `level`: scatter of whole requests, `noise` of steps; one step in a hundred pauses.
    """

    easy: float = 0.95
    hard: float = 0.5
    share: float = 0.5
    by_text: float = 0.15
    target_ms: float = 40.0
    draft_ms: float = 3.0
    first_extra_ms: float = 15.0
    level: float = 0.03
    noise: float = 0.03
    pause: float = 0.01
    k_max: int = 16
    tokens: int = 128

    def verify(self, n: int) -> float:
        """The cost of verifying n tokens, relative to one; it jumps behind 8 and behind 16 tokens."""
        return 1 + 0.02 * (n - 1) + 0.25 * (n > 8) + 0.5 * (n > 16)

    def cost_ms(self, drafted: int) -> float:
        """What a step truly costs."""
        return self.target_ms * self.verify(drafted + 1) + self.draft_ms * drafted

    def text(self, rng: random.Random) -> list[bool]:
        """Whether the draft guesses each token behind the first."""
        share = min(1.0, max(0.0, rng.gauss(self.share, self.by_text)))
        easy, guessed = rng.random() < share, []
        for _ in range(self.tokens - 1):
            if rng.random() < 0.1:
                easy = rng.random() < share
            guessed.append(rng.random() < (self.easy if easy else self.hard))
        return guessed

    def request(
        self, text: Sequence[bool], k: int, tokens: int, rng: random.Random
    ) -> tuple[list[int], list[int], list[float]]:
        """One request for so many tokens: drafted and accepted tokens and milliseconds of each step."""
        drafted: list[int] = []
        accepted: list[int] = []
        times_ms: list[float] = []
        level = rng.lognormvariate(0, self.level)
        made = 0
        while made < tokens - 1:
            tried = min(k, tokens - 1 - made - 1)
            kept = 0
            while kept < tried and text[made + kept]:
                kept += 1
            time_ms = self.cost_ms(tried) * rng.lognormvariate(0, self.noise) * level
            time_ms *= 1.5 if rng.random() < self.pause else 1.0
            times_ms.append(time_ms + (self.first_extra_ms if not times_ms else 0.0))
            drafted.append(tried)
            accepted.append(kept)
            made += kept + 1
        return drafted, accepted, times_ms

    def truth(self, ks: Iterable[int], rng: random.Random, texts: int = 500) -> dict[int, float]:
        """The true mean rate at each K: that of many texts, the same at every K."""
        spoken = [self.text(rng) for _ in range(texts)]
        return {k: fmean(self.rate(text, k, rng) for text in spoken) for k in ks}

    def rate(self, text: Sequence[bool], k: int, rng: random.Random) -> float:
        """What one request for a text runs at, tokens per second."""
        return (self.tokens - 1) / sum(self.request(text, k, self.tokens, rng)[2]) * 1000

    def quiet(self, texts: Sequence[Sequence[bool]], k: int) -> float:
        """The mean rate of these texts at K on a machine that nothing disturbs."""
        still = replace(self, level=0.0, noise=0.0, pause=0.0)
        return fmean(still.rate(text, k, random.Random(0)) for text in texts)

    def run(self, texts: Sequence[Sequence[bool]], rng: random.Random, with_costs: bool = True) -> RunState:
        """A run at K_max: one sample of each text, and the cost requests of each."""
        step = rec.step(self.k_max)
        facts: list[ev.Fact] = [
            rec.started([step], settings={"max_tokens": self.tokens}),
            *rec.loaded("l001", self.k_max, "startup"),
            ev.StepStarted(step.id, "l001", "fp"),
        ]
        for block, text in enumerate(texts):
            drafted, accepted, times_ms = self.request(text, self.k_max, self.tokens, rng)
            trace = ev.StepTimes(step.id, "l001", "sample", block, tuple(drafted), tuple(accepted), tuple(times_ms))
            facts += [ev.SampleTaken(step.id, "l001", sample_of(trace, self.tokens), 1.0), trace]
            for tokens in cost_requests(trace, self.k_max) if with_costs else ():
                short = self.request(text, self.k_max, tokens, rng)
                facts.append(ev.StepTimes(step.id, "l001", "cost", None, *map(tuple, short)))  # type: ignore[arg-type]
        facts.append(ev.StepFinished(step.id, "l001", StepStatus.OK, (), None, "fp"))
        return rec.folded(facts)


def sample_of(trace: ev.StepTimes, tokens: int) -> Sample:
    """The valid sample whose trace this is."""
    time_s = sum(each for each in trace.times_ms if each is not None and 0 < each < 1e9) / 1000 or 1.0
    longest = max(trace.drafted, default=0)
    return replace(
        rec.sample(max(1, tokens - 1) / time_s, trace.block or 0, longest),
        generated_tokens=tokens,
        decode_time_s=time_s,
        draft_tokens=sum(trace.drafted),
        accepted_tokens=sum(trace.accepted),
        steps=len(trace.drafted),
        text_hash=repr(trace.accepted),
        positions_drafted=tuple(sum(d > i for d in trace.drafted) for i in range(longest)),
        positions_accepted=tuple(sum(a > i for a in trace.accepted) for i in range(longest)),
    )
