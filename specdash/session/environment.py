"""The environment that the servers of a run get."""

from __future__ import annotations

from collections.abc import Mapping


def server_environment(environment: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The user's environment for a server, and the names removed: LLAMA_ARG_* silently set flags."""
    removed = tuple(sorted(name for name in environment if name.startswith("LLAMA_ARG_")))
    return {name: value for name, value in environment.items() if name not in removed}, removed
