"""One server at a time, through its whole life.

A `Server` is run by one task (`run`), which alone moves the state machine of `core.lifecycle`; everybody else asks for
an outcome (`start`, `lease`, `stop`) and is woken by every transition. What happens outside (a process exits, health
answers, a limit passes) reaches the machine as a trigger that carries the launch's generation, so that news of an
earlier launch is dropped before the table sees it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from specdash.core import events as ev
from specdash.core.engine import Endpoint, Engine, EngineClient, Health, ServerSpec
from specdash.core.launch import LaunchSpec
from specdash.core.lifecycle import SETTLED, IllegalTrigger, State, Trigger, next_state
from specdash.core.transport import Progress
from specdash.errors import EngineError, SpecdashError
from specdash.runtime.listener import free_port, prove_listener
from specdash.runtime.process import ExitInfo, GuardedProcess, log_tail
from specdash.runtime.watch import Stall, TreeMemory, Watch

log = logging.getLogger(__name__)

Publish = Callable[[ev.Fact], Awaitable[None]]

POLL_FIRST_S = 0.02  # a tiny model is ready in milliseconds; a large one is polled ever less often
POLL_MOST_S = 0.5


class ServerFailed(EngineError):
    """A server that could not be started, or died: why, what to do, and the tail of its log."""

    def __init__(self, what: str, todo: str = "", tail: tuple[str, ...] = ()) -> None:
        super().__init__(what, todo)
        self.tail = tail


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Limits of the profile: TERM to KILL, no progress at all, memory of the tree, and the port (0 = any free)."""

    grace_s: float
    stall_s: float
    budget_bytes: int | None
    port: int
    load_limit_is_hard: bool


@dataclass(slots=True)
class _Launch:
    """One start of a server process and what is known of it."""

    generation: int
    load: str
    spec: ServerSpec
    log_path: Path
    started_s: float
    endpoint: Endpoint
    process: GuardedProcess | None = None
    client: EngineClient | None = None
    in_flight: int = 0
    error: str | None = None
    exit: ExitInfo | None = None
    watch: Watch = field(default_factory=Watch)
    stop_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Message:
    """A trigger for a launch; None ends the owner's task."""

    generation: int
    trigger: Trigger | None
    detail: str = ""


class Server:
    """The server of a run: at most one process tree at any time."""

    def __init__(
        self,
        engine: Engine,
        publish: Publish,
        limits: ServerLimits,
        logs: Path,
        memory: TreeMemory,
        environment: dict[str, str],
        run_nonce: str,
        pidfiles: Path,
    ) -> None:
        self.state = State.STOPPED
        self._engine = engine
        self._publish = publish
        self._limits = limits
        self._logs = logs
        self._memory = memory
        self._environment = environment
        self._nonce = run_nonce
        self._pidfiles = pidfiles
        self._launch: _Launch | None = None
        self._generation = 0
        self._inbox: asyncio.Queue[_Message] = asyncio.Queue()
        self._moved = asyncio.Event()
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
                        await self._apply(self._launch, message)
            finally:
                launch = self._launch
                if launch is not None and launch.process is not None and self.state not in SETTLED:
                    await asyncio.shield(launch.process.stop())

    async def close(self) -> None:
        """Stops the server if there is one, and ends `run`."""
        await self.stop()
        self._inbox.put_nowait(_Message(self._generation, None))

    async def _apply(self, launch: _Launch, message: _Message) -> None:
        assert message.trigger is not None
        before = self.state
        try:
            after = next_state(before, message.trigger)
        except IllegalTrigger as error:
            log.debug("dropped: %s (%s)", error, message.detail)
            return
        self.state = after
        if after is not before:
            # READY and BUSY follow every request: they are seen in the samples and would drown the journal.
            if {before, after} != {State.READY, State.BUSY}:
                detail = message.detail
                await self._publish(
                    ev.StateChanged(launch.load, before.value, message.trigger.value, after.value, detail)
                )
            if after is State.STARTING:
                self._spawn(self._bring_up(launch))
            elif after in (State.STOPPING, State.ABORTING) and before not in (State.STOPPING, State.ABORTING):
                self._spawn(self._bring_down(launch))
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    def _spawn(self, work: Awaitable[None]) -> None:
        """Runs an effect; its failure becomes the launch's, never the owner's."""
        assert self._tasks is not None
        launch = self._launch
        assert launch is not None

        async def guarded() -> None:
            try:
                await work
            except SpecdashError as error:
                self._fail(launch, str(error))
            except Exception as error:
                log.exception("effect of %s failed", launch.load)
                self._fail(launch, f"internal error: {error!r}; see the log")

        self._tasks.create_task(guarded())

    def _fail(self, launch: _Launch, why: str) -> None:
        """Notes why a launch cannot go on and has it ended."""
        launch.error = launch.error or why
        running = launch.process is not None and launch.exit is None
        self._post(launch, Trigger.TIMEOUT if running else Trigger.EXITED, why)

    def _post(self, launch: _Launch, trigger: Trigger, detail: str = "") -> None:
        self._inbox.put_nowait(_Message(launch.generation, trigger, detail))

    async def _until(self, *states: State) -> State:
        """Waits until the machine is in one of `states`."""
        while self.state not in states:
            await self._moved.wait()
        return self.state

    # -- effects -----------------------------------------------------------------------------------------------

    async def _bring_up(self, launch: _Launch) -> None:
        """STARTING to READY: process, listener, health, identity, one token."""
        environment = {**self._environment, **launch.spec.env, "SPECDASH_RUN": self._nonce}
        process = await GuardedProcess.start(
            LaunchSpec(self._argv(launch), environment, launch.log_path, self._limits.grace_s), self._pidfiles
        )
        launch.process = process
        launch.client = self._engine.client(launch.spec, launch.endpoint)
        self._spawn(self._await_exit(launch, process))
        self._spawn(self._observe(launch, process))
        if not await self._await_health(launch, process, launch.client):
            return
        await self._prove(launch, process, launch.client)
        await launch.client.complete_one(max(launch.spec.load_timeout_s, self._limits.stall_s))
        self._post(launch, Trigger.WARMED)

    def _argv(self, launch: _Launch) -> tuple[str, ...]:
        return (*launch.spec.wrap, *self._engine.command(launch.spec, launch.endpoint))

    async def _await_health(self, launch: _Launch, process: GuardedProcess, client: EngineClient) -> bool:
        """Polls until health is OK; False when the launch ended or its limit passed (which is then posted)."""
        pause_s = POLL_FIRST_S
        while launch.exit is None and self.state in (State.STARTING, State.LOADING):
            health = await client.health()
            if health is Health.OK:
                self._post(launch, Trigger.HEALTHY)
                return True
            if health is Health.LOADING and self.state is State.STARTING:
                self._post(launch, Trigger.LISTENING)
            now = time.monotonic()
            launch.watch.note_progress(now, _load_progress(launch, process))
            limit_s = launch.started_s + launch.spec.load_timeout_s
            if not self._limits.load_limit_is_hard:
                limit_s = max(limit_s, launch.watch.progress_s + self._limits.stall_s)
            if now > limit_s:
                self._fail(launch, f"not ready {now - launch.started_s:.0f} s after its start, and nothing moves")
                return False
            await asyncio.sleep(pause_s)
            pause_s = min(POLL_MOST_S, pause_s * 1.3)
        return False

    async def _prove(self, launch: _Launch, process: GuardedProcess, client: EngineClient) -> None:
        """Raises when the listener on the port is not this launch's process serving this launch's alias."""
        prove_listener(launch.endpoint.port, process.tree())
        alias = await client.model_alias()
        if alias is not None and alias != launch.endpoint.alias:
            raise EngineError(
                f"the server on port {launch.endpoint.port} says that its model is {alias!r}, not this run's",
                "Another server answers on this port; stop it, or set engine.port = 0.",
            )

    async def _await_exit(self, launch: _Launch, process: GuardedProcess) -> None:
        info = await process.wait_gone()
        launch.exit = info
        if self.state is not State.STOPPING and launch.error is None:
            launch.error = f"the server {info.sentence} while {self.state.value}"
        if info.stuck:
            launch.error = f"could not be killed: processes {', '.join(map(str, info.stuck))} (stuck in the kernel?)"
            self._post(launch, Trigger.TIMEOUT, launch.error)
        self._post(launch, Trigger.EXITED, info.sentence)

    async def _observe(self, launch: _Launch, process: GuardedProcess) -> None:
        """Once a second: peak memory, the memory budget, and whether a request hangs."""
        while launch.exit is None:
            launch.watch.note_memory(self._memory(process.tree()))
            budget = self._limits.budget_bytes
            if budget is not None and launch.watch.peak_rss_bytes is not None and launch.watch.peak_rss_bytes > budget:
                launch.error = f"uses {launch.watch.peak_rss_bytes / 1e9:.1f} GB, more than limits.memory allows"
                self._post(launch, Trigger.OVER_BUDGET, launch.error)
                return
            if (
                launch.in_flight
                and launch.watch.stalled(time.monotonic(), process.cpu_seconds(), self._limits.stall_s) is Stall.HUNG
            ):
                await self._report_hang(launch)
                return
            await asyncio.sleep(min(1.0, self._limits.stall_s / 4))

    async def _report_hang(self, launch: _Launch) -> None:
        """Saves what a hanging server still tells, then has it ended."""
        assert launch.client is not None
        for name, text in (await launch.client.evidence()).items():
            log.warning("hang of %s: %s: %s", launch.load, name, text)
        self._fail(launch, f"hung: no token and no work for {self._limits.stall_s:.0f} s")

    async def _bring_down(self, launch: _Launch) -> None:
        if launch.client is not None:
            await launch.client.close()
        if launch.process is None:
            self._post(launch, Trigger.EXITED, "never started")
            return
        begun_s = time.monotonic()
        await launch.process.stop()
        launch.stop_s = time.monotonic() - begun_s

    # -- what others ask for -----------------------------------------------------------------------------------

    async def start(self, load: str, spec: ServerSpec) -> EngineClient:
        """Starts a server and returns when it is proven ready; ServerFailed says why it is not.

        With any free port, a port that somebody else took in the meantime is not this server's fault: one more try.
        """
        for attempt in (1, 2):
            await self._start_once(load, spec)
            if await self._until(State.READY, *SETTLED) is State.READY:
                client = self._current.client
                assert client is not None
                return client
            failure = self.failure()
            if attempt == 1 and self._limits.port == 0 and "port is taken" in failure.todo:
                continue
            break
        raise failure

    async def _start_once(self, load: str, spec: ServerSpec) -> None:
        assert self.state in SETTLED, f"a server is {self.state.value}"
        if self._launch is not None and self._launch.exit is not None and self._launch.exit.stuck:
            raise self.failure()
        self._generation += 1
        port = self._limits.port or free_port()
        self._launch = _Launch(
            self._generation,
            load,
            spec,
            self._logs / f"{load}.log",
            time.monotonic(),
            Endpoint(port, f"specdash-{self._nonce[:8]}-{self._generation}"),
        )
        await self._publish(
            ev.LoadStarted(
                load,
                spec.key,
                self._argv(self._launch),
                f"{self._logs.name}/{self._launch.log_path.name}",
                spec.size_bytes,
                spec.load_timeout_s,
                spec.fingerprint,
            )
        )
        self._post(self._launch, Trigger.START)
        await self._until(*(state for state in State if state not in SETTLED))

    @asynccontextmanager
    async def lease(self, progress: Progress) -> AsyncIterator[EngineClient]:
        """The server for one request; `progress` is watched for hangs. ServerFailed when there is no ready server."""
        launch = self._current
        if self.state not in (State.READY, State.BUSY) or launch.client is None:
            raise self.failure()
        launch.in_flight += 1
        launch.watch.begin(progress, time.monotonic(), self._cpu_seconds(launch))
        self._post(launch, Trigger.REQUEST)
        try:
            yield launch.client
        finally:
            launch.in_flight -= 1
            if launch.in_flight == 0:
                self._post(launch, Trigger.IDLE)

    def prove(self) -> None:
        """Proves again, cheaply, that the listener is this launch's; raises when it is not."""
        launch = self._current
        if launch.process is not None and launch.exit is None:
            prove_listener(launch.endpoint.port, launch.process.tree())

    async def gone(self, limit_s: float) -> bool:
        """Whether the server turns out to be dead within `limit_s`: asked when a connection broke."""
        try:
            async with asyncio.timeout(limit_s):
                await self._until(*SETTLED)
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """Ends the server, if there is one, and waits until nothing of it is left."""
        if self._launch is None or self.state in SETTLED:
            return
        self._post(self._launch, Trigger.STOP, "asked to")
        await self._until(*SETTLED)

    @property
    def _current(self) -> _Launch:
        assert self._launch is not None, "no server was started"
        return self._launch

    @staticmethod
    def _cpu_seconds(launch: _Launch) -> float:
        return launch.process.cpu_seconds() if launch.process is not None else 0.0

    @property
    def pid(self) -> int | None:
        """The server's process id, while there is one."""
        launch = self._launch
        return launch.process.pid if launch is not None and launch.process is not None else None

    @property
    def alias(self) -> str | None:
        """The model name that answers of this launch must carry."""
        return self._launch.endpoint.alias if self._launch is not None else None

    def failure(self) -> ServerFailed:
        """Why the last launch failed, with a hint where its log tells the cause."""
        launch = self._current
        tail = log_tail(launch.log_path)
        text = "\n".join(tail)
        todo = self._engine.explain(text) or self._engine.explain(launch.error or "") or ""
        where = f"see {launch.log_path}"
        return ServerFailed(launch.error or "the server failed", f"{todo} {where}".strip(), tail)

    def finished(self, error: str | None = None) -> ev.LoadFinished:
        """The closing fact of the last launch."""
        launch = self._current
        failed = self.state is State.FAILED
        failure = self.failure() if failed else None
        return ev.LoadFinished(
            load=launch.load,
            state=self.state.value,
            peak_rss_bytes=launch.watch.peak_rss_bytes,
            wired_peak_bytes=launch.watch.peak_locked_bytes,
            stop_s=launch.stop_s,
            error=failure.what if failure is not None else error,
            hint=failure.todo if failure is not None else None,
            log_tail=failure.tail if failure is not None else (),
        )


def _load_progress(launch: _Launch, process: GuardedProcess) -> tuple[int, ...]:
    """Numbers that grow while a server loads, in steps of 1 MiB: its log, bytes read, resident memory."""
    try:
        log_bytes = os.stat(launch.log_path).st_size
    except OSError:
        log_bytes = 0
    read = process.read_bytes() or 0
    return (log_bytes, read >> 20, process.rss_bytes() >> 20)
