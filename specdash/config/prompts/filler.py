"""Text that fills a model's context to a wanted depth: readable, varied, and the same on every machine.

It must not repeat itself: a model, and even more an n-gram method, would predict a repetition too well and make a deep
context look cheap. So sentences come back only in another order and with other names and numbers in them.

`filler.txt` has the words for each slot first, then a blank line, then one sentence per line.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from itertools import count

FILLER_CHARS = 60_000

_SLOT = re.compile(r"\{\w+\}")
_PARAGRAPH_SENTENCES = 5


def context_filler(chars: int = FILLER_CHARS) -> str:
    """At least `chars` characters of English paragraphs, always the same ones."""
    head, _, body = (resources.files(__package__) / "filler.txt").read_text("utf-8").partition("\n\n")
    words = {slot: values.split() for slot, _, values in (line.partition(" = ") for line in head.splitlines())}
    words["{number}"] = [str(number) for number in range(2, 99)]
    paragraphs: list[str] = []
    length = 0
    for cycle in count():
        # Ordered by a hash instead of shuffled by `random`, whose order is no promise between Python versions.
        order = [sentence for _, sentence in sorted((_hash(cycle, line), line) for line in body.splitlines())]
        for start in range(0, len(order), _PARAGRAPH_SENTENCES):
            sentences = order[start : start + _PARAGRAPH_SENTENCES]
            paragraphs.append(" ".join(_fill(cycle, sentence, words) for sentence in sentences))
            length += len(paragraphs[-1]) + 2
            if length >= chars + 2:
                return "\n\n".join(paragraphs)
    raise AssertionError("count() ended")


def _fill(cycle: int, sentence: str, words: Mapping[str, Sequence[str]]) -> str:
    """The sentence with names and numbers that only this cycle gives it."""
    seeds = iter(_hash(cycle, "slots", sentence))

    def value(slot: re.Match[str]) -> str:
        choice = words[slot[0]]
        return choice[(next(seeds) * 256 + next(seeds)) % len(choice)]

    return _SLOT.sub(value, sentence)


def _hash(*parts: object) -> bytes:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
