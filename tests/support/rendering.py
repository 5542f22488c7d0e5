"""Reports of result documents, for tests that change documents by hand before they are rendered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specdash.analysis.result import Recommendation, Result
from specdash.report import export, html, markdown
from specdash.report.importers import to_draftbench as draftbench
from specdash.store.result_json import from_document

Json = Mapping[str, Any]


def recommendation(each: Json) -> Recommendation:
    """An entry of `recommendations` as a result has it."""
    return from_document({"run": {}, "recommendations": [each]}).recommendations[0]


def _result(of: Result | Json) -> Result:
    return of if isinstance(of, Result) else from_document(of)


def to_html(of: Result | Json) -> str:
    """The report as a page."""
    return html.to_html(_result(of))


def to_markdown(of: Result | Json) -> str:
    """The report as Markdown."""
    return markdown.to_markdown(_result(of))


def to_csv(of: Result | Json) -> str:
    """The samples as CSV."""
    return export.to_csv(_result(of))


def to_json(of: Result | Json) -> str:
    """The result as JSON."""
    return export.to_json(_result(of))


def to_draftbench(of: Result | Json) -> str:
    """The result in draftbench's format."""
    return draftbench.to_draftbench(_result(of))
