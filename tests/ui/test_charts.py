"""Charts as text: what must be on them, and what must not."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

import pytest

from specdash.ui.charts import (
    ASCII_HOLLOW,
    ASCII_MARKERS,
    BASELINE_CURVE,
    HOLLOW,
    MARKERS,
    ChartPoint,
    chart_legend,
    coloured,
    k_curves,
    k_ticks,
    round_ticks,
)


def point(k: int, tok_s: float, half_width: float) -> ChartPoint:
    """A point with an interval that lies evenly around it."""
    return ChartPoint(k, tok_s, (tok_s - half_width, tok_s + half_width))


CURVES: Mapping[str, Sequence[ChartPoint]] = {
    "72B + 0.5B": [point(2, 40.0, 1.0), point(4, 55.0, 3.0), point(8, 48.0, 2.0), point(16, 30.0, 0.0)],
    "72B + 1.5B": [point(2, 35.0, 1.0), point(4, 42.0, 1.0), point(8, 44.0, 6.0)],
}
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def bare(text: str) -> str:
    return ESCAPE.sub("", text)


def draw(
    curves: Mapping[str, Sequence[ChartPoint]] = CURVES, baseline: float | None = 30.0, *, ascii_only: bool = False
) -> str:
    return k_curves(curves, baseline, 60, 14, ascii_only=ascii_only)


def rows_of(text: str, marker: str) -> list[int]:
    """The rows on which a marker stands, from left to right."""
    found = [
        (line.index(marker, at), row) for row, line in enumerate(bare(text).splitlines()) for at in _all(line, marker)
    ]
    return [row for _, row in sorted(found)]


def _all(line: str, marker: str) -> list[int]:
    return [at for at, character in enumerate(line) if character == marker]


def test_the_chart_fits_its_size() -> None:
    lines = bare(draw()).rstrip("\n").splitlines()
    assert len(lines) <= 14
    assert max(map(len, lines)) <= 60


@pytest.mark.parametrize(("ascii_only", "markers"), [(False, MARKERS), (True, ASCII_MARKERS)])
def test_each_curve_has_its_marker_at_every_k(ascii_only: bool, markers: tuple[str, ...]) -> None:
    text = bare(draw({"a": CURVES["72B + 0.5B"]}, ascii_only=ascii_only))
    plot = "\n".join(text.splitlines()[1:-2])  # without title and axis labels
    assert plot.count(markers[0]) == 4
    both = bare(draw(ascii_only=ascii_only))
    assert markers[0] in both
    assert markers[1] in both


@pytest.mark.parametrize(("ascii_only", "markers"), [(False, MARKERS), (True, ASCII_MARKERS)])
def test_no_marker_looks_like_the_frame_or_a_line(ascii_only: bool, markers: tuple[str, ...]) -> None:
    lines = bare(draw({"a": CURVES["72B + 0.5B"]}, ascii_only=ascii_only)).splitlines()
    assert not set("".join(lines[1:-2])) & set(markers[1:])


def test_the_highest_marker_is_the_fastest_k() -> None:
    text = draw({"a": [point(2, 10.0, 0.0), point(4, 50.0, 0.0), point(8, 30.0, 0.0)]}, None)
    rows = rows_of(text, MARKERS[0])
    assert len(rows) == 3
    assert rows[1] < rows[2] < rows[0]


def test_every_k_stands_on_the_axis() -> None:
    for ascii_only in (False, True):
        axis = [line.split() for line in bare(draw(ascii_only=ascii_only)).splitlines()]
        assert ["2", "4", "8", "16"] in axis


def test_intervals_are_drawn() -> None:
    wide, none = ({"a": [point(2, 40.0, width), point(4, 60.0, width)]} for width in (9.0, 0.0))
    lines = [
        "\n".join(line[1:-1] for line in bare(draw(each, None, ascii_only=True)).splitlines()[2:-3])
        for each in (wide, none)
    ]
    assert lines[0].count("|") > lines[1].count("|")


def test_the_baseline_is_on_the_chart_even_above_all_curves() -> None:
    def highest(text: str) -> float:
        return max(float(found) for found in re.findall(r"^\s*(\d+(?:\.\d+)?)\s*[┤┼|+]", bare(text), re.MULTILINE))

    curves = {"a": [point(2, 10.0, 0.5), point(4, 12.0, 0.5)]}
    assert highest(draw(curves, None)) < 20
    assert highest(draw(curves, 90.0)) >= 80


def test_the_terminals_own_background_stays() -> None:
    text = draw()
    assert not re.search(r"\x1b\[(?:\d+;)*(?:48;|4[0-7]m|10[0-7]m)", text)
    assert ESCAPE.search(text)


def test_ascii_only_has_only_ascii() -> None:
    assert draw(ascii_only=True).isascii()
    assert chart_legend(["72B + 0.5B"], ascii_only=True).isascii()
    assert not draw().isascii()


def test_one_chart_leaves_nothing_on_the_next() -> None:
    alone = draw({"a": [point(4, 50.0, 1.0)]}, None)
    draw()
    assert draw({"a": [point(4, 50.0, 1.0)]}, None) == alone


@pytest.mark.parametrize(
    "points",
    [
        [point(4, 50.0, 0.0)],
        [point(4, 50.0, 0.0), point(8, 50.0, 0.0)],
        [point(1, 0.01, 0.0), point(48, 9000.0, 0.0)],
        [point(4, 1.0, 500.0)],
    ],
)
@pytest.mark.parametrize("baseline", [None, 50.0])
def test_odd_curves_are_drawn_too(points: list[ChartPoint], baseline: float | None) -> None:
    text = bare(draw({"a": points}, baseline))
    assert text.count(MARKERS[0]) == len(points)


def test_more_curves_than_markers_begin_again() -> None:
    curves = {
        str(number): [point(2, 10.0 * number + 10, 0.0), point(4, 10.0 * number + 12, 0.0)] for number in range(7)
    }
    assert len(chart_legend(curves, ascii_only=False).split("   ")) == 7
    assert all(marker in bare(draw(curves)) for marker in MARKERS)


def test_the_legend_names_the_curves() -> None:
    assert chart_legend(CURVES, ascii_only=False) == "● 72B + 0.5B   ◆ 72B + 1.5B"
    assert chart_legend(CURVES, ascii_only=True) == "o 72B + 0.5B   x 72B + 1.5B"


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (51.3, 152.9, [60, 80, 100, 120, 140]),
        (0.0, 10.0, [0, 2, 4, 6, 8, 10]),
        (0.61, 0.72, [0.62, 0.64, 0.66, 0.68, 0.7, 0.72]),
    ],
)
def test_rates_on_the_axis_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert round_ticks(low, high) == pytest.approx(ticks)


@pytest.mark.parametrize("span", [0.02, 0.1, 1.0, 3.0, 9.99, 60.0, 999.0, 12345.0])
def test_there_are_neither_few_nor_many_ticks(span: float) -> None:
    for low in (0.0, 7.3, 1234.5):
        assert 3 <= len(round_ticks(low, low + span)) <= 9


def test_pieces_know_their_curve_and_hold_no_escapes() -> None:
    for ascii_only, markers in ((False, MARKERS), (True, ASCII_MARKERS)):
        curves = {"a": [point(2, 60.0, 1.0), point(8, 70.0, 1.0)], "b": [point(2, 30.0, 1.0), point(8, 35.0, 1.0)]}
        text = draw(curves, 20.0, ascii_only=ascii_only)
        rows = coloured(text)
        assert ["".join(piece for piece, _ in row) for row in rows] == bare(text).rstrip("\n").split("\n")
        for number in (0, 1):
            mine = "".join(piece for row in rows for piece, of in row if of == number)
            assert mine.count(markers[number]) == 2
            assert markers[1 - number] not in mine
        assert any(of == BASELINE_CURVE for row in rows for _, of in row)


def test_an_uneven_interval_is_drawn_where_it_is() -> None:
    def bars(ends: tuple[float, float]) -> tuple[int, int]:
        """The first and the last row with a bar, with a curve that fixes the axes beside it."""
        wide = [point(8, 10.0, 0.0), point(16, 90.0, 0.0)]
        rows = coloured(draw({"a": [ChartPoint(2, 50.0, ends)], "b": wide}, None))
        found = [y for y, row in enumerate(rows) if any("│" in piece and of == 0 for piece, of in row)]
        return found[0], found[-1]

    up, down = bars((50.0, 80.0)), bars((20.0, 50.0))
    assert up[0] < up[1] < down[0] < down[1]


@pytest.mark.parametrize("ends", [(3.4, 98_900.0), (3.4, None), (3.4, math.inf), (-12.6, 98_900.0)])
def test_an_interval_that_dwarfs_the_curve_is_drawn_to_the_edge(ends: tuple[float, float | None]) -> None:
    curve = [ChartPoint(2, 18.0, ends), ChartPoint(4, 20.0, (19.0, 21.0))]
    assert curve[0].bar(30.0) in ((3.4, 30.0), (0.0, 30.0))
    text = bare(k_curves({"a": curve}, None, 60, 20, ascii_only=True))
    rates = [float(found) for found in re.findall(r"^\s*(\d+)\s*\+", text, re.MULTILINE)]
    assert rates
    assert 20 <= max(rates) <= 1.7 * 20
    assert min(rates) >= 0


def test_a_chart_may_be_wider_than_the_terminal_that_plotext_sees() -> None:
    assert max(map(len, bare(k_curves(CURVES, None, 150, 14, ascii_only=True)).splitlines())) == 150


PREDICTED = [point(k, 40.0 - abs(k - 8), 2.0) for k in range(1, 25)]


@pytest.mark.parametrize("ascii_only", [False, True])
def test_predicted_points_are_hollow_and_measured_ones_stand_alone_on_top(ascii_only: bool) -> None:
    measured = {"a": [point(8, 41.0, 1.0), point(24, 25.0, 1.0)]}
    text = k_curves(measured, 30.0, 100, 18, ascii_only=ascii_only, predicted={"a": PREDICTED})
    filled, hollow = ((ASCII_MARKERS if ascii_only else MARKERS)[0], (ASCII_HOLLOW if ascii_only else HOLLOW)[0])
    plot = "\n".join(bare(text).splitlines()[1:-2])
    assert plot.count(filled) == 2
    assert plot.count(hollow) >= len(PREDICTED) - 4  # bars and filled points may lie on some
    assert not any("\u2801" <= character <= "\u28ff" for character in plot)  # no line joins the two
    assert (":" if ascii_only else "╎") in plot
    if ascii_only:
        assert plot.isascii()
    assert {number for row in coloured(text) for _, number in row} == {None, 0, BASELINE_CURVE}


def test_a_curve_can_be_predicted_alone_and_two_keep_their_colours() -> None:
    text = k_curves({}, None, 80, 14, ascii_only=False, predicted={"a": PREDICTED, "b": PREDICTED[:3]})
    assert {number for row in coloured(text) for _, number in row} >= {None, 0, 1}
    assert chart_legend(["a", "b"], ascii_only=False, predicted=["b"]) == "● a   ◆ b   ◇ predicted"
    assert chart_legend(["a", "b"], ascii_only=True, predicted=["a", "b"]) == "o a   x b   ~ = predicted"


@pytest.mark.parametrize("width", [24, 40, 80, 160])
def test_ks_below_a_chart_are_not_crowded_and_the_measured_ones_come_first(width: int) -> None:
    ks = list(range(1, 49))
    found = k_ticks(ks, [6, 24], width)
    assert {6, 24} <= set(found) <= set(ks)
    assert found == sorted(found)
    columns = (width - 8) / len(ks)
    assert min((b - a) * columns for a, b in pairwise(found)) >= 4 - 1e-9
    assert k_ticks([2, 4, 8, 16], [2, 4, 8, 16], 80) == [2, 4, 8, 16]


def test_a_chart_has_the_title_that_was_asked_for() -> None:
    assert "speedup by K" in bare(k_curves(CURVES, 1.0, 60, 14, ascii_only=True, title="speedup by K"))
