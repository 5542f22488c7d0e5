"""The server's state machine, against its table written out a second time."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specdash.core.lifecycle import SETTLED, TABLE, IllegalTrigger, ServerState, Trigger, next_state

DOCUMENTED = """
| state    | START    | LISTENING | HEALTHY | WARMED | REQUEST | IDLE     | STOP     | TIMEOUT  | OVER_BUDGET | EXITED |
| STOPPED  | STARTING |           |         |        |         |          | STOPPED  |          |             |        |
| STARTING |          | LOADING   | WARMING |        |         |          | STOPPING | ABORTING | ABORTING    | FAILED |
| LOADING  |          |           | WARMING |        |         |          | STOPPING | ABORTING | ABORTING    | FAILED |
| WARMING  |          |           |         | READY  |         |          | STOPPING | ABORTING | ABORTING    | FAILED |
| READY    |          |           |         |        | BUSY    |          | STOPPING |          | ABORTING    | FAILED |
| BUSY     |          |           |         |        | BUSY    | READY    | STOPPING | ABORTING | ABORTING    | FAILED |
| STOPPING |          |           |         |        |         | STOPPING | STOPPING | ABORTING | ABORTING    | STOPPED|
| ABORTING |          |           |         |        |         | ABORTING | ABORTING | FAILED   | ABORTING    | FAILED |
| FAILED   | STARTING |           |         |        |         |          | FAILED   |          |             |        |
"""


def documented() -> dict[tuple[ServerState, Trigger], ServerState | None]:
    """(state, trigger) to the state that follows, None for a blank."""
    head, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in DOCUMENTED.strip().splitlines())
    triggers = [Trigger[name] for name in head[1:]]
    return {
        (ServerState[state], trigger): ServerState[cell] if cell else None
        for state, *cells in rows
        for trigger, cell in zip(triggers, cells, strict=True)
    }


def test_the_documented_table_is_whole() -> None:
    assert set(documented()) == set(product(ServerState, Trigger))


@pytest.mark.parametrize(("state", "trigger"), list(product(ServerState, Trigger)), ids=str)
def test_every_cell(state: ServerState, trigger: Trigger) -> None:
    expected = documented()[state, trigger]
    if expected is None:
        with pytest.raises(IllegalTrigger):
            next_state(state, trigger)
    else:
        assert next_state(state, trigger) is expected


def test_an_illegal_trigger_says_what_and_changes_nothing() -> None:
    before = {state: dict(row) for state, row in TABLE.items()}
    with pytest.raises(IllegalTrigger, match="warmed is not possible while stopped") as caught:
        next_state(ServerState.STOPPED, Trigger.WARMED)
    assert (caught.value.state, caught.value.trigger) == (ServerState.STOPPED, Trigger.WARMED)
    assert {state: dict(row) for state, row in TABLE.items()} == before


def test_the_table_cannot_be_changed_by_accident() -> None:
    with pytest.raises(TypeError):
        TABLE[ServerState.STOPPED] = {}  # type: ignore[index]


@given(state=st.sampled_from(ServerState), triggers=st.lists(st.sampled_from(Trigger), max_size=30))
def test_a_walk_moves_along_the_table_or_stays(state: ServerState, triggers: list[Trigger]) -> None:
    table = documented()
    for trigger in triggers:
        try:
            reached = next_state(state, trigger)
        except IllegalTrigger:
            assert table[state, trigger] is None
            continue
        assert reached is table[state, trigger]
        state = reached


@given(triggers=st.lists(st.sampled_from(Trigger), max_size=30))
def test_stopped_only_when_asked_and_failed_only_when_not(triggers: list[Trigger]) -> None:
    state = ServerState.STOPPED
    for trigger in triggers:
        try:
            reached = next_state(state, trigger)
        except IllegalTrigger:
            continue
        if reached in SETTLED and state not in SETTLED:
            assert reached is (ServerState.STOPPED if state is ServerState.STOPPING else ServerState.FAILED)
        state = reached


@pytest.mark.parametrize("start", list(ServerState))
def test_every_state_can_settle(start: ServerState) -> None:
    reached, edge = {start}, {start}
    while edge:
        edge = {after for state in edge for after in TABLE[state].values()} - reached
        reached |= edge
    assert reached & SETTLED


@pytest.mark.parametrize("start", sorted(set(ServerState) - SETTLED))
def test_the_end_of_the_process_settles_every_running_state(start: ServerState) -> None:
    assert next_state(start, Trigger.EXITED) in SETTLED


@pytest.mark.parametrize("start", list(ServerState))
def test_everything_may_be_asked_to_stop_twice(start: ServerState) -> None:
    once = next_state(start, Trigger.STOP)
    assert next_state(once, Trigger.STOP) is once
