"""Model facts from the headers of GGUF files, split ones included.

Where a file is silent, its vocabulary has llama.cpp's defaults (`llama_vocab::impl::load`), since the rule for pairs is
applied to what llama.cpp makes of the files.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from specdash.config.gguf_header import FILE_TYPES, TENSOR_TYPES, Header, Walk
from specdash.config.model_file import AGAIN, bytes_read, path_text, regular_file
from specdash.config.problems import escaped
from specdash.core.model import SYNTHETIC_KEY, ModelFacts, VocabFacts
from specdash.errors import EngineError

GUESSED = 1024  # llama.cpp's bit for a file type that was guessed from the tensors

_PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL | re.IGNORECASE)
_NAMED_PARTS = 5  # of missing parts, in a message
_OF_ALL_PARTS = ("split.count", "split.tensors.count")  # what each part says of the whole model

# By tokenizer: ids of BOS and EOS, and whether each is added to a prompt.
_DEFAULTS: dict[str, tuple[int | None, int | None, bool, bool]] = {
    "llama": (1, 2, True, False),
    "bert": (101, None, True, False),
    "gpt2": (11, 11, False, False),
    "hybriddna": (11, 11, False, False),
    "whitespace": (11, 11, False, False),
    "t5": (None, 1, False, True),
    "plamo2": (1, 2, False, False),
}
_BPE = {"gpt2", "hybriddna", "whitespace", "gemma4"}
_PRE_ADDING_BOS = {
    *("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"),
    *("tekken", "chameleon"),
}
_PRE_WITHOUT_BOS = {"glm4", "chatglm-bpe"}
_PRE_FORCING_BOS = {"gemma4", "granite-embed-multi-311m"}


def read_model(path: Path) -> ModelFacts:
    """The facts of the model at `path`, all parts of a split one included.

    Raises EngineError when a part is missing, unreadable, no GGUF file, damaged or cut short. Some 0.1 s for a
    vocabulary of 152,000 tokens.
    """
    first = _read(path)
    parts = _parts(path, first)
    headers = [first, *(_read(part, first) for part in parts[1:])]
    for number, (part, header) in enumerate(zip(parts, headers, strict=True)):
        if header.whole("split.no") not in (number, None if number == 0 else number):
            raise EngineError(
                f"{path_text(part)} is not part {number + 1} of {path_text(path)}, as its name says", AGAIN
            )
        if any(header.whole(key) != first.whole(key) for key in _OF_ALL_PARTS):
            raise EngineError(f"{path_text(part)} is a part of another model than {path_text(path)}", AGAIN)
    expected, found = first.whole("split.tensors.count"), sum(header.tensors for header in headers)
    if len(parts) > 1 and expected is not None and expected != found:
        raise EngineError(
            f"{path_text(path)} and its parts have {found} tensors, {expected} belong to the model", AGAIN
        )
    return _facts(path, parts, headers)


def _read(path: Path, first: Header | None = None) -> Header:
    """Walks the header of one file, a later part of the model that `first` begins; EngineError when it cannot."""
    with regular_file(path, "Name a .gguf file.") as (file, size):
        return Walk(file, size, first).header()


def _parts(path: Path, first: Header) -> tuple[Path, ...]:
    """All files of the model, `path` first; EngineError when it is not the first part or another is not there."""
    count = first.whole("split.count", 99_999) or 1
    match = _PART.fullmatch(path.name)
    if count == 1:
        return (path,)
    if match is None or int(match["count"]) != count:
        number = (first.whole("split.no") or 0) + 1
        raise EngineError(
            f"{path_text(path)} is part {number} of a model in {count} parts, and not named as that",
            f"llama.cpp finds the parts by their names: this one must be NAME-{number:05}-of-{count:05}.gguf.",
        )
    files = [path.with_name(f"{match['stem']}-{number:05}-of-{count:05}.gguf") for number in range(1, count + 1)]
    if files[0] != path and os.path.exists(files[0]):
        raise EngineError(
            f"{path_text(path)} is part {int(match['number'])} of {count}", f"Name {path_text(files[0])}."
        )
    missing = [file.name for file in files if not os.path.exists(file)]
    if missing:
        names = ", ".join(escaped(name) for name in missing[:_NAMED_PARTS])
        more = f" and {len(missing) - _NAMED_PARTS} more" if len(missing) > _NAMED_PARTS else ""
        raise EngineError(
            f"{path_text(path)} is a model in {count} parts; missing: {names}{more}", "Put all parts into one folder."
        )
    return tuple(files)


def _facts(path: Path, parts: tuple[Path, ...], headers: Sequence[Header]) -> ModelFacts:
    """The headers of all parts, put together."""
    first = headers[0]
    architecture = first.text("general.architecture") or ""
    if architecture == "clip":
        raise EngineError(f"{path_text(path)} is a projector for images, not a model", "Name it as mmproj of a target.")
    elements = sum((header.elements for header in headers), Counter[int]())
    experts = (
        first.whole(f"{architecture}.expert_count") or None,
        first.whole(f"{architecture}.expert_used_count") or None,
    )
    bytes_per_token, expert_bytes = bytes_read([header.weights for header in headers], *experts)
    return ModelFacts(
        path=path,
        parts=parts,
        size_bytes=sum(header.size_bytes for header in headers),
        architecture=architecture,
        name=first.text("general.name"),
        parameters=elements.total() or None,
        quantisation=_quantisation(first, elements),
        layers=first.whole(f"{architecture}.block_count"),
        embedding_width=first.whole(f"{architecture}.embedding_length"),
        context_length=first.whole(f"{architecture}.context_length"),
        expert_count=experts[0],
        expert_used_count=experts[1],
        has_chat_template=first.values.get("tokenizer.chat_template") is True,
        vocab=_vocabulary(first, architecture),
        synthetic=first.values.get(SYNTHETIC_KEY) is True,
        bytes_per_token=bytes_per_token,
        expert_bytes=expert_bytes,
    )


def _quantisation(first: Header, elements: Counter[int]) -> str | None:
    """The label of the file type, else of the type that most weights have."""
    file_type = first.whole("general.file_type")
    if file_type is not None and file_type & ~GUESSED in FILE_TYPES:
        return FILE_TYPES[file_type & ~GUESSED]
    known = [(count, TENSOR_TYPES[kind][0]) for kind, count in elements.items() if kind in TENSOR_TYPES]
    return max(known)[1] if known else None


def _vocabulary(first: Header, architecture: str) -> VocabFacts:
    """The vocabulary, with llama.cpp's defaults for what the file does not say."""
    tokenizer = first.text("tokenizer.ggml.model") or "none"
    pre = "gemma4" if tokenizer == "gemma4" else first.text("tokenizer.ggml.pre")
    bos, eos, add_bos, add_eos = _DEFAULTS.get(tokenizer, (None, None, False, False))
    size = first.token_count if first.token_count is not None else first.whole(f"{architecture}.vocab_size") or 0
    bpe_pre = pre if tokenizer in _BPE else None
    if bpe_pre in _PRE_ADDING_BOS:
        add_bos = True
    if bpe_pre in _PRE_WITHOUT_BOS:
        bos = None
    bos = _special(first, "tokenizer.ggml.bos_token_id", bos, size)
    eos = _special(first, "tokenizer.ggml.eos_token_id", eos, size)
    add_bos = _flag(first, "tokenizer.ggml.add_bos_token", add_bos) or bpe_pre in _PRE_FORCING_BOS
    add_eos = _flag(first, "tokenizer.ggml.add_eos_token", add_eos)
    return VocabFacts(
        tokenizer=tokenizer,
        pre=pre,
        size=size,
        bos_id=bos,
        eos_id=eos,
        add_bos=add_bos and bos is not None,
        add_eos=add_eos and eos is not None,
        texts=first.texts,
    )


def _special(header: Header, key: str, default: int | None, size: int) -> int | None:
    """The id of a special token, or the default; ids outside the vocabulary count as not given."""
    given = header.whole(key, size - 1)
    if given is not None:
        return given
    return default if default is not None and default < size else None


def _flag(header: Header, key: str, default: bool) -> bool:
    """A boolean of the header, or the default."""
    value = header.values.get(key)
    return value if isinstance(value, bool) else default
