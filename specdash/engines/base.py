"""What engines and their clients have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from specdash.core.engine import Cause, Endpoint, Health, ServerSpec
from specdash.core.process_spec import StopPolicy
from specdash.core.transport import HttpError, TransportError
from specdash.engines.http import Client
from specdash.engines.log_diagnosis import Hints, first_cause

T = TypeVar("T")

PROBE_PROMPT = "Once upon a time there was a small model that guessed what a large one would say. It said:"
ANSWER_LIMIT_S = 30.0
HEALTH_LIMIT_S = 5.0
EVIDENCE_LIMIT_S = 2.0  # of a server that hangs
EVIDENCE_CHARS = 2000
PROBLEMS_KEPT = 5


class BaseEngine:
    """The part of core.engine.Engine that most engines have alike; `hints` are the known causes in logs."""

    hints: Hints = ()

    def endpoint(self, spec: ServerSpec, port: int, alias: str) -> Endpoint:
        """On this port of loopback, under this name."""
        return Endpoint(port, alias)

    def stop_policy(self, spec: ServerSpec, endpoint: Endpoint) -> StopPolicy:
        """Signals are enough."""
        return StopPolicy()

    def diagnose(self, log_tail: str) -> Cause | None:
        """What its log tells of a failure."""
        return first_cause(log_tail, self.hints)


class BaseClient:
    """The part of core.engine.EngineClient that most clients have alike, for a server at a port or an address.

    `filler` is text for filling a context to a wanted depth; `evidence_path` is what a hanging server is asked.
    """

    evidence_path = "/health"

    def __init__(self, where: int | str, filler: str, headers: Mapping[str, str] | None = None) -> None:
        self._http = Client(where, headers)
        self._filler = filler

    async def health(self) -> Health:
        """GET /health: connection refused, then 503 while the model is loaded, then 200."""
        try:
            await self._http.get_json("/health", limit_s=HEALTH_LIMIT_S)
        except HttpError as error:
            return Health.LOADING if error.status == 503 else Health.DOWN
        except TransportError:
            return Health.DOWN
        return Health.OK

    async def model_alias(self) -> str | None:
        """The first model id of GET /v1/models, which is the name that a server was given."""
        answer = await self._http.get_json("/v1/models", limit_s=ANSWER_LIMIT_S)
        models = member(answer, "data", list)
        return member(models[0], "id", str) if models else None

    async def context_tokens(self) -> int | None:
        """Nothing that such a server tells."""
        return None

    async def count_tokens(self, text: str) -> int | None:
        """Nothing that such a server tells."""
        return None

    async def evidence(self) -> Mapping[str, str]:
        """What a hanging server says that it is doing, asked with a short limit."""
        path = self.evidence_path
        try:
            said = await self._http.get_text(path, limit_s=EVIDENCE_LIMIT_S)
        except TransportError as error:
            return {path: f"no answer: {error}"}
        return {path: self._http.redacted(said)[:EVIDENCE_CHARS]}

    async def close(self) -> None:
        """Drops all connections."""
        await self._http.close()


def member(value: object, name: str, kind: type[T]) -> T | None:
    """A member of a JSON object, where it is exactly of this type; None else, and where `value` is no object."""
    found = value.get(name) if isinstance(value, Mapping) else None
    return found if type(found) is kind else None


def filled_to(filler: str, characters: int) -> str:
    """`filler`, repeated and cut to a number of characters."""
    return (filler * (1 + characters // max(1, len(filler))))[:characters]


def first_problems(problems: Sequence[str]) -> tuple[str, ...]:
    """The first few faults of an answer and how many more there are."""
    more = len(problems) - PROBLEMS_KEPT
    return tuple(problems) if more <= 0 else (*problems[:PROBLEMS_KEPT], f"and {more} more problems")
