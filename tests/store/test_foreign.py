"""Result files of other tools: what is read of them, what broken ones say, and what is written in their format."""

from __future__ import annotations

import copy
import json
import math
import statistics
from pathlib import Path
from typing import Any

import pytest

from specdash.core import events as ev
from specdash.errors import Exit, SpecdashError
from specdash.report.importers.draftbench import _Rows
from specdash.report.importers.saved import MOST_BYTES
from specdash.report.importers.saved import read_result_file as read_result
from specdash.store.result_json import document_of, from_document, to_document
from tests.support.recorded_run import DRAFT, TARGET, folded, measured, started, step
from tests.support.rendering import to_csv, to_draftbench, to_json, to_markdown

Json = dict[str, Any]

PUBLISHED = Path(__file__).parents[1] / "data" / "draftbench"
LARGE = PUBLISHED / "m4max-128gb_llamacpp_qwen25-72b.json"
SMALL = PUBLISHED / "m4max-128gb_llamacpp_qwen25-7b.json"

ROWS: list[Json] = [
    {"target": "T", "draft": None, "mean_tps": 10.0, "median_tps": 9.9, "mean_ttft": 0.5, "mean_total_time": 8.0},
    {"target": "T", "draft": "D", "mean_tps": 15.0, "wall_time": 30.0, "acceptance_rate": 0.7},
]
VELOLLM: Json = {
    "config": {
        "main_model": "/models/llama-3.1-8b.gguf",
        "draft_model": "C:\\models\\llama-3.2-1b.gguf",
        "n_draft": 8,
        "n_predict": 100,
        "prompt": "Explain quantum computing in simple terms",
        "iterations": 5,
    },
    "vanilla": {
        "mode": "Vanilla",
        "tokens_per_second": {
            "mean": 28.428,
            "stddev": 0.068,
            "min": 28.32,
            "max": 28.51,
            "samples": [28.45, 28.32, 28.51, 28.39, 28.47],
        },
        "time_to_first_token_ms": {"mean": 234.5, "stddev": 0.5, "min": 234.0, "max": 235.0, "samples": [234.0, 235.0]},
        "total_time_ms": {"mean": 3521.0, "stddev": 0.0, "min": 3521.0, "max": 3521.0, "samples": [3521.0] * 5},
    },
    "speculative": {
        "mode": "Speculative",
        "tokens_per_second": {
            "mean": 67.18,
            "stddev": 0.2,
            "min": 66.89,
            "max": 67.45,
            "samples": [67.23, 66.89, 67.45, 67.01, 67.32],
        },
        "time_to_first_token_ms": {"mean": 189.0, "stddev": 0.0, "min": 189.0, "max": 189.0, "samples": [189.0] * 5},
        "total_time_ms": {"mean": 1488.0, "stddev": 0.0, "min": 1488.0, "max": 1488.0, "samples": [1488.0] * 5},
    },
    "speedup": 2.36,
    "speedup_stddev": 0.01,
    "timestamp": "2025-01-27T12:34:56Z",
}


def read_result_file(path: Path) -> Json:
    """The document of the result in a file."""
    return to_document(read_result(path))


@pytest.fixture
def read(tmp_path: Path) -> Any:
    """Read a value as the content of a file; text is written as it is."""

    def result(content: object) -> Json:
        path = tmp_path / "some.json"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return read_result_file(path)

    return result


def sweep(rows: list[Any], **changes: Any) -> Json:
    return {"name": "s", "hardware": "h", "backend": "llamacpp", "settings": {}, "results": rows, **changes}


def drafts(result: Json) -> list[Any]:
    return [each["draft"] for each in result["measurements"] if each["status"] == "ok"]


def notes(result: Json) -> str:
    return "\n".join(result["imported"]["notes"])


def measured_result() -> Json:
    steps = [step(k, category) for k in (None, 4, 8) for category in ("coding", "math")]
    facts: list[ev.Fact] = [started(steps)]
    for each in steps:
        facts += measured(each, [(each.k or 2) * (5.0 + block / 100) for block in range(3)])
    return document_of(folded([*facts, ev.RunFinished("finished", 0)]))


# -- draftbench's published results -----------------------------------------------------------------------------------


def test_the_large_targets_gain_with_every_draft() -> None:
    found = read_result_file(LARGE)["pairs"]
    assert [(each["target"], each["pairs"], each["slower"]) for each in found] == [
        ("72B Q8_0", 31, 0),
        ("72B Q4_K_M", 31, 0),
    ]
    assert (found[0]["best_draft"], found[0]["best_tok_s"]) == ("1.5B Q6_K", 19.33)
    assert round((found[0]["speedup"] - 1) * 100, 1) == 199.7


def test_the_small_targets_lose_with_many_drafts() -> None:
    found = {each["target"]: each for each in read_result_file(SMALL)["pairs"]}
    assert sum(each["slower"] for each in found.values()) == 47
    assert sum(each["compared"] for each in found.values()) == 198
    best = found["7B Q8_0"]
    assert (best["best_draft"], best["best_tok_s"]) == ("0.5B Q8_0", 105.88)
    assert round((best["speedup"] - 1) * 100, 1) == 80.4


@pytest.mark.parametrize("path", [LARGE, SMALL], ids=lambda path: path.stem)
def test_the_draft_with_the_highest_acceptance_is_never_the_fastest(path: Path) -> None:
    result = read_result_file(path)
    for pair in result["pairs"]:
        mine = [each for each in result["measurements"] if each["target"] == pair["target"] and each["draft"]]
        accepted = max(mine, key=lambda each: each["acceptance_rate"])
        assert accepted["draft"] != pair["best_draft"]


@pytest.mark.parametrize("path", [LARGE, SMALL], ids=lambda path: path.stem)
def test_what_was_imported_is_exported_as_it_was(path: Path, tmp_path: Path) -> None:
    original = json.loads(path.read_text())
    exported = json.loads(to_draftbench(read_result_file(path)))
    assert exported["results"] == original["results"]
    assert list(exported) == list(original)
    for name in ("name", "hardware", "backend", "model_family", "settings"):
        assert exported[name] == original[name]
    again = tmp_path / "again.json"
    again.write_text(json.dumps(exported))
    assert json.loads(to_draftbench(read_result_file(again))) == exported


def test_every_field_of_a_measured_result_is_in_an_imported_one() -> None:
    ours, theirs = measured_result(), read_result_file(LARGE)
    assert ours.keys() <= theirs.keys()
    for part in ("run", "engine"):
        assert ours[part].keys() <= theirs[part].keys()
    for part in ("measurements", "overall"):
        assert ours[part][0].keys() <= theirs[part][0].keys()
    assert (
        ours["overall"][0]["summary"]["decode_tok_s"].keys() == theirs["overall"][0]["summary"]["decode_tok_s"].keys()
    )


def test_what_the_file_does_not_tell_stays_unknown() -> None:
    result = read_result_file(LARGE)
    each = result["measurements"][1]
    rate = each["summary"]["decode_tok_s"]
    assert (rate["mean"], rate["median"]) == (17.04, 18.31)
    assert [rate[name] for name in ("n", "stddev", "ci95", "min", "p95")] == [None] * 5
    assert (each["k"], each["samples"], each["lossless"]) == (None, [], None)
    assert each["speedup"] == {"value": 17.04 / 6.45, "stddev": None, "ci95": None}
    assert (result["run"]["started"], result["run"]["state"]) == (None, "imported")
    assert result["imported"]["tool"] == "draftbench"
    assert "last prompt" in notes(result)


def test_the_best_pair_is_recommended_and_nothing_is_proven() -> None:
    found = read_result_file(LARGE)["recommendations"]
    assert [(each["target"], each["category"], each["draft"]) for each in found] == [
        ("72B Q8_0", "all", "1.5B Q6_K"),
        ("72B Q4_K_M", "all", "1.5B Q4_K_M"),
    ]
    assert not any(each["proven"] for each in found)
    assert [each["ci95"] for each in found] == [None, None]


@pytest.mark.parametrize("write", [to_markdown, to_csv, to_json, to_draftbench])
def test_reports_are_made_of_imported_results(write: Any, read: Any) -> None:
    for result in (
        read_result_file(LARGE),
        read(VELOLLM),
        read(sweep([*ROWS, {"target": "T", "error": "no", "draft": "E"}])),
    ):
        text = write(from_document(result) if write in (to_csv, to_json) else result)
        assert result["measurements"][1]["draft"] in text
        assert "NaN" not in text


# -- broken draftbench files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"target": "T", "draft": "E"}, "mean_tps is missing"),
        ({"target": "T", "draft": "E", "mean_tps": "12.5"}, 'mean_tps is "12.5", not a number above 0'),
        ({"target": "T", "draft": "E", "mean_tps": math.nan}, "mean_tps is nan"),
        ({"target": "T", "draft": "E", "mean_tps": math.inf}, "mean_tps is inf"),
        ({"target": "T", "draft": "E", "mean_tps": 10**400}, "mean_tps is 1000"),
        ({"target": "T", "draft": "E", "mean_tps": -1}, "mean_tps is -1"),
        ({"target": "T", "draft": "E", "mean_tps": 0}, "mean_tps is 0"),
        ({"target": "T", "draft": "E", "mean_tps": True}, "mean_tps is True"),
        ({"draft": "E", "mean_tps": 1}, "target is missing"),
        ({"target": "T", "draft": 5, "mean_tps": 1}, "draft is 5"),
        ({"target": "T", "draft": "D", "mean_tps": 99}, '"T" with "D" stands before it already'),
        (["T", "E", 1], "it is no table"),
        (None, "it is no table"),
    ],
    ids=str,
)
def test_a_broken_row_is_left_out_and_said(row: Any, words: str, read: Any) -> None:
    result = read(sweep([*ROWS, row]))
    assert drafts(result) == [None, "D"]
    assert result["measurements"][1]["summary"]["decode_tok_s"]["mean"] == 15.0
    assert "results[3] is left out: " in notes(result)
    assert words in notes(result)
    assert "NaN" not in to_json(from_document(result))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("median_tps", "x"),
        ("mean_ttft", -1),
        ("acceptance_rate", 1.5),
        ("acceptance_rate", math.nan),
        ("wall_time", []),
    ],
)
def test_a_broken_figure_beside_a_good_rate_is_unknown(field: str, value: Any, read: Any) -> None:
    result = read(sweep([ROWS[0], ROWS[1] | {field: value}]))
    assert drafts(result) == [None, "D"]
    assert f"results[2]: {field} is " in notes(result)
    row = json.loads(to_draftbench(result))["results"][1]
    assert (row[field], row["mean_tps"]) == (None, 15.0)


def test_without_a_baseline_there_is_no_speedup(read: Any) -> None:
    result = read(sweep([ROWS[1]]))
    assert result["measurements"][0]["speedup"] is None
    assert result["measurements"][0]["speedup_reason"] == "no baseline of this target is in the file"
    assert '"T" has no baseline' in notes(result)
    assert (result["pairs"][0]["slower"], result["pairs"][0]["best_tok_s"]) == (None, 15.0)


def test_a_server_that_did_not_start_is_a_failure(read: Any) -> None:
    failed = {"target": "T", "draft": "E", "error": "server_failed"}
    result = read(sweep([*ROWS, failed]))
    assert [(each["status"], each["error"]) for each in result["measurements"]][2] == ("failed", "server_failed")
    assert json.loads(to_draftbench(result))["results"][2] == failed


def test_a_pair_without_acceptance_may_not_have_drafted(read: Any) -> None:
    assert "1 pair is without an acceptance_rate" in notes(read(sweep([ROWS[0], ROWS[1] | {"acceptance_rate": None}])))
    assert "without an acceptance_rate" not in notes(read(sweep(ROWS)))


def test_many_broken_rows_do_not_fill_the_report(read: Any) -> None:
    result = read(sweep([*ROWS, *[{"target": "T"}] * 1000]))
    assert len(result["imported"]["notes"]) < 30
    assert "more like these" in notes(result)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "the file is empty"),
        (" \n", "the file is empty"),
        ("not json", "some.json:1: it is not JSON"),
        ('{"results": [{"target"', "it is not JSON"),
        (b"\xff\xfe\x00", "it is not UTF-8"),
        ("[" * 100_000, "it cannot be read as JSON"),
        ("9" * 5000, "it cannot be read as JSON"),
        ([1, 2], "no tool that is known here"),
        ("null", "no tool that is known here"),
        ({"a": 1}, "no tool that is known here"),
        ({"results": {"a": 1}}, '"results" is "dict", not a list'),
        ({"results": []}, "no row of it can be used"),
        ({"results": [{"x": 1}]}, "no row of it can be used"),
        (sweep([{"target": "T", "draft": None, "error": "server_failed"}]), "no row of it can be used"),
        ({"schema": "specdash.result/9"}, "its schema is specdash.result/9"),
        ({"schema": "specdash.result/1"}, "no whole result"),
        ({"speculative": {}, "config": 7}, '"config" is 7'),
        ({"speculative": {}, "config": {}}, "config.main_model is missing"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_file_that_cannot_be_used_says_what_and_where(content: Any, words: str, read: Any) -> None:
    with pytest.raises(SpecdashError) as caught:
        read(content)
    assert words in caught.value.what
    assert "some.json" in caught.value.what
    assert caught.value.todo
    assert caught.value.exit_code is Exit.USAGE


def test_a_file_far_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(SpecdashError, match=r"large\.json: 64\.0 MiB is more than a result has"):
        read_result_file(path)
    with pytest.raises(SpecdashError, match="cannot be read"):
        read_result_file(tmp_path / "absent.json")


def test_a_byte_order_mark_and_odd_settings_do_no_harm(read: Any) -> None:
    settings = {"max_tokens": math.nan, "list": [1], "temperature": 0.0, "evil\x1b[31m": "\ud800"}
    content = json.dumps(sweep(ROWS, settings=settings, timestamp="yesterday", name=5, hardware=None))
    result = read(b"\xef\xbb\xbf" + content.encode())
    assert result["settings"]["max_tokens"] is None
    assert "list" not in result["settings"]
    assert (result["run"]["finished"], result["run"]["name"]) == (None, "some.json")
    assert "\x1b" not in to_json(from_document(result)) + to_draftbench(result)


# -- velollm ----------------------------------------------------------------------------------------------------------


def test_velollm_has_one_pair_with_an_interval(read: Any) -> None:
    result = read(VELOLLM)
    base, fast = result["measurements"]
    assert (base["target"], base["draft"], fast["draft"], fast["k"]) == ("llama-3.1-8b", None, "llama-3.2-1b", 8)
    rate = base["summary"]["decode_tok_s"]
    samples = VELOLLM["vanilla"]["tokens_per_second"]["samples"]
    assert (rate["n"], rate["mean"]) == (5, pytest.approx(28.428))
    assert rate["stddev"] == pytest.approx(statistics.stdev(samples))
    assert fast["summary"]["ttft_s"]["mean"] == pytest.approx(0.189)
    assert fast["speedup"]["value"] == pytest.approx(2.363, abs=1e-3)
    low, high = fast["speedup"]["ci95"]
    assert 2.34 < low < 2.36 < fast["speedup"]["value"] < high < 2.38
    assert (result["run"]["finished"], result["imported"]["tool"]) == ("2025-01-27T12:34:56.000Z", "velollm")
    assert (result["pairs"][0]["slower"], result["settings"]["max_tokens"]) == (0, 100)
    (advice,) = result["recommendations"]
    assert (advice["draft"], advice["proven"]) == ("llama-3.2-1b", True)
    assert advice["ci95"] == pytest.approx(fast["speedup"]["ci95"])
    assert [each["decode_tok_s"] for each in base["samples"]] == samples
    assert {each["total_time_s"] for each in fast["samples"]} == {1.488}
    assert (result["imported"]["has_samples"], read_result_file(LARGE)["imported"]["has_samples"]) == (True, False)
    assert "tokens_per_second: the file's stddev divides by n" not in notes(result)


def test_a_velollm_run_without_a_baseline_has_no_speedup(read: Any) -> None:
    result = read(VELOLLM | {"vanilla": None, "speedup": 0.0})
    (only,) = result["measurements"]
    assert (only["speedup"], only["speedup_reason"]) == (None, "no baseline is in the file")
    assert "--skip-vanilla" in notes(result)


def test_broken_velollm_samples_are_left_out_and_said(read: Any) -> None:
    content = copy.deepcopy(VELOLLM)
    content["speculative"]["tokens_per_second"]["samples"] = [67.0, math.nan, "67", None, -1, 66.0]
    del content["speculative"]["total_time_ms"]
    content["vanilla"]["tokens_per_second"] = {"mean": 28.0}
    result = read(content)
    base, fast = result["measurements"]
    assert fast["summary"]["decode_tok_s"]["n"] == 2
    assert "4 of 6 samples are no numbers above 0" in notes(result)
    assert "speculative.total_time_ms is missing" in notes(result)
    assert (base["summary"]["decode_tok_s"]["n"], fast["speedup"]["ci95"]) == (None, None)
    assert fast["speedup"]["value"] == pytest.approx(66.5 / 28.0)
    content["speculative"] = content["vanilla"] = []
    with pytest.raises(SpecdashError, match="nothing in it is a measurement"):
        read(content)


# -- our own results --------------------------------------------------------------------------------------------------


def test_our_own_result_comes_back_whole(read: Any) -> None:
    result = measured_result()
    again = read(json.dumps(result))
    added = {"lossless": None, "roofline": None}
    result["measurements"] = [added | each for each in result["measurements"]]
    assert {name: again[name] for name in result} == result


def test_a_result_of_an_earlier_version_is_completed(read: Any) -> None:
    result = measured_result()
    for name in ("curves", "recommendations", "rules", "pairs", "imported", "bandwidth", "effort", "plan", "anchors"):
        result.pop(name, None)
    for each in result["measurements"]:
        each.pop("lossless", None)
    again = read(json.dumps(result))
    assert again["imported"] is None
    assert again["pairs"][0]["best_k"] == 8
    assert again["measurements"][0]["lossless"] is None


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("measurements", "target", 5),
        ("measurements", "samples", None),
        ("measurements", "summary", {"decode_tok_s": {"mean": "fast"}}),
        ("measurements", "speedup", 2.0),
        ("measurements", "k", "4"),
        ("overall", "categories", None),
        ("overall", "depth", None),
    ],
)
def test_a_result_changed_by_hand_says_which_part_is_broken(part: str, field: str, value: Any, read: Any) -> None:
    result = measured_result()
    result[part][1][field] = value
    with pytest.raises(SpecdashError) as caught:
        read(result)
    assert f"{part}[1].{field}" in caught.value.what
    del result[part][1][field]
    with pytest.raises(SpecdashError, match="no whole result"):
        read(result)


# -- export -----------------------------------------------------------------------------------------------------------


def test_a_measured_run_is_one_row_for_each_pair_with_its_best_k() -> None:
    exported = json.loads(to_draftbench(measured_result()))
    assert (exported["backend"], exported["hardware"], exported["name"]) == ("unknown", "epyc-384gb", "qwen")
    base, fast = exported["results"]
    assert (base["target"], base["draft"], base["mean_tps"], base["acceptance_rate"]) == (TARGET, None, 10.02, None)
    assert "k" not in base
    assert (fast["draft"], fast["k"], fast["mean_tps"]) == (DRAFT, 8, pytest.approx(40.08))
    assert fast["median_tps"] == pytest.approx(40.08)
    assert fast["wall_time"] == pytest.approx(6 * fast["mean_total_time"], rel=1e-6)
    assert fast["acceptance_rate"] == 0.1875
    for row in exported["results"]:
        assert list(row)[:8] == [
            "target", "draft", "mean_tps", "median_tps", "mean_ttft", "mean_total_time", "wall_time", "acceptance_rate",
        ]  # fmt: skip


def test_an_arm_that_must_not_stand_beside_its_baseline_is_a_row_without_figures() -> None:
    result = measured_result()
    for each in result["measurements"]:
        if each["k"] == 8:
            each["verdicts"] = ["output_differs"]
    assert json.loads(to_draftbench(result))["results"][1]["k"] == 4
    for arm in result["overall"]:
        if arm["k"] == 4:
            arm["categories"] = ["coding"]
    row = json.loads(to_draftbench(result))["results"][1]
    assert set(row) == {"target", "draft", "error"}


def test_configs_and_depths_have_a_target_of_their_own() -> None:
    steps = [step(k, config=config, depth=depth) for config, depth in ((None, 0), ("kv-q8", 4096)) for k in (None, 4)]
    facts: list[ev.Fact] = [started(steps)]
    for each in steps:
        facts += measured(each, [10.0, 11.0])
    rows = json.loads(to_draftbench(document_of(folded(facts))))["results"]
    named = f"{TARGET}, kv-q8, depth 4096"
    assert [(row["target"], row["draft"]) for row in rows] == [
        (TARGET, None), (TARGET, DRAFT), (named, None), (named, DRAFT),
    ]  # fmt: skip


def test_a_scatter_of_a_population_is_said(read: Any) -> None:
    content = copy.deepcopy(VELOLLM)
    rate = content["vanilla"]["tokens_per_second"]
    rate["stddev"] = statistics.pstdev(rate["samples"])
    assert "vanilla.tokens_per_second: the file's stddev divides by n" in notes(read(content))


def test_whole_numbers_beyond_any_float_are_unknown_and_said(read: Any) -> None:
    result = measured_result()
    result["loads"] = [{"id": "l001", "size_bytes": 10**400}]
    again = read(json.dumps(result))
    assert again["loads"][0]["size_bytes"] is None
    assert "loads[0].size_bytes" in again["notes"][-1]["text"]


def test_deep_nesting_is_refused(read: Any) -> None:
    deep: Any = 1
    for _ in range(900):
        deep = [deep]
    with pytest.raises(SpecdashError, match="nested deeper"):
        read(json.dumps(measured_result() | {"settings": {"x": deep}}))


def test_rows_are_told_apart_without_looking_at_all_before() -> None:
    class Label(str):
        """Counts how often it is compared."""

        compared = 0
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            Label.compared += 1
            return str.__eq__(self, other)

    read = _Rows([], [], set())
    for number in range(300):
        read.take("x", {"target": Label("T"), "draft": str(number), "mean_tps": 1})
    assert len(read.findings) == 300
    assert Label.compared < 1000


@pytest.mark.parametrize(
    ("part", "value", "field"),
    [
        ("loads", [{"argv": "x"}], "loads[0].argv"),
        ("models", [{"label": 5}], "models[0].label"),
        ("curves", [{"predicted_ci95": 3}], "curves[0].predicted_ci95"),
        ("recommendations", [{"tied": None}], "recommendations[0].tied"),
        ("recommendations", 7, "recommendations"),
        ("run", {"hardware": {}, "id": []}, "run.id"),
    ],
)
def test_a_part_of_another_shape_is_named(part: str, value: Any, field: str, read: Any) -> None:
    with pytest.raises(SpecdashError) as caught:
        read(json.dumps(measured_result() | {part: value}))
    assert f"`{field}` is no " in caught.value.what
