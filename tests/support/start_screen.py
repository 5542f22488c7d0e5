"""A machine with some models, one engine and no runs, and the start screen on it: for tests of what begins there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from specdash.store import runs as store
from specdash.ui.tui import discovery
from specdash.ui.tui.app import Dashboard
from specdash.ui.tui.discovery import DiscoveredModel, DoctorLine
from specdash.ui.tui.terminal import UNICODE, Terminal


def model(name: str, size: int, *drafts: str, problem: str | None = None, **unfit: str) -> DiscoveredModel:
    paths = tuple(f"/models/{draft}.gguf" for draft in drafts)
    reasons = {f"/models/{draft}.gguf": reason for draft, reason in unfit.items()}
    known = problem is None
    kind, quantisation = ("dense-small", "Q8_0") if known else (None, None)
    bytes_or_none = size if known else None
    path = f"/models/{name}.gguf"
    return DiscoveredModel(
        path, name, "LM Studio", problem, bytes_or_none, kind, quantisation, bytes_or_none, paths, reasons
    )


MODELS = [
    model("big", 2**34, "small", alien="the tokenizers differ: the target's is BPE, the draft's SPM"),
    model("small", 2**29),
    model("alien", 2**28),
    model("broken", 0, problem="it ends within its header [/b]"),
]
FINDINGS = [
    DoctorLine(
        "ok",
        "embedded",
        "embedded, 2026.10 (xllamacpp); K is set by --spec-draft-n-max",
        kind="llama-server",
        program="embedded",
    ),
    DoctorLine("ok", "embedded, draft models", "used with --spec-type draft-simple"),
    DoctorLine("ok", "memory", "24 GiB"),
]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with some models, one engine and no runs."""

    async def models(places: Any = ()) -> list[DiscoveredModel]:
        return MODELS

    async def findings() -> list[DoctorLine]:
        return FINDINGS

    monkeypatch.setattr(discovery, "discover_models", models)
    monkeypatch.setattr(discovery, "run_doctor", findings)
    monkeypatch.setattr(store, "_state_dir", lambda: tmp_path / "state")
    monkeypatch.chdir(tmp_path)


@asynccontextmanager
async def started(size: tuple[int, int] = (80, 24)) -> AsyncIterator[tuple[Dashboard, Any]]:
    app = Dashboard(None, Terminal(UNICODE, "full"))
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        await settled(app, pilot)
        yield app, pilot


async def settled(app: Any, pilot: Any) -> None:
    await app.workers.wait_for_complete()
    await pilot.pause()
