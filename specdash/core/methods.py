"""The ways to speculate: what a profile calls them, and which of them need a draft model of their own.

Names are those of profiles, journals and results. How a program is told to use a method is its engine's business; what
llama.cpp calls a method is listed here all the same, since profiles may name it so. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

BASELINE = "baseline"
DRAFT = "draft"
LOOKUP = "lookup"
MTP = "mtp"

WITH_DRAFT_MODEL = frozenset({DRAFT, "eagle3", "dflash", "dspark"})
"""Methods whose drafts come from a second model file."""

NGRAM_METHODS = ("ngram-simple", "ngram-map-k", "ngram-map-k4v", "ngram-mod", "ngram-cache")
"""Methods that draft what followed the same tokens earlier in the text."""

METHODS = (DRAFT, "ngram", *NGRAM_METHODS, LOOKUP, MTP, "eagle3", "dflash", "dspark")
"""Every method that a profile may name, as `docs/profile.md` lists them."""

SIZED = frozenset({"ngram", "ngram-simple", "ngram-map-k", "ngram-map-k4v", "ngram-mod"})
"""Methods whose lookup n-gram has a size that can be set: the axis `sweep.ngram_n`."""

_SAME: Mapping[str, str] = MappingProxyType(
    {
        "draft-simple": DRAFT,
        "draft-mtp": MTP,
        "draft-eagle3": "eagle3",
        "draft-dflash": "dflash",
        "draft-dspark": "dspark",
    }
)
_OTHER = re.compile(r"(draft|ngram)-[a-z0-9]+(-[a-z0-9]+)*")


def method_named(word: str) -> str | None:
    """The method that a profile means by `word`; None for no method.

    llama.cpp's own names are understood too, and those of the same form that this version does not know: whether a
    program has such a method is for its `--help` to tell.
    """
    name = _SAME.get(word, word)
    return name if name in METHODS or _OTHER.fullmatch(name) else None


def needs_draft_model(method: str) -> bool:
    """Whether a method's drafts come from a model of their own."""
    return method in WITH_DRAFT_MODEL or (method.startswith("draft-") and method not in METHODS)


def method_of(architecture: str | None) -> str:
    """How a draft model is used whose file names this architecture: a head by its own ("eagle3"), others as usual."""
    return architecture if architecture is not None and needs_draft_model(architecture) else DRAFT


def is_draftless(method: str) -> bool:
    """Whether a method speculates without a draft model."""
    return method != BASELINE and not needs_draft_model(method)


def has_confidence(method: str) -> bool:
    """Whether what drafts tells how probable each token is, so that a draft can stop where it is not: `p_min`."""
    return needs_draft_model(method) or method == MTP


def may_drop_short(method: str) -> bool:
    """Whether a method can be told to drop short drafts: `n_min`."""
    return has_confidence(method) or method == "ngram-mod"


def may_draft_nothing(method: str) -> bool:
    """Whether it is a result that nothing was drafted: text that never repeats gives an n-gram method nothing."""
    return method == LOOKUP or method.startswith("ngram")


def is_ceiling(method: str) -> bool:
    """Whether K is the most that one step drafts, and fewer is no fault: what was found in the text may be shorter."""
    return may_draft_nothing(method)
