"""Mappings that share what did not change are mappings: as dictionaries are, and each for itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from specdash.core.persistent import PersistentMap, backwards
from specdash.core.status import DONE, WITHOUT_FIGURE, StepStatus
from specdash.core.step_state import StepState
from specdash.core.steptable import StepTable, Tally, tally_of
from tests.support.recorded_run import sample, step

NAMES = st.integers(0, 1500).map(str)
CHANGES = st.lists(st.tuples(NAMES, st.integers()), max_size=40)


def assert_alike(found: PersistentMap[Any], wanted: Mapping[str, Any]) -> None:
    """The same entries in the same order, whatever way they are asked for."""
    assert found == wanted
    assert (list(found), list(found.values()), list(found.items())) == (
        list(wanted),
        list(wanted.values()),
        list(wanted.items()),
    )
    assert list(backwards(found)) == list(reversed(list(wanted.values())))
    assert list(reversed(found)) == list(reversed(list(wanted)))
    assert len(found) == len(wanted)
    assert all(found[name] == found.get(name) == value and name in found for name, value in wanted.items())


@settings(deadline=None)
@given(st.integers(0, 1100), CHANGES)
def test_a_changed_mapping_is_what_a_changed_dictionary_is_and_the_others_stay(size: int, changes: Any) -> None:
    plain: dict[str, int] = {str(number): number for number in range(size)}
    found: PersistentMap[int] = PersistentMap(plain)
    versions = [(found, dict(plain))]
    for name, value in changes:
        plain[name] = value
        found = found.with_entry(name, value)
        versions.append((found, dict(plain)))
    for each, wanted in versions[:: max(1, len(versions) // 4)] + versions[-1:]:
        assert_alike(each, wanted)
        assert each.get("none such") is None
        assert "none such" not in each


def test_two_mappings_that_grow_from_one_do_not_meet() -> None:
    base: PersistentMap[int] = PersistentMap({"a": 1})
    one, other = base.with_entry("b", 2), base.with_entry("c", 3)
    assert_alike(base, {"a": 1})
    assert_alike(one.with_entry("d", 4), {"a": 1, "b": 2, "d": 4})
    assert_alike(other.with_entry("b", 5), {"a": 1, "c": 3, "b": 5})


@settings(deadline=None)
@given(st.integers(0, 1100), CHANGES, st.integers(0, 40))
def test_what_has_changed_is_found_without_the_rest(size: int, changes: Any, at: int) -> None:
    found: PersistentMap[tuple[int]] = PersistentMap({str(number): (number,) for number in range(size)})
    before = found
    for number, (name, value) in enumerate(changes):
        if number == at:
            before = found
        found = found.with_entry(name, (value,))
    wanted = {name: value for name, value in found.items() if before.get(name) is not value}
    assert dict(found.changed_since(before)) == wanted


# -- steps ------------------------------------------------------------------------------------------------------------

STEPS = tuple(step(k).with_values(config=config, category=category)
              for config in (None, "x") for k in (None, 4, 8) for category in ("a", "b", "c"))  # fmt: skip
STATUSES = st.sampled_from([StepStatus.OPEN, StepStatus.RUNNING, StepStatus.SKIPPED, *sorted(DONE), "of next year"])


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(STEPS), STATUSES), max_size=60))
def test_a_table_of_steps_knows_what_looking_at_all_of_them_shows(changes: list[tuple[Any, str]]) -> None:
    plain = {each.id: StepState(each) for each in STEPS[:12]}
    table = StepTable(plain)
    assert table.pairs()  # what is known of pairs is kept up from here on
    for changed, status in changes:
        plain[changed.id] = StepState(changed, StepStatus(status))
        table = table.with_entry(changed.id, plain[changed.id])
    assert_alike(table, plain)
    steps = list(plain.values())
    assert list(table.opened()) == [each for each in steps if not each.is_done]
    assert table.first_open == next((each for each in steps if not each.is_done), None)
    assert list(table.with_status(WITHOUT_FIGURE)) == [each for each in steps if each.status in WITHOUT_FIGURE]
    assert list(table.pairs()) == list(dict.fromkeys(each.step.pair for each in steps))
    for pair in table.pairs():
        mine = [each for each in steps if each.step.pair == pair]
        assert list(table.of_pair(pair)) == mine
        assert table.largest_k(pair) == max((each.step.k for each in mine if each.step.k), default=None)
    for each in STEPS:
        others = (other.step for other in steps if other.step.k)
        assert table.is_compared_with(each) == any(other.baseline().arm == each.baseline().arm for other in others)
    counts = [each.status for each in steps]
    assert table.statuses == {status: counts.count(status) for status in set(counts)}
    assert table.tally == tally_of({status: counts.count(status) for status in set(counts)})


def test_what_is_skipped_is_neither_measured_nor_tried() -> None:
    outcomes = ["ok", "ok", "invalid", "failed", "timeout", "skipped", "skipped", "skipped", "open", "running"]
    table = StepTable({str(number): StepState(step(), StepStatus(status)) for number, status in enumerate(outcomes)})
    tally = table.tally
    assert tally == Tally(measured=2, failed=3, skipped=3, open=2)
    assert (tally.total, tally.tried, tally.done) == (10, 5, 8)


def test_a_table_that_a_step_joins_forgets_what_it_knew_of_pairs() -> None:
    table = StepTable({step(4).id: StepState(step(4))})
    assert table.largest_k(step().pair) is None
    assert table.largest_k(step(4).pair) == 4
    more = table.with_entry(step(8).id, StepState(step(8), samples=(sample(1.0),)))
    assert (more.largest_k(step(4).pair), table.largest_k(step(4).pair)) == (8, 4)
