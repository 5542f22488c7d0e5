"""What a process is started with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """A command, its whole environment, its log file (appended to) and the seconds from TERM to KILL."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    log_path: Path
    grace_s: float
