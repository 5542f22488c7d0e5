"""`p_min` and `n_min`: what they make of K, of plans, of loads and of what proves a K."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from specdash.core.axes import Values
from specdash.core.draft_lengths import ANYTHING
from specdash.core.measure import Sample, Verdict
from specdash.core.plan import KScope, group, possible, steps_of
from specdash.core.profile import EngineConfig, Limits, Measure, ModelRef, Profile, Sweep
from specdash.core.step import Step, encode_step, step_from
from specdash.core.validity import verdict_of
from tests.support.recorded_run import sample

STEP = Step.of("T", draft="D", k=4, p_min=0.75, category="coding")
PLAIN = STEP.at_full_length


def profile(sweep: Sweep) -> Profile:
    return Profile(
        "x", "hw", "", EngineConfig(), (ModelRef("T", Path("/t")),), (ModelRef("D", Path("/d")),), (), sweep, Measure(),
        Limits(), Path("/r"), Path("/p.toml"),
    )  # fmt: skip


def taken(k_seen: int | None, drafted: int | None = 8) -> Sample:
    """A sample whose longest draft had so many tokens."""
    found = sample(10.0, k=k_seen if k_seen is not None else 4)
    return replace(found, k_seen=k_seen, draft_tokens=drafted)


def test_names_journals_and_loads_know_the_parameters_where_they_are_set() -> None:
    assert STEP.id == "T + D | draft p_min=0.75 K=4 | coding"
    assert (STEP.drafter, PLAIN.drafter, PLAIN.id) == ("D p_min=0.75", "D", "T + D | draft K=4 | coding")
    assert encode_step(STEP)["p_min"] == 0.75
    assert "p_min" not in encode_step(PLAIN), "a journal is what it was where nobody asks for it"
    assert step_from(encode_step(STEP)) == STEP
    assert STEP.pair != PLAIN.pair
    assert STEP.baseline() == PLAIN.baseline()
    assert Step.of("T", draft="D", k=4, p_min=0, n_min=0, category="coding") == PLAIN
    assert [stage.row() for stage in STEP.speculation] == [
        {"method": "draft", "draft": "D", "n_max": 4, "p_min": 0.75, "n_min": 0}
    ]


def test_every_value_is_tried_with_every_k_and_the_whole_drafts_first() -> None:
    sweep = Sweep(k=(2, 4), lists={"p_min": (0.75, 0.0), "n_min": (0, 4)})
    steps = steps_of(profile(sweep), {}, ("coding",))
    tried = [(each.value("p_min"), each.value("n_min"), each.k) for each in steps if each.speculates]
    assert tried == [(p, n, k) for p in (0.0, 0.75) for n in (0, 4) for k in (2, 4)]
    assert sum(not each.speculates for each in steps) == 1, "they share their baseline"
    left = possible(steps, lambda step: ANYTHING)
    assert (0.75, 4, 2) not in [(each.value("p_min"), each.value("n_min"), each.k) for each in left.steps]
    assert "drops drafts shorter than its n_min of 4 tokens" in str(left.left_out[0])


def test_a_methods_own_list_wins_and_methods_without_it_do_not_get_it() -> None:
    sweep = Sweep(
        methods=("draft", "ngram-mod", "ngram-simple"),
        k=(64,),
        lists={"n_min": (4,), "p_min": (0.5,)},
        stages={"ngram-mod": {"n_min": (0, 48)}},
    )
    steps = steps_of(profile(sweep), {}, ("coding",))
    found = [(each.method, each.value("n_min"), each.value("p_min")) for each in steps if each.speculates]
    assert found == [("draft", 4, 0.5), ("ngram-mod", 0, 0.0), ("ngram-mod", 48, 0.0), ("ngram-simple", 0, 0.0)]


@pytest.mark.parametrize(("scope", "n_loads"), [(None, 4), (KScope.REQUEST, 3), (KScope.STARTUP, 5)])
def test_each_value_is_a_load_and_where_k_is_open_so_is_each_k_of_short_drafts(
    scope: KScope | None, n_loads: int
) -> None:
    steps = steps_of(profile(Sweep(k=(2, 4), lists={"p_min": (0.0, 0.75)})), {}, ("coding",))
    assert len(group(steps, scope)) == n_loads


@pytest.mark.parametrize(
    ("k_seen", "reaches_k", "status", "verdict"),
    [
        (4, False, "ok", None),
        (3, False, "ok", Verdict.K_UNPROVEN),
        (3, True, "ok", None),
        (5, True, "invalid", Verdict.K_NOT_EFFECTIVE),
    ],
)
def test_with_p_min_k_is_a_ceiling(k_seen: int, reaches_k: bool, status: str, verdict: Verdict | None) -> None:
    found, against, _ = verdict_of(STEP, [taken(k_seen)] * 3, 101, reaches_k=reaches_k)
    assert found == status
    assert [each.verdict for each in against if each.verdict is not Verdict.NOISY] == ([verdict] if verdict else [])
    assert STEP.is_ceiling
    assert not PLAIN.is_ceiling
    assert not STEP.with_values(p_min=0, n_min=2).is_ceiling


def test_that_a_sure_draft_model_drafted_nothing_is_said_and_is_no_fault_of_the_server() -> None:
    nothing = [taken(None, 0)] * 3
    status, against, _ = verdict_of(STEP, nothing, 101)
    assert (status, [each.verdict for each in against]) == ("ok", [Verdict.DRAFTED_NOTHING])
    status, against, _ = verdict_of(PLAIN, nothing, 101)
    assert (status, [each.verdict for each in against]) == ("invalid", [Verdict.SPECULATION_INACTIVE])


def test_values_are_kept_only_where_they_are_not_the_default() -> None:
    assert Values({"p_min": 0.0, "n_min": 4}) == Values({"n_min": 4})
