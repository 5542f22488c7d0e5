"""Steps and loads, whatever the table of axes has: names, codecs and what a load is of a step."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specdash.core import axes
from specdash.core.axes import AXES, Part, Scope, Values
from specdash.core.commands import Add, BadCommand
from specdash.core.events import LoadStarted
from specdash.core.methods import BASELINE, DRAFT
from specdash.core.plan import KScope, group
from specdash.core.queue import load_key
from specdash.core.step import LoadKey, Stage, Step, encode_load, encode_step, load_from, step_from
from specdash.store.codec import decode_edit, decode_fact, encode_edit, encode_fact
from tests.support.any_step import LOADS, STEPS, values_of

FIRST = ("target", "draft", "method", "config", "moe_experts", "k", "workload", "category", "depth", "copy", "ngram_n")


@given(step=STEPS)
def test_every_step_comes_back_from_json_as_it_was(step: Step) -> None:
    assert step_from(json.loads(json.dumps(encode_step(step)))) == step
    assert decode_edit(json.loads(json.dumps(encode_edit(Add((step,)))))) == Add((step,))
    assert pickle.loads(pickle.dumps(step)) == step


@given(key=LOADS)
def test_every_load_comes_back_from_json_as_it_was(key: LoadKey) -> None:
    assert load_from(json.loads(json.dumps(encode_load(key)))) == key
    fact = LoadStarted("l001", key, (), "log", 1, 180.0, "fp")
    assert decode_fact(fact.TYPE, json.loads(json.dumps(encode_fact(fact)))) == fact


@given(one=STEPS, other=STEPS, data=st.data())
def test_steps_have_the_same_name_where_they_are_the_same(one: Step, other: Step, data: st.DataObject) -> None:
    axis = data.draw(st.sampled_from([axis for axis in AXES.values() if axis.part not in (Part.STAGE, Part.TEXT)]))
    near = one.with_values(**{axis.name: data.draw(values_of(axis)) or one.value(axis.name)})
    for each in (other, near):
        assert (one.id == each.id) == (one == each)


@given(step=STEPS, data=st.data())
def test_a_changed_value_is_the_only_one_that_changes(step: Step, data: st.DataObject) -> None:
    names = [axis.name for axis in AXES.values() if axis.part not in (Part.STAGE, Part.TARGET)]
    axis = AXES[data.draw(st.sampled_from(names))]
    value = data.draw(values_of(axis))
    changed = step.with_values(**{axis.name: value})
    assert changed.value(axis.name) == value
    assert {name: changed.value(name) for name in AXES if name != axis.name} == {
        name: step.value(name) for name in AXES if name != axis.name
    }


@given(step=STEPS, data=st.data())
def test_a_load_is_what_is_left_of_a_step_without_all_but_the_axes_of_loads(step: Step, data: st.DataObject) -> None:
    """Steps that differ in a request or in what is asked share a load; those that differ in the server do not."""
    axis = data.draw(st.sampled_from([axis for axis in AXES.values() if axis.part is not Part.STAGE]))
    value = data.draw(values_of(axis)) or step.value(axis.name)
    changed = step.with_values(**{axis.name: value})
    is_same = axis.scope is not Scope.LOAD or value == step.value(axis.name)
    assert (changed.pair == step.pair) == is_same
    assert step.pair.pair == step.pair
    assert step.key(7).pair == step.pair
    assert [stage.k for stage in step.pair.stages] == [None] * len(step.speculation)
    for name in axes.LOAD:
        assert step.pair.value(name) == step.value(name)


@given(steps=st.lists(STEPS, max_size=8, unique=True), scope=st.none() | st.sampled_from(KScope))
def test_every_step_has_one_load_that_is_a_projection_of_it(steps: list[Step], scope: KScope | None) -> None:
    loads = group(steps, scope)
    assert sorted(step.id for load in loads for step in load.steps) == sorted(step.id for step in steps)
    for load in loads:
        assert {step.pair for step in load.steps} == {load.key.pair}


@given(step=STEPS)
def test_a_baseline_has_no_stage_and_shares_all_else(step: Step) -> None:
    base = step.baseline()
    assert not base.speculates
    assert base.method == BASELINE
    assert axes.values(base, axes.KEPT) == axes.values(step, axes.KEPT)
    assert base.baseline() == base


def test_steps_of_the_first_journals_have_the_names_and_keys_that_they_had() -> None:
    """What was written before there was a table of axes is read, named and written as it was."""
    plain = Step.of("72B", draft="0.5B", k=4, category="coding")
    assert plain.id == "72B + 0.5B | draft K=4 | coding"
    assert plain.baseline().id == "72B | baseline | coding"
    sized = Step.of(
        "a | b", method="ngram-simple", ngram_n=4, k=8, config="x + y", moe_experts=2, depth=512, workload="lossless",
        category="math", copy=1,
    )  # fmt: skip
    assert sized.id == (
        '"a | b" | ngram-simple n=4 K=8 | config "x + y" | 2 experts | depth 512 | lossless | math | copy 1'
    )
    assert tuple(encode_step(plain))[: len(FIRST)] == FIRST
    assert encode_load(plain.key(8)) == {
        "target": "72B", "draft": "0.5B", "config": None, "moe_experts": None, "k": 8, "method": "", "ngram_n": None,
    }  # fmt: skip
    assert encode_load(sized.key(8))["method"] == "ngram-simple"
    assert load_from({"target": "T", "draft": None, "config": None, "moe_experts": None, "k": None}).method == BASELINE
    assert load_from({"target": "T", "draft": "D", "config": None, "moe_experts": None, "k": 4}).method == DRAFT


def test_a_chain_names_the_draft_and_the_parameters_of_each_stage() -> None:
    stages = (Stage("mtp", "head", 3), Stage("ngram-mod", None, 64, Values({"ngram_n": 24})))
    chain = Step("T", speculation=stages, category="coding")
    assert chain.id == 'T | mtp "head" K=3, ngram-mod n=24 K=64 | coding'
    assert (chain.method, chain.draft, chain.k) == ("mtp+ngram-mod", "head", 3)
    assert chain.drafter == "head (mtp) + ngram-mod n=24"
    assert chain.pair.label == "T + head, mtp + ngram-mod n=24"
    assert load_key(chain, KScope.REQUEST).k_startup == 3, "a stage without a draft model fixes K at start-up"


@pytest.mark.parametrize(
    "changes", [{"draft": "D"}, {"k": 4}, {"depth": 1.5}, {"copy": True}, {"stages": 3}, {"stages": [{}]}]
)
def test_a_step_that_cannot_be_is_refused(changes: dict[str, object]) -> None:
    body = encode_edit(Add((Step.of("T", category="coding"),)))
    body["steps"][0] |= changes
    with pytest.raises(BadCommand):
        decode_edit(body)
