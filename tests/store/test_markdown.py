"""The Markdown report: tables that fit, names that stay text, and the findings with what they rest on."""

from __future__ import annotations

import re
from typing import Any

from specdash.core import events as ev
from specdash.core.plan import Step
from specdash.core.status import StepStatus
from specdash.report.text import DASH
from specdash.store.result_json import document_of
from tests.support.recorded_run import TARGET, folded, loaded, measured, started, step
from tests.support.rendering import to_markdown
from tests.support.report_documents import draftbench_document, evil_document, failed_document, run_document

CATEGORIES = ("coding", "math")
SLOW = [10.0, 12.0, 11.0, 10.0, 12.0]
FAST = [21.0, 23.0, 22.5, 20.5, 22.0]


def run_of(ks: tuple[int | None, ...] = (None, 4), **changes: Any) -> dict[str, Any]:
    """A finished result in which everything counts."""
    steps = [step(k, category, **changes) for k in ks for category in CATEGORIES]
    facts: list[ev.Fact] = [started(steps), *loaded(k=4)]
    for found in steps:
        facts += measured(found, SLOW if found.k is None else FAST)
    return document_of(folded([*facts, ev.RunFinished("finished", 0)]))


def tables(text: str) -> list[list[list[str]]]:
    """The Markdown tables of a text as unescaped cells."""
    found: list[list[list[str]]] = [[]]
    for line in text.splitlines():
        if line.startswith("|"):
            cells = re.split(r"(?<!\\)\|", line)[1:-1]
            found[-1].append([re.sub(r"\\(.)", r"\1", cell.strip()) for cell in cells])
        elif found[-1]:
            found.append([])
    return [table for table in found if table]


def arm_tables(text: str) -> list[list[list[str]]]:
    """Those of arms: over all categories, and by category."""
    return [table for table in tables(text) if "vs baseline" in table[0]]


def draft_tables(text: str) -> list[list[list[str]]]:
    """Those of what was drafted, and how near to the bound that came, by category."""
    return [table for table in tables(text) if "tok/step" in table[0]]


def part(text: str, title: str) -> str:
    """The text under a heading of the second level."""
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_markdown_has_an_overall_table_and_one_by_category() -> None:
    text = to_markdown(run_of())
    (overall, by_category), (drafting,) = arm_tables(text), draft_tables(text)
    assert overall[0] == ["draft", "K", "tok/s", "vs baseline", "prefill", "TTFT", "total", "n", "accepted"]
    assert by_category[0] == ["category", *overall[0][:-1]]
    assert all(re.fullmatch("-+:?", cell) for table in (overall, by_category) for cell in table[1])
    assert overall[2] == ["none (baseline)", DASH, "11.0 ± 0.9", DASH, "200.0", "0.510 s", "9.66 s", "10", DASH]
    assert overall[3][:3] == ["0.5B", "4", "21.8 ± 1.0"]
    assert re.fullmatch(r"1\.98 \(1\.\d\d to 2\.\d\d\)", overall[3][3])
    assert overall[3][4:] == ["200.0", "0.510 s", "5.11 s", "10", "38 %"]
    assert [row[0] for row in by_category[2:]] == ["coding", "coding", "math", "math"]
    assert drafting[0] == ["category", "draft", "K", "accepted", "tok/step", "drift"]
    assert [row[:3] for row in drafting] == [row[:3] for row in by_category]
    assert drafting[2][3:] == [DASH, "1.00", "+0.0 %"]


def test_one_category_needs_one_table() -> None:
    steps = [step(), step(4)]
    facts = [started(steps), *measured(steps[0], SLOW[:2]), *measured(steps[1], FAST[:2])]
    text = to_markdown(document_of(folded(facts)))
    assert len(arm_tables(text)) == 1
    assert "drift" not in text.partition("## How it was measured")[0]


def test_a_difference_inside_the_noise_is_marked() -> None:
    steps = [step(), step(4)]
    facts = [started(steps), *measured(steps[0], [10.0, 12.0, 14.0]), *measured(steps[1], [12.0, 11.0, 14.0])]
    table = arm_tables(to_markdown(document_of(folded(facts))))[0]
    assert table[3][4].startswith("≈1.03 (0.")


def test_one_sample_is_no_verdict() -> None:
    steps = [step(), step(4)]
    facts = [started(steps), *measured(steps[0], [10.0]), *measured(steps[1], [1200.0])]
    table = arm_tables(to_markdown(document_of(folded(facts))))[0]
    assert table[3][3:5] == ["1200", "120.00 (too few)"]


def test_what_does_not_count_is_in_no_table_but_listed_with_the_reason() -> None:
    steps = [step(k, category) for k in (None, 4, 8) for category in CATEGORIES]
    facts: list[ev.Fact] = [started(steps), *loaded()]
    for found in steps[:3]:
        facts += measured(found, SLOW if found.k is None else FAST)
    facts += measured(steps[3], [99.0] * 5, "invalid", verdicts=("k_not_effective",))
    facts += measured(steps[4], [98.0] * 5, "invalid", verdicts=("k_not_effective",))
    facts += [ev.StepFinished(steps[5].id, None, StepStatus.FAILED, (), "the server died")]
    facts += [ev.LoadFinished("l001", "failed", error="exit 1", hint="Use less memory.")]
    text = to_markdown(document_of(folded(facts)))
    overall, by_category = arm_tables(text)
    assert [row[:3] for row in overall[3:]] == [["0.5B", "4", "21.8 ± 1.0*"]]
    assert "lacks categories" in text
    assert len(by_category) == 2 + 3
    assert not re.search(r"9[89]\.0", text)
    listed = text.partition("## Not counted")[2].partition("## ")[0]
    assert "K=8 \\| math: failed: the server died" in listed
    assert "invalid (k_not_effective)" in listed
    assert "exit 1 Use less memory." in listed
    assert text.count("- k_not_effective: The server drafted another number of tokens") == 1


def test_a_baseline_that_does_not_count_leaves_no_speedup_and_says_why() -> None:
    steps = [step(), step(4)]
    facts = [started(steps), *measured(steps[0], SLOW, "invalid"), *measured(steps[1], FAST)]
    text = to_markdown(document_of(folded(facts)))
    assert [row[4] for row in arm_tables(text)[0][2:]] == [DASH]
    assert "no speedup, its baseline is invalid" in text


def test_tables_stay_under_120_columns_whatever_the_names() -> None:
    long = "|" * 90 + "a very long label of a draft " * 5
    text = to_markdown(run_of((None, 4, 48), config=long, moe_experts=16, depth=100_000))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert max(map(len, lines)) < 120
    assert len({len(line) for line in lines[:5]}) == 1


def test_names_are_text_and_nothing_else() -> None:
    evil = "a|b`c\n# head <script>alert(1)</script> [x](javascript:alert(1)) \x1b[31m\u202e"
    steps = [
        Step.of(
            evil,
            draft=None if k is None else evil,
            method="draft" if k else "baseline",
            config=evil,
            k=k,
            category=evil,
        )
        for k in (None, 4)
    ]
    facts: list[ev.Fact] = [
        started(steps, name=evil, run_id=evil, hardware={"label": evil, "cpu": evil}),
        ev.EngineFound(evil, evil, evil, evil),
        ev.ModelRead(evil, "target", evil, 1, evil, evil, evil, synthetic=True),
        *measured(steps[0], SLOW),
        ev.StepFinished(steps[1].id, None, StepStatus.FAILED, (evil,), evil),
    ]
    text = to_markdown(document_of(folded(facts)))
    assert not re.search(r"(?<!\\)[<>`\[\]]", re.sub("`specdash --headless profile.toml`", "", text))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert [line for line in text.splitlines() if line.startswith("# ")] == [text.splitlines()[0]]
    assert len({len(row) for row in arm_tables(text)[0]}) == 1
    assert "synthetic" in text


def test_the_footer_says_what_the_numbers_need() -> None:
    facts = [
        started([step()], model_family="Qwen2.5"),
        ev.EngineFound("llama-server", "/bin/llama-server", "b11669", "new"),
        ev.ModelRead(TARGET, "target", "/m", 77 * 2**30, "qwen2", "Q8_0", "dense-large"),
        *loaded(),
    ]
    text = to_markdown(document_of(folded([*facts, *measured(step(), SLOW)])))
    for wanted in ("b11669", "EPYC 9654", "96 cores", "384 GiB RAM", "specdash 0.1.0", "--headless", "iterations 5"):
        assert wanted in text
    assert "    llama-server -m '/models/big model.gguf'" in text
    assert f"## {TARGET} (qwen2, Q8_0, 77.0 GiB)" in text


# -- findings ---------------------------------------------------------------------------------------------------------


def test_recommendations_stand_first_with_a_command_to_paste() -> None:
    text = to_markdown(run_document())
    assert text.index("## Recommendations") < text.index(f"## {TARGET}")
    found = part(text, "Recommendations")
    assert re.search(
        r"\*\*72B Q8_0: 0\.5B, K = \d+\.\*\* Decodes [\d.]+ times as fast as no draft \(95 % interval", found
    )
    assert "\n\n    llama-server -m '/models/72B Q8_0.gguf' -md " in found
    (table,) = tables(found)
    assert [row[2] for row in table[2:]] == ["all", "coding", "math"]
    assert table[2][-1] == "0.4 %"


def test_no_draft_is_an_answer_and_no_command_is_none() -> None:
    result = run_document()
    for each in result["recommendations"]:
        each.update(
            off=True, draft=None, k=None, speedup=None, ci95=None, regret=None, reason="Nothing gains.", tied=[]
        )
        each.update(command=None)
    found = part(to_markdown(result), "Recommendations")
    assert "**72B Q8_0: no draft.** Nothing gains." in found
    assert "\n    " not in found
    assert tables(found)[0][2][3:7:3] == [DASH, DASH]


def test_predicted_and_measured_stand_side_by_side() -> None:
    result = run_document(drafts=("0.5B", "1.5B"))
    (table,) = tables(part(to_markdown(result), "K curves: predicted and measured"))
    off = next(row for row in table if row[-2].endswith("!"))
    assert off[:2] == ["72B Q8_0 + 1.5B", "4"]
    assert off[-2].startswith("-")
    best = [row for row in table[2:] if row[1].startswith(">")]
    assert len(best) == 2
    assert [row for row in table[2:] if row[4] == DASH and row not in best] == []


def test_an_optimum_at_the_edge_says_how_to_go_on() -> None:
    assert r"sweep.k = \[16, 24, 32\] goes on from here" in to_markdown(run_document())


def test_losslessness_rules_and_anchors_are_told() -> None:
    text = to_markdown(run_document(drafts=("0.5B", "1.5B")))
    assert re.search(r"At temperature 0, \d+ measurements: \d+ output differs, (\d+ unknown, )?\d+ identical", text)
    assert "output differs at token 41: Other words where the baseline was sure of its token." in text
    found = part(text, "Rules of thumb")
    assert [line.split(":")[0] for line in found.splitlines() if line] == ["- did not hold", "- held", "- not tested"]
    assert tables(part(text, "Drift between the passes"))[0][2] == ["72B Q8_0", "6.50", "6.40", "-1.5 %"]


def test_the_share_of_the_bound_is_a_column_and_a_missing_bound_has_its_reason() -> None:
    text = to_markdown(run_document(("72B", "7B")))
    first, second = text.split("## 7B")
    assert [table[0][-1] for table in draft_tables(first)] == ["of bound"]
    assert draft_tables(first)[0][2][-1] == "71 %"
    assert "- no bound: smaller than four caches" in second


def test_a_run_in_which_everything_failed_has_reasons_and_no_figure() -> None:
    text = to_markdown(failed_document())
    assert text.count("failed (http_error): the server answered 500: out of memory") == 6
    assert not re.search(r"\b0\.00?\b", text.partition("## How it was measured")[0])


def test_imported_results_say_what_they_lack() -> None:
    text = to_markdown(draftbench_document())
    said = "they hold no single samples, so there are no intervals, and a small difference may be none."
    assert re.search(rf"\*\*These are results of draftbench, read from [^*]*: {said}\*\*", text)
    row = next(row for row in arm_tables(text)[0] if row[1] == "1.5B Q6_K")
    assert row[3:5] == ["19.3", "3.00 (no interval)"]
    assert row[-1] == DASH


def test_a_document_of_an_older_version_is_read() -> None:
    result = run_document()
    for name in ("recommendations", "curves", "rules", "bandwidth", "anchors", "plan", "effort", "imported"):
        result.pop(name)
    for each in result["measurements"]:
        for name in ("lossless", "roofline", "drift", "speedup_reason"):
            each.pop(name)
    text = to_markdown(result)
    assert "## Recommendations" not in text
    assert len(arm_tables(text)) == 2


def test_findings_hold_hostile_text_as_text() -> None:
    text = to_markdown(evil_document())
    plain = "\n".join(line for line in text.splitlines() if not line.startswith("    "))
    assert not re.search(r"(?<!\\)[<>]", plain)
    assert not re.search("[\x1b\u202e\u2028\ud800]", text)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert max(map(len, lines)) < 120


def test_rows_have_their_ks_ascending_also_in_documents_that_have_not() -> None:
    result = run_of((16, None, 4, 11, 6))
    result["overall"].reverse()
    overall, by_category = arm_tables(to_markdown(result))
    ks = [DASH, "4", "6", "11", "16"]
    assert [row[1] for row in overall[2:]] == ks
    assert [(row[0], row[2]) for row in by_category[2:]] == [(name, k) for name in CATEGORIES for k in ks]


def test_rules_that_were_not_tested_share_a_line() -> None:
    result = run_document()
    result["rules"] += [
        {**each, "rule": f"Another: {each['rule']}"} for each in result["rules"] if each["held"] is None
    ]
    result["rules"] += [{**result["rules"][-1], "rule": f"Rule {number} {'x' * 60}"} for number in range(20)]
    lines = [line for line in to_markdown(result).splitlines() if line.startswith("- not tested")]
    assert len(lines) == 1
    assert all(f"Rule {number} " in lines[0] for number in range(20)), "a long line is not cut"
    assert lines[0].count("K = 4 is best") == 2


def test_samples_taken_again_and_pauses_of_our_own_are_told() -> None:
    result = run_document(["T"], ["D"], [4])
    first, second = result["measurements"][:2]
    assert "taken again" not in to_markdown(result)
    assert "stopped" not in to_markdown(result)
    first["taken_again"], second["taken_again"] = 2, 1
    first["samples"][0]["reasons"] = ["paused", "swapping", "a sentence of the server's"]
    second["samples"][0]["unknown"] = {"total_time_s": "why"}
    text = to_markdown(result)
    assert "- 3 samples were taken again (paused, swapping)\n" in text
    assert "- specdash itself was stopped during a sample, whose TTFT or total time is unknown; the rates" in text
    assert "server's clock" in text
