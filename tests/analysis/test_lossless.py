"""Texts of arms against those of their baseline: identical, a near tie, another text, or not known, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from specdash.analysis.lossless import Agreement, agreement, agreements, judge
from specdash.analysis.texts import ENOUGH_PLACES, Rounding, rounding_of
from specdash.core import events as ev
from specdash.core.plan import Step
from specdash.core.state import RunState
from tests.support.recorded_run import folded, sample, started, step

BASE, K4 = step(), step(4)
TEXT = tuple(range(100, 164))
SURE, TIE = 2.5, 0.004
USUAL, LARGEST = 0.105, 0.36
SEEN = Rounding(1152, USUAL, LARGEST)
UNSEEN = Rounding(0, reason="its baseline was not asked")
PROMPTS = ("baba dodo", "fifi gugu haha", "juju kiki", "lolo mumu nini papa", "rara susu")


def changed(at: int, by: int = 1, text: tuple[int, ...] = TEXT) -> tuple[int, ...]:
    """The text with other tokens from `at` on."""
    return (*text[:at], *(token + 1000 * by for token in text[at:]))


def hashed(tokens: tuple[int, ...]) -> str:
    return str(hash(tokens))


def check(
    of: Step,
    tokens: tuple[int, ...],
    margins: Sequence[float | None] = (),
    prompt: str = "p0",
    known: bool = True,
    cached: int | None = 0,
) -> list[ev.Fact]:
    """A greedy answer outside measurements; its tokens in the journal if `known`."""
    seen: list[ev.Fact] = [ev.TextSeen(hashed(tokens), tokens)] if known else []
    return [*seen, ev.TextChecked(of.id, "l001", prompt, hashed(tokens), tuple(margins), cached)]


def rounds(of: Step = BASE, usual: float = USUAL, largest: float = LARGEST) -> list[ev.Fact]:
    """What shows how far a server rounds: answers to two prompts cold and from the cache, 128 margins."""
    facts: list[ev.Fact] = []
    moved = [[0.01] * 63 + [usual], [0.01] * 63 + [largest]]
    for number, each in enumerate(moved):
        facts += check(of, TEXT, [0.0] * 64, f"r{number}")
        facts += check(of, TEXT, each, f"r{number}", cached=40)
    return facts


def asked(
    of: Step, tokens: tuple[int, ...], block: int = 0, known: bool = True, finish: str = "limit", status: str = "ok"
) -> list[ev.Fact]:
    """A measured request for prompt p0."""
    taken = replace(sample(20.0, block, of.k, prompts=1, status=status), text_hash=hashed(tokens), finish_reason=finish)
    seen: list[ev.Fact] = [ev.TextSeen(hashed(tokens), tokens)] if known else []
    return [*seen, ev.SampleTaken(of.id, "l001", taken, 1.0)]


def viewed(*facts: list[ev.Fact], temperature: object = 0.0, steps: Sequence[Step] = (BASE, K4)) -> RunState:
    run = started(steps, settings={"max_tokens": 64, "iterations": 5, "temperature": temperature})
    return folded([run, *(fact for each in facts for fact in each)])


def of(view: RunState, which: Step = K4) -> Agreement:
    found = agreement(view.steps[which.id], view)
    assert found is not None
    return found


def margins_with(at: int, margin: float | None, length: int = 64) -> list[float | None]:
    """Margins of a baseline that was sure of all but one token."""
    return [*[SURE] * at, margin, *[SURE] * (length - at - 1)]


def test_the_same_tokens_are_identical() -> None:
    found = of(viewed(check(BASE, TEXT, [SURE] * 64), check(K4, TEXT)))
    assert (found.state, found.prompts, found.tokens) == ("identical", 1, 64)
    assert (found.diverges_at, found.margin, found.prompt_id) == (None, None, None)


@pytest.mark.parametrize(
    ("margin", "state"),
    [
        (TIE, "near_tie"),
        (0.0, "near_tie"),
        (USUAL, "near_tie"),
        (-TIE, "near_tie"),
        (0.1317, "unknown"),
        (0.9, "unknown"),
        (1.01, "output_differs"),
        (-SURE, "output_differs"),
        (None, "unknown"),
        (float("nan"), "unknown"),
    ],
)
def test_the_baselines_margin_where_one_prompt_parts_decides(margin: float | None, state: str) -> None:
    found = of(viewed(rounds(), check(BASE, TEXT, margins_with(20, margin)), check(K4, changed(20))))
    assert (found.state, found.diverges_at, found.prompt_id, found.tokens) == (state, 20, "p0", 20)
    if margin is not None and margin == margin:
        assert found.margin == pytest.approx(abs(margin))
    assert "token 20 of prompt p0" in found.reason
    assert found.more_prompts == (margin in (0.1317, 0.9))
    assert ("more prompts would tell" in found.reason) == found.more_prompts


@pytest.mark.parametrize(
    ("margins", "rounding", "convicted"),
    [
        ([0.007, 0.02, 0.041, 0.06, 0.09, 0.1302], SEEN, False),  # sound, K 8 and 16 in BF16 with two threads
        ([0.1317, 0.112], SEEN, False),
        ([0.11, 0.44, 0.83], SEEN, True),  # made-up acceptance
        ([0.20, 0.39, 0.88], SEEN, True),
        ([0.2, 0.3], SEEN, False),
        ([0.2, LARGEST], SEEN, False),
        ([0.9], SEEN, False),
        ([0.9, USUAL], SEEN, False),
        ([1.01], SEEN, True),
        ([1.2], Rounding(1152, 0.4, 1.5), False),
        ([0.9, 0.8, 0.7], UNSEEN, False),
        ([1.01], UNSEEN, True),
        ([], SEEN, False),
    ],
)
def test_a_server_is_accused_by_its_own_rounding_and_by_two_prompts(
    margins: list[float], rounding: Rounding, convicted: bool
) -> None:
    assert judge(margins, rounding).convicted == convicted


def test_prompts_of_all_categories_and_workloads_count_together() -> None:
    others = [replace(each, category="story") for each in (BASE, K4)]
    first = [rounds(), check(BASE, TEXT, margins_with(20, 0.2)), check(K4, changed(20))]
    alone = of(viewed(*first))
    assert (alone.state, alone.more_prompts) == ("unknown", True)
    second = [check(others[0], TEXT, margins_with(9, 0.44)), check(others[1], changed(9))]
    view = viewed(*first, *second, steps=(BASE, K4, *others))
    assert [of(view, each).state for each in (K4, others[1])] == ["output_differs"] * 2
    other_k = [check(others[0], TEXT, margins_with(9, 0.44)), check(others[1].with_values(k=8), changed(9))]
    apart = viewed(*first, *other_k, steps=(BASE, K4, others[0], others[1].with_values(k=8)))
    assert of(apart).state == "unknown", "another K is another server's work"


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ([check(BASE, TEXT, margins_with(20, TIE), cached=None)], "not asked for margins both"),
        ([check(BASE, TEXT, margins_with(20, TIE)), check(BASE, TEXT, [SURE] * 64, cached=0)], "kept no prompt"),
        ([check(BASE, TEXT, margins_with(20, TIE)), check(BASE, TEXT, [SURE] * 64, cached=9)], "64 of 100 places"),
    ],
    ids=["journals that do not tell", "a server without a cache", "few tokens"],
)
def test_where_rounding_is_not_known_nothing_below_a_nat_accuses_and_the_reason_is_told(
    facts: list[list[ev.Fact]], reason: str
) -> None:
    found = of(viewed(*facts, check(K4, changed(20))))
    assert (found.state, found.more_prompts, found.margin) == ("unknown", False, TIE)
    assert reason in found.reason
    identical = of(viewed(*facts, check(K4, TEXT)))
    assert identical.state == "identical"
    assert of(viewed(*facts, check(K4, changed(30)))).state == "output_differs"


def test_a_parting_within_a_servers_own_rounding_is_held_against_that_of_its_own_baseline() -> None:
    other = [each.with_values(config="kv-q8") for each in (BASE, K4)]
    facts = [rounds(), rounds(other[0], 0.5, 0.8), check(other[0], TEXT, margins_with(20, 0.4))]
    view = viewed(*facts, check(other[1], changed(20)), steps=(BASE, K4, *other))
    found = of(view, other[1])
    assert (found.state, found.rounding) == ("near_tie", Rounding(128, 0.5, 0.8))


def test_where_the_cached_answer_parts_both_margins_are_the_rounding() -> None:
    facts = [rounds(usual=0.01, largest=0.01), check(BASE, TEXT, margins_with(20, 0.3))]
    facts.append(check(BASE, changed(20), margins_with(20, 0.25), cached=40))
    found = of(viewed(*facts, check(K4, changed(20))), BASE)
    assert found.state == "unknown", "one cold answer was not compared with another"
    arm = of(viewed(*facts, check(K4, changed(20))))
    assert arm.state == "identical", "the text of its own baseline"
    assert arm.rounding is not None
    assert arm.rounding.largest_nats == pytest.approx(0.55)


def test_a_quantile_needs_a_hundred_places() -> None:
    few, enough = rounding_of([0.1] * (ENOUGH_PLACES - 1)), rounding_of([*[0.1] * 98, -0.2, 0.3, float("nan")])
    assert (few.usual_nats, few.largest_nats) == (None, None)
    assert (enough.places, enough.usual_nats, enough.largest_nats) == (100, 0.2, 0.3)


def test_one_prompt_that_differs_decides_for_all() -> None:
    facts = [
        check(BASE, TEXT, margins_with(20, TIE), "p0"),
        check(BASE, TEXT, [SURE] * 64, "p1"),
        check(BASE, TEXT, [SURE] * 30, "p2"),
        check(BASE, TEXT, [SURE] * 64, "p3"),
        check(K4, changed(20), prompt="p0"),
        check(K4, changed(7), prompt="p1"),
        check(K4, changed(40), prompt="p2"),
        check(K4, TEXT, prompt="p3"),
    ]
    found = of(viewed(*facts))
    assert (found.state, found.prompt_id, found.diverges_at, found.margin) == ("output_differs", "p1", 7, SURE)
    assert (found.prompts, found.tokens) == (4, 20 + 7 + 40 + 64)


def test_a_difference_behind_the_last_margin_is_not_known() -> None:
    found = of(viewed(check(BASE, TEXT[:30], [SURE] * 30), asked(BASE, TEXT), asked(K4, changed(40))))
    assert (found.state, found.diverges_at) == ("unknown", 40)
    assert "not known" in found.reason


def test_texts_of_unlike_length_are_compared_as_far_as_both_go() -> None:
    found = of(viewed(check(BASE, TEXT, [SURE] * 64), check(K4, TEXT[:50])))
    assert (found.state, found.tokens) == ("identical", 50)
    longer = viewed(check(BASE, TEXT[:50], [SURE] * 50), asked(K4, changed(55)))
    assert (of(longer).state, of(longer).tokens) == ("identical", 50)


def test_an_answer_that_the_model_ended_early_differs_at_its_end() -> None:
    cut = viewed(check(BASE, TEXT, [SURE] * 64), asked(BASE, TEXT), asked(K4, TEXT[:30], finish="limit"))
    ended = viewed(check(BASE, TEXT, [SURE] * 64), asked(BASE, TEXT), asked(K4, TEXT[:30], finish="eos"))
    assert of(cut).state == "identical"
    assert (of(ended).state, of(ended).diverges_at) == ("output_differs", 30)


def test_a_margin_of_the_check_serves_samples_that_began_alike() -> None:
    found = of(
        viewed(rounds(), check(BASE, TEXT[:40], margins_with(25, TIE, 40)), asked(BASE, TEXT), asked(K4, changed(25)))
    )
    assert (found.state, found.margin) == ("near_tie", TIE)


def test_a_baseline_that_turns_at_a_near_tie_may_be_followed_either_way() -> None:
    other = changed(20)
    facts = [rounds(), check(BASE, TEXT, margins_with(20, TIE)), asked(BASE, TEXT, 0), asked(BASE, other, 1)]
    view = viewed(*facts, asked(K4, other))
    assert of(view, BASE).state == "near_tie"
    assert of(view).state == "identical"


def test_a_baseline_that_does_not_repeat_itself_proves_nothing_of_an_arm() -> None:
    facts = [check(BASE, TEXT, [SURE] * 64), asked(BASE, TEXT, 0), asked(BASE, changed(20), 1)]
    view = viewed(*facts, check(K4, changed(9)))
    itself, found = of(view, BASE), of(view)
    assert (itself.state, itself.diverges_at) == ("output_differs", 20)
    assert (found.state, found.diverges_at) == ("unknown", 9)
    assert "does not repeat its own" in found.reason
    assert agreements(view) == {BASE.id: itself, K4.id: found}


def test_a_baseline_agrees_with_itself_over_all_blocks() -> None:
    view = viewed(*(asked(BASE, TEXT, block) for block in range(3)))
    assert (of(view, BASE).state, of(view, BASE).tokens) == ("identical", 64)
    once = of(viewed(asked(BASE, TEXT)), BASE)
    assert (once.state, once.prompts) == ("unknown", 0)
    assert "once only" in once.reason


def test_samples_count_only_where_they_are_greedy() -> None:
    facts = [asked(BASE, TEXT), check(BASE, TEXT, [SURE] * 64), asked(K4, changed(3))]
    warm = viewed(*facts, temperature=0.7)
    assert of(warm).state == "unknown"
    assert "temperature 0" in of(warm).reason
    assert of(viewed(*facts, check(K4, TEXT), temperature=0.7)).state == "identical"
    assert of(viewed(*facts)).state == "output_differs"
    always = [each.with_values(workload="lossless") for each in (BASE, K4)]
    facts = [asked(always[0], TEXT), check(always[0], TEXT, [SURE] * 64), asked(always[1], changed(3))]
    assert of(viewed(*facts, temperature=0.7, steps=always), always[1]).state == "output_differs"


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ([check(K4, TEXT)], "no answer of it at temperature 0"),
        ([check(BASE, TEXT, [SURE] * 64, "p1"), check(K4, TEXT)], "none of the same prompts"),
        ([check(BASE, TEXT, known=False), check(K4, changed(3))], "does not hold their tokens"),
        ([check(BASE, TEXT), check(K4, changed(3), known=False)], "does not hold their tokens"),
        ([asked(BASE, TEXT, status="invalid"), check(K4, TEXT)], "no answer of it at temperature 0"),
    ],
)
def test_what_cannot_be_compared_is_unknown_and_says_why(facts: list[list[ev.Fact]], reason: str) -> None:
    found = of(viewed(*facts))
    assert found.state == "unknown"
    assert reason in found.reason


def test_equal_hashes_are_the_same_text_where_tokens_are_not_kept() -> None:
    found = of(viewed(asked(BASE, TEXT, known=False), asked(K4, TEXT, known=False)))
    assert (found.state, found.prompts, found.tokens) == ("identical", 1, 0)


def test_an_arm_without_a_planned_baseline_is_unknown_and_one_never_asked_is_nothing() -> None:
    alone = viewed(check(K4, TEXT), steps=(K4,))
    assert (of(alone).state, "no baseline is planned" in of(alone).reason) == ("unknown", True)
    view = viewed(check(BASE, TEXT))
    assert agreement(view.steps[K4.id], view) is None
    assert set(agreements(view)) == {BASE.id}
    assert agreements(RunState()) == {}


@pytest.mark.parametrize("temperature", [None, "0", float("nan"), [0]])
def test_an_odd_temperature_is_not_zero(temperature: object) -> None:
    view = viewed(asked(BASE, TEXT), asked(K4, TEXT), temperature=temperature)
    assert of(view).state == "unknown"


@pytest.mark.real
@pytest.mark.parametrize(
    ("flags", "states"),
    [("", {"identical", "near_tie"}), ("--spec-synth-len 3", {"output_differs"})],
    ids=["real acceptance", "synthetic acceptance"],
)
def test_a_real_server_whose_text_is_made_up_is_found_out(
    llama_server: Path, tiny_models: Path, launch: Callable[..., Any], flags: str, states: set[str]
) -> None:
    def led(first: dict[str, float], second: dict[str, float]) -> float:
        return first["logprob"] - second["logprob"]

    def answers(*args: object, cached: bool = False) -> list[list[dict[str, Any]]]:
        """The greedy answers of a server to all prompts, cold, and from its cache where wanted; with two candidates."""
        running = launch(llama_server, "-m", tiny_models / "target.gguf", "--port", 0, "-t", 1, "-np", 1, *args)
        running.url()
        body = {"n_predict": 64, "temperature": 0, "n_probs": 2, "return_tokens": True}
        found = [
            [
                running.request("/completion", {**body, "prompt": prompt, "cache_prompt": from_cache})
                for from_cache in (False, True)[: 1 + cached]
            ]
            for prompt in PROMPTS
        ]
        running.process.kill()
        return found

    draft = f"--spec-type draft-simple --spec-draft-n-max 4 --spec-draft-p-min 0 {flags}".split()
    facts: list[list[ev.Fact]] = []
    arms = answers("-md", tiny_models / "draft.gguf", *draft)
    for number, (bases, (arm,)) in enumerate(zip(answers(cached=True), arms, strict=True)):
        for base in bases:
            margins = [led(*each["top_logprobs"]) for each in base["completion_probabilities"]]
            cached = base["timings"]["cache_n"]
            facts.append(check(BASE, tuple(base["tokens"]), margins, f"p{number}", cached=cached))
        facts.append(check(K4, tuple(arm["tokens"]), prompt=f"p{number}"))
    found = of(viewed(*facts))
    assert found.state in states
    assert found.prompts == len(PROMPTS)
    assert found.rounding is not None
    assert found.rounding.places >= 2 * 64
