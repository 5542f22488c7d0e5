"""One spelling of every figure: whatever shows it chooses the signs alone, and all renderers have the same figures."""

from __future__ import annotations

import html
import re

from hypothesis import given
from hypothesis import strategies as st

from specdash.analysis.stats import Speedup, Summary
from specdash.report.blocks import HTML, MARKDOWN, Block, Cards, Chart, Folded, Only, blocks_for
from specdash.report.sections import report_of
from specdash.report.text import ASCII, DOCUMENT, TERMINAL, change, faster, mean, rate, ratio, seconds, share
from specdash.store.result_json import from_document
from tests.support.rendering import to_html, to_markdown
from tests.support.report_documents import draftbench_document, run_document

ANY_NUMBER = st.none() | st.floats() | st.integers(-(10**400), 10**400)
POSITIVE = st.floats(1e-3, 1e6)


@given(ANY_NUMBER)
def test_a_style_chooses_the_sign_for_unknown_and_nothing_else(value: float | None) -> None:
    for words in (rate, ratio, share, seconds, change):
        shown = {style.unknown: words(value, style=style) for style in (DOCUMENT, TERMINAL, ASCII)}
        is_unknown = words(value) == DOCUMENT.unknown
        assert all((text == sign) if is_unknown else (text == words(value)) for sign, text in shown.items())
        assert shown[ASCII.unknown].isascii()
        assert "nan" not in words(value)
        assert "inf" not in words(value)


@given(POSITIVE, POSITIVE, st.none() | st.tuples(POSITIVE, POSITIVE).map(lambda ends: (min(ends), max(ends))))
def test_composed_figures_are_made_of_the_single_ones(
    value: float, spread: float, ci95: tuple[float, float] | None
) -> None:
    assert mean(Summary(mean=value, stddev=spread), TERMINAL).startswith(f"{rate(value)} ± ")
    assert mean(Summary(mean=value, stddev=spread), ASCII).isascii()
    shown = faster(Speedup(value, None, ci95), 5, ASCII)
    assert shown.removeprefix(ASCII.about).startswith(ratio(value))
    assert shown.startswith(ASCII.about) == (ci95 is not None and ci95[0] <= 1 <= ci95[1])


def test_a_page_and_markdown_have_the_same_figures() -> None:
    for document in (run_document(("72B", "7B"), ("0.5B", "1.5B")), draftbench_document()):
        page = " ".join(html.unescape(re.sub(r"<[^>]*>", " ", to_html(document))).split())
        tables = re.findall(r"(?m)^\| category .*\n(?:\|.*\n)+", to_markdown(document))
        figures = {cell for table in tables for cell in re.findall(r"[^|\n]* ± [^|\n]*|[^|\n]*\d \([^|\n]*\)", table)}
        assert len(figures) > 10
        assert {figure.strip() for figure in figures if figure.strip() not in page} == set()


def every(blocks: list[Block]) -> list[Block]:
    """The blocks, and those inside of them."""
    found: list[Block] = []
    for block in blocks:
        found.append(block)
        if isinstance(block, Only | Folded):
            found += every(list(block.blocks))
        if isinstance(block, Cards):
            found += [each for card in block.cards for each in every(list(card))]
    return found


def test_markdown_has_no_chart_and_a_page_has_every_section_named() -> None:
    report = report_of(from_document(run_document()))
    for section in report.sections:
        shown = blocks_for(MARKDOWN, section.blocks) if section.kind in ("", MARKDOWN) else []
        assert not any(isinstance(block, Chart | Cards) for block in every(shown))
        assert section.name or section.kind == MARKDOWN
    names = [section.name for section in report.sections if section.kind in ("", HTML)]
    assert len(set(names)) == len(names)
