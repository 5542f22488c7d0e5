"""The result document: what counts is summarised, what does not is listed, and nothing is missing."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from specdash.analysis.figures import METRICS
from specdash.analysis.pass_drift import SECOND_PASS
from specdash.core import commands as cmd
from specdash.core import events as ev
from specdash.core.plan import LoadKey
from specdash.core.state import RunState
from specdash.core.status import StepStatus
from specdash.errors import StoreError
from specdash.store.result_json import document_of
from tests.support.recorded_run import START_S, TARGET, folded, loaded, measured, sample, started, step

BASE, K4, K8 = step(), step(4), step(8)
SLOW = [10.0, 12.0, 11.0, 10.2, 12.2]
FAST = [21.0, 23.0, 22.0, 20.0, 22.0]

SCHEMA: dict[str, set[str]] = {
    "": {
        "schema",
        "run",
        "engine",
        "loads",
        "measurements",
        "curves",
        "recommendations",
        "rules",
        "bandwidth",
        "anchors",
        "plan",
        "effort",
        "imported",
        "pairs",
    },
    "run": {"id", "name", "state", "started", "finished", "hardware", "host", "specdash_version"},
    "engine": {"kind", "program", "version", "dialect", "capabilities"},
    "loads": {
        "id",
        "target",
        "draft",
        "config",
        "k_startup",
        "argv",
        "load_time_s",
        "peak_rss_bytes",
        "wired_peak_bytes",
        "state",
    },
    "measurements": {
        "id",
        "load",
        "target",
        "draft",
        "method",
        "config",
        "k",
        "moe_experts",
        "workload",
        "category",
        "status",
        "verdicts",
        "error",
        "samples",
        "summary",
        "acceptance_rate",
        "tokens_per_step",
        "accepted_per_position",
        "k_seen",
        "speedup",
        "lossless",
        "roofline",
    },
    "curves": {
        "target",
        "draft",
        "config",
        "moe_experts",
        "depth",
        "category",
        "k",
        "predicted_tok_s",
        "predicted_ci95",
        "measured_tok_s",
        "measured_ci95",
        "n",
        "tokens_per_step",
        "step_time_s",
        "k_max",
        "at_edge",
        "off",
    },
    "recommendations": {
        "target",
        "config",
        "moe_experts",
        "depth",
        "category",
        "draft",
        "k",
        "method",
        "speedup",
        "ci95",
        "tok_s",
        "baseline_tok_s",
        "regret",
        "regret_ci95",
        "off",
        "proven",
        "tied",
        "reason",
        "command",
    },
    "rules": {"rule", "source", "held", "evidence"},
    "effort": {"loads", "load_time_s", "measuring_s", "step_by_step_loads"},
    "samples": {
        "prefill_time_s",
        "prefill_tok_s",
        "decode_time_s",
        "decode_tok_s",
        "throughput_tok_s",
        "ttft_s",
        "total_time_s",
        "prompt_tokens",
        "cached_tokens",
        "generated_tokens",
        "draft_tokens",
        "accepted_tokens",
        "steps",
        "clock",
        "prompt_id",
        "block",
        "started_s",
        "finish_reason",
        "text_hash",
    },
}


def result_of(*facts: list[ev.Fact], steps: tuple[Any, ...] = (BASE, K4, K8)) -> dict[str, Any]:
    return document_of(folded([started(steps), *(fact for part in facts for fact in part)]))


@pytest.fixture
def result() -> dict[str, Any]:
    return result_of(
        [ev.EngineFound("llama-server", "/usr/bin/llama-server", "b11669", "new")],
        [ev.ModelRead(TARGET, "target", "/m/72b.gguf", 77 * 2**30, "qwen2", "Q8_0", "dense-large")],
        loaded("l001"),
        measured(BASE, SLOW),
        [ev.LoadFinished("l001", "stopped", peak_rss_bytes=2**30)],
        loaded("l002", 8),
        measured(K4, FAST, load="l002"),
        measured(K8, FAST, "invalid", "l002", ("k_not_effective",)),
        [ev.LoadFinished("l002", "stopped"), ev.RunFinished("finished", 1)],
    )


def test_every_field_of_the_schema_is_there(result: dict[str, Any]) -> None:
    parts = {
        "": [result],
        "run": [result["run"]],
        "engine": [result["engine"]],
        "loads": result["loads"],
        "measurements": result["measurements"],
        "curves": result["curves"],
        "recommendations": result["recommendations"],
        "rules": result["rules"],
        "effort": [result["effort"]],
        "samples": [each for measurement in result["measurements"] for each in measurement["samples"]],
    }
    for name, wanted in SCHEMA.items():
        assert parts[name]
        for part in parts[name]:
            assert wanted <= part.keys()
    assert result["schema"] == "specdash.result/1"


def test_a_result_is_json_without_nan(result: dict[str, Any]) -> None:
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_run_engine_and_loads_are_told(result: dict[str, Any]) -> None:
    assert result["run"]["state"] == "finished"
    assert result["run"]["started"] == "2026-11-21T10:00:00.000Z"
    assert result["run"]["finished"] > result["run"]["started"]
    assert result["run"]["hardware"]["cpu"] == "EPYC 9654"
    assert result["engine"]["capabilities"] == {"k_scope": "request", "untold": {}}
    first, second = result["loads"]
    assert (first["id"], first["draft"], first["k_startup"], first["load_time_s"]) == ("l001", None, None, 12.5)
    assert (second["id"], second["k_startup"], second["peak_rss_bytes"], second["state"]) == (
        "l002",
        8,
        None,
        "stopped",
    )
    assert first["peak_rss_bytes"] == 2**30
    assert first["argv"] == ["llama-server", "-m", "/models/big model.gguf"]


def test_a_good_measurement_has_its_figures(result: dict[str, Any]) -> None:
    base, k4, _ = result["measurements"]
    assert [each["id"] for each in result["measurements"]] == ["m001", "m002", "m003"]
    assert (k4["load"], k4["k"], k4["draft"], k4["method"], k4["status"]) == ("l002", 4, "0.5B", "draft", "ok")
    assert k4["summary"]["decode_tok_s"]["n"] == 5
    assert k4["summary"]["decode_tok_s"]["mean"] == pytest.approx(21.6)
    assert set(k4["summary"]) == set(METRICS)
    assert k4["acceptance_rate"] == pytest.approx(60 / 160)
    assert k4["tokens_per_step"] == pytest.approx(100 / 40)
    assert k4["accepted_per_position"] == pytest.approx([0.75, 0.5, 0.0, 0.0])
    assert k4["k_seen"] == 4
    assert k4["speedup"]["value"] == pytest.approx(21.6 / 11.08)
    assert k4["speedup"]["ci95"][0] < 21.6 / 11.08 < k4["speedup"]["ci95"][1]
    assert base["acceptance_rate"] is None
    assert base["accepted_per_position"] is None
    assert base["k_seen"] is None
    assert base["tokens_per_step"] == pytest.approx(1.0)
    assert base["speedup"] is None
    assert not {"draft_tokens", "accepted_tokens"} & set(base["summary"])


def test_what_does_not_count_has_no_figure_but_keeps_its_samples_and_the_evidence(result: dict[str, Any]) -> None:
    k8 = result["measurements"][2]
    assert (k8["status"], k8["verdicts"]) == ("invalid", ["k_not_effective"])
    assert len(k8["samples"]) == 5
    assert k8["summary"] == {}
    assert k8["k_seen"] == 8
    for name in ("acceptance_rate", "tokens_per_step", "accepted_per_position", "speedup", "drift"):
        assert k8[name] is None


def test_invalid_samples_of_a_good_step_are_kept_and_not_summarised() -> None:
    facts = measured(K4, [20.0, 22.0, 21.0])
    facts.insert(2, ev.SampleTaken(K4.id, "l001", sample(1000.0, 0, 4, status="invalid"), 1.0))
    measurement = result_of(facts)["measurements"][0]
    assert len(measurement["samples"]) == 4
    assert measurement["summary"]["decode_tok_s"]["n"] == 3
    assert measurement["summary"]["decode_tok_s"]["max"] == 22.0


@pytest.mark.parametrize(
    ("baseline", "reason"),
    [
        (measured(BASE, SLOW, "invalid"), "its baseline is invalid"),
        ([ev.StepFinished(BASE.id, None, StepStatus.FAILED, (), "no memory")], "its baseline is failed"),
        ([], "its baseline is not finished"),
    ],
)
def test_no_speedup_without_a_baseline_that_counts(baseline: list[ev.Fact], reason: str) -> None:
    result = result_of(baseline, measured(K4, FAST))
    k4 = next(each for each in result["measurements"] if each["k"] == 4)
    assert (k4["speedup"], k4["speedup_reason"]) == (None, reason)
    assert k4["summary"]["decode_tok_s"]["n"] == 5


def test_a_baseline_belongs_to_its_experts_config_category_and_depth() -> None:
    for change in ({"moe_experts": 4}, {"config": "kv-q8"}, {"category": "math"}, {"depth": 4096}):
        other = step(4, **change)
        facts = [started([BASE, other]), *measured(BASE, SLOW), *measured(other, FAST)]
        measurement = document_of(folded(facts))["measurements"][1]
        assert (measurement["speedup"], measurement["speedup_reason"]) == (None, "no baseline is planned for it")


def test_steps_without_an_outcome_are_listed_apart_with_their_samples() -> None:
    result = result_of(loaded(), measured(BASE, SLOW), measured(K4, [20.0, 21.0])[:-1])
    assert [each["k"] for each in result["measurements"]] == [None]
    assert [(each["id"], each["status"], len(each["samples"])) for each in result["unfinished"]] == [
        ("m002", "running", 2),
        ("m003", "open", 0),
    ]
    assert result["unfinished"][0]["summary"] == {}
    assert (result["run"]["state"], result["run"]["finished"]) == ("unfinished", None)


def test_drift_compares_each_prompt_with_itself() -> None:
    # Three prompts of unlike speed, asked twice; everything is 10 % slower the second time.
    rates = [10.0, 20.0, 30.0, 9.0, 18.0, 27.0]
    assert result_of(measured(BASE, rates))["measurements"][0]["drift"] == pytest.approx(-0.1)
    assert result_of(measured(BASE, rates[:3]))["measurements"][0]["drift"] is None


def test_one_sample_has_a_mean_and_nothing_that_needs_two() -> None:
    result = result_of(measured(BASE, [10.0]), measured(K4, [20.0]))
    summary = result["measurements"][1]["summary"]["decode_tok_s"]
    assert (summary["mean"], summary["stddev"], summary["ci95"]) == (20.0, None, None)
    assert result["measurements"][1]["speedup"] == {"value": 2.0, "stddev": None, "ci95": None}


def test_all_categories_weigh_every_sample_the_same() -> None:
    steps = [step(k, category) for k in (None, 4) for category in ("coding", "math")]
    facts = [
        *measured(steps[0], [10.0, 10.0, 10.0]),
        *measured(steps[1], [20.0, 20.0, 20.0]),
        *measured(steps[2], [30.0, 30.0, 30.0]),
        *measured(steps[3], [20.0, 20.0, 20.0]),
    ]
    base, k4 = document_of(folded([started(steps), *facts]))["overall"]
    assert base["summary"]["decode_tok_s"]["mean"] == 15.0
    assert base["speedup"] is None
    assert k4["summary"]["decode_tok_s"]["n"] == 6
    assert k4["speedup"]["value"] == pytest.approx(25 / 15)
    assert (k4["categories"], k4["missing"]) == (["coding", "math"], [])


def test_an_arm_that_lacks_categories_is_compared_over_those_it_has() -> None:
    names = ("a", "b", "c", "d")
    steps = [step(k, category) for k in (None, 4) for category in names]
    facts: list[ev.Fact] = []
    for position, found in enumerate(steps[:4]):
        facts += measured(found, [10.0 * (position + 1)] * 3)
    facts += measured(steps[4], [20.0] * 3)
    facts += measured(steps[5], [20.0] * 3, StepStatus.INVALID)
    facts += [ev.StepFinished(found.id, None, StepStatus.FAILED, (), "x") for found in steps[6:]]
    k4 = document_of(folded([started(steps), *facts]))["overall"][1]
    assert (k4["categories"], k4["missing"]) == (["a"], ["b", "c", "d"])
    assert k4["speedup"]["value"] == pytest.approx(2.0)


def test_a_failed_load_tells_why() -> None:
    key = LoadKey.of(TARGET)
    result = result_of(
        [ev.LoadStarted("l001", key, ("x",), "logs/x.log", 1, 180.0, "fp")],
        [ev.LoadFinished("l001", StepStatus.FAILED, error="exit 1", hint="use a smaller context")],
        [ev.StepFinished(BASE.id, None, StepStatus.FAILED, (), "exit 1")],
    )
    assert (result["loads"][0]["state"], result["loads"][0]["error"]) == ("failed", "exit 1")
    assert result["loads"][0]["load_time_s"] is None
    assert (result["measurements"][0]["load"], result["measurements"][0]["status"]) == (None, "failed")


def test_infinity_from_outside_becomes_unknown() -> None:
    hardware = document_of(folded([started([BASE], hardware={"cores": math.inf, "odd": 1})]))["run"]["hardware"]
    assert hardware["cores"] is None
    assert "odd" not in hardware


def test_a_journal_without_a_first_record_is_an_error() -> None:
    with pytest.raises(StoreError, match="no first record"):
        document_of(RunState())


def test_the_start_of_a_resumed_run_stays(result: dict[str, Any]) -> None:
    facts = [started([BASE]), ev.RunFinished("stopped", 130), ev.RunResumed("0.1.0"), ev.RunFinished("finished", 0)]
    run = document_of(folded(facts))["run"]
    assert (run["resumes"], run["state"]) == (1, "finished")
    assert run["started"] == result["run"]["started"]
    assert folded(facts).started_s == START_S


def test_recommendations_curves_and_rules_are_made_of_what_counts(result: dict[str, Any]) -> None:
    found = {each["category"]: each for each in result["recommendations"]}
    assert found.keys() == {"all", "coding"}
    assert (found["all"]["draft"], found["all"]["k"], found["all"]["proven"]) == ("0.5B", 4, True)
    assert found["all"]["speedup"] == pytest.approx(21.6 / 11.08)
    assert "out: 0.5B at K = 8 (invalid: k_not_effective)" in found["all"]["reason"]
    assert [(row["category"], row["k"], row["n"], row["predicted_tok_s"]) for row in result["curves"]] == [
        ("all", 4, 5, None),
        ("coding", 4, 5, None),
    ]
    row = result["curves"][0]
    assert row["measured_tok_s"] == pytest.approx(21.6)
    assert row["measured_ci95"][0] < 21.6 < row["measured_ci95"][1]
    assert row["tokens_per_step"] == 2.5
    assert row["step_time_s"] == pytest.approx(2.5 / 21.6)
    assert (row["off"], row["at_edge"], row["k_max"]) == (False, False, 4)
    assert len(result["rules"]) > 10
    assert result["pairs"][0]["best_draft"] == "0.5B"


def test_effort_counts_loads_and_time_and_what_a_tool_without_a_plan_would_start(result: dict[str, Any]) -> None:
    assert result["effort"] == {
        "loads": 2,
        "load_time_s": 25.0,
        "measuring_s": 15.0,
        "taken_again": 0,
        "step_by_step_loads": 3,
    }
    nothing = {"loads": 0, "load_time_s": 0.0, "measuring_s": None, "taken_again": 0, "step_by_step_loads": 3}
    assert result_of()["effort"] == nothing
    model = ev.ModelRead(TARGET, "target", "/m/72b.gguf", 77 * 2**30, "qwen2", "Q8_0", "dense-large")
    facts = [started([BASE, K4], settings={"k": "curve", "iterations": 5}), model]
    # Seven Ks of the class of large dense targets, 4 among them, and the baseline.
    assert document_of(folded(facts))["effort"]["step_by_step_loads"] == 8


def test_stages_bandwidth_and_commands_are_told() -> None:
    key = LoadKey.of(TARGET, 8, draft="0.5B")
    command = ("llama-server", "-md", "/m/d.gguf", "--spec-draft-n-max", "{k}")
    result = result_of(
        [ev.BandwidthMeasured(2e11, 2**25, 8)],
        [ev.PlanChanged("every pair has its curve", 1, stage="confirm T + D"), ev.PlanChanged("regrouped", 3)],
        measured(BASE, SLOW),
        [ev.LoadStarted("l002", key, ("x",), "logs/x.log", 1, 180.0, "fp", command)],
        measured(K4, FAST, load="l002"),
    )
    assert result["bandwidth"] == {
        "bytes_s": 2e11,
        "cache_bytes": 2**25,
        "threads": 8,
        "reason": "",
        "measured": 1,
    }
    assert result["plan"] == [{"stage": "confirm T + D", "reason": "every pair has its curve"}]
    assert result["loads"][0]["command"] == list(command)
    assert result["recommendations"][0]["command"] == "llama-server -md /m/d.gguf --spec-draft-n-max 4"
    assert (result_of()["bandwidth"], result_of()["plan"], result_of()["anchors"]) == (None, [], [])


TWICE = cmd.SetIterations((BASE.id, K4.id, K8.id), 6)
SECOND = ev.PlanChanged("again", 3, (TWICE,), SECOND_PASS)


def test_a_drift_of_the_anchors_refuses_smaller_effects() -> None:
    settings = {"iterations": 3, "passes": 2}
    facts = [
        started([BASE, K4, K8], settings=settings),
        SECOND,
        *measured(BASE, [10.0, 20.0, 30.0, 9.0, 18.0, 27.0]),
        *measured(K4, [10.2, 20.4, 30.6, 9.18, 18.36, 27.54]),
        *measured(K8, [15.0, 30.0, 45.0, 14.0, 28.0, 42.0]),
    ]
    result = document_of(folded(facts))
    (anchor,) = result["anchors"]
    assert (anchor["target"], anchor["first_tok_s"], anchor["last_tok_s"], anchor["n"]) == (TARGET, 20.0, 18.0, 3)
    assert anchor["moved"] == pytest.approx(-0.1)
    _, k4, k8 = result["measurements"]
    assert (k4["verdicts"], k8["verdicts"]) == (["drifted"], [])
    assert "moved by -10.0 %" in k4["details"][0]
    assert all(each["k"] == 8 for each in result["recommendations"])


def test_a_text_that_differs_is_a_verdict_and_no_recommendation() -> None:
    margins = (5.0,) * 20
    facts = [
        started([BASE, K4], settings={"temperature": 0.0, "iterations": 5}),
        ev.TextSeen("aa", tuple(range(20))),
        ev.TextSeen("bb", (*range(10), 99, *range(11, 20))),
        *measured(BASE, SLOW),
        ev.TextChecked(BASE.id, "l001", "p0", "aa", margins),
        ev.TextChecked(BASE.id, "l001", "p0", "aa", margins),
        *measured(K4, FAST),
        ev.TextChecked(K4.id, "l001", "p0", "bb"),
    ]
    result = document_of(folded(facts))
    k4 = result["measurements"][1]
    assert k4["verdicts"] == ["output_differs"]
    assert (k4["lossless"]["state"], k4["lossless"]["diverges_at"]) == ("output_differs", 10)
    assert k4["details"] == [k4["lossless"]["reason"]]
    assert [(each["draft"], each["off"]) for each in result["recommendations"]] == [(None, True), (None, True)]


def test_a_verdict_of_analysis_that_is_not_found_any_more_is_none_of_the_document() -> None:
    late: list[ev.Fact] = [
        ev.VerdictRaised(K4.id, "l001", verdict, "by the rules of an older version")
        for verdict in ("output_differs", "impossible", "noisy")
    ]
    result = result_of(measured(BASE, SLOW), measured(K4, FAST), late)
    k4 = result["measurements"][1]
    assert (k4["verdicts"], k4["details"]) == (["noisy"], ["by the rules of an older version"])
    assert all(each["k"] == 4 for each in result["recommendations"])


def test_a_verdict_that_the_journal_has_already_is_not_told_twice() -> None:
    base, k4, k8 = [10.0, 20.0, 30.0, 9.0, 18.0, 27.0], [10.2, 20.4, 30.6, 9.18, 18.36, 27.54], K8
    begun = started([BASE, K4, k8], settings={"iterations": 3, "passes": 2})
    facts = [begun, SECOND, *measured(BASE, base), *measured(K4, k4)]
    detail = document_of(folded(facts))["measurements"][1]["details"][0]
    again = [*facts, ev.VerdictRaised(K4.id, "l001", "drifted", detail)]
    found = document_of(folded(again))["measurements"][1]
    assert (found["verdicts"], found["details"]) == (["drifted"], [detail])


def test_rates_of_wild_size_leave_the_document_json() -> None:
    wild = [1e-9, 1e9, 1.0, 1e-9]
    result = result_of(measured(BASE, wild), measured(K4, wild[::-1]), measured(K8, [1e300, 1e-300, 1.0, 2.0]))
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_arms_come_with_their_ks_ascending_whatever_the_queue_did() -> None:
    other = step(4, draft="0.6B")
    steps = [K8, step(16), other, BASE, step(11), step(2), step(2, config="kv-q8"), step(config="kv-q8")]
    facts = [fact for found in steps for fact in measured(found, SLOW)]
    arms = document_of(folded([started(steps), *loaded(k=16), *facts]))["overall"]
    assert [(arm["config"], arm["draft"], arm["k"]) for arm in arms] == [
        (None, None, None),
        (None, "0.5B", 2),
        (None, "0.5B", 8),
        (None, "0.5B", 11),
        (None, "0.5B", 16),
        (None, "0.6B", 4),
        ("kv-q8", None, None),
        ("kv-q8", "0.5B", 2),
    ]
