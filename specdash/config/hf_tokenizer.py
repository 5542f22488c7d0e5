"""The vocabulary of a model folder, from tokenizer.json and tokenizer_config.json, as `core.model` compares it.

Only what decides whether two models understand each other's tokens is read: the kind of tokenizer and every token's
text. What is put around a prompt does not count, since MLX asks the target's tokenizer alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from specdash.config.model_file import BadFileError, path_text, regular_file
from specdash.config.problems import escaped
from specdash.core.model import VocabFacts, packed_texts
from specdash.errors import EngineError

JSON_BYTES = 256 * 2**20
TOKENIZER = "tokenizer.json"
# What mlx_lm can also make a tokenizer of; the texts in them are not compared.
OTHER_TOKENIZERS = ("tokenizer.model", "tekken.json", "vocab.json", "*.tiktoken")
TEMPLATES = ("chat_template.jinja", "chat_template.json")
MOST_TOKENS = 10_000_000

T = TypeVar("T")


class _Added(msgspec.Struct, gc=False):
    """A token beside those of the model proper."""

    id: int
    content: str


class _Model(msgspec.Struct):
    """The model proper: texts by id, or for Unigram (text, score) in the order of ids."""

    type: str | None = None
    vocab: dict[str, int] | list[tuple[str, float]] = msgspec.field(default_factory=dict)


class _Tokenizer(msgspec.Struct):
    """The parts of tokenizer.json that are looked at."""

    model: _Model
    added_tokens: list[_Added] = msgspec.field(default_factory=list)


_TOKENIZERS = msgspec.json.Decoder(_Tokenizer)
_OBJECTS: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; EngineError when it is none."""
    return _read(path, _OBJECTS)


def read_vocabulary(folder: Path, config: Mapping[str, Any]) -> tuple[VocabFacts, bool]:
    """The vocabulary of the model in `folder`, and whether it has a chat template; EngineError without a tokenizer.

    `config` is its config.json. A tokenizer of another kind than tokenizer.json counts its tokens by the config.
    """
    about = read_object(folder / "tokenizer_config.json") if os.path.exists(folder / "tokenizer_config.json") else {}
    templated = bool(about.get("chat_template")) or any(os.path.exists(folder / name) for name in TEMPLATES)
    if not os.path.exists(folder / TOKENIZER):
        return _unread(folder, config), templated
    found = _read(folder / TOKENIZER, _TOKENIZERS)
    texts = _texts(folder / TOKENIZER, found)
    special: dict[str, int | None] = {}
    for which in ("bos_token", "eos_token"):
        text = about.get(which)
        text = text.get("content") if isinstance(text, Mapping) else text
        named = isinstance(text, str) and text in texts
        special[which] = texts.index(str(text)) if named else _first(config.get(f"{which}_id"), len(texts))
    return VocabFacts(
        tokenizer=found.model.type or "unknown",
        pre=None,
        size=len(texts),
        bos_id=special["bos_token"],
        eos_id=special["eos_token"],
        add_bos=False,
        add_eos=False,
        texts=packed_texts(text.encode("utf-8", "surrogatepass") for text in texts),
    ), templated


def _read(path: Path, decoder: msgspec.json.Decoder[T]) -> T:
    """A JSON file as its decoder takes it."""
    with regular_file(path, "Download the model again.") as (file, size):
        if size > JSON_BYTES:
            raise BadFileError(f"has {size:,} bytes, too many for what it should be")
        try:
            return decoder.decode(file.read())
        except (ValueError, RecursionError) as error:
            raise BadFileError(f"is damaged: {escaped(str(error))}") from None


def _texts(path: Path, found: _Tokenizer) -> list[str]:
    """All token texts in the order of ids; "" for ids that no token has."""
    vocab = found.model.vocab
    pairs: list[tuple[int, str]] = (
        [(number, text) for text, number in vocab.items()]
        if isinstance(vocab, dict)
        else [(number, text) for number, (text, _score) in enumerate(vocab)]
    )
    pairs += [(token.id, token.content) for token in found.added_tokens]
    if not pairs:
        raise EngineError(f"{path_text(path)} has no tokens", "Download the model again.")
    if min(pairs)[0] < 0 or max(pairs)[0] >= MOST_TOKENS:
        raise EngineError(f"{path_text(path)} is damaged: a token's id is out of range", "Download the model again.")
    texts = [""] * (max(pairs)[0] + 1)
    for number, text in pairs:
        texts[number] = text
    return texts


def _first(value: Any, size: int) -> int | None:
    """A token id of the configuration, or the first of several; None for none and for one that there is not."""
    number = value[0] if isinstance(value, list) and value else value
    return number if type(number) is int and 0 <= number < size else None


def _unread(folder: Path, config: Mapping[str, Any]) -> VocabFacts:
    """The vocabulary of a tokenizer whose texts are not looked at; EngineError when there is no tokenizer at all."""
    kind = next((pattern for pattern in OTHER_TOKENIZERS if any(folder.glob(pattern))), None)
    if kind is None:
        raise EngineError(
            f"{path_text(folder)} has no tokenizer: neither {TOKENIZER} nor any of {', '.join(OTHER_TOKENIZERS)}",
            "Download the model again, with all its files.",
        )
    size = config.get("vocab_size")
    return VocabFacts(kind, None, size if type(size) is int and size > 0 else 0, None, None, False, False)
