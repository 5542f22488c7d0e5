"""The table of the queue editor: only the rows that can be seen are made, however long the queue is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from specdash.core.axes import COLUMNS, VARYING
from specdash.core.plan import LoadKey
from specdash.core.status import StepStatus
from specdash.core.steps import StepState
from specdash.core.text import one_line
from specdash.ui.tui.lines import Line, Span
from specdash.ui.tui.panes.pane import about, cell, shown
from specdash.ui.tui.queue_editor.staging import Staged, change_of, rows_of
from specdash.ui.tui.terminal import Glyphs
from specdash.ui.tui.terminal.theme import StyleName

SIGNS = 2  # cells for the mark and the cursor
LABEL_LEAST = 7
NOTE_FROM = 110  # columns of the terminal from which state and note stand apart
DONE_WORDS = {"ok": "done", StepStatus.SKIPPED: "skipped"}


class Column(NamedTuple):
    """A column: its name, heading, cells, and whether it stands on the right."""

    name: str
    heading: str
    width: int
    right: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where one is: the step under the cursor, the first row of the window, the marked steps and the filter."""

    cursor: str | None = None
    top: int = 0
    marked: frozenset[str] = frozenset()
    words: str = ""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a table: all of them and those that the filter leaves, with the number of each step.

    `starts` maps the first step of each load that is still to be started to its load.
    """

    staged: Staged
    words: str
    shown: tuple[str, ...]
    at: Mapping[str, int]
    number: Mapping[str, int]
    starts: Mapping[str, LoadKey]
    widths: Mapping[str, int]
    varying: frozenset[str]

    def find(self, step_id: str) -> StepState | None:
        """A step as it would be, or as it is where it would be removed."""
        return self.staged.steps.get(step_id) or self.staged.base.steps.get(step_id)


def rows(staged: Staged, words: str) -> Rows:
    """What there is to show of a queue; costly for long ones, so it is kept while both are the same."""
    every = rows_of(staged)
    shown = every
    if words.strip():
        wanted = words.casefold().split()
        shown = tuple(each for each in every if all(word in each.casefold() for word in wanted))
    labels: dict[str, set[object]] = {}
    for found in (*staged.base.steps.values(), *staged.steps.values()):
        for name in VARYING:
            labels.setdefault(name, set()).add(found.step.value(name))
        labels.setdefault("draft", set()).add(found.step.drafter)
    widths = {
        name: max((len(one_line(str(each), 60)) if each is not None else 6 for each in values), default=1)
        for name, values in labels.items()
    }
    preview = staged.preview
    most = max((preview.iterations(each) or 0 for each in staged.steps), default=0)
    widths["reps"] = min(9, max(4, 2 * len(str(most)) + 1))
    return Rows(
        staged,
        words,
        shown,
        {step_id: at for at, step_id in enumerate(shown)},
        {step_id: at for at, step_id in enumerate(every, start=1)},
        {load.steps[0].id: load.key for load in staged.after.loads},
        widths,
        frozenset(name for name, values in labels.items() if len(values) > 1),
    )


def settled(found: Rows, place: Place, height: int) -> Place:
    """The place with a cursor on a row that exists, in a window of `height` rows that shows it."""
    marked = frozenset(each for each in place.marked if each in found.number)
    if not found.shown:
        return replace(place, cursor=None, top=0, marked=marked)
    cursor = place.cursor if place.cursor is not None and place.cursor in found.at else _first(found)
    at = found.at[cursor]
    top = min(max(place.top, at - height + 1), at)
    return Place(cursor, max(0, min(top, len(found.shown) - height)), marked, place.words)


def _first(found: Rows) -> str:
    """Where the cursor begins: at what can be edited first, else at the beginning."""
    steps = found.staged.steps
    return next(
        (each for each in found.shown if each in steps and steps[each].status == StepStatus.OPEN), found.shown[0]
    )


def moved(found: Rows, place: Place, by: int) -> Place:
    """The place `by` rows further down, or as far as it goes."""
    if not found.shown:
        return place
    at = found.at.get(place.cursor or "", 0)
    return replace(place, cursor=found.shown[max(0, min(len(found.shown) - 1, at + by))])


def chosen(found: Rows, place: Place) -> tuple[str, ...]:
    """The marked steps in the order of the queue, else the one under the cursor."""
    if place.marked:
        return tuple(each for each in found.number if each in place.marked)
    return (place.cursor,) if place.cursor is not None else ()


def columns(found: Rows, width: int) -> tuple[Column, ...]:
    """The columns that there is room for; what all steps have in common goes first, then what matters least."""
    digits = max(3, len(str(len(found.number))))
    apart = width >= NOTE_FROM
    extra = [
        Column(
            axis.name,
            axis.heading,
            min(axis.width, max(len(axis.heading), found.widths.get(axis.name, 1))),
            axis.kind is not str,
        )
        for axis in COLUMNS
        if axis.name in found.varying
    ]
    numbers = [
        Column("reps", "reps", found.widths["reps"], True),
        Column("load", "load", 6, True),
        Column("est", "est", 6, True),
    ]
    labels = ["target", "draft"]
    state = 9 if apart else 13
    drop = [*reversed([axis.name for axis in COLUMNS]), "est", "target", "draft", "load", "reps"]
    category = min(12, max(LABEL_LEAST, found.widths.get("category", 1)))
    while True:
        fixed = SIGNS + digits + 1 + 2 + 1 + 3 + 1 + category + 1 + sum(each.width + 1 for each in (*extra, *numbers))
        room = width - fixed - state - (1 + 12 if apart else 0)
        if room >= len(labels) * (LABEL_LEAST + 1) or not drop:
            break
        name = drop.pop(0)
        extra = [each for each in extra if each.name != name]
        numbers = [each for each in numbers if each.name != name]
        labels = [each for each in labels if each != name]
    shares = _shared({name: found.widths.get(name, 1) for name in labels}, room - len(labels))
    rest = max(1, width - fixed - sum(shares.values()) - len(labels))
    table = [Column("number", "#", digits, True), Column("on", "on", 2)]
    table += [Column(name, name, shares[name]) for name in labels]
    table += [Column("k", "K", 3, True), Column("category", "content", category), *extra, *numbers]
    if apart:
        return (*table, Column("state", "state", state), Column("note", "note", max(1, rest - state - 1)))
    return (*table, Column("both", "state", rest))


def _shared(wanted: Mapping[str, int], room: int) -> dict[str, int]:
    """Widths of labels in `room` cells: as wide as they want to be, the widest cut first."""
    widths = {name: max(LABEL_LEAST, size) for name, size in wanted.items()}
    while widths and sum(widths.values()) > room and max(widths.values()) > 3:
        widths[max(widths, key=lambda name: widths[name])] -= 1
    return widths


def heading(table: Sequence[Column], glyphs: Glyphs) -> Line:
    """The names of the columns."""
    texts = [cell(column.heading, column.width, glyphs, right=column.right) for column in table]
    return ((" " * SIGNS + " ".join(texts), "dim"),)


def row(found: Rows, step_id: str, table: Sequence[Column], place: Place, width: int, glyphs: Glyphs) -> Line:
    """One step; the row under the cursor has one style throughout, and a sign of its own."""
    here, is_marked = step_id == place.cursor, step_id in place.marked
    values = _values(found, step_id)
    signs = (glyphs.marked if is_marked else " ") + (glyphs.cursor if here else " ")
    spans: list[Span] = [(signs, "marked")]
    for index, column in enumerate(table):
        text, style = values[column.name]
        blank = " " if index < len(table) - 1 else ""
        text = cell(text, column.width, glyphs, right=column.right) + blank
        if spans[-1][1] == style or not text.strip():
            spans[-1] = spans[-1][0] + text, spans[-1][1]
        else:
            spans.append((text, style))
    if here:
        return ((cell("".join(text for text, _ in spans), width, glyphs), "cursor"),)
    return tuple(spans)


def _values(found: Rows, step_id: str) -> dict[str, Span]:
    """The texts and styles of a row by column."""
    each = found.find(step_id)
    assert each is not None
    staged, step = found.staged, each.step
    is_gone = step_id not in staged.steps
    change = change_of(staged, step_id)
    style: StyleName = "dim" if is_gone or each.is_done else "accent" if change is not None else ""
    wanted, have = staged.preview.iterations(step_id), len(each.good)
    load = found.starts.get(step_id)
    start = staged.after.starts.get(load) if load is not None else None
    state = state_of(staged, each, is_gone)
    changed: Span | None = (change, "accent") if change is not None else None
    copy = f" ({step.copy + 1})" if step.copy else ""
    return {
        "number": (str(found.number[step_id]), "dim"),
        "on": ("" if is_gone or each.status == StepStatus.SKIPPED else "x", style),
        "target": (one_line(step.target, 60), style),
        "draft": (one_line(step.drafter, 60) if step.drafter is not None else "(none)", style),
        "k": (str(step.k) if step.k is not None else "-", style),
        "category": (one_line(step.category, 60) + copy, style),
        **{axis.name: (shown(step, axis), style) for axis in COLUMNS},
        "reps": (f"{have}/{wanted}" if have else str(wanted) if wanted is not None else "?", style),
        "load": (about(start) if start is not None else "?" if load is not None else "-", style),
        "est": (about(staged.after.steps.get(step_id)), style),
        "state": state,
        "note": changed or _note(each),
        "both": changed or state,
    }


def state_of(staged: Staged, each: StepState, is_gone: bool) -> Span:
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
