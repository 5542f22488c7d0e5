"""The results screen: figures that agree with the report's, words where there are none, and its keys."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input

from specdash.analysis.build_result import result_of
from specdash.analysis.figures import FiguresCache
from specdash.core import events as ev
from specdash.core.axes import NONE
from specdash.core.plan import Step
from specdash.core.state import RunState
from specdash.core.status import StepStatus
from specdash.remote.run_source import Gone, Origin
from specdash.store.result_json import document_of
from specdash.ui.tui.app import Dashboard
from specdash.ui.tui.lines import LinesWidget, text_of, width_of
from specdash.ui.tui.results import panes
from specdash.ui.tui.results.curve import curves_of
from specdash.ui.tui.results.detail import measurement_of, sample_lines
from specdash.ui.tui.results.export import NAME, ExportDialog, save_export
from specdash.ui.tui.results.heatmap import (
    MEASURES,
    Cell,
    HeatMap,
    axes_of,
    cell_at,
    frame_of,
    grid_lines,
    k_grid,
    markdown_of,
    number,
    pair_grid,
    sign_of,
)
from specdash.ui.tui.results.state import ResultsView
from specdash.ui.tui.results.table import filtered, markdown_table, sorted_rows
from specdash.ui.tui.screens.results import ResultsScreen
from specdash.ui.tui.table import Sorting
from specdash.ui.tui.terminal import ASCII, UNICODE, Terminal
from tests.support.dashboards import SIZES, ScriptedSource, dashboard, finished, screen_text
from tests.support.recorded_run import DRAFT, TARGET, folded, loaded, measured, sample, started, step

CATEGORIES = ("coding", "prose", "chat")
OTHER = "3B Q4"
KS = (2, 8, 16)
GAIN = {2: 1.3, 8: 1.85, 16: 0.8}
NOISE = (0.99, 1.0, 1.01, 1.005, 0.995)


def rates(of: Step) -> list[float]:
    """The rates of a step in the run below: coding gains most, and the other draft makes no difference to chat."""
    if of.k is None:
        return [10.0 * each for each in NOISE]
    gain = GAIN[of.k] * (0.9 if of.draft == OTHER else 1.0)
    if of.category == "chat" and of.draft == OTHER:
        gain = 1.0
    return [10.0 * gain * each for each in reversed(NOISE)]


def all_steps() -> list[Step]:
    base = [step(None, each) for each in CATEGORIES]
    return base + [step(k, each, draft=draft) for draft in (DRAFT, OTHER) for k in KS for each in CATEGORIES]


def a_run(*, until: int | None = None) -> list[ev.Fact]:
    """Two drafts at three Ks on three categories, with a failure, an invalid, a skipped and a noisy step.

    `until`: how many steps are over; the next one has two samples so far.
    """
    steps = all_steps()
    facts: list[ev.Fact] = [started(steps), *loaded("l001", 16)]
    for each in steps[:until]:
        match (each.draft, each.k, each.category):
            case ("0.5B", 16, "prose"):
                facts += measured(each, rates(each)[:2], "failed", verdicts=("http_error",))
            case ("0.5B", 16, "chat"):
                facts += measured(each, rates(each), "invalid", verdicts=("k_not_effective",))
            case ("0.5B", 2, "chat"):
                facts.append(ev.StepFinished(each.id, None, StepStatus.SKIPPED, (), "skipped by you"))
            case ("0.5B", 8, "chat"):
                facts += measured(each, [12.0, 30.0, 15.0, 26.0, 9.0], verdicts=("noisy",))
            case _:
                facts += measured(each, rates(each))
    if until is None:
        return [*facts, ev.RunFinished("finished", 1)]
    running = steps[until]
    facts.append(ev.StepStarted(running.id, "l001", "fp"))
    return facts + [ev.SampleTaken(running.id, "l001", sample(9.0, block, running.k), 1.0) for block in range(2)]


def a_book(view: RunState) -> FiguresCache:
    book = FiguresCache()
    assert book.update(view, 60.0)
    return book


def shown(facts: Iterable[ev.Fact], width: int = 80, height: int = 24, **changes: object) -> str:
    view = folded(facts)
    book = a_book(view)
    state = replace(ResultsView(), **changes).settled(book)  # type: ignore[arg-type]
    drawn = panes.draw(panes.ResultsContext(book, view, UNICODE), state, width, height)
    return "\n".join(text_of(line) for line in drawn.lines)


# -- figures ----------------------------------------------------------------------------------------------------------


def uneven_run() -> list[ev.Fact]:
    """Prompts that differ in speed, and an arm that lacks a sample: where pairs and parts matter to an interval."""
    steps = [step(k, each) for k in (None, 8) for each in CATEGORIES[:2]]
    by_prompt = [10.0, 20.0, 40.0] * 3
    facts: list[ev.Fact] = [started(steps), *loaded("l001", 16)]
    for place, each in enumerate(steps):
        gain = 1.0 if each.k is None else 1.2
        noise = [1 + 0.01 * ((place * 7 + block * 5) % 4) for block in range(9)]
        facts += measured(each, [rate * gain * wobble for rate, wobble in zip(by_prompt, noise, strict=True)][place:])
    return facts


@pytest.mark.parametrize("facts", [pytest.param(a_run, id="even"), pytest.param(uneven_run, id="uneven")])
def test_the_figures_are_those_of_the_report(facts: Callable[[], list[ev.Fact]]) -> None:
    view = folded(facts())
    book, result = a_book(view), document_of(view)
    assert len(result["measurements"]) == len(book.rows)
    for entry in result["measurements"]:
        figures = book.rows[entry["step"]].figures
        rate, faster = entry["summary"].get("decode_tok_s"), entry["speedup"]
        assert (figures.rate.mean if figures.rate is not None else None) == (rate["mean"] if rate else None)
        assert (list(figures.rate.ci95 or ()) if figures.rate is not None else None) == (rate["ci95"] if rate else None)
        assert (figures.speedup.value if figures.speedup else None) == (faster["value"] if faster else None)
        assert (list(figures.speedup.ci95 or ()) if figures.speedup else None) == (faster["ci95"] if faster else None)
        assert figures.acceptance == entry["acceptance_rate"]
        assert figures.tokens_per_step == entry["tokens_per_step"]
    for entry, arm in zip(result["overall"], book.arms.values(), strict=True):
        assert (arm.step.draft, arm.step.k) == (entry["draft"], entry["k"])
        assert list(arm.missing) == entry["missing"]
        assert (arm.figures.speedup.value if arm.figures.speedup else None) == (
            entry["speedup"]["value"] if entry["speedup"] else None
        )
        assert (list(arm.figures.speedup.ci95 or ()) if arm.figures.speedup else None) == (
            entry["speedup"]["ci95"] if entry["speedup"] else None
        )
        assert (list(arm.figures.rate.ci95 or ()) if arm.figures.rate else None) == (
            entry["summary"]["decode_tok_s"]["ci95"] if entry["summary"] else None
        )


def test_only_what_changed_is_computed_again() -> None:
    book, facts = FiguresCache(), a_run()
    before = folded(facts[:-30])
    book.update(before, 60.0)
    kept = dict(book.rows)
    after = folded(facts)
    # The same views of steps, but for those that the last facts are about: as a dashboard folds them.
    steps = {
        step_id: before.steps[step_id] if before.steps[step_id] == found else found
        for step_id, found in after.steps.items()
    }
    changed = {step_id for step_id in steps if steps[step_id] is not before.steps[step_id]}
    assert 0 < len(changed) < len(steps)
    assert book.update(replace(after, steps=steps), 60.0)
    assert {step_id for step_id in steps if book.rows[step_id] is not kept[step_id]} == changed
    version = book.version
    assert book.update(replace(after, steps=steps), 60.0)
    assert book.version == version


def test_a_book_without_time_says_how_much_is_left_and_gets_there() -> None:
    view, book = folded(a_run()), FiguresCache()
    assert not book.update(view, 0.0)
    assert book.pending == len(view.steps)
    assert set(book.rows) == set(view.steps)
    turns = 0
    while not book.update(view, 0.0005):
        turns += 1
        assert turns < 10_000
    assert book.pending == 0
    assert {step_id: row.figures for step_id, row in book.rows.items()} == {
        step_id: row.figures for step_id, row in a_book(view).rows.items()
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (math.nan, "NaN"), (math.inf, "inf"), (0.0, "0.00"), (7.984, "7.98"), (99.96, "100.0"),
     (1234.5, "1234"), (1e300, "1.0e+300"), (0.0001, "1.0e-04")],
)  # fmt: skip
def test_numbers_never_become_long(value: float | None, text: str) -> None:
    assert number(value) == text
    assert len(number(value)) <= 8


# -- heat maps --------------------------------------------------------------------------------------------------------


def cell(facts: Iterable[ev.Fact], row: str, column: str, *, by_k: bool = True, measure: int = 0) -> Cell:
    """One cell of the pair 72B + 0.5B, or of all pairs."""
    view = folded(facts)
    book = a_book(view)
    measure_name = MEASURES[measure]
    if by_k:
        grid = k_grid(book, view, (TARGET, DRAFT), NONE, measure_name)
    else:
        grid = pair_grid(book, view, NONE, axes_of(book), measure_name)
    return grid.cells[grid.rows.index(row), grid.columns.index(column)]


def test_a_pair_shows_its_best_k_with_its_speedup() -> None:
    best = cell(a_run(), TARGET, DRAFT, by_k=False)
    assert best.text.endswith("x K=8")
    assert best.sign == "+"
    assert "*" in best.marks
    assert "!" in best.marks
    assert cell(a_run(), TARGET, "no draft", by_k=False).text == "10.00/s"


@pytest.mark.parametrize(
    ("category", "k", "text", "sign"),
    [
        ("coding", "K=8", "1.85x", "+"),
        ("coding", "K=16", "0.80x", "-"),
        ("prose", "K=16", "FAIL", " "),
        ("chat", "K=16", "INVALID", " "),
        ("chat", "K=2", "skip", " "),
        ("chat", "no draft", "10.00/s", " "),
    ],
)
def test_every_cell_says_something(category: str, k: str, text: str, sign: str) -> None:
    found = cell(a_run(), category, k)
    assert (found.text, found.sign) == (text, sign)


def test_a_cell_that_is_no_different_from_the_baseline_says_so() -> None:
    view = folded(a_run())
    book = a_book(view)
    grid = k_grid(book, view, (TARGET, OTHER), NONE, "speedup")
    found = grid.cells[grid.rows.index("chat"), grid.columns.index("K=8")]
    assert (found.sign, found.style) == ("=", "")


def test_open_and_running_cells_are_named_while_a_run_is_at_work() -> None:
    facts = a_run(until=4)
    assert cell(facts, "prose", "K=2").text == "RUN 2/5"
    assert cell(facts, "chat", "K=8").text == "...."
    assert cell(facts, TARGET, OTHER, by_k=False).text == "...."


def test_colours_only_repeat_signs() -> None:
    view = folded(a_run())
    grid = k_grid(a_book(view), view, (TARGET, DRAFT), NONE, "speedup")
    for found in grid.cells.values():
        assert (found.style == "faster") == (found.sign == "+")
        assert (found.style == "slower") == (found.sign == "-")
        assert found.text


@pytest.mark.parametrize("measure", range(len(MEASURES)))
def test_no_measure_leaves_a_cell_blank(measure: int) -> None:
    view = folded(a_run())
    book = a_book(view)
    for grid in (
        k_grid(book, view, (TARGET, DRAFT), NONE, MEASURES[measure]),
        pair_grid(book, view, NONE, axes_of(book), MEASURES[measure]),
    ):
        assert set(grid.cells) == {(r, c) for r in range(len(grid.rows)) for c in range(len(grid.columns))}
        assert all(found.text.strip() for found in grid.cells.values())


def test_the_cursor_is_seen_without_colours_and_stays_in_sight() -> None:
    cells = {(r, c): Cell(f"{r}.{c}") for r in range(50) for c in range(40)}
    rows, columns = tuple(f"row {r}" for r in range(50)), tuple(f"K={c}" for c in range(40))
    grid = HeatMap("many", "row", rows, columns, cells)
    for cursor in ((0, 0), (49, 39), (25, 20)):
        frame = frame_of(grid, cursor, 80, 12)
        lines = [text_of(line) for line in grid_lines(grid, cursor, frame, 80, ASCII)]
        assert len(lines) == 12
        assert all(len(line) <= 80 for line in lines)
        marked = [line for line in lines if ">" in line and f"{cursor[0]}.{cursor[1]} " in line]
        assert len(marked) == 1
        y, x = lines.index(marked[0]), marked[0].index(">") + 1
        assert cell_at(grid, frame, x, y) == cursor


def test_a_grid_as_markdown_has_every_cell_and_no_markup_of_labels() -> None:
    grid = HeatMap("t", "target", ("a|b",), ("no draft", "*x*"), {(0, 0): Cell("7.98/s"), (0, 1): Cell("FAIL")})
    lines = markdown_of(grid).splitlines()
    assert lines[0] == r"| target | no draft | \*x\* |"
    assert lines[2] == r"| a\|b | 7.98/s | FAIL |"


# -- odd runs ---------------------------------------------------------------------------------------------------------


def odd_runs() -> Iterator[tuple[str, list[ev.Fact], str]]:
    """Runs with nothing to divide by, and a word that must be on the screen."""
    spec = [step(8, each) for each in CATEGORIES]
    base = [step(None, each) for each in CATEGORIES]
    both = [*base, *spec]
    head = [started(both), *loaded("l001", 8)]
    yield "no steps", [started([])], "no steps"
    yield "no baseline", [started(spec), *loaded("l001", 8), *measured(spec[0], [9.0, 9.1])], "no base"
    yield "one sample", [*head, *measured(base[0], [5.0]), *measured(spec[0], [9.0])], "1.80x K=8 ?"
    failed: list[ev.Fact] = [*head]
    for each in both:
        failed += measured(each, [], "failed")
    yield "all failed", failed, "FAIL"
    failed_base = [*head, *measured(base[0], [], "failed"), *measured(spec[0], [9.0, 9.2])]
    yield "failed baseline", failed_base, "base FAIL K=8"
    no_number = [*head, *measured(base[0], [5.0, 5.1])]
    no_number += [ev.StepStarted(spec[0].id, "l001", "fp")]
    for block, value in enumerate((math.nan, math.inf)):
        broken = replace(sample(9.0, block, 8), decode_tok_s=value, ttft_s=value)
        no_number.append(ev.SampleTaken(spec[0].id, "l001", broken, 1.0))
    no_number.append(ev.StepFinished(spec[0].id, "l001", StepStatus.OK, (), None, "fp"))
    yield "no numbers", no_number, "no rate"
    zero = [*head, *measured(base[0], [5.0, 5.1]), ev.StepStarted(spec[0].id, "l001", "fp")]
    zero += [ev.SampleTaken(spec[0].id, "l001", replace(sample(9.0, 0, 8), decode_tok_s=0.0), 1.0)]
    zero += [ev.StepFinished(spec[0].id, "l001", StepStatus.OK, (), None, "fp")]
    yield "rate of zero", zero, "no rate"
    nasty = "\x1b[31m[bold]日本\n語" * 4
    named = [step(None, nasty, target=nasty), step(8, nasty, target=nasty, draft=nasty)]
    facts = [started(named), *loaded("l001", 8), *measured(named[0], [5.0, 5.1]), *measured(named[1], [9.0, 9.1])]
    yield "nasty labels", facts, "<1b>"


ODD = {name: (facts, word) for name, facts, word in odd_runs()}


@pytest.mark.parametrize("name", ODD)
def test_words_stand_where_a_number_would(name: str) -> None:
    facts, word = ODD[name]
    assert word in shown(facts, 120, 40)


@pytest.mark.parametrize("name", [*ODD, "usual", "live"])
@pytest.mark.parametrize("glyphs", [ASCII, UNICODE], ids=["ascii", "unicode"])
def test_every_view_fits_every_size(name: str, glyphs: object) -> None:
    facts = a_run() if name == "usual" else a_run(until=9) if name == "live" else ODD[name][0]
    view = folded(facts)
    book = a_book(view)
    first = next(iter(book.rows), None)
    for width, height in ((1, 1), (2, 30), (39, 9), (40, 10), (60, 15), (80, 21), (119, 30), (120, 33), (240, 77)):
        for state in (
            ResultsView(),
            ResultsView(by_k=True, category="coding", k=8, measure="tok/s"),
            ResultsView(view="curve"),
            ResultsView(view="table", sorting=Sorting("speedup")),
            ResultsView(view="samples", step_id=first),
            ResultsView(view="table", words="nowhere to be found"),
        ):
            drawn = panes.draw(panes.ResultsContext(book, view, glyphs), state.settled(book), width, height)  # type: ignore[arg-type]
            assert len(drawn.lines) <= height
            for line in drawn.lines:
                assert width_of(line) <= width
                text = text_of(line)
                assert "\n" not in text
                assert "\x1b" not in text
                if glyphs is ASCII and name != "nasty labels":
                    assert text.isascii()


# -- table ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", ["heat", "table", "samples"])
@pytest.mark.parametrize("width", range(40, 200, 7))
def test_an_interval_stands_as_a_whole_or_not_at_all(view: str, width: int) -> None:
    """Of rates between 9 and 30, whose interval was once told from -4.80 on."""
    lines = shown(a_run(), width, 36, view=view, words="k=8", step_id=step(8, "chat").id).splitlines()
    text = "\n".join(lines)
    whole = ("[5.21,64.92]", "[1.00,3.39]", "[15.77,21.62]", "[1.45,2.35]")
    assert view == "heat" or "18.40" in text
    for line in lines:
        for piece in re.findall(r"\[[^\]]*", line.replace("[", " [")):
            assert not re.search(r"-\d", piece)
        assert line.count("[") == line.count("]"), line
        assert not re.search(r"\d…|\d\.\.(?!\.? )", line.replace("p95", "")), line
    assert width < 120 or any(each in text for each in whole)


def test_what_stands_beside_the_decode_rate_comes_before_what_was_drafted() -> None:
    heads = {width: shown(a_run(), width, 36, view="table").splitlines() for width in (80, 90, 100)}
    columns = {width: next(line.split() for line in lines if "tok/s" in line and "draft" in line)
               for width, lines in heads.items()}  # fmt: skip
    names = ("total", "ttft", "prefill", "acc")
    assert [name for name in names if name in columns[80]] == ["total"]
    assert [name for name in names if name in columns[90]] == ["total", "ttft"]
    assert [name for name in names if name in columns[100]] == list(names)
    assert "8.20s" in "\n".join(heads[80])


def test_a_table_is_sorted_with_the_unknown_last_both_ways() -> None:
    rows = list(a_book(folded(a_run())).rows.values())
    for reverse in (False, True):
        found = sorted_rows(rows, Sorting("speedup", reverse))
        values = [row.figures.speedup.value if row.figures.speedup else None for row in found]
        known = [value for value in values if value is not None]
        assert known == sorted(known, reverse=not reverse)
        assert None not in values[: len(known)]
    assert [row.step.k for row in sorted_rows(rows, Sorting("K"))][:3] == [2, 2, 2]
    assert sorted_rows(rows, Sorting()) == rows


def test_a_filter_takes_all_its_words_and_a_k_alone() -> None:
    steps = [step(k, each) for k in (1, 16) for each in CATEGORIES]
    rows = list(a_book(folded([started(steps)])).rows.values())
    assert len(filtered(rows, "")) == 6
    assert [row.step.id for row in filtered(rows, "K=1 CHAT")] == [step(1, "chat").id]
    assert filtered(rows, "k=1 nowhere") == []


def test_a_copied_table_stays_below_what_a_terminal_takes() -> None:
    steps = [step(k, f"category {k}") for k in range(1, 1500)]
    view = folded([started(steps)])
    rows = list(a_book(view).rows.values())
    text, count = markdown_table(rows, view)
    assert 0 < count < len(rows)
    assert len(text.encode()) < 70_000
    assert len(text.splitlines()) == count + 2


# -- curve, samples ---------------------------------------------------------------------------------------------------


def test_the_curve_is_of_the_pair_with_its_baseline() -> None:
    book = a_book(folded(a_run()))
    curves, baseline = curves_of(book, (TARGET, DRAFT), NONE, "coding", "tok/s")
    assert baseline == pytest.approx(10.0)
    assert [k for k, _, _ in curves["coding"]] == [2, 8, 16]
    assert [value for _, value, _ in curves["coding"]] == pytest.approx([13.0, 18.5, 8.0])
    assert [k for k, _, _ in curves["all"]] == [8]  # the other Ks lack a category, so their rates do not compare
    curves, baseline = curves_of(book, (TARGET, DRAFT), NONE, None, "speedup")
    assert baseline == 1.0
    assert [k for k, _, _ in curves["all"]] == [2, 8, 16]
    low, high = curves["all"][2][2]
    assert low < curves["all"][2][1] < high
    assert curves_of(book, (TARGET, None), NONE, None, "tok/s") == ({}, None)


def test_samples_are_shown_with_reasons_verdicts_and_the_command() -> None:
    view = folded(a_run())
    row = a_book(view).rows[step(16, "chat").id]
    text = "\n".join(text_of(line) for line in sample_lines(row, view, 100, UNICODE))
    assert "k_not_effective: The server drafted another number of tokens" in text
    assert "llama-server -m '/models/big model.gguf'" in text
    assert text.count("limit  p") == 5
    good = a_book(view).rows[step(8).id]
    text = "\n".join(text_of(line) for line in sample_lines(good, view, 100, UNICODE))
    entry = measurement_of(good.found, view)
    assert entry is not None
    assert f"{(entry.drift or 0) * 100:+.1f} %" in text
    assert "1:75%  2:67%" in text or "1:75%  2:50%" in text
    assert "8 seen in force" in text


def test_a_measurement_alone_gives_the_entry_of_the_whole_result() -> None:
    view = folded(a_run())
    whole = {entry.name: entry for entry in result_of(view).measurements}
    for step_id, found in view.steps.items():
        entry = measurement_of(found, view)
        assert entry is not None
        assert replace(entry, id="") == replace(whole[step_id], id="")


def test_a_sample_whose_rate_is_no_number_breaks_nothing() -> None:
    facts, _ = ODD["no numbers"]
    view = folded(facts)
    row = a_book(view).rows[step(8).id]
    text = "\n".join(text_of(line) for line in sample_lines(row, view, 100, UNICODE))
    assert "NaN" in text
    assert "inf" in text


# -- the screen -------------------------------------------------------------------------------------------------------


def a_source(**changes: object) -> ScriptedSource:
    return ScriptedSource(a_run(), gone=Gone("the run is over"), **changes)  # type: ignore[arg-type]


async def settled(app: Dashboard, pilot: Pilot[int]) -> None:
    """Waits until charts are loaded and every figure is computed."""
    await finished(pilot)
    await pilot.pause()


def body(app: Dashboard) -> str:
    """The screen between its header and the connection line, which tell the time."""
    return "\n".join(screen_text(app).splitlines()[1:-2])


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(
    "keys",
    [(), ("enter", "up", "right"), ("b", "s", "s", "s"), ("c",), ("b", "down", "down", "down", "down", "enter")],
    ids=["pairs", "ks", "table", "curve", "samples"],
)
async def test_views_look_as_they_did(
    size: tuple[int, int], keys: tuple[str, ...], snapshot: SnapshotAssertion
) -> None:
    async with dashboard(a_source(), size=size, show="results") as (app, pilot):
        await settled(app, pilot)
        await pilot.press(*keys)
        await settled(app, pilot)
        assert body(app) == snapshot


async def test_a_person_with_keys_only_gets_from_a_pair_to_a_sample_and_back() -> None:
    async with dashboard(a_source(), show="results") as (app, pilot):
        assert "1.80x" not in body(app).splitlines()[0]
        await pilot.press("right")
        assert f"{TARGET} + {OTHER}" in body(app)
        await pilot.press("left", "enter")
        assert "category" in body(app)
        await pilot.press("k")
        assert "chat  K=8" in body(app)
        assert "noisy" in body(app)
        await pilot.press("enter")
        assert "Samples" in body(app)
        assert "30.00" in body(app)
        await pilot.press("escape", "escape")
        assert "target by draft" in body(app)


async def test_all_categories_of_a_k_open_as_a_table() -> None:
    async with dashboard(a_source(), show="results") as (app, pilot):
        await pilot.press("enter", "G", "enter")
        assert "3 of 21 measurements" in body(app)
        await pilot.press("escape")
        assert "21 measurements" in body(app)


async def test_measures_change_with_a_key() -> None:
    async with dashboard(a_source(), show="results") as (app, pilot):
        for measure in (*MEASURES[1:], MEASURES[0]):
            await pilot.press("m")
            assert f"best K   {measure}" in body(app)


async def test_the_filter_narrows_the_table_and_escape_clears_it() -> None:
    async with dashboard(a_source(), show="results") as (app, pilot):
        await pilot.press("slash")
        await pilot.press(*"chat", "space", *"k=8")
        assert "2 of 21 measurements" in body(app)
        await pilot.press("enter", "s")
        assert app.screen.focused is None
        assert "2 of 21 measurements" in body(app)
        await pilot.press("escape")
        assert "21 measurements" in body(app)
        assert app.screen.query_one("#results-field", Input).value == ""


async def test_a_paste_of_a_megabyte_into_the_filter_is_cut() -> None:
    async with dashboard(a_source(), show="results") as (app, pilot):
        await pilot.press("slash")
        box = app.screen.query_one("#results-field", Input)
        box.post_message(events.Paste("x" * 1_000_000))
        await pilot.pause()
        assert len(box.value) <= 200
        await pilot.press(*"nowhere")
        assert "no measurement has these words" in body(app)


async def test_clicks_choose_a_cell_sort_by_a_column_and_choose_a_row() -> None:
    async with dashboard(a_source(), size=(160, 48), show="results") as (app, pilot):
        await settled(app, pilot)
        lines = screen_text(app).splitlines()
        at = next(y for y, line in enumerate(lines) if line.startswith(TARGET))
        await pilot.click(offset=(lines[at].index("K=8", lines[at].index("K=8") + 1), at))
        assert f"{TARGET} + {OTHER}" in screen_text(app)
        head = next(y for y, line in enumerate(lines) if line.startswith(" target"))
        await pilot.click(offset=(lines[head].index("speedup"), head))
        assert "sort: speedup" in screen_text(app)
        await pilot.click(offset=(lines[head].index("speedup"), head))
        assert "sort: speedup reversed" in screen_text(app)
        await pilot.click(offset=(20, head + 4))
        assert screen_text(app).splitlines()[head + 4].startswith("▶")


async def test_copying_goes_through_the_terminal() -> None:
    async with dashboard(a_source(), show="results") as (app, pilot):
        await pilot.press("y")
        assert app.clipboard.splitlines()[0] == f"| target | no draft | {DRAFT} | {OTHER} |"
        await pilot.press("b", "y")
        assert len(app.clipboard.splitlines()) == 23
        await pilot.press("down", "down", "Y")
        assert app.clipboard == "llama-server -m '/models/big model.gguf'"


async def test_nothing_breaks_before_a_run_is_there() -> None:
    async with dashboard(ScriptedSource([]), show="results") as (app, pilot):
        for binding in ResultsScreen.BINDINGS:
            for key in binding.key.split(","):  # type: ignore[union-attr]
                await pilot.press(key)
            await pilot.press("escape")
        assert "no steps yet" in screen_text(app)


async def test_a_live_run_grows_under_the_cursor() -> None:
    facts = a_run()
    async with dashboard(ScriptedSource(a_run(until=9)), show="results") as (app, pilot):
        await pilot.press("right", "enter")
        assert "...." in body(app)
        app.feed = replace(app.feed, view=folded(facts))
        app.screen.paint()  # type: ignore[attr-defined]
        await settled(app, pilot)
        assert "...." not in body(app)
        assert OTHER in body(app)


async def test_no_colour_of_a_chart_reaches_a_terminal_without_colours() -> None:
    async with dashboard(a_source(), terminal=Terminal(ASCII, "none"), show="results") as (app, pilot):
        await settled(app, pilot)
        await pilot.press("c")
        await settled(app, pilot)
        strips = app.screen.query_one("#results-body").render_lines(app.screen.size.region)
        styles = [segment.style for strip in strips for segment in strip if segment.style is not None]
        assert "speedup by K" in body(app)
        chart = [style for style in styles if style.color is not None and not style.color.is_default]
        assert not {style.color.name for style in chart if style.color} & {"color(6)", "color(5)", "color(3)"}
        assert body(app).isascii()


# -- export -----------------------------------------------------------------------------------------------------------


async def export(app: Dashboard, pilot: Pilot[int], downs: int, path: Path | None = None) -> None:
    """Opens the dialog, takes the format so many down, and writes to `path`, or where it proposes."""
    await pilot.press("x")
    await pilot.press(*["down"] * downs, "enter")
    if path is not None:
        app.screen.query_one("#export-path", Input).value = str(path)
    await pilot.press("enter")
    await settled(app, pilot)


def note(app: Dashboard) -> str:
    return " ".join(text_of(line).strip() for line in app.screen.query_one("#form-message", LinesWidget).lines)


@pytest.mark.parametrize(("downs", "kind"), list(enumerate(("md", "html", "csv", "json", "svg"))))
async def test_exports_are_written_where_they_are_proposed(tmp_path: Path, downs: int, kind: str) -> None:
    source = a_source()
    source.origin = Origin(str(tmp_path), "tower", None, True, "0.0")
    async with dashboard(source, show="results") as (app, pilot):
        await export(app, pilot, downs)
        assert not isinstance(app.screen, ExportDialog)
    written = (tmp_path / f"{NAME}.{kind}").read_text()
    if kind == "json":
        assert json.loads(written)["schema"] == "specdash.result/1"
    else:
        assert {"md": "# Speculative decoding", "html": "<!doctype html>", "csv": "run,measurement", "svg": "<svg"}[
            kind
        ] in written
    if kind == "svg":
        assert "by&#160;draft" in written
        assert "Export&#160;results" not in written


async def test_a_file_is_not_replaced_unasked(tmp_path: Path) -> None:
    path = tmp_path / "kept.md"
    path.write_text("mine")
    async with dashboard(a_source(), show="results") as (app, pilot):
        await export(app, pilot, 0, path)
        assert isinstance(app.screen, ExportDialog)
        assert "exists" in note(app)
        assert path.read_text() == "mine"
        await pilot.press("enter")
        await settled(app, pilot)
        assert not isinstance(app.screen, ExportDialog)
        assert path.read_text().startswith("# Speculative decoding")


@pytest.mark.parametrize("name", ["missing/folder/x.md", ".", "a\0b", "~nobody-of-this-name/x.md", " "])
async def test_a_path_that_cannot_be_written_is_said_in_place(tmp_path: Path, name: str) -> None:
    async with dashboard(a_source(), show="results") as (app, pilot):
        before = f"{tmp_path}/" if not name.startswith(("~", " ")) else ""
        await pilot.press("x", "enter")
        app.screen.query_one("#export-path", Input).value = before + name
        await pilot.press("enter")
        await settled(app, pilot)
        assert isinstance(app.screen, ExportDialog)
        assert any(word in note(app) for word in ("cannot", "folder", "Name a file", "not"))
        await pilot.press("escape")
        assert isinstance(app.screen, ResultsScreen)
    assert os.listdir(tmp_path) == []


def test_rates_that_are_no_numbers_are_written_as_unknown(tmp_path: Path) -> None:
    facts, _ = ODD["no numbers"]
    save_export("json", folded(facts), "", str(tmp_path / "x.json"), replace=False)
    text = (tmp_path / "x.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text


def test_signs_of_speedups() -> None:
    from specdash.analysis.stats import Speedup

    assert [
        sign_of(each)
        for each in (
            None,
            Speedup(1.5, None, None),
            Speedup(1.5, 0.1, (1.2, 1.8)),
            Speedup(0.5, 0.1, (0.4, 0.6)),
            Speedup(1.1, 0.5, (0.9, 1.3)),
            Speedup(1.1, 0.5, (0.0, math.inf)),
            Speedup(1.1, 0.5, (math.nan, math.nan)),
        )
    ] == [" ", "?", "+", "-", "=", "=", "?"]
