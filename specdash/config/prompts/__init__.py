"""The prompts of a measurement: the built-in set, or a JSONL file of the user's.

One JSON object per line: `{"category": …, "prompt": …}` or `{"category": …, "messages": [{"role", "content"}, …]}`,
with an optional `"id"`. The built-in files beside this module are in that format too, one file per category; their
texts were written for specdash.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from itertools import count
from pathlib import Path
from typing import Literal

from specdash.config.problems import guess, toml_text
from specdash.config.prompts.jsonl import parse_jsonl, read_file
from specdash.core.prompts import Prompt
from specdash.errors import Problem, SpecdashError

__all__ = ["CATEGORIES", "context_filler", "digest", "load_builtin", "load_jsonl", "select"]

CATEGORIES = (
    "coding",
    "structured",
    "translation",
    "math",
    "creative",
    "repetitive",
    "counting",
    "conversation",
    "technical",
)


def load_builtin() -> tuple[Prompt, ...]:
    """The built-in prompts, category by category."""
    folder = resources.files(__package__)
    prompts: list[Prompt] = []
    for category in CATEGORIES:
        name = f"{category}.jsonl"
        found, problems = parse_jsonl((folder / name).read_text("utf-8"), name)
        assert not problems, problems
        prompts += found
    return tuple(prompts)


def load_jsonl(path: Path) -> tuple[tuple[Prompt, ...], list[Problem]]:
    """The prompts of a file, and everything that is wrong with it; with any problem it is not to be used.

    A missing `id` becomes `CATEGORY-N`, counted within the category.
    """
    text, problems = read_file(path)
    return ((), problems) if text is None else parse_jsonl(text, str(path), path.parent)


def select(prompts: Sequence[Prompt], categories: Sequence[str] | Literal["all"]) -> tuple[Prompt, ...]:
    """The prompts of some categories, in their own order; SpecdashError for a category that has none."""
    if categories == "all":
        return tuple(prompts)
    known = list(dict.fromkeys(prompt.category for prompt in prompts))
    for category in categories:
        if category not in known:
            raise SpecdashError(f"no prompts of category {toml_text(category)}", guess(category, known))
    return tuple(prompt for prompt in prompts if prompt.category in categories)


def _content(image: Path) -> str:
    """A digest of an image; of its name where it has gone."""
    try:
        return hashlib.sha256(image.read_bytes()).hexdigest()
    except OSError:
        return image.name


def digest(prompts: Sequence[Prompt]) -> str:
    """16 hex digits that name this set of prompts: what is asked, under which names, in which order."""
    content = [
        [
            prompt.id,
            prompt.category,
            prompt.text,
            [[message.role, message.content] for message in prompt.messages or ()],
            *([[_content(image) for image in prompt.images]] if prompt.images else []),
        ]
        for prompt in prompts
    ]
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()[:16]


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
