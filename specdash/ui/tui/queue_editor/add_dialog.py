"""The dialog that adds steps: targets, drafts, Ks and the rest, with what they would cost while one chooses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from textual.app import ComposeResult
from textual.containers import Horizontal

from specdash.core import commands as cmd
from specdash.core.axes import SWEPT, Axis
from specdash.core.events import ModelRead
from specdash.core.methods import BASELINE, is_draftless
from specdash.core.plan import Step
from specdash.core.queue import IllegalEdit
from specdash.core.state import RunState
from specdash.core.text import human_bytes, one_line
from specdash.ui.tui.discovery import DiscoveredModel, FindError
from specdash.ui.tui.lines import Line
from specdash.ui.tui.queue_editor.addable_models import (
    Offer,
    abilities_in,
    chosen_as,
    new_models,
    offers,
    reads,
    reason_unfit,
    unfit_pairs,
    ways_of,
)
from specdash.ui.tui.queue_editor.edit_actions import Drafter, Matrix, added, matrix_steps, parsed_ks, parsed_samples
from specdash.ui.tui.widgets.form import FormDialog, TextField
from specdash.ui.tui.widgets.picker import Item, Picker

BASELINE_LABEL = "(none: the baseline)"
DEFAULT_KS = "2,4,8"
FIELD_LIMIT = 100
# Those with a field of their own: a method and the size of its n-gram are chosen together.
LISTED = tuple(axis for axis in SWEPT if axis.heading or axis.is_sparse)


@dataclass(frozen=True, slots=True)
class Adding:
    """What a dialog ended with: the edit, and the headers of models that it brings along."""

    edit: cmd.Add
    models: tuple[ModelRead, ...]


@dataclass(frozen=True, slots=True)
class AddContext:
    """What a dialog begins with.

    `view` is the run with the queue as staged; `categories` what can be asked; `before` the step that new ones go
    before. `like` is a step to be measured once more. `told` puts what an edit would do in words, or raises
    IllegalEdit.
    """

    view: RunState
    categories: tuple[str, ...]
    find: Callable[[], Awaitable[list[DiscoveredModel]]]
    told: Callable[[Adding], str]
    before: str | None = None
    like: Step | None = None
    iterations: int | None = None


class AddDialog(FormDialog[Adding]):
    """Answers with what is to be staged; None when it was left."""

    WIDTH = None
    KEYS = (("tab", "field"), ("space", "choose"), ("*", "all"), ("enter", "stage"), ("esc", "cancel"))
    CSS = """
    AddDialog #add-lists { height: 1fr; }
    AddDialog #add-targets, AddDialog #add-drafts { width: 2fr; }
    AddDialog .form-label { width: 13; }
    """

    def __init__(self, asked: AddContext) -> None:
        like = asked.like
        super().__init__("Add steps" if like is None else f"Measure once more, or change it: {one_line(like.id, 120)}")
        self._asked = asked
        self._found: list[DiscoveredModel] = []
        self._searched: str = "looking for models ..."
        self._targets: tuple[Offer, ...] = ()
        self._drafts: tuple[Offer, ...] = ()
        self._ways: dict[str | None, Drafter] = {}
        self._taken = ""

    def compose_fields(self) -> ComposeResult:
        """Yield the lists and the fields."""
        glyphs = self.dashboard.terminal.glyphs
        like, steps = self._asked.like, [found.step for found in self._asked.view.steps.values()]
        with Horizontal(id="add-lists"):
            yield Picker("targets", glyphs, "add-targets")
            yield Picker("drafts", glyphs, "add-drafts")
            yield Picker("content", glyphs, "add-categories")
            if any(step.config is not None for step in steps):
                yield Picker("configs", glyphs, "add-configs")
        ks = DEFAULT_KS if like is None else str(like.k or "")
        yield from TextField("K", ks, "2,4,8", FIELD_LIMIT).compose("add-ks")
        for axis in LISTED:
            if any(step.value(axis.name) != axis.default for step in steps):
                value = like.value(axis.name) if like is not None else axis.default
                blank = "the model's own" if axis.default is None else axis.plain(axis.default)
                shown = "" if value is None else axis.plain(value)
                yield from TextField(axis.heading or axis.name, shown, blank, FIELD_LIMIT).compose(_field_of(axis))
        known = self._asked.view.settings.iterations
        samples = str(self._asked.iterations or "") if like is not None else ""
        placeholder = f"{known if known is not None else '?'}, as the run"
        yield from TextField("samples", samples, placeholder, FIELD_LIMIT).compose("add-samples")

    def on_mount(self) -> None:
        """Offer what the run knows at once, and what is found when it is."""
        view, like = self._asked.view, self._asked.like
        speculative = (found.step for found in view.steps.values() if found.step.method != BASELINE)
        first = like or next(speculative, None)
        first = first or next((found.step for found in view.steps.values()), None)
        categories = self._asked.categories
        self._picker("categories").chosen = {like.category} if like is not None else set(categories)
        self._picker("categories").offer([Item(each, each) for each in categories])
        if first is not None:
            self._picker("targets").chosen = {first.target}
            self._picker("drafts").chosen = {chosen_as(first)}
            if self._has("add-configs"):
                self._picker("configs").chosen = {first.config}
        if self._has("add-configs"):
            configs = dict.fromkeys(found.step.config for found in view.steps.values())
            self._picker("configs").offer([Item(each, each) for each in configs if each is not None])
        self._offer()
        self._picker("targets").focus()
        self.run_worker(self._search(), group="models", exit_on_error=False)

    async def _search(self) -> None:
        try:
            self._found = await self._asked.find()
            self._searched = ""
        except FindError as error:
            self._searched = one_line(str(error), 200)
        self._offer()

    def _has(self, name: str) -> bool:
        return bool(self.query(f"#{name}"))

    def _picker(self, name: str) -> Picker:
        return self.query_one(f"#add-{name}", Picker)

    def _offer(self) -> None:
        """Show what can be chosen; which drafts fit depends on the targets that are chosen."""
        view = self._asked.view
        self._targets, self._drafts = offers(view, self._found, "target"), offers(view, self._found, "draft")
        reasons = unfit_pairs(view, self._targets, self._drafts)
        self._picker("targets").offer([_item(row, row.problem) for row in self._targets])
        chosen = [each for each in self._picker("targets").values if each is not None]
        self._ways = ways_of(view, self._drafts)
        methods = {value: way.label for value, way in self._ways.items() if is_draftless(way.method)}
        items = [Item(value, name, None, "no model") for value, name in methods.items()]
        items += [_item(row, reason_unfit(row, chosen, reasons)) for row in self._drafts]
        self._picker("drafts").offer([Item(None, BASELINE_LABEL), *items])
        self.later()

    def evaluate(self) -> tuple[Adding, str]:
        """Return the edit of what is chosen, and what it would cost."""
        adding = self._adding()
        return adding, self._asked.told(adding) + self._taken

    def refusal(self, why: str) -> str:
        """Return the sentence for what is wrong."""
        return f"cannot be added: {why}"

    def notes(self) -> list[Line]:
        """Return what came of the search for models."""
        return [((f" {self._searched}", "dim"),)]

    def _adding(self) -> Adding:
        asked, view = self._asked, self._asked.view
        reasons = unfit_pairs(view, self._targets, self._drafts)
        lists = {axis.name: found for axis in LISTED if (found := _numbers(self.text(_field_of(axis)), axis))}
        configs = self._picker("configs").values if self._has("add-configs") else (None,)
        if not configs:
            raise IllegalEdit("choose a config")
        steps = [found.step for found in view.steps.values()]
        matrix = Matrix(
            targets=tuple(each for each in self._picker("targets").values if each is not None),
            ways=tuple(self._ways[each] for each in self._picker("drafts").values if each in self._ways),
            ks=parsed_ks(self.text("add-ks")),
            configs=configs,
            categories=tuple(each for each in self._picker("categories").values if each is not None),
            lists=lists,
            workload=steps[0].workload if steps else "content",
            iterations=parsed_samples(self.text("add-samples")),
            unfit=frozenset(reasons),
            as_copies=asked.like is not None,
            can=abilities_in(view),
        )
        models = [*new_models(self._targets, "target"), *new_models(self._drafts, "draft")]
        _, taken = matrix_steps(matrix, view.steps)
        self._taken = "".join(f"; {each}" for each in matrix.left_out)
        self._taken += f"; {taken} more {'is' if taken == 1 else 'are'} in the queue already" if taken else ""
        edit = added(matrix, view.steps, models, asked.before)
        return Adding(edit, tuple(reads(self._targets, self._drafts, edit.models)))

    def on_picker_changed(self, event: Picker.Changed) -> None:
        """Update after another choice."""
        if event.picker.id == "add-targets":
            self._offer()
        self.later()


def _item(row: Offer, why: str | None) -> Item:
    size = human_bytes(row.found.size_bytes) if row.found is not None and row.found.size_bytes is not None else ""
    note = ", ".join(each for each in (size, "new" if row.is_new else "") if each)
    return Item(row.label, row.label, why, note)


def _field_of(axis: Axis) -> str:
    return f"add-{axis.heading or axis.name}"


def _numbers(text: str, axis: Axis) -> tuple[Any, ...]:
    """The values of an axis in a field, in their order; () for none. Raises ValueError with what is wrong."""
    found = []
    for word in text.replace(",", " ").split():
        value = axis.read(word)
        if value is None:
            raise ValueError(f"{word[:20]!r} is no {axis.heading or axis.name}: {axis.wanted}")
        found.append(value)
    return tuple(dict.fromkeys(found))
