"""What drafts with several values of its parameters is shown by K, in the report and on the results screen alike."""

from __future__ import annotations

from dataclasses import replace

from specdash.analysis.build_result import result_of
from specdash.analysis.figures import FiguresCache
from specdash.core.axes import NONE
from specdash.core.state import RunState
from specdash.report.export import to_csv
from specdash.report.html import to_html
from specdash.store.result_json import document_of, to_document
from specdash.ui.tui.results.heatmap import length_grid, methods_and_lengths
from tests.support.recorded_run import DRAFT, TARGET, folded, loaded, measured, started, step

BASE = step()
ARMS = [step(k, p_min=p_min) for p_min in (0.0, 0.75) for k in (2, 4)]


def view() -> RunState:
    facts = [started([BASE, *ARMS]), *loaded(), *measured(BASE, [10.0] * 6)]
    for number, arm in enumerate(ARMS, start=2):
        facts += [*loaded(f"l{number:03d}", arm.k), *measured(arm, [10.0 + number] * 6, load=f"l{number:03d}")]
    return folded(facts)


def test_the_report_has_a_map_of_k_by_p_min() -> None:
    text = to_html(result_of(view()))
    part = text[text.index("Speedup of each draft by its parameters and K") :]
    rows = [DRAFT, f"{DRAFT} p_min=0.75"]
    assert all(f">{row}<" in part for row in rows), part
    assert part.count('<td class="h f') == 4
    assert "1.50" in part


def test_the_results_screen_has_a_map_of_k_by_p_min() -> None:
    found = view()
    book = FiguresCache()
    book.update(found, 60.0)
    assert methods_and_lengths(book, TARGET, NONE) == ((DRAFT, f"{DRAFT} p_min=0.75"), (2, 4))
    grid = length_grid(book, found, TARGET, NONE, "speedup")
    assert (grid.rows, grid.columns) == ((DRAFT, f"{DRAFT} p_min=0.75"), ("K=2", "K=4"))
    assert [grid.cells[place].text for place in ((0, 0), (0, 1), (1, 0), (1, 1))] == [
        "1.20x",
        "1.30x",
        "1.40x",
        "1.50x",
    ]


def test_every_parameter_has_a_column_in_the_csv_and_a_place_in_the_stages() -> None:
    result = document_of(view())
    heading, *_ = to_csv(result_of(view())).splitlines()
    columns = heading.split(",")
    assert columns[:13] == [
        "run", "measurement", "load", "target", "draft", "method", "config", "moe_experts", "k", "workload", "category",
        "depth", "ngram_n",
    ]  # fmt: skip
    assert columns[-2:] == ["p_min", "n_min"], "later columns come last"
    rows = {(each["k"], each.get("p_min", 0.0)): each["stages"] for each in result["measurements"] if each["k"]}
    assert rows[4, 0.75] == [{"method": "draft", "draft": DRAFT, "n_max": 4, "p_min": 0.75, "n_min": 0}]
    assert rows[2, 0.0][0]["p_min"] == 0
    assert [each["stages"] for each in result["measurements"] if each["k"] is None] == [[]]
    best = result["recommendations"][0]
    assert (best["k"], best["p_min"]) == (4, 0.75)


def test_what_a_kind_of_engine_cannot_set_is_unknown_in_the_stages() -> None:
    found = result_of(view())
    of_mlx = to_document(replace(found, engine=replace(found.engine, kind="mlx")))
    stages = [stage for row in of_mlx["measurements"] for stage in row["stages"]]
    assert stages
    assert all(stage["p_min"] is None and stage["n_min"] is None for stage in stages)
