"""What a process is started with, and how it is ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Ending:
    """How a server is ended beyond signals to its process tree; the default is that alone.

    `stop` is a command that ends it cleanly (it runs once, before any signal), `pid_file` the file in which a launch
    command that daemonises leaves the server's process id, and `cool_down_s` the seconds after the end until the next
    server may be started, such as for a cluster whose memory comes back late.
    """

    stop: tuple[str, ...] = ()
    pid_file: Path | None = None
    cool_down_s: float = 0.0


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """A command, its whole environment, its log file (appended to) and the seconds from TERM to KILL.

    `stop` and `pid_file` are those of its `Ending`; `follow_s` is how long a command that has ended well may take
    until the process of its pid file is there.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    log_path: Path
    grace_s: float
    stop: tuple[str, ...] = ()
    pid_file: Path | None = None
    follow_s: float = 0.0
