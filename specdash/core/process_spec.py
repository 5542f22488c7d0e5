"""What a process is started with, and how it is ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from specdash.core.axes import AXES, PLACED

PLACEHOLDERS: Mapping[str, str] = {
    "port": "the port to listen on",
    "host": "the address to listen at, 127.0.0.1",
    "model": "the target: its name in the profile, or its path",
    "draft": "the draft model: its name in the profile, or its path",
    "k": "the draft length",
    "method": "what drafts, as the profile calls it",
    **{name: AXES[name].what for name in PLACED},
    "config": "the name of the configuration",
    "alias": "a name of this launch, for a server that can be given one: it proves whose server answers",
}
"""What a launch command of the user's may have in braces, to be filled in for each load."""


def mentions(words: Iterable[str], place: str) -> bool:
    """Whether a place is in any of the words of a command."""
    return any(f"{{{place}}}" in word for word in words)


def variable(place: str) -> str:
    """The variable by which a script learns what goes into a place."""
    return f"SPECDASH_{place.upper()}"


@dataclass(frozen=True, slots=True)
class StopPolicy:
    """How a server is found and ended beyond the process that was started; the default is that process's tree alone.

    `stop` is a command that ends it cleanly: it runs once, before any signal. `pid_file` is where a launch command
    leaves the server's process id. `daemon`: the launch command may end well while what it started goes on, as it may
    where there is a pid file. `env` is what the launch and stop commands are told besides. `cool_down_s` pass after the
    end until the next server is started, such as for a cluster whose memory comes back late.
    """

    stop: tuple[str, ...] = ()
    pid_file: Path | None = None
    cool_down_s: float = 0.0
    daemon: bool = False
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """A command, its whole environment, its log file (appended to) and the seconds from TERM to KILL.

    `follow_s`: a launch command that has ended well, with nothing of it left, may take so long until the process of its
    pid file is there.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    log_path: Path
    grace_s: float
    stop_policy: StopPolicy = field(default_factory=StopPolicy)
    follow_s: float = 60.0
