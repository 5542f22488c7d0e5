"""The sweep: takes planned loads one after the other and leaves facts.

Nothing here knows a kind of server, a file format or a screen. A failed load or step is recorded and the sweep goes
on; the plan changes while it runs when a probe shows that this server does not take K per request. Whatever is
published is on disk before the next thing happens, so the sweep may end at any await without losing a sample.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from enum import Enum

from specdash.core import events as ev
from specdash.core.engine import ServerSpec
from specdash.core.plan import KScope, PlannedLoad, split
from specdash.core.transport import Progress, TransportError
from specdash.errors import EngineError, SpecdashError
from specdash.runtime.sampler import Sampler, Surroundings, SweepSettings
from specdash.runtime.server import Server, ServerFailed
from specdash.runtime.wanted import StopRequested, Wanted

__all__ = ["Ended", "Surroundings", "Sweep", "SweepSettings"]

log = logging.getLogger(__name__)

MAX_SURPRISES = 3  # internal errors in a row that end the sweep
ONE_LOAD_PER_K = "this server fixes K at start-up (a request's K is ignored): one load per K"


class Ended(Enum):
    """How a sweep ended: all steps done, asked to stop, out of time, by a failure, or by errors of our own."""

    DONE = "done"
    ASKED = "asked"
    OUT_OF_TIME = "out_of_time"
    FAILURE = "failure"
    BUGS = "bugs"


class Unusable(EngineError):
    """A load that cannot be served at all, for a reason known before or after its start."""


class Sweep:
    """Runs a queue of loads on one server."""

    def __init__(self, server: Server, around: Surroundings, settings: SweepSettings, queue: Sequence[PlannedLoad]):
        self._server = server
        self._around = around
        self._settings = settings
        self._queue = list(queue)
        self._publish = around.publish
        self._wanted = Wanted(settings.max_time_s)
        self._sampler = Sampler(server, around, settings, self._wanted)
        self._loads = len(around.view().loads)

    def request_stop(self) -> None:
        """Asks the sweep to end: the request in flight is dropped, nothing that was measured is."""
        self._wanted.stop()

    @property
    def loads_left(self) -> tuple[PlannedLoad, ...]:
        """The loads that are still queued."""
        return tuple(self._queue)

    @property
    def progress(self) -> Progress:
        """That of the request in flight, or of the last one."""
        return self._sampler.progress

    async def run(self) -> Ended:
        """Takes loads until the queue is empty or something ends the sweep."""
        surprises = 0
        try:
            while self._queue:
                self._wanted.check()
                load = self._queue.pop(0)
                surprises = 0 if await self._run_load(load) else surprises + 1
                if surprises >= MAX_SURPRISES:
                    return Ended.BUGS
                if self._settings.stop_on_failure and self._failed(load):
                    return Ended.FAILURE
        except StopRequested:
            return Ended.ASKED if self._wanted.asked else Ended.OUT_OF_TIME
        return Ended.DONE

    def _failed(self, load: PlannedLoad) -> bool:
        return any(self._sampler.step(step).status in ("failed", "timeout") for step in load.steps)

    async def _run_load(self, load: PlannedLoad) -> bool:
        """Measures a load's open steps, or records why they could not be; False after an error of our own.

        A server that dies after it was ready is started once more; one that fails while it loads would fail again.
        """
        why: str | None = None
        bug = False
        for last in (False, True):
            try:
                if self._sampler.still_open(load.steps):
                    load = await self._serve(load)
            except ServerFailed as failure:
                why = failure.sentence
                if not last and self._was_ready():
                    await self._end_load()
                    await self._publish(
                        ev.Noted("warning", f"{load.key.label}: {why}; the server is started once more")
                    )
                    load = self._as_split(load)
                    continue
            except EngineError as error:
                why = error.what
            except (SpecdashError, StopRequested, asyncio.CancelledError):
                await self._end_load()
                raise
            except Exception as error:
                log.exception("load %s", load.key.label)
                why, bug = f"internal error: {error!r}; logs/specdash.log has the details", True
            break
        await self._end_load()
        if why is not None:
            for step in self._sampler.still_open(self._as_split(load).steps):
                await self._publish(ev.StepFinished(step.id, None, "failed", (), why))
        return not bug

    def _as_split(self, load: PlannedLoad) -> PlannedLoad:
        """The load without the steps that a probe has moved to loads of their own."""
        moved = {step for queued in self._queue for step in queued.steps}
        return PlannedLoad(load.key, tuple(step for step in load.steps if step not in moved))

    def _was_ready(self) -> bool:
        """Whether the current load ever became ready."""
        view = self._around.view()
        found = view.loads.get(view.current_load or "")
        return found is not None and found.load_time_s is not None

    async def _serve(self, load: PlannedLoad) -> PlannedLoad:
        """One server start and its steps; the load as it is after the probe."""
        spec = self._around.spec_for(load.key)
        reason = self._around.refuse(spec)
        if reason is not None:
            raise Unusable(reason)
        await self._start(spec)
        try:
            if load.key.draft is not None:
                load = await self._probe(load)
            await self._sampler.measure(self._load_id, load.key.label, load.steps, spec)
        except TransportError as error:
            # It did not answer what is asked before the first sample: it is dead, or not of its kind.
            if await self._server.died():
                raise self._server.failure() from error
            raise Unusable(f"the server does not answer as llama-server does: {error}") from error
        return load

    @property
    def _load_id(self) -> str:
        return f"l{self._loads:03d}"

    async def _start(self, spec: ServerSpec) -> None:
        self._loads += 1
        begun_s = time.monotonic()
        await self._wanted.during(self._server.start(self._load_id, spec))
        await self._publish(
            ev.LoadReady(self._load_id, time.monotonic() - begun_s, self._server.pid or 0, self._server.alias)
        )

    async def _end_load(self) -> None:
        """Stops the server of the current load, notes its end, and waits until its memory is back."""
        if self._around.view().current_load is None:
            return
        await self._server.stop()
        await self._publish(self._server.finished())
        complaint = await self._around.settle_memory()
        if complaint is not None:
            await self._publish(ev.Noted("warning", complaint))

    async def _probe(self, load: PlannedLoad) -> PlannedLoad:
        """Finds out who decides K on this server and, when it is the start-up value, gives other Ks their own loads."""
        assert load.key.k is not None
        scope = self._settings.forced_scope
        if scope is not None:
            await self._publish(ev.Probed(self._load_id, scope.value, (), forced=True))
        else:
            probe = await self._sampler.ask_k(load.key.k)
            scope = probe.scope
            await self._publish(ev.Probed(self._load_id, scope.value if scope is not None else None, probe.evidence))
        if scope is not KScope.STARTUP:
            return load
        kept, others = split(load)
        # The same holds for the pairs that are still queued: it is the same program.
        later = [piece for queued in self._queue for piece in _pieces(queued)]
        if others or later != self._queue:
            self._queue = [*others, *later]
            await self._publish(ev.PlanChanged(ONE_LOAD_PER_K, len(self._queue)))
        return kept


def _pieces(queued: PlannedLoad) -> list[PlannedLoad]:
    """A queued load as one load for each K."""
    kept, others = split(queued)
    return [kept, *others]
