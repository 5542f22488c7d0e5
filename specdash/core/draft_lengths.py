"""What a method without a draft model can do with a draft length K; `core.engine_kinds` says which kind can what.

Such a method may drop short drafts, draft no more than so many tokens whatever K is, or remember what its server has
seen. A K that it cannot have is left out of a plan with the reason; two Ks that make one server are one. Pure.

The facts of llama.cpp were read in its source and seen on b11669 (SmolLM2, text that repeats itself, 150 tokens):
`ngram-simple` drafts nothing at K 2 to 11 and up to K from 12 on, the size of its n-gram where nobody sets one, or at
K 2 with an n-gram of 2; `ngram-map-k`, `ngram-map-k4v` and `ngram-mod` draft at K 2, 16 and 64; `ngram-cache` has 8
written into its code, and drafts 8 at K 4 and at K 16. Asked a prompt twice, `ngram-mod` drafted 0 tokens and then 76,
the others as many as before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from specdash.core.axes import NONE, HasAxes, Values, value
from specdash.core.measure import expected_k_seen
from specdash.core.methods import may_draft_nothing

NGRAM_KS = (4, 16, 64)
"""The Ks that are tried of a method which looks n-grams up, where it can draft them."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a method can draft.

    `drops_below`: drafts shorter than its n-gram are dropped; the size of that where nobody sets it, None where it
    drops none. `whole`: what it drafts at most, whatever K is. `own_k`: the K that the program takes where nobody sets
    one. `keeps_history`: its server keeps what it has seen from request to request, so that a prompt counts once.
    """

    drops_below: int | None = None
    whole: int | None = None
    own_k: int | None = None
    keeps_history: bool = False

    def k_taken(self, k: int, params: Mapping[str, Any] | HasAxes = NONE) -> int | None:
        """The K that a step which asks for `k` is measured at: that one, a smaller one that is the same, or none.

        `params` are the other parameters of the method: those of a step, or by name.
        """
        if k < value(params, "n_min"):
            return None
        if self.whole is not None:
            return self.whole if k >= self.whole else None
        return None if k < self._least(params) else k

    def why_not(self, k: int, params: Mapping[str, Any] | HasAxes = NONE) -> str | None:
        """Why nothing can be measured at K = `k`, in words that follow "since it"; None where it can.

        For a K that is the same server as a smaller one too: it would be measured twice under two names.
        """
        taken = self.k_taken(k, params)
        if taken == k:
            return None
        if taken is not None:
            return f"drafts {taken} tokens at most, whatever K is"
        if k < (n_min := value(params, "n_min")):
            return f"drops drafts shorter than its n_min of {n_min} tokens: ask for K = {n_min} or more, or less n_min"
        if self.whole is not None:
            return f"drafts up to {self.whole} tokens, whatever K is: ask for K = {self.whole}"
        size = self._least(params)
        return (
            f"drops drafts shorter than its n-gram of {size} tokens: ask for K = {size} or more, or a smaller ngram_n"
        )

    def most_samples(self, prompts: int) -> int | None:
        """How many samples of a step can count where a category has so many prompts; None for any number."""
        return prompts if self.keeps_history else None

    def _least(self, params: Mapping[str, Any] | HasAxes) -> int:
        """The shortest draft that is not dropped."""
        if self.drops_below is None:
            return 1
        size = value(params, "ngram_n")
        return self.drops_below if size is None else int(size)


ANYTHING = Abilities()
"""Of a method of which no limits are known."""

LLAMA_CPP: Mapping[str, Abilities] = MappingProxyType(
    {
        "ngram-simple": Abilities(drops_below=12, own_k=48),
        "ngram-map-k": Abilities(own_k=48),
        "ngram-map-k4v": Abilities(own_k=48),
        "ngram-mod": Abilities(own_k=64, keeps_history=True),
        "ngram-cache": Abilities(whole=8, own_k=8),
    }
)
"""Of the methods that all programs of llama.cpp have in common, by the words of `--spec-type`."""


def ks_to_try(can: Abilities, method: str, params: Values, max_tokens: int) -> tuple[int, ...]:
    """The Ks of `k = "auto"` for a method that looks n-grams up, ascending; () for other methods.

    Those of `NGRAM_KS` that it can draft and that answers of `max_tokens` have room for, and the program's own.
    """
    if not may_draft_nothing(method):
        return ()
    wanted = {*NGRAM_KS, *(() if can.own_k is None else (can.own_k,))}
    return tuple(sorted(k for k in wanted if can.k_taken(k, params) == k and expected_k_seen(k, max_tokens) == k)) or (
        can.whole or NGRAM_KS[0],
    )
