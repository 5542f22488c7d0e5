"""Where the results screen is: its view, its cursors and what it is sorted and filtered by. A value; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from specdash.analysis.figures import FiguresCache, StepFigures
from specdash.core.axes import NONE
from specdash.ui.tui.results.heatmap import (
    ALL,
    Axes,
    Measure,
    Pair,
    Variant,
    arms_of_variant,
    axes_of,
    best_of,
    heatmap_categories,
    heatmap_ks,
    methods_and_lengths,
    rows_of_pair,
    variant_of,
)
from specdash.ui.tui.table import Sorting

ViewName = Literal["heat", "curve", "table", "samples"]
Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class ResultsView:
    """Cursors are labels, not numbers, so that they stay where they are while a run adds steps.

    `by_k`: the heat map is categories by K of one pair; `by_length`: methods without a draft model by K, of one target;
    else it is targets by drafts. `draft` is what drafts, by name. `step_id`: the row under the cursor of
    the table, or the measurement whose samples are shown, from line `offset`. `opened_from`: the view to go back to.
    """

    view: ViewName = "heat"
    by_k: bool = False
    by_length: bool = False
    measure: Measure = "speedup"
    axes: Axes = field(default_factory=lambda: Axes((), (), ()))
    variant: Variant = NONE
    target: str = ""
    draft: str | None = None
    category: str = ALL
    k: int | None = None
    sorting: Sorting = field(default_factory=Sorting)
    words: str = ""
    step_id: str | None = None
    offset: int = 0
    opened_from: ViewName = "heat"
    is_placed: bool = False  # the cursors were put somewhere

    @property
    def pair(self) -> Pair:
        """The pair under the cursor."""
        return self.target, self.draft

    def settled(self, book: FiguresCache) -> ResultsView:
        """The same on the axes that the run has now; cursors that point nowhere are put somewhere."""
        axes = axes_of(book)
        if not axes.targets:
            return replace(self, axes=axes)
        variant = self.variant if self.variant in axes.variants else axes.variants[0]
        target = self.target if self.target in axes.targets else axes.targets[0]
        draft = self.draft
        if not self.is_placed or draft not in axes.drafts:
            draft = next((each for each in axes.drafts if each is not None), None)
        settled = replace(self, axes=axes, variant=variant, target=target, draft=draft, is_placed=True)
        return replace(settled, by_length=self.by_length and settled.has_lengths(book))

    def has_lengths(self, book: FiguresCache) -> bool:
        """Whether the target under the cursor was tried with several methods without a draft model, or Ks of one."""
        names, ks = methods_and_lengths(book, self.target, self.variant)
        return len(names) * len(ks) > 1

    def turned(self, book: FiguresCache) -> ResultsView:
        """The next heat map: targets by drafts, categories by K, methods by K where there is a choice of them."""
        to_lengths = self.by_k and self.has_lengths(book)
        state = replace(self, view="heat", by_k=not self.by_k and not self.by_length, by_length=to_lengths)
        return state.at(book, *state.cursor(book)) if to_lengths else state

    def next_variant(self) -> ResultsView:
        """The next of the run's variants."""
        variants = self.axes.variants
        return replace(self, variant=variants[(_place(variants, self.variant) + 1) % len(variants)])

    def _entries(self, book: FiguresCache) -> tuple[Sequence[str | None], Sequence[str | int | None]]:
        """What the rows and the columns of the heat map stand for."""
        if self.by_length:
            return methods_and_lengths(book, self.target, self.variant)
        if self.by_k:
            categories = (*heatmap_categories(book, self.pair, self.variant), ALL)
            return categories, heatmap_ks(book, self.pair, self.variant)
        return self.axes.targets, self.axes.drafts

    @property
    def _chosen_by(self) -> tuple[str, str]:
        """The fields of the state that the row and the column of the heat map's cursor give."""
        return ("draft", "k") if self.by_length else ("category", "k") if self.by_k else ("target", "draft")

    def cursor(self, book: FiguresCache) -> tuple[int, int]:
        """StepFigures and column of the heat map's cursor."""
        rows, columns = self._entries(book)
        row, column = self._chosen_by
        return _place(rows, getattr(self, row)), _place(columns, getattr(self, column))

    def at(self, book: FiguresCache, row: int, column: int) -> ResultsView:
        """The heat map's cursor put on a cell."""
        rows, columns = self._entries(book)
        of_row, of_column = self._chosen_by
        chosen: dict[str, Any] = {
            of_row: _nth(rows, row, getattr(self, of_row)),
            of_column: _nth(columns, column, getattr(self, of_column)),
        }
        if self.by_length:
            chosen["category"] = ALL
        return replace(self, **chosen)

    def moved(self, book: FiguresCache, rows: Sequence[StepFigures], across: int, down: int) -> ResultsView:
        """After an arrow key; `rows` are those of the table as it is shown."""
        if self.view == "samples":
            if across:
                return replace(self._on_row(rows, across), offset=0)
            return replace(self, offset=max(0, self.offset + down))
        if self.view == "table":
            return self._on_row(rows, down)
        row, column = self.cursor(book)
        return self.at(book, max(0, row + down), max(0, column + across))

    def _on_row(self, rows: Sequence[StepFigures], by: int) -> ResultsView:
        if not rows:
            return self
        ids = [row.id for row in rows]
        at = ids.index(self.step_id) + by if self.step_id in ids else 0
        return self.on(rows[max(0, min(len(rows) - 1, at))])

    def on(self, row: StepFigures) -> ResultsView:
        """The cursor of the table on a row; the heat maps follow."""
        step = row.step
        known = variant_of(step) if variant_of(step) in self.axes.variants else self.variant
        draft = step.drafter if step.drafter is not None else self.draft
        return replace(
            self, step_id=row.id, variant=known, target=step.target, draft=draft, category=step.category, k=step.k
        )

    def row(self, book: FiguresCache) -> StepFigures | None:
        """The measurement under the cursor; None where the cursor is on several."""
        if self.view in ("table", "samples"):
            return book.rows.get(self.step_id or "")
        if not self.by_k:
            return None
        return rows_of_pair(book, self.pair, self.variant).get((self.category, self.k))

    def opened(self, book: FiguresCache) -> ResultsView:
        """After Enter: from a pair to its Ks, from a measurement to its samples, from all categories to their rows."""
        if self.view == "samples" or not self.axes.targets:
            return self
        if self.view != "table" and self.by_length:
            return replace(self, view="heat", by_k=True, by_length=False, category=ALL)
        if self.view != "table" and not self.by_k:
            best = best_of(arms_of_variant(book, self.variant).get(self.pair, {}))
            k = best.step.k if best is not None else next(iter(heatmap_ks(book, self.pair, self.variant)), None)
            return replace(self, view="heat", by_k=True, category=ALL, k=k)
        row = self.row(book)
        if row is not None:
            return replace(self.on(row), view="samples", offset=0, opened_from=self.view)
        if self.view == "table":
            return self
        words = f"{self.target} {'baseline' if self.k is None else f'{self.draft or str()} k={self.k}'}"
        return replace(self, view="table", words=words, step_id=None)

    def back(self) -> ResultsView:
        """After Esc: one step back."""
        if self.view == "samples":
            return replace(self, view=self.opened_from)
        if self.words:
            return replace(self, words="")
        if self.view != "heat":
            return replace(self, view="heat")
        return replace(self, by_k=False, by_length=False)


def _place(entries: Sequence[Entry], entry: Entry) -> int:
    """Where an entry is; 0 where it is not."""
    return entries.index(entry) if entry in entries else 0


def _nth(entries: Sequence[Entry], number: int, default: Entry) -> Entry:
    """The entry at a place, or the nearest one."""
    return entries[max(0, min(len(entries) - 1, number))] if entries else default
