"""A prompt, as chat messages or as plain text.

Frozen values only; where prompts come from is `specdash.config.prompts`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Role = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = get_args(Role)


IMAGE_BYTES = 4096  # as much text as an image is about, in tokens


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is asked: either a `text` or a conversation in `messages`, never both.

    `id` is unique within a set of prompts. `images` are files that belong to it, for vision models. ValueError when
    there is neither text nor conversation, or both.
    """

    id: str
    category: str
    messages: tuple[Message, ...] | None = None
    text: str | None = None
    images: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if (self.text is None) == (not self.messages):
            raise ValueError(f"prompt {self.id!r} needs either a text or messages")

    @property
    def size_bytes(self) -> int:
        """How long its text is in UTF-8; an image counts as a page of text."""
        return len(self.as_text().encode()) + IMAGE_BYTES * len(self.images)

    def as_messages(self) -> tuple[Message, ...]:
        """The prompt for a model with a chat template; a text is one message of the user's."""
        return self.messages or (Message("user", self.text or ""),)

    def as_text(self) -> str:
        """The prompt for a model without a chat template.

        A single message is its content. Several become "role: content" paragraphs, with an open "assistant:" at the
        end, so that a model that only continues text continues with the answer.
        """
        if not self.messages:
            return self.text or ""
        if len(self.messages) == 1:
            return self.messages[0].content
        turns = [f"{message.role}: {message.content}" for message in self.messages]
        return "\n\n".join([*turns, "assistant:"])
