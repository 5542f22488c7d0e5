"""What readers of model files share: opening without trust, and what one token reads of the weights."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from specdash.config.problems import escaped
from specdash.errors import EngineError

AGAIN = "Download or copy it again."


class BadFileError(Exception):
    """Why a file cannot be used, worded to follow its name; `todo` says what to do about it."""

    def __init__(self, what: str, todo: str = AGAIN) -> None:
        super().__init__(what)
        self.what = what
        self.todo = todo


@dataclass(slots=True)
class WeightBytes:
    """The bytes of one file's tensors by how decoding one token reads them.

    `whole` is read in full; `experts` in part; `embedding` is a table of which one row is read, unless the model has
    no matrix of its own for the output (`has_output`) and uses this one. `known` is False where a tensor has a type
    whose size this version does not know.
    """

    whole: int = 0
    experts: int = 0
    embedding: int = 0
    has_output: bool = False
    known: bool = True


def bytes_read(parts: Sequence[WeightBytes], count: int | None, used: int | None) -> tuple[int | None, int | None]:
    """Bytes that one token reads with `used` of `count` experts, and bytes of all experts together.

    None for what cannot be told: a type of unknown size, no weights at all, or experts without their numbers. A router
    gives each token `used` experts of each layer, all of one size.
    """
    if not all(part.known for part in parts):
        return None, None
    experts = sum(part.experts for part in parts)
    whole = sum(part.whole for part in parts)
    if not any(part.has_output for part in parts):
        whole += sum(part.embedding for part in parts)
    if not experts:
        return whole or None, None
    if count is None or used is None or used > count:
        return None, experts
    return whole + experts * used // count, experts


@contextmanager
def regular_file(path: Path, instead: str) -> Iterator[tuple[BinaryIO, int]]:
    """A file and its size in bytes; EngineError for what is no regular file (with `instead`), or cannot be read.

    A BadFileError that is raised meanwhile becomes an EngineError with the file's name.
    """
    try:
        # O_NONBLOCK: opening a FIFO would otherwise wait for a writer. It does nothing to regular files.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb", buffering=2**16) as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise BadFileError(_kind(status.st_mode), instead)
            yield file, status.st_size
    except BadFileError as error:
        raise EngineError(f"{path_text(path)} {error.what}", error.todo) from None
    except FileNotFoundError:
        raise EngineError(f"{path_text(path)} does not exist", "Check the path.") from None
    except IsADirectoryError:
        raise EngineError(f"{path_text(path)} is a folder, not a model", instead) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise EngineError(
            f"{path_text(path)} cannot be read: {escaped(reason)}", "Check the path and the rights."
        ) from None


def _kind(mode: int) -> str:
    """What is there instead of a regular file."""
    if stat.S_ISDIR(mode):
        return "is a folder, not a model"
    return "is a FIFO, not a model file" if stat.S_ISFIFO(mode) else "is a device or socket, not a model file"


def path_text(path: Path) -> str:
    """A path as it may be shown."""
    return escaped(str(path))
