"""One generation as it was seen: what the server sent, when it arrived, and what was wrong with it.

Nothing here is a rate or a verdict; those are made from it later. What the server did not tell is None.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from specdash.core.measure import Chunk

DECODE_RATE = "decode_tok_s"  # in `Generation.unknown`: why no rate can be made of an answer's times
UNTIMED = "untimed_tokens"  # in `Generation.unknown`: why it is an estimate, and by how much the rate may be off


@dataclass(frozen=True, slots=True)
class Generation:
    """A streamed generation.

    Times ending in `_t_s` are `time.monotonic()` seconds of this process; `prompt_ms` and `predicted_ms` are the
    server's own clock. `chunks` are the events that carry generated tokens, in order; `prompt_tokens` counts the whole
    prompt, `cached_tokens` the part of it that was not processed anew. `finish_reason` is "limit", "eos" or "word".
    `margins` (nats, one for each of `tokens`) say how far each choice led over the next one, where that was asked.
    `settings` are the speculative settings that the server echoed. `acceptance_source` says where the draft counts come
    from: "server" (its answer), "metrics" (counters before and after) or "inferred" (how the tokens arrived). `steps`
    and `k_seen` are totals of engines whose chunks do not tell the verification steps; `unknown` maps names of figures
    to the reason why this answer does not tell them. `untimed_tokens` took none of the time from `first_token_t_s` to
    `last_token_t_s`: those that came with the first event, and an end token that came with none; an estimate where that
    is not told, and then no whole number. `is_truncated`: whether the server says that its context was full; None where
    it does not say. `thoughts`: whether all text came as thoughts; None where there is no text, or no telling.
    `hidden_tokens` are those that the server counts as thoughts and does not send. `problems` says what was malformed
    or missing, as sentences that may quote the server; a generation with problems is never measured.
    """

    sent_t_s: float
    first_token_t_s: float | None
    last_token_t_s: float | None
    ended_t_s: float
    chunks: tuple[Chunk, ...] = ()
    text: str = ""
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    generated_tokens: int | None = None
    prompt_ms: float | None = None
    predicted_ms: float | None = None
    draft_n: int | None = None
    draft_n_accepted: int | None = None
    model: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    margins: tuple[float | None, ...] = ()
    problems: tuple[str, ...] = ()
    acceptance_source: str | None = None
    steps: int | None = None
    k_seen: int | None = None
    positions_accepted: tuple[int, ...] = ()
    unknown: Mapping[str, str] = field(default_factory=dict)
    untimed_tokens: float = 1.0
    is_truncated: bool | None = None
    thoughts: bool | None = None
    hidden_tokens: int | None = None

    @property
    def tokens(self) -> tuple[int, ...]:
        """The token ids that came with the events; those of a character that was sent late may be missing."""
        return tuple(token for chunk in self.chunks for token in chunk.tokens)

    @property
    def text_hash(self) -> str:
        """SHA-256 of the text, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Piece:
    """One event of a generation that is still going on: its counters, and the text that came with it."""

    chunk: Chunk
    text: str


@dataclass(frozen=True, slots=True)
class PromptRead:
    """How far the prompt of a generation is read: `read` of its `tokens`, those from a cache among them."""

    read: int
    tokens: int
