"""The prompts of a measurement: the built-in set, or a JSONL file of the user's.

One JSON object per line: `{"category": …, "prompt": …}` or `{"category": …, "messages": [{"role", "content"}, …]}`,
with an optional `"id"`. The built-in files beside this module are in that format too, one file per category; their
texts were written for specdash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Literal

from specdash.config.prompts.filler import context_filler
from specdash.config.prompts.jsonl import parse_jsonl, read_file
from specdash.config.report import guess, toml_text
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
