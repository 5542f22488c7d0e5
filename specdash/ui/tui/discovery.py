"""What there is to start with: models and engines, as `specdash models` and `specdash doctor` tell.

Both run as processes of their own: reading headers of many models takes seconds of pure computing, in which a thread
would hold up the screen. For a run on another machine the models are those there.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from specdash.config.discover import default_folders
from specdash.core.engine_kinds import kind_named
from specdash.core.events import ModelRead
from specdash.core.text import one_line
from specdash.remote.run_source import MODELS, Source, own_argv

MODELS_LIMIT_S = 120.0
EXAMINE_LIMIT_S = 30.0
DEMO_LIMIT_S = 300.0  # models of some hundred MiB are written
MOST_BYTES = 32 * 2**20


_FINDING = ("state", "what", "found", "todo", "kind", "program")


class FindError(Exception):
    """Something could not be found out; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class DiscoveredModel:
    """A model file: its figures, or else its `problem`. `drafts` fit it; `unfit` has reasons by path.

    What was not told is None: another version of specdash may have been asked.
    """

    path: str
    label: str
    source: str = ""
    problem: str | None = None
    size_bytes: int | None = None
    model_class: str | None = None
    quantisation: str | None = None
    parameters: int | None = None
    drafts: tuple[str, ...] = ()
    unfit: dict[str, str] = field(default_factory=dict)
    architecture: str | None = None
    vocabulary: str | None = None

    @property
    def is_folder(self) -> bool:
        """Return whether it is a folder as MLX loads it, and no GGUF file."""
        return os.path.isdir(self.path)

    def refusal(self, draft: DiscoveredModel) -> str | None:
        """Return why `draft` cannot draft for this model; None when it can."""
        if draft.problem is not None:
            return draft.problem
        if draft.path in self.drafts:
            return None
        return self.unfit.get(draft.path, "it is no smaller than the target")

    def read_as(self, role: str) -> ModelRead | None:
        """Return what a run would know of it; None where its size is not known."""
        if self.size_bytes is None:
            return None
        kind = self.model_class or "dense-small"
        return ModelRead(self.label, role, self.path, self.size_bytes, self.architecture, self.quantisation, kind)


@dataclass(frozen=True, slots=True)
class DoctorLine:
    """One line of the doctor's: a state ("ok", "warn", "FAIL"), what was looked at, what was found, what to do.

    `kind` and `program` where it is about a program of a kind of engine.
    """

    state: str
    what: str
    found: str
    todo: str = ""
    kind: str = ""
    program: str = ""


async def discover_models(places: Sequence[str] = ()) -> list[DiscoveredModel]:
    """Return the models of this machine in these places (default: the usual caches). Raises FindError."""
    return await _models(own_argv(*MODELS), places, "")


async def models_of_machine(source: Source | None, folders: Sequence[Path] = ()) -> list[DiscoveredModel]:
    """Return the models on the machine of a run, of this one where no run is open. Raises FindError.

    `folders` of the user's are looked into beside the usual places, on this machine only.
    """
    places = places_with(folders)
    if source is None:
        return await discover_models(places)
    origin, argv = source.origin, source.models_argv
    host = one_line(origin.host, 60)
    if argv is None:
        raise FindError(f"models of the machine of this run cannot be looked for from {host}; the run's own are listed")
    return await _models(argv, places if origin.is_local else (), "" if origin.is_local else f" on {host}")


def places_with(folders: Sequence[Path]) -> list[str]:
    """Return the usual caches and the user's folders; none, which stands for the usual caches, without such folders."""
    usual = [folder for folder, _ in default_folders() if os.path.isdir(folder)]
    return [str(folder) for folder in (*usual, *folders)] if folders else []


async def run_doctor() -> list[DoctorLine]:
    """Return what the doctor finds without starting a server: a sweep may be going on. Raises FindError."""
    command = "`specdash doctor`"
    rows = _rows(await _output(own_argv("doctor", "--json", "--no-probe"), EXAMINE_LIMIT_S, command), command)
    return [DoctorLine(*(str(row.get(name, "")) for name in _FINDING)) for row in rows]


async def demo_profile() -> Path:
    """Write the demo's models and profile; where the profile is. Raises FindError."""
    said = await _output(own_argv("demo", "--write-only"), DEMO_LIMIT_S, "`specdash demo`")
    return Path(said.decode(errors="surrogateescape").strip().splitlines()[-1])


def engines(findings: Sequence[DoctorLine]) -> list[DoctorLine]:
    """Return the programs that a new profile may have: those that can be used, and those that are broken.

    A program that is not installed is a warning of the doctor's, and not named: most machines have no use for MLX.
    """
    named = [found for found in findings if kind_named(found.kind).new_profile]
    return [found for found in named if found.state in ("ok", "FAIL")]


async def _models(argv: Sequence[str], places: Sequence[str], where: str) -> list[DiscoveredModel]:
    command = f"`specdash models`{where}"
    said = await _output([*argv, "--", *places] if places else argv, MODELS_LIMIT_S, command)
    return [_model(row, command) for row in _rows(said, command)]


def _model(row: dict[str, Any], command: str) -> DiscoveredModel:
    def text(name: str) -> str | None:
        return row[name] if isinstance(row.get(name), str) else None

    def number(name: str) -> int | None:
        return row[name] if type(row.get(name)) is int else None

    path, label, drafts, unfit = text("path"), text("label"), row.get("drafts") or [], row.get("unfit") or {}
    if path is None or label is None or not isinstance(drafts, list) or not isinstance(unfit, dict):
        raise FindError(f"{command} said what cannot be read; is it another version there?")
    return DiscoveredModel(
        path=path,
        label=label,
        source=text("source") or "",
        problem=text("problem"),
        size_bytes=number("size_bytes"),
        model_class=text("class"),
        quantisation=text("quantisation"),
        parameters=number("parameters"),
        drafts=tuple(str(each) for each in drafts),
        unfit={path: str(reason) for path, reason in unfit.items()},
        architecture=text("architecture"),
        vocabulary=text("vocabulary"),
    )


def _rows(said: bytes, command: str) -> list[dict[str, Any]]:
    """Return the JSON list of objects that a command printed. Raises FindError."""
    try:
        rows = json.loads(said) if len(said) <= MOST_BYTES else None
    except (ValueError, RecursionError) as error:
        raise FindError(f"{command} said no JSON; is it another version there?") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise FindError(f"{command} said what cannot be read; is it another version there?")
    return rows


async def _output(argv: Sequence[str], limit_s: float, command: str) -> bytes:
    """Return what a command prints. Raises FindError with its own words."""
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )
    except OSError as error:
        raise FindError(f"{command} cannot be started: {argv[0]}: {error.strerror}") from error
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
