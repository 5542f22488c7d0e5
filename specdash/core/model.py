"""What a model file says about itself, which drafts fit which targets, and the Ks that suit a class of models.

Pure values: reading files is `specdash.config`'s. Strings are as they stand in the file; whoever shows them makes
them safe first. The sentences that functions here return are safe.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

T = TypeVar("T")
ModelClass = Literal["dense-small", "dense-mid", "dense-large", "moe"]

GGUF, MLX = "gguf", "mlx"  # formats: a file of llama.cpp's, a folder of safetensors as MLX loads it
SYNTHETIC_KEY = "specdash.synthetic"  # in a header: true when the weights were made up, not trained

MID_PARAMETERS = 32_000_000_000
LARGE_PARAMETERS = 68_000_000_000  # what is sold as 70B starts at 68.98 (Llama 2 70B)

VOCAB_SIZE_TOLERANCE = 128  # llama.cpp's SPEC_VOCAB_MAX_SIZE_DIFFERENCE
FIRST_COMPARED_TOKEN = 5  # llama.cpp's SPEC_VOCAB_CHECK_START_TOKEN_ID

_LENGTH_BYTES = 8
_SHOWN_CHARS = 40

# Tokenizers of GGUF files and of tokenizer.json by the family that is compared; any other name is one of its own.
_FAMILIES = {
    "llama": "SPM (SentencePiece)",
    "gpt2": "BPE",
    "gemma4": "BPE",
    "hybriddna": "BPE",
    "whitespace": "BPE",
    "bert": "WPM (WordPiece)",
    "t5": "UGM (Unigram)",
    "rwkv": "RWKV",
    "plamo2": "PLaMo-2",
    "no_vocab": "none",
    "none": "none",
    "BPE": "BPE",
    "Unigram": "UGM (Unigram)",
    "WordPiece": "WPM (WordPiece)",
    "WordLevel": "words",
}


@dataclass(frozen=True, slots=True)
class VocabFacts:
    """A model's vocabulary, with llama.cpp's defaults where the file is silent.

    `tokenizer` is `tokenizer.ggml.model` ("gpt2"), `pre` the pre-tokenizer; `size` counts tokens. `texts` are the token
    texts as a GGUF file stores them, each a little-endian 64-bit length and its bytes, so that two vocabularies are
    compared without taking them apart.
    """

    tokenizer: str
    pre: str | None
    size: int
    bos_id: int | None
    eos_id: int | None
    add_bos: bool
    add_eos: bool
    texts: bytes = field(default=b"", repr=False)

    @property
    def family(self) -> str:
        """The kind of tokenizer that llama.cpp compares, made safe to show."""
        return _FAMILIES.get(self.tokenizer) or _shown(self.tokenizer.encode(errors="replace"))

    def tokens(self, start: int = 0) -> Iterator[bytes]:
        """The token texts from id `start` on."""
        at = _offset(self.texts, start)
        while at < len(self.texts):
            end = at + _LENGTH_BYTES + int.from_bytes(self.texts[at : at + _LENGTH_BYTES], "little")
            yield self.texts[at + _LENGTH_BYTES : end]
            at = end


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the header of a model file tells, for all parts of a split one, or what the files of a model folder do.

    `path` is the file or folder that the server is given, `parts` are all files, `size_bytes` is what their weights
    have. `format` is GGUF or MLX.
    `parameters` counts weights (None for a vocabulary without any). `quantisation` is a label such as "Q4_K_M".
    `expert_count` is None for a dense model. `synthetic` says that the weights were made up, not trained.
    `bytes_per_token` is of the weights that a pass over one token reads with the model's own number of experts,
    `expert_bytes` of all its experts together (None for a dense model); both None where the file does not tell.
    """

    path: Path
    parts: tuple[Path, ...]
    size_bytes: int
    architecture: str
    name: str | None
    parameters: int | None
    quantisation: str | None
    layers: int | None
    embedding_width: int | None
    context_length: int | None
    expert_count: int | None
    expert_used_count: int | None
    has_chat_template: bool
    vocab: VocabFacts
    synthetic: bool = False
    bytes_per_token: int | None = None
    expert_bytes: int | None = None
    format: str = GGUF

    @property
    def model_class(self) -> ModelClass:
        """The class that decides which Ks are tried; a model of unknown size counts as small."""
        if self.expert_count:
            return "moe"
        if self.parameters is None or self.parameters < MID_PARAMETERS:
            return "dense-small"
        return "dense-mid" if self.parameters < LARGE_PARAMETERS else "dense-large"


def k_range(model_class: str) -> tuple[int, ...]:
    """The Ks of `k = "auto"` for targets of a class, ascending; ValueError for a class that there is not."""
    ranges = {
        "moe": (2, 4, 8),
        "dense-small": (2, 4, 8, 16),
        "dense-mid": (2, 4, 8, 16, 24),
        "dense-large": (2, 4, 8, 16, 24, 32, 48),
    }
    return _of_class(ranges, model_class)


def k_max(model_class: str) -> int:
    """The start-up K of one load that shall yield the whole curve; ValueError for a class that there is not."""
    return _of_class({"moe": 16, "dense-small": 24, "dense-mid": 32, "dense-large": 48}, model_class)


def _of_class(table: Mapping[str, T], model_class: str) -> T:
    """The entry of a class of models."""
    if model_class not in table:
        raise ValueError(f"no such model class: {model_class!r}")
    return table[model_class]


def vocabulary_conflict(target: ModelFacts, draft: ModelFacts) -> str | None:
    """Why `draft` cannot draft for `target`, as a sentence for the user; None when it can.

    The rule is llama.cpp's `common_speculative_are_compatible`: a server loads a draft that breaks it and never uses
    it. The ids of BOS and EOS matter only where they are added to a prompt; older builds compared them always, and
    what they refuse on top of this shows as a draft that proposes nothing.
    """
    if target.format != draft.format:
        said = {GGUF: "a GGUF file", MLX: "an MLX folder"}
        return f"the target is {said[target.format]} and the draft {said[draft.format]}: no server takes both"
    ours, theirs = target.vocab, draft.vocab
    if ours.family != theirs.family:
        return f"the tokenizers differ: the target's is {ours.family}, the draft's {theirs.family}"
    for what, ours_added, theirs_added, our_id, their_id in (
        ("BOS", ours.add_bos, theirs.add_bos, ours.bos_id, theirs.bos_id),
        ("EOS", ours.add_eos, theirs.add_eos, ours.eos_id, theirs.eos_id),
    ):
        if ours_added != theirs_added:
            adds, not_adds = ("target", "draft") if ours_added else ("draft", "target")
            return f"the {adds} adds {what} to prompts, the {not_adds} does not"
        if ours_added and our_id != their_id:
            return f"the {what} tokens differ: {_id(our_id)} in the target, {_id(their_id)} in the draft"
    if abs(ours.size - theirs.size) > VOCAB_SIZE_TOLERANCE:
        return (
            f"the vocabularies differ in size by more than {VOCAB_SIZE_TOLERANCE} tokens: "
            f"{ours.size} in the target, {theirs.size} in the draft"
        )
    return _first_difference(ours, theirs)


def packed_texts(texts: Iterable[bytes]) -> bytes:
    """Token texts in the order of their ids, as `VocabFacts.texts` has them."""
    return b"".join(len(text).to_bytes(_LENGTH_BYTES, "little") + text for text in texts)


def _first_difference(ours: VocabFacts, theirs: VocabFacts) -> str | None:
    """The first token from id 5 on with two texts, as a sentence; None when all that both have are alike."""
    our_texts = memoryview(ours.texts)[_offset(ours.texts, FIRST_COMPARED_TOKEN) :]
    their_texts = memoryview(theirs.texts)[_offset(theirs.texts, FIRST_COMPARED_TOKEN) :]
    common = min(len(our_texts), len(their_texts))
    if our_texts[:common] == their_texts[:common]:
        return None
    pairs = zip(ours.tokens(FIRST_COMPARED_TOKEN), theirs.tokens(FIRST_COMPARED_TOKEN), strict=False)
    for number, (one, other) in enumerate(pairs, FIRST_COMPARED_TOKEN):
        if one != other:
            return f"token {number} is {_shown(one)} in the target and {_shown(other)} in the draft"
    return None


def _offset(texts: bytes, token: int) -> int:
    """Where the entry of `token` begins in a block of token texts; its end when it has no such token."""
    at = 0
    for _ in range(token):
        if at >= len(texts):
            break
        at += _LENGTH_BYTES + int.from_bytes(texts[at : at + _LENGTH_BYTES], "little")
    return min(at, len(texts))


def _id(token: int | None) -> str:
    """A special token for a sentence."""
    return "none" if token is None else f"token {token}"


def _shown(text: bytes) -> str:
    """A token's text in quotes: what is not printable as its escape sequence, a long one cut."""
    found = text.decode("utf-8", "backslashreplace")
    return repr(found if len(found) <= _SHOWN_CHARS else found[:_SHOWN_CHARS] + "…")
