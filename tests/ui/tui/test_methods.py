"""Methods without a draft model on the screens: shown by name, edited, added, and drawn as sizes by lengths."""

from __future__ import annotations

from dataclasses import replace

import pytest

from specdash.analysis.figures import FiguresCache
from specdash.core import commands as cmd
from specdash.core import events as ev
from specdash.core.axes import NONE
from specdash.core.engine_kinds import KINDS
from specdash.core.plan import KScope, LoadKey, Step
from specdash.core.queue import IllegalEdit, apply_edits
from specdash.core.text import squeezed
from specdash.remote.feed import RunFeed, fold_event
from specdash.remote.run_source import CaughtUp, Event, Origin
from specdash.store.codec import decode_edit, encode_edit
from specdash.ui.tui.discovery import DiscoveredModel
from specdash.ui.tui.lines import text_of
from specdash.ui.tui.panes.figures import PaneFigures
from specdash.ui.tui.panes.pane import PaintContext, Pane
from specdash.ui.tui.panes.queue import queue
from specdash.ui.tui.panes.speed import acceptance_pane, speed_pane
from specdash.ui.tui.queue_editor import edit_actions
from specdash.ui.tui.queue_editor.addable_models import METHOD, chosen_as, offers, ways_of
from specdash.ui.tui.results.heatmap import axes_of, length_grid, methods_and_lengths, pair_grid
from specdash.ui.tui.results.state import ResultsView
from specdash.ui.tui.table import Position
from specdash.ui.tui.terminal import UNICODE
from tests.support.dashboards import ScriptedSource, dashboard, finished, screen_text
from tests.support.recorded_run import TARGET, folded, loaded, measured, recorded, sample, started, step


def ngram(k: int, size: int, category: str = "coding", method: str = "ngram-simple") -> Step:
    return step(k, category, draft=None, method=method, ngram_n=size)


BASE, MTP, HEAD = step(), step(4, draft=None, method="mtp"), step(4, draft="head", method="eagle3")
NGRAMS = [ngram(k, size) for size in (2, 4) for k in (4, 8)]
STEPS = [BASE, *NGRAMS, MTP, HEAD]
GAINS = dict(zip(NGRAMS, (1.2, 1.1, 1.5, 0.8), strict=True))


def rates(gain: float) -> list[float]:
    return [10.0 * gain * each for each in (1.0, 1.01, 0.99, 1.005, 0.995)]


def facts(until: int | None = None, steps: list[Step] | None = None) -> list[ev.Fact]:
    """A run of n-grams of two sizes at two Ks, layers for prediction, and a head; `until`: that step is at work."""
    steps = STEPS if steps is None else steps
    found: list[ev.Fact] = [started(steps), *loaded("l001", None)]
    for each in steps[:until]:
        found += measured(each, rates(GAINS.get(each, 1.0)))
    if until is None:
        return [*found, ev.RunFinished("finished", 0)]
    found.append(ev.StepStarted(steps[until].id, "l001", "fp"))
    return found


def look(of: list[ev.Fact]) -> PaintContext:
    feed = RunFeed(origin=Origin("/results/run-1", "tower", 4711, True, "0.0"))
    events: list[Event] = [*recorded(of), CaughtUp()]
    for event in events:
        feed = fold_event(feed, event)
    return PaintContext(feed, 1795255260.0, UNICODE, PaneFigures(), None)


def said(pane: Pane) -> str:
    return "\n".join([pane.title, text_of(pane.note), *map(text_of, pane.lines)])


def book_of(found: list[ev.Fact]) -> FiguresCache:
    book = FiguresCache()
    assert book.update(folded(found), 60.0)
    return book


# -- the dashboard -----------------------------------------------------------------------------------------------------


def test_rows_of_the_queue_name_the_method() -> None:
    shown = said(queue(look(facts()), Position(follows=True), 120, 12))
    for name in ("ngram-simple n=2", "ngram-simple n=4", "mtp", "head (eagle3)", "none"):
        assert name in shown


def test_a_step_without_a_draft_is_no_baseline() -> None:
    at_work = facts(1)
    at_work.append(ev.SampleTaken(STEPS[1].id, "l001", sample(12.0, 0, 4), 1.0))
    shown = said(speed_pane(look(at_work), 120, 2))
    assert "baseline" not in shown.replace("vs base", "")
    assert "x1.20" in shown
    shown = said(acceptance_pane(look(at_work), 120, 6))
    assert "K 4 asked, up to 4 drafted" in shown
    assert "no draft in this step" in said(acceptance_pane(look(facts(0)), 120, 6))


@pytest.mark.parametrize(("method", "style"), [("ngram-simple", "dim"), ("mtp", "warn")])
def test_nothing_drafted_is_no_warning_where_text_is_looked_up(method: str, style: str) -> None:
    arm = step(4, draft=None, method=method)
    at_work: list[ev.Fact] = [started([arm]), *loaded("l001", None), ev.StepStarted(arm.id, "l001", "fp")]
    nothing = replace(sample(12.0), draft_tokens=0, accepted_tokens=0)
    at_work.append(ev.SampleTaken(arm.id, "l001", nothing, 1.0))
    (line,) = (line for line in acceptance_pane(look(at_work), 120, 6).lines if "nothing drafted yet" in text_of(line))
    assert [each for text, each in line if "nothing" in text] == [style]


def test_fewer_than_k_is_right_for_what_was_found_in_the_text() -> None:
    arm = NGRAMS[1]
    at_work: list[ev.Fact] = [started([arm]), *loaded("l001", None), ev.StepStarted(arm.id, "l001", "fp")]
    at_work.append(ev.SampleTaken(arm.id, "l001", sample(12.0, 0, 3), 1.0))
    (line,) = (line for line in acceptance_pane(look(at_work), 120, 6).lines if "K 8 asked, up to 3" in text_of(line))
    assert line[-1][1] == "good"


@pytest.mark.parametrize(
    ("name", "width", "shown"),
    [
        ("ngram-simple n=4", 16, "ngram-simple n=4"),
        ("ngram-simple n=4", 12, "simple n=4"),
        ("ngram-mod n=12", 9, "mod n=12"),
        ("ngram-simple n=4", 8, "sim… n=4"),
        ("ngram-simple n=4", 5, "ngram-simple n=4"),
        ("a long label of a draft", 9, "a long label of a draft"),
        ("Qwen n=4", 4, "Qwen n=4"),
    ],
)
def test_a_size_is_never_what_is_cut_off(name: str, width: int, shown: str) -> None:
    assert squeezed(name, width) == shown


def test_sizes_are_told_apart_in_narrow_columns() -> None:
    shown = said(queue(look(facts()), Position(follows=True), 62, 12))
    assert shown.count("n=2") == 2
    assert shown.count("n=4") == 2


# -- the heat maps -----------------------------------------------------------------------------------------------------


def test_each_size_is_a_column_of_its_own() -> None:
    book = book_of(facts())
    axes = axes_of(book)
    assert axes.drafts == (None, "ngram-simple n=2", "ngram-simple n=4", "mtp", "head (eagle3)")
    grid = pair_grid(book, folded(facts()), NONE, axes, "speedup")
    assert [grid.cells[0, column].text for column in (1, 2)] == ["1.20x K=4", "1.50x K=4"]
    assert grid.cells[0, 0].text == "10.00/s"


def test_sizes_by_lengths() -> None:
    book = book_of(facts())
    assert methods_and_lengths(book, TARGET, NONE) == (("ngram-simple n=2", "ngram-simple n=4", "mtp"), (4, 8))
    grid = length_grid(book, folded(facts()), TARGET, NONE, "speedup")
    texts = [[grid.cells[row, column].text for column in range(2)] for row in range(3)]
    assert texts == [["1.20x", "1.10x"], ["1.50x", "0.80x"], ["1.00x", "n/a"]]
    assert (grid.cells[1, 0].marks, grid.cells[1, 1].sign) == ("*", "-")


def test_t_goes_on_to_sizes_by_lengths_where_there_are_some() -> None:
    book = book_of(facts())
    state = ResultsView().settled(book)
    turned = [state := state.turned(book) for _ in range(3)]
    assert [(each.by_k, each.by_length) for each in turned] == [(True, False), (False, True), (False, False)]
    assert (turned[1].draft, turned[1].k) == ("ngram-simple n=2", 4), "a cell that is there"
    lengths = turned[1].at(book, 1, 1)
    assert (lengths.draft, lengths.k, lengths.cursor(book)) == ("ngram-simple n=4", 8, (1, 1))
    opened = lengths.opened(book)
    assert (opened.by_k, opened.by_length, opened.pair) == (True, False, (TARGET, "ngram-simple n=4"))
    assert not lengths.back().by_length
    without = book_of(facts(None, [BASE, step(4), step(8)]))
    first = ResultsView().settled(without).turned(without)
    assert (first.by_k, first.turned(without).by_k, first.turned(without).by_length) == (True, False, False)


async def test_the_map_of_sizes_is_drawn() -> None:
    async with dashboard(ScriptedSource(facts()), size=(100, 30), show="results") as (app, pilot):
        await pilot.press("t", "t")
        await pilot.pause()
        shown = screen_text(app)
        assert "method by K" in shown
        rows = [line for line in shown.splitlines() if "n=2" in line or "n=4" in line]
        assert any("1.20" in line and "1.10" in line for line in rows)
        assert any("1.50" in line and "0.80" in line for line in rows)
        await pilot.press("down", "right", "enter")
        await pilot.pause()
        assert "ngram-simple n=4" in screen_text(app)


# -- the queue editor --------------------------------------------------------------------------------------------------


def test_other_ks_are_other_steps_of_the_same_size() -> None:
    view = folded(facts(1))
    (remove, add) = edit_actions.changed(view.steps, [NGRAMS[1].id], (16,), None)
    assert remove == cmd.Remove((NGRAMS[1].id,))
    assert isinstance(add, cmd.Add)
    assert [(each.method, each.value("ngram_n"), each.k, each.draft) for each in add.steps] == [
        ("ngram-simple", 2, 16, None)
    ]
    with pytest.raises(IllegalEdit, match="a baseline has no K"):
        edit_actions.changed(folded([started(STEPS)]).steps, [BASE.id], (16,), None)


def test_steps_are_skipped_moved_and_added_like_any_other() -> None:
    steps = folded(facts(1)).steps
    for edits in (
        edit_actions.toggled(steps, [MTP.id]),
        edit_actions.run_next(steps, [MTP.id]),
        edit_actions.shifted(steps, [NGRAMS[2].id], True, KScope.STARTUP),
    ):
        assert apply_edits(steps, edits, KScope.STARTUP).keys() == steps.keys()
        assert all(decode_edit(encode_edit(edit)) == edit for edit in edits)


def test_what_can_be_added_are_the_ways_that_the_run_has() -> None:
    view = folded([*facts(1), ev.ModelRead("head", "draft", "/m/h.gguf", 2**20, "eagle3", "F16", "dense-small")])
    found = [
        DiscoveredModel("/m/other.gguf", "other", size_bytes=1, architecture="eagle3"),
        DiscoveredModel("/m/d.gguf", "d", size_bytes=1),
    ]
    ways = ways_of(view, offers(view, found, "draft"))
    assert {name: (way.draft, way.method, way.params.get("ngram_n")) for name, way in ways.items()} == {
        None: (None, "baseline", None),
        METHOD + "ngram-simple n=2": (None, "ngram-simple", 2),
        METHOD + "ngram-simple n=4": (None, "ngram-simple", 4),
        METHOD + "mtp": (None, "mtp", None),
        "head": ("head", "eagle3", None),
        "other": ("other", "eagle3", None),
        "d": ("d", "draft", None),
    }
    assert [ways[chosen_as(each)].label for each in (BASE, NGRAMS[0], MTP, HEAD)] == [
        "baseline", "ngram-simple n=2", "mtp", "head (eagle3)",
    ]  # fmt: skip
    matrix = edit_actions.Matrix((TARGET,), tuple(ways.values())[:4], (16,), categories=("coding",))
    new, taken = edit_actions.matrix_steps(matrix, view.steps)
    assert ([each.id.split(" | ")[1] for each in new], taken) == (
        ["ngram-simple n=2 K=16", "ngram-simple n=4 K=16", "mtp K=16"], 1,
    )  # fmt: skip
    with pytest.raises(IllegalEdit, match="needs a K"):
        edit_actions.added(replace(matrix, ks=()), view.steps, (), None)


def test_what_is_added_has_the_ks_that_its_method_can_have() -> None:
    ways = (
        edit_actions.Drafter(None, "ngram-simple"),
        edit_actions.Drafter(None, "ngram-cache"),
        edit_actions.Drafter("d", "draft"),
    )
    matrix = edit_actions.Matrix(
        (TARGET,), ways, (4, 16), categories=("coding",), can=lambda method: KINDS["llama-server"].abilities_of(method)
    )
    new, _ = edit_actions.matrix_steps(matrix, {})
    assert [(each.method, each.k) for each in new] == [
        ("ngram-simple", 16), ("ngram-cache", 8), ("draft", 4), ("draft", 16),
    ]  # fmt: skip
    assert [(each.label, each.ks, each.taken) for each in matrix.left_out] == [
        ("ngram-simple", (4,), None), ("ngram-cache", (4,), None), ("ngram-cache", (16,), 8),
    ]  # fmt: skip
    with pytest.raises(IllegalEdit, match="ngram-simple: K = 4 is left out, since it drops drafts shorter"):
        edit_actions.added(replace(matrix, ways=ways[:1], ks=(4,)), {}, (), None)


async def test_a_method_is_added_in_the_dialog() -> None:
    async with dashboard(ScriptedSource(facts(1)), size=(120, 36), show="queue") as (app, pilot):
        await pilot.press("a")
        await pilot.pause()
        await finished(pilot)
        await pilot.pause()
        shown = screen_text(app)
        for name in ("(none: the baseline)", "ngram-simple n=2", "ngram-simple n=4", "mtp", "head"):
            assert name in shown
        field = app.screen.query_one("#add-ks")
        field.value = "32"  # type: ignore[attr-defined]
        await pilot.pause()
        await pilot.press("enter")
        await pilot.pause()
        (edit,) = app.screen_stack[-1].staged.edits  # type: ignore[attr-defined]
        assert {(each.method, each.value("ngram_n"), each.k) for each in edit.steps} == {("ngram-simple", 2, 32)}


def test_loads_of_methods_have_names() -> None:
    key = LoadKey.of(TARGET, 8, method="ngram-simple", ngram_n=4)
    assert (key.label, key.drafter) == (f"{TARGET}, ngram-simple n=4, K 8", "ngram-simple n=4")
