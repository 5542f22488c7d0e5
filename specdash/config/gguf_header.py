"""One pass over the header of a GGUF file, without trusting a byte of it.

The walk is bounded on every side: counts by the bytes that are left, strings and arrays skipped unless wanted, nothing
recursive, a budget for the header's size and for time, and every tensor must lie within its file. The file is read,
never mapped, so that one that shrinks meanwhile is an error and not a signal. Layout: the GGUF specification,
`docs/gguf.md` of ggml.
"""

from __future__ import annotations

import re
import struct
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import BinaryIO

from specdash.config.model_file import BadFileError, WeightBytes
from specdash.config.problems import escaped

HEADER_BYTES = 256 * 2**20
HEADER_S = 5.0
ENTRIES = 100_000  # of metadata, and of tensors; real files have some dozens and some thousands
STRING_BYTES = 2**20  # of a string that is kept
TEXTS_BYTES = 64 * 2**20  # of all token texts
KEY_BYTES = 2**16 - 1
CHUNK_BYTES = 2**20
DIMENSIONS = 4

_STRING, _ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TOKENS = "tokenizer.ggml.tokens"
_TEMPLATE = "tokenizer.chat_template"
_OUTPUT = "output.weight"
_EMBEDDING = "token_embd.weight"
# Of these a token reads its own row: next to nothing.
_LOOKED_UP = {"per_layer_token_embd.weight", "position_embd.weight", "token_types.weight"}
_EXPERTS = re.compile(r"_(ch)?exps\.|\.ffn_(gate|up|down)\.\d+\.")  # the latter: files of 2023
_BLOCK = re.compile(r"blk\.(\d{1,9})\.")
_KEPT = {"general.architecture", "general.name", "tokenizer.ggml.model", "tokenizer.ggml.pre"}

Value = int | float | bool | str


@dataclass(slots=True)
class Header:
    """What one file's header holds: its values by key, and what its tensors add up to.

    Arrays, and strings that nobody wants, stand in `values` as "".
    """

    size_bytes: int
    values: dict[str, Value] = field(default_factory=dict)
    texts: bytes = b""
    token_count: int | None = None
    tensors: int = 0
    elements: Counter[int] = field(default_factory=Counter)  # by ggml type
    weights: WeightBytes = field(default_factory=WeightBytes)

    def whole(self, key: str, most: int = 2**63) -> int | None:
        """The value of a key if it is a whole number from 0 to `most`."""
        value = self.values.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most else None

    def text(self, key: str) -> str | None:
        """The value of a key if it is a text and not empty."""
        value = self.values.get(key)
        return value if isinstance(value, str) and value else None

    @property
    def is_later_part(self) -> bool:
        """Whether it says of itself that it is a part of a model, and not the first.

        llama-gguf-split gives all metadata of a model to the first part; the others have their numbers and tensors.
        """
        return bool(self.whole("split.no")) and (self.whole("split.count") or 0) > 1


class Walk:
    """One pass over one header; `file` stands at its begin and has `size` bytes. `header` raises BadFileError.

    `first` is the header of the model's first part, for a file that is a later one: what the model is stands there
    alone.
    """

    def __init__(self, file: BinaryIO, size: int, first: Header | None = None) -> None:
        self.file = file
        self.size = size
        self.first = first
        self.at = 0
        self.deadline = time.monotonic() + HEADER_S
        self.found = Header(size)

    def header(self) -> Header:
        """Walks metadata and tensor infos, and checks that the tensors lie within the file."""
        tensors, entries = self._preamble()
        for _ in range(entries):
            self._entry()
        if self.found.text("general.architecture") is None and not self.found.is_later_part:
            raise BadFileError("names no architecture, so it is no model", "Name the .gguf file of a model.")
        ends = [self._tensor() for _ in range(tensors)]
        self.found.tensors = tensors
        if ends:
            self._check_ends(ends)
        return self.found

    def _preamble(self) -> tuple[int, int]:
        """Magic and version; returns the numbers of tensors and of metadata entries."""
        head = self.file.read(512)
        if head[:4] != b"GGUF":
            raise BadFileError(*guess_file_type(head))
        self.file.seek(4)
        self.at = 4
        version = self._number("I")
        if version & 0xFFFF == 0:
            raise BadFileError(
                "is a big-endian GGUF file, which llama.cpp cannot load here", "Get a little-endian one."
            )
        if version == 1:
            raise BadFileError("is a GGUF file of version 1, which llama.cpp no longer loads", "Get a newer file.")
        if version not in (2, 3):
            raise BadFileError(f"is a GGUF file of version {version}; versions 2 and 3 are known", "")
        tensors, entries = self._number("Q"), self._number("Q")
        for what, count, least in (("tensors", tensors, 24), ("metadata entries", entries, 13)):
            if count > ENTRIES or count * least > self.size - self.at:
                raise BadFileError(f"claims {count:,} {what}, more than can be in its {self.size:,} bytes")
        return tensors, entries

    def _entry(self) -> None:
        """One key and its value, kept or skipped."""
        key = self._take(self._length(KEY_BYTES, "a key")).decode("utf-8", "replace")
        if not key:
            raise BadFileError("is damaged: a key of its header is empty")
        if key in self.found.values:
            raise BadFileError(f"is damaged: the key {escaped(key)} stands there twice")
        self.found.values[key] = ""  # of what is skipped, that it is there
        kind = self._number("I")
        if kind in _SCALARS:
            self.found.values[key] = self._number(_SCALARS[kind])
        elif kind == _STRING:
            length = self._length(self.size, "a text")
            if key == _TEMPLATE:
                self.found.values[key] = length > 0
                self._skip(length)
            elif key in _KEPT and length <= STRING_BYTES:
                self.found.values[key] = self._take(length).decode("utf-8", "replace")
            else:
                self._skip(length)
        elif kind == _ARRAY:
            self._array(key)
        else:
            raise BadFileError(f"is damaged: the key {escaped(key)} has the unknown type {kind}")

    def _array(self, key: str) -> None:
        """An array, skipped; of the token texts one copy is kept as it stands in the file."""
        kind, count = self._number("I"), self._number("Q")
        if kind == _STRING:
            texts = self._strings(key, count, keep=key == _TOKENS)
            if key == _TOKENS:
                self.found.texts, self.found.token_count = texts, count
        elif kind not in _SCALARS:
            what = "an array of arrays" if kind == _ARRAY else f"an array of the unknown type {kind}"
            raise BadFileError(f"is damaged: the key {escaped(key)} is {what}")
        elif key == _TOKENS:
            raise BadFileError("is damaged: its tokens are no texts")
        else:
            self._skip(count * struct.calcsize(f"<{_SCALARS[kind]}"))

    def _strings(self, key: str, count: int, *, keep: bool) -> bytes:
        """Passes `count` strings; returns them as they are in the file, or b"" without `keep`."""
        if count * 8 > self.size - self.at:
            raise BadFileError(f"claims {count:,} texts in {escaped(key)}, more than can be in its {self.size:,} bytes")
        length_at = struct.Struct("<Q").unpack_from
        start, left = self.at, count
        while left:
            self.file.seek(self.at)
            chunk = self.file.read(CHUNK_BYTES)
            last, inside = len(chunk) - 8, 0
            while left and inside <= last:
                inside += 8 + length_at(chunk, inside)[0]
                left -= 1
            if not inside:
                raise self._ends_here()
            self._move(self.at + inside)
        if not keep:
            self.file.seek(self.at)
            return b""
        if self.at - start > TEXTS_BYTES:
            raise BadFileError(f"has {self.at - start:,} bytes of token texts, more than {TEXTS_BYTES:,}", "")
        end = self.at
        self.file.seek(start)
        self.at = start
        return self._take(end - start)

    def _tensor(self) -> tuple[int, str]:
        """One tensor's info; returns where it ends, in bytes from the begin of the tensor data, and its name."""
        raw = self._take(self._length(KEY_BYTES, "a tensor's name")).decode("utf-8", "replace")
        name = escaped(raw)
        dimensions = self._number("I")
        if dimensions > DIMENSIONS:
            raise BadFileError(f"is damaged: the tensor {name} has {dimensions} dimensions")
        shape = [self._number("Q") for _ in range(dimensions)]
        kind, offset = self._number("I"), self._number("Q")
        elements = 1
        for width in shape:
            elements *= width
        self.found.elements[kind] += elements
        if kind not in TENSOR_TYPES:
            self.found.weights.known = False
            return offset, name  # newer than this table: where it begins is all that can be checked
        _label, block, block_bytes = TENSOR_TYPES[kind]
        if shape and shape[0] % block:
            raise BadFileError(f"is damaged: rows of {shape[0]} in the tensor {name} are not made of blocks of {block}")
        size = elements // block * block_bytes
        self._weigh(raw, size)
        return offset + size, name

    def _weigh(self, name: str, size: int) -> None:
        """Adds a tensor of `size` bytes to what one token reads.

        Layers for drafting ahead (`nextn`, the last ones) are not part of an ordinary pass, nor is an encoder.
        """
        weights = self.found.weights
        if name == _EMBEDDING:
            weights.embedding += size
        elif _EXPERTS.search(name) is not None and self._is_passed(name):
            weights.experts += size
        elif name not in _LOOKED_UP and self._is_passed(name):
            weights.whole += size
        weights.has_output |= name == _OUTPUT

    def _is_passed(self, name: str) -> bool:
        """Whether the tensor belongs to the layers that every token goes through."""
        block = _BLOCK.match(name)
        if block is None:
            return not name.startswith("enc.")
        about = self.first or self.found
        architecture = about.text("general.architecture")
        layers = about.whole(f"{architecture}.block_count")
        ahead = about.whole(f"{architecture}.nextn_predict_layers") or 0
        return layers is None or int(block[1]) < layers - ahead

    def _check_ends(self, ends: list[tuple[int, str]]) -> None:
        """All tensors lie within the file."""
        alignment = self.found.values.get("general.alignment", 32)
        good = isinstance(alignment, int) and 0 < alignment <= 2**20 and alignment & (alignment - 1) == 0
        if not isinstance(alignment, int) or not good:
            raise BadFileError(f"is damaged: it aligns its tensors to {escaped(str(alignment))} bytes")
        end, name = max(ends)
        end += -(-self.at // alignment) * alignment
        if end > self.size:
            raise BadFileError(
                f"is truncated: its last tensor ({name}) should end at byte {end:,}, the file ends at {self.size:,}; "
                f"{end - self.size:,} bytes are missing"
            )

    def _length(self, most: int, what: str) -> int:
        """The length of a string, which must be within the file and at most `most`."""
        length = self._number("Q")
        if length > min(most, HEADER_BYTES) and length <= self.size - self.at:
            raise BadFileError(f"is damaged: {what} in its header has {length:,} bytes")
        return length

    def _number(self, code: str) -> int:
        """A number of the struct type `code`; also used for floats and booleans, which nothing counts with."""
        number: int = struct.unpack(f"<{code}", self._take(struct.calcsize(f"<{code}")))[0]
        return number

    def _take(self, count: int) -> bytes:
        """The next bytes."""
        if count > self.size - self.at:
            raise self._ends_here()
        data = self.file.read(count)
        if len(data) < count:
            raise self._ends_here()
        self._move(self.at + count)
        return data

    def _skip(self, count: int) -> None:
        """Passes the next bytes without reading them."""
        self._move(self.at + count)
        self.file.seek(self.at)

    def _move(self, at: int) -> None:
        """Notes the new position, within file and budget."""
        if at > self.size:
            raise self._ends_here()
        if at > HEADER_BYTES:
            raise BadFileError(f"has a header of more than {HEADER_BYTES:,} bytes", "")
        if time.monotonic() > self.deadline:
            raise BadFileError(f"has a header that takes more than {HEADER_S:g} s to read", "")
        self.at = at

    def _ends_here(self) -> BadFileError:
        """The error for a header that needs more bytes than there are."""
        return BadFileError(f"is truncated or damaged: the file ends at byte {self.size:,}, inside its header")


# Label, weights in a block and bytes of a block, by ggml type (`ggml_type` and `type_traits` of ggml).
TENSOR_TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}

# Labels by `general.file_type` (`llama_ftype` of llama.cpp).
FILE_TYPES = {
    **dict(enumerate(("F32", "F16", "Q4_0", "Q4_1"))),
    **dict(enumerate(("Q8_0", "Q5_0", "Q5_1", "Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M"), 7)),
    **dict(enumerate(("Q5_K_S", "Q5_K_M", "Q6_K", "IQ2_XXS", "IQ2_XS", "Q2_K_S", "IQ3_XS", "IQ3_XXS"), 16)),
    **dict(enumerate(("IQ1_S", "IQ4_NL", "IQ3_S", "IQ3_M", "IQ2_S", "IQ2_M", "IQ4_XS", "IQ1_M", "BF16"), 24)),
    **dict(enumerate(("TQ1_0", "TQ2_0", "MXFP4_MOE", "NVFP4", "Q1_0"), 36)),
}

_BEGINNINGS = (
    (b"FUGG", "is a big-endian GGUF file, which llama.cpp cannot load here", "Get a little-endian one."),
    (b"lmgg", "is in a format older than GGUF, which llama.cpp no longer loads", "Get a .gguf file of the model."),
    (b"fmgg", "is in a format older than GGUF, which llama.cpp no longer loads", "Get a .gguf file of the model."),
    (b"tjgg", "is in a format older than GGUF, which llama.cpp no longer loads", "Get a .gguf file of the model."),
    (b"PK\x03\x04", "is a zip or PyTorch file, not a GGUF file", "Get a .gguf file of the model."),
    (b"version https://git-lfs", "is a Git LFS pointer, not the model itself", "Run git lfs pull in its folder."),
)
_PAGES = (b"<!doctype", b"<html", b"<head", b"<?xml")


def guess_file_type(head: bytes) -> tuple[str, str]:
    """What a file that is no GGUF file seems to be, judged by its first bytes, and what to do about it."""
    if not head:
        return "is empty", "Download or copy it again."
    for beginning, what, todo in _BEGINNINGS:
        if head.startswith(beginning):
            return what, todo
    if head[8:9] == b"{" and head[5:8] == b"\0\0\0":
        return "is a safetensors file, not a GGUF file", "Name its folder, for an MLX server; or get a .gguf file."
    if head.lstrip().lower().startswith(_PAGES):
        return (
            "is a web page, not a model",
            "Its download answered with a page: sign in or check the link, then try again.",
        )
    if not head.strip(b"\0"):
        return "begins with zero bytes only, so its download was not finished", "Download or copy it again."
    if not any(byte < 9 or 13 < byte < 32 for byte in head):
        return "is a text file, not a GGUF file", "Name the .gguf file of a model."
    return "is not a GGUF file", "Name the .gguf file of a model."
