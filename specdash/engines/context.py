"""How much context a llama.cpp program can have by its arguments alone. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from specdash.engines.arguments import value_of

FLAG = "-c"
PADDING = 256  # llama.cpp rounds a context up to a multiple of this

_NAMES = (FLAG, "--ctx-size")
VARIABLE = "LLAMA_ARG_CTX_SIZE"
_KINDS = frozenset({"llama-server", "llama-cli"})


def padded(tokens: int) -> int:
    """The context that llama.cpp makes of so many tokens."""
    return -(-tokens // PADDING) * PADDING


def given_context(args: Sequence[str]) -> str | None:
    """What these arguments say of the context; None where they say nothing."""
    return value_of(args, _NAMES)


def context_of(kind: str, args: Sequence[str], env: Mapping[str, str]) -> int | None:
    """The most tokens of context that these arguments allow; None where the model and the memory decide.

    A server may have less: of less memory, or of a model that was trained with less.
    """
    if kind not in _KINDS:
        return None
    given = given_context(args) or env.get(VARIABLE) or ""
    return padded(int(given)) if given.isascii() and given.isdigit() and int(given) > 0 else None
