"""Facts survive the journal, and a view is what the facts say: no more, and never changed in place."""

from __future__ import annotations

import copy
import json
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specdash.core import commands as cmd
from specdash.core import events as ev
from specdash.core.reduce import fold, fold_all
from specdash.core.state import RunState
from specdash.core.status import DONE, StepStatus
from specdash.core.step import LoadKey, Step
from specdash.store.codec import decode_fact, encode_fact
from tests.support.any_step import LOADS, STEPS
from tests.support.recorded_run import START_S, folded, loaded, measured, recorded, sample, started, step

BASE, K4, K8 = step(), step(4), step(8)

JSON_VALUES = st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.integers() | st.text(max_size=5))


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Values that a field with this type may have."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*(values_of(each) for each in args))
    if origin is tuple and args[-1] is Ellipsis:
        return st.lists(values_of(args[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*(values_of(each) for each in args))
    if origin is Mapping or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return JSON_VALUES if args[1] is Any else st.dictionaries(st.text(max_size=5), values_of(args[1]), max_size=3)
    if hint is cmd.Edit:
        ids = st.lists(st.text(max_size=5), max_size=3).map(tuple)
        return st.one_of(st.builds(cmd.Skip, ids), st.builds(cmd.Move, ids, st.none() | st.text(max_size=5)))
    if is_dataclass(hint) and isinstance(hint, type):
        return dataclasses_of(hint)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return st.sampled_from(hint)
    return {
        str: st.text(max_size=8),
        int: st.integers(-(2**53), 2**53),
        float: st.floats(allow_nan=False, allow_infinity=False),
        bool: st.booleans(),
        type(None): st.none(),
    }[hint]


def dataclasses_of(cls: type[Any]) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(cls)
    known = {Step: STEPS, LoadKey: LOADS}
    if cls in known:
        return known[cls]
    return st.builds(cls, **{field.name: values_of(hints[field.name]) for field in fields(cls)})


FACTS = st.one_of(*(dataclasses_of(kind) for kind in ev.FACTS.values()))


@settings(deadline=None)
@given(FACTS)
def test_every_fact_comes_back_from_json_as_it_was(fact: ev.Fact) -> None:
    body = json.loads(json.dumps(encode_fact(fact), allow_nan=False))
    assert decode_fact(fact.TYPE, body) == fact


def test_the_journal_knows_every_kind_of_fact_by_a_name_of_its_own() -> None:
    # By name: a dataclass with slots replaces the class that was written.
    assert {kind.__name__ for kind in ev.FACTS.values()} == {kind.__name__ for kind in ev.Fact.__subclasses__()}
    assert len({kind.TYPE for kind in ev.FACTS.values()}) == len(ev.FACTS)
    taken = {"v", "seq", "t", "type", "crc"}
    assert not any(taken & {field.name for field in fields(kind)} for kind in ev.FACTS.values())


def test_another_version_may_add_fields_and_types_but_not_drop_required_ones() -> None:
    body = {**encode_fact(ev.LoadReady("l001", 2.0, 7)), "colour": "red"}
    assert decode_fact("load_ready", body) == ev.LoadReady("l001", 2.0, 7)
    assert decode_fact("of_next_year", body) is None
    outcome = decode_fact("step_finished", {"step": "s", "load": None, "status": "of next year"})
    assert outcome == ev.StepFinished("s", None, StepStatus.OPEN)
    del body["pid"]
    with pytest.raises(ValueError, match="pid"):
        decode_fact("load_ready", body)
    nested = encode_fact(ev.SampleTaken("s", "l001", sample(10.0), 1.0))
    assert decode_fact("sample_taken", {**nested, "sample": {**nested["sample"], "colour": "red"}}) is not None
    with pytest.raises(ValueError, match=r"\$\.sample"):
        decode_fact("sample_taken", {**nested, "sample": 7})


# -- folding ----------------------------------------------------------------------------------------------------------


def history() -> list[ev.Fact]:
    """A run that was killed in the middle of K = 8, resumed, and ended."""
    return [
        started([BASE, K4, K8]),
        ev.EngineFound("llama-server", "/bin/llama-server", "b1", "new"),
        ev.ModelRead("72B Q8_0", "target", "/m", 1, None, None, "dense-large"),
        *loaded("l001"),
        ev.StateChanged("l001", "loading", "healthy", "warming"),
        ev.WarmedUp("l001", 1, 0.5),
        *measured(BASE, [10.0, 11.0]),
        ev.LoadFinished("l001", "stopped", peak_rss_bytes=5),
        *loaded("l002", 8),
        ev.PlanChanged("why", 1),
        ev.VerdictRaised(K4.id, "l002", "noisy", "sd 20 %"),
        *measured(K4, [20.0, 21.0], "failed", "l002"),
        *measured(K8, [30.0], load="l002")[:-1],
        ev.RunResumed("0.1.0", (K4.id,)),
        ev.Noted("info", "again"),
        ev.CommandAccepted("stop"),
        *loaded("l003", 8),
        *measured(K8, [31.0], load="l003")[:-1],
        ev.RunFinished("stopped", 130, "asked"),
    ]


def frozen(view: RunState) -> Any:
    """A deep copy of what a view holds."""
    return copy.deepcopy({field.name: dict_of(getattr(view, field.name)) for field in fields(view)})


def dict_of(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def test_folding_changes_no_view_that_was_given_out() -> None:
    given_out: list[tuple[RunState, Any]] = []
    view = RunState()
    for number, fact in enumerate(history(), start=1):
        given_out.append((view, frozen(view)))
        view = fold(view, ev.Recorded(number, START_S + number, fact))
    assert all(frozen(each) == before for each, before in given_out)
    with pytest.raises(FrozenInstanceError):
        view.last_seq = 0  # type: ignore[misc]


# Edits that no version of ours has written are refused, which another test shows.
ORDERLY = FACTS.map(lambda fact: replace(fact, edits=()) if isinstance(fact, ev.PlanChanged) else fact)


@settings(deadline=None)
@given(st.lists(ORDERLY, max_size=12))
def test_no_order_of_facts_breaks_a_view(facts: list[ev.Fact]) -> None:
    view = fold_all(ev.Recorded(number, START_S, fact) for number, fact in enumerate(facts, start=1))
    assert view.last_seq == len(facts)


def test_a_view_tells_the_run() -> None:
    view = folded(history())
    assert view.started_s == START_S
    assert view.last_seq == len(history())
    assert view.updated_s == START_S + len(history()) - 1
    assert view.finished == ev.RunFinished("stopped", 130, "asked")
    assert view.k_scope == "request"
    assert [note.text for note in view.notes] == ["again"]
    first = view.loads["l001"]
    assert (first.state, first.load_time_s, first.pid, first.peak_rss_bytes) == ("stopped", 12.5, 4711, 5)
    assert first.finished
    assert not view.loads["l002"].finished
    assert view.models["72B Q8_0"].path == "/m"


def samples_of(facts: Iterable[ev.Fact]) -> dict[int | None, tuple[str, int]]:
    return {found.step.k: (found.status, len(found.samples)) for found in folded(facts).steps.values()}


def test_resuming_keeps_what_is_done_and_redoes_what_it_says() -> None:
    facts = history()
    resumed = next(index for index, fact in enumerate(facts) if isinstance(fact, ev.RunResumed))
    assert samples_of(facts[:resumed]) == {None: ("ok", 2), 4: ("failed", 2), 8: (StepStatus.RUNNING, 1)}
    assert samples_of(facts[: resumed + 1]) == {None: ("ok", 2), 4: (StepStatus.OPEN, 0), 8: (StepStatus.OPEN, 1)}
    view = folded(facts[: resumed + 1])
    assert (view.resumes, view.current_load, view.current_step, view.finished) == (1, None, None, None)
    assert view.steps[K4.id].verdicts == ()
    assert samples_of(facts) == {None: ("ok", 2), 4: (StepStatus.OPEN, 0), 8: (StepStatus.RUNNING, 2)}


def test_the_time_between_a_stop_and_the_resume_is_no_time_of_the_run() -> None:
    assert RunState().running_s is None
    first = [started([BASE]), *loaded(), ev.RunFinished("stopped", 130, "asked")]
    second: list[ev.Fact] = [ev.RunResumed("0.1.0"), *measured(BASE, [10.0]), ev.RunFinished("finished", 0)]
    killed: list[ev.Fact] = [ev.RunResumed("0.1.0"), ev.Noted("info", "again")]
    view, number = RunState(), 0
    for begins_s, facts in ((START_S, first), (START_S + 3600, second), (START_S + 9000, killed)):
        for at, fact in enumerate(facts):
            number += 1
            view = fold(view, ev.Recorded(number, begins_s + at, fact))
    assert view.running_s == len(first) - 1 + len(second) - 1 + len(killed) - 1
    assert (view.started_s, view.updated_s) == (START_S, START_S + 9001)
    # A clock that was set back in between takes nothing away.
    assert (
        fold(view, ev.Recorded(number + 1, START_S, ev.Noted("info", "late"))).running_s == len(first) + len(second) - 2
    )


def test_samples_of_other_files_flags_or_builds_are_dropped() -> None:
    facts: list[ev.Fact] = [started([K4]), *measured(K4, [20.0, 21.0])[:-1], ev.RunResumed("0.1.0")]
    same = folded([*facts, ev.StepStarted(K4.id, "l002", "fp")]).steps[K4.id]
    other = folded([*facts, ev.StepStarted(K4.id, "l002", "another")]).steps[K4.id]
    assert (len(same.samples), same.wall_s, same.fingerprint, same.load) == (2, 2.0, "fp", "l002")
    assert (len(other.samples), other.wall_s, other.fingerprint, other.load) == (0, 0.0, "another", "l002")


def test_facts_about_unknown_steps_and_loads_change_no_step() -> None:
    stranger = step(16)
    before = folded([started([BASE])])
    after = folded(
        [
            started([BASE]),
            *measured(stranger, [1.0]),
            ev.VerdictRaised(stranger.id, "l009", "noisy"),
            ev.StateChanged("l009", "stopped", "start", "starting"),
            ev.LoadReady("l009", 1.0, 1),
            ev.Probed("l009", None),
            ev.LoadFinished("l009", "failed"),
        ]
    )
    assert (after.steps, dict(after.loads)) == (before.steps, {})


def test_verdicts_are_kept_once_and_in_order() -> None:
    facts = [
        started([K4]),
        ev.VerdictRaised(K4.id, "l001", "noisy", "sd 20 %"),
        *measured(K4, [20.0], "invalid", verdicts=("clocks_disagree", "noisy")),
    ]
    found = folded([facts[0], *measured(K4, [20.0])[:-1], facts[1], facts[-1]]).steps[K4.id]
    assert found.verdicts == ("noisy", "clocks_disagree")
    assert found.details == ("sd 20 %",)
    assert (found.status in DONE, found.error) == (True, "it is invalid")


def test_only_valid_samples_are_good() -> None:
    bad = ev.SampleTaken(K4.id, "l001", sample(999.0, 1, 4, status="invalid"), 1.0)
    found = folded([started([K4]), *measured(K4, [20.0])[:-1], bad]).steps[K4.id]
    assert [each.decode_tok_s for each in found.samples] == [20.0, 999.0]
    assert [each.decode_tok_s for each in found.good] == [20.0]


def test_step_names_are_unique_for_whatever_tells_steps_apart() -> None:
    changes: list[dict[str, Any]] = [
        {"target": "x"},
        {"draft": "x"},
        {"k": 5},
        {"config": "x"},
        {"moe_experts": 2},
        {"depth": 9},
        {"category": "x"},
        {"workload": "lossless"},
    ]
    steps = [K4, *(K4.with_values(**change) for change in changes)]
    assert len({each.id for each in steps}) == len(steps)
    assert K4.key(8) == LoadKey.of(K4.target, 8, draft=K4.draft)


def test_commands_change_the_view_as_they_changed_the_run() -> None:
    steps = [step(), step(4), step(8)]
    facts: list[ev.Fact] = [started(steps), ev.CommandAccepted("pause")]
    assert folded(facts).paused
    assert not folded([*facts, ev.CommandAccepted("resume")]).paused
    assert folded([*facts, ev.CommandAccepted("stop")]).stopping
    edits = (
        cmd.Skip((steps[1].id,)),
        cmd.SetIterations((steps[2].id,), 2),
        cmd.Add((step(6),), before=steps[2].id),
    )
    model = ev.ModelRead("new", "draft", "/new.gguf", 1, None, None, "dense-small")
    view = folded([*facts, ev.CommandAccepted("edit", "words", edits, (model,))])
    assert view.models == {"new": model}
    assert list(view.steps) == [steps[0].id, steps[1].id, step(6).id, steps[2].id]
    assert view.steps[steps[1].id].by_user
    assert (view.iterations(steps[2].id), view.iterations(steps[0].id)) == (2, 5)
    again = folded([*facts, ev.CommandAccepted("edit", "words", edits), ev.RunResumed("0.1.0")])
    assert not again.paused
    assert list(again.steps) == list(view.steps)


def test_folding_all_at_once_is_folding_one_by_one() -> None:
    edit = ev.CommandAccepted("edit", "", (cmd.Remove((step(8).id,)),))
    facts = [started([step(), step(4), step(8)]), *loaded(), *measured(step(), [10.0, 11.0]), edit, ev.RunResumed("1")]
    facts += [*loaded("l002", 4), *measured(step(4), [20.0]), ev.RunFinished("finished", 0)]
    one_by_one = RunState()
    for each in recorded(facts):
        one_by_one = fold(one_by_one, each)
    assert folded(facts) == one_by_one
    assert one_by_one.earlier_s > 0
    before = folded(facts[:5])
    kept = dict(before.steps)
    assert fold_all(recorded(facts)[5:], before) == one_by_one
    assert before.steps == kept


def test_any_number_of_servers_live_and_each_has_its_step() -> None:
    facts = [started([BASE, K4, K8]), *loaded("l001", 4), *loaded("l002", 8)]
    facts += [ev.StepStarted(K4.id, "l001", "f"), ev.StepStarted(K8.id, "l002", "f")]
    both = folded([*facts, ev.SampleTaken(K4.id, "l001", sample(10.0), 1.0)])
    assert both.live_loads == ("l001", "l002")
    assert dict(both.steps_at_work) == {"l002": K8.id, "l001": K4.id}
    assert (both.current_load, both.current_step) == ("l002", K4.id)
    one = folded([*facts, ev.LoadFinished("l002", "stopped")])
    assert (one.live_loads, one.current_load, one.current_step) == (("l001",), "l001", K4.id)
