"""What the fields of a result document are, so that one that was changed by hand is refused by the field's name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from specdash.core.axes import ARM, AXES, GROUP, LOAD, STAGE

Json = Mapping[str, Any]


def _is_text(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _is_count(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def _is_flag(value: object) -> bool:
    return value is None or isinstance(value, bool)


def _is_interval(value: object) -> bool:
    return value is None or (isinstance(value, list) and len(value) == 2 and all(map(_is_number, value)))


def _is_texts(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(each, str) for each in value))


def _is_numbers(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(map(_is_number, value)))


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _is_table(value: object) -> bool:
    return value is None or isinstance(value, dict)


_OF_TYPE: Mapping[type, Callable[[object], bool]] = {str: _is_text, int: _is_count, float: _is_number}
_KINDS: Mapping[Callable[[object], bool], str] = {
    _is_text: "text",
    _is_number: "number",
    _is_count: "whole number",
    _is_flag: "true or false",
    _is_interval: "pair of numbers",
    _is_texts: "list of texts",
    _is_numbers: "list of numbers",
    _is_tables: "list of tables",
    _is_table: "table",
}


def _shape(*axes: str, **fields: str) -> dict[str, Callable[[object], bool]]:
    """Checks by field, of the names of fields by kind, and of axes that it has besides."""
    kinds = {words.replace(" ", "_"): check for check, words in _KINDS.items()}
    found = {name: kinds[kind] for kind, names in fields.items() for name in names.split()}
    return {name: _OF_TYPE[AXES[name].kind] for name in axes} | found


_RUN = _shape(
    text="id name state started finished host specdash_version model_family reason",
    whole_number="resumes",
    number="running_s",
    table="hardware",
)
_ENGINE = _shape(text="kind program version dialect", table="capabilities")
_EFFORT = _shape(whole_number="loads step_by_step_loads taken_again", number="load_time_s measuring_s")
_BANDWIDTH = _shape(number="bytes_s cache_bytes", whole_number="threads measured", text="reason")
_IMPORTED = _shape(text="tool file", list_of_texts="notes", true_or_false="has_samples")
_LISTS = {
    "models": _shape(
        text="label role path architecture quantisation model_class",
        whole_number="size_bytes bytes_per_token expert_bytes expert_count expert_used_count",
        true_or_false="synthetic",
    ),
    "loads": _shape(
        *LOAD,
        text="id state k_scope log fingerprint error hint",
        whole_number="k_startup peak_rss_bytes wired_peak_bytes size_bytes",
        number="load_time_s",
        list_of_texts="argv command",
    ),
    "curves": _shape(
        *GROUP,
        text="draft category",
        whole_number="k n k_max",
        number="predicted_tok_s measured_tok_s tokens_per_step step_time_s",
        pair_of_numbers="predicted_ci95 measured_ci95",
        true_or_false="at_edge off",
    ),
    "recommendations": _shape(
        *GROUP,
        *STAGE,
        text="category reason command",
        number="speedup tok_s baseline_tok_s regret",
        pair_of_numbers="ci95 regret_ci95",
        true_or_false="off proven",
        list_of_tables="tied",
    ),
    "rules": _shape(text="rule source evidence", true_or_false="held"),
    "anchors": _shape(*GROUP, whole_number="n", number="first_tok_s last_tok_s moved"),
    "plan": _shape(text="stage reason"),
    "pairs": _shape(
        text="target",
        whole_number="pairs compared slower",
        number="best_tok_s speedup",
    )
    | {f"best_{name}": check for name, check in _shape(*STAGE).items()},
    "notes": _shape(text="level text"),
    "overall": _shape(
        *ARM,
        number="acceptance_rate tokens_per_step",
        list_of_texts="categories missing",
    ),
}
_WHOLE_ANSWER = _shape(
    number="ratio total_time_s baseline_total_time_s ttft_s baseline_ttft_s", pair_of_numbers="ci95", whole_number="n"
)
_STEP = _shape(
    *ARM,
    text="id step load category status error speedup_reason",
    whole_number="k_seen taken_again",
    number="acceptance_rate tokens_per_step drift wall_time_s",
    list_of_texts="verdicts",
    table="lossless roofline",
)
_SAMPLE = _shape(
    text="prompt_id status clock finish_reason text_hash",
    number="prefill_time_s prefill_tok_s decode_time_s throughput_tok_s ttft_s total_time_s started_s",
    whole_number="block prompt_tokens generated_tokens draft_tokens accepted_tokens steps k_seen",
)
_SUMMARY = _shape(number="mean stddev min max median p95", whole_number="n", pair_of_numbers="ci95")


def wrong_shapes(result: Json) -> Iterator[str]:
    """A sentence for each field of a whole result that is there and is not what it has to be."""
    for part, shape in (("run", _RUN), ("engine", _ENGINE)):
        yield from _wrong(result[part], shape, part)
    for part, shape in (("effort", _EFFORT), ("bandwidth", _BANDWIDTH), ("imported", _IMPORTED)):
        yield from _wrong_table(result.get(part), shape, part)
    for part, shape in _LISTS.items():
        entries = result.get(part, [])
        if not _is_tables(entries):
            yield f"`{part}` is no list of tables"
            continue
        for number, each in enumerate(entries):
            yield from _wrong(each, shape, f"{part}[{number}]")
            yield from _wrong_table(each.get("whole_answer"), _WHOLE_ANSWER, f"{part}[{number}].whole_answer")
    for part in ("measurements", "unfinished"):
        for number, each in enumerate(result[part]):
            yield from _wrong_step(each, f"{part}[{number}]")


def _wrong_step(step: Json, place: str) -> Iterator[str]:
    """What is wrong in a measurement, in its samples and its summaries."""
    yield from _wrong(step, _STEP, place)
    for number, sample in enumerate(step["samples"]):
        yield from _wrong(sample, _SAMPLE, f"{place}.samples[{number}]")
    for metric, summary in step["summary"].items():
        yield from _wrong_table(summary, _SUMMARY, f"{place}.summary.{metric}")


def _wrong_table(value: object, shape: Mapping[str, Callable[[object], bool]], place: str) -> Iterator[str]:
    if isinstance(value, dict):
        yield from _wrong(value, shape, place)
    elif value is not None:
        yield f"`{place}` is no table"


def _wrong(table: Json, shape: Mapping[str, Callable[[object], bool]], place: str) -> Iterator[str]:
    for name, fits in shape.items():
        if name in table and not fits(table[name]):
            yield f"`{place}.{name}` is no {_KINDS[fits]}"
