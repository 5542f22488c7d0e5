"""What engines and their clients have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from specdash.engines.http import Client

PROBE_PROMPT = "Once upon a time there was a small model that guessed what a large one would say. It said:"


async def first_model(http: Client, limit_s: float) -> str | None:
    """The first model id of GET /v1/models, which is the name that a server was given; TransportError."""
    answer = await http.get_json("/v1/models", limit_s=limit_s)
    models = answer.get("data") if isinstance(answer, Mapping) else None
    first = models[0] if isinstance(models, list) and models else None
    name = first.get("id") if isinstance(first, Mapping) else None
    return name if isinstance(name, str) else None


def filled_to(filler: str, characters: int) -> str:
    """`filler`, repeated and cut to a number of characters."""
    return (filler * (1 + characters // max(1, len(filler))))[:characters]


PROBLEMS_KEPT = 5


def shortened(problems: Sequence[str]) -> tuple[str, ...]:
    """The first few problems and how many more there are."""
    more = len(problems) - PROBLEMS_KEPT
    return tuple(problems) if more <= 0 else (*problems[:PROBLEMS_KEPT], f"and {more} more problems")
