"""From profiles to steps and loads, with the counts that the contract names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specdash.core.methods import BASELINE, DRAFT
from specdash.core.model import ModelFacts, VocabFacts, k_range
from specdash.core.plan import KScope, PlannedLoad, Step, group, k_values, steps_of
from specdash.core.profile import EngineConfig, Limits, Measure, ModelRef, Profile, ServerConfig, Sweep

CATEGORIES = ("coding", "math")
NO_FACTS: Mapping[str, ModelFacts] = {}
Ks = tuple[int, ...] | Literal["auto"]


def profile(targets: int = 1, drafts: int = 1, sweep: Sweep | None = None, configs: Sequence[str] = ()) -> Profile:
    def refs(kind: str, count: int) -> tuple[ModelRef, ...]:
        return tuple(ModelRef(f"{kind}{number}", Path(f"/{kind}{number}.gguf")) for number in range(count))

    return Profile(
        name="p",
        hardware="here",
        model_family="",
        engine=EngineConfig(),
        targets=refs("T", targets),
        drafts=refs("D", drafts),
        configs=tuple(ServerConfig(label, ("-x",)) for label in configs),
        sweep=sweep or Sweep(k=(2, 4, 8)),
        measure=Measure(),
        limits=Limits(),
        results_dir=Path("/results"),
        source=Path("/p.toml"),
    )


def facts(parameters: int | None = None, experts: int | None = None, used: int | None = None) -> ModelFacts:
    return ModelFacts(
        path=Path("/T0.gguf"),
        parts=(Path("/T0.gguf"),),
        size_bytes=1,
        architecture="llama",
        name=None,
        parameters=parameters,
        quantisation=None,
        layers=None,
        embedding_width=None,
        context_length=None,
        expert_count=experts,
        expert_used_count=used,
        has_chat_template=False,
        vocab=VocabFacts("llama", None, 10, None, None, False, False),
    )


def loads(found: Profile, scope: KScope | None, known: Mapping[str, ModelFacts] = NO_FACTS) -> tuple[PlannedLoad, ...]:
    return group(steps_of(found, known, CATEGORIES), scope)


@pytest.mark.parametrize(
    ("n_targets", "n_drafts", "ks"), [(1, 1, (2, 4, 8)), (2, 3, (4, 8)), (3, 1, (1,)), (2, 0, (4,))]
)
def test_load_counts_of_the_contract(n_targets: int, n_drafts: int, ks: tuple[int, ...]) -> None:
    found = profile(n_targets, n_drafts, Sweep(k=ks))
    per_request = n_targets * (1 + n_drafts)
    assert len(loads(found, KScope.REQUEST)) == per_request
    assert len(loads(found, KScope.CAPPED)) == per_request
    assert len(loads(found, None)) == per_request
    assert len(loads(found, KScope.STARTUP)) == n_targets * (1 + n_drafts * len(ks))


@pytest.mark.parametrize("known", [NO_FACTS, {"T0": facts(480, experts=160, used=8)}], ids=["file elsewhere", "header"])
def test_the_moe_flow(known: Mapping[str, ModelFacts]) -> None:
    found = profile(sweep=Sweep(k=(8, 16, 24), lists={"moe_experts": (4,)}))
    keys = [
        (load.key.draft, load.key.value("moe_experts"), load.key.k_startup)
        for load in loads(found, KScope.REQUEST, known)
    ]
    assert keys == [(None, None, None), (None, 4, None), ("D0", 4, 24)]
    keys = [
        (load.key.draft, load.key.value("moe_experts"), load.key.k_startup)
        for load in loads(found, KScope.STARTUP, known)
    ]
    assert keys == [(None, None, None), (None, 4, None), ("D0", 4, 8), ("D0", 4, 16), ("D0", 4, 24)]


def test_the_own_expert_count_is_not_measured_twice() -> None:
    found = profile(sweep=Sweep(k=(8,), lists={"moe_experts": (4, 8)}))
    steps = steps_of(found, {"T0": facts(480, experts=160, used=8)}, ("coding",))
    assert [step.value("moe_experts") for step in steps if step.method == BASELINE] == [4, 8]
    assert [step.value("moe_experts") for step in steps if step.method == DRAFT] == [4, 8]


def test_expert_counts_do_not_apply_to_dense_models() -> None:
    found = profile(sweep=Sweep(k=(8,), lists={"moe_experts": (4,)}))
    assert {step.value("moe_experts") for step in steps_of(found, {"T0": facts(7)}, CATEGORIES)} == {None}


def test_each_draft_step_has_its_baseline_among_the_steps() -> None:
    found = profile(2, 2, Sweep(k=(2, 4), lists={"moe_experts": (2, 4), "depth": (0, 512)}), configs=("plain", "kv-q8"))
    steps = steps_of(found, NO_FACTS, CATEGORIES)
    assert {step.baseline() for step in steps} <= set(steps)


def test_configs_multiply_steps_and_loads() -> None:
    found = profile(configs=("plain", "kv-q8"))
    assert Counter(step.config for step in steps_of(found, NO_FACTS, CATEGORIES)) == {"plain": 8, "kv-q8": 8}
    assert len(loads(found, KScope.REQUEST)) == 2 * 2
    assert len(loads(found, KScope.STARTUP)) == 2 * 4


def test_depth_multiplies_steps_but_no_loads() -> None:
    found = profile(sweep=Sweep(k=(2, 4), lists={"depth": (0, 512, 4096)}))
    steps = steps_of(found, NO_FACTS, CATEGORIES)
    assert len(steps) == 3 * 3 * len(CATEGORIES)
    assert len(group(steps, KScope.REQUEST)) == 2


def test_pairs_choose_drafts() -> None:
    found = profile(2, 3, Sweep(k=(4,), pairs=(("T0", "D2"), ("T1", "D0"))))
    steps = steps_of(found, NO_FACTS, CATEGORIES)
    assert {(step.target, step.draft) for step in steps if step.draft} == {("T0", "D2"), ("T1", "D0")}
    assert {step.target for step in steps if step.method == BASELINE} == {"T0", "T1"}


def test_methods_and_baseline_can_be_left_out() -> None:
    assert {step.method for step in steps_of(profile(sweep=Sweep(k=(4,), baseline=False)), NO_FACTS, CATEGORIES)} == {
        DRAFT
    }
    assert {step.method for step in steps_of(profile(sweep=Sweep(methods=())), NO_FACTS, CATEGORIES)} == {BASELINE}


@pytest.mark.parametrize(
    ("declared", "known", "expected"),
    [
        ("auto", None, k_range("dense-small")),
        ("auto", facts(7_000_000_000), k_range("dense-small")),
        ("auto", facts(32_000_000_000), k_range("dense-mid")),
        ("auto", facts(70_000_000_000), k_range("dense-large")),
        ("auto", facts(480_000_000_000, experts=160, used=8), k_range("moe")),
        ("auto", facts(None), k_range("dense-small")),
        ("moe", facts(70_000_000_000), k_range("moe")),
        ("dense-large", None, k_range("dense-large")),
    ],
)
def test_auto_k_goes_by_class(declared: str, known: ModelFacts | None, expected: tuple[int, ...]) -> None:
    assert k_values(profile(sweep=Sweep(k="auto")), known, declared) == expected
    assert k_values(profile(sweep=Sweep(k=(7, 3))), known, declared) == (3, 7)


@pytest.mark.parametrize(
    ("declared", "known", "tokens", "expected"),
    [
        ("auto", facts(7_000_000_000), 256, 24),
        ("auto", facts(32_000_000_000), 256, 32),
        ("dense-large", None, 256, 48),
        ("auto", facts(480_000_000_000, experts=160, used=8), 256, 16),
        ("auto", facts(7_000_000_000), 20, 18),  # longer drafts have no room in an answer
    ],
)
def test_a_curve_begins_at_the_largest_k_alone(
    declared: str, known: ModelFacts | None, tokens: int, expected: int
) -> None:
    found = replace(profile(sweep=Sweep(k="curve")), measure=Measure(max_tokens=tokens))
    assert k_values(found, known, declared) == (expected,)


def test_a_search_begins_with_the_ks_of_the_class_and_the_largest() -> None:
    assert k_values(profile(sweep=Sweep(k="search")), None, "moe") == (*k_range("moe"), 16)


def test_auto_k_differs_between_targets_of_one_profile() -> None:
    found = profile(2, 1, Sweep(k="auto"))
    steps = steps_of(found, {"T0": facts(7_000_000_000), "T1": facts(480, experts=8, used=2)}, ("coding",))
    ks = {target: tuple(step.k for step in steps if step.target == target and step.draft) for target in ("T0", "T1")}
    assert ks == {"T0": (2, 4, 8, 16), "T1": (2, 4, 8)}


@pytest.mark.parametrize(
    "sweep",
    [
        Sweep(k=(4, 2, 4)),
        Sweep(k=(2, 4), lists={"depth": (0, 0)}),
        Sweep(k=(2, 4), pairs=(("T0", "D0"), ("T0", "D0"))),
        Sweep(k=(2, 4), lists={"moe_experts": (4, 4)}),
    ],
)
def test_what_is_named_twice_is_measured_once(sweep: Sweep) -> None:
    steps = steps_of(profile(sweep=sweep), NO_FACTS, ("coding", "coding"))
    assert len(set(steps)) == len(steps)
    assert Counter(step.k for step in steps if step.draft) == {2: 1, 4: 1}


sweeps = st.builds(
    Sweep,
    k=st.lists(st.integers(1, 64), min_size=1, max_size=4).map(tuple),
    lists=st.fixed_dictionaries(
        {
            "moe_experts": st.lists(st.integers(1, 8), max_size=2).map(tuple),
            "depth": st.lists(st.integers(0, 4096), min_size=1, max_size=2).map(tuple),
        }
    ),
    baseline=st.booleans(),
)


@given(sweep=sweeps, n_targets=st.integers(1, 3), n_drafts=st.integers(1, 3), scope=st.sampled_from([None, *KScope]))
def test_grouping_keeps_every_step_once(sweep: Sweep, n_targets: int, n_drafts: int, scope: KScope | None) -> None:
    steps = steps_of(profile(n_targets, n_drafts, sweep, configs=("a", "b")), NO_FACTS, CATEGORIES)
    found = group(steps, scope)
    assert Counter(step for load in found for step in load.steps) == Counter(steps)
    assert len({step.id for step in steps}) == len(steps)
    assert len({load.key for load in found}) == len(found)
    for load in found:
        ks = [step.k for step in load.steps if step.k is not None]
        assert load.key.k_startup == (max(ks) if ks else None)
        assert {step.pair for step in load.steps} == {replace(load.key, k_startup=None)}
    # What is dearest to change, the target, changes least often: each has one run of loads.
    assert len([target for target, _ in groupby(found, key=lambda load: load.key.target)]) == n_targets


def test_labels_and_ids_tell_all_that_differs() -> None:
    step = Step.of("T", draft="D", method=DRAFT, config="kv-q8", moe_experts=4, k=8, category="coding", depth=512)
    assert step.id == "T + D | draft K=8 | config kv-q8 | 4 experts | depth 512 | coding"
    assert step.baseline().id == "T | baseline | config kv-q8 | 4 experts | depth 512 | coding"
    assert step.key(8).label == "T + D, kv-q8, 4 experts, K 8"
    assert step.baseline().pair.label == "T, kv-q8, 4 experts, no draft"


def test_ids_are_unique_whatever_the_labels_are() -> None:
    odd = (ModelRef("T + D", Path("/a")), ModelRef("T", Path("/b")))
    found = replace(
        profile(sweep=Sweep(k=(4,))), targets=odd, drafts=(ModelRef("D", Path("/d")), ModelRef("D + D", Path("/e")))
    )
    steps = steps_of(found, NO_FACTS, CATEGORIES)
    assert len({step.id for step in steps}) == len(steps)


# --- methods without a draft model


METHODS = Sweep(methods=("draft", "ngram-simple", "lookup", "mtp"), lists={"ngram_n": (2, 4)}, k=(4, 8))


@pytest.mark.parametrize(
    ("scope", "n_loads"), [(None, 10), (KScope.REQUEST, 10), (KScope.CAPPED, 10), (KScope.STARTUP, 11)]
)
def test_every_method_size_and_k_without_a_draft_is_a_load(scope: KScope | None, n_loads: int) -> None:
    found = loads(profile(1, 1, METHODS), scope)
    assert len(found) == n_loads
    without = [
        (load.key.method, load.key.value("ngram_n"), load.key.k_startup) for load in found if load.key.draft is None
    ]
    assert without == [
        ("baseline", None, None),
        ("ngram-simple", 2, 4), ("ngram-simple", 2, 8), ("ngram-simple", 4, 4), ("ngram-simple", 4, 8),
        ("lookup", None, 4), ("lookup", None, 8),
        ("mtp", None, 4), ("mtp", None, 8),
    ]  # fmt: skip
    assert [load.key.speculates for load in found if load.key.draft is None] == [False, *[True] * 8]


@pytest.mark.parametrize("k", ["curve", "search", "auto"])
def test_curves_and_searches_are_about_drafts_alone(k: Literal["auto", "curve", "search"]) -> None:
    steps = steps_of(profile(1, 1, replace(METHODS, k=k)), {"T0": facts()}, ["coding"])
    assert {step.k for step in steps if step.method == "mtp"} == set(k_range("dense-small"))


def test_the_baseline_of_a_method_is_the_target_alone() -> None:
    steps = steps_of(profile(1, 1, METHODS), NO_FACTS, CATEGORIES)
    for step in steps:
        assert step.baseline() in steps
        assert (step.baseline().method, step.baseline().value("ngram_n")) == (BASELINE, None)


def test_a_head_is_used_by_what_its_file_or_its_entry_says() -> None:
    head = replace(facts(), architecture="eagle3")
    sweep = Sweep(methods=("draft", "eagle3"), k=(4,))
    drafts = {
        (step.draft, step.method) for step in steps_of(profile(1, 2, sweep), {"D0": head}, ["coding"]) if step.draft
    }
    assert drafts == {("D0", "eagle3"), ("D1", DRAFT)}
    only = steps_of(profile(1, 2, replace(sweep, methods=("eagle3",))), {"D0": head}, ["coding"])
    assert {step.draft for step in only} == {None, "D0"}
