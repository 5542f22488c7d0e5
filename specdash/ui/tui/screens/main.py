"""The main screen: the server, its speed and memory, the queue and the text that is being generated, all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from textual.binding import Binding, BindingType

from specdash.core import commands as cmd
from specdash.core import queue as edits
from specdash.core.status import StepStatus
from specdash.core.step_state import StepState
from specdash.core.text import one_line, plural
from specdash.ui.tui.keys import movement
from specdash.ui.tui.lines import Line
from specdash.ui.tui.panes.figures import PaneFigures
from specdash.ui.tui.panes.layout import PANES, MainBody, ViewChoice, is_over, main_body, wants_advice
from specdash.ui.tui.panes.pane import PaintContext, short_range
from specdash.ui.tui.panes.queue import details, queue_table, running
from specdash.ui.tui.panes.text import grown
from specdash.ui.tui.screen import dialog
from specdash.ui.tui.screens.advice import AdviceWindow
from specdash.ui.tui.table import Position
from specdash.ui.tui.widgets.dialog import Question, StepWindow
from specdash.ui.tui.widgets.list_screen import PageScreen

# Keys that ask something of the run, and what they are called.
COMMANDS = {"pause": "pause", "resume": "resume", "skip": "skip", "retry": "retry", "stop": "stop after load"}


class MainScreen(PageScreen):
    """The dashboard itself. Its body is one widget, drawn by `panes.layout.main_body`."""

    PAGE = "main"
    PARTS = ("body",)
    HAS_FIELD = False
    WHEEL = 3
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "pause", "Pause", id="main.pause"),
        Binding("space", "resume", "Resume", id="main.resume"),
        Binding("s", "skip", "Skip", id="main.skip"),
        Binding("r", "retry", "Retry", id="main.retry"),
        Binding("S", "stop", "Stop after load", id="main.stop"),
        Binding("enter", "details", "Details", id="main.details"),
        Binding("a", "advice", "What to use", id="main.advice", show=False),
        Binding("t", "swap", "Text/log", id="main.swap"),
        Binding("tab", "pane(1)", "Next pane", id="main.next_pane"),
        Binding("shift+tab", "pane(-1)", "Previous pane", id="main.previous_pane", show=False),
        *movement("main"),
        Binding("escape", "follow", "Follow the run", id="main.follow", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._figures = PaneFigures()
        self._choice = ViewChoice()
        self._body: MainBody | None = None
        self._offered: tuple[bool, bool, str, bool] | None = None

    # -- painting ----------------------------------------------------------------------------------------------

    def paint_context(self) -> PaintContext:
        """Gather what the panes are drawn from at this moment."""
        app = self.dashboard
        context = PaintContext(app.feed, app.now_s, app.terminal.glyphs, self._figures, app.outlook)
        width, height = self.part("body").size
        return replace(context, advice=app.advice) if wants_advice(width, height, over=is_over(context)) else context

    def paint(self) -> None:
        """Draw the body anew; the widget sends only what has changed of it."""
        if not self.is_ready:
            return
        widget = self.part("body")
        token = self.feed.live.token
        if token is not None:
            self._choice = replace(self._choice, written=grown(self._choice.written, token))
        body = main_body(self.paint_context(), self._choice, widget.size.width, widget.size.height)
        self._body = body
        self._choice = replace(self._choice, position=body.position)
        widget.show(body.lines)
        offered = (self.feed.is_live, self.feed.view.paused, body.layout, body.has_both)
        if offered != self._offered:
            self._offered = offered
            self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Tell which keys apply; None: the key is known, and does nothing now."""
        paused = self.feed.view.paused
        if (action == "resume" and not paused) or (action == "pause" and paused):
            return False
        if action in COMMANDS and not self.feed.is_live:
            return None
        if action == "pane":
            return self._body is not None and self._body.layout == "single"
        if action == "swap":
            return self._body is None or (self._body.layout == "stacked" and not self._body.has_both)
        return True

    def why_not(self, action: str) -> str | None:
        """Say that a key is for a run at work, where none is."""
        if action not in COMMANDS or self.feed.is_live:
            return None
        return f"{COMMANDS[action]}: no engine is at work on this run"

    def say(self, text: str) -> None:
        """Say it as a warning."""
        self._refuse(text)

    def _refuse(self, why: str) -> None:
        self.dashboard.tell(why, level="warning")

    # -- moving about ------------------------------------------------------------------------------------------

    def _rows(self) -> int:
        return self._body.rows_at[3] if self._body is not None and self._body.rows_at is not None else 1

    def action_move(self, by: int) -> None:
        """Move the cursor up or down the queue; it follows the run no more."""
        context = self.paint_context()
        table = queue_table(context)
        position = table.settled(self._choice.position, self._rows(), running(context))
        self._choice = replace(self._choice, position=table.moved(position, by))
        self.paint()

    @property
    def page_rows(self) -> int:
        """The rows that a page goes: a window but for one row."""
        return self._rows() - 1

    def action_follow(self) -> None:
        """Let the cursor follow the run again."""
        self._choice = replace(self._choice, position=Position(follows=True))
        self.paint()

    def action_pane(self, by: int) -> None:
        """Show another pane, where there is room for one."""
        at = PANES.index(self._choice.pane)
        self._choice = replace(self._choice, pane=PANES[(at + by) % len(PANES)])
        self.paint()

    def action_swap(self) -> None:
        """Show the log in place of the text, or the text in place of the log."""
        self._choice = replace(self._choice, lower="log" if self._choice.lower == "text" else "text")
        self.paint()

    def clicked(self, x: int, y: int, *, twice: bool) -> None:
        """Move the cursor to the step that was clicked; a second click opens it."""
        if self._body is None or self._body.rows_at is None:
            return
        left, top, width, rows = self._body.rows_at
        table = queue_table(self.paint_context())
        step_id = table.key_at(self._body.position, y - top, rows) if left <= x < left + width else None
        if step_id is None:
            return
        self._choice = replace(self._choice, position=replace(self._choice.position, cursor=step_id, follows=False))
        self.paint()
        if twice:
            self.action_details()

    # -- what the run is asked ---------------------------------------------------------------------------------

    def action_pause(self) -> None:
        """Pause the run: what is in flight is finished, nothing new begins."""
        self._ask(cmd.Command(cmd.PAUSE), "paused: what is in flight is finished first")

    def action_resume(self) -> None:
        """Resume the run."""
        self._ask(cmd.Command(cmd.RESUME), "resumed")

    async def action_skip(self) -> None:
        """Skip the step under the cursor, after a question."""
        found = self._chosen()
        if found is not None and found.status != StepStatus.RUNNING and self._choice.position.follows:
            self._refuse("no step is running; move to a step of the queue to skip it")
            return
        if found is None or not self._is_legal(cmd.Skip((found.step.id,))):
            return
        await self._question(
            f"Skip {one_line(found.step.id, 160)}?",
            self._cost_of_skip(found),
            _edit(cmd.Skip((found.step.id,))),
            "skipped",
        )

    def action_retry(self) -> None:
        """Measure the step under the cursor again; what came out of it goes."""
        found = self._chosen()
        if found is None:
            return
        if found.status == StepStatus.OK:
            self._refuse("this step is ok: duplicate it in the queue (2) to measure it once more")
        elif self._is_legal(cmd.Reopen((found.step.id,))):
            self._ask(_edit(cmd.Reopen((found.step.id,))), f"queued again: {found.step.id}")

    async def action_stop(self) -> None:
        """End the run once the server that runs now has no more steps, after a question."""
        view, outlook = self.feed.view, self.dashboard.outlook
        if view.stopping:
            self._refuse("the run is stopping already")
            return
        later = {step.id for load in outlook.loads for step in load.steps} if outlook is not None else set()
        opened = [step_id for step_id, found in view.steps.items() if not found.is_done]
        mine = [step_id for step_id in opened if step_id not in later]
        time = self._time(mine)
        costs = [f"{plural(len(mine), 'step')} of the server that runs now {_are(len(mine))} still measured{time}."]
        if rest := len(opened) - len(mine):
            time = self._time([each for each in opened if each in later])
            costs.append(f"{plural(rest, 'step')} of later loads {_are(rest)} left for specdash resume{time}.")
        await self._question(
            "Stop after this load?", costs, cmd.Command(cmd.STOP_AFTER_LOAD), "stopping after this load"
        )

    def action_details(self) -> None:
        """Show everything about the step under the cursor."""
        found = self._chosen()
        if found is None:
            return
        step_id = found.step.id

        def lines_of(width: int) -> Sequence[Line]:
            known = self.feed.view.steps.get(step_id)
            if known is None:
                return ((("this step is gone", "warn"),),)
            return details(replace(self.paint_context(), advice=self.dashboard.advice), known, width)

        self.app.push_screen(StepWindow(lines_of))

    def action_advice(self) -> None:
        """Show what to use, by what is measured so far."""
        found = self.feed.view.steps.get(self._choice.position.cursor or "")
        self.app.push_screen(AdviceWindow(lambda: self.dashboard.advice, found.step.target if found else ""))

    def _chosen(self) -> StepState | None:
        """The step under the cursor."""
        found = self.feed.view.steps.get(self._choice.position.cursor or "")
        if found is None:
            self._refuse("there is no step yet")
        return found

    def _cost_of_skip(self, found: StepState) -> list[str]:
        costs = []
        if found.status == StepStatus.RUNNING:
            costs.append("The request in flight is dropped.")
        if found.samples:
            costs.append(f"Samples that the journal keeps and no result counts: {len(found.samples)}.")
        outlook = self.dashboard.outlook
        if outlook is not None and found.step.id in outlook.steps:
            costs.append(f"Saves about {short_range(outlook.steps[found.step.id])}.")
        return [*costs, "r takes it back."]

    def _time(self, steps: Sequence[str]) -> str:
        """Put the time of some open steps in words; "" where it is not known."""
        outlook = self.dashboard.outlook
        known = [outlook.steps[each] for each in steps if each in outlook.steps] if outlook is not None else []
        if not known:
            return ""
        total = known[0]
        for each in known[1:]:
            total = total + each
        return f", about {short_range(total)} without loading"

    def _is_legal(self, edit: cmd.Edit) -> bool:
        """Tell whether the queue as it is known here takes an edit; say why not."""
        view = self.feed.view
        try:
            edits.apply_edits(view.steps, [edit], view.scope)
        except edits.IllegalEdit as error:
            self._refuse(str(error))
            return False
        return True

    @dialog
    async def _question(self, question: str, costs: Sequence[str], command: cmd.Command, done: str) -> None:
        if await self.app.push_screen_wait(Question(question, costs)):
            await self._send(command, done)

    def _ask(self, command: cmd.Command, done: str) -> None:
        self.run_worker(self._send(command, done), group="commands")

    async def _send(self, command: cmd.Command, done: str) -> None:
        """Send a command and tell its answer, which may take a while on a slow line."""
        refused = await self.dashboard.send(command)
        if refused is None:
            self.dashboard.tell(done)
        else:
            self._refuse(f"refused: {refused}")


def _edit(edit: cmd.Edit) -> cmd.Command:
    return cmd.Command(cmd.EDIT, (edit,))


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
