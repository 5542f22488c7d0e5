"""A run from its first fact to its last: new or resumed, with its lock, journal, server and sweep.

The order matters and is kept here: everything that a user can get wrong is checked before the run folder exists, the
folder is proven writable and locked before anything is written, and the first fact is on disk before the first
server starts. Whoever watches (`ui.headless`, a dashboard) gets a `Handle` and only reads.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from specdash import __version__
from specdash.analysis.strategy import CURVE, is_unfinished
from specdash.config.load import load_profile
from specdash.config.prompts import context_filler
from specdash.config.write import dump_profile
from specdash.core import events as ev
from specdash.core.engine import FindContext
from specdash.core.engine_kinds import KINDS
from specdash.core.heartbeat import heartbeat
from specdash.core.plan import KScope
from specdash.core.profile import Profile
from specdash.core.reduce import fold, fold_all
from specdash.core.state import RunState
from specdash.core.status import ENDED_EARLY, StepStatus
from specdash.engines.registry import find, find_fallback
from specdash.errors import EngineError, Exit, SpecdashError, StoreError
from specdash.probes.machine import hardware_label, machine_facts
from specdash.probes.sensors import Sensors
from specdash.runtime.host import StayAwake
from specdash.runtime.locks import machine_lock, run_lock
from specdash.runtime.requester import Sampling
from specdash.runtime.server import Server, ServerLimits
from specdash.runtime.sweep import SweepContext, SweepOutcome, SweepRunner, SweepSettings
from specdash.session.catalogue import FILLER_TOKENS, Catalogue
from specdash.session.commands import CommandHandler
from specdash.session.fallback import Engines, with_fallback
from specdash.session.handle import Handle, Outcome, Reports, Subscription, Watcher
from specdash.session.keeper import PROFILE_NAME, Keeper, end_left_behind, write_profile
from specdash.session.planner import Planner, bandwidth_fact
from specdash.session.prepare import Prepared, only_possible, prepare, require_models, server_environment
from specdash.session.recorder import Recorder, Room
from specdash.session.reports import exit_status, with_reports, write_reports
from specdash.session.run_header import engine_found, initial_facts
from specdash.session.secrets import RunLog, RunSecrets
from specdash.session.server_specs import MemoryGate, ServerSpecBuilder, tree_use
from specdash.session.telemetry import Ticker
from specdash.signals import Signals
from specdash.store.journal import Journal, read
from specdash.store.runs import JOURNAL, new_run_dir, remember, remove_unbegun

log = logging.getLogger(__name__)

KEEP_EVERY_S = 1.0
HAS_SAMPLES = (StepStatus.OK, StepStatus.INVALID)


def start_new(profile: Profile, watcher: Watcher) -> Outcome:
    """Runs a profile from the beginning; raises SpecdashError for what the user can mend."""
    prepared = prepare(profile)
    require_models(prepared)
    prepared, engines, notes = _with_engines(prepared)
    facts = machine_facts()
    hardware = hardware_label(facts) if profile.hardware == "auto" else profile.hardware
    with machine_lock(profile.name) as lock, Signals() as signals:
        left_behind = end_left_behind([profile.results_dir])
        path = new_run_dir(
            profile.results_dir,
            hardware,
            profile.engine.kind,
            profile.name,
            time.time(),
            shared=profile.results_shared,
        )
        run = _Run(path, prepared, engines, watcher, signals)
        run.notes += [*notes, *left_behind]
        try:
            lock.note(path.name)
            remember(profile.results_dir)
            text = dump_profile(profile)
            write_profile(path, text)
            with run_lock(path) as held:
                keeper = Keeper(path, text, Journal.create(path / JOURNAL), held)
                return run.go(keeper, RunState(), initial_facts(path, prepared, engines, facts, hardware))
        except StoreError:
            remove_unbegun(path)
            raise


def resume(path: Path, watcher: Watcher) -> Outcome:
    """Goes on with an interrupted run: finished steps stay, failed ones and changed ones are measured again."""
    profile = load_profile(path / PROFILE_NAME)
    prepared = prepare(profile)
    require_models(prepared)
    prepared, engines, _ = _with_engines(prepared)
    with ExitStack() as stack:
        held = stack.enter_context(run_lock(path))
        stack.enter_context(machine_lock(path.name))
        signals = stack.enter_context(Signals())
        left_behind = end_left_behind([path.parent])
        text = (path / PROFILE_NAME).read_text(encoding="utf-8")
        keeper = stack.enter_context(closing(Keeper(path, text, Journal.open(path / JOURNAL), held)))
        view = fold_all(read(path / JOURNAL).records)
        if view.run is None:
            raise StoreError(f"{path} has no first record: nothing was measured", "Start the profile anew.")
        if not _has_steps_of(prepared, view):
            before, engines_before, _ = _with_engines(prepare(profile, as_before=True), as_before=True)
            prepared, engines = (before, engines_before) if _has_steps_of(before, view) else (prepared, engines)
        engines = replace(engines, recorded=view.engine)
        _require_same(prepared, view)
        run = _Run(path, prepared, engines, watcher, signals)
        run.notes += left_behind
        run.catalogue.restore(view)
        redo = run.to_redo(view)
        if view.finished is not None and not redo and not is_unfinished(view):
            for each in left_behind:
                watcher.complain(each)
            watcher.complain("nothing is left to measure in this run")
            return _nothing_left(path, keeper.journal, view)
        changed = [step for step in redo if view.steps[step].status in HAS_SAMPLES]
        if changed:
            run.notes.append(
                f"{len(changed)} finished steps are measured again: model files, flags or build have changed"
            )
        opening: list[ev.Fact] = [ev.RunResumed(__version__, redo)]
        if view.engine != engine_found(engines.main_info):
            opening.append(engine_found(engines.main_info))
        return run.go(keeper, view, opening)


def _nothing_left(path: Path, journal: Journal, view: RunState) -> Outcome:
    """The outcome of a run that has all its steps; its reports are written again, in case they could not be before."""
    assert view.finished is not None
    code, reason = exit_status(SweepOutcome.DONE, view, path.name, None)
    ended = with_reports(ev.RunFinished("finished", int(code), reason), reports := write_reports(path, view), path.name)
    if ended.exit_code != view.finished.exit_code:
        with suppress(StoreError):  # the exit code tells it all the same
            view = fold(view, journal.append(ended))
    return Outcome(path, Exit(ended.exit_code), view, reports)


def _require_same(prepared: Prepared, view: RunState) -> None:
    """Raises when the run's profile was edited, and asks for other steps or samples than the run was begun for."""
    assert view.run is not None
    known = {config.label for config in prepared.profile.configs}
    lost = sorted({step.config for step in view.run.steps if step.config is not None} - known)
    if lost and KINDS[prepared.profile.engine.kind].fallback:
        raise EngineError(
            f"the programs that served {', '.join(map(repr, lost))} in this run are not found any more",
            "Put llama.cpp's command-line programs beside the server or on PATH again, and resume.",
        )
    if not _has_steps_of(prepared, view) or _differ(prepared.settings, view.run.settings):
        raise SpecdashError(
            f"{prepared.profile.source} was edited since the run began: it asks for other steps or samples",
            "Undo that to go on with this run, or start a new one: specdash --headless PROFILE.",
        )


def _has_steps_of(prepared: Prepared, view: RunState) -> bool:
    """Whether a profile asks for the steps that a run began with."""
    return view.run is not None and {step.id for step in prepared.steps} == {step.id for step in view.run.steps}


def _differ(wanted: ev.RunSettings, begun: ev.RunSettings) -> bool:
    """Whether a run was begun with other settings; what its version did not know yet is no difference."""
    known = {name: value for name, value in asdict(begun).items() if value is not None}
    return wanted.precision != begun.precision or replace(wanted, **known) != wanted


def _with_engines(prepared: Prepared, *, as_before: bool = False) -> tuple[Prepared, Engines, tuple[str, ...]]:
    """The engine of a profile, looked for in the environment that its servers get, and what falls back to another.

    Which Ks a method can have is known then; `as_before`: versions that did not know it planned all of them.
    """
    profile = prepared.profile
    forced = None if profile.engine.k_scope == "auto" else KScope(profile.engine.k_scope)
    # About six characters a token, so that the filler is longer than the deepest context and never repeats.
    filler = context_filler(6 * max(FILLER_TOKENS, *profile.depths))
    environment = {**server_environment(os.environ)[0], **profile.engine.env}
    context = FindContext(filler, environment, forced)
    main = find(profile.engine, context)
    found, engines, notes = with_fallback(prepared, main, lambda: find_fallback(profile.engine, context))
    return (found if as_before else only_possible(found)), engines, notes


class _Run:
    """One engine process at work on a run folder."""

    def __init__(self, path: Path, prepared: Prepared, engines: Engines, watcher: Watcher, signals: Signals) -> None:
        self.catalogue = Catalogue(prepared, engines)
        self.notes: list[str] = []  # warnings that are recorded once somebody watches
        self._path = path
        self._profile = prepared.profile
        self._engines = engines
        self._watcher = watcher
        self._specs = ServerSpecBuilder(self.catalogue, engines.info)
        self._signals = signals
        self._is_ending = False  # a signal was told of
        self._reports: Reports | None = None  # once it was tried

    def go(self, keeper: Keeper, view: RunState, opening: list[ev.Fact]) -> Outcome:
        """Runs the event loop to the end of the run; derived files are written whatever happens."""
        secrets_ = RunSecrets(self._profile, lambda: keeper.logs)
        recorder = Recorder(keeper.journal, view, Room(self._watcher.complain, keeper.keep), secrets_)
        try:
            code = asyncio.run(self._main(recorder, keeper, secrets_, opening))
        except BaseExceptionGroup as group:
            # Task groups wrap what ends them; the user's error is inside.
            known = group.subgroup(SpecdashError)
            if known is None:
                raise
            raise _first(known) from group
        finally:
            keeper.close()
            self._path = keeper.path
            reports = self._derive(recorder.view)
        return Outcome(self._path, code, recorder.view, reports)

    def to_redo(self, view: RunState) -> tuple[str, ...]:
        """Ids of finished steps that are measured again: failed ones, and those whose files or build changed."""
        redo = []
        for step_id, found in view.steps.items():
            load = view.loads.get(found.load or "")
            changed = (
                found.status in HAS_SAMPLES
                and load is not None
                and found.fingerprint != self._specs(load.key).fingerprint
            )
            if changed or found.status in ENDED_EARLY:
                redo.append(step_id)
        return tuple(redo)

    async def _main(self, recorder: Recorder, keeper: Keeper, secrets_: RunSecrets, opening: list[ev.Fact]) -> Exit:
        heartbeat()  # from here on, nothing that is timed holds a pause unseen
        run_log = RunLog(keeper.logs, secrets_)
        logging.getLogger("specdash").addHandler(run_log)
        for fact in opening:
            await recorder.publish(fact)
        environment, removed = server_environment(os.environ)
        server = self._server(recorder, environment, keeper)
        gate = MemoryGate(self._profile.limits.memory)
        planner = Planner(recorder, lambda: bandwidth_fact(self.catalogue.prepared.targets.values(), recorder.view))
        around = SweepContext(
            publish=recorder.publish,
            view=lambda: recorder.view,
            spec_for=self._specs,
            reason_to_refuse=gate.reason_to_refuse,
            settle_memory=gate.settled,
            prompts=self.catalogue.prepared.prompts,
            has_enough_samples=planner.has_enough_samples,
            update_plan=planner.update_plan,
            was_full=lambda since_s: recorder.room.was_lacking(keeper.logs, since_s),
            in_doubt=planner.in_doubt,
        )
        sweep = SweepRunner(server, around, _settings(self._profile))
        door = CommandHandler(recorder, sweep, self.catalogue)
        lacking = lambda: recorder.room.lacking  # noqa: E731
        clean_log = secrets_.clean_log
        read, files = Sensors().read, self._files_of(recorder)
        ticker = Ticker(server, sweep.sampler.requester, server.decode_partial, read, files, clean_log, lacking)
        subscribe = _subscriber(recorder, ticker)
        view = lambda: recorder.view  # noqa: E731
        handle = Handle(self._path, view, lambda: ticker.live, door.command, subscribe, clean_log)
        if removed:
            self.notes.append(f"not passed on to servers, since they set flags silently: {', '.join(removed)}")
        async with self._watcher.watch(handle):
            recorder.room.begin()
            for note in self.notes:
                await recorder.publish(ev.Noted("warning", note))
            try:
                async with (
                    _side_records(ticker.run()),
                    _side_records(self._keep(recorder, keeper, server, handle, run_log, secrets_)),
                ):
                    ended = await self._sweep(server, sweep, recorder)
            except (StoreError, BaseExceptionGroup) as error:
                raise await self._unsafe(error, recorder) from error
            self._path = keeper.path
            code, reason = exit_status(ended, recorder.view, self._path.name, self._signals.first)
            state = "finished" if ended is SweepOutcome.DONE else "stopped"
            return await self._finish(recorder, ev.RunFinished(state, int(code), reason))

    async def _finish(self, recorder: Recorder, ended: ev.RunFinished) -> Exit:
        """Records the end and writes the reports, while clients still watch; what they lack is told as the end."""
        await recorder.publish(ended)
        try:
            self._reports = await asyncio.to_thread(write_reports, self._path, recorder.view)
        except RuntimeError:  # no thread can be started
            self._reports = write_reports(self._path, recorder.view)
        told = with_reports(ended, self._reports, self._path.name)
        if told != ended:
            recorder.room.stop_waiting()  # for a disk that may be full; the exit code tells it all the same
            with suppress(StoreError):
                await recorder.publish(told)
        return Exit(told.exit_code)

    async def _keep(
        self,
        recorder: Recorder,
        keeper: Keeper,
        server: Server,
        handle: Handle,
        run_log: RunLog,
        secrets_: RunSecrets,
    ) -> None:
        """Follows the run folder, or brings it back, within a second; raises StoreError when it is out of reach."""
        await asyncio.to_thread(secrets_.clean_logs)  # those of a process that was killed
        while True:
            await recorder.room(keeper.keep)
            await server.keep_files(keeper.logs, keeper.notes)
            run_log.keep(keeper.logs)
            if (load := recorder.view.current_load) is not None:
                await asyncio.to_thread(secrets_.clean_log, keeper.logs / f"{load}.log")
            news, keeper.news = keeper.news, []
            if handle.path != keeper.path:
                handle.path = keeper.path
                remember(keeper.path.parent)
            for each_kept in tuple(handle.on_kept):
                each_kept()
            for each in news:
                self._watcher.complain(each)
                await recorder.publish(ev.Noted("warning", each))
            await asyncio.sleep(KEEP_EVERY_S)

    async def _unsafe(self, error: BaseException, recorder: Recorder) -> BaseException:
        """What ends the run, noted as its end where the journal can still be written and results are what is unsafe."""
        found = error.subgroup(StoreError) if isinstance(error, BaseExceptionGroup) else error
        if found is None:
            return error
        known = _first(found) if isinstance(found, BaseExceptionGroup) else found
        assert isinstance(known, StoreError)
        recorder.room.stop_waiting()
        with suppress(StoreError):
            await recorder.publish(ev.RunFinished("stopped", int(known.exit_code), known.what))
        return known

    def _server(self, recorder: Recorder, environment: dict[str, str], keeper: Keeper) -> Server:
        profile = self._profile
        limits = ServerLimits(
            grace_s=profile.engine.grace_s,
            stall_s=profile.engine.stall_s,
            budget_bytes=profile.limits.memory if isinstance(profile.limits.memory, int) else None,
            port=profile.engine.port,
            load_limit_is_hard=profile.engine.load_timeout_s != "auto",
        )
        nonce, logs, notes = secrets.token_hex(8), keeper.logs, keeper.notes
        return Server(
            self._engines.of, recorder.publish, limits, logs, tree_use, environment, nonce, notes, recorder.room
        )

    def _files_of(self, recorder: Recorder) -> Callable[[str], list[Path]]:
        """The model files that a load reads, for those who look at the page cache."""

        def files(load_id: str) -> list[Path]:
            load = recorder.view.loads.get(load_id)
            prepared = self.catalogue.prepared
            if load is None:
                return []
            models = [prepared.targets.get(load.key.target), prepared.drafts.get(load.key.draft or "")]
            return [part for model in models if model is not None for part in model.parts]

        return files

    async def _sweep(self, server: Server, sweep: SweepRunner, recorder: Recorder) -> SweepOutcome:
        """Runs the sweep beside its server, with signals turned into a clean stop and sleep held off."""
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            if self._profile.limits.inhibit_sleep:
                await stack.enter_async_context(StayAwake())
            stack.enter_context(self._signals.told(lambda number: self._on_signal(number, sweep, recorder)))
            owner = tasks.create_task(server.run())
            try:
                if recorder.view.bandwidth is None:
                    targets = self.catalogue.prepared.targets.values()
                    await recorder.publish(await bandwidth_fact(targets, recorder.view))
                return await sweep.run()
            finally:
                await server.close()
                await owner

    def _on_signal(self, number: signal.Signals, sweep: SweepRunner, recorder: Recorder) -> None:
        if not self._is_ending:
            self._is_ending = True
            self._watcher.complain(f"{number.name}: stopping the server; nothing that was measured is lost")
        recorder.room.stop_waiting()
        sweep.control.stop()

    def _derive(self, view: RunState) -> Reports:
        """The reports of the run; written now where an error has ended it before they were."""
        if self._reports is None and view.run is not None:
            self._reports = write_reports(self._path, view)
            for each in self._reports.failed:
                self._watcher.complain(each)
        return self._reports or Reports()


def _first(group: BaseExceptionGroup[SpecdashError]) -> SpecdashError:
    """The first error in a group of groups."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, SpecdashError)
    return found


def _subscriber(recorder: Recorder, ticker: Ticker) -> Callable[[Subscription], Callable[[], None]]:
    """How a watcher subscribes to facts, and to ticks if it wants them."""

    def subscribe(wanted: Subscription) -> Callable[[], None]:
        ends = [recorder.subscribe(wanted.on_fact)]
        if wanted.on_tick is not None:
            ends.append(ticker.subscribe(wanted.on_tick))

        def end() -> None:
            for each in ends:
                each()

        return end

    return subscribe


@asynccontextmanager
async def _side_records(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs `work` for as long as the block lasts."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(work)
        try:
            yield
        finally:
            task.cancel()


def _settings(profile: Profile) -> SweepSettings:
    measure = profile.measure
    return SweepSettings(
        sampling=Sampling(measure.max_tokens, measure.temperature, measure.seed, measure.timeout_s),
        warmup=measure.warmup,
        iterations=measure.iterations,
        max_time_s=profile.limits.max_time,
        stop_on_failure=profile.limits.on_failure == "stop",
        with_costs=profile.sweep.k == CURVE and not profile.queue,
    )
