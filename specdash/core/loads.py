"""The server loads of a run as their facts tell: what each was started as, where it is in its life, what it cost."""

from __future__ import annotations

from dataclasses import dataclass

from specdash.core.plan import LoadKey


@dataclass(frozen=True, slots=True)
class Transition:
    """A move of a server's state machine, at `time_s` (seconds since 1970)."""

    time_s: float
    load: str
    before: str
    trigger: str
    after: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class LoadView:
    """One server load: its key, command, state and what it cost."""

    id: str
    key: LoadKey
    argv: tuple[str, ...]
    log: str
    size_bytes: int | None
    fingerprint: str
    started_s: float
    state: str = "stopped"
    state_since_s: float | None = None
    load_time_s: float | None = None
    pid: int | None = None
    k_scope: str | None = None
    peak_rss_bytes: int | None = None
    wired_peak_bytes: int | None = None
    error: str | None = None
    hint: str | None = None
    finished: bool = False
    timeout_s: float | None = None
    warm_up_s: float | None = None  # of one warm-up request
    ready_at_s: float | None = None  # seconds since 1970
    asked_s: float | None = None  # from then to the first warm-up request: who decides K, and rendered prompts
    command: tuple[str, ...] = ()  # for the user to paste; () in journals that lack it
    was_ready: bool = False  # at some time; its load time may be unknown
