"""The sweep: takes planned loads one after the other and leaves facts.

Nothing here knows a kind of server, a file format or a screen. A failed load or step is recorded and the sweep goes
on; the plan changes while it runs when a probe shows that this server does not take K per request. Whatever is
published is on disk before the next thing happens, so the sweep may end at any await without losing a sample.
"""

from __future__ import annotations

import asyncio
import logging
from enum import Enum

from specdash.core import events as ev
from specdash.core.engine import CauseKind, ServerSpec
from specdash.core.forecast import loads_left
from specdash.core.plan import KScope, LoadKey, PlannedLoad, Step
from specdash.core.queue import next_load, open_on
from specdash.core.status import ENDED_EARLY, StepStatus
from specdash.core.transport import TransportError
from specdash.errors import EngineError, SpecdashError
from specdash.runtime.run_control import RunControl, StopRequested
from specdash.runtime.sampler import Sampler, SweepContext, SweepSettings
from specdash.runtime.server import Server, ServerFailed

__all__ = ["SweepContext", "SweepOutcome", "SweepRunner", "SweepSettings"]

log = logging.getLogger(__name__)

MAX_INTERNAL_ERRORS = 3  # internal errors in a row that end the sweep
ONE_LOAD_PER_K = "this server fixes K at start-up (a request's K is ignored): one load per K"


class SweepOutcome(Enum):
    """How a sweep ended: all steps done, asked to stop, out of time, by a failure, or by errors of our own."""

    DONE = "done"
    ASKED = "asked"
    OUT_OF_TIME = "out_of_time"
    FAILURE = "failure"
    BUGS = "bugs"


class Unusable(EngineError):
    """A load that cannot be served at all, for a reason known before or after its start."""


class SweepRunner:
    """Runs the queue of a run on one server: which load comes next is asked of the view each time, so it can be edited.

    `sampler` is for those who watch: what is in flight.
    """

    def __init__(self, server: Server, around: SweepContext, settings: SweepSettings) -> None:
        self._server = server
        self._around = around
        self._settings = settings
        self._publish = around.publish
        self.control = RunControl(settings.max_time_s)
        self.sampler = Sampler(server, around, settings, self.control)
        self._loads = len(around.view().loads)

    async def run(self) -> SweepOutcome:
        """Takes loads until no step is open or something ends the sweep."""
        surprises = 0
        try:
            while True:
                await self.control.another_load()
                await self._around.update_plan()
                view = self._around.view()
                load = next_load(view.steps, view.scope)
                if load is None:
                    return SweepOutcome.DONE
                failed = self._failed() if self._settings.stop_on_failure else set()
                surprises = 0 if await self._run_load(load) else surprises + 1
                if surprises >= MAX_INTERNAL_ERRORS:
                    return SweepOutcome.BUGS
                if self._settings.stop_on_failure and self._failed() - failed:
                    return SweepOutcome.FAILURE
        except StopRequested:
            return SweepOutcome.ASKED if self.control.asked else SweepOutcome.OUT_OF_TIME

    def _failed(self) -> set[str]:
        """Ids of the steps that have failed so far."""
        return {found.step.id for found in self._around.view().table.with_status(ENDED_EARLY)}

    def _open(self, key: LoadKey) -> list[Step]:
        """The open steps that a server started as `key` can take, those that were queued meanwhile among them."""
        view = self._around.view()
        return [found.step for found in open_on(view.steps, key, view.scope)]

    async def _run_load(self, load: PlannedLoad) -> bool:
        """Measures a load's open steps, or records why they could not be; False after an error of our own.

        A server that dies after it was ready is started once more; one that fails while it loads would fail again, for
        some reasons at every other K too, and where it has no draft, with every draft. A failure while the disk is full
        counts as none.
        """
        why: str | None = None
        bug = at_any_k = last = False
        while True:
            try:
                if self._open(load.key):
                    await self._serve(load.key)
            except ServerFailed as failure:
                why, at_any_k = failure.sentence, failure.is_of(CauseKind.NOT_K) and not self._ever_ready(load.key)
                full = self._around.was_full(self._server.started_s)
                if full or (not last and self._was_ready()):
                    await self._end_load()
                    when = ", while the disk was full" if full else ""
                    said = f"{load.key.label}: {why}{when}; the server is started once more"
                    await self._publish(ev.Noted("warning", said))
                    why, last = None, last or not full
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
            for step in self._open(load.key):
                await self._publish(ev.StepFinished(step.id, None, StepStatus.FAILED, (), why))
            for step in self._open_alike(load.key) if at_any_k else ():
                what = (
                    f"at K = {load.key.k_startup}, and no other K"
                    if load.key.k_startup
                    else "without a draft, and none"
                )
                said = f"{why}; so it ended {what} changes that"
                await self._publish(ev.StepFinished(step.id, None, StepStatus.FAILED, (), said))
        return not bug

    def _open_alike(self, key: LoadKey) -> list[Step]:
        """The open steps whose servers would end as this one did, for a reason that K has no part in.

        Those of its arm at other Ks; and where it has no draft, those of every arm: it has all that a baseline has.
        Servers that a command of the user's starts may have nothing in common.
        """
        table, spec = self._around.view().table, self._around.spec_for(key)
        if key.speculates or spec.launch or spec.url:
            alike = table.of_pair(key.pair)
            return [found.step for found in alike if not found.is_done and found.step.k not in (None, key.k_startup)]
        opened = (found.step for found in table.opened())
        return [step for step in opened if (step.target, step.setting) == (key.target, key.served.setting)]

    def _ever_ready(self, key: LoadKey) -> bool:
        """Whether a load of this arm has become ready, at whatever K."""
        loads = self._around.view().loads.values()
        return any(each.was_ready and each.key.pair == key.pair for each in loads)

    def _was_ready(self) -> bool:
        """Whether the current load ever became ready."""
        view = self._around.view()
        found = view.loads.get(view.current_load or "")
        return found is not None and found.was_ready

    async def _serve(self, key: LoadKey) -> None:
        """One server start, the question who decides K, and every open step that this server can take."""
        spec = self._around.spec_for(key)
        await self.sampler.lengths.refuse_known(spec, self._around.view())
        if not self._open(key):
            return
        reason = await self.control.run_cancellable(self._around.reason_to_refuse(spec))
        if reason is not None:
            raise Unusable(reason)
        await self._start(spec)
        await self.control.checkpoint()
        try:
            self.sampler.requester.new_load()
            await self.control.run_cancellable(self.sampler.lengths.check(self._load_id, spec, self._around.view()))
            if not self._open(key):
                return
            if key.draft is not None and not key.served.is_ceiling:  # short drafts would not tell who decides K
                await self._probe(key)
            await self.sampler.measure(self._load_id, key.label, lambda: self._open(key), spec)
        except TransportError as error:
            # It did not answer what is asked before the first sample: it is dead, or not of its kind.
            if await self._server.died():
                raise self._server.failure() from error
            kind = self._server.engine_info.kind
            raise Unusable(f"the server does not answer as {kind} does: {error}") from error

    @property
    def _load_id(self) -> str:
        return f"l{self._loads:03d}"

    async def _start(self, spec: ServerSpec) -> None:
        await self._cool_down()
        self._loads += 1
        await self.control.run_cancellable(self._server.start(self._load_id, spec))
        ready = ev.LoadReady(self._load_id, self._server.load_time_s, self._server.pid or 0, self._server.alias)
        await self._publish(ready)

    async def _cool_down(self) -> None:
        """Waits until the server before may be followed by another, unless the sweep is not wanted any more."""
        wait_s = self._server.cooling_s
        if wait_s > 0:
            await self._publish(ev.Noted("info", f"{wait_s:.1f} s until the next server (engine.cool_down_s)"))
            await self.control.run_cancellable(asyncio.sleep(wait_s))

    async def _end_load(self) -> None:
        """Stops the server of the current load, notes its end, and waits until its memory is back."""
        if self._around.view().current_load is None:
            return
        await self._server.stop()
        await self._publish(self._server.finished())
        complaint = await self._around.settle_memory()
        if complaint is not None:
            await self._publish(ev.Noted("warning", complaint))

    async def _probe(self, key: LoadKey) -> None:
        """Finds out who decides K on this server: where it is the start-up value, other Ks need loads of their own."""
        assert key.k_startup is not None
        before = self._around.view()
        scope = self._server.engine_info.k_scope
        if scope is not None:
            await self._publish(ev.Probed(self._load_id, scope.value, (), forced=True))
        else:
            probe = await self.sampler.requester.ask_k(key.k_startup)
            scope = probe.scope
            await self._publish(ev.Probed(self._load_id, scope.value if scope is not None else None, probe.evidence))
        # Only a change of scope can change the number of loads; counting them takes a look at the whole queue.
        if scope is KScope.STARTUP and before.scope is not KScope.STARTUP:
            after = len(loads_left(self._around.view()))
            if after != len(loads_left(before)):
                await self._publish(ev.PlanChanged(ONE_LOAD_PER_K, after))
