"""Numbers from outside: what a server, a file or another program wrote where a number belongs.

JSON knows no limits, Python's integers have none either, and a float cannot hold what is above 1e308: whatever comes
in passes through here before it is counted or divided by. What is no number, or no sane one, is None.
"""

from __future__ import annotations

import math

MOST = 2**53
"""The largest count that is taken for one: beyond it a float cannot tell two of them apart."""


def finite(value: object) -> float | None:
    """A finite number; None for anything else: text, true, NaN, infinity, and integers that no float can hold."""
    if type(value) is float:  # as nearly all are: a report asks for every number of every sample
        return value if math.isfinite(value) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def positive(value: object) -> float | None:
    """A finite number above 0, as a rate and a ratio are."""
    found = finite(value)
    return found if found is not None and found > 0 else None


def not_negative(value: object) -> float | None:
    """A finite number that is not below 0, as a duration is none."""
    found = finite(value)
    return found if found is not None and found >= 0 else None


def whole(value: object) -> int | None:
    """A count: a whole number from 0 to MOST, also one that is written as 8.0."""
    found = not_negative(value)
    return int(found) if found is not None and found <= MOST and found.is_integer() else None
