"""Keeps the newest value of a pure function: what is asked at every sample, and changes once in a plan's stage."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def of_newest(function: Callable[[K], V]) -> Callable[[K], V]:
    """`function`, worked out once for as long as it is asked of the very same object, which never changes."""
    kept: list[tuple[K, V]] = []

    @wraps(function)
    def asked(of: K) -> V:
        if kept and kept[0][0] is of:
            return kept[0][1]
        found = function(of)
        kept[:] = [(of, found)]  # at once: a thread may ask meanwhile
        return found

    return asked
