"""Helpers for tests of process trees: scripts, and waiting for what files and processes show."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from specdash.runtime.tree import identity

LIMIT_S = 30.0

STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"


async def logged(path: Path, word: str) -> list[str]:
    """The words of a log once `word` is among them."""
    return await asyncio.to_thread(until, lambda: words if word in (words := words_of(path)) else None)


def words_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split() if path.exists() else []


Found = TypeVar("Found")


def until(look: Callable[[], Found | None]) -> Found:
    """What `look` finds, once it finds something; files tell nobody when they grow."""
    end_s = time.monotonic() + LIMIT_S
    while not (found := look()):
        assert time.monotonic() < end_s, "nothing found in time"
        time.sleep(0.01)
    return found


async def gone(*pids: int) -> bool:
    """Whether all of these processes end within the limit."""
    return await asyncio.to_thread(until, lambda: all(identity(pid) is None for pid in pids))


def python(code: str, *args: object) -> tuple[object, ...]:
    return (sys.executable, "-I", "-S", "-c", code, *args)


def shell(tmp_path: Path, text: str) -> Path:
    script = tmp_path / "wrapper"
    script.write_text(f"#!/bin/bash\n{text}\n")
    script.chmod(0o755)
    return script
