"""A typed result and the document of `result.json` say the same, whatever is known and whatever is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from specdash.analysis.build_result import result_of
from specdash.analysis.result import Result
from specdash.store.result_json import from_document, to_document
from tests.support import report_documents as documents
from tests.support.recorded_run import folded, loaded, measured, started, step

Json = dict[str, Any]


def lost(written: Any, again: Any, place: str = "") -> list[str]:
    """The places at which a document says less, or something else, than another one; null is as good as nothing."""
    if isinstance(written, dict) and isinstance(again, dict):
        return [each for name in written for each in lost(written[name], again.get(name), f"{place}.{name}")]
    if isinstance(written, list) and isinstance(again, list) and len(written) == len(again):
        return [
            each for at, pair in enumerate(zip(written, again, strict=True)) for each in lost(*pair, f"{place}[{at}]")
        ]
    return [] if written == again else [place]


@pytest.mark.parametrize(
    "make",
    [documents.run_document, documents.failed_document, documents.single_sample_document, documents.evil_document],
)
def test_a_document_that_is_read_and_written_again_says_the_same(make: Callable[[], Json]) -> None:
    document = make()
    again = to_document(from_document(document))
    assert [place for place in lost(document, again) if not place.endswith((".categories", ".missing"))] == []
    assert to_document(from_document(again)) == again


def test_what_is_written_is_json_with_every_field_and_without_infinity() -> None:
    base, fast = step(), step(4)
    view = folded([started([base, fast]), *loaded(k=4), *measured(base, [10.0]), *measured(fast, [20.0, float("nan")])])
    result = result_of(view)
    text = json.dumps(to_document(result), allow_nan=False)
    assert json.loads(text) == to_document(result)
    assert from_document(json.loads(text)) == from_document(to_document(result))


def test_a_step_that_is_measured_twice_is_told_by_the_number_of_its_copy() -> None:
    row = to_document(result_of(folded([started([step()]), *measured(step(), [10.0, 11.0])])))["measurements"][0]
    steps = [each.step.copy for each in from_document({"measurements": [row, row]}).measurements]
    assert steps == [0, 1]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"k": "4"}, "measurements[0].k"),
        ({"depth": None}, "measurements[0].depth"),
        ({"summary": {"ttft_s": {"n": 3}}}, "measurements[0].summary[...]"),
        ({"samples": [{"block": "first"}]}, "measurements[0].samples[0].block"),
        ({"verdicts": "impossible"}, "measurements[0].verdicts"),
    ],
)
def test_a_field_that_is_not_what_it_has_to_be_is_named(change: Json, place: str) -> None:
    row = to_document(result_of(folded([started([step()]), *measured(step(), [10.0])])))["measurements"][0]
    with pytest.raises(ValueError, match=r"Expected|missing") as error:
        from_document({"measurements": [{**row, **change}]})
    assert place in str(error.value)


def test_an_early_document_has_the_defaults_of_what_was_added_later() -> None:
    row = {"target": "t", "category": "all", "draft": "d", "k": 4, "config": None, "speedup": 1.5, "ci95": [1.2, None]}
    found = from_document({"recommendations": [row], "models": [{"label": "t", "later": 1}], "later": {}})
    only = found.recommendations[0]
    assert (only.choice is not None, only.k, only.off, only.ci95) == (True, 4, False, (1.2, float("inf")))
    assert isinstance(found, Result)
    assert found.model("t") is not None


def test_settings_of_another_tool_keep_their_names_and_types() -> None:
    settings = {"runs": 5, "max_tokens": "many", "temperature": 0.5}
    found = from_document({"settings": settings})
    assert (found.settings.max_tokens, found.settings.temperature) == (None, 0.5)
    assert found.settings.others == {"runs": 5, "max_tokens": "many"}
    assert lost(settings, to_document(found)["settings"]) == []
