"""The headers of safetensors files: which tensors, of which type and shape, and that the file holds them all.

Layout (https://github.com/huggingface/safetensors#format): the length of the header (64 bits, little-endian), the
header as JSON, the tensors' bytes. No tensor is read.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import msgspec

from specdash.config.gguf_header import guess_file_type
from specdash.config.model_file import BadFileError, regular_file
from specdash.config.problems import escaped

HEADER_BYTES = 100_000_000  # the format's own limit
INSTEAD = "Name the folder of an MLX model."

_BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "U16": 2, "I16": 2, "F16": 2}
_BYTES |= {"BF16": 2, "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8}

_Count = Annotated[int, msgspec.Meta(ge=0)]


class Tensor(msgspec.Struct, frozen=True, gc=False):
    """One tensor as the header tells it; its bytes lie at `data_offsets`, counted from the end of the header."""

    dtype: str = ""
    shape: tuple[_Count, ...] = ()
    data_offsets: tuple[_Count, _Count] = (0, 0)

    @property
    def elements(self) -> int:
        """How many numbers it holds (of a quantised one: of its packed words)."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Its bytes in the file."""
        return self.data_offsets[1] - self.data_offsets[0]


_DECODER = msgspec.json.Decoder(dict[str, Tensor])


def read_tensors(path: Path) -> tuple[dict[str, Tensor], int]:
    """The tensors of one file by name, and the file's size; EngineError for one that is damaged or cut short."""
    with regular_file(path, INSTEAD) as (file, size):
        head = file.read(512)
        length = int.from_bytes(head[:8], "little")
        if len(head) < 8 or not 2 <= length <= HEADER_BYTES or head[8:].lstrip()[:1] != b"{":
            what, todo = guess_file_type(head)
            if "GGUF" in what:
                raise BadFileError("is no safetensors file, or damaged: it does not begin with a header")
            raise BadFileError(what, todo)
        if length > size - 8:
            raise BadFileError(f"is truncated: its header has {length:,} bytes, the file {size:,}")
        file.seek(8)
        try:
            tensors = _DECODER.decode(file.read(length))
        except (ValueError, RecursionError) as error:
            raise BadFileError(f"is damaged: its header cannot be read ({escaped(str(error))})") from None
        tensors.pop("__metadata__", None)
        _check(tensors, size - 8 - length)
    return tensors, size


def _check(tensors: dict[str, Tensor], room: int) -> None:
    """Raises BadFileError unless every tensor has the bytes of its shape, and they are in the file."""
    for name, tensor in tensors.items():
        width = _BYTES.get(tensor.dtype)
        if tensor.size_bytes < 0 or (width is not None and tensor.size_bytes != width * tensor.elements):
            raise BadFileError(f"is damaged: the bytes of the tensor {escaped(name)} do not fit its shape")
    end = max((tensor.data_offsets[1] for tensor in tensors.values()), default=0)
    if end > room:
        raise BadFileError(f"is truncated: {end - room:,} bytes of its tensors are missing")
