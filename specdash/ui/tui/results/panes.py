"""The results screen as lines: which panes there are, what is in each, and what a click in one means. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from specdash.analysis.figures import FiguresCache, StepFigures
from specdash.core.state import RunState
from specdash.core.status import DONE, StepStatus
from specdash.core.text import one_line
from specdash.ui.tui.lines import BLANK, Line, fitted, rule, width_of
from specdash.ui.tui.panes.advice import strip
from specdash.ui.tui.recommendations import Recommendations
from specdash.ui.tui.results.curve import Quantity, curve_lines, curves_of, predicted_of
from specdash.ui.tui.results.detail import (
    arm_lines,
    choice_finding,
    curve_finding,
    finding_lines,
    pair_lines,
    row_lines,
    sample_lines,
)
from specdash.ui.tui.results.heatmap import (
    ALL,
    Frame,
    HeatMap,
    arms_of_variant,
    cell_at,
    frame_of,
    grid_lines,
    k_grid,
    heatmap_legend,
    length_grid,
    number,
    pair_grid,
    rate_interval,
)
from specdash.ui.tui.results.heatmap import variant_label
from specdash.ui.tui.results.state import ResultsView, ViewName
from specdash.ui.tui.results.table import filtered, sorted_rows, results_table, widths_of
from specdash.ui.tui.terminal import Glyphs
from specdash.ui.tui.table import Layout, Position, WindowTable, heading

Pane = Literal["advice", "heat", "detail", "curve", "findings", "table", "samples"]

WIDE = 120  # columns from which panes stand side by side
LOWEST = 18  # lines from which a recommendation has one of them
TALL = 40  # lines from which the table is there as well


@dataclass(frozen=True, slots=True)
class Area:
    """A rectangle of the screen, in cells."""

    x: int
    y: int
    width: int
    height: int

    def holds(self, x: int, y: int) -> bool:
        """Whether a cell lies in it."""
        return self.x <= x < self.x + self.width and self.y <= y < self.y + self.height


def advice_rows(height: int) -> int:
    """How many lines there are for recommendations at most, in a body so high."""
    return 0 if height < LOWEST else 1 if height < TALL else 3


def areas(view: ViewName, width: int, height: int, heat_rows: int, advice: int = 0) -> dict[Pane, Area]:
    """The panes of a view; `heat_rows` is how many lines the heat map would like, `advice` those above everything."""
    if advice and view != "samples":
        rest = areas(view, width, height - advice, heat_rows)
        shifted = {pane: replace(area, y=area.y + advice) for pane, area in rest.items()}
        return {"advice": Area(0, 0, width, advice), **shifted}
    room = height
    if view == "samples":
        return {"samples": Area(0, 0, width, room)}
    if width < WIDE:
        return _narrow(view, width, room, heat_rows)
    left = width * 55 // 100
    right = width - left - 1
    if room >= TALL:
        heat = max(10, min(heat_rows, room // 3))
        table = max(8, room // 3)
        curve = room - heat - table
        return {
            **_beside(("heat", "detail"), 0, left, right, heat),
            **_beside(("curve", "findings"), heat, left, right, curve),
            "table": Area(0, heat + curve, width, table),
        }
    heat = max(9, min(heat_rows, room // 2))
    below = {"table": Area(0, heat, width, max(0, room - heat))} if view == "table" else None
    found: dict[Pane, Area] = _beside(("heat", "detail"), 0, left, right, heat)
    if below is not None:
        return {**found, "table": below["table"]}
    return {**found, **_beside(("curve", "findings"), heat, left, right, max(0, room - heat))}


def _beside(panes: tuple[Pane, Pane], y: int, left: int, right: int, height: int) -> dict[Pane, Area]:
    """Two panes with a line between them."""
    return {panes[0]: Area(0, y, left, height), panes[1]: Area(left + 1, y, right, height)}


def _narrow(view: ViewName, width: int, room: int, heat_rows: int) -> dict[Pane, Area]:
    """One pane and, where there is room, what belongs to its cursor below it."""
    if view == "curve":
        return {"curve": Area(0, 0, width, room)}
    main = max(min(heat_rows, room - 9), 5) if view == "heat" else room - 7
    if main < 5 or main >= room:
        return {view: Area(0, 0, width, room)}
    return {view: Area(0, 0, width, main), "detail": Area(0, main, width, room - main)}


def results_body(placed: Mapping[Pane, tuple[Area, Sequence[Line]]], height: int, glyphs: Glyphs) -> list[Line]:
    """The lines of the screen: panes side by side where they stand side by side."""
    rows: list[Line] = [BLANK] * height
    for area, lines in sorted(placed.values(), key=lambda each: each[0].x):
        for row in range(area.height):
            y = area.y + row
            if y >= height:
                break
            line = fitted(lines[row] if row < len(lines) else BLANK, area.width, glyphs.ellipsis)
            if area.x:
                before = rows[y]
                pad = " " * max(0, area.x - 1 - width_of(before))
                line = (*before, (pad, ""), (glyphs.vertical, "rule"), *line)
            rows[y] = line
    return rows[:height]


LEAST = (40, 10)  # below this there is one line


@dataclass(frozen=True, slots=True)
class ResultsContext:
    """What the screen is drawn from: figures, run, signs, and advice: recommendations and predicted points."""

    book: FiguresCache
    view: RunState
    glyphs: Glyphs
    advice: Recommendations | None = None


@dataclass(frozen=True, slots=True)
class Drawn:
    """What was drawn, and where: clicks and page keys go by it. `rows` are those of the table, filtered and sorted."""

    lines: tuple[Line, ...] = ()
    state: ResultsView = field(default_factory=ResultsView)
    rows: tuple[StepFigures, ...] = ()
    key: tuple[object, ...] = ()
    widths: Mapping[str, int] = field(default_factory=dict)
    labels_of: tuple[object, ...] = ()
    grid: HeatMap | None = None
    frame: Frame | None = None
    table: WindowTable[StepFigures] | None = None
    window: VisibleRows | None = None
    areas: Mapping[Pane, Area] = field(default_factory=dict)
    page: int = 1
    book: FiguresCache | None = None


@dataclass(frozen=True, slots=True)
class VisibleRows:
    """Which part of the table is on the screen."""

    position: Position
    shape: Layout[StepFigures]
    rows: int


def draw(context: ResultsContext, state: ResultsView, width: int, height: int, before: Drawn | None = None) -> Drawn:
    """The screen in `state`. `before`: what was drawn last, whose sorted rows are taken if they still hold."""
    book, view, glyphs, advice = context.book, context.view, context.glyphs, context.advice
    top = top_line(book)
    if not book.rows:
        said = "no steps yet" if view.run is None else "this run has no steps"
        lines = [fitted(line, width, glyphs.ellipsis) for line in (top, ((f" {said}", "dim"),))]
        return Drawn(tuple(lines[:height]), state, book=book)
    if width < LEAST[0] or height < LEAST[1]:
        return Drawn((fitted(top, width, glyphs.ellipsis),) * min(1, height), state, book=book)
    key, labels_of = (book, book.version, state.sorting, state.words), (book, book.shape)
    known = before if before is not None and before.key == key else None
    rows = known.rows if known is not None else tuple(
        sorted_rows(filtered(list(book.rows.values()), state.words), state.sorting)
    )  # fmt: skip
    same_labels = before is not None and before.labels_of == labels_of
    widths = before.widths if before is not None and same_labels else widths_of(book.rows.values())
    table = results_table(rows, widths, view, known.table if known is not None else None)
    grid = _grid_of(book, view, state)
    above = min(advice_rows(height), max(1, len(advice.groups))) if advice is not None else 0
    placed = areas(state.view, width, height, len(grid.rows) + 4, above)
    drawing = _Drawing(context, state, rows, grid, table)
    lines = results_body({pane: (area, drawing.pane(pane, area)) for pane, area in placed.items()}, height, glyphs)
    front = placed.get(drawing.state.view)
    page = front.height - 2 if front is not None else 1
    return Drawn(
        tuple(lines), drawing.state, rows, key, widths, labels_of, grid, drawing.frame, table, drawing.window, placed,
        page, book,
    )  # fmt: skip


def _grid_of(book: FiguresCache, view: RunState, state: ResultsView) -> HeatMap:
    """The heat map that a state shows."""
    if state.by_length:
        return length_grid(book, view, state.target, state.variant, state.measure)
    if state.by_k:
        return k_grid(book, view, state.pair, state.variant, state.measure)
    return pair_grid(book, view, state.variant, state.axes, state.measure)


def top_line(book: FiguresCache) -> Line:
    """How many results there are, on one line."""
    states = Counter(row.found.status for row in book.rows.values())
    noisy = sum(1 for row in book.rows.values() if row.found.status == StepStatus.OK and row.found.verdicts)
    failed = states[StepStatus.FAILED] + states[StepStatus.TIMEOUT] + states[StepStatus.INVALID]
    left = sum(count for status, count in states.items() if status not in DONE)
    counts = f"{states[StepStatus.OK]} ok" + (f" ({noisy} with verdicts)" if noisy else "")
    counts += f"  {failed} failed" if failed else ""
    counts += f"  {states[StepStatus.SKIPPED]} skipped" if states[StepStatus.SKIPPED] else ""
    counts += f"  {left} open" if left else ""
    return (("Results  ", "title"), (counts, ""))


class _Drawing:
    """One drawing of the screen; keeps what the next click needs."""

    def __init__(
        self,
        context: ResultsContext,
        state: ResultsView,
        rows: tuple[StepFigures, ...],
        grid: HeatMap,
        table: WindowTable[StepFigures],
    ) -> None:
        self.book, self.view, self.glyphs = context.book, context.view, context.glyphs
        self.advice = context.advice or Recommendations()
        self.state, self.rows, self.grid, self.table = state, rows, grid, table
        self.frame: Frame | None = None
        self.window: VisibleRows | None = None

    def pane(self, pane: Pane, area: Area) -> list[Line]:
        """The lines of one pane, its rule first; never more than fit."""
        if area.height <= 0:
            return []
        match pane:
            case "advice":
                lines = strip(self.advice, self.state.target, area.height, area.width, self.glyphs)
            case "heat":
                lines = self._heat(area)
            case "detail":
                lines = self._detail(area)
            case "curve":
                lines = self._curve(area)
            case "findings":
                lines = self._findings(area)
            case "table":
                lines = self._table(area)
            case "samples":
                lines = self._samples(area)
        return lines[: area.height]

    def _rule(self, title: str, right: str, area: Area) -> Line:
        fits = fitted(((title, ""),), max(1, area.width - 8), self.glyphs.ellipsis)
        return rule("".join(text for text, _ in fits), right, area.width, self.glyphs.rule)

    def _heat(self, area: Area) -> list[Line]:
        state = self.state
        cursor = state.cursor(self.book)
        self.frame = frame_of(self.grid, cursor, area.width, area.height - 2)
        variant = variant_label(state.variant)
        count = len(state.axes.variants)
        title = f"{one_line(self.grid.title, 80)}   {state.measure}{f'   {one_line(variant, 30)}' if variant else ''}"
        right = f"v: {state.axes.variants.index(state.variant) + 1} of {count}" if count > 1 else self._baseline()
        right = f"computing, {self.book.pending} left" if self.book.pending else right
        lines = [self._rule(title, right, area)]
        lines += grid_lines(self.grid, cursor, self.frame, area.width, self.glyphs)
        return [*lines, *heatmap_legend(of_pairs=not state.by_k and not state.by_length)]

    def _baseline(self) -> str:
        """The rate without a draft of the target under the cursor."""
        base = arms_of_variant(self.book, self.state.variant).get((self.state.target, None), {}).get(None)
        if base is None or base.figures.rate is None:
            return "no baseline"
        ends = rate_interval(base.figures)
        return f"baseline {number(base.figures.rate.mean)}{f' {ends}' if ends else ''} tok/s"

    def _detail(self, area: Area) -> list[Line]:
        state = self.state
        row = state.row(self.book)
        if state.view == "table" and row is None and self.rows:
            row = self.rows[0]
        if row is not None:
            title = f"{one_line(row.step.category, 30)}  {'no draft' if row.step.k is None else f'K={row.step.k}'}"
            lines = row_lines(row, self.view, area.width, self.glyphs, self.advice.measurements.get(row.id))
            return [self._rule(title, "Enter: samples", area), *lines]
        pair = f"{one_line(state.target, 40)} + {one_line(state.draft or 'no draft', 40)}"
        if (state.by_k or state.by_length) and state.view != "table":
            arms = arms_of_variant(self.book, state.variant)
            arm = arms.get((state.target, None) if state.k is None else state.pair, {}).get(state.k)
            title = f"{ALL} categories  {'no draft' if state.k is None else f'K={state.k}'}"
            lines = arm_lines(arm, self.view, self.glyphs) if arm is not None else [((" not planned", "dim"),)]
            return [self._rule(title, "Enter: table", area), *lines]
        lines = pair_lines(self.book, self.view, state.pair, state.variant, self.glyphs)
        return [self._rule(pair, "Enter: by K", area), *lines]

    def _curve(self, area: Area) -> list[Line]:
        state = self.state
        category = state.category if state.by_k or state.view == "table" else None
        predicted = predicted_of(self.advice, state.pair, state.variant, category)
        # A prediction is a rate; over the baseline's it would have no interval that holds.
        quantity: Quantity = "speedup" if state.measure == "speedup" and not predicted else "tok/s"
        curves, baseline = curves_of(self.book, state.pair, state.variant, category, quantity)
        if not curves and quantity == "speedup":
            quantity = "tok/s"
            curves, baseline = curves_of(self.book, state.pair, state.variant, category, quantity)
        pair = f"{one_line(state.target, 40)} + {one_line(state.draft or 'no draft', 40)}"
        chart = curve_lines(curves, baseline, quantity, area.width, area.height - 1, self.glyphs, predicted)
        return [self._rule(f"{pair}   {quantity} by K", "", area), *chart]

    def _findings(self, area: Area) -> list[Line]:
        lines = finding_lines(self.book, self.view, self.state.pair, self.state.variant, area.width)
        predicted = curve_finding(self.advice, self.state.pair, self.state.variant, area.width)
        chosen = choice_finding(self.book, self.advice, self.state.pair, self.state.variant, area.width)
        lines = [*chosen, *predicted, *lines] if self.book.rows else lines
        return [self._rule("Findings and failures", "", area), *_cut(lines, area.height - 1)]

    def _table(self, area: Area) -> list[Line]:
        state = self.state
        position = self.table.settled(Position(state.step_id), max(0, area.height - 2))
        if state.view == "table" and position.cursor not in (state.step_id, None):
            self.state = state = state.on(self.table.row(position.cursor or ""))
        shape = self.table.layout(area.width - 1)
        self.window = VisibleRows(position, shape, max(0, area.height - 2))
        words = f"filter: {one_line(state.words, 40)}" if state.words else "filter: -"
        order = f"sort: {state.sorting.column}{' reversed' if state.sorting.is_reversed else ''}"
        of = f"{len(self.rows)} of {len(self.book.rows)}" if state.words else str(len(self.rows))
        lines = [self._rule(f"{of} measurements", f"{order}   {words}", area)]
        if not self.rows:
            return [*lines, ((" no measurement has these words", "dim"),)]
        shown = position if state.view == "table" else replace(position, cursor=None)
        rows = self.table.lines(shown, shape, self.window.rows, shape.width + 1, self.glyphs)
        return [*lines, heading(shape, self.glyphs, state.sorting), *rows]

    def _samples(self, area: Area) -> list[Line]:
        row = self.state.row(self.book)
        if row is None:
            return [((" this measurement is no longer planned", "dim"),)]
        lines = sample_lines(row, self.view, area.width, self.glyphs)
        last = max(0, len(lines) - area.height)
        offset = min(self.state.offset, last)
        self.state = replace(self.state, offset=offset)
        shown = lines[offset : offset + area.height]
        if last and area.height > 3:
            keys = "up, down; left, right: other measurements; Esc back"
            where = f"{offset + 1}-{offset + len(shown) - 1} of {len(lines)}   {keys}"
            shown[-1] = ((f" {where}", "dim"),)
        return shown


def _cut(lines: Sequence[Line], height: int) -> list[Line]:
    """At most `height` lines; how many more there are stands in the last one."""
    if len(lines) <= height or height <= 0:
        return list(lines[: max(0, height)])
    return [*lines[: height - 1], ((f" and {len(lines) - height + 1} more lines", "dim"),)]


def clicked(drawn: Drawn, state: ResultsView, x: int, y: int) -> ResultsView:
    """The state after a click at `x` and `y` of the screen: a cell or row is chosen, a column's name sorts."""
    pane = next((pane for pane, area in drawn.areas.items() if area.holds(x, y)), None)
    if pane is None or drawn.book is None:
        return state
    area = drawn.areas[pane]
    if pane == "heat" and drawn.grid is not None and drawn.frame is not None:
        found = cell_at(drawn.grid, drawn.frame, x - area.x, y - area.y - 1)
        return state.at(drawn.book, *found) if found is not None else state
    if pane == "table" and drawn.table is not None and drawn.window is not None:
        if y == area.y + 1:
            column = drawn.window.shape.column_at(x - area.x)
            return replace(state, sorting=state.sorting.by(column)) if column is not None else state
        key = drawn.table.key_at(drawn.window.position, y - area.y - 2, drawn.window.rows)
        return replace(state.on(drawn.table.row(key)), view="table") if key is not None else state
    return state
