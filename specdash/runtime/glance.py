"""A server as it is at this moment, for those who watch it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from specdash.core.lifecycle import SETTLED, State
from specdash.runtime.bringup import Launch


@dataclass(frozen=True, slots=True)
class Glance:
    """A server as it is now, for those who watch: `since_s` (seconds since 1970) is when it came into its state.

    `read_bytes`: what it has read so far, while it loads; `pids`: its processes, none once it is gone.
    """

    load: str
    state: State
    since_s: float
    read_bytes: int | None
    size_bytes: int | None
    pids: tuple[int, ...]
    log: Path


def glance_at(launch: Launch, state: State, since_s: float) -> Glance:
    """What a launch looks like while its server is in this state."""
    process = launch.process if state not in SETTLED else None
    loading = process is not None and state in (State.STARTING, State.LOADING, State.WARMING)
    return Glance(
        load=launch.load,
        state=state,
        since_s=since_s,
        read_bytes=process.read_bytes() if process is not None and loading else None,
        size_bytes=launch.spec.size_bytes,
        pids=tuple(process.tree()) if process is not None else (),
        log=launch.log_path,
    )
