"""The heat maps: which measures cells show, what stands in each cell, and the window that follows a cursor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from rich.cells import cell_len

from specdash.analysis.figures import ArmFigures, Figures, FiguresCache, StepFigures
from specdash.analysis.stats import Speedup
from specdash.core.axes import VARIANT, Values, pick, value_words
from specdash.core.methods import BASELINE, is_draftless
from specdash.core.plan import Step
from specdash.core.state import LoadState, RunState
from specdash.core.status import StepStatus
from specdash.core.step_state import StepState
from specdash.core.text import human_bytes, markdown_cell, one_line
from specdash.ui.tui.lines import Line, Span, first_line_shown, fitted
from specdash.ui.tui.terminal import Glyphs
from specdash.ui.tui.terminal.theme import StyleName
from specdash.ui.tui.table import pad_line

ALL = "all"
NO_DRAFT = "no draft"
STYLES: Mapping[str, StyleName] = {"+": "faster", "-": "slower", "=": "", "?": "", " ": ""}
WORD_STYLES: Mapping[str, StyleName] = {"FAIL": "bad", "TIMEOUT": "bad", "INVALID": "bad", "RUN": "accent"}
MARKS = 2  # cells for "*" and "!"
ROW_LABEL = (6, 18)  # least and most cells
COLUMN_LABEL = 14  # most cells
PARAMETERS = 12  # cells more for labels in which parameters tell rows and columns apart
CELL_LEAST = 8

Pair = tuple[str, str | None]
"""A target and what drafts for it, by name; None for a baseline."""

Variant = Values

Measure = Literal["speedup", "tok/s", "acceptance", "prefill", "ttft", "total", "tokens/step", "memory"]
MEASURES: tuple[Measure, ...] = get_args(Measure)


def number(value: float | None) -> str:
    """A rate or ratio in at most seven characters; "-" for unknown, a word for what is no number."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "inf"
    size = abs(value)
    if size >= 99_999.5 or 0 < size < 0.005:
        return f"{value:.1e}"
    return f"{value:.0f}" if size >= 999.5 else f"{value:.1f}" if size >= 99.95 else f"{value:.2f}"


def percent(value: float | None) -> str:
    """A share as a percentage; "-" for unknown."""
    return "-" if value is None else f"{value * 100:.0f}%"


def speedup_interval(found: Speedup | None) -> str:
    """The 95 % interval of a speedup in brackets, or in words why there is none."""
    if found is None:
        return ""
    if found.ci95 is None:
        return "[1 sample]"
    return f"[{number(found.ci95[0])},{number(found.ci95[1])}]"


def rate_interval(figures: Figures) -> str:
    """The 95 % interval of the mean rate in brackets; "" with fewer than two samples."""
    if figures.rate is None or figures.rate.ci95 is None:
        return ""
    return f"[{number(figures.rate.ci95[0])},{number(figures.rate.ci95[1])}]"


def measure_value(measure: Measure, figures: Figures, loads: Mapping[str, LoadState]) -> float | None:
    """The measure as a number; None where it is unknown."""
    match measure:
        case "speedup":
            return figures.speedup.value if figures.speedup is not None else None
        case "tok/s":
            return figures.rate.mean if figures.rate is not None else None
        case "acceptance":
            return figures.acceptance
        case "prefill":
            return figures.prefill_tok_s
        case "ttft":
            return figures.ttft_s
        case "total":
            return figures.total_time_s
        case "tokens/step":
            return figures.tokens_per_step
        case "memory":
            return memory_bytes(figures, loads)


def measure_text(measure: Measure, value: float) -> str:
    """A measure's value with its unit, in at most eight characters."""
    match measure:
        case "speedup":
            return f"{number(value)}x"
        case "acceptance":
            return percent(value)
        case "ttft" | "total":
            return f"{value:.2f}s" if value < 99.995 else f"{value:.0f}s"
        case "memory":
            return human_bytes(value).replace("iB", "").replace(" ", "")
        case _:
            return number(value)


def drafting_pair(step: Step) -> Pair:
    """The target of a step and what drafts for it; None for a baseline."""
    return step.target, step.drafter


def variant_of(step: Step) -> Variant:
    """What else sets steps of one pair and K apart."""
    return pick(step, VARIANT)


def variant_label(variant: Variant) -> str:
    """A variant in words; "" for the plain one."""
    return ", ".join(value_words(variant))


def sign_of(found: Speedup | None) -> str:
    """The sign of a speedup: "+" faster, "-" slower, "=" not to be told from 1, "?" no interval; " " for none."""
    if found is None:
        return " "
    low, high = found.ci95 or (math.nan, math.nan)
    if math.isnan(low) or math.isnan(high):
        return "?"
    return "+" if low > 1 else "-" if high < 1 else "="


def memory_bytes(figures: Figures, loads: Mapping[str, LoadState]) -> int | None:
    """The most memory that a server of these figures held at its peak; None until one of them has ended."""
    peaks = [
        load.peak_rss_bytes for each in figures.loads if (load := loads.get(each)) is not None and load.peak_rss_bytes
    ]
    return max(peaks, default=None)


def word_of(steps: Sequence[StepState], planned: int | None = None) -> str:
    """What stands where a figure would: the state of these steps, the most telling one first; never blank.

    `planned`: how many samples a running step takes.
    """
    states = {found.status for found in steps}
    if not states:
        return "n/a"
    if StepStatus.RUNNING in states:
        if len(steps) == 1 and planned is not None:
            return f"RUN {len(steps[0].samples)}/{planned}"
        return "RUN"
    for status, word in (("failed", "FAIL"), ("timeout", "TIMEOUT"), ("invalid", "INVALID"), (StepStatus.OPEN, "....")):
        if status in states:
            return word
    return "skip" if "skipped" in states else "no rate"


@dataclass(frozen=True, slots=True)
class Cell:
    """What one cell says: a value or a word, the sign that it has against its baseline, and marks."""

    text: str
    sign: str = " "
    marks: str = ""
    style: StyleName = ""


@dataclass(frozen=True, slots=True)
class HeatMap:
    """A heat map; `cells` by row and column, both counted from 0. `corner` says what rows and columns are."""

    title: str
    corner: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: Mapping[tuple[int, int], Cell]


@dataclass(frozen=True, slots=True)
class Frame:
    """Which part of a grid is on the screen, and where: for drawing and for clicks."""

    first_row: int
    rows: int
    first_column: int
    columns: int
    label_width: int
    cell_width: int


def frame_of(grid: HeatMap, cursor: tuple[int, int], width: int, height: int) -> Frame:
    """The part of `grid` around `cursor` that fits; the first of `height` lines has the columns' names."""
    least, most = ROW_LABEL
    more = PARAMETERS * any("=" in label and " " in label for label in (*grid.rows, *grid.columns))
    longest = max((cell_len(one_line(row)) for row in (*grid.rows, grid.corner)), default=0)
    label = min(most + more, max(least, longest), max(0, width // 3)) + 1
    text = max((len(cell.text) for cell in grid.cells.values()), default=0)
    names = max((cell_len(one_line(column)) for column in grid.columns), default=0)
    cell = max(CELL_LEAST, text + 2 + MARKS + 2, min(names, COLUMN_LABEL + more) + 2)
    columns = max(1, min(len(grid.columns), (width - label) // cell))
    rows = max(0, min(len(grid.rows), height - 1))
    return Frame(
        first_line_shown(cursor[0], rows, len(grid.rows)),
        rows,
        first_line_shown(cursor[1], columns, len(grid.columns)),
        columns,
        label,
        cell,
    )


def grid_lines(grid: HeatMap, cursor: tuple[int, int], frame: Frame, width: int, glyphs: Glyphs) -> list[Line]:
    """The names of the columns, then the rows in the frame; the cell under the cursor is marked by a glyph too."""
    columns = range(frame.first_column, min(len(grid.columns), frame.first_column + frame.columns))
    before = "<" if frame.first_column > 0 else " "
    after = ">" if frame.first_column + frame.columns < len(grid.columns) else ""
    head: list[Span] = [
        (pad_line(one_line(grid.corner), frame.label_width - 1, glyphs) + before, "dim"),
        *(
            (
                pad_line(one_line(grid.columns[column]), frame.cell_width - 2 - MARKS, glyphs, right=True)
                + " " * (MARKS + 2),
                "title",
            )
            for column in columns
        ),
    ]
    lines: list[Line] = [fitted((*head, (after, "dim")), width, glyphs.ellipsis)]
    for row in range(frame.first_row, min(len(grid.rows), frame.first_row + frame.rows)):
        here = row == cursor[0]
        spans: list[Span] = [(pad_line(one_line(grid.rows[row]), frame.label_width, glyphs), "title" if here else "")]
        for column in columns:
            cell = grid.cells.get((row, column), Cell("n/a", style="dim"))
            at = (row, column) == cursor
            text = pad_line(cell.text, frame.cell_width - 3 - MARKS, glyphs, right=True)
            spans.append((glyphs.cursor if at else " ", "cursor" if at else ""))
            spans.append((f"{text} {cell.sign}", "cursor" if at else cell.style))
            spans.append((f"{cell.marks:<{MARKS}}", "cursor" if at else "marked"))
        lines.append(fitted(tuple(spans), width, glyphs.ellipsis))
    return lines


def cell_at(grid: HeatMap, frame: Frame, x: int, y: int) -> tuple[int, int] | None:
    """The cell at column `x` and row `y` of what `grid_lines` drew; None beside all cells."""
    row = frame.first_row + y - 1
    column = frame.first_column + (x - frame.label_width) // frame.cell_width
    inside = y > 0 and x >= frame.label_width and row < len(grid.rows) and column < len(grid.columns)
    return (row, column) if inside else None


def markdown_of(grid: HeatMap) -> str:
    """The grid as a Markdown table."""
    lines = [" | ".join(["", markdown_cell(grid.corner), *map(markdown_cell, grid.columns), ""]).strip()]
    lines.append("|---|" + "---:|" * len(grid.columns))
    for row, name in enumerate(grid.rows):
        cells = [_words(grid.cells.get((row, column), Cell("n/a"))) for column in range(len(grid.columns))]
        lines.append(" | ".join(["", markdown_cell(name), *cells, ""]).strip())
    return "\n".join(lines) + "\n"


def _words(cell: Cell) -> str:
    return markdown_cell(" ".join(part for part in (cell.text, cell.sign.strip(), cell.marks) if part))


@dataclass(frozen=True, slots=True)
class Axes:
    """What a run compares, each in the order of its first step."""

    variants: tuple[Variant, ...]
    targets: tuple[str, ...]
    drafts: tuple[str | None, ...]


def axes_of(book: FiguresCache) -> Axes:
    """The axes of a run. The baseline of a variant is no variant of its own where drafts have others."""
    steps = [arm.step for arm in book.arms.values()]
    drafted = [step for step in steps if step.method != BASELINE] or steps
    return Axes(
        tuple(dict.fromkeys(variant_of(step) for step in drafted)),
        tuple(dict.fromkeys(step.target for step in steps)),
        tuple(sorted(dict.fromkeys(step.drafter for step in steps), key=lambda draft: draft is not None)),
    )


def arms_of_variant(book: FiguresCache, variant: Variant) -> dict[Pair, dict[int | None, ArmFigures]]:
    """The arms of one variant by pair and K, Ks ascending. Of copies the last one with figures counts."""
    found: dict[Pair, dict[int | None, ArmFigures]] = {}
    for step, arm in sorted(book.arms.items(), key=lambda each: (each[0].k or 0, each[0].copy)):
        if variant_of(step) == variant:
            ks = found.setdefault(drafting_pair(step), {})
            if step.k not in ks or arm.figures.n or not ks[step.k].figures.n:
                ks[step.k] = arm
    return found


def rows_of_pair(book: FiguresCache, pair: Pair, variant: Variant) -> dict[tuple[str, int | None], StepFigures]:
    """The rows of a pair by category and K, its baseline's with K None. Of copies the last one with figures counts."""
    found: dict[tuple[str, int | None], StepFigures] = {}
    for row in book.rows.values():
        step = row.step
        if step.target == pair[0] and step.drafter in (pair[1], None) and variant_of(step) == variant:
            before = found.get((step.category, step.k))
            if before is None or row.figures.n or not before.figures.n:
                found[(step.category, step.k)] = row
    return found


def best_of(arms: Mapping[int | None, ArmFigures]) -> ArmFigures | None:
    """The fastest arm of a pair: by speedup, by rate where there is no baseline; complete ones first."""
    known = [arm for arm in arms.values() if arm.figures.rate is not None]
    return max(known, key=lambda arm: (not arm.missing, *strength(arm.figures)), default=None)


def strength(figures: Figures) -> tuple[bool, float]:
    """What to order by, the fastest last."""
    if figures.speedup is not None:
        return True, figures.speedup.value
    return False, figures.rate.mean if figures.rate is not None else 0.0


def pair_grid(book: FiguresCache, view: RunState, variant: Variant, axes: Axes, measure: Measure) -> HeatMap:
    """Targets by drafts: the best K of each pair and what it brings."""
    arms = arms_of_variant(book, variant)
    cells: dict[tuple[int, int], Cell] = {}
    for row, target in enumerate(axes.targets):
        best = {
            column: arm
            for column, draft in enumerate(axes.drafts)
            if draft is not None and (arm := best_of(arms.get((target, draft), {}))) is not None
        }
        fastest = max(best, key=lambda column: strength(best[column].figures), default=None)
        for column, draft in enumerate(axes.drafts):
            found = arms.get((target, draft), {})
            arm = best.get(column) if draft is not None else found.get(None)
            if arm is None or not arm.figures.n:
                cells[row, column] = word_cell([each for other in found.values() for each in other.found])
                continue
            cell = _pair_cell(arm, view, measure)
            marks = "*" if column == fastest and len(best) > 1 else ""
            marks += "!" if any(each.verdicts for other in found.values() for each in other.found) else ""
            cells[row, column] = replace(cell, marks=marks)
    names = tuple(NO_DRAFT if draft is None else draft for draft in axes.drafts)
    return HeatMap("target by draft, best K", "target", axes.targets, names, cells)


def _pair_cell(arm: ArmFigures, view: RunState, measure: Measure) -> Cell:
    """The cell of a pair's best arm; the rate itself for a target without a draft."""
    if arm.step.method == BASELINE:
        measure = "tok/s" if measure == "speedup" else measure
        value = measure_value(measure, arm.figures, view.loads)
        unit = "/s" if measure == "tok/s" and value is not None else ""
        return Cell(("-" if value is None else measure_text(measure, value)) + unit)
    figure = figure_cell(arm.figures, view, measure)
    return replace(figure, text=f"{figure.text} K={arm.step.k}")


def figure_cell(figures: Figures, view: RunState, measure: Measure) -> Cell:
    """One measure of figures that there are, with the sign against the baseline."""
    value = measure_value(measure, figures, view.loads)
    sign = sign_of(figures.speedup)
    if value is None:
        word = figures.without if measure == "speedup" else "no rate" if figures.rate is None else "-"
        return Cell(word or "-", sign, style="dim")
    return Cell(measure_text(measure, value), sign, style=STYLES[sign])


def word_cell(steps: Sequence[StepState], planned: int | None = None) -> Cell:
    """A cell without a figure: the state that its steps are in."""
    word = word_of(steps, planned)
    return Cell(word, style=WORD_STYLES.get(word.split()[0], "dim"))


def heatmap_ks(book: FiguresCache, pair: Pair, variant: Variant) -> tuple[int | None, ...]:
    """The columns of a pair's own heat map: the baseline first, where there is one, then its Ks."""
    steps = [arm.step for arm in book.arms.values() if variant_of(arm.step) == variant and arm.step.target == pair[0]]
    ks = {step.k for step in steps if step.drafter in (pair[1], None)}
    return tuple(sorted(ks, key=lambda k: -1 if k is None else k))


def heatmap_categories(book: FiguresCache, pair: Pair, variant: Variant) -> tuple[str, ...]:
    """The rows of a pair's own heat map, without the last one, which is `ALL`."""
    return tuple(dict.fromkeys(category for category, _ in rows_of_pair(book, pair, variant)))


def k_grid(book: FiguresCache, view: RunState, pair: Pair, variant: Variant, measure: Measure) -> HeatMap:
    """Categories by K of one pair; the last row is all categories together."""
    rows = rows_of_pair(book, pair, variant)
    arms = arms_of_variant(book, variant)
    own = arms.get((pair[0], None), {}) | arms.get(pair, {})
    ks, categories = heatmap_ks(book, pair, variant), heatmap_categories(book, pair, variant)
    cells: dict[tuple[int, int], Cell] = {}
    for number, category in enumerate(categories):
        figures: dict[int | None, Figures] = {
            k: row.figures for k in ks if k is not None and (row := rows.get((category, k))) is not None
        }
        fastest = _fastest(figures)
        for column, k in enumerate(ks):
            found = rows.get((category, k))
            cells[number, column] = _k_cell(found, view, measure, is_best=k is not None and k == fastest)
    fastest = _fastest({k: arm.figures for k, arm in own.items() if k is not None and not arm.missing})
    for column, k in enumerate(ks):
        is_best = k is not None and k == fastest
        cells[len(categories), column] = _arm_cell(own.get(k), view, measure, is_best=is_best)
    names = tuple(NO_DRAFT if k is None else f"K={k}" for k in ks)
    title = pair[0] if pair[1] is None else f"{pair[0]} + {pair[1]}"
    return HeatMap(title, "category", (*categories, ALL), names, cells)


def methods_and_lengths(book: FiguresCache, target: str, variant: Variant) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """What drafts for a target with parameters to choose from, and the draft lengths that it was tried with.

    Methods without a draft model, and drafts that were tried with several values of their parameters.
    """
    of_it = [
        arm.step
        for arm in book.arms.values()
        if arm.step.speculates and arm.step.target == target and variant_of(arm.step) == variant
    ]
    tried: dict[tuple[str, str | None], set[str | None]] = {}
    for step in of_it:
        tried.setdefault((step.method, step.draft), set()).add(step.drafter)
    steps = [step for step in of_it if is_draftless(step.method) or len(tried[step.method, step.draft]) > 1]
    names = dict.fromkeys(step.drafter for step in steps)
    return tuple(name for name in names if name is not None), tuple(sorted({step.k for step in steps if step.k}))


def length_grid(book: FiguresCache, view: RunState, target: str, variant: Variant, measure: Measure) -> HeatMap:
    """What drafts with parameters to choose from, each with its own, by K: over all categories."""
    arms = arms_of_variant(book, variant)
    names, ks = methods_and_lengths(book, target, variant)
    known = {(name, k): arm for name in names for k, arm in arms.get((target, name), {}).items() if arm.figures.n}
    fastest = max(known, key=lambda place: strength(known[place].figures), default=None)
    cells = {
        (row, column): _arm_cell(
            arms.get((target, name), {}).get(k), view, measure, is_best=(name, k) == fastest and len(known) > 1
        )
        for row, name in enumerate(names)
        for column, k in enumerate(ks)
    }
    return HeatMap(f"{target}: method by K", "method", names, tuple(f"K={k}" for k in ks), cells)


def _fastest(figures: Mapping[int | None, Figures]) -> int | None:
    """The fastest K of several; None where there is no choice."""
    known = {k: each for k, each in figures.items() if each.rate is not None}
    return max(known, key=lambda k: strength(known[k])) if len(known) > 1 else None


def _arm_cell(arm: ArmFigures | None, view: RunState, measure: Measure, *, is_best: bool) -> Cell:
    """The cell of all categories of one K."""
    if arm is None or not arm.figures.n:
        return word_cell(arm.found if arm is not None else ())
    marks = ("*" if is_best else "") + ("~" if arm.missing else "")
    return replace(_baseline_or(arm.step, arm.figures, view, measure), marks=marks)


def _k_cell(row: StepFigures | None, view: RunState, measure: Measure, *, is_best: bool) -> Cell:
    """The cell of one measurement."""
    if row is None:
        return word_cell(())
    if row.found.status != StepStatus.OK or not row.figures.n:
        return word_cell([row.found], view.iterations(row.id))
    cell = _baseline_or(row.step, row.figures, view, measure)
    return replace(cell, marks=("*" if is_best else "") + ("!" if row.found.verdicts else ""))


def _baseline_or(step: Step, figures: Figures, view: RunState, measure: Measure) -> Cell:
    """A baseline has no speedup, so its rate stands there."""
    if step.method == BASELINE and measure == "speedup":
        cell = figure_cell(figures, view, "tok/s")
        return replace(cell, text=f"{cell.text}/s" if figures.rate is not None else cell.text)
    return figure_cell(figures, view, measure)


def heatmap_legend(*, of_pairs: bool) -> tuple[Line, ...]:
    """What signs and words mean, on one line each."""
    last = "* best draft  ! verdicts" if of_pairs else "* best K  ~ partial  ! verdicts"
    return (((f"+ faster  = no difference  - slower  ? 1 sample  {last}", "dim"),),)
