"""How long loads and requests take before any was seen: bounds from sizes alone, wide on purpose.

Reading the prompt and making the answer are told apart: for long prompts and short answers the first is most of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

PRIOR_READ_BYTES_S = (0.3e9, 2.5e9)  # a model read from disk: slow and fast storage
PRIOR_START_S = (0.2, 10.0)  # a server start beside the reading
PRIOR_DECODE_BYTES_S = (8e9, 1e12)  # memory bandwidth from a small busy CPU to a good GPU: bounds tok/s
# Bytes of weights times prompt tokens a second. At the slow end a prompt's token costs what a token of the answer does,
# as on a CPU that computes no faster than it reads; at the fast end a batch of them is limited by arithmetic alone.
PRIOR_PREFILL_BYTES_S = (8e9, 5e13)
PRIOR_TOKEN_BYTES = (1.0, 6.0)  # of a prompt's text: a token is a byte at least, and seldom more than a word
TEMPLATE_TOKENS = 64  # that a chat template adds, at most
# Verifying 17 tokens was seen to cost five times what one costs where arithmetic is the limit, and as much as one where
# memory is: every so many drafted tokens cost one pass more at most.
DRAFTED_A_PASS = 4
REQUEST_S = 1.0  # around a request, at most


@dataclass(frozen=True, slots=True)
class Range:
    """A low and a high estimate, in seconds."""

    low_s: float
    high_s: float

    @property
    def middle_s(self) -> float:
        """What it is about: as many times the low end as the high end is of it; half the high end where low is 0."""
        return math.sqrt(self.low_s * self.high_s) if self.low_s > 0 else self.high_s / 2

    def __add__(self, other: Range) -> Range:
        """Both, one after the other."""
        return Range(self.low_s + other.low_s, self.high_s + other.high_s)

    def times(self, count: float) -> Range:
        """`count` of them."""
        return Range(self.low_s * count, self.high_s * count)


ZERO = Range(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Tokens:
    """A low and a high estimate of a number of tokens."""

    low: float
    high: float


NO_PROMPT = Tokens(0, 0)


@dataclass(frozen=True, slots=True)
class RequestTime:
    """What one request takes: to read its prompt, and to make its answer."""

    read: Range
    answer: Range

    @property
    def whole(self) -> Range:
        """Both together."""
        return self.read + self.answer

    def short(self, share: float) -> Range:
        """A request for so large a share of the answer, whose prompt may lie in the cache or not."""
        return Range(0.0, self.read.high_s) + self.answer.times(min(1.0, share))


def prior_load(size_bytes: int) -> Range:
    """A load of `size_bytes`, before any was seen."""
    slow, fast = PRIOR_READ_BYTES_S
    return Range(PRIOR_START_S[0] + size_bytes / fast, PRIOR_START_S[1] + size_bytes / slow)


def prior_tokens(prompt_bytes: float, depth: int) -> Tokens:
    """The tokens of a prompt of so many bytes behind a context of `depth` tokens, before a tokenizer was asked."""
    least, most = PRIOR_TOKEN_BYTES
    return Tokens(depth + prompt_bytes / most, depth + prompt_bytes / least + TEMPLATE_TOKENS)


def prior_request(
    target_bytes: int, max_tokens: int, prompt: Tokens = NO_PROMPT, draft_bytes: int = 0, k: int | None = None
) -> RequestTime:
    """One request, before any was seen: the answer is bound by reading the weights once for each pass.

    With a draft, all K tokens of a pass are accepted at best, and none at worst.
    """
    slow, fast = PRIOR_PREFILL_BYTES_S
    read = Range(prompt.low * target_bytes / fast, prompt.high * (target_bytes + draft_bytes) / slow)
    slow, fast = PRIOR_DECODE_BYTES_S
    drafted = k or 0
    best = (target_bytes + drafted * draft_bytes) / fast / (drafted + 1)
    worst = (target_bytes * (1 + drafted / DRAFTED_A_PASS) + drafted * draft_bytes) / slow
    return RequestTime(read, Range(max_tokens * best, max_tokens * worst + REQUEST_S))
