"""The body of the queue editor: the table of its steps, and below it what the staged edits do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from specdash.core import axes
from specdash.core.axes import VARYING, Axis
from specdash.core.forecast import Range
from specdash.core.plan import LoadKey
from specdash.core.state import RunState
from specdash.core.status import StepStatus
from specdash.core.step_state import StepState
from specdash.core.text import one_line
from specdash.ui.tui.lines import Line, Span, fitted
from specdash.ui.tui.panes.pane import Pane, axis_text, note, ruled, short_range
from specdash.ui.tui.queue_editor.staging import Effect, Staged, change_of, staged_rows
from specdash.ui.tui.table import FILL, Column, Layout, Position, WindowTable, heading, matching
from specdash.ui.tui.terminal import Glyphs
from specdash.ui.tui.terminal.theme import StyleName

SIGNS = 2  # cells for the mark and the cursor
LEAST_NAME = 7  # cells of the name of a model or a category
NOTE_FROM = 110  # columns of the terminal from which state and note stand apart
DONE_WORDS = {"ok": "done", StepStatus.SKIPPED: "skipped"}


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a table: those that the filter leaves with their places, and the number of each step, from 1.

    `starts` maps the first step of each load that is still to be started to its load. `widths` is how long the longest
    text of a column is; `varying` names the columns in which not all steps have the same.
    """

    staged: Staged
    words: str
    preview: RunState
    shown: tuple[str, ...]
    places: Mapping[str, int]
    number: Mapping[str, int]
    starts: Mapping[str, LoadKey]
    widths: Mapping[str, int]
    varying: frozenset[str]

    def find(self, step_id: str) -> StepState | None:
        """A step as it would be, or as it is where it would be removed."""
        return self.staged.steps.get(step_id) or self.staged.base.steps.get(step_id)


def rows(staged: Staged, words: str) -> Rows:
    """What there is to show of a queue; costly for long ones, so it is kept while both are the same."""
    every = staged_rows(staged)
    labels: dict[str, set[object]] = {}
    for found in (*staged.base.steps.values(), *staged.steps.values()):
        for name in VARYING:
            labels.setdefault(name, set()).add(found.step.value(name))
        labels.setdefault("draft", set()).add(found.step.drafter)
    widths = {
        name: max((len(one_line(str(each), 60)) if each is not None else 6 for each in values), default=1)
        for name, values in labels.items()
    }
    preview, shown = staged.preview, tuple(matching(every, words, str))
    most = max((preview.iterations(each) or 0 for each in staged.steps), default=0)
    return Rows(
        staged,
        words,
        preview,
        shown,
        {step_id: at for at, step_id in enumerate(shown)},
        {step_id: at for at, step_id in enumerate(every, start=1)},
        {load.steps[0].id: load.key for load in staged.after.loads},
        widths | {"reps": 2 * len(str(most)) + 1, "number": len(str(len(every)))},
        frozenset(name for name, values in labels.items() if len(values) > 1),
    )


def first_open(found: Rows) -> str | None:
    """Where the cursor begins: at what can be edited first."""
    steps = found.staged.steps
    return next((each for each in found.shown if each in steps and steps[each].status == StepStatus.OPEN), None)


def chosen_steps(found: Rows, position: Position) -> tuple[str, ...]:
    """The marked steps in the order of the queue, else the one under the cursor."""
    if position.marked:
        return tuple(each for each in found.number if each in position.marked)
    return (position.cursor,) if position.cursor is not None else ()


@dataclass(frozen=True, slots=True)
class EditedRow:
    """What the cells of a step are made from: the step as it would be, and what the staged edits do to it."""

    rows: Rows
    found: StepState
    change: str | None
    is_gone: bool

    @property
    def style(self) -> StyleName:
        """The style of the row's plain cells."""
        return "dim" if self.is_gone or self.found.is_done else "accent" if self.change is not None else ""

    def plain(self, text: str) -> Span:
        """A cell in the row's own style."""
        return text, self.style

    def label(self, text: str | None, none: str) -> Span:
        """A cell with a name from outside."""
        return self.plain(one_line(text, 60) if text is not None else none)

    @property
    def state(self) -> Span:
        """The step's state as it would be."""
        return staged_state_span(self.rows.staged, self.found, self.is_gone)

    @property
    def changed(self) -> Span | None:
        """What the staged edits do to the step."""
        return (self.change, "accent") if self.change is not None else None


def _category(row: EditedRow) -> Span:
    step = row.found.step
    return row.plain(one_line(step.category, 60) + (f" ({step.copy + 1})" if step.copy else ""))


def _of_axis(axis: Axis, rank: float) -> Column[EditedRow]:
    """The column of an axis in which steps differ."""

    def cell(row: EditedRow) -> Span:
        return row.plain(axis_text(row.found.step, axis))

    least = min(axis.width, max(len(axis.heading), 5))
    return Column(axis.name, axis.heading, cell, least, axis.width, right=axis.kind is not str, rank=rank)


def _samples(row: EditedRow) -> Span:
    wanted, have = row.rows.preview.iterations(row.found.step.id), len(row.found.good)
    return row.plain(f"{have}/{wanted}" if have else str(wanted) if wanted is not None else "?")


def _load(row: EditedRow) -> Span:
    load = row.rows.starts.get(row.found.step.id)
    start = row.rows.staged.after.starts.get(load) if load is not None else None
    return row.plain(short_range(start) if start is not None else "?" if load is not None else "-")


COLUMNS: tuple[Column[EditedRow], ...] = (
    Column("number", "#", lambda row: (str(row.rows.number[row.found.step.id]), "dim"), 3, 9, right=True),
    Column("on", "on", lambda row: row.plain("" if row.is_gone or row.found.status == StepStatus.SKIPPED else "x"), 2),
    Column("target", "target", lambda row: row.label(row.found.step.target, "-"), LEAST_NAME, 60, rank=4, shares=True),
    Column("draft", "draft", lambda row: row.label(row.found.step.drafter, "(none)"), LEAST_NAME, 60, rank=3,
           shares=True),
    Column("k", "K", lambda row: row.plain(str(row.found.step.k) if row.found.step.k is not None else "-"), 3,
           right=True),
    Column("category", "content", _category, LEAST_NAME, 12),
    *(_of_axis(axis, 6 + number) for number, axis in enumerate(axes.COLUMNS)),
    Column("reps", "reps", _samples, 4, 9, right=True, rank=1),
    Column("load", "load", _load, 6, right=True, rank=2),
    Column("est", "est", lambda row: row.plain(short_range(row.rows.staged.after.steps.get(row.found.step.id))), 6,
           right=True, rank=5),
)  # fmt: skip
APART: tuple[Column[EditedRow], ...] = (
    Column("state", "state", lambda row: row.state, 9),
    Column("note", "note", lambda row: row.changed or _note(row.found), 12, FILL),
)
TOGETHER: tuple[Column[EditedRow], ...] = (Column("both", "state", lambda row: row.changed or row.state, 13, FILL),)
WHERE_VARYING = frozenset(axis.name for axis in axes.COLUMNS)  # they say nothing where all steps have the same


def editor_table(found: Rows, width: int) -> WindowTable[EditedRow]:
    """The table of the rows; where there is room, state and note stand apart."""

    def row(step_id: str) -> EditedRow:
        each = found.find(step_id)
        assert each is not None
        return EditedRow(found, each, change_of(found.staged, step_id), step_id not in found.staged.steps)

    def sized(column: Column[EditedRow]) -> Column[EditedRow]:
        most = max(column.least, min(column.most, found.widths.get(column.name, 1)))
        return replace(column, most=most) if column.shares else replace(column, least=most, most=most)

    columns = tuple(sized(each) for each in COLUMNS if each.name not in WHERE_VARYING - found.varying)
    return WindowTable(
        (*columns, *(APART if width >= NOTE_FROM else TOGETHER)), found.shown, row, SIGNS, places=found.places
    )


def staged_state_span(staged: Staged, each: StepState, is_gone: bool) -> Span:
    """A step's state as it would be, in a word."""
    if is_gone:
        return "removed", "dim"
    match each.status:
        case "open":
            return "queued", ""
        case "running":
            wanted = staged.base.iterations(each.step.id)
            return f"RUN {len(each.good)}/{wanted}" if wanted is not None else "RUN", "good"
        case "failed" | "timeout":
            return each.status, "bad"
        case "invalid":
            return each.status, "warn"
    if each.by_user:
        return "off", "dim"
    return DONE_WORDS.get(each.status, one_line(each.status, 9)), "dim"


def _note(each: StepState) -> Span:
    """What else is to be known of a step that no edit touches."""
    if each.status == StepStatus.RUNNING:
        return "locked", "dim"
    if each.error is not None:
        return one_line(each.error, 120), "dim"
    if each.verdicts:
        return one_line(", ".join(each.verdicts), 120), "dim"
    return "", ""


LEAST_ROWS = 3
PLAN_FROM, PLAN_TALL = 14, 34  # lines from which on the newest stage of the plan is there, and the last three
SHARE = 3  # the staged edits take at most one part in so many of the height


@dataclass(frozen=True, slots=True)
class EditorBody:
    """What is drawn: its lines, the position that was settled, the table, and the lines of the body that are rows."""

    lines: tuple[Line, ...]
    position: Position
    table: WindowTable[EditedRow]
    shape: Layout[EditedRow]
    first_row: int
    n_rows: int


def body(
    found: Rows, position: Position, width: int, height: int, glyphs: Glyphs, refused: str | None = None
) -> EditorBody:
    """The whole body in so much room; `refused` is why the last thing that was asked for was not done."""
    below = _below(found.staged, refused, width, height, glyphs)
    plan = plan_lines(found.staged.base, width, height, glyphs)
    n_rows = max(0, height - len(below) - len(plan) - 2)
    table = editor_table(found, width)
    position = replace(position, marked=frozenset(each for each in position.marked if each in found.number))
    current = first_open(found) if position.cursor not in table.places else None
    position = table.settled(position, max(1, n_rows), current)
    shape = table.layout(width)
    title = Pane(f"Queue  {len(found.number)} steps", note(_notes(found, position), max(0, width - 30)))
    lines = [ruled(title, width, glyphs), *plan, heading(shape, glyphs)]
    lines += table.lines(position, shape, n_rows, width, glyphs,
                         lambda key, cursor: (glyphs.marked if key in position.marked else " ") + cursor)  # fmt: skip
    if not found.shown and n_rows:
        empty = "nothing fits the filter; esc clears it" if found.words.strip() else "no step is known yet"
        lines.append(((f"  {empty}", "dim"),))
    lines += [()] * max(0, height - len(below) - len(lines))
    fit = [fitted(line, width, glyphs.ellipsis) for line in (*lines, *below)]
    return EditorBody(tuple(fit[:height]), position, table, shape, 2 + len(plan), len(table.window(position, n_rows)))


def plan_lines(view: RunState, width: int, height: int, glyphs: Glyphs) -> list[Line]:
    """The last stages of a plan that changes by itself, the newest last; none where there are none, or no room."""
    most = 0 if height < PLAN_FROM else 1 if height < PLAN_TALL else 3
    stages = view.replans[len(view.replans) - min(most, len(view.replans)) :]
    found: list[Line] = []
    for number, each in enumerate(stages):
        name: Span = (" plan  " if number == 0 else "       ", "dim")
        text: Span = (one_line(each.reason or each.stage, 400), "accent" if each is stages[-1] else "dim")
        found.append(fitted((name, text), width, glyphs.ellipsis))
    return found


def _notes(found: Rows, position: Position) -> list[Span]:
    """What stands on the rule above the table."""
    off = sum(1 for each in found.staged.steps.values() if each.status == StepStatus.SKIPPED)
    parts: list[Span] = []
    if found.words.strip():
        parts.append((f"filter: {one_line(found.words, 20)} ({len(found.shown)})", "accent"))
    if position.marked:
        parts.append((f"{len(position.marked)} marked", "marked"))
    if off:
        parts.append((f"{off} off", "dim"))
    return [
        *parts,
        (f"{_count(len(found.starts), 'load')} left", "dim"),
        (f"about {remaining_time(found.staged)}", "dim"),
    ]


def remaining_time(staged: Staged) -> str:
    """The time that the run has before it with the edits."""
    return short_range(staged.after.left)


def _below(staged: Staged, refused: str | None, width: int, height: int, glyphs: Glyphs) -> list[Line]:
    """The staged edits with what they do, the newest of them last, and the total."""
    if height < LEAST_ROWS + 4:
        return _total(staged, refused)[: max(0, height - LEAST_ROWS - 1)]
    room = max(1, height // SHARE - 2)
    shown = staged.entries[-room:]
    if staged.problem is not None:
        broken = [entry for entry in staged.entries if entry.illegal is not None]
        shown = (*broken[:room], *[entry for entry in shown if entry.illegal is None][-max(0, room - len(broken)) :])
    earlier = len(staged.entries) - len(shown)
    title = f"Staged  {_count(len(staged.entries), 'edit')}" if staged.entries else "Staged  nothing"
    right: list[Span] = [(f"{earlier} more", "dim")] if earlier > 0 else []
    right += [(f"{_count(len(staged.undone), 'edit')} taken back (U)", "dim")] if staged.undone else []
    lines = [ruled(Pane(title, note(right, max(0, width - len(title) - 9))), width, glyphs)]
    for entry in shown:
        words = one_line(entry.words, 300)
        if entry.illegal is not None:
            lines.append(((" ! ", "bad"), (f"{words}: cannot be done any more: {one_line(entry.illegal, 300)}", "bad")))
            continue
        told = in_words(entry.effect)
        line = fitted(((f"   {words}", ""),), max(1, width - len(told) - 3), glyphs.ellipsis)
        used = sum(len(text) for text, _ in line)
        lines.append((*line, (" " * max(1, width - used - len(told) - 1) + told, "dim")))
    return [*lines, *_total(staged, refused)]


def _total(staged: Staged, refused: str | None) -> list[Line]:
    """The last line: why something was refused, what has to be taken back, or what all edits do together."""
    if refused is not None:
        return [((f" {one_line(refused, 400)}", "bad"),)]
    if staged.problem is not None:
        return [((" u takes back what cannot be done any more; until then nothing can be applied", "warn"),)]
    if not staged.entries:
        return [((" nothing changes until you apply: W", "dim"),)]
    change = in_words(staged.effect)
    left: Span = (f" {change}", "accent")
    now, then = short_range(staged.before.left), short_range(staged.after.left)
    loads = f"{len(staged.before.loads)} > {len(staged.after.loads)} loads"
    return [(left, (f"   {loads}, about {now} > {then}   ", "dim"), ("W", "key"), (" apply  ", ""),
             ("esc", "key"), (" discard", ""))]  # fmt: skip


def in_words(effect: Effect) -> str:
    """What edits do, in words: "2 loads fewer, -3m36"."""
    parts: list[str] = []
    if effect.loads:
        parts.append(f"{_count(abs(effect.loads), 'load')} {'more' if effect.loads > 0 else 'fewer'}")
    if effect.time_s is None:
        parts.append("time unknown")
    elif abs(effect.time_s) < 0.5:
        parts.append("same time")
    else:
        sign = "+" if effect.time_s > 0 else "-"
        parts.append(sign + short_range(Range(abs(effect.time_s), abs(effect.time_s))))
    return ", ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number:,} {noun}s"
