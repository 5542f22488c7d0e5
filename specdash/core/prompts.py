"""A prompt, as chat messages or as plain text.

Frozen values only; where prompts come from is `specdash.config.prompts`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from specdash.core.model import VocabFacts

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


TEMPLATE_TOKENS = 8
"""By how much a template may shorten a prompt that it stands around: it trims blanks, and words join at its edges."""

_SPACE = "▁"


class Pieces:
    """The pieces of a vocabulary, as texts are written in it."""

    def __init__(self, vocab: VocabFacts) -> None:
        self._write = _WRITERS.get(vocab.tokenizer)
        written = (token.decode("utf-8", "replace") for token in vocab.tokens()) if self._write is not None else ()
        self._pieces: set[str] = set()
        self._lengths: dict[str, list[int]] = {}  # of the pieces that end in a letter
        for piece in written:
            # What was added to a vocabulary by hand stands there as it is in texts.
            self._pieces |= {piece, self._write(piece)} if self._write is not None and " " in piece else {piece}
        for length, last in sorted({(len(piece), piece[-1]) for piece in self._pieces if piece}):
            self._lengths.setdefault(last, []).append(length)

    def least(self, text: str) -> int | None:
        """The fewest pieces that `text` can be made of; None for a kind of tokenizer that may change a text first."""
        if self._write is None:
            return None
        text = self._write(text)
        fewest = [0] * (len(text) + 1)
        for end, last in enumerate(text, 1):
            best = fewest[end - 1] + 1
            for length in self._lengths.get(last, ()):
                if length > end:
                    break
                if fewest[end - length] + 1 < best and text[end - length : end] in self._pieces:
                    best = fewest[end - length] + 1
            fewest[end] = best
        return fewest[-1]


@cache
def _byte_letters() -> tuple[str, ...]:
    """The letter that byte-level vocabularies write for each byte: itself if it is printable, else one from 256 on."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return tuple(chr(byte) if byte in printable else chr(next(others)) for byte in range(256))


def _in_byte_letters(text: str) -> str:
    table = _byte_letters()
    return "".join(table[byte] for byte in text.encode())


def _with_marked_spaces(text: str) -> str:
    return text.replace(" ", _SPACE)


_WRITERS: Mapping[str, Callable[[str], str]] = {"gpt2": _in_byte_letters, "llama": _with_marked_spaces}
