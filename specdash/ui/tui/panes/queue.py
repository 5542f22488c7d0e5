"""The queue as a table of the steps that can be seen, and everything that is known of one step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from specdash.analysis.figures import Figures
from specdash.core import axes
from specdash.core.acceptance import proven, share_of
from specdash.core.axes import Axis
from specdash.core.measure import DESCRIPTION, Sample, Verdict
from specdash.core.secrets import shell_line
from specdash.core.status import SampleStatus, StepStatus
from specdash.core.step_state import StepState
from specdash.core.text import human_seconds, one_line
from specdash.ui.tui.lines import Line, Span, fitted, text_of
from specdash.ui.tui.panes.advice import measurement_remarks
from specdash.ui.tui.panes.pane import (
    PaintContext,
    Pane,
    axis_text,
    note,
    paragraph,
    short_acceptance,
    short_range,
    short_rate,
    short_ratio,
    short_time,
    speed_style,
)
from specdash.ui.tui.table import Column, Position, WindowTable, heading
from specdash.ui.tui.terminal.theme import StyleName

LEAST_STAGE = 12  # cells that say something of a stage of the plan
LEAST_NAME = 7  # cells of the name of a model or a category
WIDEST_EXTRA = 8  # cells of a column of an axis
_STATE_STYLE: dict[str, StyleName] = {"ok": "good", "invalid": "warn", "failed": "bad", "timeout": "bad"}


@dataclass(frozen=True, slots=True)
class QueueRow:
    """What the cells of a step are made from; `number` counts from 1."""

    context: PaintContext
    found: StepState
    number: int

    @property
    def measured(self) -> Figures:
        """The figures of the step's samples."""
        return self.context.figures.measured(self.found)

    def quiet(self, text: str) -> Span:
        """A cell without a style of its own."""
        return text, "dim" if self.found.status == StepStatus.SKIPPED else ""

    def label(self, text: str | None, none: str = "-") -> Span:
        """A cell with a name from outside."""
        return self.quiet(one_line(text, 60) if text is not None else none)


def _draft(row: QueueRow) -> Span:
    drafter = row.found.step.drafter
    return row.label(drafter) if drafter is not None else ("none", "dim")


def _category(row: QueueRow) -> Span:
    step = row.found.step
    return row.quiet(one_line(step.category, 60) + (f" ({step.copy + 1})" if step.copy else ""))


def _factor(row: QueueRow) -> Span:
    known = row.measured.rate_tok_s is not None
    factor = row.context.figures.factor(row.context.feed.view, row.found) if known else None
    return short_ratio(factor), speed_style(factor)


def _left(row: QueueRow) -> Span:
    ahead = row.context.outlook
    return short_range(
        ahead.steps.get(row.found.step.id) if ahead is not None and not row.found.is_done else None
    ), "dim"


def _whole(value: int | None) -> str:
    return str(value) if value is not None else "-"


def _of_axis(axis: Axis, rank: float) -> Column[QueueRow]:
    """The column of an axis in which steps differ."""

    def cell(row: QueueRow) -> Span:
        return row.quiet(axis_text(row.found.step, axis, "-"))

    return Column(axis.name, axis.heading, cell, min(WIDEST_EXTRA, axis.width), rank=rank)


COLUMNS: tuple[Column[QueueRow], ...] = (
    Column("number", "#", lambda row: row.quiet(str(row.number)), 3, right=True),
    Column("target", "target", lambda row: row.label(row.found.step.target), 10, rank=6, shares=True),
    Column("draft", "draft", _draft, 8, rank=3, shares=True),
    Column("k", "K", lambda row: row.quiet(_whole(row.found.step.k)), 4, right=True),
    Column("category", "content", _category, LEAST_NAME, shares=True),
    *(_of_axis(axis, 8 + number / 10) for number, axis in enumerate(axes.COLUMNS)),
    Column("state", "state", lambda row: step_state_span(row.context, row.found), 11),
    Column("rate", "tok/s", lambda row: row.quiet(short_rate(row.measured.rate_tok_s)), 8, right=True, rank=2),
    Column("factor", "x", _factor, 6, right=True, rank=4),
    Column("prefill", "prefill", lambda row: row.quiet(short_rate(row.measured.prefill_tok_s)), 8, right=True, rank=12),
    Column("ttft", "ttft", lambda row: row.quiet(short_time(row.measured.ttft_s)), 6, right=True, rank=11),
    Column("total", "total", lambda row: row.quiet(short_time(row.measured.total_time_s)), 6, right=True, rank=5),
    Column("accepted", "acc", lambda row: row.quiet(short_acceptance(row.measured)), 5, right=True, rank=10),
    Column("left", "est", _left, 6, right=True, rank=7),
)
WHERE_VARYING = frozenset(axis.name for axis in axes.COLUMNS)  # they say nothing where all steps have the same


def queue_table(context: PaintContext) -> WindowTable[QueueRow]:
    """The table of the queue; what all steps have in common has no column."""
    view = context.feed.view
    overview = context.figures.overview(view)

    def sized(column: Column[QueueRow]) -> Column[QueueRow]:
        longest = overview.widths.get(column.name, 1)
        if column.name == "number":
            return replace(column, least=max(column.least, len(str(len(overview.order)))))
        if column.name in WHERE_VARYING:
            return replace(column, least=min(column.least, max(len(column.heading), longest)))
        return replace(column, most=max(LEAST_NAME, longest)) if column.shares else column

    return WindowTable(
        tuple(sized(each) for each in COLUMNS if each.name not in WHERE_VARYING - overview.varying),
        overview.order,
        lambda key: QueueRow(context, view.steps[key], overview.place[key] + 1),
        signs=2,
        places=overview.place,
    )


def running(context: PaintContext) -> str | None:
    """The step that is at work, else the one that was last."""
    view, token = context.feed.view, context.feed.live.token
    for step_id in (token.step if token is not None else None, view.current_step):
        if step_id is not None and step_id in view.steps:
            return step_id
    return None


def queue(context: PaintContext, position: Position, width: int, rows: int) -> Pane:
    """The heading and the rows of the window; `position` is settled for `rows - 1` rows."""
    view, feed, glyphs = context.feed.view, context.feed, context.glyphs
    overview = context.figures.overview(view)
    counts = overview.counts
    left = counts.get(StepStatus.OPEN, 0) + counts.get(StepStatus.RUNNING, 0)
    parts: list[Span] = []
    if view.paused:
        parts.append(("PAUSED", "warn"))
    if view.stopping:
        parts.append(("STOPPING", "warn"))
    here = overview.place.get(position.cursor or "", -1) + 1
    where = (
        "follows the run"
        if position.follows and feed.is_live
        else f"row {here} of {len(overview.order)}" + (", esc follows" if feed.is_live else "")
    )
    parts.append((where, "dim"))
    title = f"Queue  {left} left"
    room = width - len(title) - 9 - sum(len(text) + 2 for text, _ in parts)
    if view.replans and view.finished is None and room >= LEAST_STAGE:
        stage = one_line(view.replans[-1].stage or view.replans[-1].reason, 60)
        parts.append((text_of(fitted(((stage, "accent"),), room, glyphs.ellipsis)), "accent"))
    table = queue_table(context)
    shape = table.layout(width)
    lines = [heading(shape, glyphs)] if rows > 1 else []
    active = running(context) if feed.is_live else None
    lines += table.lines(position, shape, rows - len(lines), width, glyphs,
                         lambda key, cursor: cursor + (glyphs.marked if key == active else " "))  # fmt: skip
    if not overview.order and rows > 1:
        lines.append(((" no step is known yet", "dim"),))
    return Pane(title, note(parts, width - len(title) - 9), tuple(lines))


def step_state_span(context: PaintContext, found: StepState) -> Span:
    """A step's state in words."""
    if found.status == StepStatus.OPEN:
        return "queued", "dim"
    if found.status == StepStatus.RUNNING:
        wanted = context.feed.view.iterations(found.step.id)
        word = "RUN" if context.feed.is_live else "was at"
        return f"{word} {len(found.good)}/{wanted if wanted is not None else '?'}", "accent"
    if found.status == StepStatus.SKIPPED:
        return ("skip (you)" if found.by_user else "skip"), "dim"
    if found.status == StepStatus.OK:
        return ("ok noisy", "warn") if "noisy" in found.verdicts else ("ok", "good")
    return one_line(found.status, 11).upper(), _STATE_STYLE.get(found.status, "warn")


_HEADING = (
    f" {'sample':<7}{'tok/s':>9}{'prefill':>9}{'ttft':>7}{'total':>7}{'acc':>6}{'tokens':>8}{'K seen':>8}  prompt"
)
_VERDICTS = frozenset(verdict.value for verdict in Verdict)


def details(context: PaintContext, found: StepState, width: int) -> list[Line]:
    """The step, its samples, what was found against it with what to do, its error, and its server's command line."""
    return list(_details(context, found, max(20, width)))


def _details(context: PaintContext, found: StepState, width: int) -> Iterator[Line]:
    view, mine = context.feed.view, context.figures.measured(found)
    state, style = step_state_span(context, found)
    yield from paragraph(one_line(found.step.id, 600), width, "title")
    again = f", {found.taken_again} taken again" if found.taken_again else ""
    yield ((f" {state}", style), (f"   {mine.n} valid of {len(found.samples)} samples{again}", ""))
    sign = "+-" if context.glyphs.is_ascii else "±"
    spread = f" {sign} {short_rate(mine.spread_tok_s)}" if mine.spread_tok_s is not None else ""
    factor = short_ratio(context.figures.factor(view, found))
    speed = f" {short_rate(mine.rate_tok_s)}{spread} tok/s   {factor} times its baseline"
    draft = f"   acceptance {short_acceptance(mine)}   tokens/pass {short_ratio(mine.facts.tokens_per_step)}"
    yield ((speed + draft, ""),)
    prefill, first, total = short_rate(mine.prefill_tok_s), short_time(mine.ttft_s), short_time(mine.total_time_s)
    yield ((f" whole answer {total}   first token {first}   prefill {prefill} tok/s", ""),)
    if found.error is not None:
        yield ()
        yield from paragraph(one_line(found.error, 2000), width, "bad")
    entry = context.advice.measurements.get(found.step.id)
    for name, text, style in measurement_remarks(entry):
        yield from paragraph(f"{name}: {text}", width, style)
    for verdict in found.verdicts:
        yield ()
        yield ((f" {one_line(verdict, 60)}", "warn"),)
        if verdict in _VERDICTS:
            yield from paragraph(DESCRIPTION[Verdict(verdict)], width, "")
    for detail in found.details:
        yield from paragraph(one_line(detail, 1000), width, "dim")
    if found.samples:
        yield ()
        yield ((_HEADING, "dim"),)
        for sample in proven(found.samples):
            yield _sample(sample)
            if sample.reasons:
                yield from paragraph(", ".join(one_line(each, 300) for each in sample.reasons), width, "warn", 8)
    load = view.loads.get(found.load or "")
    if load is not None:
        yield ()
        took = f", loaded in {human_seconds(load.load_time_s)}" if load.load_time_s is not None else ""
        yield (
            (f" load {one_line(load.id, 20)}: {one_line(load.state, 20)}{took}, {one_line(load.log, 100)}", "title"),
        )
        for said in (load.error, load.hint):
            if said is not None:
                yield from paragraph(one_line(said, 1000), width, "bad")
        yield from paragraph(one_line(shell_line(load.argv), 8000), width, "dim")


def _sample(sample: Sample) -> Line:
    tokens = str(sample.generated_tokens) if sample.generated_tokens is not None else "-"
    seen = str(sample.k_seen) if sample.k_seen is not None else "-"
    first = f" {f'#{sample.block + 1}':<7}{short_rate(sample.decode_tok_s):>9}{short_rate(sample.prefill_tok_s):>9}"
    times = f"{short_time(sample.ttft_s):>7}{short_time(sample.total_time_s):>7}"
    text = f"{first}{times}{short_ratio(share_of(sample)):>6}{tokens:>8}{seen:>8}"
    return (text, "" if sample.status == SampleStatus.OK else "warn"), (f"  {one_line(sample.prompt_id, 40)}", "dim")
