"""The plan of a profile: what it would do, everything that is wrong with it, and the way to start it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual.binding import Binding, BindingType

from specdash.config.load import check_profile
from specdash.core.plan import KScope, PlannedLoad
from specdash.core.text import human_bytes, human_seconds, one_line, plural
from specdash.errors import Problem, SpecdashError
from specdash.session.plan_time import plan_time
from specdash.session.prepare import Prepared, only_possible, prepare
from specdash.ui.tui import run_launcher
from specdash.ui.tui.keys import movement
from specdash.ui.tui.lines import Line, fitted, rule, scrolled
from specdash.ui.tui.panes.pane import paragraph
from specdash.ui.tui.widgets.list_screen import PageScreen


class PlanScreen(PageScreen):
    """What a profile would do; y starts it. The file is read again then: it may have been edited meanwhile."""

    PAGE = "plan"
    SOMETIMES = ("start",)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "start", "Start", id="plan.start"),
        Binding("r", "read", "Read again", id="plan.read"),
        Binding("escape,n", "back", "Back", id="plan.back"),
        *movement("plan"),
    ]

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.planned: Planned | None = None
        self._top = 0
        self._starting = False

    def on_mount(self) -> None:
        """Read the profile."""
        self.action_read()

    def action_read(self) -> None:
        """Read the profile and the headers of its models again."""
        self.planned = None
        self.run_worker(self._read(""), group="plan", exclusive=True)

    async def _read(self, note: str) -> None:
        self.say(note)
        self.planned = await asyncio.to_thread(read_planned, self.path)
        self.paint()

    def paint(self) -> None:
        """Show the plan as far as it is known."""
        if not self.is_ready:
            return
        width, glyphs = self.size.width, self.dashboard.terminal.glyphs
        rows: list[Line] = [(("reading the profile and its models", "dim"),)]
        if self.planned is not None:
            rows = [row for line in self.planned.lines for row in _wrapped(line, width)]
        self._top = scrolled(self._top, self.rows, len(rows))
        title = rule(f"plan of {one_line(str(self.path), 100)}", "", width, glyphs.rule)
        self.show_page([fitted(title, width, glyphs.ellipsis)], rows[self._top : self._top + self.rows])

    def why_not(self, action: str) -> str | None:
        """Say why the profile cannot be started."""
        if self.planned is None or self._starting:
            return "a moment"
        return None if self.planned.can_start else "it cannot be started as it is"

    def action_move(self, by: int) -> None:
        """Scroll the plan."""
        self._top += by
        self.paint()

    def action_start(self) -> None:
        """Start the profile, unless it is another one by now."""
        if self.planned is not None and self.planned.can_start and not self._starting:
            self._starting = True
            # The app's worker: this screen is gone once the run is shown.
            self.app.run_worker(self._start(self.planned), group="switch")

    async def _start(self, planned: Planned) -> None:
        said = "The profile was changed on disk: this is its plan now."
        try:
            if await asyncio.to_thread(digest_of, self.path) != planned.digest:
                self.planned = None
                await self._read(said)
            else:
                self.say("starting")
                said = await run_launcher.start_path(self.dashboard, self.path) or ""
        finally:
            self._starting = False
        self.say(said)

    def action_back(self) -> None:
        """Go back; nothing was started."""
        self.app.pop_screen()


def _wrapped(line: Line, width: int) -> list[Line]:
    """Break a line into as many rows as it takes; a long one has the style of its first span."""
    text = "".join(part for part, _ in line)
    if len(text) < width:
        return [((" ", ""), *line)]
    return list(paragraph(text, width - 1, line[0][1] if len(line) == 1 else ""))


SENTENCE = 600


@dataclass(frozen=True, slots=True)
class Planned:
    """A profile as it was read: a digest of the file, its plan in lines, and whether it can be started."""

    path: Path
    digest: str
    name: str
    lines: tuple[Line, ...]
    can_start: bool


def digest_of(path: Path) -> str:
    """Return what tells whether a file has changed; "" for one that cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def read_planned(path: Path) -> Planned:
    """Read a profile and the headers of its models; takes a while, so it belongs into a thread."""
    digest = digest_of(path)
    found = check_profile(path)
    if found.profile is None or found.problems:
        return Planned(path, digest, one_line(path.stem), tuple(_wrong(found.problems)), can_start=False)
    try:
        prepared = only_possible(prepare(found.profile))
    except SpecdashError as error:
        lines: tuple[Line, ...] = tuple(((one_line(each, SENTENCE), "bad"),) for each in str(error).splitlines())
        return Planned(path, digest, one_line(found.profile.name), lines, can_start=False)
    # A file that is not there is reported by both; the check names its neighbours too, so it goes first.
    absent = {(each.line, each.key): each for each in (*prepared.problems, *found.missing)}
    problems = sorted(absent.values(), key=lambda each: each.line or 0)
    lines = (*_summary(prepared), *_gaps(prepared, found.warnings), *(_wrong(problems) if problems else ()))
    return Planned(path, digest, one_line(found.profile.name), lines, can_start=not problems)


def _wrong(problems: Iterable[Problem]) -> list[Line]:
    return [(("It cannot be started:", "bad"),), *(((f"  {one_line(str(each), SENTENCE)}", ""),) for each in problems)]


def _summary(prepared: Prepared) -> list[Line]:
    measure = prepared.profile.measure
    usable = [step for step in prepared.steps if prepared.usable(step)]
    lines: list[Line] = [
        ((f"{len(usable)} steps", "title"), (f" in {len(prepared.prompts)} prompt categories, ", "")
         , (f"{measure.iterations} samples each of up to {measure.max_tokens} tokens", "")),
        (),
    ]  # fmt: skip
    forced = prepared.profile.engine.k_scope
    scopes = [KScope.REQUEST, KScope.STARTUP] if forced == "auto" else [KScope(forced)]
    has_drafts = any(step.draft is not None for step in usable)
    for scope in scopes if has_drafts else scopes[:1]:
        loads = prepared.loads(scope)
        where = {
            KScope.REQUEST: "where the server takes K per request",
            KScope.CAPPED: "K per request, up to the start-up value",
            KScope.STARTUP: "where the server fixes K at start-up",
        }[scope]
        count = plural(len(loads), "load")
        lines.append(
            ((count, "title"), (f"  {where}: " if has_drafts else "  ", ""), (_time(prepared, scope, loads), ""))
        )
        if scope is scopes[0]:
            lines += [((f"  {number:>3}. {_load(load)}", ""),) for number, load in enumerate(loads, 1)]
    if has_drafts and len(scopes) > 1:
        lines.append((("Which of the two it is, a probe on the first load with a draft tells.", "dim"),))
    return lines


def _load(load: PlannedLoad) -> str:
    ks = sorted({step.k for step in load.steps if step.k is not None})
    models = load.key.target if load.key.drafter is None else f"{load.key.target} + {load.key.drafter}"
    of_k = f", K = {', '.join(map(str, ks))}" if ks else ", no draft"
    return f"{one_line(models, 120)}{of_k}  ({plural(len(load.steps), 'step')})"


def _time(prepared: Prepared, scope: KScope, loads: Sequence[PlannedLoad]) -> str:
    sizes = {load.key: size for load in loads for size in [prepared.size_bytes(load.key)] if size is not None}
    time = plan_time(prepared, scope, loads, is_probed=prepared.profile.engine.k_scope == "auto")
    if time is None:
        return "time unknown, since not all models are here"
    largest = max(sizes.values(), default=0)
    told = f"{human_seconds(time.low_s)} to {human_seconds(time.high_s)}, before any measurement"
    return f"{told}; the largest load reads {human_bytes(largest)}"


def _gaps(prepared: Prepared, warnings: Iterable[Problem]) -> list[Line]:
    lines: list[Line] = [((f"warning: {one_line(str(each), SENTENCE)}", "warn"),) for each in warnings]
    for (target, draft), reason in prepared.unfit.items():
        lines.append(((f"skipped: {one_line(f'{target} + {draft}: {reason}', SENTENCE)}", "warn"),))
    return [(), *lines] if lines else []
