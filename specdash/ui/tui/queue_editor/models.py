"""The models that can be added to a run: those on the engine's machine, as `specdash models --json` lists them.

Looked for in a process of its own, since reading the headers of hundreds of files would disturb what is measured.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from specdash.core.events import ModelRead
from specdash.core.text import one_line
from specdash.ui.source import SourceError

LIMIT_S = 120.0
MOST_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True)
class FoundModel:
    """One model file: `drafts` are the paths of those that can draft for it, `problem` is why it cannot be used."""

    path: str
    label: str
    size_bytes: int | None = None
    model_class: str | None = None
    architecture: str | None = None
    quantisation: str | None = None
    vocabulary: str | None = None
    drafts: tuple[str, ...] = ()
    problem: str | None = None

    def read_as(self, role: str) -> ModelRead | None:
        """What a run would know of it; None where its size is not known."""
        if self.size_bytes is None:
            return None
        kind = self.model_class or "dense-small"
        return ModelRead(self.label, role, self.path, self.size_bytes, self.architecture, self.quantisation, kind)


FindModels = Callable[[], Awaitable[list[FoundModel]]]


def finder(argv: Sequence[str] | None = None) -> FindModels:
    """Looks for models with this command; by default with this program, on this machine."""
    command = list(argv) if argv is not None else [sys.executable, "-m", "specdash", "models", "--json"]

    async def find() -> list[FoundModel]:
        return parsed(await _output(command))

    return find


async def _output(argv: Sequence[str]) -> bytes:
    """What a command prints; raises SourceError with what it said instead."""
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )
    except OSError as error:
        raise SourceError(f"models cannot be looked for: {argv[0]}: {error.strerror}") from error
    try:
        async with asyncio.timeout(LIMIT_S):
            out, err = await process.communicate()
    except TimeoutError as error:
        raise SourceError(f"the search for models took longer than {LIMIT_S:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        said = one_line(err.strip().splitlines()[-1]) if err.strip() else f"exit code {process.returncode}"
        raise SourceError(f"the search for models failed: {said}")
    return out


def parsed(data: bytes) -> list[FoundModel]:
    """The models of `specdash models --json`; raises SourceError where it is something else."""
    try:
        if len(data) > MOST_BYTES:
            raise ValueError("too much")
        rows = json.loads(data)
        return [_model(row) for row in rows]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise SourceError("the list of models cannot be read; is specdash there of another version?") from error


def _model(row: dict[str, Any]) -> FoundModel:
    def text(name: str) -> str | None:
        return row[name] if isinstance(row.get(name), str) else None

    size = row.get("size_bytes")
    return FoundModel(
        path=str(row["path"]),
        label=str(row["label"]),
        size_bytes=size if type(size) is int else None,
        model_class=text("class"),
        architecture=text("architecture"),
        quantisation=text("quantisation"),
        vocabulary=text("vocabulary"),
        drafts=tuple(str(each) for each in row.get("drafts") or ()),
        problem=text("problem"),
    )
