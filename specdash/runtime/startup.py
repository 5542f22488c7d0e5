"""One launch of a server: what is known of it, and how it is brought from a process to a proven server.

Nothing here moves the state machine; these functions look, wait and raise, and `runtime.server` decides.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from specdash.core import events as ev
from specdash.core.engine import Cause, CauseKind, Endpoint, Engine, EngineClient, Health, ServerSpec
from specdash.core.heartbeat import heartbeat
from specdash.core.lifecycle import SETTLED, ServerState
from specdash.core.process_spec import LaunchSpec, StopPolicy
from specdash.core.secrets import public_words
from specdash.core.transport import BUSY, HttpError
from specdash.errors import EngineError, StoreError
from specdash.runtime.launch_monitor import Watch
from specdash.runtime.listener import require_free
from specdash.runtime.process import GuardedProcess
from specdash.runtime.server_process import AttachedProcess, ExitInfo, ServerProcess
from specdash.runtime.serverlog import WhenRoom, log_tail
from specdash.runtime.stopped import LOOK_S

T = TypeVar("T")

POLL_FIRST_S = 0.02  # a tiny model is ready in milliseconds; a large one is polled ever less often
POLL_MOST_S = 0.5
ATTACH_S = 5.0  # a server that is said to run already answers at once
FOLLOW_S = 30.0  # a launch command's server that somebody else starts is there by then
FOLLOW_TREE_S = 0.5  # a process that a server starts is looked at this soon
EXPLAINED_LINES = 5000
SHOWN_LINES = 60


class ServerFailed(EngineError):
    """A server that could not be started, or died: why, what to do, the tail of its log, and what that tells."""

    def __init__(self, what: str, todo: str = "", tail: tuple[str, ...] = (), cause: Cause | None = None) -> None:
        super().__init__(what, todo)
        self.tail = tail
        self.cause = cause

    def is_of(self, kind: CauseKind) -> bool:
        """Whether the log tells a cause of this kind."""
        return self.cause is not None and self.cause.kind is kind

    @property
    def sentence(self) -> str:
        """What happened, with the line of the log that tells why, where there is one."""
        return f"{self.what}: {self.cause.line}" if self.cause is not None else self.what


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Limits of the profile: TERM to KILL, no progress at all, memory of the tree, and the port (0 = any free)."""

    grace_s: float
    stall_s: float
    budget_bytes: int | None
    port: int
    load_limit_is_hard: bool


@dataclass(slots=True)
class Launch:
    """One start of a server process and what is known of it.

    `begun` is set once there is a process or it is known that there will be none, `settled` when nothing is left of
    the launch, and `outcome` at the first of ready and settled.
    """

    generation: int
    load: str
    engine: Engine
    spec: ServerSpec
    argv: tuple[str, ...]
    log_path: Path
    endpoint: Endpoint
    command: tuple[str, ...] = ()  # for the user to paste
    stop_policy: StopPolicy = field(default_factory=StopPolicy)
    started_s: float = field(default_factory=time.monotonic)
    ready_s: float | None = None
    process: ServerProcess | None = None
    client: EngineClient | None = None
    in_flight: int = 0
    doomed: bool = False
    error: str | None = None
    hint: str = ""
    unsafe: StoreError | None = None  # it was no failure of the server's: what a run needs could not be written
    exit: ExitInfo | None = None
    stop_s: float | None = None
    ended_s: float | None = None
    watch: Watch = field(default_factory=Watch)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    outcome: asyncio.Event = field(default_factory=asyncio.Event)
    settled: asyncio.Event = field(default_factory=asyncio.Event)

    async def ended_within(self, limit_s: float) -> bool:
        """Whether nothing is left of this launch, now or within `limit_s`."""
        try:
            async with heartbeat().limit(limit_s):
                await self.settled.wait()
        except TimeoutError:
            return False
        return True

    def started_fact(self) -> ev.LoadStarted:
        """The opening fact of this launch."""
        spec = self.spec
        log = f"{self.log_path.parent.name}/{self.log_path.name}"
        return ev.LoadStarted(
            self.load,
            spec.key,
            public_words(self.argv),
            log,
            spec.size_bytes,
            spec.load_timeout_s,
            spec.fingerprint,
            self.command,
        )

    def failure(self) -> ServerFailed:
        """Why this launch failed, with a hint where its log tells the cause."""
        log = log_tail(self.log_path, EXPLAINED_LINES)  # a backtrace of hundreds of lines may follow the cause
        known = self.engine.diagnose("\n".join(log)) if not self.hint else None
        todo = known.todo if known is not None else self.hint
        what = self.error or "the server failed"
        told = f"{todo} (log: {self.log_path})".strip() if self._has_log() else todo
        return ServerFailed(what, told, log[-SHOWN_LINES:], known)

    def _has_log(self) -> bool:
        """Whether there is a log to read: not of a server that was not started here, or not at all."""
        try:
            return self.log_path.stat().st_size > 0 or self.process is not None
        except OSError:
            return False

    def finished_fact(self, state: str, failure: ServerFailed | None) -> ev.LoadFinished:
        """The closing fact of this launch."""
        return ev.LoadFinished(
            load=self.load,
            state=state,
            peak_rss_bytes=self.watch.peak_rss_bytes,
            wired_peak_bytes=self.watch.peak_locked_bytes,
            stop_s=self.stop_s,
            error=failure.what if failure is not None else None,
            hint=failure.todo if failure is not None else None,
            log_tail=failure.tail if failure is not None else (),
        )


async def start_process(
    launch: Launch, environment: Mapping[str, str], limits: ServerLimits, notes: Path, when_room: WhenRoom
) -> ServerProcess:
    """What serves the launch: a process of its own under a guard, or, without a command, a server that runs already.

    To wait for room on disk is no part of how long a load takes.
    """
    launch.started_s = time.monotonic()
    if not launch.argv:
        return AttachedProcess()
    stop_policy = launch.stop_policy
    if stop_policy.daemon:
        # Its own command may not mind, and the readiness of another server would be taken for its own.
        require_free(launch.endpoint.port)
    env = {**environment, **launch.spec.env, **stop_policy.env}
    follow_s = min(FOLLOW_S, launch.spec.load_timeout_s / 2)
    spec = LaunchSpec(launch.argv, env, launch.log_path, limits.grace_s, stop_policy, follow_s)

    async def write_before(write: Callable[[], T], /) -> T:
        asked_s = time.monotonic()
        try:
            return await when_room(write)
        finally:
            launch.started_s += time.monotonic() - asked_s

    return await GuardedProcess.start(spec, notes, write_before)


async def look_for_stops(launch: Launch, process: ServerProcess) -> None:
    """Looks whether the server's processes are stopped, for as long as a load or a request of it is being timed."""
    followed_s = 0.0
    while not launch.doomed and not await launch.ended_within(LOOK_S):
        if launch.in_flight or not launch.outcome.is_set():
            if time.monotonic() - followed_s > FOLLOW_TREE_S:
                process.stops.follow(process.tree())
                followed_s = time.monotonic()
            process.stops.look()


async def await_health(
    launch: Launch, process: ServerProcess, client: EngineClient, limits: ServerLimits, on_loading: Callable[[], None]
) -> bool:
    """Polls until health is OK; False when the launch is over. Raises EngineError when the load limit has passed."""
    async for _ in _polls(launch, process, limits):
        health = await client.health()
        if health is Health.OK:
            return True
        if health is Health.LOADING:
            on_loading()
        elif not process.is_ours and _waited_s(launch.started_s) > ATTACH_S:
            raise EngineError(
                f"nothing answers at {launch.endpoint.url or f'port {launch.endpoint.port}'}",
                "Start the server, or correct engine.url.",
            )
    return False


async def await_completion(launch: Launch, process: ServerProcess, client: EngineClient, limits: ServerLimits) -> bool:
    """Proves whose server it is, and tries until it has generated a token: some say "healthy" while they still load.

    False when the launch is over. Raises EngineError for a server that is not ours, or when the load limit has passed.
    """
    async for _ in _polls(launch, process, limits):
        process.prove(launch.endpoint.port)
        try:
            _require_alias(launch, await client.model_alias())
            await client.complete_one(max(launch.spec.load_timeout_s, limits.stall_s))
        except HttpError as error:
            if error.status not in BUSY:
                raise
        else:
            return True
    return False


async def _polls(launch: Launch, process: ServerProcess, limits: ServerLimits) -> AsyncIterator[None]:
    """Yields for every look at a server that is being loaded, until the launch is over; raises at the load limit.

    The limit is the load time-out, extended by `stall_s` for as long as the load makes progress, unless it is hard.
    """
    pause_s = POLL_FIRST_S
    while launch.exit is None and not launch.doomed:
        yield
        launch.watch.note_progress(time.monotonic(), _load_progress(launch, process))
        waited_s = _waited_s(launch.started_s)
        is_moving = not limits.load_limit_is_hard and _waited_s(launch.watch.progress_s) <= limits.stall_s
        if waited_s > launch.spec.load_timeout_s and not is_moving:
            moves = "" if limits.load_limit_is_hard else ", and nothing moves"
            raise EngineError(
                f"not ready {waited_s:.0f} s after its start{moves}",
                "Raise engine.load_timeout_s if the model really takes that long.",
            )
        await asyncio.sleep(pause_s)
        pause_s = min(POLL_MOST_S, pause_s * 1.3)


def _waited_s(since_s: float) -> float:
    """The seconds since then (monotonic), without those in which this process was stopped."""
    return time.monotonic() - since_s - heartbeat().stopped_since(since_s)


def _require_alias(launch: Launch, alias: str | None) -> None:
    """Raises when the server calls its model by another name than this launch gave it."""
    if launch.endpoint.alias and alias is not None and alias != launch.endpoint.alias:
        raise EngineError(
            f"the server on port {launch.endpoint.port} says that its model is {alias!r}, not this run's",
            "Another server answers on this port; stop it, or set engine.port = 0.",
        )


def _load_progress(launch: Launch, process: ServerProcess) -> tuple[int, ...]:
    """Numbers that grow while a server loads, in steps of 1 MiB: its log, bytes read, resident memory."""
    try:
        log_bytes = os.stat(launch.log_path).st_size
    except OSError:
        log_bytes = 0
    read = process.read_bytes() or 0
    return (log_bytes, read >> 20, process.rss_bytes() >> 20)


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """A server as it is now, for those who watch: `since_s` (seconds since 1970) is when it came into its state.

    `read_bytes`: what it has read so far, while it loads; `pids`: its processes, none once it is gone.
    """

    load: str
    state: ServerState
    since_s: float
    read_bytes: int | None
    size_bytes: int | None
    pids: tuple[int, ...]
    log: Path


def server_status_of(launch: Launch, state: ServerState, since_s: float) -> ServerStatus:
    """What a launch looks like while its server is in this state."""
    process = launch.process if state not in SETTLED else None
    loading = process is not None and state in (ServerState.STARTING, ServerState.LOADING, ServerState.WARMING)
    return ServerStatus(
        load=launch.load,
        state=state,
        since_s=since_s,
        read_bytes=process.read_bytes() if process is not None and loading else None,
        size_bytes=launch.spec.size_bytes,
        pids=tuple(process.tree()) if process is not None else (),
        log=launch.log_path,
    )
