"""The queue as a table of the rows that can be seen. What is drawn depends on the window alone, never on its length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from specdash.core.axes import COLUMNS
from specdash.core.status import StepStatus
from specdash.core.steps import StepState
from specdash.core.text import one_line
from specdash.ui.tui.lines import Line, Span, fitted, text_of
from specdash.ui.tui.panes.pane import Look, Pane, about, accepted, cell, note, rate, ratio, shown, speed_style, time
from specdash.ui.tui.terminal.theme import StyleName

MARK = 2  # cells for the signs of the running step and of the cursor
LABELS = (("target", 10), ("draft", 8), ("category", 7))  # with the width that each has at least
WIDEST_EXTRA = 8  # cells of a column of an axis
LEAST_STAGE = 12  # cells that say something of a stage of the plan
_STATE_STYLE: dict[str, StyleName] = {"ok": "good", "invalid": "warn", "failed": "bad", "timeout": "bad"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where one is in the queue: the step under the cursor and the first row. `follows`: both go with the run."""

    cursor: str | None = None
    top: int = 0
    follows: bool = True


class Column(NamedTuple):
    """A column of the table: its name, heading, cells, and whether it stands on the right."""

    name: str
    heading: str
    width: int
    right: bool


def settled(look: Look, place: Place, rows: int) -> Place:
    """The place with a cursor on a step that exists, and a window of `rows` rows in which it can be seen."""
    overview = look.figures.overview(look.feed.view)
    if not overview.order:
        return replace(place, cursor=None, top=0)
    cursor = place.cursor if place.cursor in overview.place else None
    if place.follows or cursor is None:
        cursor = running(look) or cursor or overview.order[0]
    at = overview.place[cursor]
    last = max(0, len(overview.order) - rows)
    # Where the run is followed, what comes next is worth more room than what is done.
    top = at - max(0, rows // 3) if place.follows else min(max(place.top, at - rows + 1), at)
    return Place(cursor, max(0, min(top, last)), place.follows)


def moved(look: Look, place: Place, by: int) -> Place:
    """The place `by` steps further down, or as far as it goes."""
    overview = look.figures.overview(look.feed.view)
    if not overview.order:
        return place
    at = overview.place.get(place.cursor or "", 0)
    target = max(0, min(len(overview.order) - 1, at + by))
    return replace(place, cursor=overview.order[target], follows=False)


def running(look: Look) -> str | None:
    """The step that is at work, else the one that was last."""
    view, token = look.feed.view, look.feed.live.token
    for step_id in (token.step if token is not None else None, view.current_step):
        if step_id is not None and step_id in view.steps:
            return step_id
    return None


def queue(look: Look, place: Place, width: int, rows: int) -> Pane:
    """The heading and the rows of the window; `place` is settled for `rows - 1` rows."""
    view = look.feed.view
    overview = look.figures.overview(view)
    counts = overview.counts
    left = counts.get(StepStatus.OPEN, 0) + counts.get(StepStatus.RUNNING, 0)
    parts: list[Span] = []
    if view.paused:
        parts.append(("PAUSED", "warn"))
    if view.stopping:
        parts.append(("STOPPING", "warn"))
    here = overview.place.get(place.cursor or "", -1) + 1
    where = (
        "follows the run"
        if place.follows and look.feed.is_live
        else f"row {here} of {len(overview.order)}" + (", esc follows" if look.feed.is_live else "")
    )
    parts.append((where, "dim"))
    title = f"Queue  {left} left"
    room = width - len(title) - 9 - sum(len(text) + 2 for text, _ in parts)
    if view.replans and view.finished is None and room >= LEAST_STAGE:
        stage = one_line(view.replans[-1].stage or view.replans[-1].reason, 60)
        parts.append((text_of(fitted(((stage, "accent"),), room, look.glyphs.ellipsis)), "accent"))
    table = columns(look, width)
    lines = [heading(table, look)] if rows > 1 else []
    shown = range(place.top, min(place.top + rows - len(lines), len(overview.order)))
    lines += [row(look, view.steps[overview.order[at]], at + 1, table, place, width) for at in shown]
    if not overview.order and rows > 1:
        lines.append(((" no step is known yet", "dim"),))
    return Pane(title, note(parts, width - len(title) - 9), tuple(lines))


def columns(look: Look, width: int) -> tuple[Column, ...]:
    """The columns that there is room for; what all steps have in common is left out, then what matters least."""
    overview = look.figures.overview(look.feed.view)
    numbers = [
        Column("k", "K", 4, True),
        Column("state", "state", 11, False),
        Column("rate", "tok/s", 8, True),
        Column("factor", "x", 6, True),
        Column("prefill", "prefill", 8, True),
        Column("ttft", "ttft", 6, True),
        Column("total", "total", 6, True),
        Column("accepted", "acc", 5, True),
        Column("left", "est", 6, True),
    ]
    digits = max(3, len(str(len(overview.order))))
    extra = [
        Column(
            axis.name,
            axis.heading,
            min(WIDEST_EXTRA, axis.width, max(len(axis.heading), overview.widths.get(axis.name, 1))),
            False,
        )
        for axis in COLUMNS
        if axis.name in overview.varying
    ]
    labels = [name for name, _ in LABELS]
    drop = [
        "prefill",
        "ttft",
        "accepted",
        *reversed([axis.name for axis in COLUMNS]),
        "left",
        "target",
        "total",
        "factor",
        "draft",
        "rate",
    ]
    while True:
        fixed = MARK + digits + sum(column.width + 1 for column in (*extra, *numbers))
        least = sum(width_ + 1 for name, width_ in LABELS if name in labels)
        if fixed + least <= width or not drop:
            break
        name = drop.pop(0)
        extra = [column for column in extra if column.name != name]
        numbers = [column for column in numbers if column.name != name]
        labels = [label for label in labels if label != name]
    shared = _shared({name: overview.widths.get(name, 1) for name in labels}, width - fixed - len(labels))
    found = [Column(name, name if name != "category" else "content", shared[name], False) for name in labels]
    k, rest = numbers[:1], numbers[1:]
    category = [column for column in found if column.name == "category"]
    models = [column for column in found if column.name != "category"]
    return (Column("number", "#", digits, True), *models, *k, *category, *extra, *rest)


def _shared(wanted: dict[str, int], room: int) -> dict[str, int]:
    """Widths of labels in `room` cells: as wide as they want to be, the widest cut first."""
    widths = {name: max(7, size) for name, size in wanted.items()}
    while widths and sum(widths.values()) > room and max(widths.values()) > 3:
        widest = max(widths, key=lambda name: widths[name])
        widths[widest] -= 1
    return widths


def heading(table: Sequence[Column], look: Look) -> Line:
    """The names of the columns."""
    texts = [cell(column.heading, column.width, look.glyphs, right=column.right) for column in table]
    return ((" " * MARK + " ".join(texts), "dim"),)


def row(look: Look, found: StepState, number: int, table: Sequence[Column], place: Place, width: int) -> Line:
    """One step. The row of the cursor has one style throughout, and a sign of its own."""
    here = found.step.id == place.cursor
    active = found.step.id == running(look)
    sign = look.glyphs.cursor if here else " "
    mark = look.glyphs.marked if active and look.feed.is_live else " "
    values = _values(look, found, number)
    spans: list[Span] = [(sign + mark, "marked")]
    for index, column in enumerate(table):
        text, style = values[column.name]
        spans.append((cell(text, column.width, look.glyphs, right=column.right), style))
        if index < len(table) - 1:
            spans.append((" ", ""))
    if here:
        text = "".join(text for text, _ in spans)
        return ((cell(text, width, look.glyphs), "cursor"),)
    return _joined(spans)


def _joined(spans: Sequence[Span]) -> Line:
    """Neighbours of one style as one span: each change of style costs bytes; blanks take the style before them."""
    line: list[Span] = []
    for text, style in spans:
        if line and (line[-1][1] == style or not text.strip()):
            line[-1] = (line[-1][0] + text, line[-1][1])
        else:
            line.append((text, style))
    return tuple(line)


def state_of(look: Look, found: StepState) -> Span:
    """A step's state in words."""
    if found.status == StepStatus.OPEN:
        return "queued", "dim"
    if found.status == StepStatus.RUNNING:
        wanted = look.feed.view.iterations(found.step.id)
        word = "RUN" if look.feed.is_live else "was at"
        return f"{word} {len(found.good)}/{wanted if wanted is not None else '?'}", "accent"
    if found.status == StepStatus.SKIPPED:
        return ("skip (you)" if found.by_user else "skip"), "dim"
    if found.status == StepStatus.OK:
        return ("ok noisy", "warn") if "noisy" in found.verdicts else ("ok", "good")
    return one_line(found.status, 11).upper(), _STATE_STYLE.get(found.status, "warn")


def _values(look: Look, found: StepState, number: int) -> dict[str, Span]:
    step = found.step
    mine = look.figures.measured(found)
    factor = look.figures.factor(look.feed.view, found) if mine.rate_tok_s is not None else None
    quiet: StyleName = "dim" if found.status == StepStatus.SKIPPED else ""
    ahead = look.outlook.steps.get(step.id) if look.outlook is not None and not found.is_done else None
    copy = f" ({step.copy + 1})" if step.copy else ""
    return {
        "number": (str(number), quiet),
        "target": (one_line(step.target, 60), quiet),
        "draft": (one_line(step.drafter, 60) if step.drafter is not None else "none", quiet if step.drafter else "dim"),
        "k": (str(step.k) if step.k is not None else "-", quiet),
        "category": (one_line(step.category, 60) + copy, quiet),
        **{axis.name: (shown(step, axis, "-"), quiet) for axis in COLUMNS},
        "state": state_of(look, found),
        "rate": (rate(mine.rate_tok_s), quiet),
        "factor": (ratio(factor), speed_style(factor)),
        "prefill": (rate(mine.prefill_tok_s), quiet),
        "ttft": (time(mine.ttft_s), quiet),
        "total": (time(mine.total_time_s), quiet),
        "accepted": (accepted(mine), quiet),
        "left": (about(ahead), "dim"),
    }
