"""Ticks: what moves too fast to be a fact.

A tick says how something is right now; only the newest of a kind matters, none is ever stored, and a client that is
slow misses some. `fold_tick` keeps the newest ones and short histories for sparklines. Times are seconds since 1970.
Text in ticks is as the server sent it: whoever shows it makes it harmless (`core.text`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

HISTORY = 240  # points of a sparkline: more than any terminal is wide


@dataclass(frozen=True, slots=True)
class Tick:
    """Base of all ticks; `TYPE` is its name on the wire."""

    TYPE: ClassVar[str] = ""


@dataclass(frozen=True, slots=True)
class ServerTick(Tick):
    """The server's state now, READY and BUSY included, which no fact tells; and how far a load has come.

    `read_bytes` is what the server has read so far of the `size_bytes` of its models: about the progress of a load.
    """

    TYPE: ClassVar[str] = "server"
    load: str
    state: str
    since_s: float
    read_bytes: int | None = None
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class TextRun:
    """A stretch of generated text, all of it either drafted and accepted, or the target's own."""

    text: str
    drafted: bool


@dataclass(frozen=True, slots=True)
class TokenTick(Tick):
    """The request in flight: counts since its start, rates over its last seconds, and the end of its text.

    `purpose` is "sample", "warm-up", "probe", "scrub", "check" (of texts) or "cost" (of a step, for the K curve).
    `rate_tok_s` and `acceptance_rate` are of the last few seconds (server clock), None while unknown; `drafted` and
    `accepted` are None where the server does not tell.
    `prompt_read` of the `prompt_tokens` of the prompt are read, those from a cache among them; None where that is not
    told. `silent_s`: seconds since the last event. `text` is the last part of what was generated, oldest first.
    """

    TYPE: ClassVar[str] = "token"
    load: str
    step: str | None
    purpose: str
    block: int | None
    started_s: float
    tokens: int
    max_tokens: int
    drafted: int | None
    accepted: int | None
    rate_tok_s: float | None
    acceptance_rate: float | None
    silent_s: float
    text: tuple[TextRun, ...] = ()
    prompt_read: int | None = None
    prompt_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class GpuUse:
    """One GPU now; None for what its driver does not tell."""

    name: str
    used_bytes: int
    total_bytes: int
    utilisation: float | None = None  # share of the time that it was busy, 0 to 1
    temperature_c: float | None = None
    power_w: float | None = None
    throttled: str | None = None  # why its clock is held down; None when it is not, or unknown


@dataclass(frozen=True, slots=True)
class MemoryTick(Tick):
    """Memory of the machine and of the server now, in bytes; None where no sensor tells.

    `total_bytes` 0 means that RAM could not be read. `available_bytes` can be had without swapping. `wired_bytes`
    cannot be moved out of RAM (wired on macOS, mlocked on Linux). `wired_limit_bytes` is how much may be (None:
    unlimited or unknown): of the machine on macOS, of the server's own `server_locked_bytes` on Linux. `cached_bytes`
    of the `model_bytes` of the current load's files are in the page cache. `pressure`: share of time in which some task
    waited for memory (PSI, ten-second average). `missing` says of each sensor that is not here what it is and why.
    """

    TYPE: ClassVar[str] = "memory"
    total_bytes: int
    available_bytes: int
    swap_total_bytes: int
    swap_used_bytes: int
    wired_bytes: int | None = None
    wired_limit_bytes: int | None = None
    server_rss_bytes: int | None = None
    server_locked_bytes: int | None = None
    cached_bytes: int | None = None
    model_bytes: int | None = None
    pressure: float | None = None
    gpus: tuple[GpuUse, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LogTick(Tick):
    """The end of the current server's log: file name in the run folder, size in bytes, last lines, oldest first."""

    TYPE: ClassVar[str] = "log"
    load: str
    log: str
    size_bytes: int
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DiskTick(Tick):
    """What cannot be written now for want of room, in a sentence; the run waits for it. None: there is room."""

    TYPE: ClassVar[str] = "disk"
    lacking: str | None = None


TICKS: Mapping[str, type[Tick]] = {kind.TYPE: kind for kind in (ServerTick, TokenTick, MemoryTick, LogTick, DiskTick)}


@dataclass(frozen=True, slots=True)
class Live:
    """The newest tick of each kind, and histories of speed and acceptance (one point a tick, newest last).

    A history has None where there was nothing to tell: between requests, while a server loads.
    """

    server: ServerTick | None = None
    token: TokenTick | None = None
    memory: MemoryTick | None = None
    log: LogTick | None = None
    disk: DiskTick | None = None
    rates_tok_s: tuple[float | None, ...] = ()
    acceptances: tuple[float | None, ...] = ()


def fold_tick(live: Live, tick: Tick) -> Live:
    """`live` after one more tick."""
    match tick:
        case ServerTick():
            return replace(live, server=tick)
        case TokenTick():
            return replace(
                live,
                token=tick,
                rates_tok_s=(*live.rates_tok_s[1 - HISTORY :], tick.rate_tok_s),
                acceptances=(*live.acceptances[1 - HISTORY :], tick.acceptance_rate),
            )
        case MemoryTick():
            return replace(live, memory=tick)
        case LogTick():
            return replace(live, log=tick)
        case DiskTick():
            return replace(live, disk=tick)
        case _:
            return live
