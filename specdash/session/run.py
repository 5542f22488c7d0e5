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
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from specdash import __version__
from specdash.analysis.strategy import CURVE, is_unfinished
from specdash.config.load import load as load_profile
from specdash.config.prompts import context_filler
from specdash.config.write import dump
from specdash.core import events as ev
from specdash.core.plan import KScope
from specdash.core.profile import Profile
from specdash.core.view import View, fold_all
from specdash.engines.registry import FALLING_BACK, FindContext, find, find_fallback
from specdash.errors import EngineError, Exit, SpecdashError, StoreError
from specdash.probes.machine import hardware_label, machine
from specdash.probes.sensors import Sensors
from specdash.runtime.asking import Sampling
from specdash.runtime.locks import machine_lock, run_lock
from specdash.runtime.server import Server, ServerLimits
from specdash.runtime.stale import sweep_stale
from specdash.runtime.sweep import Ended, Surroundings, Sweep, SweepSettings
from specdash.session.advice import Advice
from specdash.session.catalogue import FILLER_TOKENS, Catalogue
from specdash.session.door import Door
from specdash.session.ending import SIGNALS, verdict_of_run
from specdash.session.fallback import Engines, with_fallback
from specdash.session.handle import Handle, Outcome, Subscription, Watcher
from specdash.session.launch import MemoryGate, Specs, server_environment, tree_use
from specdash.session.opening import engine_found, opening_facts, settings_of
from specdash.session.prepare import Prepared, only_possible, prepare, require_models
from specdash.session.recorder import Recorder
from specdash.session.reports import write_reports
from specdash.session.roof import bandwidth_fact
from specdash.session.terminal import StayAwake, hangup_is_ignored
from specdash.session.ticker import Ticker
from specdash.store.disk import write_atomic
from specdash.store.journal import Journal, read
from specdash.store.runs import new_run_dir, remember

log = logging.getLogger(__name__)

PROFILE_NAME = "profile.toml"
JOURNAL_NAME = "journal.jsonl"


def start_new(profile: Profile, watcher: Watcher) -> Outcome:
    """Runs a profile from the beginning; raises SpecdashError for what the user can mend."""
    prepared = prepare(profile)
    require_models(prepared)
    prepared, engines, notes = _with_engines(prepared)
    facts = machine()
    hardware = hardware_label(facts) if profile.hardware == "auto" else profile.hardware
    with machine_lock(profile.name) as lock:
        path = new_run_dir(profile.results_dir, hardware, profile.engine.kind, profile.name, time.time())
        lock.note(path.name)
        remember(profile.results_dir)
        write_atomic(path / PROFILE_NAME, dump(profile))
        run = _Run(path, prepared, engines, watcher)
        run.notes += notes
        with run_lock(path):
            journal = Journal.create(path / JOURNAL_NAME)
            return run.go(journal, View(), opening_facts(path, prepared, engines, facts, hardware))


def resume(path: Path, watcher: Watcher) -> Outcome:
    """Goes on with an interrupted run: finished steps stay, failed ones and changed ones are measured again."""
    profile = load_profile(path / PROFILE_NAME)
    prepared = prepare(profile)
    require_models(prepared)
    prepared, engines, _ = _with_engines(prepared)
    with run_lock(path), machine_lock(path.name), closing(Journal.open(path / JOURNAL_NAME)) as journal:
        view = fold_all(read(path / JOURNAL_NAME).records)
        if view.run is None:
            raise StoreError(f"{path} has no first record: nothing was measured", "Start the profile anew.")
        if not _has_steps_of(prepared, view):
            before, engines_before, _ = _with_engines(prepare(profile, as_before=True), as_before=True)
            prepared, engines = (before, engines_before) if _has_steps_of(before, view) else (prepared, engines)
        engines = replace(engines, recorded=view.engine)
        _require_same(prepared, view)
        run = _Run(path, prepared, engines, watcher)
        run.catalogue.restore(view)
        redo = run.to_redo(view)
        if view.finished is not None and not redo and not is_unfinished(view):
            watcher.complain("nothing is left to measure in this run")
            return Outcome(path, Exit(view.finished.exit_code), view)
        changed = [step for step in redo if view.steps[step].status in ("ok", "invalid")]
        if changed:
            run.notes.append(
                f"{len(changed)} finished steps are measured again: model files, flags or build have changed"
            )
        opening: list[ev.Fact] = [ev.RunResumed(__version__, redo)]
        if view.engine != engine_found(engines.main_info):
            opening.append(engine_found(engines.main_info))
        return run.go(journal, view, opening)


def _require_same(prepared: Prepared, view: View) -> None:
    """Raises when the run's profile was edited, and asks for other steps or samples than the run was begun for."""
    assert view.run is not None
    known = {config.label for config in prepared.profile.configs}
    lost = sorted({step.config for step in view.run.steps if step.config is not None} - known)
    if lost and prepared.profile.engine.kind in FALLING_BACK:
        raise EngineError(
            f"the programs that served {', '.join(map(repr, lost))} in this run are not found any more",
            "Put llama.cpp's command-line programs beside the server or on PATH again, and resume.",
        )
    if not _has_steps_of(prepared, view) or _differ(settings_of(prepared.profile), view.run.settings):
        raise SpecdashError(
            f"{prepared.profile.source} was edited since the run began: it asks for other steps or samples",
            "Undo that to go on with this run, or start a new one: specdash --headless PROFILE.",
        )


def _has_steps_of(prepared: Prepared, view: View) -> bool:
    """Whether a profile asks for the steps that a run began with."""
    return view.run is not None and {step.id for step in prepared.steps} == {step.id for step in view.run.steps}


def _differ(wanted: Mapping[str, object], settings: Mapping[str, object]) -> bool:
    """Whether a run was begun with other settings; what its version did not know yet is no difference."""
    return any(name in settings and settings[name] != value for name, value in wanted.items())


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

    def __init__(self, path: Path, prepared: Prepared, engines: Engines, watcher: Watcher) -> None:
        self.catalogue = Catalogue(prepared, engines)
        self.notes: list[str] = []  # warnings that are recorded once somebody watches
        self._path = path
        self._profile = prepared.profile
        self._engines = engines
        self._watcher = watcher
        self._specs = Specs(self.catalogue, engines.info)
        self._signal: signal.Signals | None = None

    def go(self, journal: Journal, view: View, opening: list[ev.Fact]) -> Outcome:
        """Runs the event loop to the end of the run; derived files are written whatever happens."""
        recorder = Recorder(journal, view, self._watcher.complain)
        try:
            code = asyncio.run(self._main(recorder, opening))
        except BaseExceptionGroup as group:
            # Task groups wrap what ends them; the user's error is inside.
            known = group.subgroup(SpecdashError)
            if known is None:
                raise
            raise _first(known) from group
        finally:
            journal.close()
            self._derive(recorder.view)
        return Outcome(self._path, code, recorder.view)

    def to_redo(self, view: View) -> tuple[str, ...]:
        """Ids of finished steps that are measured again: failed ones, and those whose files or build changed."""
        redo = []
        for step_id, found in view.steps.items():
            load = view.loads.get(found.load or "")
            changed = (
                found.status in ("ok", "invalid")
                and load is not None
                and found.fingerprint != self._specs(load.key).fingerprint
            )
            if changed or found.status in ("failed", "timeout"):
                redo.append(step_id)
        return tuple(redo)

    async def _main(self, recorder: Recorder, opening: list[ev.Fact]) -> Exit:
        pidfiles = self._path / "run"
        pidfiles.mkdir(exist_ok=True)
        (self._path / "logs").mkdir(exist_ok=True)
        _log_to(self._path / "logs" / "specdash.log")
        for fact in opening:
            await recorder.publish(fact)
        environment, removed = server_environment(os.environ)
        server = self._server(recorder, environment, pidfiles)
        gate = MemoryGate(self._profile.limits.memory)
        advice = Advice(recorder)
        around = Surroundings(
            publish=recorder.publish,
            view=lambda: recorder.view,
            spec_for=self._specs,
            refuse=gate.refuse,
            settle_memory=gate.settled,
            prompts=self.catalogue.prepared.prompts,
            enough=advice.enough,
            reconsider=advice.reconsider,
        )
        sweep = Sweep(server, around, _settings(self._profile))
        door = Door(recorder, sweep, self.catalogue)
        ticker = Ticker(server, sweep.sampler.asking, server.peek, Sensors().read, self._files_of(recorder))
        handle = Handle(
            self._path, lambda: recorder.view, lambda: ticker.live, door.command, _subscriber(recorder, ticker)
        )
        self.notes += [f"ended a server left behind by an earlier run: {stale}" for stale in sweep_stale(pidfiles)]
        if removed:
            self.notes.append(f"not passed on to servers, since they set flags silently: {', '.join(removed)}")
        async with self._watcher.watch(handle):
            for note in self.notes:
                await recorder.publish(ev.Noted("warning", note))
            async with _beside(ticker.run()):
                ended = await self._sweep(server, sweep, recorder)
            code, reason = verdict_of_run(ended, recorder.view, self._path.name, self._signal)
            state = "finished" if ended is Ended.DONE else "stopped"
            await recorder.publish(ev.RunFinished(state, int(code), reason))
        return code

    def _server(self, recorder: Recorder, environment: dict[str, str], pidfiles: Path) -> Server:
        profile = self._profile
        limits = ServerLimits(
            grace_s=profile.engine.grace_s,
            stall_s=profile.engine.stall_s,
            budget_bytes=profile.limits.memory if isinstance(profile.limits.memory, int) else None,
            port=profile.engine.port,
            load_limit_is_hard=profile.engine.load_timeout_s != "auto",
        )
        nonce, logs = secrets.token_hex(8), self._path / "logs"
        return Server(self._engines.of, recorder.publish, limits, logs, tree_use, environment, nonce, pidfiles)

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

    async def _sweep(self, server: Server, sweep: Sweep, recorder: Recorder) -> Ended:
        """Runs the sweep beside its server, with signals turned into a clean stop and sleep held off."""
        loop = asyncio.get_running_loop()
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            if self._profile.limits.inhibit_sleep:
                await stack.enter_async_context(StayAwake())
            for number in SIGNALS:
                if number == signal.SIGHUP and hangup_is_ignored():
                    stack.callback(signal.signal, number, signal.signal(number, signal.SIG_IGN))
                    continue
                loop.add_signal_handler(number, self._on_signal, number, sweep, recorder)
                stack.callback(loop.remove_signal_handler, number)
            owner = tasks.create_task(server.run())
            try:
                if recorder.view.bandwidth is None:
                    targets = self.catalogue.prepared.targets.values()
                    await recorder.publish(await bandwidth_fact(targets, recorder.view))
                return await sweep.run()
            finally:
                await server.close()
                await owner

    def _on_signal(self, number: signal.Signals, sweep: Sweep, recorder: Recorder) -> None:
        if self._signal is None:
            self._signal = number
            self._watcher.complain(f"{number.name}: stopping the server; nothing that was measured is lost")
        recorder.stop_waiting()
        sweep.wanted.stop()

    def _derive(self, view: View) -> None:
        """Writes what can be made again from the journal; a failure here loses nothing."""
        if view.run is None:
            return
        try:
            write_reports(self._path, view)
        except (OSError, StoreError) as error:
            self._watcher.complain(f"the reports could not be written ({error}); make them again: specdash report")


def _first(group: BaseExceptionGroup[SpecdashError]) -> SpecdashError:
    """The first error in a group of groups."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, SpecdashError)
    return found


def _log_to(path: Path) -> None:
    """Sends everything that specdash logs to a file of the run; nothing of it belongs on the user's terminal."""
    handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger("specdash").addHandler(handler)


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
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
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
