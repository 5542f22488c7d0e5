"""Reports of result documents, for tests that change documents by hand before they are rendered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specdash.analysis.result import Recommendation
from specdash.report import export, html, markdown
from specdash.report.importers import to_draftbench as draftbench
from specdash.store.result_json import from_document

Json = Mapping[str, Any]


def recommendation(each: Json) -> Recommendation:
    """An entry of `recommendations` as a result has it."""
    return from_document({"run": {}, "recommendations": [each]}).recommendations[0]


def to_html(document: Json) -> str:
    """The report as a page."""
    return html.to_html(from_document(document))


def to_markdown(document: Json) -> str:
    """The report as Markdown."""
    return markdown.to_markdown(from_document(document))


def to_csv(document: Json) -> str:
    """The samples as CSV."""
    return export.to_csv(from_document(document))


def to_json(document: Json) -> str:
    """The result as JSON."""
    return export.to_json(from_document(document))


def to_draftbench(document: Json) -> str:
    """The result in draftbench's format."""
    return draftbench.to_draftbench(from_document(document))
