"""The faults of one answer, as they are kept; pure."""

from __future__ import annotations

from collections.abc import Sequence

PROBLEMS_KEPT = 5


def shortened(problems: Sequence[str]) -> tuple[str, ...]:
    """The first few problems and how many more there are."""
    more = len(problems) - PROBLEMS_KEPT
    return tuple(problems) if more <= 0 else (*problems[:PROBLEMS_KEPT], f"and {more} more problems")
