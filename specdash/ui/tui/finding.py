"""What there is on this machine to start with: models and engines, as `specdash models` and `specdash doctor` tell.

Both run as processes of their own: reading headers of many models takes seconds of pure computing, in which a thread
would hold up the screen.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from specdash.core.text import one_line

MODELS_LIMIT_S = 120.0
EXAMINE_LIMIT_S = 30.0
DEMO_LIMIT_S = 300.0  # models of some hundred MiB are written


class FindError(Exception):
    """Something could not be found out; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model file: its figures, or else its `problem`. `drafts` fit it; `unfit` has reasons by path."""

    path: str
    label: str
    source: str
    problem: str | None
    size_bytes: int | None
    model_class: str | None
    quantisation: str | None
    parameters: int | None
    drafts: tuple[str, ...] = ()
    unfit: dict[str, str] = field(default_factory=dict)

    def refusal(self, draft: Model) -> str | None:
        """Why `draft` cannot draft for this model; None when it can."""
        if draft.problem is not None:
            return draft.problem
        if draft.path in self.drafts:
            return None
        return self.unfit.get(draft.path, "it is no smaller than the target")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's: a state ("ok", "warn", "FAIL"), what was looked at, what was found, what to do."""

    state: str
    what: str
    found: str
    todo: str = ""


async def find_models(places: Sequence[str] = ()) -> list[Model]:
    """The models in these places (default: the usual caches). Raises FindError."""
    rows = await _json_of(["models", "--json", "--", *places] if places else ["models", "--json"], MODELS_LIMIT_S)
    return [_model(row) for row in rows if isinstance(row, dict)]


async def examine() -> list[Finding]:
    """What the doctor finds without starting a server: a sweep may be going on. Raises FindError."""
    rows = await _json_of(["doctor", "--json", "--no-probe"], EXAMINE_LIMIT_S)
    return [
        Finding(*(str(row.get(name, "")) for name in ("state", "what", "found", "todo")))
        for row in rows
        if isinstance(row, dict)
    ]


async def demo_profile() -> Path:
    """Writes the demo's models and profile; where the profile is. Raises FindError."""
    said = await _output(["demo", "--write-only"], DEMO_LIMIT_S)
    return Path(said.decode(errors="surrogateescape").strip().splitlines()[-1])


def engines(findings: Sequence[Finding]) -> list[Finding]:
    """The programs among the findings, those that can be used and those that cannot."""
    named = [found for found in findings if found.what in ("llama-server", "embedded", "engine")]
    return [found for found in named if found.state in ("ok", "FAIL")]


def _model(row: dict[str, Any]) -> Model:
    return Model(
        path=str(row.get("path", "")),
        label=str(row.get("label", "")),
        source=str(row.get("source", "")),
        problem=row.get("problem"),
        size_bytes=row.get("size_bytes"),
        model_class=row.get("class"),
        quantisation=row.get("quantisation"),
        parameters=row.get("parameters"),
        drafts=tuple(row.get("drafts") or ()),
        unfit=dict(row.get("unfit") or {}),
    )


async def _json_of(arguments: Sequence[str], limit_s: float) -> list[Any]:
    """The JSON list that a command of specdash prints."""
    said = await _output(arguments, limit_s)
    try:
        rows = json.loads(said)
    except ValueError as error:
        raise FindError(f"`specdash {arguments[0]}` said no JSON") from error
    return rows if isinstance(rows, list) else []


async def _output(arguments: Sequence[str], limit_s: float) -> bytes:
    """What a command of specdash prints. Raises FindError with its own words."""
    command = f"`specdash {arguments[0]}`"
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "specdash", *arguments,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
    except OSError as error:
        raise FindError(f"{command} cannot be started: {error.strerror}") from error
    try:
        said, complaint = await asyncio.wait_for(process.communicate(), limit_s)
    except TimeoutError:
        raise FindError(f"{command} took longer than {limit_s:.0f} s and was ended") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if not said.strip():
        raise FindError(f"{command} failed: {one_line(complaint, 400) or f'exit code {process.returncode}'}")
    return said
