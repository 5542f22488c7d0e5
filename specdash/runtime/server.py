"""One server at a time, through its whole life.

A `Server` is run by one task (`run`), which alone moves the state machine of `core.lifecycle`; everybody else asks for
an outcome (`start`, `lease`, `stop`) and waits for it. What happens outside (a process exits, health answers, a limit
passes) reaches the machine as a trigger that carries the launch's generation, so that news of an earlier launch is
dropped before the table sees it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specdash.core import events as ev
from specdash.core.engine import CauseKind, Engine, EngineClient, EngineInfo, ServerSpec
from specdash.core.generation import Piece, PromptRead
from specdash.core.heartbeat import heartbeat
from specdash.core.lifecycle import SETTLED, IllegalTrigger, ServerState, Trigger, next_state
from specdash.core.plan import LoadKey
from specdash.core.transport import BadAnswer, HttpError, Progress, ServerGaveUp, TransportError
from specdash.errors import SpecdashError, StoreError
from specdash.runtime.launch_monitor import Stall, TreeMemory
from specdash.runtime.listener import NotOurServer, free_port
from specdash.runtime.notes import NONCE
from specdash.runtime.process import GuardedProcess
from specdash.runtime.server_process import ServerProcess
from specdash.runtime.serverlog import WhenRoom, at_once
from specdash.runtime.startup import (
    Launch,
    ServerFailed,
    ServerLimits,
    ServerStatus,
    await_completion,
    await_health,
    look_for_stops,
    server_status_of,
    start_process,
)

__all__ = ["Publish", "Server", "ServerFailed", "ServerLimits", "ServerTiming"]

log = logging.getLogger(__name__)

Publish = Callable[[ev.Fact], Awaitable[None]]

DEATH_S = 2.0  # a server whose connection broke is given this long to turn out dead
LISTENER_S = 0.5  # a server that has lost its port is given this long to turn out dead
OBSERVE_S = 1.0
ENDING = frozenset({ServerState.STOPPING, ServerState.ABORTING})


@dataclass(frozen=True, slots=True)
class _Message:
    """A trigger for a launch; None ends the owner's task."""

    generation: int
    trigger: Trigger | None
    detail: str = ""


class ServerTiming:
    """What takes the server of a run a while, timed from the making of this on."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._begun_s = time.monotonic()

    def took_s(self) -> float | None:
        """The seconds until now; None where this process or the server was stopped meanwhile."""
        if heartbeat().pauses(self._begun_s) or self._server.was_stopped(self._begun_s):
            return None
        return time.monotonic() - self._begun_s


class Server:
    """The server of a run: at most one process tree at any time."""

    def __init__(
        self,
        engine_of: Callable[[LoadKey], Engine],
        publish: Publish,
        limits: ServerLimits,
        logs: Path,
        memory: TreeMemory,
        environment: dict[str, str],
        run_nonce: str,
        notes: Path,
        when_room: WhenRoom = at_once,
    ) -> None:
        self.state = ServerState.STOPPED
        self._since_s = time.time()
        self._engine_of = engine_of
        self._publish = publish
        self._limits = limits
        self._logs = logs
        self._memory = memory
        self._environment = environment
        self._nonce = run_nonce
        self._notes = notes
        self._when_room = when_room
        self._launch: Launch | None = None
        self._generation = 0
        self._inbox: asyncio.Queue[_Message] = asyncio.Queue()
        self._tasks: asyncio.TaskGroup | None = None

    # -- the owner ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Owns the state machine until `close`; the last thing it does is to end a server that is still there."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                while True:
                    message = await self._inbox.get()
                    if message.trigger is None:
                        return
                    if self._launch is not None and message.generation == self._launch.generation:
                        await self._apply(self._launch, message.trigger, message.detail)
            finally:
                launch = self._launch
                if launch is not None and launch.process is not None and self.state not in SETTLED:
                    await asyncio.shield(launch.process.stop())
                if launch is not None:  # nobody is left who would tell those that wait, as when the journal is full
                    launch.settled.set()
                    launch.outcome.set()

    async def _apply(self, launch: Launch, trigger: Trigger, detail: str) -> None:
        before = self.state
        try:
            after = next_state(before, trigger)
        except IllegalTrigger as error:
            log.debug("dropped: %s (%s)", error, detail)
            return
        self.state = after
        if after is not before:
            self._since_s = time.time()
        # READY and BUSY follow every request: they are seen in the samples and would drown the journal.
        if after is not before and {before, after} != {ServerState.READY, ServerState.BUSY}:
            await self._publish(ev.StateChanged(launch.load, before.value, trigger.value, after.value, detail))
        if after is ServerState.STARTING:
            self._spawn(launch, self._bring_up(launch))
        elif after in ENDING and before not in ENDING:
            self._spawn(launch, self._bring_down(launch))
        if after in SETTLED:
            launch.settled.set()
        if after in SETTLED or after is ServerState.READY:
            launch.outcome.set()

    def _spawn(self, launch: Launch, work: Coroutine[Any, Any, None]) -> None:
        """Runs an effect; its failure becomes the launch's, never the owner's."""
        assert self._tasks is not None

        async def guarded() -> None:
            try:
                await work
            except SpecdashError as error:
                if isinstance(error, StoreError):
                    launch.unsafe = launch.unsafe or error
                self._doom(launch, error.what, error.todo)
            except TransportError as error:
                # A dying server breaks its connections first; how it died says more than that.
                if not await launch.ended_within(DEATH_S):
                    is_answer = isinstance(error, BadAnswer | HttpError)
                    what = "it answers, but not as it should" if is_answer else "it was ready, and then did not answer"
                    self._doom(launch, f"{what}: {error}")
            except Exception as error:
                log.exception("effect of %s failed", launch.load)
                self._doom(launch, f"internal error: {error!r}; see the log")

        self._tasks.create_task(guarded())

    def _doom(self, launch: Launch, why: str, hint: str = "", trigger: Trigger = Trigger.TIMEOUT) -> None:
        """Has a launch ended that cannot go on; only the first reason counts, and only once."""
        if launch.doomed:
            return
        launch.doomed = True
        launch.error, launch.hint = launch.error or why, launch.hint or hint
        if launch.process is None:
            launch.begun.set()
            trigger = Trigger.EXITED
        self._post(launch, trigger, why)

    def _post(self, launch: Launch, trigger: Trigger, detail: str = "") -> None:
        self._inbox.put_nowait(_Message(launch.generation, trigger, detail))

    # -- effects -----------------------------------------------------------------------------------------------

    async def _bring_up(self, launch: Launch) -> None:
        """STARTING to READY: process, health, listener and alias, one token."""
        environment = {**self._environment, NONCE: self._nonce}
        process = await start_process(launch, environment, self._limits, self._notes, self._when_room)
        client = launch.engine.client(launch.spec, launch.endpoint)
        launch.process, launch.client = process, client
        launch.begun.set()
        self._spawn(launch, self._await_exit(launch, process))
        self._spawn(launch, self._observe(launch, process))
        self._spawn(launch, look_for_stops(launch, process))
        if not await await_health(launch, process, client, self._limits, lambda: self._note_loading(launch)):
            return
        self._post(launch, Trigger.HEALTHY)
        if await await_completion(launch, process, client, self._limits):
            launch.ready_s = time.monotonic()
            self._post(launch, Trigger.WARMED)

    def _note_loading(self, launch: Launch) -> None:
        if self.state is ServerState.STARTING:
            self._post(launch, Trigger.LISTENING)

    async def _await_exit(self, launch: Launch, process: ServerProcess) -> None:
        info = await process.wait_gone()
        launch.exit, launch.ended_s = info, time.monotonic()
        if self.state is not ServerState.STOPPING and launch.error is None:
            launch.error, launch.hint = info.failure(self.state.value, launch.stop_policy.pid_file)
        if info.stuck:
            launch.error = f"could not be killed: processes {', '.join(map(str, info.stuck))} (stuck in the kernel?)"
            for _ in ENDING:
                self._post(launch, Trigger.TIMEOUT, launch.error)
        self._post(launch, Trigger.EXITED, info.sentence)
        # Last: the server's own end is what ends a request that is still being read.
        if launch.client is not None:
            await launch.client.close()

    async def _observe(self, launch: Launch, process: ServerProcess) -> None:
        """Once a second: peak memory, the memory budget, and whether a request hangs."""
        pause_s = min(OBSERVE_S, self._limits.stall_s / 4)
        budget = self._limits.budget_bytes
        while not launch.doomed and not await launch.ended_within(pause_s):
            use = self._memory(process.tree())
            launch.watch.note_memory(use)
            if budget is not None and use.rss_bytes is not None and use.rss_bytes > budget:
                why = f"it uses {use.rss_bytes / 1e9:.1f} GB, more than limits.memory allows"
                self._doom(launch, why, trigger=Trigger.OVER_BUDGET)
            elif launch.in_flight:
                work_s, lost_s = process.work_seconds(), heartbeat().stopped_since
                seen = launch.watch.stalled(time.monotonic(), work_s, self._limits.stall_s, lost_s)
                if seen is Stall.HUNG:
                    await self._report_hang(launch)

    async def _report_hang(self, launch: Launch) -> None:
        """Saves what a hanging server still tells, then has it ended."""
        assert launch.client is not None
        for name, text in (await launch.client.evidence()).items():
            log.warning("hang of %s: %s: %s", launch.load, name, text)
        is_stopped = launch.process is not None and launch.process.stops.look()
        why = ", since its processes are stopped (SIGSTOP, or a frozen container)" if is_stopped else ""
        self._doom(launch, f"hung: no token and no work for {self._limits.stall_s:.0f} s{why}")

    async def _bring_down(self, launch: Launch) -> None:
        await launch.begun.wait()
        if launch.process is None:
            self._post(launch, Trigger.EXITED, "never started")
            return
        launch.watch.note_memory(self._memory(launch.process.tree()))
        begun_s = time.monotonic()
        await launch.process.stop()
        if not heartbeat().pauses(begun_s) and not launch.process.stops.since(begun_s):
            launch.stop_s = time.monotonic() - begun_s

    # -- what others ask for -----------------------------------------------------------------------------------

    @property
    def cooling_s(self) -> float:
        """Seconds until the last server's cool-down is over: nothing should be started before."""
        launch = self._launch
        if launch is None or launch.ended_s is None:
            return 0.0
        return max(0.0, launch.ended_s + launch.stop_policy.cool_down_s - time.monotonic())

    async def start(self, load: str, spec: ServerSpec) -> EngineClient:
        """Starts a server and returns when it is proven ready; ServerFailed says why it is not.

        With any free port, a port that somebody else took in the meantime is not this server's fault: one more try.
        """
        for last in (False, True):
            launch = await self._begin(load, spec)
            await launch.outcome.wait()
            if self.state not in SETTLED:
                assert launch.client is not None
                return launch.client
            failure = self.failure()
            is_taken = isinstance(failure, ServerFailed) and failure.is_of(CauseKind.PORT_TAKEN)
            if last or self._limits.port or not is_taken:
                raise failure
        raise AssertionError("the loop above returns or raises")

    async def _begin(self, load: str, spec: ServerSpec) -> Launch:
        assert self.state in SETTLED, f"a server is {self.state.value}"
        if self._launch is not None and self._launch.exit is not None and self._launch.exit.stuck:
            raise self.failure()
        self._generation += 1
        port = self._limits.port or free_port()
        engine = self._engine_of(spec.key)
        endpoint = engine.endpoint(spec, port, f"specdash-{self._nonce[:8]}-{self._generation}")
        argv = engine.command(spec, endpoint)
        argv = (*spec.wrap, *argv) if argv else ()
        command, stop_policy = engine.command_to_paste(spec), engine.stop_policy(spec, endpoint)
        log_path = self._logs / f"{load}.log"
        launch = Launch(self._generation, load, engine, spec, argv, log_path, endpoint, command, stop_policy)
        self._launch = launch
        try:
            await self._publish(launch.started_fact())
        except BaseException:
            # Nothing was started, so whoever stops this launch must not wait for its end.
            launch.settled.set()
            raise
        self._post(launch, Trigger.START)
        return launch

    @asynccontextmanager
    async def lease(self, progress: Progress) -> AsyncIterator[EngineClient]:
        """The server for a request, proven once more to be ours; `progress` is watched for hangs.

        Raises ServerFailed when there is no ready server.
        """
        launch = self._current
        if launch.doomed or self.state not in (ServerState.READY, ServerState.BUSY) or launch.client is None:
            await launch.ended_within(self._limits.grace_s + DEATH_S)
            raise self.failure()
        work_s = launch.process.work_seconds() if launch.process is not None else 0.0
        launch.in_flight += 1
        launch.watch.begin(progress, time.monotonic(), work_s)
        self._post(launch, Trigger.REQUEST)
        try:
            await self._prove(launch)
            yield launch.client
        except ServerGaveUp as error:
            self._doom(launch, f"the server {error}")
            await launch.settled.wait()
            raise self.failure() from error
        finally:
            launch.in_flight -= 1
            if launch.in_flight == 0:
                self._post(launch, Trigger.IDLE)

    async def _prove(self, launch: Launch) -> None:
        """Proves again, cheaply, that the listener is this launch's; else ends it and raises ServerFailed."""
        assert launch.process is not None
        try:
            launch.process.prove(launch.endpoint.port)
        except NotOurServer as error:
            # A server that has just died holds no port either, and how it died says more.
            if not await launch.ended_within(LISTENER_S):
                self._doom(launch, error.what, error.todo)
                await launch.settled.wait()
            raise self.failure() from error

    async def died(self) -> bool:
        """Whether the server is dead or dying: asked when a connection broke. Waits for its end then."""
        launch = self._current
        if launch.doomed:
            await launch.settled.wait()
        return await launch.ended_within(DEATH_S)

    def was_stopped(self, since_s: float) -> bool:
        """Whether its processes were seen stopped or frozen since then (`time.monotonic()` seconds)."""
        process = self._current.process
        return process is not None and process.stops.since(since_s)

    async def stop(self) -> None:
        """Ends the server, if there is one, and waits until nothing of it is left."""
        if self._launch is None or self._launch.settled.is_set():
            return
        self._post(self._launch, Trigger.STOP, "asked to")
        await self._launch.settled.wait()

    async def close(self) -> None:
        """Stops the server if there is one, and ends `run`."""
        await self.stop()
        self._inbox.put_nowait(_Message(self._generation, None))

    @property
    def _current(self) -> Launch:
        assert self._launch is not None, "no server was started"
        return self._launch

    @property
    def engine_info(self) -> EngineInfo:
        """What is known of the engine that serves the current load."""
        return self._current.engine.info

    def decode_partial(self, received: Sequence[tuple[float, bytes]]) -> tuple[Piece | PromptRead, ...]:
        """What these events of an unfinished answer of the current load say, for showing."""
        return self._current.engine.decode_partial(received)

    @property
    def pid(self) -> int | None:
        """The process id of the last server; None when there was none."""
        launch = self._launch
        return launch.process.server_pid if launch is not None and launch.process is not None else None

    @property
    def alias(self) -> str | None:
        """The model name that answers of this launch must carry; None where its engine has no way to give one."""
        return (self._launch.endpoint.alias or None) if self._launch is not None else None

    def status(self) -> ServerStatus | None:
        """The server as it is now; None before the first one was started."""
        if self._launch is None:
            return None
        return server_status_of(self._launch, self.state, self._since_s)

    def failure(self) -> ServerFailed | StoreError:
        """Why the last launch failed, with a hint where its log tells the cause.

        StoreError where that was no failure of the server's: what a run needs could not be written.
        """
        return self._current.unsafe or self._current.failure()

    @property
    def load_time_s(self) -> float | None:
        """From the start of the last server until it was ready; None where it or this process was stopped meanwhile."""
        launch = self._current
        if heartbeat().pauses(launch.started_s, launch.ready_s) or self.was_stopped(launch.started_s):
            return None
        return (launch.ready_s or time.monotonic()) - launch.started_s

    @property
    def started_s(self) -> float:
        """When the last server was started (monotonic)."""
        return self._current.started_s

    async def keep_files(self, logs: Path, notes: Path) -> None:
        """From now on logs and notes lie in these folders; those of the server that runs are there too.

        For a run folder that was moved, or deleted and written again. Raises StoreError, also for want of room.
        """
        self._logs, self._notes = logs, notes
        launch = self._launch
        if launch is None or launch.exit is not None:
            return
        launch.log_path = logs / launch.log_path.name
        if isinstance(launch.process, GuardedProcess):
            process = launch.process
            await self._when_room(lambda: process.keep_files(notes, launch.log_path))

    def finished(self) -> ev.LoadFinished:
        """The closing fact of the last launch."""
        failure = self._current.failure() if self.state is ServerState.FAILED else None
        return self._current.finished_fact(self.state.value, failure)
