"""Methods without a draft model in everything that is made of a run: results, recommendations, reports, comparisons."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from specdash.analysis.candidates import Candidate
from specdash.analysis.compare import compare_results
from specdash.analysis.findings import derived_findings, same_drafts
from specdash.analysis.strategy import next_change
from specdash.core import commands as cmd
from specdash.core import events as ev
from specdash.core.measure import Verdict
from specdash.core.plan import LoadKey, Step
from specdash.report.arms import ResultOverview, pair_key
from specdash.report.text import arm_name, chosen_text, pair_name, short
from specdash.store.result_json import document_of, from_document
from tests.support import result_documents as doc
from tests.support.recorded_run import DRAFT, TARGET, folded, loaded, measured, started, step
from tests.support.rendering import recommendation, to_csv, to_draftbench, to_html, to_markdown

Json = dict[str, Any]
BASE = [10.0, 10.1, 9.9, 10.05, 9.95]


def ngram(k: int, size: int | None = 4, **changes: Any) -> Step:
    return step(k, draft=None, method="ngram-simple", ngram_n=size, **changes)


def rates(factor: float, wobble: float = 0.004) -> list[float]:
    return [rate * factor * (1 + wobble * sign) for rate, sign in zip(BASE, (1, -1, 0, -1, 1), strict=True)]


GAINS = {
    step(4): 1.2,
    ngram(4, 2): 1.1,
    ngram(4): 1.5,
    ngram(8): 1.3,
    step(4, draft=None, method="mtp"): 1.25,
    step(4, draft="head", method="eagle3"): 0.9,
}
COMMAND = ("llama-server", "-m", "/T.gguf", "--spec-type", "ngram-simple", "--spec-ngram-simple-size-m", ev.K_PLACE)


def a_run(**gains: float) -> Json:
    """A baseline, a draft, two sizes of n-grams, layers for prediction and a head; n-grams of four are the best."""
    steps = [step(), *GAINS]
    key = LoadKey.of(TARGET, 4, method="ngram-simple", ngram_n=4)
    facts: list[ev.Fact] = [started(steps), *loaded("l001", 4)]
    facts += [
        ev.LoadStarted("l002", key, ("llama-server",), "logs/y.log", 2**30, 180.0, "fp", command=COMMAND),
        ev.LoadReady("l002", 1.0, 4712),
    ]
    facts += measured(steps[0], BASE)
    for each, gain in GAINS.items():
        load = "l002" if each.value("ngram_n") == 4 and each.k == 4 else "l001"
        facts += measured(each, rates(gains.get(each.drafter or "", gain)), load=load)
    return document_of(folded([*facts, ev.RunFinished("finished", 0)]))


@pytest.fixture(scope="module")
def result() -> Json:
    return a_run()


def heatmap(result: Json) -> str:
    """The section of every pair of a page."""
    return to_html(result).partition('<section id="heatmap">')[2].partition("</section>")[0]


def test_rows_and_loads_name_the_method_and_its_size(result: Json) -> None:
    rows = [(each["draft"], each["method"], each["ngram_n"], each["k"]) for each in result["overall"]]
    assert rows == [
        (None, "baseline", None, None),
        (None, "ngram-simple", 2, 4),
        (None, "ngram-simple", 4, 4),
        (None, "ngram-simple", 4, 8),
        (None, "mtp", None, 4),
        (DRAFT, "draft", None, 4),
        ("head", "eagle3", None, 4),
    ], "as they are read: what has no draft model beside the baseline, sizes and Ks ascending"
    assert all(each["speedup"] is not None for each in result["overall"][1:])
    assert [(load["draft"], load["method"], load["ngram_n"]) for load in result["loads"]] == [
        (DRAFT, "draft", None),
        (None, "ngram-simple", 4),
    ]
    assert json.loads(json.dumps(result)) == result


def test_a_load_for_each_method_size_and_k_is_what_a_step_by_step_tool_needs(result: Json) -> None:
    assert result["effort"]["step_by_step_loads"] == 7


def test_a_method_is_recommended_with_its_size_and_a_command_to_paste(result: Json) -> None:
    (found,) = (each for each in result["recommendations"] if each["category"] == "all")
    assert (found["draft"], found["method"], found["ngram_n"], found["k"], found["off"]) == (
        None, "ngram-simple", 4, 4, False,
    )  # fmt: skip
    assert found["command"] == "llama-server -m /T.gguf --spec-type ngram-simple --spec-ngram-simple-size-m 4"
    entry = recommendation(found)
    assert short(entry) == "ngram-simple n=4 with K = 4"
    assert entry.speculates
    assert chosen_text(entry) == "ngram-simple n=4, K = 4"
    pair = pair_key(Step.of(TARGET, method="ngram-simple", ngram_n=4))
    assert ResultOverview.of(from_document(result)).choices == {pair: entry}


def test_of_equals_a_method_needs_no_memory_for_a_draft_and_ties_are_named() -> None:
    base = doc.measured(BASE)
    tied = [
        doc.measured(rates(1.5), 4),
        doc.measured(rates(1.501, -0.004), 4, draft=None, method="ngram-mod", ngram_n=8, load="l-a"),
        doc.measured(rates(1.502, 0.001), 4, draft=None, method="ngram-mod", ngram_n=4, load="l-b"),
    ]
    found = doc.recommended(doc.document(base, *tied, models=[doc.model("D", 10**9)]))[0]
    assert (found["draft"], found["method"], found["ngram_n"]) == (None, "ngram-mod", 4)
    assert {(each["draft"], each["method"], each["ngram_n"]) for each in found["tied"]} == {
        ("D", "draft", None),
        (None, "ngram-mod", 8),
    }
    assert "ngram-mod n=8 at K = 4" in found["reason"]


def test_the_best_k_at_the_edge_is_told_of_one_size_alone() -> None:
    document = doc.document(
        doc.measured(BASE),
        *(doc.measured(rates(gain), k, draft=None, method="ngram-simple", ngram_n=size) for size, k, gain in (
            (2, 4, 1.2), (2, 8, 1.6), (4, 16, 1.1),
        )),
    )  # fmt: skip
    found = doc.recommended(document)[0]
    assert (found["ngram_n"], found["k"]) == (2, 8)
    assert "the best K is the largest that was tried" in found["reason"]


def test_arms_differ_in_the_size_of_their_n_grams() -> None:
    steps = [ngram(4, size, category="") for size in (2, None)]
    arms = [Candidate(each, {}, {}, frozenset(), (), None, None, None) for each in steps]
    assert [arm.label for arm in arms] == ["ngram-simple n=2 at K = 4", "ngram-simple at K = 4"]
    assert arms[0].drafter != arms[1].drafter


def test_two_runs_are_compared_size_by_size(result: Json) -> None:
    other = a_run(**{"ngram-simple n=2": 1.3})
    found = compare_results(from_document(result), from_document(other))
    pairs = {(pair.arm.method, pair.arm.value("ngram_n"), pair.arm.k): pair for pair in found.overall}
    assert len(pairs) == 7
    assert pairs["ngram-simple", 2, 4].word == "faster"
    assert pairs["ngram-simple", 4, 4].ratio == pytest.approx(1.0)
    assert pairs["ngram-simple", 4, 4].step == f"{TARGET} | ngram-simple n=4 K=4 | overall"
    speedup = pairs["mtp", None, 4].a_speedup
    assert speedup is not None
    assert speedup.value == pytest.approx(1.25, rel=0.01)


def test_a_result_of_a_version_that_knew_no_sizes_is_compared(result: Json) -> None:
    older = json.loads(json.dumps(result))
    for part in ("measurements", "overall"):
        for each in older[part]:
            del each["ngram_n"]
    found = compare_results(from_document(older), from_document(result))
    kept = {(pair.arm.method, pair.arm.value("ngram_n")) for pair in found.overall}
    assert kept == {("baseline", None), ("draft", None), ("mtp", None), ("eagle3", None)}


def test_reports_name_what_drafts(result: Json) -> None:
    names = ("ngram-simple n=2", "ngram-simple n=4", "mtp", "head (eagle3)", DRAFT)
    found = ResultOverview.of(from_document(result))
    assert {arm_name(arm.step) for arm in found.arms} == {*names, "none (baseline)"}
    assert [arm_name(arm.step) for arm in found.contenders(found.arms)][:2] == ["ngram-simple n=4", "mtp"]
    assert pair_name(found.arms[-1].step, with_target=True).startswith(f"{TARGET} + ")
    markdown, page = to_markdown(result), heatmap(result)
    for name in names:
        assert name in markdown
        assert name in page


def test_sizes_by_lengths_are_a_heat_map_of_their_own(result: Json) -> None:
    page = heatmap(result)
    assert page.count("<table>") == 2
    table = page[page.rindex("<table>") :]
    assert [name in table for name in ("ngram-simple n=2", "ngram-simple n=4", "K = 4", "K = 8", "mtp", DRAFT)] == [
        True, True, True, True, True, False,
    ]  # fmt: skip
    assert "1.50" in table
    assert "not measured" in table, "two has no K = 8"


def test_other_formats_keep_them_apart(result: Json) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(from_document(result)))))
    assert {(row["method"], row["ngram_n"], row["k"]) for row in rows} >= {
        ("ngram-simple", "2", "4"), ("ngram-simple", "4", "8"), ("mtp", "", "4"), ("baseline", "", ""),
    }  # fmt: skip
    exported = json.loads(to_draftbench(result))["results"]
    assert [each["draft"] for each in exported].count(None) == 1
    assert {each["draft"] for each in exported} >= {"ngram-simple n=2", "ngram-simple n=4", "mtp", "head (eagle3)"}


def test_pairs_count_methods_too(result: Json) -> None:
    (entry,) = result["pairs"]
    assert (entry["pairs"], entry["compared"], entry["slower"]) == (5, 5, 1)
    assert (entry["best_draft"], entry["best_method"], entry["best_ngram_n"], entry["best_k"]) == (
        None, "ngram-simple", 4, 4,
    )  # fmt: skip


def test_a_curve_of_a_head_is_not_predicted_and_its_ks_are_measured() -> None:
    head = step(16, draft="head", method="eagle3")
    facts = [
        started([step(), head], settings={"max_tokens": 101, "iterations": 5, "k": "curve"}),
        *loaded("l001", 16),
        *measured(step(), BASE),
        *measured(head, rates(1.2)),
    ]
    change = next_change(folded(facts))
    assert change is not None
    assert "of eagle3 none is known to hold" in change.reason
    added = [each for edit in change.edits if isinstance(edit, cmd.Add) for each in edit.steps]
    assert [(each.draft, each.method, each.k) for each in added] == [("head", "eagle3", 4), ("head", "eagle3", 8)]


def test_an_arm_that_drafted_in_some_answers_alone_is_never_recommended_however_fast() -> None:
    """Its mean is neither the rate with drafts nor that without."""
    facts: list[ev.Fact] = [started([step(), step(4), step(8)]), *loaded("l001", 8)]
    facts += measured(step(), BASE)
    facts += measured(step(4), rates(1.5), verdicts=("drafted_in_some",))
    facts += measured(step(8), rates(1.2))
    result = document_of(folded([*facts, ev.RunFinished("finished", 0)]))
    (found,) = (each for each in result["recommendations"] if each["category"] == "all")
    assert (found["method"], found["k"]) == ("draft", 8)
    assert "drafted_in_some" in found["reason"]


def drafted(facts: Sequence[ev.Fact], *lengths: int) -> list[ev.Fact]:
    """The same samples, whose longest drafts were these."""
    taken = iter(lengths)
    found: list[ev.Fact] = []
    for fact in facts:
        if isinstance(fact, ev.SampleTaken):
            seen = next(taken)
            told: dict[str, Any] = {"k_seen": seen, "draft_tokens": 4 * seen, "accepted_tokens": seen}
            fact = replace(fact, sample=replace(fact.sample, positions_drafted=(), positions_accepted=(), **told))
        found.append(fact)
    return found


def test_two_ks_whose_drafts_never_differed_are_one() -> None:
    """Neither was ever reached: the smaller stands for both, however fast the other seemed."""
    facts: list[ev.Fact] = [started([step(), ngram(16), ngram(48), ngram(64)]), *loaded("l001", 16)]
    facts += measured(step(), BASE)
    facts += drafted(measured(ngram(16), rates(1.2)), 13, 5, 12, 9, 13)
    facts += drafted(measured(ngram(48), rates(1.5)), 13, 5, 12, 9, 13)
    facts += drafted(measured(ngram(64), rates(1.1)), 13, 5, 12, 9, 60)
    view = folded([*facts, ev.RunFinished("finished", 0)])
    assert same_drafts(view.steps) == {ngram(48).id: (16, 5)}
    rows = {row["k"]: row["verdicts"] for row in document_of(view)["measurements"]}
    assert {k: "same_drafts" in found for k, found in rows.items()} == {None: False, 16: False, 48: True, 64: False}
    assert derived_findings(view)[ngram(48).id] == ((Verdict.SAME_DRAFTS, "drafted what K = 16 did in all 5 answers"),)
    (found,) = (each for each in document_of(view)["recommendations"] if each["category"] == "all")
    assert (found["method"], found["k"]) == ("ngram-simple", 16)


def test_draft_models_of_one_rate_are_two_ks_and_so_are_arms_that_drafted_nothing() -> None:
    facts: list[ev.Fact] = [started([step(), step(4), step(8), ngram(4), ngram(8)]), *loaded("l001", 8)]
    facts += measured(step(), BASE)
    for each in (step(4), step(8)):
        facts += drafted(measured(each, rates(1.2)), 4, 4, 4, 4, 4)
    for each in (ngram(4), ngram(8)):
        facts += drafted(measured(each, rates(1.0)), 0, 0, 0, 0, 0)
    assert same_drafts(folded(facts).steps) == {}


def test_an_arm_that_drafted_nothing_is_never_recommended_however_fast() -> None:
    """It does the baseline's work, so what it gains is noise."""
    facts: list[ev.Fact] = [started([step(), ngram(4), ngram(8)]), *loaded("l001", 4)]
    facts += measured(step(), BASE)
    facts += measured(ngram(4), rates(1.5), verdicts=("drafted_nothing",))
    facts += measured(ngram(8), rates(1.2))
    result = document_of(folded([*facts, ev.RunFinished("finished", 0)]))
    (found,) = (each for each in result["recommendations"] if each["category"] == "all")
    assert (found["method"], found["k"]) == ("ngram-simple", 8)


def test_arms_timed_by_two_clocks_are_compared_by_the_one_that_timed_both() -> None:
    facts: list[ev.Fact] = [started([step(), step(4)]), *loaded("l001", 4)]
    facts += measured(step(), BASE)
    for fact in measured(step(4), rates(3.0)):  # as the server says; as it was seen here it is 1.2 times as fast
        if isinstance(fact, ev.SampleTaken):
            seen = (fact.sample.decode_tok_s or 0.0) / 2.5
            fact = replace(fact, sample=replace(fact.sample, client_decode_tok_s=seen))
        facts.append(fact)
    both = [
        replace(fact, sample=replace(fact.sample, clock="client", client_decode_tok_s=fact.sample.decode_tok_s))
        if isinstance(fact, ev.SampleTaken) and fact.step == step().id
        else fact
        for fact in facts
    ]
    result = document_of(folded([*both, ev.RunFinished("finished", 0)]))
    row = next(each for each in result["measurements"] if each["k"] == 4)
    assert row["speedup"]["value"] == pytest.approx(1.2, rel=0.02)
    (found,) = (each for each in result["recommendations"] if each["category"] == "all")
    assert found["speedup"] == pytest.approx(1.2, rel=0.02)
