"""Edits of a queue: what each does, what is illegal, and what no edit can ever break."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specdash.core import commands as cmd
from specdash.core.plan import KScope, LoadKey, Step
from specdash.core.queue import (
    IllegalEdit,
    _server,
    apply_edits,
    describe_edits,
    load_key,
    loads_of,
    next_load,
    open_on,
    serves,
)
from specdash.core.status import StepStatus
from specdash.core.step_state import StepState
from specdash.store.codec import decode_edit, encode_edit
from tests.support.recorded_run import sample, step

Steps = Mapping[str, StepState]
B_CODE, B_MATH = step(), step(category="math")
K4_CODE, K4_MATH = step(4), step(4, "math")
K8_CODE, K8_MATH = step(8), step(8, "math")
ALL = (B_CODE, B_MATH, K4_CODE, K4_MATH, K8_CODE, K8_MATH)


def queue(**status: str) -> Steps:
    """The six steps, all open but for those with a status, named b_code, k4_math and so on."""
    names = ("b_code", "b_math", "k4_code", "k4_math", "k8_code", "k8_math")
    found = {}
    for name, each in zip(names, ALL, strict=True):
        now = status.get(name, StepStatus.OPEN)
        samples = (sample(10.0, k=each.k),) if now not in (StepStatus.OPEN, StepStatus.SKIPPED) else ()
        found[each.id] = StepState(each, StepStatus(now), samples=samples)
    return found


def order(steps: Steps) -> list[str]:
    return [("b" if found.step.k is None else f"k{found.step.k}") + "_" + found.step.category.replace("coding", "code")
            for found in steps.values()]  # fmt: skip


# -- what edits do ---------------------------------------------------------------------------------------------


def test_skip_and_its_way_back() -> None:
    skipped = apply_edits(queue(), [cmd.Skip((K4_CODE.id,))], None)
    assert (skipped[K4_CODE.id].status, skipped[K4_CODE.id].by_user) == (StepStatus.SKIPPED, True)
    assert apply_edits(skipped, [cmd.Reopen((K4_CODE.id,))], None) == queue()


def test_a_running_step_that_is_skipped_keeps_its_samples() -> None:
    steps = queue(k4_code=StepStatus.RUNNING)
    back = apply_edits(apply_edits(steps, [cmd.Skip((K4_CODE.id,))], None), [cmd.Reopen((K4_CODE.id,))], None)
    assert back[K4_CODE.id].samples == steps[K4_CODE.id].samples
    assert back[K4_CODE.id].status == StepStatus.OPEN


def test_a_failed_step_is_measured_from_the_start() -> None:
    found = apply_edits(queue(k4_code="failed"), [cmd.Reopen((K4_CODE.id,))], None)[K4_CODE.id]
    assert found == StepState(K4_CODE)


def test_a_step_is_removed() -> None:
    assert order(apply_edits(queue(), [cmd.Remove((B_MATH.id, K8_CODE.id))], None)) == [
        "b_code",
        "k4_code",
        "k4_math",
        "k8_math",
    ]


def test_a_moved_step_takes_those_of_its_server_along() -> None:
    moved = apply_edits(queue(), [cmd.Move((K8_MATH.id,), B_CODE.id)], KScope.STARTUP)
    assert order(moved) == ["k8_math", "k8_code", "b_code", "b_math", "k4_code", "k4_math"]
    assert len(loads_of(moved, KScope.STARTUP)) == 3


def test_within_one_server_only_the_moved_step_moves() -> None:
    moved = apply_edits(queue(), [cmd.Move((K8_MATH.id,), K4_CODE.id)], KScope.REQUEST)
    assert order(moved) == ["b_code", "b_math", "k8_math", "k4_code", "k4_math", "k8_code"]


def test_moved_steps_go_in_the_order_in_which_they_are_named() -> None:
    moved = apply_edits(queue(), [cmd.Move((K8_MATH.id, K4_CODE.id), None)], KScope.REQUEST)
    assert order(moved)[-2:] == ["k8_math", "k4_code"]


def test_an_added_step_joins_those_of_its_server() -> None:
    added = apply_edits(queue(), [cmd.Add((step(category="creative"),), iterations=9)], None)
    assert order(added)[:3] == ["b_code", "b_math", "b_creative"]
    assert added[step(category="creative").id].iterations == 9


def test_more_samples_open_a_step_that_is_ok() -> None:
    found = apply_edits(queue(k4_code="ok"), [cmd.SetIterations((K4_CODE.id,), 7)], None)[K4_CODE.id]
    assert (found.status, found.iterations, len(found.samples)) == (StepStatus.OPEN, 7, 1)


def test_what_is_retried_before_the_running_step_joins_its_server_without_moving_it() -> None:
    steps = queue(b_code="ok", b_math="ok", k4_code="failed", k4_math="ok", k8_code=StepStatus.RUNNING)
    retried = apply_edits(steps, [cmd.Reopen((K4_CODE.id,))], KScope.REQUEST)
    assert order(retried) == ["b_code", "b_math", "k4_math", "k4_code", "k8_code", "k8_math"]


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (cmd.Skip((B_CODE.id,)), "is ok already: there is nothing to skip"),
        (cmd.Skip(("x",)), "x: there is no such step in the queue"),
        (cmd.Reopen((K8_CODE.id,)), "is open: it is still to be measured"),
        (cmd.Reopen((K4_MATH.id,)), "cannot be measured: "),
        (cmd.Remove((K4_CODE.id,)), "is running: skip it instead"),
        (cmd.Remove((B_CODE.id,)), "has an outcome, which is kept"),
        (cmd.Move((K4_CODE.id,)), "is running: only what is still queued can be moved"),
        (cmd.Move((K8_CODE.id,), K8_CODE.id), "cannot be moved before itself"),
        (cmd.Move((K8_CODE.id,), K4_CODE.id), "is running: nothing can be queued before it"),
        (cmd.Add((K8_CODE,)), "is in the queue already; duplicate it to measure it once more"),
        (cmd.Add(()), "no step was chosen"),
        (cmd.Add((step(0),)), "needs a draft model and a K of 1 or more"),
        (cmd.Add((step(method="ngram"),)), "ngram takes no draft model, and needs a K of 1 or more"),
        (cmd.SetIterations((B_MATH.id,), 9), "is failed: retry it first"),
        (cmd.SetIterations((B_CODE.id,), 1), "has 1 samples already, which are kept"),
    ],
)
def test_an_illegal_edit_says_why_and_changes_nothing(edit: cmd.Edit, why: str) -> None:
    steps = queue(b_code="ok", b_math="failed", k4_code=StepStatus.RUNNING, k4_math=StepStatus.SKIPPED)
    before = dict(steps)
    with pytest.raises(IllegalEdit) as raised:
        apply_edits(steps, [cmd.Skip((K8_MATH.id,)), edit], KScope.REQUEST)
    assert why in str(raised.value)
    assert steps == before


def test_the_last_step_cannot_be_removed() -> None:
    with pytest.raises(IllegalEdit, match="no step at all"):
        apply_edits(queue(), [cmd.Remove(tuple(each.id for each in ALL))], None)


def test_edits_in_words() -> None:
    edits = [cmd.Skip((B_CODE.id,)), cmd.Move((K4_CODE.id, K8_CODE.id)), cmd.Add((step(2),))]
    assert describe_edits(edits) == f"skipped {B_CODE.id}, moved 2 steps, added {step(2).id}"


def test_what_a_running_server_can_take() -> None:
    key = LoadKey.of(K4_CODE.target, 4, draft=K4_CODE.draft)
    assert serves(key, StepState(K4_MATH), KScope.STARTUP)
    assert not serves(key, StepState(step(2)), KScope.STARTUP)
    assert serves(key, StepState(step(2)), KScope.REQUEST)
    assert not serves(key, StepState(K8_CODE), KScope.REQUEST)
    assert not serves(key, StepState(B_CODE), KScope.REQUEST)


def test_what_has_samples_is_finished_on_a_server_like_theirs() -> None:
    half = StepState(step(2), StepStatus.OPEN, samples=(sample(10.0),), k_startup=4)
    steps = {half.step.id: half, **{each.id: StepState(each) for each in (step(6), step(8))}}
    assert [(load.key.k_startup, [each.k for each in load.steps]) for load in loads_of(steps, None)] == [
        (4, [2]),
        (8, [6, 8]),
    ]
    assert serves(step(4).key(4), half, KScope.REQUEST)
    assert not serves(step(8).key(8), half, KScope.REQUEST)
    assert serves(step(8).key(8), replace(half, samples=()), KScope.REQUEST)


# -- what no edit can break ------------------------------------------------------------------------------------

STEP = st.builds(
    step,
    k=st.sampled_from([None, 2, 4, 8]),
    category=st.sampled_from(["coding", "math", "creative"]),
    target=st.sampled_from(["T1", "T2"]),
    copy=st.sampled_from([0, 0, 1]),
)
SCOPES = st.sampled_from([None, *KScope])


@st.composite
def queues(draw: st.DrawFn) -> tuple[Steps, KScope | None]:
    """A queue as a run has it: some steps done, some at work on one server, the rest queued by server."""
    scope = draw(SCOPES)
    steps = list(dict.fromkeys(draw(st.lists(STEP, min_size=1, max_size=14))))
    keys = list(dict.fromkeys(load_key(each, scope) for each in steps))
    steps.sort(key=lambda each: keys.index(load_key(each, scope)))
    done = draw(st.integers(0, len(steps)))
    found: dict[str, StepState] = {}
    for number, each in enumerate(steps):
        status = draw(st.sampled_from(["ok", "failed", StepStatus.SKIPPED])) if number < done else StepStatus.OPEN
        at_work = number >= done and load_key(each, scope) == load_key(steps[done], scope)
        if at_work and draw(st.booleans()):
            status = StepStatus.RUNNING
        count = draw(st.integers(0, 2)) if status != StepStatus.OPEN else 0
        by_user = status == StepStatus.SKIPPED and draw(st.booleans())
        found[each.id] = StepState(each, StepStatus(status), samples=(sample(10.0),) * count, by_user=by_user)
    return found, scope


@st.composite
def edits(draw: st.DrawFn, steps: Steps) -> cmd.Edit:
    """An edit of this queue, legal or not."""
    some = st.lists(st.sampled_from([*steps, "nobody"]), min_size=1, max_size=3).map(tuple)
    ids = draw(some)
    before = draw(st.sampled_from([None, *steps]))
    return draw(
        st.sampled_from(
            [
                cmd.Skip(ids),
                cmd.Reopen(ids),
                cmd.Remove(ids),
                cmd.Move(ids, before),
                cmd.Add(tuple(draw(st.lists(STEP, min_size=1, max_size=3))), before),
                cmd.SetIterations(ids, draw(st.integers(1, 9))),
            ]
        )
    )


def contiguous(steps: Steps, scope: KScope | None) -> bool:
    """Whether the steps of each server that are still to be measured stand together."""
    runs = [key for key, _ in groupby(load_key(found.step, scope) for found in steps.values() if not found.is_done)]
    return len(runs) == len(set(runs))


def settled(steps: Steps, known: Steps) -> list[str]:
    """What has an outcome or is at work, in order, as far as it is so in `known` too."""
    return [
        each
        for each, found in steps.items()
        if found.status != StepStatus.OPEN and each in known and known[each].status != StepStatus.OPEN
    ]


@given(data=st.data())
def test_no_edit_breaks_a_queue(data: st.DataObject) -> None:
    steps, scope = data.draw(queues())
    assert contiguous(steps, scope)
    for _ in range(data.draw(st.integers(1, 8))):
        edit = data.draw(edits(steps))
        before = dict(steps)
        try:
            after = apply_edits(steps, [edit], scope)
        except IllegalEdit:
            assert steps == before
            continue
        assert list(after.items()) == list(apply_edits(steps, [edit], scope).items())
        assert steps == before
        assert contiguous(after, scope)
        assert {each for each, found in steps.items() if found.samples} <= set(after)
        for each, found in steps.items():
            if found.status == StepStatus.RUNNING:
                skipped = isinstance(edit, cmd.Skip) and each in edit.steps
                assert after[each].status == (StepStatus.SKIPPED if skipped else StepStatus.RUNNING)
                assert after[each].samples == found.samples
        assert settled(after, steps) == settled(steps, after)
        assert sum(len(load.steps) for load in loads_of(after, scope)) == sum(not f.is_done for f in after.values())
        steps = after


@given(data=st.data())
def test_edits_together_are_edits_one_after_the_other(data: st.DataObject) -> None:
    steps, scope = data.draw(queues())
    made: list[cmd.Edit] = []
    now = steps
    for _ in range(4):
        edit = data.draw(edits(now))
        try:
            now = apply_edits(now, [edit], scope)
        except IllegalEdit:
            continue
        made.append(decode_edit(encode_edit(edit)))
    assert list(apply_edits(steps, made, scope).items()) == list(now.items())


@given(found=queues())
def test_a_step_added_and_removed_leaves_no_trace(found: tuple[Steps, KScope | None]) -> None:
    steps, scope = found
    new: Step = replace(step(2), target="T3")
    both = apply_edits(steps, [cmd.Add((new,)), cmd.Remove((new.id,))], scope)
    assert both == steps


# -- methods without a draft model ---------------------------------------------------------------------------------


def test_a_method_is_served_by_a_server_of_its_own_k_and_size_alone() -> None:
    arm = step(4, draft=None, method="ngram-simple", ngram_n=2)
    running = LoadKey.of(arm.target, 4, method="ngram-simple", ngram_n=2)
    for scope in (None, KScope.REQUEST, KScope.CAPPED, KScope.STARTUP):
        assert load_key(arm, scope) == running
        assert serves(running, StepState(arm), scope)
        for other in (
            arm.with_values(k=2),
            arm.with_values(ngram_n=4),
            arm.with_values(method="mtp", ngram_n=None),
            B_CODE,
        ):
            assert not serves(running, StepState(other), scope)
        assert not serves(LoadKey.of(arm.target, 8, draft="0.5B"), StepState(arm), scope)


def test_loads_of_methods_do_not_grow_to_the_largest_k() -> None:
    arms = [step(k, draft=None, method="ngram-mod", ngram_n=4) for k in (2, 8)]
    steps = {each.id: StepState(each) for each in (*arms, K4_CODE, K8_CODE)}
    assert [load.key.k_startup for load in loads_of(steps, KScope.REQUEST)] == [2, 8, 8]
    assert [load.key.k_startup for load in loads_of(steps, KScope.STARTUP)] == [2, 8, 4, 8]


def test_another_size_is_another_step() -> None:
    arms = [step(4, draft=None, method="ngram-mod", ngram_n=size) for size in (2, 4, None)]
    assert len({each.id for each in arms}) == 3
    grown = apply_edits(queue(), [cmd.Add(tuple(arms), K8_CODE.id)], KScope.STARTUP)
    assert len(grown) == len(ALL) + 3
    with pytest.raises(IllegalEdit, match="in the queue already"):
        apply_edits(grown, [cmd.Add((arms[0],))], None)
    for edit in (cmd.Add(tuple(arms)), cmd.Move((arms[0].id,))):
        assert decode_edit(encode_edit(edit)) == edit


# -- what is asked at every step ------------------------------------------------------------------------------


@st.composite
def mixed_queues(draw: st.DrawFn) -> Steps:
    """A queue of a few pairs, with steps in every state, on servers of several Ks."""
    found: dict[str, StepState] = {}
    for _ in range(draw(st.integers(0, 12))):
        each = step(draw(st.sampled_from([None, 4, 8]))).with_values(
            category=draw(st.sampled_from(["a", "b"])),
            config=draw(st.sampled_from([None, "x"])),
        )
        status = draw(
            st.sampled_from([StepStatus.OPEN, StepStatus.OPEN, StepStatus.RUNNING, "ok", "failed", StepStatus.SKIPPED])
        )
        samples = (sample(10.0, k=each.k),) if draw(st.booleans()) else ()
        startup = draw(st.sampled_from([None, 4, 8])) if each.k is not None else None
        found[each.id] = StepState(each, StepStatus(status), samples=samples, k_startup=startup)
    return found


SCOPES = st.sampled_from([None, *KScope])


@given(mixed_queues(), SCOPES)
def test_the_next_load_is_the_first_of_all_loads(steps: Steps, scope: KScope | None) -> None:
    assert next_load(steps, scope) == next(iter(loads_of(steps, scope)), None)


@given(mixed_queues(), SCOPES, st.sampled_from([None, 4, 8]))
def test_what_a_running_server_takes_is_found_by_its_pair(steps: Steps, scope: KScope | None, k: int | None) -> None:
    running = replace(step(k)).key(k)
    taken = [found for found in steps.values() if not found.is_done and serves(running, found, scope)]
    assert open_on(steps, running, scope) == taken
    others = {step_id: found for step_id, found in steps.items() if found not in taken}
    assert [each.steps for each in loads_of(steps, scope, running)] == [each.steps for each in loads_of(others, scope)]


@given(mixed_queues(), SCOPES)
def test_steps_are_put_together_as_their_loads_are(steps: Steps, scope: KScope | None) -> None:
    """The quick way to tell servers apart is that of the keys of their loads."""
    found = [each.step for each in steps.values()]
    found += [
        each.with_values(method="ngram-simple", draft=None, ngram_n=n) for each in found if each.k for n in (2, 4)
    ]
    for one in found:
        for other in found:
            assert (_server(one, scope) == _server(other, scope)) == (load_key(one, scope) == load_key(other, scope))
