"""Result documents for tests of what is derived from them: only the fields that matter, with samples at given rates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from specdash.analysis.recommend import recommendations
from specdash.analysis.rules import judged_rules
from specdash.analysis.stats import summarise
from specdash.store.result_json import from_document, to_document

PROMPTS = 3


def measured(
    rates: Sequence[float],
    k: int | None = None,
    draft: str | None = "D",
    category: str = "coding",
    **changes: Any,
) -> dict[str, Any]:
    """A measurement with one sample a block; `k` None is the baseline."""
    summary = summarise(rates)
    found = {
        "id": "m001",
        "load": f"l-{draft}-{k}" if k is not None else "l-base",
        "target": "T",
        "draft": None if k is None and "method" not in changes else draft,
        "method": "baseline" if k is None else "draft",
        "config": None,
        "k": k,
        "moe_experts": None,
        "workload": "content",
        "depth": 0,
        "category": category,
        "status": "ok",
        "verdicts": [],
        "samples": [
            {"prompt_id": f"p{block % PROMPTS}", "block": block, "decode_tok_s": rate, "status": "ok"}
            for block, rate in enumerate(rates)
        ],
        "summary": {} if summary is None else {"decode_tok_s": {"n": summary.n, "mean": summary.mean}},
        "acceptance_rate": None,
    }
    return {**found, **changes}


def odd(k: int | None = None) -> dict[str, Any]:
    """A measurement whose server sent no rate that is one."""
    found = measured([1.0, 2.0, 3.0, 4.0], k, summary={})
    for sample, rate in zip(found["samples"], (math.nan, math.inf, 0.0, None), strict=True):
        sample["decode_tok_s"] = rate
    return found


def imported(mean: float, draft: str | None = None, k: int | None = None) -> dict[str, Any]:
    """A measurement of another tool's file: a mean, and neither samples nor, mostly, a K."""
    summary = {"decode_tok_s": {"n": None, "mean": mean, "stddev": None, "ci95": None}}
    method = "baseline" if draft is None else "draft"
    return measured([], k, category="mixed", load=None, summary=summary, draft=draft, method=method)


def document(*measurements: dict[str, Any], **parts: Any) -> dict[str, Any]:
    """A document of these measurements."""
    return {"measurements": list(measurements), "curves": [], "loads": [], "models": [], "anchors": [], **parts}


def recommended(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The recommendations that follow from a document, as a document has them."""
    result = from_document(document)
    found: list[dict[str, Any]] = to_document(replace(result, recommendations=recommendations(result)))[
        "recommendations"
    ]
    return found


def judged(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rules of thumb as a document is judged by them, as a document has them."""
    result = from_document(document)
    found: list[dict[str, Any]] = to_document(replace(result, rules=judged_rules(result)))["rules"]
    return found


def model(label: str, size_bytes: int, model_class: str = "dense-small", **changes: Any) -> dict[str, Any]:
    """A model as a document lists it."""
    found = {"label": label, "role": "draft", "path": f"/m/{label}.gguf", "size_bytes": size_bytes}
    return {**found, "architecture": "qwen2", "model_class": model_class, "bytes_per_token": None, **changes}
