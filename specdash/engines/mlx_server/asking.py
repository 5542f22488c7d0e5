"""What a client may ask for: one generation, read from the body of its request."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class BadRequestError(Exception):
    """A request that cannot be served; the message is what its client reads."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One generation; `k` is None without a draft model. `sampling` is named as mlx_lm names it."""

    prompt: str | list[int]
    max_tokens: int
    sampling: Mapping[str, float]
    seed: int
    k: int | None
    with_probs: bool
    stream: bool


def ask_of(body: Mapping[str, Any], options: argparse.Namespace, *, drafts: bool) -> Ask:
    """What a body asks for, with the command line's values for what it leaves open; BadRequestError."""
    prompt = body.get("prompt")
    k = _number(body, "speculative.n_max", int, options.num_draft_tokens, least=0)
    seed = _number(body, "seed", int, -1, least=-1)
    return Ask(
        prompt=prompt if isinstance(prompt, str) else tokens_in(prompt),
        max_tokens=_number(body, "n_predict", int, options.max_tokens, least=1),
        sampling={
            "temp": _number(body, "temperature", float, options.temp, least=0),
            "top_p": _number(body, "top_p", float, options.top_p, least=0),
            "top_k": _number(body, "top_k", int, options.top_k, least=0),
            "min_p": _number(body, "min_p", float, options.min_p, least=0),
        },
        seed=seed if seed >= 0 else time.time_ns() & 0xFFFFFFFF,
        k=k if drafts else None,
        with_probs=_number(body, "n_probs", int, 0, least=0) > 0,
        stream=body.get("stream") is True,
    )


def tokens_in(value: Any) -> list[int]:
    """A list of token ids; BadRequestError."""
    if not isinstance(value, list) or not all(type(token) is int and 0 <= token < 2**31 for token in value):
        raise BadRequestError("wanted: a text, or a list of token ids")
    return value


def _number(body: Mapping[str, Any], name: str, kind: type, default: Any, *, least: float) -> Any:
    """A number of a request's body, or the default."""
    value = body.get(name, default)
    good = isinstance(value, int) or (kind is float and isinstance(value, float) and math.isfinite(value))
    if not good or isinstance(value, bool) or not least <= value < 2**63:
        raise BadRequestError(f"{name} must be {'a whole' if kind is int else 'a'} number of at least {least:g}")
    return value
