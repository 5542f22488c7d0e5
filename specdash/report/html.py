"""A report as one HTML file that opens anywhere, offline.

Words of a report are text from anywhere, and are escaped where they meet the page. A
Content-Security-Policy forbids every request, and every script but the two that are written here, which it names by
their hashes: whatever a label holds, nothing of it can run. Closing tags of cells and rows are left out, as HTML
allows: long tables are half as long.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from specdash.analysis.result import Result
from specdash.core.text import one_line, plain
from specdash.errors import StoreError
from specdash.report.blocks import (
    HTML,
    Answer,
    Badge,
    Below,
    Block,
    Bullets,
    Cards,
    Chart,
    Code,
    ColourScale,
    Commands,
    Facts,
    Folded,
    GridCell,
    Heading,
    Legend,
    Name,
    Paragraph,
    Report,
    ReportColumn,
    ReportGrid,
    ReportTable,
    Row,
    Section,
    Strong,
    Words,
    blocks_for,
)
from specdash.report.sections import report_of
from specdash.report.text import DASH

ASSETS = Path(__file__).parent / "assets"
TEXT_CHARS = 2000
TITLE_CHARS = 600
COMMAND_CHARS = 8000
SHORT_CHARS = 24  # what a cell of a table keeps on one line


def to_html(result: Result) -> str:
    """The report of a result as a whole HTML document.

    Raises StoreError where the plotly package, whose script draws the charts, is missing.
    """
    report = report_of(result)
    page = _Page()
    body = page.body(report)
    return _document(f"Speculative decoding: {report.title}", body, page.figures)


# -- text -------------------------------------------------------------------------------------------------------------


def _escaped(text: str, limit: int = TEXT_CHARS) -> str:
    """Text as HTML: on one line, nothing in it is markup, controls and bidi marks are visible.

    A blank at either end stays, since texts are joined.
    """
    shown = escape(one_line(text, limit))
    return f"{' ' * text[:1].isspace()}{shown}{' ' * (bool(shown) and text[-1:].isspace())}"


def _name(text: str, limit: int) -> str:
    """A name from outside: its direction stays its own, a long one is cut and whole in the tooltip."""
    whole, cut = one_line(text, TITLE_CHARS), one_line(text, limit)
    title = f' title="{escape(whole)}"' if whole != cut else ""
    short = " class=s" if len(cut) <= SHORT_CHARS else ""
    return f"<bdi{short}{title}>{escape(cut)}</bdi>"


def _words(words: Words) -> str:
    """Text with what stands out in it."""
    match words:
        case tuple():
            return "".join(f"{'<br>' * isinstance(each, Below)}{_words(each)}" for each in words)
        case Name(text, limit):
            return _name(text, limit)
        case Below(text):
            return f"<small>{_words(text)}</small>"
        case Strong(text):
            return f"<b>{_words(text)}</b>"
        case Code(text):
            return f"<code>{_escaped(text)}</code>"
        case Badge(text, kind):
            return f'<span class="state {kind}">{_escaped(text)}</span>'
        case _:
            return _escaped(words)


def _paragraph(words: Words, kind: str = "") -> str:
    return f"<p{f' class={kind}' if kind else ''}>{_words(words)}</p>"


def _code(text: str) -> str:
    """A command line as it has to be typed: its blanks stay, what could not be typed is visible."""
    return escape(plain(text, COMMAND_CHARS))


def _command(text: str) -> str:
    """A command line with a button that copies it."""
    return (
        f'<div class="command"><pre tabindex="0"><code>{_code(text)}</code></pre>'
        '<button type="button" class="copy">Copy</button></div>'
    )


# -- tables -----------------------------------------------------------------------------------------------------------


def _table(table: ReportTable) -> str:
    """A table in a box of its own, in which it scrolls when it is too long or too wide."""
    head = "".join(f'<th scope="col"{_class(column)}>{_escaped(column.title)}' for column in table.columns)
    body = "".join(_row(row, table.columns) for row in table.rows)
    return (
        f'<div class="box" tabindex="0" role="region" aria-label="{escape(one_line(table.caption))}"><table>'
        f"<caption>{_escaped(table.caption)}</caption><thead><tr>{head}</thead><tbody>{body}</tbody></table></div>"
    )


def _row(row: Row, columns: Sequence[ReportColumn]) -> str:
    cells = []
    for number, (cell, column) in enumerate(zip(row.cells, columns, strict=False)):
        tag = 'th scope="row"' if number < row.heads else "td"
        cells.append(f"<{tag}{_class(column)}>{_words(cell)}")
    if row.span is not None:
        cells.append(f'<td class="wide why" colspan="{len(columns) - len(row.cells)}">{_escaped(row.span)}')
    return f"<tr{f' class={row.kind}' if row.kind else ''}>{''.join(cells)}"


def _class(column: ReportColumn) -> str:
    return " class=n" if column.is_number else " class=wide" if column.is_wide else ""


def _grid(grid: ReportGrid) -> str:
    """A table with coloured cells: text that can be read, copied and printed."""
    head = "".join(f'<th scope="col">{_name(name, 40)}' for name in grid.columns)
    missing = GridCell(DASH, "na", "not measured")
    body = "".join(
        f'<tr><th scope="row">{_name(row, 40)}'
        + "".join(_grid_cell(grid.cells.get((column, row), missing)) for column in grid.columns)
        for row in grid.rows
    )
    caption = grid.caption
    return (
        f'<div class="box heat" tabindex="0" role="region" aria-label="{caption}"><table><caption>{caption}</caption>'
        f'<thead><tr><th scope="col">{grid.corner}{head}</thead><tbody>{body}</tbody></table></div>'
    )


def _grid_cell(cell: GridCell) -> str:
    below = f"<small>{_escaped(cell.below)}</small>" if cell.below else ""
    return f'<td class="h {cell.kind}" title="{escape(one_line(cell.title, 120))}">{_escaped(cell.text)}{below}'


def _scale(scale: ColourScale) -> str:
    slow = [f'<i class="h s{scale.slow - step}"></i>' for step in range(scale.slow)]
    fast = [f'<i class="h f{step + 1}"></i>' for step in range(scale.fast)]
    return (
        '<p class="scale" aria-hidden="true"><span>half as fast</span>'
        f'{"".join(slow)}<i class="h eq"></i>{"".join(fast)}<span>three times as fast</span></p>'
    )


# -- blocks and sections ----------------------------------------------------------------------------------------------


class _Page:
    """The body of a page, and the figures of its charts in the order of their places."""

    def __init__(self) -> None:
        self.figures: list[Mapping[str, Any]] = []

    def body(self, report: Report) -> str:
        """All of a report."""
        sections = [each for each in report.sections if each.kind in ("", HTML)]
        links = "".join(f'<li><a href="#{each.name}">{each.contents or each.title}</a>' for each in sections)
        warnings = "".join(f"<li>{_escaped(each)}" for each in report.warnings)
        title, run = _name(report.title, 120), ("Run ", Name(report.run, 120), ", ", Name(report.state, 400))
        return "".join(
            [
                f"<header><h1><small>Speculative decoding</small> {title}</h1>",
                _paragraph(run, "sub"),
                _paragraph(Name(report.served, 200), "sub") if report.served else "",
                f'<div class="answer">{self._answers(report)}</div>',
                f'<div class="warning" role="note"><ul>{warnings}</ul></div>' if warnings else "",
                f'<nav aria-label="Contents"><ul>{links}</ul></nav></header><main>',
                *map(self._section, sections),
                "</main><noscript><p class=note>Charts need JavaScript; every figure is in a table.</noscript>",
            ]
        )

    def _answers(self, report: Report) -> str:
        """What to use on each target; a remark that all share is said once behind them."""
        if not report.answers:
            return self._blocks(report.fallback)
        remarks = {each.remark for each in report.answers}
        once = remarks.pop() if len(report.answers) > 1 and len(remarks) == 1 else ""
        parts = [self._answer(each, "" if once else each.remark) for each in report.answers]
        return "".join([*parts, _paragraph(once) if once else ""])

    @staticmethod
    def _answer(each: Answer, remark: str) -> str:
        choice = _words(each.choice) if isinstance(each.choice, tuple) else _name(each.choice, 64)
        said = _escaped(f"{each.said} {remark}")
        shown = f"<p>{_name(each.subject, 64)}: <strong>{choice}</strong>. {said}</p>"
        return shown + (_command(each.command) if each.command else "")

    def _section(self, section: Section) -> str:
        """A section with a heading that can be linked to."""
        blocks = self._blocks(section.blocks)
        return f'<section id="{section.name}"><h2>{_escaped(section.title)}</h2>{blocks}</section>'

    def _blocks(self, blocks: Iterable[Block]) -> str:
        return "".join(map(self._block, blocks_for(HTML, list(blocks))))

    def _block(self, block: Block) -> str:
        """A block that holds others, or a chart, which needs a place; the others are the same on every page."""
        match block:
            case Chart():
                return self._chart(block)
            case Cards(cards, kind):
                inner = ("".join(map(self._block, card)) for card in cards)
                shown = inner if kind == "pairs" else (f'<div class="card">{card}</div>' for card in inner)
                return f'<div class="{kind}">{"".join(shown)}</div>'
            case Folded(summary, inner_blocks, is_open):
                inside = self._blocks(inner_blocks)
                return f"<details{' open' if is_open else ''}><summary>{_words(summary)}</summary>{inside}</details>"
            case _:
                return _plain_block(block)

    def _chart(self, chart: Chart) -> str:
        """The element that a figure is drawn into."""
        self.figures.append(chart.figure)
        height = chart.figure["layout"]["height"]
        caption = f"<figcaption>{_caption(chart.caption)}</figcaption>" if chart.caption else ""
        description = escape(one_line(chart.description, 600))
        return (
            f'<figure>{caption}<div class="chart" role="img" aria-label="{description}" '
            f'style="height:{height}px"></div></figure>'
        )


def _plain_block(block: Block) -> str:
    """A block that stands by itself."""
    match block:
        case Paragraph(words, kind):
            return _paragraph(words, kind)
        case Heading(words):
            return f"<h3>{_words(words)}</h3>"
        case Bullets(items):
            return f"<ul>{''.join(f'<li>{_words(each)}' for each in items)}</ul>" if items else ""
        case ReportTable():
            return _table(block)
        case ReportGrid():
            return _grid(block)
        case ColourScale():
            return _scale(block)
        case Legend(signs):
            marks = (f'<li><i class="{kind}">{sign}</i>{meaning}' for kind, sign, meaning in signs)
            return f'<ul class="key">{"".join(marks)}</ul>'
        case Commands(lines, names):
            return _commands(lines, names)
        case Facts(pairs):
            rows = (f"<div><dt>{_escaped(name)}<dd>{_escaped(said)}</div>" for name, said in pairs)
            return f"<dl>{''.join(rows)}</dl>"
        case _:
            raise TypeError(f"no such block: {block!r}")


def _caption(words: Words) -> str:
    """A caption has its smaller text beside, not below."""
    return "".join(map(_words, words)) if isinstance(words, tuple) else _words(words)


def _commands(lines: Sequence[str], names: Sequence[str]) -> str:
    if names:
        named = (
            f"{_paragraph(Name(name, 120), 'name')}{_command(line)}" for name, line in zip(names, lines, strict=True)
        )
        return "".join(named)
    listed = "\n".join(map(_code, lines))
    return f'<pre class="list" tabindex="0">{listed}</pre>'


# -- the document around them -----------------------------------------------------------------------------------------


def _document(title: str, body: str, figures: Sequence[Mapping[str, Any]]) -> str:
    """The whole file; plotly is part of it only where there is a figure. Raises StoreError where it is missing."""
    scripts = [_plotly(), _asset("report.js")] if figures else [_asset("report.js")]
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return "".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n',
            '<link rel="icon" href="data:,">\n',
            f"<title>{escape(one_line(title))}</title>\n<style>{_asset('report.css')}</style>\n</head>\n<body>\n",
            body,
            f'\n<script type="application/json" id="figures">{_script_json(list(figures))}</script>\n',
            *(f"<script>{script}</script>\n" for script in scripts),
            "</body>\n</html>\n",
        )
    )


def _script_json(value: Any) -> str:
    """JSON that cannot end the script element it stands in, nor open a comment in it."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _digest(script: str) -> str:
    """The hash by which a policy names an inline script."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _asset(name: str) -> str:
    """A style sheet or script of this package."""
    return (ASSETS / name).read_text(encoding="utf-8")


def _plotly() -> str:
    """plotly.js as the plotly package brings it. That package is found, not imported, which would cost 40 ms."""
    found = importlib.util.find_spec("plotly")
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        path = Path(folder) / "package_data" / "plotly.min.js"
        if os.path.isfile(path):
            return path.read_text(encoding="utf-8")
    raise StoreError("report.html needs the plotly package", "Install specdash again, or write another format.")
