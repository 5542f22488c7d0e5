"""Commands for the user to paste: what of a server's environment others may see."""

from __future__ import annotations

import re
from collections.abc import Mapping

HIDDEN = "..."
_SECRET = re.compile("TOKEN|KEY|SECRET|PASSWORD", re.IGNORECASE)


def environment(env: Mapping[str, str]) -> tuple[str, ...]:
    """The words that set an environment before a command; () for none.

    Reports are passed on, so values whose names sound secret are left out.
    """
    return ("env", *(f"{name}={public_value(name, value)}" for name, value in env.items())) if env else ()


def public_value(name: str, value: str) -> str:
    """The value of an environment variable as others may see it."""
    return HIDDEN if _SECRET.search(name) else value
