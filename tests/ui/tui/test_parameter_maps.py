"""What drafts with several values of its parameters is shown by K, in the report and on the results screen alike."""

from __future__ import annotations

from recorded_run import DRAFT, TARGET, folded, loaded, measured, started, step

from specdash.analysis.result import build_result
from specdash.core.axes import NONE
from specdash.core.view import View
from specdash.store.export import to_csv
from specdash.store.html.heatmap import heatmap
from specdash.ui.tui.results.figures import Book
from specdash.ui.tui.results.heatmap import length_grid, lengths_of

BASE = step()
ARMS = [step(k, p_min=p_min) for p_min in (0.0, 0.75) for k in (2, 4)]


def view() -> View:
    facts = [started([BASE, *ARMS]), *loaded(), *measured(BASE, [10.0] * 6)]
    for number, arm in enumerate(ARMS, start=2):
        facts += [*loaded(f"l{number:03d}", arm.k), *measured(arm, [10.0 + number] * 6, load=f"l{number:03d}")]
    return folded(facts)


def test_the_report_has_a_map_of_k_by_p_min() -> None:
    text = str(heatmap(build_result(view())))
    part = text[text.index("Speedup of each draft by its parameters and K") :]
    rows = [DRAFT, f"{DRAFT} p_min=0.75"]
    assert all(f">{row}<" in part for row in rows), part
    assert part.count('<td class="h f') == 4
    assert "1.50" in part


def test_the_results_screen_has_a_map_of_k_by_p_min() -> None:
    found = view()
    book = Book()
    book.update(found, 60.0)
    assert lengths_of(book, TARGET, NONE) == ((DRAFT, f"{DRAFT} p_min=0.75"), (2, 4))
    grid = length_grid(book, found, TARGET, NONE, "speedup")
    assert (grid.rows, grid.columns) == ((DRAFT, f"{DRAFT} p_min=0.75"), ("K=2", "K=4"))
    assert [grid.cells[place].text for place in ((0, 0), (0, 1), (1, 0), (1, 1))] == [
        "1.20x",
        "1.30x",
        "1.40x",
        "1.50x",
    ]


def test_every_parameter_has_a_column_in_the_csv_and_a_place_in_the_stages() -> None:
    result = build_result(view())
    heading, *_ = to_csv(result).splitlines()
    assert heading.split(",")[:14] == [
        "run", "measurement", "load", "target", "draft", "method", "config", "moe_experts", "k", "workload", "category",
        "depth", "ngram_n", "p_min",
    ]  # fmt: skip
    rows = {(each["k"], each.get("p_min", 0.0)): each["stages"] for each in result["measurements"] if each["k"]}
    assert rows[4, 0.75] == [{"method": "draft", "draft": DRAFT, "n_max": 4, "p_min": 0.75, "n_min": 0}]
    assert rows[2, 0.0][0]["p_min"] == 0
    assert [each["stages"] for each in result["measurements"] if each["k"] is None] == [[]]
    best = result["recommendations"][0]
    assert (best["k"], best["p_min"]) == (4, 0.75)
