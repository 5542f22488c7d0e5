"""The heat maps: targets by drafts with the best K of each pair, categories by K of one pair, and methods by K."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from specdash.analysis.figures import ArmFigures, Figures, FiguresCache, StepFigures
from specdash.core.methods import BASELINE, is_draftless
from specdash.core.plan import Step
from specdash.core.state import RunState
from specdash.core.status import StepStatus
from specdash.core.steps import StepState
from specdash.ui.tui.lines import Line
from specdash.ui.tui.results.grid import Cell, Grid
from specdash.ui.tui.results.measures import (
    Measure,
    Pair,
    Variant,
    pair_of,
    shown,
    sign_of,
    value_of,
    variant_of,
    word_of,
)
from specdash.ui.tui.terminal.theme import StyleName

ALL = "all"
NO_DRAFT = "no draft"
STYLES: Mapping[str, StyleName] = {"+": "faster", "-": "slower", "=": "", "?": "", " ": ""}
WORD_STYLES: Mapping[str, StyleName] = {"FAIL": "bad", "TIMEOUT": "bad", "INVALID": "bad", "RUN": "accent"}


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


def arms_of(book: FiguresCache, variant: Variant) -> dict[Pair, dict[int | None, ArmFigures]]:
    """The arms of one variant by pair and K, Ks ascending. Of copies the last one with figures counts."""
    found: dict[Pair, dict[int | None, ArmFigures]] = {}
    for step, arm in sorted(book.arms.items(), key=lambda each: (each[0].k or 0, each[0].copy)):
        if variant_of(step) == variant:
            ks = found.setdefault(pair_of(step), {})
            if step.k not in ks or arm.figures.n or not ks[step.k].figures.n:
                ks[step.k] = arm
    return found


def rows_of(book: FiguresCache, pair: Pair, variant: Variant) -> dict[tuple[str, int | None], StepFigures]:
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


def pair_grid(book: FiguresCache, view: RunState, variant: Variant, axes: Axes, measure: Measure) -> Grid:
    """Targets by drafts: the best K of each pair and what it brings."""
    arms = arms_of(book, variant)
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
    return Grid("target by draft, best K", "target", axes.targets, names, cells)


def _pair_cell(arm: ArmFigures, view: RunState, measure: Measure) -> Cell:
    """The cell of a pair's best arm; the rate itself for a target without a draft."""
    if arm.step.method == BASELINE:
        measure = "tok/s" if measure == "speedup" else measure
        value = value_of(measure, arm.figures, view.loads)
        unit = "/s" if measure == "tok/s" and value is not None else ""
        return Cell(("-" if value is None else shown(measure, value)) + unit)
    figure = figure_cell(arm.figures, view, measure)
    return replace(figure, text=f"{figure.text} K={arm.step.k}")


def figure_cell(figures: Figures, view: RunState, measure: Measure) -> Cell:
    """One measure of figures that there are, with the sign against the baseline."""
    value = value_of(measure, figures, view.loads)
    sign = sign_of(figures.speedup)
    if value is None:
        word = figures.without if measure == "speedup" else "no rate" if figures.rate is None else "-"
        return Cell(word or "-", sign, style="dim")
    return Cell(shown(measure, value), sign, style=STYLES[sign])


def word_cell(steps: Sequence[StepState], planned: int | None = None) -> Cell:
    """A cell without a figure: the state that its steps are in."""
    word = word_of(steps, planned)
    return Cell(word, style=WORD_STYLES.get(word.split()[0], "dim"))


def ks_of(book: FiguresCache, pair: Pair, variant: Variant) -> tuple[int | None, ...]:
    """The columns of a pair's own heat map: the baseline first, where there is one, then its Ks."""
    steps = [arm.step for arm in book.arms.values() if variant_of(arm.step) == variant and arm.step.target == pair[0]]
    ks = {step.k for step in steps if step.drafter in (pair[1], None)}
    return tuple(sorted(ks, key=lambda k: -1 if k is None else k))


def categories_of(book: FiguresCache, pair: Pair, variant: Variant) -> tuple[str, ...]:
    """The rows of a pair's own heat map, without the last one, which is `ALL`."""
    return tuple(dict.fromkeys(category for category, _ in rows_of(book, pair, variant)))


def k_grid(book: FiguresCache, view: RunState, pair: Pair, variant: Variant, measure: Measure) -> Grid:
    """Categories by K of one pair; the last row is all categories together."""
    rows = rows_of(book, pair, variant)
    arms = arms_of(book, variant)
    own = arms.get((pair[0], None), {}) | arms.get(pair, {})
    ks, categories = ks_of(book, pair, variant), categories_of(book, pair, variant)
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
        arm = own.get(k)
        if arm is None or not arm.figures.n:
            cells[len(categories), column] = word_cell(arm.found if arm is not None else ())
            continue
        cell = _baseline_or(arm.step, arm.figures, view, measure)
        marks = ("*" if k is not None and k == fastest else "") + ("~" if arm.missing else "")
        cells[len(categories), column] = replace(cell, marks=marks)
    names = tuple(NO_DRAFT if k is None else f"K={k}" for k in ks)
    title = pair[0] if pair[1] is None else f"{pair[0]} + {pair[1]}"
    return Grid(title, "category", (*categories, ALL), names, cells)


def lengths_of(book: FiguresCache, target: str, variant: Variant) -> tuple[tuple[str, ...], tuple[int, ...]]:
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


def length_grid(book: FiguresCache, view: RunState, target: str, variant: Variant, measure: Measure) -> Grid:
    """What drafts with parameters to choose from, each with its own, by K: over all categories."""
    arms = arms_of(book, variant)
    names, ks = lengths_of(book, target, variant)
    known = {(name, k): arm for name in names for k, arm in arms.get((target, name), {}).items() if arm.figures.n}
    fastest = max(known, key=lambda place: strength(known[place].figures), default=None)
    cells: dict[tuple[int, int], Cell] = {}
    for row, name in enumerate(names):
        for column, k in enumerate(ks):
            arm = arms.get((target, name), {}).get(k)
            if arm is None or not arm.figures.n:
                cells[row, column] = word_cell(arm.found if arm is not None else ())
                continue
            marks = ("*" if (name, k) == fastest and len(known) > 1 else "") + ("~" if arm.missing else "")
            cells[row, column] = replace(figure_cell(arm.figures, view, measure), marks=marks)
    return Grid(f"{target}: method by K", "method", names, tuple(f"K={k}" for k in ks), cells)


def _fastest(figures: Mapping[int | None, Figures]) -> int | None:
    """The fastest K of several; None where there is no choice."""
    known = {k: each for k, each in figures.items() if each.rate is not None}
    return max(known, key=lambda k: strength(known[k])) if len(known) > 1 else None


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


def legend(*, of_pairs: bool) -> tuple[Line, ...]:
    """What signs and words mean, on one line each."""
    last = "* best draft  ! verdicts" if of_pairs else "* best K  ~ partial  ! verdicts"
    return (((f"+ faster  = no difference  - slower  ? 1 sample  {last}", "dim"),),)
