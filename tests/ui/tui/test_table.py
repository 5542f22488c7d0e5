"""The table of all lists: whatever its columns and rows, it fits, and the cursor is seen."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from specdash.ui.tui.lines import text_of, width_of
from specdash.ui.tui.table import (
    FILL,
    ORDER,
    Column,
    Position,
    Sorting,
    WindowTable,
    heading,
    matching,
    sorted_rows_by,
)
from specdash.ui.tui.terminal import ASCII, UNICODE

WIDTHS, HEIGHTS = st.integers(20, 300), st.integers(5, 80)


def column(name: str, least: int = 4, most: int = 0, rank: int = 0, *, shares: bool = False) -> Column[str]:
    """A column that shows the key of its row."""
    return Column(name, name, lambda key: (f"{name}:{key}", ""), least, most, rank=rank, shares=shares)


@st.composite
def column_lists(draw: st.DrawFn) -> tuple[Column[str], ...]:
    """Columns of all kinds, the first of which stays and is narrow."""
    found = [column("first", 3)]
    for number in range(draw(st.integers(0, 9))):
        least = draw(st.integers(1, 20))
        most = draw(st.sampled_from((0, least, least + 7, 60, FILL)))
        shares = draw(st.booleans())
        most = max(least, min(most, 60)) if shares else most
        found.append(column(f"c{number}", least, most, number + 1, shares=shares))
    return tuple(found)


@st.composite
def tables(draw: st.DrawFn) -> WindowTable[str]:
    """Tables of up to 200 rows."""
    keys = tuple(f"row {number} ひ" for number in range(draw(st.integers(0, 200))))
    signs = draw(st.integers(1, 2))
    return WindowTable(draw(column_lists()), keys, lambda key: key, signs, draw(st.booleans()))


@given(tables(), WIDTHS)
def test_the_columns_fit_every_width(table: WindowTable[str], width: int) -> None:
    shape = table.layout(width)
    assert shape.width <= width
    assert all(size >= 1 for _, size in shape.columns)
    kept = [each.rank for each, _ in shape.columns]
    gone = {each.rank for each in table.columns} - set(kept)
    assert not gone or max(kept) < min(gone)
    if any(each.most == FILL for each, _ in shape.columns):
        assert shape.width == width


@given(tables(), WIDTHS, HEIGHTS, st.lists(st.integers(-90, 90), max_size=6), st.booleans(), st.data())
def test_the_cursor_is_always_seen(
    table: WindowTable[str], width: int, height: int, moves: list[int], follows: bool, data: st.DataObject
) -> None:
    position = Position(follows=follows, marked=frozenset(table.keys[:3]))
    current = data.draw(st.sampled_from(table.keys)) if table.keys else None
    shape = table.layout(width)
    for by in (0, *moves):
        position = table.settled(table.moved(position, by) if by else position, height, current)
        shown = table.window(position, height)
        assert len(shown) == min(height, len(table.keys))
        assert 0 <= position.top <= max(0, len(table.keys) - height)
        lines = table.lines(position, shape, height, width, UNICODE)
        assert all(width_of(line) <= width for line in lines)
        if not table.keys:
            assert position.cursor is None
            continue
        assert position.cursor in shown
        bars = [number for number, line in enumerate(lines) if [style for _, style in line] == ["cursor"]]
        assert bars == [shown.index(position.cursor)]
        assert table.key_at(position, bars[0], height) == position.cursor
        assert position.marked == frozenset(table.keys[:3])


@given(tables(), st.integers(-300, 300))
def test_a_move_goes_so_far_or_to_the_end(table: WindowTable[str], by: int) -> None:
    start = table.settled(Position(), 10)
    moved = table.moved(start, by)
    if table.keys:
        assert table.at(moved) == max(0, min(len(table.keys) - 1, by))
        assert not moved.follows


@given(tables(), WIDTHS)
def test_clicks_find_the_column_that_is_drawn_there(table: WindowTable[str], width: int) -> None:
    shape = table.layout(width)
    assert shape.column_at(0) is None
    assert shape.column_at(shape.width + 1) is None
    edge = shape.signs
    for each, size in shape.columns:
        assert shape.column_at(edge) == shape.column_at(edge + size - 1) == each.name
        edge += size + 1


def test_a_row_that_is_gone_leaves_the_cursor_where_it_can_be() -> None:
    table = WindowTable((column("a"),), ("x", "y", "z"), lambda key: key)
    assert table.settled(Position("gone"), 2).cursor == "x"
    assert table.settled(Position("gone"), 2, "z") == Position("z", 1)
    assert table.settled(Position("y", follows=True), 2, "gone").cursor == "y"


def test_the_widest_of_those_that_share_is_cut_and_the_rest_is_filled() -> None:
    columns = (column("a", 7, 30, shares=True), column("b", 7, 8, shares=True), column("note", 5, FILL))
    table: WindowTable[str] = WindowTable(columns, (), lambda key: key, signs=2)
    assert [size for _, size in table.layout(30).columns] == [13, 8, 5]
    assert [size for _, size in table.layout(80).columns] == [30, 8, 38]


def test_a_text_gives_up_a_part_before_it_is_cut() -> None:
    wide: Column[str] = Column(
        "rate", "tok/s", lambda _: ("21.5 [20.1,22.9]", ""), 6, shorten=lambda text: text.split(" [")[0]
    )
    table = WindowTable((wide,), ("x",), lambda key: key)
    assert text_of(table.lines(Position(), table.layout(20), 1, 20, ASCII)[0]) == " 21.5  "


def test_rows_are_sorted_by_a_column_and_what_is_unknown_comes_last() -> None:
    values: dict[str, float | None] = {"a": 2.0, "b": None, "c": 3.0, "d": 1.0}
    by = replace(column("rate", 9), sort_key=values.__getitem__, falls=True)
    rows = list(values)
    assert sorted_rows_by(rows, [by], Sorting("rate")) == ["c", "a", "d", "b"]
    assert sorted_rows_by(rows, [by], Sorting("rate").by("rate")) == ["d", "a", "c", "b"]
    assert sorted_rows_by(rows, [by], Sorting(ORDER, is_reversed=True)) == ["d", "c", "b", "a"]
    assert Sorting().next(["rate"]).next(["rate"]) == Sorting()
    shape = WindowTable((by,), (), lambda key: key).layout(20)
    assert ASCII.down in text_of(heading(shape, ASCII, Sorting("rate")))


def test_a_filter_wants_all_words_in_any_case() -> None:
    assert matching(["Red fox", "red hen"], " RED fox", str) == ["Red fox"]
    assert matching(["Red fox", "red hen"], "", str) == ["Red fox", "red hen"]
