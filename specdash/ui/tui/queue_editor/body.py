"""The body of the queue editor: the table, and below it what the staged edits do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from specdash.core.forecast import Range
from specdash.core.state import RunState
from specdash.core.status import StepStatus
from specdash.core.text import one_line
from specdash.ui.tui.lines import Line, Span, fitted
from specdash.ui.tui.panes.pane import Pane, about, note, ruled
from specdash.ui.tui.queue_editor.staging import Effect, Staged
from specdash.ui.tui.queue_editor.table import Column, Place, Rows, columns, heading, row, settled
from specdash.ui.tui.terminal import Glyphs

LEAST_ROWS = 3
PLAN_FROM, PLAN_TALL = 14, 34  # lines from which on the newest stage of the plan is there, and the last three
SHARE = 3  # the staged edits take at most one part in so many of the height


@dataclass(frozen=True, slots=True)
class Body:
    """What is drawn: its lines, the place that was settled, its columns, and the lines of the body that are rows."""

    lines: tuple[Line, ...]
    place: Place
    table: tuple[Column, ...]
    first_row: int
    n_rows: int


def body(found: Rows, place: Place, width: int, height: int, glyphs: Glyphs, refused: str | None = None) -> Body:
    """The whole body in so much room; `refused` is why the last thing that was asked for was not done."""
    below = _below(found.staged, refused, width, height, glyphs)
    plan = plan_lines(found.staged.base, width, height, glyphs)
    n_rows = max(0, height - len(below) - len(plan) - 2)
    place = settled(found, place, max(1, n_rows))
    table = columns(found, width)
    title = Pane(f"Queue  {len(found.number)} steps", note(_notes(found, place), max(0, width - 30)))
    lines = [ruled(title, width, glyphs), *plan, heading(table, glyphs)]
    shown = found.shown[place.top : place.top + n_rows]
    lines += [row(found, each, table, place, width, glyphs) for each in shown]
    if not shown and n_rows:
        empty = "nothing fits the filter; esc clears it" if found.words.strip() else "no step is known yet"
        lines.append(((f"  {empty}", "dim"),))
    lines += [()] * max(0, height - len(below) - len(lines))
    fit = [fitted(line, width, glyphs.ellipsis) for line in (*lines, *below)]
    return Body(tuple(fit[:height]), place, table, 2 + len(plan), len(shown))


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


def _notes(found: Rows, place: Place) -> list[Span]:
    """What stands on the rule above the table."""
    off = sum(1 for each in found.staged.steps.values() if each.status == StepStatus.SKIPPED)
    parts: list[Span] = []
    if found.words.strip():
        parts.append((f"filter: {one_line(found.words, 20)} ({len(found.shown)})", "accent"))
    if place.marked:
        parts.append((f"{len(place.marked)} marked", "marked"))
    if off:
        parts.append((f"{off} off", "dim"))
    return [
        *parts,
        (f"{_count(len(found.staged.after.loads), 'load')} left", "dim"),
        (f"about {time(found.staged)}", "dim"),
    ]


def time(staged: Staged) -> str:
    """The time that the run has before it with the edits."""
    return about(staged.after.left)


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
    now, then = about(staged.before.left), about(staged.after.left)
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
        parts.append(sign + about(Range(abs(effect.time_s), abs(effect.time_s))))
    return ", ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number:,} {noun}s"


def row_at(shown: Body, found: Rows, y: int) -> str | None:
    """The step whose row is on a line of the body; None where there is none."""
    at = y - shown.first_row
    return found.shown[shown.place.top + at] if 0 <= at < shown.n_rows else None


def column_at(table: Sequence[Column], x: int, signs: int) -> str:
    """The name of the column at a cell; "signs" for the marks in front of them."""
    edge = signs
    if x < edge:
        return "signs"
    for column in table:
        edge += column.width + 1
        if x < edge:
            return column.name
    return ""
