"""The fake model: deterministic text that does not depend on K, and drafts that are accepted by chance.

Whether the token at a place of a text would have been drafted rightly is a function of (seed, prompt, place), so
runs with different K agree with each other, as a greedy real pair does.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.fakes.fake_flags import Behaviour, Options

RARE_PLACE = 30  # of the first cached answer: its margin moves further than all others
SYLLABLES = [a + b for a in "bdfgklmnprst" for b in "aeiou"]


@dataclass(frozen=True, slots=True)
class Burst:
    """What one step of the server emits: tokens as (id, text), drafted and accepted tokens, cost in plain steps."""

    tokens: list[tuple[int, str]]
    drafted: int
    accepted: int
    cost: float


@dataclass(slots=True)
class Counters:
    """What /metrics counts over the server's life."""

    prompt: int = 0
    predicted: int = 0
    predicted_s: float = 0.0
    decodes: int = 0
    drafted: int = 0
    accepted: int = 0
    drafts: int = 0
    accepted_at: list[int] = field(default_factory=list)

    def add(self, burst: Burst, k: int) -> None:
        """Count one step."""
        self.decodes += 1
        self.predicted += len(burst.tokens)
        if burst.drafted:
            self.drafted += burst.drafted
            self.accepted += burst.accepted
            self.drafts += 1
            self.accepted_at += [0] * (k - len(self.accepted_at))
            for position in range(burst.accepted):
                self.accepted_at[position] += 1


class Vocabulary:
    """Words as tokens; ids are made from the text, and remembered for the way back."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.texts: dict[int, str] = {}
        self.first_cached = ""  # the prompt that was asked for from the cache first

    def encode(self, text: str) -> list[int]:
        """The tokens of a text: one a word, with the space before it."""
        return [self.remember(word) for word in re.findall(r"\s*\S+|\s+$", text)]

    def remember(self, word: str) -> int:
        """The id of a word."""
        token = 100 + zlib.crc32(word.encode()) % 31900
        self.texts[token] = word
        return token

    def decode(self, tokens: list[int]) -> str:
        """The text of tokens seen before."""
        return "".join(self.texts.get(token, "?") for token in tokens)

    def word(self, prompt: str, place: int, other: bool = False) -> tuple[int, str]:
        """The token at a place of the answer to a prompt, or of the `other` answer, which is never the same there."""
        chance = random.Random(f"{prompt}/{place}")
        syllables = chance.choices(SYLLABLES, k=2)
        text = " " + "".join([*syllables, syllables[0]] if other else syllables)
        if self.behaviour.tokens_text:
            text = self.behaviour.tokens_text + ("!" if other else "")
        text += "é😀" if self.behaviour.split_utf8 else ""
        text += "\u2028" if self.behaviour.u2028 else ""
        return self.remember(text), text

    def margin(self, prompt: str, place: int, cached: bool = False) -> float:
        """By how many nats the token at a place leads over the second choice, the prompt being `cached` or cold."""
        moved = 0.0
        if cached and self.behaviour.rounding:
            self.first_cached = self.first_cached or prompt
            is_rare = prompt == self.first_cached and place == RARE_PLACE
            moved = self.behaviour.rounding * (10 if is_rare else random.Random(f"{prompt}/{place}/moved").random())
        if place and place == self.behaviour.near_tie_at:
            return self.behaviour.near_tie + moved
        return 0.4 + moved + random.Random(f"{prompt}/{place}/margin").expovariate(1.0)


def chance_of(behaviour: Behaviour, prompt: str, position: int) -> float:
    """The chance that the draft is right at a position of a draft (0-based), those before it being right."""
    for word, chance in behaviour.acceptance_where:
        if word in prompt:
            return chance
    if behaviour.acceptances:
        return behaviour.acceptances[min(position, len(behaviour.acceptances) - 1)]
    return behaviour.acceptance


def step_cost(behaviour: Behaviour, drafted: int) -> float:
    """What a step with so many drafted tokens costs, in plain steps."""
    table = sorted((int(count), cost) for count, cost in behaviour.step_costs)
    if not table:
        return 1 + drafted * (behaviour.draft_cost + behaviour.verify_cost)
    if len(table) == 1:
        return table[0][1]
    # Outside the table its first or last line goes on.
    upper = next((i for i, (count, _) in enumerate(table) if i and count >= drafted), len(table) - 1)
    (low, at_low), (high, at_high) = table[upper - 1], table[upper]
    return at_low + (at_high - at_low) * (drafted - low) / (high - low)


def steps(
    behaviour: Behaviour,
    words: Vocabulary,
    prompt: str,
    n_predict: int,
    k: int,
    replayed: bool = False,
    wavering: bool = False,
) -> Iterator[Burst]:
    """The steps of one answer: the prompt's own token first, then verifications of at most `k` drafted tokens.

    As in llama.cpp the draft is never longer than what may still be generated after the next token. A token that is
    right at one draft position may be wrong at a later one, where the chance is smaller; never the other way round.
    """
    end = min(n_predict, behaviour.eos_after or n_predict)
    forks = [behaviour.differs_at, behaviour.near_tie_at] if k else []
    fork = min(filter(None, [*forks, behaviour.wavers_at if wavering else 0]), default=end)

    def agreed(place: int, position: int) -> bool:
        luck = random.Random(f"{behaviour.seed}/{prompt}/{place}/draft").random()
        return replayed or luck < chance_of(behaviour, prompt, position)

    done = 1
    yield Burst([words.word(prompt, 0)], 0, 0, 0.0)
    while done < end:
        drafted = max(0, min(k, n_predict - done - 1))
        accepted = 0
        while accepted < min(drafted, end - done - 1) and agreed(done + accepted, accepted):
            accepted += 1
        cost = step_cost(behaviour, drafted) + (behaviour.first_step_extra if done == 1 else 0.0)
        places = range(done, done + accepted + 1)
        yield Burst([words.word(prompt, place, place >= fork) for place in places], drafted, accepted, cost)
        done += accepted + 1


def effective_k(behaviour: Behaviour, options: Options, asked: int | None, prompt: str) -> int:
    """The K that a request gets: that of the start, or its own where this server's scope lets it."""
    if behaviour.no_draft_where and behaviour.no_draft_where in prompt:
        return 0
    if behaviour.no_draft or not (options.speculates or behaviour.draft_in_baseline):
        return 0
    scope = behaviour.k_scope or ("request" if options.dialect == "old" else "startup")
    if asked is None or scope == "startup":
        return options.k
    return max(0, min(asked, options.k) if scope == "capped" else asked)
