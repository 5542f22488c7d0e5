"""The results screen as lines: which panes there are, what is in each, and what a click in one means. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from specdash.core.state import RunState
from specdash.core.status import DONE, StepStatus
from specdash.core.text import one_line
from specdash.ui.tui.lines import Line, fitted, rule
from specdash.ui.tui.panes.advice import strip
from specdash.ui.tui.recommendations import Recommendations
from specdash.ui.tui.results import layout as places
from specdash.ui.tui.results.curve import Quantity, curve_lines, curves_of, predicted_of
from specdash.ui.tui.results.detail import (
    arm_lines,
    choice_finding,
    curve_finding,
    finding_lines,
    pair_lines,
    row_lines,
)
from specdash.ui.tui.results.figures import Book, Row, variant_label
from specdash.ui.tui.results.grid import Frame, Grid, cell_at, frame_of, grid_lines
from specdash.ui.tui.results.heatmap import ALL, arms_of, k_grid, legend, length_grid, pair_grid
from specdash.ui.tui.results.layout import Area, Pane
from specdash.ui.tui.results.measures import number, rate_interval
from specdash.ui.tui.results.samples import sample_lines
from specdash.ui.tui.results.state import State
from specdash.ui.tui.results.table import Layout, filtered, layout_of, sorted_rows, table_lines, widths_of
from specdash.ui.tui.terminal import Glyphs

LEAST = (40, 10)  # below this there is one line


@dataclass(frozen=True, slots=True)
class Drawn:
    """What was drawn, and where: clicks and page keys go by it. `rows` are those of the table, filtered and sorted."""

    lines: tuple[Line, ...] = ()
    state: State = field(default_factory=State)
    rows: tuple[Row, ...] = ()
    key: tuple[object, ...] = ()
    widths: Mapping[str, int] = field(default_factory=dict)
    shape: tuple[object, ...] = ()
    grid: Grid | None = None
    frame: Frame | None = None
    layout: Layout | None = None
    areas: Mapping[Pane, Area] = field(default_factory=dict)
    page: int = 1
    book: Book | None = None


def draw(
    book: Book,
    view: RunState,
    state: State,
    width: int,
    height: int,
    glyphs: Glyphs,
    before: Drawn | None = None,
    advice: Recommendations | None = None,
) -> Drawn:
    """The screen in `state`. `before`: what was drawn last, whose sorted rows are taken if they still hold.

    Without `advice` there are no recommendations and no predicted points.
    """
    top = top_line(book)
    if not book.rows:
        said = "no steps yet" if view.run is None else "this run has no steps"
        lines = [fitted(line, width, glyphs.ellipsis) for line in (top, ((f" {said}", "dim"),))]
        return Drawn(tuple(lines[:height]), state, book=book)
    if width < LEAST[0] or height < LEAST[1]:
        return Drawn((fitted(top, width, glyphs.ellipsis),) * min(1, height), state, book=book)
    key = (book, book.version, state.sorting, state.words)
    if before is not None and before.key == key:
        rows = before.rows
    else:
        rows = tuple(sorted_rows(filtered(list(book.rows.values()), state.words), state.sorting))
    grid = _grid_of(book, view, state)
    above = min(places.advice_rows(height), max(1, len(advice.groups))) if advice is not None else 0
    areas = places.areas(state.view, width, height, len(grid.rows) + 4, above)
    shape = (book, book.shape)
    widths = before.widths if before is not None and before.shape == shape else widths_of(book.rows.values())
    drawing = _Drawing(book, view, state, glyphs, rows, grid, widths, advice or Recommendations())
    placed = {pane: (area, drawing.pane(pane, area)) for pane, area in areas.items()}
    lines = places.compose(placed, height, glyphs)
    front = areas.get(drawing.state.view)
    page = front.height - 2 if front is not None else 1
    return Drawn(
        tuple(lines), drawing.state, rows, key, widths, shape, grid, drawing.frame, drawing.layout, areas, page, book
    )


def _grid_of(book: Book, view: RunState, state: State) -> Grid:
    """The heat map that a state shows."""
    if state.by_length:
        return length_grid(book, view, state.target, state.variant, state.measure)
    if state.by_k:
        return k_grid(book, view, state.pair, state.variant, state.measure)
    return pair_grid(book, view, state.variant, state.axes, state.measure)


def top_line(book: Book) -> Line:
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
        book: Book,
        view: RunState,
        state: State,
        glyphs: Glyphs,
        rows: tuple[Row, ...],
        grid: Grid,
        widths: Mapping[str, int],
        advice: Recommendations,
    ) -> None:
        self.book, self.view, self.state, self.glyphs, self.rows, self.grid = book, view, state, glyphs, rows, grid
        self.widths, self.advice = widths, advice
        self.frame: Frame | None = None
        self.layout: Layout | None = None

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
        return [*lines, *legend(of_pairs=not state.by_k and not state.by_length)]

    def _baseline(self) -> str:
        """The rate without a draft of the target under the cursor."""
        base = arms_of(self.book, self.state.variant).get((self.state.target, None), {}).get(None)
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
            arms = arms_of(self.book, state.variant)
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
        cursor = next((at for at, row in enumerate(self.rows) if row.id == state.step_id), 0)
        if self.rows and state.view == "table" and self.rows[cursor].id != state.step_id:
            self.state = state = state.on(self.rows[cursor])
        self.layout = layout_of(self.widths, len(self.rows), cursor, area.width, area.height - 1)
        words = f"filter: {one_line(state.words, 40)}" if state.words else "filter: -"
        order = f"sort: {state.sorting.column}{' reversed' if state.sorting.is_reversed else ''}"
        of = f"{len(self.rows)} of {len(self.book.rows)}" if state.words else str(len(self.rows))
        lines = [self._rule(f"{of} measurements", f"{order}   {words}", area)]
        if not self.rows:
            return [*lines, ((" no measurement has these words", "dim"),)]
        shown = cursor if state.view == "table" else -1
        return [
            *lines, *table_lines(self.rows, shown, state.sorting, self.layout, self.view, area.width, self.glyphs)
        ]  # fmt: skip

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


def clicked(drawn: Drawn, state: State, x: int, y: int) -> State:
    """The state after a click at `x` and `y` of the screen: a cell or row is chosen, a column's name sorts."""
    pane = next((pane for pane, area in drawn.areas.items() if area.holds(x, y)), None)
    if pane is None or drawn.book is None:
        return state
    area = drawn.areas[pane]
    if pane == "heat" and drawn.grid is not None and drawn.frame is not None:
        found = cell_at(drawn.grid, drawn.frame, x - area.x, y - area.y - 1)
        return state.at(drawn.book, *found) if found is not None else state
    if pane == "table" and drawn.layout is not None:
        if y == area.y + 1:
            column = drawn.layout.column_at(x - area.x)
            return replace(state, sorting=state.sorting.by(column)) if column is not None else state
        number_ = drawn.layout.first + y - area.y - 2
        if 0 <= number_ < len(drawn.rows) and y > area.y + 1:
            return replace(state.on(drawn.rows[number_]), view="table")
    return state


__all__ = ["Drawn", "clicked", "draw", "top_line"]
