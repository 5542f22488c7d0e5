"""Makes ticks of what goes on in the engine process, for as long as somebody takes them.

Nothing here touches a measurement: it looks at the request in flight, the server and the machine a few times a second,
in the gaps of the engine's loop. What takes longer than a moment (sensors, a log file) is done in a thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from specdash.core.generation import Piece, PromptRead
from specdash.core.live_rate import Meter
from specdash.core.ticks import DiskTick, LogTick, MemoryTick, ServerTick, Telemetry, Tick, TokenTick, fold_tick
from specdash.runtime.requester import InFlight, Requester
from specdash.runtime.server import Server
from specdash.runtime.startup import ServerStatus
from specdash.session.handle import OnTick

log = logging.getLogger(__name__)

TOKENS_EVERY_S = 0.25
MACHINE_EVERY_S = 1.0
LOG_LINES = 40
LOG_BYTES = 8 * 1024

Peek = Callable[[Sequence[tuple[float, bytes]]], tuple[Piece | PromptRead, ...]]
ReadMemory = Callable[[Sequence[int], Sequence[Path]], MemoryTick]


class Ticker:
    """Looks, and tells those who have subscribed; `live` is the last of everything."""

    def __init__(
        self,
        server: Server,
        requester: Requester,
        peek: Peek,
        memory: ReadMemory,
        models: Callable[[str], list[Path]],
        clean_log: Callable[[Path], None],
        lacking: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.live = Telemetry()
        self._server = server
        self._requester = requester
        self._peek = peek
        self._memory = memory
        self._models = models
        self._clean_log = clean_log
        self._lacking = lacking
        self._subscribers: list[OnTick] = []
        self._wanted = asyncio.Event()
        self._metered: dict[str, _Metered] = {}
        self._log: tuple[Path, int] | None = None

    def subscribe(self, on_tick: OnTick) -> Callable[[], None]:
        """From now on ticks are made, and shown to `on_tick`; call the result to end that."""
        self._subscribers.append(on_tick)
        self._wanted.set()
        return lambda: self._forget(on_tick)

    def _forget(self, on_tick: OnTick) -> None:
        if on_tick in self._subscribers:
            self._subscribers.remove(on_tick)
        if not self._subscribers:
            self._wanted.clear()

    def _tell(self, tick: Tick) -> None:
        self.live = fold_tick(self.live, tick)
        for subscriber in tuple(self._subscribers):
            try:
                subscriber(tick)
            except Exception:
                log.exception("a subscriber failed and is dropped")
                self._forget(subscriber)

    async def run(self) -> None:
        """Makes ticks until it is cancelled; a look that fails is logged and the others go on."""
        machine_s = 0.0
        while True:
            await self._wanted.wait()
            begun_s = time.monotonic()
            try:
                self._tell_disk()
                status = self._server.status()
                self._tell_server(status)
                self._tell_tokens(status)
                if begun_s >= machine_s:
                    machine_s = begun_s + MACHINE_EVERY_S
                    await self._tell_machine(status)
            except Exception:
                log.exception("a look at the run failed")
            await asyncio.sleep(max(0.05, TOKENS_EVERY_S - (time.monotonic() - begun_s)))

    def _tell_disk(self) -> None:
        tick = DiskTick(self._lacking())
        if tick != (self.live.disk or DiskTick()):
            self._tell(tick)

    def _tell_server(self, status: ServerStatus | None) -> None:
        if status is not None:
            size = status.size_bytes if status.read_bytes is not None else None
            tick = ServerTick(status.load, status.state.value, status.since_s, status.read_bytes, size)
            if tick != self.live.servers.get(tick.load):
                self._tell(tick)

    def _tell_tokens(self, status: ServerStatus | None) -> None:
        if status is not None:
            for request in self._requester.in_flight.values():
                if request.id not in self._metered:
                    self._metered[request.id] = _Metered(request, status.load)
        for metered in tuple(self._metered.values()):
            done = metered.request.id not in self._requester.in_flight
            if done:
                del self._metered[metered.request.id]
            self._tell(metered.tick(self._peek, done=done))

    async def _tell_machine(self, status: ServerStatus | None) -> None:
        pids = status.pids if status is not None else ()
        files = self._models(status.load) if status is not None else []
        memory = await asyncio.to_thread(self._memory, pids, files)
        self._tell(replace(memory, load=status.load if status is not None else None))
        if status is not None:
            found = await asyncio.to_thread(self._end_of_log, status.log)
            if found is not None and (status.log, found[0]) != self._log:
                self._log = status.log, found[0]
                name = f"{status.log.parent.name}/{status.log.name}"
                self._tell(LogTick(status.load, name, *found))

    def _end_of_log(self, path: Path) -> tuple[int, tuple[str, ...]] | None:
        self._clean_log(path)
        return _end_of(path)


class _Metered:
    """A request with what was counted of it so far."""

    def __init__(self, request: InFlight, load: str) -> None:
        self.request = request
        self._load = load
        self._meter = Meter()
        self._fed = 0

    def tick(self, peek: Peek, *, done: bool) -> TokenTick:
        """Return how far the request is; `peek` reads what has come since the last call."""
        request = self.request
        received = request.progress.received
        if self._fed < len(received):
            self._meter.feed(peek(received[self._fed :]))
            self._fed = len(received)
        reading = self._meter.read()
        last_s = request.progress.last_event_t_s or request.progress.sent_t_s
        return TokenTick(
            load=self._load,
            step=request.step.id if request.step is not None else None,
            purpose=request.purpose,
            block=request.block,
            started_s=request.started_s,
            tokens=reading.tokens,
            max_tokens=request.max_tokens,
            drafted=reading.drafted,
            accepted=reading.accepted,
            rate_tok_s=reading.rate_tok_s,
            acceptance_rate=reading.acceptance_rate,
            silent_s=round(time.monotonic() - last_s, 1) if last_s is not None else 0.0,
            text=reading.text,
            prompt_read=reading.prompt.read if reading.prompt is not None else None,
            prompt_tokens=reading.prompt.tokens if reading.prompt is not None else None,
            request=request.id,
            done=done,
        )


def _end_of(path: Path) -> tuple[int, tuple[str, ...]] | None:
    """The size of a log and its last lines; None where there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - LOG_BYTES))
            data = file.read(LOG_BYTES)
    except OSError:
        return None
    lines = data.decode("utf-8", "replace").split("\n")
    if size > LOG_BYTES:
        lines = lines[1:]
    return size, tuple(line[:500] for line in lines if line)[-LOG_LINES:]
