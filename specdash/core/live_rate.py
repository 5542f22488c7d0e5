"""What an answer that is still coming says so far: counts, rates of its last seconds, and whose tokens are whose.

Pure, and for showing only: every number that is kept is made from the whole answer (`core.measure`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from specdash.core.generation import Piece, PromptRead
from specdash.core.ticks import TextRun

WINDOW_S = 3.0
TEXT_CHARS = 4_000


@dataclass(frozen=True, slots=True)
class Reading:
    """The state of a meter. `rate_tok_s` and `acceptance_rate` are of the last WINDOW_S seconds, None while unknown."""

    tokens: int
    drafted: int | None
    accepted: int | None
    rate_tok_s: float | None
    acceptance_rate: float | None
    text: tuple[TextRun, ...]
    prompt: PromptRead | None = None


class _Mark(NamedTuple):
    """The counters at one event; `t_s` is its arrival, `ms` the server's own clock."""

    t_s: float
    tokens: int
    ms: float | None
    drafted: int
    accepted: int


class Meter:
    """Reads the pieces of one answer as they come."""

    def __init__(self) -> None:
        self._recent: deque[_Mark] = deque()
        self._tokens = 0
        self._drafted: int | None = None
        self._accepted: int | None = None
        self._step: tuple[int | None, int | None, float | None] | None = None
        self._left_accepted = 0
        self._runs: deque[TextRun] = deque()
        self._chars = 0
        self._prompt: PromptRead | None = None

    def feed(self, pieces: Sequence[Piece | PromptRead]) -> None:
        """Takes the next pieces, in order."""
        for piece in pieces:
            if isinstance(piece, PromptRead):
                self._prompt = piece
                continue
            chunk = piece.chunk
            step = (chunk.draft_n, chunk.draft_n_accepted, chunk.predicted_ms)
            if step != self._step:
                # A step's accepted tokens come first in it, and what the target adds itself comes last.
                before = self._accepted or 0
                self._step = step
                self._left_accepted = max(0, (chunk.draft_n_accepted or 0) - before)
                self._drafted, self._accepted = chunk.draft_n, chunk.draft_n_accepted
            drafted = self._left_accepted > 0
            self._left_accepted -= max(1, len(chunk.tokens)) if drafted else 0
            self._tokens = max(self._tokens, chunk.predicted_n)
            self._add(piece.text, drafted=drafted)
            counts = chunk.predicted_n, chunk.predicted_ms, chunk.draft_n or 0, chunk.draft_n_accepted or 0
            self._recent.append(_Mark(chunk.t_s, *counts))
            while len(self._recent) > 2 and self._recent[1].t_s < chunk.t_s - WINDOW_S:
                self._recent.popleft()

    def _add(self, text: str, *, drafted: bool) -> None:
        if not text:
            return
        added = len(text)
        if self._runs and self._runs[-1].drafted == drafted:
            text = self._runs.pop().text + text
        self._runs.append(TextRun(text, drafted))
        self._chars += added
        while self._chars > TEXT_CHARS and len(self._runs) > 1:
            self._chars -= len(self._runs.popleft().text)
        if self._chars > TEXT_CHARS:
            self._runs[0] = TextRun(self._runs[0].text[-TEXT_CHARS:], self._runs[0].drafted)
            self._chars = TEXT_CHARS

    def read(self) -> Reading:
        """The state now."""
        rate = acceptance = None
        if len(self._recent) > 1:
            first, last = self._recent[0], self._recent[-1]
            rate = _rate(first, last)
            drafted = last.drafted - first.drafted
            acceptance = (last.accepted - first.accepted) / drafted if drafted > 0 else None
        return Reading(self._tokens, self._drafted, self._accepted, rate, acceptance, tuple(self._runs), self._prompt)


def _rate(first: _Mark, last: _Mark) -> float | None:
    """Tokens per second between two events: by the server's clock, else by arrival."""
    seconds = last.t_s - first.t_s
    if first.ms is not None and last.ms is not None:
        seconds = (last.ms - first.ms) / 1000
    return (last.tokens - first.tokens) / seconds if seconds > 0 else None
