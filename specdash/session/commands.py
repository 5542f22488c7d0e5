"""The one door through which commands enter a run: checked, recorded, and only then carried out."""

from __future__ import annotations

import asyncio

from specdash.core import commands as cmd
from specdash.core import events as ev
from specdash.core import queue
from specdash.core.state import RunState
from specdash.runtime.sweep import SweepRunner
from specdash.session.catalogue import Catalogue
from specdash.session.recorder import Recorder


class CommandHandler:
    """Carries out what clients ask of a sweep."""

    def __init__(self, recorder: Recorder, sweep: SweepRunner, catalogue: Catalogue) -> None:
        self._recorder = recorder
        self._sweep = sweep
        self._catalogue = catalogue
        self._turn = asyncio.Lock()

    async def command(self, command: cmd.Command) -> None:
        """Carries out a command and returns once it is on disk; raises IllegalEdit with the reason if it cannot be."""
        async with self._turn:
            await self._record(command)
            self._carry_out(command)

    async def _record(self, command: cmd.Command) -> None:
        """Check and record a command, with the models that its edits bring."""
        before = self._catalogue.prepared
        models = await self._catalogue.admit(command.edits, self._recorder.view.steps)

        def accepted(view: RunState) -> ev.Fact:
            # Checked as it is recorded: reading models takes its time, in which the queue may change.
            _require_possible(command, view)
            return ev.CommandAccepted(command.name, queue.describe_edits(command.edits), command.edits, tuple(models))

        try:
            await self._recorder.publish_made(accepted)
        except queue.IllegalEdit:
            self._catalogue.prepared = before
            raise

    def _carry_out(self, command: cmd.Command) -> None:
        control = self._sweep.control
        match command.name:
            case cmd.PAUSE:
                control.pause()
            case cmd.RESUME:
                control.go_on()
            case cmd.STOP:
                self._recorder.room.stop_waiting()
                control.stop()
            case cmd.STOP_AFTER_LOAD:
                control.stop_after_load()
            case cmd.EDIT:
                gone = [step for edit in command.edits if isinstance(edit, cmd.Skip) for step in edit.steps]
                self._sweep.sampler.drop(gone)


def _require_possible(command: cmd.Command, view: RunState) -> None:
    """Raises IllegalEdit for what makes no sense now."""
    if view.finished is not None:
        raise queue.IllegalEdit("the run is over; go on with it: specdash resume")
    if command.name == cmd.PAUSE and view.paused:
        raise queue.IllegalEdit("it is paused already")
    if command.name == cmd.RESUME and not view.paused:
        raise queue.IllegalEdit("it is not paused")
    if command.name in (cmd.PAUSE, cmd.RESUME) and view.stopping:
        raise queue.IllegalEdit("it is being stopped")
    if command.name == cmd.EDIT:
        queue.apply_edits(view.steps, command.edits, view.scope)
